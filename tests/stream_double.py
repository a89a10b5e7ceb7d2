"""A plain model of a Redis stream and of its reader, for histories that no server would get through in a minute."""

from dataclasses import dataclass, field, replace

from worker.batch import Batch
from worker.continuity import BEGINNING, EntryId, Lost, Restarted, StreamFacts, beginning, judge, mended
from worker.events import Reason, Rejected

KEY = "s"
REWIND_MS = 100
TICKS = 1_000
"""Ids have finer clocks than the arguments here, so that no two histories of a stream bring forth the same id."""


@dataclass
class Stream:
    """What a server keeps of a stream. Every entry carries a serial number, which no other entry ever has."""

    entries: dict[EntryId, int] = field(default_factory=dict)
    entries_added: int = 0
    last_generated: EntryId = BEGINNING
    max_deleted: EntryId = BEGINNING

    def copy(self) -> "Stream":
        return replace(self, entries=dict(self.entries))


class Server:
    """Redis, the clock on its wall, and everybody but the worker who has a hand in it."""

    def __init__(self) -> None:
        self.clock_ms = 10_000
        self.epoch = 0
        self.stream = Stream()
        self.saved = Stream()
        self.sent = 0
        self.histories = 0

    def add(self, count: int, ms_later: int) -> None:
        stream = self.stream
        for _ in range(count):
            self.clock_ms += ms_later
            last = stream.last_generated
            now = self.clock_ms * TICKS + self.histories
            stream.last_generated = max(EntryId(now, 0), EntryId(last.ms, last.seq + 1))
            stream.entries[stream.last_generated] = self.sent
            stream.entries_added += 1
            self.sent += 1

    def delete_entry(self, which: int) -> None:
        if self.stream.entries:
            entry_id = list(self.stream.entries)[which % len(self.stream.entries)]
            del self.stream.entries[entry_id]
            self.stream.max_deleted = max(self.stream.max_deleted, entry_id)

    def trim(self, keep: int) -> None:
        for entry_id in list(self.stream.entries)[: max(0, len(self.stream.entries) - keep)]:
            del self.stream.entries[entry_id]

    def trim_below(self, kept: EntryId) -> None:
        self.stream.entries = {entry_id: serial for entry_id, serial in self.stream.entries.items() if entry_id >= kept}

    def delete_key(self) -> None:
        """DEL, FLUSHALL or an eviction."""
        self.stream = Stream()
        self.histories += 1

    def set_last_id(self) -> None:
        """XSETID to the least that Redis takes: the newest entry still there, or deleted by XDEL."""
        self.stream.last_generated = max(self.stream.max_deleted, *self.stream.entries, BEGINNING)
        self.histories += 1

    def turn_clock(self, by_ms: int) -> None:
        self.clock_ms = max(1, self.clock_ms + by_ms)

    def save(self) -> None:
        """A snapshot is written, or the link to the replica breaks."""
        self.saved = self.stream.copy()

    def restart(self) -> None:
        self.epoch += 1

    def fall_back(self) -> None:
        """A restart from the snapshot, or the promotion of the replica."""
        self.restart()
        self.stream = self.saved.copy()
        self.histories += 1

    def fall_back_with_clock_behind(self, ms: int) -> None:
        self.fall_back()
        self.turn_clock(-ms)

    def facts(self, after: EntryId) -> StreamFacts:
        stream = self.stream
        return StreamFacts(
            str(self.epoch),
            len(stream.entries),
            stream.entries_added,
            stream.last_generated,
            min(stream.entries, default=None),
            stream.max_deleted,
            after in stream.entries,
        )


class Reader:
    """The worker, as far as continuity goes: what it counted, and what it wrote down."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.position = beginning(KEY, server.facts(BEGINNING))
        self.counted: set[int] = set()
        self.verdicts: list[tuple[int, Lost | Restarted]] = []
        """With the number of the read that found it."""
        self.reads = 0
        self.first_seen: dict[int, int] = {}
        """The first read at which an entry was in the stream."""
        self.made_up = False
        """Whether a loss was claimed of more entries than had been sent and were gone without being counted."""
        self.unsure_until = 0
        """The last read that could not tell a loss's number: of a restart, or on the way back from a rewind."""

    def read(self, count: int) -> bool:
        """Read at most so many entries, and commit; whether that changed anything."""
        self.reads += 1
        stream, before = self.server.stream, self.position
        for serial in stream.entries.values():
            self.first_seen.setdefault(serial, self.reads)
        unread = [entry_id for entry_id in stream.entries if entry_id > before.last_id]
        page, reached_end = unread[:count], len(unread) <= count
        facts = self.server.facts(before.last_id)
        verdict = judge(before, facts, len(page), reached_end)
        if before.ordinal is None or isinstance(verdict, Restarted):
            self.unsure_until = self.reads
        if verdict is not None:
            self.verdicts.append((self.reads, verdict))
            gone = set(range(self.server.sent)) - self.counted - set(stream.entries.values())
            self.made_up |= isinstance(verdict, Lost) and (verdict.count or 0) > len(gone)
            self.position = mended(before, verdict, facts, REWIND_MS * TICKS)
            return True
        batch = Batch(before)
        if page:
            batch.add(page[-1], [], [Rejected(str(entry_id), Reason.BAD_TEXT, []) for entry_id in page])
            self.counted |= {stream.entries[entry_id] for entry_id in page}
        if reached_end:
            batch.end(facts)
        self.position = batch.after
        return self.position != before

    def trim_read(self) -> None:
        """Trim what is committed and older than a rewind goes back."""
        self.server.trim_below(EntryId(max(0, self.position.last_id.ms - REWIND_MS * TICKS), 0))
