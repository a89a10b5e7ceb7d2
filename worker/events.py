"""The event contract, version 1: one stream entry in, an `Event` or a `Rejected` out. Pure: no I/O, no clock."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import blake2b
from typing import NamedTuple

from worker.bots import is_bot

DAY_MS = 86_400_000
FUTURE_MS = 5 * 60_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

TYPES = {b"profile_view": "profile_view", b"contact_view": "contact_view"}
SOURCES = {b"catalog": "catalog", b"search": "search", b"direct": "direct"}

VISITOR_CHARACTERS = 128

# Longest value of each field in bytes (UTF-8). Unknown fields are ignored, however long; a long source is `other`.
LIMITS = {
    b"v": 64,
    b"type": 64,
    b"specialistId": 64,
    b"eventId": 64,
    b"occurredAt": 64,
    b"contactType": 64,
    b"viewerId": 128,
    b"visitorId": 4 * VISITOR_CHARACTERS,
    b"userAgent": 4096,
}
_ALWAYS_ALLOWED = min(LIMITS.values())

ENTRY_FIELDS, ENTRY_BYTES = 1_000, 1_048_576
"""Most fields and bytes of an entry, names and values of unknown fields among them."""

KEPT_FIELDS, KEPT_BYTES = 50, 1_024
"""What a dead letter keeps of an entry that is larger: so many fields, and so much of each name and value."""

specialist_id = re.compile(rb"[A-Za-z0-9_-]{1,64}").fullmatch
"""Matches what can be the id of a specialist."""

_uuid = re.compile(rb"[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}").fullmatch
_with_offset = re.compile(r"T.*(?:Z|[+-]\d{2}:?\d{2})$").search


class Reason(StrEnum):
    """Why an entry became a dead letter: a closed list, part of the contract."""

    ENTRY_TOO_LARGE = "entry_too_large"
    FIELD_TOO_LONG = "field_too_long"
    UNKNOWN_VERSION = "unknown_version"
    MISSING_TYPE = "missing_type"
    UNKNOWN_TYPE = "unknown_type"
    MISSING_SPECIALIST = "missing_specialist"
    BAD_SPECIALIST = "bad_specialist"
    BAD_EVENT_ID = "bad_event_id"
    BAD_TIME = "bad_time"
    TOO_OLD = "too_old"
    IN_THE_FUTURE = "in_the_future"
    BAD_TEXT = "bad_text"
    UNKNOWN_SPECIALIST = "unknown_specialist"


class Event(NamedTuple):
    """An accepted event. A tuple, because a batch has 50,000 of them and goes to PostgreSQL by columns."""

    event_id: str
    occurred_ms: int
    specialist_id: str
    type: str
    source: str
    contact_type: str | None
    visitor: str | None
    """Keyed hash of the visitor, 32 hexadecimal digits."""
    excluded: str | None
    """Why it is kept without being counted: `bot`, `self_view`, or None."""
    entry_id: str


class Rejected(NamedTuple):
    """An entry that cannot be counted, with everything that is needed to look at it and to send it again."""

    entry_id: str
    reason: Reason
    fields: Sequence[bytes]
    """Names and values in turn, as they were in the stream; of an entry that is too large, the beginning."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the contract leaves to settings and to the clock."""

    oldest_ms: int
    newest_ms: int
    exclude_bots: bool
    secret: bytes

    @classmethod
    def at(
        cls, now_ms: int, *, ledger_days: int, exclude_bots: bool, secret: bytes, first_open_day: int = 0
    ) -> "Rules":
        """The rules as they hold at `now_ms` (epoch milliseconds).

        The oldest event accepted is that of the first UTC day whose ledger partition is still kept; `ledger_days=0`
        accepts any age. But never one of a day before `first_open_day` (from 1970-01-01): the ledger is sealed so far,
        and a repeat could not be told from a new event. An empty secret means that no visitor is stored.
        """
        first_kept_day = now_ms // DAY_MS - ledger_days + 1 if ledger_days else 0
        return cls(max(first_kept_day, first_open_day) * DAY_MS, now_ms + FUTURE_MS, exclude_bots, secret)


def parse(entry_id: bytes, fields: Sequence[bytes], rules: Rules) -> Event | Rejected:
    """Read one stream entry: `fields` are names and values in turn. Never raises, whatever the bytes are."""
    verdict = _parse(entry_id, fields, rules)
    if isinstance(verdict, Event):
        return verdict
    kept = beginning(fields) if verdict is Reason.ENTRY_TOO_LARGE else fields
    return Rejected(entry_id.decode("ascii", "replace"), verdict, kept)


def _parse(entry_id: bytes, fields: Sequence[bytes], rules: Rules) -> Event | Reason:  # noqa: PLR0911 - a return for each reason
    longest = max(map(len, fields), default=0)
    if is_too_large(fields, longest):
        return Reason.ENTRY_TOO_LARGE
    parts = iter(fields)
    pairs = dict(zip(parts, parts, strict=False))
    if longest > _ALWAYS_ALLOWED and _over_limit(pairs):
        return Reason.FIELD_TOO_LONG
    get = pairs.get
    if get(b"v", b"1") != b"1":
        return Reason.UNKNOWN_VERSION

    raw_type = get(b"type", b"")
    event_type = TYPES.get(raw_type)
    if event_type is None:
        return Reason.UNKNOWN_TYPE if raw_type else Reason.MISSING_TYPE

    specialist = get(b"specialistId", b"")
    if not specialist_id(specialist):
        return Reason.BAD_SPECIALIST if specialist else Reason.MISSING_SPECIALIST

    raw_id = get(b"eventId")
    if raw_id and not _uuid(raw_id):
        return Reason.BAD_EVENT_ID

    raw_time = get(b"occurredAt") or entry_id.partition(b"-")[0]
    occurred_ms = int(raw_time) if raw_time.isdigit() else _from_iso(raw_time)
    if occurred_ms is None:
        return Reason.BAD_TIME
    if occurred_ms < rules.oldest_ms:
        return Reason.TOO_OLD
    if occurred_ms > rules.newest_ms:
        return Reason.IN_THE_FUTURE

    contact_type, viewer, agent, visitor = get(b"contactType"), get(b"viewerId"), get(b"userAgent"), get(b"visitorId")
    if contact_type and not _storable(contact_type):
        return Reason.BAD_TEXT

    excluded = None
    if viewer == specialist:
        excluded = "self_view"
    elif agent and rules.exclude_bots and is_bot(agent.decode("utf-8", "replace")):
        excluded = "bot"

    return Event(
        raw_id.decode("ascii") if raw_id else derived_id(entry_id, fields),
        occurred_ms,
        specialist.decode("ascii"),
        event_type,
        SOURCES.get(get(b"source") or b"direct", "other"),
        contact_type.decode() if contact_type else None,
        keyed_hash(visitor, rules.secret) if visitor and rules.secret else None,
        excluded,
        entry_id.decode("ascii", "replace"),
    )


def is_too_large(fields: Sequence[bytes], longest: int) -> bool:
    """Whether an entry is larger than any honest one, `longest` being its longest name or value in bytes."""
    return len(fields) > 2 * ENTRY_FIELDS or (
        len(fields) * longest > ENTRY_BYTES and sum(map(len, fields)) > ENTRY_BYTES
    )


def beginning(fields: Sequence[bytes]) -> list[bytes]:
    """The beginning of an entry, and as a last field how large it was."""
    size = b"%d fields, %d bytes" % (len(fields) // 2, sum(map(len, fields)))
    return [*(part[:KEPT_BYTES] for part in fields[: 2 * KEPT_FIELDS]), b"analytics:cut", size]


def _over_limit(pairs: dict[bytes, bytes]) -> bool:
    visitor = pairs.get(b"visitorId", b"")
    if len(visitor) > VISITOR_CHARACTERS and len(visitor.decode("utf-8", "replace")) > VISITOR_CHARACTERS:
        return True
    return any(len(value) > LIMITS[name] for name, value in pairs.items() if name in LIMITS)


def _from_iso(raw: bytes) -> int | None:
    """Epoch milliseconds of ISO 8601 with an offset; None for anything else. Without an offset it would be a guess."""
    try:
        text = raw.decode("ascii")
        # Whole milliseconds, downwards: rounded up, the last moment of a day would count on the next.
        return (datetime.fromisoformat(text) - EPOCH) // timedelta(milliseconds=1) if _with_offset(text) else None
    except (ValueError, OverflowError):
        return None


def derived_id(entry_id: bytes, fields: Sequence[bytes]) -> str:
    """An id for an event that came without one: the same entry gives the same id however often it is read.

    Lengths stand before the parts, so that no two different entries glue to the same bytes.
    """
    parts = (entry_id, *fields)
    digest = blake2b(b"".join(b"%d:%b" % (len(part), part) for part in parts), digest_size=16).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:]}"


def keyed_hash(value: bytes, secret: bytes) -> str:
    """What is stored of a visitor's id: nobody can tell it from the hash, or hash a guess, without the secret."""
    return blake2b(value, key=secret, digest_size=16).hexdigest()


def _storable(raw: bytes) -> bool:
    """Whether PostgreSQL's text can hold it: UTF-8 without a zero byte."""
    try:
        return "\0" not in raw.decode()
    except UnicodeDecodeError:
        return False
