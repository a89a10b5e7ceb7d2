"""One look at both servers, for alerts, `/metrics` and `/healthz`: what one of them says, whatever the other does."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Self

import redis
from psycopg.rows import class_row

from worker.errors import AnalyticsError
from worker.inspection.status import (
    RECENT_S,
    Books,
    Closing,
    OpenAlert,
    Outcomes,
    ShardStatus,
    read_books,
    read_closing,
    read_open_alerts,
    read_outcomes,
    read_shards,
)
from worker.link import Link
from worker.operations.runs import list_runs
from worker.queries import query
from worker.settings import Settings
from worker.store import Connection, connect_postgres, postgres_errors
from worker.stream import connect_redis, redis_errors
from worker.upkeep.scheduled import Ran, read_scheduled

POSTGRESQL, REDIS = "postgresql", "redis"

ANSWER_S = 2.0
"""Seconds that each server has to answer: both together stay well below the 10 s that Prometheus waits."""

MOST_RUNS = 1_000
"""Open runs that are counted."""


class Finding(NamedTuple):
    """How often something was found wrong with a stream: ever, and of late."""

    verdict: str
    findings: int
    recent_findings: int
    recent_lost: int


@dataclass(frozen=True, slots=True)
class Records:
    """What PostgreSQL says."""

    books: Mapping[str, Books]
    findings: Sequence[Finding]
    alerts: Sequence[OpenAlert]
    outcomes: Outcomes
    closing: Closing
    scheduled: Sequence[Ran]
    runs: Mapping[str, int] = field(default_factory=dict)
    """How many are open, by state."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What both said; what could not be had is None, and `away` says why."""

    records: Records | None
    shards: Sequence[ShardStatus] | None
    """None if either server is away: what is not read yet follows from the position and the stream."""
    away: Mapping[str, AnalyticsError]


class Observer:
    """Looks, with connections of its own. Any number of threads may ask."""

    def __init__(self, settings: Settings, purpose: str) -> None:
        """Nothing is opened yet; `purpose` is shown in pg_stat_activity."""
        self._settings = settings
        self.postgres: Link[Connection] = Link("PostgreSQL", lambda: connect_postgres(settings, purpose), ANSWER_S)
        self.redis: Link[redis.Redis] = Link("Redis", lambda: connect_redis(settings), ANSWER_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.postgres.close()
        self.redis.close()

    def look(self) -> Observation:
        """Ask both servers; takes at most twice `ANSWER_S`, and changes nothing."""
        away: dict[str, AnalyticsError] = {}
        records = shards = None
        try:
            records = self.postgres.ask(read_records)
        except AnalyticsError as error:
            away[POSTGRESQL] = error
        books = records.books if records else {}
        try:
            shards = self.redis.ask(lambda client: self._read_shards(client, books))
        except AnalyticsError as error:
            away[REDIS] = error
        return Observation(records, shards if records else None, away)

    def _read_shards(self, client: redis.Redis, books: Mapping[str, Books]) -> list[ShardStatus]:
        with redis_errors(self._settings):
            return read_shards(self._settings, client, books, {})


def read_records(connection: Connection) -> Records:
    """The books, what was found wrong, and the alerts."""
    with postgres_errors(), connection.cursor(row_factory=class_row(Finding)) as cursor:
        findings = cursor.execute(query("list_findings"), {"recent_s": RECENT_S}).fetchall()
    books, alerts, outcomes = read_books(connection), read_open_alerts(connection), read_outcomes(connection)
    runs = Counter[str](run.state for run in list_runs(connection, MOST_RUNS, only_open=True))
    return Records(books, findings, alerts, outcomes, read_closing(connection), read_scheduled(connection), runs)
