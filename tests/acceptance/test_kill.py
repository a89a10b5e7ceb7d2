"""kill -9, again and again, and every event counts once."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import UUID

import psutil
import psycopg
import pytest
import redis

from tests.support import add_specialists
from worker.settings import Settings
from worker.store import Connection

TOP = Path(__file__).resolve().parents[2]
EVENTS = 200_000
KILLS = 20


def wait_until(holds: Callable[[], bool], seconds: float, what: str) -> None:
    """Look again and again until it holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


@pytest.fixture
def supervisor(settings: Settings, tmp_path: Path) -> Iterator[psutil.Process]:
    """`python -m worker run` with small batches, so that a kill can fall between many moments."""
    env = os.environ | {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "ANALYTICS_BATCH_ENTRIES": "500",
    }
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "worker", "run"], cwd=TOP, env=env, stderr=log)
        seen = psutil.Process(process.pid)
        family: list[psutil.Process] = []
        try:
            yield seen
        finally:
            family = seen.children(recursive=True)
            process.send_signal(signal.SIGTERM)
            code = process.wait(30)
    assert code == 0
    assert not psutil.wait_procs(family, timeout=5)[1], "the supervisor left processes behind"
    for line in (tmp_path / "log").read_text().splitlines():
        json.loads(line)


def horses(supervisor: psutil.Process) -> list[psutil.Process]:
    """The work horses of the rollup workers: the processes in which batches are committed."""
    found = []
    for child in supervisor.children():
        try:
            if child.cmdline()[-4:-2] == ["work", "rollup"] or "rollup" in child.cmdline():
                found += child.children()
        except psutil.NoSuchProcess:
            continue
    return found


def test_kill_9_of_the_rollup_process(
    settings: Settings, connection: Connection, client: redis.Redis, supervisor: psutil.Process
) -> None:
    """Twenty times kill -9 at any moment of 200,000 events with 5 % repeats: the table equals the truth."""
    chance = random.Random(20)
    specialists = [f"c{number:04d}" for number in range(500)]
    add_specialists(connection, specialists)
    now_ms = int(time.time() * 1000)
    sent: list[dict[str, str | int]] = []
    truth: Counter[tuple[str, str]] = Counter()

    def send(count: int) -> None:
        pipeline = client.pipeline(transaction=False)
        for _ in range(count):
            if sent and chance.random() < 0.05:
                fields = chance.choice(sent)
            else:
                fields = {
                    "type": chance.choice(("profile_view", "contact_view")),
                    "specialistId": chance.choice(specialists),
                    "eventId": str(UUID(int=chance.getrandbits(128))),
                    "occurredAt": now_ms - chance.randrange(2 * 86_400_000),
                }
                truth[str(fields["specialistId"]), str(fields["type"])] += 1
            sent.append(fields)
            pipeline.xadd("analytics:events", fields)  # type: ignore[arg-type]
        pipeline.execute()

    def read() -> int:
        row = connection.execute("SELECT coalesce(sum(entries_read), 0) FROM analytics.stream_position").fetchone()
        assert row is not None
        return int(row[0])

    kills = 0
    while kills < KILLS:
        before = read()
        send(EVENTS // KILLS)
        wait_until(lambda before=before: read() > before and horses(supervisor) != [], 30, "a batch is committed")  # type: ignore[misc]
        time.sleep(chance.random() * 0.05)  # not to wait for anything: to fall into any moment of a batch
        for horse in horses(supervisor):
            horse.kill()
            kills += 1
    wait_until(lambda: read() == len(sent), 60, "everything is read")

    rows = connection.execute(
        'SELECT "specialistId", sum("profileViews"), sum("contactViews") FROM "SpecialistAnalyticsDaily" GROUP BY 1'
    ).fetchall()
    counted = {(specialist, "profile_view"): profile for specialist, profile, _ in rows}
    counted |= {(specialist, "contact_view"): contact for specialist, _, contact in rows}
    assert {key: number for key, number in counted.items() if number} == truth
    totals = connection.execute("SELECT entries_read, counted, duplicates FROM analytics.stream_position").fetchone()
    assert totals == (len(sent), truth.total(), len(sent) - truth.total())


def test_two_runs_side_by_side(
    settings: Settings, connection: Connection, client: redis.Redis, supervisor: psutil.Process
) -> None:
    """A second `run` beside the first, as in a rolling deploy, changes no number."""
    add_specialists(connection, ["anna"])
    env = os.environ | {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "REDIS_URL": settings.redis_url.get_secret_value(),
    }
    second = subprocess.Popen([sys.executable, "-m", "worker", "run"], cwd=TOP, env=env, stderr=subprocess.DEVNULL)
    try:
        pipeline = client.pipeline(transaction=False)
        for number in range(5_000):
            pipeline.xadd(
                "analytics:events", {"type": "profile_view", "specialistId": "anna", "eventId": str(UUID(int=number))}
            )
        pipeline.execute()

        def counted() -> bool:
            row = connection.execute("SELECT entries_read FROM analytics.stream_position").fetchone()
            return row == (5_000,)

        wait_until(counted, 30, "everything is read")
    finally:
        second.terminate()
        assert second.wait(30) == 0
    assert connection.execute('SELECT sum("profileViews") FROM "SpecialistAnalyticsDaily"').fetchone() == (5_000,)
    with psycopg.connect(settings.database_url.get_secret_value()) as own:
        assert own.execute("SELECT counted, duplicates FROM analytics.stream_position").fetchone() == (5_000, 0)
