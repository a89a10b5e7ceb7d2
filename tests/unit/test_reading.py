"""What a reading makes of daily rows: periods, changes, shares, and a trend that leaves out no day."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import astuple

from worker.days import MOST_DAYS, local_date
from worker.reading.figures import (
    DailyRows,
    DailyVisitors,
    Day,
    Facts,
    Found,
    change,
    metric,
    reading,
    shares,
    sources,
)
from worker.reading.period import LENGTHS, NoPeriod, PeriodName, Span, parse_period, step_of, steps
from worker.reading.shape import Reading, to_json

TODAY = date(2026, 11, 22)
LONG_AGO = date(2020, 1, 1)
NO_ROWS: Mapping[date, Day] = MappingProxyType({})

days = st.dates(date(1990, 1, 1), date(2060, 12, 31))
counts = st.integers(0, 2**31 - 1)
spans = st.builds(
    lambda first, length: Span(first, first + timedelta(days=length)), days, st.integers(0, MOST_DAYS - 1)
)


class Visited(NamedTuple):
    """The different visitors of a day."""

    number: int
    sketch: bytes


NO_VISITORS: Mapping[date, Visited] = MappingProxyType({})


def daily_rows(rows: Mapping[date, Day]) -> DailyRows:
    """As they are read."""
    in_order = sorted(rows.items())
    return DailyRows([day for day, _ in in_order], [number for _, row in in_order for number in row])


def daily_visitors(visitors: Mapping[date, Visited]) -> DailyVisitors:
    """The same of visitors."""
    in_order = sorted(visitors.items())
    return DailyVisitors(
        [day for day, _ in in_order],
        [each.number for _, each in in_order],
        [each.sketch for _, each in in_order],
    )


def found(rows: Mapping[date, Day] = NO_ROWS, **changes: Any) -> Found:
    facts = Facts(
        first_day=min(rows, default=None),
        counting_since=LONG_AGO,
        ledger_since=LONG_AGO,
        complete_through=None,
    )
    parts: dict[str, Any] = {
        "specialist": "anna",
        "time_zone": "UTC",
        "facts": facts._replace(**{name: changes.pop(name) for name in facts._fields if name in changes}),
        "days": daily_rows(rows),
        "contact_types": [],
        "losses": [],
        "visitors": daily_visitors(changes.pop("visitors", NO_VISITORS)),
        "merged": len,
        "as_of": None,
    }
    return Found(**parts | changes)


def read(period: str, rows: Mapping[date, Day] = NO_ROWS, today: date = TODAY, **changes: Any) -> Reading:
    return reading(parse_period(period, None, None, today), found(rows, **changes))


@given(days, st.sampled_from(sorted(LENGTHS)))
@example(date(2028, 2, 29), PeriodName.YEAR)
@example(date(2028, 3, 1), PeriodName.MONTH)
def test_a_period_and_the_one_before(today: date, name: PeriodName) -> None:
    """A period ends today and has its length, leap day or not; the one before is as long and ends where it begins."""
    span = parse_period(name, None, None, today).span(None)
    assert (span.last, span.days) == (today, LENGTHS[name])
    assert (span.before.last, span.before.days) == (span.first - timedelta(days=1), span.days)


@given(st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)))
@example(datetime(2026, 3, 28, 23, 30, tzinfo=UTC))  # the night that clocks go forward in Berlin
@example(datetime(2026, 10, 25, 0, 30, tzinfo=UTC))  # and back
def test_days_of_a_zone_whose_clocks_are_set(now: datetime) -> None:
    """Where clocks are set, today is the date on the wall, and a week is seven dates and no number of hours."""
    today = local_date(now, "Europe/Berlin")
    asked = parse_period("week", None, None, today)
    assert asked.first == today - timedelta(days=6)
    assert [piece.first for piece in steps(asked.span(None), "day")] == [
        today - timedelta(days=ago) for ago in range(6, -1, -1)
    ]


@given(spans, st.sampled_from(["day", "week", "month"]))
def test_the_trend_covers_exactly_the_range(span: Span, step: Any) -> None:
    """The pieces begin and end with the range, follow each other without a gap, and are whole but for the ends."""
    pieces = steps(span, step)
    assert (pieces[0].first, pieces[-1].last) == span
    assert all(after.first - before.last == timedelta(days=1) for before, after in pairwise(pieces))
    for piece in pieces[1:-1]:
        assert piece.days == {"day": 1, "week": 7}.get(step, piece.days)
        assert step != "month" or (piece.first.day, (piece.last + timedelta(days=1)).day) == (1, 1)


@given(spans)
def test_a_chart_has_no_more_points_than_can_be_seen(span: Span) -> None:
    """However long a range, its trend has at most 125 points."""
    assert len(steps(span, step_of(span))) <= 125


@given(st.lists(counts, min_size=1, max_size=12))
@example([1, 1, 1])
@example([0, 0, 1])
def test_shares_add_up(numbers: list[int]) -> None:
    """Shares add up to exactly 100, each is off by less than one percent, and a larger count has no smaller share."""
    found = shares(numbers)
    whole = sum(numbers)
    assert sum(found) == (100 if whole else 0)
    if whole:
        assert all(abs(share - 100 * number / whole) < 1 for share, number in zip(found, numbers, strict=True))
        ordered = sorted(zip(numbers, found, strict=True))
        assert all(a[1] <= b[1] for a, b in pairwise(ordered) if a[0] < b[0])


def test_shares_of_equals() -> None:
    """What is left over goes to the largest remainder, and of equals to the first."""
    assert shares([1, 1, 1]) == [34, 33, 33]
    assert shares([2, 1, 0, 0]) == [67, 33, 0, 0]
    assert shares([]) == []


@given(counts, st.integers(1, 2**31 - 1))
def test_a_change_can_be_done_by_hand(value: int, before: int) -> None:
    """The change is what both numbers say, to a decimal."""
    assert abs(change(value, before) - 100 * (value - before) / before) <= 0.05 + 1e-6 * abs(change(value, before))
    assert metric(value, before, True).change == change(value, before)


def test_changes_that_are_none() -> None:
    """Of nothing before there is no percentage, and the reason is told; nothing after nothing is no change."""
    assert (change(3, 2), change(1, 3), change(0, 7)) == (50.0, -66.7, -100.0)
    new = metric(5, 0, True)
    assert (new.value, new.before, new.change, new.without_change) == (5, 0, None, "new")
    assert (metric(0, 0, True).change, metric(0, 0, True).without_change) == (0.0, None)
    assert metric(5, 3, False).without_change == "not_counted"
    assert metric(5, None, False).without_change == "no_period_before"


def test_totals() -> None:
    """A period's numbers are the sums of its rows, those of the one before the sums of the rows right before."""
    rows = {TODAY - timedelta(days=ago): Day(10 + ago, 4, 2, 1, 0) for ago in range(20)}
    week = read("week", rows)
    metrics = week.metrics
    assert (metrics.profile_views.value, metrics.profile_views.before) == (sum(range(10, 17)), sum(range(17, 24)))
    assert (metrics.contact_views.value, metrics.contact_views.change) == (28, 0.0)
    funnel = week.funnel
    assert (funnel.profile_views, funnel.contact_views, funnel.requests, funnel.orders) == (91, 28, 14, 7)
    assert (funnel.profile_to_contact, funnel.contact_to_request, funnel.request_to_order) == (30.8, 50.0, 50.0)
    assert sum(point.profile_views or 0 for point in week.trend.points) == funnel.profile_views


@given(st.lists(st.tuples(st.integers(0, 800), counts), max_size=30), st.sampled_from(sorted(PeriodName)))
def test_the_trend_adds_up_to_the_metric(rows: list[tuple[int, int]], period: str) -> None:
    """Whatever the period and its step, the points add up to the number above them."""
    daily = {TODAY - timedelta(days=ago): Day(views, 1, 0, 0, 0) for ago, views in dict(rows).items()}
    said = read(period, daily)
    assert sum(point.profile_views or 0 for point in said.trend.points) == said.metrics.profile_views.value


def test_before_the_counting_nothing_is_zero() -> None:
    """A day before anybody counted has no number, one without views since then is a zero, and no change is made up."""
    since = TODAY - timedelta(days=3)
    week = read("week", {TODAY: Day(5, 1, 0, 0, 0)}, counting_since=since)
    assert [point.profile_views for point in week.trend.points] == [None, None, None, 0, 0, 0, 5]
    assert [point.counted_days for point in week.trend.points] == [0, 0, 0, 1, 1, 1, 1]
    assert [point.requests for point in week.trend.points] == [None, None, None, 0, 0, 0, 0]
    assert week.metrics.profile_views.without_change == "not_counted"


def test_what_was_imported_is_told() -> None:
    """A row from before the counting began is told; one of outcomes alone says nothing of views."""
    old = TODAY - timedelta(days=5)
    rows = {old: Day(7, 0, 0, 0, 0), old + timedelta(days=1): Day(0, 0, 3, 0, 0)}
    points = read("week", rows, counting_since=TODAY).trend.points
    assert [(point.profile_views, point.requests) for point in points[1:3]] == [(7, 0), (None, 3)]


def test_never_counted() -> None:
    """Where nobody has ever counted, no point has a number and the period is there all the same."""
    month = read("month", counting_since=None, ledger_since=None)
    assert {point.profile_views for point in month.trend.points} == {None}
    assert (len(month.trend.points), month.contact_types) == (30, None)


def test_everything_has_nothing_before() -> None:
    """`all` begins with the specialist's first day and is against nothing; without any day it is today."""
    rows = {date(2024, 2, 29): Day(1, 0, 0, 0, 0), TODAY: Day(2, 0, 0, 0, 0)}
    everything = read("all", rows)
    assert (everything.period.first, everything.period.last, everything.period.before) == (
        date(2024, 2, 29),
        TODAY,
        None,
    )
    assert everything.metrics.profile_views.without_change == "no_period_before"
    assert everything.trend.step == "month"
    assert (read("all").period.first, read("all").period.days) == (TODAY, 1)


def test_sources_add_up_to_the_views() -> None:
    """What a row leaves out of its sources came from elsewhere, and the shares are of all views."""
    said = sources(Day(profile_views=10, catalog=5, search=2, direct=0, other=1))
    assert [(each.source, each.views, each.share) for each in said] == [
        ("catalog", 5, 50), ("search", 2, 20), ("direct", 0, 0), ("other", 3, 30),
    ]  # fmt: skip
    assert [each.share for each in sources(Day())] == [0, 0, 0, 0]


def test_contact_types() -> None:
    """The most frequent types come first, any number of rare ones are one line, and shares add up to 100."""
    kinds = [("phone", 50), (None, 3), ("email", 20), *((f"made up {number}", 1) for number in range(1_000))]
    block = read("week", contact_types=kinds).contact_types
    assert block is not None
    assert [kind.type for kind in block.types[:2]] == ["phone", "email"]
    assert (len(block.types), block.types[-1].type) == (10, None)
    assert sum(kind.views for kind in block.types) == 1_073
    assert sum(kind.share for kind in block.types) == 100


def test_contact_types_say_since_when() -> None:
    """Types are told from the day on that the ledger holds, and not at all if it holds none of the period."""
    since = TODAY - timedelta(days=2)
    block = read("week", contact_types=[("phone", 1)], ledger_since=since).contact_types
    assert block is not None and (block.first, block.last) == (since, TODAY)
    assert read("week", ledger_since=TODAY + timedelta(days=1)).contact_types is None


def test_visitors() -> None:
    """Visitors of a period are merged, never added up; a day has its own number, and an estimate is called one."""
    rows = {TODAY - timedelta(days=ago): Day(5, 0, 0, 0, 0) for ago in range(14)}
    visitors = {day: Visited(3, str(day).encode()) for day in rows}
    week = read("week", rows, visitors=visitors, merged=len)
    metric = week.metrics.visitors
    assert (metric.value, metric.before, metric.change, metric.estimated) == (7, 7, 0.0, False)
    assert [point.visitors for point in week.trend.points] == [3] * 7
    assert read("day", rows, visitors=visitors).metrics.visitors.value == 3
    many = read("week", rows, visitors=visitors, merged=lambda sketches: 1_000 * len(sketches))
    assert (many.metrics.visitors.estimated, many.freshness.estimated) == (True, True)


def test_visitors_who_are_not_known() -> None:
    """Where there were views and nobody knows whose, the visitors are not known and not zero; without views they
    are zero. Nothing is compared with a time of which a part is not known.
    """
    rows = {TODAY - timedelta(days=ago): Day(5, 0, 0, 0, 0) for ago in (0, 1, 8, 9)}
    known = {day: Visited(2, b"") for day in (TODAY, TODAY - timedelta(days=8))}
    assert read("week", rows).metrics.visitors.value is None
    assert read("week").metrics.visitors.value == 0
    part = read("week", rows, visitors=known).metrics.visitors
    assert (part.value, part.before, part.change, part.without_change, part.partial) == (
        2, 2, None, "not_counted", True,
    )  # fmt: skip
    whole_then = known | {day - timedelta(days=7): Visited(2, b"") for day in (TODAY, TODAY - timedelta(days=2))}
    assert read("week", rows, visitors=whole_then).metrics.visitors.change is None
    just_come = read("week", rows, visitors={day: Visited(2, b"") for day in rows if day != TODAY}).metrics.visitors
    assert (just_come.partial, just_come.change) == (False, 0.0)  # today's are counted once a minute
    of_today = {TODAY: Visited(2, b"")}
    new = read("week", rows, visitors=of_today).metrics.visitors
    assert (new.value, new.before, new.change, new.without_change) == (2, None, None, "not_counted")
    assert read("all", rows, visitors=of_today).metrics.visitors.without_change == "no_period_before"
    assert [point.visitors for point in read("week", rows, visitors=known).trend.points[-2:]] == [None, 2]
    unknown_then = read("week", rows, visitors={TODAY: Visited(2, b"")}).metrics.visitors
    assert (unknown_then.value, unknown_then.before, unknown_then.without_change) == (2, None, "not_counted")


def test_what_nobody_counted_has_no_number() -> None:
    """A period of which no day was counted has no numbers, and none is 0: neither now nor before. Outcomes that were
    counted for a day have theirs.
    """
    since = TODAY - timedelta(days=6)
    new = read("week", {TODAY: Day(5, 1, 0, 0, 0)}, counting_since=since)
    assert (new.metrics.profile_views.value, new.metrics.profile_views.before) == (5, None)
    assert new.metrics.profile_views.without_change == "not_counted"
    never = read("week", counting_since=None)
    assert [metric.value for metric in astuple(never.metrics)] == [None] * 6
    assert [*astuple(never.funnel)] == [None] * 4 + [0.0] * 3
    outcomes = read("week", {TODAY: Day(0, 0, 3, 1, 0)}, counting_since=None)
    assert [metric.value for metric in astuple(outcomes.metrics)] == [None, None, 3, 1, 0, None]
    assert (outcomes.funnel.contact_to_request, outcomes.funnel.request_to_order) == (0.0, 33.3)


def test_ranges() -> None:
    """A range is what it says, one without an end goes on until today, and so does one that ends in the future."""
    span = parse_period(None, "2026-11-01", "2026-11-10", TODAY).span(None)
    assert span == (date(2026, 11, 1), date(2026, 11, 10))
    assert parse_period(None, "2026-11-01", None, TODAY).last == TODAY
    assert parse_period(None, "2026-11-01", "2026-11-30", TODAY).last == TODAY
    assert parse_period(None, "2028-02-29", "2028-02-29", date(2030, 1, 1)).span(None).before == (
        date(2028, 2, 28), date(2028, 2, 28),
    )  # fmt: skip


HOSTILE = '\'; DROP TABLE "Order"; --'


@pytest.mark.parametrize(
    "period, first, last, why",
    [
        ("fortnight", None, None, "^period: 'fortnight' is no period: one of day, week, month, quarter, year, all"),
        ("", "", None, "^period, from: a period and a range exclude each other"),
        ("DAY", None, None, "^period: 'DAY' is no period"),
        (HOSTILE, None, None, "is no period"),
        ("<script>" * 100, None, None, "…' is no period"),
        ("\x1b[2J", None, None, r"'\\x1b\[2J' is no period"),
        ("week", "2026-11-01", None, "^period, from: a period"),
        ("week", None, "2026-11-01", "^period, to: a period"),
        (None, None, "2026-11-01", "^from: a range needs its first day"),
        (None, "2026-02-29", None, "^from: '2026-02-29' is no date: write it as 2026-11-10"),
        (None, "20261110", None, "is no date"),
        (None, "2026-W46-2", None, "is no date"),
        (None, "\u0662026-11-10", None, "is no date"),  # a digit, but not one of ours
        (None, HOSTILE, None, "is no date"),
        (None, "2026-11-10", "<b>", "^to: '<b>' is no date"),
        (None, "2026-11-10", "2026-11-09", "^from, to: .* comes before"),
        (None, "1980-01-01", "2079-12-31", "^from, to: .* ask for at most 3660 days"),
        (None, "1926-01-01", "2026-01-01", "^from: 1926-01-01 is before 1970-01-01"),
        (None, "0001-01-01", "0001-01-02", "is before 1970-01-01"),
        (None, "2026-11-23", "2026-11-24", "^from: 2026-11-23 has not come yet"),
        (None, "9999-12-31", "9999-12-31", "has not come yet"),
    ],
)
def test_no_period(period: str | None, first: str | None, last: str | None, why: str) -> None:
    """What is no period is refused in one short line that says which parameter is wrong and why, whatever was typed."""
    with pytest.raises(NoPeriod, match=why) as refused:
        parse_period(period, first, last, TODAY)
    assert len(str(refused.value)) < 150 and str(refused.value).isprintable()


@given(*[st.none() | st.text(max_size=20)] * 3)
def test_anything_typed(period: str | None, first: str | None, last: str | None) -> None:
    """Whatever is asked for, it is a period or it is refused as none."""
    try:
        asked = parse_period(period, first, last, TODAY)
    except NoPeriod:
        return
    assert asked.last <= TODAY


def test_json_is_what_the_site_reads() -> None:
    """The JSON has the names that the site has, in camelCase, and reads back as the same."""
    week = read("week", {TODAY: Day(5, 1, 0, 0, 0)}, as_of=datetime(2026, 11, 22, 14, 3, tzinfo=UTC))
    text = to_json(week)
    document = json.loads(text)
    assert list(document) == [
        "specialist", "timeZone", "period", "metrics", "trend", "funnel", "sources", "contactTypes", "freshness",
    ]  # fmt: skip
    assert document["period"] == {
        "first": "2026-11-16",
        "last": "2026-11-22",
        "name": "week",
        "days": 7,
        "lastIsOpen": True,
        "before": {"first": "2026-11-09", "last": "2026-11-15"},
    }
    assert document["metrics"]["profileViews"] == {
        "value": 5, "before": 0, "change": None, "withoutChange": "new", "estimated": False, "partial": False,
    }  # fmt: skip
    assert document["trend"]["points"][-1] == {
        "first": "2026-11-22", "last": "2026-11-22", "countedDays": 1,
        "profileViews": 5, "contactViews": 1, "requests": 0, "orders": 0, "reviews": 0, "visitors": None,
    }  # fmt: skip
    assert document["freshness"]["asOf"] == "2026-11-22T14:03:00Z"
    assert msgspec.json.decode(text, type=Reading) == week
