"""Sealing takes single events away and no number: a recompute finds all rows right, and no repeat counts again."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from threading import Event as Flag
from threading import Thread
from typing import Any, cast

import psycopg
import pytest
import redis

from tests.counting import TODAY, add, books, daily, dead, drain, event
from tests.support import add_specialists, settings_with, wait_until
from worker.daily.recompute import diff_day, recompute_days
from worker.errors import Conflict, Retry
from worker.pipeline import opened, run_shard
from worker.report import Report
from worker.settings import Settings
from worker.store import Connection, connect_postgres, create_partition, list_partitions, seal_oldest_day
from worker.upkeep.maintenance import keep_ledger

OLD = TODAY - timedelta(days=60)
STATE = 'SELECT ctid, xmin, daily.* FROM "SpecialistAnalyticsDaily" AS daily ORDER BY "specialistId", date'
"""The daily rows as they lie there: a row that was written again is another one."""


@pytest.fixture(autouse=True)
def _specialists(connection: Connection) -> None:
    add_specialists(connection, ["anna", "boris"])


def noon(day: date) -> str:
    """Its noon; of today, which may still be to come, the beginning."""
    return f"{day}T{'00' if day == TODAY else '12'}:00:00Z"


def count_old(settings: Settings, client: redis.Redis, *events: dict[Any, Any]) -> None:
    """Count events by the live path, however old they are."""
    add(client, *events)
    drain(settings_with(settings, ANALYTICS_LEDGER_DAYS="0"))


def read_on(settings: Settings, connection: Connection, entries: int) -> None:
    """Count until so many entries have been read in all, or for half a minute: a reader could begin again for ever."""
    deadline = time.monotonic() + 30
    run_shard(settings, 0, lambda: books(connection)[0] >= entries or time.monotonic() > deadline)


def seal(settings: Settings) -> date | None:
    """Seal one day, as the worker does."""
    with connect_postgres(settings, "test") as worker:
        return seal_oldest_day(worker, settings.ledger_days, settings.time_zone)


def seal_all(settings: Settings) -> list[date]:
    sealed = []
    while (day := seal(settings)) is not None:
        sealed.append(day)
    return sealed


def number(connection: Connection, what: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {what}".encode()).fetchone()
    assert row is not None
    return cast("int", row[0])


@pytest.mark.parametrize(
    ("zone", "first"),
    [
        ("UTC", "2025-06-01"),
        ("Europe/Berlin", "2025-10-24"),  # a day of 25 hours
        ("Europe/Berlin", "2025-03-28"),  # one of 23
        ("America/New_York", "2024-10-31"),
        ("Asia/Kathmandu", "2025-06-01"),  # 5:45 ahead
        ("America/Sao_Paulo", "2018-02-15"),  # a midnight that was there twice
        ("America/Sao_Paulo", "2018-11-02"),  # and one that was not
        ("Pacific/Apia", "2011-12-28"),  # a date that was not
    ],
)
def test_a_recompute_changes_nothing(
    settings: Settings, connection: Connection, client: redis.Redis, zone: str, first: str
) -> None:
    """After each sealed day all rows are right and untouched; were they deleted, the formula makes the same again."""
    settings = settings_with(settings, ANALYTICS_TIME_ZONE=zone)
    start = datetime.fromisoformat(first).replace(tzinfo=UTC)
    kinds: list[dict[str, Any]] = [
        {},
        {"specialist": "boris", "source": "search"},
        {"source": None},
        {"specialist": "boris", "source": "elsewhere"},
        {"type": "contact_view"},
        {"viewerId": "anna"},
        {"specialist": "boris", "userAgent": "Googlebot/2.1"},
    ]
    moments = [start + timedelta(minutes=29 * step) for step in range(5 * 24 * 60 // 29)]
    count_old(settings, client, *(event(**kinds[n % 7], occurredAt=at.isoformat()) for n, at in enumerate(moments)))
    dates = (start.date() - timedelta(days=2), start.date() + timedelta(days=7))
    before = connection.execute(STATE).fetchall()
    counted = daily(connection)
    assert sum(map(sum, counted.values())) == books(connection)[1] > 150

    days = [start.date() + timedelta(days=n) for n in range(5)]
    for day in days:
        assert seal(settings) == day
        assert day not in list_partitions(connection)
        assert all(recomputed.rows == 0 for _, recomputed in recompute_days(connection, *dates, zone))
        assert connection.execute(STATE).fetchall() == before
    assert (seal(settings), number(connection, "analytics.event")) == (None, 0)

    sources = 'SELECT "specialistId", date, sources FROM "SpecialistAnalyticsDaily" ORDER BY 1, 2'
    by_source = connection.execute(sources).fetchall()
    connection.execute('DELETE FROM "SpecialistAnalyticsDaily"')
    list(recompute_days(connection, *dates, zone))
    assert (daily(connection), connection.execute(sources).fetchall()) == (counted, by_source)


def test_which_days_are_sealed(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """A day is sealed once its events have not been accepted for a day; with 0 none is."""
    ages = (34, 35, 36, 37)
    count_old(settings, client, *(event(occurredAt=noon(TODAY - timedelta(days=age))) for age in ages))
    assert keep_ledger(settings_with(settings, ANALYTICS_LEDGER_DAYS="0"))["sealed"] == 0
    assert keep_ledger(settings)["sealed"] == 2
    left = {(TODAY - day).days for day in list_partitions(connection)}
    assert {age for age in left if age > 0} == {34, 35}


def test_a_few_days_at_once(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """A run seals five days at most, the oldest first; the next one goes on, and one without any left does nothing."""
    count_old(settings, client, *(event(occurredAt=noon(OLD + timedelta(days=n))) for n in range(7)))
    assert [keep_ledger(settings)["sealed"] for _ in range(3)] == [5, 2, 0]
    assert number(connection, "analytics.sealed_day") == 7
    total = connection.execute("SELECT sum(profile_views) FROM analytics.baseline").fetchone()
    assert total == (7,)


def test_two_seal_at_the_same_time(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Whoever else seals, each day is sealed once."""
    days = [OLD + timedelta(days=n) for n in range(20)]
    count_old(settings, client, *(event(occurredAt=noon(day)) for day in days))

    def seal_until_nothing_is_left(_: int) -> list[date]:
        done = []
        with connect_postgres(settings, "test") as own:
            while min(list_partitions(own), default=TODAY) < TODAY:
                try:
                    day = seal_oldest_day(own, settings.ledger_days, settings.time_zone)
                except Retry:  # somebody's look at the ledger took a second
                    continue
                done += [day] if day else []
        return done

    with ThreadPoolExecutor(3) as threads:
        sealed = [day for done in threads.map(seal_until_nothing_is_left, range(3)) for day in done]
    assert sorted(sealed) == days
    assert all(diff_day(connection, day, "UTC") == [] for day in days)


def reader_in_the_way(own: psycopg.Connection, sealing: Thread) -> None:
    wait_until(lambda: not sealing.is_alive(), "the end of sealing", 20)


def sealer_dies(own: psycopg.Connection, sealing: Thread) -> None:
    """Its server process is ended while it waits for the reader, with the sum written already."""
    victim = "FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%seal_oldest_day%'"

    def ended() -> bool:
        own.execute(f"SELECT pg_terminate_backend(pid) {victim} AND wait_event_type = 'Lock'".encode())
        return not sealing.is_alive()

    wait_until(ended, "the end of sealing")


@pytest.mark.parametrize("what_happens", [reader_in_the_way, sealer_dies])
def test_all_or_nothing(
    settings: Settings,
    connection: Connection,
    client: redis.Redis,
    database: str,
    what_happens: Callable[[psycopg.Connection, Thread], None],
) -> None:
    """Sealing that cannot come to its end leaves everything as it was, and comes to it the next time."""
    count_old(settings, client, event(occurredAt=noon(OLD)), event())
    refused: list[Retry] = []

    def try_to_seal() -> None:
        try:
            seal(settings)
        except Retry as error:
            refused.append(error)

    sealing = Thread(target=try_to_seal)
    with psycopg.connect(database, autocommit=True) as own, connection.transaction():
        connection.execute("SELECT FROM analytics.event")
        sealing.start()
        what_happens(own, sealing)
        sealing.join()
    assert len(refused) == 1
    assert number(connection, "analytics.baseline") == number(connection, "analytics.sealed_day") == 0
    assert number(connection, "analytics.event") == 2
    assert seal_all(settings) == [OLD]
    assert diff_day(connection, OLD, "UTC") == []


@pytest.mark.parametrize(
    "somebody",
    ["SELECT FROM analytics.event", "LOCK TABLE analytics.stream_position IN SHARE ROW EXCLUSIVE MODE"],
)
def test_somebody_puts_it_off(settings: Settings, connection: Connection, client: redis.Redis, somebody: str) -> None:
    """The hourly job goes well although somebody reads the ledger or recomputes; it seals the next time."""
    count_old(settings, client, event(occurredAt=noon(OLD)))
    connection.execute("SET idle_in_transaction_session_timeout = '20s'")  # or sealing without patience would never end
    with connection.transaction():
        connection.execute(somebody.encode())
        assert keep_ledger(settings)["sealed"] == 0
    assert keep_ledger(settings)["sealed"] == 1


def test_nobody_writes_to_what_is_summed(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """While a day is summed its partition is locked against writers, and not the positions that live counting needs."""
    count_old(settings, client, event(occurredAt=noon(OLD)))
    connection.execute(
        "CREATE TABLE analytics.held AS SELECT relation::regclass::text AS name, mode FROM pg_locks WHERE false;"
        "CREATE FUNCTION analytics.note_locks() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO analytics.held SELECT relation::regclass::text, mode FROM pg_locks"
        " WHERE pid = pg_backend_pid() AND mode ~ 'Exclusive'; RETURN NULL; END $$;"
        "CREATE TRIGGER note AFTER INSERT ON analytics.baseline EXECUTE FUNCTION analytics.note_locks()"
    )
    assert seal(settings) == OLD
    held = set(connection.execute("SELECT name, mode FROM analytics.held").fetchall())
    assert (f"analytics.event_{OLD:%Y%m%d}", "ShareRowExclusiveLock") in held
    assert not {"analytics.event", "analytics.stream_position"} & {name for name, _ in held}


def test_counting_goes_on(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """While days are sealed, new events and repeats of what is just being sealed come in: nothing is lost, or counted
    twice, even by a worker that by its own settings would take events of any age.
    """
    settings = settings_with(settings, ANALYTICS_BREAKER_SHARE="1")
    days = [OLD + timedelta(days=n) for n in range(12)]
    old = [event(("anna", "boris")[n % 2], occurredAt=noon(day)) for day in days for n in range(40)]
    count_old(settings, client, *old)
    new = [event(("anna", "boris")[n % 2]) for n in range(len(old))]
    done = Flag()
    any_age = settings_with(settings, ANALYTICS_LEDGER_DAYS="0")
    counting = Thread(target=run_shard, args=(any_age, 0, done.is_set))
    counting.start()
    try:
        sealed = []
        for sent, (repeat, fresh) in enumerate(zip(reversed(old), new, strict=True)):
            add(client, repeat, fresh)
            if sent % 30 == 0:
                with suppress(Retry):  # it waits a second for the others, and then it is tried again later
                    sealed += [seal(settings)]
        wait_until(lambda: books(connection)[0] == 3 * len(old), "all read")
        sealed += seal_all(settings)
    finally:
        done.set()
        counting.join()
    assert [day for day in sealed if day] == days
    read, counted, duplicates, _, buried = books(connection)
    assert (read, counted, duplicates + buried) == (3 * len(old), 2 * len(old), len(old))
    assert daily(connection) == {
        **{(who, day): (20, 0) for who in ("anna", "boris") for day in days},
        **{(who, TODAY): (len(new) / 2, 0) for who in ("anna", "boris")},
    }
    assert all(diff_day(connection, day, "UTC") == [] for day in (*days, TODAY))


@pytest.mark.parametrize("raised", ["100", "0"])
def test_the_retention_is_raised(settings: Settings, connection: Connection, client: redis.Redis, raised: str) -> None:
    """ANALYTICS_LEDGER_DAYS raised after sealing: a repeat of a sealed event is not counted again, nor what is older;
    what is younger is counted.
    """
    sealed = event(occurredAt=noon(OLD))
    count_old(settings, client, sealed)
    assert seal_all(settings) == [OLD]
    before = event(occurredAt=noon(OLD - timedelta(days=1)))
    younger = event(occurredAt=f"{OLD + timedelta(days=1)}T00:00:00Z")
    add(client, sealed, before, younger)
    read_on(settings_with(settings, ANALYTICS_LEDGER_DAYS=raised), connection, 4)
    assert daily(connection) == {("anna", OLD): (1, 0), ("anna", OLD + timedelta(days=1)): (1, 0)}
    assert [reason for reason, _ in dead(connection)] == ["too_old", "too_old"]


@pytest.mark.parametrize("knows_the_partition", [True, False])
def test_a_worker_that_does_not_know(
    settings: Settings, connection: Connection, client: redis.Redis, knows_the_partition: bool
) -> None:
    """A rollup that was there before the day was sealed writes nothing of it: it begins again, and then knows."""
    any_age = settings_with(settings, ANALYTICS_LEDGER_DAYS="0")
    sealed, turns = event(occurredAt=noon(OLD)), iter(range(100))
    count_old(settings, client, sealed)
    with opened(any_age, 0, Report(0)) as rollup:
        assert seal(settings) == OLD
        if not knows_the_partition:
            rollup.intake.partitions.clear()
        add(client, sealed)
        with pytest.raises(Conflict):
            rollup.run(lambda: next(turns, None) is None, lambda: None)
    read_on(any_age, connection, 2)
    assert daily(connection) == {("anna", OLD): (1, 0)}
    assert books(connection) == (2, 1, 0, 0, 1)


def test_no_partition_again(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """A sealed day, and any before it, gets no partition; the day after it does."""
    count_old(settings, client, event(occurredAt=noon(OLD)))
    seal_all(settings)
    for day in (OLD, OLD - timedelta(days=1), OLD - timedelta(days=400)):
        with pytest.raises(Conflict, match=f"sealed up to a day that is not before {day}"):
            create_partition(connection, day)
    assert list_partitions(connection) == set()
    assert create_partition(connection, OLD + timedelta(days=1))


def test_a_sealed_day_is_there_again(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """A partition that somebody made by hand for a sealed day is not folded in a second time, but complained about."""
    count_old(settings, client, event(occurredAt=noon(OLD)))
    connection.execute("INSERT INTO analytics.sealed_day (day, time_zone) VALUES (%s, 'UTC')", [OLD])
    with pytest.raises(Conflict, match="sealed_day_pkey"):
        keep_ledger(settings)
    assert (number(connection, "analytics.event"), number(connection, "analytics.baseline")) == (1, 0)


def test_the_role_seals_nothing_young(settings: Settings, connection: Connection) -> None:
    """Whoever has the worker's role cannot have the ledger of yesterday dropped, whatever retention he names."""
    create_partition(connection, TODAY - timedelta(days=1))
    with connect_postgres(settings, "test") as worker:
        for retention in (1, -1, -100, None):
            query = "SELECT analytics.seal_oldest_day(%s::integer, 'UTC')"
            assert worker.execute(query, [retention]).fetchone() == (None,)
    assert list_partitions(connection) == {TODAY - timedelta(days=1)}
