"""`python -m tests.compat`: which combinations, with which tests, and how it came out."""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated
from xml.etree import ElementTree

import typer

from tests.compat.found import Found, debian, environment, other_pythons, wheel
from tests.debian import Unavailable
from tests.support import TOP

# What is about the servers of the wheels, or starts them whatever we ask for.
WHEELS_OWN = ("--ignore=tests/integration/test_embedded.py", "--ignore=tests/acceptance/test_demo.py")
SERVER_TESTS = ("tests/integration", "tests/acceptance", *WHEELS_OWN)
PYTHON_TESTS = ("tests/unit", "tests/integration")

# What speaks with the servers in the most ways, in the least time.
QUICK_SERVER_TESTS = tuple(f"tests/integration/test_{name}.py" for name in ("migrations", "pipeline", "verify"))
QUICK_PYTHON_TESTS = ("tests/unit",)

AT_ONCE = 2
"""Combinations: each has one process of tests, and servers of its own."""

TOLD = ("Python", "Redis", "PostgreSQL")
COUNTED = ("passed", "failed", "skipped", "seconds")
ROW = "{:<17} {:<7} {:<12} {:<10} {:>7} {:>7} {:>7} {:>7}"


@dataclass(frozen=True)
class Outcome:
    """What one combination has shown; the versions are as the servers of the tests have told them."""

    versions: dict[str, str]
    counts: dict[str, int]
    holds: bool


def main(
    quick: Annotated[bool, typer.Option(help="Fewer tests, in two minutes or so: for before every change.")] = False,
) -> None:
    """Run tests with other versions. Exit code 1 if one fails; what cannot be had on this machine is skipped."""
    server_tests, python_tests = (QUICK_SERVER_TESTS, QUICK_PYTHON_TESTS) if quick else (SERVER_TESTS, PYTHON_TESTS)
    with tempfile.TemporaryDirectory() as folder:
        spare = Path(folder)
        spare.chmod(0o755)
        find: dict[str, tuple[Callable[[], Found], tuple[str, ...]]] = {
            "Debian's servers": (partial(debian, spare), server_tests),
            "Railway's Redis": (wheel, server_tests),
        }
        for name, python in other_pythons().items():
            find[name] = partial(environment, python), python_tests
        with ThreadPoolExecutor(AT_ONCE) as side_by_side:
            outcomes = dict(zip(find, side_by_side.map(lambda name: tried(name, *find[name]), find), strict=True))

    print("\n" + ROW.format("", *TOLD, *COUNTED))
    for name, outcome in outcomes.items():
        if isinstance(outcome, Outcome):
            told = (outcome.versions.get(what, "–") for what in TOLD)
            print(ROW.format(name, *told, *(outcome.counts[what] for what in COUNTED)))
        else:
            print(f"{name:<17} SKIPPED, nothing is known of it here: {outcome}")
    sys.exit(any(isinstance(outcome, Outcome) and not outcome.holds for outcome in outcomes.values()))


def tried(name: str, find: Callable[[], Found], tests: tuple[str, ...]) -> Outcome | Unavailable:
    """Run the tests with what is found. What pytest has to say is shown when something does not hold."""
    print(f"{name} …", flush=True)
    try:
        found = find()
    except Unavailable as why:
        return why
    began = time.monotonic()
    with tempfile.NamedTemporaryFile() as report:
        command = [*found.command, "-p", "no:cacheprovider", f"--junitxml={report.name}", *tests]
        run = subprocess.run(command, cwd=TOP, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        outcome = judged(run.returncode, report.read(), found, seconds=round(time.monotonic() - began))
    if not outcome.holds:
        print(
            run.stdout, run.stderr, f"{name}: meant {found.versions}, ran on {outcome.versions}", sep="\n", flush=True
        )
    return outcome


def judged(code: int, report: bytes, found: Found, seconds: int) -> Outcome:
    """The outcome, from pytest's exit code and report: it holds if all passed, and on the versions that were found."""
    suite = ElementTree.fromstring(report).find("testsuite") if report else None
    if suite is None:
        return Outcome({}, dict.fromkeys(COUNTED, 0) | {"seconds": seconds}, holds=False)
    versions = {str(one.get("name")): str(one.get("value")) for one in suite.iterfind("properties/property")}
    every, failures, errors, skipped = (int(suite.get(of, 0)) for of in ("tests", "failures", "errors", "skipped"))
    failed = failures + errors
    counts = {"passed": every - failed - skipped, "failed": failed, "skipped": skipped, "seconds": seconds}
    return Outcome(versions, counts, code == 0 and found.versions.items() <= versions.items())


if __name__ == "__main__":
    typer.run(main)
