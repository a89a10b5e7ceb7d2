"""Erase: forget a visitor and keep the numbers, or remove all that is kept about a specialist."""

import json
import re
from collections.abc import Collection, Iterator, Sequence
from datetime import date, timedelta
from secrets import token_hex
from typing import Any, NamedTuple

from psycopg.rows import class_row, scalar_row
from pydantic import Field

from worker.errors import Stop
from worker.events import Reason, keyed_hash
from worker.operation import Arguments, JsonObject, Operation, Step
from worker.operations.dead_letters import Filter, list_letters, resent
from worker.original import Kept, as_json, from_json
from worker.queries import query
from worker.settings import Settings
from worker.store import Connection, connect_postgres, known_specialists, list_partitions, postgres_errors

SPECIALIST_CHARACTERS = 200
"""Longer ids than the contract has: a daily row from before it may have any."""

LETTERS_AT_ONCE = 10_000
DAYS_AT_ONCE = 365
"""Dates without single events take only a few rows by an index each."""

OF_A_VISITOR = frozenset((b"visitorId", b"userAgent"))
OF_A_VIEWER = frozenset((b"viewerId",))


class Span(NamedTuple):
    """The first and the last date that anything is kept of."""

    first_date: date | None
    last_date: date | None


class EraseVisitor(Arguments):
    """Whom to forget, without the id: it is kept only as long as the run is open, and nobody can read it back."""

    visitor: str
    """Keyed hash of the id."""
    secret: str
    """What tells one `ANALYTICS_SECRET` from another: the id of nobody, hashed."""

    @classmethod
    def of(cls, settings: Settings, visitor: str) -> "EraseVisitor":
        """Of the id that the web tier sends as `visitorId`."""
        key = settings.visitor_key
        return cls(visitor=keyed_hash(visitor.encode("utf-8", "surrogateescape"), key), secret=keyed_hash(b"", key))


class EraseSpecialist(Arguments):
    """Whom to remove."""

    specialist: str = Field(min_length=1, max_length=SPECIALIST_CHARACTERS)
    force: bool = False
    """Also while the site has the specialist."""


def erase_visitor_steps(settings: Settings, run: int, arguments: EraseVisitor, cursor: JsonObject) -> Iterator[Step]:
    """Forget a visitor, a day of the ledger or a page of dead letters a step.

    Raises:
        Stop: this role may not, or `ANALYTICS_SECRET` is not the one that the hash was made with.
        Retry, Conflict: see `postgres_errors`.
    """
    if keyed_hash(b"", settings.visitor_key) != arguments.secret:
        raise Stop("ANALYTICS_SECRET is another one here than where the erasure was asked for: give both the same")
    with connect_postgres(settings, "erase") as connection:
        refuse_without_rights(connection)
        refuse_without_secret(settings, connection)
        days, pages = sorted(list_partitions(connection)), _pages(connection)
        total = len(days) + len(pages)
        if not cursor:  # the salt is written down before it is used: the two parts of a date must get the same
            cursor = {"salt": token_hex(16), "done": 0, "day": str(date.min), "letter": 0}
            yield Step(done=0, total=total, cursor=cursor, result={})
        for day in days:
            if str(day) > cursor["day"]:
                which = {"run": run, "day": day, "visitor": arguments.visitor, "salt": cursor["salt"]}
                with postgres_errors():
                    connection.execute(query("erase_visitor"), which | {"time_zone": settings.time_zone})
                cursor = cursor | {"day": str(day), "done": cursor["done"] + 1}
                yield _step(connection, run, total, cursor)
        for after, until in pages:
            if until > cursor["letter"]:
                letters = letters_of_visitor(settings, connection, arguments.visitor, after, until)
                _erase_fields(connection, run, letters, OF_A_VISITOR, "dead_letter")
                cursor = cursor | {"letter": until, "done": cursor["done"] + 1}
                yield _step(connection, run, total, cursor)


def erase_specialist_steps(
    settings: Settings, run: int, arguments: EraseSpecialist, cursor: JsonObject
) -> Iterator[Step]:
    """Remove a specialist: the dates one after the other, each with its row and its events at once, then the rest.

    Raises:
        Stop: this role may not, or the site still has the specialist.
        Retry, Conflict: see `postgres_errors`.
    """
    cursor = cursor or {"done": 0, "date": str(date.min), "letter": 0, "rest": True}
    whom = arguments.specialist
    with connect_postgres(settings, "erase") as connection:
        refuse_without_rights(connection)
        if not arguments.force:
            refuse_while_there(connection, whom)
        dates, pages = kept_dates(connection), _pages(connection)
        total = len(dates) + len(pages) + 1
        for some in dates:
            if str(some[-1]) > cursor["date"]:
                _erase_dates(connection, settings, run, whom, some)
                cursor = cursor | {"date": str(some[-1]), "done": cursor["done"] + 1}
                yield _step(connection, run, total, cursor)
        for after, until in pages:
            if until > cursor["letter"]:
                _erase_letters(connection, run, whom, after, until)
                cursor = cursor | {"letter": until, "done": cursor["done"] + 1}
                yield _step(connection, run, total, cursor)
        if cursor["rest"]:
            _erase_dates(connection, settings, run, whom, None)
            with postgres_errors(), connection.transaction():
                connection.execute(query("await_packing"))
                connection.execute(query("erase_packed_months"), {"specialist": whom})
            with postgres_errors():
                connection.execute(query("forget_in_runs"), {"run": run, "specialist": whom, "mention": _mention(whom)})
            yield _step(connection, run, total, cursor | {"rest": False, "done": cursor["done"] + 1})


ERASE_VISITOR = Operation("erase-visitor", "parts", EraseVisitor, erase_visitor_steps)
ERASE_SPECIALIST = Operation("erase-specialist", "parts", EraseSpecialist, erase_specialist_steps)


def count_visitor(settings: Settings, connection: Connection, arguments: EraseVisitor) -> dict[str, int]:
    """What would be erased of a visitor, by table; changes nothing.

    Raises:
        Stop: there is no secret, and there are hashes.
        Retry: the server is away.
    """
    refuse_without_secret(settings, connection)
    found = {"event": 0, "dead_letter": 0}
    with postgres_errors(), connection.cursor(row_factory=scalar_row) as cursor:
        for day in list_partitions(connection):
            which = {"day": day, "visitor": arguments.visitor}
            found["event"] += cursor.execute(query("count_events_of_visitor"), which).fetchone() or 0
    for after, until in _pages(connection):
        found["dead_letter"] += len(letters_of_visitor(settings, connection, arguments.visitor, after, until))
    return {what: rows for what, rows in found.items() if rows}


def count_specialist(settings: Settings, connection: Connection, specialist: str) -> dict[str, int]:
    """What would be removed of a specialist, by table, but for mentions in the record of runs; changes nothing.

    Raises:
        Retry: the server is away.
    """
    found: dict[str, int] = {}
    for dates in (*kept_dates(connection), None):
        which = {"specialist": specialist, "dates": dates, "time_zone": settings.time_zone}
        for what, rows in _counts(connection, query("count_specialist"), which).items():
            found[what] = found.get(what, 0) + rows
    for field, what in (("specialistId", "dead_letter"), ("viewerId", "dead_letter.viewerId")):
        letters = sum(len(_letters_with(connection, field, specialist, *page)) for page in _pages(connection))
        found |= {what: letters} if letters else {}
    return found


def refuse_without_rights(connection: Connection) -> None:
    """Erasing takes back what was written, which the worker's own role cannot.

    Raises:
        Stop: whoever is connected cannot either.
    """
    if not _scalar(connection, query("may_erase")):
        raise Stop(
            "this database role may not erase, and nothing was erased: give the owner's DATABASE_URL, as for `migrate`,"
            " and --now if the workers have a role of their own"
        )


def refuse_without_secret(settings: Settings, connection: Connection) -> None:
    """Without the secret nobody can be found in the ledger.

    Raises:
        Stop: but there are visitors there.
    """
    if settings.visitor_key:
        return
    if any(_scalar(connection, query("has_visitors"), day=day) for day in list_partitions(connection)):
        raise Stop("ANALYTICS_SECRET is not set here, but the ledger has hashes that were made with one: give the same")


def refuse_while_there(connection: Connection, specialist: str) -> None:
    """What the site has, comes back with the next event, and with the next outcome.

    Raises:
        Stop: the site has the specialist.
    """
    if known_specialists(connection, [specialist]):
        raise Stop(
            'the specialist is still in "SpecialistProfile", so whatever comes later would be kept again:'
            " let the site delete the profile first, or say --force"
        )


def letters_of_visitor(
    settings: Settings, connection: Connection, visitor: str, after: int, until: int
) -> Sequence[int]:
    """The dead letters of a page whose visitor has this hash, which they do not: they have the id as it was sent."""
    with postgres_errors():
        rows = connection.execute(query("list_visitors_of_dead_letters"), {"after": after, "until": until}).fetchall()
    return [letter for letter, sent in rows if visitor in _hashes(sent, settings.visitor_key)]


def _hashes(sent: Sequence[Any], key: bytes) -> set[str]:
    names: Kept = [[value] for value in sent]
    return {keyed_hash(value, key) for value in from_json(names)}


def kept_dates(connection: Connection) -> list[list[date]]:
    """The dates of which anything is kept: one by one where there may be single events, else a year at once."""
    with postgres_errors(), connection.cursor(row_factory=class_row(Span)) as cursor:
        span = cursor.execute(query("load_kept_dates")).fetchone()
    assert span is not None  # a function's outputs are always one row
    if span.first_date is None or span.last_date is None:
        return []
    single = {day + timedelta(days=apart) for day in list_partitions(connection) for apart in (-1, 0, 1)}
    chunks: list[list[date]] = []
    for number in range((span.last_date - span.first_date).days + 1):
        day = span.first_date + timedelta(days=number)
        if not chunks or day in single or chunks[-1][-1] in single or len(chunks[-1]) == DAYS_AT_ONCE:
            chunks.append([])
        chunks[-1].append(day)
    return chunks


def _erase_dates(
    connection: Connection, settings: Settings, run: int, specialist: str, dates: Sequence[date] | None
) -> None:
    which = {"run": run, "specialist": specialist, "dates": dates, "time_zone": settings.time_zone}
    with postgres_errors(), connection.transaction():
        connection.execute(query("prepare_recompute"))
        connection.execute(query("lock_positions"))
        connection.execute(query("erase_specialist"), which)


def _erase_letters(connection: Connection, run: int, specialist: str, after: int, until: int) -> None:
    page = {"after": after, "until": until, "field": _field("specialistId", specialist), "run": run}
    with postgres_errors():
        connection.execute(query("erase_dead_letters_of_specialist"), page)
    viewed = _letters_with(connection, "viewerId", specialist, after, until)
    _erase_fields(connection, run, viewed, OF_A_VIEWER, "dead_letter.viewerId")


def _letters_with(connection: Connection, name: str, value: str, after: int, until: int) -> Sequence[int]:
    page = {"after": after, "until": until, "field": _field(name, value)}
    with postgres_errors(), connection.cursor(row_factory=scalar_row) as cursor:
        return cursor.execute(query("list_dead_letters_with"), page).fetchall()


def _erase_fields(connection: Connection, run: int, ids: Sequence[int], names: Collection[bytes], what: str) -> None:
    """Take fields out of dead letters, one by one: a letter can have 1 MiB.

    Their events stay the same ones: an id that was made of all fields is written down before some of them go.
    """
    for letter_id in ids:
        letter = next(iter(list_letters(connection, Filter(ids=[letter_id]), 1)), None)
        if letter is None:  # somebody else has erased all of it
            continue
        if letter.reason == Reason.ENTRY_TOO_LARGE:
            parts = from_json(letter.fields)
        else:
            parts = [part for pair in resent(letter).items() for part in pair]
        kept = [part for pair in zip(parts[::2], parts[1::2], strict=True) if pair[0] not in names for part in pair]
        with postgres_errors():
            connection.execute(
                query("erase_letter_fields"), {"run": run, "ids": [letter_id], "fields": [as_json(kept)], "what": what}
            )


def _pages(connection: Connection) -> list[tuple[int, int]]:
    """The ids of all dead letters, in pages: behind one, up to another."""
    newest: int = _scalar(connection, query("find_newest_dead_letter"))
    return [(after, min(after + LETTERS_AT_ONCE, newest)) for after in range(0, newest, LETTERS_AT_ONCE)]


def _step(connection: Connection, run: int, total: int, cursor: JsonObject) -> Step:
    erased = _counts(connection, query("load_erasure"), {"run": run})
    return Step(done=cursor["done"], total=max(total, cursor["done"]), cursor=cursor, result=erased)


def _counts(connection: Connection, statement: bytes, parameters: dict[str, Any]) -> dict[str, int]:
    with postgres_errors():
        return {str(what): int(rows) for what, rows in connection.execute(statement, parameters).fetchall()}


def _scalar(connection: Connection, statement: bytes, **parameters: Any) -> Any:
    with postgres_errors(), connection.cursor(row_factory=scalar_row) as cursor:
        return cursor.execute(statement, parameters).fetchone()


def _field(name: str, value: str) -> str:
    """As `fields @> …` finds it in a dead letter."""
    return json.dumps([[name, value]])


def _mention(specialist: str) -> str:
    """A pattern of PostgreSQL: the id, but not a longer one that has it in it."""
    return rf"(?<![\w-]){re.escape(specialist)}(?![\w-])"
