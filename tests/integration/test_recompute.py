"""A recompute gives the same numbers as counting did, and never takes one away by mistake."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from threading import Event as Flag
from threading import Thread
from typing import Any
from uuid import uuid4

import psycopg
import pytest
import redis

from tests.support import SITE_OUTCOMES, add_outcomes, add_specialists, run_worker
from worker.batch import Batch
from worker.continuity import EntryId, Position
from worker.daily.recompute import Recomputed, diff_day, recompute_days
from worker.errors import Stop
from worker.events import Event
from worker.migrations import migrate, migrations
from worker.pipeline import run_shard
from worker.queries import query
from worker.settings import Settings
from worker.store import Connection, begin_position, commit_batch, connect_postgres, create_partition, load_position

DAY = date(2026, 11, 10)
NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
STREAM = "analytics:events"


def view(specialist: str = "anna", at: datetime = NOON, type: str = "profile_view", source: str = "catalog") -> Event:
    return Event(
        str(uuid4()), int(at.timestamp() * 1000), specialist, type, source, None, None, None, f"{uuid4().int}-0"
    )


def count(connection: Connection, *events: Event, time_zone: str = "UTC") -> None:
    """Count events by the statement of the live path."""
    for day in {datetime.fromtimestamp(event.occurred_ms / 1000, UTC).date() for event in events}:
        create_partition(connection, day)
    begin_position(connection, Position(STREAM, "epoch", EntryId(0, 0), 0))
    position = load_position(connection, STREAM)
    assert position is not None
    batch = Batch(position)
    batch.add(EntryId(position.last_id.ms + 1, 0), events, [])
    commit_batch(connection, batch, 0, time_zone)


def rows(connection: Connection) -> list[tuple[Any, ...]]:
    """The daily table but for ids and times of writing."""
    return connection.execute(
        'SELECT "specialistId", date, "profileViews", "contactViews", sources, "consultationRequests", orders,'
        ' "conversionRateProfileToContact", "conversionRateContactToRequest", "conversionRateRequestToOrder"'
        ' FROM "SpecialistAnalyticsDaily" ORDER BY 1, 2'
    ).fetchall()


def recompute(connection: Connection, *days: date, time_zone: str = "UTC", specialist: str | None = None) -> Recomputed:
    """Recompute from the first to the last of the days; the changes together."""
    changes = [change for _, change in recompute_days(connection, days[0], days[-1], time_zone, specialist)]
    return Recomputed(*(sum(column) for column in zip(*changes, strict=True)))


@pytest.fixture(autouse=True)
def _specialists(connection: Connection) -> None:
    add_specialists(connection, ["anna", "boris", "Zoe"])


@pytest.mark.parametrize(
    "damage",
    [
        'DELETE FROM "SpecialistAnalyticsDaily"',
        'UPDATE "SpecialistAnalyticsDaily" SET "profileViews" = 9, "contactViews" = 9',
        """UPDATE "SpecialistAnalyticsDaily" SET sources = '{"catalog": 1e300, "search": "x"}'""",
        'UPDATE "SpecialistAnalyticsDaily" SET sources = NULL',
        'UPDATE "SpecialistAnalyticsDaily" SET "conversionRateProfileToContact" = 7',
    ],
)
def test_what_was_damaged_is_right_again(connection: Connection, damage: str) -> None:
    """Whatever somebody did to the daily rows, after a recompute they are as counting had made them."""
    count(connection, view(), view(source="search"), view(type="contact_view"), view("boris"), view("Zoe"))
    counted = rows(connection)
    connection.execute(damage.encode())
    assert rows(connection) != counted
    assert recompute(connection, DAY).rows > 0
    assert rows(connection) == counted


def test_what_is_right_is_not_written(connection: Connection) -> None:
    """A recompute of right rows changes nothing, not even the time of the last change."""
    count(connection, view(), view("boris"))
    state = 'SELECT ctid, xmin, daily.* FROM "SpecialistAnalyticsDaily" AS daily ORDER BY "specialistId"'
    before = connection.execute(state).fetchall()
    assert recompute(connection, DAY) == Recomputed(0, 0, 0)
    assert connection.execute(state).fetchall() == before


def test_views_that_should_not_be(connection: Connection) -> None:
    """A row without any view becomes 0 and stays, with its outcomes and the rates that follow from them."""
    count(connection, view())
    connection.execute(SITE_OUTCOMES.encode())
    migrate(connection, migrations())
    add_outcomes(connection, "ConsultationRequest", "boris", NOON, NOON, NOON)
    add_outcomes(connection, "Order", "boris", NOON, NOON)
    connection.execute(
        'INSERT INTO "SpecialistAnalyticsDaily" (id, "specialistId", date, "profileViews", "contactViews",'
        """ "consultationRequests", orders, "updatedAt") VALUES ('x', 'boris', %s, 5, 4, 3, 2, now())""",
        [DAY],
    )
    assert recompute(connection, DAY) == Recomputed(1, -5, -4)
    nothing = {"catalog": 0, "search": 0, "direct": 0, "other": 0}
    assert rows(connection)[1] == ("boris", DAY, 0, 0, nothing, 3, 2, 0.0, 0.0, 66.7)


def test_the_baseline_counts_too(connection: Connection) -> None:
    """Views of a date are what the ledger counts, and what was imported or sealed."""
    count(connection, view(), view(type="contact_view"))
    connection.execute(
        "INSERT INTO analytics.baseline (date, specialist_id, origin, profile_views, contact_views, catalog, other)"
        " VALUES (%(day)s, 'anna', 'legacy', 10, 1, 7, 3), (%(day)s, 'anna', 'sealed', 100, 2, 100, 0),"
        " (%(day)s, 'boris', 'legacy', 1, 0, 1, 0)",
        {"day": DAY},
    )
    assert recompute(connection, DAY) == Recomputed(2, 111, 3)
    anna, boris = rows(connection)
    assert anna[2:5] == (111, 4, {"catalog": 108, "search": 0, "direct": 0, "other": 3})
    assert boris[2:5] == (1, 0, {"catalog": 1, "search": 0, "direct": 0, "other": 0})


def test_another_zone(connection: Connection) -> None:
    """After the zone was changed, a recompute moves the views to the dates of the new one."""
    for day in (9, 10, 11):
        create_partition(connection, date(2026, 11, day))
    count(connection, view(at=datetime(2026, 11, 10, 23, 30, tzinfo=UTC)), view())
    recompute(connection, DAY, DAY + timedelta(days=1), time_zone="Europe/Berlin")
    assert [row[1:3] for row in rows(connection)] == [(DAY, 1), (DAY + timedelta(days=1), 1)]


def test_one_specialist(connection: Connection) -> None:
    """With a specialist only his rows are put right."""
    count(connection, view(), view("boris"))
    connection.execute('UPDATE "SpecialistAnalyticsDaily" SET "profileViews" = 0')
    assert recompute(connection, DAY, specialist="boris") == Recomputed(1, 1, 0)
    assert [row[2] for row in rows(connection)] == [0, 1]


def test_who_is_gone(connection: Connection) -> None:
    """A specialist whom the site deleted has events in the ledger, and gets no row again."""
    count(connection, view(), view("boris"))
    connection.execute("""DELETE FROM "SpecialistProfile" WHERE id = 'boris'""")
    assert recompute(connection, DAY) == Recomputed(0, 0, 0)
    assert [row[0] for row in rows(connection)] == ["anna"]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
def test_events_that_are_gone(connection: Connection, zone: str) -> None:
    """Where the ledger of a day was dropped, a recompute that would lose views is refused and says why."""
    count(connection, view(), view("boris"), time_zone=zone)
    counted = rows(connection)
    connection.execute("DROP TABLE analytics.event_20261110")
    with pytest.raises(Stop, match=r"2026-11-10 .*gone.* 2 daily rows would lose views .the first is anna's"):
        recompute(connection, DAY, time_zone=zone)
    assert rows(connection) == counted
    connection.execute(
        "INSERT INTO analytics.baseline (date, specialist_id, origin, profile_views, catalog)"
        " SELECT date, %s, 'sealed', 1, 1 FROM \"SpecialistAnalyticsDaily\" GROUP BY 1",
        ["anna"],
    )
    connection.execute(
        "INSERT INTO analytics.sealed_day SELECT day, 'UTC' FROM generate_series(%s, %s, interval '1 day') AS day",
        [DAY - timedelta(days=1), DAY],
    )
    recompute(connection, DAY, time_zone=zone)
    assert [row[2] for row in rows(connection)] == [1, 0], "what was sealed is all that there was"


def test_a_day_without_a_partition(connection: Connection) -> None:
    """A date on which the ledger has nothing can be recomputed if nothing is lost by it: so an import gets its rows."""
    connection.execute(
        "INSERT INTO analytics.baseline (date, specialist_id, origin, profile_views, direct)"
        " VALUES (%s, 'anna', 'legacy', 3, 3)",
        [DAY],
    )
    assert recompute(connection, DAY) == Recomputed(1, 3, 0)


@pytest.mark.parametrize(
    ("zone", "utc_days"), [("UTC", {10}), ("Europe/Berlin", {9, 10}), ("America/New_York", {10, 11})]
)
def test_only_the_days_own_partitions_are_read(connection: Connection, zone: str, utc_days: set[int]) -> None:
    """PostgreSQL reads the partitions of the UTC days that a date touches, and no other."""
    for day in range(1, 29):
        create_partition(connection, date(2026, 11, day))
    plan = connection.execute(
        b"EXPLAIN " + query("diff_day"), {"date": DAY, "time_zone": zone, "specialist": None}
    ).fetchall()
    scanned = {int(day) for (line,) in plan for day in re.findall(r"Scan .*on event_202611(\d\d)", line)}
    assert scanned == utc_days


def test_the_utc_days_of_a_date(connection: Connection) -> None:
    """In zones of every kind, for eighty years, the UTC days of a date have each moment that local_date gives to it."""
    outside = connection.execute(
        """
        WITH moment AS MATERIALIZED (
            SELECT name, at, analytics.local_date(at, name) AS date
            FROM pg_timezone_names,
                 generate_series(timestamptz '1970-01-02 00:00Z', '2050-01-01 00:00Z', interval '1 day') AS day,
                 unnest(ARRAY[day, day + interval '59 minutes', day - interval '1 ms']) AS at
            WHERE name IN ('UTC', 'Europe/Lisbon', 'Atlantic/Azores', 'America/St_Johns', 'Pacific/Apia',
                           'America/Sao_Paulo', 'Pacific/Kiritimati', 'Africa/Casablanca', 'Asia/Kathmandu')
        )
        SELECT name, at FROM moment
        WHERE (at AT TIME ZONE 'UTC')::date NOT BETWEEN
              analytics.first_utc_day(date, name) AND analytics.last_utc_day(date, name)
        """
    ).fetchall()
    assert outside == []


def test_counting_goes_on(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """While a day is recomputed again and again, events of that very day come in and are counted exactly."""
    now = datetime.now(UTC)
    done, sent = Flag(), 3_000
    fill(connection, now, 20_000)
    counting = Thread(target=run_shard, args=(settings, 0, done.is_set))
    counting.start()

    def send() -> None:
        for number in range(sent):
            fields: dict[Any, Any] = {"type": "profile_view", "eventId": str(uuid4()), "occurredAt": now.isoformat()}
            client.xadd(STREAM, fields | {"specialistId": ("anna", "boris")[number % 2]})

    sending = Thread(target=send)
    sending.start()
    times = 0
    try:
        while sending.is_alive() or _read(connection) < sent:
            connection.execute('UPDATE "SpecialistAnalyticsDaily" SET "profileViews" = "profileViews" + 1')
            recompute(connection, now.date())
            assert diff_day(connection, now.date(), "UTC") == []
            times += 1
    finally:
        sending.join()
        done.set()
        counting.join()
    assert times > 3
    assert [row[2] for row in rows(connection)] == [20_000, sent / 2, sent / 2]


def fill(connection: Connection, at: datetime, events: int) -> None:
    """Give the ledger so many events of Zoe, so that a recompute takes its time."""
    create_partition(connection, at.date())
    connection.execute(
        "INSERT INTO analytics.event"
        " SELECT %(at)s::date, gen_random_uuid(), %(at)s, 'profile_view', 'direct', NULL, 'Zoe', NULL, NULL, '0-1', 0"
        " FROM generate_series(1, %(events)s)",
        {"at": at, "events": events},
    )


def _read(connection: Connection) -> int:
    row = connection.execute("SELECT coalesce(sum(entries_read), 0)::integer FROM analytics.stream_position").fetchone()
    assert row is not None
    return int(row[0])


def test_a_batch_waits_for_a_recompute(settings: Settings, connection: Connection) -> None:
    """A batch that comes in the middle of a recompute is counted after it, on a stream that is known or a new one."""
    count(connection, view())
    connection.execute('UPDATE "SpecialistAnalyticsDaily" SET "profileViews" = 0')
    add = count_on_its_own(settings, lambda own: count(own, view()))
    begin = count_on_its_own(
        settings, lambda own: begin_position(own, Position("analytics:events:{1}", "epoch", EntryId(0, 0), 0))
    )
    with connection.transaction():
        connection.execute(query("lock_positions"))
        add.start()
        begin.start()
        _wait_for_waiting(connection, 2)
        which = {"date": DAY, "time_zone": "UTC", "specialist": None, "recorded": False}
        connection.execute(query("recompute_day"), which)
        assert rows(connection)[0][2] == 1
    add.join()
    begin.join()
    assert rows(connection)[0][2] == 2


def count_on_its_own(settings: Settings, what: Callable[[Connection], None]) -> Thread:
    def work() -> None:
        with connect_postgres(settings, "test") as own:
            what(own)

    return Thread(target=work)


def _wait_for_waiting(connection: Connection, wanted: int) -> None:
    """Until so many sessions wait for the positions; the transaction's own look at them would not change."""
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'analytics.stream_position'::regclass"
    with psycopg.connect(connection.info.dsn, password=connection.info.password, autocommit=True) as own:
        own.execute("SET statement_timeout = '60s'")
        own.execute(f"DO $$ BEGIN WHILE ({waiting}) < {wanted} LOOP PERFORM pg_sleep(0.01); END LOOP; END $$".encode())


def test_the_command(settings: Settings, connection: Connection) -> None:
    """A dry run shows each row and changes nothing; the command puts them right; a second dry run finds nothing."""
    count(connection, view(), view(), view("boris"))
    right = rows(connection)
    connection.execute("""UPDATE "SpecialistAnalyticsDaily" SET "profileViews" = 7 WHERE "specialistId" = 'anna'""")
    connection.execute("""DELETE FROM "SpecialistAnalyticsDaily" WHERE "specialistId" = 'boris'""")
    days = ("--from", "2026-11-09", "--to", "2026-11-10")
    wrong = rows(connection)
    code, output, errors = run_worker(settings, "recompute", *days, "--dry-run")
    assert (code, errors, rows(connection)) == (1, "", wrong)
    assert words(output) >= {"2026-11-10 anna 7 → 2 0 2, 0, 0, 0", "2 rows -4 +0"}
    assert "2026-11-10 boris – → 1 – → 0 no row → 1, 0, 0, 0" in words(output)
    code, output, errors = run_worker(settings, "recompute", *days, "--now")
    assert (code, errors, rows(connection)) == (0, "", right)
    assert words(output) >= {"rows 2", "profile views -4", "contact views 0"}
    code, output, _ = run_worker(settings, "recompute", *days, "--dry-run")
    assert (code, output) == (0, "nothing to change: the daily table is what the formula says\n")


def words(output: str) -> set[str]:
    return {" ".join(line.split()) for line in output.splitlines()}


def test_a_dry_run_says_what_would_be_refused(settings: Settings, connection: Connection) -> None:
    """A row whose events are gone is shown by a dry run, and that a recompute would refuse its day."""
    add_specialists(connection, ["carla"])
    connection.execute(
        """INSERT INTO "SpecialistAnalyticsDaily" ("id", "specialistId", "date", "profileViews", "updatedAt")
           VALUES ('x', 'carla', '2026-10-01', 5, now())"""
    )
    code, output, errors = run_worker(settings, "recompute", "--from", "2026-10-01", "--to", "2026-10-02", "--dry-run")
    assert (code, errors) == (1, "")
    assert "2026-10-01 is not recomputed: the events of 2026-10-01 (UTC) are gone" in " ".join(output.split())


def test_days_the_wrong_way_round(settings: Settings) -> None:
    """A last day before the first is refused in one line."""
    code, output, errors = run_worker(settings, "recompute", "--from", "2026-11-10", "--to", "2026-11-09")
    assert (code, output, len(errors.splitlines())) == (2, "", 1)


def test_the_table_before_us_becomes_baseline(site_database: str) -> None:
    """What the daily table holds when we come is not taken for a mistake by a recompute, an odd row included."""
    with psycopg.connect(site_database, autocommit=True) as connection:
        migrate(connection, migrations()[:1])
        add_specialists(connection, ["anna", "boris"])
        connection.execute(
            'INSERT INTO "SpecialistAnalyticsDaily" (id, "specialistId", date, "profileViews", "contactViews",'
            " sources, \"updatedAt\") VALUES ('x', 'anna', %(day)s, 5, 2, '{\"search\": 5}', now()),"
            " ('y', 'boris', %(day)s, 3, 0, '{\"search\": 1e300}', now())",
            {"day": DAY},
        )
        migrate(connection, migrations())
        count(connection, view())
        recompute(connection, DAY)
        anna, boris = rows(connection)
        assert anna[2:5] == (6, 2, {"catalog": 1, "search": 5, "direct": 0, "other": 0})
        assert boris[2:4] == (3, 0)


def test_dates_of_the_ledger_become_no_baseline(site_database: str) -> None:
    """Where the worker has counted already, its rows are not counted a second time by becoming baseline too."""
    before = [migration for migration in migrations() if migration.name < "0004"]
    with psycopg.connect(site_database, autocommit=True) as connection:
        migrate(connection, before)
        add_specialists(connection, ["anna"])
        count(connection, view(at=NOON - timedelta(hours=12)), time_zone="America/New_York")
        migrate(connection, migrations())
        assert diff_day(connection, DAY - timedelta(days=1), "America/New_York") == []
        assert connection.execute("SELECT count(*) FROM analytics.baseline").fetchone() == (0,)


def test_a_sequence_of_days(connection: Connection) -> None:
    """Each day is a transaction of its own: what was done stays when a later day is refused."""
    day_before = DAY - timedelta(days=1)
    count(connection, view(at=NOON - timedelta(days=1)), view())
    connection.execute('UPDATE "SpecialistAnalyticsDaily" SET "profileViews" = 9')
    connection.execute("DROP TABLE analytics.event_20261110")
    seen: Sequence[date] = []
    with pytest.raises(Stop):
        seen = [day for day, _ in recompute_days(connection, day_before, DAY, "UTC")]
    assert seen == []
    assert [row[2] for row in rows(connection)] == [1, 9]


def test_an_id_that_is_none(settings: Settings, connection: Connection) -> None:
    """Bytes that are no text and ids that nobody has are no specialist: one line says so, and no run begins."""
    day = ["--from", "2026-01-01", "--to", "2026-01-01"]
    for unknown in ("\udcff", "nobody"):
        code, _, errors = run_worker(settings, "recompute", *day, "--specialist", unknown)
        assert code == 2
        assert "there is no specialist" in errors and len(errors.splitlines()) == 1
    assert connection.execute("SELECT count(*) FROM analytics.run").fetchone() == (0,)
