"""Real processes around a real Valkey, and ways to wait for what they do."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self, TypeVar

import psutil
import pytest
from redis import Redis
from rq.utils import as_text

from jobs.queue import ROLLUP, AnalyticsQueue
from worker.embedded import EmbeddedRedis

TOP = Path(__file__).parents[1]
T = TypeVar("T")


def wait_for(what: Callable[[], T], seconds: float = 15.0) -> T:
    """The first true answer; without one in time, the test fails."""
    end = time.monotonic() + seconds
    while not (answer := what()):
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.01)
    return answer


def seconds_until(what: Callable[[], object], seconds: float = 15.0) -> float:
    began = time.monotonic()
    wait_for(what, seconds)
    return time.monotonic() - began


def descendants(pid: int) -> list[psutil.Process]:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children(recursive=True)
    return []


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    def lives(process: psutil.Process) -> bool:
        with suppress(psutil.NoSuchProcess):
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        return False

    return [process for process in processes if lives(process)]


class Program:
    """One process of the worker, on the double of the pipeline, writing its log to a file."""

    def __init__(self, log: Path, process: "subprocess.Popen[bytes]") -> None:
        self.log = log
        self.process = process
        self.pid = process.pid

    def lines(self) -> list[dict[str, Any]]:
        """Everything that was written. A line that is no JSON fails the test that looks."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def said(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if event in line["event"]]

    def stop(self) -> float:
        """SIGTERM; how many seconds it took."""
        began = time.monotonic()
        self.process.terminate()
        self.process.wait(20)
        return time.monotonic() - began


class Lab:
    """An emptied Valkey, and the programs started on it."""

    def __init__(self, server: EmbeddedRedis, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.redis = Redis.from_url(server.url)
        self.redis.flushall()
        self._programs: list[Program] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for program in self._programs:
            if program.process.poll() is None:
                for process in [*descendants(program.pid), psutil.Process(program.pid)]:
                    with suppress(psutil.NoSuchProcess):
                        process.kill()
            program.process.wait()
        self.redis.close()

    @property
    def environment(self) -> dict[str, str]:
        return {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "REDIS_URL": self.server.url}

    def start(self, *arguments: str, shards: int = 1, double: str = "", cwd: Path = TOP) -> Program:
        number = len(self._programs)
        log = self.folder / f"{number}-{'-'.join(arguments)}.log"
        more = {"ANALYTICS_SHARDS": str(shards), "DOUBLE": double, "PYTHONPATH": str(TOP)}
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, str(TOP / "tests/rq_double.py"), *arguments],
                cwd=cwd,
                env=os.environ | self.environment | more,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self._programs.append(Program(log, process))
        return self._programs[-1]

    def traces(self, first: str, shard: int | None = None) -> list[list[str]]:
        """What the double did: `begin SHARD PID PPID`, `end SHARD PID`, `partitions PID`."""
        found = [as_text(trace).split() for trace in self.redis.lrange("fake:trace", 0, -1)]
        return [words for words in found if words[0] == first and (shard is None or words[1] == str(shard))]

    def wait_for_begin(self, count: int, shard: int = 0, seconds: float = 15.0) -> tuple[int, int]:
        """The pids of work horse and worker of a shard's `count`-th slice."""
        wait_for(lambda: len(self.traces("begin", shard)) >= count, seconds)
        words = self.traces("begin", shard)[count - 1]
        return int(words[2]), int(words[3])

    def held(self, job_id: str) -> int:
        """How many times RQ holds a job: queued, on its way to a worker, or running."""
        queue = AnalyticsQueue(ROLLUP, self.redis)
        with self.redis.pipeline() as pipe:
            pipe.lrange(queue.key, 0, -1)
            pipe.lrange(queue.intermediate_queue_key, 0, -1)
            pipe.zrange(queue.started_job_registry.key, 0, -1)
            queued, between, running = pipe.execute()
        on_the_way = set(between) - {execution.partition(b":")[0] for execution in running}
        ids = [*queued, *on_the_way, *(execution.partition(b":")[0] for execution in running)]
        return ids.count(job_id.encode())


def kill(*pids: int) -> None:
    """Kill them all at the same moment: none sees another one die."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            os.kill(pid, number)


@pytest.fixture(scope="module")
def redis_alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def lab(redis_alone: EmbeddedRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    with Lab(redis_alone, tmp_path) as laboratory:
        for name, value in laboratory.environment.items():
            monkeypatch.setenv(name, value)
        yield laboratory


@contextmanager
def measured(what: str) -> Iterator[None]:
    """Print how long the block took; the numbers stand in the output of `pytest -rP`."""
    began = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - began:.2f} s")
