"""Standard output: a reader who goes before the end, as `head` does, and a disk that is full."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import pytest

from tests.support import TOP, add_specialists, environment
from worker.settings import Settings
from worker.store import Connection

EXPORT = ["export", "--from", "2026-01-01", "--to", "2026-11-10"]


def run_into(output: IO[bytes] | int, settings: Settings, arguments: Sequence[str]) -> tuple[int, str]:
    """Exit code and standard error of a command whose standard output goes there."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    ran = subprocess.run(
        [sys.executable, "-m", "worker", *arguments],
        cwd=TOP, env=variables | environment(settings),
        stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE, check=False,
    )  # fmt: skip
    return ran.returncode, ran.stderr.decode()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["schedule", "--list"],
        ["schedule", "--json"],
        ["doctor"],
        ["report", "anna"],
        ["report", "anna", "--csv"],
        EXPORT,
    ],
    ids=" ".join,
)
def test_a_reader_who_goes(settings: Settings, connection: Connection, arguments: Sequence[str]) -> None:
    """It is no error that nobody reads on: the exit code is the command's own, and nothing is said."""
    add_specialists(connection, ["anna"])
    code, errors = run_into(subprocess.DEVNULL, settings, arguments)
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "wb") as pipe:
        assert run_into(pipe, settings, arguments) == (code, "" if arguments[0] == "export" else errors)


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_no_standard_output(settings: Settings, file_format: str) -> None:
    """An export whose standard output was closed says so in one line, and writes nowhere else."""
    command = 'exec "$@" >&-'
    ran = subprocess.run(
        ["sh", "-c", command, "sh", sys.executable, "-m", "worker", *EXPORT, "--format", file_format],
        cwd=TOP, env=os.environ | environment(settings), stderr=subprocess.PIPE, encoding="utf-8", check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (2, "error cannot write standard output: Bad file descriptor\n")


@pytest.mark.parametrize("arguments", [["--help"], ["schedule", "--list"], EXPORT], ids=" ".join)
def test_a_disk_that_is_full(settings: Settings, arguments: Sequence[str]) -> None:
    """Where standard output cannot be written, that is one line and exit code 2."""
    with Path("/dev/full").open("wb") as full:
        assert run_into(full, settings, arguments) == (
            2, "error cannot write standard output: No space left on device\n",
        )  # fmt: skip
