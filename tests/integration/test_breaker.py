"""If most of what comes in is bad, a shard halts: nothing is buried or skipped until it is good or a person says so."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event as Flag
from threading import Thread

import pytest
import redis

from tests.counting import TODAY, add, books, daily, dead, drain, event, findings, position_of
from tests.support import add_specialists, run_worker, settings_with, wait_until
from worker.errors import Halted
from worker.pipeline import opened, run_shard
from worker.report import Report
from worker.settings import Settings
from worker.store import Connection


@pytest.fixture
def careful(settings: Settings) -> Settings:
    """A breaker that looks at twenty entries, and small batches."""
    return settings_with(settings, ANALYTICS_BREAKER_ENTRIES="20", ANALYTICS_BATCH_ENTRIES="10")


@contextmanager
def reading(settings: Settings) -> Iterator[None]:
    """The worker's loop, as long as the block runs."""
    stop = Flag()
    thread = Thread(target=run_shard, args=(settings, 0, stop.is_set))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def halted(connection: Connection) -> bool:
    row = connection.execute("SELECT halted_at FROM analytics.stream_position").fetchone()
    return row is not None and row[0] is not None


def test_a_shard_halts_and_goes_on_when_its_events_are_good(
    careful: Settings, connection: Connection, client: redis.Redis
) -> None:
    """With a database that lacks the specialists the shard halts; when they are there, every event counts."""
    add(client, *(event() for _ in range(40)))
    with reading(careful):
        wait_until(lambda: halted(connection), "the shard halts")
        add_specialists(connection, ["anna"])
        wait_until(lambda: not halted(connection), "the shard goes on")
        wait_until(lambda: books(connection)[0] == 40, "all is read")
    buried = len(dead(connection))
    assert buried < 20
    assert daily(connection) == {("anna", TODAY): (40 - buried, 0)}
    assert findings(connection) == [("mostly_bad", "halted", None), ("mostly_good", "resumed", None)]
    assert run_worker(careful, "dead-letters", "requeue", "--all")[0] == 0
    drain(careful)
    assert daily(connection) == {("anna", TODAY): (40, 0)}


def test_newer_good_events_let_it_go_on(careful: Settings, connection: Connection, client: redis.Redis) -> None:
    """When the web tier is right again, what was bad is buried and what is good counts."""
    add_specialists(connection, ["anna"])
    add(client, *(event(type="nonsense") for _ in range(40)))
    with reading(careful):
        wait_until(lambda: halted(connection), "the shard halts")
        read = books(connection)[0]
        add(client, *(event() for _ in range(20)))
        wait_until(lambda: books(connection)[0] == 60, "all is read")
    assert read < 40
    assert books(connection) == (60, 20, 0, 0, 40)
    assert not halted(connection)


def test_a_person_lets_it_go_on(careful: Settings, connection: Connection, client: redis.Redis) -> None:
    """`resume` lets pass what is there by now; bad entries that come later halt it again. Who did it is recorded."""
    add(client, *(event(type="nonsense") for _ in range(40)))
    assert run_worker(careful, "resume") == (1, "no shard is halted\n", "")
    with reading(careful):
        wait_until(lambda: halted(connection), "the shard halts")
        assert "entries of analytics:events are bad: " in run_worker(careful, "status")[1]
        code, output, _ = run_worker(careful, "resume", "0")
        assert (code, output) == (0, "analytics:events goes on within seconds\n")
        wait_until(lambda: books(connection)[0] == 40, "all is read")
        add(client, *(event(type="nonsense") for _ in range(40)))
        wait_until(lambda: halted(connection), "the shard halts again")
    row = connection.execute(
        "SELECT seen ->> 'operator' FROM analytics.continuity_event WHERE verdict = 'waived'"
    ).fetchone()
    assert row is not None
    assert "@" in row[0]


def test_a_rewind_does_not_let_a_halted_shard_go_on(
    careful: Settings, connection: Connection, client: redis.Redis
) -> None:
    """What a person let pass before the shard halted anew is no reason to go on when reading goes back behind it."""
    for _ in range(2):
        add(client, *(event(type="nonsense") for _ in range(40)))
        with reading(careful):
            wait_until(lambda: halted(connection), "the shard halts")
        if books(connection)[0] < 40:
            assert run_worker(careful, "resume")[0] == 0
            with reading(careful):
                wait_until(lambda: books(connection)[0] == 40, "what was let pass is read")
    connection.execute("UPDATE analytics.stream_position SET last_id = '1-0', ordinal = 0")
    read = books(connection)[0]
    with pytest.raises(Halted), opened(careful, 0, Report(0)) as rollup:
        rollup.run(lambda: False, on_progress=lambda: None)
    assert (books(connection)[0], position_of(connection)) == (read, "1-0")


def test_a_halted_shard_is_trimmed(careful: Settings, connection: Connection, client: redis.Redis) -> None:
    """What a halted shard had committed leaves the stream after its retention, and what it has not read stays."""
    add_specialists(connection, ["anna"])
    hours_ago = int(client.time()[0] - 7200) * 1000
    for _ in range(200):
        client.xadd("analytics:events", event(), id=f"{hours_ago}-*")
    drain(careful)
    assert client.xlen("analytics:events") == 200
    add(client, *(event(type="nonsense") for _ in range(40)))
    with reading(careful):
        wait_until(lambda: halted(connection), "the shard halts")
    assert client.xlen("analytics:events") == 240
    with reading(settings_with(careful, ANALYTICS_STREAM_RETENTION_HOURS="1")):
        wait_until(lambda: client.xlen("analytics:events") < 200, "it is trimmed")
    assert books(connection)[:2] == (200 + books(connection)[4], 200)
    assert findings(connection) == [("mostly_bad", "halted", None)]


def test_a_few_bad_entries_are_no_reason(careful: Settings, connection: Connection, client: redis.Redis) -> None:
    """As long as half of the latest entries are good, the bad ones are buried and nothing halts."""
    add_specialists(connection, ["anna"])
    for _ in range(10):
        add(client, *(event(), event(type="nonsense")) * 5)
        drain(careful)
    assert books(connection) == (100, 10, 40, 0, 50)
    assert findings(connection) == []


def test_a_share_of_one_never_halts(careful: Settings, connection: Connection, client: redis.Redis) -> None:
    """With ANALYTICS_BREAKER_SHARE=1 everything bad is buried."""
    add(client, *({"type": "nonsense", "n": number} for number in range(200)))
    drain(settings_with(careful, ANALYTICS_BREAKER_SHARE="1"))
    assert books(connection) == (200, 0, 0, 0, 200)


def test_a_shard_that_is_not_there(settings: Settings) -> None:
    """`resume` of a shard that is not there says so in one line."""
    code, _, errors = run_worker(settings, "resume", "3")
    assert code == 2
    assert "no shard 3" in errors
