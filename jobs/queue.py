"""What a job is: the name of a function on our list and plain data, in one of two queues.

Whoever can write to Redis can write a job, and RQ by itself imports and calls whatever a job names and unpickles
whatever it carries. So the classes here read JSON only, and what is not on the list fails with its reason, before
anything is imported. What nobody can read is passed over: RQ would end the worker, and the next one as well.
"""

import re
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NoReturn, cast

from redis import Redis
from redis.exceptions import ResponseError
from rq import Queue
from rq.exceptions import DequeueTimeout, DuplicateJobError, NoSuchJobError, TimeoutFormatError
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job, Retry
from rq.serializers import JSONSerializer
from rq.utils import import_attribute

from worker.errors import AnalyticsError
from worker.log import get_logger
from worker.upkeep.scheduled import Tick

ROLLUP = "rollup"
OPS = "ops"
FUNCTIONS = frozenset(
    {
        "jobs.rollup.rollup",
        "jobs.close.days",
        "jobs.close.books",
        "jobs.maintenance.pack",
        "jobs.maintenance.partitions",
        "jobs.maintenance.trim",
        "jobs.outcomes.open_days",
        "jobs.outcomes.last_days",
        "jobs.runs.step_on",
    }
)
JOB_SECONDS = 180
RUN_SECONDS = 1_800
"""A run gives way between two steps, so this is for one step that hangs."""
JOB_BYTES = 1_048_576
"""Most bytes of a job's hash, unpacked: a kilobyte that was packed on purpose unpacks to a megabyte."""

# What RQ's reading of a broken hash or of a broken registry raises. Exception itself would take in StopRequested,
# which RQ raises out of its signal handler, wherever the program is at that moment.
UNREADABLE = (
    AssertionError,
    AttributeError,
    KeyError,
    OverflowError,
    RecursionError,
    TimeoutFormatError,
    TypeError,
    ValueError,
    zlib.error,
)
TICK = "%Y%m%dT%H%M%SZ"
_JOB_ID = re.compile(rb"[A-Za-z0-9_-]+")
JOB_OR_EXECUTION = re.compile(rb"[A-Za-z0-9_-]+(:[A-Za-z0-9_-]+)?")

log = get_logger(__name__)


class JobRefused(AnalyticsError):
    """The job is not one of ours."""


class AnalyticsJob(Job):
    """A job that calls a function of `FUNCTIONS` with JSON arguments, and nothing else before, after or instead."""

    success_callback = failure_callback = stopped_callback = None

    def __init__(self, id: str | None = None, connection: Redis | None = None, serializer: object = None) -> None:
        super().__init__(id, connection, JSONSerializer)  # whatever was asked for

    def refresh(self) -> None:
        """Read the job from Redis.

        Raises:
            NoSuchJobError: there is none, or what is there is no job; RQ goes on to the next one.
        """
        try:
            super().refresh()  # type: ignore[no-untyped-call]
        except ResponseError as error:
            if not str(error).startswith("WRONGTYPE"):
                raise
            self._pass_over(error)

    def restore(self, raw_data: dict[bytes, bytes]) -> None:
        """Take over the fields of a hash.

        Raises:
            NoSuchJobError: they are no job's.
        """
        if sum(map(_unpacked_bytes, raw_data.values())) > JOB_BYTES:
            self._pass_over(ValueError("it is too large"))
        try:
            super().restore(raw_data)
        except (NoSuchJobError, *UNREADABLE) as error:
            self._pass_over(error)
        self.webhooks = []  # a request to wherever the hash says
        if self.timeout is None or self.timeout <= 0:
            self.timeout = JOB_SECONDS  # every job ends; and RQ's monitor would end its worker over None

    @property
    def func(self) -> Callable[..., Any]:
        """The function to call.

        Raises:
            JobRefused: it is not on our list, or the job brings an object or a callback along.
        """
        callbacks = self._success_callback_name or self._failure_callback_name or self._stopped_callback_name
        if self.instance is not None:
            self._refuse("it carries an object")
        if callbacks:
            self._refuse(f"{callbacks!r} is a callback")
        if not isinstance(self.func_name, str) or self.func_name not in FUNCTIONS:
            self._refuse(f"{self.func_name!r} is not on the list")
        return import_attribute(self.func_name)

    def _refuse(self, reason: str) -> NoReturn:
        self.retries_left = self.repeats_left = None  # or it would be back at once
        raise JobRefused(f"job {self.id} is refused: {reason}")

    def _pass_over(self, error: Exception) -> NoReturn:
        log.error("job is unreadable", job=self.id, reason=repr(error))
        raise NoSuchJobError(f"job {self.id} is unreadable") from error


def _unpacked_bytes(value: bytes) -> int:
    """How long a value of a job's hash is, unpacked if RQ would unpack it; anything above `JOB_BYTES` is too long."""
    unpacker = zlib.decompressobj()
    with suppress(zlib.error):
        return max(len(value), len(unpacker.decompress(value, JOB_BYTES + 1)))
    return len(value)


class AnalyticsQueue(Queue):
    """A queue of `AnalyticsJob`s. One worker listens to one of them: with two, RQ loses the job of a killed worker."""

    job_class = AnalyticsJob

    def __init__(self, name: str, connection: Redis | None = None, **options: Any) -> None:
        super().__init__(name, connection, **(options | {"job_class": AnalyticsJob, "serializer": JSONSerializer}))

    def acquire_maintenance_lock(self) -> bool:
        """Take the lock under which one worker tidies up. RQ's would outlive a killed worker by 15 minutes."""
        return bool(self.connection.set(self.registry_cleaning_key, 1, nx=True, ex=10))

    @classmethod
    def lmove(cls, connection: Redis, queue_key: str, timeout: int | None) -> Any:
        """Move the next job's id to the intermediate queue.

        Raises:
            DequeueTimeout: there was none in time, or it was no id; RQ looks again.
        """
        found = super().lmove(connection, queue_key, timeout)
        if found is not None and not _JOB_ID.fullmatch(found[1]):
            log.error("job id is unreadable", queue=queue_key, id=repr(found[1]))
            connection.lrem(IntermediateQueue.get_intermediate_queue_key(queue_key), 0, found[1])
            raise DequeueTimeout(timeout, queue_key)
        return found


def drop_unreadable(connection: Redis, key: str, readable: re.Pattern[bytes]) -> None:
    """Take out of a set, sorted or not, what RQ's tidying could not read: it would end there each time."""
    client: Any = connection
    is_sorted = client.type(key) == b"zset"
    members = client.zrange(key, 0, -1) if is_sorted else client.smembers(key)
    unreadable = [member for member in members if not readable.fullmatch(member)]
    if unreadable:
        log.error("unreadable entries removed", key=key, count=len(unreadable))
        (client.zrem if is_sorted else client.srem)(key, *unreadable)


def enqueue_tick(
    connection: Redis, name: str, function: str, tick: datetime, *, keep: int, args: Sequence[object] = ()
) -> bool:
    """Put in the job of one tick of the clock, once, however many schedulers try. If its process dies it is done once
    more, for a nightly job would else wait for the next night.

    Args:
        connection: to Redis.
        name: of the schedule's line: letters, digits, `_`, `-`.
        function: dotted name, one of `FUNCTIONS`.
        tick: the moment that the job is for, with its zone.
        keep: seconds that the id stays taken after the job has ended, and that an unstarted job may still start in.
        args: plain data.

    Returns:
        Whether this call did it; if not, somebody else was faster.
    """
    try:
        AnalyticsQueue(OPS, connection).enqueue_call(
            function,
            args=tuple(args),
            job_id=f"{name}-{tick.astimezone(UTC).strftime(TICK)}",
            unique=True,
            retry=Retry(1),
            timeout=JOB_SECONDS,
            ttl=keep,
            result_ttl=keep,
            failure_ttl=keep,
        )
    except DuplicateJobError:
        return False
    return True


def tick_of(job_id: str) -> Tick | None:
    """The tick whose job has this id, or None if it is no tick's."""
    name, _, at = job_id.rpartition("-")
    try:
        return Tick(name, datetime.strptime(at, TICK).replace(tzinfo=UTC)) if name else None
    except ValueError:
        return None


def enqueue_run(connection: Redis, run_id: int, attempt: int) -> bool:
    """Put a run in, behind all that waits, unless it is in with this attempt.

    What it does is in PostgreSQL: whoever can write to Redis can do no more than let it go on.

    Args:
        connection: to Redis.
        run_id: its number in `analytics.run`.
        attempt: the one that its row has.

    Returns:
        Whether this call did it.
    """
    try:
        AnalyticsQueue(OPS, connection).enqueue_call(
            "jobs.runs.step_on",
            args=(run_id, attempt),
            job_id=f"run-{run_id}-{attempt}",
            unique=True,
            timeout=RUN_SECONDS,
            result_ttl=0,
            failure_ttl=60,
        )
    except DuplicateJobError:
        return False
    return True


def queued_runs(connection: Redis) -> set[tuple[int, int]]:
    """The runs that wait for a worker, each with its attempt."""
    job_ids = cast(list[bytes], connection.lrange(AnalyticsQueue(OPS, connection).key, 0, -1))
    found = (re.fullmatch(rb"run-(\d+)-(\d+)", job_id) for job_id in job_ids)
    return {(int(match[1]), int(match[2])) for match in found if match}


def others_wait(connection: Redis, queue: str) -> bool:
    """Whether a job of the queue waits for a worker."""
    return connection.llen(AnalyticsQueue(queue, connection).key) > 0
