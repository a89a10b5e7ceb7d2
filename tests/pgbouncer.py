"""The real PgBouncer in transaction mode, in front of the tests' PostgreSQL."""

import re
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg

from tests.debian import fetch, programs
from worker.embedded import EmbeddedPostgres, EmbeddedServer

PREPARED_STATEMENTS_SINCE = (1, 21)


def find_pgbouncer() -> Path:
    """The program of this machine, else Debian's.

    Raises:
        Unavailable: neither can be had.
    """
    here = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
    return Path(here) if here else programs(fetch("pgbouncer"), "usr/sbin") / "pgbouncer"


def version_of(program: Path) -> tuple[int, ...]:
    """Its version's numbers: (1, 18)."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"PgBouncer (\d+)\.(\d+)", said)
    assert found, said
    return tuple(map(int, found.groups()))


class PgBouncer(EmbeddedServer):
    """Two server connections for each database and user, given away anew for each transaction."""

    name = "PgBouncer"
    stop_signal = guard_signal = signal.SIGTERM

    def __init__(
        self, folder: Path, program: Path, server: EmbeddedPostgres, users: Mapping[str, str], prepared: int = 0
    ) -> None:
        """`users` are passwords by user; `prepared` is how many prepared statements it keeps apart, 0 for none."""
        super().__init__(folder)
        self._program = program
        self._server = server
        self._users = users
        self.prepared = prepared

    @property
    def url(self) -> str:
        """Where clients connect, as a user of its own that may see its statistics."""
        return f"postgresql://statistics:{self._password}@127.0.0.1:{self.port}/pgbouncer"

    def in_front_of(self, url: str) -> str:
        """The URL of the same database through here."""
        parts = urlsplit(url)
        return urlunsplit(parts._replace(netloc=f"{parts.netloc.rpartition('@')[0]}@127.0.0.1:{self.port}"))

    def _command(self) -> list[str | Path]:
        conf, users = self.folder / "pgbouncer.ini", self.folder / "users.txt"
        lines = [
            "[databases]",
            f"* = host=127.0.0.1 port={self._server.port}",
            "[pgbouncer]",
            "listen_addr = 127.0.0.1",
            f"listen_port = {self.port}",
            "unix_socket_dir =",
            "auth_type = scram-sha-256",
            f"auth_file = {users}",
            "stats_users = statistics",
            "pool_mode = transaction",
            "default_pool_size = 2",
        ]
        if version_of(self._program) >= PREPARED_STATEMENTS_SINCE:
            lines.append(f"max_prepared_statements = {self.prepared}")
        everybody = {**self._users, "statistics": self._password}
        user = self._user()
        self.folder.chmod(0o711)
        for file, text in ((conf, lines), (users, [f'"{name}" "{password}"' for name, password in everybody.items()])):
            file.touch(mode=0o600)
            file.write_text("\n".join([*text, ""]))
            if user:
                shutil.chown(file, user["user"], user["group"])
        return [self._program, conf]

    def _ready(self) -> bool:
        with suppress(psycopg.OperationalError), psycopg.connect(self.url, autocommit=True, connect_timeout=1):
            return True
        return False

    def _user(self) -> dict[str, Any]:
        return self._server._user()  # it refuses to run as root too
