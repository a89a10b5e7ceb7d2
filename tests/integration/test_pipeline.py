"""From the stream to the committed row, with real servers."""

import json
import time
from base64 import b64decode
from collections.abc import Callable
from datetime import date, timedelta
from threading import Thread
from typing import Any

import psycopg
import pytest
import redis

from tests.counting import TODAY, TODAY_MS, add, books, daily, dead, drain, event, findings, position_of
from tests.support import add_specialists, settings_with
from worker import store
from worker.batch import Batch
from worker.continuity import EntryId, Lost, Position
from worker.errors import Conflict, Stop
from worker.pipeline import opened, run_shard
from worker.report import Report
from worker.settings import Settings
from worker.store import Connection


@pytest.fixture(autouse=True)
def _specialists(connection: Connection) -> None:
    add_specialists(connection, ["anna", "boris", "null"])


def test_events_become_the_right_row(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Views, contacts, sources and rates of a day stand in one row, and a second batch adds to them."""
    add(
        client,
        event(),
        event(source="search"),
        event(source="referral"),
        event(type="contact_view", contactType="phone"),
    )
    drain(settings)
    add(client, event(source=None), event(type="contact_view", source=None))
    drain(settings)
    row = connection.execute(
        'SELECT "specialistId", date, "profileViews", "contactViews", "sources", "conversionRateProfileToContact",'
        ' "conversionRateContactToRequest", "consultationRequests" FROM "SpecialistAnalyticsDaily"'
    ).fetchall()
    assert row == [("anna", TODAY, 4, 2, {"catalog": 1, "search": 1, "direct": 1, "other": 1}, 50.0, 0.0, 0)]
    assert books(connection) == (6, 6, 0, 0, 0)


def test_rates_follow_when_outcomes_are_there(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """A row that already has requests and orders keeps them, and its rates are computed anew."""
    connection.execute(
        'INSERT INTO "SpecialistAnalyticsDaily" (id, "specialistId", date, "contactViews", "consultationRequests",'
        """ orders, "updatedAt") VALUES ('x', 'anna', %s, 1, 2, 1, now())""",
        [TODAY],
    )
    add(client, *(event() for _ in range(6)), event(type="contact_view"), event(type="contact_view"))
    drain(settings)
    row = connection.execute(
        'SELECT id, "profileViews", "contactViews", "consultationRequests", orders, sources,'
        ' "conversionRateProfileToContact", "conversionRateContactToRequest" FROM "SpecialistAnalyticsDaily"'
    ).fetchone()
    assert row == ("x", 6, 3, 2, 1, {"catalog": 6, "search": 0, "direct": 0, "other": 0}, 50.0, 66.7)


def test_the_zone_decides_the_day(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """An hour before midnight in UTC is the next day in Berlin."""
    yesterday_late = TODAY_MS - 3_600_000 // 2
    add(client, event(occurredAt=yesterday_late))
    drain(settings_with(settings, ANALYTICS_TIME_ZONE="Europe/Berlin"))
    assert daily(connection) == {("anna", TODAY): (1, 0)}
    day = connection.execute("SELECT day FROM analytics.event").fetchone()
    assert day == (TODAY - timedelta(days=1),), "the ledger keeps UTC days"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"type": None}, "missing_type"),
        ({"type": "page_view"}, "unknown_type"),
        ({"specialistId": None}, "missing_specialist"),
        ({"specialistId": ""}, "missing_specialist"),
        ({"specialistId": "a" * 65}, "field_too_long"),
        ({"specialistId": "an na"}, "bad_specialist"),
        ({"specialistId": "nobody"}, "unknown_specialist"),
        ({"eventId": "1"}, "bad_event_id"),
        ({"occurredAt": "soon"}, "bad_time"),
        ({"occurredAt": 1_431_857_114_000}, "too_old"),
        ({"occurredAt": 4_102_444_800_000}, "in_the_future"),
        ({"userAgent": "x" * 1_000_000}, "field_too_long"),
        ({"contactType": b"\x00\xff\xfe"}, "bad_text"),
        ({"v": "2"}, "unknown_version"),
    ],
)
def test_a_bad_event_is_buried_and_the_good_ones_count(
    settings: Settings, connection: Connection, client: redis.Redis, bad: dict[str, Any], reason: str
) -> None:
    """Each kind of bad event is buried with its reason and original fields; the good ones around it count."""
    broken = event(**bad)
    add(client, event(), broken, event())
    drain(settings)
    assert daily(connection) == {("anna", TODAY): (2, 0)}
    [(found, fields)] = dead(connection)
    assert found == reason
    assert {name: decoded(value) for name, value in fields} == {
        name: value.decode("latin-1") if isinstance(value, bytes) else str(value) for name, value in broken.items()
    }
    assert books(connection) == (3, 2, 0, 0, 1)


def decoded(value: Any) -> str:
    return b64decode(value["base64"]).decode("latin-1") if isinstance(value, dict) else value


def test_binary_garbage(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Names and values of any bytes are kept without loss, and do not stop the batch."""
    add(client, {b"\x00\xff": b"\xfe" * 100, b"": b""}, event())
    drain(settings)
    [(reason, fields)] = dead(connection)
    assert reason == "missing_type"
    assert [[decoded(name), decoded(value)] for name, value in fields] == [["\x00\xff", "\xfe" * 100], ["", ""]]
    assert daily(connection) == {("anna", TODAY): (1, 0)}


def test_a_batch_of_nothing_but_bad_events(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """When every entry is bad, all are buried and reading goes on."""
    add(client, *({"type": "nonsense", "n": number} for number in range(500)))
    drain(settings)
    assert books(connection) == (500, 0, 0, 0, 500)
    add(client, event())
    drain(settings)
    assert daily(connection) == {("anna", TODAY): (1, 0)}


def test_an_unknown_specialist_counts_once_he_exists(
    settings: Settings, connection: Connection, client: redis.Redis
) -> None:
    """The same event, sent again after the profile was made, counts."""
    early = event("newcomer")
    add(client, early)
    drain(settings)
    add_specialists(connection, ["newcomer"])
    add(client, early)
    drain(settings)
    assert daily(connection) == {("newcomer", TODAY): (1, 0)}
    assert books(connection) == (2, 1, 0, 0, 1)


@pytest.mark.parametrize("between", [lambda settings: None, drain], ids=["one batch", "two batches"])
def test_a_repeat_counts_once(
    settings: Settings, connection: Connection, client: redis.Redis, between: Callable[[Settings], None]
) -> None:
    """An event that was sent twice counts once, whether both came in one batch or in two."""
    twice = event()
    add(client, twice)
    between(settings)
    add(client, twice)
    drain(settings)
    assert daily(connection) == {("anna", TODAY): (1, 0)}
    assert books(connection) == (2, 1, 1, 0, 0)


def test_a_repeat_in_another_shard_counts_once(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """The same event in two shards counts once."""
    both = settings_with(settings, ANALYTICS_SHARDS="2")
    twice = event()
    for shard, stream in enumerate(both.stream_keys):
        add(client, twice, stream=stream)
        drain(both, shard)
    assert daily(connection) == {("anna", TODAY): (1, 0)}
    assert books(connection) == (2, 1, 1, 0, 0)


def test_bots_and_self_views_are_in_the_ledger_only(
    settings: Settings, connection: Connection, client: redis.Redis
) -> None:
    """A bot's view and a look at one's own profile are kept with their reason and do not count."""
    add(client, event(userAgent="Googlebot/2.1 (+http://www.google.com/bot.html)"), event(viewerId="anna"), event())
    drain(settings)
    assert daily(connection) == {("anna", TODAY): (1, 0)}
    kept = connection.execute("SELECT excluded, count(*) FROM analytics.event GROUP BY 1 ORDER BY 1").fetchall()
    assert kept == [("bot", 1), ("self_view", 1), (None, 1)]
    assert books(connection) == (3, 1, 0, 2, 0)


def test_a_specialist_called_null(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """The id null is an id, and a contact type may hold quotes, commas and braces."""
    add(client, event("null", type="contact_view", contactType='a"b\\c,{NULL}'))
    drain(settings)
    assert daily(connection) == {("null", TODAY): (0, 1)}
    assert connection.execute("SELECT contact_type FROM analytics.event").fetchone() == ('a"b\\c,{NULL}',)


def test_the_visitor_is_not_stored_in_the_clear(
    settings: Settings, connection: Connection, client: redis.Redis
) -> None:
    """Only a hash of the visitor's id gets into the database, and the same visitor has the same hash."""
    secret = settings_with(settings, ANALYTICS_SECRET="a key of the test")
    add(client, event(visitorId="visitor-1"), event("boris", visitorId="visitor-1"), event(visitorId="visitor-2"))
    drain(secret)
    assert connection.execute("SELECT count(DISTINCT visitor), count(visitor) FROM analytics.event").fetchone() == (
        2,
        3,
    )


def test_a_specialist_deleted_in_between(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """If a specialist known a moment ago is gone, his events are buried and all others still count."""
    with opened(settings, 0, Report(0)) as rollup:
        rollup.intake.specialists = {"anna", "gone"}
        add(client, event(), event("gone"))
        with pytest.raises(Conflict):
            rollup.run(lambda: position_of(connection) is not None and position_of(connection) != "0-0", lambda: None)
    drain(settings)
    assert daily(connection) == {("anna", TODAY): (1, 0)}
    assert [reason for reason, _ in dead(connection)] == ["unknown_specialist"]


def test_who_comes_second_changes_nothing(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """A batch read from a position that somebody else has moved meanwhile is refused as a whole."""
    add(client, event())
    drain(settings)
    before = books(connection)
    late = Batch(Position("analytics:events", "another epoch", EntryId(0, 0), 0))
    late.add(EntryId(1, 0), [], [])
    with pytest.raises(Conflict):
        store.commit_batch(connection, late, 0, "UTC")
    assert books(connection) == before


def test_two_readers_of_one_shard(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Two rollups of the same shard at once count every event once."""
    events = [event(("anna", "boris")[number % 2]) for number in range(4_000)]
    small = settings_with(settings, ANALYTICS_BATCH_ENTRIES="50")

    def done() -> bool:
        return read_count() >= len(events)

    def read_count() -> int:
        with psycopg.connect(settings.database_url.get_secret_value()) as own:
            row = own.execute("SELECT coalesce(sum(entries_read), 0) FROM analytics.stream_position").fetchone()
        assert row is not None
        return int(row[0])

    add(client, *events)
    readers = [Thread(target=run_shard, args=(small, 0, done)) for _ in range(2)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert daily(connection) == {("anna", TODAY): (2_000, 0), ("boris", TODAY): (2_000, 0)}
    assert books(connection) == (4_000, 4_000, 0, 0, 0)


def test_loss_by_trimming_is_recorded(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """If a stranger trims entries before they were read, their exact number is recorded and reading goes on."""
    add(client, *(event() for _ in range(5)))
    drain(settings)
    add(client, *(event() for _ in range(10)))
    client.xtrim("analytics:events", maxlen=3, approximate=False)
    drain(settings)
    assert findings(connection) == [("trimmed_unread", "went_on", 7)]
    assert daily(connection) == {("anna", TODAY): (8, 0)}
    assert connection.execute("SELECT lost, ordinal FROM analytics.stream_position").fetchone() == (7, 15)


def test_deletion_of_an_unread_entry_is_recorded(
    settings: Settings, connection: Connection, client: redis.Redis
) -> None:
    """If a stranger deletes an entry before it was read, that is recorded too."""
    add(client, event())
    drain(settings)
    doomed = client.xadd("analytics:events", event())
    add(client, event())
    client.xdel("analytics:events", doomed)
    drain(settings)
    assert findings(connection) == [("deleted_unread", "went_on", 1)]
    assert daily(connection) == {("anna", TODAY): (2, 0)}


def test_a_flushed_stream_begins_anew(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """After FLUSHALL what was counted stays, the new stream is read from its beginning, and the books still balance."""
    add(client, *(event() for _ in range(5)))
    drain(settings)
    client.flushall()
    repeated = event("boris")
    add(client, repeated, repeated)
    drain(settings)
    assert [verdict for verdict, _, _ in findings(connection)] in (["went_back"], ["emptied"])
    assert daily(connection) == {("anna", TODAY): (5, 0), ("boris", TODAY): (1, 0)}
    assert books(connection) == (7, 6, 1, 0, 0)


def test_only_committed_and_old_entries_are_trimmed(
    settings: Settings, connection: Connection, client: redis.Redis
) -> None:
    """With a retention of an hour, entries that are older than that before the position go, the others stay."""
    now_ms = int(time.time() * 1000)
    for number in range(300):
        client.xadd("analytics:events", event(), id=f"{now_ms - 7_200_000 + number}-0")
    add(client, *(event() for _ in range(100)))
    drain(settings_with(settings, ANALYTICS_STREAM_RETENTION_HOURS="1"))
    assert daily(connection) == {("anna", TODAY): (400, 0)}
    assert 100 <= client.xlen("analytics:events") < 200, "whole nodes of up to 100 entries are trimmed"


def test_dead_letters_are_json(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """An operator can read a dead letter in psql: names and values in their order."""
    add(client, {"type": "x", "specialistId": "анна"})
    drain(settings)
    text = connection.execute("SELECT fields::text FROM analytics.dead_letter").fetchone()
    assert text is not None
    assert json.loads(text[0]) == [["type", "x"], ["specialistId", "анна"]]


def test_all_at_the_beginning_of_time(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """With a ledger that keeps all, a batch of events from the very first millisecond of 1970 is counted."""
    add(client, event(occurredAt=0), event(occurredAt="1970-01-01T00:00:00Z"))
    drain(settings_with(settings, ANALYTICS_LEDGER_DAYS="0"))
    assert daily(connection) == {("anna", date(1970, 1, 1)): (2, 0)}


def test_large_bad_entries_fit_into_memory(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Megabytes of bad entries are buried in several batches, whole, and what follows counts."""
    pipeline = client.pipeline(transaction=False)
    for _ in range(60):
        pipeline.xadd("analytics:events", event(userAgent="x" * 1_000_000))
    pipeline.execute()
    add(client, event())
    drain(settings)
    assert books(connection) == (61, 1, 0, 0, 60)
    batches = connection.execute("SELECT count(DISTINCT buried_at) FROM analytics.dead_letter").fetchone()
    assert batches is not None
    assert batches[0] > 2


def test_absurd_entries_are_buried_small(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Entries of absurd size, or of endless fields, are buried by their beginning; the one behind them counts."""
    add(client, {"x": b"\xff" * 20_000_000}, {f"n{number}": "" for number in range(100_000)}, event())
    drain(settings)
    assert [reason for reason, _ in dead(connection)] == ["entry_too_large", "entry_too_large"]
    assert daily(connection) == {("anna", TODAY): (1, 0)}
    largest = connection.execute("SELECT max(pg_column_size(fields)) FROM analytics.dead_letter").fetchone()
    assert largest is not None
    assert largest[0] < 100_000


def test_what_a_rewind_needs_is_kept(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Without any retention, what a rewind would go back over stays in the stream all the same."""
    add(client, *(event() for _ in range(300)))
    drain(settings_with(settings, ANALYTICS_STREAM_RETENTION_HOURS="0"))
    assert client.xlen("analytics:events") == 300


def test_trimming_keeps_up(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """However much is committed and old, it is trimmed: not only the ten thousand entries of one cheap call."""
    now_ms = int(time.time() * 1000)
    pipeline = client.pipeline(transaction=False)
    for number in range(40_000):
        pipeline.xadd("analytics:events", {"type": "x"}, id=f"{now_ms - 7_200_000 + number}-0")
    pipeline.execute()
    nothing_kept = {"ANALYTICS_STREAM_RETENTION_HOURS": "0", "ANALYTICS_REWIND_MINUTES": "0"}
    drain(settings_with(settings, ANALYTICS_BATCH_ENTRIES="10000", ANALYTICS_BREAKER_SHARE="1", **nothing_kept))
    assert client.xlen("analytics:events") < 12_000


def test_two_readers_record_a_loss_once(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """If two readers of a shard find the same loss, it is recorded once; the second one has to begin again."""
    add(client, *(event() for _ in range(5)))
    drain(settings)
    add(client, *(event() for _ in range(10)))
    with opened(settings, 0, Report(0)) as early, opened(settings, 0, Report(0)) as late:
        client.xtrim("analytics:events", maxlen=3, approximate=False)
        page = late.reader.read(late.position.last_id, 100)
        early.run(lambda: findings(connection) != [], lambda: None)
        with pytest.raises(Conflict):
            store.record_continuity(connection, late.position, Lost("trimmed_unread", 7), late.position, page.facts)
    drain(settings)
    assert findings(connection) == [("trimmed_unread", "went_on", 7)]
    assert connection.execute("SELECT lost FROM analytics.stream_position").fetchone() == (7,)


def test_a_flush_that_is_filled_up_again_is_noticed(
    settings: Settings, connection: Connection, client: redis.Redis
) -> None:
    """A stream that was emptied and has more entries by now than before is noticed all the same."""
    add(client, *(event() for _ in range(5)))
    drain(settings)
    client.flushall()
    add(client, *(event("boris") for _ in range(10)))
    drain(settings)
    assert [verdict for verdict, _, _ in findings(connection)] == ["went_back"]
    assert daily(connection) == {("anna", TODAY): (5, 0), ("boris", TODAY): (10, 0)}


def test_losses_after_a_rewind_that_found_nothing(
    settings: Settings, connection: Connection, client: redis.Redis
) -> None:
    """After a rewind to where nothing follows, a loss is counted from the very next entry on."""
    hours_ago = int(time.time() * 1000) - 7_200_000
    for number in range(3):
        client.xadd("analytics:events", event(), id=f"{hours_ago + number}-0")
    newest = client.xadd("analytics:events", event())
    drain(settings)
    client.xdel("analytics:events", newest)
    connection.execute("UPDATE analytics.stream_position SET epoch = 'before a restart'")
    run_shard(settings, 0, lambda: settled(connection))
    add(client, *(event() for _ in range(5)))
    client.xtrim("analytics:events", maxlen=1, approximate=False)
    drain(settings)
    assert findings(connection) == [("restarted", "rewound", None), ("trimmed_unread", "went_on", 4)]
    assert daily(connection) == {("anna", TODAY): (5, 0)}
    assert books(connection) == (5, 5, 0, 0, 0)


def settled(connection: Connection) -> bool:
    """Whether there was a rewind, and the number of the last entry read is known again."""
    row = connection.execute(
        "SELECT epoch <> 'before a restart' AND ordinal IS NOT NULL FROM analytics.stream_position"
    )
    return row.fetchone() == (True,)


def test_an_entry_below_the_position_is_found(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Ids that begin anew on the same server, and then pass the position: what landed below it is counted too."""
    add(client, event(), event())
    drain(settings)
    client.xtrim("analytics:events", maxlen=0, approximate=False)
    client.execute_command("XSETID", "analytics:events", "1-0")  # type: ignore[no-untyped-call]
    client.xadd("analytics:events", event("boris"), id="2-0")
    add(client, event("boris"))
    drain(settings)
    assert findings(connection) == [("went_back", "rewound", None)]
    assert daily(connection) == {("anna", TODAY): (2, 0), ("boris", TODAY): (2, 0)}


@pytest.mark.parametrize("sources", ['{"catalog": 1.5}', '{"catalog": "abc"}', '{"catalog": {}}', "[1]", "null", '"x"'])
def test_an_odd_row_stops_nobody(settings: Settings, connection: Connection, client: redis.Redis, sources: str) -> None:
    """A row whose sources somebody else has filled with anything is counted on, and so are the rows around it."""
    connection.execute(
        'INSERT INTO "SpecialistAnalyticsDaily" (id, "specialistId", date, "profileViews", sources, "updatedAt")'
        " VALUES ('x', 'anna', %s, 7, %s, now())",
        [TODAY, sources],
    )
    add(client, event(), event("boris"))
    drain(settings)
    assert daily(connection) == {("anna", TODAY): (8, 0), ("boris", TODAY): (1, 0)}


def test_a_detached_partition_is_attached_again(
    settings: Settings, connection: Connection, client: redis.Redis
) -> None:
    """If somebody detached today's ledger partition, it is put back, and a repeat of what it holds is still known."""
    known = event()
    add(client, known)
    drain(settings)
    connection.execute(f"ALTER TABLE analytics.event DETACH PARTITION analytics.event_{TODAY:%Y%m%d}".encode())
    add(client, known, event())
    drain(settings)
    assert daily(connection) == {("anna", TODAY): (2, 0)}


def test_what_postgresql_refuses_for_good_is_said(
    settings: Settings, connection: Connection, client: redis.Redis
) -> None:
    """If the site adds a column that must be filled, counting stops with a line that says so, and loses nothing."""
    connection.execute('ALTER TABLE "SpecialistAnalyticsDaily" ADD COLUMN extra integer NOT NULL')
    add(client, event())
    with pytest.raises(Stop, match="extra"):
        drain(settings)
    connection.execute('ALTER TABLE "SpecialistAnalyticsDaily" DROP COLUMN extra')
    drain(settings)
    assert daily(connection) == {("anna", TODAY): (1, 0)}


def test_a_key_that_is_no_stream(settings: Settings, client: redis.Redis) -> None:
    """If the key holds something else than a stream, the line names the key."""
    client.set("analytics:events", "x")
    with pytest.raises(Stop, match="analytics:events"):
        run_shard(settings, 0, lambda: False)


def test_a_stop_does_not_wait_for_a_lock(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """While a batch waits for a lock, a stop gives it up, and the next job counts it."""
    add(client, event())
    began = time.monotonic()

    def stop() -> bool:
        return time.monotonic() > began + 0.5

    with connection.transaction():
        connection.execute('LOCK TABLE "SpecialistAnalyticsDaily"')
        run_shard(settings, 0, stop, must_stop=stop)
        assert time.monotonic() < began + 5
    drain(settings)
    assert daily(connection) == {("anna", TODAY): (1, 0)}


def test_the_ordinal_after_a_rewind_to_the_end(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """After a rewind behind which nothing is left to read, a loss is noticed again, with its number."""
    add(client, event())
    drain(settings)
    connection.execute("UPDATE analytics.stream_position SET ordinal = NULL")
    client.xtrim("analytics:events", maxlen=0, approximate=False)
    until = time.monotonic() + 30
    ordinal = "SELECT ordinal FROM analytics.stream_position"
    run_shard(settings, 0, lambda: connection.execute(ordinal).fetchone() == (1,) or time.monotonic() > until)
    add(client, *(event() for _ in range(5)))
    client.xtrim("analytics:events", maxlen=3, approximate=False)
    drain(settings)
    on_the_way_back, after_it = ("trimmed_unread", "went_on", None), ("trimmed_unread", "went_on", 2)
    assert findings(connection) == [on_the_way_back, after_it]
