"""`python -m worker report`: a reading as tables and a chart, as JSON, or as CSV."""

import csv
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import msgspec
from msgspec.structs import asdict
from rich.console import Group
from rich.table import Table
from rich.text import Text

from worker.console import make_console
from worker.days import local_date
from worker.errors import AnalyticsError
from worker.link import Link
from worker.printable import printable
from worker.reading.chart import bars
from worker.reading.period import Step, parse_period
from worker.reading.read import counted_until, read, stream_for
from worker.reading.shape import Dates, Freshness, Metric, Part, Point, Reading, to_json
from worker.settings import Settings
from worker.store import Connection, connect_postgres, load_position
from worker.stream import connect_redis

CHART_WIDTH, CHART_HEIGHT = 72, 6

ANSWER_S = 10.0
"""Seconds that PostgreSQL has to answer: a thousand times what it needs, also from a disk that is cold."""

WITHOUT_CHANGE = {"new": "new", "not_counted": "not counted before", "no_period_before": ""}


def run_report(
    settings: Settings,
    specialist: str,
    period: str | None,
    first: str | None,
    last: str | None,
    *,
    as_json: bool,
    as_csv: bool,
) -> int:
    """Print a specialist's numbers.

    Returns:
        The exit code, 0.

    Raises:
        NoPeriod, NoSpecialist: see `parse_period` and `read`.
        Retry: PostgreSQL is away, or hangs. Redis may: then it is less exact of when the numbers are.
    """
    asked = parse_period(period, first, last, local_date(datetime.now(UTC), settings.time_zone))

    def ask(connection: Connection) -> Reading:
        return read(settings, connection, specialist, asked, _counted_until(settings, connection, specialist))

    with closing(Link("PostgreSQL", lambda: connect_postgres(settings, "report"), ANSWER_S)) as postgres:
        found = postgres.ask(ask)
    if as_json:
        print(msgspec.json.format(to_json(found), indent=2).decode())
    elif as_csv:
        csv.writer(sys.stdout, lineterminator="\n").writerows(_lines(found))
    else:
        _print(found)
    return 0


def _counted_until(settings: Settings, connection: Connection, specialist: str) -> datetime | None:
    position = load_position(connection, stream_for(specialist, settings))
    if position is None:
        return None
    try:
        with connect_redis(settings) as client:
            return counted_until(settings, client, position)
    except AnalyticsError:  # the numbers are in PostgreSQL
        return None


def _print(found: Reading) -> None:
    console = make_console(markup=False)
    console.print(_heading(found), soft_wrap=True)
    trend = _trend(found, console.width)
    for block in (_metrics(found), trend, _funnel(found), _sources(found), _contact_types(found)):
        console.print()
        console.print(block)
    console.print()
    console.print(_freshness(found.freshness, found.time_zone), soft_wrap=True)


def _heading(found: Reading) -> str:
    period = found.period
    name = f"{period.name}, " if period.name else ""
    days = f"{period.first} to {period.last}, {_days(period.days)}" if period.days > 1 else f"{period.first}"
    not_over = "; the last one is not over yet" if period.last_is_open else ""
    return f"{found.specialist}: {name}{days} ({found.time_zone}{not_over})"


def _days(number: int) -> str:
    return f"{number:,} days" if number > 1 else "1 day"


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=True)
    return table


def _metrics(found: Reading) -> Table:
    before = found.period.before
    table = _table("", "", f"{before.first} to {before.last}" if before else "", "change")
    for name, called in _named(found.metrics):
        metric: Metric = getattr(found.metrics, name)
        table.add_row(
            called,
            f"{'about ' if metric.estimated else ''}{_number(metric.value)}",
            _number(metric.before) if before else "",
            _change(metric),
        )
    return table


def _named(part: Part) -> Iterator[tuple[str, str]]:
    return ((name, name.replace("_", " ")) for name in part.__struct_fields__)


def _number(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _change(metric: Metric) -> Text:
    if metric.partial:
        return Text("of some days only", style="dim")
    if metric.change is None:
        return Text(WITHOUT_CHANGE[metric.without_change] if metric.without_change else "", style="dim")
    style = "green" if metric.change > 0 else "red" if metric.change < 0 else ""
    return Text(f"{metric.change:+,.1f} %" if metric.change else "0 %", style=style)


def _trend(found: Reading, columns: int) -> Group:
    """The chart; of a trend that is longer than the terminal is wide, its end."""
    shown = found.trend.points[-columns:]
    width = min(max(1, CHART_WIDTH // len(shown)), 8)
    lines = [
        *_bars("profile views", found.trend.step, [point.profile_views for point in shown], CHART_HEIGHT, width),
        *_bars("contact views", found.trend.step, [point.contact_views for point in shown], CHART_HEIGHT // 2, width),
        Text(_axis(shown[0].first, shown[-1].last, width * len(shown)), style="dim"),
    ]
    if shown[0].first > found.period.first:
        lines.append(Text(f"before {shown[0].first} there is more, for a wider terminal", style="dim"))
    if any(point.profile_views is None for point in shown):
        lines.append(Text("· was not counted yet", style="dim"))
    return Group(*lines)


def _bars(called: str, step: Step, values: Sequence[int | None], height: int, width: int) -> Iterator[Text]:
    most = max(filter(None, values), default=0)
    yield Text(f"{called} a {step}, most {most:,}" if most else f"{called}: none", style="dim")
    yield from (Text(line) for line in bars(values, height if most else 1, width))


def _axis(first: date, last: date, width: int) -> str:
    """Both ends below the chart; beside each other where it is too narrow."""
    return f"{first}{str(last).rjust(max(width - 10, 11))}" if first != last else f"{first}"


def _funnel(found: Reading) -> Table:
    funnel = found.funnel
    table = _table("funnel", "", "of the one before")
    table.add_row("profile views", _number(funnel.profile_views), "")
    table.add_row("contact views", _number(funnel.contact_views), f"{funnel.profile_to_contact:g} %")
    table.add_row("requests", _number(funnel.requests), f"{funnel.contact_to_request:g} %")
    table.add_row("orders", _number(funnel.orders), f"{funnel.request_to_order:g} %")
    return table


def _sources(found: Reading) -> Table:
    table = _table("profile views from", "", "share")
    for source in found.sources:
        table.add_row(source.source, f"{source.views:,}", f"{source.share} %")
    return table


def _contact_types(found: Reading) -> Table | str:
    block = found.contact_types
    if block is None:
        return "contact views by type: no single event of these days is kept"
    since = f", from {block.first} on" if block.first > found.period.first else ""
    table = _table(f"contact views by type{since}", "", "share")
    for kind in block.types:
        table.add_row(Text(_kind(kind.type)), f"{kind.views:,}", f"{kind.share} %")
    if not block.types:
        table.add_row("none")
    return table


def _kind(contact_type: str | None) -> str:
    return "another, or not said" if contact_type is None else printable(contact_type)


def _freshness(fresh: Freshness, time_zone: str) -> str:
    as_of = (
        f"{fresh.as_of.astimezone(ZoneInfo(time_zone)):%Y-%m-%d %H:%M:%S}" if fresh.as_of else "never: nothing was read"
    )
    lines = [f"as of {as_of}; complete through {fresh.complete_through or 'no day yet'}"]
    for loss in fresh.losses:
        days = f"{loss.first} to {loss.last}" if loss.first != loss.last else f"{loss.first}"
        number = "entries, nobody knows how many," if loss.entries is None else f"{loss.entries:,} entries"
        lines.append(f"{days}: {number} were lost in Redis, perhaps of this specialist")
    return "\n".join(lines)


def _lines(found: Reading) -> Iterator[tuple[object, ...]]:
    """Every number on a line of its own, as a spreadsheet can gather them; an empty cell is not known."""
    yield "block", "name", "first", "last", "value", "before", "change", "share"
    days = (found.period.first, found.period.last)
    for name, metric in asdict(found.metrics).items():
        yield "metrics", _camel(found.metrics, name), *days, metric.value, metric.before, metric.change, None
    for point in found.trend.points:
        for name in [name for name in Point.__struct_fields__ if name not in Dates.__struct_fields__]:
            yield "trend", _camel(point, name), point.first, point.last, getattr(point, name), None, None, None
    for name, value in asdict(found.funnel).items():
        yield "funnel", _camel(found.funnel, name), *days, value, None, None, None
    for source in found.sources:
        yield "sources", source.source, *days, source.views, None, None, source.share
    if block := found.contact_types:
        for kind in block.types:
            name = _kind(kind.type)
            # A spreadsheet takes what begins like this for a formula, and anybody can send it.
            name = f"'{name}" if name.startswith(("=", "+", "-", "@")) else name
            yield "contactTypes", name, block.first, block.last, kind.views, None, None, kind.share
    fresh = found.freshness
    yield "freshness", "asOf", *days, fresh.as_of, None, None, None
    yield "freshness", "completeThrough", *days, fresh.complete_through, None, None, None
    for loss in fresh.losses:
        yield "losses", "entries", loss.first, loss.last, loss.entries, None, None, None


def _camel(part: Part, name: str) -> str:
    return part.__struct_encode_fields__[part.__struct_fields__.index(name)]
