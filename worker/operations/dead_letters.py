"""Dead letters: look at what could not be counted, send it once more, or put it aside. Every action is written down."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Literal, NamedTuple

import redis
from psycopg.rows import class_row, scalar_row

from worker.continuity import EntryId
from worker.events import DAY_MS, Event, Reason, Rules, derived_id, parse
from worker.original import Kept, as_json, from_json
from worker.producer import stream_of
from worker.queries import query
from worker.settings import Settings
from worker.store import Connection, postgres_errors
from worker.stream import Entry, redis_errors

State = Literal["buried", "requeued", "discarded"]

PAGE_LETTERS = 50
"""Settled at once. A letter can have 1 MiB, and is in memory several times while it is sent: so not many more."""

GLIMPSE_FIELDS, GLIMPSE_CHARACTERS = 12, 200

BEHIND_ALL = 2**63 - 1
EPOCH = date(1970, 1, 1).toordinal()
ANY_TIME = Rules(oldest_ms=0, newest_ms=2**62, exclude_bots=False, secret=b"")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which dead letters: those with these ids, or else all of a state, reason and time."""

    ids: Sequence[int] = ()
    reason: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    state: State = "buried"
    before: int = BEHIND_ALL
    """Only letters with a smaller id: where a page ended, the next one begins."""


class Letter(NamedTuple):
    """A row of `analytics.dead_letter`."""

    id: int
    buried_at: datetime
    stream: str
    entry_id: str
    reason: str
    fields: Kept
    state: State
    left: int
    """How many letters the filter matches, from this page on."""


class Action(NamedTuple):
    """What was done with a letter."""

    happened_at: datetime
    action: State
    operator: str
    stream: str | None
    entry_id: str | None


class Counted(NamedTuple):
    """A letter's event in the ledger, where it came to be in the end."""

    specialist_id: str
    excluded: str | None
    entry_id: str


def list_letters(connection: Connection, wanted: Filter, limit: int, counted: int | None = None) -> list[Letter]:
    """At most `limit` letters, the newest first; those that are left are counted up to `counted`, or all."""
    with postgres_errors(), connection.cursor(row_factory=class_row(Letter)) as cursor:
        return cursor.execute(
            query("list_dead_letters"),
            {
                "ids": list(wanted.ids) or None,
                "reason": wanted.reason,
                "since": wanted.since,
                "until": wanted.until,
                "state": wanted.state,
                "before": wanted.before,
                "limit": limit,
                "counted": counted,
            },
        ).fetchall()


class Glimpse(NamedTuple):
    """The beginning of a letter that lies buried: enough for a list."""

    id: int
    buried_at: datetime
    stream: str
    entry_id: str
    reason: str
    fields: Sequence[tuple[str, str, int]]
    """The first ones: the beginnings of name and value, and how many characters the value has."""
    fields_in_all: int


def list_latest(connection: Connection, reasons: Sequence[str], letters: int, within_ms: int) -> list[Glimpse]:
    """The newest letters that lie buried of each reason, the newest first; little is read, however large they are.

    Args:
        connection: in autocommit mode.
        reasons: of which ones.
        letters: at most so many of each.
        within_ms: milliseconds that it may take.

    Raises:
        Retry: it takes longer, or the server is away.
    """
    which = {"reasons": list(reasons), "letters": letters, "fields": GLIMPSE_FIELDS, "characters": GLIMPSE_CHARACTERS}
    with postgres_errors(), connection.transaction(), connection.cursor(row_factory=class_row(Glimpse)) as cursor:
        connection.execute(query("limit_statements"), {"milliseconds": within_ms})
        return cursor.execute(query("list_latest_dead_letters"), which).fetchall()


def list_actions(connection: Connection, letter: Letter) -> list[Action]:
    """What was done with a letter, in order."""
    with postgres_errors(), connection.cursor(row_factory=class_row(Action)) as cursor:
        return cursor.execute(query("list_dead_letter_actions"), {"id": letter.id}).fetchall()


def find_event(connection: Connection, letter: Letter) -> Counted | None:
    """The letter's event in the ledger: after it was sent again and read, or because the web tier had sent it twice."""
    event = parse(letter.entry_id.encode(), from_json(letter.fields), ANY_TIME)
    if not isinstance(event, Event):
        return None
    try:
        day = date.fromordinal(EPOCH + event.occurred_ms // DAY_MS)
    except (OverflowError, ValueError):  # behind the year 9999
        return None
    with postgres_errors(), connection.cursor(row_factory=class_row(Counted)) as cursor:
        return cursor.execute(query("find_event"), {"day": day, "event_id": event.event_id}).fetchone()


class Settled(NamedTuple):
    """Letters that were settled together."""

    letters: int
    before: int
    """The smallest of their ids: all that are left have smaller ones."""


def requeue(
    settings: Settings, connection: Connection, client: redis.Redis, wanted: Filter, operator: str
) -> Iterator[Settled]:
    """Send letters into the stream once more, where the same pipeline reads them as it reads any event.

    Those that were too large stay where they are: only their beginning was kept, which would be another event.

    However often that is done, and wherever it is cut off, an event counts once: it keeps its id.

    Yields:
        Each page, once it has been sent and marked.

    Raises:
        Retry: a server went away; those of the last page were perhaps sent, and can be sent again.
    """
    for page in _pages(connection, wanted):
        letters = [letter for letter in page if letter.reason != Reason.ENTRY_TOO_LARGE]
        again = [_addressed(settings, letter) for letter in letters]
        with redis_errors(settings):
            pipeline = client.pipeline(transaction=False)
            for stream, fields in again:
                pipeline.xadd(stream, fields)  # type: ignore[arg-type] # a dict of bytes is one of bytes or more
            entry_ids = [entry_id.decode() for entry_id in pipeline.execute()]
        sent_as = [(stream, entry_id) for (stream, _), entry_id in zip(again, entry_ids, strict=True)]
        _settle(connection, letters, "requeued", operator, sent_as)
        yield Settled(len(letters), page[-1].id)


def discard(connection: Connection, wanted: Filter, operator: str) -> Iterator[Settled]:
    """Put letters aside: they are kept, and no longer shown or counted among the buried.

    Yields:
        Each page, once it is marked.
    """
    for letters in _pages(connection, wanted):
        _settle(connection, letters, "discarded", operator)
        yield Settled(len(letters), letters[-1].id)


def mark_counted(
    connection: Connection, stream: str, accepted: Sequence[str], entries: Sequence[Entry], operator: str
) -> None:
    """Mark the letters of entries that could not be counted at first, were read again, and are events by now.

    Args:
        connection: in autocommit mode.
        stream: where they lie.
        accepted: the ids of those that are events.
        entries: all that were read. Another entry that had such an id before is not meant.
        operator: who had them read again.
    """
    with postgres_errors(), connection.cursor(row_factory=scalar_row) as cursor:
        of_entries = {"stream": stream, "entry_ids": list(accepted)}
        buried = set(cursor.execute(query("find_buried_entries"), of_entries))
    if not buried:
        return
    asked = [(entry_id.decode(), as_json(fields)) for entry_id, fields in entries if entry_id.decode() in buried]
    entry_ids, fields_of = zip(*asked, strict=True)
    with postgres_errors(), connection.cursor(row_factory=class_row(Letter)) as cursor:
        of_entries = {"stream": stream, "entry_ids": list(entry_ids), "fields": list(fields_of)}
        counted = cursor.execute(query("list_dead_letters_of_entries"), of_entries).fetchall()
    if counted:
        _settle(connection, counted, "requeued", operator, [(stream, letter.entry_id) for letter in counted])


def _addressed(settings: Settings, letter: Letter) -> tuple[str, dict[bytes, bytes]]:
    """Where a letter is sent again, and as what. A request goes back as it was to where requests are read."""
    if letter.stream == settings.requests:
        return letter.stream, _original(letter)
    fields = resent(letter)
    return stream_of(fields, settings.stream_keys), fields


def _original(letter: Letter) -> dict[bytes, bytes]:
    original = from_json(letter.fields)
    return dict(zip(original[::2], original[1::2], strict=True))


def resent(letter: Letter) -> dict[bytes, bytes]:
    """The fields to send an event again: the original ones, and what the parser took from the first entry where they
    lack it.

    A new entry has another id, from which an event without `eventId` would get another identity and one without
    `occurredAt` another time.
    """
    fields = _original(letter)
    if not fields.get(b"eventId"):
        fields[b"eventId"] = derived_id(letter.entry_id.encode(), from_json(letter.fields)).encode()
    if not fields.get(b"occurredAt"):
        fields[b"occurredAt"] = str(EntryId.of(letter.entry_id).ms).encode()
    return fields


def _pages(connection: Connection, wanted: Filter) -> Iterator[list[Letter]]:
    while letters := list_letters(connection, wanted, PAGE_LETTERS, counted=PAGE_LETTERS):
        yield letters
        wanted = replace(wanted, before=letters[-1].id)


def _settle(
    connection: Connection,
    letters: Sequence[Letter],
    state: State,
    operator: str,
    sent_as: Sequence[tuple[str, str]] = (),
) -> None:
    nowhere = [None] * len(letters)
    streams, entry_ids = zip(*sent_as, strict=True) if sent_as else (nowhere, nowhere)
    parameters = {
        "ids": [letter.id for letter in letters],
        "streams": list(streams),
        "entry_ids": list(entry_ids),
        "state": state,
        "operator": operator,
    }
    with postgres_errors():
        connection.execute(query("settle_dead_letters"), parameters)
