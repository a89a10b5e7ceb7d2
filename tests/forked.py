"""`python -m worker …` without the half second in which Python loads libraries, for tests that run hundreds of them.

Each is a process of its own, forked from one that has all libraries loaded. What is ours it imports itself, as it
always does: only so would it show that a command forgets an import, or that two modules import each other. What is
about the loading of libraries, about memory, or about signals takes `tests.support.start_worker`.
"""

import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO, Any

TOP = Path(__file__).resolve().parents[1]

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.libraries"])


class Forked:
    """A running `python -m worker …`; what it says is kept until its end."""

    def __init__(self, environment: Mapping[str, str], *arguments: str) -> None:
        self._arguments = arguments
        self._files = tempfile.TemporaryFile(), tempfile.TemporaryFile()  # noqa: SIM115 - `ended` closes them
        output, errors = (DupFd(file.fileno()) for file in self._files)
        self._process = _context.Process(target=_become_worker, args=(output, errors, dict(environment), arguments))
        self._process.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process.pid is not None
        return self._process.pid

    def terminate(self) -> None:
        """Ask it to stop."""
        self._process.terminate()

    def ended(self, seconds: float = 60.0) -> tuple[int, str, str]:
        """Exit code, standard output and standard error, once it has ended."""
        self._process.join(seconds)
        code = self._process.exitcode
        if code is None:
            self._process.kill()
            self._process.join()
        self._process.close()
        output, errors = map(_read_and_close, self._files)
        assert code is not None, f"{self._arguments} has not ended within {seconds:.0f} s\n{output}\n{errors}"
        return code, output, errors


def _read_and_close(file: IO[bytes]) -> str:
    with file:
        file.seek(0)
        return file.read().decode()


def _become_worker(output: Any, errors: Any, environment: dict[str, str], arguments: tuple[str, ...]) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    for number, descriptor in enumerate((nothing, output.detach(), errors.detach())):
        os.dup2(descriptor, number)
        os.close(descriptor)
    if "typer" not in sys.modules:
        raise RuntimeError("the libraries are not loaded: then this is slower than a new Python")
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(TOP)
    sys.argv = ["", *arguments]
    runpy.run_module("worker", run_name="__main__", alter_sys=True)
