"""A daily row can be taken apart, and an event is found wherever it is."""

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4
from zlib import crc32

import pytest
import redis

from tests.counting import TODAY, TODAY_MS, add, drain, event
from tests.support import TOP, add_outcomes, add_specialists, run_worker, settings_with, site_creates
from worker.bots import is_bot
from worker.daily.outcomes import refresh_open_days
from worker.daily.recompute import WrongRow, diff_day, recompute_days
from worker.inspection.explain import Repeats, explain
from worker.migrations import migrate, migrations
from worker.queries import query
from worker.settings import Settings
from worker.store import Connection, connect_postgres, seal_oldest_day

MIDDAY = datetime(TODAY.year, TODAY.month, TODAY.day, 12, tzinfo=UTC)
BOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"


@pytest.fixture(autouse=True)
def _specialists(connection: Connection) -> None:
    add_specialists(connection, ["anna", "boris"])


def run(settings: Settings, *arguments: str) -> tuple[int, str]:
    code, output, errors = run_worker(settings, *arguments)
    return code, output + errors


def explained(settings: Settings, specialist: str = "anna", day: object = TODAY) -> tuple[int, dict[str, Any]]:
    code, output, errors = run_worker(settings, "explain", specialist, str(day), "--json")
    assert errors == ""
    return code, json.loads(output)


def traced(settings: Settings, event_id: str) -> tuple[int, dict[str, Any]]:
    code, output, errors = run_worker(settings, "trace", event_id, "--json")
    assert errors == ""
    return code, json.loads(output)


def states(found: dict[str, Any]) -> list[tuple[str, str | None]]:
    return [(entry["state"], entry["repeat_of"]) for entry in found["entries"]]


def entry_ids(client: redis.Redis) -> list[str]:
    entries: Any = client.xrange("analytics:events")
    return [entry_id.decode() for entry_id, _ in entries]


def ms(hour: int, minute: int = 0, *, day: int = 10, month: int = 11) -> int:
    return int(datetime(2026, month, day, hour, minute, tzinfo=UTC).timestamp() * 1000)


def test_a_right_row_is_the_sum_of_its_parts(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Baseline and hours add up to the row; a bot, a repeat and a dead letter are told and are not in it."""
    connection.execute(
        "INSERT INTO analytics.baseline (date, specialist_id, origin, profile_views, contact_views, search)"
        " VALUES (%s, 'anna', 'legacy', 5, 2, 5), (%s, 'boris', 'legacy', 9, 9, 9)",
        [TODAY, TODAY],
    )
    first = event()
    add(client, first, first, event(source="search"), event(type="contact_view"), event("boris"))
    add(client, event(userAgent=BOT), event(viewerId="anna"), event(type="nonsense"), event("boris", type="nonsense"))
    add(client, event(type="nonsense", occurredAt=TODAY_MS - 40 * 86_400_000))
    drain(settings)
    site_creates(connection, "ConsultationRequest", "Order")
    migrate(connection, migrations())
    for table, number in (("ConsultationRequest", 2), ("Order", 1)):
        add_outcomes(
            connection, table, "anna", *[datetime(TODAY.year, TODAY.month, TODAY.day, 12, tzinfo=UTC)] * number
        )
    list(recompute_days(connection, TODAY, TODAY, "UTC"))
    code, found = explained(settings)
    assert (code, found["right"]) == (0, True)
    assert found["baseline"] == [
        {"origin": "legacy", "profile_views": 5, "contact_views": 2, "catalog": 0, "search": 5, "direct": 0, "other": 0}
    ]
    [hour] = found["hours"]
    assert (hour["hour"], hour["profile_views"], hour["contact_views"], hour["search"]) == (0, 2, 1, 1)
    assert found["excluded"] == {"bot": 1, "self_view": 1}
    assert found["dead_letters"] == [{"reason": "unknown_type", "state": "buried", "letters": 1}]
    assert found["formula"].items() <= found["row"].items()
    assert found["outcomes"] == {"consultation_requests": 2, "orders": 1, "reviews": 0}
    assert found["outcomes"].items() <= found["row"].items()
    assert (found["repeats"]["found"], found["repeats"]["looked_at"]) == (1, 10)
    assert (found["formula"]["profile_views"], found["formula"]["contact_views"]) == (7, 3)
    assert found["read_up_to"] == entry_ids(client)[-1]

    code, output = run(settings, "explain", "anna", str(TODAY))
    assert code == 0
    for text in (
        "right",
        "baseline, legacy",
        "00:00",
        "sum: the formula",
        "1 bot, 1 self_view",
        "unknown_type",
        "1 among the 10 entries that the stream holds since",
        "66.7",
    ):
        assert text in output
    assert found["newest_event"]["entry_id"] in output


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ('"profileViews" = 1234', "profile views: 1,234, should be 2"),
        ("""sources = '{"catalog": 1}'""", "catalog: 1, should be 2"),
        ('"conversionRateProfileToContact" = 7', "profile to contact %: 7.0, should be 50.0"),
    ],
)
def test_a_wrong_row_is_told_with_what_it_should_be(
    settings: Settings, connection: Connection, client: redis.Redis, damage: str, said: str
) -> None:
    """What is wrong in a row stands beside what it should be, with exit code 1 and the command that puts it right."""
    add(client, event(), event(), event(type="contact_view"))
    drain(settings)
    connection.execute(f'UPDATE "SpecialistAnalyticsDaily" SET {damage}'.encode())
    code, output = run(settings, "explain", "anna", str(TODAY))
    assert (code, output.count(", should be ")) == (1, 1)
    assert said in output
    assert f"python -m worker recompute --from {TODAY} --to {TODAY} --specialist anna\n" in output
    code, found = explained(settings)
    assert (code, found["right"], found["formula"]["profile_views"]) == (1, False, 2)


def test_a_row_that_is_missing(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Without views no row is right; with views in the ledger it is not."""
    code, found = explained(settings)
    assert (code, found["right"], found["row"], found["hours"]) == (0, True, None, [])
    assert run(settings, "explain", "anna", str(TODAY))[0] == 0
    add(client, event())
    drain(settings)
    connection.execute('DELETE FROM "SpecialistAnalyticsDaily"')
    code, output = run(settings, "explain", "anna", str(TODAY))
    assert code == 1
    assert "there is no row and there should be one" in output


def test_events_that_are_gone(settings: Settings, connection: Connection) -> None:
    """A row whose events are no longer there is not called wrong: the formula cannot know."""
    connection.execute(
        'INSERT INTO "SpecialistAnalyticsDaily" (id, "specialistId", date, "profileViews", "updatedAt")'
        " VALUES ('1', 'anna', '2026-01-02', 5, now())"
    )
    code, output = run(settings, "explain", "anna", "2026-01-02")
    assert code == 1
    assert "misses the events of 2026-01-02 (UTC)" in output
    assert "recompute" not in output


def test_hours_are_those_of_the_zone(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """A date and its hours are local; the hour that a clock goes through twice is two, with their offsets."""
    berlin = settings_with(settings, ANALYTICS_TIME_ZONE="Europe/Berlin", ANALYTICS_LEDGER_DAYS="0")
    of_the_day = [ms(22, day=24, month=10), ms(0, 30, day=25, month=10), ms(1, 30, day=25, month=10)]
    not_any_more = ms(23, day=25, month=10)
    add(client, *(event(occurredAt=moment) for moment in [*of_the_day, not_any_more]))
    bad = [event(occurredAt=moment, type="nonsense") for moment in (of_the_day[0], of_the_day[0], not_any_more)]
    add(client, *bad)
    drain(berlin)
    code, found = explained(berlin, day="2026-10-25")
    assert code == 0
    assert [(hour["hour"], hour["utc_offset"], hour["profile_views"]) for hour in found["hours"]] == [
        (0, "+02:00", 1),
        (2, "+02:00", 1),
        (2, "+01:00", 1),
    ]
    assert found["dead_letters"] == [{"reason": "unknown_type", "state": "buried", "letters": 2}]
    assert "02:00 +01:00" in run(berlin, "explain", "anna", "2026-10-25")[1]
    assert "00:00 " in run(berlin, "explain", "anna", "2026-10-26")[1]


def test_a_counted_event_and_its_repeats(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """The first entry of an event is counted, the next is its repeat, and one that nobody has read will be."""
    seen = event(type="contact_view", contactType="\x1b[31mphone")
    add(client, event(), seen, event(), seen)
    drain(settings)
    add(client, seen | {"eventId": seen["eventId"].upper()})
    first = entry_ids(client)[1]
    code, found = traced(settings, seen["eventId"].upper())
    assert code == 0
    assert states(found) == [("counted", None), ("repeat", first), ("unread", first)]
    [counted] = found["ledger"]
    assert (counted["specialist_id"], counted["date"], counted["entry_id"]) == ("anna", str(TODAY), first)
    code, output = run(settings, "trace", seen["eventId"])
    assert code == 0
    for text in (f"counted: anna, {TODAY} (UTC)", f"a repeat of entry {first}", f"will be a repeat of entry {first}"):
        assert text in output
    assert "\x1b" not in output


def test_an_unread_event(settings: Settings, client: redis.Redis) -> None:
    """An event that is in a stream is found there, in whichever shard, also if that was never read."""
    sharded = settings_with(settings, ANALYTICS_SHARDS="4")
    stream = sharded.stream_keys[crc32(b"anna") % 4]
    unread = event()
    add(client, *(event() for _ in range(2_500)), unread, event(), stream=stream)
    code, found = traced(sharded, unread["eventId"])
    assert (code, states(found), found["ledger"]) == (0, [("unread", None)], [])
    assert found["entries"][0]["stream"] == stream


def test_an_excluded_event(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """A bot's view is found, with why it does not count."""
    of_bot = event(userAgent=BOT)
    add(client, of_bot)
    drain(settings)
    assert states(traced(settings, of_bot["eventId"])[1]) == [("excluded", None)]
    code, output = run(settings, "trace", of_bot["eventId"])
    assert code == 0
    assert "excluded (bot)" in output


def test_a_dead_letter_and_its_way_back(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """A dead letter is told with its reason; sent again, its event is found counted, with who sent it."""
    early = event("newcomer", eventId=str(uuid4()).upper())
    add(client, early)
    drain(settings)
    code, found = traced(settings, early["eventId"])
    assert (code, states(found), found["ledger"]) == (0, [("dead", None)], [])
    assert [letter["reason"] for letter in found["dead_letters"]] == ["unknown_specialist"]
    add_specialists(connection, ["newcomer"])
    run(settings, "dead-letters", "requeue", "--all")
    drain(settings)
    code, found = traced(settings, early["eventId"])
    assert states(found) == [("dead", None), ("counted", None)]
    [letter] = found["dead_letters"]
    assert letter["state"] == "requeued"
    assert letter["actions"][0]["entry_id"] == found["ledger"][0]["entry_id"]
    assert "requeued" in run(settings, "trace", early["eventId"])[1]


def test_more_dead_letters_than_are_shown(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Of an event that became a dead letter again and again the newest are shown, and how many there are more."""
    bad = event(type="nonsense")
    add(client, *([bad] * 23))
    drain(settings)
    code, output = run(settings, "trace", bad["eventId"])
    assert (code, output.count(": unknown_type, entry ")) == (0, 20)
    assert "and 3 older dead letters of this event" in output
    assert explained(settings)[1]["dead_letters"] == [{"reason": "unknown_type", "state": "buried", "letters": 23}]


@pytest.mark.parametrize("occurred_at", ["yesterday", b"\xff", "9" * 18, "x" * 2_000, None])
def test_a_dead_letter_without_a_time(
    settings: Settings, connection: Connection, client: redis.Redis, occurred_at: str | bytes | None
) -> None:
    """A dead letter whose time cannot be read is one of the date of its entry; one of no date at all is nowhere."""
    add(client, event(type="nonsense", occurredAt=occurred_at))
    drain(settings)
    found = explained(settings, day=datetime.now(UTC).date())[1]["dead_letters"]
    assert sum(letters["letters"] for letters in found) == (0 if occurred_at == "9" * 18 else 1)


def test_an_event_without_an_id(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """The id that the worker derived finds the entry too; a second one like it is no repeat."""
    add(client, event(eventId=None), event(eventId=None))
    drain(settings)
    row = connection.execute("SELECT event_id::text, entry_id FROM analytics.event ORDER BY entry_id").fetchone()
    assert row is not None
    code, found = traced(settings, row[0])
    assert (code, states(found)) == (0, [("counted", None)])
    assert found["entries"][0]["entry_id"] == row[1]


def test_only_the_ledger_knows_it(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """An event whose entry was trimmed is found in the ledger; one whose ledger day was dropped, in the stream."""
    kept, gone = event(), event(occurredAt=ms(12, month=10))
    add(client, kept, gone)
    drain(settings_with(settings, ANALYTICS_LEDGER_DAYS="0"))
    connection.execute("DROP TABLE analytics.event_20261010")
    assert states(traced(settings, gone["eventId"])[1]) == [("unknown", None)]
    client.xtrim("analytics:events", maxlen=0, approximate=False)
    code, found = traced(settings, kept["eventId"])
    assert (code, found["entries"], len(found["ledger"])) == (0, [], 1)
    assert "no entry with it is there any more" in run(settings, "trace", kept["eventId"])[1]


def test_an_event_that_never_came(settings: Settings) -> None:
    """An event that is nowhere is said to be not seen, with exit code 1."""
    nowhere = str(uuid4())
    code, found = traced(settings, nowhere)
    assert (code, found["seen"]) == (1, False)
    code, output = run(settings, "trace", nowhere)
    assert code == 1
    assert "not seen" in output


def test_parts_and_row_are_of_one_moment(
    settings: Settings, connection: Connection, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is counted while a row is taken apart is in none of its parts, so they still add up."""
    add(client, event())
    drain(settings)

    def count_meanwhile(*arguments: Any) -> list[WrongRow]:
        add(client, event())
        drain(settings)
        return diff_day(*arguments)

    monkeypatch.setattr("worker.inspection.explain.diff_day", count_meanwhile)
    with connect_postgres(settings, "test") as reading:
        found = explain(settings, reading, client, "anna", TODAY)
    assert found.row is not None
    assert (found.right, found.row.profile_views, found.formula.profile_views) == (True, 1, 1)
    assert [hour.profile_views for hour in found.hours] == [1]


def test_nothing_is_written(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Both only read: the database is as it was, and so are position and stream."""
    add(client, event(), event("nobody"))
    drain(settings)

    def everything() -> list[Any]:
        tables = ('"SpecialistAnalyticsDaily"', "analytics.event", "analytics.stream_position", "analytics.dead_letter")
        rows = [connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2".encode()).fetchall() for table in tables]
        return [*rows, client.xrange("analytics:events"), client.keys()]

    before = everything()
    explained(settings)
    traced(settings, str(uuid4()))
    assert everything() == before


def test_repeats_are_those_of_the_row(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Repeats are counted by specialist and date of their event, while the stream holds them; unread ones are not."""
    mine, yesterdays = event(), event(occurredAt=TODAY_MS - 1)
    excluded, others = event(userAgent=BOT), event("boris")
    add(client, mine, yesterdays, excluded, others, mine, yesterdays, others, others, excluded)
    add(client, mine | {"eventId": mine["eventId"].upper()}, event(eventId=None), event(eventId=None))
    drain(settings)
    add(client, mine)
    repeats = explained(settings)[1]["repeats"]
    assert (repeats["found"], repeats["looked_at"], repeats["is_all"]) == (3, 12, True)
    connection.execute("UPDATE analytics.stream_position SET last_id = '0-1'")  # a rewind makes no repeats of firsts
    drain(settings)
    assert explained(settings)[1]["repeats"]["found"] == 4
    client.xtrim("analytics:events", maxlen=1, approximate=False)
    assert explained(settings)[1]["repeats"]["found"] == 1
    client.xtrim("analytics:events", maxlen=0, approximate=False)
    assert "not known: the stream holds nothing" in run(settings, "explain", "anna", str(TODAY))[1]


def test_more_entries_than_are_looked_at(
    settings: Settings, connection: Connection, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the stream holds more than can be looked through at once, it is said that there is more."""
    again = event()
    add(client, again, *[again] * 9)
    drain(settings)
    monkeypatch.setattr("worker.inspection.explain.REPEATS_LOOKED_AT", 5)
    with connect_postgres(settings, "test") as reading:
        found = explain(settings, reading, client, "anna", TODAY).repeats
    assert isinstance(found, Repeats)
    assert (found.found, found.looked_at, found.is_all) == (4, 5, False)


def test_while_redis_is_away(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """A row is explained without Redis too; only repeats are then not known, and it says why."""
    add(client, event())
    drain(settings)
    code, output = run(settings_with(settings, REDIS_URL="redis://127.0.0.1:1/0"), "explain", "anna", str(TODAY))
    assert code == 0
    assert "not known: Redis at redis://127.0.0.1:1/0 does not answer" in output


def test_outcomes_that_are_not_the_sites(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """A row whose outcomes are not what the site's tables say is told, with the command that counts them anew."""
    add(client, event())
    drain(settings)
    site_creates(connection, "Review")
    migrate(connection, migrations())
    add_outcomes(connection, "Review", "anna", MIDDAY, MIDDAY)
    add_outcomes(connection, "Review", "boris", MIDDAY)
    code, output = run(settings, "explain", "anna", str(TODAY))
    assert code == 1
    assert "reviews: 0, should be 2\n" in output
    assert "there is no row and there should be one" in run(settings, "explain", "boris", str(TODAY))[1]
    to_do = output.split("to put it right: python -m worker ")[1].splitlines()[0].split()
    assert run(settings, *to_do, "--now")[0] == 0
    for specialist in ("anna", "boris"):
        code, found = explained(settings, specialist)
        assert (code, found["outcomes_right"]) == (0, True)
    connection.execute("DROP VIEW analytics.outcome")
    code, found = explained(settings)
    assert (code, found["outcomes"]) == (0, None)


def test_who_wrote_a_row_last(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Counting is told from a run, and both from neither, by what PostgreSQL notes of each transaction."""

    def writer() -> str:
        code, output = run(settings, "explain", "anna", str(TODAY))
        assert code == 0
        return (
            next(line for line in output.splitlines() if line.startswith("last written")).partition("UTC, ")[2].rstrip()
        )

    add(client, event(), event())
    drain(settings)
    assert writer() == "by counting 2 of its events, of analytics:events"
    add(client, event(), event(userAgent=BOT))
    drain(settings)
    assert writer() == "by counting 1 of its events, of analytics:events"
    add(client, event("boris"))
    drain(settings)
    assert writer() == "by counting 1 of its events"
    connection.execute('UPDATE "SpecialistAnalyticsDaily" SET "profileViews" = 9')
    others = [{"specialist": "boris"}, {"first": str(TODAY + timedelta(days=1))}, {"last": "2026-01-01"}]
    connection.execute(
        "INSERT INTO analytics.run (kind, arguments, operator, state, started_at)"
        " SELECT 'recompute', unnest(%s::jsonb[]), 'tester', 'running', now()",
        [[json.dumps(other) for other in others]],
    )
    day = ("--from", str(TODAY), "--to", str(TODAY))
    assert run(settings, "recompute", *day, "--specialist", "boris", "--now")[0] == 0
    assert run(settings, "recompute", *day, "--specialist", "anna", "--now")[0] == 0
    assert writer() == "during recompute 5, and not by counting"
    site_creates(connection, "Review")
    migrate(connection, migrations())
    add_outcomes(connection, "Review", "anna", MIDDAY)
    refresh_open_days(settings)
    assert writer().startswith("not by counting and during no run: by a refresh of outcomes")
    add(client, event())
    drain(settings)
    assert writer() == "by counting 1 of its events, of analytics:events"
    connection.execute('UPDATE "SpecialistAnalyticsDaily" SET "profileViews" = 9')
    closing = {"date": TODAY, "time_zone": "UTC", "specialist": None, "recorded": True}
    connection.execute(query("recompute_day"), closing)
    assert writer() == "by a recompute that found it wrong, when its day was closed"


def test_streams_of_another_number_of_shards(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """An event is found in every stream there is: counted when there were more of them, or in one that nobody reads."""
    sharded = settings_with(settings, ANALYTICS_SHARDS="4")
    shard = crc32(b"anna") % 4
    counted, unread = event(), event()
    add(client, counted, counted, stream=sharded.stream_keys[shard])
    drain(sharded, shard)
    add(client, unread, stream="analytics:events:{700}")
    code, found = traced(settings, counted["eventId"])
    first = found["ledger"][0]["entry_id"]
    assert (code, states(found)) == (0, [("counted", None), ("repeat", first)])
    assert found["ledger"][0]["shard"] == shard
    code, found = traced(settings, unread["eventId"])
    assert (code, states(found), found["entries"][0]["nobody_reads"]) == (0, [("unread", None)], True)
    assert "nobody reads it" in run(settings, "trace", unread["eventId"])[1]


def test_what_was_excluded_on_a_sealed_day(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Nobody says that there were none: single events are what it takes to know."""
    old = TODAY - timedelta(days=5)
    add(client, *(event(occurredAt=f"{old}T12:00:00Z", viewerId=viewer) for viewer in ("anna", None)))
    drain(settings)
    assert "1 self" in run(settings, "explain", "anna", str(old))[1]
    connection.execute("SELECT analytics.seal_oldest_day(3, 'UTC')")
    assert "nothing, and not known of what is sealed" in run(settings, "explain", "anna", str(old))[1]


def test_events_of_a_sealed_day(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Of an event whose day is sealed nobody can know any more, and that is said instead of that it never came."""
    old = TODAY - timedelta(days=60)
    gone, kept = event(occurredAt=f"{old}T12:00:00Z"), event()
    add(client, gone, kept)
    drain(settings_with(settings, ANALYTICS_LEDGER_DAYS="0"))
    with connect_postgres(settings, "test") as worker:
        assert seal_oldest_day(worker, 35, "UTC") == old
    assert states(traced(settings, gone["eventId"])[1]) == [("unknown", None)]
    client.xtrim("analytics:events", maxlen=0, approximate=False)
    code, found = traced(settings, gone["eventId"])
    assert (code, found["seen"], found["sealed_until"]) == (1, False, str(old))
    assert f"of events up to {old} (UTC) nobody can know any more" in run(settings, "trace", gone["eventId"])[1]
    assert "nobody can know" not in run(settings, "trace", kept["eventId"])[1]


REAL_INPUT = TOP.parent / "shared" / "data" / "access_log_events.ndjson"


@pytest.mark.skipif(not REAL_INPUT.exists(), reason=f"{REAL_INPUT} is not on this machine")
def test_the_busiest_specialist_of_real_input_adds_up(
    settings: Settings, connection: Connection, client: redis.Redis
) -> None:
    """On each of its days, the parts of the busiest specialist's row are what a straight count of the file has."""
    everything = settings_with(settings, ANALYTICS_LEDGER_DAYS="0")
    events = [json.loads(line) for line in REAL_INPUT.read_text("utf-8").splitlines()]
    [(busiest, _)] = Counter(sent["specialistId"] for sent in events).most_common(1)
    add_specialists(connection, {sent["specialistId"] for sent in events})
    assert run(everything, "send", str(REAL_INPUT))[0] == 0
    drain(everything)
    sent_by_day: dict[str, list[dict[str, Any]]] = {}
    for sent in events:
        if sent["specialistId"] == busiest:
            day = datetime.fromtimestamp(sent["occurredAt"] / 1000, UTC).date()
            sent_by_day.setdefault(str(day), []).append(sent)
    assert len(sent_by_day) == 4
    for its_day, of_the_day in sent_by_day.items():
        code, found = explained(everything, busiest, its_day)
        assert (code, found["right"], found["outcomes_right"]) == (0, True, True)
        bots = sum(is_bot(sent.get("userAgent", "")) for sent in of_the_day)
        assert found["excluded"] == ({"bot": bots} if bots else {})
        for name in ("profile_views", "contact_views", "catalog", "search", "direct", "other"):
            assert sum(hour[name] for hour in found["hours"]) == found["row"][name] == found["formula"][name]
        views = found["row"]["profile_views"] + found["row"]["contact_views"]
        assert views == len(of_the_day) - bots
        assert (found["repeats"]["found"], found["dead_letters"]) == (0, [])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["explain", "anna", "10.11.2026"], "is no date"),
        (["explain", "anna", "2026-02-30"], "is no date"),
        (["explain", "nobody", "2026-11-10"], "there is no specialist 'nobody'"),
        (["explain", "\udcff", "2026-11-10"], "there is no specialist"),
        (["trace", "7"], "is no event id"),
    ],
)
def test_wrong_input_is_one_line(settings: Settings, arguments: list[str], said: str) -> None:
    """What cannot be asked is said in one line, with exit code 2."""
    code, output = run(settings, *arguments)
    assert code == 2
    assert said in output
    assert len(output.splitlines()) == 1
