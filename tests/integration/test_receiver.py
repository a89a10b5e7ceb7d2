"""The web tier's requests: each is taken on once, becomes a run or a dead letter, and gets done."""

import threading
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any, cast

import pytest
import redis

from jobs import receiver as receiving
from jobs.queue import queued_runs
from jobs.receiver import Receiver
from jobs.reviver import Reviver
from jobs.runs import step_on
from tests.counting import TODAY, add, daily, dead, drain, event
from tests.support import add_specialists, environment, run_worker, wait_until
from worker.errors import Conflict, Retry
from worker.settings import Settings
from worker.store import Connection
from worker.stream import connect_redis

REQUESTS = "analytics:requests"
SPECIALISTS = [f"c{number:03}" for number in range(200)]


@pytest.fixture(autouse=True)
def _quick(connection: Connection, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    add_specialists(connection, ["anna", *SPECIALISTS])
    monkeypatch.setattr(receiving, "WAIT_MS", 10)
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)  # for the doorway of the job
    yield


@pytest.fixture
def receiver(settings: Settings) -> Iterator[Receiver]:
    with Receiver(settings) as one:
        yield one


def ask(client: redis.Redis, specialist: str = "anna", entry_id: str = "*", **fields: Any) -> None:
    client.xadd(REQUESTS, {"kind": "refresh", "specialistId": specialist} | fields, id=entry_id)


def runs(connection: Connection, state: str = "queued") -> list[tuple[int, str]]:
    return connection.execute(
        """SELECT id, arguments ->> 'specialist' FROM analytics.run
           WHERE kind = 'refresh' AND state::text = %s ORDER BY id""",
        [state],
    ).fetchall()


def books(connection: Connection) -> tuple[int, int, int]:
    """Requests that were taken on, runs and dead letters among them."""
    [(requests, begun, dead_lettered)] = connection.execute(
        "SELECT requests, runs, dead_lettered FROM analytics.request_position"
    ).fetchall()
    return requests, begun, dead_lettered


def do_all(connection: Connection, client: redis.Redis) -> None:
    """What a worker does with the jobs that wait."""
    while job_id := cast("bytes | None", client.lpop("rq:queue:ops")):
        _, run, attempt = job_id.decode().split("-")
        client.delete(f"rq:job:{job_id.decode()}")
        step_on(int(run), int(attempt))


def test_a_request_is_done(receiver: Receiver, settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """From the stream to right rows: a run of the web tier's, a job, and nothing is left in the stream."""
    add(client, event())
    drain(settings)
    connection.execute('UPDATE "SpecialistAnalyticsDaily" SET "profileViews" = 99')
    ask(client, **{"from": str(TODAY - timedelta(days=6)), "to": str(TODAY)})
    receiver.look()
    [(run, _)] = runs(connection)
    assert queued_runs(client) == {(run, 0)}
    assert client.xlen(REQUESTS) == 0
    do_all(connection, client)
    assert daily(connection) == {("anna", TODAY): (1, 0)}
    found = connection.execute(
        "SELECT id, kind, arguments, operator, state::text, result FROM analytics.run"
    ).fetchall()
    arguments = {"specialist": "anna", "first": str(TODAY - timedelta(days=6)), "last": str(TODAY)}
    assert found == [(run, "refresh", arguments, "web tier", "done", {"rows": 1, "outcome_rows": 0})]


def test_equal_requests_are_one_run(receiver: Receiver, connection: Connection, client: redis.Redis) -> None:
    """Who asks for what waits or is being done joins it; another range or another specialist is another run."""
    for _ in range(3):
        ask(client)
    ask(client, to=str(TODAY))
    ask(client, to=str(TODAY - timedelta(days=1)))
    ask(client, "c001")
    receiver.look()
    ask(client)
    receiver.look()
    assert [specialist for _, specialist in runs(connection)] == ["anna", "anna", "c001"]
    assert books(connection) == (7, 3, 0)
    do_all(connection, client)
    ask(client)
    receiver.look()
    [(run, _)] = runs(connection)
    assert run == 4, "no number of a run is used up by a request that joins another"


def test_bad_requests_are_dead_letters(receiver: Receiver, connection: Connection, client: redis.Redis) -> None:
    """A bad request is buried with its reason, one that is far too large with its beginning only, and the good ones
    around it are done.
    """
    ask(client)
    ask(client, kind="nonsense")
    ask(client, "nobody")
    ask(client, note="x" * 2_000_000)
    ask(client, "ünknown")
    ask(client, "c001")
    receiver.look()
    assert [specialist for _, specialist in runs(connection)] == ["anna", "c001"]
    reasons = [reason for reason, _ in dead(connection)]
    assert sorted(reasons) == ["bad_specialist", "entry_too_large", "unknown_kind", "unknown_specialist"]
    assert len(str(dead(connection))) < 10_000
    assert books(connection) == (6, 2, 4)
    assert client.xlen(REQUESTS) == 0


def test_a_dead_request_is_sent_where_requests_are_read(
    receiver: Receiver, settings: Settings, connection: Connection, client: redis.Redis
) -> None:
    """A letter that was a request is listed, shown and sent again as it was; nothing is said of an event."""
    ask(client, "newcomer", to="2026-01-01")
    receiver.look()
    assert "newcomer" in run_worker(settings, "dead-letters", "list", "--reason", "unknown_specialist")[1]
    [(letter,)] = connection.execute("SELECT id FROM analytics.dead_letter").fetchall()
    shown = run_worker(settings, "dead-letters", "show", str(letter))[1]
    assert "analytics:requests" in shown
    assert "ledger" not in shown
    add_specialists(connection, ["newcomer"])
    assert "unknown_specialist" not in run_worker(settings, "explain", "newcomer", "2026-01-01")[1]
    assert run_worker(settings, "dead-letters", "requeue", "--all")[:2] == (0, "1 dead letters sent again\n")
    sent = {b"kind": b"refresh", b"specialistId": b"newcomer", b"to": b"2026-01-01"}
    assert [fields for _, fields in client.xrange(REQUESTS) or ()] == [sent]
    assert client.xlen(settings.stream) == 0
    receiver.look()
    assert [specialist for _, specialist in runs(connection)] == ["newcomer"]


def test_of_two_receivers_one_takes_them(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Two that have read the same requests: for the second one nothing happens, and then it goes on behind them."""
    with Receiver(settings) as first, Receiver(settings) as second, connect_redis(settings) as own:
        for one in (first, second):
            one.look()
        ask(client)
        page = second._read(own)
        first.look()
        do_all(connection, client)
        with pytest.raises(Conflict):
            second._take(page.entries, 1)
        assert books(connection) == (1, 1, 0)
        second._position = None
        ask(client, "c001")
        second.look()
    assert books(connection) == (2, 2, 0)


def test_many_receivers_take_each_once(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Four receivers at once, and requests that come meanwhile: each is taken on once."""
    over = threading.Event()
    errors = []

    def work() -> None:
        with Receiver(settings) as receiver:
            while not over.is_set():
                try:
                    receiver.look()
                except Conflict:
                    receiver._position = None
                except Exception as error:
                    errors.append(error)

    def all_taken() -> bool:
        connection.execute("UPDATE analytics.run SET state = 'done' WHERE state = 'queued'")  # so there is room
        return client.xlen(REQUESTS) == 0 and books(connection)[0] >= len(SPECIALISTS)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for specialist in SPECIALISTS:
            ask(client, specialist)
        wait_until(all_taken, "all requests are taken on")
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert errors == []
    assert books(connection) == (200, 200, 0)


def test_a_run_without_its_job_is_found(
    receiver: Receiver, settings: Settings, connection: Connection, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the commit and the job: the request is not taken on twice, and its run is done all the same."""

    def die(*_: object, **__: object) -> None:
        raise Retry("killed here")

    with monkeypatch.context() as patch:
        patch.setattr(Receiver, "_hand_on", die)
        ask(client)
        with pytest.raises(Retry):
            receiver.look()
    assert client.xlen(REQUESTS) == 1
    receiver._position = None
    receiver.look()
    assert books(connection) == (1, 1, 0)
    connection.execute("UPDATE analytics.run SET seen_at = seen_at - interval '1 minute'")
    with Reviver(settings) as reviver:
        reviver.look()
    do_all(connection, client)
    assert [specialist for _, specialist in runs(connection, "done")] == ["anna"]
    ask(client, "c001")
    receiver.look()
    assert client.xlen(REQUESTS) == 0


@pytest.mark.parametrize("entry_id", ["*", "1-0"])
def test_redis_was_emptied(receiver: Receiver, connection: Connection, client: redis.Redis, entry_id: str) -> None:
    """After FLUSHALL, and also when the clock of the new Redis is far behind, requests are served."""
    ask(client)
    receiver.look()
    client.flushdb()
    ask(client, "c001", entry_id)
    for _ in range(2):
        receiver.look()
    assert [specialist for _, specialist in runs(connection)] == ["anna", "c001"]
    ask(client, "c002", "*" if entry_id == "*" else "2-0")
    receiver.look()
    assert books(connection) == (3, 3, 0)
    assert client.xlen(REQUESTS) == 0


def test_an_old_redis_came_back(receiver: Receiver, connection: Connection, client: redis.Redis) -> None:
    """After Redis was put back to an earlier moment, requests of that time are done, perhaps once more."""
    ask(client, "anna", "5-0")
    receiver.look()
    do_all(connection, client)
    client.delete(REQUESTS)
    ask(client, "anna", "4-0")
    ask(client, "c001", "4-1")
    for _ in range(3):
        receiver.look()
    assert [specialist for _, specialist in runs(connection)] == ["anna", "c001"]


def test_a_flood_waits_in_the_stream(
    receiver: Receiver, connection: Connection, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only so many refreshes are open at once, with one job; the others wait in the stream, and none is forgotten."""
    monkeypatch.setattr(receiving, "FULL_S", 0.0)
    monkeypatch.setattr(receiving, "MOST_OPEN", 30)
    for specialist in SPECIALISTS:
        ask(client, specialist)
    receiver.look()
    receiver.look()
    assert len(runs(connection)) == 30
    assert client.xlen(REQUESTS) == 170
    assert len(queued_runs(client)) == 1
    do_all(connection, client)
    assert len(runs(connection, "done")) == 30
    while client.xlen(REQUESTS):
        receiver.look()
        do_all(connection, client)
    assert len(runs(connection, "done")) == 200


def test_equal_requests_need_no_room(
    receiver: Receiver, connection: Connection, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many ask for the same, they are taken on at once where there is room for one; different ones are not."""
    monkeypatch.setattr(receiving, "MOST_OPEN", 2)
    for specialist in ("anna", "c001", "anna", "c001", "anna", "c002", "anna"):
        ask(client, specialist)
    receiver.look()
    assert [specialist for _, specialist in runs(connection)] == ["anna", "c001"]
    assert books(connection) == (5, 2, 0)
    assert client.xlen(REQUESTS) == 2


def test_another_day_begins(
    receiver: Receiver, connection: Connection, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Today is the date in the configured zone when the request is taken on."""
    monkeypatch.setattr(receiving, "local_date", lambda _moment, _zone: date(2031, 5, 6))
    ask(client)
    receiver.look()
    [(arguments,)] = connection.execute("SELECT arguments FROM analytics.run").fetchall()
    assert arguments == {"specialist": "anna", "first": "2031-05-06", "last": "2031-05-06"}
