"""`python -m worker status`: what an operator reads."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from threading import Timer
from typing import cast

import pytest
import redis

from tests.support import TOP, add_specialists, environment, run_worker, start_worker
from worker.pipeline import run_shard
from worker.settings import Settings
from worker.store import Connection


@pytest.fixture
def counted(settings: Settings, connection: Connection, client: redis.Redis) -> Settings:
    """Three entries are read, of which one is bad, and two more wait."""
    add_specialists(connection, ["anna"])
    good = {"type": "profile_view", "specialistId": "anna"}
    for fields in (good, good, {"type": "nonsense"}):
        client.xadd("analytics:events", fields)  # type: ignore[arg-type]

    def all_is_read() -> bool:
        return connection.execute("SELECT entries_read FROM analytics.stream_position").fetchone() == (3,)

    run_shard(settings, 0, all_is_read)
    for _ in range(2):
        client.xadd("analytics:events", good)  # type: ignore[arg-type]
    return settings


def test_json(counted: Settings) -> None:
    """The JSON document has position, lag, freshness, rate and books of each shard, dead letters, jobs and workers."""
    code, output, errors = run_worker(counted, "status", "--json")
    assert code == 0, errors
    document = json.loads(output)
    [shard] = document["shards"]
    assert shard["stream"] == "analytics:events"
    assert shard["lag_entries"] == 2
    assert shard["lag_s"] > 0 and shard["fresh_s"] > 0
    assert shard["entries_per_s"] == 0
    books = shard["books"]
    assert (books["entries_read"], books["counted"], books["dead_lettered"]) == (3, 2, 1)
    assert shard["books_balance"] is True
    assert document["dead_letters"] == {"unknown_type": 1}
    assert [queue["name"] for queue in document["jobs"]["queues"]] == ["rollup", "ops"]
    assert document["jobs"]["workers"] == []
    assert 0 <= document["outcomes"]["refreshed_s_ago"] < 3600
    assert (document["requests"]["unread"], document["requests"]["books"]["taken_s_ago"]) == (0, None)


def test_tables(counted: Settings) -> None:
    """The tables say the same in words, and show no credential."""
    code, output, errors = run_worker(counted, "status")
    assert code == 0, errors
    for words in ("analytics:events", "balance", "unknown_type", "no worker runs"):
        assert words in output
    for url in (counted.database_url, counted.redis_url):
        password = url.get_secret_value().rpartition("@")[0].rpartition(":")[2]
        assert password and password not in output + errors


def test_watched_json(settings: Settings) -> None:
    """A document that is watched is refused, and not shown once."""
    refused = (2, "", "error --json and --watch exclude each other\n")
    assert run_worker(settings, "status", "--json", "--watch") == refused


def test_alerts(settings: Settings, connection: Connection) -> None:
    """An alert that holds is shown with its text, one that is over is not."""
    for name, ended_at in (("lag", None), ("silence", "now")):
        connection.execute(
            "INSERT INTO analytics.alert (name, started_at, last_seen_at, ended_at, text, value, threshold) "
            "VALUES (%s, now(), now(), %s, 'it is late', 1, 0)",
            [name, ended_at],
        )
    code, output, errors = run_worker(settings, "status")
    assert code == 0, errors
    assert "alert lag since" in output and "it is late" in output and "silence" not in output
    _, output, _ = run_worker(settings, "status", "--json")
    assert [(alert["name"], alert["text"]) for alert in json.loads(output)["alerts"]] == [("lag", "it is late")]


def test_requests(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """What the web tier asked for is shown: how much of it is unread, and when some was last taken on."""
    first = cast(bytes, client.xadd("analytics:requests", {"kind": "refresh"}))
    connection.execute(
        "INSERT INTO analytics.request_position VALUES (%s, %s, 7, 5, 1, now() - interval '90 seconds')",
        ["analytics:requests", first.decode()],
    )
    client.xadd("analytics:requests", {"kind": "refresh"})
    client.xtrim("analytics:requests", maxlen=1, approximate=False)
    _, output, _ = run_worker(settings, "status")
    assert "7 requests read, the last one 9" in output
    assert "5 became runs, 1 dead letters; 1 unread" in output
    document = json.loads(run_worker(settings, "status", "--json")[1])["requests"]
    assert (document["unread"], document["books"]["requests"]) == (1, 7)


def test_nobody_asked(settings: Settings, connection: Connection) -> None:
    """A stream of requests that is read and that nothing ever came into is told as such."""
    connection.execute("INSERT INTO analytics.request_position (stream, last_id) VALUES ('analytics:requests', '0-0')")
    assert "the web tier has never asked for anything" in run_worker(settings, "status")[1]


def test_open_runs(settings: Settings, connection: Connection) -> None:
    """A run that waits or goes on is shown; one that is over is not."""
    connection.execute(
        "INSERT INTO analytics.run (kind, arguments, operator, state, done, total)"
        " VALUES ('recompute', '{}', 'anna@here', 'queued', 3, 7), ('recompute', '{}', 'boris@here', 'done', 7, 7)"
    )
    code, output, errors = run_worker(settings, "status")
    assert code == 0, errors
    assert "3 of 7 days" in output and "anna@here" in output and "boris@here" not in output
    _, output, _ = run_worker(settings, "status", "--json")
    assert [(run["id"], run["state"]) for run in json.loads(output)["runs"]] == [(1, "queued")]


def test_before_anything_was_read(settings: Settings) -> None:
    """A stream that was never read, or does not exist yet, is said to be so."""
    code, output, errors = run_worker(settings, "status")
    assert code == 0, errors
    assert "never read" in output


@pytest.mark.parametrize(
    "end",
    [lambda process: process.stdout.close(), lambda process: process.send_signal(signal.SIGINT)],
    ids=["the reader goes", "Ctrl-C"],
)
def test_watched_through_a_pipe(settings: Settings, end: Callable[["subprocess.Popen[str]"], None]) -> None:
    """Without a terminal one status comes after the other, each at once, until Ctrl-C or until nobody reads on."""
    with start_worker(settings, "status", "--watch") as process:
        assert process.stdout is not None and process.stderr is not None
        too_late = Timer(60, process.kill)
        too_late.start()
        try:
            statuses = (line for line in process.stdout if "no worker runs" in line)
            assert next(statuses, None) and next(statuses, None)
            end(process)
            assert (process.wait(), process.stderr.read()) == (0, "")
        finally:
            too_late.cancel()
            process.kill()


@pytest.mark.parametrize(("terminal", "draws_over"), [("xterm", True), ("dumb", False)])
def test_watched_on_a_terminal(settings: Settings, terminal: str, draws_over: bool) -> None:
    """On a terminal it has the whole screen, and gives it back at Ctrl-C; a dumb one scrolls."""
    ours, theirs = pty.openpty()
    variables = os.environ | environment(settings) | {"TERM": terminal, "COLUMNS": "140"}
    with subprocess.Popen(
        [sys.executable, "-m", "worker", "status", "--watch"], cwd=TOP, env=variables, stdout=theirs
    ) as process:
        os.close(theirs)
        too_late = Timer(60, process.kill)
        too_late.start()
        try:
            shown = b""
            with suppress(OSError):  # the other end is closed
                while shown.count(b"no worker runs") < 2:
                    shown += os.read(ours, 65_536)
                process.send_signal(signal.SIGINT)
                while piece := os.read(ours, 65_536):
                    shown += piece
            assert process.wait() == 0
        finally:
            too_late.cancel()
            process.kill()
            os.close(ours)
    whole_screen, given_back = b"\x1b[?1049h", b"\x1b[?1049l"
    assert (shown.count(whole_screen), shown.count(given_back)) == (draws_over, draws_over)
    assert shown.count(b"no worker runs") >= 2
