"""A storm: two `run`s with four workers on four shards, events coming in, and fault after fault until all are sent."""

import statistics
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

import psutil
import psycopg
import redis

from tests.chaos.faults import LONG_CUT, Fault, Group, deck
from tests.faults.stage import Stage, stage
from tests.faults.truth import Verdict

SHARDS = 4
RUNS = 2
SETTINGS = {
    "ANALYTICS_SHARDS": str(SHARDS),
    "ANALYTICS_REWIND_MINUTES": "0.5",  # each restart of Redis reads so much again, which would be half of the work
    "ANALYTICS_LOG_LEVEL": "WARNING",
}
SEVERAL = "several of them at once"
LONG_MINUTES = 3.0
PUSHED_AT_ONCE = 200
LOOK_SECONDS = 0.02
FLOWING_SECONDS = 0.3
SETTLING_SECONDS = 0.8  # in which a horse without its worker may still commit: it notices within a quarter of a second
RECOVERY_SECONDS = 90.0
READING_SECONDS = 300.0
POSITIONS = "SELECT stream, last_id || ' ' || entries_read FROM analytics.stream_position"

Say = Callable[[str], None]


@dataclass
class Outcome:
    """What was done, and what came of it."""

    struck: Counter[str] = field(default_factory=Counter)
    """How often each kind of fault was done."""
    hit: Counter[Group] = field(default_factory=Counter)
    """How many processes, connections and servers were hit."""
    recoveries: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Seconds that a shard stood still, at most: from a fault, or from when the server was back, to the next commit."""
    entries: int = 0
    repeats: int = 0
    unanswered: int = 0
    """Events in pushes without an answer; they were pushed again until there was one."""
    seconds: float = 0.0
    verdict: Verdict = field(default_factory=lambda: Verdict(0, 0, 0, ["nothing was counted"]))

    def median_and_most(self, kind: str) -> tuple[float, float]:
        """Of the recoveries from one kind of fault, in seconds; not a number if there was none alone."""
        seconds = self.recoveries.get(kind) or [float("nan")]
        return statistics.median(seconds), max(seconds)


class Pulse:
    """Watches the positions: when each shard was last seen to move, and which stood still for how long."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._over = threading.Event()
        self._positions: Mapping[str, str] = {}
        self._moved: dict[str, float] = {}
        self._still: list[tuple[float, float]] = []
        threading.Thread(target=self._watch, name="pulse", daemon=True).start()

    def _watch(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            with suppress(psycopg.Error), self._stage.connect() as connection:
                while not self._over.wait(LOOK_SECONDS):
                    self._look(dict(connection.execute(POSITIONS).fetchall()))

    def _look(self, positions: Mapping[str, str]) -> None:
        now = time.monotonic()
        for stream, position in positions.items():
            if position != self._positions.get(stream):
                if now - (before := self._moved.get(stream, now)) > FLOWING_SECONDS:
                    self._still.append((before, now))
                self._moved[stream] = now
        self._positions = positions

    def flows(self) -> bool:
        """Whether all shards move."""
        now = time.monotonic()
        return len(self._moved) == SHARDS and all(now - moved < FLOWING_SECONDS for moved in self._moved.values())

    def still(self, since: float) -> float:
        """The longest that a shard stood still after `since`, in seconds; 0 if none was seen to."""
        return max((end - max(begin, since) for begin, end in self._still if end > since), default=0.0)

    def stop(self) -> None:
        """Look no more."""
        self._over.set()


class Storm:
    """One run of it."""

    def __init__(self, stage: Stage, *, seed: int, events: int, minutes: float, say: Say) -> None:
        self._stage = stage
        self._chance = Random(seed)
        self._events = events
        self._minutes = minutes
        self._rate = events / (60 * minutes)
        self._say = say
        self._sender = stage.sender(seed)
        self._sending = threading.Thread(target=self._send, name="sender", daemon=True)
        self._failure: Exception | None = None
        self._outcome = Outcome()

    @property
    def sent(self) -> int:
        """How many events have been sent."""
        return self._sender.sent

    def run(self) -> Outcome:
        """Fault after fault until all events are sent; then everything is held against the straight count."""
        began = time.monotonic()
        for _ in range(RUNS):
            self._stage.start("run")
        self._sending.start()
        pulse = Pulse(self._stage)
        self._wait_until_it_flows(pulse)
        cards = [LONG_CUT] if self._minutes >= LONG_MINUTES else []
        while self._sending.is_alive():
            cards = cards or deck(self._chance)
            several = 1 if self._chance.random() < 0.6 else self._chance.randint(2, 4)
            self._strike([cards.pop() for _ in range(min(several, len(cards)))], pulse)
        pulse.stop()
        if self._failure:
            raise self._failure
        self._say("all events are sent; they are read to the end, and held against a straight count")
        self._judge()
        self._outcome.seconds = time.monotonic() - began
        return self._outcome

    def _send(self) -> None:
        began = time.monotonic()
        try:
            while self.sent < self._events:
                self._sender.send(min(PUSHED_AT_ONCE, self._events - self.sent))
                time.sleep(max(0.0, began + self.sent / self._rate - time.monotonic()))
        except Exception as error:
            self._failure = error

    def _strike(self, faults: Sequence[Fault], pulse: Pulse) -> None:
        began = time.monotonic()
        chances = [Random(self._chance.getrandbits(64)) for _ in faults]
        strikers = [threading.Thread(target=self._hit, args=each) for each in zip(faults, chances, strict=True)]
        for striker in strikers:
            striker.start()
        for striker in strikers:
            striker.join()
        # Who is only killed is started again at once; of everything else it counts from when it is back.
        since = began if all(fault.group == Group.PROCESS for fault in faults) else time.monotonic()
        time.sleep(SETTLING_SECONDS)
        self._wait_until_it_flows(pulse)
        seconds = pulse.still(since)
        if self._sending.is_alive():  # else there was nothing more to count
            self._outcome.recoveries[faults[0].kind if len(faults) == 1 else SEVERAL].append(seconds)
        self._say(f"still for {seconds:4.2f} s: {', '.join(fault.kind for fault in faults)}")

    def _hit(self, fault: Fault, chance: Random) -> None:
        hit = 0
        with suppress(psycopg.Error, redis.RedisError, psutil.NoSuchProcess):  # another fault was faster
            hit = fault.strike(self._stage, chance)
        if hit:
            self._outcome.struck[fault.kind] += 1
            self._outcome.hit[fault.group] += hit

    def _wait_until_it_flows(self, pulse: Pulse) -> None:
        deadline = time.monotonic() + RECOVERY_SECONDS
        while self._sending.is_alive() and not pulse.flows():
            assert time.monotonic() < deadline, f"a shard stands still for {RECOVERY_SECONDS:.0f} s"
            self._stage.start_ended()
            time.sleep(LOOK_SECONDS)

    def _judge(self) -> None:
        self._stage.start_ended()
        outcome = self._outcome
        outcome.verdict = self._stage.verdict(READING_SECONDS)
        books = self._stage.truth.tally.books
        became = Counter[str]()
        for (_, what), entries in books.items():
            became[what] += entries
        outcome.entries = became["read"]
        outcome.repeats = became["read"] - became["counted"] - became["excluded"] - became["dead_lettered"]
        outcome.unanswered = self._sender.unanswered


def storm(*, seed: int, events: int, minutes: float, say: Say) -> Outcome:
    """Send so many events in so many minutes, with two `run`s of two workers each at work, and strike all the time.

    Args:
        seed: decides events and faults; when exactly a fault falls is up to the machine.
        events: how many are sent, with the repeats.
        minutes: in which they are sent.
        say: told of each fault as it is done.

    Raises:
        AssertionError: the counting does not go on after a fault.
    """
    with stage(SETTINGS) as ready:
        return Storm(ready, seed=seed, events=events, minutes=minutes, say=say).run()
