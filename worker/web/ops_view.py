"""What the operator's page says, from one look at the servers: the facts and the words of `status` and `runs`. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from itertools import groupby
from typing import NamedTuple
from zoneinfo import ZoneInfo

from jobs.view import JobsView, QueueView
from worker.events import Reason
from worker.inspection.status import ContinuityEvent, ShardStatus
from worker.inspection.status_view import (
    closing_in_words,
    freshness,
    lost_in_words,
    outcomes_in_words,
    requests_in_words,
)
from worker.operations.dead_letters import Glimpse
from worker.operations.run_view import arguments_in_words, progress, result_in_words, took
from worker.operations.runs import Run
from worker.printable import printable
from worker.scheduler import SCHEDULE
from worker.units import duration
from worker.upkeep.schedule_view import Line as ScheduleLine
from worker.upkeep.schedule_view import lines, took_in_words
from worker.upkeep.schedule_view import result_in_words as scheduled_in_words
from worker.web.health import stands
from worker.web.ops_verdict import NAMES, Clock, Level, Look, Moment, Verdict, is_stuck, verdict

STREAMS_SHOWN = 64
"""Those that are furthest behind, where there are more."""

UNBEATEN_S = 30.0
"""Seconds without a heartbeat after which a worker is doubtful; busy or not, it has one every few seconds."""

LINE_CHARACTERS = 100


class Tile(NamedTuple):
    """A key figure."""

    name: str
    value: str
    note: str
    level: Level = "none"


class StreamRow(NamedTuple):
    """Where a stream is read, and its books."""

    stream: str
    level: Level
    state: str
    position: str
    unread: str
    oldest: str
    right_as_of: str
    rate: str
    read: str
    counted: str
    repeats: str
    excluded: str
    dead: str
    lost: str
    balances: bool


class LetterRow(NamedTuple):
    """A dead letter. Its stream and its fields are what anybody wrote into Redis."""

    id: int
    buried: Moment
    stream: str
    entry_id: str
    fields: Sequence[tuple[str, str]]
    fields_left: int


class ReasonRow(NamedTuple):
    """All dead letters of a reason."""

    reason: str
    letters: int
    latest: Moment
    can_be_requeued: bool
    examples: Sequence[LetterRow]


class RunRow(NamedTuple):
    """A run."""

    id: int
    kind: str
    arguments: str
    operator: str
    state: str
    level: Level
    asked: Moment
    took: str
    progress: str
    done: int
    total: int | None
    is_open: bool
    stopped_by: str | None
    silent: str
    error: str | None
    result_in_line: str
    """What came of it so far, if that is short."""
    result: Sequence[tuple[str, str | None]]


class ScheduledRow(NamedTuple):
    """A line of the schedule."""

    name: str
    purpose: str
    cron: str
    level: Level
    last: Moment | None
    took: str
    result: str
    next: Moment
    late: Moment | None


class WorkerRow(NamedTuple):
    """A worker process."""

    name: str
    queue: str
    state: str
    level: Level
    job: str
    heartbeat: str


class FindingRow(NamedTuple):
    """Something that was found wrong with a stream."""

    happened: Moment
    stream: str
    verdict: str
    action: str
    lost: str


@dataclass(frozen=True, slots=True)
class OpsView:
    """Everything, ready to be written down; a part that is not known is None."""

    at: Moment
    at_utc: str
    zone: str
    verdict: Verdict
    tiles: Sequence[Tile]
    streams: Sequence[StreamRow] | None
    streams_left: int
    dead_letters: Sequence[ReasonRow] | None
    runs: Sequence[RunRow] | None
    scheduled: Sequence[ScheduledRow] | None
    queues: Sequence[QueueView]
    workers: Sequence[WorkerRow] | None
    findings: Sequence[FindingRow]
    facts: Sequence[str]
    """Outcomes, closed days and requests, each in a sentence."""
    knows_nothing: bool


def view(look: Look, time_zone: str, streams: Sequence[str]) -> OpsView:
    """The page.

    Args:
        look: the facts.
        time_zone: IANA name of the zone in which times are told.
        streams: those that are to be read; another one is of an earlier number of shards.
    """
    seen, zone = look.seen, ZoneInfo(time_zone)
    clock = Clock(zone, look.at)
    records = seen.records
    rows = None if seen.shards is None else [_stream(shard, look.rates, streams) for shard in _worst_first(seen.shards)]
    schedule = [] if records is None else lines(SCHEDULE, records.scheduled, look.at, zone)
    facts = [outcomes_in_words(records.outcomes), closing_in_words(records.closing)] if records else []
    if look.requests is not None:
        facts.append(requests_in_words(look.requests))
    return OpsView(
        at=Moment(f"{look.at.astimezone(zone):%H:%M:%S}", look.at.isoformat(timespec="seconds")),
        at_utc="" if time_zone == "UTC" else f"{look.at.astimezone(UTC):%H:%M:%S}",
        zone=time_zone,
        verdict=verdict(look, streams, schedule, clock),
        tiles=list(_tiles(look)),
        streams=None if rows is None else rows[:STREAMS_SHOWN],
        streams_left=max(0, len(rows or ()) - STREAMS_SHOWN),
        dead_letters=None if look.dead_letters is None else list(_reasons(look, clock)),
        runs=None if look.runs is None else [run_row(run, clock) for run in look.runs],
        scheduled=None if records is None else [_scheduled(line, clock) for line in schedule],
        queues=look.jobs.queues if look.jobs else (),
        workers=None if look.jobs is None else list(_workers(look.jobs)),
        findings=[_finding(event, clock) for event in look.findings],
        facts=facts,
        knows_nothing=len(seen.away) == len(NAMES),
    )


def _tiles(look: Look) -> Iterator[Tile]:
    seen = look.seen
    if seen.shards is not None:
        yield from _tiles_of_shards(seen.shards, look.rates)
    if seen.records is not None:
        books = seen.records.books.values()
        lost = sum(each.lost for each in books)
        lately = any(finding.recent_findings for finding in seen.records.findings)
        through = seen.records.closing.complete_through
        note = "gone before they were read" if lost else "nothing"
        yield Tile("Lost, ever", f"{lost:,}", note, "warn" if lately else "none")
        yield Tile("Complete through", str(through or "–"), "" if through else "no day is closed yet")
    if look.dead_letters is not None:
        letters, reasons = sum(each.letters for each in look.dead_letters), len(look.dead_letters)
        note = f"of {reasons} reason{'s' if reasons > 1 else ''}" if letters else "none is buried"
        yield Tile("Dead letters", f"{letters:,}", note)
    if look.jobs is not None:
        busy = sum(worker.job is not None for worker in look.jobs.workers)
        workers = len(look.jobs.workers)
        yield Tile("Workers", str(workers), f"{busy} busy" if workers else "none runs", "none" if workers else "bad")


def _tiles_of_shards(shards: Sequence[ShardStatus], rates: Mapping[str, float]) -> Iterator[Tile]:
    unread = [shard.lag_entries for shard in shards if shard.lag_entries is not None]
    waits_s = max((shard.waits_s for shard in shards), default=0.0)
    note = f"the oldest waits for {duration(waits_s)}" if waits_s else "all is read"
    stand = any(is_stuck(shard) for shard in shards)
    yield Tile("Unread", f"{sum(unread):,}" if len(unread) == len(shards) else "–", note, "bad" if stand else "none")
    yield Tile("Rate", f"{sum(rates.values()):,.0f}" if rates else "–", "entries a second")
    oldest = max(shards, key=lambda shard: shard.fresh_s or 0.0, default=None)
    if oldest is not None:
        yield Tile("Right as of", freshness(oldest), "the slowest stream" if len(shards) > 1 else "")
    balance = all(shard.balances for shard in shards)
    read = sum(shard.books.entries_read for shard in shards if shard.books)
    yield Tile(
        "Books", "balance" if balance else "DO NOT BALANCE", f"{read:,} entries read", "good" if balance else "bad"
    )


def _worst_first(shards: Sequence[ShardStatus]) -> Sequence[ShardStatus]:
    """In their order, unless they are more than are shown."""
    if len(shards) <= STREAMS_SHOWN:
        return shards
    return sorted(shards, key=lambda shard: (not is_stuck(shard), -shard.waits_s))


def _stream(shard: ShardStatus, rates: Mapping[str, float], streams: Sequence[str]) -> StreamRow:
    books = shard.books
    level, state = _state(shard, streams)
    return StreamRow(
        stream=shard.stream,
        level=level,
        state=state,
        position=shard.position or "–",
        unread="not known yet" if shard.lag_entries is None else f"{shard.lag_entries:,}",
        oldest=duration(shard.waits_s) if shard.waits_s else "–",
        right_as_of=freshness(shard),
        rate=f"{rates[shard.stream]:,.0f}" if shard.stream in rates else "–",
        read=f"{books.entries_read:,}" if books else "–",
        counted=f"{books.counted:,}" if books else "–",
        repeats=f"{books.duplicates:,}" if books else "–",
        excluded=f"{books.excluded:,}" if books else "–",
        dead=f"{books.dead_lettered:,}" if books else "–",
        lost=f"{books.lost:,}" if books else "–",
        balances=shard.balances,
    )


def _state(shard: ShardStatus, streams: Sequence[str]) -> tuple[Level, str]:
    if shard.books and shard.books.halted_at:
        return "bad", "halted"
    if shard.stream not in streams:
        return "none", "nobody reads it"
    if stands(shard):
        return "bad", "stuck" if shard.books else "never read"
    if shard.books is None:
        return "none", "never read"
    return "good", "is read"


def _reasons(look: Look, clock: Clock) -> Iterator[ReasonRow]:
    latest = {reason: list(letters) for reason, letters in groupby(look.latest_letters, lambda letter: letter.reason)}
    for dead in look.dead_letters or ():
        yield ReasonRow(
            dead.reason,
            dead.letters,
            clock(dead.latest),
            dead.reason != Reason.ENTRY_TOO_LARGE,
            [_letter(letter, clock) for letter in latest.get(dead.reason, ())],
        )


def _letter(letter: Glimpse, clock: Clock) -> LetterRow:
    return LetterRow(
        letter.id,
        clock(letter.buried_at),
        letter.stream,
        letter.entry_id,
        [(printable(name), _cut(value, length)) for name, value, length in letter.fields],
        letter.fields_in_all - len(letter.fields),
    )


def _cut(value: str, length: int) -> str:
    return printable(value) if len(value) >= length else f"{printable(value)}… ({length:,} characters)"


def run_row(run: Run, clock: Clock) -> RunRow:
    """A run as the list has it."""
    result = result_in_words(run)
    in_line = ", ".join(f"{name} {value}" for name, value in result)
    levels: Mapping[str, Level] = {"done": "good", "failed": "bad", "stopped": "warn"}
    return RunRow(
        run.id,
        run.kind,
        arguments_in_words(run),
        run.operator,
        run.state,
        levels.get(run.state, "none"),
        clock(run.created_at),
        took(run),
        progress(run),
        run.done,
        run.total,
        run.is_open,
        run.stopped_by,
        f"no sign of life for {duration(run.silent_s)}" if run.state == "running" and run.silent_s > UNBEATEN_S else "",
        run.error,
        in_line if len(in_line) <= LINE_CHARACTERS else "",
        result,
    )


def _scheduled(line: ScheduleLine, clock: Clock) -> ScheduledRow:
    ran = line.ran
    failed = ran is not None and ran.failure is not None
    return ScheduledRow(
        line.scheduled.name,
        line.scheduled.purpose,
        line.scheduled.cron,
        "bad" if failed else "warn" if line.late_tick else "none",
        clock(ran.started_at or ran.begun_at) if ran else None,
        took_in_words(ran),
        scheduled_in_words(ran),
        clock(line.next_tick),
        clock(line.late_tick) if line.late_tick else None,
    )


def _workers(jobs: JobsView) -> Iterator[WorkerRow]:
    for worker in jobs.workers:
        level: Level = "warn" if worker.heartbeat_age > UNBEATEN_S else "none"
        heartbeat = f"{duration(worker.heartbeat_age)} ago"
        yield WorkerRow(worker.name, worker.queue, worker.state, level, worker.job or "–", heartbeat)


def _finding(event: ContinuityEvent, clock: Clock) -> FindingRow:
    return FindingRow(clock(event.happened_at), event.stream, event.verdict, event.action, lost_in_words(event))


def run_in_words(run: Run) -> str:
    """What became of a run that somebody has just asked for, or to stop."""
    what = f"Run {run.id} ({', '.join(filter(None, (run.kind, arguments_in_words(run))))})"
    if run.is_open and run.stopped_by:
        return f"{what} stops after the step that it is at."
    if run.state == "queued":
        return f"{what} waits for its turn."
    if run.state == "running":
        return f"{what} goes on: {progress(run)}."
    if run.state == "failed":
        return f"{what} failed, {progress(run)}: {run.error}"
    by = f" by {run.stopped_by}" if run.state == "stopped" else ""
    return f"{what} is {run.state}{by}: {progress(run)} in {took(run)}."
