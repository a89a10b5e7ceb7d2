"""RQ under hostile jobs, kills and stops: real workers on a real Valkey."""
# ruff: noqa: F811 - the fixtures are imported

import json
import os
import pickle
import subprocess
import sys
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from rq import Callback, Queue, Repeat, Retry
from rq.exceptions import NoSuchJobError
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.webhook import Webhook

from jobs.queue import JOB_BYTES, JOB_SECONDS, OPS, ROLLUP, AnalyticsJob, enqueue_tick
from jobs.view import jobs_and_workers
from tests.rq_fixtures import Lab, kill, lab, measured, redis_alone, seconds_until, wait_for  # noqa: F401
from worker.scheduler import SCHEDULE

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def put_in_raw(redis: Redis, data: bytes, job_id: str = "hostile") -> str:
    """A job hash as somebody else could write it."""
    hash_of_job: dict[Any, Any] = {"data": zlib.compress(data), "origin": OPS, "status": "queued", "timeout": 9}
    redis.hset(f"rq:job:{job_id}", mapping=hash_of_job)
    redis.rpush("rq:queue:ops", job_id)
    return job_id


def carrying(function: object, instance: object = None) -> bytes:
    return json.dumps([function, instance, ["touch hostile"], {}]).encode()


HOSTILE: dict[str, tuple[Callable[[Queue], str], str]] = {
    "a function that is not ours": (
        lambda queue: queue.enqueue("os.system", "touch hostile", retry=Retry(9), repeat=Repeat(9)).id,
        "'os.system' is not on the list",
    ),
    "a builtin": (lambda queue: queue.enqueue("eval", "1").id, "'eval' is not on the list"),
    "our module's import of somebody's function": (
        lambda queue: queue.enqueue("jobs.queue.import_attribute", "os.system").id,
        "is not on the list",
    ),
    "a callback after success": (
        lambda queue: queue.enqueue("jobs.maintenance.partitions", on_success=Callback("os.system")).id,
        "'os.system' is a callback",
    ),
    "a callback after failure": (
        lambda queue: queue.enqueue("os.getcwd", on_failure=Callback("os.system")).id,
        "'os.system' is a callback",
    ),
    "a callback after a stop": (
        lambda queue: queue.enqueue("jobs.maintenance.partitions", on_stopped=Callback("os.system")).id,
        "'os.system' is a callback",
    ),
    "an object to call a method of": (
        lambda queue: put_in_raw(queue.connection, carrying("jobs.maintenance.partitions", "text")),
        "it carries an object",
    ),
    "a pickle": (
        lambda queue: put_in_raw(queue.connection, pickle.dumps(("jobs.maintenance.partitions", None, (), {}))),
        "DeserializationError",
    ),
    "a name that is no text": (
        lambda queue: put_in_raw(queue.connection, carrying(["jobs.maintenance.partitions"])),
        "is not on the list",
    ),
}


@pytest.mark.parametrize("way", HOSTILE)
def test_a_job_that_is_not_ours_fails_with_its_reason(lab: Lab, way: str) -> None:
    """A job that names, carries or brings along what is not on the list does nothing, and the worker goes on."""
    put_in, reason = HOSTILE[way]
    worker = lab.start("work", "ops")
    job_id = put_in(Queue(OPS, lab.redis, serializer=JSONSerializer))
    enqueue_tick(lab.redis, "partitions", "jobs.maintenance.partitions", NOON, keep=60)
    wait_for(lambda: lab.traces("partitions"))
    job = Job.fetch(job_id, lab.redis, JSONSerializer)
    result = job.latest_result()
    assert job.is_failed
    assert result is not None
    assert reason in str(result.exc_string)
    assert len(lab.traces("partitions")) == 1
    assert worker.process.poll() is None


class Poison:
    """What runs when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch hostile",)


MALFORMED: dict[str, dict[Any, Any]] = {
    "no data": {"origin": OPS},
    "an unknown status": {"data": b"[]", "status": "enchanted"},
    "a time that is none": {"data": b"[]", "created_at": "yesterday"},
    "a timeout that is none": {"data": b"[]", "timeout": "soon"},
    "a name that is no text": {"data": b"[]", "worker_name": b"\xff"},
    "a number that is none": {"data": b"[]", "retries_left": "many"},
    "dependencies beyond all depth": {"data": b"[]", "dependency_ids": b"[" * 100_000},
    "more data than memory": {"data": zlib.compress(bytes(50 * JOB_BYTES)), "origin": OPS},
    "more of an error than memory": {"data": b"[]", "exc_info": zlib.compress(bytes(50 * JOB_BYTES))},
    "a description without end": {"data": b"[]", "description": b"x" * (JOB_BYTES + 1)},
}


def run_stock_worker(lab: Lab, folder: Path, serializer: str) -> int:
    """RQ's own worker, as its documentation starts it, until the queue is empty: its exit code."""
    command = [sys.executable, "-m", "rq.cli", "worker", "--burst", "--serializer", serializer, "--url", lab.server.url]
    done = subprocess.run([*command, OPS], cwd=folder, capture_output=True, timeout=60, check=False)
    return done.returncode


@pytest.mark.parametrize("serializer", ["rq.serializers.JSONSerializer", "rq.serializers.PickleSerializer"])
def test_what_is_refused_here_runs_on_a_worker_of_rqs(lab: Lab, tmp_path: Path, serializer: str) -> None:
    """The control: what our worker refuses, RQ's own calls or unpickles; so these jobs are as hostile as can be."""
    if "JSON" in serializer:
        put_in_raw(lab.redis, carrying("os.system"))
    else:
        put_in_raw(lab.redis, pickle.dumps(("os.getcwd", None, (Poison(),), {})))
    assert run_stock_worker(lab, tmp_path, serializer) == 0
    assert (tmp_path / "hostile").exists()


@pytest.mark.parametrize("way", ["an unknown status", "a time that is none", "a name that is no text"])
def test_what_is_passed_over_here_ends_a_worker_of_rqs(lab: Lab, tmp_path: Path, way: str) -> None:
    """The control: RQ's own worker ends at a malformed hash, and the good job behind it is never run."""
    lab.redis.hset("rq:job:broken", mapping=MALFORMED[way])
    lab.redis.rpush("rq:queue:ops", "broken")
    good = Queue(OPS, lab.redis, serializer=JSONSerializer).enqueue("os.getcwd")
    run_stock_worker(lab, tmp_path, "rq.serializers.JSONSerializer")
    assert good.get_status() == "queued"


def test_a_pickle_is_not_unpickled(lab: Lab) -> None:
    """Bytes that would run a command as they are unpickled are never unpickled, wherever in a job they stand."""
    worker = lab.start("work", "ops", cwd=lab.folder)
    poison = pickle.dumps(("jobs.maintenance.partitions", None, (Poison(),), {}))
    put_in_raw(lab.redis, poison)
    for name in ("meta", "result", "exc_info", "group_id"):
        job_id = f"with-{name}"
        fields: dict[Any, Any] = {"data": carrying("os.getcwd"), "origin": OPS, "status": "queued", "timeout": 9}
        lab.redis.hset(f"rq:job:{job_id}", mapping=fields | {name: poison})
        lab.redis.rpush("rq:queue:ops", job_id)
    enqueue_tick(lab.redis, "partitions", "jobs.maintenance.partitions", NOON, keep=60)
    wait_for(lambda: lab.traces("partitions"))
    assert not (lab.folder / "hostile").exists()
    assert worker.process.poll() is None


ODD_ARGUMENTS: dict[str, bytes] = {
    "too many": b'["jobs.maintenance.partitions", null, [1, 2, 3], {}]',
    "of other names": b'["jobs.maintenance.partitions", null, [], {"command": "touch hostile"}]',
    "beyond all depth": b'["jobs.maintenance.partitions", null, ' + b"[" * 100_000 + b"]" * 100_000 + b", {}]",
    "no list": b'["jobs.maintenance.partitions", null, 7, {}]',
    "no object": b'["jobs.maintenance.partitions", null, [], 7]',
    "too few parts": b'["jobs.maintenance.partitions"]',
    "no parts": b"7",
    "a number without end": b'["jobs.maintenance.partitions", null, [' + b"9" * 100_000 + b"], {}]",
}


def test_odd_arguments_fail_their_job_alone(lab: Lab) -> None:
    """Arguments that the function does not take, or that nobody can read, fail their job and not the worker."""
    worker = lab.start("work", "ops")
    for way, data in ODD_ARGUMENTS.items():
        put_in_raw(lab.redis, data, way.replace(" ", "-"))
    enqueue_tick(lab.redis, "partitions", "jobs.maintenance.partitions", NOON, keep=60)
    wait_for(lambda: lab.traces("partitions"), 30)
    assert len(lab.traces("partitions")) == 1
    assert worker.process.poll() is None
    for way in ODD_ARGUMENTS:
        assert AnalyticsJob.fetch(way.replace(" ", "-"), lab.redis).is_failed, way


def test_garbage_in_every_list_of_rqs(lab: Lab) -> None:
    """Whatever stands in RQ's registries and among its workers, the worker works, tidies up, and is shown."""
    worker_key = "rq:worker:"
    for registry in ("wip", "finished", "failed", "deferred", "scheduled", "canceled", "ready"):
        lab.redis.zadd(
            f"rq:{registry}:ops", {b"\xff\xfe": 1, b"": 1, b"a b": 1, b"none": 1, b"none:1": 1, b"a:b:c:d": 1}
        )
    lab.redis.sadd("rq:workers", b"\xff\xfe", "", "rq:worker:gone", "no key of a worker", f"{worker_key}text")
    lab.redis.sadd("rq:workers:ops", b"\xff\xfe", "", "rq:worker:gone")
    lab.redis.set(f"{worker_key}text", "text")
    for name, fields in {
        "bytes": {"last_heartbeat": b"\xff", "queues": b"\xff"},
        "time": {"last_heartbeat": "yesterday", "queues": OPS},
        "empty": {"queues": OPS},
    }.items():
        lab.redis.hset(worker_key + name, mapping=fields)  # type: ignore[arg-type]
        lab.redis.sadd("rq:workers", worker_key + name)
        lab.redis.sadd("rq:workers:ops", worker_key + name)
    due = carrying("os.system")
    lab.redis.hset("rq:job:due", mapping={"data": due, "origin": OPS, "status": "scheduled"})
    lab.redis.zadd("rq:scheduled:ops", {"due": 1})
    lab.redis.set("rq:scheduler-lock:ops", "1")
    lab.redis.hset("rq:cron_scheduler:x", mapping={"config": b"\xff"})
    lab.redis.zadd("rq:cron_schedulers", {"x": 1})
    worker = lab.start("work", "ops")
    lab.start("schedule")
    enqueue_tick(lab.redis, "partitions", "jobs.maintenance.partitions", NOON, keep=60)
    wait_for(lambda: lab.traces("partitions"))
    wait_for(lambda: not lab.redis.exists("rq:wip:ops"))
    wait_for(lambda: lab.redis.zrange("rq:scheduled:ops", 0, -1))
    shown = jobs_and_workers(lab.redis).workers
    assert [each.queue for each in shown] == [OPS], "the garbage is not shown as workers"
    assert worker.process.poll() is None
    assert not worker.said("maintenance failed")
    worker.stop()
    assert worker.process.returncode == 0


def test_nobody_commands_a_worker_by_redis(lab: Lab) -> None:
    """RQ's commands by publish, to stop a worker or its job, find nobody who listens."""
    worker = lab.start("work", "ops")
    wait_for(lambda: worker.said("Listening"))
    name = wait_for(lambda: jobs_and_workers(lab.redis).workers)[0].name
    assert lab.redis.publish(f"rq:pubsub:{name}", json.dumps({"command": "shutdown"})) == 0


@pytest.mark.parametrize("way", MALFORMED)
def test_what_nobody_can_read_is_passed_over(lab: Lab, way: str) -> None:
    """A hash that is no job's ends neither the worker that takes it from the queue nor the next one."""
    lab.redis.hset("rq:job:broken", mapping=MALFORMED[way])
    lab.redis.rpush("rq:queue:ops", "broken")
    lab.redis.rpush("rq:queue:ops:intermediate", "broken")
    worker = lab.start("work", "ops")
    enqueue_tick(lab.redis, "partitions", "jobs.maintenance.partitions", NOON, keep=60)
    wait_for(lambda: lab.traces("partitions"))
    wait_for(lambda: not lab.redis.exists("rq:queue:ops:intermediate"))
    assert worker.process.poll() is None
    assert worker.said("job is unreadable")


@pytest.mark.parametrize("job_id", [b"\xff\xfe", b"a b", b"", b"a:b:c"])
def test_an_id_that_is_none_is_passed_over(lab: Lab, job_id: bytes) -> None:
    """What is no job id does not end the worker, and does not stay on the way to it."""
    lab.redis.rpush("rq:queue:ops", job_id)
    worker = lab.start("work", "ops")
    enqueue_tick(lab.redis, "partitions", "jobs.maintenance.partitions", NOON, keep=60)
    wait_for(lambda: lab.traces("partitions"))
    wait_for(lambda: not lab.redis.exists("rq:queue:ops:intermediate"))
    assert worker.process.poll() is None


def test_a_key_of_another_kind_is_no_job(lab: Lab) -> None:
    """A key that is no hash is a job that does not exist."""
    lab.redis.set("rq:job:text", "text")
    with pytest.raises(NoSuchJobError):
        AnalyticsJob.fetch("text", lab.redis)


def test_every_job_ends_and_calls_nobody(lab: Lab) -> None:
    """A job without a timeout gets one, and its webhooks are forgotten."""
    webhook = Webhook("http://127.0.0.1:1/", "failed")
    for timeout in (None, -1):
        job = Queue(OPS, lab.redis, serializer=JSONSerializer).enqueue("os.getcwd", webhooks=[webhook])
        lab.redis.hdel(job.key, "timeout")
        if timeout:
            lab.redis.hset(job.key, "timeout", timeout)
        ours = AnalyticsJob.fetch(job.id, lab.redis)
        assert (ours.timeout, ours.webhooks) == (JOB_SECONDS, [])


def test_a_job_without_timeout_does_not_end_its_worker(lab: Lab) -> None:
    """A hash without a timeout, whose job outlives the monitor's first look, leaves the worker alive."""
    worker = lab.start("work", "rollup")
    data = json.dumps(["jobs.rollup.rollup", None, [0], {}]).encode()
    lab.redis.hset("rq:job:timeless", mapping={"data": data, "origin": ROLLUP, "status": "queued"})
    lab.redis.rpush("rq:queue:rollup", "timeless")
    lab.wait_for_begin(1)
    wait_for(lambda: int(lab.redis.get("fake:turns:0") or 0) > 50)  # two and a half seconds
    assert worker.process.poll() is None


def test_a_tick_is_one_job(lab: Lab) -> None:
    """Three schedulers that put in five ticks put in five jobs."""
    ticks = [NOON + timedelta(minutes=minute) for minute in range(5)]
    done = [
        enqueue_tick(lab.redis, "partitions", "jobs.maintenance.partitions", tick, keep=60)
        for _ in range(3)
        for tick in ticks
    ]
    assert sum(done) == 5
    assert lab.redis.llen("rq:queue:ops") == 5


def test_a_tick_stays_done(lab: Lab) -> None:
    """A tick whose job has run is not run again by a scheduler that comes later; an unstarted one goes stale."""
    enqueue_tick(lab.redis, "partitions", "jobs.maintenance.partitions", NOON, keep=60)
    assert 0 < lab.redis.ttl("rq:job:partitions-20261122T120000Z") <= 60
    worker = lab.start("work", "ops")
    wait_for(lambda: worker.said("Job OK"))
    assert not enqueue_tick(lab.redis, "partitions", "jobs.maintenance.partitions", NOON, keep=60)
    assert 0 < lab.redis.ttl("rq:job:partitions-20261122T120000Z") <= 60


def test_an_idle_worker_stops_at_once(lab: Lab) -> None:
    """SIGTERM ends a worker that waits for a job."""
    worker = lab.start("work", "rollup")
    wait_for(lambda: worker.said("Listening"))
    wait_for(lambda: jobs_and_workers(lab.redis).workers[0].state == "idle")
    seconds = worker.stop()
    print(f"idle worker stopped: {seconds:.2f} s")
    assert seconds <= 2
    assert worker.process.returncode == 0
    assert jobs_and_workers(lab.redis).workers == ()


def test_a_stop_is_not_swallowed(lab: Lab) -> None:
    """A stop whose exception is swallowed by what it interrupts is still a stop."""
    worker = lab.start("work", "rollup", double="SIGTERM where exceptions are swallowed")
    assert worker.process.wait(10) == 0


def test_a_busy_worker_stops_at_once_and_its_job_goes_on_elsewhere(lab: Lab) -> None:
    """SIGTERM ends the running slice in its own time, and the rollup is queued for the next worker."""
    lab.start("schedule")
    worker = lab.start("work", "rollup")
    lab.wait_for_begin(1)
    seconds = worker.stop()
    print(f"busy worker stopped: {seconds:.2f} s")
    assert seconds <= 2
    assert worker.process.returncode == 0
    assert len(lab.traces("end")) == 1
    assert lab.held("rollup-0") == 1
    lab.start("work", "rollup")
    lab.wait_for_begin(2)


@pytest.mark.parametrize(
    "moment",
    ["SIGTERM before the fork", "SIGTERM at the fork", "SIGUSR1 to a newborn horse", "SIGTERM to a newborn horse"],
)
def test_no_moment_is_wrong_for_a_stop(lab: Lab, moment: str) -> None:
    """A stop just before the fork, or to a horse that has no handlers yet, ends the slice and loses nothing."""
    lab.start("schedule")
    worker = lab.start("work", "rollup", double=moment)
    lab.wait_for_begin(1)
    wait_for(lambda: lab.traces("end"), 5)
    if moment.endswith("fork"):
        worker.process.wait(5)
        assert worker.process.returncode == 0
    assert not worker.said("terminated unexpectedly")
    assert lab.held("rollup-0") == 1


def test_a_killed_horse_is_replaced_at_once(lab: Lab) -> None:
    """The rollup of a work horse that was killed runs again at once."""
    lab.start("schedule")
    lab.start("work", "rollup")
    horse, _ = lab.wait_for_begin(1)
    kill(horse)
    with measured("after the kill of a horse"):
        lab.wait_for_begin(2, seconds=3)


def test_a_killed_worker_and_horse_are_replaced_in_seconds(lab: Lab) -> None:
    """The rollup of a worker and a horse that were killed together runs again on another worker, and only once."""
    lab.start("schedule")
    for _ in range(2):
        lab.start("work", "rollup")
    horse, worker = lab.wait_for_begin(1)
    wait_for(lambda: int(lab.redis.get("fake:turns:0") or 0) > 30)  # beyond the first heartbeats
    kill(worker, horse)
    with measured("after the kill of worker and horse"):
        _, other = lab.wait_for_begin(2, seconds=10)
    assert other != worker
    assert lab.held("rollup-0") == 1


def test_a_full_redis_ends_no_running_job(lab: Lab) -> None:
    """A worker whose heartbeats Redis refuses, because its memory is full, goes on; for its job may make room."""
    lab.redis.set("fake:mode", "quiet")
    scheduler = lab.start("schedule")
    worker = lab.start("work", "rollup")
    lab.wait_for_begin(1)
    kill(scheduler.pid)  # it would go to work by itself
    lab.redis.config_set("maxmemory", 1)
    try:
        wait_for(lambda: worker.said("missed a heartbeat") or worker.process.poll() is not None)
    finally:
        lab.redis.config_set("maxmemory", 0)
    assert worker.process.poll() is None
    assert lab.traces("end") == []


def test_a_horse_without_its_worker_ends(lab: Lab) -> None:
    """A work horse whose worker was killed ends its slice by itself, and the rollup goes on once, not twice."""
    lab.start("schedule")
    lab.start("work", "rollup")
    horse, worker = lab.wait_for_begin(1)
    lab.start("work", "rollup")
    kill(worker)
    with measured("end of an orphaned horse"):
        wait_for(lambda: lab.traces("end"), 3)
    assert lab.traces("end")[0][2] == str(horse)
    lab.wait_for_begin(2)
    turns = int(lab.redis.get("fake:turns:0") or 0)
    wait_for(lambda: int(lab.redis.get("fake:turns:0") or 0) > turns + 100)  # five seconds
    assert lab.held("rollup-0") == 1
    assert len(lab.traces("begin")) == 2


def test_a_double_is_removed(lab: Lab) -> None:
    """A rollup that is queued while it runs, or queued twice, is soon there once."""
    scheduler = lab.start("schedule")
    lab.start("work", "rollup")
    lab.wait_for_begin(1)
    lab.redis.rpush("rq:queue:rollup", "rollup-0", "rollup-0")
    wait_for(lambda: scheduler.said("double rollup removed"))
    wait_for(lambda: lab.held("rollup-0") == 1)


LOST: dict[str, tuple[str, ...]] = {
    "from the queue": ("DEL rq:queue:rollup",),
    "on the way to a worker": ("LMOVE rq:queue:rollup rq:queue:rollup:intermediate LEFT RIGHT",),
    "altogether": ("DEL rq:queue:rollup rq:job:rollup-0",),
    "as failed": ("DEL rq:queue:rollup", "HSET rq:job:rollup-0 status failed", "ZADD rq:failed:rollup 9e9 rollup-0"),
    "with the last heartbeat of a clock that is ahead": ("DEL rq:queue:rollup", "ZADD rq:wip:rollup 9e9 rollup-0:dead"),
}


@pytest.mark.parametrize("how", LOST)
def test_a_lost_rollup_is_found(lab: Lab, how: str) -> None:
    """A rollup that nobody holds, whatever RQ believes, is put in again within seconds."""
    lab.start("schedule")
    wait_for(lambda: lab.redis.llen("rq:queue:rollup") == 1)
    for command in LOST[how]:
        lab.redis.execute_command(*command.split())  # type: ignore[no-untyped-call]
    with measured("until the lost one was found"):
        wait_for(lambda: lab.redis.lrange("rq:queue:rollup", 0, -1) == [b"rollup-0"])
    lab.start("work", "rollup")
    lab.wait_for_begin(1)
    wait_for(lambda: lab.held("rollup-0") == 1)


def test_an_unreadable_rollup_is_replaced(lab: Lab) -> None:
    """A rollup whose hash was spoilt is written anew."""
    lab.redis.hset("rq:job:rollup-0", mapping={"data": b"[]", "created_at": "yesterday"})
    lab.redis.rpush("rq:queue:rollup", "rollup-0")
    lab.start("schedule")
    lab.start("work", "rollup")
    lab.wait_for_begin(1)


def test_shards_take_turns(lab: Lab) -> None:
    """With more shards than workers, every shard gets slices of about a second."""
    lab.start("schedule", shards=3)
    worker = lab.start("work", "rollup", shards=3)
    with measured("three slices of three shards on one worker"):
        for shard in range(3):
            lab.wait_for_begin(3, shard, seconds=20)
    begun = [len(lab.traces("begin", shard)) for shard in range(3)]
    assert max(begun) - min(begun) <= 1
    assert not worker.said("rollup-")  # nine slices, and not a word about any


def test_a_lasting_error_does_not_spin(lab: Lab) -> None:
    """A slice that fails at once is tried again, but no more than once a second."""
    lab.redis.set("fake:mode", "raise")
    lab.start("schedule")
    worker = lab.start("work", "rollup")
    assert seconds_until(lambda: len(lab.traces("begin")) >= 4) > 2.5
    assert worker.process.poll() is None
    assert worker.said("a lasting error")
    lab.redis.delete("fake:mode")
    wait_for(lambda: lab.redis.get("fake:turns:0"))


def test_the_rollup_survives_an_outage_of_redis(lab: Lab) -> None:
    """After Redis was killed and came back, the rollup runs again; who does not wait is started again by others."""
    lab.start("schedule")
    worker = lab.start("work", "rollup")
    lab.wait_for_begin(1)
    lab.server.kill()
    with measured("worker without Redis"):
        worker.process.wait(15)
    assert worker.process.returncode == 1
    again = lab.start("work", "rollup")
    wait_for(lambda: again.said("Redis is away"))
    lab.server.start()
    with measured("after the return of Redis"):
        wait_for(lambda: len(lab.traces("begin")) >= 2)
    wait_for(lambda: lab.held("rollup-0") == 1)


def test_rq_writes_through_our_log(lab: Lab) -> None:
    """Each of RQ's lines is one line of JSON, and is written once."""
    worker = lab.start("work", "ops")
    enqueue_tick(lab.redis, "partitions", "jobs.maintenance.partitions", NOON, keep=60)
    wait_for(lambda: worker.said("Job OK"))
    worker.stop()
    for event in ("started with PID", "Listening on ops", "ops: jobs.maintenance.partitions()", "Job OK"):
        (line,) = worker.said(event)
        assert line["logger"] == "rq.worker"
        assert "\x1b" not in line["event"]


def test_a_view_shows_and_changes_nothing(lab: Lab) -> None:
    """The view tells queues and workers as they are, also what RQ would tidy up while it counts."""
    lab.start("schedule")
    worker = lab.start("work", "rollup")
    lab.wait_for_begin(1)
    lab.redis.zadd("rq:wip:ops", {"gone:1": 1})
    lab.redis.zadd("rq:failed:ops", {"gone": 1})
    lab.redis.sadd("rq:workers", "rq:worker:gone")
    wait_for(lambda: lab.redis.llen("rq:queue:ops") >= len(SCHEDULE))
    view = jobs_and_workers(lab.redis)
    waiting = lab.redis.llen("rq:queue:ops")
    assert [(queue.name, queue.queued, queue.started, queue.failed) for queue in view.queues] == [
        (ROLLUP, 0, 1, 0),
        (OPS, waiting, 1, 1),
    ]
    (shown,) = view.workers
    assert (shown.queue, shown.state, shown.job) == (ROLLUP, "busy", "rollup-0")
    assert 0 <= shown.heartbeat_age < 3
    assert lab.redis.zcard("rq:wip:ops") == lab.redis.zcard("rq:failed:ops") == 1
    assert lab.redis.sismember("rq:workers", "rq:worker:gone")
    kill(worker.pid)
    assert seconds_until(lambda: jobs_and_workers(lab.redis).workers[0].heartbeat_age > 1) < 5
