"""Times, spans of time and sizes as an operator reads them, in whatever is shown to one."""

from datetime import UTC, datetime

KILO = 1000


def utc(moment: datetime) -> str:
    """A time to the second; that it is UTC stands beside it."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def duration(seconds: float) -> str:
    """A span of time: `3.2 s`, `45 s`, `12 min`, `3 h 5 min`, `12 days`."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours < 2:
        return f"{60 * hours + minutes} min"
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{seconds / 86_400:,.0f} days"


def size(count: float) -> str:
    """A number of bytes: `1.2 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < KILO:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= KILO
    return f"{count:.1f} TB"
