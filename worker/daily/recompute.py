"""Assign whole days anew: views by the formula baseline + ledger, then outcomes; or show which views would change."""

from collections.abc import Iterator, Sequence
from datetime import date
from typing import Any, NamedTuple

from psycopg.rows import class_row, scalar_row
from pydantic import model_validator
from rich.table import Table
from rich.text import Text

from worker.console import make_console
from worker.daily.outcomes import WrongOutcomes, diff_outcomes, refresh_outcomes, refresh_outcomes_of
from worker.days import days_between
from worker.errors import Conflict, Stop
from worker.operation import Arguments, JsonObject, Operation, Step
from worker.queries import query
from worker.settings import Settings
from worker.store import Connection, check_specialist, connect_postgres, postgres_errors

ATTEMPTS = 3


class EventsGone(Stop):
    """The events of a day are gone, and without them a number would become smaller."""

    def __init__(self, line: str, utc_days: Sequence[date]) -> None:
        super().__init__(line)
        self.without_names = f"the events of {', '.join(map(str, utc_days))} (UTC) are gone and were not sealed"
        """What may be kept: nobody could erase a specialist's id from it."""


class WrongRow(NamedTuple):
    """A daily row that is not what the formula says. Where all six are as they should be, its rates are not."""

    specialist_id: str
    has_profile_views: int | None
    """None: there is no row."""
    profile_views: int
    has_contact_views: int | None
    contact_views: int
    has_sources: dict[str, Any] | None
    sources: dict[str, int]

    @property
    def would_lose(self) -> bool:
        """Whether the formula has less than the row."""
        return (self.has_profile_views or 0) > self.profile_views or (self.has_contact_views or 0) > self.contact_views


class Recomputed(NamedTuple):
    """What a recompute of one day changed."""

    rows: int
    """With other views than before."""
    profile_views: int
    """More than before; negative if fewer."""
    contact_views: int
    outcome_rows: int = 0
    """With other outcomes than before."""


def recompute_days(
    connection: Connection, first: date, last: date, time_zone: str, specialist: str | None = None
) -> Iterator[tuple[date, Recomputed]]:
    """Assign the views of each day, in a transaction of its own: live counting waits for one day's work at most. Then
    the day's outcomes, in another one, for which nobody has to wait.

    Args:
        connection: in autocommit mode.
        first: a date in `time_zone`.
        last: the last one that is recomputed too.
        time_zone: IANA name; its midnight divides the days.
        specialist: id of the only one whose rows are looked at.

    Raises:
        EventsGone: without the events of a day a number would become smaller; the days before it are done.
        Conflict: somebody was in the way three times in a row.
        Retry: the server is away.
    """
    for day in days_between(first, last):
        views = _recompute_day(connection, {"date": day, "time_zone": time_zone, "specialist": specialist})
        if specialist is None:
            outcome_rows = refresh_outcomes(connection, day, time_zone)
        else:
            outcome_rows = sum(refresh_outcomes_of(connection, [specialist], day, day, time_zone).values())
        yield day, views._replace(outcome_rows=outcome_rows)


def put_right(connection: Connection, day: date, time_zone: str) -> Recomputed:
    """Hold a day that is over against its events; rows that are otherwise are recomputed, and both numbers are kept in
    `analytics.day_difference`. While all rows are right, which is always, nothing is locked and nobody waits.

    Args:
        connection: in autocommit mode.
        day: a date in `time_zone`.
        time_zone: IANA name; its midnight divides the days.

    Raises:
        EventsGone, Conflict, Retry: see `recompute_days`.
    """
    if not diff_day(connection, day, time_zone):
        return Recomputed(0, 0, 0)
    return _recompute_day(connection, {"date": day, "time_zone": time_zone, "specialist": None, "recorded": True})


class WrongDate(NamedTuple):
    """A date on which a specialist's views are not what the formula says."""

    specialist_id: str
    date: date


def list_wrong_dates(
    connection: Connection, specialists: Sequence[str], first: date, last: date, time_zone: str
) -> list[WrongDate]:
    """Where the views of some specialists are not what the formula says, by date; locks nothing.

    Raises:
        Retry: the server is away.
    """
    which = {"specialists": specialists, "first": first, "last": last, "time_zone": time_zone}
    with postgres_errors(), connection.transaction(), connection.cursor(row_factory=class_row(WrongDate)) as cursor:
        connection.execute(query("prepare_recompute"))
        return cursor.execute(query("list_wrong_dates"), which).fetchall()


def recompute_day(connection: Connection, day: date, time_zone: str, specialist: str | None = None) -> Recomputed:
    """Assign the views of one day.

    Raises:
        EventsGone, Conflict, Retry: see `recompute_days`.
    """
    return _recompute_day(
        connection, {"date": day, "time_zone": time_zone, "specialist": specialist, "recorded": False}
    )


def _recompute_day(connection: Connection, which: dict[str, Any]) -> Recomputed:
    for _ in range(ATTEMPTS - 1):
        try:
            return _assign(connection, which)
        except Conflict:  # a specialist was deleted in this moment
            continue
    return _assign(connection, which)


def _assign(connection: Connection, which: dict[str, Any]) -> Recomputed:
    with postgres_errors(), connection.transaction():
        lock_views(connection)
        _refuse_loss(connection, which)
        return assign_views(connection, which)


def lock_views(connection: Connection) -> None:
    """Let live counting wait until the end of this transaction; without it nobody may assign views."""
    connection.execute(query("prepare_recompute"))
    connection.execute(query("lock_positions"))


def assign_views(connection: Connection, which: dict[str, Any]) -> Recomputed:
    """Make the daily rows of a date what the formula says, in a transaction that has locked the views."""
    with connection.cursor(row_factory=class_row(Recomputed)) as cursor:
        recomputed = cursor.execute(query("recompute_day"), {"recorded": False} | which).fetchone()
    assert recomputed is not None  # a sum is always one row
    return recomputed


def _refuse_loss(connection: Connection, which: dict[str, Any]) -> None:
    """A sum over events that are gone is too small: what is more in the table is then not taken for a mistake."""
    with connection.cursor(row_factory=scalar_row) as cursor:
        gone = cursor.execute(query("list_gone_days"), which).fetchall()
    losing = [row for row in _diff(connection, which) if row.would_lose] if gone else []
    if losing:
        raise EventsGone(
            f"{which['date']} is not recomputed: the events of {', '.join(map(str, gone))} (UTC) are gone and were not"
            f" sealed, and {len(losing):,} daily rows would lose views (the first is {losing[0].specialist_id}'s)",
            gone,
        )


def diff_day(connection: Connection, day: date, time_zone: str, specialist: str | None = None) -> list[WrongRow]:
    """What a recompute of the day would change, row by row; locks nothing.

    Raises:
        Retry: the server is away.
    """
    with postgres_errors(), connection.transaction():
        connection.execute(query("prepare_recompute"))
        return _diff(connection, {"date": day, "time_zone": time_zone, "specialist": specialist})


def _diff(connection: Connection, which: dict[str, Any]) -> list[WrongRow]:
    with connection.cursor(row_factory=class_row(WrongRow)) as cursor:
        return cursor.execute(query("diff_day"), which).fetchall()


class RecomputeArguments(Arguments):
    """Which rows to assign anew."""

    first: date
    last: date
    specialist: str | None = None

    @model_validator(mode="after")
    def _days_are_a_range(self) -> "RecomputeArguments":
        days_between(self.first, self.last)
        return self


def recompute_steps(settings: Settings, _run: int, arguments: RecomputeArguments, cursor: JsonObject) -> Iterator[Step]:
    """Recompute day after day, a step each.

    Raises:
        Stop, Conflict, Retry: see `recompute_days`.
    """
    days = days_between(arguments.first, arguments.last)
    done = cursor.get("done", 0)
    result = Recomputed(**cursor.get("result", {"rows": 0, "profile_views": 0, "contact_views": 0}))
    if done == len(days):
        return
    with connect_postgres(settings, "recompute") as connection:
        for _, recomputed in recompute_days(connection, days[done], days[-1], settings.time_zone, arguments.specialist):
            done += 1
            result = Recomputed(*map(sum, zip(result, recomputed, strict=True)))
            so_far = result._asdict()
            yield Step(done=done, total=len(days), cursor={"done": done, "result": so_far}, result=so_far)


RECOMPUTE = Operation("recompute", "days", RecomputeArguments, recompute_steps)


def checked_arguments(settings: Settings, first: date, last: date, specialist: str | None) -> RecomputeArguments:
    """What a person asks for.

    Raises:
        Stop: the days are no range, or there is no such specialist.
        Retry: the server is away.
    """
    arguments = RecomputeArguments(first=first, last=last, specialist=specialist)
    if specialist is not None:
        with connect_postgres(settings, "recompute") as connection:
            check_specialist(connection, specialist)
    return arguments


def run_dry_recompute(settings: Settings, arguments: RecomputeArguments) -> int:
    """Show every row that a recompute would change.

    Returns:
        The exit code: 1 when the daily table is not what the formula says.

    Raises:
        Retry: the server is away.
    """
    console = make_console()
    wrong, wrong_outcomes, refused = [], [], []
    with connect_postgres(settings, "recompute") as connection:
        for day in days_between(arguments.first, arguments.last):
            which = day, settings.time_zone, arguments.specialist
            rows = diff_day(connection, *which)
            wrong += [(day, row) for row in rows]
            wrong_outcomes += [(day, row) for row in diff_outcomes(connection, *which)]
            if any(row.would_lose for row in rows):
                refused += _refusals(connection, *which)
    if wrong:
        console.print(_difference(wrong))
    if wrong_outcomes:
        console.print(_outcomes_difference(wrong_outcomes))
    for line in refused:
        console.print(Text(line, style="bold red"))
    if wrong or wrong_outcomes:
        return 1
    console.print("nothing to change: the daily table is what the formula says")
    return 0


def _refusals(connection: Connection, day: date, time_zone: str, specialist: str | None) -> list[str]:
    try:
        with postgres_errors():
            _refuse_loss(connection, {"date": day, "time_zone": time_zone, "specialist": specialist})
    except EventsGone as error:
        return [str(error)]
    return []


def _outcomes_difference(wrong: list[tuple[date, WrongOutcomes]]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False, show_footer=True, footer_style="bold")
    table.add_column("date", f"{len(wrong):,} rows", no_wrap=True)
    table.add_column("specialist", no_wrap=True)
    for heading, more in (
        ("requests", sum(row.requests - (row.has_requests or 0) for _, row in wrong)),
        ("orders", sum(row.orders - (row.has_orders or 0) for _, row in wrong)),
        ("reviews", sum(row.reviews - (row.has_reviews or 0) for _, row in wrong)),
    ):
        table.add_column(heading, f"{more:+,}", justify="right")
    for day, row in wrong:
        table.add_row(
            str(day),
            row.specialist_id,
            _change(row.has_requests, row.requests),
            _change(row.has_orders, row.orders),
            _change(row.has_reviews, row.reviews),
        )
    return table


def _difference(wrong: list[tuple[date, WrongRow]]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False, show_footer=True, footer_style="bold")
    profile = sum(row.profile_views - (row.has_profile_views or 0) for _, row in wrong)
    contact = sum(row.contact_views - (row.has_contact_views or 0) for _, row in wrong)
    table.add_column("date", f"{len(wrong):,} rows", no_wrap=True)
    table.add_column("specialist", no_wrap=True)
    table.add_column("profile views", f"{profile:+,}", justify="right")
    table.add_column("contact views", f"{contact:+,}", justify="right")
    table.add_column("catalog, search, direct, other", justify="right")
    for day, row in wrong:
        has = "no row" if row.has_profile_views is None else _in_words(row.has_sources)
        right = _in_words(row.sources)
        table.add_row(
            str(day),
            row.specialist_id,
            _change(row.has_profile_views, row.profile_views),
            _change(row.has_contact_views, row.contact_views),
            right if has == right else f"{has} → {right}",
        )
    return table


def _change(has: int | None, should: int) -> str:
    return f"{should:,}" if has == should else f"{'–' if has is None else f'{has:,}'} → {should:,}"


def _in_words(sources: Any) -> str:
    if not isinstance(sources, dict):
        return "none"
    return ", ".join(str(sources.get(source, 0)) for source in ("catalog", "search", "direct", "other"))
