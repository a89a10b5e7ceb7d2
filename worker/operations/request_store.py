"""PostgreSQL: how far the web tier's requests have been read, and what became of them."""

from collections.abc import Sequence
from typing import NamedTuple

import redis
from psycopg.rows import class_row, scalar_row
from psycopg.types.json import Jsonb

from worker.continuity import BEGINNING, EntryId, Position
from worker.errors import Conflict
from worker.operation import Arguments, Operation
from worker.operations.requests import Refused
from worker.original import as_json
from worker.queries import query
from worker.settings import Settings
from worker.store import Connection, postgres_errors
from worker.stream import read_backlog

OPERATOR = "web tier"


class RequestBooks(NamedTuple):
    """A row of `analytics.request_position`, with its age."""

    last_id: str
    requests: int
    """Entries that were taken on: runs, dead letters, and those that joined an open run."""
    runs: int
    dead_lettered: int
    taken_s_ago: float | None
    """Since the last one was taken on; None if none was."""


class RequestStand(NamedTuple):
    """What of the requests is not taken on yet, and the books."""

    stream: str
    unread: int
    oldest_s: float
    """Age of the oldest unread one, by the clock of Redis; 0 when there is none."""
    books: RequestBooks


def read_requests(settings: Settings, connection: Connection, client: redis.Redis) -> RequestStand:
    """Look at the stream of requests, and change nothing."""
    return read_request_stand(settings, client, read_request_books(connection, settings.requests))


def read_request_books(connection: Connection, stream: str) -> RequestBooks:
    """What PostgreSQL says of the requests."""
    with postgres_errors(), connection.cursor(row_factory=class_row(RequestBooks)) as cursor:
        books = cursor.execute(query("load_request_books"), {"stream": stream}).fetchone()
    return books or RequestBooks(str(BEGINNING), 0, 0, 0, None)


def read_request_stand(settings: Settings, client: redis.Redis, books: RequestBooks) -> RequestStand:
    """What Redis says of them: how many are unread."""
    stream = settings.requests
    backlog = read_backlog(client, settings, stream, Position(stream, "", EntryId.of(books.last_id), None))
    if backlog.oldest_age_s is None:
        return RequestStand(stream, 0, 0.0, books)
    return RequestStand(stream, backlog.facts.length, max(0.0, backlog.oldest_age_s), books)  # what is read is trimmed


def load_request_position(connection: Connection, stream: str) -> EntryId:
    """Id of the last entry that was taken on; 0-0 if none was."""
    with postgres_errors(), connection.cursor(row_factory=scalar_row) as cursor:
        cursor.execute(query("begin_request_position"), {"stream": stream})
        last_id = cursor.execute(query("load_request_position"), {"stream": stream}).fetchone()
    assert isinstance(last_id, str)  # nobody deletes it
    return EntryId.of(last_id)


def count_open_runs(connection: Connection, operation: Operation) -> int:
    """How many runs of an operation wait or go on."""
    with postgres_errors(), connection.cursor(row_factory=scalar_row) as cursor:
        count = cursor.execute(query("count_open_runs"), {"kind": operation.kind}).fetchone()
    assert isinstance(count, int)  # a count is always one row
    return count


def take_requests(
    connection: Connection,
    stream: str,
    *,
    stored: EntryId,
    last_id: EntryId,
    operation: Operation,
    accepted: Sequence[Arguments],
    refused: Sequence[Refused],
    entries: int,
) -> list[int]:
    """Make requests runs, bury those that are none, and move the position: all of it, or nothing.

    Args:
        connection: in autocommit mode.
        stream: where they are from.
        stored: the position as it was loaded.
        last_id: of the last entry among them.
        operation: what was asked for.
        accepted: with which arguments, each once.
        refused: what nobody can do.
        entries: how many they all are.

    Returns:
        Numbers of the runs that were begun. Who asks for what is being done already has no new one.

    Raises:
        Conflict: somebody else was faster.
    """
    with postgres_errors(), connection.cursor(row_factory=scalar_row) as cursor:
        begun: list[int] | None = cursor.execute(
            query("take_requests"),
            {
                "stream": stream,
                "stored": str(stored),
                "last_id": str(last_id),
                "kind": operation.kind,
                "operator": OPERATOR,
                "arguments": [Jsonb(each.model_dump(mode="json")) for each in accepted],
                "dead_entry_id": [each.entry_id for each in refused],
                "dead_reason": [each.reason.value for each in refused],
                "dead_fields": [as_json(each.fields) for each in refused],
                "entries": entries,
            },
        ).fetchone()
    if begun is None:
        raise Conflict(f"somebody else took on the requests of {stream}")
    return begun
