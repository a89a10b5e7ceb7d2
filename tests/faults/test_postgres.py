"""What PostgreSQL can do to the worker: it waits, goes on by itself, and the tables equal the straight count."""

import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.faults.proxy import LARGE_COMMIT, SMALL_COMMIT
from tests.faults.stage import Stage
from tests.faults.truth import until

EVENTS, LARGE = 500, 12_000


def waits_because_of(running: Stage, words: str) -> Callable[[], bool]:
    """Asks whether the rollup has said, from now on, that it waits and why."""
    before = len(running.program.said())
    waiting = re.compile(rf'"why": "[^"]*{words}.*"waiting for a server"')
    return lambda: waiting.search(running.program.said(), before) is not None


def test_an_earlier_state_is_restored(running: Stage) -> None:
    """A backup from before some thousand events takes its position along: they are read again, and count once."""
    server, data = running.servers.postgres, running.servers.postgres.folder / "postgresql"
    backup = data.with_name("backup")
    server.stop()
    subprocess.run(["cp", "-a", data, backup], check=True)
    server.start()
    running.send(3_000)
    running.check()
    latest = running.read()
    running.send(EVENTS)  # the stream goes on all the time
    server.stop()
    shutil.rmtree(data)
    backup.rename(data)
    running.send(EVENTS)
    server.start()
    assert running.read() < latest, "what was restored is no earlier state"
    running.check()


# ---- a connection ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answered", [False, True], ids=["never_arrives", "answer_is_lost"])
def test_the_connection_is_cut_in_a_commit(running: Stage, answered: bool) -> None:
    """A commit that nobody knows the outcome of, whether it happened or not: every event counts once."""
    held = running.postgres.hold(SMALL_COMMIT, answered=answered)
    before = running.read()
    running.send(10)
    with held:
        assert (running.read() > before) is answered
    running.check()


@pytest.mark.parametrize("answered", [False, True], ids=["never_arrives", "answer_is_lost"])
def test_the_connection_is_cut_in_a_large_commit(running: Stage, answered: bool) -> None:
    """The same for a batch that is sent in another way, because it is large."""
    (horse,) = running.program.horses()
    horse.send_signal(signal.SIGSTOP)
    before = running.read()
    running.send(LARGE)
    held = running.postgres.hold(LARGE_COMMIT, answered=answered)
    with running.position_locked():  # meanwhile all that follows gathers into one batch
        horse.send_signal(signal.SIGCONT)
        until(running.waits_for_lock, "the first batch waits for the position")
        until(lambda: horse.cpu_percent(0.3) < 5, "the next batch is gathered")
    with held:
        assert (running.read() == before + LARGE) is answered
    running.check()


def test_backends_are_terminated_at_random(running: Stage) -> None:
    """pg_terminate_backend of either connection of the rollup, twelve times at any moment."""
    chance = random.Random(12)
    for _ in range(12):
        running.send(300)
        until(lambda: len(running.backends()) > 0, "the rollup is connected")
        time.sleep(chance.random() * 0.02)  # not to wait for anything: to fall into any moment of a batch
        running.ask("SELECT pg_terminate_backend(%s)", chance.choice(running.backends() or [0]))
    running.check()


# ---- the server refuses ----------------------------------------------------------------------------------------------


@contextmanager
def disk_full(running: Stage) -> Iterator[None]:
    """As the ledger sees it when its disk is full: SQLSTATE 53100. (A disk that is really full needs root to make.)"""
    running.ask("""
        CREATE FUNCTION disk_full() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = 'disk_full';
        END $$
    """)
    running.ask("CREATE TRIGGER disk_full BEFORE INSERT ON analytics.event EXECUTE FUNCTION disk_full()")
    yield
    running.ask("DROP FUNCTION disk_full CASCADE")


@contextmanager
def _configured(running: Stage, name: str, value: str) -> Iterator[None]:
    running.ask(f"ALTER SYSTEM SET {name} = '{value}'")
    running.ask("SELECT pg_reload_conf()")
    yield
    running.ask(f"ALTER SYSTEM RESET {name}")
    running.ask("SELECT pg_reload_conf()")


@contextmanager
def read_only(running: Stage) -> Iterator[None]:
    """As after a fail-over to a replica, or when a provider's disk is nearly full."""
    with _configured(running, "default_transaction_read_only", "on"):
        yield


@contextmanager
def statement_timeout(running: Stage) -> Iterator[None]:
    """Somebody holds a lock for longer than a statement may take."""
    with _configured(running, "statement_timeout", "50ms"), running.position_locked():
        yield


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (disk_full, "No space left on device"),
        (read_only, "read-only transaction"),
        (statement_timeout, "statement timeout"),
    ],
    ids=["disk_full", "read_only", "statement_timeout"],
)
def test_the_server_refuses(
    running: Stage, trouble: Callable[[Stage], AbstractContextManager[None]], words: str
) -> None:
    """As long as PostgreSQL cannot write the worker says why and waits; then it goes on by itself, the same process."""
    parts = running.program.parts()
    waits = waits_because_of(running, words)
    with trouble(running):
        before = running.read()
        running.send(EVENTS)
        until(waits, f"the rollup waits because of: {words}")
        assert running.read() == before
    running.check()
    assert all(one.is_running() for one in parts)
