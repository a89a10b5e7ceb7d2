"""Read what a reading is made of: one statement, and so one moment and one round trip; nothing is locked."""

import time
from collections.abc import Sequence
from datetime import UTC, date, datetime
from itertools import starmap
from typing import Any, NamedTuple

import redis
from psycopg import AsyncRawCursor, RawCursor
from psycopg.rows import class_row

from worker.continuity import Position
from worker.daily.visitors import merged
from worker.errors import Conflict, Stop
from worker.producer import stream_of
from worker.queries import numbered_query
from worker.reading.figures import Day, Facts, Found, Visited, reading
from worker.reading.period import EPOCH, Asked, Span
from worker.reading.shape import Loss, Reading
from worker.settings import Settings
from worker.store import AsyncConnection, Connection, postgres_errors, preparing
from worker.stream import read_backlog


class NoSpecialist(Stop):
    """There is no such specialist."""


class Answer(NamedTuple):
    """The row of `read_specialist`. Its arrays of one name belong together, and are None where there is nothing."""

    known: bool
    first_day: date | None
    counting_since: date | None
    ledger_since: date | None
    complete_through: date | None
    last_read_ms: int | None
    dates: Sequence[date] | None
    numbers: Sequence[Sequence[int]] | None
    visitor_dates: Sequence[date] | None
    visitor_numbers: Sequence[int] | None
    visitor_sketches: Sequence[bytes] | None
    contact_types: Sequence[str | None] | None
    contact_type_views: Sequence[int] | None
    loss_first: Sequence[date] | None
    loss_last: Sequence[date] | None
    loss_entries: Sequence[int | None] | None


def read(
    settings: Settings, connection: Connection, specialist: str, asked: Asked, counted_until: datetime | None = None
) -> Reading:
    """Everything about a specialist and a period.

    Args:
        settings: say the zone, and which streams there are.
        connection: in autocommit mode.
        specialist: whatever somebody typed.
        asked: which days.
        counted_until: what `counted_until` says of the specialist's stream, if Redis could be asked; else the time of
            the entry that was read last has to do.

    Raises:
        NoSpecialist: there is none of this name.
        Stop: the database is not migrated, or refuses.
        Retry: the server is away.
    """
    question = _question(settings, specialist, asked)
    try:
        answer = _ask(connection, question)
    except Conflict:  # what was in the way is no more
        answer = _ask(connection, question)
    return understand(settings, specialist, asked, answer, counted_until)


async def ask(settings: Settings, connection: AsyncConnection, specialist: str, asked: Asked) -> Answer:
    """What `read` asks the database, for `understand`, and raises the same."""
    question = _question(settings, specialist, asked)
    try:
        return await _ask_async(connection, question)
    except Conflict:
        return await _ask_async(connection, question)


def understand(
    settings: Settings, specialist: str, asked: Asked, answer: Answer, counted_until: datetime | None
) -> Reading:
    """The reading that the database's answer makes.

    Raises:
        NoSpecialist: there is none of this name.
    """
    if not answer.known:
        raise _no(specialist)
    return reading(asked, _found(specialist, settings.time_zone, answer, counted_until))


class _Question(NamedTuple):
    statement: bytes
    values: list[Any]


def _question(settings: Settings, specialist: str, asked: Asked) -> _Question:
    if not (specialist.isascii() and specialist.isprintable()):  # nobody has such an id, and PostgreSQL takes no NUL
        raise _no(specialist)
    which = {
        "specialist": specialist,
        "first": asked.first or EPOCH,
        "first_before": Span(asked.first, asked.last).before.first if asked.first else EPOCH,
        "last": asked.last,
        "time_zone": settings.time_zone,
        "stream": stream_for(specialist, settings),
        "streams": list(settings.stream_keys),
    }
    statement, names = numbered_query("read_specialist")
    return _Question(statement, [which[name] for name in names])


def _ask(connection: Connection, question: _Question) -> Answer:
    with postgres_errors(), preparing() as prepare:
        cursor = RawCursor(connection, row_factory=class_row(Answer))
        answer = cursor.execute(*question, prepare=prepare, binary=True).fetchone()
    assert answer is not None  # it is always one row
    return answer


async def _ask_async(connection: AsyncConnection, question: _Question) -> Answer:
    with postgres_errors(), preparing() as prepare:
        cursor = AsyncRawCursor(connection, row_factory=class_row(Answer))
        answer = await (await cursor.execute(*question, prepare=prepare, binary=True)).fetchone()
    assert answer is not None  # it is always one row
    return answer


def _found(specialist: str, time_zone: str, answer: Answer, counted_until: datetime | None) -> Found:
    losses = zip(*_columns(answer.loss_first, answer.loss_last, answer.loss_entries), strict=True)
    return Found(
        specialist=specialist,
        time_zone=time_zone,
        facts=Facts(answer.first_day, answer.counting_since, answer.ledger_since, answer.complete_through),
        days=dict(zip(map(date.toordinal, answer.dates or ()), starmap(Day, answer.numbers or ()), strict=True)),
        contact_types=list(zip(*_columns(answer.contact_types, answer.contact_type_views), strict=True)),
        losses=[Loss(first=first, last=last, entries=entries) for first, last, entries in losses],
        merged=merged,
        visitors=dict(
            zip(
                map(date.toordinal, answer.visitor_dates or ()),
                map(Visited, *_columns(answer.visitor_numbers, answer.visitor_sketches)),
                strict=True,
            )
        ),
        as_of=counted_until or _time_of(answer.last_read_ms),
    )


def _columns(*arrays: Sequence[Any] | None) -> list[Sequence[Any]]:
    return [array or () for array in arrays]


def counted_until(settings: Settings, client: redis.Redis, position: Position) -> datetime:
    """The moment before which all is counted that had reached a stream by its stored position; by the clock of Redis.

    Raises:
        Stop, Retry: Redis refuses us, or is away.
    """
    backlog = read_backlog(client, settings, position.stream, position)
    return datetime.fromtimestamp(backlog.redis_s - max(backlog.oldest_age_s or 0.0, 0.0), UTC)


def stream_for(specialist: str, settings: Settings) -> str:
    """Key of the stream that a specialist's events come by, whatever somebody typed for the id."""
    return stream_of({b"specialistId": specialist.encode("utf-8", "replace")}, settings.stream_keys)


def _time_of(last_read_ms: int | None) -> datetime | None:
    """When the last entry came: by then all was counted. An id from the future says nothing."""
    return None if last_read_ms is None else datetime.fromtimestamp(min(last_read_ms / 1000, time.time()), UTC)


def _no(specialist: str) -> NoSpecialist:
    name = specialist if len(specialist) <= 64 else specialist[:64] + "…"
    return NoSpecialist(f'there is no specialist {name!r} in "SpecialistProfile"')
