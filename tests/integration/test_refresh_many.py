"""Refreshes that wait are done together, and each comes to what it would have come to alone."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import chain, repeat
from typing import Any

import pytest
import redis

from jobs.queue import queued_runs
from jobs.reviver import Reviver
from jobs.runs import step_on
from tests.counting import TODAY, add, daily, drain, event
from tests.support import add_outcomes, add_specialists, environment, site_creates
from worker.errors import Stop
from worker.migrations import migrate, migrations
from worker.operations import refresh_many
from worker.operations.refresh import REFRESH, RefreshArguments
from worker.operations.refresh_many import refresh_waiting
from worker.operations.runs import Claim, claim_waiting_runs, finish_runs, open_run
from worker.settings import Settings
from worker.store import Connection, connect_postgres

YESTERDAY = TODAY - timedelta(days=1)
SPECIALISTS = [f"c{number:02}" for number in range(20)]


@pytest.fixture(autouse=True)
def _site(connection: Connection, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    add_specialists(connection, SPECIALISTS)
    site_creates(connection, "Order")
    migrate(connection, migrations())
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)  # for the doorway of the job


@pytest.fixture
def other(settings: Settings) -> Iterator[Connection]:
    with connect_postgres(settings, "test") as one:
        yield one


def begin(connection: Connection, *specialists: str, first: date = YESTERDAY) -> list[int]:
    asked = (RefreshArguments(specialist=specialist, first=first, last=TODAY) for specialist in specialists)
    return [open_run(connection, REFRESH, each, "web tier").run.id for each in asked]


def states(connection: Connection) -> list[Any]:
    """Each run's state, what it has done, and what came of it."""
    return connection.execute("SELECT state::text, done, result FROM analytics.run ORDER BY id").fetchall()


def claim(connection: Connection) -> list[Claim]:
    return claim_waiting_runs(connection, REFRESH.kind, differ_in="specialist", limit=10)


def at_noon(day: date) -> datetime:
    return datetime.combine(day, time(12), UTC)


def test_each_has_its_own_result(settings: Settings, connection: Connection, other: Connection) -> None:
    """Outcomes of all are assigned at once; each run says what came of its own, and nobody else's rows are touched."""
    add_outcomes(connection, "Order", "c00", at_noon(TODAY), at_noon(YESTERDAY))
    add_outcomes(connection, "Order", "c02", at_noon(TODAY))
    add_outcomes(connection, "Order", "c03", at_noon(TODAY))
    begin(connection, "c00", "c01", "c02")
    assert refresh_waiting(connection, other, settings.time_zone) == []
    rows = [2, 0, 1]
    assert states(connection) == [("done", 2, {"rows": 0, "outcome_rows": count}) for count in rows]
    assert daily(connection).keys() == {("c00", YESTERDAY), ("c00", TODAY), ("c02", TODAY)}
    assert refresh_waiting(connection, other, settings.time_zone) is None


def test_those_of_the_same_dates_go_together(connection: Connection) -> None:
    """The oldest is claimed, with all that ask the same for somebody else, and no more than are wanted."""
    first, second = begin(connection, "c00", "c01")
    other_dates = begin(connection, "c00", first=TODAY)
    later = begin(connection, *SPECIALISTS[2:])
    assert [each.id for each in claim(connection)] == [first, second, *later[:8]]
    assert [each.id for each in claim(connection)] == other_dates
    assert [each.id for each in claim(connection)] == later[8:]
    assert claim(connection) == []


def test_what_somebody_else_claims_is_passed_over(connection: Connection, other: Connection) -> None:
    """Of two who claim at the same moment neither waits, and no run is claimed twice."""
    begin(connection, *SPECIALISTS[:4])
    other.execute("SET lock_timeout = '2s'")
    with connection.transaction():
        mine = claim_waiting_runs(connection, REFRESH.kind, differ_in="specialist", limit=2)
        assert claim_waiting_runs(other, REFRESH.kind, differ_in="specialist", limit=2) == []
    theirs = claim(other)
    assert sorted(each.id for each in mine + theirs) == [1, 2, 3, 4]


def test_who_has_lost_a_run_cannot_finish_it(connection: Connection) -> None:
    """A run that was revived meanwhile stays as it is; the others of the batch are done."""
    begin(connection, "c00", "c01")
    claims = claim(connection)
    connection.execute("UPDATE analytics.run SET attempt = attempt + 1 WHERE id = 1")
    finish_runs(connection, claims, [{"n": 1}, {"n": 2}], 2)
    assert states(connection) == [("running", 0, {}), ("done", 2, {"n": 2})]


def test_wrong_views_go_alone(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """One whose views are wrong is made right in steps of its own, one whose events are gone fails with its reason, and
    the others do not feel it.
    """
    noon = int(at_noon(YESTERDAY).timestamp() * 1000)
    add(client, event("c00"), event("c01", occurredAt=noon), event("c02"))
    drain(settings)
    connection.execute("""UPDATE "SpecialistAnalyticsDaily" SET "profileViews" = 9 WHERE "specialistId" = 'c00'""")
    connection.execute(f"DROP TABLE analytics.event_{YESTERDAY:%Y%m%d}".encode())
    runs = begin(connection, "c00", "c01", "c02")
    step_on(runs[0], 0)
    assert daily(connection) == {("c00", TODAY): (1, 0), ("c01", YESTERDAY): (1, 0), ("c02", TODAY): (1, 0)}
    assert [state for state, *_ in states(connection)] == ["done", "failed", "done"]


def test_what_cannot_go_together_goes_alone(connection: Connection) -> None:
    """A row of `analytics.run` that somebody wrote by hand fails by itself."""
    begin(connection, "c00")
    connection.execute(
        """INSERT INTO analytics.run (kind, arguments, operator)
           SELECT kind, jsonb_set(arguments, '{specialist}', '7'), operator FROM analytics.run"""
    )
    step_on(1, 0)
    assert [state for state, *_ in states(connection)] == ["done", "failed"]


def test_a_slice_ends_between_those_that_go_alone(
    settings: Settings, connection: Connection, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the worker has to stop, those that are not begun are given back at once, and have a job."""
    begin(connection, *SPECIALISTS[:3])
    over = chain([False, False], repeat(True))
    monkeypatch.setattr("jobs.slice.Slice.__call__", lambda _self: next(over))
    monkeypatch.setattr(refresh_many, "_refresh", _refuse)
    step_on(1, 0)
    assert [state for state, *_ in states(connection)][1:] == ["queued", "queued"]
    assert len(queued_runs(client)) == 1


def _refuse(*_: object) -> list[Claim]:
    raise Stop("not together")


def test_many_that_were_lost_get_one_job(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """After the death of a process that had many, all are queued again, with one job, which does them all."""
    begin(connection, *SPECIALISTS[:9])
    claim(connection)
    begin(connection, *SPECIALISTS[9:12])
    connection.execute("UPDATE analytics.run SET seen_at = seen_at - interval '1 minute'")
    with Reviver(settings) as reviver:
        reviver.look()
        reviver.look()
    assert [state for state, *_ in states(connection)] == ["queued"] * 12
    [(run, attempt)] = queued_runs(client)
    step_on(run, attempt)
    assert [state for state, *_ in states(connection)] == ["done"] * 12
