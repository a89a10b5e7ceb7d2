"""`/api` over HTTP, from a process of its own."""

import json
import re
import socket
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any
from urllib.parse import quote, urlencode

import psutil
import pytest
import redis
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from tests.counting import TODAY, add, drain, event
from tests.rq_fixtures import wait_for
from tests.serving import Answer, Web, serving
from tests.support import SITE, add_specialists, run_worker, settings_for, settings_with
from worker.embedded import Servers
from worker.migrations import migrate, migrations
from worker.settings import Settings
from worker.store import Connection, connect_postgres
from worker.token import PAGES, Audience, sign, verify
from worker.web.headers import HEADERS
from worker.web.protocol import MOST_CONNECTIONS, MOST_REQUEST_BYTES, REQUEST_S
from worker.web.readings import FRESH_S

SECRET = "a secret of the tests, and of nobody else"
ANNA = "/api/specialists/anna/analytics"
OPENAPI = "/api/openapi.json"


@pytest.fixture
def secret_settings(settings: Settings) -> Settings:
    return settings_with(settings, ANALYTICS_SECRET=SECRET)


@pytest.fixture
def web(secret_settings: Settings, connection: Connection) -> Iterator[Web]:
    add_specialists(connection, ["anna", "boris"])
    with serving(secret_settings) as running:
        yield running


def bearer(specialist: str = "anna") -> dict[str, str]:
    return {"Authorization": f"Bearer {sign(SECRET, specialist, lifetime=timedelta(hours=1))}"}


def ask(web: Web, query: Mapping[str, str] = {}, specialist: str = "anna", headers: Mapping[str, str] = {}) -> Answer:
    path = f"/api/specialists/{quote(specialist, safe='')}/analytics?{urlencode(query)}"
    return web.ask(path, headers={**bearer(specialist), **headers})


def schema(web: Web, name: str) -> Draft202012Validator:
    """A model of the document, as a validator."""
    document = json.loads(web.ask(OPENAPI).body)
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", **document})


def problem(answer: Answer) -> dict[str, Any]:
    """The problem details of an answer, which must say the same as its status."""
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    found: dict[str, Any] = json.loads(answer.body)
    assert found["status"] == answer.code
    return found


def test_a_reading(web: Web, secret_settings: Settings, client: redis.Redis) -> None:
    """The API says what `report --json` says, but for the moment, which it tells by the minute."""
    add(client, event(), event(), event(type="contact_view", contactType="phone"))
    drain(secret_settings)
    answer = ask(web, {"period": "week"})
    assert (answer.code, answer.headers["Content-Type"]) == (200, "application/json")
    found = json.loads(answer.body)
    _, said, _ = run_worker(secret_settings, "report", "anna", "--period", "week", "--json")
    reported = json.loads(said)
    as_of = [datetime.fromisoformat(each["freshness"].pop("asOf")) for each in (found, reported)]
    assert found == reported
    assert found["metrics"]["profileViews"]["value"] == 2
    assert as_of[0].second == 0 and timedelta(0) <= as_of[1] - as_of[0] < timedelta(minutes=2)


def test_ranges(web: Web) -> None:
    """A range has its dates, `to` is today if it is left out, and what was not said is a month."""
    first = TODAY - timedelta(days=400)
    period = json.loads(ask(web, {"from": str(first)}).body)["period"]
    assert (period["first"], period["last"], period["name"]) == (str(first), str(TODAY), None)
    assert json.loads(ask(web, {"from": "2025-01-01", "to": "2025-01-31"}).body)["period"]["days"] == 31
    assert json.loads(ask(web).body)["period"]["name"] == "month"


def test_the_document(web: Web) -> None:
    """The OpenAPI document is valid, needs no token, and is true of every period's answer and of a problem."""
    answer = web.ask(OPENAPI)
    assert (answer.code, answer.headers["Content-Type"]) == (200, "application/json")
    document = json.loads(answer.body)
    validate(document)
    [(path, methods)] = document["paths"].items()
    parameters = {each["name"]: each for each in methods["get"]["parameters"]}
    readings = schema(web, "Reading")
    for period in parameters["period"]["schema"]["enum"]:
        found = web.ask(f"{path.replace('{id}', 'anna')}?period={period}", headers=bearer())
        readings.validate(json.loads(found.body))
        assert str(found.code) in methods["get"]["responses"]
    said = document["components"]["schemas"]
    assert said["Trend"]["properties"]["step"]["description"].startswith("What a point is")
    assert said["Metric"]["required"] == [*said["Metric"]["properties"]]
    schema(web, "ProblemDetails").validate(problem(ask(web, {"period": "x"})))


def test_who_has_it_already(web: Web, secret_settings: Settings, client: redis.Redis) -> None:
    """Whoever has the same bytes is told so and gets none; when a view is counted they are others."""
    first = ask(web)
    etag = first.headers["ETag"]
    assert re.fullmatch(r'"[0-9a-f]{32}"', etag)
    assert first.headers["Cache-Control"] == "private, max-age=5"
    assert first.headers["Vary"] == "Authorization, Cookie"
    for tags in (etag, f'"x", W/{etag}', "*"):
        again = ask(web, headers={"If-None-Match": tags})
        assert (again.code, again.content, again.headers["ETag"]) == (304, b"", etag)
        assert again.headers["Cache-Control"] == first.headers["Cache-Control"]
    assert ask(web, headers={"If-None-Match": '"x"'}).code == 200
    add(client, event())
    drain(secret_settings)
    wait_for(lambda: ask(web, headers={"If-None-Match": etag}).code == 200, 10)


BAD_PERIODS: dict[str, tuple[dict[str, str] | str, str]] = {
    "unknown": ({"period": "fortnight"}, "'fortnight' is no period: one of day, week"),
    "reversed": ({"from": "2026-02-01", "to": "2026-01-01"}, "comes before the first"),
    "100 years": ({"from": "1970-01-01", "to": "2069-12-31"}, "at most"),
    "both": ({"period": "week", "from": "2026-01-01"}, "period, from: a period and a range exclude each other"),
    "no first day": ({"to": "2026-01-01"}, "from: a range needs its first day"),
    "no date": ({"from": "2026-02-01", "to": "2026-02-30"}, "to: '2026-02-30' is no date"),
    "another way of dates": ({"from": "01.02.2026"}, "write it as 2026-11-10"),
    "before there was time": ({"from": "1969-12-31"}, "is before 1970-01-01"),
    "a day to come": ({"from": str(TODAY + timedelta(days=9))}, "has not come yet"),
    "mistyped": ({"perod": "week"}, "'perod' is no parameter: there are period, from, to"),
    "twice": ("from=2026-01-01&to=2026-01-02&to=2026-01-03", "to is given twice"),
    "a token where none belongs": ({"token": "x"}, "is no parameter"),
    "SQL": ({"period": '\'; DROP TABLE "SpecialistAnalyticsDaily"; --'}, "is no period"),
    "HTML": ({"from": "<script>alert(1)</script>"}, "is no date"),
    "NUL": ({"from": "\x00"}, "is no date"),
    "not UTF-8": ("from=%ff%fe", "is no date"),
    "long": ({"period": "x" * 10_000}, "is no period"),
}


def test_no_period(web: Web) -> None:
    """What is no period is 400, in a line that says what to ask instead and names no option of the command line."""
    for case, (query, says) in BAD_PERIODS.items():
        text = query if isinstance(query, str) else urlencode(query)
        answer = web.ask(f"{ANNA}?{text}", headers=bearer())
        assert answer.code == 400, case
        detail = problem(answer)["detail"]
        assert says in detail and len(detail) < 200 and detail.isprintable(), case
        assert "--" not in detail or case == "SQL", case


HOSTILE = [
    "'; DROP TABLE x; --",
    "<img src=x onerror=alert(1)>",
    "%(id)s",
    "a\x00b",
    "анна",
    "a" * 1_000,
    "..",
    "anna ",
]


def test_nobody(web: Web) -> None:
    """Somebody with a good token whom the site has no profile of is 404, whatever their id looks like."""
    for specialist in ("nobody", *HOSTILE):
        answer = ask(web, specialist=specialist)
        assert answer.code == 404, specialist
        assert problem(answer) == {"title": "Not Found", "status": 404, "detail": "there is no such specialist"}
    assert ask(web).code == 200


def test_an_id_that_the_token_does_not_name(web: Web) -> None:
    """Of another specialist nothing is told, not even whether there is one."""
    for specialist in ("boris", "nobody", *HOSTILE):
        answer = web.ask(f"/api/specialists/{quote(specialist, safe='')}/analytics", headers=bearer())
        assert (answer.code, problem(answer)) == (403, {"title": "Forbidden", "status": 403}), specialist


TOKENS = {
    "none": {},
    "empty": {"Authorization": "Bearer "},
    "expired": {"Authorization": f"Bearer {sign(SECRET, 'anna', lifetime=-timedelta(seconds=1))}"},
    "forged": {"Authorization": f"Bearer {sign('x' * 32, 'anna', lifetime=timedelta(hours=1))}"},
    "an operator's": {
        "Authorization": f"Bearer {sign(SECRET, 'anna', audience=Audience.OPERATOR, lifetime=timedelta(hours=1))}"
    },
    "a link's": {"Authorization": f"Bearer {sign(SECRET, 'anna', lifetime=timedelta(hours=1), link=True)}"},
    "basic": {"Authorization": "Basic YW5uYTphbm5h"},
}


def test_no_good_token(web: Web) -> None:
    """Without a good token the answer is the same whatever is wrong and whatever was asked, and sets no cookie."""
    paths = (ANNA, f"{ANNA}?period=x", "/api/specialists/nobody/analytics")
    for (case, headers), path in product(TOKENS.items(), paths):
        answer = web.ask(path, headers=headers)
        assert (answer.code, problem(answer)) == (401, {"title": "Unauthorized", "status": 401}), case
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.headers["Set-Cookie"] is None


def test_the_page_s_cookie(web: Web) -> None:
    """A page's script asks with the cookie that the browser has; no answer sets one."""
    token = sign(SECRET, "anna", lifetime=timedelta(hours=1))
    answer = web.ask(ANNA, headers={"Cookie": f"other=1; analytics_token={token}"})
    assert (answer.code, answer.headers["Set-Cookie"]) == (200, None)


def test_manners(web: Web) -> None:
    """HEAD has no body, other methods and paths are problems, and every answer has the security headers."""
    head = web.ask(ANNA, "HEAD", headers=bearer())
    assert (head.code, head.content) == (200, b"") and int(head.headers["Content-Length"]) > 1_000
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"):
        answer = web.ask(ANNA, method, headers=bearer())
        if method != "BREW":  # no method at all: the server ends that before it is a request
            assert (answer.code, problem(answer)["title"]) == (405, "Method Not Allowed")
            assert answer.headers["Allow"] in ("GET, HEAD", "HEAD, GET")
    for path in ("/api", "/api/", "/api/x", "/api/specialists/a/b/analytics", "/api/specialists//analytics"):
        assert problem(web.ask(path))["status"] == 404
    for answer in (head, web.ask("/api"), web.ask("/x"), web.ask(ANNA), web.ask(OPENAPI), web.ask(ANNA, "BREW")):
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Strict-Transport-Security"] is None
        assert answer.headers["Server"] is None
    for proto in ("https", "https,http"):
        behind_a_proxy = web.ask(ANNA, headers=bearer() | {"X-Forwarded-Proto": proto})
        assert behind_a_proxy.headers["Strict-Transport-Security"] == "max-age=31536000"
    from_a_proxy = web.ask(ANNA, headers=bearer() | {"X-Forwarded-Proto": "http, https"})
    assert from_a_proxy.headers["Strict-Transport-Security"] is None


def test_an_address_has_one_spelling(web: Web) -> None:
    """No answer leads to the host that a request names, nor a token in the address of one to anywhere."""
    for path in (ANNA, OPENAPI, "/metrics", "/healthz", *PAGES.values()):
        for asked in (f"{path}/", f"{path}/?token=secret", f"/{path}", f"//evil.example{path}/"):
            answer = web.ask(asked, headers=bearer() | {"Host": "evil.example"})
            is_page = path in PAGES.values() and asked.startswith(f"{path}/")
            assert (answer.code, answer.headers["Location"]) == (401 if is_page else 404, None), asked


def test_too_many(web: Web) -> None:
    """Who guesses on and on is told to wait, and a good token from the same address is not held up by it."""
    guesses = [web.ask(ANNA, headers={"Authorization": f"Bearer {n}"}) for n in range(100)]
    assert guesses[0].code == 401
    refused = next(each for each in guesses if each.code != 401)
    assert problem(refused) == {"title": "Too Many Requests", "status": 429}
    assert int(refused.headers["Retry-After"]) >= 1
    assert ask(web).code == 200


def test_without_a_secret(settings: Settings) -> None:
    """Without ANALYTICS_SECRET nobody gets in, and the answer says what is missing."""
    with serving(settings) as web:
        answer = web.ask(ANNA, headers=bearer())
    assert answer.code == 503 and "ANALYTICS_SECRET is not set" in problem(answer)["detail"]


@contextmanager
def talking(web: Web) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", web.port), timeout=REQUEST_S + 20) as connection:
        yield connection


def answer_to(connection: socket.socket) -> bytes:
    """Everything up to the end of the connection."""
    said = b""
    with suppress(ConnectionResetError):  # what it had not read is thrown away
        while data := connection.recv(65_536):
            said += data
    return said


def test_a_head_that_is_too_large(web: Web) -> None:
    """A head beyond the limit is told so by 431, and ends the connection; one just below it is answered, and one that
    goes on and on is cut off before its time is over.
    """
    begin = f"GET {ANNA} HTTP/1.1\r\nHost: x\r\n".encode()
    for filler in (b"X-Y: " + MOST_REQUEST_BYTES * b"x", MOST_REQUEST_BYTES // 8 * b"X-Y: x\r\n"):
        with talking(web) as connection:
            connection.sendall(begin + filler)
            assert answer_to(connection).startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
    with talking(web) as connection:
        connection.settimeout(REQUEST_S / 2)
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(begin + 1_000 * MOST_REQUEST_BYTES * b"x")
        answer_to(connection)
    assert ask(web, headers={"X-Y": "x" * (MOST_REQUEST_BYTES - 2_000)}).code == 200


def test_a_head_in_pieces(web: Web) -> None:
    """The limit is that of one head: many requests on a connection are not added up, nor is what follows a head."""
    token = bearer()["Authorization"]
    filler = "x" * (MOST_REQUEST_BYTES // 2)
    with talking(web) as connection:
        for _ in range(5):
            connection.sendall(
                f"GET {OPENAPI} HTTP/1.1\r\nHost: x\r\nX-Y: {filler}\r\nAuthorization: {token}\r\n\r\n".encode()
            )
            said = b""
            while b"\r\n\r\n" not in said:
                said += connection.recv(65_536)
            assert said.startswith(b"HTTP/1.1 200 ")
            left = int(re.findall(rb"content-length: (\d+)", said)[0]) - len(said.partition(b"\r\n\r\n")[2])
            while left > 0:
                left -= len(connection.recv(left))


CHUNKED = b"POST /nowhere HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "a body": (b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999999\r\n\r\n", b"x"),
    "a trailer": (CHUNKED + b"0\r\nX: ", b"x"),
    "trailers": (CHUNKED + b"0\r\n", b"X: y\r\n"),
    "chunks": (CHUNKED, b"1\r\nx\r\n"),
    "a chunk's extension": (CHUNKED + b"1;", b"x"),
}


@pytest.mark.parametrize(("begin", "more"), ENDLESS.values(), ids=ENDLESS.keys())
def test_a_request_without_end(web: Web, begin: bytes, more: bytes) -> None:
    """What goes on after the head is answered is not kept: the connection ends, and has one answer at most."""
    with talking(web) as connection:
        connection.settimeout(REQUEST_S / 2)
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(begin + 100 * MOST_REQUEST_BYTES * more)
        said = answer_to(connection)
    assert said == b"" or re.findall(rb"HTTP/1.1 (\d+)", said) == [b"404"]


def test_slow_clients(web: Web) -> None:
    """Whoever sends a request for ever is cut off, one byte a second or none at all; meanwhile others are answered."""
    began = time.monotonic()
    with talking(web) as silent, talking(web) as slow, talking(web) as slow_body:
        slow.sendall(b"GET / HTTP/1.1\r\nX: ")
        slow_body.sendall(b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        while time.monotonic() < began + REQUEST_S - 2:
            slow.sendall(b"x")
            slow_body.sendall(b"x")
            assert ask(web).code == 200
            time.sleep(0.5)
        for connection in (silent, slow):
            assert answer_to(connection) == b""
        assert answer_to(slow_body).startswith(b"HTTP/1.1 404 ")
    assert time.monotonic() < began + REQUEST_S + 10


def test_too_many_connections(web: Web) -> None:
    """One connection too many is told to come again and ended; those that were there before are answered."""
    head = f"GET {OPENAPI} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
    with ExitStack() as ends:
        first, *_ = [ends.enter_context(talking(web)) for _ in range(MOST_CONNECTIONS)]
        with talking(web) as beyond:
            beyond.sendall(head)
            said = answer_to(beyond).lower()
        assert said.startswith(b"http/1.1 503 ") and b"\r\nretry-after: 5\r\n" in said
        assert all(b"%b: %b\r\n" % (name, value.lower()) in said for name, value in HEADERS.items())
        first.sendall(head)
        assert first.recv(20).startswith(b"HTTP/1.1 200 ")
    wait_for(lambda: ask(web).code == 200)


def test_nonsense_and_clients_that_leave(web: Web) -> None:
    """Bytes that are no HTTP are refused; whoever goes away in the middle of a request or an answer harms nobody."""
    for nonsense in (
        b"\x16\x03\x01\x02\x00\x01\xff",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"BREW / HTTP/1.1\r\n\r\n",
    ):
        with talking(web) as connection:
            connection.sendall(nonsense)
            assert answer_to(connection).startswith(b"HTTP/1.1 400 ")
    for _ in range(50):
        with talking(web) as connection:
            head = f"GET {ANNA}?period=all HTTP/1.1\r\nHost: x\r\nAuthorization: {bearer()['Authorization']}\r\n\r\n"
            connection.sendall(head.encode()[: -2 if _ % 2 else None])
    assert ask(web, specialist="boris").code == 200


@pytest.fixture
def own_settings(own_servers: Servers) -> Settings:
    return settings_for(own_servers.database_url, own_servers.redis_url, ANALYTICS_SECRET=SECRET)


@contextmanager
def hanging(servers: Servers) -> Iterator[None]:
    """PostgreSQL takes connections, and nothing that it is asked is answered, or kept from before."""
    postgres = psutil.Process(servers.postgres.pid)
    postgres.suspend()
    family = [postgres, *postgres.children()]
    try:
        for process in family:
            process.suspend()
        time.sleep(FRESH_S)
        yield
    finally:
        for process in family:
            process.resume()


def test_before_the_database_is_migrated(own_settings: Settings) -> None:
    """Where the schema is missing the answer is 503, without a word of what the database said."""
    with serving(own_settings) as web:
        answer = ask(web)
    assert answer.code == 503
    assert "relation" not in answer.body and "migrate" not in answer.body


def test_servers_that_are_away(own_servers: Servers, own_settings: Settings) -> None:
    """Without Redis the numbers are there; without PostgreSQL, or while it hangs, the answer is 503 within seconds, and
    neither threads nor connections pile up; all is well again when it is back.
    """
    with connect_postgres(own_settings, "test") as connection:
        connection.execute(SITE)
        migrate(connection, migrations())
        add_specialists(connection, ["anna", "boris"])

    with serving(own_settings) as web:
        process = psutil.Process(web.pid)

        def away(specialist: str = "anna") -> None:
            began = time.monotonic()
            answer = ask(web, specialist=specialist)
            assert answer.code == 503 and answer.headers["Retry-After"] == "5"
            assert "detail" in problem(answer)
            assert time.monotonic() < began + 8
            for secret in re.findall(r":([^:@/]+)@", own_servers.database_url + own_servers.redis_url):
                assert secret not in answer.body

        assert ask(web).code == 200
        own_servers.redis.kill()
        assert ask(web).code == 200
        link = sign(SECRET, "anna", lifetime=timedelta(minutes=5), link=True)
        assert web.ask(f"{PAGES[Audience.SPECIALIST]}?token={link}").code == 503
        own_servers.redis.start()
        assert web.ask(f"{PAGES[Audience.SPECIALIST]}?token={link}").code == 303

        own_servers.postgres.kill()
        time.sleep(FRESH_S)
        away()
        own_servers.postgres.start()
        wait_for(lambda: ask(web).code == 200)

        threads = process.num_threads()
        with hanging(own_servers):
            with ThreadPoolExecutor(40) as asking:
                list(asking.map(away, ["anna", "boris"] * 30))
            assert process.num_threads() <= threads + 12
        wait_for(lambda: ask(web).code == 200)


def test_a_table_that_is_locked(web: Web, connection: Connection) -> None:
    """A question that waits for a lock is given up, in PostgreSQL too, and its place is free when the lock is."""
    with connection.transaction():
        connection.execute('LOCK TABLE "SpecialistAnalyticsDaily" IN ACCESS EXCLUSIVE MODE')
        with ThreadPoolExecutor(10) as asking:
            assert {answer.code for answer in asking.map(lambda _: ask(web), range(10))} == {503}

        def waiting() -> int:
            [(number,)] = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
            return int(number)

        wait_for(lambda: waiting() == 0, 10)
    assert ask(web).code == 200


def test_it_stops_while_the_database_hangs(own_servers: Servers, own_settings: Settings) -> None:
    """A question that nobody answers does not keep the process from stopping."""
    with connect_postgres(own_settings, "test") as connection:
        connection.execute(SITE)
        migrate(connection, migrations())
    with ExitStack() as end, serving(own_settings) as web:
        assert ask(web).code == 404
        end.enter_context(hanging(own_servers))  # and still, when the process is told to stop
        assert ask(web).code == 503


def test_tokens_of_the_command_line(secret_settings: Settings, settings: Settings) -> None:
    """`token` prints one that holds, for whom it was said, or the path of a page; without a secret it says so."""
    code, output, _ = run_worker(secret_settings, "token", "anna", "--hours", "2")
    claims = verify(SECRET, output.strip(), Audience.SPECIALIST)
    assert (code, claims.subject) == (0, "anna")
    assert timedelta(hours=1.9) < claims.expires - datetime.now(UTC) < timedelta(hours=2.1)
    code, output, _ = run_worker(secret_settings, "token", "--ops", "--link")
    path, _, token = output.strip().partition("?token=")
    claims = verify(SECRET, token, Audience.OPERATOR, link=True)
    assert (code, path, claims.subject) == (0, "/ops", "operator")
    for arguments, said in ((["token"], "SPECIALIST"), (["token", "anna"], "ANALYTICS_SECRET is not set")):
        code, output, errors = run_worker(settings, *arguments)
        assert (code, output) == (2, "")
        assert said in errors and "Traceback" not in errors
