"""From Node to the daily table: what a web tier sends is counted by the real worker, exactly."""

import re
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Event, Thread

import pytest
import redis

from tests.clients.web_tier import LIBRARIES, WebTier, web_tier
from tests.faults.proxy import Proxy
from tests.faults.stage import SPECIALISTS, Stage, stage
from tests.faults.truth import DAILY, until

XADD = re.compile(rb"xadd", re.IGNORECASE)
EVENTS = 50_000
"""That each of two web tiers sends."""


@pytest.fixture(scope="module")
def running() -> Iterator[Stage]:
    """Servers and `python -m worker run` on four shards."""
    with stage({"ANALYTICS_SHARDS": "4"}) as ready:
        ready.start("run")
        yield ready


@pytest.fixture
def way(running: Stage) -> Iterator[Proxy]:
    """The web tier's own way to Redis."""
    with Proxy(running.servers.redis_url) as proxy:
        yield proxy


def tier(stack: ExitStack, way: Proxy, library: str) -> WebTier:
    return stack.enter_context(web_tier(way.url, library, environment={"ANALYTICS_SHARDS": "4"}))


def daily(running: Stage) -> Counter[str]:
    """Views by specialist, date and source: every cell of the daily table."""
    return Counter({" ".join(cell): views for *cell, views in running.ask(DAILY)})


def counted_through(running: Stage) -> None:
    until(running.caught_up, "everything is read", 60)


def sent_ids(running: Stage) -> list[bytes]:
    """The event id of each entry that has reached Redis."""
    with redis.Redis.from_url(running.servers.redis_url) as client:
        return [fields[b"eventId"] for key in running.settings.stream_keys for _, fields in client.xrange(key)]


def test_killed(running: Stage, way: Proxy) -> None:
    """Of a web tier that is killed, all that Redis had acknowledged is counted once, and nothing twice."""
    with ExitStack() as stack:
        tiers = [tier(stack, way, library) for library in LIBRARIES]
        before = daily(running).total(), len(set(sent_ids(running)))
        for each in tiers:
            each.tell("endless", SPECIALISTS)
        acknowledged = [each.answer() for each in tiers for _ in range(300)]
        for each in tiers:
            each.process.kill()
            assert each.process.stdout is not None
            acknowledged += [line.strip().strip('"') for line in each.process.stdout if line.endswith("\n")]
            each.process.wait()
    counted_through(running)
    ids = set(sent_ids(running))
    assert {each.encode() for each in acknowledged} <= ids
    assert daily(running).total() - before[0] == len(ids) - before[1] >= 600


@pytest.mark.parametrize("library", LIBRARIES)
def test_sigterm(running: Stage, way: Proxy, library: str) -> None:
    """Before an orderly end everything pending is sent, though nobody had waited for it."""
    with ExitStack() as stack:
        ending = tier(stack, way, library)
        before = daily(running).total()
        assert ending.ask("burst", 5_000, SPECIALISTS)["pending"] == 5_000
        ending.process.send_signal(signal.SIGTERM)
        assert ending.answer() == {"sent": 5_000, "dropped": 0, "pending": 0}
        assert ending.process.wait(20) == 0
    counted_through(running)
    assert daily(running).total() - before == 5_000


def test_a_refresh_is_done(running: Stage, way: Proxy) -> None:
    """What the web tier asks for is a run, and it ends well."""
    with ExitStack() as stack:
        asking = tier(stack, way, "ioredis")
        assert asking.ask("requestRefresh", {"specialistId": SPECIALISTS[0], "from": "2026-01-01", "to": "2026-01-07"})
        finished = "SELECT 1 FROM analytics.run WHERE kind = 'refresh' AND state = 'done'"
        until(lambda: bool(running.ask(finished)), "the refresh is done")


@contextmanager
def cutting(way: Proxy) -> Iterator[None]:
    """Cut every connection once a second."""
    enough = Event()

    def cut() -> None:
        while not enough.wait(1.0):
            way.cut()

    thread = Thread(target=cut)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


def test_every_event_is_counted_once(running: Stage, way: Proxy) -> None:
    """100,000 events of two web tiers, with the ioredis of today and of yesterday, while answers get lost: repeats
    reach Redis, and the daily table is the straight count of what visitors did.
    """
    before, ids_before = daily(running), set(sent_ids(running))
    with ExitStack() as stack:
        tiers = [tier(stack, way, library) for library in LIBRARIES]
        lost = way.hold(XADD, answered=True)
        for each in tiers:
            each.tell("crowd", EVENTS, SPECIALISTS)
        with lost:
            pass  # its connection is cut
        with cutting(way):
            truth = sum((Counter(each.answer()["cells"]) for each in tiers), Counter[str]())
        for each in tiers:
            assert each.ask("flush", 30_000) == {"sent": EVENTS, "dropped": 0, "pending": 0}
    counted_through(running)
    assert truth.total() == 2 * EVENTS
    assert daily(running) - before == truth
    ids = [each for each in sent_ids(running) if each not in ids_before]
    assert len(ids) > len(set(ids)) == 2 * EVENTS
