"""Every command that changes something, where it cannot, where somebody else does the same, and where it is killed."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import psycopg
import pytest
import redis

from jobs.receiver import Receiver
from jobs.reviver import Reviver
from tests.counting import TODAY, add, daily, drain, event
from tests.support import (
    WORKER_ROLE,
    add_outcomes,
    add_specialists,
    ended,
    environment,
    fresh_database,
    run_worker,
    running,
    settings_for,
    settings_with,
    site_creates,
    start_worker,
    url_of,
    wait_until,
)
from worker import cli
from worker.daily.recompute import diff_day
from worker.embedded import Servers
from worker.migrations import migrate, migrations
from worker.operations.execute import execute
from worker.operations.registry import OPERATIONS
from worker.operations.runs import Run, claim_run, list_runs, open_run
from worker.queries import query
from worker.settings import Settings
from worker.stop import StopSignal
from worker.store import Connection
from worker.stream import connect_redis

DAYS = [TODAY - timedelta(days=ago) for ago in (60, 59, 58)]
"""Past the default retention, so that they can be sealed; here the ledger keeps all."""

OF_ALL = ("--from", str(DAYS[0]), "--to", str(DAYS[2]))
EVER = ("--from", "2026-01-01", "--to", "2100-01-01")
GHOST, OTHER = "ghost-4711", "somebody else"
VIEWS, COUNTERS, NEW_IN_FILE, LETTERS = 4, 5, 6, 20
"""Of one specialist and date: events, views of legacy counters, events that only the file has, dead letters."""


@dataclass(frozen=True)
class World:
    """A site with a history, and rows that are wrong: each operation has something to do on each of the days."""

    database: str
    settings: Settings
    owner: Settings
    connection: Connection
    client: redis.Redis
    file: Path

    def settings_of(self, command: Sequence[str]) -> Settings:
        """As who may give it: the worker's own role cannot erase."""
        return self.owner if command[0] == "erase" else self.settings

    def kept(self) -> dict[str, Any]:
        """All that an operation can change, but for numbers, times and hashes that are others each time."""
        return {
            name: self.connection.execute(statement.encode(), [DAYS]).fetchall() for name, statement in KEPT.items()
        }

    def everything(self) -> dict[str, str]:
        """Each row of our tables and of the daily table."""
        names = self.connection.execute(
            "SELECT oid::regclass::text FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition"
            " AND (relnamespace = 'analytics'::regnamespace OR relname = 'SpecialistAnalyticsDaily')"
        ).fetchall()
        return {
            name: str(self.connection.execute(f"SELECT kept::text FROM {name} AS kept ORDER BY 1".encode()).fetchall())
            for (name,) in names
        }

    def runs(self) -> list[Run]:
        return list_runs(self.connection, 100)

    def waiting(self) -> int:
        """How many wait for somebody else's lock."""
        row = self.connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ).fetchone()
        assert row is not None
        return int(row[0])


KEPT = {
    "daily": """SELECT "specialistId", date, "profileViews", "contactViews", sources, "consultationRequests", orders,
                       reviews, "conversionRateProfileToContact", "conversionRateContactToRequest",
                       "conversionRateRequestToOrder"
                FROM "SpecialistAnalyticsDaily" WHERE date = ANY (%s) ORDER BY 1, 2""",
    "baseline": "SELECT * FROM analytics.baseline WHERE date = ANY (%s) ORDER BY 1, 2, 3",
    "counters": "SELECT * FROM analytics.legacy_counter WHERE date = ANY (%s) ORDER BY 1, 2, 3, 4",
    "events": """SELECT event_id, specialist_id, occurred_at, excluded FROM analytics.event WHERE day = ANY (%s)
                 ORDER BY 1""",
    "visitors": """SELECT day, specialist_id, count(DISTINCT visitor) FROM analytics.event WHERE day = ANY (%s)
                   GROUP BY 1, 2 ORDER BY 1, 2""",
    "letters": """SELECT reason, state::text, fields::text FROM analytics.dead_letter
                  WHERE %s::date[] IS NOT NULL ORDER BY 1, 2, 3""",
    "erased": "SELECT what, rows FROM analytics.erasure WHERE %s::date[] IS NOT NULL ORDER BY 1",
    # These two say what they changed themselves: what a lost step has changed, they find right.
    "runs": """SELECT kind, state::text, error, kind = 'requeue' OR done = total,
                      CASE WHEN kind NOT IN ('refresh', 'requeue') THEN result::jsonb END
               FROM analytics.run WHERE state = 'done' AND %s::date[] IS NOT NULL""",
}


def seen(specialist: str, day: date, number: int) -> dict[Any, Any]:
    event_id = str(uuid5(NAMESPACE_OID, f"{specialist} {day} {number}"))
    return event(specialist, eventId=event_id, occurredAt=f"{day}T12:00:00Z", visitorId=(GHOST, OTHER)[number % 2])


@contextmanager
def made(servers: Servers, template: str, redis_url: str, password: str, folder: Path) -> Iterator[World]:
    with ExitStack() as resources:
        database = resources.enter_context(fresh_database(servers.database_url, template))
        owner = settings_for(
            database,
            redis_url,
            ANALYTICS_LEDGER_DAYS="0",
            ANALYTICS_SECRET="a secret of the test",
            ANALYTICS_BREAKER_SHARE="1",
        )
        settings = settings_with(owner, DATABASE_URL=url_of(database, WORKER_ROLE, password))
        connection = resources.enter_context(psycopg.connect(database, autocommit=True))
        client = resources.enter_context(connect_redis(settings))
        client.flushdb()
        world = World(database, settings, owner, connection, client, folder / "events.ndjson")
        add_specialists(connection, ["anna", "boris", "zoe"])
        site_creates(connection, "Order")
        migrate(connection, migrations())
        count_history(world)
        yield world


def count_history(world: World) -> None:
    connection, client = world.connection, world.client
    for day in DAYS:
        add(client, *(seen("zoe", day, number) for number in range(VIEWS)))
    drain(world.settings)
    client.xtrim("analytics:events", maxlen=0)  # whoever reads it again would bring her back
    old = [seen(who, day, number) for day in DAYS for who in ("anna", "boris") for number in range(VIEWS)]
    unknown = [seen("newcomer", day, number) for day in DAYS for number in range(LETTERS)]
    add(client, *old, *unknown)
    drain(world.settings)
    add_specialists(connection, ["newcomer"])
    connection.execute("DELETE FROM analytics.event WHERE specialist_id = 'anna' AND day = %s", [DAYS[1]])
    new = [seen("anna", DAYS[2], 100 + number) for number in range(NEW_IN_FILE)]
    world.file.write_text("".join(json.dumps(each) + "\n" for each in (*old, *new)))
    client.mset({f"profile:view:{who}:search:{day}": COUNTERS for who in ("anna", "boris") for day in DAYS[:2]})
    for day in DAYS:
        add_outcomes(connection, "Order", "boris", datetime.combine(day, time(12), UTC))
    connection.execute('UPDATE "SpecialistAnalyticsDaily" SET "profileViews" = 9')


@pytest.fixture
def make_world(
    servers: Servers, migrated_template: str, redis_url: str, worker_password: str, tmp_path: Path
) -> Callable[[], Any]:
    return lambda: made(servers, migrated_template, redis_url, worker_password, tmp_path)


@pytest.fixture
def world(make_world: Callable[[], Any]) -> Iterator[World]:
    with make_world() as one:
        yield one


Told = tuple[int, str, str]


@pytest.fixture
def tell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Told]:
    """The command line in this process, for what ends at once: a hundred interpreters would take a minute."""
    monkeypatch.setattr(cli, "configure_logging", lambda _: None)
    monkeypatch.setattr(StopSignal, "install", lambda _: None)

    def told(settings: Settings, *arguments: str) -> Told:
        monkeypatch.setattr(sys, "argv", ["worker", *arguments])
        for name, value in environment(settings).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit) as ending:
            cli.main()
        output, errors = capsys.readouterr()
        assert isinstance(ending.value.code, int)
        return ending.value.code, output, errors

    return told


def assert_one_line(told: Told, text: str, case: object) -> None:
    code, output, errors = told
    assert (code, output, len(errors.splitlines())) == (2, "", 1), (case, told)
    assert errors.startswith("error ") and text in errors, (case, errors)


# What cannot be ------------------------------------------------------------------------------------------------------

RANGES = [
    (("--from", "2026-02-30", "--to", "2026-03-01"), "--from '2026-02-30' is no date"),
    (("--from", "2026-02-01", "--to", "2026-02-29"), "--to '2026-02-29' is no date"),
    (("--from", "yesterday", "--to", "2026-03-01"), "--from 'yesterday' is no date"),
    (("--from", "", "--to", "2026-03-01"), "--from '' is no date"),
    (("--from", "2026-11-10", "--to", "2026-11-09"), "turn them round"),
    (("--from", "0001-01-01", "--to", "9999-12-31"), "ask for at most 3,660"),
]
DATED = [("recompute",), ("backfill", "legacy-counters"), ("backfill", "outcomes")]
LETTERS_AGAIN = ("replay", "--dead-letters")
ERASE = ("erase", "--yes")

BAD: dict[str, list[tuple[tuple[str, ...], str]]] = {
    **{" ".join(command): [((*command, *range_), why) for range_, why in RANGES] for command in DATED},
    "recompute --specialist": [
        (("recompute", *OF_ALL, "--specialist", who), "there is no specialist") for who in ("nobody", "", "Zoë", "*")
    ],
    "backfill events": [
        (("backfill", "events", "/nowhere/events.ndjson", "--now"), "cannot read /nowhere/events.ndjson"),
        (("backfill", "events", "/", "--now"), "cannot read / on"),
        (("backfill", "events", "/proc/self/mem", "--now"), "cannot read /proc/self/mem"),  # as from a broken disk
        (("backfill", "events", "/dev/full", "--now"), "cannot read /dev/full"),
        (("backfill", "events", "-", "--now"), "standard input"),
        (("backfill", "events", "two\nlines"), "lines' is no name"),
    ],
    "replay": [
        (("replay",), "say what to read again"),
        (("replay", "--from", "", "--to", "2026-11-20"), "say what to read again"),
        (("replay", "--from", "2026-11-31", "--to", "2026-12-01"), "--from '2026-11-31' is neither a time"),
        (("replay", "--from", "2026-11-30", "--to", "9999-99-99"), "--to '9999-99-99' is neither a time"),
        (("replay", "--from", "2026-11-20", "--to", "2026-11-19"), "turn them round"),
        (("replay", "--from", "9-0", "--to", "1-0"), "--from '9-0' is neither"),
        (("replay", *EVER, "--shard", "7"), "there is no shard 7"),
        (("replay", *EVER, "--shard", "-1"), "there is no shard -1"),
    ],
    "replay --dead-letters": [
        ((*LETTERS_AGAIN, "--since", "2026-02-30"), "--since '2026-02-30' is no time"),
        ((*LETTERS_AGAIN, "--until", "soon"), "--until 'soon' is no time"),
        ((*LETTERS_AGAIN, "--since", ""), "--since '' is no time"),
        ((*LETTERS_AGAIN, "--since", "0001-01-01T00:00+14:00"), "is no time"),
        ((*LETTERS_AGAIN, "--reason", "boredom"), "--reason 'boredom' is none of"),
        ((*LETTERS_AGAIN, *EVER), "--dead-letters has no range"),
    ],
    "erase": [
        (ERASE, "say whom to erase"),
        ((*ERASE, "--visitor", GHOST, "--specialist", "zoe"), "say whom to erase"),
        ((*ERASE, "--visitor", ""), "--visitor is no id"),
        ((*ERASE, "--visitor", "x" * 129), "--visitor is no id"),
        ((*ERASE, "--visitor", GHOST, "--force"), "--force is for a specialist"),
        ((*ERASE, "--specialist", ""), "--specialist is no id"),
        ((*ERASE, "--specialist", "z" * 201), "--specialist is no id"),
        ((*ERASE, "--specialist", "zo\ne"), "--specialist is no id"),
        ((*ERASE, "--specialist", "zoe"), 'the specialist is still in "SpecialistProfile"'),
        (("erase", "--visitor", GHOST), "say --yes"),
    ],
}


@pytest.mark.parametrize("command", BAD)
def test_what_cannot_be(world: World, tell: Callable[..., Told], command: str) -> None:
    """It is refused in one line that names what is wrong, with exit code 2; there is no run, and nothing is changed."""
    before = world.everything()
    for arguments, why in BAD[command]:
        assert_one_line(tell(world.settings_of(arguments), *arguments), why, arguments)
    assert world.runs() == []
    assert world.everything() == before


BAD_REQUESTS: dict[str, dict[str, str]] = {
    "bad_date": {"from": "2026-02-30"},
    "bad_range": {"from": "2026-11-10", "to": "2026-11-09"},
    "range_too_long": {"from": "0001-01-01", "to": "9999-12-31"},
    "unknown_specialist": {"specialistId": "nobody"},
}


def test_requests_that_cannot_be(world: World) -> None:
    """A bad request is a dead letter with its reason; there is no run, and nothing else is changed."""
    before = world.everything()
    for fields in BAD_REQUESTS.values():
        ask_for_refresh(world, **fields)
    with Receiver(world.settings) as receiver:
        receiver.look()
    ours = "SELECT reason FROM analytics.dead_letter WHERE stream = 'analytics:requests' ORDER BY id"
    assert [reason for (reason,) in world.connection.execute(ours)] == list(BAD_REQUESTS)
    assert world.runs() == []
    changed = {name for name, rows in world.everything().items() if rows != before[name]}
    assert changed == {"analytics.dead_letter", "analytics.request_position"}


def ask_for_refresh(world: World, **fields: str) -> None:
    world.client.xadd(
        "analytics:requests",
        {"kind": "refresh", "specialistId": "anna", "from": str(DAYS[0]), "to": str(DAYS[2])} | fields,  # type: ignore[arg-type]
    )


# Servers that refuse, or are away ------------------------------------------------------------------------------------


def commands(file: Path) -> list[tuple[str, ...]]:
    """Every command that changes something, with what there is to do."""
    return [
        ("recompute", *OF_ALL),
        ("recompute", *OF_ALL, "--specialist", "anna"),
        ("backfill", "legacy-counters"),
        ("backfill", "outcomes", *OF_ALL),
        ("backfill", "events", str(file)),
        ("replay", *EVER),
        LETTERS_AGAIN,
        (*ERASE, "--visitor", GHOST),
        (*ERASE, "--specialist", "zoe", "--force"),
    ]


def test_no_schema_no_rights_no_server(world: World, tell: Callable[..., Told], site_database: str) -> None:
    """Each command ends with one line and exit code 2 where the schema is missing, the role has no right, or PostgreSQL
    does not answer, which the line says without the password; nothing is changed.
    """
    before = world.everything()
    with psycopg.connect(site_database, autocommit=True) as site:
        add_specialists(site, ["anna"])
    stranger = url_of(world.database, "stranger", "its-password")
    world.connection.execute("CREATE ROLE stranger LOGIN PASSWORD 'its-password'")
    places = {
        "run `python -m worker migrate`": site_database,
        "the database role lacks a right: permission denied": stranger,
        "Connection refused": "postgresql://stranger:its-password@127.0.0.1:1/site",
    }
    try:
        for why, url in places.items():
            for command in commands(world.file):
                told = tell(settings_with(world.settings, DATABASE_URL=url), *command)
                assert_one_line(told, why, command)
                assert "its-password" not in told[2]
    finally:
        world.connection.execute("DROP ROLE stranger")
    assert world.everything() == before


def test_a_table_is_missing(world: World, tell: Callable[..., Told]) -> None:
    """Where the daily table is missing, what needs it fails with one line and exit code 2, and no number is written."""
    world.connection.execute('DROP TABLE "SpecialistAnalyticsDaily"')
    before = world.everything()
    without_it = (LETTERS_AGAIN, (*ERASE, "--visitor", GHOST))
    for command in commands(world.file):
        if command not in without_it:
            code, _, errors = tell(world.settings_of(command), *command, "--now")
            assert (code, len(errors.splitlines())) == (2, 1), (command, errors)
            assert 'the database is not migrated (relation "SpecialistAnalyticsDaily" does not exist)' in errors, (
                command
            )
    assert {run.state for run in world.runs()} == {"failed"}
    changed = {name for name, rows in world.everything().items() if rows != before[name]}
    # What was read of counters is no number yet, and a new position says that nothing was counted.
    assert changed == {"analytics.run", "analytics.legacy_counter", "analytics.stream_position"}


def test_redis_is_away(world: World, tell: Callable[..., Told]) -> None:
    """A run that is asked for without Redis waits for it, which is said in one line; what has to look into the stream
    first ends with one line and exit code 2.
    """
    before = world.everything()
    away = {"REDIS_URL": "redis://:its-password@127.0.0.1:1/0"}
    asked = commands(world.file)
    for command in asked:
        told = tell(settings_with(world.settings_of(command), **away), *command, "--no-wait")
        if command[:2] == ("replay", "--from"):
            assert_one_line(told, "Redis at redis://127.0.0.1:1/0 does not answer", command)
        else:
            code, output, errors = told
            said = errors.splitlines()[0]
            assert (code, output) == (0, f"run {len(world.runs())}\n")
            assert said.startswith(f"run {len(world.runs())} has to wait: Redis at redis://127.0.0.1:1/0"), command
        assert "its-password" not in told[2]
    assert [run.state for run in world.runs()] == ["queued"] * (len(asked) - 1)
    changed = {name for name, rows in world.everything().items() if rows != before[name]}
    assert changed == {"analytics.run"}


# Two at once, and a worker that is killed ----------------------------------------------------------------------------

DAILY_ROW = """SELECT FROM "SpecialistAnalyticsDaily" WHERE "specialistId" = '{}' AND date = '{}' FOR UPDATE"""


@dataclass(frozen=True)
class Midway:
    """How to have a run wait in its middle."""

    command: tuple[str, ...]
    """Nothing: the web tier asks."""
    lock: str
    """What it cannot have, once it has done a part."""


MIDWAY = {
    "backfill legacy-counters": Midway(("backfill", "legacy-counters"), DAILY_ROW.format("anna", DAYS[1])),
    "backfill outcomes": Midway(("backfill", "outcomes", *OF_ALL), DAILY_ROW.format("boris", DAYS[1])),
    "replay --dead-letters": Midway(LETTERS_AGAIN, "SELECT FROM analytics.dead_letter ORDER BY id LIMIT 1 FOR UPDATE"),
    "erase --visitor": Midway(
        (*ERASE, "--visitor", GHOST), f"SELECT FROM analytics.event WHERE day = '{DAYS[1]}' FOR UPDATE"
    ),
    "erase --specialist": Midway((*ERASE, "--specialist", "zoe", "--force"), DAILY_ROW.format("zoe", DAYS[1])),
    "refresh": Midway((), DAILY_ROW.format("anna", DAYS[1])),
}
"""Recompute, `backfill events` and `replay` of a range are killed in test_runs.py and test_intake_runs.py."""


@contextmanager
def held(world: World, *statements: str) -> Iterator[None]:
    """What the statements lock, nobody else can have."""
    with psycopg.connect(world.database) as holder:
        for statement in statements:
            holder.execute(statement.encode())
        yield


def done_here(world: World, run: Run) -> str | None:
    """Do a run that waits as a work horse does, and say how it ended."""
    with psycopg.connect(world.database, autocommit=True) as connection:
        attempt = claim_run(connection, run.id, run.attempt)
    assert attempt is not None
    settings = world.owner if run.kind.startswith("erase") else world.settings
    return execute(settings, run.id, attempt, lambda: False).state


def done_without_a_kill(world: World, killed: Run) -> dict[str, Any]:
    """What the same operation comes to where nobody is in its way."""
    operation = OPERATIONS[killed.kind]
    arguments = operation.arguments.model_validate(killed.arguments)
    assert done_here(world, open_run(world.connection, operation, arguments, "tester").run) == "done"
    return world.kept()


@pytest.mark.parametrize("kind", MIDWAY)
def test_killed_in_the_middle(make_world: Callable[[], Any], kind: str) -> None:
    """Who asks for the same gets the same run. When its worker and work horse are killed in its middle it goes on by
    itself, both come to hear of its end, and all is as if nobody had been killed.
    """
    command, lock = MIDWAY[kind].command, MIDWAY[kind].lock
    with make_world() as world, ExitStack() as resources:
        before = world.kept()
        with held(world, lock), running(world.owner, "work", "ops") as worker:
            ask(world, command)
            wait_until(lambda: bool(world.waiting()), "its middle")
            [run] = world.runs()
            midway = world.kept()
            assert run.state == "running" and midway != before
            if command:
                follower = resources.enter_context(start_worker(world.owner, *command, "--wait"))
                assert follower.stderr is not None
                assert follower.stderr.readline().startswith("run 1 does the same since")
            else:
                ask(world, command)
            [horse] = worker.children()
            for process in (worker, horse):
                process.kill()
        world.connection.execute("UPDATE analytics.run SET seen_at = now() - interval '7 s'")  # nobody needs to wait
        with running(world.owner, "work", "ops"), Reviver(world.owner) as reviver:
            reviver.look()
            wait_until(lambda: not world.runs()[0].is_open, "its end")
        after = world.kept()
        assert after not in (before, midway)
        assert len(world.runs()) == 1 and world.runs()[0].attempt > 2
        if command:
            code, output, errors = ended(follower)
            assert code == 0 and "run 1 done" in output, errors
    with make_world() as other:
        assert other.kept() == before
        assert done_without_a_kill(other, run) == after


def ask(world: World, command: Sequence[str]) -> None:
    if command:
        assert run_worker(world.owner, *command, "--no-wait")[:2] == (0, "run 1\n")
    else:
        ask_for_refresh(world)
        with Receiver(world.owner) as receiver:
            receiver.look()


def overlapping(world: World) -> list[tuple[str, ...]]:
    """Two commands of each kind over the same days, whose arguments are not the same."""
    reversed_file = world.file.with_name("reversed.ndjson")
    reversed_file.write_text("".join(reversed(world.file.read_text().splitlines(keepends=True))))
    entries: Any = world.client.xinfo_stream("analytics:events")
    return [
        ("recompute", *OF_ALL),
        ("recompute", "--from", str(DAYS[0]), "--to", str(DAYS[1]), "--specialist", "anna"),
        ("backfill", "legacy-counters"),
        ("backfill", "legacy-counters", *OF_ALL),
        ("backfill", "outcomes", *OF_ALL),
        ("backfill", "outcomes", "--from", str(DAYS[1]), "--to", str(DAYS[2])),
        ("backfill", "events", str(world.file)),
        ("backfill", "events", str(reversed_file)),
        ("replay", *EVER),
        ("replay", "--from", entries["first-entry"][0].decode(), "--to", entries["last-entry"][0].decode()),
        LETTERS_AGAIN,
        (*LETTERS_AGAIN, "--reason", "unknown_specialist"),
        (*ERASE, "--visitor", GHOST),
        (*ERASE, "--visitor", OTHER),
        (*ERASE, "--specialist", "zoe", "--force"),
    ]


AT_ONCE = {
    "one another": (
        'LOCK TABLE "SpecialistAnalyticsDaily" IN SHARE MODE',
        "LOCK TABLE analytics.event, analytics.dead_letter IN SHARE MODE",
    ),
    "sealing": ("SELECT analytics.seal_oldest_day(35, 'UTC')",),
}
"""Whom they meet. What is locked lets them all begin before any of them comes to an end."""


@pytest.mark.parametrize("whom", AT_ONCE)
def test_at_once(world: World, tell: Callable[..., Told], whom: str) -> None:
    """Runs of all kinds over the same days at the same time, and runs on a day that is just being sealed, all end well,
    and the daily table is a straight count of all that there is.
    """
    asked = overlapping(world)
    for command in asked:
        assert tell(world.settings_of(command), *command, "--no-wait")[0] == 0
    for last in DAYS[1:]:
        ask_for_refresh(world, to=str(last))
    with Receiver(world.settings) as receiver:
        receiver.look()
    runs = world.runs()
    assert len(runs) == len(asked) + 2
    with ThreadPoolExecutor(len(runs)) as at_once:
        with held(world, *AT_ONCE[whom]):
            endings = [at_once.submit(done_here, world, run) for run in runs]
            # Sealing is in nobody's way who looks neither at the ledger nor at views.
            free = 4 if whom == "sealing" else 0
            wait_until(lambda: world.waiting() >= len(runs) - free, "all wait", 60)
        assert {ending.result() for ending in endings} == {"done"}
    drain(world.settings)  # the dead letters that were sent again
    sealed = DAYS[0] if whom == "sealing" else None
    assert daily(world.connection) == straight_count(sealed)
    for day in DAYS:
        assert diff_day(world.connection, day, "UTC") == []
        which = {"first": day, "last": day, "time_zone": "UTC", "specialists": None}
        assert world.connection.execute(query("count_wrong_outcomes"), which).fetchall() == []


def straight_count(sealed: date | None) -> dict[tuple[str, date], tuple[int, int]]:
    """What was seen. Who had no profile before a day was sealed is too late with what was seen on it."""
    return {
        **{(who, day): (VIEWS + COUNTERS, 0) for who in ("anna", "boris") for day in DAYS[:2]},
        ("anna", DAYS[2]): (VIEWS + NEW_IN_FILE, 0),
        ("boris", DAYS[2]): (VIEWS, 0),
        **{("newcomer", day): (LETTERS, 0) for day in DAYS if day != sealed},
    }
