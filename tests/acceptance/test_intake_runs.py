"""Files and ranges on the command line, by real processes that are killed on the way."""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from tests.counting import TODAY, TODAY_MS, add, books, daily, drain, event
from tests.support import add_specialists, ended, run_worker, settings_with, start_worker, wait_until
from worker.operations.run_intake import PORTION_ENTRIES
from worker.settings import Settings
from worker.store import Connection

EVENTS = PORTION_ENTRIES + 10
RIGHT = {("anna", TODAY): (PORTION_ENTRIES, 0), ("boris", TODAY): (10, 0)}


@pytest.fixture(autouse=True)
def _specialists(connection: Connection) -> None:
    add_specialists(connection, ["anna", "boris"])


def many() -> Iterator[dict[Any, Any]]:
    """A portion of events, and a few more for somebody else."""
    return (event("anna" if number < PORTION_ENTRIES else "boris") for number in range(EVENTS))


def run(settings: Settings, *arguments: str) -> tuple[int, str]:
    code, output, errors = run_worker(settings, *arguments)
    return code, output + errors


def read_by_runs(connection: Connection) -> int:
    row = connection.execute(
        "SELECT coalesce(sum(entries_read), 0) FROM analytics.stream_position WHERE epoch = 'run'"
    ).fetchone()
    assert row is not None
    return int(row[0])


@contextmanager
def held(database: str) -> Iterator[None]:
    """The daily row of Boris is held by somebody, so that nothing that counts for him is committed."""
    with psycopg.connect(database) as holder:
        holder.execute(
            'INSERT INTO "SpecialistAnalyticsDaily" (id, "specialistId", date, "updatedAt")'
            " VALUES ('boris', 'boris', %s, now())",
            [TODAY],
        )
        holder.commit()
        holder.execute('SELECT FROM "SpecialistAnalyticsDaily" WHERE id = %s FOR UPDATE', ["boris"])
        yield


def kill_midway(database: str, settings: Settings, connection: Connection, *arguments: str) -> None:
    """Kill a command when its first portion is committed, and its last one is on the way: it has Boris' events."""
    waiting = "SELECT FROM pg_locks WHERE NOT granted"
    with held(database):
        process = start_worker(settings, *arguments, "--now")
        try:
            wait_until(
                lambda: read_by_runs(connection) > 0 and connection.execute(waiting).fetchone() == (), "its middle"
            )
        finally:
            process.send_signal(signal.SIGKILL)
        assert ended(process)[0] == -signal.SIGKILL
        assert 0 < read_by_runs(connection) < EVENTS
    wait_until(lambda: silent(connection), "it is taken for dead")


def silent(connection: Connection) -> bool:
    row = connection.execute("SELECT now() - seen_at > interval '6.5 s' FROM analytics.run").fetchone()
    return row == (True,)


def test_a_file_killed_midway(database: str, settings: Settings, connection: Connection, tmp_path: Path) -> None:
    """A backfill that is killed with SIGKILL goes on where it was, and comes to the same."""
    file = tmp_path / "events.ndjson"
    file.write_text("".join(json.dumps(each) + "\n" for each in many()))
    backfill = ("backfill", "events", str(file))
    kill_midway(database, settings, connection, *backfill)
    code, output = run(settings, *backfill, "--now")
    assert (code, read_by_runs(connection)) == (0, EVENTS), output
    assert f"done: {EVENTS:,} of {EVENTS:,} lines" in output
    assert daily(connection) == RIGHT
    assert connection.execute("SELECT count(*) FROM analytics.run").fetchone() == (1,)


def test_a_replay_killed_midway(database: str, settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """A replay that is killed with SIGKILL goes on from its cursor, and comes to the same."""
    with client.pipeline(transaction=False) as pipe:
        for each in many():
            pipe.xadd("analytics:events", each)
        pipe.execute()
    drain(settings)
    connection.execute('DELETE FROM analytics.event; DELETE FROM "SpecialistAnalyticsDaily"')
    replay = ("replay", "--from", "2026-01-01", "--to", "2100-01-01")
    kill_midway(database, settings, connection, *replay)
    code, output = run(settings, *replay, "--now")
    assert (code, read_by_runs(connection)) == (0, EVENTS), output
    assert f"done: {EVENTS:,} of {EVENTS:,} entries" in output
    assert daily(connection) == RIGHT


def test_by_a_worker(settings: Settings, connection: Connection, client: redis.Redis, tmp_path: Path) -> None:
    """A worker does each of them: a file, a range, dead letters; `runs` tells what came of it."""
    file = tmp_path / "events.ndjson"
    file.write_text(json.dumps(event()) + "\nno JSON\n" + json.dumps(event("newcomer")) + "\n" + json.dumps(event()))
    add(client, event(), event("newcomer"))
    drain(settings)
    add_specialists(connection, ["newcomer"])
    supervisor = start_worker(settings, "run")
    try:
        connection.execute("DELETE FROM analytics.event WHERE stream >= 0")
        code, output = run(settings, "backfill", "events", str(file), "--wait")
        assert code == 0 and "4 of 4 lines" in output
        code, output = run(settings, "runs", "1")
        assert "not a JSON object" in output and "line 2" in output
        code, output = run(settings, "replay", "--from", "2026-01-01", "--to", "2100-01-01", "--wait")
        assert code == 0 and "2 of 2 entries" in output
        connection.execute("UPDATE analytics.dead_letter SET state = 'buried'")
        code, output = run(settings, "replay", "--dead-letters", "--reason", "unknown_specialist", "--wait")
        assert code == 0 and "1 of 1 letters" in output
        wait_until(lambda: client.xlen("analytics:events") == 3, "sent again")
    finally:
        supervisor.terminate()
        print(*ended(supervisor), sep="\n")
    assert daily(connection)["newcomer", TODAY] == (2, 0)


def test_what_is_said_beforehand(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """What the range holds, what is trimmed and what is left to the live path is said; a dry run counts it by day."""
    everything = ("--from", "2026-01-01", "--to", "2100-01-01")
    assert run(settings, "replay", *everything) == (
        1,
        "nothing to read again: there is no entry in the stream any more\n",
    )
    add(client, event())
    assert run(settings, "replay", *everything) == (
        1,
        "nothing to read again: the range was not read yet, and is left to the live path (1 entries)\n",
    )
    missing, yesterday = event(), event(occurredAt=TODAY_MS - 1)
    add(client, missing, yesterday, event("nobody"), event(viewerId="anna"))
    drain(settings)
    code, output = run(settings, "replay", "--from", "2026-01-01", "--to", "2026-01-02")
    assert code == 1 and output.startswith(
        "nothing to read again: the range is trimmed, what is still there begins at 20"
    )
    add(client, event(), event())
    connection.execute(
        "DELETE FROM analytics.event WHERE event_id = ANY(%s::uuid[])", [[missing["eventId"], yesterday["eventId"]]]
    )
    before = books(connection)
    code, output = run(settings, "replay", *everything, "--dry-run")
    assert code == 1
    lines = [line.split() for line in output.splitlines()]
    assert lines[1][:3] == ["analytics:events", "5", "2"]
    assert ["together", "2", "0", "2"] in lines
    assert "dead letters already: 1 unknown_specialist" in output
    assert books(connection) == before
    assert run(settings, "replay", *everything, "--now")[0] == 0
    code, output = run(settings, "replay", *everything, "--dry-run")
    assert code == 0 and "nothing is missing" in output
    code, output = run(settings, "replay", "--dead-letters", "--dry-run")
    assert (code, output) == (0, "1 dead letters would be sent again: 1 unknown_specialist\n")
    code, output = run(settings, "replay", "--dead-letters", "--reason", "too_old")
    assert (code, output) == (1, "no dead letter matches\n")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ("replay", "say what to read again"),
        ("replay --from 2026-11-20", "say what to read again"),
        ("replay --from 2026-11-20 --to 2026-11-19", "turn them round"),
        ("replay --from 2026-11-31 --to 2026-12-01", "is neither a time"),
        ("replay --from 2026-11-20 --to 2026-11-21 --shard 1", "there is no shard 1"),
        ("replay --dead-letters --from 2026-11-20", "--dead-letters has no range"),
        ("replay --from 2026-11-20 --to 2026-11-21 --reason too_old", "say --dead-letters too"),
        ("backfill events - --now", "standard input cannot be read on"),
        ("backfill events nowhere.ndjson --now", "No such file or directory"),
        ("backfill events nowhere.ndjson --wait --now", "with --now where the command is given"),
    ],
)
def test_what_makes_no_sense(settings: Settings, arguments: str, why: str) -> None:
    """It is refused in one line that says what to do, with exit code 2."""
    code, output, errors = run_worker(settings, *arguments.split())
    assert (code, output, len(errors.splitlines())) == (2, "", 1)
    assert why in errors


def test_the_database_lacks_a_right(database: str, settings: Settings, connection: Connection, tmp_path: Path) -> None:
    """Without a right or without the schema a run fails in one line, and nothing is half done."""
    file = tmp_path / "events.ndjson"
    file.write_text(json.dumps(event()))
    connection.execute("REVOKE INSERT ON analytics.event FROM analytics_worker")
    code, output, errors = run_worker(settings, "backfill", "events", str(file), "--now")
    assert (code, len(errors.splitlines())) == (2, 1)
    assert "the database role lacks a right" in errors
    assert (read_by_runs(connection), daily(connection)) == (0, {})
    owner = settings_with(settings, DATABASE_URL=database)
    connection.execute("DROP SCHEMA analytics CASCADE")
    code, output, errors = run_worker(owner, "backfill", "events", str(file), "--now")
    assert (code, output, len(errors.splitlines())) == (2, "", 1)
    assert "run `python -m worker migrate`" in errors
