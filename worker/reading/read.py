"""Read what readings are made of; nothing is locked. All that is of a specialist comes from one statement, and so is of
one moment; several are asked together. What is the same for every specialist is read before, and serves for many.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime
from itertools import chain
from typing import Any, NamedTuple, TypeVar

import redis
from psycopg import AsyncRawCursor, RawCursor
from psycopg.rows import class_row

from worker.continuity import Position
from worker.daily.visitors import merged
from worker.errors import Conflict, Retry, Stop
from worker.producer import stream_of
from worker.queries import numbered_query
from worker.reading.figures import DailyRows, DailyVisitors, Facts, Found, reading
from worker.reading.period import EPOCH, Asked, Span
from worker.reading.shape import Loss, Reading
from worker.settings import Settings
from worker.store import AsyncConnection, Connection, postgres_errors, preparing
from worker.stream import read_backlog

ATTEMPTS = 3
"""What was in the way is no more; but several days may be sealed one right after the other."""

Row = TypeVar("Row")


class NoSpecialist(Stop):
    """There is no such specialist."""


class Counting(NamedTuple):
    """The row of `read_counting`: what is known of the counting itself."""

    counting_since: date | None
    ledger_since: date | None
    complete_through: date | None
    sealed_through: date | None


class SpecialistRow(NamedTuple):
    """A row of `read_specialists`. Its arrays of one name belong together, and are None where there is nothing."""

    known: bool
    first_day: date | None
    sealed_through: date | None
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


class Wanted(NamedTuple):
    """Whose numbers, and of when."""

    specialist: str
    asked: Asked


class Answer(NamedTuple):
    """What the database says of a specialist."""

    counting: Counting
    row: SpecialistRow


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
        Retry: the server is away, or something is in the way again and again.
    """
    wanted = Wanted(specialist, asked)
    check_specialist(specialist)
    for _ in range(ATTEMPTS):
        with suppress(Conflict):
            [counting] = _ask(connection, Counting, _counting_question(settings))
            rows = _ask(connection, SpecialistRow, _question(settings, [wanted], counting))
            [answer] = _answers(counting, rows)
            return understand(settings, wanted, answer, counted_until)
    raise in_the_way()


def in_the_way() -> Retry:
    """What there is to say when all `ATTEMPTS` came to nothing."""
    return Retry("PostgreSQL: each time something else was in the way")


def check_specialist(specialist: str) -> None:
    """Nobody has an id that is not of printable ASCII, and PostgreSQL takes no NUL.

    Raises:
        NoSpecialist: it is such a one.
    """
    if not (specialist.isascii() and specialist.isprintable()):
        raise _no(specialist)


async def ask_counting(settings: Settings, connection: AsyncConnection) -> Counting:
    """What `read` asks the database first. It still holds a little later, unless `ask` says that it does not.

    Raises:
        Conflict: something was in the way, and is no more.
        Stop, Retry: see `read`.
    """
    [counting] = await _ask_async(connection, Counting, _counting_question(settings))
    return counting


async def ask(
    settings: Settings, connection: AsyncConnection, wanted: Sequence[Wanted], counting: Counting
) -> list[Answer]:
    """What `read` asks the database then, for `understand`: all at once, and as many answers in the same order.

    Raises:
        Conflict: something was in the way, and is no more; or what was known of the counting no longer holds.
        Stop, Retry: see `read`.
    """
    return _answers(counting, await _ask_async(connection, SpecialistRow, _question(settings, wanted, counting)))


def understand(settings: Settings, wanted: Wanted, answer: Answer, counted_until: datetime | None) -> Reading:
    """The reading that an answer comes to.

    Raises:
        NoSpecialist: there is none of this name.
    """
    if not answer.row.known:
        raise _no(wanted.specialist)
    return reading(wanted.asked, _found(wanted.specialist, settings.time_zone, answer, counted_until))


class _Question(NamedTuple):
    statement: bytes
    values: list[Any]


def _counting_question(settings: Settings) -> _Question:
    return _put(numbered_query("read_counting"), {"time_zone": settings.time_zone})


def _question(settings: Settings, wanted: Sequence[Wanted], counting: Counting) -> _Question:
    all_asked = [each.asked for each in wanted]
    which = {
        "specialists": [each.specialist for each in wanted],
        "their_streams": [stream_for(each.specialist, settings) for each in wanted],
        "firsts_before": [Span(each.first, each.last).before.first if each.first else EPOCH for each in all_asked],
        "firsts": [each.first or EPOCH for each in all_asked],
        "lasts": [each.last for each in all_asked],
        "ledger_since": counting.ledger_since,
        "time_zone": settings.time_zone,
        "streams": list(settings.stream_keys),
    }
    return _put(numbered_query("read_specialists"), which)


def _put(numbered: tuple[bytes, list[str]], which: Mapping[str, Any]) -> _Question:
    statement, names = numbered
    return _Question(statement, [which[name] for name in names])


def _answers(counting: Counting, rows: Sequence[SpecialistRow]) -> list[Answer]:
    """Both, if they fit: contact views of a day that was sealed meanwhile would be said to be there, and are not."""
    if any(row.sealed_through != counting.sealed_through for row in rows):
        raise Conflict("a day was sealed meanwhile")
    return [Answer(counting, row) for row in rows]


def _ask(connection: Connection, kind: type[Row], question: _Question) -> list[Row]:
    with postgres_errors(), preparing() as prepare:
        cursor = RawCursor(connection, row_factory=class_row(kind))
        return cursor.execute(*question, prepare=prepare, binary=True).fetchall()


async def _ask_async(connection: AsyncConnection, kind: type[Row], question: _Question) -> list[Row]:
    with postgres_errors(), preparing() as prepare:
        cursor = AsyncRawCursor(connection, row_factory=class_row(kind))
        return await (await cursor.execute(*question, prepare=prepare, binary=True)).fetchall()


def _found(specialist: str, time_zone: str, answer: Answer, counted_until: datetime | None) -> Found:
    counting, row = answer
    losses = zip(*_columns(row.loss_first, row.loss_last, row.loss_entries), strict=True)
    return Found(
        specialist=specialist,
        time_zone=time_zone,
        facts=Facts(row.first_day, counting.counting_since, counting.ledger_since, counting.complete_through),
        days=DailyRows(row.dates or (), [*chain.from_iterable(row.numbers or ())]),
        contact_types=list(zip(*_columns(row.contact_types, row.contact_type_views), strict=True)),
        losses=[Loss(first=first, last=last, entries=entries) for first, last, entries in losses],
        merged=merged,
        visitors=DailyVisitors(*_columns(row.visitor_dates, row.visitor_numbers, row.visitor_sketches)),
        as_of=counted_until or _time_of(row.last_read_ms),
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
