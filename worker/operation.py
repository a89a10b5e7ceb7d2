"""What a run is made of: arguments that were checked, and steps. Pure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from worker.settings import Settings

JsonObject = dict[str, Any]


class Arguments(BaseModel):
    """What an operation is asked to do. Checked where it is asked for, and again where it is read back."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Problem(NamedTuple):
    """Something that a run could not use, and that did not stop it."""

    reason: str
    subject: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How far a run has come: all up to here is committed, and nothing behind it has begun."""

    done: int
    """In the operation's unit, from the run's beginning."""
    cursor: JsonObject
    """Where the next step begins. A run that was killed goes on here, so a step that was lost on the way is done twice,
    and has to come to the same."""
    result: JsonObject
    """What came of all steps so far."""
    total: int | None = None
    problems: Sequence[Problem] = ()
    """Those of this step."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A kind of run."""

    kind: str
    unit: str
    """What `done` counts: days, events, keys."""
    arguments: type[Arguments]
    steps: Callable[[Settings, int, Any, JsonObject], Iterator[Step]]
    """Called with the settings, the run's number, its arguments, and the cursor of the last step or an empty one.
    Raises Stop if a person has to change something, Retry or Conflict if it is to be called again from that cursor."""
