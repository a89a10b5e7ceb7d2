"""What RQ has and does, for people: read only. RQ's own counts tidy up while they count."""

from dataclasses import dataclass
from datetime import UTC, datetime

from redis import Redis
from rq import Worker
from rq.executions import WORKER_EXECUTIONS_KEY_TEMPLATE
from rq.utils import as_text, utcparse

from jobs.queue import OPS, ROLLUP, AnalyticsQueue


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


def jobs_and_workers(connection: Redis) -> JobsView:
    """Look, and change nothing.

    Args:
        connection: to Redis.

    Returns:
        Both queues, and the workers by queue and name.
    """
    workers = [_worker(connection, as_text(key)) for key in connection.smembers(Worker.redis_workers_keys)]
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


def _worker(connection: Redis, key: str) -> WorkerView | None:
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
