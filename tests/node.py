"""Node programs that tests run, with packages of pinned versions, which are installed once into `.cache/`."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import NoReturn

import pytest

from tests.support import TOP

CACHE = TOP / ".cache/node"
OLDEST_NODE = (20, 19)
QUIET = ("--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=0")


def call(*command: str | Path, cwd: Path = TOP, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end."""
    env = os.environ | environment
    return subprocess.run(command, cwd=cwd, env=env, check=False, capture_output=True, encoding="utf-8", timeout=200)


def installed(*sources: Path, build: str | None = None) -> Path:
    """A folder with a copy of these files and folders, `package.json` among them, and with its packages.

    Args:
        sources: what it is made of.
        build: a program of those packages that makes the rest of it, such as `tsc`.
    """
    for program in ("node", "npm"):
        if not shutil.which(program):
            _cannot(f"{program} is not installed")
    version = call("node", "--version").stdout.strip()
    if tuple(map(int, version.removeprefix("v").split(".")[:2])) < OLDEST_NODE:
        _cannot(f"Node {version} is too old")
    found = (file for source in sources for file in (source.iterdir() if source.is_dir() else [source]))
    files = sorted(file for file in found if file.is_file() and file.suffix != ".py")
    with _alone():
        (manifest,) = (file for file in files if file.name == "package.json")
        packages = CACHE / _digest([manifest])
        if not packages.exists():
            with _becoming(packages) as folder:
                _install(manifest, folder)
        # Below the packages, because Node looks for them from where a script is; and of this content for ever, so that
        # whoever is running it may go on.
        copy = packages / _digest(files)
        if not copy.exists():
            with _becoming(copy) as folder:
                for file in files:
                    shutil.copy(file, folder)
                if build:
                    built = call(packages / "node_modules/.bin" / build, cwd=folder)
                    assert built.returncode == 0, built.stdout + built.stderr
    return copy


def _install(manifest: Path, folder: Path) -> None:
    shutil.copy(manifest, folder)
    done = call("npm", "install", *QUIET, cwd=folder)
    if done.returncode != 0 and call("npm", "ping", "--fetch-retries=0", cwd=folder).returncode != 0:
        _cannot("npm finds no registry")
    assert done.returncode == 0, done.stderr


def _cannot(reason: str) -> NoReturn:
    """Skip what needs Node, but not where nobody would see that it was skipped."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(f"{reason}: what Node makes of it was not tried")


@contextmanager
def _alone() -> Iterator[None]:
    """Processes of tests run side by side, and one of them installs."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _becoming(folder: Path) -> Iterator[Path]:
    """Another folder, which is this one once all is well: whoever sees it sees all of it."""
    with tempfile.TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as scratch:
        whole = Path(scratch) / "whole"
        whole.mkdir()
        yield whole
        whole.rename(folder)


def _digest(files: list[Path]) -> str:
    content = sha256()
    for file in files:
        content.update(f"{file.name}\0".encode() + file.read_bytes() + b"\0")
    return content.hexdigest()[:16]
