"""How often the operator's page looks at the servers."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pytest

from tests.unit.test_ops_view import all_is_well, books, with_records, without
from worker.errors import Retry
from worker.inspection.observe import Observation, Observer
from worker.inspection.status import DeadLetters, read_dead_letters
from worker.settings import Settings
from worker.web import ops_looks
from worker.web.ops_looks import Looks
from worker.web.ops_verdict import Look

SETTINGS = Settings.model_validate({"DATABASE_URL": "postgresql://there", "REDIS_URL": "redis://there"})


class _Link:
    """A server that is asked how many dead letters there are, and away for all other questions."""

    def __init__(self, clock: "_Clock") -> None:
        self.counts = 0
        self.takes_s = 0.0
        self._clock = clock

    def ask(self, question: Callable[..., object]) -> object:
        if getattr(question, "func", None) is not read_dead_letters:
            raise Retry("away")
        self.counts += 1
        self._clock.now += self.takes_s
        return [DeadLetters("bad_time", self.counts, all_is_well().at)]


class _Clock:
    now = 1_000.0

    def monotonic(self) -> float:
        return self.now


class _Observer:
    """Both servers, as one look finds them."""

    def __init__(self, clock: _Clock) -> None:
        self.looks = 0
        self.found: Observation = all_is_well().seen
        self.postgres = self.redis = _Link(clock)

    def look(self) -> Observation:
        self.looks += 1
        return self.found


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    clock = _Clock()
    monkeypatch.setattr(ops_looks, "time", clock)
    return clock


@pytest.fixture
def observer(clock: _Clock) -> _Observer:
    return _Observer(clock)


@pytest.fixture
def looks(observer: _Observer) -> Looks:
    return Looks(SETTINGS, cast(Observer, observer))


async def _twenty(looks: Looks) -> list[Look]:
    return await asyncio.gather(*(looks.latest() for _ in range(20)))


def test_one_look_is_for_everybody(looks: Looks, observer: _Observer, clock: _Clock) -> None:
    """Any number of pages cost one look a second; after something was done there is another one at once."""
    assert len({id(look) for look in asyncio.run(_twenty(looks))}) == observer.looks == 1
    clock.now += 0.9
    asyncio.run(looks.latest())
    assert observer.looks == 1
    clock.now += 0.2
    asyncio.run(looks.latest())
    assert observer.looks == 2
    looks.forget()
    asyncio.run(looks.latest())
    assert observer.looks == 3


def test_counting_has_its_share(looks: Looks, observer: _Observer, clock: _Clock) -> None:
    """Where counting dead letters takes long it is done seldom, and the last count is shown meanwhile."""
    observer.postgres.takes_s = 0.5
    for seconds, counts in ((0.0, 1), (2.0, 1), (7.0, 1), (2.0, 2)):
        clock.now += seconds
        look = asyncio.run(looks.latest())
        assert look.dead_letters is not None
        assert [dead.letters for dead in look.dead_letters] == [counts]


def test_rates(looks: Looks, observer: _Observer, clock: _Clock) -> None:
    """The rate is what was read since the look before, if that was lately, and over a second at least."""

    def look(read: int, after_s: float) -> dict[str, Any]:
        clock.now += after_s
        row = books(entries_read=read)
        observer.found = with_records(replace(all_is_well(), seen=observer.found), books={row.stream: row}).seen
        return dict(asyncio.run(looks.latest()).rates)

    stream = books().stream
    assert look(1_000, 0) == {}
    assert look(1_500, 2) == {stream: 250.0}
    assert look(1_500, 2) == {stream: 0.0}
    looks.forget()
    assert look(1_600, 0.5) == {stream: 0.0}
    assert look(1_750, 1.5) == {stream: 125.0}
    assert look(9_000, 60) == {}


def test_what_goes_away_meanwhile_is_not_known(looks: Looks, observer: _Observer) -> None:
    """A server that answers only the first question takes nothing with it but what it was asked after that."""
    look = asyncio.run(looks.latest())
    assert look.seen.records is not None and look.runs is None and look.jobs is None
    observer.found = without(postgresql=Retry("away")).seen
    looks.forget()
    assert asyncio.run(looks.latest()).dead_letters is None
