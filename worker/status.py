"""What an operator asks first: how far each shard is, whether its books balance, and what was buried."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import redis
from psycopg.rows import class_row

from worker.continuity import EntryId, Position
from worker.queries import query
from worker.settings import Settings
from worker.store import Connection, postgres_errors
from worker.stream import Backlog, read_backlog

SAMPLE_S = 1.0


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
    entries_per_s: float
    books: Books | None

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


def read_status(settings: Settings, connection: Connection, client: redis.Redis, sample_s: float = SAMPLE_S) -> Status:
    """Look at PostgreSQL and Redis; changes nothing. Takes `sample_s` seconds, over which the rate is measured."""
    before = _books(connection)
    began = time.monotonic()
    time.sleep(sample_s)
    now = _books(connection)
    elapsed = time.monotonic() - began
    shards = []
    for stream in dict.fromkeys((*settings.stream_keys, *now)):
        books = now.get(stream)
        read_since = books.entries_read - before[stream].entries_read if books and stream in before else 0
        position = Position(stream, books.epoch, EntryId.of(books.last_id), books.ordinal) if books else None
        shards.append(_shard(stream, books, read_backlog(client, settings, stream, position), read_since / elapsed))
    with postgres_errors():
        dead = connection.cursor(row_factory=class_row(DeadLetters)).execute(query("count_dead_letters")).fetchall()
        found = connection.cursor(row_factory=class_row(ContinuityEvent)).execute(query("list_continuity_events"))
        return Status(shards, dead, found.fetchall())


def _books(connection: Connection) -> dict[str, Books]:
    with postgres_errors(), connection.cursor(row_factory=class_row(Books)) as cursor:
        return {books.stream: books for books in cursor.execute(query("list_positions"))}


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
        entries_per_s=round(entries_per_s, 1),
        books=books,
    )
