"""What is stored about a stream, held against what the stream says now: is anything missing in between? Pure."""

from dataclasses import dataclass, replace
from typing import NamedTuple


class EntryId(NamedTuple):
    """A stream entry's id. Ids order as pairs of numbers; as text, 9-1 would stand behind 10-1."""

    ms: int
    seq: int

    @classmethod
    def of(cls, text: str) -> "EntryId":
        """Read `ms-seq`."""
        ms, _, seq = text.partition("-")
        return cls(int(ms), int(seq or 0))

    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}"

    @property
    def before(self) -> "EntryId":
        """The next smaller id."""
        return EntryId(self.ms, self.seq - 1) if self.seq else EntryId(self.ms - 1, LARGEST_SEQ)

    @property
    def after(self) -> "EntryId":
        """The next larger id."""
        return EntryId(self.ms, self.seq + 1) if self.seq < LARGEST_SEQ else EntryId(self.ms + 1, 0)


LARGEST_SEQ = 2**64 - 1
BEGINNING = EntryId(0, 0)


@dataclass(frozen=True, slots=True)
class Position:
    """How far a stream has been read: the facts about it as they were then."""

    stream: str
    epoch: str
    """Replication id of the Redis server whose entries the numbers are about."""
    last_id: EntryId
    ordinal: int | None
    """Number of the last entry read among all ever added; None after a rewind, until the end was reached once."""


@dataclass(frozen=True, slots=True)
class StreamFacts:
    """What Redis says about a stream, taken in one MULTI with the entries that were read."""

    epoch: str
    length: int = 0
    entries_added: int = 0
    last_generated: EntryId = BEGINNING
    first: EntryId | None = None
    """The oldest entry still there; None if there is none."""
    max_deleted: EntryId = BEGINNING
    """Moved by XDEL alone, not by trimming."""
    last_read_there: bool = False
    """Whether the entry that was read last is still in the stream."""

    @property
    def ordinal_before_first(self) -> int:
        """How many entries were added and are gone: those before the oldest one still there, while nobody uses XDEL."""
        return self.entries_added - self.length


@dataclass(frozen=True, slots=True)
class Lost:
    """Entries left the stream before they were read: record the number, go on."""

    verdict: str
    count: int | None
    """None if they left on the way back from a rewind: which of them had been read before, nobody knows."""


@dataclass(frozen=True, slots=True)
class Restarted:
    """The stream is not the one that the position is about: go back, under the new epoch. The ledger drops repeats."""

    verdict: str


Verdict = Lost | Restarted | None


def judge(position: Position, facts: StreamFacts, entries_read: int, reached_end: bool) -> Verdict:
    """Hold the stored facts against the stream's.

    Args:
        position: what was stored when the last batch was committed.
        facts: what the stream says, in the same instant as the read below.
        entries_read: how many entries were read after the position.
        reached_end: whether that was all there is.

    Returns:
        None when nothing is missing, else what is.
    """
    ordinal = position.ordinal
    # Then all that is there is still to be read, and nothing of what was read is there.
    all_unread = facts.first is None or facts.first > position.last_id
    missing, replaced = 0, facts.last_generated < position.last_id
    if ordinal is not None:
        if all_unread or reached_end:
            # Exact whoever deleted what: all that was ever added, less what had been read, less what can be read.
            missing = facts.entries_added - ordinal - (facts.length if all_unread else entries_read)
        # Trimming begins at the oldest entry, so the one read last can only have been deleted, or it never was there.
        known = all_unread or facts.last_read_there or facts.max_deleted >= position.last_id
        # More is there than was added since: it was emptied, and filled again.
        replaced |= facts.entries_added < ordinal or missing < 0 or not known
    if replaced:
        return Restarted("emptied" if facts.entries_added == 0 else "went_back")
    if facts.epoch != position.epoch:
        return Restarted("restarted")
    if missing:
        trimmed = all_unread and facts.max_deleted <= position.last_id
        return Lost("trimmed_unread" if trimmed else "deleted_unread", missing)
    if ordinal is None and (facts.first is None or facts.first > position.last_id.after):
        return Lost("trimmed_unread", None)
    return None


def beginning(stream: str, facts: StreamFacts) -> Position:
    """Where reading begins on a stream that was never read: before the oldest entry still there."""
    return Position(stream, facts.epoch, BEGINNING, facts.ordinal_before_first)


def mended(position: Position, verdict: Lost | Restarted, facts: StreamFacts, rewind_ms: int) -> Position:
    """Where reading goes on after a verdict.

    After a loss it is where it was, or behind what is gone. After a restart it goes back by `rewind_ms`, or before the
    oldest entry still there: the entries in between were perhaps never seen, for a fail-over to a replica whose clock
    is behind lets new ids land below the position. If the server is the same, the stream itself was replaced, and
    perhaps none of it was seen.
    """
    if isinstance(verdict, Lost) and verdict.count is not None:
        return replace(position, ordinal=(position.ordinal or 0) + verdict.count)
    if facts.first is None:
        return beginning(position.stream, facts)
    if isinstance(verdict, Lost):
        return replace(position, last_id=facts.first.before)
    back_to = EntryId(min(position.last_id, facts.last_generated).ms - rewind_ms, 0)
    if facts.epoch == position.epoch or back_to < facts.first:
        back_to = facts.first
    return Position(position.stream, facts.epoch, back_to.before, None)
