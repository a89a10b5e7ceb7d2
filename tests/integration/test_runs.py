"""Runs: rows that say what is to be done, executions that may die, change hands or be doubled, and one result."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from itertools import count
from typing import Any

import psycopg
import pytest
import redis

from jobs.queue import enqueue_run, queued_runs
from jobs.reviver import Reviver
from jobs.runs import step_on
from tests.counting import TODAY, add, daily, drain, event
from tests.support import add_specialists, environment, settings_with, wait_until
from worker.daily.recompute import RECOMPUTE, RecomputeArguments
from worker.errors import Conflict, Retry, Stop
from worker.operation import Arguments, JsonObject, Operation, Problem, Step
from worker.operations import execute as executing
from worker.operations import runs as rows
from worker.operations.execute import execute
from worker.operations.registry import OPERATIONS
from worker.operations.runs import Run, State, claim_run, list_problems, load_run, open_run, revive_run, stop_run
from worker.settings import Settings
from worker.store import Connection, seal_oldest_day


class CountArguments(Arguments):
    """How far to count."""

    to: int = 3


class Counting:
    """An operation that counts, a number a step, and notes what it has begun."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.closed = 0
        self.errors: dict[int, list[Exception]] = {}
        self.held: list[Iterator[Step]] = []
        """So that nobody closes them by forgetting them."""

    def held_steps(self, *arguments: Any) -> Iterator[Step]:
        self.held.append(self.steps(*arguments))
        return self.held[-1]

    def steps(self, _: Settings, run: int, arguments: CountArguments, cursor: JsonObject) -> Iterator[Step]:
        try:
            for number in range(cursor.get("number", 0) + 1, arguments.to + 1):
                self.begun.append(number)
                if self.errors.get(number):
                    raise self.errors[number].pop(0)
                result = {"sum": number * (number + 1) // 2}
                yield Step(done=number, total=arguments.to, cursor={"number": number}, result=result)
        finally:
            self.closed += 1


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> Counting:
    operation = Counting()
    monkeypatch.setitem(OPERATIONS, "count", Operation("count", "numbers", CountArguments, operation.held_steps))
    return operation


def begin(connection: Connection, **arguments: Any) -> Run:
    return open_run(connection, OPERATIONS["count"], CountArguments(**arguments), "anna@here").run


def now(connection: Connection, run: Run) -> Run:
    found = load_run(connection, run.id)
    assert found is not None
    return found


def never() -> bool:
    return False


def after(turns: int) -> Any:
    """Says yes when it is asked for this time."""
    asked = count(1)
    return lambda: next(asked) >= turns


def go(settings: Settings, connection: Connection, run: Run, until: Any = never) -> State | None:
    run = now(connection, run)
    attempt = claim_run(connection, run.id, run.attempt)
    assert attempt is not None
    return execute(settings, run.id, attempt, until).state


def age(connection: Connection, run: Run, seconds: float = 60) -> None:
    """Let the last sign of life be so old."""
    connection.execute(
        "UPDATE analytics.run SET seen_at = now() - make_interval(secs => %s) WHERE id = %s", [seconds, run.id]
    )


def test_to_the_end(settings: Settings, connection: Connection, counting: Counting) -> None:
    """A run goes step by step, and its row tells who asked, how far it came and what came of it."""
    run = begin(connection)
    assert (run.state, run.operator, run.arguments, run.started_at) == ("queued", "anna@here", {"to": 3}, None)
    assert go(settings, connection, run) == "done"
    run = now(connection, run)
    assert (run.state, run.done, run.total, run.result, run.error) == ("done", 3, 3, {"sum": 6}, None)
    assert run.started_at is not None and run.ended_at is not None and run.ended_at >= run.started_at
    assert (counting.begun, counting.closed) == ([1, 2, 3], 1)


def test_one_at_a_time(settings: Settings, connection: Connection, counting: Counting) -> None:
    """Who asks for what is open already gets that run; for other arguments, or when it has ended, a new one."""
    run = begin(connection)
    again = open_run(connection, OPERATIONS["count"], CountArguments(to=3), "boris@there")
    assert (again.run, again.is_new) == (now(connection, run)._replace(silent_s=again.run.silent_s), False)
    assert begin(connection, to=4).id != run.id
    go(settings, connection, run)
    assert begin(connection).id not in (run.id, again.run.id)


def test_it_gives_way_and_goes_on(settings: Settings, connection: Connection, counting: Counting) -> None:
    """At the end of a slice the run is queued, its steps are closed, and the next slice begins behind the last step."""
    run = begin(connection)
    assert go(settings, connection, run, after(2)) == "queued"
    assert (now(connection, run).done, counting.closed) == (2, 1)
    assert go(settings, connection, run) == "done"
    assert (counting.begun, now(connection, run).result) == ([1, 2, 3], {"sum": 6})


def test_the_last_step_ends_it(settings: Settings, connection: Connection, counting: Counting) -> None:
    """A run whose last step is done has ended, also if its slice is over at that moment: it waits for no other turn."""
    run = begin(connection)
    assert go(settings, connection, run, after(3)) == "done"
    assert (now(connection, run).attempt, counting.closed) == (1, 1)


def test_who_lost_the_fence_ends(settings: Settings, connection: Connection, counting: Counting) -> None:
    """An execution that was taken for dead writes nothing any more, and ends in silence after its step."""
    run = begin(connection)
    attempt = claim_run(connection, run.id, 0)
    assert attempt is not None

    def taken_for_dead() -> bool:
        age(connection, run)
        revived = revive_run(connection, now(connection, run))
        assert revived is not None and revived.state == "queued"
        assert claim_run(connection, run.id, revived.attempt) == attempt + 2
        return False

    assert execute(settings, run.id, attempt, taken_for_dead).state is None
    assert (now(connection, run).state, now(connection, run).done) == ("running", 1)
    assert execute(settings, run.id, attempt, never).state is None
    assert execute(settings, run.id, attempt + 2, never).state == "done"
    assert (now(connection, run).done, now(connection, run).result) == (3, {"sum": 6})
    assert counting.begun == [1, 2, 2, 3]


def test_a_job_twice(
    settings: Settings, connection: Connection, counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same job run twice, or with arguments from nowhere, does nothing."""
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    run = begin(connection)
    from_nowhere: list[tuple[Any, Any]] = [(10**6, 0), (10**30, 0), ("0; DROP TABLE analytics.run", 0), (run.id, [1])]
    for arguments in ((run.id, 0), (run.id, 0), (run.id, 1), (run.id, -1), *from_nowhere):
        step_on(*arguments)
    assert (now(connection, run).state, counting.begun) == ("done", [1, 2, 3])


def test_stop_between_two_steps(settings: Settings, connection: Connection, counting: Counting) -> None:
    """A stop ends a running run after its step, and a waiting one at once; who asked is kept; an ended one is left."""
    run = begin(connection)

    def asks() -> bool:
        assert stop_run(connection, run.id, "boris@there") == "running"
        return False

    assert go(settings, connection, run, asks) == "stopped"
    run = now(connection, run)
    assert (run.state, run.done, run.stopped_by, run.result) == ("stopped", 2, "boris@there", {"sum": 3})
    assert stop_run(connection, run.id, "anna@here") is None
    waiting = begin(connection)
    assert stop_run(connection, waiting.id, "boris@there") == "stopped"
    assert claim_run(connection, waiting.id, 0) is None


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Stop("set this and that"), "set this and that"),
        (ValueError("no\0 such thing"), "ValueError: no such thing"),
        (ConnectionError("postgresql://me:secret@there is away"), "ConnectionError: postgresql://there is away"),
    ],
)
def test_a_failure(settings: Settings, connection: Connection, counting: Counting, error: Exception, text: str) -> None:
    """What a person must change, or nobody has thought of, ends the run with one line; what was done stays."""
    counting.errors[2] = [error]
    run = begin(connection)
    assert go(settings, connection, run) == "failed"
    run = now(connection, run)
    assert (run.state, run.error, run.done) == ("failed", text, 1)


@pytest.mark.parametrize("error", [Retry, Conflict])
def test_a_server_that_is_away(
    settings: Settings, connection: Connection, counting: Counting, error: type[Exception]
) -> None:
    """A step that has to be tried again is, from where the last one ended, until it goes well."""
    counting.errors[2] = [error("not now"), error("not now")]
    run = begin(connection)
    assert go(settings, connection, run) == "done"
    assert (counting.begun, now(connection, run).result) == ([1, 2, 2, 2, 3], {"sum": 6})


def test_giving_way_while_waiting(settings: Settings, connection: Connection, counting: Counting) -> None:
    """A run that waits for something gives way too, and its row says what it waits for."""
    counting.errors[1] = [Retry("Redis is away")]
    run = begin(connection)
    assert go(settings, connection, run, after(1)) == "queued"
    assert (now(connection, run).error, now(connection, run).state) == ("Redis is away", "queued")

    def knows_no_error() -> bool:
        assert now(connection, run).error is None
        return False

    assert go(settings, connection, run, knows_no_error) == "done"


def test_a_row_of_another_version(settings: Settings, connection: Connection, counting: Counting) -> None:
    """A kind or arguments that this version does not know fail the run, in one line."""
    for kind, arguments in (("fly", "{}"), ("count", '{"to": "far"}'), ("count", '{"up_to": 3}')):
        row = connection.execute(
            "INSERT INTO analytics.run (kind, arguments, operator) VALUES (%s, %s, 'x') RETURNING id", [kind, arguments]
        ).fetchone()
        assert row is not None
        found = load_run(connection, row[0])
        assert found is not None
        assert go(settings, connection, found) == "failed"
        error = now(connection, found).error
        assert error and len(error.splitlines()) == 1 and kind in error
    assert counting.begun == []


def test_problems_are_kept_once(settings: Settings, connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a step could not use is kept with the run, once, also if the step is done twice."""

    def steps(_: Settings, run: int, arguments: Any, cursor: JsonObject) -> Iterator[Step]:
        for done in (1, 2):
            yield Step(done=done, cursor={}, result={}, problems=[Problem("malformed key", "a:b")])

    monkeypatch.setitem(OPERATIONS, "count", Operation("count", "keys", CountArguments, steps))
    run = begin(connection)
    assert go(settings, connection, run) == "done"
    assert list_problems(connection, run.id) == [("malformed key", "a:b")]
    assert now(connection, run).total is None


def test_signs_of_life(
    settings: Settings, connection: Connection, counting: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that takes long shows that it lives."""
    monkeypatch.setattr(executing, "PULSE_S", 0.05)
    run = begin(connection, to=1)

    def long_step() -> bool:
        age(connection, run)
        wait_until(lambda: now(connection, run).silent_s < 10, "a sign of life")
        return False

    assert go(settings, connection, run, long_step) == "done"


# ---- what is lost is revived -----------------------------------------------------------------------------------------


def test_a_lost_execution_is_revived_once(
    settings: Settings, connection: Connection, client: redis.Redis, counting: Counting
) -> None:
    """A run without a sign of life is queued again, by one of several revivers; a living one is left alone."""
    run = begin(connection)
    claim_run(connection, run.id, 0)
    with Reviver(settings) as first, Reviver(settings) as second:
        first.look()
        assert queued_runs(client) == set()
        assert revive_run(connection, now(connection, run)) is None
        age(connection, run)
        first.look()
        second.look()
    assert (now(connection, run).state, queued_runs(client)) == ("queued", {(run.id, 2)})
    assert claim_run(connection, run.id, 1) is None


def test_a_lost_job_is_put_in_again(
    settings: Settings, connection: Connection, client: redis.Redis, counting: Counting
) -> None:
    """A queued run whose job is gone with Redis' memory is put in again; one that waits for its turn is left alone."""
    run = begin(connection)
    enqueue_run(client, run.id, run.attempt)
    age(connection, run)
    with Reviver(settings) as reviver:
        reviver.look()
        assert queued_runs(client) == {(run.id, 0)}
        client.flushdb()
        reviver.look()
    assert queued_runs(client) == {(run.id, 1)}
    assert go(settings, connection, run) == "done"


def test_who_dies_again_and_again_is_not_revived(
    settings: Settings, connection: Connection, counting: Counting
) -> None:
    """A run whose process dies at the same step each time fails; one that gets on between its deaths goes on."""
    run = begin(connection, to=100)
    for death in range(2 * rows.MOST_DEATHS):
        run = now(connection, run)
        attempt = claim_run(connection, run.id, run.attempt)
        assert attempt is not None
        if death < rows.MOST_DEATHS:
            rows.advance_run(connection, run.id, attempt, Step(done=1, cursor={}, result={}))
        age(connection, run)
        revived = revive_run(connection, now(connection, run))
        assert revived is not None
        if revived.state == "failed":
            break
    assert death == 2 * rows.MOST_DEATHS - 2
    failed = now(connection, run)
    assert failed.state == "failed" and failed.error and "5 times" in failed.error


def test_a_stop_reaches_the_dead(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """A stop of a run whose process has died ends it, instead of reviving it."""
    run = open_run(connection, RECOMPUTE, _days(), "anna@here").run
    claim_run(connection, run.id, 0)
    assert stop_run(connection, run.id, "anna@here") == "running"
    age(connection, run)
    with Reviver(settings) as reviver:
        reviver.look()
    assert (now(connection, run).state, queued_runs(client)) == ("stopped", set())


def _days(first: date = TODAY, last: date = TODAY) -> Arguments:
    return RecomputeArguments(first=first, last=last)


def test_a_day_that_is_being_sealed(
    settings: Settings, database: str, connection: Connection, client: redis.Redis
) -> None:
    """A recompute of a day that is being sealed waits for that, and finds the row right."""
    old = TODAY - timedelta(days=60)
    add_specialists(connection, ["anna"])
    add(client, event(occurredAt=f"{old}T12:00:00Z"), event(occurredAt=f"{old}T13:00:00Z"))
    drain(settings_with(settings, ANALYTICS_LEDGER_DAYS="0"))
    run = open_run(connection, RECOMPUTE, _days(old, old), "anna@here").run
    with ThreadPoolExecutor() as pool, psycopg.connect(database) as sealing:
        assert seal_oldest_day(sealing, settings.ledger_days, "UTC") == old
        ending = pool.submit(go, settings, connection, run)
        wait_until(lambda: _waits_for_a_lock(database), "the recompute")
        sealing.commit()
        assert ending.result(30) == "done"
    assert now(connection, run).result["rows"] == 0
    assert daily(connection) == {("anna", old): (2, 0)}


def test_two_runs_over_the_same_days(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Runs over the same days at the same time both come to their end, and the rows are right."""
    add_specialists(connection, ["anna", "boris"])
    days = [TODAY - timedelta(days=ago) for ago in range(20)]
    add(client, *(event(who, occurredAt=f"{day}T00:00:00Z") for day in days for who in ("anna", "boris")))
    drain(settings)
    right = daily(connection)
    connection.execute('UPDATE "SpecialistAnalyticsDaily" SET "profileViews" = 9')
    everything, annas = _days(days[-1], TODAY), RecomputeArguments(first=days[-1], last=TODAY, specialist="anna")
    runs = [open_run(connection, RECOMPUTE, asked, "anna@here").run for asked in (everything, annas)]
    with ThreadPoolExecutor() as pool:
        endings = [pool.submit(go, settings, connection, run) for run in runs]
        assert [ending.result(60) for ending in endings] == ["done", "done"]
    assert daily(connection) == right


def _waits_for_a_lock(database: str) -> bool:
    with psycopg.connect(database) as looking:
        found = looking.execute(
            "SELECT FROM pg_stat_activity WHERE application_name = 'analytics recompute' AND wait_event_type = 'Lock'"
        )
        return found.fetchone() is not None
