"""Servers, a migrated database, processes of the worker, and a proxy before each server."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from secrets import token_hex
from typing import Any

import psutil
import psycopg
import redis

from tests.faults.proxy import Proxy
from tests.faults.truth import Sender, Truth, Verdict, judge, until
from tests.support import SITE, TOP, WORKER_ROLE, add_specialists, environment, servers_of_tests, settings_for, url_of
from worker.embedded import NOTHING, Servers
from worker.migrations import migrate, migrations
from worker.settings import Settings

_numbers = count()
SPECIALISTS = tuple(f"c{number:04d}" for number in range(200))


@dataclass
class Program:
    """`python -m worker …`, and whom it has started."""

    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def family(self) -> list[psutil.Process]:
        """Itself and everybody below it who is alive."""
        with suppress(psutil.NoSuchProcess):
            me = psutil.Process(self.pid)
            return [me, *me.children(recursive=True)]
        return []

    def parts(self, *arguments: str) -> list[psutil.Process]:
        """The processes `python -m worker ARGUMENTS`, without their work horses."""
        return [one for one in self.family() if _runs(one, arguments) and not _is_horse(one)]

    def horses(self) -> list[psutil.Process]:
        """The work horses of the rollup workers: the processes in which batches are committed."""
        return [one for one in self.family() if _runs(one, ("work", "rollup")) and _is_horse(one)]

    def said(self) -> str:
        """Its log, and that of everybody below it."""
        return self.log.read_text(errors="replace")

    def stop(self, seconds: float = 30.0) -> int:
        """Ask it to stop; its exit code."""
        self.process.terminate()
        return self.process.wait(seconds)

    def kill(self) -> None:
        """Kill it, and nobody below it."""
        self.process.kill()
        self.process.wait()


def _arguments(process: psutil.Process) -> list[str]:
    with suppress(psutil.Error):
        return process.cmdline()
    return []


def _runs(process: psutil.Process, arguments: Collection[str]) -> bool:
    said = _arguments(process)
    return said[1:3] == ["-m", "worker"] and said[3 : 3 + len(arguments)] == list(arguments)


def _is_horse(process: psutil.Process) -> bool:
    """Whether it was forked from another of its kind: then it has the same command line."""
    with suppress(psutil.Error):
        parent = process.parent()
        return parent is not None and parent.cmdline() == process.cmdline()
    return False


@dataclass
class Stage:
    """Everything that a fault test needs."""

    servers: Servers
    postgres: Proxy
    redis: Proxy
    settings: Settings
    """The worker's: both servers by way of their proxies, and PostgreSQL in its own role."""
    direct: Settings
    """The test's own."""
    folder: Path
    truth: Truth
    programs: list[Program] = field(default_factory=list)
    seen: set[psutil.Process] = field(default_factory=set)
    """Everybody whom a killed program may have left behind."""
    _sender: Sender | None = None

    def start(self, *arguments: str) -> Program:
        """Start `python -m worker ARGUMENTS`, which logs to a file."""
        log = self.folder / f"log-{next(_numbers)}"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "worker", *arguments],
                cwd=TOP,
                env=os.environ | environment(self.settings),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.programs.append(Program(process, log))
        return self.programs[-1]

    def kill(self, program: Program) -> None:
        """Kill a program, and remember whom it leaves behind."""
        self.seen.update(program.family())
        self.programs.remove(program)
        program.kill()

    def start_ended(self) -> None:
        """As a platform does: start again what has ended, such as a `run` that came while a server was away."""
        for program in [each for each in self.programs if each.process.poll() is not None]:
            self.programs.remove(program)
            self.start("run")

    def sender(self, seed: int = 1, repeats: float = 0.05) -> Sender:
        """A sender that goes straight to Redis."""
        return Sender(self.servers.redis_url, self.settings.stream_keys, SPECIALISTS, seed=seed, repeats=repeats)

    def send(self, events: int) -> None:
        """Send so many events; those that were sent by this before are among the repeats."""
        self._sender = self._sender or self.sender()
        self._sender.send(events)

    def connect(self) -> psycopg.Connection[tuple[Any, ...]]:
        """A connection of the test's own, not bound by what it asks of others. PostgreSQL may have been restarted, so
        each time it is a new one.
        """
        free = "-c statement_timeout=0 -c default_transaction_read_only=off"
        return psycopg.connect(self.servers.database_url, autocommit=True, application_name="test", options=free)

    def ask(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """The rows that a statement brings, if it brings any."""
        with self.connect() as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def read(self) -> int:
        """How many entries have been read, in all shards."""
        return int(self.ask("SELECT coalesce(sum(entries_read), 0) FROM analytics.stream_position")[0][0])

    @property
    def program(self) -> Program:
        """The latest."""
        return self.programs[-1]

    @contextmanager
    def position_locked(self) -> Iterator[None]:
        """Somebody else holds the rows that every batch begins with."""
        with self.connect() as connection, connection.transaction():
            connection.execute("SELECT FROM analytics.stream_position FOR UPDATE")
            yield

    def waits_for_lock(self) -> bool:
        """Whether a batch waits for a lock inside PostgreSQL."""
        statement = "SELECT 1 FROM pg_stat_activity WHERE application_name LIKE %s AND wait_event_type = %s"
        return bool(self.ask(statement, "analytics rollup%", "Lock"))

    def positions(self) -> dict[str, str]:
        """Where each stream has been read to."""
        return dict(self.ask("SELECT stream, last_id FROM analytics.stream_position"))

    def caught_up(self) -> bool:
        """Whether everything in Redis has been read."""
        with redis.Redis.from_url(self.servers.redis_url) as client:
            positions = self.positions()
            for stream in self.settings.stream_keys:
                with suppress(redis.ResponseError):  # no such stream
                    if client.xinfo_stream(stream)["last-generated-id"].decode() != positions.get(stream):
                        return False
        return True

    def backends(self, like: str = "analytics rollup%") -> list[int]:
        """The pids of PostgreSQL's processes that serve the worker."""
        found = self.ask("SELECT pid FROM pg_stat_activity WHERE application_name LIKE %s", like)
        return [pid for (pid,) in found]

    def verdict(self, seconds: float = 60.0) -> Verdict:
        """The sentence, once everything is read."""
        until(self.caught_up, "everything is read", seconds)
        with redis.Redis.from_url(self.servers.redis_url) as client, self.connect() as connection:
            self.truth.look(client)
            return judge(self.truth.tally, connection)

    def check(self, seconds: float = 60.0) -> Verdict:
        """Assert the sentence: the tables equal a straight count of what reached Redis, and the books balance."""
        verdict = self.verdict(seconds)
        assert self.truth.tally.views, "nothing was sent, so nothing was proven"
        assert not verdict.wrong, "\n".join(verdict.wrong)
        return verdict


@contextmanager
def stage(
    variables: Mapping[str, str] = NOTHING,
    *,
    postgres_conf: Mapping[str, str] = NOTHING,
    redis_conf: Mapping[str, str] = NOTHING,
) -> Iterator[Stage]:
    """Servers of a test's own, of which Redis keeps every entry that it has acknowledged; no process outlives it.

    Args:
        variables: settings of the worker that are not as they are by default.
        postgres_conf: options of PostgreSQL.
        redis_conf: options of Redis.
    """
    with ExitStack() as stack:
        servers = stack.enter_context(
            servers_of_tests(redis_conf={"appendfsync": "always", **redis_conf}, postgres_conf=postgres_conf)
        )
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="analytics-faults-")))
        with psycopg.connect(servers.database_url, autocommit=True) as connection:
            connection.execute(SITE)
            password = token_hex(16)
            connection.execute(f"CREATE ROLE {WORKER_ROLE} LOGIN PASSWORD '{password}'".encode())
            migrate(connection, migrations())
            add_specialists(connection, SPECIALISTS)
        postgres = stack.enter_context(Proxy(servers.database_url))
        redis_ = stack.enter_context(Proxy(servers.redis_url))
        settings = settings_for(url_of(postgres.url, WORKER_ROLE, password), redis_.url, **variables)
        direct = settings_for(servers.database_url, servers.redis_url, **variables)
        ready = Stage(servers, postgres, redis_, settings, direct, folder, Truth(settings))
        stack.callback(_end, ready)
        yield ready


def _end(ready: Stage) -> None:
    """Stop every program, and see that nobody is left; kill who is."""
    for program in ready.programs:
        ready.seen.update(program.family())
        with suppress(ProcessLookupError):
            program.process.send_signal(signal.SIGCONT)
            program.process.terminate()
    for program in ready.programs:
        with suppress(subprocess.TimeoutExpired):
            program.process.wait(20)
    _, left = psutil.wait_procs(ready.seen, timeout=15)
    for one in left:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    assert not left, f"processes were left behind: {left}"


def killed(processes: Collection[psutil.Process]) -> int:
    """Kill them at once; how many there were."""
    count = 0
    for one in processes:
        with suppress(psutil.NoSuchProcess):
            one.kill()
            count += 1
    return count
