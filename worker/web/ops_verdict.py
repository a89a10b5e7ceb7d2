"""Whether the counting goes on, by one look at the servers, and what is not as it should be. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Literal, NamedTuple

from jobs.queue import OPS, ROLLUP
from jobs.view import JobsView
from worker.errors import NotMigrated, Retry
from worker.inspection.observe import POSTGRESQL, REDIS, Observation
from worker.inspection.status import ContinuityEvent, DeadLetters, ShardStatus
from worker.inspection.status_view import HOW_A_HALT_ENDS, NO_WORKER
from worker.operations.dead_letters import Glimpse
from worker.operations.request_store import RequestStand
from worker.operations.runs import Run
from worker.units import duration
from worker.upkeep.schedule_view import WHY_LATE
from worker.upkeep.schedule_view import Line as ScheduleLine
from worker.web.health import stands

NAMES = {POSTGRESQL: "PostgreSQL", REDIS: "Redis"}

Level = Literal["good", "warn", "bad", "none"]


@dataclass(frozen=True, slots=True)
class Look:
    """One look. What could not be had is None, and `seen.away` says why."""

    at: datetime
    seen: Observation
    rates: Mapping[str, float]
    """Entries a second by stream, since the look before; empty if there was none lately."""
    dead_letters: Sequence[DeadLetters] | None
    latest_letters: Sequence[Glimpse]
    findings: Sequence[ContinuityEvent]
    runs: Sequence[Run] | None
    """Those that are open, and the last ones; of refreshes none."""
    requests: RequestStand | None
    jobs: JobsView | None


class Moment(NamedTuple):
    """A time for people and for programs."""

    text: str
    iso: str


class Clock:
    """Times of the zone that divides the days; those of another date with the date."""

    def __init__(self, zone: tzinfo, now: datetime) -> None:
        self.zone = zone
        self.today = now.astimezone(zone).date()

    def __call__(self, moment: datetime) -> Moment:
        """As people say it today, and as a program reads it."""
        here = moment.astimezone(self.zone)
        text = f"{here:%H:%M:%S}" if here.date() == self.today else f"{here:%Y-%m-%d %H:%M}"
        return Moment(text, moment.astimezone(UTC).isoformat(timespec="seconds"))


class Line(NamedTuple):
    """Something that is not well, and what is to be done about it. Parts in backticks are commands and names."""

    level: Level
    text: str
    advice: str = ""
    since: Moment | None = None


class Verdict(NamedTuple):
    """What somebody who was woken up wants to know first."""

    level: Level
    headline: str
    detail: str
    lines: Sequence[Line]


def verdict(look: Look, streams: Sequence[str], schedule: Sequence[ScheduleLine], clock: Clock) -> Verdict:
    """Whether the counting goes on, and all that is not as it should be: the worst first."""
    found = sorted(_wrongs(look, streams, schedule, clock), key=lambda line: line.level != "bad")
    if not found:
        detail = "Every stream is read, the books balance, no alert holds."
        return Verdict("good", "All is well", detail, ())
    bad = [line for line in found if line.level == "bad"]
    count = f"{len(found)} things need" if len(found) > 1 else "One thing needs"
    if not bad:
        return Verdict("warn", "Counting goes on", f"{count} a look.", found)
    return Verdict("bad", _headline(look, streams), "" if len(found) == 1 else f"{count} a look.", found)


def _headline(look: Look, streams: Sequence[str]) -> str:
    away = look.seen.away
    if len(away) == len(NAMES):
        return "Nothing can be known: both servers are away"
    for server, error in away.items():
        if isinstance(error, NotMigrated):
            return f"{NAMES[server]} is not migrated: nothing can be counted"
        how = "is away" if isinstance(error, Retry) else "refuses us"
        return f"{NAMES[server]} {how}: nothing new is counted until that is mended"
    shards = [shard for shard in look.seen.shards or () if shard.stream in streams]
    standing = [shard for shard in shards if is_stuck(shard)]
    if not all(shard.balances for shard in look.seen.shards or ()):
        return "The books do not balance"
    if standing:
        where = "" if len(shards) == 1 else f" on {len(standing)} of {len(shards)} streams"
        return f"Counting stands still{where}"
    return "Nobody counts"


def is_stuck(shard: ShardStatus) -> bool:
    """Whether nothing of a stream is counted: it has halted, or stands still although there is something to read."""
    return stands(shard) or bool(shard.books and shard.books.halted_at)


def _wrongs(look: Look, streams: Sequence[str], schedule: Sequence[ScheduleLine], clock: Clock) -> Iterator[Line]:
    seen = look.seen
    for error in seen.away.values():
        advice = "It goes on by itself when the server is back." if isinstance(error, Retry) else ""
        yield Line("bad", str(error), advice)
    for shard in seen.shards or ():
        yield from _wrongs_of_shard(shard, streams, clock)
    if look.jobs is not None:
        yield from _missing_workers(look.jobs)
    if seen.records is not None:
        for alert in seen.records.alerts:
            yield Line("warn", f"Alert `{alert.name}`: {alert.text}", since=clock(alert.started_at))
        for ran in seen.records.scheduled:
            if ran.failure:
                yield Line("warn", f"Scheduled job `{ran.name}` failed: {ran.failure}", since=clock(ran.begun_at))
    if late := [f"`{line.scheduled.name}` of {clock(line.late_tick).text}" for line in schedule if line.late_tick]:
        yield Line("warn", f"Not done yet: {', '.join(late)}.", _sentence(WHY_LATE))


def _wrongs_of_shard(shard: ShardStatus, streams: Sequence[str], clock: Clock) -> Iterator[Line]:
    books = shard.books
    if not shard.balances:
        yield Line("bad", f"The books of `{shard.stream}` do not balance.", "`python -m worker doctor` says more.")
    if books and books.halted_at:
        yield Line(
            "bad", f"`{shard.stream}` has halted: {books.halted_because}.", HOW_A_HALT_ENDS, clock(books.halted_at)
        )
    elif shard.stream in streams and stands(shard):
        what = "was never read" if books is None else f"has not moved for {duration(books.committed_s_ago)}"
        unread = "" if shard.lag_entries is None else f" {shard.lag_entries:,} entries are unread,"
        text = f"`{shard.stream}` {what}:{unread} the oldest waits for {duration(shard.waits_s)}."
        yield Line("bad", text, "See the workers below, their log, and `python -m worker doctor`.")


def _missing_workers(jobs: JobsView) -> Iterator[Line]:
    queues = {worker.queue for worker in jobs.workers}
    if not queues:
        yield Line("bad", _sentence(NO_WORKER))
    elif ROLLUP not in queues:
        yield Line("bad", "No worker counts events.", "Start one with `python -m worker work rollup`.")
    elif OPS not in queues:
        yield Line("warn", "No worker does runs and scheduled jobs.", "Start one with `python -m worker work ops`.")


def _sentence(words: str) -> str:
    return f"{words[0].upper()}{words[1:]}."
