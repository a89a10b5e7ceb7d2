"""Events in a file: NDJSON, one object a line, whose fields are pushed as the web tier would push them."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

from worker.errors import Stop
from worker.events import FUTURE_MS
from worker.producer import Fields

STANDARD_INPUT = Path("-")
EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass
class EventFile:
    """The events of a file, as often as one goes through it; those of standard input (`-`) come once."""

    path: Path
    bytes_read: int = field(default=0, init=False)

    @property
    def name(self) -> str:
        """What a person calls it."""
        return "standard input" if self.path == STANDARD_INPUT else str(self.path)

    @property
    def size(self) -> int | None:
        """Its length in bytes; None for a pipe, which can be read only once."""
        return self.path.stat().st_size if self.path != STANDARD_INPUT and self.path.is_file() else None

    def __iter__(self) -> Iterator[Fields]:
        """Read on; a line that is no event at all raises Stop, which names it."""
        self.bytes_read = 0
        try:
            with nullcontext(sys.stdin.buffer) if self.path == STANDARD_INPUT else self.path.open("rb") as lines:
                yield from self._events(lines)
        except OSError as error:
            raise Stop(f"cannot read {self.name}: {error.strerror}") from None

    def _events(self, lines: BinaryIO) -> Iterator[Fields]:
        for number, line in enumerate(lines, 1):
            self.bytes_read += len(line)
            if line.strip():
                event = json_object(line)
                if event is None:
                    raise Stop(f"{self.name}, line {number}: not a JSON object")
                yield event_fields(event)


def json_object(line: bytes) -> dict[str, Any] | None:
    """The object that a line holds; None if it holds anything else."""
    event = None
    with suppress(ValueError, RecursionError):
        event = json.loads(line)
    return event if isinstance(event, dict) else None


def event_fields(event: Mapping[str, Any]) -> Fields:
    """The fields of one stream entry: all values as text, null left out, and an `eventId` where there is none."""
    fields = {name: field_text(value) for name, value in event.items() if value is not None}
    return fields if "eventId" in fields else fields | {"eventId": str(uuid4())}


def field_text(value: Any) -> str:
    """A value as the web tier would push it: digits for a number, JSON for what is neither number nor text."""
    if isinstance(value, str):
        return value
    if type(value) is int:  # times, mostly: JSON would come to the same, and takes its time
        return str(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Shift:
    """A move of all times by whole days."""

    days: int
    ahead: int
    """How many events it puts so far ahead of now, later today, that they cannot be counted."""

    @classmethod
    def to_today(cls, events: Iterable[Fields], now: datetime) -> "Shift":
        """The move that makes the newest UTC day of the events today.

        A time ahead of now is no measure: it is one of the bad events that a file may have.
        """
        past = [moment for moment in map(_occurred_at, events) if moment and moment <= now]
        if not past:
            return cls(0, 0)
        days = (now.astimezone(UTC).date() - max(past).date()).days
        accepted_until = now + timedelta(milliseconds=FUTURE_MS)
        return cls(days, sum(moment + timedelta(days) > accepted_until for moment in past))

    def of(self, events: Iterable[Fields]) -> Iterator[Fields]:
        """The events, moved. A time that cannot be read stays as it is."""
        return (self._moved(event) if self.days else event for event in events)

    def _moved(self, event: Fields) -> Fields:
        with suppress(OverflowError):
            if moment := _occurred_at(event):
                later = moment + timedelta(self.days)
                return {**event, "occurredAt": later.isoformat() if _is_iso(event) else str(epoch_ms(later))}
        return event


def epoch_ms(moment: datetime) -> int:
    """Epoch milliseconds."""
    return (moment - EPOCH) // timedelta(milliseconds=1)


def _occurred_at(event: Fields) -> datetime | None:
    """The event's time; None if it has none that the contract can read."""
    text = str(event.get("occurredAt", ""))
    with suppress(ValueError, OverflowError):
        if _is_iso(event):
            moment = datetime.fromisoformat(text)
            return moment.astimezone(UTC) if moment.tzinfo else None
        return EPOCH + timedelta(milliseconds=int(text)) if text.isascii() and text.isdigit() else None
    return None


def _is_iso(event: Fields) -> bool:
    return "T" in str(event.get("occurredAt", "")).upper()
