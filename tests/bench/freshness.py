"""From XADD to the committed row, at a steady rate; and what lingering saves in processor time.

The clock starts right before each XADD and stops when PostgreSQL has answered the commit. PostgreSQL's own commit
timestamp stands beside: it is taken before the log is safe on the disk.
"""

import time
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psycopg
import redis

from tests.bench.figures import Figure, Results, Say, Sheet, number
from tests.bench.ground import Ground, Processors, family_seconds
from tests.bench.process import Measured, measured
from tests.bench.traffic import Traffic, silent
from worker.continuity import EntryId
from worker.embedded import NOTHING

SPECIALISTS = 2_000
SLOW, FAST = 200, 5_000
LINGERS_MS, QUICK_LINGERS_MS = (0, 5, 20, 50, 200), (0, 20)
SETTLE_S = 1.0
ENCODING_S = 20e-6
COLUMNS = ("events/s", "p50 ms", "p90 ms", "p99 ms", "most ms", "p50 before fsync", "commits/s", "CPU ms/1,000")

WRITTEN = """
    SELECT event_id::text, extract(epoch FROM pg_xact_commit_timestamp(xmin))::float FROM analytics.event
"""


@dataclass(frozen=True, slots=True)
class Freshness:
    """What events sent at a rate took, in milliseconds and in order."""

    rate: int
    answered_ms: Sequence[float]
    written_ms: Sequence[float]
    """By PostgreSQL's commit timestamp; empty where there is no ledger to join it with."""
    commits_per_s: float
    cpu_ms_per_1000: float

    def cells(self) -> Sequence[str]:
        """As a line of a table."""
        answered = [number(percentile(self.answered_ms, share)) for share in (50, 90, 99, 100)]
        written = number(percentile(self.written_ms, 50)) if self.written_ms else ""
        return number(self.rate), *answered, written, number(self.commits_per_s), number(self.cpu_ms_per_1000)


def freshness(ground: Ground, say: Say) -> Results:
    """At a usual rate and at a high one, with the settings as they are, beside a loop without any guarantee."""
    seconds = 3.0 if ground.quick else 10.0
    traffic, sheet = Traffic(SPECIALISTS), Sheet("Freshness", ("what", *COLUMNS))
    measurements = {}
    for what in ("rollup", "loop"):
        for rate in (SLOW, FAST):
            measurements[what, rate] = each = _measure(ground, traffic, rate, seconds, what)
            sheet.rows.append(("worker" if what == "rollup" else "loop", *each.cells()))
            say(f"{what}, {rate:,} events/s: p50 {number(percentile(each.answered_ms, 50))} ms")
    figures = []
    for rate, share, target in ((SLOW, 50, 2.0), (SLOW, 99, 8.0), (FAST, 99, 30.0)):
        ours, loop = (percentile(measurements[what, rate].answered_ms, share) for what in ("rollup", "loop"))
        beside = f"loop {number(loop)} ms: {ours / loop:.2f} ×"
        figures.append(Figure(f"freshness at {rate:,}/s, p{share}", ours, "ms", target, beside=beside))
    return Results(figures, [sheet])


def linger(ground: Ground, say: Say) -> Results:
    """What ANALYTICS_LINGER_MS trades freshness for."""
    seconds = 3.0 if ground.quick else 5.0
    traffic, sheet = Traffic(SPECIALISTS), Sheet("ANALYTICS_LINGER_MS", ("linger ms", *COLUMNS))
    for rate in (SLOW, FAST):
        for linger_ms in QUICK_LINGERS_MS if ground.quick else LINGERS_MS:
            each = _measure(ground, traffic, rate, seconds, "rollup", variables={"ANALYTICS_LINGER_MS": str(linger_ms)})
            sheet.rows.append((str(linger_ms), *each.cells()))
            say(f"linger {linger_ms} ms, {rate:,} events/s: p50 {number(percentile(each.answered_ms, 50))} ms")
    return Results([], [sheet])


def percentile(values: Sequence[float], share: int) -> float:
    """The value that so many percent are not above; `values` are in order."""
    return values[max(0, -(-len(values) * share // 100) - 1)]


def _measure(
    ground: Ground, traffic: Traffic, rate: int, seconds: float, what: str, *, variables: Mapping[str, str] = NOTHING
) -> Freshness:
    with ground.database(traffic) as url, ground.backlog(traffic, events=0) as stream:
        with measured(ground, what, url, variables=variables) as process:
            process.go()
            _send(ground, traffic, stream, rate, SETTLE_S)  # connections, partitions and caches are made
            time.sleep(SETTLE_S)
            before = _used_seconds(ground, process)
            sent = _send(ground, traffic, stream, rate, seconds)
            time.sleep(SETTLE_S)
            used = _used_seconds(ground, process) - before
            run = process.result(stop=True)
        entry_ids = _entry_ids(ground, stream)
        written = _written(url)
    if run.entries != len(entry_ids) or (what == "rollup" and written.keys() != entry_ids.keys()):
        raise RuntimeError(f"{run.entries} of {len(entry_ids)} events were done, and {len(written)} are in the ledger")
    last_ids = [answer.last_id for answer in run.answers]
    answered = {event_id: run.answers[bisect_left(last_ids, entry_ids[event_id])].at for event_id in sent}
    return Freshness(
        rate,
        _took_ms(sent, answered),
        _took_ms(sent, written) if written else [],
        len(set(answered.values())) / seconds,
        used * 1e6 / len(sent),
    )


def _send(ground: Ground, traffic: Traffic, stream: str, rate: int, seconds: float) -> dict[str, float]:
    """Send at a steady rate, whatever becomes of it; when each event was sent."""
    sent: dict[str, float] = {}
    ids = traffic.event_ids(round(rate * seconds))
    began = time.time() + len(ids) * ENCODING_S
    due = [began + number / rate for number in range(len(ids))]
    commands = traffic.commands(stream, [round(moment * 1000) for moment in due], ids)
    with silent(ground.servers.redis_url) as connection:
        for moment, event_id, command in zip(due, ids, commands, strict=True):
            time.sleep(max(0.0, moment - time.time()))
            sent[event_id.decode()] = time.time()
            connection.send_packed_command([command])
    return sent


def _entry_ids(ground: Ground, stream: str) -> dict[str, EntryId]:
    """The stream's entries by event."""
    with redis.Redis.from_url(ground.servers.redis_url) as client:
        return {
            fields[b"eventId"].decode(): EntryId.of(entry_id.decode()) for entry_id, fields in client.xrange(stream)
        }


def _written(database_url: str) -> dict[str, float]:
    """When PostgreSQL says that it wrote each event."""
    with psycopg.connect(database_url) as connection:
        return {str(event_id): float(at) for event_id, at in connection.execute(WRITTEN)}


def _took_ms(sent: dict[str, float], done: dict[str, float]) -> list[float]:
    return sorted((done[event_id] - moment) * 1000 for event_id, moment in sent.items())


def _used_seconds(ground: Ground, process: Measured) -> float:
    return family_seconds(process.pid) + Processors.of(ground.servers).both
