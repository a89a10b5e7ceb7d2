"""`python -m worker demo`: a day of events through the real processes, and everything held against a straight count."""

import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from zoneinfo import ZoneInfo

from worker.demo.count import differences, straight_count
from worker.demo.interrupts import ended_by_signals, hear_no_more
from worker.demo.lasting import stay
from worker.demo.stage import LOOK_SECONDS, Stage, stage
from worker.demo.synthetic import EVENTS, Day, synthetic_day
from worker.demo.view import Check, Moment, View
from worker.errors import Stop
from worker.event_file import EventFile
from worker.events import Rules
from worker.producer import Pusher
from worker.stream import redis_errors

INTERRUPTED = 130
SEND_SECONDS = 5.0
"""Over which the events are spread, so that there is something to see; a few take less."""

STALL_SECONDS = 30.0


def run_demo(file: Path | None, *, keep: bool | None, events: int = EVENTS) -> int:
    """Show the whole product, on servers of its own unless DATABASE_URL and REDIS_URL name empty ones.

    Args:
        file: NDJSON events; None makes a synthetic day.
        keep: stay up after the report until Ctrl-C, with the pages, and say how to reach everything; None does so on a
            terminal.
        events: how many the synthetic day has.

    Returns:
        The exit code: 0 if everything was read, the books balance, and the tables are what a straight count gives;
        1 if not; 130 after Ctrl-C.

    Raises:
        Stop: the file cannot be read, or the servers or the worker do not start.
        Retry: a server went away.
    """
    began = time.monotonic()
    keep = sys.stdout.isatty() if keep is None else keep
    view = View()
    with ended_by_signals():
        try:
            day, what = _day_of(file) if file else _synthetic_day(events)
            view.title(what)
            # The days of a file may lie years back.
            defaults = {"ANALYTICS_LEDGER_DAYS": "0"} if file else {}
            with stage(day.specialists, defaults, view.step) as ready:
                passed = _Play(ready, day, view).run()
                if keep:
                    stay(ready, day, view, with_history=file is None)
                hear_no_more()
                view.ending(borrowed=ready.borrowed)
        except KeyboardInterrupt:
            view.stopped()
            return INTERRUPTED
    view.farewell(time.monotonic() - began, kept=keep)
    return 0 if passed else 1


def _synthetic_day(events: int) -> tuple[Day, str]:
    day = synthetic_day(time.time_ns() // 1_000_000, events=events)
    return day, f"a synthetic day of {len(day.events):,} events"


def _day_of(file: Path) -> tuple[Day, str]:
    source = EventFile(file)
    events = list(source)
    if not events:
        raise Stop(f"{source.name} has no events")
    ids = {str(event.get("specialistId", "")) for event in events}
    # The others cannot be anybody's, and PostgreSQL could not store some of them.
    specialists = sorted(one for one in ids if one and one.isascii() and one.isprintable())
    return Day(specialists, events), f"the {len(events):,} events of {source.name}"


@dataclass
class _Play:
    """Send the day, watch it being counted, and hold the result against the straight count."""

    ready: Stage
    day: Day
    view: View
    pusher: Pusher = field(init=False)
    began: float = field(init=False)
    most_behind_s: float = field(default=0.0, init=False)

    def run(self) -> bool:
        """Whether everything that must hold holds."""
        self.pusher = Pusher(self.ready.client, self.ready.settings.stream_keys)
        self.began = time.monotonic()
        with self.view.live(), redis_errors(self.ready.settings):
            entry_ids = self._send()
            self._wait_until_read()
        return self._check(entry_ids)

    def _send(self) -> list[bytes]:
        entry_ids: list[bytes] = []
        looked_at = 0.0
        rate = max(1_000.0, len(self.day.events) / SEND_SECONDS)
        for pushed in self.pusher.push(self.day.events, rate):
            entry_ids += pushed
            if time.monotonic() >= looked_at + LOOK_SECONDS:
                self.most_behind_s = max(self.most_behind_s, self._look().behind_s)
                looked_at = time.monotonic()
        return entry_ids

    def _wait_until_read(self) -> None:
        """Until nothing is left to read, or nothing is read any more: then the report says what is missing."""
        read, read_at = -1, time.monotonic()
        while (moment := self._look()).behind != 0 and time.monotonic() < read_at + STALL_SECONDS:
            if moment.read != read:
                read, read_at = moment.read, time.monotonic()
            time.sleep(LOOK_SECONDS)

    def _look(self) -> Moment:
        seconds = time.monotonic() - self.began
        moment = Moment.of(self.ready.look(), sent=self.pusher.sent, total=len(self.day.events), seconds=seconds)
        self.view.show(moment)
        return moment

    def _check(self, entry_ids: list[bytes]) -> bool:
        settings = self.ready.settings
        now_ms = time.time_ns() // 1_000_000
        rules = Rules.at(now_ms, ledger_days=settings.ledger_days, exclude_bots=settings.exclude_bots, secret=b"")
        sent = zip(entry_ids, self.day.events, strict=True)
        expected = straight_count(sent, set(self.day.specialists), rules, ZoneInfo(settings.time_zone))
        found, status = self.ready.count(), self.ready.look()
        wrong = list(differences(expected, found))
        books = [shard.books for shard in status.shards if shard.books]
        read, lost = sum(book.entries_read for book in books), sum(book.lost for book in books)
        checks = (
            Check(read == self.pusher.sent and not lost, f"{self.pusher.sent:,} entries were sent, {read:,} were read"),
            Check(all(shard.balances for shard in status.shards) and found.books.read == read, "the books balance"),
            Check(
                not wrong, f"all {len(found.rows):,} daily rows, and the books, equal a straight count of what was sent"
            ),
        )
        self.view.report(found, checks, self.most_behind_s)
        passed = all(check.holds for check in checks)
        if not passed:
            self.view.failure(wrong, self.ready.last_words())
        return passed
