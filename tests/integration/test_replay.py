"""What the streams still hold is read again: only what is missing counts, whatever else goes on meanwhile."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from threading import Event as Flag
from typing import Any

import pytest
import redis

from tests.counting import TODAY, TODAY_MS, add, daily, dead, drain, event
from tests.support import add_specialists, settings_with, wait_until
from worker.continuity import LARGEST_SEQ, EntryId
from worker.daily.recompute import diff_day
from worker.errors import Conflict, Stop
from worker.operation import JsonObject, Step
from worker.operations import replay
from worker.operations.replay import (
    Forecast,
    ReplayArguments,
    RequeueArguments,
    count_matching,
    forecast,
    moment_or_id,
    replay_steps,
    requeue_steps,
    survey,
)
from worker.pipeline import run_shard
from worker.settings import Settings
from worker.store import Connection, connect_postgres
from worker.stream import connect_redis

STREAM = "analytics:events"
ALL = ReplayArguments(first="0-0", last=f"{2**62}-0")


@pytest.fixture(autouse=True)
def _specialists(connection: Connection) -> None:
    add_specialists(connection, ["anna", "boris"])


@pytest.fixture
def _small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "PORTION_ENTRIES", 10)
    monkeypatch.setattr(replay, "PAGE_ENTRIES", 5)
    monkeypatch.setattr(replay, "FIRST_PAGE_ENTRIES", 5)
    monkeypatch.setattr(replay, "next_page_entries", lambda entries, page: 5)


def steps(
    settings: Settings, wanted: ReplayArguments = ALL, cursor: JsonObject | None = None, *, run: int = 1
) -> Iterator[Step]:
    return replay_steps(settings, run, wanted, cursor or {})


def last(of: Iterable[Step]) -> Step:
    return list(of)[-1]


def result(
    counted: int = 0, repeats: int = 0, excluded: int = 0, dead_letters: int = 0, gone: int | None = 0
) -> JsonObject:
    read = counted + repeats + excluded + dead_letters
    books = {"read": read, "counted": counted, "repeats": repeats, "excluded": excluded, "dead_letters": dead_letters}
    return books if gone is None else books | {"gone": gone}


def forget(connection: Connection, *event_ids: str) -> None:
    """As if the database had been restored to a moment before these were counted, but not the positions."""
    connection.execute("DELETE FROM analytics.event WHERE event_id = ANY(%s::uuid[])", [list(event_ids)])
    connection.execute('DELETE FROM "SpecialistAnalyticsDaily"')
    rows = connection.execute(
        "SELECT specialist_id, count(*)::integer FROM analytics.event WHERE excluded IS NULL GROUP BY 1"
    ).fetchall()
    for specialist, views in rows:
        connection.execute(
            'INSERT INTO "SpecialistAnalyticsDaily" (id, "specialistId", date, "profileViews", sources, "updatedAt")'
            " VALUES (gen_random_uuid()::text, %s, %s, %s, analytics.sources(%s, 0, 0, 0), now())",
            [specialist, TODAY, views, views],
        )


def forecast_of(settings: Settings, wanted: ReplayArguments = ALL) -> Forecast:
    with connect_postgres(settings, "test") as worker, connect_redis(settings) as client:
        return forecast(settings, worker, client, wanted, survey(settings, worker, client, wanted))


def totals(found: Forecast) -> tuple[int, ...]:
    letters = found.new_letters, found.known_letters
    return tuple(column.total() for column in (found.counted, found.excluded, found.repeats, *letters))


def some_of_each() -> list[dict[Any, Any]]:
    """50 entries: 40 to be counted, 4 to be excluded, 3 repeats, 3 dead letters."""
    good = [event(("anna", "boris")[n % 2]) for n in range(40)]
    bad = [event("nobody"), event(occurredAt="never"), event(type=None)]
    return [*good[:25], *(event(viewerId="anna") for _ in range(4)), *good[:3], *bad, *good[25:]]


@pytest.mark.usefixtures("_small_portions")
def test_only_what_is_missing(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """After a restore events are missing that were read: a replay counts these, and nothing else."""
    sent = some_of_each()
    add(client, *sent)
    drain(settings)
    right = daily(connection)
    forget(connection, *(sent[n]["eventId"] for n in (0, 10, 26, 45)))
    assert daily(connection) != right
    assert totals(forecast_of(settings)) == (3, 1, 43, 0, 3)
    assert last(steps(settings)).result == result(counted=3, excluded=1, repeats=46)
    assert daily(connection) == right
    assert not diff_day(connection, TODAY, "UTC")
    assert len(dead(connection)) == 3
    assert totals(forecast_of(settings)) == (0, 0, 47, 0, 3)
    assert last(steps(settings, run=2)).result == result(repeats=50)


def test_dead_letters_that_were_lost(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Bad entries that are not among the dead letters any more are buried again, as of the stream that they lie in."""
    add(client, *some_of_each())
    drain(settings)
    connection.execute("DELETE FROM analytics.dead_letter WHERE reason <> 'bad_time'")
    found = forecast_of(settings)
    assert (found.new_letters, found.known_letters) == (
        Counter(unknown_specialist=1, missing_type=1),
        Counter(bad_time=1),
    )
    assert last(steps(settings)).result == result(repeats=48, dead_letters=2)
    assert connection.execute("SELECT DISTINCT stream FROM analytics.dead_letter").fetchall() == [(STREAM,)]
    assert len(dead(connection)) == 3


def test_what_was_buried_by_mistake(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Events that were buried for a reason that holds no more count, and their letters are no longer buried."""
    add(client, *(event("newcomer", eventId=None, occurredAt=None) for _ in range(3)), event(), event("nobody"))
    drain(settings)
    add_specialists(connection, ["newcomer"])
    assert last(steps(settings, run=7)).result == result(counted=3, repeats=2)
    states = "SELECT state, count(*) FROM analytics.dead_letter GROUP BY 1 ORDER BY 1"
    assert connection.execute(states).fetchall() == [("buried", 1), ("requeued", 3)]
    actions = "SELECT DISTINCT operator, stream FROM analytics.dead_letter_action"
    assert connection.execute(actions).fetchall() == [("run 7", STREAM)]
    assert daily(connection)["newcomer", TODAY] == (3, 0)


def test_another_entry_of_the_same_id(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """A letter of an entry that had the id before, in a stream that is gone, stays buried."""
    client.xadd(STREAM, event("nobody"), id="5-1")
    drain(settings)
    client.delete(STREAM)
    client.xadd(STREAM, event(), id="5-1")
    assert last(steps(settings)).result == result(counted=1)
    assert connection.execute("SELECT state FROM analytics.dead_letter").fetchall() == [("buried",)]


def test_a_range_has_both_its_ends(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Entries from the first id to the last one are read again, those before and behind are not."""
    sent = [event() for _ in range(6)]
    for number, fields in enumerate(sent, 1):
        client.xadd(STREAM, fields, id=f"{number}-1")
    drain(settings)
    forget(connection, *(fields["eventId"] for fields in sent))
    assert last(steps(settings, ReplayArguments(first="2-1", last="4-1"))).result == result(counted=3)
    assert last(steps(settings, ReplayArguments(first="2-2", last="5-0"), run=2)).result == result(repeats=2)
    assert last(steps(settings, ReplayArguments(first="7-0", last="9-0"), run=3)).result == result()


def test_the_rest_is_the_live_path_s(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """What is not read yet is told and left alone."""
    add(client, event())
    drain(settings)
    add(client, event(), event())
    with connect_postgres(settings, "test") as worker:
        [held] = survey(settings, worker, client, ALL)
    assert (held.entries, held.unread) == (1, 2)
    assert last(steps(settings)).result == result(repeats=1)
    drain(settings)
    assert daily(connection) == {("anna", TODAY): (3, 0)}


def test_a_stream_that_was_never_read(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Without a position there is nothing to read again."""
    add(client, event())
    with connect_postgres(settings, "test") as worker:
        [held] = survey(settings, worker, client, ALL)
    assert (held.entries, held.unread) == (0, 1)
    assert last(steps(settings)).result == result()


def test_shards(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """All shards are read again, or one; a shard that is not there is refused."""
    sharded = settings_with(settings, ANALYTICS_SHARDS="2")
    sent = {shard: [event() for _ in range(shard + 2)] for shard in (0, 1)}
    for shard, events in sent.items():
        add(client, *events, stream=sharded.stream_keys[shard])
        drain(sharded, shard)
    forget(connection, *(each["eventId"] for events in sent.values() for each in events))
    only = ReplayArguments(first=ALL.first, last=ALL.last, shard=1)
    assert last(steps(sharded, only)).result == result(counted=3)
    assert last(steps(sharded, run=2)).result == result(counted=2, repeats=3)
    shards = connection.execute("SELECT stream, count(*) FROM analytics.event GROUP BY 1 ORDER BY 1").fetchall()
    assert shards == [(0, 2), (1, 3)]
    with pytest.raises(Stop, match="there is no shard 1: ANALYTICS_SHARDS is 1"):
        last(steps(settings, only, run=3))


@pytest.mark.usefixtures("_small_portions")
def test_stopped_after_every_step(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """A replay that is stopped between any two steps, and goes on from the cursor, comes to the same."""
    sent = some_of_each()
    add(client, *sent)
    drain(settings)
    right = daily(connection)
    forget(connection, *(fields["eventId"] for fields in sent if "eventId" in fields))
    cursor: JsonObject = {}
    seen = []
    while True:
        going = steps(settings, cursor=cursor)
        step = next(going)
        going.close()  # type: ignore[attr-defined] # it is a generator
        cursor = json.loads(json.dumps(step.cursor))
        seen.append(step.done)
        if "gone" in step.result:
            break
    assert step.result == result(counted=40, excluded=4, repeats=6)
    assert seen == [0, 10, 20, 30, 40, 50, 50]
    assert daily(connection) == right


@pytest.mark.usefixtures("_small_portions")
@pytest.mark.parametrize("noted", [0, 1, 3])
@pytest.mark.parametrize("page", [5, 3])
def test_steps_that_nobody_noted(
    settings: Settings,
    *,
    connection: Connection,
    client: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    noted: int,
    page: int,
) -> None:
    """If the cursor is older than what was committed, the run comes to the same result, and no letter is forgotten."""
    sent = [event("newcomer") if n % 7 == 0 else event() for n in range(42)]
    add(client, *sent)
    drain(settings)
    add_specialists(connection, ["newcomer"])
    forget(connection, *(fields["eventId"] for fields in sent))
    first = [step for _, step in zip(range(5), steps(settings), strict=False)]
    connection.execute("UPDATE analytics.dead_letter SET state = 'buried'")  # killed before that was done
    monkeypatch.setattr(replay, "FIRST_PAGE_ENTRIES", page)
    monkeypatch.setattr(replay, "next_page_entries", lambda entries, read: page)
    assert last(steps(settings, cursor=first[noted].cursor)).result == result(counted=42)
    states = connection.execute("SELECT entry_id, state FROM analytics.dead_letter ORDER BY id").fetchall()
    behind = EntryId.of(first[noted].cursor["after"]["0"])
    assert len(states) == 6
    assert all(state == "requeued" for entry_id, state in states if EntryId.of(entry_id) > behind)
    assert daily(connection) == {("anna", TODAY): (36, 0), ("newcomer", TODAY): (6, 0)}


@pytest.mark.usefixtures("_small_portions")
def test_two_executions_at_once(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Of two executions of one run the slower one is refused, and the numbers are those of one."""
    sent = some_of_each()
    add(client, *sent)
    drain(settings)
    right = daily(connection)
    forget(connection, *(fields["eventId"] for fields in sent))
    slow, fast = steps(settings), steps(settings)
    next(slow), next(slow)
    with pytest.raises(Conflict):
        for _ in range(3):
            next(fast), next(fast), next(slow)
    assert last(steps(settings)).result == result(counted=40, excluded=4, repeats=6)
    assert daily(connection) == right


@pytest.mark.usefixtures("_small_portions")
def test_trimmed_meanwhile(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """What is trimmed before it is read again is told with its number; what is left counts."""
    sent = [event() for _ in range(50)]
    add(client, *sent)
    drain(settings)
    forget(connection, *(fields["eventId"] for fields in sent))
    going = steps(settings)
    assert [next(going).done for _ in range(3)] == [0, 10, 20]
    client.xtrim(STREAM, maxlen=15, approximate=False)
    end = last(going)
    # Ten were in memory when it was trimmed.
    assert end.result == result(counted=45, gone=5)
    assert (end.done, end.total) == (45, 50)
    assert daily(connection) == {("anna", TODAY): (45, 0)}


@pytest.mark.usefixtures("_small_portions")
def test_deleted_meanwhile(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """A stream that is deleted ends the replay in good order, also when the web tier begins it anew."""
    sent = [event() for _ in range(50)]
    add(client, *sent)
    drain(settings)
    forget(connection, *(fields["eventId"] for fields in sent))
    going = steps(settings)
    next(going), next(going)
    client.delete(STREAM)
    add(client, event(), event())
    end = last(going)
    assert end.result["read"] + end.result["gone"] == 50
    drain(settings)
    assert daily(connection) == {("anna", TODAY): (end.result["counted"] + 2, 0)}
    assert not diff_day(connection, TODAY, "UTC")


def test_under_full_traffic(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Two replays of everything while events pour in and are counted: every event counts once."""
    old = [event(("anna", "boris")[n % 2]) for n in range(6_000)]
    with client.pipeline(transaction=False) as pipe:
        for fields in old:
            pipe.xadd(STREAM, fields)
        pipe.execute()
    drain(settings)
    forget(connection, *(fields["eventId"] for fields in old[::3]))
    stop, begun = Flag(), Flag()
    sent = 0

    def produce() -> int:
        sent = 0
        with connect_redis(settings) as own:
            while not stop.is_set():
                pipe = own.pipeline(transaction=False)
                for _ in range(100):
                    pipe.xadd(STREAM, event(("anna", "boris")[sent % 2]))
                    sent += 1
                pipe.execute()
                begun.set()
        return sent

    def replayed(run: int) -> Step:
        cursor: JsonObject = {}
        while True:
            try:
                for step in steps(settings, cursor=cursor, run=run):
                    cursor = step.cursor
                return step
            except Conflict:
                continue

    with ThreadPoolExecutor(4) as threads:
        try:
            producer = threads.submit(produce)
            live = threads.submit(run_shard, settings, 0, stop.is_set)
            wait_until(begun.is_set, "traffic")
            ends = [replay.result(timeout=60) for replay in [threads.submit(replayed, run) for run in (1, 2)]]
        finally:
            stop.set()
        sent = producer.result(timeout=60)
        live.result(timeout=60)
    drain(settings)
    assert sent > 0
    # Of the missing ones each was counted by one of the two.
    assert sum(end.result["counted"] for end in ends) == 2_000
    views = daily(connection)
    assert sum(profile for profile, _ in views.values()) == len(old) + sent
    assert not diff_day(connection, TODAY, "UTC")


def test_a_forecast_changes_nothing_and_holds(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """What a dry run says is what the run does, by day; and it is the same when asked again."""
    sent = some_of_each()
    yesterday = event(occurredAt=TODAY_MS - 1)
    add(client, *sent, yesterday, yesterday)
    drain(settings)
    forget(connection, *(fields["eventId"] for fields in sent if "eventId" in fields), yesterday["eventId"])
    connection.execute("DELETE FROM analytics.dead_letter")
    found = forecast_of(settings)
    assert totals(found) == totals(forecast_of(settings)) == (41, 4, 4, 3, 0)
    assert found.counted == {TODAY: 40, TODAY - timedelta(days=1): 1}
    assert found.repeats == {TODAY: 3, TODAY - timedelta(days=1): 1}
    assert last(steps(settings)).result == result(counted=41, excluded=4, repeats=4, dead_letters=3)


def test_times_and_ids() -> None:
    """A range is given by times, in UTC or with an offset, or by ids; a time takes its whole millisecond in."""
    berlin = timezone(timedelta(hours=2))
    ms = int(datetime(2026, 11, 20, 12, tzinfo=UTC).timestamp()) * 1000
    for text in ("2026-11-20T12:00", "2026-11-20 12:00:00Z", datetime(2026, 11, 20, 14, tzinfo=berlin).isoformat()):
        assert moment_or_id(text, "--from", is_end=False) == EntryId(ms, 0)
        assert moment_or_id(text, "--to", is_end=True) == EntryId(ms, LARGEST_SEQ)
    assert moment_or_id("1795183200000-7", "--to", is_end=True) == EntryId(1795183200000, 7)
    for text in ("", "yesterday", "2026-11", "12-1", "2026-02-30", "1969-12-31", "1795183200000-99999999999999999999"):
        with pytest.raises(Stop, match=r"--from .* is neither a time, .* nor an entry id"):
            moment_or_id(text, "--from", is_end=False)


def test_a_range_that_is_none(settings: Settings) -> None:
    """The wrong way round it is refused."""
    with pytest.raises(Stop, match="turn them round"):
        next(steps(settings, ReplayArguments(first="9-0", last="8-0")))


def buried(connection: Connection) -> int:
    row = connection.execute("SELECT count(*) FROM analytics.dead_letter WHERE state = 'buried'").fetchone()
    assert row is not None
    return int(row[0])


def test_dead_letters_in_slices(
    settings: Settings, connection: Connection, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each letter is sent again once, though it is buried again at once and the run is stopped after every page."""
    monkeypatch.setattr("worker.operations.dead_letters.PAGE_LETTERS", 4)
    add(client, *(event("nobody") for _ in range(10)), event(note="x" * 2_000_000), event(type="other"))
    drain(settings)
    wanted = RequeueArguments(reason="unknown_specialist")
    cursor: JsonObject = {}
    done = []
    while True:
        step = next(requeue_steps(settings, 1, wanted, cursor), None)
        if step is None:
            break
        drain(settings)
        done.append((step.done, step.total))
        cursor = json.loads(json.dumps(step.cursor))
    assert done == [(0, 10), (4, 10), (8, 10), (10, 10)]
    assert client.xlen(STREAM) == 22
    assert buried(connection) == 12
    assert connection.execute("SELECT DISTINCT operator FROM analytics.dead_letter_action").fetchall() == [("run 1",)]


def test_letters_that_cannot_be_sent_are_passed_once(
    settings: Settings, connection: Connection, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages of letters that were too large are behind a run that is stopped after each of them, as all others are."""
    monkeypatch.setattr("worker.operations.dead_letters.PAGE_LETTERS", 2)
    for events in ([event("nobody")], [event(**{f"n{n}": "x" for n in range(1_001)}) for _ in range(5)]):
        add(client, *events)
        drain(settings)
    cursor: JsonObject = {}
    done = []
    for _ in range(4):
        step = next(requeue_steps(settings, 1, RequeueArguments(), cursor))
        done.append(step.done)
        cursor = step.cursor
    assert done == [0, 0, 0, 1]
    assert next(requeue_steps(settings, 1, RequeueArguments(), cursor), None) is None


def test_how_many_letters_it_would_be(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """They are counted by reason; those that were too large to be kept whole are none of them."""
    add(client, event("nobody"), event("noone"), event(type="other"), event(note="x" * 2_000_000))
    drain(settings)
    with connect_postgres(settings, "test") as worker:
        assert count_matching(worker, RequeueArguments()) == [("unknown_specialist", 2), ("unknown_type", 1)]
        assert count_matching(worker, RequeueArguments(reason="unknown_type")) == [("unknown_type", 1)]
        late = RequeueArguments(since=datetime.now(UTC) + timedelta(hours=1))
        assert count_matching(worker, late) == []
    assert last(requeue_steps(settings, 1, RequeueArguments(), {})).result == {"sent": 3}


def test_one_letter(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """One letter can be sent again alone, and one that is not there is none."""
    add(client, event("nobody"), event("nobody"))
    drain(settings)
    row = connection.execute("SELECT max(id) FROM analytics.dead_letter").fetchone()
    assert row is not None
    assert last(requeue_steps(settings, 1, RequeueArguments(letter=row[0]), {})).result == {"sent": 1}
    states = "SELECT id = %s, state FROM analytics.dead_letter ORDER BY id"
    assert connection.execute(states, row).fetchall() == [(False, "buried"), (True, "requeued")]
    assert client.xlen(STREAM) == 3
    assert list(requeue_steps(settings, 1, RequeueArguments(letter=row[0] + 1), {})) == []


def test_requests_can_be_sent_again(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """The reasons of refused requests can be asked for as those of events, and go back to where requests are read."""
    connection.execute(
        "INSERT INTO analytics.dead_letter (stream, entry_id, reason, fields) VALUES (%s, '1-0', 'missing_kind', %s)",
        [settings.requests, '[["specialistId", "anna"]]'],
    )
    wanted = RequeueArguments.model_validate({"reason": "missing_kind"})
    assert last(requeue_steps(settings, 1, wanted, {})).result == {"sent": 1}
    assert client.xlen(settings.requests) == 1
