"""What becomes of entries before they are committed, whoever reads them: one set of rules, and partitions as needed."""

import time
from collections.abc import Iterable, Sequence
from datetime import date, timedelta

from worker import store
from worker.events import Event, Reason, Rejected, Rules, parse
from worker.settings import Settings
from worker.store import Connection
from worker.stream import Entry

SPECIALISTS_REMEMBERED = 200_000
EPOCH = date(1970, 1, 1)


class Intake:
    """What is known of specialists and partitions. A cache of PostgreSQL: any error throws it away."""

    def __init__(self, settings: Settings, lookup: Connection) -> None:
        """`lookup` is asked while another connection commits."""
        self.settings = settings
        self.lookup = lookup
        self.specialists: set[str] = set()
        self.partitions = store.list_partitions(lookup)
        self.newest_sealed = store.load_newest_sealed_day(lookup)
        self.first_open_day = (self.newest_sealed - EPOCH).days + 1 if self.newest_sealed else 0

    @property
    def rules(self) -> Rules:
        """The contract's rules as they hold now."""
        return Rules.at(
            time.time_ns() // 1_000_000,
            ledger_days=self.settings.ledger_days,
            exclude_bots=self.settings.exclude_bots,
            secret=self.settings.visitor_key,
            first_open_day=self.first_open_day,
        )

    def parse(self, entries: Sequence[Entry]) -> tuple[list[Event], list[Rejected]]:
        """The events among the entries, and those that cannot be counted."""
        rules = self.rules
        verdicts = [parse(entry_id, fields, rules) for entry_id, fields in entries]
        events = [verdict for verdict in verdicts if type(verdict) is Event]
        rejected = [verdict for verdict in verdicts if type(verdict) is Rejected]
        unknown = self._unknown({event.specialist_id for event in events})
        if unknown:
            fields_of = dict(entries)
            rejected += [
                Rejected(event.entry_id, Reason.UNKNOWN_SPECIALIST, fields_of[event.entry_id.encode()])
                for event in events
                if event.specialist_id in unknown
            ]
            events = [event for event in events if event.specialist_id not in unknown]
        return events, rejected

    def _unknown(self, ids: set[str]) -> set[str]:
        """Those of the ids that are no specialist's. The known are remembered; who was unknown is asked about again."""
        unseen = ids - self.specialists
        if not unseen:
            return unseen
        if len(self.specialists) > SPECIALISTS_REMEMBERED:
            self.specialists.clear()
        known = store.known_specialists(self.lookup, unseen)
        self.specialists |= known
        return unseen - known

    def make_partitions(self, days: Iterable[int]) -> None:
        """Let the ledger have a partition of each UTC day, counted from 1970-01-01.

        Raises:
            Conflict: a day was sealed meanwhile.
        """
        for day in sorted(days):
            if (utc_day := EPOCH + timedelta(days=day)) not in self.partitions:
                store.create_partition(self.lookup, utc_day)
                self.partitions.add(utc_day)
