"""What a check says: how things are, what was found, and what to do about it. Pure."""

from enum import StrEnum
from typing import NamedTuple

KILO = 1000


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """It works, and a person should know."""
    ERROR = "error"
    """Events are lost, not counted or soon will be."""


class Check(NamedTuple):
    """One line of the doctor's table."""

    name: str
    level: Level
    found: str
    advice: str = ""
    """What to do; never empty unless all is well."""


def ok(name: str, found: str, advice: str = "") -> Check:
    """All is well; advice is then only an opportunity."""
    return Check(name, Level.OK, found, advice)


def warning(name: str, found: str, advice: str) -> Check:
    """It works, and a person should know."""
    return Check(name, Level.WARNING, found, advice)


def error(name: str, found: str, advice: str) -> Check:
    """A person must act."""
    return Check(name, Level.ERROR, found, advice)


def size(count: float) -> str:
    """A number of bytes as a person says it: `1.2 GB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < KILO:
            return f"{count:.0f} {unit}" if unit == "B" or count >= 100 else f"{count:.1f} {unit}"
        count /= KILO
    return f"{count:.1f} TB"


def duration(seconds: float) -> str:
    """A time as a person says it: `3.2 s`, `5 min`, `31 h`, `12 days`."""
    for unit, length, until in (("s", 1, 120), ("min", 60, 120 * 60), ("h", 3600, 48 * 3600)):
        if seconds < until:
            return f"{seconds:.1f} s" if unit == "s" and seconds < 10 else f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86_400:,.0f} days"
