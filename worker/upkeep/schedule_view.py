"""`python -m worker schedule --list`: every line of the schedule, how it ran last, and when it is next. Asks PostgreSQL
alone, so it works wherever no scheduler runs, and says so.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from rich.table import Table
from rich.text import Text

from worker.console import make_console
from worker.scheduler import SCHEDULE, Scheduled
from worker.settings import Settings
from worker.store import connect_postgres
from worker.upkeep.scheduled import Ran, read_scheduled

NARROW = 120
"""Columns of a terminal below which the result needs the room of what else can be told of a line."""

GRACE = timedelta(minutes=5)
"""A tick that is older and has not ended is late: others may have been before it in the queue."""

WHY_LATE = "no scheduler or no ops worker runs (`python -m worker run`), or it has too much to do"


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the schedule at one moment."""

    scheduled: Scheduled
    ran: Ran | None
    """None: it was never begun."""
    next_tick: datetime
    late_tick: datetime | None
    """The tick that should have ended by now and has not."""


def lines(schedule: Sequence[Scheduled], ran: Sequence[Ran], now: datetime, zone: tzinfo) -> list[Line]:
    """The schedule as it stands at `now`. Pure."""
    by_name = {each.name: each for each in ran}
    return [_line(scheduled, by_name.get(scheduled.name), now, zone) for scheduled in schedule]


def _line(scheduled: Scheduled, ran: Ran | None, now: datetime, zone: tzinfo) -> Line:
    latest, due = scheduled.latest_tick(now, zone), scheduled.latest_tick(now - GRACE, zone)
    ended = ran.tick if ran else None
    is_late = ended is None or ended < due
    return Line(scheduled, ran, latest + scheduled.period(latest, zone), due if is_late else None)


def run_schedule_list(settings: Settings, *, as_json: bool) -> int:
    """Print the schedule.

    Returns:
        The exit code, 0.

    Raises:
        Stop, Retry: PostgreSQL refuses us, or is away.
    """
    with connect_postgres(settings, "schedule") as connection:
        ran = read_scheduled(connection)
    zone = ZoneInfo(settings.time_zone)
    listed = lines(SCHEDULE, ran, datetime.now(UTC), zone)
    if as_json:
        print(json.dumps([_document(line, zone) for line in listed], default=str, indent=2))
        return 0
    console = make_console(wide=160)
    console.print(_table(listed, zone, is_narrow=console.width < NARROW))
    console.print(f"times in {settings.time_zone}", style="dim")
    if late := [f"{line.scheduled.name} of {_at(line.late_tick, zone)}" for line in listed if line.late_tick]:
        console.print(f"not done yet: {', '.join(late)}; {WHY_LATE}", style="bold red")
    return 0


def _document(line: Line, zone: tzinfo) -> dict[str, Any]:
    scheduled, ran = line.scheduled, line.ran
    return {
        "name": scheduled.name,
        "cron": scheduled.cron,
        "function": scheduled.function,
        "purpose": scheduled.purpose,
        "last": {
            "tick": _iso(ran.tick, zone),
            "started_at": _iso(ran.started_at, zone),
            "ended_at": _iso(ran.ended_at, zone),
            "seconds": _seconds(ran),
            "result": ran.result,
            "error": ran.failure,
            "running_since": _iso(ran.begun_at if ran.has_not_ended else None, zone),
        }
        if ran
        else None,
        "next": _iso(line.next_tick, zone),
        "late": _iso(line.late_tick, zone),
    }


def _table(listed: Sequence[Line], zone: tzinfo, *, is_narrow: bool) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    headings = ("line", "when", "what for", "last begun", "took", "result", "next")
    shown = [heading for heading in headings if not (is_narrow and heading in ("when", "what for", "took"))]
    for heading in shown:
        table.add_column(heading, no_wrap=heading not in ("what for", "result"))
    for line in listed:
        scheduled, ran = line.scheduled, line.ran
        begun = _at(ran.started_at or ran.begun_at, zone) if ran else "never"
        cells: tuple[str | Text, ...] = (
            scheduled.name,
            scheduled.cron,
            scheduled.purpose,
            begun,
            took_in_words(ran),
            Text(result_in_words(ran), style="bold red" if ran and ran.failure else ""),
            _at(line.next_tick, zone),
        )
        by_heading = dict(zip(headings, cells, strict=True))
        table.add_row(*(by_heading[heading] for heading in shown))
    return table


def took_in_words(ran: Ran | None) -> str:
    """How long the run took that ended last."""
    seconds = _seconds(ran) if ran else None
    return "" if seconds is None else f"{seconds:.1f} s"


def result_in_words(ran: Ran | None) -> str:
    """What came of the run that ended last."""
    if ran is None:
        return ""
    if ran.failure:
        return f"error: {ran.failure}"
    return "runs for the first time" if ran.result is None else _in_words(ran.result)


def _in_words(result: Mapping[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in result.items() if value is not None)


def _seconds(ran: Ran) -> float | None:
    return (ran.ended_at - ran.started_at).total_seconds() if ran.ended_at and ran.started_at else None


def _at(moment: datetime | None, zone: tzinfo) -> str:
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M}" if moment else ""


def _iso(moment: datetime | None, zone: tzinfo) -> str | None:
    return moment.astimezone(zone).isoformat() if moment else None
