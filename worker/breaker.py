"""The circuit breaker: if most of what comes in is bad, a setting is wrong and not the events. Pure."""

from dataclasses import dataclass
from typing import NamedTuple

from worker.continuity import BEGINNING, EntryId


class Window(NamedTuple):
    """The latest entries of a stream, and how many of them were bad: no whole number, because old entries fade."""

    entries: float = 0.0
    bad: float = 0.0

    def followed_by(self, entries: int, bad: int, size: int) -> "Window":
        """The window after a batch: of older entries it keeps as many as bring it to `size`, in their proportion."""
        kept = min(self.entries, max(0, size - entries))
        share = self.bad / self.entries if self.entries else 0.0
        return Window(kept + entries, kept * share + bad)

    def is_mostly_bad(self, size: int, share: float) -> bool:
        """Whether more than `share` of at least `size` entries were bad. Fewer entries prove nothing."""
        return self.entries >= size and self.bad > share * self.entries


NOTHING_SEEN = Window()


@dataclass(frozen=True, slots=True)
class Breaker:
    """What is stored of a stream's breaker."""

    window: Window = NOTHING_SEEN
    waived_until: EntryId = BEGINNING
    """Entries up to this one pass, however many are bad: a person has said so."""
    halted: bool = False
