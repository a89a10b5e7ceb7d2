"""The servers that tests share, and a database of its own for each test."""

import importlib
import os
import platform
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from secrets import token_hex

import psutil
import psycopg
import pytest
import redis
from hypothesis import settings as hypothesis_settings

from tests import counting
from tests.support import SITE, TOP, WORKER_ROLE, fresh_database, servers_of_tests, settings_for, url_of
from worker.embedded import EmbeddedPostgres, EmbeddedRedis, Servers
from worker.migrations import migrate, migrations
from worker.settings import Settings
from worker.store import Connection
from worker.stream import connect_redis

REDIS_DATABASES = 16

SCREENSHOTS = TOP / ".cache/screenshots"

BEGAN = time.time()

DAY_S = 86_400
TEST_S = 60
"""What nearly every test takes less than."""

# Where a database for each test costs a fifth of what it costs on a disk: processes are killed here, never the machine.
MEMORY = Path("/dev/shm")
MEMORY_BYTES = 6 * 1024**3

_redis_databases = count()

# The same examples each time, unless somebody has time for `--hypothesis-profile=long`: what held today holds tomorrow.
hypothesis_settings.register_profile("quick", max_examples=100, derandomize=True, database=None, deadline=None)
hypothesis_settings.register_profile("long", max_examples=5_000, database=None, deadline=None, print_blob=True)
hypothesis_settings.load_profile("quick")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--redis-server", type=Path, metavar="FILE", help="run this instead of the wheel's Valkey")
    parser.addoption("--postgres-bin", type=Path, metavar="DIR", help="run these instead of the wheel's PostgreSQL")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    pictures = [each for each in SCREENSHOTS.glob("*.png") if each.stat().st_mtime >= BEGAN]
    if pictures:
        terminalreporter.write_line(f"{len(pictures)} screenshots in {SCREENSHOTS}")


def pytest_configure(config: pytest.Config) -> None:
    EmbeddedRedis.program = config.getoption("--redis-server")
    EmbeddedPostgres.programs = config.getoption("--postgres-bin")
    if has_room(MEMORY):
        os.environ["TMPDIR"] = tempfile.tempdir = str(MEMORY)


def has_room(folder: Path) -> bool:
    """Whether all servers can have their data there, and run there what they may have to copy beside them."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    room = min(found.f_bavail * found.f_frsize, psutil.virtual_memory().available)
    return room >= MEMORY_BYTES and os.access(folder, os.W_OK) and not found.f_flag & os.ST_NOEXEC


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """No test begins on one day, UTC, and ends on the next. The day after they were collected, the modules that
    have `TODAY` are loaded anew, for what they have made of it.
    """
    left = DAY_S - time.time() % DAY_S
    if left < TEST_S:
        time.sleep(left)
    if datetime.now(UTC).date() != counting.TODAY:
        modules = {each.module for each in item.session.items if isinstance(each, pytest.Function)}
        of_today = (counting.TODAY, counting.TODAY_MS)
        stale = [module for module in modules if any(each is day for each in vars(module).values() for day in of_today)]
        for module in (counting, *stale):
            importlib.reload(module)


@pytest.fixture(scope="session", autouse=True)
def _environment(record_testsuite_property: Callable[[str, object], None]) -> Iterator[None]:
    """What the environment of whoever runs the tests says about real servers is not for us."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background; our processes would not hear Ctrl-C
        signal.signal(signal.SIGINT, signal.default_int_handler)
    record_testsuite_property("Python", platform.python_version())
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith("ANALYTICS_") or name in ("DATABASE_URL", "REDIS_URL", "REDIS_PUBLIC_URL"):
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def servers(record_testsuite_property: Callable[[str, object], None]) -> Iterator[Servers]:
    """PostgreSQL and Valkey for all tests. The report of `--junitxml` tells which versions they are."""
    fail_over = {"enable-debug-command": "local"}  # DEBUG CHANGE-REPL-ID: as if another server had taken over
    with servers_of_tests(postgres_conf={"fsync": "off"}, redis_conf=fail_over) as running:
        for name, version in versions(running).items():
            record_testsuite_property(name, version)
        yield running


def versions(servers: Servers) -> dict[str, str]:
    """What runs here, as it says itself."""
    with psycopg.connect(servers.database_url) as connection, redis.Redis.from_url(servers.redis_url) as client:
        postgres, info = connection.info.parameter_status("server_version"), client.info("server")
    valkey = info.get("valkey_version")  # which it says beside the Redis version that it is compatible with
    name = f"Valkey {valkey}" if valkey else f"Redis {info['redis_version']}"
    return {"Redis": name, "PostgreSQL": str(postgres).partition(" ")[0]}


@pytest.fixture(scope="session")
def site_template(servers: Servers) -> Iterator[str]:
    with fresh_database(servers.database_url) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(SITE)
        yield url


@pytest.fixture(scope="session")
def worker_password(servers: Servers) -> str:
    """Password of the worker's role, made before any database is migrated: each migration gives it its rights."""
    password = token_hex(16)
    with psycopg.connect(servers.database_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {WORKER_ROLE} LOGIN PASSWORD '{password}'".encode())
    return password


@pytest.fixture(scope="session")
def migrated_template(servers: Servers, site_template: str, worker_password: str) -> Iterator[str]:
    with fresh_database(servers.database_url, site_template) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            migrate(connection, migrations())
        yield url


@pytest.fixture
def site_database(servers: Servers, site_template: str) -> Iterator[str]:
    """URL of a database as the site has it before our first migration: `"SpecialistProfile"` and nothing else."""
    with fresh_database(servers.database_url, site_template) as url:
        yield url


@pytest.fixture
def database(servers: Servers, migrated_template: str) -> Iterator[str]:
    """URL of a migrated database without a row, for its owner."""
    with fresh_database(servers.database_url, migrated_template) as url:
        yield url


@pytest.fixture
def redis_url(servers: Servers) -> str:
    """URL of an empty database of Valkey: another one than the last test had, whose processes may still be ending."""
    url = servers.redis_url.removesuffix("/0") + f"/{next(_redis_databases) % REDIS_DATABASES}"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


@pytest.fixture
def settings(database: str, worker_password: str, redis_url: str) -> Settings:
    """Both, and all else as it is by default. In PostgreSQL the worker has the role that its README gives it."""
    return settings_for(url_of(database, WORKER_ROLE, worker_password), redis_url)


@pytest.fixture
def own_servers() -> Iterator[Servers]:
    """Servers of the test's own, that it may kill: what Redis has acknowledged it has kept."""
    with servers_of_tests(redis_conf={"appendfsync": "always"}) as running:
        yield running


@pytest.fixture
def connection(database: str) -> Iterator[Connection]:
    """A connection to the test's database, in autocommit mode, as its owner."""
    with psycopg.connect(database, autocommit=True) as connected:
        yield connected


@pytest.fixture
def client(settings: Settings) -> Iterator[redis.Redis]:
    """A client of the test's Valkey."""
    with connect_redis(settings) as connected:
        yield connected
