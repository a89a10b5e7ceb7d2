"""Runs with real processes: asked for on the command line, done by workers that are killed, or are not there."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta

import psutil
import psycopg
import pytest
import redis

from jobs.queue import OPS, enqueue_tick, queued_runs
from jobs.view import jobs_and_workers
from tests.support import (
    TOP,
    add_specialists,
    ended,
    environment,
    run_worker,
    running,
    settings_with,
    start_worker,
    wait_until,
)
from worker.operations.refresh import REFRESH, RefreshArguments
from worker.operations.runs import Run, load_run, open_run
from worker.settings import Settings
from worker.store import Connection
from worker.upkeep.scheduled import Tick, note_begin, note_end

FIRST, DAYS = date(2018, 1, 1), 800


def days(number: int) -> tuple[str, ...]:
    return ("--from", str(FIRST), "--to", str(FIRST + timedelta(days=number - 1)))


SHORT, MIDDLE, LONG = days(20), days(DAYS), days(3_600)
"""A step a day, of some milliseconds. Nobody waits for the end of the long one."""


def part(supervisor: psutil.Process, *arguments: str) -> psutil.Process:
    """A part of the supervisor."""
    found: list[psutil.Process] = []

    def is_there() -> bool:
        with suppress(psutil.Error):
            found[:] = [child for child in supervisor.children() if child.cmdline()[3:5] == list(arguments)]
        return bool(found)

    wait_until(is_there, f"the part {arguments}")
    return found[0]


@contextmanager
def listening(settings: Settings, client: redis.Redis) -> Iterator[None]:
    """All of the worker, from when a run does not have to wait for it: a follower soon says that nobody listens."""
    with running(settings, "run"):
        wait_until(lambda: any(worker.queue == OPS for worker in jobs_and_workers(client).workers), "somebody listens")
        yield


def run_of(connection: Connection, number: int = 1) -> Run:
    run = load_run(connection, number)
    assert run is not None
    return run


def wait_for_state(connection: Connection, state: str, number: int = 1) -> Run:
    wait_until(lambda: run_of(connection, number).state == state, f"run {number} is {state}", 90)
    return run_of(connection, number)


def wait_for_days(connection: Connection, days: int) -> None:
    wait_until(lambda: run_of(connection).done >= days, f"{days} days are done", 90)


def count_before_us(connection: Connection) -> None:
    """Let anna have a view on each of the days, that the daily table does not have yet."""
    add_specialists(connection, ["anna"])
    connection.execute(
        "INSERT INTO analytics.baseline (date, specialist_id, origin, profile_views, direct)"
        " SELECT %s::date + number, 'anna', 'legacy', 1, 1 FROM generate_series(0, %s) AS number",
        [FIRST, DAYS - 1],
    )


def days_of_anna(connection: Connection) -> int:
    row = connection.execute('SELECT sum("profileViews") FROM "SpecialistAnalyticsDaily"').fetchone()
    assert row is not None
    return int(row[0] or 0)


def damage(connection: Connection, day: date) -> None:
    connection.execute('UPDATE "SpecialistAnalyticsDaily" SET "profileViews" = 9 WHERE date = %s', [day])


@contextmanager
def row_held(connection: Connection, day: date) -> Iterator[Callable[[], bool]]:
    """A wrong row of anna's, that nobody else can have: whoever puts it right waits. Says whether somebody does."""
    connection.execute(
        'INSERT INTO "SpecialistAnalyticsDaily" (id, "specialistId", date, "profileViews", "updatedAt")'
        " VALUES ('held', 'anna', %s, 0, now())",
        [day],
    )
    waiting = "SELECT FROM pg_stat_activity WHERE %s = ANY (pg_blocking_pids(pid))"
    with psycopg.connect(connection.info.dsn, password=connection.info.password) as holder:
        holder.execute('SELECT FROM "SpecialistAnalyticsDaily" WHERE date = %s FOR UPDATE', [day])
        yield lambda: connection.execute(waiting, [holder.info.backend_pid]).fetchone() is not None


def repaired(connection: Connection, day: date) -> bool:
    row = connection.execute(
        'SELECT "profileViews" = 1 FROM "SpecialistAnalyticsDaily" WHERE date = %s', [day]
    ).fetchone()
    assert row is not None
    return bool(row[0])


def test_a_worker_does_it(settings: Settings, client: redis.Redis) -> None:
    """What is asked for on the command line is done by a worker, followed to its end, and kept."""
    with listening(settings, client):
        code, output, errors = run_worker(settings, "recompute", *SHORT, "--wait")
        assert (code, errors) == (0, "")
        assert "run 1 done: 20 of 20 days" in output
    for arguments in (("runs",), ("runs", "--limit", "1"), ("runs", "1")):
        code, output, errors = run_worker(settings, *arguments)
        assert (code, errors) == (0, "")
        assert "first 2018-01-01, last 2018-01-20" in output and "20 of 20 days" in output
    _, output, _ = run_worker(settings, "runs", "1", "--json")
    assert json.loads(output)["result"]["rows"] == 0


@pytest.mark.parametrize("whom", [("worker", "horse"), ("horse",)], ids=["worker_and_horse", "horse_alone"])
def test_killed_in_the_middle(settings: Settings, connection: Connection, whom: tuple[str, ...]) -> None:
    """A run whose process was killed goes on where it was: the result is whole, and what was done is not done again."""
    count_before_us(connection)
    with running(settings, "run") as supervisor:
        with row_held(connection, FIRST + timedelta(days=400)) as somebody_waits:
            assert run_worker(settings, "recompute", *MIDDLE, "--no-wait") == (0, "run 1\n", "")
            wait_until(somebody_waits, "its middle", 90)
            worker = part(supervisor, "work", "ops")
            [horse] = worker.children()
            for process in (worker, horse) if "worker" in whom else (horse,):
                process.kill()
        damage(connection, FIRST)  # which is behind it
        killed_at = run_of(connection).done
        assert killed_at < DAYS, "it was not in the middle"
        run = wait_for_state(connection, "done")
    assert run.done == DAYS
    assert not repaired(connection, FIRST), "it began anew"
    assert days_of_anna(connection) == DAYS + 8
    assert run.result["rows"] >= DAYS - 1  # the step that was lost on the way found nothing to change any more


def test_a_stop(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """A stop ends a run between two steps; who follows it hears of that; who asked is kept; another is too late."""
    with listening(settings, client):
        follower = start_worker(settings, "recompute", *LONG, "--wait")
        wait_until(lambda: _is_there(connection), "the run")
        wait_for_days(connection, 10)
        code, output, _ = run_worker(settings, "runs", "stop", "1")
        assert code == 0 and output in ("run 1 stops after the step that it is at\n", "run 1 is stopped\n")
        code, output, errors = ended(follower)
        assert (code, errors) == (1, "") and "run 1 stopped by" in output
    run = run_of(connection)
    assert (run.state, run.stopped_by) == ("stopped", run.operator)
    assert 10 <= run.done < 3_600
    code, output, _ = run_worker(settings, "runs", "stop", "1")
    assert (code, output) == (1, "run 1 has ended before: stopped\n")


def _is_there(connection: Connection, number: int = 1) -> bool:
    return load_run(connection, number) is not None


def test_a_waiting_run_is_stopped_at_once(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Without any worker a run waits, which the follower says, and a stop ends it."""
    follower = start_worker(settings, "recompute", *SHORT, "--wait")
    wait_until(lambda: bool(queued_runs(client)), "the job")
    assert follower.stderr is not None
    assert follower.stderr.readline().startswith("no worker listens on the queue ops")
    assert run_worker(settings, "runs", "stop", "1")[:2] == (0, "run 1 is stopped\n")
    assert ended(follower)[0] == 1


def test_ctrl_c_only_stops_following(settings: Settings, connection: Connection) -> None:
    """Ctrl-C leaves the run alone, and the follower says how to find it again."""
    with running(settings, "run"):
        follower = start_worker(settings, "recompute", *LONG, "--wait")
        wait_until(lambda: _is_there(connection), "the run")
        wait_for_days(connection, 10)
        follower.send_signal(signal.SIGINT)
        code, _, errors = ended(follower)
        assert code == 0 and "run 1 goes on" in errors and "runs stop 1" in errors
        wait_for_days(connection, run_of(connection).done + 10)
        assert run_worker(settings, "runs", "stop", "1")[0] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_here_and_now(settings: Settings, connection: Connection, number: signal.Signals) -> None:
    """`--now` needs no Redis; Ctrl-C and SIGTERM stop it between two steps; asked for again, it is another run."""
    without_redis = settings_with(settings, REDIS_URL="redis://127.0.0.1:1/0")
    count_before_us(connection)
    process = start_worker(without_redis, "recompute", *LONG, "--now")
    wait_until(lambda: _is_there(connection), "the run")
    wait_for_days(connection, 10)
    process.send_signal(number)
    code, output, errors = ended(process)
    assert (code, errors) == (1, "") and "run 1 stopped by" in output
    run = run_of(connection)
    assert run.state == "stopped" and 10 <= run.done < 3_600
    assert days_of_anna(connection) == min(run.done, DAYS)
    code, output, errors = run_worker(without_redis, "recompute", *SHORT, "--now")
    assert (code, errors) == (0, "") and "run 2 done: 20 of 20 days" in output


def test_here_and_killed(settings: Settings, connection: Connection) -> None:
    """A `--now` that is killed is revived as a job, and goes on where it was."""
    count_before_us(connection)
    process = start_worker(settings, "recompute", *MIDDLE, "--now")
    wait_until(lambda: _is_there(connection), "the run")
    wait_for_days(connection, 100)
    process.kill()
    ended(process)
    damage(connection, FIRST)
    with running(settings, "run"):
        run = wait_for_state(connection, "done")
    assert (run.done, days_of_anna(connection)) == (DAYS, DAYS + 8)
    assert not repaired(connection, FIRST)


def test_here_again(settings: Settings, connection: Connection) -> None:
    """A `--now` that is killed goes on where it was when the same is asked for again, without any other process."""
    count_before_us(connection)
    process = start_worker(settings, "recompute", *MIDDLE, "--now")
    wait_until(lambda: _is_there(connection), "the run")
    wait_for_days(connection, 50)
    process.kill()
    ended(process)
    damage(connection, FIRST)
    code, output, errors = run_worker(settings, "recompute", *MIDDLE, "--now")
    assert code == 0 and "run 1 does the same" in errors and f"run 1 done: {DAYS} of {DAYS} days" in output
    assert (days_of_anna(connection), repaired(connection, FIRST)) == (DAYS + 8, False)


def test_here_and_there(settings: Settings, connection: Connection) -> None:
    """Who asks with `--now` for what somebody else is at follows that."""
    first = start_worker(settings, "recompute", *MIDDLE, "--now")
    wait_until(lambda: _is_there(connection), "the run")
    wait_for_days(connection, 10)
    code, output, errors = run_worker(settings, "recompute", *MIDDLE, "--now")
    assert code == 0 and "run 1 does the same" in errors and "run 1 done" in output
    assert ended(first)[0] == 0
    assert run_of(connection).attempt == 1


def test_two_operators_at_once(settings: Settings, connection: Connection) -> None:
    """Who asks for what is open already follows that run, and is told whose it is."""
    together = [start_worker(settings, "recompute", *SHORT, "--wait") for _ in range(2)]
    wait_until(lambda: _is_there(connection), "the run")
    with running(settings, "run"):
        endings = [ended(process) for process in together]
    assert [code for code, _, _ in endings] == [0, 0]
    assert all("run 1 done" in output for _, output, _ in endings)
    assert sum("run 1 does the same" in errors for _, _, errors in endings) == 1
    assert not _is_there(connection, 2)


def test_redis_is_emptied(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """A run that waits outlives its job: the scheduler puts another one in."""
    assert run_worker(settings, "recompute", *SHORT, "--no-wait")[0] == 0
    client.flushdb()
    with running(settings, "run"):
        assert wait_for_state(connection, "done").done == 20


def test_others_get_their_turn(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """With one worker, a minute's job and a second run come to their end while a long run goes on."""
    with running(settings, "work", "ops"):
        assert run_worker(settings, "recompute", *LONG, "--no-wait")[0] == 0
        wait_for_days(connection, 10)
        assert run_worker(settings, "recompute", *SHORT, "--no-wait")[0] == 0
        tick = datetime(2026, 11, 22, 12, tzinfo=UTC)
        assert enqueue_tick(client, "minute", "jobs.outcomes.open_days", tick, keep=60)
        job = "rq:job:minute-20261122T120000Z"
        wait_until(lambda: client.hget(job, "status") == b"finished", "the minute's job")
        wait_for_state(connection, "done", 2)
        assert run_of(connection).is_open
        run_worker(settings, "runs", "stop", "1")


BAD: dict[str, tuple[tuple[str, ...], str]] = {
    "reversed": (("recompute", "--from", "2026-11-10", "--to", "2026-11-09"), "turn them round"),
    "endless": (("recompute", "--from", "0001-01-01", "--to", "9999-12-31"), "ask for at most"),
    "no date": (("recompute", "--from", "2026-02-30", "--to", "2026-03-01"), "'2026-02-30' is no date"),
    "no number": (("runs", "7"), "there is no run 7"),
    "no number to stop": (("runs", "stop", "7"), "there is no run 7"),
    "a large number": (("runs", str(2**63 - 1)), "there is no run"),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_input(settings: Settings, connection: Connection, bad: str) -> None:
    """What cannot be is refused in one line, before there is a run."""
    arguments, text = BAD[bad]
    code, output, errors = run_worker(settings, *arguments)
    assert (code, output, len(errors.splitlines())) == (2, "", 1) and text in errors
    assert not _is_there(connection)


def test_a_failure_is_told(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """A run that fails ends with its line on standard error and exit code 2, here and by a worker, and is kept."""
    connection.execute("DROP VIEW analytics.outcome")
    with listening(settings, client):
        for number, how in ((1, "--now"), (2, "--wait")):
            code, output, errors = run_worker(settings, "recompute", *SHORT, how)
            assert (code, output, len(errors.splitlines())) == (2, "", 1)
            assert f"run {number} failed (0 days)" in errors and "analytics.outcome" in errors
    _, output, _ = run_worker(settings, "runs", "2")
    assert "2, failed" in output and "analytics.outcome" in output


def test_refreshes_are_left_out(settings: Settings, connection: Connection) -> None:
    """What pages ask for all the time does not hide what people asked for, and is listed on demand."""
    open_run(connection, REFRESH, RefreshArguments(specialist="anna", first=FIRST, last=FIRST), "a page")
    code, output, errors = run_worker(settings, "runs")
    assert (code, output, errors) == (0, "there was no run yet, refreshes apart: --all shows them too\n", "")
    assert "specialist anna" in run_worker(settings, "runs", "--all")[1]
    run_worker(settings, "recompute", *SHORT, "--now")
    assert [run["kind"] for run in json.loads(run_worker(settings, "runs", "--json")[1])] == ["recompute"]


def on_a_terminal(settings: Settings, columns: int, *arguments: str) -> str:
    """What a terminal shows of `python -m worker …`, which must go well."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "worker", *arguments],
        cwd=TOP,
        env=os.environ | environment(settings) | {"TERM": "xterm", "COLUMNS": str(columns)},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # the other end is closed
        while piece := os.read(ours, 65_536):
            shown += piece
    os.close(ours)
    assert process.wait(60) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    print(text)
    return text


def test_on_a_terminal(settings: Settings) -> None:
    """On a terminal a run is followed, with a bar that shows how far it is and how fast."""
    text = on_a_terminal(settings, 140, "recompute", *MIDDLE, "--now")
    assert re.search(r"run 1, recompute .*\d of 800 days, [\d,.]+ a second .*\d:\d\d:\d\d", text)
    assert "run 1 done: 800 of 800 days" in text


def test_on_a_narrow_terminal(settings: Settings, connection: Connection) -> None:
    """Where there are 80 columns what a run was asked for, and what came of a line of the schedule, can be read."""
    run_worker(settings, "recompute", *SHORT, "--now")
    assert {"2018-01-01,", "2018-01-20"} <= {*on_a_terminal(settings, 80, "runs").split()}
    now = datetime.now(UTC)
    note_begin(connection, "close", now)
    note_end(connection, Tick("close", now), now, {"closed": 1, "differences": 0}, None)
    assert "closed 1, differences 0" in on_a_terminal(settings, 80, "schedule", "--list")
