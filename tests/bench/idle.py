"""With nothing to do: the processor time, the wake-ups and the statements of a worker that waits."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
import psycopg
import redis

from tests.bench.figures import Figure, Results, Say, number
from tests.bench.ground import Ground, Processors, family_seconds
from tests.bench.process import measured
from tests.bench.traffic import Traffic

SETTLE_S = 12.0
"""An idle session tells its last transactions to the statistics after ten seconds."""
CORE_PERCENT = 1.0
WAKE_UPS = 20.0

SESSIONS = """
    SELECT pid, query_start, xact_start FROM pg_stat_activity
    WHERE datname = %s AND backend_type = 'client backend'
"""
COMMITS = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = %s"


@dataclass(frozen=True, slots=True)
class Moment:
    """What has been used until now."""

    at: float
    cpu_seconds: float
    servers: Processors
    wake_ups: int
    commands: int
    transactions: int
    sessions: frozenset[tuple[object, ...]]


def idle(ground: Ground, say: Say) -> Results:
    """A worker on a stream that was read to its end, and nothing comes."""
    seconds, traffic = 5.0 if ground.quick else 20.0, Traffic(100)
    with (
        ground.database(traffic) as url,
        ground.backlog(traffic, events=1_000),
        _no_autovacuum(ground),
        measured(ground, "rollup", url) as process,
    ):
        process.go()
        time.sleep(SETTLE_S)
        before = _look(ground, process.pid, url)
        time.sleep(seconds)
        after = _look(ground, process.pid, url)
        run = process.result(stop=True)
    if run.entries != 1_000:
        raise RuntimeError(f"{run.entries} of 1,000 events were done")
    elapsed = after.at - before.at
    servers = after.servers - before.servers
    say(f"idle for {elapsed:.0f} s")
    asleep = f"PostgreSQL {servers.postgres / elapsed:.2%}, Redis {servers.redis / elapsed:.2%}"
    moved = len(after.sessions - before.sessions)
    return Results(
        [
            Figure(
                "idle: processor",
                (after.cpu_seconds - before.cpu_seconds) / elapsed * 100,
                "% of a core",
                CORE_PERCENT,
                beside=f"{asleep}; peak memory {number(run.peak_mb)} MB",
            ),
            Figure(
                "idle: wake-ups",
                (after.wake_ups - before.wake_ups) / elapsed,
                "a second",
                WAKE_UPS,
                beside=f"{(after.commands - before.commands) / elapsed:.0f} Redis commands a second",
            ),
            Figure(
                "idle: transactions",
                after.transactions - before.transactions,
                "",
                0,
                beside=f"{moved} sessions with a new statement",
            ),
        ]
    )


@contextmanager
def _no_autovacuum(ground: Ground) -> Iterator[None]:
    """Its transactions would be counted as ours."""
    with psycopg.connect(ground.servers.database_url, autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET autovacuum = off")
        admin.execute("SELECT pg_reload_conf()")
        yield
        admin.execute("ALTER SYSTEM RESET autovacuum")
        admin.execute("SELECT pg_reload_conf()")


def _look(ground: Ground, pid: int, database_url: str) -> Moment:
    name = psycopg.conninfo.conninfo_to_dict(database_url)["dbname"]
    # Through another database, so that looking does not count.
    with (
        psycopg.connect(ground.servers.database_url) as connection,
        redis.Redis.from_url(ground.servers.redis_url) as client,
    ):
        sessions = connection.execute(SESSIONS, [name]).fetchall()
        (transactions,) = connection.execute(COMMITS, [name]).fetchone() or (0,)
        commands = client.info("stats")["total_commands_processed"]
    switches = psutil.Process(pid).num_ctx_switches()
    return Moment(
        time.monotonic(),
        family_seconds(pid),
        Processors.of(ground.servers),
        switches.voluntary,
        commands,
        transactions,
        frozenset(sessions),
    )
