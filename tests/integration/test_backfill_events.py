"""Past events out of a file count as if they had come through the stream, once, whatever happens to the run."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.counting import TODAY, TODAY_MS, add, daily, dead, drain, event
from tests.support import TOP, add_specialists, run_worker, settings_with
from worker.daily.recompute import diff_day
from worker.daily.visitors import visitors_of
from worker.errors import Conflict, Stop
from worker.inspection.explain import explain
from worker.inspection.status import read_books
from worker.operation import JsonObject, Step
from worker.operations import backfill_events
from worker.operations.backfill_events import BackfillEventsArguments, backfill_events_steps
from worker.operations.dead_letters import Filter, requeue
from worker.settings import Settings
from worker.store import Connection, connect_postgres

REAL = TOP.parent / "shared/data/access_log_events.ndjson"


@pytest.fixture(autouse=True)
def _specialists(connection: Connection) -> None:
    add_specialists(connection, ["anna", "boris"])


@pytest.fixture(autouse=True)
def _small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill_events, "PORTION_ENTRIES", 10)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "events.ndjson"


def write(file: Path, *lines: dict[Any, Any] | str) -> None:
    file.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))


def steps(
    settings: Settings, file: Path, cursor: JsonObject | None = None, *, run: int = 1, force: bool = False
) -> Iterator[Step]:
    arguments = BackfillEventsArguments(file=str(file), force=force)
    return backfill_events_steps(settings, run, arguments, cursor or {})


def last(of: Iterable[Step]) -> Step:
    return list(of)[-1]


def result(
    counted: int = 0, repeats: int = 0, excluded: int = 0, dead_letters: int = 0, problems: int = 0
) -> JsonObject:
    read = counted + repeats + excluded + dead_letters
    return {
        "read": read, "counted": counted, "repeats": repeats, "excluded": excluded, "dead_letters": dead_letters,
        "problems": problems,
    }  # fmt: skip


def mixed() -> list[dict[Any, Any] | str]:
    """60 lines: 41 to be counted, 6 to be excluded, 3 repeats, 4 dead letters, 3 problems, 3 empty ones."""
    good: list[dict[Any, Any] | str] = [event(("anna", "boris")[n % 2], type="profile_view") for n in range(41)]
    return [
        *good[:8], "no JSON", *good[8:15], *good[:3], "", *(event(viewerId="anna") for _ in range(6)), *good[15:30],
        *(event("nobody") for _ in range(3)), event(occurredAt="yesterday"), event(occurredAt=None), "", *good[30:41],
        "[]", "",
    ]  # fmt: skip


MIXED = result(counted=41, repeats=3, excluded=6, dead_letters=4, problems=3)


def test_every_line_has_its_fate(settings: Settings, connection: Connection, file: Path) -> None:
    """What is good counts, what is bad is buried under its line, what is no event is listed; the books balance."""
    write(file, *mixed())
    done = list(steps(settings, file))
    assert done[-1].result == MIXED
    assert done[-1].done == done[-1].total == 60
    assert daily(connection) == {("anna", TODAY): (21, 0), ("boris", TODAY): (20, 0)}
    assert [problem for step in done for problem in step.problems] == [
        ("not a JSON object", "line 9"),
        ("no occurredAt", "line 46"),
        ("not a JSON object", "line 59"),
    ]
    where = connection.execute("SELECT stream, entry_id, reason FROM analytics.dead_letter ORDER BY id").fetchall()
    assert set(where) == {("file:events.ndjson", f"{line}-0", "unknown_specialist") for line in (42, 43, 44)} | {
        ("file:events.ndjson", "45-0", "bad_time")
    }
    assert not diff_day(connection, TODAY, "UTC")


def test_the_same_file_again(settings: Settings, connection: Connection, file: Path) -> None:
    """A second run of a file counts nothing and buries nothing, also of events without an id."""
    write(file, *mixed(), event(eventId=None), event("nobody", eventId=None))
    last(steps(settings, file))
    before = daily(connection), dead(connection)
    assert last(steps(settings, file, run=2)).result == result(repeats=56, problems=3)
    assert (daily(connection), dead(connection)) == before


def test_what_came_through_the_stream(
    settings: Settings, connection: Connection, client: redis.Redis, file: Path
) -> None:
    """An event that the stream brought before, or brings later, counts once."""
    both = [event() for _ in range(6)]
    add(client, *both[:3])
    drain(settings)
    write(file, *both)
    assert last(steps(settings, file)).result == result(counted=3, repeats=3)
    add(client, *both)
    drain(settings)
    assert daily(connection) == {("anna", TODAY): (6, 0)}


def test_visitors_of_older_days(settings: Settings, connection: Connection, file: Path) -> None:
    """When a file is counted, so are the visitors of its days, however long ago these are."""
    known = settings_with(settings, ANALYTICS_SECRET="s" * 32)
    days = [TODAY - timedelta(days=ago) for ago in (0, 20)]
    times = (TODAY_MS - ago * 86_400_000 for ago in (0, 20, 20))
    write(file, *(event(occurredAt=at, visitorId=f"v{n}") for n, at in enumerate(times)))
    assert last(steps(known, file)).result == result(counted=3)
    with connect_postgres(known, "test") as reader:
        assert [visitors_of(reader, "anna", day, day, "UTC").number for day in days] == [1, 2]
        stored = reader.execute("SELECT date, visitors FROM analytics.daily_visitors ORDER BY date DESC").fetchall()
    assert stored == list(zip(days, (1, 2), strict=True))


def test_stopped_after_every_step(settings: Settings, connection: Connection, file: Path) -> None:
    """A run that is stopped between any two steps, and goes on from the cursor, comes to the same."""
    write(file, *mixed())
    cursor: JsonObject = {}
    problems: list[Any] = []
    while True:
        going = steps(settings, file, cursor)
        step = next(going, None)
        if step is None:
            break
        going.close()  # type: ignore[attr-defined] # it is a generator
        cursor, problems, after = json.loads(json.dumps(step.cursor)), [*problems, *step.problems], step
    assert after.result == MIXED
    assert len(problems) == 3
    assert daily(connection) == {("anna", TODAY): (21, 0), ("boris", TODAY): (20, 0)}


@pytest.mark.parametrize("lost", [1, 2, 5])
@pytest.mark.parametrize("portion", [10, 7, 100])
def test_steps_that_nobody_noted(
    settings: Settings,
    *,
    connection: Connection,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    lost: int,
    portion: int,
) -> None:
    """If the cursor is older than what was committed, the run comes to the same result and lists the same problems."""
    write(file, *mixed())
    noted = list(zip(range(6), steps(settings, file), strict=False))
    _, step = noted[5 - lost]
    monkeypatch.setattr(backfill_events, "PORTION_ENTRIES", portion)
    again = list(steps(settings, file, step.cursor))
    assert again[-1].result == MIXED
    listed = [problem for _, earlier in noted[: 6 - lost] for problem in earlier.problems]
    assert len(listed + [problem for step in again for problem in step.problems]) == 3
    assert daily(connection) == {("anna", TODAY): (21, 0), ("boris", TODAY): (20, 0)}


def test_two_executions_at_once(settings: Settings, connection: Connection, file: Path) -> None:
    """Of two executions of one run the slower one is refused, and the numbers are those of one."""
    write(file, *mixed())
    slow, fast = steps(settings, file), steps(settings, file)
    next(slow), next(slow)
    with pytest.raises(Conflict):
        for _ in range(3):
            next(fast), next(fast), next(slow)
    assert last(steps(settings, file)).result == MIXED
    assert daily(connection) == {("anna", TODAY): (21, 0), ("boris", TODAY): (20, 0)}


def test_a_file_that_changed(settings: Settings, connection: Connection, file: Path) -> None:
    """A run does not go on in another file, nor in one that was written to; a new run may."""
    write(file, *mixed())
    step = next(steps(settings, file))
    write(file, *mixed(), event())
    with pytest.raises(Stop, match=r"events\.ndjson is not the file any more with which the run began"):
        last(steps(settings, file, step.cursor))
    assert daily(connection) == {}
    going = steps(settings, file, run=2)
    next(going), next(going)
    with file.open("a") as growing:
        growing.write("\n")
    with pytest.raises(Stop, match="a new run"):
        last(going)
    assert last(steps(settings, file, run=3)).result["counted"] > 0


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ([event(occurredAt=TODAY_MS - 90 * 86_400_000)] * 6, r"6 too_old \(ANALYTICS_LEDGER_DAYS is 35\)"),
        ([event("nobody"), event("noone")] * 3, "6 unknown_specialist"),
        (["id;type;when"] * 7, "7 not a JSON object"),
    ],
)
def test_a_file_that_is_mostly_bad(
    settings: Settings, connection: Connection, file: Path, bad: Sequence[dict[Any, Any] | str], why: str
) -> None:
    """A wrong file, or one that is too old, is refused before anything is buried, unless a person insists."""
    write(file, *bad, *(event() for _ in range(5)))
    with pytest.raises(Stop, match=rf"of the first {len(bad) + 5} lines of .*events\.ndjson cannot be counted: {why}"):
        last(steps(settings, file))
    assert (daily(connection), dead(connection)) == ({}, [])
    assert last(steps(settings, file, force=True)).result["counted"] == 5
    assert daily(connection) == {("anna", TODAY): (5, 0)}


def test_the_breaker_looks_at_the_beginning_alone(settings: Settings, connection: Connection, file: Path) -> None:
    """If the first lines are good the file is read to its end, however bad that is."""
    of_ten = settings_with(settings, ANALYTICS_BREAKER_ENTRIES="10")
    write(file, *(event() for _ in range(10)), *(event("nobody") for _ in range(100)))
    assert last(steps(of_ten, file)).result == result(counted=10, dead_letters=100)


def test_files_that_cannot_be_read(settings: Settings, tmp_path: Path, file: Path) -> None:
    """A missing file, a folder, a pipe that nobody writes into, a relative path and standard input are refused at once,
    in a line that says what to do."""
    with pytest.raises(Stop, match="No such file or directory; a run reads it on the worker's machine, and with --now"):
        next(steps(settings, file))
    with pytest.raises(Stop, match="cannot read"):
        next(steps(settings, tmp_path))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(Stop, match="no regular file"):
        next(steps(settings, tmp_path / "pipe"))
    with pytest.raises(Stop, match="no absolute path"):
        BackfillEventsArguments(file="events.ndjson")
    with pytest.raises(Stop, match="standard input cannot be read on"):
        BackfillEventsArguments(file="-")
    with pytest.raises(Stop, match="rename the file"):
        BackfillEventsArguments(file="/no\udcfftext")


def test_a_day_that_is_sealed_meanwhile(settings: Settings, connection: Connection, file: Path) -> None:
    """If a day is sealed while a run is at it, the run begins anew from its cursor; the rest of the day is too old."""
    old_day = TODAY - timedelta(days=5)
    write(file, *(event(occurredAt=TODAY_MS - 5 * 86_400_000) for _ in range(30)), event())
    going = steps(settings, file)
    [_, step] = [next(going), next(going)]
    assert connection.execute("SELECT analytics.seal_oldest_day(3, 'UTC')").fetchone() == (old_day,)
    with pytest.raises(Conflict):
        last(going)
    end = last(steps(settings, file, step.cursor))
    assert end.result["counted"] + end.result["dead_letters"] == 31
    assert daily(connection) == {("anna", old_day): (end.result["counted"] - 1, 0), ("anna", TODAY): (1, 0)}
    assert {reason for reason, _ in dead(connection)} == {"too_old"}
    assert not diff_day(connection, old_day, "UTC")


def test_a_file_of_sealed_days(settings: Settings, connection: Connection, file: Path) -> None:
    """Where everything is kept from now on, but was sealed before, the refusal says so: a setting would not help."""
    old_day = TODAY - timedelta(days=5)
    write(file, *(event(occurredAt=TODAY_MS - 5 * 86_400_000) for _ in range(3)))
    last(steps(settings, file))
    connection.execute("SELECT analytics.seal_oldest_day(3, 'UTC')")
    with pytest.raises(Stop, match=rf"3 too_old \(ANALYTICS_LEDGER_DAYS is 0, days up to {old_day} are sealed\)"):
        last(steps(settings_with(settings, ANALYTICS_LEDGER_DAYS="0"), file, run=2))


def test_an_empty_file(settings: Settings, file: Path) -> None:
    """Nothing in it, nothing counted."""
    write(file)
    assert last(steps(settings, file)).result == result()


def test_a_line_that_never_ends(
    settings: Settings, connection: Connection, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that is larger than any entry is passed over without being held in memory."""
    monkeypatch.setattr(backfill_events, "LINE_BYTES", 1_000)
    write(file, event(), json.dumps(event(note="x" * 2_500)), event(), json.dumps(event(note="y" * 999)))
    end = list(steps(settings, file))
    assert end[-1].result == result(counted=2, problems=2)
    assert [problem for step in end for problem in step.problems] == [
        ("longer than 1,000 bytes", "line 2"),
        ("longer than 1,000 bytes", "line 4"),
    ]
    assert end[-1].done == 4


def test_no_more_problems_than_a_person_reads(settings: Settings, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first problems are listed, and all are counted."""
    monkeypatch.setattr(backfill_events, "PROBLEMS_KEPT", 12)
    write(file, *(["nothing"] * 35), event())
    done = list(steps(settings, file, force=True))
    assert [problem.subject for step in done for problem in step.problems] == [f"line {n}" for n in range(1, 13)]
    assert done[-1].result == result(counted=1, problems=35)


def test_a_letter_of_a_file_is_sent_again(
    settings: Settings, connection: Connection, client: redis.Redis, file: Path
) -> None:
    """It keeps its time and its identity: sent into the stream it counts, and the file again is a repeat."""
    write(file, event("newcomer", eventId=None), event(), event())
    assert last(steps(settings, file)).result == result(counted=2, dead_letters=1)
    add_specialists(connection, ["newcomer"])
    with connect_postgres(settings, "test") as worker:
        assert [page.letters for page in requeue(settings, worker, client, Filter(), "test")] == [1]
    drain(settings)
    right = {("anna", TODAY): (2, 0), ("newcomer", TODAY): (1, 0)}
    assert daily(connection) == right
    assert last(steps(settings, file, run=2)).result == result(repeats=3)
    assert daily(connection) == right


def test_a_letter_whose_line_counts_by_now(settings: Settings, connection: Connection, file: Path) -> None:
    """If a file is read again after the profile was made, the letter is no longer among the buried."""
    write(file, event("newcomer"), event(), event("nobody"), event())
    last(steps(settings, file))
    add_specialists(connection, ["newcomer"])
    assert last(steps(settings, file, run=2)).result == result(counted=1, repeats=3)
    letters = connection.execute(
        "SELECT letter.state, action, operator, action.entry_id FROM analytics.dead_letter AS letter"
        " LEFT JOIN analytics.dead_letter_action AS action ON dead_letter_id = letter.id ORDER BY letter.id"
    ).fetchall()
    assert letters == [("requeued", "requeued", "run 2", "1-0"), ("buried", None, None, None)]


def test_a_name_that_looks_like_markup(settings: Settings, file: Path) -> None:
    """Whatever a file is called, its dead letters can be looked at."""
    odd = file.with_name("a [b] c.ndjson")
    write(odd, bad := event("nobody"), event())
    last(steps(settings, odd))
    for command in ("dead-letters list", "dead-letters show 1", f"trace {bad['eventId']}"):
        code, output, _ = run_worker(settings, *command.split())
        assert code == 0 and "file:a [b] c.ndjson" in output


def test_a_run_is_no_stream(settings: Settings, connection: Connection, client: redis.Redis, file: Path) -> None:
    """Who looks at the streams does not take a run's position for one."""
    write(file, event(), event())
    last(steps(settings, file))
    add(client, event())
    drain(settings)
    assert list(read_books(connection)) == ["analytics:events"]
    code, output, _ = run_worker(settings, "status", "--json")
    assert code == 0
    assert [shard["stream"] for shard in json.loads(output)["shards"]] == ["analytics:events"]
    assert "run:" not in run_worker(settings, "doctor")[1]


def test_where_an_event_came_from(settings: Settings, file: Path) -> None:
    """`trace` and `explain` tell the line of an event that came out of a file."""
    one = event()
    write(file, event(), one)
    last(steps(settings, file))
    assert "from line 2 of a file" in run_worker(settings, "trace", one["eventId"])[1]
    assert "from line 2 of a file" in run_worker(settings, "explain", "anna", str(TODAY))[1]


@pytest.mark.skipif(not REAL.exists(), reason=f"there is no {REAL.name} beside the project")
def test_a_real_log(
    settings: Settings, connection: Connection, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real access log comes to what the formula says, and to what the live path makes of it, bots and all."""
    monkeypatch.setattr(backfill_events, "PORTION_ENTRIES", 1_000)
    everything = settings_with(settings, ANALYTICS_LEDGER_DAYS="0")
    sent = [json.loads(line) for line in REAL.read_text().splitlines()]
    add_specialists(connection, {line["specialistId"] for line in sent})
    end = last(steps(everything, REAL))
    assert end.result["read"] == end.done == len(sent) == 4_043
    assert end.result["dead_letters"] == end.result["problems"] == 0
    rows = whole_rows(connection)
    days = sorted({row[1] for row in rows})
    assert [str(day) for day in days] == ["2015-05-17", "2015-05-18", "2015-05-19", "2015-05-20"]
    assert not [row for day in days for row in diff_day(connection, day, "UTC")]
    assert sum(row[2] + row[3] for row in rows) == end.result["counted"]

    [(busiest, _)] = Counter(line["specialistId"] for line in sent).most_common(1)
    for day in days:
        with connect_postgres(everything, "test") as worker:
            found = explain(everything, worker, client, busiest, day)
        assert found.right
        assert found.row is not None
        views = sum(hour.profile_views + hour.contact_views for hour in found.hours if hour.excluded is None)
        assert views == found.row.profile_views + found.row.contact_views

    def counted_live(settings: Settings) -> list[tuple[str, date, int, int, Any]]:
        connection.execute("TRUNCATE analytics.event, analytics.stream_position")
        connection.execute('DELETE FROM "SpecialistAnalyticsDaily"')
        client.flushdb()
        assert run_worker(settings, "send", str(REAL))[0] == 0
        drain(settings)
        return whole_rows(connection)

    assert counted_live(everything) == rows
    with_bots = counted_live(settings_with(everything, ANALYTICS_EXCLUDE_BOTS="0"))
    assert sum(row[2] for row in with_bots) == 3_685  # as many as are in the file
    assert sum(row[3] for row in with_bots) == 358


def whole_rows(connection: Connection) -> list[tuple[str, date, int, int, Any]]:
    return connection.execute(
        'SELECT "specialistId", date, "profileViews", "contactViews", sources FROM "SpecialistAnalyticsDaily"'
        ' ORDER BY "specialistId", date'
    ).fetchall()
