"""Programs out of Debian's packages, unpacked and not installed: nobody has to be root, the machine stays as it is."""

import fcntl
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.support import TOP

CACHE = TOP / ".cache/debian"
SECONDS = 200.0
"""For each step. A browser is 90 MB; a mirror that is silent has been given up long before."""
APT = ("apt-get", "--quiet=2", "-oAcquire::Retries=0", "-oAcquire::http::Timeout=10", "-oAPT::Sandbox::User=root")


class Unavailable(Exception):
    """It cannot be had on this machine; the message is the reason, for a person who wonders what was skipped."""


def fetch(*packages: str, cache: Path = CACHE) -> Path:
    """The folder where these packages lie unpacked, with what they need and this machine has not installed.

    The newest that apt's lists on this machine name, out of the cache from the second time on.

    Raises:
        Unavailable: this is no Debian, or the packages are not there, or their mirror does not answer.
    """
    tree = cache / "+".join(packages)
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # tests run side by side, and would fetch the same at the same time
        if not tree.exists():
            _unpack(packages, tree)
    return tree


def _unpack(packages: tuple[str, ...], tree: Path) -> None:
    for program in ("apt-get", "dpkg-deb"):
        if not shutil.which(program):
            raise Unavailable(f"there is no {program} on this machine")
    with tempfile.TemporaryDirectory(dir=tree.parent) as name:
        folder = Path(name)
        try:
            _download(packages, folder)
        except Unavailable as before:  # the lists may be empty, or so old that the mirror has moved on
            for ours in ("lists/partial", "cache/archives/partial"):
                (folder / ours).mkdir(parents=True)
            options = (f"-oDir::State::lists={folder}/lists", f"-oDir::Cache={folder}/cache")
            try:
                _run(*APT, *options, "update", folder=folder)
                _download(packages, folder, *options)
            except Unavailable as after:
                raise Unavailable(f"{before}; with new lists: {after}") from after
        unpacked = folder / "unpacked"
        for package in folder.glob("*.deb"):
            _run("dpkg-deb", "--extract", str(package), str(unpacked), folder=folder)
        unpacked.chmod(0o755)
        unpacked.rename(tree)


def programs(tree: Path, folder: str) -> Path:
    """A folder with the programs of a folder of the tree, `usr/bin` say, which find their libraries in the tree."""
    scripts = {start_script(tree, program).parent for program in (tree / folder).iterdir()}
    return scripts.pop()


def start_script(tree: Path, program: Path, **variables: str | Path) -> Path:
    """A script that starts a program of the tree with its libraries, and with these variables in its environment."""
    folders = {library.parent for top in ("lib", "usr/lib") for library in tree.glob(f"{top}/*-linux-*/**/*.so*")}
    variables["LD_LIBRARY_PATH"] = ":".join(sorted(map(str, folders)))
    script = tree / "programs" / program.relative_to(tree)
    script.parent.mkdir(parents=True, exist_ok=True)
    settings = " ".join(f'{name}="{value}"' for name, value in variables.items())
    with tempfile.NamedTemporaryFile("w", dir=tree, delete=False) as file:
        file.write(f'#!/bin/sh\n{settings} exec "{program}" "$@"\n')
    made = Path(file.name)
    made.chmod(0o755)
    made.rename(script)  # at once, for somebody may be starting it
    return script


def _download(packages: tuple[str, ...], folder: Path, *options: str) -> None:
    apt = (*APT, *options)
    plan = _run(*apt, "--simulate", "--no-install-recommends", "install", *packages, folder=folder)
    needed = {line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")}
    _run(*apt, "download", *sorted(needed.union(packages)), folder=folder)


def _run(*command: str, folder: Path) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=SECONDS, check=True
        )
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{command[0]} has not ended within {SECONDS:.0f} s") from error
    except subprocess.CalledProcessError as error:
        raise Unavailable(f"{command[0]}: {(error.stderr.strip() or 'failed').splitlines()[-1]}") from error
    return done.stdout
