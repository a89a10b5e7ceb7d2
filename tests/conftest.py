"""The servers that tests share, and a database of its own for each test."""

import os
from collections.abc import Iterator
from itertools import count

import psycopg
import pytest
import redis

from tests.support import SITE, fresh_database, settings_for
from worker.embedded import Servers, embedded
from worker.migrations import migrate, migrations
from worker.settings import Settings
from worker.store import Connection, connect_postgres
from worker.stream import connect_redis

REDIS_DATABASES = 16

_redis_databases = count()


@pytest.fixture(scope="session", autouse=True)
def _environment() -> Iterator[None]:
    """What the environment of whoever runs the tests says about real servers is not for us."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith("ANALYTICS_") or name in ("DATABASE_URL", "REDIS_URL", "REDIS_PUBLIC_URL"):
                patch.delenv(name)
        yield


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """PostgreSQL and Valkey for all tests. Processes are killed here, never the machine, so nobody waits for a disk."""
    with embedded(postgres_conf={"fsync": "off"}) as running:
        yield running


@pytest.fixture(scope="session")
def site_template(servers: Servers) -> Iterator[str]:
    with fresh_database(servers.database_url) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(SITE)
        yield url


@pytest.fixture(scope="session")
def migrated_template(servers: Servers, site_template: str) -> Iterator[str]:
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
    """URL of a migrated database without a row."""
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
def settings(database: str, redis_url: str) -> Settings:
    """Both, and all else as it is by default."""
    return settings_for(database, redis_url)


@pytest.fixture
def connection(settings: Settings) -> Iterator[Connection]:
    """A connection to the test's database, in autocommit mode."""
    with connect_postgres(settings, "test") as connected:
        yield connected


@pytest.fixture
def client(settings: Settings) -> Iterator[redis.Redis]:
    """A client of the test's Valkey."""
    with connect_redis(settings) as connected:
        yield connected
