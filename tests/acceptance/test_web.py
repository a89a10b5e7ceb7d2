"""`python -m worker web` as a process, asked over HTTP."""

import json
import os
import re
import signal
import socket
from collections.abc import Iterator

import psutil
import pytest
import redis
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.counting import add, drain, event
from tests.rq_fixtures import alive, descendants, wait_for
from tests.serving import Web, serving
from tests.support import SITE, add_specialists, ended, run_worker, settings_for, settings_with, start_worker
from worker.embedded import Servers, free_port
from worker.migrations import migrate, migrations
from worker.settings import Settings
from worker.store import Connection, connect_postgres
from worker.stream import connect_redis
from worker.web.metrics import METRICS

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def samples_of(web: Web) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every sample of `/metrics` by its name and its labels' values."""
    families = parse_text(web.ask("/metrics").body)
    return {(s.name, tuple(s.labels.values())): s.value for family in families for s in family.samples}


@pytest.fixture
def web(settings: Settings) -> Iterator[Web]:
    with serving(settings) as running:
        yield running


def test_metrics_are_as_exact_as_the_books(
    web: Web, settings: Settings, connection: Connection, client: redis.Redis
) -> None:
    """What `/metrics` says is what was read, counted and buried, and what waits, at the moment of the scrape."""
    add_specialists(connection, ["anna"])
    again = event()
    add(client, event(), again, again, event(userAgent="Googlebot/2.1"), event(type="nonsense"))
    drain(settings)
    add(client, event(), event())
    stream = ("analytics:events",)
    samples = samples_of(web)
    assert {name: samples[name, stream] for name, labels in samples if labels == stream and "entries" in name} == {
        "analytics_entries_read_total": 5,
        "analytics_entries_counted_total": 2,
        "analytics_entries_duplicate_total": 1,
        "analytics_entries_excluded_total": 1,
        "analytics_entries_dead_lettered_total": 1,
        "analytics_entries_lost_total": 0,
        "analytics_backlog_entries": 2,
    }
    assert samples["analytics_oldest_unread_seconds", stream] > 0
    assert samples["analytics_dead_letters", ("unknown_type",)] == 1
    assert samples["analytics_up", ("postgresql",)] == samples["analytics_up", ("redis",)] == 1
    drain(settings)
    after = samples_of(web)
    assert after["analytics_entries_counted_total", stream] == 4
    assert after["analytics_oldest_unread_seconds", stream] == after["analytics_backlog_entries", stream] == 0
    for name, labels in samples:
        if name.endswith("_total"):
            assert after[name, labels] >= samples[name, labels], name


def test_metrics_keep_the_format(web: Web, settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Both text formats can be read, everything has help and type, and names keep Prometheus' conventions."""
    add_specialists(connection, ["anna"])
    add(client, event())
    drain(settings)
    answer = web.ask("/metrics", accept=OPENMETRICS)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    families = parse_openmetrics(answer.body)  # type: ignore[no-untyped-call]
    assert {family.name for family in families} == {name.removesuffix("_total") for name in METRICS}
    text = web.ask("/metrics").body
    assert {(family.name, family.type) for family in parse_text(text)} == {
        (name.removesuffix("_total"), "counter" if name.endswith("_total") else "gauge") for name in METRICS
    }
    for name in METRICS:
        assert text.count(f"# HELP {name} ") == text.count(f"# TYPE {name} ") == 1
        assert re.fullmatch(r"analytics_[a-z_]+", name)
        assert not re.search(r"_(ms|milliseconds|minutes|count|sum|bucket|info)(_|$)", name)


def test_label_values_are_bounded(web: Web, settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """What others can write into a database or into Redis becomes no label value of its own."""
    connection.execute(
        "INSERT INTO analytics.dead_letter (stream, entry_id, reason, fields) "
        "SELECT 's', n::text, 'reason ' || n, '[]' FROM generate_series(1, 50) n"
    )
    connection.execute(
        "INSERT INTO analytics.continuity_event (stream, verdict, action, stored, seen) "
        "SELECT 's', 'verdict ' || n, 'went_on', '{}', '{}' FROM generate_series(1, 50) n"
    )
    for number in range(50):
        key = f"rq:worker:{number}"
        client.sadd("rq:workers", key)
        now = "2026-11-22T12:00:00.000000Z"
        client.hset(key, mapping={"last_heartbeat": now, "state": f"x{number}", "queues": f"q{number}"})
    samples = samples_of(web)
    assert samples["analytics_dead_letters", ("other",)] == 50
    assert samples["analytics_continuity_events_total", ("other",)] == 50
    assert samples["analytics_workers", ("other", "other")] == 50
    assert len(samples) < 100


def test_a_count_that_takes_long_holds_nobody(web: Web, connection: Connection) -> None:
    """If dead letters cannot be counted in time, their number alone is missing from the scrape."""
    everything = samples_of(web).keys()
    with connection.transaction():
        connection.execute("LOCK TABLE analytics.dead_letter IN ACCESS EXCLUSIVE MODE")
        samples = samples_of(web)
    assert {name for name, _ in everything - samples.keys()} == {"analytics_dead_letters"}
    assert samples["analytics_up", ("postgresql",)] == 1
    assert samples_of(web).keys() == everything


def test_health(web: Web, connection: Connection, client: redis.Redis) -> None:
    """A process that has just started is alive while nothing waits, and sees at once that a shard stands still."""
    assert web.ask("/healthz").code == 200
    client.xadd("analytics:events", {"type": "profile_view"}, id="1-1")
    answer = web.ask("/healthz")
    assert answer.code == 503
    [problem] = json.loads(answer.body)["problems"]
    assert (problem["what"], problem["why"]) == ("analytics:events", "never read")


def test_manners(web: Web) -> None:
    """HEAD has no body, unknown paths are 404, other methods 405, and nothing says what is behind it."""
    for path in ("/metrics", "/healthz"):
        head = web.ask(path, "HEAD")
        assert (head.code, head.body) == (200, "")
        assert head.headers["cache-control"] == "no-store"
        assert "server" not in {name.lower() for name in head.headers}
        assert web.ask(path, "POST").code == 405
    for path in ("/nowhere", "/metrics/../../etc/passwd", "/healthz?x=%00", "/" + 5000 * "x"):
        assert web.ask(path).code == (200 if path.startswith("/healthz") else 404)


@pytest.fixture
def own_settings(own_servers: Servers) -> Settings:
    return settings_for(own_servers.database_url, own_servers.redis_url)


def test_a_server_is_away(own_servers: Servers, own_settings: Settings) -> None:
    """With one server gone or hanging the metrics of the other one are there in time, and all come back with it."""
    with connect_postgres(own_settings, "test") as connection:
        connection.execute(SITE)
        migrate(connection, migrations())
        add_specialists(connection, ["anna"])
    with connect_redis(own_settings) as client:
        add(client, event())
    drain(own_settings)
    with serving(own_settings) as web:
        everything = samples_of(web).keys()

        def up() -> tuple[float, float]:
            samples = samples_of(web)
            return samples["analytics_up", ("postgresql",)], samples["analytics_up", ("redis",)]

        def problems() -> list[dict[str, str]]:
            answer = web.ask("/healthz")
            found: list[dict[str, str]] = json.loads(answer.body)["problems"]
            assert answer.code == (503 if found else 200)
            for secret in re.findall(r":([^:@/]+)@", own_servers.database_url + own_servers.redis_url):
                assert secret not in answer.body
            return found

        own_servers.redis.kill()
        assert up() == (1, 0)
        samples = samples_of(web)
        assert samples["analytics_entries_counted_total", ("analytics:events",)] == 1
        assert not [name for name, _ in samples if name.startswith(("analytics_jobs", "analytics_backlog"))]
        assert problems() == [{"what": "redis", "why": "away"}]
        own_servers.redis.start()
        assert up() == (1, 1)
        os.kill(own_servers.postgres.pid, signal.SIGSTOP)
        hanging = psutil.Process(own_servers.postgres.pid).children()
        try:
            for process in hanging:
                process.suspend()
            assert up() == (0, 1)
            names = {name for name, _ in samples_of(web)}
            assert names == {"analytics_up", "analytics_jobs", "analytics_workers"}  # what is unread, nobody knows
            assert problems() == [{"what": "postgresql", "why": "away"}]
        finally:
            for process in hanging:
                process.resume()
            os.kill(own_servers.postgres.pid, signal.SIGCONT)
        wait_for(lambda: up() == (1, 1))
        own_servers.postgres.kill()
        assert up() == (0, 1)
        own_servers.postgres.start()
        wait_for(lambda: up() == (1, 1))
        assert problems() == []
        assert samples_of(web).keys() == everything


def test_before_the_database_is_migrated(own_settings: Settings) -> None:
    """The web process starts before anything else is ready, and says what is missing."""
    with serving(own_settings) as web:
        answer = web.ask("/healthz")
        assert answer.code == 503
        assert json.loads(answer.body)["problems"] == [{"what": "postgresql", "why": "not migrated"}]
        assert web.ask("/metrics").code == 200


def test_a_taken_port(settings: Settings) -> None:
    """A port that somebody else has is one line, not a traceback."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        code, output, errors = run_worker(settings, "web", "--host", "127.0.0.1", "--port", str(taken.getsockname()[1]))
    assert code == 2
    assert "--port" in errors
    assert "Traceback" not in output + errors


def test_it_is_a_part_of_run(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """`run --web` answers over HTTP on the port of the environment, and leaves nobody behind."""
    web = Web(free_port())
    monkeypatch.setenv("PORT", str(web.port))
    process = start_worker(settings_with(settings, ANALYTICS_LOG_LEVEL="WARNING"), "run", "--web")
    try:
        wait_for(web.is_there)
        wait_for(lambda: samples_of(web)["analytics_workers", ("rollup", "busy")] == 1)
        assert web.ask("/healthz").code == 200
        family = descendants(process.pid)
    finally:
        process.terminate()
        code, _, errors = ended(process, seconds=20)
    assert code == 0, errors
    assert alive(family) == []
