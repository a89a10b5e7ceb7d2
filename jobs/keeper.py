"""One rollup for every shard, always: the keeper looks once a second and mends what is missing, dead or double.

RQ puts a rollup back in the transaction that ends it, so by itself it is either in the queue or at work. It gets lost
when a worker and its work horse die together, and it doubles when one that was believed dead was not. A double is
harmless (the position's compare-and-set lets one of them through) but takes a worker's time for ever.
"""

import re
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import cast

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError, WatchError
from rq.exceptions import DuplicateJobError
from rq.job import Retry
from rq.repeat import Repeat

from jobs.queue import JOB_SECONDS, ROLLUP, AnalyticsJob, AnalyticsQueue
from worker.log import get_logger

PATIENCE_LOOKS = 3  # in a row: heartbeats come once a second, and between two of its steps a job is nowhere to be seen
TRIES = 3
ALWAYS = 10**9

log = get_logger(__name__)


@dataclass(frozen=True)
class Pulse:
    """What the looks so far have seen of one rollup.

    Heartbeats are times on the clocks of other machines. How late one is cannot be known; whether it is a new one can.
    """

    beats: Mapping[str, float] = field(default_factory=dict)  # the last heartbeat of each execution
    moved: bool = False  # one of them is new
    missed: int = 0  # looks in a row that saw the rollup neither queued nor moving

    def next(self, queued: int, beats: Mapping[str, float]) -> "Pulse":
        """The pulse after another look."""
        moved = bool(beats.items() - self.beats.items())
        return Pulse(beats, moved, 0 if queued or moved else self.missed + 1)


class RollupKeeper:
    """Looks after the rollups. Any number of keepers may look at the same time."""

    def __init__(self, connection: Redis, shards: int) -> None:
        self._connection = connection
        self._queue = AnalyticsQueue(ROLLUP, connection)
        self._running_key = self._queue.started_job_registry.key
        self._shards = {f"rollup-{shard}": shard for shard in range(shards)}
        self._pulses: dict[str, Pulse] = {}

    def look(self) -> None:
        """Look once; the caller does so about once a second.

        Raises:
            RedisError: Redis is away; what was seen before is forgotten, for nobody could send a heartbeat either.
        """
        try:
            for _ in range(TRIES):
                with suppress(WatchError):
                    self._look()
                    return
        except RedisError:
            self._pulses.clear()
            raise

    def _look(self) -> None:
        with self._connection.pipeline() as pipe:
            # If it changes while we look, what we see is a mixture.
            pipe.watch(self._queue.key)  # type: ignore[no-untyped-call]
            queued = self._queued(pipe)
            running = self._running(pipe)
            pulses = {
                job_id: self._pulses.get(job_id, Pulse()).next(queued[job_id], running.get(job_id, {}))
                for job_id in self._shards
            }
            pipe.multi()
            deeds = {job_id: self._mend(pipe, job_id, queued[job_id], pulse) for job_id, pulse in pulses.items()}
            for job_id in queued.keys() - self._shards.keys():
                if re.fullmatch(r"rollup-\d+", job_id):
                    self._remove(pipe, job_id, {})
                    deeds[job_id] = "rollup of no shard removed"
            pipe.execute()
        self._pulses = pulses
        for job_id, deed in deeds.items():
            if deed:
                log.warning(deed, job=job_id)
        self._enqueue_missing(queued, running)

    def _queued(self, pipe: Pipeline) -> Counter[str]:
        job_ids = cast(list[bytes], pipe.lrange(self._queue.key, 0, -1))
        return Counter(job_id.decode(errors="replace") for job_id in job_ids)

    def _running(self, pipe: Pipeline) -> dict[str, dict[str, float]]:
        """The heartbeats by job id and execution, read without RQ's tidying."""
        by_job: dict[str, dict[str, float]] = {}
        for entry, beat in cast(list[tuple[bytes, float]], pipe.zrange(self._running_key, 0, -1, withscores=True)):
            execution = entry.decode(errors="replace")
            by_job.setdefault(execution.partition(":")[0], {})[execution] = beat
        return by_job

    def _mend(self, pipe: Pipeline, job_id: str, queued: int, pulse: Pulse) -> str | None:
        if pulse.missed >= PATIENCE_LOOKS:
            self._remove(pipe, job_id, pulse.beats)
            self._enqueue(job_id, pipe)
            return "rollup revived"
        if queued:
            # So nobody has it on the way to a worker: a horse killed at birth left it there.
            pipe.lrem(self._queue.intermediate_queue_key, 0, job_id)
        if queued and (surplus := queued - 1 + pulse.moved):
            pipe.lrem(self._queue.key, -surplus, job_id)
            return "double rollup removed"
        return None

    def _remove(self, pipe: Pipeline, job_id: str, executions: Mapping[str, float]) -> None:
        pipe.delete(AnalyticsJob.key_for(job_id))
        pipe.lrem(self._queue.key, 0, job_id)
        pipe.lrem(self._queue.intermediate_queue_key, 0, job_id)
        pipe.zrem(self._queue.failed_job_registry.key, job_id)
        if executions:  # left there, RQ would find it expired some day and queue the job a second time
            pipe.zrem(self._running_key, *executions)

    def _enqueue_missing(self, queued: Counter[str], running: Mapping[str, object]) -> None:
        for job_id in self._shards:
            if not queued[job_id] and job_id not in running:
                try:
                    self._enqueue(job_id)
                except DuplicateJobError:
                    continue  # on its way from the queue to a worker, or lost: then three looks will tell
                log.info("rollup enqueued", job=job_id)

    def _enqueue(self, job_id: str, pipe: Pipeline | None = None) -> None:
        self._queue.enqueue_call(
            "jobs.rollup.rollup",
            args=(self._shards[job_id],),
            job_id=job_id,
            unique=pipe is None,
            pipeline=pipe,
            repeat=Repeat(ALWAYS, 0),
            retry=Retry(ALWAYS),
            timeout=JOB_SECONDS,
            result_ttl=0,
            failure_ttl=60,
        )
