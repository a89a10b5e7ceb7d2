"""The counters that the site kept in Redis before there were events: what a key and its value say. Pure."""

import re
import sys
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from worker.events import SOURCES
from worker.operation import Problem
from worker.printable import printable

LEGACY_KEYS = "*:view*"
"""A pattern that all of them match, and few others."""

FIRST_DATE = date(2000, 1, 1)
"""Nobody kept such counters before."""

MOST_VIEWS, MOST_TOTAL = 999_999_999, 10**15
"""Of a date, and of all. The daily table's integers end at twice the first, and events are still to be added."""

_KEY = re.compile(r"(profile|contact):view(s?):([^:\0\udc80-\udcff]+)([^\0\udc80-\udcff]*)").fullmatch
"""No NUL, which PostgreSQL does not keep, and no bytes that are no text."""

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}").fullmatch
_NUMBER = re.compile(rb"-?[0-9]{1,40}").fullmatch
_BEGINNINGS = (b"profile:view:", b"profile:views:", b"contact:view:", b"contact:views:")
_LEADERBOARD = b"profile:views:leaderboard"

LONGEST_KEY = 1_000
"""In bytes: parts of a key become a key in PostgreSQL, which has room for 2,700."""


class Counter(NamedTuple):
    """Which views a key counts."""

    date: date
    specialist_id: str
    type: str
    """`profile_view` or `contact_view`."""
    spelling: str
    """Of the source, with the colon before it; empty where the key has none. Different spellings of one source are
    different counters."""


class Total(NamedTuple):
    """Which views of all days a key counts."""

    specialist_id: str
    type: str
    spelling: str
    """Of the contact's type, with the colon before it; empty for all together."""


def parse_key(key: bytes, last: date) -> Counter | Total | Problem | None:
    """What a key counts; None if it is nothing of the legacy, or the leaderboard.

    Args:
        key: as Redis has it.
        last: the last date on which there can have been a view.
    """
    if not key.startswith(_BEGINNINGS) or key == _LEADERBOARD:
        return None
    what = _parse(key.decode("utf-8", "surrogateescape")) if len(key) <= LONGEST_KEY else None
    if what is None:
        return Problem("malformed_key", shown(key))
    if isinstance(what, Counter) and not FIRST_DATE <= what.date <= last:
        return Problem("bad_date", shown(key))
    return what


def _parse(key: str) -> Counter | Total | None:
    match = _KEY(key)
    if match is None:
        return None
    kind, of_all_days, specialist, rest = match.groups()
    type, specialist = f"{kind}_view", sys.intern(specialist)
    if of_all_days:
        return None if rest and kind == "profile" else Total(specialist, type, rest)
    spelling, colon, day = rest.rpartition(":")
    return Counter(_date(day), specialist, type, sys.intern(spelling)) if colon and _DATE(day) else None


@lru_cache(maxsize=10_000)
def source_of(spelling: str) -> str:
    """What a counter's views count under; as with events, a missing source is `direct`."""
    return SOURCES.get(spelling[1:].encode() or b"direct", "other")


@lru_cache(maxsize=10_000)
def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:  # the 30th of February
        return date.min


def parse_value(key: bytes, value: bytes, what: Counter | Total) -> int | Problem:
    """The number of views that a key's value says."""
    if not _NUMBER(value) or (views := int(value)) < 0:
        return Problem("bad_value", shown(key))
    most = MOST_VIEWS if isinstance(what, Counter) else MOST_TOTAL
    return views if views <= most else Problem("too_large", shown(key))


def shown(key: bytes) -> str:
    """A key as a person can read it and PostgreSQL can keep it."""
    return printable(key[:200].decode("utf-8", "backslashreplace"))
