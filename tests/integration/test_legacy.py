"""The counters of the site's former way become baseline: once, however often they are read."""

import tempfile
from collections import Counter as Tally
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from threading import Event as Flag
from typing import Any

import psycopg
import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.counting import TODAY, add, books, daily, drain, event
from tests.support import add_specialists, run_worker, settings_for, settings_with, wait_until
from worker.daily.recompute import diff_day
from worker.embedded import EmbeddedRedis
from worker.migrations import migrate, migrations
from worker.operation import Step
from worker.operations import legacy
from worker.operations.legacy import LegacyArguments, legacy_steps
from worker.operations.legacy_view import run_dry_import
from worker.pipeline import run_shard
from worker.settings import Settings
from worker.store import Connection, connect_postgres, seal_oldest_day

OLD = date(2026, 1, 15)
SPECIALISTS = ["anna", "boris", "Zoe"]


@pytest.fixture(autouse=True)
def _specialists(connection: Connection) -> None:
    add_specialists(connection, SPECIALISTS)


@pytest.fixture
def short_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step reads about two keys."""
    monkeypatch.setattr(legacy, "PAGE_KEYS", 2)
    monkeypatch.setattr(legacy, "STEP_PAGES", 1)


def key(specialist: str = "anna", kind: str = "profile", source: str | None = "catalog", day: date | str = OLD) -> str:
    return ":".join(filter(None, [kind, "view", specialist, source, str(day)]))


def steps(settings: Settings, **arguments: date) -> list[Step]:
    return list(legacy_steps(settings, 1, LegacyArguments(**arguments), {}))


def result(settings: Settings, **arguments: date) -> dict[str, Any]:
    """What an import says at its end."""
    return steps(settings, **arguments)[-1].result


def problems(settings: Settings, **arguments: date) -> set[tuple[str, str]]:
    return {(reason, subject) for step in steps(settings, **arguments) for reason, subject in step.problems}


def import_with_a_kill_everywhere(settings: Settings) -> dict[str, Any]:
    """Every step is begun by a process that dies before it can tell, and then done by the next one."""
    cursor: dict[str, Any] = {}
    last: dict[str, Any] = {}
    while True:
        for _ in range(2):
            execution: Iterator[Step] = legacy_steps(settings, 1, LegacyArguments(), cursor)
            step = next(execution, None)
            execution.close()  # type: ignore[attr-defined]
        if step is None:
            return last
        cursor, last = step.cursor, step.result


def sources(connection: Connection, specialist: str, day: date) -> tuple[int, ...]:
    """Profile views by catalog, search, direct and other, and contact views."""
    row = connection.execute(
        'SELECT sources, "profileViews", "contactViews" FROM "SpecialistAnalyticsDaily"'
        ' WHERE "specialistId" = %s AND date = %s',
        [specialist, day],
    ).fetchone()
    assert row is not None
    by_source = tuple(row[0].get(source, 0) for source in ("catalog", "search", "direct", "other"))
    assert sum(by_source) == row[1]
    return (*by_source, row[2])


def write_daily_row(connection: Connection, specialist: str, day: date, *views: int) -> None:
    """A row as the site's lazy aggregation wrote it: profile views by catalog, search and direct, and contact views."""
    catalog, search, direct, contact = views
    connection.execute(
        """INSERT INTO "SpecialistAnalyticsDaily"
               ("id", "specialistId", date, "profileViews", "contactViews", sources, "updatedAt")
           VALUES (gen_random_uuid()::text, %s, %s, %s, %s,
                   jsonb_build_object('catalog', %s::int, 'search', %s::int, 'direct', %s::int), now())""",
        [specialist, day, catalog + search + direct, contact, catalog, search, direct],
    )


def all_right(connection: Connection, time_zone: str = "UTC") -> bool:
    """Whether each daily row is what the formula says."""
    days = connection.execute(
        'SELECT date FROM "SpecialistAnalyticsDaily" UNION SELECT date FROM analytics.baseline'
    ).fetchall()
    return not any(diff_day(connection, day, time_zone) for (day,) in days)


def test_counters_become_daily_rows(settings: Settings, client: redis.Redis, connection: Connection) -> None:
    """Sources count under their names, unknown ones together, a missing one as direct; other keys are left alone."""
    client.mset(
        {
            key(): 5,
            key(source="search"): 4,
            key(source="direct"): 3,
            key(source=None): 2,
            "profile:view:anna::2026-01-15": 1,
            key(source="banner"): 20,
            key(source='"a":{b}\\,'): 9,
            key(source="NULL"): 1,
            key(kind="contact"): 6,
            key(kind="contact", source="banner"): 1,
            key("boris", "contact", day="2026-01-16"): 9,
            "session:profile:view": "x",
            "profile:viewers": "x",
        }
    )
    client.zadd("profile:views:leaderboard", {"anna": 45})
    add(client, event())
    said = result(settings)
    assert sources(connection, "anna", OLD) == (5, 4, 6, 30, 7)
    assert daily(connection) == {("anna", OLD): (45, 7), ("boris", date(2026, 1, 16)): (0, 9)}
    assert all_right(connection)
    assert "problems" not in said or set(said["problems"]) == {"total_differs"}
    assert (said["counters"], said["dates"], said["rows"], said["other"]) == (11, 2, 2, 30)


def test_what_is_bad_is_listed_and_stops_nothing(
    settings: Settings, client: redis.Redis, connection: Connection
) -> None:
    """Malformed keys, values that are no numbers of views, other types and unknown specialists are told by name."""
    client.mset(
        {
            key(): 5,
            "profile:view:anna:catalog": 1,
            key(day="2026-02-30"): 1,
            key(day=TODAY + timedelta(days=2)): 1,
            key(source="search"): "x",
            key(source="direct"): -1,
            key(source="banner"): 10**9,
            "contact:views:anna": "many",
            key("nobody"): 7,
            key("nobody", day="2026-01-16"): 1,
            **{key("boris", source=f"large{number}"): 999_999_999 for number in range(3)},
        }
    )
    client.rpush(key("Zoe"), "1")
    client.sadd("profile:views:Zoe", "1")
    assert problems(settings, first=date(2000, 1, 1)) == {
        ("malformed_key", "profile:view:anna:catalog"),
        ("bad_date", "profile:view:anna:catalog:2026-02-30"),
        ("bad_date", key(day=TODAY + timedelta(days=2))),
        ("bad_value", key(source="search")),
        ("bad_value", key(source="direct")),
        ("bad_value", "contact:views:anna"),
        ("too_large", key(source="banner")),
        ("too_large", "boris 2026-01-15: 2999999997 profile views, 0 contact views"),
        ("not_a_counter", key("Zoe")),
        ("not_a_counter", "profile:views:Zoe"),
        ("unknown_specialist", "nobody: 8 views"),
    }
    assert daily(connection) == {("anna", OLD): (5, 0)}


def test_no_specialist_s_name_reaches_a_terminal_as_it_is(
    settings: Settings, client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever asked the site for a specialist called by control characters cannot colour an operator's terminal."""
    client.mset({key("\x1b[31m"): 3, key("\x1b[31m", source="search"): 2_000_000_000, "profile:views:\x1b[31m": 9})
    listed = problems(settings)
    assert listed and all(subject.isprintable() for _, subject in listed)
    assert ("unknown_specialist", r"\x1b[31m: 3 views") in listed
    run_dry_import(settings, LegacyArguments())
    told = capsys.readouterr().out
    assert "unknown_specialist" in told and "\x1b" not in told


def test_an_unknown_specialist_is_imported_once_there_is_a_profile(
    settings: Settings, client: redis.Redis, connection: Connection
) -> None:
    """Even if the counters are gone by then."""
    client.set(key("carla"), 7)
    assert result(settings)["unknown_specialists"] == 1
    client.flushdb()
    add_specialists(connection, ["carla"])
    assert result(settings)["unknown_specialists"] == 0
    assert daily(connection) == {("carla", OLD): (7, 0)}


counters = st.dictionaries(
    st.tuples(
        st.sampled_from(SPECIALISTS),
        st.sampled_from(["profile", "contact"]),
        st.sampled_from(["catalog", "search", "direct", None, "banner", "mail"]),
        st.sampled_from([OLD, OLD + timedelta(days=1), TODAY - timedelta(days=1), TODAY]),
    ),
    st.integers(0, 50),
    max_size=12,
)
growth = st.lists(
    st.tuples(
        counters,
        st.lists(
            st.tuples(st.sampled_from(SPECIALISTS), st.sampled_from(["profile_view", "contact_view"])), max_size=3
        ),
        st.sampled_from(["import", "killed import", "nothing"]),
    ),
    min_size=1,
    max_size=4,
)


@hypothesis_settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rounds=growth, zone=st.sampled_from(["UTC", "Pacific/Kiritimati"]))
@pytest.mark.usefixtures("short_steps")
def test_any_counters_at_any_time(
    settings: Settings, client: redis.Redis, connection: Connection, rounds: list[Any], zone: str
) -> None:
    """However counters grow and events come in between imports, in the end all are counted, once."""
    connection.execute(
        'TRUNCATE "SpecialistAnalyticsDaily", analytics.baseline, analytics.legacy_counter, analytics.event,'
        " analytics.stream_position"
    )
    client.flushdb()
    settings = settings_with(settings, ANALYTICS_TIME_ZONE=zone)
    expected: Tally[tuple[str, date, bool]] = Tally()
    for grown, events, then in rounds:
        for (specialist, kind, source, day), views in grown.items():
            client.incrby(key(specialist, kind, source, day), views)
            expected[specialist, day, kind == "profile"] += views
        for specialist, type in events:
            add(client, event(specialist, type=type, occurredAt=f"{TODAY}T00:00:00+00:00"))
            local = TODAY if zone == "UTC" else datetime(TODAY.year, TODAY.month, TODAY.day, 14, tzinfo=UTC).date()
            expected[specialist, local, type == "profile_view"] += 1
        if events:
            drain(settings)
        if then == "import":
            steps(settings)
        elif then == "killed import":
            import_with_a_kill_everywhere(settings)
    steps(settings)
    views = {
        (specialist, day, is_profile): number
        for (specialist, day), both in daily(connection).items()
        for is_profile, number in zip((True, False), both, strict=True)
        if number
    }
    assert views == +expected
    assert all_right(connection, zone)


@pytest.mark.usefixtures("short_steps")
def test_killed_anywhere_it_comes_to_the_same(settings: Settings, client: redis.Redis, connection: Connection) -> None:
    """A kill after any step, and a step that is done twice, change neither rows nor result."""
    client.mset({key(specialist, day=OLD + timedelta(days=n)): n for specialist in SPECIALISTS for n in range(9)})
    client.mset({"profile:view:bad": 1, "profile:views:anna": 36, key("nobody"): 1})
    killed = import_with_a_kill_everywhere(settings)
    rows = daily(connection)
    assert rows == {(specialist, OLD + timedelta(days=n)): (n, 0) for specialist in SPECIALISTS for n in range(1, 9)}
    again = result(settings)
    assert {**killed, "rows": 0} == {**again, "rows": 0}
    assert daily(connection) == rows


@pytest.mark.usefixtures("short_steps")
def test_a_cursor_of_another_server_is_not_used(settings: Settings, connection: Connection) -> None:
    """After Redis was restarted in the middle, all keys are read from the first one on."""
    with (
        tempfile.TemporaryDirectory() as folder,
        EmbeddedRedis(Path(folder), conf={"appendonly": "yes", "appendfsync": "always"}) as server,
    ):
        its = settings_for(settings.database_url.get_secret_value(), server.url)
        with redis.Redis.from_url(server.url) as client:
            client.mset({key(day=OLD + timedelta(days=n)): 1 for n in range(200)})
        cursor: dict[str, Any] = {}
        execution = legacy_steps(its, 1, LegacyArguments(), {})
        for _ in range(20):
            cursor = next(execution).cursor
        assert (cursor["phase"], cursor["keys"]) == ("scan", 40)
        server.restart()
        scans = [step.cursor for step in legacy_steps(its, 1, LegacyArguments(), cursor)]
        assert scans[0]["server"] != cursor["server"]
        assert scans[0]["keys"] < cursor["keys"]
    assert len(daily(connection)) == 200


def test_rows_that_the_site_made_are_about_the_same_views(
    client: redis.Redis, redis_url: str, site_database: str
) -> None:
    """What the migration took over from a daily row is not added to what the counters say: the greater counts."""
    with psycopg.connect(site_database, autocommit=True) as connection:
        migrate(connection, migrations()[:1])
        add_specialists(connection, SPECIALISTS)
        write_daily_row(connection, "anna", OLD, 10, 5, 2, 3)
        write_daily_row(connection, "boris", OLD, 7, 0, 0, 0)
        migrate(connection, migrations())
        client.mset({key(): 12, key(source="search"): 4, key(source="banner"): 3, key(kind="contact"): 8})
        its = settings_for(site_database, redis_url)
        said = result(its)
        assert sources(connection, "anna", OLD) == (12, 5, 2, 3, 8)
        assert sources(connection, "boris", OLD) == (7, 0, 0, 0, 0)
        assert (said["rows"], said["more_than_counters_views"]) == (1, 3 + 7)
        assert all_right(connection)
        assert {**result(its), "rows": 1} == said


def test_a_row_that_the_site_made_later_is_not_lost(
    settings: Settings, client: redis.Redis, connection: Connection
) -> None:
    """A row of an old date that the site still wrote after the migration keeps what its counters no longer say."""
    write_daily_row(connection, "anna", OLD, 10, 5, 2, 3)
    write_daily_row(connection, "boris", OLD, 1, 1, 1, 1)
    client.mset({key(): 12, key(source="banner"): 3, key(kind="contact"): 3})
    found = problems(settings)
    assert sources(connection, "anna", OLD) == (12, 5, 2, 3, 3)
    assert sources(connection, "boris", OLD) == (1, 1, 1, 0, 1)
    assert ("more_than_counters", "anna 2026-01-15: 7 profile views, 0 contact views") in found
    assert ("more_than_counters", "boris 2026-01-15: 3 profile views, 1 contact views") in found
    assert all_right(connection)
    assert {reason for reason, _ in problems(settings)} == {reason for reason, _ in found}
    assert sources(connection, "anna", OLD) == (12, 5, 2, 3, 3)


def test_the_day_of_the_change_over(settings: Settings, client: redis.Redis, connection: Connection) -> None:
    """Half counters and half events come out as their sum, also where the site's row was there before ours."""
    write_daily_row(connection, "boris", TODAY, 3, 0, 0, 0)
    client.mset({key(day=TODAY): 6, key("boris", day=TODAY): 4})
    steps(settings)
    client.incrby(key(day=TODAY), 4)
    add(client, *(event() for _ in range(5)), event("boris"))
    drain(settings)
    assert daily(connection)["anna", TODAY] == (11, 0)
    steps(settings)
    assert daily(connection) == {("anna", TODAY): (15, 0), ("boris", TODAY): (5, 0)}
    assert all_right(connection)


def test_where_the_ledger_is_the_formula_is_right(
    settings: Settings, client: redis.Redis, connection: Connection
) -> None:
    """A row of a date with events that has more than counters and events say is put right, and told."""
    add(client, event())
    drain(settings)
    connection.execute('UPDATE "SpecialistAnalyticsDaily" SET "profileViews" = 50')
    client.set(key(day=TODAY), 6)
    assert ("row_had_more", f"anna {TODAY}: 43 profile views, 0 contact views") in problems(settings)
    assert daily(connection) == {("anna", TODAY): (7, 0)}


def test_sealed_days_stay(settings: Settings, client: redis.Redis, connection: Connection) -> None:
    """What was sealed of a date is added to its counters, as its events were before."""
    day = TODAY - timedelta(days=60)
    add(client, event(occurredAt=f"{day}T12:00:00Z"))
    drain(settings_with(settings, ANALYTICS_LEDGER_DAYS="0"))
    client.set(key(day=day), 6)
    steps(settings)
    assert daily(connection) == {("anna", day): (7, 0)}
    with connect_postgres(settings, "test") as worker:
        assert seal_oldest_day(worker, 35, "UTC") == day
    client.incr(key(day=day))
    steps(settings)
    assert daily(connection) == {("anna", day): (8, 0)}


def test_totals_are_compared(settings: Settings, client: redis.Redis, connection: Connection) -> None:
    """The result says how many totals are the sum of their parts, and by how much the others are not."""
    client.mset(
        {
            key(): 5,
            key(source="search"): 5,
            "profile:views:anna": 10,
            key("boris"): 1,
            "profile:views:boris": 4,
            key("Zoe"): 3,
            "profile:views:Zoe": 1,
            key(kind="contact"): 3,
            "contact:views:anna": 3,
            "contact:views:anna:phone": 1,
            "contact:views:anna:a:b": 1,
        }
    )
    assert result(settings)["totals"] == {
        "profile_views": {"agree": 1, "differ": 2, "total_has_more": 3, "total_has_less": 2},
        "contact_views": {"agree": 1, "differ": 0, "total_has_more": 0, "total_has_less": 0},
        "contact_types": {"agree": 0, "differ": 1, "total_has_more": 1, "total_has_less": 0},
    }
    assert problems(settings) == {
        ("total_differs", "profile_views of boris: 4 in all, 1 by their parts"),
        ("total_differs", "profile_views of Zoe: 1 in all, 3 by their parts"),
        ("total_differs", "contact_types of anna: 3 in all, 2 by their parts"),
    }
    assert "not compared" in result(settings, first=OLD)["totals"]


def test_only_some_dates(settings: Settings, client: redis.Redis, connection: Connection) -> None:
    """With dates only their counters are read, and only their rows are written."""
    client.mset({key(day=OLD + timedelta(days=n)): 1 for n in range(5)})
    steps(settings, first=OLD + timedelta(days=1), last=OLD + timedelta(days=2))
    assert {day for _, day in daily(connection)} == {OLD + timedelta(days=1), OLD + timedelta(days=2)}
    steps(settings, last=OLD)
    assert len(daily(connection)) == 3


def test_a_deleted_specialist_keeps_nobody_up(settings: Settings, client: redis.Redis, connection: Connection) -> None:
    """Who was imported and then deleted is unknown the next time."""
    client.mset({key(): 1, key("boris"): 1})
    steps(settings)
    connection.execute("""DELETE FROM "SpecialistProfile" WHERE "id" = 'anna'""")
    assert result(settings)["unknown_specialists"] == 1
    assert daily(connection) == {("boris", OLD): (1, 0)}


def everything(connection: Connection) -> list[Any]:
    tables = ['"SpecialistAnalyticsDaily"', "analytics.baseline", "analytics.legacy_counter", "analytics.legacy_total"]
    return [
        connection.execute(f"SELECT ctid, xmin, t.* FROM {table} AS t ORDER BY 1".encode()).fetchall()
        for table in tables
    ]


def test_a_dry_run_says_what_an_import_does(
    settings: Settings, client: redis.Redis, connection: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    """It writes nothing, counts the rows that will change, and afterwards there are none."""
    client.mset({key(): 5, key("boris"): 1, key(day="2026-01-16"): 2, "profile:view:bad": 1, key("nobody"): 1})
    steps(settings, last=OLD)
    client.incr(key("boris"))
    write_daily_row(connection, "anna", date(2026, 1, 16), 2, 0, 0, 0)
    write_daily_row(connection, "Zoe", date(2026, 1, 16), 2, 0, 0, 0)
    before = everything(connection)
    assert run_dry_import(settings, LegacyArguments()) == 1
    assert everything(connection) == before
    said = dict(line.rsplit(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert (said["counters"], said["dates"], said["specialists"], said["rows"], said["catalog"]) == (
        "4",
        "2",
        "2",
        "1",
        "9",
    )
    assert said["malformed_key"] == "profile:view:bad"
    done = result(settings)
    assert (done["rows"], done["catalog"], done["more_than_counters_views"]) == (1, 9, 2)
    assert run_dry_import(settings, LegacyArguments()) == 0


def test_as_a_run(settings: Settings, client: redis.Redis, connection: Connection) -> None:
    """The command does it in steps that are kept, and shows what could not be used; a wrong range is one line."""
    client.mset({key(): 5, "profile:view:bad": 1})
    code, _, errors = run_worker(settings, "backfill", "legacy-counters", "--now")
    assert code == 0, errors
    assert daily(connection) == {("anna", OLD): (5, 0)}
    _, shown, _ = run_worker(settings, "runs", "1")
    assert "malformed_key" in shown and "profile:view:bad" in shown
    code, said, _ = run_worker(settings, "backfill", "legacy-counters", "--dry-run")
    assert (code, "rows" in said) == (0, True)
    code, _, errors = run_worker(settings, "backfill", "legacy-counters", "--from", "2026-02-01", "--to", "2026-01-01")
    assert (code, errors.count("\n")) == (2, 1)


def test_while_events_are_counted_and_counters_grow(
    settings: Settings, client: redis.Redis, connection: Connection
) -> None:
    """Imports beside the live path lose nothing of the same date, and add nothing twice."""
    over = Flag()
    with ThreadPoolExecutor() as background:
        counting = background.submit(run_shard, settings, 0, over.is_set)
        try:
            for number in range(12):
                importing = background.submit(steps, settings)
                while not importing.done():
                    add(client, event(), event("boris", type="contact_view"))
                    client.incr(key(day=TODAY))
                importing.result()
                client.incr(key("Zoe", source=f"spelling {number}", day=TODAY))
            sent = client.xlen("analytics:events") // 2
            wait_until(lambda: books(connection)[0] == 2 * sent, "all events are counted")
        finally:
            over.set()
        counting.result()
    steps(settings)
    assert sent > 12
    assert daily(connection) == {("anna", TODAY): (2 * sent, 0), ("boris", TODAY): (0, sent), ("Zoe", TODAY): (12, 0)}
    assert all_right(connection)
