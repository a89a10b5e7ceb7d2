"""What every measurement stands on: both servers, a fresh database each time, and what the processors did for whom."""

import os
import statistics
import tempfile
import time
import timeit
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
import redis

from tests.bench.traffic import Traffic
from tests.support import SITE, add_specialists, fresh_database
from worker.embedded import Servers, embedded
from worker.migrations import migrate, migrations

# Commit times are one of the two clocks that freshness is read from. A rewrite of the append-only file belongs to the
# filling, and would otherwise go on behind what is measured.
POSTGRES_CONF = {"track_commit_timestamp": "on"}
REDIS_CONF = {"auto-aof-rewrite-percentage": "0"}


@dataclass(frozen=True, slots=True)
class Ground:
    """The servers, and how long the measurements are to be."""

    servers: Servers
    quick: bool

    @property
    def backlog_events(self) -> int:
        """Events of a backlog."""
        return 100_000 if self.quick else 1_000_000

    @property
    def repeats(self) -> int:
        """Times that a rate is measured; the median counts."""
        return 1 if self.quick else 3

    @contextmanager
    def database(self, traffic: Traffic) -> Iterator[str]:
        """URL of a new, migrated database that knows the specialists; it is dropped when the block is over."""
        with fresh_database(self.servers.database_url) as url:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(SITE)
                migrate(connection, migrations())
                add_specialists(connection, [specialist.decode() for specialist in traffic.specialists])
                connection.execute('VACUUM ANALYZE "SpecialistProfile"')
                connection.execute("CHECKPOINT")  # what earlier measurements left to write is no part of this one
            yield url

    @contextmanager
    def backlog(self, traffic: Traffic, events: int) -> Iterator[str]:
        """A stream that holds so many events. Reading changes nothing, so one serves many measurements."""
        stream = "analytics:events"
        with redis.Redis.from_url(self.servers.redis_url) as client:
            traffic.fill(self.servers.redis_url, stream, events)
            client.execute_command("WAITAOF", 1, 0, 0)  # what filling left to write is no part of the measurement
            try:
                yield stream
            finally:
                client.flushall()
                client.bgrewriteaof()  # gives the disk back
                while client.info("persistence")["aof_rewrite_in_progress"]:
                    time.sleep(0.05)


@contextmanager
def ground(*, quick: bool) -> Iterator[Ground]:
    """The embedded servers, as durable as they always are."""
    with embedded(redis_conf=REDIS_CONF, postgres_conf=POSTGRES_CONF) as servers:
        yield Ground(servers, quick)


@dataclass(frozen=True, slots=True)
class Processors:
    """Seconds of processor time that the servers have used."""

    postgres: float
    redis: float

    def __sub__(self, earlier: "Processors") -> "Processors":
        return Processors(self.postgres - earlier.postgres, self.redis - earlier.redis)

    @property
    def both(self) -> float:
        """Of both together."""
        return self.postgres + self.redis

    @classmethod
    def of(cls, servers: Servers) -> "Processors":
        """Until now, with the time of PostgreSQL's processes that have ended."""
        return cls(family_seconds(servers.postgres.pid), family_seconds(servers.redis.pid))


def family_seconds(pid: int) -> float:
    """Processor time of a process, of its descendants, and of those of them that have ended."""
    total = 0.0
    for process in (root := psutil.Process(pid), *root.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            its = process.cpu_times()
            total += its.user + its.system + its.children_user + its.children_system
    return total


def stolen_seconds() -> float:
    """Processor time that the host gave to others while somebody here wanted it; 0 where a system does not tell."""
    return float(getattr(psutil.cpu_times(), "steal", 0.0))


def machine() -> str:
    """The machine and how busy it is, in a line: figures mean little without it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    cores = f"{os.cpu_count()} cores ({model})"
    busy = f"load average {os.getloadavg()[0]:.2f} before the start"
    return f"{cores}, {busy}, a million steps of Python {steps_ms():.0f} ms, fsync {fsync_ms():.2f} ms"


def steps_ms() -> float:
    """What a processor takes for a million steps of Python: on a shared machine not the same in each hour, nor is what
    all else takes.
    """
    return min(timeit.repeat("sum(step for step in range(1_000_000))", number=1, repeat=5)) * 1000


def fsync_ms(times: int = 100) -> float:
    """What the disk takes to make one page durable: nothing is committed faster."""
    taken = []
    with tempfile.TemporaryFile() as file:
        for _ in range(times):
            os.pwrite(file.fileno(), os.urandom(8192), 0)
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1000
