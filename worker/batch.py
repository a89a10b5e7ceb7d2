"""One micro-batch on its way to `commit_batch.sql`: its columns as the array texts that are sent. Pure."""

import json
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

from worker.continuity import EntryId, Position, StreamFacts
from worker.events import DAY_MS, Event, Rejected


class Batch:
    """Entries that follow a position, parsed.

    The events are kept as array texts: a tenth of the memory of 50,000 event objects, and PostgreSQL reads them fast.
    """

    def __init__(self, read_after: Position) -> None:
        """An empty batch that begins behind a stored position."""
        self.read_after = read_after
        self.after = read_after
        """The position once this batch is committed."""
        self.entries = 0
        self.reached_end = False
        self.days: set[int] = set()
        """UTC days of the events, counted from 1970-01-01."""
        self.rejected: list[Rejected] = []
        self._columns: tuple[list[str], ...] = tuple([] for _ in Event._fields)

    def add(self, last_id: EntryId, events: Sequence[Event], rejected: Sequence[Rejected]) -> None:
        """Take in what the entries up to `last_id` were parsed to."""
        for texts, name, values in zip(self._columns, Event._fields, zip(*events, strict=True), strict=False):
            texts.append(_ARRAY_ITEMS[name](values))
        self.days |= {event.occurred_ms // DAY_MS for event in events}
        self.rejected += rejected
        entries = len(events) + len(rejected)
        self.entries += entries
        before = self.after
        ordinal = None if before.ordinal is None else before.ordinal + entries
        self.after = Position(before.stream, before.epoch, last_id, ordinal)

    def end(self, facts: StreamFacts) -> None:
        """There is nothing behind the last entry: now the ordinal is known for certain, also after a rewind."""
        self.reached_end = True
        self.after = Position(self.after.stream, self.after.epoch, self.after.last_id, facts.entries_added)

    def parameters(self, shard: int, time_zone: str) -> dict[str, Any]:
        """What `commit_batch.sql` wants to know."""
        arrays = ("{" + ",".join(texts) + "}" for texts in self._columns)
        event_ids, occurred_ms, specialist_ids, types, sources, contact_types, visitors, exclusions, entry_ids = arrays
        return {
            "stream": self.read_after.stream,
            "epoch": self.read_after.epoch,
            "read_after": str(self.read_after.last_id),
            "shard": shard,
            "time_zone": time_zone,
            "event_ids": event_ids,
            "occurred_ms": occurred_ms,
            "specialist_ids": specialist_ids,
            "types": types,
            "sources": sources,
            "contact_types": contact_types,
            "visitors": visitors,
            "exclusions": exclusions,
            "entry_ids": entry_ids,
            "dead_entry_ids": [rejected.entry_id for rejected in self.rejected],
            "dead_reasons": [rejected.reason.value for rejected in self.rejected],
            "dead_fields": [fields_as_json(rejected.fields) for rejected in self.rejected],
            "last_id": str(self.after.last_id),
            "ordinal": self.after.ordinal,
            "entries": self.entries,
        }


def _plain(values: Sequence[Any]) -> str:
    """Items whose characters the contract has checked: nothing in them needs quoting in an array text."""
    return ",".join(map(str, values))


def _in_quotes(values: Sequence[str]) -> str:
    """The same, for items that may be the word null: without quotes PostgreSQL would read that as no value."""
    return '"' + '","'.join(values) + '"'


def _plain_or_null(values: Sequence[str | None]) -> str:
    return ",".join([value or "NULL" for value in values])


def _quoted_or_null(values: Sequence[str | None]) -> str:
    return ",".join([_quoted(value) if value else "NULL" for value in values])


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


_ARRAY_ITEMS = {
    "event_id": _plain,
    "occurred_ms": _plain,
    "specialist_id": _in_quotes,
    "type": _plain,
    "source": _plain,
    "contact_type": _quoted_or_null,
    "visitor": _plain_or_null,
    "excluded": _plain_or_null,
    "entry_id": _plain,
}


def fields_as_json(fields: Sequence[bytes]) -> str:
    """The original fields, readable and without loss: `[[name, value], …]`, bytes that are no text as base64."""
    values = [_as_json(part) for part in fields]
    return json.dumps(list(zip(values[::2], values[1::2], strict=False)), ensure_ascii=False)


def _as_json(raw: bytes) -> str | dict[str, str]:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = "\0"
    return {"base64": b64encode(raw).decode()} if "\0" in text else text
