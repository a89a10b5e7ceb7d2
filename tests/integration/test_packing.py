"""Packed months only make a reading quick: whatever is written and whenever, it says what it says of the days."""

import json
import random
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date, timedelta
from types import ModuleType
from typing import Any, cast
from uuid import uuid4

import psycopg
import pytest
import redis
from psycopg.types.json import Jsonb

from tests.counting import TODAY, TODAY_MS, add, drain, event
from tests.support import add_outcomes, add_specialists, settings_for, settings_with, site_creates, wait_until
from worker.daily.outcomes import refresh_outcomes
from worker.daily.recompute import recompute_days
from worker.daily.visitors import refresh_visitors_of_ledger, sketch_of
from worker.migrations import migrate, migrations
from worker.operations import erase
from worker.operations.erase import (
    EraseSpecialist,
    EraseVisitor,
    erase_specialist_steps,
    erase_visitor_steps,
)
from worker.operations.legacy import LegacyArguments, legacy_steps
from worker.queries import query
from worker.reading.period import PeriodName, parse_period
from worker.reading.read import NoSpecialist, read
from worker.reading.shape import Reading
from worker.settings import Settings
from worker.store import Connection, connect_postgres, create_partition, seal_oldest_day
from worker.upkeep import packing
from worker.upkeep.packing import Step, compare_packed_months, pack_months, pack_steps

DAY = timedelta(days=1)
DAY_MS = 86_400_000
NEWEST = TODAY - 3 * DAY
"""The last day that is packed."""
SPECIALISTS = ["anna", "boris", "clara"]
"""Of clara there is never anything but what a test writes."""

Asked = tuple[str | None, str | None, str | None]
PERIODS: Sequence[Asked] = [
    *((period.value, None, None) for period in PeriodName),
    (None, str(TODAY - 45 * DAY), str(TODAY - 20 * DAY)),
    (None, str(NEWEST - 3 * DAY), str(NEWEST)),
]


@pytest.fixture(autouse=True)
def _specialists(connection: Connection) -> None:
    add_specialists(connection, SPECIALISTS)


@pytest.fixture(autouse=True)
def _few_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "SPECIALISTS_AT_ONCE", 2)


def readings(
    connection: Connection,
    settings: Settings,
    specialists: Sequence[str] = SPECIALISTS,
    asked: Sequence[Asked] = PERIODS,
) -> dict[tuple[str, Asked], Reading | None]:
    """What is said of each specialist and period; None where there is no such specialist."""

    def reading(specialist: str, period: Asked) -> Reading | None:
        try:
            return read(settings, connection, specialist, parse_period(*period, TODAY))
        except NoSpecialist:
            return None

    return {(specialist, period): reading(specialist, period) for specialist in specialists for period in asked}


def assert_true(connection: Connection, settings: Settings, *which: Any) -> None:
    """A reading says what it says if nothing is packed."""
    found = readings(connection, settings, *which)
    with connection.transaction(force_rollback=True):
        connection.execute("UPDATE analytics.packing SET through = NULL")
        assert found == readings(connection, settings, *which)


def pack(settings: Settings) -> list[Step]:
    with connect_postgres(settings, "test") as worker:
        return list(pack_steps(worker, settings.time_zone))


def packed_through(connection: Connection) -> date | None:
    row = connection.execute("SELECT through FROM analytics.packing").fetchone()
    assert row is not None
    return cast("date | None", row[0])


def notes(connection: Connection) -> set[tuple[str, date]]:
    return set(connection.execute("SELECT specialist_id, month FROM analytics.changed_month").fetchall())


def packed_months(connection: Connection, specialist: str = "anna") -> list[date]:
    rows = connection.execute(
        "SELECT month FROM analytics.packed_month WHERE specialist_id = %s ORDER BY month", [specialist]
    )
    return [month for (month,) in rows]


def write_day(
    connection: Connection, day: date, profile_views: int = 5, specialist: str = "anna", contact_views: int = 0
) -> None:
    connection.execute(
        """INSERT INTO "SpecialistAnalyticsDaily"
               ("id", "specialistId", "date", "profileViews", "contactViews", "sources", "updatedAt")
           VALUES (gen_random_uuid()::text, %s, %s, %s, %s, %s, now())
           ON CONFLICT ("specialistId", "date") DO UPDATE SET
               "profileViews" = excluded."profileViews", "contactViews" = excluded."contactViews",
               "sources" = excluded."sources" """,
        [specialist, day, profile_views, contact_views, Jsonb({"search": profile_views // 2})],
    )


def write_visitors(connection: Connection, day: date, number: int, specialist: str = "anna") -> None:
    connection.execute(
        """INSERT INTO analytics.daily_visitors (date, specialist_id, visitors, events, time_zone, sketch)
           VALUES (%s, %s, %s, %s, 'UTC', %s)
           ON CONFLICT (date, specialist_id) DO UPDATE SET visitors = excluded.visitors, sketch = excluded.sketch""",
        [day, specialist, number, number, sketch_of(random.randbytes(8 * number))],
    )


def write_contact(connection: Connection, day: date, specialist: str = "anna", kind: str | None = "phone") -> None:
    """As the live path: the event and its daily row in one transaction."""
    with connection.transaction():
        connection.execute(
            """INSERT INTO analytics.event
                   (day, event_id, occurred_at, type, source, specialist_id, contact_type, entry_id, stream)
               VALUES (%s, %s, %s, 'contact_view', 'direct', %s, %s, '0-0', 0)""",
            [day, uuid4(), f"{day} 12:00+00", specialist, kind],
        )
        write_day(connection, day, specialist=specialist, contact_views=random.randint(1, 9))


def months_back(connection: Connection, days: int = 100) -> None:
    """Days of anna and boris, some of which are missing, with visitors; contact views where there is a ledger."""
    for ago in range(days):
        day = TODAY - ago * DAY
        if ago < 40:
            create_partition(connection, day)
        if ago % 7:
            write_day(connection, day, 10 + ago)
            write_visitors(connection, day, 1 + ago % 5)
        if not ago % 4:
            write_day(connection, day, ago, "boris")
        if ago < 40 and not ago % 3:
            write_contact(connection, day, kind=["phone", "email", None][ago % 9 // 3])


def test_a_reading_is_made_of_packed_months(settings: Settings, connection: Connection) -> None:
    """What is packed is read: of a year that is packed only the last days are taken from their tables."""
    months_back(connection)
    pack(settings)
    assert packed_through(connection) == NEWEST
    assert_true(connection, settings)
    before = readings(connection, settings, ["anna"])
    with connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute(
            'DELETE FROM "SpecialistAnalyticsDaily" WHERE date BETWEEN %s AND %s', [TODAY - 90 * DAY, NEWEST]
        )
        connection.execute("DELETE FROM analytics.daily_visitors WHERE date <= %s", [NEWEST])
        connection.execute("DELETE FROM analytics.event WHERE day <= %s", [NEWEST])
        assert readings(connection, settings, ["anna"]) == before


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Pacific/Kiritimati"])
def test_every_writer(
    settings: Settings, database: str, connection: Connection, client: redis.Redis, zone: str
) -> None:
    """Whoever writes about days that are packed: readings are right at once, and after they were packed anew."""
    site_creates(connection, "ConsultationRequest", "Order", "Review")
    migrate(connection, migrations())
    settings = settings_with(settings, ANALYTICS_TIME_ZONE=zone, ANALYTICS_SECRET="a long random text")
    owner = settings_with(settings, DATABASE_URL=database)
    kinds = ["phone", "email", "telegram", None]

    def send(*days: int) -> None:
        for ago in days:
            for number, specialist in enumerate(["anna", "anna", "boris"]):
                add(
                    client,
                    event(
                        specialist,
                        occurredAt=TODAY_MS - ago * DAY_MS + number * DAY_MS // 3,
                        visitorId=f"v{ago % 4 + number}",
                    ),
                    event(
                        specialist,
                        type="contact_view",
                        occurredAt=TODAY_MS - ago * DAY_MS,
                        contactType=kinds[ago % 4],
                        source=None,
                    ),
                )
        drain(settings)

    def with_worker(what: Callable[[Connection], Any]) -> None:
        with connect_postgres(settings, "test") as worker:
            what(worker)

    def legacy(*days: int) -> None:
        for ago in days:
            client.set(f"profile:view:anna:search:{TODAY - ago * DAY}", ago)
            client.set(f"contact:view:boris:direct:{TODAY - ago * DAY}", 3)
        list(legacy_steps(settings, new_run("legacy"), LegacyArguments(), {}))

    def outcomes() -> None:
        moment = next(iter(connection.execute("SELECT now() - interval '20 days'")))[0]
        add_outcomes(connection, "ConsultationRequest", "anna", moment, moment)
        add_outcomes(connection, "Order", "clara", moment)
        with_worker(lambda worker: [refresh_outcomes(worker, TODAY - ago * DAY, zone) for ago in (19, 20, 21)])

    def recompute() -> None:
        connection.execute('UPDATE "SpecialistAnalyticsDaily" SET "profileViews" = 7 WHERE date < %s', [NEWEST])
        pack(settings)
        with_worker(lambda worker: list(recompute_days(worker, TODAY - 25 * DAY, TODAY - 10 * DAY, zone)))

    def new_run(kind: str) -> int:
        row = connection.execute(
            "INSERT INTO analytics.run (kind, arguments, operator, state, started_at)"
            " VALUES (%s, %s, 'tester', 'running', now()) RETURNING id", [kind, json.dumps({"this": str(uuid4())})],
        ).fetchone()  # fmt: skip
        assert row is not None
        return cast("int", row[0])

    def site(statement: str) -> Callable[[], Any]:
        return lambda: connection.execute(statement.encode())

    def forget_a_visitor() -> None:
        list(erase_visitor_steps(owner, new_run("erase-visitor"), EraseVisitor.of(owner, "v1"), {}))
        refresh_visitors_of_ledger(settings)

    def remove_boris() -> None:
        arguments = EraseSpecialist(specialist="boris", force=True)
        list(erase_specialist_steps(owner, new_run("erase-specialist"), arguments, {}))
        assert "boris" not in {specialist for specialist, _ in notes(connection)}
        assert packed_months(connection, "boris") == []

    writers: list[Callable[[], Any]] = [
        lambda: send(*range(30, 0, -1)),
        lambda: refresh_visitors_of_ledger(settings),
        lambda: legacy(50, 51, 80, 400),
        outcomes,
        lambda: send(4, 9, 28),
        lambda: refresh_visitors_of_ledger(settings),
        recompute,
        lambda: legacy(55, 200, 800),
        site('UPDATE "SpecialistAnalyticsDaily" SET "orders" = 9, "date" = "date" - 1000 WHERE "profileViews" = 1'),
        site("""UPDATE "SpecialistAnalyticsDaily" SET "specialistId" = 'clara' WHERE "specialistId" = 'boris'
                AND "date" < current_date - 22"""),
        site('DELETE FROM "SpecialistAnalyticsDaily" WHERE "date" < current_date - 5 AND "date" > current_date - 12'),
        forget_a_visitor,
        lambda: seal_oldest_day_of(connection),
        lambda: seal_oldest_day_of(connection),
        lambda: send(16, 6),
        remove_boris,
        lambda: send(5),
        site("""UPDATE "SpecialistProfile" SET "id" = 'dora' WHERE "id" = 'clara'"""),
        site("""DELETE FROM "SpecialistProfile" WHERE "id" = 'anna'"""),
        site("""INSERT INTO "SpecialistProfile" ("id") VALUES ('anna'), ('clara')"""),
        lambda: send(8),
        site('TRUNCATE "SpecialistAnalyticsDaily"'),
        site("TRUNCATE analytics.daily_visitors"),
    ]

    def seal_oldest_day_of(connection: Connection) -> None:
        sealed = seal_oldest_day(connection, 20, zone)
        assert sealed is not None

    everybody = [*SPECIALISTS, "dora"]
    for write in writers:
        write()
        assert_true(connection, settings, everybody)
        pack(settings)
        assert packed_through(connection) == NEWEST
        assert {month for _, month in notes(connection) if month <= NEWEST} == set()
        assert_true(connection, settings, everybody)


@pytest.mark.parametrize("seed", range(6))
def test_anything_in_any_order(settings: Settings, connection: Connection, seed: int) -> None:
    """Writes by chance, and packing that is broken off anywhere, of any day: after each one readings are right."""
    chance = random.Random(seed)
    months_back(connection, 70)
    for _ in range(60):
        someone, other = chance.sample(SPECIALISTS, 2)
        which = {"who": someone, "other": other, "day": any_day(chance)}
        for statement in anything(settings, connection, chance, someone):
            connection.execute(statement.encode(), which)
        assert_true(connection, settings, [someone, other], [chance.choice(PERIODS), ("year", None, None)])


def any_day(chance: random.Random, days: int = 75) -> date:
    return TODAY - chance.randrange(days) * DAY


def anything(settings: Settings, connection: Connection, chance: random.Random, someone: str) -> list[str]:
    """Do something, or say what to execute."""
    match chance.randrange(11):
        case 0:
            pack(settings)
        case 1 | 2:
            with connect_postgres(settings, "test") as worker:
                steps = cast("Any", pack_steps(worker, "UTC"))
                for _ in zip(range(chance.randrange(6)), steps, strict=False):
                    pass
                steps.close()
        case 3 | 4:
            write_day(connection, any_day(chance), chance.randrange(30), someone)
        case 5:
            write_visitors(connection, any_day(chance), chance.randrange(3), someone)
        case 6:
            write_contact(connection, any_day(chance, 40), someone, chance.choice(["phone", "email", None]))
        case 7:  # as it was some days ago
            return [
                "UPDATE analytics.packing SET through = least(through, %(day)s), packing_through = NULL,"
                " after_specialist = ''"
            ]
        case 8:
            return ['DELETE FROM "SpecialistAnalyticsDaily" WHERE "specialistId" = %(who)s AND date = %(day)s']
        case 9:
            return [
                'DELETE FROM "SpecialistAnalyticsDaily" WHERE "specialistId" = %(other)s AND date = %(day)s',
                'UPDATE "SpecialistAnalyticsDaily" SET "specialistId" = %(other)s'
                ' WHERE "specialistId" = %(who)s AND date = %(day)s',
            ]
        case _:
            return ["DELETE FROM analytics.daily_visitors WHERE specialist_id = %(who)s AND date = %(day)s"]
    return []


def at(monkeypatch: pytest.MonkeyPatch, statement: str, what: Callable[[], Any], module: ModuleType = packing) -> None:
    """Do something once, just before whoever packs, or does what else that module does, executes a statement."""
    done = False

    def asked(name: str) -> bytes:
        nonlocal done
        if name == statement and not done:
            done = True
            what()
        return query(name)

    monkeypatch.setattr(module, "query", asked)


@pytest.mark.parametrize("statement", ["delete_change_notes", "delete_packed_months", "pack_month"])
def test_a_write_between_two_statements(
    settings: Settings, connection: Connection, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    """What is committed at any moment of the packing is in the row, or is noted."""
    months_back(connection)
    pack(settings)
    day = (NEWEST - 40 * DAY).replace(day=12)
    write_day(connection, day, 1_000)

    def write() -> None:
        write_day(connection, day, 2_000)
        write_day(connection, day + DAY, 3_000)
        write_visitors(connection, day, 50)

    at(monkeypatch, statement, write)
    pack(settings)
    assert_true(connection, settings)
    pack(settings)
    assert_true(connection, settings)
    assert notes(connection) == set()


def test_a_write_that_is_committed_later(settings: Settings, database: str, connection: Connection) -> None:
    """A transaction that was open all the while is not lost, and a reading sees it from its commit on."""
    months_back(connection)
    with psycopg.connect(database) as writer:
        write_day(writer, NEWEST, 1_000)
        write_visitors(writer, NEWEST - 40 * DAY, 3)
        pack(settings)
        assert_true(connection, settings)
        before = readings(connection, settings)
    assert readings(connection, settings) != before
    assert_true(connection, settings)
    pack(settings)
    assert_true(connection, settings)
    assert notes(connection) == set()


def test_two_who_pack(settings: Settings, database: str, connection: Connection) -> None:
    """Who finds somebody else packing leaves, and says that he did nothing; two at once do everything once."""
    months_back(connection)
    with psycopg.connect(database) as other:
        other.execute("SELECT FROM analytics.packing FOR UPDATE")
        assert pack_months(settings) == {"months": 0}
    with ThreadPoolExecutor() as pool:
        list(pool.map(pack_months, [settings] * 3))
    pack(settings)
    assert_true(connection, settings)
    assert pack_months(settings) == {"months": 0}


def test_broken_off_anywhere(settings: Settings, connection: Connection) -> None:
    """After any number of steps readings are right, and the next run goes on from there."""
    months_back(connection)
    total = sum(step.months for step in pack(settings))
    connection.execute("UPDATE analytics.packing SET through = NULL, packing_through = NULL, after_specialist = ''")
    done = 0
    while True:
        with connect_postgres(settings, "test") as worker:
            step = next(pack_steps(worker, "UTC"), None)
        assert_true(connection, settings)
        if step is None:
            break
        done += step.months
    assert done == total


def test_no_run_is_long(settings: Settings, connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that has used up its time ends with its step; the next ones pack the rest."""
    months_back(connection)
    monkeypatch.setattr(packing, "SLICE_S", 0.0)
    runs = 0
    while packed_through(connection) != NEWEST:
        runs += 1
        pack_months(settings)
    assert runs > 5
    assert_true(connection, settings)


def test_the_next_day(settings: Settings, connection: Connection) -> None:
    """While the month is packed a day further, for one half of the specialists it is: all readings are right, also of
    what changes meanwhile."""
    months_back(connection)
    pack(settings)
    connection.execute("UPDATE analytics.packing SET through = %s", [NEWEST - 2 * DAY])
    for changed in ("anna", "clara"):
        with connect_postgres(settings, "test") as worker:
            next(pack_steps(worker, "UTC"))
        assert_true(connection, settings)
        write_day(connection, NEWEST, 77, changed)
        write_contact(connection, NEWEST - DAY, changed)
        assert_true(connection, settings)
    pack(settings)
    assert_true(connection, settings)
    assert (packed_through(connection), notes(connection)) == (NEWEST, set())


def test_another_zone(settings: Settings, connection: Connection) -> None:
    """What was packed by another midnight is not read; it is packed anew."""
    months_back(connection)
    pack(settings)
    moved = settings_with(settings, ANALYTICS_TIME_ZONE="Pacific/Kiritimati")
    assert_true(connection, moved)
    steps = pack(moved)
    assert len(steps) > 5
    assert_true(connection, moved)
    for _ in range(3):  # an older process with the former setting changes its mind, and is broken off
        with connect_postgres(settings, "test") as worker:
            next(pack_steps(worker, "UTC"))
        assert_true(connection, moved)
        assert_true(connection, settings)


def test_a_role_that_knows_nothing_of_us(settings: Settings, connection: Connection) -> None:
    """The site's role writes its table without any right in our schema, and what it writes is noted."""
    months_back(connection)
    pack(settings)
    connection.execute("CREATE ROLE the_site")
    try:
        connection.execute(
            'GRANT ALL ON "SpecialistAnalyticsDaily", "SpecialistProfile" TO the_site;'
            "GRANT USAGE ON SCHEMA public TO the_site"
        )
        connection.execute("SET ROLE the_site; SET timezone = 'Etc/GMT+12'")
        write_day(connection, NEWEST, 99)
        connection.execute('DELETE FROM "SpecialistAnalyticsDaily" WHERE "date" = %s', [NEWEST - 40 * DAY])
        connection.execute("""DELETE FROM "SpecialistProfile" WHERE "id" = 'boris'""")
        connection.execute("RESET ROLE")
        changed = notes(connection)
        assert ("anna", NEWEST.replace(day=1)) in changed and len(
            {month for who, month in changed if who == "boris"}
        ) > 3
        assert_true(connection, settings)
        connection.execute("SET ROLE the_site")
        connection.execute('TRUNCATE "SpecialistAnalyticsDaily"')
        connection.execute("RESET ROLE")
        assert packed_through(connection) is None
        assert_true(connection, settings)
    finally:
        connection.execute("RESET ROLE; DROP OWNED BY the_site; DROP ROLE the_site")


def test_a_deleted_specialist(settings: Settings, connection: Connection) -> None:
    """Of whom the site has deleted nothing is packed any more; boris has no visitor and no contact view."""
    months_back(connection)
    pack(settings)
    assert len(packed_months(connection, "boris")) > 3
    connection.execute("""DELETE FROM "SpecialistProfile" WHERE "id" = 'boris'""")
    pack(settings)
    assert (packed_months(connection, "boris"), notes(connection)) == ([], set())


def test_truncating_while_it_is_packed(
    settings: Settings, database: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who truncates waits for the step in hand, without a deadlock, and then nothing is packed."""
    months_back(connection)
    pack(settings)
    write_day(connection, NEWEST)
    with ThreadPoolExecutor() as pool, psycopg.connect(database, autocommit=True) as site:

        def truncate() -> None:
            pool.submit(site.execute, b'TRUNCATE "SpecialistAnalyticsDaily"')
            wait_until(
                lambda: bool(connection.execute("SELECT FROM pg_locks WHERE NOT granted").fetchall()), "it waits for us"
            )

        at(monkeypatch, "delete_change_notes", truncate)
        with connect_postgres(settings, "test") as worker:
            next(pack_steps(worker, "UTC"))
        wait_until(lambda: packed_through(connection) is None, "it was truncated")
    assert_true(connection, settings)
    assert readings(connection, settings)["anna", ("year", None, None)] is not None


def erasing_run(connection: Connection) -> int:
    """A run that erases a specialist, and has begun."""
    row = connection.execute(
        "INSERT INTO analytics.run (kind, arguments, operator, state, started_at)"
        " VALUES ('erase-specialist', '{}', 'tester', 'running', now()) RETURNING id"
    ).fetchone()
    assert row is not None
    return cast("int", row[0])


def begin_to_truncate(pool: ThreadPoolExecutor, database: str, connection: Connection) -> "Future[None]":
    """The site takes away all specialists, and with them their days, and has to wait for somebody."""

    def truncate() -> None:
        with psycopg.connect(database, autocommit=True) as site:
            site.execute('TRUNCATE "SpecialistProfile" CASCADE')

    truncating = pool.submit(truncate)
    wait_until(lambda: bool(connection.execute("SELECT FROM pg_locks WHERE NOT granted").fetchall()), "it waits for us")
    return truncating


def test_truncating_all_while_it_is_packed(
    settings: Settings, database: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who truncates more than the days waits before he has any table that the step in hand wants: no deadlock."""
    months_back(connection)
    pack(settings)
    connection.execute("UPDATE analytics.packing SET through = %s", [NEWEST - 2 * DAY])
    truncating: list[Future[None]] = []
    with ThreadPoolExecutor() as pool, connect_postgres(settings, "test") as worker:
        at(monkeypatch, "list_specialists", lambda: truncating.append(begin_to_truncate(pool, database, connection)))
        next(pack_steps(worker, "UTC"))
    assert [each.result() for each in truncating] == [None]
    assert packed_through(connection) is None


def test_truncating_all_while_it_is_erased(
    settings: Settings, database: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who truncates while what is packed is erased waits before he has any table that is wanted there: no deadlock."""
    months_back(connection)
    pack(settings)
    owner = settings_with(settings, DATABASE_URL=database)
    arguments = EraseSpecialist(specialist="anna", force=True)
    truncating: list[Future[None]] = []
    with ThreadPoolExecutor() as pool:
        at(
            monkeypatch,
            "erase_packed_months",
            lambda: truncating.append(begin_to_truncate(pool, database, connection)),
            module=erase,
        )
        list(erase_specialist_steps(owner, erasing_run(connection), arguments, {}))
    assert [each.result() for each in truncating] == [None]
    assert packed_through(connection) is None


def test_erasing_while_it_is_packed(
    settings: Settings, database: str, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who was about to add a specialist's days when they were erased is waited for: at the end nothing is there."""
    months_back(connection)
    pack(settings)
    connection.execute("UPDATE analytics.packing SET through = %s", [NEWEST - 2 * DAY])
    owner = settings_with(settings, DATABASE_URL=database)
    run = erasing_run(connection)
    with ThreadPoolExecutor() as pool:

        def erase() -> None:
            arguments = EraseSpecialist(specialist="anna", force=True)
            running = pool.submit(lambda: list(erase_specialist_steps(owner, run, arguments, {})))
            wait_until(
                lambda: running.done() or bool(connection.execute("SELECT FROM pg_locks WHERE NOT granted").fetchall()),
                "all is erased, but for what is packed",
            )

        at(monkeypatch, "note_packing", erase)
        pack(settings)
    assert packed_months(connection) == []
    assert "anna" not in {specialist for specialist, _ in notes(connection)}
    assert_true(connection, settings)


def test_what_comes_while_it_is_erased(settings: Settings, database: str, connection: Connection) -> None:
    """A late event of a specialist whom the site still has, between the days and the rest, is in every reading."""
    months_back(connection)
    pack(settings)
    owner = settings_with(settings, DATABASE_URL=database)
    run = erasing_run(connection)
    for step in erase_specialist_steps(owner, run, EraseSpecialist(specialist="anna", force=True), {}):
        if step.total and step.done == step.total - 1:
            write_contact(connection, NEWEST - 10 * DAY)
        assert_true(connection, settings)
    pack(settings)
    assert_true(connection, settings)
    assert readings(connection, settings)["anna", ("year", None, None)] is not None


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE analytics.packed_month SET numbers[1][4] = 99 WHERE numbers <> '{}'",
        "UPDATE analytics.packed_month SET typed_views[1] = 99 WHERE typed_views <> '{}'",
        "DELETE FROM analytics.packed_month",
        'INSERT INTO analytics.packed_month SELECT (jsonb_populate_record(packed, \'{"specialist_id": "clara"}\')).*'
        " FROM analytics.packed_month AS packed WHERE specialist_id = 'anna'",
    ],
)
def test_a_wrong_row_is_found(settings: Settings, connection: Connection, damage: str) -> None:
    """Where a hand or a mistake of ours was in it, it is said, the days are read from then on, and packed anew."""
    months_back(connection)
    pack(settings)
    for _ in range(20):
        assert compare_packed_months(settings) == 0
    before = readings(connection, settings)
    connection.execute(damage.encode())
    assert readings(connection, settings) != before

    def right_again() -> bool:
        compare_packed_months(settings)
        return readings(connection, settings) == before

    wait_until(right_again, "each month was picked", 60)
    pack(settings)
    assert (readings(connection, settings), notes(connection)) == (before, set())


def test_sealed_days_are_not_wrong(settings: Settings, connection: Connection) -> None:
    """That the contact views of a packed month are no longer in the ledger is no difference."""
    months_back(connection)
    pack(settings)
    for _ in range(5):
        assert seal_oldest_day(connection, 10, "UTC")
    for _ in range(40):
        assert compare_packed_months(settings) == 0


def test_nothing_to_pack(settings: Settings, connection: Connection) -> None:
    """Without a day there is nothing to be done, and nothing wrong."""
    pack(settings)
    assert compare_packed_months(settings) == 0
    assert packed_through(connection) is None
    assert_true(connection, settings)


def test_a_day_of_long_ago(settings: Settings, connection: Connection) -> None:
    """A single row of another century does not have all the months since then packed one by one."""
    write_day(connection, date(1800, 2, 3))
    months_back(connection, 10)
    assert len(pack(settings)) < 30
    assert_true(connection, settings)


def test_a_database_that_was_there_before(site_database: str, redis_url: str) -> None:
    """A database that is full of days gets its packed months where it is, and says the same before and after."""
    settings = settings_for(site_database, redis_url)
    with psycopg.connect(site_database, autocommit=True) as owner:
        add_specialists(owner, SPECIALISTS)
        all_of_them = migrations()
        before = [migration.name for migration in all_of_them].index("0019_packed_months")
        migrate(owner, all_of_them[:before])
        months_back(owner)
        migrate(owner, all_of_them)
        said = readings(owner, settings)
        write_day(owner, NEWEST - 50 * DAY, 1_000)
        assert readings(owner, settings) != said
        assert_true(owner, settings)
        pack(settings)
        assert_true(owner, settings)
        assert (packed_through(owner), notes(owner)) == (NEWEST, set())


def test_nobody_notes_what_changes(settings: Settings, database: str, connection: Connection) -> None:
    """Where a trigger is missing nothing counts as packed any more, until `migrate` has made it again."""
    months_back(connection)
    pack(settings)
    with psycopg.connect(database, autocommit=True) as owner:
        owner.execute('DROP TRIGGER note_changed_update ON "SpecialistAnalyticsDaily"')
        write_day(connection, NEWEST - 40 * DAY, 1_000)
        pack(settings)
        assert packed_through(connection) is None
        assert_true(connection, settings)
        migrate(owner, migrations())
    pack(settings)
    assert packed_through(connection) == NEWEST
    assert_true(connection, settings)


def test_a_clock_that_was_ahead(settings: Settings, connection: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was packed of days that are not over, by a clock that was ahead, is not read when the clock is right."""
    months_back(connection, 20)
    monkeypatch.setattr(packing, "query", lambda name: query(name).replace(b"::date - 3", b"::date + 2"))
    pack(settings)
    assert packed_through(connection) == TODAY + 2 * DAY
    monkeypatch.undo()
    write_day(connection, TODAY, 1_000)
    pack(settings)
    assert packed_through(connection) == NEWEST
    assert_true(connection, settings)
