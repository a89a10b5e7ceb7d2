"""`replay`: read again what the streams still hold, or send dead letters again. Only what is missing counts."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import redis
from psycopg.rows import class_row, scalar_row
from pydantic import Field, field_validator

from worker import store
from worker.continuity import BEGINNING, LARGEST_SEQ, EntryId, Position
from worker.errors import Stop
from worker.events import DAY_MS, Event, Reason, Rejected
from worker.intake import EPOCH, Intake
from worker.operation import Arguments, JsonObject, Operation, Step
from worker.operations import dead_letters
from worker.operations.dead_letters import Filter
from worker.operations.requests import RequestReason
from worker.operations.run_intake import PORTION_BYTES, PORTION_ENTRIES, Portion, RunIntake, position_name
from worker.original import as_json
from worker.queries import query
from worker.settings import Settings
from worker.store import Connection, connect_postgres, postgres_errors
from worker.stream import FIRST_PAGE_ENTRIES, PAGE_ENTRIES, Entry, StreamReader, connect_redis, next_page_entries

_entry_id = re.compile(r"\d{10,15}-\d{1,20}").fullmatch
"""Ids of Redis begin with 13 digits; with less, 2026-11 would be one too."""


class ReplayArguments(Arguments):
    """Which entries to read again: those between two ids, with both."""

    first: str
    last: str
    shard: int | None = None
    """None: all."""

    @field_validator("first", "last")
    @classmethod
    def _is_an_id(cls, text: str) -> str:
        return str(EntryId.of(text))


def moment_or_id(text: str, option: str, *, is_end: bool) -> EntryId:
    """The entry id that somebody means: one, or a time, at which many entries may have come in.

    Args:
        text: an entry id, or ISO 8601; UTC where it has no offset.
        option: what it is called on the command line.
        is_end: whether the entries of that millisecond are before it.

    Raises:
        Stop: it is neither.
    """
    if _entry_id(text) and (entry_id := EntryId.of(text)).seq <= LARGEST_SEQ:
        return entry_id
    try:
        moment = datetime.fromisoformat(text)
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        ms = (moment - datetime.fromtimestamp(0, UTC)) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        ms = -1
    if ms < 0:
        raise Stop(
            f"{option} {text!r} is neither a time, such as 2026-11-20T14:00 (UTC) or 2026-11-20T14:00+02:00, nor an"
            " entry id, such as 1795183200000-0"
        )
    return EntryId(ms, LARGEST_SEQ if is_end else 0)


@dataclass(frozen=True, slots=True)
class Held:
    """What a stream holds of a range."""

    shard: int
    stream: str
    until: EntryId
    """The live path has read so far, or the range ends there."""
    entries: int
    """Those up to `until`."""
    unread: int
    """Those behind it: the live path's."""
    oldest: EntryId | None
    """Of the whole stream; None: there is nothing in it."""


def survey(settings: Settings, connection: Connection, client: redis.Redis, wanted: ReplayArguments) -> list[Held]:
    """What each stream holds of the range, counted by reading it once.

    Raises:
        Stop: the range is the wrong way round, or there is no such shard.
        Retry: a server is away.
    """
    first, last = EntryId.of(wanted.first), EntryId.of(wanted.last)
    if last < first:
        raise Stop(f"the range ends at {last}, before it begins at {first}: turn them round")
    readers = [
        (shard, StreamReader(client, settings, settings.stream_keys[shard])) for shard in _shards(settings, wanted)
    ]
    return [_held(shard, reader, store.load_position(connection, reader.key), first, last) for shard, reader in readers]


def _shards(settings: Settings, wanted: ReplayArguments) -> Sequence[int]:
    if wanted.shard is None:
        return range(settings.shards)
    if not 0 <= wanted.shard < settings.shards:
        raise Stop(f"there is no shard {wanted.shard}: ANALYTICS_SHARDS is {settings.shards}")
    return (wanted.shard,)


def _held(shard: int, reader: StreamReader, position: Position | None, first: EntryId, last: EntryId) -> Held:
    facts = reader.read(BEGINNING, count=1).facts
    until = min(last, position.last_id) if position else BEGINNING
    end = min(last, facts.last_generated)  # more may come in meanwhile
    entries = sum(len(page) for page in _pages(reader, _before(first), until))
    unread = sum(len(page) for page in _pages(reader, max(until, _before(first)), end))
    return Held(shard, reader.key, until, entries, unread, facts.first)


def _before(first: EntryId) -> EntryId:
    return first.before if first > BEGINNING else BEGINNING


def _pages(reader: StreamReader, after: EntryId, until: EntryId) -> Iterator[Sequence[Entry]]:
    entries = FIRST_PAGE_ENTRIES
    while page := reader.between(after, until, entries) if after < until else ():
        yield page
        entries = next_page_entries(entries, page)
        after = EntryId.of(page[-1][0].decode())


def read_entries(
    reader: StreamReader, after: EntryId, until: EntryId, cut_at: EntryId = BEGINNING
) -> Iterator[Portion]:
    """What the stream holds behind `after` up to `until`, in portions, none of them across `cut_at`."""
    for begin, end in ((after, min(cut_at, until)), (max(after, cut_at), until)):
        gathered: list[Entry] = []
        size = 0
        for page in _pages(reader, begin, end):
            gathered += page
            size += sum(sum(map(len, fields)) for _, fields in page)
            if len(gathered) + PAGE_ENTRIES > PORTION_ENTRIES or size >= PORTION_BYTES:
                yield Portion(gathered, EntryId.of(gathered[-1][0].decode()))
                gathered, size = [], 0
        if gathered:
            yield Portion(gathered, EntryId.of(gathered[-1][0].decode()))


def replay_steps(settings: Settings, run: int, arguments: ReplayArguments, cursor: JsonObject) -> Iterator[Step]:
    """Count what is missing of the range, shard after shard, some thousand entries a step.

    What the live path has not read when the run begins is left to it. The position says what is counted, the cursor
    where to read on. It can be behind, as it is stored later: what lies between is read again and not counted.

    Raises:
        Stop: there is no such shard (any more).
        Conflict, Retry: see `RunIntake.count`.
    """
    with ExitStack() as resources:
        client = resources.enter_context(connect_redis(settings))
        intake = RunIntake(settings, run, resources)
        held: dict[str, Any] = cursor.get("held") or {
            str(each.shard): {"until": str(each.until), "entries": each.entries}
            for each in survey(settings, intake.lookup, client, arguments)
        }
        after = {str(shard): str(_before(EntryId.of(arguments.first))) for shard in _shards(settings, arguments)}
        after |= cursor.get("after", {})
        names = {shard: position_name(run, int(shard)) for shard in held}
        total = sum(each["entries"] for each in held.values())

        def step(*, is_last: bool = False) -> Step:
            books = intake.books(*names.values())
            gone = {"gone": max(0, total - books.read)} if is_last else {}  # trimmed or deleted since the run began
            return Step(
                done=books.read,
                total=total,
                cursor={"held": held, "after": dict(after)},
                result=books._asdict() | gone,
            )

        if not cursor:
            yield step()
        for shard, each in held.items():
            stream = settings.stream_keys[int(shard)]
            position = intake.position(names[shard], EntryId.of(after[shard]))
            reader = StreamReader(client, settings, stream)
            portions = read_entries(reader, EntryId.of(after[shard]), EntryId.of(each["until"]), position.last_id)
            for portion in intake.count(position, stream, int(shard), portions):
                after[shard] = str(portion.last_id)
                yield step()
        yield step(is_last=True)


REPLAY = Operation("replay", "entries", ReplayArguments, replay_steps)


@dataclass
class Forecast:
    """What a replay would do."""

    counted: Counter[date] = field(default_factory=Counter)
    excluded: Counter[date] = field(default_factory=Counter)
    repeats: Counter[date] = field(default_factory=Counter)
    """Events that the ledger has, or that come earlier in the range."""
    new_letters: Counter[Reason] = field(default_factory=Counter)
    known_letters: Counter[Reason] = field(default_factory=Counter)


def forecast(
    settings: Settings, connection: Connection, client: redis.Redis, wanted: ReplayArguments, held: Sequence[Held]
) -> Forecast:
    """Read the range and ask what of it is missing; changes nothing.

    Raises:
        Retry: a server is away.
    """
    found, zone, coming = Forecast(), ZoneInfo(settings.time_zone), set()
    intake = Intake(settings, connection)
    for each in held:
        reader = StreamReader(client, settings, each.stream)
        for portion in read_entries(reader, _before(EntryId.of(wanted.first)), each.until):
            events, rejected = intake.parse(portion.entries)
            missing = _missing(connection, events)
            for number, event in enumerate(events):
                date_of = datetime.fromtimestamp(event.occurred_ms / 1000, zone).date()
                key = event.occurred_ms // DAY_MS, event.event_id.lower()
                if number not in missing or key in coming:
                    found.repeats[date_of] += 1
                else:
                    coming.add(key)
                    (found.excluded if event.excluded else found.counted)[date_of] += 1
            known = _known(connection, each.stream, rejected)
            for number, bad in enumerate(rejected):
                (found.known_letters if number in known else found.new_letters)[bad.reason] += 1
    return found


def _missing(connection: Connection, events: Sequence[Event]) -> set[int]:
    """The indices of those that the ledger does not have."""
    asked = {
        "days": [EPOCH + timedelta(days=event.occurred_ms // DAY_MS) for event in events],
        "event_ids": [event.event_id for event in events],
    }
    with postgres_errors(), connection.cursor(row_factory=scalar_row) as cursor:
        return set(cursor.execute(query("find_missing_events"), asked))


def _known(connection: Connection, stream: str, rejected: Sequence[Rejected]) -> set[int]:
    """The indices of those that are dead letters by now."""
    asked = {
        "stream": stream,
        "entry_ids": [bad.entry_id for bad in rejected],
        "fields": [as_json(bad.fields) for bad in rejected],
    }
    with postgres_errors(), connection.cursor(row_factory=scalar_row) as cursor:
        return set(cursor.execute(query("find_known_dead_letters"), asked))


class RequeueArguments(Arguments):
    """Which dead letters to send again: one, or those that are buried, of one reason and time."""

    letter: int | None = Field(None, ge=1, le=2**63 - 1)
    reason: Reason | RequestReason | None = None
    since: datetime | None = None
    until: datetime | None = None


def requeue_steps(settings: Settings, run: int, arguments: RequeueArguments, cursor: JsonObject) -> Iterator[Step]:
    """Send letters into the stream again, a page a step. What is buried again meanwhile is not sent twice.

    Raises:
        Retry: a server is away; those of the last page were perhaps sent, and count once all the same.
    """
    sent, before = cursor.get("sent", 0), cursor.get("before", dead_letters.BEHIND_ALL)
    ids = () if arguments.letter is None else (arguments.letter,)
    wanted = Filter(ids, arguments.reason, arguments.since, arguments.until, before=before)
    with connect_postgres(settings, f"run {run}") as connection, connect_redis(settings) as client:
        if not cursor:
            newest = dead_letters.list_letters(connection, wanted, 1)
            if not newest:
                return
            cursor = {"total": newest[0].left, "before": newest[0].id + 1}
            wanted = replace(wanted, before=cursor["before"])
            yield Step(done=0, total=cursor["total"], cursor=cursor, result={"sent": 0})
        for page in dead_letters.requeue(settings, connection, client, wanted, f"run {run}"):
            sent += page.letters
            yield Step(
                done=sent,
                total=cursor["total"],
                cursor={**cursor, "before": page.before, "sent": sent},
                result={"sent": sent},
            )


REQUEUE = Operation("requeue", "letters", RequeueArguments, requeue_steps)


class Matching(NamedTuple):
    """How many letters of a reason match."""

    reason: str
    letters: int


def count_matching(connection: Connection, wanted: RequeueArguments) -> list[Matching]:
    """How many buried letters would be sent again, by reason; those that were too large are none of them.

    Raises:
        Retry: the server is away.
    """
    with postgres_errors(), connection.cursor(row_factory=class_row(Matching)) as cursor:
        which = {"reason": wanted.reason, "since": wanted.since, "until": wanted.until}
        found = cursor.execute(query("count_matching_dead_letters"), which).fetchall()
    return [each for each in found if each.reason != Reason.ENTRY_TOO_LARGE]
