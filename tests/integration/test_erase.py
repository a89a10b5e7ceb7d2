"""Erasing takes a visitor's hash away and no number, or a specialist with everything; whatever is read again later."""

import json
from collections import Counter
from datetime import date, timedelta
from io import StringIO
from typing import Any, cast

import pytest
import redis

from jobs.queue import enqueue_run
from tests.counting import TODAY, add, books, daily, drain, event
from tests.support import add_specialists, run_worker, settings_with
from worker.daily.recompute import diff_day
from worker.daily.visitors import merged, refresh_visitors_of_ledger
from worker.errors import Stop
from worker.events import keyed_hash
from worker.operation import Step
from worker.operations import erase
from worker.operations.dead_letters import Filter, requeue
from worker.operations.erase import (
    ERASE_SPECIALIST,
    ERASE_VISITOR,
    EraseSpecialist,
    EraseVisitor,
    count_specialist,
    count_visitor,
    erase_specialist_steps,
    erase_visitor_steps,
)
from worker.operations.erase_view import run_erase
from worker.operations.execute import execute
from worker.operations.replay import ReplayArguments, forecast, replay_steps, survey
from worker.operations.runs import claim_run, load_run, open_run
from worker.settings import Settings
from worker.store import Connection, connect_postgres

SECRET = "a secret of the test"
GHOST, OTHER = "ghost-4711", "somebody else"
AGENT = "Mozilla/5.0 (of the ghost)"


@pytest.fixture(autouse=True)
def _specialists(connection: Connection) -> None:
    add_specialists(connection, ["anna", "boris"])


@pytest.fixture
def counting(settings: Settings) -> Settings:
    """The worker's settings: its own role, and a secret."""
    return settings_with(settings, ANALYTICS_SECRET=SECRET)


@pytest.fixture
def owner(counting: Settings, database: str) -> Settings:
    """The same for the owner of the database."""
    return settings_with(counting, DATABASE_URL=database)


def hash_of(visitor: str) -> str:
    return keyed_hash(visitor.encode(), SECRET.encode())


def new_run(connection: Connection, kind: str, arguments: Any) -> int:
    row = connection.execute(
        "INSERT INTO analytics.run (kind, arguments, operator, state, started_at)"
        " VALUES (%s, %s, 'tester', 'running', now()) RETURNING id",
        [kind, json.dumps(arguments.model_dump())],
    ).fetchone()
    assert row is not None
    return cast("int", row[0])


def forget(connection: Connection, settings: Settings, visitor: str = GHOST) -> dict[str, Any]:
    """Erase a visitor, as a run does that is killed after each step, one of them before it was noted."""
    arguments = EraseVisitor.of(settings, visitor)
    return to_the_end(connection, settings, ERASE_VISITOR, arguments)


def remove(connection: Connection, settings: Settings, specialist: str = "anna", force: bool = False) -> dict[str, Any]:
    return to_the_end(connection, settings, ERASE_SPECIALIST, EraseSpecialist(specialist=specialist, force=force))


def to_the_end(connection: Connection, settings: Settings, operation: Any, arguments: Any) -> dict[str, Any]:
    """Every step is done by an execution of its own; and each second one twice, for its first death came too early."""
    run = new_run(connection, operation.kind, arguments)
    cursor: dict[str, Any] = {}
    last: Step | None = None
    number = 0
    while True:
        number += 1
        for _ in range(1 + number % 2):
            steps: Any = operation.steps(settings, run, arguments, cursor)
            step = next(steps, None)
            steps.close()
        if step is None:
            break
        cursor = json.loads(json.dumps(step.cursor))
        assert last is None or step.done >= last.done
        last = step
    assert last is not None and last.done == last.total
    connection.execute("UPDATE analytics.run SET state = 'done', ended_at = now() WHERE id = %s", [run])
    return dict(last.result)


def visitors(connection: Connection) -> dict[tuple[str, date], int]:
    """Distinct visitors by specialist and UTC date."""
    rows = connection.execute(
        "SELECT specialist_id, (occurred_at AT TIME ZONE 'Europe/Berlin')::date, count(DISTINCT visitor)"
        " FROM analytics.event GROUP BY 1, 2"
    )
    return {(specialist, day): number for specialist, day, number in rows}


def everything(connection: Connection, *, but: tuple[str, ...] = ()) -> str:
    """All that our tables and the daily table hold, as one text."""
    names = connection.execute(
        "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
        " AND (relnamespace = 'analytics'::regnamespace OR relname = 'SpecialistAnalyticsDaily')"
    ).fetchall()
    texts = [
        connection.execute(f"SELECT string_agg(kept::text, E'\n') FROM {name} AS kept".encode()).fetchone()
        for (name,) in names
        if name not in but
    ]
    return "\n".join(row[0] or "" for row in texts if row)


def ago(days: int, hour: int = 12) -> str:
    return f"{TODAY - timedelta(days=days)}T{hour:02}:30:00Z"


def add_visits(client: redis.Redis) -> list[dict[Any, Any]]:
    """Visits of the ghost and of somebody else on three days, around midnight in Berlin among them."""
    ghost: list[dict[Any, Any]] = []
    for days in (3, 2, 1):
        for hour in (12, 21, 23):  # the last one is tomorrow's in Berlin
            for specialist in ("anna", "boris"):
                ghost.append(event(specialist, visitorId=GHOST, occurredAt=ago(days, hour), userAgent=AGENT))
                add(client, event(specialist, visitorId=OTHER, occurredAt=ago(days, hour)))
    add(client, *ghost)
    return ghost


def test_a_visitor_is_forgotten_and_the_numbers_stay(
    counting: Settings, owner: Settings, connection: Connection, client: redis.Redis
) -> None:
    """The hash is nowhere any more, each day has as many visitors as before, and nothing links the rows."""
    berlin = {"ANALYTICS_TIME_ZONE": "Europe/Berlin"}
    add_visits(client)
    drain(settings_with(counting, **berlin))
    before, counted, balance = visitors(connection), daily(connection), books(connection)
    assert hash_of(GHOST)[:8] in everything(connection)

    result = forget(connection, settings_with(owner, **berlin))
    assert result == {"event": 18}
    assert (visitors(connection), daily(connection), books(connection)) == (before, counted, balance)
    assert hash_of(GHOST)[:8] not in everything(connection)
    rows = connection.execute(
        "SELECT specialist_id, (occurred_at AT TIME ZONE 'Europe/Berlin')::date, visitor FROM analytics.event"
        " WHERE visitor <> %s",
        [hash_of(OTHER)],
    ).fetchall()
    assert len(rows) == 18
    assert max(Counter(visitor for _, _, visitor in set(rows)).values()) == 1  # one a specialist and date, no other one
    assert len({visitor for _, _, visitor in rows}) == len(set(rows)) == 8
    with connect_postgres(owner, "test") as reading:
        assert count_visitor(owner, reading, EraseVisitor.of(owner, GHOST)) == {}
        assert count_visitor(owner, reading, EraseVisitor.of(owner, OTHER)) == {"event": 18}


def test_sketches_of_open_days_lose_a_visitor(
    counting: Settings, owner: Settings, connection: Connection, client: redis.Redis
) -> None:
    """What is kept of a date's visitors is made anew without the hash, also of a date with a part in two UTC days."""
    berlin = {"ANALYTICS_TIME_ZONE": "Europe/Berlin"}
    add_visits(client)
    drain(settings_with(counting, **berlin))

    def numbers_and_union() -> tuple[list[tuple[date, int]], int]:
        refresh_visitors_of_ledger(settings_with(counting, **berlin))
        rows = connection.execute(
            "SELECT date, visitors, sketch FROM analytics.daily_visitors WHERE specialist_id = 'anna' ORDER BY date"
        ).fetchall()
        return [(day, number) for day, number, _ in rows], merged([sketch for *_, sketch in rows])

    before = numbers_and_union()
    assert before[1] == 2
    forget(connection, settings_with(owner, **berlin))
    assert numbers_and_union() == (before[0], 1 + len(before[0]))  # a stranger on each date


def rewind(connection: Connection) -> None:
    """Let the stream be read from its beginning once more, as after a fail-over."""
    connection.execute("UPDATE analytics.stream_position SET last_id = '0-0', ordinal = 0")


def test_what_is_read_again_brings_nobody_back(
    counting: Settings, owner: Settings, connection: Connection, client: redis.Redis
) -> None:
    """Entries with the raw id are read again after a rewind: no hash comes back, no letter, and nothing is doubled."""
    add_visits(client)
    add(client, event("nobody", visitorId=GHOST, userAgent=AGENT), event("nobody", eventId=None, visitorId=GHOST))
    drain(counting)
    assert GHOST in everything(connection)
    assert forget(connection, owner) == {"event": 18, "dead_letter": 2}
    kept, counted = everything(connection, but=("analytics.stream_position",)), daily(connection)
    assert GHOST not in kept and AGENT not in kept and hash_of(GHOST)[:8] not in kept
    rewind(connection)
    drain(counting)
    assert everything(connection, but=("analytics.stream_position",)) == kept
    assert daily(connection) == counted
    read, *became = books(connection)
    assert (read, sum(became), became[1]) == (76, 76, 38)


def test_a_letter_without_its_visitor_is_the_same_event(
    counting: Settings, owner: Settings, connection: Connection, client: redis.Redis
) -> None:
    """A letter that lost its visitor and is sent again counts once, also beside its first entry, and has who did it."""
    add(client, event("newcomer", eventId=None, occurredAt=None, visitorId=GHOST, userAgent=AGENT))
    add(client, event("newcomer", visitorId=OTHER))
    drain(counting)
    assert forget(connection, owner) == {"dead_letter": 1}
    add_specialists(connection, ["newcomer"])
    with connect_postgres(counting, "test") as worker:
        assert sum(settled.letters for settled in requeue(counting, worker, client, Filter(), "tester")) == 2
    drain(counting)
    rewind(connection)
    drain(counting)
    assert daily(connection) == {("newcomer", TODAY): (2, 0)}
    actions = connection.execute("SELECT action, operator FROM analytics.dead_letter_action ORDER BY id").fetchall()
    assert actions[0] == ("erased", "tester")


def test_a_replay_knows_letters_that_lost_their_visitor(
    counting: Settings, owner: Settings, connection: Connection, client: redis.Redis
) -> None:
    """What a replay reads is the letter that it was before fields were erased: it is none that would be new, and is no
    longer buried once its event counts."""
    add(client, event("newcomer", visitorId=GHOST), event("nobody", visitorId=GHOST))
    drain(counting)
    assert forget(connection, owner) == {"dead_letter": 2}
    wanted = ReplayArguments(first="0-1", last=f"{2**48}-0")
    with connect_postgres(counting, "test") as worker:
        held = survey(counting, worker, client, wanted)
        found = forecast(counting, worker, client, wanted, held)
    assert (found.new_letters, found.known_letters.total()) == (Counter(), 2)

    add_specialists(connection, ["newcomer"])
    list(replay_steps(counting, 7, wanted, {}))
    states = connection.execute("SELECT state FROM analytics.dead_letter ORDER BY id").fetchall()
    assert states == [("requeued",), ("buried",)]


def test_letters_that_are_too_large(
    counting: Settings, owner: Settings, connection: Connection, client: redis.Redis
) -> None:
    """A letter of which only the beginning was kept loses the visitor too, and is not made another event by it."""
    add(client, event(visitorId=GHOST, userAgent=AGENT, eventId=None, filler="x" * 1_100_000))
    drain(counting)
    assert forget(connection, owner) == {"dead_letter": 1}
    row = connection.execute("SELECT fields::text FROM analytics.dead_letter").fetchone()
    assert row is not None
    assert "analytics:cut" in row[0] and GHOST not in row[0] and AGENT not in row[0] and "eventId" not in row[0]


@pytest.mark.parametrize("state", ["done", "failed", "stopped"])
@pytest.mark.parametrize("kind", ["erase-visitor", "erase-specialist"])
def test_however_it_ends_nobody_learns_whom(counting: Settings, connection: Connection, kind: str, state: str) -> None:
    """A run that has ended, well or not, has neither the id nor the hash in it; while it is open it knows whom."""
    visitor = EraseVisitor.of(counting, GHOST)
    arguments = visitor if kind == "erase-visitor" else EraseSpecialist(specialist=GHOST)
    run = new_run(connection, kind, arguments)
    whom = visitor.visitor if kind == "erase-visitor" else GHOST
    connection.execute('UPDATE analytics.run SET cursor = \'{"salt": "s4lt"}\', done = 1 WHERE id = %s', [run])
    assert whom in everything(connection) and "s4lt" in everything(connection)
    with connect_postgres(counting, "test") as worker:
        worker.execute(
            "UPDATE analytics.run SET state = %s, ended_at = now(), error = %s WHERE id = %s",
            [state, f"met {whom}", run],
        )
    assert not any(text in everything(connection) for text in (whom, visitor.secret, "s4lt"))
    row = connection.execute("SELECT error, operator FROM analytics.run WHERE id = %s", [run]).fetchone()
    assert row == ("met erased", "tester")


def test_raw_ids_are_never_in_the_arguments(counting: Settings) -> None:
    """What a run keeps of a visitor while it is open is the keyed hash and not the id."""
    kept = EraseVisitor.of(counting, GHOST).model_dump_json()
    assert GHOST not in kept and hash_of(GHOST) in kept


def test_another_secret_finds_nobody_and_says_so(
    counting: Settings, owner: Settings, connection: Connection, client: redis.Redis
) -> None:
    """A job with another secret than the command had, or none where there are hashes, stops; it would find nobody."""
    add_visits(client)
    drain(counting)
    arguments = EraseVisitor.of(owner, GHOST)
    run = new_run(connection, "erase-visitor", arguments)
    for other in (settings_with(owner, ANALYTICS_SECRET="another"), settings_with(owner, ANALYTICS_SECRET="")):
        with pytest.raises(Stop, match="ANALYTICS_SECRET"):
            list(erase_visitor_steps(other, run, arguments, {}))
    without = settings_with(owner, ANALYTICS_SECRET="")
    with pytest.raises(Stop, match="is not set here"):
        list(erase_visitor_steps(without, run, EraseVisitor.of(without, GHOST), {}))


def test_without_a_secret_letters_are_erased(
    settings: Settings, database: str, connection: Connection, client: redis.Redis
) -> None:
    """Where no hash was ever stored, dead letters can have the id all the same, and lose it."""
    add(client, event(visitorId=GHOST), event("nobody", visitorId=GHOST))
    drain(settings)
    assert forget(connection, settings_with(settings, DATABASE_URL=database)) == {"dead_letter": 1}
    assert GHOST not in everything(connection)


@pytest.mark.parametrize("operation", [ERASE_VISITOR, ERASE_SPECIALIST], ids=lambda operation: operation.kind)
def test_the_workers_role_may_not(
    counting: Settings, connection: Connection, client: redis.Redis, operation: Any
) -> None:
    """Under the worker's role nothing is erased, not even a part, and one line says what to do."""
    add_visits(client)
    add(client, event("nobody", visitorId=GHOST))
    drain(counting)
    kept = everything(connection)
    visitor = EraseVisitor.of(counting, GHOST)
    arguments = visitor if operation is ERASE_VISITOR else EraseSpecialist(specialist="anna", force=True)
    with pytest.raises(Stop, match="owner's DATABASE_URL"):
        list(operation.steps(counting, 1, arguments, {}))
    assert everything(connection) == kept


def make_traces(connection: Connection, client: redis.Redis, counting: Settings) -> None:
    """Let there be something about anna and boris in every table that can have it."""
    add_visits(client)
    for specialist in ("anna", "boris"):
        add(client, event(specialist, occurredAt="2001-01-01T00:00:00Z"), event(specialist, viewerId=specialist))
        add(client, event("nobody", viewerId=specialist))
        connection.execute(
            "INSERT INTO analytics.baseline (date, specialist_id, origin, profile_views, contact_views, search)"
            " SELECT date, %s, 'legacy', 5, 2, 5"
            " FROM generate_series('2019-03-01'::date, '2021-07-01', '100 days') AS date",
            [specialist],
        )
        connection.execute(
            "INSERT INTO analytics.run (kind, arguments, operator, state, ended_at, result, error) VALUES"
            " ('recompute', %s, 'tester', 'failed', now(), '{\"rows\": 1}', %s)",
            [
                json.dumps({"first": str(TODAY), "specialist": specialist}),
                f"it is {specialist}'s, not {specialist}-2's",
            ],
        )
        connection.execute(
            "INSERT INTO analytics.run_problem (run, reason, subject) SELECT max(id), 'unknown', %s FROM analytics.run",
            [f"profile:view:{specialist}:search:2026-11-10"],
        )
    connection.execute("CREATE TABLE analytics.later (specialist_id text, n integer)")
    connection.execute("CREATE TABLE analytics.later_by_date (date date, specialist_id text)")
    connection.execute("INSERT INTO analytics.later VALUES ('anna', 1), ('boris', 2)")
    connection.execute("INSERT INTO analytics.later_by_date VALUES ('2015-02-03', 'anna'), ('2015-02-03', 'boris')")
    connection.execute("GRANT ALL ON analytics.later, analytics.later_by_date TO analytics_worker")
    drain(counting)


def lines_about(text: str, specialist: str) -> list[str]:
    return [line for line in text.splitlines() if specialist in line.replace(f"{specialist}-2", "")]


@pytest.mark.parametrize("zone", ["UTC", "America/Los_Angeles", "Pacific/Kiritimati"])
def test_a_specialist_is_removed_with_everything(
    counting: Settings, owner: Settings, connection: Connection, client: redis.Redis, zone: str
) -> None:
    """No table has anything of the specialist any more, a later migration's neither; of others all is as it was."""
    counting, owner = (settings_with(given, ANALYTICS_TIME_ZONE=zone) for given in (counting, owner))
    make_traces(connection, client, counting)
    connection.execute("DELETE FROM \"SpecialistProfile\" WHERE id = 'anna'")
    before, balance = everything(connection), books(connection)
    assert len(lines_about(before, "anna")) > 20
    with connect_postgres(counting, "test") as worker:  # to count, the worker's own role is enough
        kept = count_specialist(counting, worker, "anna")
    result = remove(connection, owner)
    assert result == {
        "event": 19,
        "baseline": 9,
        "later": 1,
        "later_by_date": 1,
        "dead_letter": 1,
        "dead_letter.viewerId": 1,
        "run": 1,
    }
    assert kept | {"run": 1} == result  # the daily rows went with the profile
    after = everything(connection, but=("analytics.erasure",))
    assert lines_about(after, "anna") == []
    assert "it is erased's, not anna-2's" in after
    assert lines_about(after, "boris") == lines_about(before, "boris")
    assert books(connection) == balance
    with connect_postgres(owner, "test") as reading:
        assert count_specialist(owner, reading, "anna") == {}


def test_a_specialist_that_is_still_there(
    counting: Settings, owner: Settings, connection: Connection, client: redis.Redis
) -> None:
    """Removing whom the site still has is refused, unless it is said twice; then all rows of others equal the formula,
    and a later event counts from nothing."""
    make_traces(connection, client, counting)
    with pytest.raises(Stop, match="still in"):
        list(erase_specialist_steps(owner, 1, EraseSpecialist(specialist="anna"), {}))
    assert remove(connection, owner, force=True)["SpecialistAnalyticsDaily"] == 3
    assert {specialist for specialist, _ in daily(connection)} == {"boris"}
    add(client, event())
    drain(counting)
    assert daily(connection)["anna", TODAY] == (1, 0)
    with connect_postgres(counting, "test") as worker:
        assert not any(diff_day(worker, TODAY - timedelta(days=days), "UTC") for days in range(5))


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati"])
def test_each_date_is_right_while_a_specialist_is_removed(
    counting: Settings, owner: Settings, connection: Connection, client: redis.Redis, zone: str
) -> None:
    """Between two steps no row is other than the formula says: its date's events went with it."""
    counting, owner = (settings_with(given, ANALYTICS_TIME_ZONE=zone) for given in (counting, owner))
    make_traces(connection, client, counting)
    connection.execute("DELETE FROM analytics.baseline")
    arguments = EraseSpecialist(specialist="anna", force=True)
    run = new_run(connection, "erase-specialist", arguments)
    looked = 0
    with connect_postgres(counting, "test") as worker:
        for _ in erase_specialist_steps(owner, run, arguments, {}):
            looked += 1
            assert not any(diff_day(worker, TODAY - timedelta(days=days), zone) for days in range(5))
    assert looked > 5


def test_a_letter_that_came_meanwhile_is_erased_too(
    counting: Settings, owner: Settings, connection: Connection, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages of letters fill up while a run waits; it goes on with what is new."""
    monkeypatch.setattr(erase, "LETTERS_AT_ONCE", 2)
    add(client, *(event("nobody", visitorId=GHOST) for _ in range(3)))
    drain(counting)
    arguments = EraseVisitor.of(owner, GHOST)
    run = new_run(connection, "erase-visitor", arguments)
    *_, last = erase_visitor_steps(owner, run, arguments, {})
    add(client, *(event("nobody", visitorId=GHOST) for _ in range(2)))
    drain(counting)
    *_, last = erase_visitor_steps(owner, run, arguments, last.cursor)
    assert last.result == {"dead_letter": 5}


def test_on_the_command_line(counting: Settings, owner: Settings, connection: Connection, client: redis.Redis) -> None:
    """The owner is told what is kept and erases it here; the record has the counts, and nobody's name is anywhere."""
    add_visits(client)
    drain(counting)
    whom = ("erase", "--visitor", GHOST)
    assert run_worker(counting, *whom, "--dry-run") == (1, "18 events in the ledger\n", "")
    code, output, errors = run_worker(owner, *whom, "--yes", "--now")
    assert code == 0, errors
    assert output.endswith("event  18\n")
    assert "Redis holds what was sent before now until" in errors
    assert run_worker(owner, *whom, "--dry-run") == (0, "nothing is kept\n", "")
    [(state, arguments, result)] = connection.execute("SELECT state, arguments, result FROM analytics.run").fetchall()
    assert (state, arguments, result) == ("done", {"whom": "erased"}, {"event": 18})
    assert not any(text in everything(connection) + output + errors for text in (GHOST, hash_of(GHOST)))


def test_a_specialist_on_the_command_line(
    counting: Settings, owner: Settings, connection: Connection, client: redis.Redis
) -> None:
    """Whom the site still has is refused in one line; once the profile is gone, what the site has to delete is said."""
    make_traces(connection, client, counting)
    whom = ("erase", "--specialist", "anna", "--yes", "--now")
    code, output, errors = run_worker(owner, *whom)
    assert (code, output, len(errors.splitlines())) == (2, "", 1)
    assert "--force" in errors
    connection.execute("DELETE FROM \"SpecialistProfile\" WHERE id = 'anna'")
    code, output, errors = run_worker(owner, *whom)
    assert code == 0, errors
    assert "--scan --pattern 'profile:view*:anna:*'" in errors
    assert lines_about(everything(connection), "anna") == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "either --visitor or --specialist"),
        (["--visitor", "x", "--specialist", "y"], "either --visitor or --specialist"),
        (["--visitor", "x" * 129], "--visitor is no id"),
        (["--visitor", ""], "--visitor is no id"),
        (["--specialist", "a\nb"], "--specialist is no id"),
        (["--visitor", "x", "--force"], "--force is for a specialist"),
        (["--visitor", "x"], "say --yes"),
        (["--visitor", "x", "--yes"], "owner's DATABASE_URL"),
        (["--visitor", "x", "--yes", "--now"], "owner's DATABASE_URL"),
        (["--specialist", "x", "--yes"], "owner's DATABASE_URL"),
    ],
)
def test_wrong_input_is_one_line(counting: Settings, connection: Connection, arguments: list[str], said: str) -> None:
    """What cannot be asked, and who may not ask it, is said in one line with exit code 2, and no run is begun."""
    code, output, errors = run_worker(counting, "erase", *arguments)
    assert (code, output, len(errors.splitlines())) == (2, "", 1)
    assert said in errors
    assert connection.execute("SELECT count(*) FROM analytics.run").fetchone() == (0,)


@pytest.mark.parametrize("operation", [ERASE_VISITOR, ERASE_SPECIALIST], ids=lambda operation: operation.kind)
def test_a_worker_with_a_role_of_its_own_fails_and_forgets(
    counting: Settings, connection: Connection, client: redis.Redis, operation: Any
) -> None:
    """A job that meets a worker without the right fails with what to do, and forgets whom it was about."""
    arguments = EraseVisitor.of(counting, GHOST) if operation is ERASE_VISITOR else EraseSpecialist(specialist=GHOST)
    run = open_run(connection, operation, arguments, "tester").run
    enqueue_run(client, run.id, run.attempt)
    keys: list[bytes] = client.keys()  # type: ignore[assignment]
    in_redis = [client.dump(key) or b"" for key in keys]
    assert in_redis and not any(GHOST.encode() in kept or hash_of(GHOST).encode() in kept for kept in in_redis)
    attempt = claim_run(connection, run.id, run.attempt)
    assert attempt is not None
    execute(counting, run.id, attempt, lambda: False)
    ended = load_run(connection, run.id)
    assert ended is not None and ended.error is not None
    assert (ended.state, ended.arguments) == ("failed", {"whom": "erased"})
    assert "owner's DATABASE_URL" in ended.error


def test_a_terminal_is_asked(
    owner: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On a terminal a person is told what is kept and asked; without a yes nothing is begun."""
    monkeypatch.setattr("sys.stdin", StringIO("n\n"))
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    code = run_erase(owner, GHOST, None, force=False, yes=False, dry_run=False, now=True, wait=None)
    assert code == 2
    assert "nothing is kept\nErase it?" in capsys.readouterr().out
    with connect_postgres(owner, "test") as connection:
        assert connection.execute("SELECT count(*) FROM analytics.run").fetchone() == (0,)
