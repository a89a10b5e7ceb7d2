"""The worker's main path in one piece: `run`, events with repeats among them, kill -9, a stop, and a straight count."""

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import UUID

import psutil
import psycopg
import redis

from tests.rq_fixtures import wait_for
from tests.support import TOP, add_specialists, environment
from worker.producer import shard_of, track
from worker.settings import Settings
from worker.stream import connect_redis

SPECIALISTS = [f"c{number:02d}" for number in range(50)]


@contextmanager
def running(settings: Settings, log: Path) -> Iterator[psutil.Process]:
    """`python -m worker run` with these settings, writing to a file, until the block ends."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "worker", "run"],
            cwd=TOP,
            env=os.environ | environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        code = process.wait(30)
    assert code == 0


def horses(supervisor: psutil.Process) -> list[psutil.Process]:
    """The work horses: the processes in which jobs run."""
    return [horse for part in supervisor.children() for horse in part.children()]


def run_course(settings: Settings, owner_url: str, log: Path, *, rounds: int = 2, kill: bool = False) -> None:
    """Send rounds of 500 events, a twentieth of them repeats, and let `run` count them; fails if a number is wrong.

    Args:
        settings: the worker's.
        owner_url: a way to look into its database past whatever is tried.
        log: where `run` writes.
        rounds: how many; in each the worker commits something.
        kill: whether all work horses are killed in the middle of each round.
    """
    chance = random.Random(7)
    ids: list[tuple[str, str]] = []
    sent = 0
    truth: Counter[str] = Counter()
    with connect_redis(settings) as client, psycopg.connect(owner_url, autocommit=True) as connection:
        add_specialists(connection, SPECIALISTS)

        def read() -> int:
            row = connection.execute("SELECT coalesce(sum(entries_read), 0) FROM analytics.stream_position").fetchone()
            assert row is not None
            return int(row[0])

        with running(settings, log) as supervisor:
            for _ in range(rounds):
                before = read()
                for _ in range(500):
                    if not ids or chance.random() >= 0.05:
                        ids.append((chance.choice(SPECIALISTS), str(UUID(int=chance.getrandbits(128)))))
                        truth[ids[-1][0]] += 1
                        event = ids[-1]
                    else:
                        event = chance.choice(ids)
                    send(client, settings, *event)
                sent += 500
                wait_for(lambda before=before: read() > before, 30)  # type: ignore[misc]
                for horse in horses(supervisor) if kill else ():
                    with suppress(psutil.NoSuchProcess):  # its slice ended meanwhile
                        horse.kill()
            wait_for(lambda: read() == sent, 60)
        rows = connection.execute(
            'SELECT "specialistId", sum("profileViews") FROM "SpecialistAnalyticsDaily" GROUP BY 1'
        ).fetchall()
        books = connection.execute("SELECT sum(counted), sum(duplicates) FROM analytics.stream_position").fetchone()
    assert dict(rows) == truth
    assert books == (truth.total(), sent - truth.total())


def send(client: redis.Redis, settings: Settings, specialist: str, event_id: str) -> None:
    stream = settings.stream_keys[shard_of(specialist, settings.shards)]
    track(client, stream, type="profile_view", specialist_id=specialist, event_id=event_id, visitor_id="visitor-1")
