"""Requests, orders and reviews of a date are what the site's tables have, whatever is counted at the same time."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from threading import Event as Flag
from threading import Thread
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import psycopg
import pytest
import redis

from tests.support import (
    SITE_OUTCOMES,
    TOP,
    add_outcomes,
    add_specialists,
    ended,
    environment,
    run_postgres_program,
    run_worker,
    settings_with,
    site_creates,
    start_worker,
    wait_until,
)
from worker.batch import Batch
from worker.continuity import EntryId, Position
from worker.daily.outcomes import OutcomesArguments, backfill_steps, refresh_outcomes
from worker.daily.recompute import recompute_days
from worker.errors import Stop
from worker.events import Event
from worker.inspection.status import read_outcomes
from worker.migrations import migrate, migrations
from worker.pipeline import run_shard
from worker.queries import SQL_FOLDER, query
from worker.settings import Settings
from worker.store import Connection, begin_position, commit_batch, connect_postgres, create_partition, load_position

DAY = date(2026, 11, 10)
NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
STREAM = "analytics:events"


@pytest.fixture
def site(connection: Connection) -> Connection:
    """A connection as the owner to a database in which the site has all its tables and three specialists."""
    add_specialists(connection, ["anna", "boris", "Zoe"])
    connection.execute(SITE_OUTCOMES.encode())
    migrate(connection, migrations())
    return connection


@pytest.fixture
def worker(settings: Settings) -> Iterator[Connection]:
    """A connection with no more rights than the worker has."""
    with connect_postgres(settings, "test") as connected:
        yield connected


def rows(connection: Connection) -> list[tuple[Any, ...]]:
    """Specialist, date, requests, orders, reviews, and the two rates that follow from them."""
    return connection.execute(
        'SELECT "specialistId", to_char(date, \'DD\'), "consultationRequests", orders, reviews,'
        ' "conversionRateContactToRequest", "conversionRateRequestToOrder"'
        ' FROM "SpecialistAnalyticsDaily" ORDER BY "specialistId" COLLATE "C", date'
    ).fetchall()


def view(specialist: str, type: str = "profile_view") -> Event:
    return Event(str(uuid4()), int(NOON.timestamp() * 1000), specialist, type, "direct", None, None, None, "1-0")


def count(connection: Connection, *events: Event) -> None:
    """Count events of the day by the statement of the live path."""
    create_partition(connection, DAY)
    begin_position(connection, Position(STREAM, "epoch", EntryId(0, 0), 0))
    position = load_position(connection, STREAM)
    assert position is not None
    batch = Batch(position)
    batch.add(EntryId(position.last_id.ms + 1, 0), events, [])
    commit_batch(connection, batch, 0, "UTC")


def test_a_day_is_what_the_tables_have(site: Connection, worker: Connection) -> None:
    """Rows with views and days without any get all three numbers, and the rates that follow from them."""
    count(worker, *(view("anna", "contact_view") for _ in range(8)))
    add_outcomes(site, "ConsultationRequest", "anna", *[NOON] * 3)
    add_outcomes(site, "Order", "anna", NOON, NOON)
    add_outcomes(site, "Review", "boris", NOON, NOON + timedelta(days=1))
    assert refresh_outcomes(worker, DAY, "UTC") == 2
    assert rows(site) == [("anna", "10", 3, 2, 0, 37.5, 66.7), ("boris", "10", 0, 0, 1, 0.0, 0.0)]
    sources = site.execute("""SELECT sources FROM "SpecialistAnalyticsDaily" WHERE "specialistId" = 'boris'""")
    assert sources.fetchone() == ({"catalog": 0, "search": 0, "direct": 0, "other": 0},)


def test_views_that_come_later(site: Connection, worker: Connection) -> None:
    """Views are added to a row that outcomes have made, and its rates follow."""
    add_outcomes(site, "ConsultationRequest", "anna", NOON)
    refresh_outcomes(worker, DAY, "UTC")
    count(worker, view("anna"), view("anna", "contact_view"), view("anna", "contact_view"))
    assert rows(site) == [("anna", "10", 1, 0, 0, 50.0, 0.0)]
    assert refresh_outcomes(worker, DAY, "UTC") == 0


def test_nothing_is_written_twice(site: Connection, worker: Connection) -> None:
    """A second refresh changes nothing, not even the time of the last change."""
    count(worker, view("anna", "contact_view"))
    add_outcomes(site, "Order", "anna", NOON)
    add_outcomes(site, "Order", "boris", NOON)
    assert refresh_outcomes(worker, DAY, "UTC") == 2
    state = 'SELECT ctid, xmin, daily.* FROM "SpecialistAnalyticsDaily" AS daily ORDER BY "specialistId"'
    before = site.execute(state).fetchall()
    assert refresh_outcomes(worker, DAY, "UTC") == 0
    assert site.execute(state).fetchall() == before


@pytest.mark.parametrize(
    "damage",
    [
        "orders = 9",
        '"consultationRequests" = 9',
        "reviews = 9",
        '"conversionRateContactToRequest" = 9',
        '"conversionRateRequestToOrder" = 9',
    ],
)
def test_what_was_damaged_is_right_again(site: Connection, worker: Connection, damage: str) -> None:
    """Whatever somebody wrote into the five columns, the next refresh puts it right."""
    count(worker, view("anna", "contact_view"))
    add_outcomes(site, "ConsultationRequest", "anna", NOON)
    refresh_outcomes(worker, DAY, "UTC")
    right = rows(site)
    site.execute(f'UPDATE "SpecialistAnalyticsDaily" SET {damage}'.encode())
    assert refresh_outcomes(worker, DAY, "UTC") == 1
    assert rows(site) == right


def test_what_vanished_is_zero(site: Connection, worker: Connection) -> None:
    """Outcomes that the site deletes or moves to another day are taken back; the row stays."""
    add_outcomes(site, "ConsultationRequest", "anna", NOON)
    add_outcomes(site, "Order", "anna", NOON)
    refresh_outcomes(worker, DAY, "UTC")
    site.execute('DELETE FROM "Order"')
    site.execute("""UPDATE "ConsultationRequest" SET "createdAt" = "createdAt" + interval '1 day'""")
    assert [refresh_outcomes(worker, DAY + timedelta(days=number), "UTC") for number in (0, 1)] == [1, 1]
    assert rows(site) == [("anna", "10", 0, 0, 0, 0.0, 0.0), ("anna", "11", 1, 0, 0, 0.0, 0.0)]


def test_who_is_no_specialist(site: Connection, worker: Connection) -> None:
    """Outcomes of nobody, or of somebody who is no specialist any more, get no row and hinder no other."""
    add_outcomes(site, "Order", "gone", NOON)
    add_outcomes(site, "Order", "anna", NOON)
    site.execute("""INSERT INTO "Order" (id, "createdAt") VALUES ('x', '2026-11-10 12:00')""")
    assert refresh_outcomes(worker, DAY, "UTC") == 1
    assert [row[:4] for row in rows(site)] == [("anna", "10", 0, 1)]


ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Pacific/Kiritimati", "Asia/Kathmandu", "Atlantic/Azores"]


@pytest.mark.parametrize("zone", ZONES)
def test_midnight_is_that_of_the_zone(site: Connection, worker: Connection, zone: str) -> None:
    """Milliseconds before and after each midnight of the zone belong to their dates, also where clocks are set."""
    expected: dict[date, int] = {}
    moments = []
    days = [date(2026, 3, 28), date(2026, 3, 29), date(2026, 10, 24), date(2026, 10, 25), date(2026, 11, 1)]
    for day in days:
        midnight = datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)
        for offset in (-1, 0, 3_600_000, 86_400_000 - 3_600_001):
            moment = midnight + timedelta(milliseconds=offset)
            moments.append(moment)
            local = moment.astimezone(ZoneInfo(zone)).date()
            expected[local] = expected.get(local, 0) + 1
    add_outcomes(site, "Order", "anna", *moments)
    for day in expected:
        refresh_outcomes(worker, day, zone)
    counted = site.execute('SELECT date, orders FROM "SpecialistAnalyticsDaily"').fetchall()
    assert dict(counted) == expected


def test_the_sessions_zone_does_not_matter(site: Connection, worker: Connection) -> None:
    """Prisma's times are in UTC, whatever zone the server, the database or the role has."""
    add_outcomes(site, "Order", "anna", NOON.replace(hour=0), NOON.replace(hour=23))
    for zone in ("Asia/Tokyo", "America/New_York"):
        worker.execute(f"SET TimeZone = '{zone}'".encode())
        site.execute('DELETE FROM "SpecialistAnalyticsDaily"')
        assert [refresh_outcomes(worker, DAY + timedelta(days=number), "UTC") for number in (-1, 0, 1)] == [0, 1, 0]
        assert [row[3] for row in rows(site)] == [2]


def run_job(settings: Settings, name: str) -> list[dict[str, Any]]:
    """Run a doorway of `jobs.outcomes` in a process of its own; its lines of the log."""
    program = (
        f"from worker.log import configure_logging; configure_logging();from jobs.outcomes import {name}; {name}()"
    )
    process = subprocess.run(
        [sys.executable, "-c", program],
        cwd=TOP,
        env=os.environ | environment(settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return [json.loads(line) for line in process.stderr.splitlines()]


@pytest.mark.parametrize("present", [(), ("Order",), ("ConsultationRequest", "Review")])
def test_a_table_that_is_missing(connection: Connection, settings: Settings, present: tuple[str, ...]) -> None:
    """What is missing counts as 0, and one line of the log says so; when the site has it, `migrate` finds it."""
    now = datetime.now(UTC)
    add_specialists(connection, ["anna"])
    site_creates(connection, *present)
    migrate(connection, migrations())
    for table in present:
        add_outcomes(connection, table, "anna", now)
    missing = [table for table in ("ConsultationRequest", "Order", "Review") if table not in present]
    first, second = run_job(settings, "open_days"), run_job(settings, "open_days")
    assert [line["tables"] for line in first] == [missing]
    assert second == []
    code, output, _ = run_worker(settings, "status")
    assert (code, f"the site has no {', '.join(missing)}: 0" in output) == (0, True)
    assert [sum(row[2:5]) for row in rows(connection)] == ([len(present)] if present else [])

    site_creates(connection, *missing)
    for table in missing:
        add_outcomes(connection, table, "anna", now)
    assert run_job(settings, "open_days") == [], "nothing new: the view does not read it yet"
    assert [sum(row[2:5]) for row in rows(connection)] == ([len(present)] if present else [])
    assert migrate(connection, migrations()) == []
    assert run_job(settings, "open_days") == []
    assert [row[2:5] for row in rows(connection)] == [(1, 1, 1)]
    assert "the site has no" not in run_worker(settings, "status")[1]


def test_a_table_without_its_columns(connection: Connection) -> None:
    """A table of that name that is not what it should be is missing too, and no migration fails because of it."""
    connection.execute('CREATE TABLE "Order" (id text, "createdAt" timestamp)')
    site_creates(connection, "Review")
    migrate(connection, migrations())
    missing = connection.execute("SELECT analytics.missing_outcome_tables()").fetchone()
    assert missing == (["ConsultationRequest", "Order"],)


def test_psql_makes_the_view_too(site_database: str) -> None:
    """The file for a query console makes the same view as `migrate`."""
    with psycopg.connect(site_database, autocommit=True) as connection:
        site_creates(connection, "Order", "Review")
        script = str(SQL_FOLDER / "apply_to_production.sql")
        code, _, errors = run_postgres_program("psql", site_database, "-X", "-v", "ON_ERROR_STOP=1", "-f", script)
        assert code == 0, errors
        made = connection.execute("SELECT 'analytics.outcome'::regclass::oid").fetchone()
        assert connection.execute("SELECT analytics.missing_outcome_tables()").fetchone() == (["ConsultationRequest"],)
        migrate(connection, migrations())
        assert connection.execute("SELECT 'analytics.outcome'::regclass::oid").fetchone() == made


def test_a_view_made_otherwise(site: Connection, worker: Connection) -> None:
    """A view over other tables, with times that have a zone, just works, and no migration touches it."""
    site.execute("""
        CREATE TABLE booking (who text, at timestamptz);
        INSERT INTO booking VALUES ('anna', '2026-11-11 00:30+01'), ('anna', '2026-11-11 01:30+01');
        DROP VIEW analytics.outcome;
        CREATE VIEW analytics.outcome AS
            SELECT who AS specialist_id, 'order' AS kind, at AS occurred_at FROM booking""")
    add_outcomes(site, "Review", "anna", NOON)
    with pytest.raises(Stop, match="lacks a right: permission denied for view outcome"):
        refresh_outcomes(worker, DAY, "UTC")
    migrate(site, migrations())
    worker.execute("SET TimeZone = 'Asia/Tokyo'")
    assert [refresh_outcomes(worker, DAY + timedelta(days=number), "UTC") for number in (0, 1)] == [1, 1]
    assert [row[:5] for row in rows(site)] == [("anna", "10", 0, 1, 0), ("anna", "11", 0, 1, 0)]
    assert site.execute("SELECT analytics.missing_outcome_tables()").fetchone() == ([],)


def test_a_view_that_was_replaced(site: Connection, worker: Connection) -> None:
    """A view replaced by CREATE OR REPLACE keeps its rights, and is nobody's but his who replaced it."""
    site.execute("""
        ALTER TABLE "Order" ADD paid boolean NOT NULL DEFAULT false;
        CREATE OR REPLACE VIEW analytics.outcome AS
            SELECT "specialistProfileId" AS specialist_id, 'order' AS kind, "createdAt" AS occurred_at
            FROM "Order" WHERE paid""")
    add_outcomes(site, "Order", "anna", NOON)
    assert refresh_outcomes(worker, DAY, "UTC") == 0
    site.execute('UPDATE "Order" SET paid = true')
    add_outcomes(site, "Order", "anna", NOON)
    add_outcomes(site, "Review", "anna", NOON)
    migrate(site, migrations())
    assert refresh_outcomes(worker, DAY, "UTC") == 1
    assert [row[:5] for row in rows(site)] == [("anna", "10", 0, 1, 0)]


def test_a_table_that_the_site_drops(site: Connection, worker: Connection) -> None:
    """With a table the view goes; numbers stay as they are until `migrate` has made the view anew."""
    add_outcomes(site, "Order", "anna", NOON)
    add_outcomes(site, "Review", "anna", NOON)
    refresh_outcomes(worker, DAY, "UTC")
    site.execute('DROP TABLE "Review" CASCADE')
    with pytest.raises(Stop, match="run `python -m worker migrate`"):
        refresh_outcomes(worker, DAY, "UTC")
    assert [row[:5] for row in rows(site)] == [("anna", "10", 0, 1, 1)]
    migrate(site, migrations())
    assert refresh_outcomes(worker, DAY, "UTC") == 1
    assert [row[:5] for row in rows(site)] == [("anna", "10", 0, 1, 0)]


@pytest.mark.parametrize("type", ["timestamp(3)", "timestamptz"])
def test_an_index_on_the_time_is_used(site: Connection, type: str) -> None:
    """A day is found by an index on the time alone, if there is one, whether the time has a zone or not."""
    site.execute("DROP VIEW analytics.outcome")
    for table in ("ConsultationRequest", "Order", "Review"):
        site.execute(f'ALTER TABLE "{table}" ALTER "createdAt" TYPE {type}'.encode())
        site.execute(f'CREATE INDEX ON "{table}" ("createdAt")'.encode())
    migrate(site, migrations())
    plan = plan_of_outcomes(site, specialists="NULL::text[]")
    assert len(re.findall(r"Index Cond: ..\"createdAt\" >= .* AND .\"createdAt\" < ", plan)) == 3, plan


def test_an_index_on_the_specialist_is_used(site: Connection) -> None:
    """The outcomes of one specialist are found by an index on the specialist, if there is one."""
    for table in ("ConsultationRequest", "Order", "Review"):
        column = "specialistId" if table == "Review" else "specialistProfileId"
        site.execute(f'CREATE INDEX ON "{table}" ("{column}")'.encode())
    plan = plan_of_outcomes(site, specialists="ARRAY['anna']")
    assert len(re.findall(r"Index Cond: .\"specialist\w+\" = ANY \('{anna}'", plan)) == 3, plan


def plan_of_outcomes(site: Connection, specialists: str) -> str:
    """How PostgreSQL executes the one statement of `analytics.outcomes_between`, which is a black box to EXPLAIN."""
    [body] = (
        site.execute("SELECT prosrc FROM pg_proc WHERE oid = 'analytics.outcomes_between'::regproc").fetchone() or ()
    )
    [asked] = re.findall(r"RETURN QUERY(.*);", body, re.DOTALL)
    for name, value in {
        "first": "date '2026-11-10'",
        "last": "date '2026-11-10'",
        "time_zone": "'Europe/Berlin'",
        "of_specialists": specialists,
    }.items():
        asked = re.sub(rf"\b{name}\b", value, asked)
    site.execute("SET TimeZone = 'UTC'; SET enable_seqscan = off")
    return "\n".join(line for (line,) in site.execute(f"EXPLAIN {asked}".encode()).fetchall())


def test_nothing_of_the_site_is_locked(site: Connection, database: str, worker: Connection) -> None:
    """In the middle of a refresh the site can read and write all of its tables, and change a specialist."""
    count(worker, view("anna", "contact_view"))
    add_outcomes(site, "Order", "anna", NOON)
    add_outcomes(site, "Order", "boris", NOON)
    with worker.transaction(), psycopg.connect(database, autocommit=True) as other:
        worker.execute(query("lock_outcome_refresh"))
        which = {"first": DAY, "last": DAY, "time_zone": "UTC", "specialists": None}
        worker.execute(query("refresh_outcomes"), which)
        other.execute("SET lock_timeout = '1s'")
        for table in ("ConsultationRequest", "Order", "Review"):
            add_outcomes(other, table, "boris", NOON)
            other.execute(f"""UPDATE "{table}" SET "createdAt" = now()""".encode())
            other.execute(f"""DELETE FROM "{table}" """.encode())
            other.execute(f"""CREATE INDEX ON "{table}" ("createdAt")""".encode())
        other.execute("""UPDATE "SpecialistProfile" SET "profileViews" = 7""")
        assert other.execute('SELECT sum(orders) FROM "SpecialistAnalyticsDaily"').fetchone() == (0,)
    assert [row[3] for row in rows(site)] == [1, 1]


def test_of_two_refreshes_the_later_has_the_newer_counts(
    site: Connection, settings: Settings, worker: Connection
) -> None:
    """A refresh that had to wait for another one counts after it."""
    changed: list[int] = []

    def refresh() -> None:
        with connect_postgres(settings, "test") as own:
            changed.append(refresh_outcomes(own, DAY, "UTC"))

    waiting = Thread(target=refresh)
    with worker.transaction():
        worker.execute(query("lock_outcome_refresh"))
        waiting.start()
        wait_until(lambda: _waits(site), "the other one waits")
        add_outcomes(site, "Order", "anna", NOON)
    waiting.join()
    assert changed == [1]


def _waits(connection: Connection) -> bool:
    waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return connection.execute(waiting.encode()).fetchone() is not None


def test_rows_are_taken_in_the_order_of_the_live_path(site: Connection, settings: Settings) -> None:
    """Batches and refreshes that want the same many rows at the same time, again and again, never deadlock."""
    everybody = [f"s{number}" for number in range(500)] + [f"S{number}" for number in range(500)]
    add_specialists(site, everybody)
    site.execute(
        'INSERT INTO "Order" SELECT id, id, %s::timestamp FROM "SpecialistProfile"', [NOON.replace(tzinfo=None)]
    )
    done = Flag()
    failures: list[Exception] = []
    batches = 0

    def count_batches() -> None:
        nonlocal batches
        try:
            with connect_postgres(settings, "test") as own:
                while not done.is_set():
                    count(own, *(view(specialist) for specialist in everybody))
                    batches += 1
        except Exception as error:
            failures.append(error)

    counting = Thread(target=count_batches)
    counting.start()
    turns = 0
    try:
        with connect_postgres(settings, "test") as own:
            while not failures and (turns < 30 or batches < 30):
                site.execute(
                    """UPDATE "Order" SET "createdAt" = "createdAt" + (%s * interval '1 day')""", [(-1) ** turns]
                )
                changed = refresh_outcomes(own, DAY, "UTC")
                assert changed == len(everybody) + 3 or turns == 0
                turns += 1
    finally:
        done.set()
        counting.join()
    assert failures == []
    views, orders = (
        site.execute('SELECT sum("profileViews"), sum(orders) FROM "SpecialistAnalyticsDaily"').fetchone() or ()
    )
    assert views == batches * len(everybody)
    assert orders == (0 if turns % 2 else len(everybody) + 3)


def test_counting_goes_on(site: Connection, settings: Settings, client: redis.Redis) -> None:
    """While views come through the stream and outcomes into the site's tables, both are counted exactly."""
    now = datetime.now(UTC)
    done, sent = Flag(), 1_500
    counting = Thread(target=run_shard, args=(settings, 0, done.is_set))
    counting.start()

    def send() -> None:
        for number in range(sent):
            who = ("anna", "boris")[number % 2]
            fields: dict[Any, Any] = {"type": "contact_view", "eventId": str(uuid4()), "occurredAt": now.isoformat()}
            client.xadd(STREAM, fields | {"specialistId": who})
            if number % 3 == 0:
                with psycopg.connect(site.info.dsn, password=site.info.password, autocommit=True) as own:
                    add_outcomes(own, "ConsultationRequest", who, now)

    sending = Thread(target=send)
    sending.start()
    times = 0
    try:
        with connect_postgres(settings, "test") as own:
            while sending.is_alive() or read_entries(site) < sent:
                refresh_outcomes(own, now.date(), "UTC")
                times += 1
            refresh_outcomes(own, now.date(), "UTC")
    finally:
        sending.join()
        done.set()
        counting.join()
    assert times > 10
    right = (sent / 2, sent / 6, 33.3)
    counted = site.execute(
        'SELECT "contactViews", "consultationRequests", "conversionRateContactToRequest"'
        ' FROM "SpecialistAnalyticsDaily"'
    )
    assert counted.fetchall() == [right, right]


def read_entries(connection: Connection) -> int:
    [entries] = (
        connection.execute("SELECT coalesce(sum(entries_read), 0)::int FROM analytics.stream_position").fetchone() or ()
    )
    return int(entries)


def test_the_jobs(site: Connection, settings: Settings) -> None:
    """The one of every minute takes yesterday and today in the zone, the nightly one the days before today."""
    zone = "Pacific/Kiritimati"
    settings = settings_with(settings, ANALYTICS_TIME_ZONE=zone, ANALYTICS_OUTCOME_DAYS="3")
    noon = datetime.now(ZoneInfo(zone)).replace(hour=12)
    add_outcomes(site, "Order", "anna", *(noon - timedelta(days=ago) for ago in range(6)))

    def counted() -> list[int]:
        found = site.execute('SELECT date FROM "SpecialistAnalyticsDaily" WHERE orders = 1 ORDER BY date DESC')
        return [(noon.date() - day).days for (day,) in found]

    run_job(settings, "open_days")
    assert counted() == [0, 1]
    site.execute('DELETE FROM "SpecialistAnalyticsDaily"')
    run_job(settings, "last_days")
    assert counted() == [1, 2, 3]


def test_the_schedule(site: Connection, settings: Settings) -> None:
    """A scheduler and a worker bring an order to the daily table, and note when."""
    add_outcomes(site, "Order", "anna", datetime.now(UTC))
    site.execute("UPDATE analytics.outcome_refresh SET refreshed_at = '2026-01-01'")
    processes = [start_worker(settings, "schedule"), start_worker(settings, "work", "ops")]
    noted = "SELECT FROM analytics.outcome_refresh WHERE refreshed_at > now() - interval '1 minute'"
    try:
        wait_until(lambda: site.execute(noted.encode()).fetchone() is not None, "the open days are refreshed")
    finally:
        for process in processes:
            process.terminate()
        said = [ended(process) for process in processes]
    assert [code for code, _, _ in said] == [0, 0], said
    assert [row[3] for row in rows(site)] == [1]


def test_how_old_they_are(site: Connection, settings: Settings, worker: Connection) -> None:
    """The age of outcomes is that of the last refresh of the open days, or of the migration if there was none."""
    ages = site.execute("SELECT extract(epoch FROM now() - applied_at)::float FROM analytics.migration").fetchall()
    assert read_outcomes(worker).refreshed_s_ago == pytest.approx(max(ages)[0], abs=60), "their template is older"
    site.execute("UPDATE analytics.outcome_refresh SET refreshed_at = now() - interval '1 hour'")
    refresh_outcomes(worker, DAY, "UTC")
    assert read_outcomes(worker).refreshed_s_ago >= 3600, "of any other day it says nothing"
    run_job(settings, "open_days")
    assert read_outcomes(worker).refreshed_s_ago < 600


def test_a_recompute_takes_outcomes_along(site: Connection, worker: Connection) -> None:
    """After a recompute the whole row is right: baseline, ledger and outcomes."""
    count(worker, *(view("anna", "contact_view") for _ in range(4)))
    add_outcomes(site, "ConsultationRequest", "anna", NOON)
    site.execute("""UPDATE "SpecialistAnalyticsDaily" SET "contactViews" = 9, orders = 5""")
    [(_, recomputed)] = recompute_days(worker, DAY, DAY, "UTC")
    assert (recomputed.rows, recomputed.contact_views, recomputed.outcome_rows) == (1, -5, 1)
    assert rows(site) == [("anna", "10", 1, 0, 0, 25.0, 0.0)]


def test_a_dry_recompute_shows_outcomes(site: Connection, settings: Settings) -> None:
    """A dry recompute shows the outcomes that would change, too; of one specialist only its own, which then change."""
    for specialist in ("anna", "boris"):
        add_outcomes(site, "Order", specialist, datetime(2026, 11, 10, 12, tzinfo=UTC))
    days = ("--from", "2026-11-10", "--to", "2026-11-10")
    code, output, errors = run_worker(settings, "recompute", *days, "--dry-run")
    assert (code, errors) == (1, "")
    shown = [" ".join(line.split()) for line in output.splitlines()]
    assert shown[1:] == [f"2026-11-10 {who} – → 0 – → 1 – → 0" for who in ("anna", "boris")] + ["2 rows +0 +2 +0"]
    _, output, _ = run_worker(settings, "recompute", *days, "--specialist", "anna", "--now")
    assert "outcome rows   1" in output
    code, output, _ = run_worker(settings, "recompute", *days, "--dry-run")
    assert code == 1 and "boris" in output and "anna" not in output


def test_the_command(site: Connection, settings: Settings) -> None:
    """The command refreshes each day and says how many rows changed; a second time none does."""
    add_outcomes(site, "Order", "anna", NOON)
    add_outcomes(site, "Review", "boris", NOON)
    days = ("--from", "2026-11-09", "--to", "2026-11-10")
    for number, changed in ((1, 2), (2, 0)):
        code, output, errors = run_worker(settings, "backfill", "outcomes", *days, "--now")
        assert (code, errors) == (0, "")
        assert f"run {number} done: 2 of 2 days" in output and output.split()[-2:] == ["rows", str(changed)]


def test_day_after_day(site: Connection, settings: Settings) -> None:
    """A step is a day; a run that is stopped between two goes on with the next one, and a day done twice is right."""
    add_outcomes(site, "Order", "anna", NOON, NOON + timedelta(days=1))
    asked = OutcomesArguments(first=DAY - timedelta(days=1), last=DAY + timedelta(days=1))
    going = list(backfill_steps(settings, 1, asked, {}))
    assert [(step.done, step.total, step.result["rows"]) for step in going] == [(1, 3, 0), (2, 3, 1), (3, 3, 2)]
    site.execute('UPDATE "SpecialistAnalyticsDaily" SET orders = 7')
    rest = list(backfill_steps(settings, 1, asked, going[1].cursor))
    assert [(step.done, step.result) for step in rest] == [(3, {"rows": 2})]
    assert [row[3] for row in rows(site)] == [7, 1]
    assert not list(backfill_steps(settings, 1, asked, rest[-1].cursor))


@pytest.mark.parametrize(
    ("first", "last", "why"),
    [
        ("2026-11-10", "2026-11-09", "turn them round"),
        ("0001-01-01", "9999-12-31", "3,652,059 days: ask for at most 3,660"),
    ],
)
@pytest.mark.parametrize("command", ["backfill outcomes", "recompute"])
def test_days_that_are_no_range(settings: Settings, command: str, first: str, last: str, why: str) -> None:
    """Days the wrong way round, or all of history, are refused in one line."""
    code, output, errors = run_worker(settings, *command.split(), "--from", first, "--to", last)
    assert (code, output, len(errors.splitlines())) == (2, "", 1)
    assert why in errors
