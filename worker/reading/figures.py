"""From daily rows to what a reading says. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from math import floor
from operator import attrgetter
from typing import NamedTuple

from worker.reading.period import Asked, Span, step_of, steps
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
    Trend,
)

EXACT_UP_TO = 1_536
"""Visitors that a sketch holds one by one: up to there a merged one is exact for all that matters, see `LG_K`."""

MOST_CONTACT_TYPES = 10
"""What a contact type is called, whoever sends it decides: there could be any number of them."""


class Day(NamedTuple):
    """A daily row of a specialist."""

    date: date
    profile_views: int
    contact_views: int
    requests: int
    orders: int
    reviews: int


NUMBERS = Day._fields[1:]
OUTCOMES = NUMBERS[2:]


class Sources(NamedTuple):
    """Profile views of some days by source. What the daily rows leave out of the views came from elsewhere."""

    profile_views: int
    catalog: int
    search: int
    direct: int
    other: int


class Facts(NamedTuple):
    """What is known about the counting itself, and about the specialist."""

    first_day: date | None
    """Of the specialist's daily rows."""
    counting_since: date | None
    """The first day of all specialists' views."""
    ledger_since: date | None
    """The first day whose single events are all kept."""
    complete_through: date | None


class Visited(NamedTuple):
    """The different visitors of a day, as `worker.daily.visitors` keeps them."""

    number: int
    sketch: bytes


class Visitors(NamedTuple):
    """The different visitors of some days."""

    number: int
    estimated: bool
    unknown: Sequence[date]
    """Days with views of which no visitor is known."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was read about a specialist, of one moment."""

    specialist: str
    time_zone: str
    facts: Facts
    days: Mapping[date, Day]
    """Those of the period and of the one before that have a row."""
    sources: Sources
    """Of the period."""
    contact_types: Sequence[tuple[str | None, int]]
    losses: Sequence[Loss]
    visitors: Mapping[date, Visited]
    """Those of the same days, as far as any are known."""
    merged: Callable[[Sequence[bytes]], int]
    """How many visitors some sketches are of: `worker.daily.visitors.merged`, which this pure module cannot ask."""
    as_of: datetime | None


def reading(asked: Asked, found: Found) -> Reading:
    """Everything about the period that was asked for."""
    span = asked.span(found.facts.first_day)
    before = span.before if asked.first else None
    metrics = _metrics(span, before, found, asked.today)
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
        sources=sources(found.sources),
        contact_types=_contact_types(span, found),
        freshness=Freshness(
            as_of=found.as_of,
            complete_through=found.facts.complete_through,
            counting_since=found.facts.counting_since,
            losses=found.losses,
            estimated=metrics.visitors.estimated,
        ),
    )


def _metrics(span: Span, before: Span | None, found: Found, today: date) -> Metrics:
    of_before = list(_dates(before)) if before else []
    views_counted = all(_views_counted(day, found) for day in of_before)
    outcomes_counted = all(_outcomes_counted(day, found) for day in of_before)
    rows, rows_before = _rows(span, found), _rows(before, found) if before else []
    of_span = list(_dates(span))

    def of(name: str, counted: bool) -> Metric:
        is_counted = _outcomes_counted if name in OUTCOMES else _views_counted
        value, earlier = (
            sum(map(attrgetter(name), its_rows)) if any(is_counted(day, found) for day in days) else None
            for days, its_rows in ((of_span, rows), (of_before, rows_before))
        )
        if value is None:
            return Metric(value=None, before=earlier, change=None)
        if before and earlier is None:
            return Metric(value=value, before=None, change=None, without_change="not_counted")
        return metric(value, earlier, counted)

    return Metrics(
        profile_views=of("profile_views", views_counted),
        contact_views=of("contact_views", views_counted),
        requests=of("requests", outcomes_counted),
        orders=of("orders", outcomes_counted),
        reviews=of("reviews", outcomes_counted),
        visitors=_visitors(span, before, found, views_counted, today),
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
    return known.model_copy(update={"estimated": estimated, "partial": partial})


def visitors_of(span: Span, found: Found) -> Visitors | None:
    """How many different people there were on some days: never the sum of the days, for who came on two is one.

    Returns:
        None if there were views, but nobody knows whose, or if nobody counted.
    """
    known = [found.visitors[day] for day in _dates(span) if day in found.visitors]
    viewed = [day.date for day in _rows(span, found) if day.profile_views or day.contact_views]
    if not known and (viewed or not any(_views_counted(day, found) for day in _dates(span))):
        return None
    number = known[0].number if len(known) == 1 else found.merged([day.sketch for day in known]) if known else 0
    return Visitors(
        number, len(known) > 1 and number > EXACT_UP_TO, [day for day in viewed if day not in found.visitors]
    )


def trend(span: Span, found: Found) -> Trend:
    """The days of the period, one by one or gathered."""
    step = step_of(span)
    return Trend(step=step, points=[_point(piece, found) for piece in steps(span, step)])


def _point(piece: Span, found: Found) -> Point:
    """What is not counted is None: there may be outcomes of days whose views nobody counted."""
    rows = _rows(piece, found)
    counted_days = sum(_views_counted(day, found) for day in _dates(piece))
    counted = NUMBERS if counted_days else OUTCOMES if rows else ()
    return Point(
        first=piece.first,
        last=piece.last,
        counted_days=counted_days,
        visitors=_visitors_on(piece.first, found) if counted_days and piece.days == 1 else None,
        **{name: sum(map(attrgetter(name), rows)) if name in counted else None for name in NUMBERS},
    )


def _visitors_on(day: date, found: Found) -> int | None:
    """What `visitors_of` says of a single day."""
    known, row = found.visitors.get(day), found.days.get(day)
    viewed = row is not None and (row.profile_views or row.contact_views)
    return known.number if known else None if viewed else 0


def _views_counted(day: date, found: Found) -> bool:
    """Whether a day without views had none: since the counting began, or because its row has some from before."""
    since, row = found.facts.counting_since, found.days.get(day)
    return (since is not None and day >= since) or bool(row and (row.profile_views or row.contact_views))


def _outcomes_counted(day: date, found: Found) -> bool:
    """The same of outcomes, which can be counted for days long before: then these have a row."""
    return day in found.days or _views_counted(day, found)


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


def sources(found: Sources) -> list[Source]:
    """Profile views by source, with what the rows of others have left out under `other`."""
    named = {"catalog": found.catalog, "search": found.search, "direct": found.direct}
    named["other"] = max(found.other, found.profile_views - sum(named.values()))
    return [
        Source.model_validate({"source": source, "views": views, "share": share})
        for (source, views), share in zip(named.items(), shares(list(named.values())), strict=True)
    ]


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
        types=[ContactType(type=kind, views=views, share=share) for (kind, views), share in types],
    )


def _rows(span: Span, found: Found) -> list[Day]:
    return [found.days[day] for day in _dates(span) if day in found.days]


def _dates(span: Span) -> Iterable[date]:
    return map(date.fromordinal, range(span.first.toordinal(), span.last.toordinal() + 1))
