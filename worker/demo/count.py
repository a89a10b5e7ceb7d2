"""A straight count of what the demo sent, in plain Python: no batches, no ledger, no SQL. Pure."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from math import floor
from typing import NamedTuple

from worker.events import Event, Reason, Rules, parse
from worker.producer import Fields, encoded

EPOCH = datetime.fromtimestamp(0, UTC)
SHOWN = 10


class Key(NamedTuple):
    """Whose row, and of which day."""

    specialist: str
    date: date


class Row(NamedTuple):
    """What of a daily row comes from events."""

    profile_views: int
    contact_views: int
    sources: tuple[tuple[str, int], ...]
    rate: float
    """Contact views in a hundred profile views, with one decimal."""

    @classmethod
    def of(cls, profile_views: int, contact_views: int, sources: Mapping[str, int]) -> "Row":
        """A row, with the rate that belongs to it."""
        rate = floor(1000 * contact_views / profile_views + 0.5) / 10 if profile_views else 0.0
        return cls(profile_views, contact_views, tuple(sorted(sources.items())), rate)


@dataclass(frozen=True)
class Books:
    """What became of the entries."""

    counted: int
    duplicates: int
    excluded: int
    dead: Mapping[str, int]
    """Dead letters by reason."""

    @property
    def read(self) -> int:
        """The sum, which must be all that was sent."""
        return self.counted + self.duplicates + self.excluded + sum(self.dead.values())


@dataclass(frozen=True)
class Count:
    """The daily table and the books: as counted here, or as found in the database."""

    rows: Mapping[Key, Row]
    books: Books

    @property
    def views(self) -> tuple[int, int]:
        """Profile views and contact views of all rows."""
        return sum(row.profile_views for row in self.rows.values()), sum(
            row.contact_views for row in self.rows.values()
        )


@dataclass
class _Sums:
    profile: int = 0
    contact: int = 0
    sources: dict[str, int] = field(default_factory=lambda: dict.fromkeys(("catalog", "search", "direct", "other"), 0))


def straight_count(
    sent: Iterable[tuple[bytes, Fields]], specialists: Collection[str], rules: Rules, zone: tzinfo
) -> Count:
    """Count the first of each event id that the contract accepts, whose specialist exists, and that is not excluded.

    Args:
        sent: entry ids and fields, in the order of sending.
        specialists: everybody who exists.
        rules: the contract's, as they held then.
        zone: whose midnight divides the days.
    """
    sums: defaultdict[Key, _Sums] = defaultdict(_Sums)
    became: Counter[str] = Counter()
    dead: Counter[str] = Counter()
    seen: set[tuple[date, str]] = set()
    for entry_id, fields in sent:
        verdict = parse(entry_id, [part for pair in encoded(fields).items() for part in pair], rules)
        if not isinstance(verdict, Event):
            dead[verdict.reason] += 1
            continue
        if verdict.specialist_id not in specialists:
            dead[Reason.UNKNOWN_SPECIALIST] += 1
            continue
        moment = EPOCH + timedelta(milliseconds=verdict.occurred_ms)
        event_id = (moment.date(), verdict.event_id.lower())
        if event_id in seen:
            became["duplicate"] += 1
            continue
        seen.add(event_id)
        if verdict.excluded:
            became["excluded"] += 1
            continue
        became["counted"] += 1
        row = sums[Key(verdict.specialist_id, moment.astimezone(zone).date())]
        if verdict.type == "profile_view":
            row.profile += 1
            row.sources[verdict.source] += 1
        else:
            row.contact += 1
    rows = {key: Row.of(row.profile, row.contact, row.sources) for key, row in sums.items()}
    return Count(rows, Books(became["counted"], became["duplicate"], became["excluded"], dead))


def differences(counted: Count, found: Count) -> Iterator[str]:
    """What the database has otherwise than the straight count, a line each; nothing when they are equal."""
    for name in ("counted", "duplicates", "excluded"):
        expected, seen = getattr(counted.books, name), getattr(found.books, name)
        if expected != seen:
            yield f"{name}: {seen:,} in the books, {expected:,} by the straight count"
    for reason in sorted(counted.books.dead.keys() | found.books.dead.keys()):
        expected, seen = counted.books.dead.get(reason, 0), found.books.dead.get(reason, 0)
        if expected != seen:
            yield f"dead letters, {reason}: {seen:,} in the table, {expected:,} by the straight count"
    wrong = [key for key in counted.rows.keys() | found.rows.keys() if counted.rows.get(key) != found.rows.get(key)]
    for key in sorted(wrong)[:SHOWN]:
        seen_row, expected_row = _words(found.rows.get(key)), _words(counted.rows.get(key))
        yield f"{key.specialist} {key.date}: {seen_row}; by the straight count {expected_row}"
    if len(wrong) > SHOWN:
        yield f"… and {len(wrong) - SHOWN:,} more rows"


def _words(row: Row | None) -> str:
    if row is None:
        return "no row"
    sources = " ".join(f"{name} {views}" for name, views in row.sources)
    return f"{row.profile_views} profile views ({sources}), {row.contact_views} contact views, rate {row.rate}"
