"""The RQ worker: it forks a work horse for each job, hands a stop on to it, and is quick to notice what has died."""

import logging
import os
import re
import signal
import time
from contextlib import suppress
from types import FrameType
from typing import Any

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq import Worker
from rq.exceptions import StopRequested
from rq.executions import Execution
from rq.job import Job
from rq.logutils import colorizer
from rq.queue import Queue
from rq.serializers import JSONSerializer
from rq.utils import import_attribute, now
from rq.worker import WorkerStatus
from rq.worker_registration import WORKERS_BY_QUEUE_KEY, clean_worker_registry

from jobs.queue import FUNCTIONS, JOB_OR_EXECUTION, UNREADABLE, AnalyticsJob, AnalyticsQueue, drop_unreadable
from worker.log import get_logger
from worker.settings import Settings
from worker.stream import connect_redis

MONITORING_SECONDS = 1  # between a running job's heartbeats: `keeper` misses three of them
HEARTBEAT_TTL_SECONDS = 15  # RQ holds it against the clock of another machine, so it has to be wider than theirs differ
MAINTENANCE_SECONDS = 5
WORKER_TTL_SECONDS = 30
DEQUEUE_SECONDS = 2
ANSWER_SECONDS = 3
WORKER_KEY = re.compile(Worker.redis_worker_namespace_prefix.encode() + rb"[A-Za-z0-9_.-]+")

log = get_logger(__name__)


class _Stop:
    """What this process knows about stopping. A fork takes it along, so a horse cannot miss what came just before."""

    asked = False
    worker = 0  # in a work horse, the pid of its worker


def stop_requested() -> bool:
    """Whether the running job should come to its end: its worker has been told to stop, or has died.

    Cheap enough for every turn of a loop. A work horse without its worker has nobody to send its heartbeats: what it
    does is given to somebody else in a few seconds.
    """
    return _Stop.asked or (_Stop.worker != 0 and os.getppid() != _Stop.worker)


class AnalyticsWorker(Worker):
    """Works on one queue until SIGTERM or SIGINT, which its running job hears by `stop_requested`."""

    queue_class: type[Queue] = AnalyticsQueue
    job_class = AnalyticsJob
    log_result_lifespan = False
    max_connection_wait_time = 2.0
    dequeue_timeout = DEQUEUE_SECONDS
    connection_timeout = DEQUEUE_SECONDS + ANSWER_SECONDS

    def __init__(self, queue_name: str, connection: Redis) -> None:
        super().__init__(
            [AnalyticsQueue(queue_name, connection)],
            connection=connection,
            serializer=JSONSerializer,
            worker_ttl=WORKER_TTL_SECONDS,
            maintenance_interval=MAINTENANCE_SECONDS,
            job_monitoring_interval=MONITORING_SECONDS,
        )

    # ---- stopping ----------------------------------------------------------------------------------------------------

    def _install_signal_handlers(self) -> None:
        super()._install_signal_handlers()  # type: ignore[no-untyped-call]
        # Before any fork: the default action of a signal that comes before the horse has a handler would kill it.
        signal.signal(signal.SIGUSR1, self._hear_stop)

    def setup_work_horse_signals(self) -> None:
        """In the new horse. SIGTERM is a request too: some service managers send it to every process they see."""
        _Stop.worker = self.pid or 0
        signal.signal(signal.SIGTERM, self._hear_stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _hear_stop(self, _signal: int, _frame: FrameType | None) -> None:
        if os.getpid() != self.pid:  # by mistake sent to the worker it would end every job from then on
            _Stop.asked = True

    def handle_warm_shutdown_request(self) -> None:
        """In the worker's signal handler: so nothing here may wait, or take a lock."""
        _Stop.asked = True
        self._stop_requested = True
        self._tell_horse()

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        """Fork. A stop that came meanwhile found no horse to tell."""
        super().fork_work_horse(job, queue)
        if _Stop.asked:
            self._tell_horse()

    def _tell_horse(self) -> None:
        # Not RQ's kill_horse: it signals a process group, which is the worker's own until the horse has left it.
        if self.horse_pid:
            with suppress(ProcessLookupError):
                os.kill(self.horse_pid, signal.SIGUSR1)

    def set_shutdown_requested_date(self) -> None:
        """Not noted in Redis: that is a command and an answer inside a signal handler, and nobody reads it."""

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Say that the worker lives, every time around its loop.

        Raises:
            StopRequested: RQ's handler has raised it before, in the middle of something that swallows exceptions.
        """
        if self._stop_requested and self.get_state() != WorkerStatus.BUSY:
            raise StopRequested
        super().heartbeat(timeout, pipeline)

    # ---- noticing what has died --------------------------------------------------------------------------------------

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:
        """Seconds without heartbeats after which RQ itself gives a job up."""
        return HEARTBEAT_TTL_SECONDS

    def maintain_heartbeats(self, job: Job, execution: Execution) -> None:
        """Say that the job lives. Redis away or full for a moment must not end the worker and leave the horse alone."""
        try:
            super().maintain_heartbeats(job, execution)
        except (OutOfMemoryError, RedisConnectionError, RedisTimeoutError) as error:
            self.log.warning("Worker %s: missed a heartbeat: %s", self.name, error)

    def handle_job_failure(self, job: Job, queue: Queue, *args: Any, **options: Any) -> None:
        """Queue the job again or note its failure. A horse killed at birth has left its id on the way to the worker,
        where RQ would find it a minute later and fail, or run, a job that has long been done.
        """
        queue.intermediate_queue.remove(job.id)
        super().handle_job_failure(job, queue, *args, **options)

    def run_maintenance_tasks(self) -> None:
        """RQ's own, for what we use of it, without its lines of log, and without its end at something unreadable."""
        self.last_cleaned_at = now()  # type: ignore[assignment] # RQ's first value for it is None
        for queue in self.queues:
            if not queue.acquire_maintenance_lock():
                continue
            try:
                for registry in (queue.finished_job_registry, queue.started_job_registry, queue.failed_job_registry):
                    drop_unreadable(self.connection, registry.key, JOB_OR_EXECUTION)
                    registry.cleanup()
                drop_unreadable(self.connection, WORKERS_BY_QUEUE_KEY % queue.name, WORKER_KEY)
                clean_worker_registry(queue)
                queue.intermediate_queue.cleanup(self, queue)
            except (*UNREADABLE, ResponseError):
                log.exception("maintenance failed", queue=queue.name)
            finally:
                queue.release_maintenance_lock()  # type: ignore[no-untyped-call]

    # ---- what we do not use ------------------------------------------------------------------------------------------

    def subscribe(self) -> None:
        """No commands by Redis: who may publish could stop the worker, and its thread would be there at the fork."""


class RollupsAreRoutine(logging.Filter):
    """Leaves out what RQ says at every turn of a rollup: with more shards than workers, five lines a second each."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is to be written."""
        if record.levelno > logging.INFO or not isinstance(record.args, tuple):
            return True
        return not any(re.fullmatch(r"rollup-\d+|jobs\.rollup\..*", str(argument)) for argument in record.args)


def run_worker(settings: Settings, queue_name: str) -> int:
    """Work on one queue until SIGTERM or SIGINT. The caller has configured logging, or RQ would do it its own way.

    Args:
        settings: where Redis is.
        queue_name: `rollup` or `ops`.

    Returns:
        The exit code: 0 after a stop; 1 if RQ gave up, which it does in silence: start it again.
    """
    colorizer.notty = True  # RQ looks at standard output, and its colours would end up in our JSON
    logging.getLogger("rq.worker").addFilter(RollupsAreRoutine())
    for function in FUNCTIONS:
        import_attribute(function)  # once, and not in every horse
    with connect_redis(settings) as connection:
        _wait_for(connection)
        try:
            AnalyticsWorker(queue_name, connection).work(logging_level=settings.log_level)
        except RedisError as error:
            log.error("worker lost Redis", queue=queue_name, error=str(error))
    return 0 if _Stop.asked else 1


def _wait_for(connection: Redis) -> None:
    waits = 0.1
    while True:
        try:
            connection.ping()
            return
        except (RedisConnectionError, RedisTimeoutError) as error:
            if waits == 0.1:
                log.warning("Redis is away", error=str(error))
        time.sleep(waits)
        waits = min(2 * waits, 2.0)
