"""Every job of the schedule leaves behind how it ended, and `schedule --list` shows it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import psutil
import psycopg
import pytest
import redis

from jobs import tick as tick_module
from jobs.outcomes import open_days
from jobs.queue import TICK, AnalyticsJob, enqueue_tick, tick_of
from tests.counting import drain
from tests.support import ended, environment, run_worker, settings_with, start_worker, wait_until
from worker.alerting.alerts import Tally, judge
from worker.embedded import free_port
from worker.errors import Retry
from worker.inspection.observe import Observer
from worker.migrations import migrate, migrations
from worker.scheduler import SCHEDULE, Scheduled
from worker.settings import Settings
from worker.store import Connection
from worker.upkeep.schedule_view import lines
from worker.upkeep.scheduled import Ran, Tick, read_scheduled

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
NOTHING_TO_DO = {"rows": 0, "visitors": 0, "profiles": 0}


@contextmanager
def working(settings: Settings, *arguments: str) -> Iterator[None]:
    """With a process of the worker."""
    process = start_worker(settings, *arguments)
    try:
        yield
    finally:
        process.terminate()
        ended(process)


def ran(connection: Connection, name: str = "outcomes") -> Ran | None:
    return next((each for each in read_scheduled(connection) if each.name == name), None)


def let_run(connection: Connection, client: redis.Redis, at: datetime) -> Ran:
    """Put in the tick of that moment; how it ended."""
    enqueue_tick(client, "outcomes", "jobs.outcomes.open_days", at, keep=60)

    def has_ended() -> bool:
        row = ran(connection)
        return row is not None and row.tick == at

    wait_until(has_ended, "the job has ended")
    row = ran(connection)
    assert row is not None
    return row


def test_an_id_tells_its_tick() -> None:
    """From the id of a tick's job its line and moment can be read; other ids are of no tick."""
    assert tick_of("outcomes-nightly-20261122T031000Z") == Tick(
        "outcomes-nightly", datetime(2026, 11, 22, 3, 10, tzinfo=UTC)
    )
    assert [tick_of(other) for other in ("", "rollup-0", "20261122T031000Z", "run-17")] == [None] * 4


def test_how_a_job_ended_is_kept(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """What a job returned is kept, and why it failed, until a later one ends well: so long there is an alert."""

    def alert() -> str | None:
        with Observer(settings, "test") as observer:
            judged = judge(observer.look(), Tally(0, 0), settings)["failed_job"]
        return judged.text if judged else None

    with working(settings, "work", "ops"):
        first = let_run(connection, client, NOON)
        assert (first.result, first.error, first.failure, first.has_not_ended) == (NOTHING_TO_DO, None, None, False)
        assert alert() is None
        connection.execute("DROP VIEW analytics.outcome")
        failed = let_run(connection, client, NOON + MINUTE)
        assert failed.result is None
        assert "analytics.outcome" in str(failed.error) and "\n" not in str(failed.error)
        assert alert() == f"outcomes: {failed.error}"
        code, output, _ = run_worker(settings, "schedule", "--list")
        assert code == 0
        assert "error: the database is not migrated" in " ".join(output.split())
        migrate(connection, migrations())
        again = let_run(connection, client, NOON + 2 * MINUTE)
        assert (again.result, again.error) == (NOTHING_TO_DO, None)
        job = AnalyticsJob.fetch(f"outcomes-{(NOON + MINUTE).strftime(TICK)}", client)
        assert job.retries_left == 1, "what had failed was done again, as if its process had died"
        assert alert() is None
    assert again.begun_at == again.started_at and again.ended_at is not None and again.begun_at < again.ended_at


def test_a_short_outage_is_no_failure(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """A job whose connection PostgreSQL ends, as in a restart, is tried again, and only that it did well is kept."""
    with working(settings, "work", "ops"):
        with psycopg.connect(connection.info.dsn, password=connection.info.password) as other:
            other.execute("SELECT FROM analytics.outcome_refresh FOR UPDATE")
            enqueue_tick(client, "outcomes", "jobs.outcomes.open_days", NOON, keep=60)
            victim = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                        WHERE application_name = 'analytics outcomes' AND wait_event_type = 'Lock'
                        AND datname = current_database()"""
            for time in ("first", "second"):
                wait_until(lambda: connection.execute(victim.encode()).fetchone() is not None, f"the {time} try waits")
            row = ran(connection)
            assert row is not None and row.tick is None and row.has_not_ended
        wait_until(lambda: (row := ran(connection)) is not None and row.tick == NOON, "the job has ended")
    row = ran(connection)
    assert row is not None and (row.result, row.error) == (NOTHING_TO_DO, None)


@pytest.mark.parametrize("who", ["the horse", "both"])
def test_a_process_that_dies(settings: Settings, connection: Connection, client: redis.Redis, who: str) -> None:
    """A job whose process is killed, alone or with its worker, is done again at once, and not the next night."""
    waiting = """SELECT FROM pg_stat_activity WHERE application_name = 'analytics outcomes' AND wait_event_type = 'Lock'
                 AND datname = current_database()"""
    with psycopg.connect(connection.info.dsn, password=connection.info.password) as other:
        other.execute("SELECT FROM analytics.outcome_refresh FOR UPDATE")
        enqueue_tick(client, "outcomes", "jobs.outcomes.open_days", NOON, keep=60)
        process = start_worker(settings, "work", "ops")
        try:
            wait_until(lambda: connection.execute(waiting.encode()).fetchone() is not None, "the job is in its middle")
            [horse] = psutil.Process(process.pid).children()
            if who == "both":
                process.kill()
            horse.kill()
        finally:
            process.terminate()
            ended(process)
    with working(settings, "work", "ops"):
        wait_until(lambda: (row := ran(connection)) is not None and row.tick == NOON, "the job is done again", 60)
    row = ran(connection)
    assert row is not None and (row.result, row.error) == (NOTHING_TO_DO, None)


def test_without_postgresql(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """While PostgreSQL is away a job ends as it would if nothing had to be written down, well or not."""
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DATABASE_URL", f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    monkeypatch.setattr(tick_module, "PATIENCE_S", 0.3)
    job = SimpleNamespace(id="outcomes-20261122T120000Z", retries_left=1)
    monkeypatch.setattr(tick_module, "get_current_job", lambda: job)
    with pytest.raises(Retry, match="PostgreSQL at"):
        open_days()
    monkeypatch.setattr("jobs.outcomes.refresh_open_days", lambda _settings: {"rows": 7})
    monkeypatch.setattr("jobs.outcomes.refresh_visitors_of_open_days", lambda _settings: 7)
    assert open_days() == NOTHING_TO_DO | {"rows": 7, "visitors": 7}


def test_a_job_that_nobody_scheduled(settings: Settings, connection: Connection, monkeypatch: Any) -> None:
    """A doorway that is called by hand works and leaves nothing behind."""
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    assert open_days() == NOTHING_TO_DO
    assert read_scheduled(connection) == []


NIGHTLY = Scheduled("nightly", "10 3 * * *", "jobs.outcomes.last_days", "for the test")


@pytest.mark.parametrize(
    ("ended_tick", "now", "late"),
    [
        (None, NOON, True),
        (NOON.replace(hour=2, minute=10), NOON, False),  # 03:10 in Berlin
        (NOON.replace(hour=2, minute=10) - timedelta(days=1), NOON, True),
        (
            NOON.replace(hour=2, minute=10) - timedelta(days=1),
            NOON.replace(hour=2, minute=14),
            False,
        ),  # it may still run
        (NOON.replace(hour=2, minute=10) - timedelta(days=1), NOON.replace(hour=2, minute=16), True),
    ],
)
def test_what_is_late(ended_tick: datetime | None, now: datetime, late: bool) -> None:
    """A line is late if its last tick has not ended some minutes after it was due; the next one is in the zone."""
    row = [Ran("nightly", ended_tick, now, now, {}, None, now, 0.0)] if ended_tick else []
    [line] = lines([NIGHTLY], row, now, ZoneInfo("Europe/Berlin"))
    assert (line.late_tick is not None) is late
    assert line.next_tick == NOON.replace(hour=2, minute=10) + timedelta(days=1)


def test_the_list_where_nothing_runs(settings: Settings) -> None:
    """Without any scheduler the list is there, names every line with its purpose, and says that none has run."""
    code, output, errors = run_worker(settings, "schedule", "--list")
    assert (code, errors) == (0, "")
    words = " ".join(output.split())
    for line in SCHEDULE:
        assert line.name in words and line.cron in words and f"{line.name} of 20" in words
    assert "never" in words and "no scheduler or no ops worker runs" in words and "times in UTC" in words
    berlin = settings_with(settings, ANALYTICS_TIME_ZONE="Europe/Berlin")
    document = json.loads(run_worker(berlin, "schedule", "--list", "--json")[1])
    assert [line["name"] for line in document] == [line.name for line in SCHEDULE]
    assert all(line["last"] is None and line["late"] for line in document)
    nightly = next(line for line in document if line["name"] == "outcomes-nightly")
    assert "T03:10:00+0" in nightly["next"]


def test_the_list_asks_postgresql_alone(settings: Settings) -> None:
    """With Redis away the list is there all the same; with PostgreSQL away one line says so."""
    away = f"127.0.0.1:{free_port()}"
    assert run_worker(settings_with(settings, REDIS_URL=f"redis://{away}/0"), "schedule", "--list")[0] == 0
    code, output, errors = run_worker(
        settings_with(settings, DATABASE_URL=f"postgresql://{away}/none"), "schedule", "--list"
    )
    assert (code, output, len(errors.splitlines())) == (2, "", 1)


def test_all_of_it(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """A scheduler and an ops worker that start do every line at once, close yesterday, and nothing is late."""
    drain(settings)
    with working(settings, "schedule"), working(settings, "work", "ops"):

        def all_have_ended() -> bool:
            return {line.name for line in read_scheduled(connection) if line.ended_at} == {
                each.name for each in SCHEDULE
            }

        wait_until(all_have_ended, "every line has ended once", seconds=60)
    assert [(line.name, line.failure) for line in read_scheduled(connection) if line.failure] == []
    row = ran(connection, "close")
    assert row is not None and row.result == {"closed": 1, "differences": 0, "waits_for": None}
    _, output, _ = run_worker(settings, "schedule", "--list")
    words = " ".join(output.split())
    assert "closed 1, differences 0" in words and "not done yet" not in words
    _, output, _ = run_worker(settings, "status")
    assert "complete through 20" in output
