"""What an operator asks first: how far each shard is, whether its books balance, and what was buried."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import NamedTuple

import redis
from psycopg.rows import class_row

from worker.continuity import EntryId, Position
from worker.operations.request_store import RequestStand, read_requests
from worker.operations.runs import Run, list_runs
from worker.queries import query
from worker.settings import Settings
from worker.store import Connection, postgres_errors
from worker.stream import Backlog, read_backlog
from worker.upkeep.scheduled import Ran, read_scheduled

SAMPLE_S = 1.0
RUNS_SHOWN = 20

RECENT_S = 15 * 60
"""Seconds for which a finding about a stream or a closed day is news."""


class Books(NamedTuple):
    """A row of `analytics.stream_position`, with its age."""

    stream: str
    epoch: str
    last_id: str
    ordinal: int | None
    entries_read: int
    counted: int
    duplicates: int
    excluded: int
    dead_lettered: int
    lost: int
    halted_at: datetime | None
    halted_because: str | None
    committed_s_ago: float


@dataclass(frozen=True, slots=True)
class ShardStatus:
    """One stream: where it is read, how far behind that is, and the books."""

    stream: str
    position: str | None
    """Id of the last entry read; None if the stream was never read."""
    lag_entries: int | None
    """Entries not read yet; None while that is not known, after Redis was restarted and until the end is reached."""
    lag_s: float
    """Age of the oldest entry not read yet, by the clock of Redis; 0 when there is none."""
    fresh_s: float | None
    """Seconds since the numbers were right for the last time: 0 when there is nothing to read."""
    newest_s: float | None
    """Age of the newest entry ever added, by the clock of Redis; None if none is known."""
    entries_per_s: float
    books: Books | None

    @property
    def waits_s(self) -> float:
        """Seconds that something has waited to be read, at most. An id from the future does not tell; the books do."""
        return self.books.committed_s_ago if self.lag_s < 0 and self.books else max(0.0, self.lag_s)

    @property
    def balances(self) -> bool:
        """Entries read = counted + duplicates + excluded + dead-lettered."""
        b = self.books
        return b is None or b.entries_read == b.counted + b.duplicates + b.excluded + b.dead_lettered


class DeadLetters(NamedTuple):
    """Dead letters of one reason."""

    reason: str
    letters: int
    latest: datetime


class OpenAlert(NamedTuple):
    """An alert that has begun and is not over."""

    name: str
    started_at: datetime
    text: str


class Outcomes(NamedTuple):
    """When requests, orders and reviews of today and yesterday were last counted."""

    refreshed_at: datetime
    refreshed_s_ago: float
    missing_tables: list[str]
    """Tables that the site does not have: these outcomes count as 0."""


class Closing(NamedTuple):
    """How far days are closed, and what was found wrong with closed days within the last quarter of an hour."""

    complete_through: date | None
    """The last day such that it and all before it are closed: all that had reached Redis by its end is counted."""
    waits_for: str | None
    """Why the next day was not closed when that was last tried."""
    wrong_rows: int
    """Daily rows that were not what the events say, and were put right."""
    wrong_days: list[date]
    profile_views: int
    """How many too few these rows had; negative if too many."""
    contact_views: int
    not_compared: str | None
    """Why a day could not be held against its events."""


class ContinuityEvent(NamedTuple):
    """Something that was found wrong with a stream."""

    happened_at: datetime
    stream: str
    verdict: str
    action: str
    lost: int | None


@dataclass(frozen=True, slots=True)
class Status:
    """All of it, at one moment."""

    shards: Sequence[ShardStatus]
    dead_letters: Sequence[DeadLetters]
    continuity: Sequence[ContinuityEvent]
    alerts: Sequence[OpenAlert]
    outcomes: Outcomes
    closing: Closing
    scheduled: Sequence[Ran]
    requests: RequestStand
    runs: Sequence[Run]
    """Those that are open."""


def read_status(settings: Settings, connection: Connection, client: redis.Redis, sample_s: float = SAMPLE_S) -> Status:
    """Look at PostgreSQL and Redis; changes nothing. Takes `sample_s` seconds, over which the rate is measured."""
    before = read_books(connection)
    began = time.monotonic()
    time.sleep(sample_s)
    now = read_books(connection)
    shards = read_shards(settings, client, now, rates(before, now, time.monotonic() - began))
    dead = read_dead_letters(connection)
    continuity, alerts, outcomes = read_continuity(connection), read_open_alerts(connection), read_outcomes(connection)
    closing, scheduled = read_closing(connection), read_scheduled(connection)
    requests = read_requests(settings, connection, client)
    runs = list_runs(connection, RUNS_SHOWN, only_open=True)
    return Status(shards, dead, continuity, alerts, outcomes, closing, scheduled, requests, runs)


def read_books(connection: Connection) -> dict[str, Books]:
    """The books of every stream that was ever read."""
    with postgres_errors(), connection.cursor(row_factory=class_row(Books)) as cursor:
        return {books.stream: books for books in cursor.execute(query("list_positions"))}


def rates(before: Mapping[str, Books], now: Mapping[str, Books], elapsed_s: float) -> dict[str, float]:
    """Entries read a second, of each stream that was there before. Pure."""
    return {
        stream: (books.entries_read - before[stream].entries_read) / elapsed_s
        for stream, books in now.items()
        if stream in before
    }


def read_dead_letters(connection: Connection, within_ms: int = 0) -> list[DeadLetters]:
    """How many dead letters there are for each reason: a count, which takes its time where there are millions.

    Args:
        connection: in autocommit mode.
        within_ms: milliseconds that it may take; 0 is no limit.

    Raises:
        Retry: it takes longer, or the server is away.
    """
    with (
        postgres_errors(),
        connection.transaction(),
        connection.cursor(row_factory=class_row(DeadLetters)) as cursor,
    ):
        connection.execute(query("limit_statements"), {"milliseconds": within_ms})
        return cursor.execute(query("count_dead_letters")).fetchall()


def read_continuity(connection: Connection) -> list[ContinuityEvent]:
    """What was found wrong with the streams last."""
    with postgres_errors(), connection.cursor(row_factory=class_row(ContinuityEvent)) as cursor:
        return cursor.execute(query("list_continuity_events")).fetchall()


def read_open_alerts(connection: Connection) -> list[OpenAlert]:
    """The alerts that are not over."""
    with postgres_errors(), connection.cursor(row_factory=class_row(OpenAlert)) as cursor:
        return cursor.execute(query("list_open_alerts")).fetchall()


def read_outcomes(connection: Connection) -> Outcomes:
    """How old the outcomes are."""
    with postgres_errors(), connection.cursor(row_factory=class_row(Outcomes)) as cursor:
        outcomes = cursor.execute(query("load_outcome_refresh")).fetchone()
    assert outcomes is not None  # the migration has made the row
    return outcomes


def read_closing(connection: Connection) -> Closing:
    """How far days are closed."""
    with postgres_errors(), connection.cursor(row_factory=class_row(Closing)) as cursor:
        closing = cursor.execute(query("load_closing"), {"recent_s": RECENT_S}).fetchone()
    assert closing is not None  # a sum is always one row
    return closing


def read_shards(
    settings: Settings, client: redis.Redis, books: Mapping[str, Books], entries_per_s: Mapping[str, float]
) -> list[ShardStatus]:
    """How far behind every stream is, also one of an earlier number of shards, which nobody reads any more."""
    shards = []
    for stream in dict.fromkeys((*settings.stream_keys, *books)):
        row = books.get(stream)
        position = Position(stream, row.epoch, EntryId.of(row.last_id), row.ordinal) if row else None
        backlog = read_backlog(client, settings, stream, position)
        shards.append(_shard(stream, row, backlog, entries_per_s.get(stream, 0.0)))
    return shards


def _shard(stream: str, books: Books | None, backlog: Backlog, entries_per_s: float) -> ShardStatus:
    if books is None:
        fresh_s = None
    elif backlog.oldest_age_s is None:
        fresh_s = 0.0
    else:
        fresh_s = max(backlog.oldest_age_s, 0.0)
    return ShardStatus(
        stream=stream,
        position=books.last_id if books else None,
        lag_entries=backlog.entries,
        lag_s=backlog.oldest_age_s or 0.0,
        fresh_s=fresh_s,
        newest_s=backlog.newest_age_s,
        entries_per_s=round(entries_per_s, 1),
        books=books,
    )
