"""What RQ has and does, for people: read only. RQ's own counts tidy up while they count."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime

from redis import Redis
from redis.exceptions import ResponseError
from rq import Worker
from rq.executions import WORKER_EXECUTIONS_KEY_TEMPLATE, Execution
from rq.utils import as_text, utcparse

from jobs.queue import OPS, ROLLUP, AnalyticsJob, AnalyticsQueue

LOOKS, BETWEEN_LOOKS_S = 3, 1.0
"""Between two of its steps a job is nowhere to be seen, and for a few seconds after its worker was killed."""


@dataclass(frozen=True)
class QueueView:
    """How many jobs of a queue wait, run, and are kept because they failed."""

    name: str
    queued: int
    started: int
    failed: int


@dataclass(frozen=True)
class WorkerView:
    """One worker, as it last said of itself."""

    name: str
    queue: str
    state: str
    job: str | None
    heartbeat_age: float  # seconds; of a killed worker it grows for a minute and a half, then the worker is forgotten


@dataclass(frozen=True)
class JobsView:
    """Everything at one moment."""

    queues: tuple[QueueView, ...]
    workers: tuple[WorkerView, ...]


@dataclass(frozen=True)
class Astray:
    """Job ids that are not where they should be."""

    missing_rollups: frozenset[str] = frozenset()  # neither waiting nor running
    without_worker: frozenset[str] = frozenset()  # running, but without a heartbeat
    without_hash: frozenset[str] = frozenset()  # waiting, but the job itself is gone
    failed: frozenset[str] = frozenset()

    def still(self, later: "Astray") -> "Astray":
        """What was astray at both looks."""
        return Astray(
            self.missing_rollups & later.missing_rollups,
            self.without_worker & later.without_worker,
            self.without_hash & later.without_hash,
            self.failed & later.failed,
        )

    @property
    def anything(self) -> bool:
        """Whether a second look could find it gone."""
        return bool(self.missing_rollups or self.without_worker or self.without_hash)


def jobs_and_workers(connection: Redis) -> JobsView:
    """Look, and change nothing.

    Args:
        connection: to Redis.

    Returns:
        Both queues, and the workers by queue and name.
    """
    workers = [_worker(connection, key) for key in connection.smembers(Worker.redis_workers_keys)]
    found = sorted((worker for worker in workers if worker), key=lambda worker: (worker.queue, worker.name))
    return JobsView(tuple(_queue(connection, name) for name in (ROLLUP, OPS)), tuple(found))


def _queue(connection: Redis, name: str) -> QueueView:
    queue = AnalyticsQueue(name, connection)
    return QueueView(
        name,
        queued=connection.llen(queue.key),
        started=queue.started_job_registry.get_job_count(cleanup=False),
        failed=queue.failed_job_registry.get_job_count(cleanup=False),
    )


def _worker(connection: Redis, key: bytes | str) -> WorkerView | None:
    """A worker of the list; None if there is none, or if what is there was not written by a worker."""
    try:
        return _read_worker(connection, as_text(key))
    except (ResponseError, ValueError):
        return None


def _read_worker(connection: Redis, key: str) -> WorkerView | None:
    fields = {as_text(name): as_text(value) for name, value in connection.hgetall(key).items()}
    if "last_heartbeat" not in fields:
        return None  # died; the list of workers is tidied later
    name = key.removeprefix(Worker.redis_worker_namespace_prefix)
    executions = [as_text(found) for found in connection.smembers(WORKER_EXECUTIONS_KEY_TEMPLATE.format(name))]
    return WorkerView(
        name,
        queue=fields.get("queues", ""),
        state=fields.get("state", "?"),
        job=executions[0].partition(":")[0] if executions else None,
        heartbeat_age=max(0.0, (datetime.now(UTC) - utcparse(fields["last_heartbeat"])).total_seconds()),
    )


def jobs_astray(connection: Redis, shards: int) -> Astray:
    """Look for jobs that nobody has or nobody can end, and change nothing.

    Args:
        connection: to Redis.
        shards: how many rollups there must be.

    Returns:
        What was astray at several looks; it takes seconds only if there was something at the first.
    """
    astray = _astray(connection, shards)
    for _ in range(LOOKS - 1):
        if not astray.anything:
            break
        time.sleep(BETWEEN_LOOKS_S)
        astray = astray.still(_astray(connection, shards))
    return astray


def _astray(connection: Redis, shards: int) -> Astray:
    queues = [AnalyticsQueue(name, connection) for name in (ROLLUP, OPS)]
    with connection.pipeline(transaction=True) as pipe:
        for queue in queues:
            pipe.lrange(queue.key, 0, -1)
            pipe.lrange(queue.intermediate_queue_key, 0, -1)
            pipe.zrange(queue.started_job_registry.key, 0, -1)
            pipe.zrange(queue.failed_job_registry.key, 0, -1)
        answers = iter([{found.decode(errors="replace") for found in answer} for answer in pipe.execute()])
    waiting, running, failed = set(), set(), set()
    for in_queue, on_the_way, started, failures in zip(*[answers] * 4, strict=True):
        waiting |= in_queue | on_the_way
        running |= started
        failed |= failures
    jobs_of = {execution: execution.partition(":")[0] for execution in running}
    beating = _existing(connection, {_heartbeat_key(execution): execution for execution in running})
    return Astray(
        frozenset({f"rollup-{shard}" for shard in range(shards)} - waiting - {*jobs_of.values()}),
        frozenset(jobs_of[execution] for execution in running - beating),
        frozenset(waiting - _existing(connection, {AnalyticsJob.key_for(job_id): job_id for job_id in waiting})),
        frozenset(failed),
    )


def _heartbeat_key(execution: str) -> str:
    """What a running job's worker keeps alive by its heartbeats, so that the clock of Redis alone decides."""
    job_id, _, execution_id = execution.partition(":")
    return Execution(execution_id, job_id, None).key  # type: ignore[arg-type] # the connection is for nothing here


def _existing(connection: Redis, names: dict[str, str] | dict[bytes, str]) -> set[str]:
    """The names whose key is there."""
    with connection.pipeline(transaction=False) as pipe:
        for key in names:
            pipe.exists(key)
        return {name for name, there in zip(names.values(), pipe.execute(), strict=True) if there}
