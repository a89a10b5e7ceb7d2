"""kill -9 and SIGSTOP of every process at every named moment: the tables equal the straight count all the same."""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import psutil
import pytest

from tests.faults.proxy import COMMIT, KEEPER_LOOKS, SMALL_COMMIT, TRIM
from tests.faults.stage import Program, Stage, killed, stage
from tests.faults.truth import until

EVENTS = 500


# ---- victims ---------------------------------------------------------------------------------------------------------


def horse(running: Stage) -> None:
    assert killed(running.program.horses())


def worker(running: Stage) -> None:
    """Its horse is left alone, and has to notice."""
    assert killed(running.program.parts("work", "rollup"))


def worker_and_horse(running: Stage) -> None:
    assert killed(running.program.parts("work", "rollup") + running.program.horses())


def scheduler(running: Stage) -> None:
    assert killed(running.program.parts("schedule"))


def supervisor(running: Stage) -> None:
    """The platform starts it again at once, while its parts are still on their way out."""
    running.kill(running.program)
    running.start("run")


# ---- moments ---------------------------------------------------------------------------------------------------------


@contextmanager
def after_read(running: Stage) -> Iterator[None]:
    """The batch is read and parsed, and has not reached PostgreSQL."""
    held = running.postgres.hold(COMMIT)
    running.send(EVENTS)
    with held:
        yield


@contextmanager
def in_the_transaction(running: Stage) -> Iterator[None]:
    """PostgreSQL is at work on the batch."""
    with running.position_locked():
        running.send(EVENTS)
        until(running.waits_for_lock, "a batch waits for the position")
        yield


@contextmanager
def after_commit(running: Stage) -> Iterator[None]:
    """The batch is committed, and the process has not heard of it."""
    held = running.postgres.hold(SMALL_COMMIT, answered=True)
    running.send(100)
    with held:
        yield


@contextmanager
def before_trim(running: Stage) -> Iterator[None]:
    """The batch is committed, and the stream is about to be trimmed."""
    running.send(EVENTS)
    running.check()
    with running.redis.hold(TRIM):
        yield


@contextmanager
def in_the_scheduler(running: Stage) -> Iterator[None]:
    """The keeper of the rollups is between looking and mending."""
    held = running.redis.hold(KEEPER_LOOKS)
    running.send(EVENTS)
    with held:
        yield


MOMENTS = (after_read, in_the_transaction, after_commit, before_trim, in_the_scheduler)
VICTIMS = (horse, worker, worker_and_horse, supervisor)


@pytest.mark.parametrize(
    ("moment", "victim"),
    [(moment, victim) for moment in MOMENTS for victim in VICTIMS] + [(in_the_scheduler, scheduler)],
    ids=lambda one: one.__name__,
)
def test_kill_9(
    running: Stage, moment: Callable[[Stage], AbstractContextManager[None]], victim: Callable[[Stage], None]
) -> None:
    """Whoever is killed with SIGKILL, at whatever moment: every event counts once, and the counting goes on."""
    with moment(running):
        victim(running)
    running.send(EVENTS)
    running.check()


def test_a_stopped_worker_that_wakes_up(running: Stage) -> None:
    """A worker stopped between reading and committing: another takes over, and the late batch changes nothing."""
    first = running.program
    second = running.start("run")
    try:
        until(lambda: len(second.parts("work", "rollup")) == 1, "the second supervisor has a worker")
        held = running.postgres.hold(COMMIT)
        running.send(EVENTS)
        held.wait()
        before = running.read()
        frozen = [one for program in (first, second) if program.horses() for one in _rollup_processes(program)]
        _signal(frozen, signal.SIGSTOP)
        until(lambda: running.read() > before, "the other worker has taken over")
        held.release()
        _signal(frozen, signal.SIGCONT)
        running.send(EVENTS)
        running.check()
    finally:
        running.programs.remove(first)
        assert first.stop() == 0


def _rollup_processes(program: Program) -> list[psutil.Process]:
    return [*program.parts("work", "rollup"), *program.horses()]


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for one in processes:
        one.send_signal(number)


def test_a_horse_stopped_in_its_transaction(running: Stage) -> None:
    """A work horse stopped while PostgreSQL works on its batch, and continued later, goes on where the numbers are."""
    with running.position_locked():
        running.send(EVENTS)
        until(running.waits_for_lock, "a batch waits for the position")
        frozen = running.program.horses()
        _signal(frozen, signal.SIGSTOP)
    running.send(EVENTS)
    until(lambda: not running.waits_for_lock(), "PostgreSQL has finished the batch")
    _signal(frozen, signal.SIGCONT)
    running.check()


def test_a_rolling_deploy_under_load() -> None:
    """Two deploys in a row, old and new side by side while events come in on two shards: no number changes."""
    with stage({"ANALYTICS_SHARDS": "2"}) as busy:
        over, sender = threading.Event(), busy.sender(seed=5)

        def load() -> None:
            while not over.wait(0.02):
                sender.send(50)

        loading = threading.Thread(target=load)
        loading.start()
        try:
            old = busy.start("run")
            for _ in range(2):
                new = busy.start("run")
                until(lambda new=new: "Listening on rollup" in new.said(), "the new one is up")  # type: ignore[misc]
                assert old.stop() == 0
                before, old = busy.read(), new
                until(lambda before=before: busy.read() > before, "the counting goes on")  # type: ignore[misc]
        finally:
            over.set()
            loading.join()
        busy.check()
        for line in old.said().splitlines():
            json.loads(line)
