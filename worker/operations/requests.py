"""What the web tier may ask for: one entry of the stream of requests in, a `Request` or a `Refused` out. Pure."""

import re
from collections.abc import Sequence
from datetime import date
from enum import StrEnum
from typing import NamedTuple

from worker.events import beginning, is_too_large, specialist_id

REFRESH_DAYS = 366
"""Most dates of one request: the longest that a page shows is a year."""

_date = re.compile(rb"\d{4}-\d{2}-\d{2}").fullmatch


class RequestReason(StrEnum):
    """Why a request became a dead letter: a closed list. What events have too has the same name."""

    ENTRY_TOO_LARGE = "entry_too_large"
    MISSING_KIND = "missing_kind"
    UNKNOWN_KIND = "unknown_kind"
    MISSING_SPECIALIST = "missing_specialist"
    BAD_SPECIALIST = "bad_specialist"
    BAD_DATE = "bad_date"
    BAD_RANGE = "bad_range"
    RANGE_TOO_LONG = "range_too_long"
    UNKNOWN_SPECIALIST = "unknown_specialist"


class Request(NamedTuple):
    """An accepted request: have one specialist's rows refreshed."""

    entry_id: str
    specialist_id: str
    first: date
    last: date

    @property
    def what(self) -> tuple[str, date, date]:
        """What is asked for, whatever entry asks."""
        return self[1:]


class Refused(NamedTuple):
    """A request that nobody can do, with everything that is needed to look at it and to send it again."""

    entry_id: str
    reason: RequestReason
    fields: Sequence[bytes]
    """Names and values in turn, as they were in the stream; of an entry that is too large, the beginning."""


def parse_request(entry_id: bytes, fields: Sequence[bytes], today: date) -> Request | Refused:
    """Read one entry. Never raises, whatever the bytes are.

    Args:
        entry_id: its id in the stream.
        fields: names and values in turn; unknown names are ignored.
        today: what `to` is if it is missing; `from` is then `to`.
    """
    verdict = _parse(fields, today)
    text_id = entry_id.decode("ascii", "replace")
    if isinstance(verdict, RequestReason):
        too_large = verdict is RequestReason.ENTRY_TOO_LARGE
        return Refused(text_id, verdict, beginning(fields) if too_large else fields)
    return Request(text_id, *verdict)


def _parse(fields: Sequence[bytes], today: date) -> tuple[str, date, date] | RequestReason:  # noqa: PLR0911 - a return for each reason
    if is_too_large(fields, max(map(len, fields), default=0)):
        return RequestReason.ENTRY_TOO_LARGE
    parts = iter(fields)
    get = dict(zip(parts, parts, strict=False)).get

    kind = get(b"kind", b"")
    if kind != b"refresh":
        return RequestReason.UNKNOWN_KIND if kind else RequestReason.MISSING_KIND

    specialist = get(b"specialistId", b"")
    if not specialist_id(specialist):
        return RequestReason.BAD_SPECIALIST if specialist else RequestReason.MISSING_SPECIALIST

    last = _day(get(b"to"), today)
    first = _day(get(b"from"), last or today)
    if first is None or last is None:
        return RequestReason.BAD_DATE
    if first > last:
        return RequestReason.BAD_RANGE
    if (last - first).days >= REFRESH_DAYS:
        return RequestReason.RANGE_TOO_LONG
    return specialist.decode("ascii"), first, last


def _day(raw: bytes | None, otherwise: date) -> date | None:
    """The date, or `otherwise` if none is said; None for one that does not exist, or is not YYYY-MM-DD."""
    if not raw:
        return otherwise
    try:
        return date.fromisoformat(raw.decode("ascii")) if _date(raw) else None
    except ValueError:
        return None
