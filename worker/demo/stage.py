"""What the demo plays on: two servers, the schema, everybody's profile, and `python -m worker run`."""

import json
import os
import secrets
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import psycopg
import redis
from psycopg.errors import IntegrityError, RaiseException
from psycopg.rows import class_row

from worker.demo.count import Books, Count, Key, Row
from worker.demo.interrupts import held
from worker.embedded import embedded
from worker.errors import Stop
from worker.inspection.status import Status, read_status
from worker.migrations import migrate, migrations
from worker.queries import query
from worker.settings import Settings, load_settings, without_credentials
from worker.store import Connection, connect_postgres, postgres_errors
from worker.stream import connect_redis, redis_errors
from worker.supervisor import COMMAND

START_SECONDS = 60.0
STOP_SECONDS = 20.0
LOOK_SECONDS = 0.1
LOG_LINES = 12

# Should the demo be killed, its end of the pipe closes, and this ends what it started.
GUARD = 'read -r _; kill -s TERM "$1"'

Step = Callable[[str], None]
"""Told of each thing that is done."""


class _DailyRow(NamedTuple):
    specialist: str
    date: date
    profile_views: int
    contact_views: int
    sources: dict[str, int] | None
    rate: float

    @property
    def key(self) -> Key:
        return Key(self.specialist, self.date)

    @property
    def row(self) -> Row:
        return Row(self.profile_views, self.contact_views, tuple(sorted((self.sources or {}).items())), self.rate)


@dataclass(frozen=True)
class Stage:
    """Everything up and running."""

    settings: Settings
    folder: Path
    borrowed: bool
    """Whether the servers are somebody's own."""
    connection: Connection
    client: redis.Redis
    worker: subprocess.Popen[bytes]

    @property
    def log(self) -> Path:
        """The worker's log."""
        return self.folder / "worker.log"

    def look(self) -> Status:
        """How things stand.

        Raises:
            Stop: the worker has ended.
        """
        if (code := self.worker.poll()) is not None:
            raise Stop(f"the worker ended with exit code {code}; its last words: {self.last_words()[-1]}")
        with held():  # cut off in a transaction, a connection can be used no more, not even to end that
            return read_status(self.settings, self.connection, self.client, sample_s=0.0)

    def count(self) -> Count:
        """What the database has: the whole daily table, and the books."""
        status = self.look()
        books = [shard.books for shard in status.shards if shard.books]
        with postgres_errors(), self.connection.cursor(row_factory=class_row(_DailyRow)) as cursor:
            rows = {row.key: row.row for row in cursor.execute(query("list_daily_rows", "demo"))}
        return Count(
            rows,
            Books(
                counted=sum(book.counted for book in books),
                duplicates=sum(book.duplicates for book in books),
                excluded=sum(book.excluded for book in books),
                dead={dead.reason: dead.letters for dead in status.dead_letters},
            ),
        )

    def last_words(self) -> Sequence[str]:
        """What the worker's log ends with: its warnings and errors, or if there is none, anything."""
        lines = self.log.read_text(errors="replace").splitlines()
        chosen = [line for line in lines if _is_serious(line)] or lines
        return [_without_frame(line) for line in chosen[-LOG_LINES:]] or ["none"]


def _is_serious(line: str) -> bool:
    with suppress(ValueError, KeyError, TypeError):
        return bool(json.loads(line)["level"] not in ("debug", "info"))
    return True  # no line of the log, so perhaps a traceback


def _without_frame(line: str) -> str:
    with suppress(ValueError, KeyError, TypeError):
        fields = json.loads(line)
        details = {name: fields[name] for name in fields if name not in ("event", "level", "logger", "timestamp")}
        return " ".join([fields["event"], *(f"{name}={value}" for name, value in details.items())])
    return line


@contextmanager
def stage(specialists: Sequence[str], defaults: Mapping[str, str], did: Step) -> Iterator[Stage]:
    """Set everything up; afterwards no process and no folder is left.

    Args:
        specialists: ids of everybody who gets a profile.
        defaults: settings of the worker, where the environment does not say otherwise.
        did: told of each thing that is done.

    Raises:
        Stop: the environment names servers that hold data.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="analytics-demo-")))
        borrowed = bool(os.environ.get("DATABASE_URL") and os.environ.get("REDIS_URL"))
        if not borrowed:
            servers = stack.enter_context(embedded(folder))
            # The one place where settings come from is the environment, also for the processes that follow.
            os.environ.update(DATABASE_URL=servers.database_url, REDIS_URL=servers.redis_url)
        for name, value in {"ANALYTICS_SECRET": secrets.token_hex(32), **defaults}.items():
            os.environ.setdefault(name, value)
        settings = load_settings()
        client = stack.enter_context(connect_redis(settings))
        connection = stack.enter_context(closing(connect_postgres(settings, "demo")))
        if borrowed:
            _refuse_data(settings, connection, client)
            did(f"your servers are empty: {_places(settings)}")
        else:
            did(_places(settings))
        _make_schema(connection, specialists)
        did(f"schema migrated, {len(specialists):,} specialists have a profile")
        worker = stack.enter_context(process(folder / "worker.log", "run"))
        ready = Stage(settings, folder, borrowed, connection, client, worker)
        _wait_for_worker(ready)
        did(f"worker started: python -m worker run, process {worker.pid}")
        yield ready


def _places(settings: Settings) -> str:
    urls = (settings.database_url, settings.redis_url)
    postgres, redis_ = (urlsplit(without_credentials(url.get_secret_value())).netloc for url in urls)
    return f"PostgreSQL at {postgres}, Redis at {redis_}"


def _refuse_data(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """The demo drops nothing, and its jobs would mix with those of a worker that runs there: so only empty servers."""
    refusal = None
    with redis_errors(settings):
        if client.dbsize():
            refusal = "the Redis database is not empty"
    try:
        connection.execute(query("refuse_data", "demo"))
    except RaiseException as error:
        refusal = f"of the PostgreSQL database: {error.diag.message_primary}"
    if refusal:
        raise Stop(
            f"DATABASE_URL and REDIS_URL name servers of your own ({_places(settings)}), and {refusal};"
            " unset both, and the demo starts servers for itself"
        )


def _make_schema(connection: Connection, specialists: Sequence[str]) -> None:
    try:
        connection.execute(query("create_specialist_profile", "demo"))
        connection.execute(query("create_outcome_tables", "demo"))
        migrate(connection, migrations())
        connection.execute(query("insert_specialists", "demo"), {"ids": list(specialists)})
    except (IntegrityError, psycopg.ProgrammingError) as error:
        raise Stop(f"the site's tables are not as the demo needs them: {error.diag.message_primary}") from None


@contextmanager
def process(log: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m worker …`, which says what it has to say into a file; it ends with the block, or with us."""
    with ExitStack() as stack:
        with held(), log.open("wb") as output:
            # A session of its own: Ctrl-C is for the demo, which then ends everything in good order.
            started = subprocess.Popen(
                [*COMMAND, *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
            guard = subprocess.Popen(
                ["/bin/sh", "-c", GUARD, "guard", str(started.pid)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            stack.callback(guard.communicate)
            stack.callback(guard.kill)
            stack.callback(_end, started)
        yield started


def _end(started: subprocess.Popen[bytes]) -> None:
    started.terminate()
    try:
        started.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(ImportError):  # it comes with the embedded servers; without it the parts notice our kill and stop
            import psutil  # noqa: PLC0415

            for child in psutil.Process(started.pid).children(recursive=True):
                child.kill()
        started.kill()
        started.wait()


def _wait_for_worker(ready: Stage) -> None:
    def reads() -> bool:
        return all(shard.books for shard in ready.look().shards)

    wait_until(reads, lambda: f"the worker does not read its stream; its last words: {ready.last_words()[-1]}")


def wait_until(holds: Callable[[], bool], complaint: Callable[[], str]) -> None:
    """Look again and again.

    Raises:
        Stop: it took too long; the complaint says what did.
    """
    end = time.monotonic() + START_SECONDS
    while not holds():
        if time.monotonic() > end:
            raise Stop(complaint())
        time.sleep(LOOK_SECONDS)
