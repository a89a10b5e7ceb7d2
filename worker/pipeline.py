"""One micro-batch from read to commit, and the loop around it. The heart: an event's way, from top to bottom.

    read after the position → parse → one transaction → trim what is committed and old

While PostgreSQL works on one batch the next is read and parsed, so a batch is simply what came in meanwhile.
"""

import gc
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from worker import store
from worker.backoff import Backoff
from worker.batch import Batch
from worker.breaker import NOTHING_SEEN, Window
from worker.continuity import EntryId, Lost, Position, Restarted, beginning, judge, mended
from worker.errors import Conflict, Halted, Retry
from worker.intake import Intake
from worker.log import get_logger
from worker.report import Report
from worker.settings import Settings
from worker.stop import pause
from worker.store import Committed
from worker.stream import FIRST_PAGE_ENTRIES, Page, StreamReader, connect_redis, next_page_entries

REJECTED_BYTES = 16_000_000
"""A batch ends with so many bytes of bad entries, which go into it as they are."""

ANSWER_S = 0.1

WAIT_MS = 250
"""Longest sleep in Redis: how late a stop is noticed, and how often an idle stream is held against what is stored."""

HALTED_S = 2.0
"""How often a halted shard looks whether its events have turned good."""

TRIM_EVERY_S = 2.0

log = get_logger(__name__)


def run_shard(
    settings: Settings, shard: int, should_stop: Callable[[], bool], must_stop: Callable[[], bool] = lambda: False
) -> dict[str, int]:
    """Count the events of one shard until asked to stop; a server that is away is waited for.

    Args:
        settings: where the servers are, and how to count.
        shard: number of the stream, from 0.
        should_stop: asked at least every quarter of a second; the batch in hand is finished.
        must_stop: the same, but a batch that PostgreSQL is still working on is given up, to be read again.

    Returns:
        What became of the entries that were read: `counted`, `duplicates`, `excluded`, `dead_lettered`.

    Raises:
        Stop: a person must change something first (wrong password, missing migration).
    """
    report, backoff, halted = Report(shard), Backoff(), False
    while not should_stop():
        try:
            with opened(settings, shard, report) as rollup:
                rollup.must_stop = must_stop
                rollup.run(should_stop, on_progress=backoff.reset)
        except Conflict as conflict:
            level = logging.WARNING if backoff.next_s else logging.INFO  # one is usual, one after the other is not
            log.log(level, "position reloaded", shard=shard, why=str(conflict))
            backoff.wait(should_stop)
        except Halted as error:
            if not halted:  # once a slice of the job, so about once a minute
                log.error("shard halted", shard=shard, why=str(error), to_do="python -m worker resume --help")
            halted = True
            pause(HALTED_S, should_stop)
        except Retry as error:
            log.warning("waiting for a server", shard=shard, why=str(error), seconds=backoff.next_s)
            backoff.wait(should_stop)
    report.write()
    return report.total._asdict()


@contextmanager
def opened(settings: Settings, shard: int, report: Report) -> Iterator["Rollup"]:
    """A shard's rollup with its connections, and no garbage collection while it lives.

    Looking through a batch's many small objects would cost a drain up to half its rate, and the loop makes no cycles
    that could pile up.
    """
    with ExitStack() as resources:
        rollup = Rollup(settings, shard, report, resources)
        gc.disable()
        resources.callback(gc.enable)
        yield rollup


@dataclass(frozen=True, slots=True)
class InFlight:
    """A batch that PostgreSQL is working on."""

    batch: Batch
    answer: Future[Committed]
    sent_at: float


class Rollup:
    """What is known of one shard between two batches. All of it is a cache of PostgreSQL: any error throws it away."""

    def __init__(self, settings: Settings, shard: int, report: Report, resources: ExitStack) -> None:
        """Connect, and load the position; `resources` closes what is opened here."""
        self.settings = settings
        self.shard = shard
        self.report = report
        client = resources.enter_context(connect_redis(settings))
        self.reader = StreamReader(client, settings, settings.stream_keys[shard])
        self.writer = resources.enter_context(store.connect_postgres(settings, f"rollup {shard}"))
        self.lookup = resources.enter_context(store.connect_postgres(settings, f"rollup {shard} lookup"))
        self.background = resources.enter_context(ThreadPoolExecutor(max_workers=1))
        self.intake = Intake(settings, self.lookup)
        self.position = self._load_position()
        self.breaker = store.load_breaker(self.lookup, self.reader.key)
        self.window = self.breaker.window
        self.page_entries = FIRST_PAGE_ENTRIES
        self.must_stop: Callable[[], bool] = lambda: False
        self.trim_at = 0.0
        self.continuous = False
        """Whether the last read found the stream to be what the position says."""

    def _load_position(self) -> Position:
        stream = self.reader.key
        position = store.load_position(self.lookup, stream)
        if position is None:
            store.begin_position(self.lookup, beginning(stream, self.reader.read(EntryId(0, 0), count=1).facts))
            position = store.load_position(self.lookup, stream)
        if position is None:
            raise Retry(f"the position of {stream} went away while it was made")
        return position

    def run(self, should_stop: Callable[[], bool], on_progress: Callable[[], None]) -> None:
        """Batch after batch until asked to stop; sleeps in Redis while there is nothing to read."""
        in_flight, caught_up = None, False
        while not should_stop():
            if caught_up:
                self._settle(in_flight)
                in_flight = None
                on_progress()
                self._trim_when_due()
                if self.reader.wait(self.position.last_id, WAIT_MS):
                    pause(self.settings.linger_ms / 1000, should_stop)
            batch = self._gather(in_flight)
            self._settle(in_flight)
            if in_flight:
                on_progress()
            caught_up = batch.reached_end or not batch.entries
            # What is dropped because of a stop, the next job reads again.
            in_flight = self._send(batch) if batch.moves and not should_stop() else None
        self._settle(in_flight)
        on_progress()
        self._trim()

    def _gather(self, in_flight: InFlight | None) -> Batch:
        """Read and parse what there is, up to one batch, for as long as PostgreSQL works on the batch before.

        One that moves nothing means: nothing new, or the stream is not what the position says, which is put right.
        """
        started = time.perf_counter()
        batch = Batch(in_flight.batch.after if in_flight else self.position)
        while (room := self.settings.batch_entries - batch.entries) > 0 and batch.rejected_bytes < REJECTED_BYTES:
            page = self.reader.read(batch.after.last_id, min(self.page_entries, room))
            verdict = judge(batch.after, page.facts, len(page.entries), page.reached_end)
            self.continuous = verdict is None
            if verdict is not None:
                if not in_flight and not batch.entries:
                    self._heal(verdict, page)
                break  # what is at hand is committed first; the next read judges again from there
            if page.entries:
                self.page_entries = next_page_entries(self.page_entries, page.entries)
                events, rejected = self.intake.parse(page.entries)
                batch.add(EntryId.of(page.entries[-1][0].decode()), events, rejected)
            if page.reached_end:
                batch.end(page.facts)
                break
            if in_flight is None or in_flight.answer.done() or self.must_stop():
                break
        if batch.entries:
            self.report.read(time.perf_counter() - started)
        return batch

    def _send(self, batch: Batch) -> InFlight:
        """Hand a batch to PostgreSQL; its answer is awaited later.

        Raises:
            Halted: most of what comes in is bad; the batch stays unread.
        """
        batch.window = self.window = self._let_pass(batch)
        self.intake.make_partitions(batch.days)
        answer = self.background.submit(store.commit_batch, self.writer, batch, self.shard, self.settings.time_zone)
        return InFlight(batch, answer, time.perf_counter())

    def _let_pass(self, batch: Batch) -> Window:
        """The breaker's window after a batch that may be committed.

        Bad entries are buried one by one as long as most are good. If most are bad, and the newest in the stream are no
        better, somebody must look at the settings first: nothing is committed, so nothing is skipped.

        Raises:
            Halted: that is so.
        """
        size, share = self.settings.breaker_entries, self.settings.breaker_share
        window = self.window.followed_by(batch.entries, len(batch.rejected), size)
        if batch.read_after.last_id < self.breaker.waived_until and not self.breaker.halted:
            return NOTHING_SEEN  # halted after that was said, and then rewound behind it: what came later may not pass
        if self.breaker.halted or window.is_mostly_bad(size, share):
            _, rejected = self.intake.parse(newest := self.reader.newest(min(size, 8 * self.page_entries)))
            if len(rejected) > share * len(newest):
                reasons = ", ".join(
                    f"{n} {reason}" for reason, n in Counter(bad.reason for bad in rejected).most_common(3)
                )
                because = f"{len(rejected)} of the newest {len(newest)} entries of {self.reader.key} are bad: {reasons}"
                store.halt_stream(self.lookup, self.position, self.breaker.waived_until, because)
                self._trim_when_due()  # what waits needs the room of what was committed
                raise Halted(because)
            window = NOTHING_SEEN
        if self.breaker.halted:
            store.resume_stream(self.lookup, self.reader.key, "mostly_good")
            self.breaker = replace(self.breaker, halted=False)
            log.info("shard resumed", shard=self.shard)
        return window

    def _settle(self, in_flight: InFlight | None) -> None:
        """Wait for PostgreSQL's answer; only now is the batch behind us.

        Raises:
            Conflict: somebody else moved the position first; nothing of the batch was written.
            Retry: it is not known whether the batch was written; the stored position will tell.
        """
        if in_flight is None:
            return
        committed = self._answer(in_flight)
        self.position = in_flight.batch.after
        self.report.committed(committed, str(self.position.last_id), time.perf_counter() - in_flight.sent_at)
        self._trim_when_due()

    def _trim_when_due(self) -> None:
        if time.monotonic() >= self.trim_at:
            self._trim()

    def _trim(self) -> None:
        """Trim what is committed and old; at once again if there was something, for there may be more.

        When memory is short, what is committed goes at once: to take new events is the job, to keep old ones a comfort.
        Not from a stream that may be another one, where entries below the position were perhaps never read.
        """
        certain = self.continuous and self.position.ordinal is not None
        pressed = certain and self.reader.short_of_memory()
        trimmed = self.reader.trim(self.position.last_id, 0 if pressed else self.settings.stream_retention_ms)
        self.trim_at = time.monotonic() + (0.0 if trimmed else TRIM_EVERY_S)
        if pressed and trimmed:
            log.warning("Redis is short of memory: trimmed before the retention", shard=self.shard, entries=trimmed)

    def _answer(self, in_flight: InFlight) -> Committed:
        while True:
            try:
                return in_flight.answer.result(timeout=ANSWER_S)
            except FutureTimeout:
                if self.must_stop():
                    self.writer.cancel_safe(timeout=1.0)

    def _heal(self, verdict: Lost | Restarted, page: Page) -> None:
        """Record what is wrong with the stream, and put the position where reading can go on."""
        moved = mended(self.position, verdict, page.facts, self.settings.rewind_ms)
        if isinstance(verdict, Lost):
            log.error("entries lost", shard=self.shard, verdict=verdict.verdict, lost=verdict.count)
        else:
            log.error("stream restarted", shard=self.shard, verdict=verdict.verdict, reading_after=str(moved.last_id))
        store.record_continuity(self.lookup, self.position, verdict, moved, page.facts)
        self.position = moved
