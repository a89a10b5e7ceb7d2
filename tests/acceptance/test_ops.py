"""`/ops` of `python -m worker web`, as a browser asks for it, beside workers that really work."""

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from html.parser import HTMLParser
from http.client import HTTPMessage
from http.cookies import SimpleCookie
from typing import Any, NamedTuple

import psutil
import pytest
import redis

from tests.counting import add, daily, drain, event
from tests.serving import Web
from tests.serving import serving as web_process
from tests.support import (
    SITE,
    add_specialists,
    run_worker,
    running,
    settings_for,
    settings_with,
    wait_until,
)
from worker.embedded import Servers
from worker.migrations import migrate, migrations
from worker.settings import Settings
from worker.store import Connection, connect_postgres
from worker.stream import connect_redis
from worker.token import Audience, sign

SECRET = "a secret of tests, with 32 bytes or more"
HOSTILE = "<script>alert(1)</script>'; DROP TABLE analytics.event; --"


class Page(NamedTuple):
    """An answer, and what a reader finds in it."""

    code: int
    headers: HTTPMessage
    body: str
    texts: dict[str, str]
    """The text of every element that has an id."""
    tables: dict[str, list[list[str]]]
    """The rows of every table by the id of what it is in, each as the texts of its cells."""

    @property
    def verdict(self) -> str:
        return self.texts["headline"]


class _Reader(HTMLParser):
    """Reads a page as far as these tests look."""

    VOID = frozenset({"meta", "link", "path", "rect", "circle", "img", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.path: list[str] = []
        self.texts: dict[str, str] = {}
        self.tables: dict[str, list[list[str]]] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self.VOID:
            return
        identity = dict(attrs).get("id") or ""
        self.path.append(identity)
        if identity:
            self.texts[identity] = ""
        section = next((each for each in reversed(self.path) if each), "")
        if tag == "tr":
            self.tables.setdefault(section, []).append([])
        elif tag in ("td", "th"):
            self.tables[section][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            self.path.pop()

    def handle_data(self, data: str) -> None:
        for identity in filter(None, self.path):
            self.texts[identity] = " ".join(f"{self.texts[identity]} {data}".split())
        section = next((each for each in reversed(self.path) if each), "")
        if (rows := self.tables.get(section)) and rows[-1]:
            rows[-1][-1] = " ".join(f"{rows[-1][-1]} {data}".split())


class Ops:
    """Somebody at the operator's page."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self.host = f"127.0.0.1:{web.port}"
        self.token = token("anna")

    def ask(self, path: str = "/ops", method: str = "GET", **headers: str) -> Page:
        cookie = {"Cookie": f"analytics_ops={self.token}"} if self.token else {}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = self._web.ask(path, method, headers=cookie | named)
        reader = _Reader()
        reader.feed(answer.body)
        return Page(answer.code, answer.headers, answer.body, reader.texts, reader.tables)

    def wait(self, holds: Callable[[Page], object], what: str, path: str = "/ops") -> Page:
        """The first page of which it holds; who asks more often than this is refused."""
        deadline = time.monotonic() + 30
        while not holds(page := self.ask(path)):
            assert time.monotonic() < deadline, f"not within 30 s: {what}; {page.body}"
            time.sleep(0.2)
        return page

    def press(self, path: str) -> Page:
        """Send a form of the page."""
        return self.ask(path, "POST", Origin=f"http://{self.host}")


def token(subject: str, audience: Audience = Audience.OPERATOR, minutes: float = 5, *, link: bool = False) -> str:
    return sign(SECRET, subject, audience=audience, lifetime=timedelta(minutes=minutes), link=link)


@contextmanager
def serving(settings: Settings) -> Iterator[Ops]:
    with web_process(settings_with(settings, ANALYTICS_SECRET=SECRET)) as web:
        yield Ops(web)


@pytest.fixture
def ops(settings: Settings) -> Iterator[Ops]:
    with serving(settings) as somebody:
        yield somebody


def asked(settings: Settings, *arguments: str) -> Any:
    """What a command of the command line says as JSON."""
    code, output, errors = run_worker(settings, *arguments, "--json")
    assert code == 0, errors
    return json.loads(output)


def test_it_says_what_the_command_line_says(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Streams, books, dead letters, alerts, runs, schedule and days are those of `status`, `runs` and `schedule`."""
    settings = settings_with(settings, ANALYTICS_SHARDS="2", ANALYTICS_BREAKER_SHARE="1")
    add_specialists(connection, ["anna"])
    again = event()
    add(client, event(), again, again, event(userAgent="Googlebot/2.1"), stream="analytics:events:{0}")
    add(client, event(type="nonsense"), event(type="nonsense"), event("nobody"), stream="analytics:events:{1}")
    for shard in (0, 1):
        drain(settings, shard)
    add(client, event(), event(), event(), stream="analytics:events:{1}")
    connection.execute(
        "INSERT INTO analytics.alert (name, started_at, last_seen_at, text, value, threshold)"
        " VALUES ('lag', now(), now(), 'it is late', 1, 0)"
    )
    connection.execute(
        "INSERT INTO analytics.run (kind, arguments, operator, state, done, total, error)"
        " VALUES ('recompute', '{}', 'anna@here', 'queued', 3, 7, NULL),"
        " ('recompute', '{}', 'boris@here', 'failed', 2, 9, 'no disk'),"
        " ('refresh', '{}', 'web tier', 'done', 1, 1, NULL)"
    )
    connection.execute(
        "INSERT INTO analytics.scheduled (name, begun_at, tick, started_at, ended_at, error)"
        " VALUES ('close', now(), now(), now(), now(), 'it broke')"
    )
    with serving(settings) as ops:
        page = ops.ask()
    assert page.code == 200, page.body
    status, runs = asked(settings, "status"), asked(settings, "runs", "list")

    columns = ("entries_read", "counted", "duplicates", "excluded", "dead_lettered", "lost")
    assert page.tables["books"][1:] == [
        [shard["stream"], *(str(shard["books"][column]) for column in columns), "balance"] for shard in status["shards"]
    ]
    streams = [(row[0], row[2], int(row[3])) for row in page.tables["streams"][1:]]
    assert streams == [(shard["stream"], shard["position"], shard["lag_entries"]) for shard in status["shards"]]
    assert all(shard["books_balance"] for shard in status["shards"])
    for reason, letters in status["dead_letters"].items():
        assert page.texts[f"reason-{reason}"].startswith(f"{reason} {letters} the latest")
    assert sum(name.startswith("reason-") for name in page.texts) == len(status["dead_letters"]) == 2
    for alert in status["alerts"]:
        assert f"Alert {alert['name']} : {alert['text']}" in page.texts["verdict"]
    for run in runs:
        shown = page.texts[f"run-{run['id']}"]
        assert run["kind"] in shown and run["operator"] in shown and run["state"] in shown
        assert f"{run['done']} of {run['total']} days" in shown and (run["error"] or "") in shown
    assert {int(name.removeprefix("run-")) for name in page.texts if re.fullmatch(r"run-\d+", name)} == {
        run["id"] for run in runs
    }
    lines = {line["name"]: line for line in asked(settings, "schedule", "--list")}
    assert [row[0].split()[0] for row in page.tables["scheduled"][1:]] == list(lines)
    assert {row[0].split()[0]: row[3] for row in page.tables["scheduled"][1:]}["close"] == "error: it broke"
    assert "Scheduled job close failed: it broke" in page.texts["verdict"]
    assert status["jobs"]["workers"] == [] and page.verdict == "Nobody counts"
    assert "no day is closed yet" in page.texts["more"] and status["completeThrough"] is None


def test_requeue(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """A dead letter that is sent again by the page is a run of whoever asked, and is counted."""
    letters = [event("vera"), event("vera"), event("boris")]
    with running(settings, "run"), serving(settings) as ops:
        add(client, *letters)

        def buried() -> int:
            row = connection.execute("SELECT count(*) FROM analytics.dead_letter WHERE state = 'buried'").fetchone()
            assert row is not None
            return int(row[0])

        wait_until(lambda: buried() == len(letters), "they are buried")
        add_specialists(connection, ["vera", "boris"])
        ops.wait(lambda page: "reason-unknown_specialist" in page.texts, "the page shows them")
        row = connection.execute("SELECT min(id) FROM analytics.dead_letter").fetchone()
        assert row is not None
        answer = ops.press(f"/ops/dead-letters/{row[0]}/requeue")
        assert (answer.code, answer.headers["location"]) == (303, "/ops?run=1")
        assert ops.ask(answer.headers["location"]).texts["said"].startswith(f"Run 1 (requeue, letter {row[0]}) ")
        wait_until(lambda: list(daily(connection).values()) == [(1, 0)], "the one is counted")
        wait_until(lambda: asked(settings, "runs", "show", "1")["state"] == "done", "the run is done")
        run = asked(settings, "runs", "show", "1")
        assert (run["kind"], run["operator"], run["result"]) == ("requeue", "anna, on /ops", {"sent": 1})
        assert buried() == len(letters) - 1

        answer = ops.press("/ops/reasons/unknown_specialist/requeue")
        assert (answer.code, answer.headers["location"]) == (303, "/ops?run=2")
        wait_until(lambda: sorted(daily(connection).values()) == [(1, 0), (2, 0)], "all are counted")
        ops.wait(lambda page: " is done: 2 of 2 letters" in page.texts["said"], "it is told", "/ops/live?run=2")
        ops.wait(lambda page: "done" in page.texts["run-2"], "the next look shows it too")
        page = ops.ask()
        assert "None lies buried" in page.texts["dead-letters"]
        assert page.texts["workers"].count("rollup") >= 1 and "reason unknown_specialist" in page.texts["run-2"]


def test_a_run_is_asked_for_while_redis_is_away(own_servers: Servers, own_settings: Settings) -> None:
    """What is asked for then is a run all the same, and waits for its turn."""
    with serving(own_settings) as ops:
        own_servers.redis.kill()
        assert ops.press("/ops/reasons/bad_time/requeue").code == 303
        assert "waits for its turn" in ops.ask("/ops?run=1").texts["said"]
        own_servers.redis.start()


def test_stop_a_run(ops: Ops, settings: Settings, connection: Connection) -> None:
    """The button of a run stops it, in the name of whoever pressed it."""
    connection.execute("INSERT INTO analytics.run (kind, arguments, operator) VALUES ('recompute', '{}', 'boris@here')")
    assert 'action="/ops/runs/1/stop"' in ops.ask().body
    answer = ops.press("/ops/runs/1/stop")
    assert (answer.code, answer.headers["location"]) == (303, "/ops?run=1")
    page = ops.ask("/ops?run=1")
    assert "is stopped by anna, on /ops" in page.texts["said"] and "/stop" not in page.body
    run = asked(settings, "runs", "show", "1")
    assert (run["state"], run["stopped_by"]) == ("stopped", "anna, on /ops")
    assert ops.press("/ops/runs/1/stop").code == 303  # it has ended before, and the page says how


def test_only_the_page_itself_can_ask(ops: Ops, connection: Connection) -> None:
    """A form of another site, or without a word about where it is from, does nothing, whoever is signed in."""
    here = f"http://{ops.host}"
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {},
        {"Origin": here, "Sec_Fetch_Site": "cross-site"},
        {"Origin": here, "Sec_Fetch_Site": "same-site"},
    ):
        for path in ("/ops/reasons/bad_time/requeue", "/ops/dead-letters/1/requeue", "/ops/runs/1/stop"):
            assert ops.ask(path, "POST", **headers).code == 403, (path, headers)
    assert connection.execute("SELECT count(*) FROM analytics.run").fetchone() == (0,)
    assert ops.ask("/ops/reasons/bad_time/requeue").code == 405
    assert ops.press("/ops/reasons/bad_time/requeue").code == 303


def test_nobody_else_gets_in(ops: Ops, connection: Connection) -> None:
    """Without a good token of an operator there is neither the page nor what can be done there."""
    of_specialist, expired, of_link = (
        token("anna", Audience.SPECIALIST),
        token("anna", minutes=-1),
        token("anna", link=True),
    )
    for ops.token in ("", "nonsense", of_specialist, expired, of_link, token("anna")[:-3] + "abc"):
        for path in ("/ops", "/ops/live", "/ops?run=1"):
            page = ops.ask(path)
            assert (page.code, page.headers["www-authenticate"]) == (401, "Bearer")
            assert "verdict" not in page.texts and "analytics:events" not in page.body
        for path in ("/ops/reasons/bad_time/requeue", "/ops/dead-letters/1/requeue", "/ops/runs/1/stop"):
            assert ops.press(path).code == 401
    ops.token = ""
    assert ops.ask("/ops", Authorization=f"Bearer {token('anna')}").code == 401  # a page is opened by its cookie alone
    assert connection.execute("SELECT count(*) FROM analytics.run").fetchone() == (0,)


def test_a_link_opens_it(ops: Ops) -> None:
    """A link opens once and leaves a cookie for `/ops` alone, which no other site can have sent."""
    link = f"/ops?token={token('vera', link=True)}"
    ops.token = ""
    answer = ops.ask(link)
    assert (answer.code, answer.headers["location"]) == (303, "/ops")
    [(name, cookie)] = SimpleCookie(answer.headers["set-cookie"]).items()
    assert (name, cookie["path"], cookie["samesite"].lower(), cookie["httponly"]) == (
        "analytics_ops",
        "/ops",
        "strict",
        True,
    )
    assert ops.ask(link).code == 401
    # Behind a link on somebody else's page the browser holds the cookie back: it is sent to the page once more.
    assert 'http-equiv="refresh"' in ops.ask("/ops", Sec_Fetch_Site="cross-site").body
    assert 'http-equiv="refresh"' not in ops.ask("/ops", Sec_Fetch_Site="same-origin").body
    ops.token = cookie.value
    assert ops.ask().code == 200


def test_what_is_in_a_letter_stays_text(
    ops: Ops, settings: Settings, connection: Connection, client: redis.Redis
) -> None:
    """Whatever an event has in it is shown as text, cut where it is long; bytes that are no text as base64."""
    settings = settings_with(settings, ANALYTICS_BREAKER_SHARE="1")
    add_specialists(connection, ["anna"])
    add(
        client,
        event(eventId=HOSTILE, **{HOSTILE: HOSTILE}),
        event(eventId="x", source="y" * 100_000),
        event(eventId="x", source=b"\xff\x00"),
    )
    drain(settings)
    page = ops.ask()
    shown = page.texts["letters-bad_event_id"]
    assert "<script>alert" not in page.body and shown.count(HOSTILE) == 3
    assert "y" * 200 + "… (100,000 characters)" in shown and "y" * 201 not in page.body
    assert "base64:/wA=" in shown


def test_bad_addresses(ops: Ops, connection: Connection) -> None:
    """Numbers and reasons that do not exist are told apart from those that do, and do nothing."""
    for path in (
        "/ops/runs/1/stop",
        "/ops/runs/0/stop",
        f"/ops/runs/{2**63}/stop",
        f"/ops/runs/{'9' * 5_000}/stop",
        "/ops/runs/%27%3B/stop",
        "/ops/dead-letters/0/requeue",
        f"/ops/dead-letters/{2**63}/requeue",
        f"/ops/dead-letters/{'9' * 5_000}/requeue",
        "/ops/dead-letters/x/requeue",
        "/ops/reasons/nonsense/requeue",
        "/ops/reasons/%3Cscript%3E/requeue",
    ):
        assert ops.press(path).code == 404, path
    assert connection.execute("SELECT count(*) FROM analytics.run").fetchone() == (0,)
    for run in ("x", "1", str(2**63), "9" * 5_000, "%00", "-1", HOSTILE.replace(" ", "+")):
        page = ops.ask(f"/ops?run={run}")
        assert page.code == 200 and "said" not in page.texts and "<script>alert" not in page.body


def test_it_is_closed_to_the_outside(ops: Ops) -> None:
    """The page has no script, style or address of its own in it, is framed by nobody, and is not kept."""
    page = ops.ask()
    assert "'unsafe-inline'" not in page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "same-origin"  # else a browser sends forms with `Origin: null`
    assert not re.search(r"<script>|<style| style=| on\w+=|https?://", page.body)


@pytest.fixture
def own_settings(own_servers: Servers) -> Settings:
    settings = settings_for(own_servers.database_url, own_servers.redis_url)
    with connect_postgres(settings, "test") as connection:
        connection.execute(SITE)
        migrate(connection, migrations())
        add_specialists(connection, ["anna"])
    with connect_redis(settings) as client:
        add(client, event(), event(type="nonsense"))
    drain(settings)
    return settings


def test_a_server_is_away(own_servers: Servers, own_settings: Settings) -> None:
    """With one server away the page has what the other one knows; without both it says so, and when to come again."""
    with running(own_settings, "work", "ops"), serving(own_settings) as ops:
        ops.wait(lambda page: len(page.tables.get("workers", ())) == 2, "the worker is seen")

        own_servers.redis.kill()
        page = ops.wait(lambda page: page.verdict.startswith("Redis is away"), "Redis is missed")
        assert page.code == 200 and "Not known while Redis is away" in page.texts["workers"]
        assert "unknown_type 1 the latest" in page.texts["dead-letters"] and len(page.tables["scheduled"]) > 1

        own_servers.redis.start()
        ops.wait(lambda page: "away" not in page.verdict, "Redis is back")
        os.kill(own_servers.postgres.pid, signal.SIGSTOP)
        hanging = psutil.Process(own_servers.postgres.pid).children()
        try:
            for process in hanging:
                process.suspend()
            page = ops.wait(lambda page: page.verdict.startswith("PostgreSQL is away"), "PostgreSQL is missed")
            assert page.code == 200 and "Not known while PostgreSQL is away" in page.texts["runs"]
            assert "Not known" not in page.texts["workers"]
            assert ops.press("/ops/reasons/bad_time/requeue").code == 503
        finally:
            for process in hanging:
                process.resume()
            os.kill(own_servers.postgres.pid, signal.SIGCONT)

        ops.wait(lambda page: "away" not in page.verdict, "PostgreSQL is back")
        own_servers.postgres.kill()
        own_servers.redis.kill()
        ops.wait(lambda page: page.code == 503, "both are missed")
        for path in ("/ops", "/ops/live"):
            page = ops.ask(path)
            assert (page.code, page.headers["retry-after"]) == (503, "5")
            assert page.verdict == "Nothing can be known: both servers are away"
        for secret in re.findall(r":([^:@/]+)@", own_servers.database_url + own_servers.redis_url):
            assert secret not in page.body
        own_servers.postgres.start()
        own_servers.redis.start()
        ops.wait(lambda page: "unknown_type 1 the latest" in page.texts["dead-letters"], "both are back")


def test_before_the_database_is_migrated(own_servers: Servers) -> None:
    """The page says what is missing."""
    with serving(settings_for(own_servers.database_url, own_servers.redis_url)) as ops:
        page = ops.ask()
        assert (page.code, page.verdict) == (200, "PostgreSQL is not migrated: nothing can be counted")
        assert "migrate" in page.texts["verdict"]
