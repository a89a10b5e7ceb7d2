"""Runs with real processes: asked for on the command line, done by workers that are killed."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support import ended, run_worker, start_worker
from worker.settings import Settings


@contextmanager
def running(settings: Settings, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """A process of the worker, that is stopped at the end; what it said is in the test's output."""
    process = start_worker(settings, *arguments)
    try:
        yield process
    finally:
        process.terminate()
        print(*ended(process), sep="\n")


def test_a_worker_does_it(settings: Settings) -> None:
    """What is asked for on the command line is done by a worker, followed to its end, and kept."""
    days = ("--from", "2026-11-01", "--to", "2026-11-20")
    with running(settings, "run"):
        code, output, errors = run_worker(settings, "recompute", *days, "--wait")
        assert (code, errors) == (0, "")
        assert "run 1 done: 20 of 20 days" in output
    for arguments in (("runs",), ("runs", "--limit", "1"), ("runs", "1")):
        code, output, errors = run_worker(settings, *arguments)
        assert (code, errors) == (0, "")
        assert "first 2026-11-01, last 2026-11-20" in output and "20 of 20 days" in output
    code, _, errors = run_worker(settings, "runs", "2")
    assert (code, len(errors.splitlines())) == (2, 1) and "there is no run 2" in errors
