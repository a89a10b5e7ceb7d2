"""What a check says: how things are, what was found, and what to do about it. Pure."""

from enum import StrEnum
from typing import NamedTuple


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
