"""Everything on one machine: starts the parts as processes, restarts what dies, and leaves none behind.

Each part is started in a session of its own, so that Ctrl-C in a terminal comes to the supervisor alone. An RQ worker's
work horse leaves the worker's process group, but not its session: whoever is in a part's session is that part's.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from worker.log import get_logger
from worker.settings import Settings
from worker.stop import StopSignal, pause

STOP_SECONDS = 10.0
KILL_SECONDS = 2.0
LOOK_SECONDS = 0.1
COMMAND = (sys.executable, "-m", "worker")

log = get_logger(__name__)


@dataclass(frozen=True)
class RestartDelay:
    """How long to wait before starting a part again that has died. All in seconds."""

    first: float = 0.1
    most: float = 5.0
    settled: float = 10.0  # a part that lived so long had started well

    def after(self, lived: float, waited: float) -> float:
        """The wait, given how long the part lived and what was waited before it started (0 at the first start)."""
        if lived >= self.settled or not waited:
            return self.first
        return min(2 * waited, self.most)


class Part:
    """One child process, over and over."""

    def __init__(self, arguments: Sequence[str], delay: RestartDelay) -> None:
        self.name = " ".join(arguments)
        self.pid = 0
        self._arguments = arguments
        self._delay = delay
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._waited = 0.0
        self._due = 0.0

    @property
    def runs(self) -> bool:
        """Whether its process is there, at the last look."""
        return self._process is not None

    def start(self, command: Sequence[str], lifeline: int) -> None:
        """Start the process if it is not there and its time has come."""
        if self._process is not None or time.monotonic() < self._due:
            return
        self._started = time.monotonic()
        try:
            self._process = subprocess.Popen(
                [*command, *self._arguments, "--lifeline", str(lifeline)],
                stdin=subprocess.DEVNULL,
                pass_fds=[lifeline],
                start_new_session=True,
            )
        except OSError as error:  # no memory or no more processes for now: the other parts go on
            log.error("part cannot start", part=self.name, error=str(error), restart_in_ms=self._wait_longer())
            return
        self.pid = self._process.pid
        log.info("part started", part=self.name, pid=self.pid)

    def has_ended(self, *, stopping: bool = False) -> bool:
        """Whether the process has ended since the last look; unless we are stopping, it is to be started again."""
        if self._process is None or (code := self._process.poll()) is None:
            return False
        self._process = None
        if stopping:
            log.info("part stopped", part=self.name, pid=self.pid, **_end(code))
            return True
        log.warning("part died", part=self.name, pid=self.pid, **_end(code), restart_in_ms=self._wait_longer())
        return True

    def _wait_longer(self) -> int:
        self._waited = self._delay.after(time.monotonic() - self._started, self._waited)
        self._due = time.monotonic() + self._waited
        return round(1000 * self._waited)

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if the process is there."""
        if self._process is not None:
            self._process.send_signal(number)


def run_supervisor(
    settings: Settings, *, web: bool = False, command: Sequence[str] = COMMAND, delay: RestartDelay | None = None
) -> int:
    """Run every part until SIGTERM or SIGINT.

    Args:
        settings: how many shards there are.
        web: whether the web process is one of the parts.
        command: what each part's arguments are appended to.
        delay: how quickly a part is restarted.

    Returns:
        The exit code: 0, or 1 if a part had to be killed.
    """
    stop = StopSignal()
    stop.install()
    plan = [["work", "rollup"]] * min(settings.shards, _cores()) + [["work", "ops"], ["schedule"]] + [["web"]] * web
    parts = [Part(arguments, delay or RestartDelay()) for arguments in plan]
    orphaned: set[int] = set()  # sessions whose first process has ended, and others not yet
    with _lifeline() as lifeline:
        while not stop():
            orphaned |= {part.pid for part in parts if part.has_ended()}
            for part in parts:
                part.start(command, lifeline)
            # Often, lest the system give the number of an empty session to a stranger's.
            orphaned = set(_living(orphaned).values())
            pause(LOOK_SECONDS, stop)
        return _stop(parts, orphaned)


def _stop(parts: Sequence[Part], orphaned: set[int]) -> int:
    log.info("supervisor stopping", within_seconds=STOP_SECONDS)
    sessions = orphaned | {part.pid for part in parts if part.runs}
    for part in parts:
        part.send(signal.SIGTERM)
    end = time.monotonic() + STOP_SECONDS
    while (sessions or any(part.runs for part in parts)) and time.monotonic() < end:
        time.sleep(LOOK_SECONDS / 4)
        for part in parts:
            part.has_ended(stopping=True)
        sessions = set(_living(sessions).values())
    killed = kill_sessions(sessions)
    for part in parts:
        part.send(signal.SIGKILL)  # where there is no /proc, no session was found
        part.has_ended(stopping=True)
    log.info("supervisor stopped", killed=killed)
    return 1 if killed else 0


def kill_sessions(sessions: Collection[int]) -> int:
    """Kill every process in these sessions, oneself last.

    Returns:
        How many there were.
    """
    killed: set[int] = set()
    end = time.monotonic() + KILL_SECONDS
    while (living := _living(sessions)) and time.monotonic() < end:
        killed |= living.keys()
        for pid in sorted(living, key=lambda pid: pid == os.getpid()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)
    return len(killed)


def _living(sessions: Collection[int]) -> dict[int, int]:
    """The running processes of these sessions, and the session of each."""
    living = {}
    for entry in Path("/proc").glob("[0-9]*") if sessions else ():
        pid = int(entry.name)
        with suppress(OSError):  # it has ended meanwhile
            if (session := os.getsid(pid)) in sessions:
                if (entry / "stat").read_text().rpartition(")")[2].split()[0] not in "ZX":
                    living[pid] = session
                elif pid != session:
                    # As the first process of a container we inherit dead orphans, and nobody else buries them.
                    os.waitpid(pid, os.WNOHANG)
    return living


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _lifeline() -> Iterator[int]:
    """The end of a pipe that children read from; it ends when we do, however that comes about."""
    reading, writing = os.pipe()
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)


def watch_lifeline(reading: int) -> None:
    """In a child: stop, as if by SIGTERM, when the supervisor has died. Nobody would be left to insist, so we do."""

    def wait() -> None:
        with suppress(OSError):
            while os.read(reading, 1):
                pass
        log.warning("supervisor gone", pid=os.getpid())
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(STOP_SECONDS)
        kill_sessions([os.getpid()])
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


def _end(code: int) -> dict[str, int | str]:
    return {"code": code} if code >= 0 else {"signal": signal.Signals(-code).name}
