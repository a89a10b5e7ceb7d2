"""Why a daily row has the numbers that it has, and where an event is. Read only."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from typing import Any, Literal, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

import redis
from psycopg import IsolationLevel
from psycopg.rows import class_row

from worker.continuity import BEGINNING, EntryId, Position
from worker.daily.recompute import diff_day
from worker.daily.visitors import Visitors, visitors_of
from worker.days import local_date
from worker.errors import NotMigrated, Retry, Stop
from worker.events import DAY_MS, EPOCH, Event, derived_id, parse
from worker.operations.dead_letters import ANY_TIME, Action, Letter, list_actions
from worker.producer import stream_of
from worker.queries import query
from worker.settings import Settings
from worker.store import (
    Connection,
    check_specialist,
    list_partitions,
    load_newest_sealed_day,
    load_position,
    postgres_errors,
)
from worker.stream import Entry, StreamReader, existing_streams

PAGE_ENTRIES = 1_000
"""Read from a stream at once: few enough that Redis answers everybody else meanwhile."""

REPEATS_LOOKED_AT = 1_000_000
"""Entries that are looked through for repeats: some seconds."""

AFTER_EPOCH = date(1970, 1, 3)
"""There are no entries before this, in any zone."""

LETTERS_OF_SPECIALIST = 10_000
"""Dead letters that are looked at, the newest; without their fields, which can be large."""

LETTERS_OF_EVENT = 20
"""The same, with their fields."""

Kind = TypeVar("Kind")
Progress = Callable[[int, int], None]

_of_shard = re.compile(r".*:\{(\d+)\}").fullmatch
_uuid = re.compile("[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}").fullmatch


class Formula(NamedTuple):
    """What a daily row should have: its views by the formula, and the rates that follow."""

    profile_views: int
    contact_views: int
    catalog: int
    """Profile views by source, as are the next three."""
    search: int
    direct: int
    other: int
    profile_to_contact: float
    """Percent, as are the next two."""
    contact_to_request: float
    request_to_order: float


class Row(NamedTuple):
    """A row of `"SpecialistAnalyticsDaily"`; a source that is missing or no number is 0."""

    profile_views: int
    contact_views: int
    catalog: int
    search: int
    direct: int
    other: int
    profile_to_contact: float
    contact_to_request: float
    request_to_order: float
    consultation_requests: int
    orders: int
    reviews: int
    created_at: datetime
    updated_at: datetime


class Outcomes(NamedTuple):
    """What the site's tables say by now."""

    consultation_requests: int
    orders: int
    reviews: int


class Baseline(NamedTuple):
    """Counts without events, of one origin: `legacy`, `sealed`."""

    origin: str
    profile_views: int
    contact_views: int
    catalog: int
    search: int
    direct: int
    other: int


class Hour(NamedTuple):
    """Events of one local hour in the ledger, either those that count or those excluded for one reason."""

    hour: int
    utc_offset: timedelta
    """Tells apart the two hours of one name when a clock goes back."""
    excluded: str | None
    profile_views: int
    contact_views: int
    catalog: int
    search: int
    direct: int
    other: int


class NewestEvent(NamedTuple):
    """Of the events that count in a row, the one whose entry came last."""

    event_id: str
    entry_id: str
    shard: int


class Repeats(NamedTuple):
    """Entries whose event another entry had brought before, as far as the stream still holds them."""

    found: int
    looked_at: int
    """Entries of whatever specialist, from the date's beginning to where the stream has been read."""
    oldest: EntryId | None
    """The first of these; what came before it on the date is trimmed. None: there is none."""
    is_all: bool
    """Whether there were not too many to look at."""


@dataclass(frozen=True, slots=True)
class Writer:
    """Who wrote a row last, as far as that can be known."""

    events: int
    """How many were counted by that very transaction: if there are any, it was counting."""
    stream: str | None
    """Whose position moved with them; None if that has moved again since."""
    runs: Sequence[str]
    """Those that were going on, and could have been it: `recompute 7`."""
    put_right: bool
    """Whether a recompute found then that the row was wrong after its day was over, and noted it."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A daily row and its parts, all of one moment."""

    specialist: str
    day: date
    """In the zone."""
    time_zone: str
    row: Row | None
    formula: Formula
    right: bool
    """Whether a recompute would change nothing."""
    outcomes: Outcomes | None
    """None: the view `analytics.outcome` is not there."""
    gone: Sequence[date]
    """UTC days whose events the formula misses: then the row has more than the formula, and may well be right."""
    baseline: Sequence[Baseline]
    hours: Sequence[Hour]
    visitors: Visitors
    newest: NewestEvent | None
    writer: Writer | None
    """None: there is no row."""
    repeats: Repeats | str
    """A text says why they are not known: Redis is away."""
    dead_letters: Counter[tuple[str, str]]
    """By reason and state. Their events are not in the row, unless they were sent again."""
    letters_left: int
    """Dead letters of the specialist that were not looked at, because there are too many."""
    position: Position | None
    """How far the specialist's stream had been read."""

    @property
    def outcomes_right(self) -> bool:
        """Whether the row has what the site's tables say by now, or nobody can tell."""
        row = self.row or Outcomes(0, 0, 0)
        return self.outcomes in (None, (row.consultation_requests, row.orders, row.reviews))


def explain(
    settings: Settings,
    connection: Connection,
    client: redis.Redis,
    specialist: str,
    day: date,
    *,
    progress: Progress = lambda read, total: None,
) -> Explanation:
    """Take a daily row apart.

    The stream comes first, up to where it has been read: what is in the row, the database knows then.

    Args:
        settings: say the zone, and which streams there are.
        connection: in autocommit mode; it can only read from here on.
        client: no one else's, see `StreamReader`; while its server is away, repeats are not known.
        specialist: whose row.
        day: a date in `ANALYTICS_TIME_ZONE`.
        progress: told how many entries were looked at, and how many there are.

    Raises:
        Stop: there is no such specialist.
        Retry: the server is away.
    """
    which = {"specialist": specialist, "date": day, "time_zone": settings.time_zone}
    check_specialist(connection, specialist)
    stream = stream_of({b"specialistId": specialist.encode()}, settings.stream_keys)
    held: Held | str
    try:
        held = _held_of(settings, client, load_position(connection, stream), specialist, day, progress=progress)
    except Retry as error:
        held = str(error)
    with _one_moment(connection):
        rows = _all(connection, Row, query("find_daily_row"), which)
        wrong = diff_day(connection, day, settings.time_zone, specialist)
        gone = connection.execute(query("list_gone_days"), which).fetchall() if wrong and wrong[0].would_lose else []
        name = {
            "field": json.dumps([["specialistId", specialist]]),
            "requests": settings.requests,
            "limit": LETTERS_OF_SPECIALIST,
        }
        letters = _all(connection, LetterOfSpecialist, query("list_dead_letters_of_specialist"), name)
        return Explanation(
            specialist,
            day,
            settings.time_zone,
            row=rows[0] if rows else None,
            formula=_all(connection, Formula, query("apply_formula"), which)[0],
            right=not wrong,
            outcomes=_outcomes(connection, which),
            gone=[utc_day for (utc_day,) in gone],
            baseline=_all(connection, Baseline, query("list_baseline"), which),
            hours=_all(connection, Hour, query("count_events_by_hour"), which),
            visitors=visitors_of(connection, specialist, day, day, settings.time_zone),
            newest=next(iter(_all(connection, NewestEvent, query("find_newest_event"), which)), None),
            writer=_writer(connection, rows[0], which) if rows else None,
            repeats=held if isinstance(held, str) else _repeats(connection, held, settings.stream_keys.index(stream)),
            dead_letters=Counter(
                (letter.reason, letter.state) for letter in letters if _date_of(letter, settings.time_zone) == day
            ),
            letters_left=letters[0].matching - len(letters) if letters else 0,
            position=load_position(connection, stream),
        )


def _outcomes(connection: Connection, which: dict[str, Any]) -> Outcomes | None:
    try:
        with connection.transaction():
            found = _all(connection, Outcomes, query("find_outcomes"), which)
    except NotMigrated:
        return None
    return found[0] if found else Outcomes(0, 0, 0)


class Counting(NamedTuple):
    """What a transaction counted in one daily row."""

    events: int
    put_right: bool
    stream: str | None


class GoingOn(NamedTuple):
    """A run."""

    id: int
    kind: str


def _writer(connection: Connection, row: Row, which: dict[str, Any]) -> Writer:
    at = which | {"moment": row.updated_at}
    [counting] = _all(connection, Counting, query("find_writer"), which)
    runs = _all(connection, GoingOn, query("list_runs_at"), at)
    return Writer(counting.events, counting.stream, [f"{run.kind} {run.id}" for run in runs], counting.put_right)


class Candidate(NamedTuple):
    """An entry of the specialist and date, that may be a repeat."""

    utc_day: date
    event_id: str
    entry_id: str


@dataclass(slots=True)
class Held:
    """What the stream still holds of a date, as far as it has been read."""

    candidates: list[Candidate]
    looked_at: int = 0
    oldest: EntryId | None = None
    is_all: bool = True


def _held_of(
    settings: Settings,
    client: redis.Redis,
    position: Position | None,
    specialist: str,
    day: date,
    *,
    progress: Progress,
) -> Held:
    held = Held([])
    if position is None:
        return held
    reader, wanted = StreamReader(client, settings, position.stream), specialist.encode()
    # An event can be a little ahead of its entry, and a clock that goes back at midnight begins the date before it.
    midnight = datetime.combine(max(day, AFTER_EPOCH), time.min, ZoneInfo(settings.time_zone))
    after, reached_end = EntryId((midnight - EPOCH - timedelta(hours=2)) // timedelta(milliseconds=1), 0), False
    while after < position.last_id and not reached_end:
        page = reader.read(after, PAGE_ENTRIES)
        for entry in page.entries:
            entry_id = EntryId.of(entry[0].decode())
            if entry_id > position.last_id:
                return held
            if held.looked_at == REPEATS_LOOKED_AT:
                held.is_all = False
                return held
            held.looked_at += 1
            held.oldest = held.oldest or entry_id
            if wanted in entry[1] and (candidate := _candidate(entry, specialist, day, settings.time_zone)):
                held.candidates.append(candidate)
        reached_end = page.reached_end
        if page.entries:
            after = EntryId.of(page.entries[-1][0].decode())
        progress(held.looked_at, max(held.looked_at, page.facts.length))
    return held


def _candidate(entry: Entry, specialist: str, day: date, time_zone: str) -> Candidate | None:
    event = parse(*entry, ANY_TIME)
    if not isinstance(event, Event) or event.specialist_id != specialist:
        return None
    try:
        moment = EPOCH + timedelta(milliseconds=event.occurred_ms)
        its_date = local_date(moment, time_zone)
    except OverflowError:  # behind the year 9999
        return None
    return Candidate(moment.date(), event.event_id.lower(), event.entry_id) if its_date == day else None


class First(NamedTuple):
    """Where an event in the ledger came from."""

    event_id: str
    day: date
    entry_id: str
    shard: int


def _repeats(connection: Connection, held: Held, shard: int) -> Repeats:
    wanted = {
        "days": [candidate.utc_day for candidate in held.candidates],
        "event_ids": [candidate.event_id for candidate in held.candidates],
    }
    first = {
        (each.day, each.event_id): (each.shard, each.entry_id)
        for each in _all(connection, First, query("list_first_entries"), wanted)
    }
    found = sum(
        first.get((each.utc_day, each.event_id), (shard, each.entry_id)) != (shard, each.entry_id)
        for each in held.candidates
    )
    return Repeats(found, held.looked_at, held.oldest, held.is_all)


class LetterOfSpecialist(NamedTuple):
    """What of a dead letter tells its date."""

    entry_id: str
    reason: str
    state: str
    occurred_at: str | None
    """As it was sent."""
    matching: int
    """How many letters there are."""


def _date_of(letter: LetterOfSpecialist, time_zone: str) -> date | None:
    """The date on which a letter's event would count: by its time if that can be read, else by its entry's."""
    time = (letter.occurred_at or "").encode()
    event = parse(
        letter.entry_id.encode(),
        [b"type", b"profile_view", b"specialistId", b"-", b"occurredAt", time],
        ANY_TIME,
    )
    ms = event.occurred_ms if isinstance(event, Event) else EntryId.of(letter.entry_id).ms
    try:
        return (EPOCH + timedelta(milliseconds=ms)).astimezone(ZoneInfo(time_zone)).date()
    except OverflowError:  # behind the year 9999
        return None


class Ledgered(NamedTuple):
    """An event in the ledger."""

    day: date
    """Of UTC; `date` is that of the row."""
    occurred_at: datetime
    type: str
    source: str
    contact_type: str | None
    excluded: str | None
    specialist_id: str
    date: date
    entry_id: str
    shard: int


State = Literal["counted", "excluded", "repeat", "dead", "unread", "unknown"]


@dataclass(frozen=True, slots=True)
class Sighting:
    """An entry with the event, still in a stream, and what became of it."""

    stream: str
    entry_id: str
    state: State
    """`unknown`: it was read, but what it is a repeat of is in the ledger no more."""
    repeat_of: str | None = None
    """Entry that was there before; also of an unread one, which will be a repeat."""
    repeat_of_shard: int | None = None
    """Its shard."""
    nobody_reads: bool = False
    """Whether its stream is of another number of shards."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Everywhere that an event was found."""

    event_id: str
    ledger: Sequence[Ledgered]
    letters: Sequence[tuple[Letter, Sequence[Action]]]
    entries: Sequence[Sighting]
    sealed_until: date | None
    """UTC day up to which single events are gone: of an event that is older nothing else can be known."""

    @property
    def seen(self) -> bool:
        """Whether it was found anywhere."""
        return bool(self.ledger or self.letters or self.entries)


def trace(
    settings: Settings,
    connection: Connection,
    client: redis.Redis,
    event_id: str,
    progress: Progress = lambda read, total: None,
) -> Trace:
    """Look for an event in every stream, in the ledger and among the dead letters.

    The streams come first, up to their ends of this moment: what was read meanwhile, the database then knows.

    Args:
        settings: say which streams there are.
        connection: in autocommit mode; it can only read from here on.
        client: no one else's, see `StreamReader`.
        event_id: as it was sent, or as the worker derived it for an event without one.
        progress: told how many entries were looked at, and how many there are.

    Raises:
        Stop: it is no UUID.
        Retry: a server is away.
    """
    event_id = event_id.lower()
    if not _uuid(event_id):
        raise Stop(f"{event_id!r} is no event id: that is a UUID, such as 0192f5a0-7c1e-7b3a-9d64-2f8e6a1c0b57")
    with postgres_errors():
        once_read = [stream for stream, *_ in connection.execute(query("list_positions"))]
    streams = existing_streams(client, settings, once_read)
    entries = list(_search(settings, client, streams, event_id, progress))
    with _one_moment(connection):
        found = {"event_id": event_id, "days": sorted(list_partitions(connection)), "time_zone": settings.time_zone}
        ledger = _all(connection, Ledgered, query("trace_event"), found)
        fields = [json.dumps([["eventId", written]]) for written in (event_id, event_id.upper())]
        of_event = {"fields": fields, "limit": LETTERS_OF_EVENT}
        letters = _all(connection, Letter, query("list_dead_letters_of_event"), of_event)
        read_up_to = {stream: load_position(connection, stream) for stream, _ in entries}
        fates: dict[tuple[int | str, str], State] = {(letter.stream, letter.entry_id): "dead" for letter in letters}
        for event in ledger:
            fates[event.shard, event.entry_id] = "excluded" if event.excluded else "counted"
        sealed_until = load_newest_sealed_day(connection)
        return Trace(
            event_id,
            ledger,
            [(letter, list_actions(connection, letter)) for letter in letters],
            [
                replace(
                    _judge(stream, entry, read_up_to[stream], fates, ledger),
                    nobody_reads=stream not in settings.stream_keys,
                )
                for stream, entry in entries
            ],
            sealed_until,
        )


def _search(
    settings: Settings, client: redis.Redis, streams: Iterable[str], event_id: str, progress: Progress
) -> Iterator[tuple[str, Entry]]:
    """Every entry with this event, with its stream."""
    readers = [StreamReader(client, settings, key) for key in streams]
    ends = [reader.read(BEGINNING, count=1).facts for reader in readers]
    total, done = sum(facts.length for facts in ends), 0
    for reader, end in zip(readers, ends, strict=True):
        after, reached_end = BEGINNING, False
        while after < end.last_generated and not reached_end:
            page = reader.read(after, PAGE_ENTRIES)
            yield from ((reader.key, entry) for entry in page.entries if _event_id(entry) == event_id)
            reached_end = page.reached_end
            if page.entries:
                after = EntryId.of(page.entries[-1][0].decode())
            done += len(page.entries)
            progress(done, max(done, total))


def _event_id(entry: Entry) -> str:
    entry_id, fields = entry
    sent = dict(zip(fields[::2], fields[1::2], strict=True)).get(b"eventId")
    return sent.decode("ascii", "replace").lower() if sent else derived_id(entry_id, fields)


def _judge(
    stream: str,
    entry: Entry,
    position: Position | None,
    fates: Mapping[tuple[int | str, str], State],
    ledger: Sequence[Ledgered],
) -> Sighting:
    """What became of one entry. After a rewind one that was counted is unread again; it is told as counted."""
    entry_id = entry[0].decode()
    if fate := fates.get((stream, entry_id)) or fates.get((_shard_of(stream), entry_id)):
        return Sighting(stream, entry_id, fate)
    parsed = parse(*entry, ANY_TIME)
    utc_day = parsed.occurred_ms // DAY_MS if isinstance(parsed, Event) else None
    first = next((event for event in ledger if (event.day - EPOCH.date()).days == utc_day), None)
    is_unread = position is None or EntryId.of(entry_id) > position.last_id
    if first is None:
        return Sighting(stream, entry_id, "unread" if is_unread else "unknown")
    return Sighting(stream, entry_id, "unread" if is_unread else "repeat", first.entry_id, first.shard)


def _shard_of(stream: str) -> int:
    """The number that the ledger keeps of a stream, whatever the number of shards was."""
    numbered = _of_shard(stream)
    return int(numbered[1]) if numbered else 0


@contextmanager
def _one_moment(connection: Connection) -> Iterator[None]:
    """A transaction whose statements all see the same: live counting goes on, and a sum must fit to its parts."""
    connection.isolation_level, connection.read_only = IsolationLevel.REPEATABLE_READ, True
    with postgres_errors(), connection.transaction():
        yield


def _all(connection: Connection, kind: type[Kind], statement: bytes, parameters: dict[str, Any]) -> list[Kind]:
    with postgres_errors(), connection.cursor(row_factory=class_row(kind)) as cursor:
        return cursor.execute(statement, parameters).fetchall()
