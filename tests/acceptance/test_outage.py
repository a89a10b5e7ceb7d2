"""A server goes away and comes back, while the worker runs."""

import time
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from tests.support import SITE, add_specialists, ended, settings_for, start_worker
from worker.embedded import Servers, embedded
from worker.migrations import migrate, migrations
from worker.settings import Settings
from worker.store import connect_postgres
from worker.stream import connect_redis

EVENTS = 200


@pytest.fixture
def own_servers() -> Iterator[Servers]:
    """Servers of this test's own, of which Redis keeps every entry that it has acknowledged."""
    with embedded(redis_conf={"appendfsync": "always"}) as servers:
        yield servers


@pytest.fixture
def own_settings(own_servers: Servers) -> Settings:
    settings = settings_for(own_servers.database_url, own_servers.redis_url)
    with connect_postgres(settings, "test") as connection:
        connection.execute(SITE)
        migrate(connection, migrations())
        add_specialists(connection, ["anna"])
    return settings


def send(settings: Settings) -> None:
    with connect_redis(settings) as client:
        for _ in range(EVENTS):
            client.xadd("analytics:events", {"type": "profile_view", "specialistId": "anna", "eventId": str(uuid4())})


def counted(settings: Settings) -> int:
    with connect_postgres(settings, "test") as connection:
        row = connection.execute('SELECT coalesce(sum("profileViews"), 0) FROM "SpecialistAnalyticsDaily"').fetchone()
    assert row is not None
    return int(row[0])


def wait_for(settings: Settings, views: int) -> float:
    """Seconds until so many views are counted."""
    began = time.monotonic()
    while counted(settings) != views:
        assert time.monotonic() < began + 30, f"{counted(settings)} of {views} are counted"
        time.sleep(0.05)
    return time.monotonic() - began


@pytest.mark.parametrize("server", ["postgres", "redis"])
def test_a_server_is_killed_and_comes_back(own_servers: Servers, own_settings: Settings, server: str) -> None:
    """kill -9 of a server delays the counting until it is back, and changes no number."""
    away = getattr(own_servers, server)
    process = start_worker(own_settings, "run")
    try:
        send(own_settings)
        wait_for(own_settings, EVENTS)
        away.kill()
        if server == "postgres":
            send(own_settings)
        assert process.stderr is not None
        wait_until_noticed(process.stderr.readline)
        away.restart()
        if server == "redis":
            send(own_settings)
        recovery = wait_for(own_settings, 2 * EVENTS)
        print(f"first right number {recovery:.1f} s after {server} was back")
    finally:
        process.terminate()
        code, _, _ = ended(process)
    assert code == 0


def wait_until_noticed(next_line: Callable[[], str]) -> None:
    """Read the log until it says that a server is away."""
    while "waiting for a server" not in (line := next_line()):
        assert line, "the worker ended"
