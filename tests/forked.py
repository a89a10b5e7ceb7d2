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
from typing import Any

TOP = Path(__file__).resolve().parents[1]

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.libraries"])


def run_forked(environment: Mapping[str, str], *arguments: str, seconds: float = 60.0) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `python -m worker ARGUMENTS` in this environment."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = _context.Process(
            target=_become_worker,
            args=(DupFd(output.fileno()), DupFd(errors.fileno()), dict(environment), arguments),
        )
        process.start()
        process.join(seconds)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise TimeoutError(f"python -m worker {' '.join(arguments)} has not ended within {seconds} s")
        code = process.exitcode
        process.close()
        return code, _text(output), _text(errors)


def _text(file: Any) -> str:
    file.seek(0)
    return str(file.read().decode())


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
