"""Servers of their own, in which the marketplace has happened, and a web process that shows it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from secrets import token_hex

import psycopg
import redis

from tests.browser.dataset import BORIS, DAYS, DINA, LEGACY_DAYS, NINA, OLEG, Dataset, marketplace
from tests.counting import drain
from tests.serving import serving
from tests.support import (
    SITE,
    SITE_OUTCOMES,
    WORKER_ROLE,
    add_outcomes,
    add_specialists,
    ended,
    servers_of_tests,
    settings_for,
    start_worker,
    url_of,
)
from worker.daily.outcomes import refresh_outcomes
from worker.daily.visitors import refresh_visitors_of_ledger, refresh_visitors_of_open_days
from worker.embedded import Servers
from worker.migrations import migrate, migrations
from worker.producer import shard_of
from worker.settings import Settings
from worker.store import connect_postgres
from worker.upkeep.close import close_days

SHARDS = 2
LOST = 7


@dataclass
class Stage:
    """What a test of the pages needs."""

    servers: Servers
    settings: Settings
    """The worker's, in its own role."""
    data: Dataset
    address: str
    """Of the web process: `http://127.0.0.1:…`."""

    def connect(self) -> psycopg.Connection[tuple[object, ...]]:
        """A connection as the owner of the database."""
        return psycopg.connect(self.servers.database_url, autocommit=True)

    def send(self, *events: dict[str, str]) -> None:
        """As the web tier does."""
        with redis.Redis.from_url(self.servers.redis_url) as client:
            pipeline = client.pipeline(transaction=False)
            for event in events:
                pipeline.xadd(self.settings.stream_keys[shard_of(event["specialistId"], SHARDS)], dict(event))
            pipeline.execute()

    def row(self, specialist: str, day: date) -> tuple[object, ...]:
        """Profile views, contact views, requests, orders, reviews of the daily table."""
        columns = '"profileViews", "contactViews", "consultationRequests", "orders", "reviews"'
        with self.connect() as connection:
            found = connection.execute(
                f'SELECT {columns} FROM "SpecialistAnalyticsDaily" WHERE "specialistId" = %s AND "date" = %s'.encode(),
                [specialist, day],
            ).fetchone()
        return found or (0,) * 5


@contextmanager
def set_up() -> Iterator[Stage]:
    """The servers and what has happened; the numbers are made by the worker's own ways of making them."""
    data = marketplace(datetime.now(UTC))
    password = token_hex(16)
    with servers_of_tests(postgres_conf={"fsync": "off"}, redis_conf={"appendfsync": "always"}) as servers:
        with psycopg.connect(servers.database_url, autocommit=True) as connection:
            connection.execute(SITE)
            connection.execute(SITE_OUTCOMES.encode())
            connection.execute(f"CREATE ROLE {WORKER_ROLE} LOGIN PASSWORD '{password}'".encode())
            migrate(connection, migrations())
            add_specialists(connection, [NINA, OLEG, DINA, BORIS])
            for outcome in data.outcomes:
                add_outcomes(connection, outcome.table, outcome.specialist, outcome.at)
        settings = settings_for(
            url_of(servers.database_url, WORKER_ROLE, password),
            servers.redis_url,
            ANALYTICS_SHARDS=str(SHARDS),
            ANALYTICS_TIME_ZONE=data.zone.key,
            ANALYTICS_SECRET=token_hex(32),
        )
        stage = Stage(servers, settings, data, "")
        with serving(settings) as web:
            stage.address = f"http://127.0.0.1:{web.port}"
            _happen(stage)
            yield stage


def _happen(stage: Stage) -> None:
    """Let it all be counted, but for some entries of Boris' stream that are lost before anybody has read them."""
    with redis.Redis.from_url(stage.servers.redis_url) as client:
        client.mset(dict(stage.data.counters))
    imported = start_worker(stage.settings, "backfill", "legacy-counters", "--now")
    stage.send(*stage.data.events[:-1])
    _count(stage)
    stage.send(*({"type": "profile_view", "specialistId": BORIS} for _ in range(LOST)))
    with redis.Redis.from_url(stage.servers.redis_url) as client:
        client.xtrim(stage.settings.stream_keys[shard_of(BORIS, SHARDS)], maxlen=0, approximate=False)
    stage.send(stage.data.events[-1])
    _count(stage)
    code, _, errors = ended(imported)
    assert code == 0, errors
    zone, today = stage.settings.time_zone, stage.data.today
    with connect_postgres(stage.settings, "test") as connection:
        for ago in range(DAYS + LEGACY_DAYS):
            refresh_outcomes(connection, today - timedelta(days=ago), zone)
    refresh_visitors_of_ledger(stage.settings)
    refresh_visitors_of_open_days(stage.settings)
    close_days(stage.settings, stage.data.now)


def _count(stage: Stage) -> None:
    for shard in range(SHARDS):
        drain(stage.settings, shard)
