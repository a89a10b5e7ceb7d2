"""No password leaves the environment: a whole course is run with passwords that can be told, and then they are searched
for in everything that was written anywhere.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import zlib
from base64 import b64encode
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

import psutil
import psycopg
import pytest
import redis
from pydantic import AliasChoices
from rq import Queue
from rq.serializers import JSONSerializer

from tests.course import SPECIALISTS, run_course, running
from tests.rq_fixtures import wait_for
from tests.support import SITE, TOP, WORKER_ROLE, environment, run_postgres_program, settings_for
from worker.embedded import Servers, embedded
from worker.settings import Settings

OF_POSTGRES, OF_REDIS, OF_OTHERS = "pg$geheim/Kw7@x+1", "rd$geheim/Qz3@x+2", "ot$geheim/Vb9@x+3"
WRONG = "falsch/Jy5@x+4"
SECRETS = (OF_POSTGRES, OF_REDIS, OF_OTHERS, WRONG)


def forms(secret: str) -> Iterator[bytes]:
    """How a secret can look: as it is, in a URL, in hexadecimal, and in base64 behind any number of other bytes."""
    raw = secret.encode()
    yield raw
    yield quote(secret).encode()
    yield quote(secret, safe="").encode()
    yield raw.hex().encode()
    for before in range(3):
        whole = len(raw) - (before + len(raw)) % 3  # up to the last that no byte behind can change
        yield b64encode(bytes(before) + raw[:whole])[(0, 2, 3)[before] :]


FORMS = tuple(form for secret in SECRETS for form in forms(secret))


def leaks(text: bytes | str) -> list[bytes]:
    """Every form of a secret that is in there, with what stands around it."""
    raw = text if isinstance(text, bytes) else text.encode()
    return [raw[max(0, raw.index(form) - 60) :][:160] for form in FORMS if form in raw]


@pytest.mark.parametrize("before", ["", "u", "us"])
def test_a_leak_would_be_found(before: str) -> None:
    """The search finds a password as it is, in a URL, in hexadecimal and in base64."""
    for secret in SECRETS:
        text = before + secret
        for written in (text, quote(text, safe=""), f"x://{quote(text)}@h", text.encode().hex()):
            assert leaks(written)
        for behind in ("", ":", "::"):
            assert leaks(b64encode((text + behind).encode()))
    assert not leaks(json.dumps(list(map(quote, ("Kw7@x+1", "geheim/")))))


@pytest.fixture(scope="module")
def own_servers() -> Iterator[Servers]:
    """Servers of our own: the search looks through everything that they have, also their files."""
    with embedded(redis_conf={"appendfsync": "always"}, postgres_conf={"log_connections": "on"}) as servers:
        with psycopg.connect(servers.database_url, autocommit=True) as connection:
            connection.execute(SITE)
            connection.execute(f"CREATE ROLE {WORKER_ROLE} LOGIN PASSWORD '{OF_POSTGRES}'".encode())
        with redis.Redis.from_url(servers.redis_url) as client:
            client.config_set("requirepass", OF_REDIS)
        yield servers


@pytest.fixture(scope="module")
def secretive(own_servers: Servers) -> Settings:
    """Every setting that is secret has a value that can be told."""
    others: dict[str, str] = {}
    for field in Settings.model_fields.values():
        alias = field.validation_alias
        name = str(alias.choices[0] if isinstance(alias, AliasChoices) else alias)
        if "SecretStr" in str(field.annotation):
            is_url = name.endswith(("_URL", "_WEBHOOK"))
            others[name] = f"http://127.0.0.1:1/{quote(OF_OTHERS, safe='')}" if is_url else OF_OTHERS
    database_url = with_password(own_servers.database_url, WORKER_ROLE, OF_POSTGRES)
    redis_url = with_password(own_servers.redis_url, "", OF_REDIS)
    return settings_for(database_url, redis_url, **{"ANALYTICS_LOG_LEVEL": "DEBUG"} | others | {
        "DATABASE_URL": database_url, "REDIS_URL": redis_url
    })  # fmt: skip


def with_password(url: str, user: str, password: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@127.0.0.1:{parts.port}"))


class Course:
    """Runs programs of ours and keeps all that they say."""

    def __init__(self, settings: Settings) -> None:
        self.variables = environment(settings)
        self.output: dict[str, str] = {}

    def run(self, name: str, command: Sequence[str | Path], code: int, **changes: str) -> None:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=TOP,
            env=os.environ | self.variables | changes,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        self.output[name] = done.stdout
        assert done.returncode == code, done.stdout

    def worker(self, *arguments: str | Path, code: int = 0, **changes: str) -> None:
        self.run(f"{len(self.output)} {arguments[0]}", ["-m", "worker", *arguments], code, **changes)


CRASH = """
import sys, worker.inspection.status_view
def crash(settings, **options):
    database_url, redis_url = settings.database_url.get_secret_value(), settings.redis_url.get_secret_value()
    raise RuntimeError(settings)
worker.inspection.status_view.run_status = crash
sys.argv = ["worker", "status"]
from worker.__main__ import main
main()
"""


def test_no_credential_is_written_anywhere(own_servers: Servers, secretive: Settings, tmp_path: Path) -> None:
    """Not to an output or a log, in a command line, into Redis or PostgreSQL, also when everything goes wrong."""
    course = Course(secretive)
    course.worker("migrate", DATABASE_URL=own_servers.database_url)
    events = tmp_path / "events.ndjson"
    events.write_text(json.dumps({"type": "profile_view", "specialistId": SPECIALISTS[0], "visitorId": "v"}) + "\n")

    run_course(secretive, own_servers.database_url, tmp_path / "run.log", kill=True)
    queue = Queue("ops", redis.Redis.from_url(secretive.redis_url.get_secret_value()), serializer=JSONSerializer)
    seen: list[str] = []
    with running(secretive, tmp_path / "run.log") as supervisor:
        refused = queue.enqueue("os.system", "true")
        wait_for(lambda: refused.is_failed)
        for arguments in (("send", events), ("status",), ("status", "--json"), ("verify",)):
            course.worker(*arguments)
        for process in [supervisor, *supervisor.children(recursive=True)]:
            seen.append(f"{process.cmdline()} {process.name()}")
            assert process.rlimit(psutil.RLIMIT_CORE) == (0, 0)
        seen += map(str, all_command_lines())
        # Redis goes away under everybody's hands, and comes back with another password.
        with redis.Redis.from_url(secretive.redis_url.get_secret_value()) as client:
            client.config_set("requirepass", WRONG)
            client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            wait_for(lambda: "refuses the user or password" in (tmp_path / "run.log").read_text())
            client.config_set("requirepass", OF_REDIS)

    wrong_database = with_password(own_servers.database_url, WORKER_ROLE, WRONG)
    wrong_redis = with_password(own_servers.redis_url, "", WRONG)
    unencoded = urlunsplit(urlsplit(wrong_database)._replace(netloc=f"u:{WRONG}@127.0.0.1"))
    course.worker("run", code=2, DATABASE_URL=wrong_database)
    course.worker("migrate", code=2, DATABASE_URL=unencoded)
    course.worker("verify", code=2, DATABASE_URL=wrong_database.replace("127.0.0.1", "127.0.0.9"))
    course.worker("run", code=2, REDIS_URL=wrong_redis)
    course.worker("status", code=2, REDIS_URL=unencoded.replace("postgresql", "redis"))
    course.worker("send", events, code=2, REDIS_URL=wrong_redis.replace("127.0.0.1", "127.0.0.9"))
    course.run("crash", ["-c", CRASH], 1)
    assert "RuntimeError" in course.output["crash"]

    written = {"command lines": str(seen), "run": (tmp_path / "run.log").read_text()} | course.output
    written |= {file.name: file.read_text(errors="replace") for file in own_servers.folder.glob("*.log")}
    for name, text in written.items():
        assert not leaks(text), name
    assert "Traceback" in written["run"], "an error with all that Python says of it was among them"
    with redis.Redis.from_url(secretive.redis_url.get_secret_value()) as client:
        for key in client.scan_iter():
            assert not leaks(b"".join(contents(client, key))), key
    for file in (own_servers.folder / "valkey").rglob("*.aof"):
        assert not leaks(file.read_bytes()), file
    code, dump, errors = run_postgres_program("pg_dump", own_servers.database_url, "--inserts")
    assert code == 0, errors
    assert SPECIALISTS[0] in dump
    assert not leaks(dump)


def all_command_lines() -> Iterator[list[str]]:
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            yield process.cmdline()


def contents(client: Any, key: bytes) -> Iterator[bytes]:
    """Everything that a key holds; RQ keeps some of it compressed."""
    match client.type(key):
        case b"string":
            values = [client.get(key)]
        case b"hash":
            values = [part for pair in client.hgetall(key).items() for part in pair]
        case b"list":
            values = client.lrange(key, 0, -1)
        case b"set":
            values = client.smembers(key)
        case b"zset":
            values = client.zrange(key, 0, -1)
        case b"stream":
            values = [part for _, fields in client.xrange(key) for pair in fields.items() for part in pair]
        case kind:
            raise AssertionError(kind)
    for value in values:
        yield key + bytes(value)
        with suppress(zlib.error):
            yield zlib.decompress(value)


def test_no_core_dump(secretive: Settings, tmp_path: Path) -> None:
    """A process of ours that is killed in a way that asks for a core dump leaves none, even where one is wanted."""

    if resource.getrlimit(resource.RLIMIT_CORE)[1] != resource.RLIM_INFINITY:
        pytest.skip("nobody here may have core dumps")
    process = subprocess.Popen(
        ["/bin/sh", "-c", 'ulimit -c unlimited && exec "$@"', "sh", sys.executable, "-m", "worker", "schedule"],
        cwd=tmp_path,
        env=os.environ | environment(secretive) | {"PYTHONPATH": str(TOP)},
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stderr is not None
        wait_for(process.stderr.readline)
        process.send_signal(signal.SIGABRT)
        errors = process.stderr.read()
    assert process.returncode == -signal.SIGABRT
    assert list(tmp_path.iterdir()) == []
    assert not leaks(errors)
