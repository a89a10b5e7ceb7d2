"""From a reading to what stands on the page: every number, date and word as it is shown. Pure; no HTML."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import NamedTuple
from zoneinfo import ZoneInfo

from msgspec.structs import astuple

from worker.reading.figures import EXACT_UP_TO
from worker.reading.period import DAY, Span, Step
from worker.reading.shape import ContactType, Freshness, Funnel, Loss, Metric, Metrics, Point, Reading, Trend
from worker.web.words import Words

METRICS = Metrics.__struct_fields__
"""The six numbers, in their order."""

KNOWN_TYPES = frozenset({"phone", "email", "telegram", "whatsapp", "website"})
"""Contact types whose name we know; another is shown as it was sent."""

LONGEST_TYPE = 40
"""Characters of a contact type that are shown."""

MOST_LOSSES = 5
"""Losses that are listed one by one."""

FRESH = timedelta(minutes=5)
"""How old numbers are still fresh: they come within a second while all goes well."""

SPARK_WIDTH, SPARK_HEIGHT = 100, 28
"""Of a tiny line, in its own units."""


class Chip(NamedTuple):
    """A change, in short."""

    text: str
    kind: str
    """`good`, `bad`, `accent`, or nothing."""


class Card(NamedTuple):
    """One of the six numbers."""

    name: str
    label: str
    value: str | None
    """None: not known, `note` says why."""
    chip: Chip | None
    """None: also where nothing came of nothing, and where nothing comes before."""
    before: str | None
    note: str | None
    spark: str
    """The path of its line, empty where there is none."""


class Column(NamedTuple):
    """A line of the chart, and a column of the table."""

    name: str
    label: str
    drawn: bool
    """Whether the chart begins with it; the others can be put on."""


class Cell(NamedTuple):
    """A number of the table, for eyes and for the chart."""

    value: int | None
    text: str


class Row(NamedTuple):
    """A point of the trend."""

    first: date
    label: str
    tick: str
    """The label, as short as below a chart."""
    note: str | None
    cells: Sequence[Cell]
    """In the order of the columns."""


class Table(NamedTuple):
    """The trend, the newest first."""

    columns: Sequence[Column]
    rows: Sequence[Row]


class Stage(NamedTuple):
    """A step of the funnel."""

    name: str
    label: str
    value: str
    width: float
    """Percent of the longest bar."""
    rate: str | None
    """What came of the step before, in words; None: it is the first."""


class Segment(NamedTuple):
    """A source, or a contact type."""

    name: str | None
    """None: a type that somebody sent."""
    label: str
    views: str
    share: str
    start: float
    width: float
    """Percent; `start` is where those before it end."""


class Notice(NamedTuple):
    """What a person should know first."""

    kind: str
    title: str
    lines: Sequence[str]


@dataclass(frozen=True, slots=True)
class PageView:
    """All that the page shows."""

    heading: str
    days: str
    compared: str | None
    open_day: bool
    as_of: str
    is_fresh: bool
    complete: str
    zone: str
    notices: Sequence[Notice]
    cards: Sequence[Card]
    trend_step: str
    trend: Table
    has_chart: bool
    has_numbers: bool
    """Whether anything was counted on any of the days."""
    viewed: bool
    """Whether views were."""
    funnel: Sequence[Stage]
    """Empty where nothing happened."""
    sources: Sequence[Segment]
    """Empty where nobody came."""
    contact_types: Sequence[Segment]
    contact_types_since: str | None
    estimated: bool
    """Whether a number has an ≈."""
    contact_types_empty: str
    """Why there are none."""


def page_view(reading: Reading, before: Trend | None, words: Words, now: datetime) -> PageView:
    """The page of a reading.

    Args:
        reading: the period that was asked for.
        before: the trend of the period before, if each of its points stands below one of this period's.
        words: the language.
        now: with its zone.
    """
    period, fresh = reading.period, reading.freshness
    zone = ZoneInfo(reading.time_zone)
    today = now.astimezone(zone).date()
    cards = [_card(name, getattr(reading.metrics, name), reading, words) for name in METRICS]
    types = reading.contact_types
    return PageView(
        heading=words(f"heading_{period.name}") if period.name else words.days(period.first, period.last),
        days=words.days(period.first, period.last) if period.name else words.count("days", period.days),
        compared=words("compared", days=words.days(period.before.first, period.before.last)) if period.before else None,
        open_day=period.last_is_open,
        as_of=_as_of(fresh, zone, today, words),
        is_fresh=fresh.as_of is not None and now - fresh.as_of < FRESH,
        complete=(
            words("complete_through", day=words.day(fresh.complete_through))
            if fresh.complete_through
            else words("complete_never")
        ),
        zone=words("time_zone", zone=words.zone(reading.time_zone)),
        notices=list(_notices(reading, words)),
        cards=cards,
        estimated=any("≈" in f"{card.value}{card.before}" for card in cards),
        trend_step=words(f"trend_{reading.trend.step}"),
        trend=_table(reading, before, words),
        has_chart=_drawable(reading.trend),
        has_numbers=any(_counted(reading.trend, name) for name in METRICS),
        viewed=_counted(reading.trend, "profile_views"),
        funnel=list(_funnel(reading.funnel, words)) if any(astuple(reading.funnel)) else [],
        sources=(
            list(
                _segments(
                    [(each.source, words(each.source), each.views, each.share) for each in reading.sources], words
                )
            )
            if any(each.views for each in reading.sources)
            else []
        ),
        contact_types=list(_segments([_type(each, words) for each in types.types], words)) if types else [],
        contact_types_since=(
            words("contact_types_since", day=words.day(types.first)) if types and types.first > period.first else None
        ),
        contact_types_empty=words("contact_types_none" if types else "contact_types_gone"),
    )


def _as_of(fresh: Freshness, zone: ZoneInfo, today: date, words: Words) -> str:
    if fresh.as_of is None:
        return words("as_of_never")
    return words("as_of", moment=words.moment(fresh.as_of.astimezone(zone), today))


def _notices(reading: Reading, words: Words) -> Iterator[Notice]:
    period, fresh = reading.period, reading.freshness
    if fresh.losses:
        yield Notice("warn", words("lost_title"), list(_losses(fresh.losses, words)))
    if fresh.counting_since is None:
        yield Notice("", words("empty_title"), [words("empty_text")])
    elif any(point.counted_days < _days(point) for point in reading.trend.points):
        yield Notice("", words("since_title", day=words.day(fresh.counting_since)), [words("since_text")])
    elif not any(getattr(reading.metrics, name).value for name in METRICS):
        yield Notice("", words("quiet_title"), [words("quiet_text")] if period.name != "all" else [])


def _losses(losses: Sequence[Loss], words: Words) -> Iterator[str]:
    for loss in losses[:MOST_LOSSES]:
        days = words.days(loss.first, loss.last)
        known = loss.entries is not None
        yield words.count("lost", loss.entries or 0, days=days) if known else words("lost_unknown", days=days)
    if more := len(losses[MOST_LOSSES:]):
        yield words.count("lost_more", more)


def _card(name: str, metric: Metric, reading: Reading, words: Words) -> Card:
    trend, open_points = reading.trend, int(reading.period.last_is_open)
    over = trend.points[: len(trend.points) - open_points]  # a line that ends in half a day only falls
    known = metric.value is not None
    number, before = metric.value or 0, metric.before or 0
    return Card(
        name=name,
        label=words(name),
        value=_about(number, metric, words) if known else None,
        chip=_chip(metric, words) if known else None,
        before=words("was", number=_about(before, metric, words)) if known and metric.change is not None else None,
        note=None if known else words("visitors_unknown" if _counted(trend, name) else "uncounted"),
        spark=spark([getattr(point, name) for point in over]) if known else "",
    )


def _counted(trend: Trend, name: str) -> bool:
    """Whether there is a number of any day. Of visitors the trend knows single days only: they are known with views."""
    name = "profile_views" if name == "visitors" else name
    return any(getattr(point, name) is not None for point in trend.points)


def _about(number: int, metric: Metric, words: Words) -> str:
    """A number; with an ≈ if it is an estimate, which a small one never is."""
    shown = words.number(number)
    return f"≈ {shown}" if metric.estimated and number > EXACT_UP_TO else shown


def _chip(metric: Metric, words: Words) -> Chip | None:
    if metric.change is not None:
        if not (metric.value or metric.before):
            return None
        kind = "good" if metric.change > 0 else "bad" if metric.change < 0 else ""
        return Chip(words.percent(metric.change, signed=True), kind)
    assert metric.without_change is not None
    if metric.partial:
        return Chip(words("partial"), "")
    if metric.without_change == "no_period_before":
        return None  # of all time that goes without saying, on each of the six all the more
    return Chip(words(metric.without_change), "accent" if metric.without_change == "new" else "")


def spark(values: Sequence[int | None]) -> str:
    """An SVG path through values, broken where there is none; one alone is a dot. Empty for one value or only zeros."""
    most = max(filter(None, values), default=0)
    if len(values) < 2 or not most:
        return ""
    step = SPARK_WIDTH / (len(values) - 1)
    drawn = [
        (place, f"{place * step:.1f} {SPARK_HEIGHT - (SPARK_HEIGHT - 2) * value / most - 1:.1f}")
        for place, value in enumerate(values)
        if value is not None
    ]
    runs = groupby(enumerate(drawn), key=lambda item: item[1][0] - item[0])  # places without a gap between
    return "".join(_run([text for _, (_, text) in run]) for _, run in runs)


def _run(points: Sequence[str]) -> str:
    return f"M{points[0]}" + ("".join(f"L{point}" for point in points[1:]) or "h0.01")


def _drawable(trend: Trend) -> bool:
    """Whether a line says more than the table: two points, and something on them."""
    return len(trend.points) > 1 and any(
        getattr(point, name) for point in trend.points for name in METRICS if name in Point.__struct_fields__
    )


def _table(reading: Reading, before: Trend | None, words: Words) -> Table:
    trend = reading.trend
    names = [name for name in METRICS if name != "visitors" or trend.step == "day"]
    columns = [Column(name, words(name), name in ("profile_views", "contact_views")) for name in names]
    earlier: Sequence[Point | None] = before.points if before else [None] * len(trend.points)
    if before:
        columns.insert(1, Column("before", words("before"), drawn=True))
    rows = []
    for point, point_before in zip(trend.points, earlier, strict=True):
        cells = [_cell(point, name, words) for name in names]
        if point_before:
            cells.insert(1, _cell(point_before, "profile_views", words))
        tick = words.month(point.first) if trend.step == "month" else words.short_day(point.first)
        rows.append(Row(point.first, _label(point, reading, words), tick, _note(point, reading, words), cells))
    return Table(columns, rows[::-1])


def _cell(point: Point, name: str, words: Words) -> Cell:
    value: int | None = getattr(point, name)
    if value is not None:
        return Cell(value, words.number(value))
    return Cell(None, words("unknown" if name == "visitors" and point.counted_days else "gap"))


def _label(point: Point, reading: Reading, words: Words) -> str:
    one_year = reading.period.first.year == reading.period.last.year
    match reading.trend.step:
        case "day":
            return words.weekday(point.first) if one_year else words.day(point.first)
        case "week":
            return words.days(point.first, point.last)
        case "month":
            return words.days(point.first, point.last) if _is_cut(point, "month") else words.month(point.first)


def _note(point: Point, reading: Reading, words: Words) -> str | None:
    notes = [_note_of_part(point, reading, words)]
    if any(loss.first <= point.last and loss.last >= point.first for loss in reading.freshness.losses):
        notes.append(words("events_lost"))
    return ", ".join(filter(None, notes)) or None


def _note_of_part(point: Point, reading: Reading, words: Words) -> str | None:
    if reading.period.last_is_open and point.last == reading.period.last:
        return words("so_far")
    if 0 < point.counted_days < _days(point):
        return words.count("counted_days", point.counted_days)
    if _is_cut(point, reading.trend.step):
        return words.count("days", _days(point))
    return None


def _is_cut(point: Point, step: Step) -> bool:
    """Whether it is only a part of its week or month: the period begins or ends within."""
    if step == "month":
        return point.first.day > 1 or (point.last + DAY).day > 1
    return step == "week" and _days(point) < 7


def _days(point: Point) -> int:
    return Span(point.first, point.last).days


def _funnel(funnel: Funnel, words: Words) -> Iterator[Stage]:
    rates = {
        "profile_views": None,
        "contact_views": funnel.profile_to_contact if funnel.profile_views else None,
        "requests": funnel.contact_to_request if funnel.contact_views else None,
        "orders": funnel.request_to_order if funnel.requests else None,
    }
    numbers: dict[str, int] = {name: getattr(funnel, name) or 0 for name in rates}
    most = max(numbers.values()) or 1
    for name, rate in rates.items():
        said = words(f"rate_{name}", rate=words.percent(rate)) if rate is not None else None
        yield Stage(name, words(name), words.number(numbers[name]), round(100 * numbers[name] / most, 2), said)


def _type(kind: ContactType, words: Words) -> tuple[str | None, str, int, int]:
    if kind.type is None:
        return None, words("contact_type_other"), kind.views, kind.share
    if kind.type in KNOWN_TYPES:
        return kind.type, words(kind.type), kind.views, kind.share
    return None, harmless(kind.type), kind.views, kind.share


def harmless(text: str) -> str:
    """What somebody sent, short, and without characters that cannot be seen or that turn others round."""
    shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text[:LONGEST_TYPE])
    return shown + ("…" if len(text) > LONGEST_TYPE else "")


def _segments(parts: Sequence[tuple[str | None, str, int, int]], words: Words) -> Iterator[Segment]:
    whole, start = sum(views for _, _, views, _ in parts) or 1, 0
    for name, label, views, share in parts:
        yield Segment(
            name,
            label,
            words.number(views),
            words.percent(share),
            round(100 * start / whole, 2),
            round(100 * views / whole, 2),
        )
        start += views
