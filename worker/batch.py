"""One micro-batch on its way to `commit_batch.sql`: its columns as the array parameters that are sent. Pure."""

import struct
from collections.abc import Sequence
from typing import Any

from worker.breaker import NOTHING_SEEN
from worker.continuity import EntryId, Position, StreamFacts
from worker.events import DAY_MS, Event, Rejected
from worker.original import as_json

UUID_OID = 2950


class UuidArray(bytes):
    """A `uuid[]` in PostgreSQL's binary format. Reading a UUID's text would cost the server six times as much."""


class Batch:
    """Entries that follow a position, parsed.

    The events are kept as pieces of array parameters: a tenth of the memory of 50,000 event objects, and made while
    PostgreSQL still works on the batch before.
    """

    def __init__(self, read_after: Position, origin: str | None = None) -> None:
        """An empty batch that begins behind a stored position.

        Args:
            read_after: that position.
            origin: where its entries lie, if that is not the position's stream.
        """
        self.read_after = read_after
        self.origin = origin or read_after.stream
        """What dead letters name, so that an entry that is read again stays one of them."""
        self.after = read_after
        """The position once this batch is committed."""
        self.window = NOTHING_SEEN
        """The circuit breaker's window once this batch is committed."""
        self.entries = 0
        self.reached_end = False
        self.days: set[int] = set()
        """UTC days of the events, counted from 1970-01-01."""
        self.rejected: list[Rejected] = []
        self.rejected_bytes = 0
        self._events = 0
        self._event_ids: list[bytes] = []
        self._texts: dict[str, list[str]] = {name: [] for name in _ARRAY_ITEMS}
        self._with_values: set[str] = set()

    @property
    def moves(self) -> bool:
        """Whether there is something to commit: entries, or an ordinal that was not known before."""
        return self.after != self.read_after

    def add(self, last_id: EntryId, events: Sequence[Event], rejected: Sequence[Rejected]) -> None:
        """Take in what the entries up to `last_id` were parsed to."""
        if events:
            columns = dict(zip(Event._fields, zip(*events, strict=True), strict=True))
            self._event_ids.append(_binary_uuids(columns["event_id"]))
            self.days |= {occurred_ms // DAY_MS for occurred_ms in columns["occurred_ms"]}
            for name, items in _ARRAY_ITEMS.items():
                self._texts[name].append(items(columns[name]))
                if name not in _OPTIONAL or any(columns[name]):
                    self._with_values.add(name)
        self.rejected += rejected
        self.rejected_bytes += sum(sum(map(len, each.fields)) for each in rejected)
        self._events += len(events)
        entries = len(events) + len(rejected)
        self.entries += entries
        before = self.after
        ordinal = None if before.ordinal is None else before.ordinal + entries
        self.after = Position(before.stream, before.epoch, last_id, ordinal)

    def end(self, facts: StreamFacts) -> None:
        """There is nothing behind the last entry: now the ordinal is known for certain, also after a rewind.

        A rewind that finds nothing leaves the moment that it went back to, for `last_id` is to be an entry's.
        """
        self.reached_end = True
        rewound = self.after.ordinal is None and not self.entries
        last_id = facts.last_generated if rewound else self.after.last_id
        self.after = Position(self.after.stream, self.after.epoch, last_id, facts.entries_added)

    def parameters(self, shard: int, time_zone: str) -> dict[str, Any]:
        """What `commit_batch.sql` wants to know; each array is named as its column of the ledger."""
        return {
            "stream": self.read_after.stream,
            "origin": self.origin,
            "epoch": self.read_after.epoch,
            "read_after": str(self.read_after.last_id),
            "read_after_ordinal": self.read_after.ordinal,
            "shard": shard,
            "time_zone": time_zone,
            "event_id": UuidArray(_array_header(UUID_OID, self._events) + b"".join(self._event_ids)),
            **{name: self._array(name) for name in self._texts},
            "dead_entry_id": [rejected.entry_id for rejected in self.rejected],
            "dead_reason": [rejected.reason.value for rejected in self.rejected],
            "dead_fields": [as_json(rejected.fields) for rejected in self.rejected],
            "last_id": str(self.after.last_id),
            "ordinal": self.after.ordinal,
            "entries": self.entries,
            "window_entries": self.window.entries,
            "window_bad": self.window.bad,
        }

    def _array(self, name: str) -> str:
        """An array's text; a column without any value is an empty one, which `unnest` fills up with NULL."""
        return "{" + ",".join(self._texts[name]) + "}" if name in self._with_values else "{}"


def _binary_uuids(ids: Sequence[str]) -> bytes:
    """The elements of a binary `uuid[]`, each behind its length of 16 bytes."""
    length = "00000010"
    return bytes.fromhex((length + length.join(ids)).replace("-", ""))


def _array_header(oid: int, length: int) -> bytes:
    """What stands before the elements of a one-dimensional array without NULL (array_recv in PostgreSQL's source)."""
    dimensions, has_null, lower_bound = (1 if length else 0), 0, 1
    head = struct.pack(">iiI", dimensions, has_null, oid)
    return head + struct.pack(">ii", length, lower_bound) if length else head


def _plain(values: Sequence[Any]) -> str:
    """Items whose characters the contract has checked: nothing in them needs quoting in an array text."""
    return ",".join(map(str, values))


def _in_quotes(values: Sequence[str]) -> str:
    """The same for text, which could be the word null; besides, PostgreSQL reads it faster in quotes."""
    return '"' + '","'.join(values) + '"'


def _plain_or_null(values: Sequence[str | None]) -> str:
    return ",".join([value or "NULL" for value in values])


def _quoted_or_null(values: Sequence[str | None]) -> str:
    return ",".join([_quoted(value) if value else "NULL" for value in values])


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


_ARRAY_ITEMS = {
    "occurred_ms": _plain,
    "specialist_id": _in_quotes,
    "type": _plain,
    "source": _plain,
    "contact_type": _quoted_or_null,
    "visitor": _plain_or_null,
    "excluded": _plain_or_null,
    "entry_id": _in_quotes,
}


_OPTIONAL = frozenset({"contact_type", "visitor", "excluded"})
"""Columns that may be without any value; what they have is never falsy."""
