"""From daily rows to what a reading says. Pure."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from math import floor
from typing import NamedTuple

from msgspec.structs import replace

from worker.reading.period import DAY, Asked, Span, step_of, steps
from worker.reading.shape import (
    ContactType,
    ContactTypes,
    Dates,
    Freshness,
    Funnel,
    Loss,
    Metric,
    Metrics,
    Period,
    Point,
    Reading,
    Source,
    SourceName,
    Trend,
)

EXACT_UP_TO = 1_536
"""Visitors that a sketch holds one by one: up to there a merged one is exact for all that matters, see `LG_K`."""

MOST_CONTACT_TYPES = 10
"""What a contact type is called, whoever sends it decides: there could be any number of them."""


class Day(NamedTuple):
    """The numbers of a daily row, or the sums of several."""

    profile_views: int = 0
    contact_views: int = 0
    requests: int = 0
    orders: int = 0
    reviews: int = 0
    catalog: int = 0
    """This and the next ones: profile views by source."""
    search: int = 0
    direct: int = 0
    other: int = 0


NUMBERS = Day._fields[:5]
OUTCOMES = NUMBERS[2:]
WIDTH = len(Day._fields)


class DailyRows(NamedTuple):
    """Daily rows of a specialist, the oldest first. Of a year and the one before there are 730, so their numbers are in
    one long list, and are added up without an object for each.
    """

    dates: Sequence[date]
    numbers: Sequence[int]
    """`WIDTH` of each date, in the order of `Day`."""

    def of(self, span: Span) -> "DailyRows":
        """Those of some days."""
        first, end = _between(self.dates, span)
        return DailyRows(self.dates[first:end], self.numbers[WIDTH * first : WIDTH * end])

    def by(self, pieces: Iterable[Span]) -> Iterator["DailyRows"]:
        """Those of each piece, of which one comes after the other."""
        end = 0
        for piece in pieces:
            first = bisect_left(self.dates, piece.first, end)
            end = bisect_right(self.dates, piece.last, first)
            yield DailyRows(self.dates[first:end], self.numbers[WIDTH * first : WIDTH * end])

    def total(self) -> Day:
        """Their sums."""
        if len(self.numbers) <= WIDTH:
            return Day(*self.numbers)
        return Day(*[sum(self.numbers[column::WIDTH]) for column in range(WIDTH)])

    def viewed(self) -> list[date]:
        """The dates that have views."""
        views = zip(self.dates, self.numbers[0::WIDTH], self.numbers[1::WIDTH], strict=True)
        return [day for day, profile_views, contact_views in views if profile_views or contact_views]


NO_ROWS = DailyRows((), ())


class Facts(NamedTuple):
    """What is known about the counting itself, and about the specialist."""

    first_day: date | None
    """Of the specialist's daily rows."""
    counting_since: date | None
    """The first day of all specialists' views."""
    ledger_since: date | None
    """The first day whose single events are all kept."""
    complete_through: date | None


class DailyVisitors(NamedTuple):
    """The different visitors of days of which any is known, the oldest first, as `worker.daily.visitors` keeps them."""

    dates: Sequence[date]
    numbers: Sequence[int]
    sketches: Sequence[bytes]

    def of(self, span: Span) -> "DailyVisitors":
        """Those of some days."""
        first, end = _between(self.dates, span)
        return DailyVisitors(self.dates[first:end], self.numbers[first:end], self.sketches[first:end])

    def on(self, day: date) -> int | None:
        """How many there were; None: not known."""
        at = bisect_left(self.dates, day)
        return self.numbers[at] if at < len(self.dates) and self.dates[at] == day else None


def _between(dates: Sequence[date], span: Span) -> tuple[int, int]:
    """Which of the dates, in order, are in the span: from the first of these numbers to before the second."""
    first = bisect_left(dates, span.first)
    return first, bisect_right(dates, span.last, first)


class Visitors(NamedTuple):
    """The different visitors of some days."""

    number: int
    estimated: bool
    unknown: Sequence[date]
    """Days with views of which no visitor is known."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was read about a specialist."""

    specialist: str
    time_zone: str
    facts: Facts
    days: DailyRows
    """Those of the period and of the one before, at least."""
    contact_types: Sequence[tuple[str | None, int]]
    losses: Sequence[Loss]
    visitors: DailyVisitors
    """Those of the same days."""
    merged: Callable[[Sequence[bytes]], int]
    """How many visitors some sketches are of: `worker.daily.visitors.merged`, which this pure module cannot ask."""
    as_of: datetime | None


def reading(asked: Asked, found: Found) -> Reading:
    """Everything about the period that was asked for."""
    span = asked.span(found.facts.first_day)
    before = span.before if asked.first else None
    total = found.days.of(span).total()
    metrics = _metrics(span, before, total, found, asked.today)
    return Reading(
        specialist=found.specialist,
        time_zone=found.time_zone,
        period=Period(
            name=asked.name,
            first=span.first,
            last=span.last,
            days=span.days,
            last_is_open=span.last == asked.today,
            before=Dates(first=before.first, last=before.last) if before else None,
        ),
        metrics=metrics,
        trend=trend(span, found),
        funnel=_funnel(metrics),
        sources=sources(total),
        contact_types=_contact_types(span, found),
        freshness=Freshness(
            as_of=found.as_of,
            complete_through=found.facts.complete_through,
            counting_since=found.facts.counting_since,
            losses=tuple(found.losses),
            estimated=metrics.visitors.estimated,
        ),
    )


def _metrics(span: Span, before: Span | None, total: Day, found: Found, today: date) -> Metrics:
    total_before = found.days.of(before).total() if before else Day()
    views, outcomes = (
        (count(span, found), count(before, found) if before else 0) for count in (_days_of_views, _days_of_outcomes)
    )

    def of(name: str) -> Metric:
        days, days_before = outcomes if name in OUTCOMES else views
        value = getattr(total, name) if days else None
        earlier = getattr(total_before, name) if days_before else None
        if value is None:
            return Metric(value=None, before=earlier, change=None)
        if before and earlier is None:
            return Metric(value=value, before=None, change=None, without_change="not_counted")
        return metric(value, earlier, before is None or days_before == before.days)

    return Metrics(
        **{name: of(name) for name in NUMBERS},
        visitors=_visitors(span, before, found, before is None or views[1] == before.days, today),
    )


def metric(value: int, before: int | None, before_is_counted: bool) -> Metric:
    """A number and what became of it since.

    Args:
        value: of the period.
        before: of the period before; None: there is none.
        before_is_counted: whether all that happened then is in that number.
    """
    if before is None:
        return Metric(value=value, before=None, change=None, without_change="no_period_before")
    if not before_is_counted:
        return Metric(value=value, before=before, change=None, without_change="not_counted")
    if value and not before:
        return Metric(value=value, before=before, change=None, without_change="new")
    return Metric(value=value, before=before, change=change(value, before))


def change(value: int, before: int) -> float:
    """By how many percent it is more than before, with one decimal and halves rounded up; 0 if both are 0."""
    return conversion_rate(value - before, before)


def conversion_rate(part: int, whole: int) -> float:
    """What `analytics.conversion_rate` says; the numbers of several days may be too large for that one."""
    return floor(1000 * part / whole + 0.5) / 10 if whole else 0.0


def _visitors(span: Span, before: Span | None, found: Found, views_counted: bool, today: date) -> Metric:
    value, earlier = visitors_of(span, found), visitors_of(before, found) if before else None
    if value is None:
        return Metric(value=None, before=earlier.number if earlier else None, change=None)
    partial = any(day != today for day in value.unknown)  # those of today are known a minute later
    if before and earlier is None:
        known = Metric(value=value.number, before=None, change=None, without_change="not_counted")
    else:
        counted = views_counted and not partial and earlier is not None and not earlier.unknown
        known = metric(value.number, earlier.number if earlier else None, counted)
    estimated = value.estimated or bool(earlier and earlier.estimated)
    return replace(known, estimated=estimated, partial=partial)


def visitors_of(span: Span, found: Found) -> Visitors | None:
    """How many different people there were on some days: never the sum of the days, for who came on two is one.

    Returns:
        None if there were views, but nobody knows whose, or if nobody counted.
    """
    known, rows = found.visitors.of(span), found.days.of(span)
    unknown = _unknown(rows, known)
    if not known.dates and (unknown or not _days_of_views(span, found)):
        return None
    if len(known.dates) == 1:
        return Visitors(known.numbers[0], False, unknown)
    number = found.merged(known.sketches) if known.dates else 0
    return Visitors(number, number > EXACT_UP_TO, unknown)


def _unknown(rows: DailyRows, known: DailyVisitors) -> list[date]:
    """The days with views of which no visitor is known."""
    if rows.dates == known.dates:  # as good as always: nothing to look through
        return []
    dates = frozenset(known.dates)
    return [day for day in rows.viewed() if day not in dates]


def trend(span: Span, found: Found) -> Trend:
    """The days of the period, one by one or gathered."""
    step = step_of(span)
    pieces = steps(span, step)
    points = [_point(piece, rows, found) for piece, rows in zip(pieces, found.days.by(pieces), strict=True)]
    return Trend(step, tuple(points))


def _point(piece: Span, rows: DailyRows, found: Found) -> Point:
    """What is not counted is None: there may be outcomes of days whose views nobody counted."""
    counted_days, visitors = _days_of_views(piece, found), None
    total = rows.total()
    views_counted, outcomes_counted = bool(counted_days), bool(counted_days or rows.dates)
    if counted_days and piece.first == piece.last:  # what `visitors_of` says of a single day
        visitors = found.visitors.on(piece.first)
        if visitors is None and not (total.profile_views or total.contact_views):
            visitors = 0
    return Point(
        first=piece.first,
        last=piece.last,
        counted_days=counted_days,
        profile_views=total.profile_views if views_counted else None,
        contact_views=total.contact_views if views_counted else None,
        requests=total.requests if outcomes_counted else None,
        orders=total.orders if outcomes_counted else None,
        reviews=total.reviews if outcomes_counted else None,
        visitors=visitors,
    )


def _days_of_views(span: Span, found: Found) -> int:
    """On how many days views were counted, so that one without had none: on all since the counting began, and before
    on those whose row has some.
    """
    days, rows_before = _counted(span, found)
    return days + len(rows_before.viewed()) if rows_before.dates else days


def _days_of_outcomes(span: Span, found: Found) -> int:
    """The same of outcomes, which can be counted for days long before: then these have a row."""
    days, rows_before = _counted(span, found)
    return days + len(rows_before.dates)


def _counted(span: Span, found: Found) -> tuple[int, DailyRows]:
    """How many days there are since the counting began, and the rows of those before."""
    since = found.facts.counting_since
    if since and since <= span.first:
        return span.days, NO_ROWS
    if since is None or since > span.last:
        return 0, found.days.of(span)
    return (span.last - since).days + 1, found.days.of(Span(span.first, since - DAY))


def _funnel(metrics: Metrics) -> Funnel:
    views, contacts, requests, orders = (
        each.value for each in (metrics.profile_views, metrics.contact_views, metrics.requests, metrics.orders)
    )

    def rate(part: int | None, whole: int | None) -> float:
        return conversion_rate(part or 0, whole or 0)

    return Funnel(
        profile_views=views,
        contact_views=contacts,
        requests=requests,
        orders=orders,
        profile_to_contact=rate(contacts, views),
        contact_to_request=rate(requests, contacts),
        request_to_order=rate(orders, requests),
    )


def sources(total: Day) -> tuple[Source, ...]:
    """Profile views by source. What the rows leave out of their views came from elsewhere, and is `other`."""
    named: dict[SourceName, int] = {"catalog": total.catalog, "search": total.search, "direct": total.direct}
    named["other"] = max(total.other, total.profile_views - sum(named.values()))
    return tuple(
        Source(source, views, share)
        for (source, views), share in zip(named.items(), shares(list(named.values())), strict=True)
    )


def shares(counts: Sequence[int]) -> list[int]:
    """Whole percents that add up to 100: rounded down, and what is left goes to the largest remainders (Hamilton).

    Args:
        counts: none is negative. Of equal remainders the larger count goes first, then the earlier one. If all are 0,
            so are the shares.
    """
    whole = sum(counts)
    if not whole:
        return [0] * len(counts)
    rounded = [100 * count // whole for count in counts]
    by_remainder = sorted(range(len(counts)), key=lambda i: (-(100 * counts[i] % whole), -counts[i]))
    for i in by_remainder[: 100 - sum(rounded)]:
        rounded[i] += 1
    return rounded


def _contact_types(span: Span, found: Found) -> ContactTypes | None:
    since = found.facts.ledger_since
    if since is None or since > span.last:
        return None
    counts = dict(found.contact_types)
    unnamed = counts.pop(None, 0)
    ranked = sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))
    kept, rarer = ranked[: MOST_CONTACT_TYPES - 1], ranked[MOST_CONTACT_TYPES - 1 :]
    rest = unnamed + sum(views for _, views in rarer)
    listed = [*kept, *([(None, rest)] if rest else [])]
    types = zip(listed, shares([views for _, views in listed]), strict=True)
    return ContactTypes(
        first=max(since, span.first),
        last=span.last,
        types=tuple(ContactType(kind, views, share) for (kind, views), share in types),
    )
