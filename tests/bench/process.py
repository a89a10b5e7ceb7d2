"""A measured process, from outside: started and ready before the clock runs, told to go, and asked what came of it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.bench.ground import Ground, Processors
from tests.support import TOP
from worker.embedded import NOTHING


@dataclass(frozen=True, slots=True)
class Answer:
    """A commit that PostgreSQL has answered."""

    at: float
    last_id: tuple[int, int]
    entries: int


@dataclass(frozen=True, slots=True)
class Run:
    """What a measured process did."""

    entries: int
    seconds: float
    cpu_seconds: float
    """Its own processor time, of all its threads."""
    servers: Processors
    peak_mb: float
    answers: list[Answer] = field(repr=False)

    @property
    def rate(self) -> float:
        """Entries a second."""
        return self.entries / self.seconds

    @property
    def cpu_ms_per_1000(self) -> float:
        """Milliseconds of processor time of all three together for 1,000 entries."""
        return (self.cpu_seconds + self.servers.both) * 1e6 / self.entries


class Measured:
    """A process of `tests.bench.measured` that is ready to go."""

    def __init__(self, ground: Ground, process: "subprocess.Popen[str]") -> None:
        self._ground = ground
        self._process = process
        self._before = Processors.of(ground.servers)
        self.pid = process.pid

    def go(self) -> None:
        """The clock runs from now on."""
        self._before = Processors.of(self._ground.servers)
        print("go", file=self._process.stdin, flush=True)

    def result(self, *, stop: bool = False) -> Run:
        """What it did, once it has ended; `stop` asks it to end now.

        Raises:
            RuntimeError: it failed; its own words stand above.
        """
        if stop:
            self._process.terminate()
        # Not communicate(): its standard input stays open as long as we want it to live.
        output = self._process.stdout.read() if self._process.stdout else ""
        if (code := self._process.wait()) != 0:
            raise RuntimeError(f"the measured process ended with {code}")
        said: dict[str, Any] = json.loads(output)
        return Run(
            said["entries"],
            said["seconds"],
            said["cpu_seconds"],
            Processors.of(self._ground.servers) - self._before,
            said["peak_mb"],
            [Answer(at, tuple(last_id), entries) for at, last_id, entries in said["answers"]],
        )


@contextmanager
def measured(
    ground: Ground, what: str, database_url: str, entries: int = 0, variables: Mapping[str, str] = NOTHING
) -> Iterator[Measured]:
    """Start one and wait until it has loaded everything.

    Args:
        ground: where the servers are.
        what: its name in `tests.bench.measured`.
        database_url: a database for it.
        entries: it ends with so many; 0 runs until it is told to stop.
        variables: settings that are not as they are by default.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "tests.bench.measured", what, str(entries)],
        cwd=TOP,
        env=_environment(ground, database_url) | dict(variables),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        try:
            if process.stdout is None or process.stdout.readline() != "ready\n":
                raise RuntimeError(f"the process to be measured did not start: {what}")
            yield Measured(ground, process)
        finally:
            if process.poll() is None:
                process.kill()


def _environment(ground: Ground, database_url: str) -> dict[str, str]:
    """Ours, but for what it says about the worker."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("ANALYTICS_")}
    urls = {"DATABASE_URL": database_url, "REDIS_URL": ground.servers.redis_url}
    return ours | urls | {"ANALYTICS_LOG_LEVEL": "WARNING"}
