"""With ANALYTICS_PROFILE_TOTALS the site's profiles have the sum of all days, and the site never waits for us."""

from datetime import date, timedelta
from threading import Thread
from typing import Any

import psycopg
import pytest
import redis

import jobs.outcomes
from tests.counting import TODAY, add, drain, event
from tests.support import WORKER_ROLE, add_specialists, environment, run_worker, settings_with
from worker.daily.profile_totals import refresh_profile_totals
from worker.errors import Retry, Stop
from worker.settings import Settings
from worker.store import Connection

GRANT = (
    'GRANT SELECT ("profileViews", "contactViews"), UPDATE ("profileViews", "contactViews") ON "SpecialistProfile"'
    f" TO {WORKER_ROLE}"
)
OLD = TODAY - timedelta(days=60)


@pytest.fixture
def switched_on(connection: Connection, settings: Settings) -> Settings:
    """Three specialists, and a worker that may write their totals and is to."""
    add_specialists(connection, ["anna", "boris", "clara"])
    connection.execute(GRANT.encode())
    return settings_with(settings, ANALYTICS_PROFILE_TOTALS="1")


def views(connection: Connection, specialist: str, day: date, profile: int, contact: int) -> None:
    connection.execute(
        'INSERT INTO "SpecialistAnalyticsDaily"'
        ' ("id", "specialistId", date, "profileViews", "contactViews", "updatedAt")'
        " VALUES (gen_random_uuid()::text, %s, %s, %s, %s, now())",
        [specialist, day, profile, contact],
    )


def count(settings: Settings, client: redis.Redis, *events: dict[Any, Any]) -> None:
    add(client, *events)
    drain(settings)


def totals(connection: Connection) -> dict[str, tuple[int, int]]:
    rows = connection.execute('SELECT "id", "profileViews", "contactViews" FROM "SpecialistProfile"').fetchall()
    return {specialist: (profile, contact) for specialist, profile, contact in rows}


def versions(connection: Connection) -> dict[str, Any]:
    """Others for who was written, or only locked."""
    return dict(connection.execute('SELECT "id", (xmin, xmax)::text FROM "SpecialistProfile"').fetchall())


def test_off_by_default(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Without the setting no row is touched, and no right is there to touch one."""
    add_specialists(connection, ["anna"])
    count(settings, client, event())
    before = versions(connection)
    assert refresh_profile_totals(settings) == 0
    assert versions(connection) == before
    assert totals(connection) == {"anna": (0, 0)}


def test_the_sum_of_all_days(switched_on: Settings, connection: Connection, client: redis.Redis) -> None:
    """Switched on, every profile gets its sum, also who had more; then those alone are written that changed."""
    views(connection, "anna", OLD, 5, 2)
    views(connection, "boris", TODAY - timedelta(days=1), 3, 0)
    connection.execute('UPDATE "SpecialistProfile" SET "profileViews" = 9')
    count(switched_on, client, event(), event("boris", type="contact_view"))
    assert refresh_profile_totals(switched_on) == 3
    assert totals(connection) == {"anna": (6, 2), "boris": (3, 1), "clara": (0, 0)}
    before = versions(connection)
    assert refresh_profile_totals(switched_on) == 0
    count(switched_on, client, event("clara"), event("clara"))
    assert refresh_profile_totals(switched_on) == 1
    assert totals(connection) == {"anna": (6, 2), "boris": (3, 1), "clara": (2, 0)}
    after = versions(connection)
    assert {name for name in after if after[name] != before[name]} == {"clara"}


def test_nothing_counted_nothing_done(switched_on: Settings, connection: Connection, client: redis.Redis) -> None:
    """While the books stand still nobody's totals are added up; what is wrong since is found with the next event."""
    count(switched_on, client, event())
    refresh_profile_totals(switched_on)
    connection.execute('UPDATE "SpecialistProfile" SET "profileViews" = 9 WHERE "id" = \'boris\'')
    assert refresh_profile_totals(switched_on) == 0
    count(switched_on, client, event())
    assert refresh_profile_totals(switched_on) == 2
    assert totals(connection) == {"anna": (2, 0), "boris": (0, 0), "clara": (0, 0)}


def test_the_next_day(switched_on: Settings, connection: Connection, client: redis.Redis) -> None:
    """What changed on a date that is over is seen by the first refresh of the next day, though nothing was counted."""
    views(connection, "anna", OLD, 5, 2)
    views(connection, "boris", OLD, 1, 1)
    refresh_profile_totals(switched_on)
    connection.execute('UPDATE "SpecialistAnalyticsDaily" SET "profileViews" = 7 WHERE "specialistId" = \'anna\'')
    connection.execute('DELETE FROM "SpecialistAnalyticsDaily" WHERE "specialistId" = \'boris\'')
    views(connection, "clara", TODAY - timedelta(days=1), 4, 0)
    assert refresh_profile_totals(switched_on) == 0
    connection.execute("UPDATE analytics.closed_totals SET closed_before = closed_before - 1")  # as it was yesterday
    assert refresh_profile_totals(switched_on) == 3
    assert totals(connection) == {"anna": (7, 2), "boris": (0, 0), "clara": (4, 0)}


def test_a_row_that_the_site_holds(
    switched_on: Settings, connection: Connection, client: redis.Redis, database: str
) -> None:
    """A profile in the site's hands is passed over without waiting, and done the next time though nothing came since;
    the others are done at once.
    """
    count(switched_on, client, event(), event("boris"), event("clara"))
    with psycopg.connect(database) as site:
        site.execute('UPDATE "SpecialistProfile" SET "contactViews" = 0 WHERE "id" = \'boris\'')
        assert refresh_profile_totals(switched_on) == 2
        site.rollback()
    assert totals(connection) == {"anna": (1, 0), "boris": (0, 0), "clara": (1, 0)}
    assert refresh_profile_totals(switched_on) == 1
    assert totals(connection)["boris"] == (1, 0)


def test_a_table_that_the_site_holds(
    switched_on: Settings, connection: Connection, client: redis.Redis, database: str
) -> None:
    """While the site changes its table we give up soon, so that its own queries do not queue up behind ours."""
    count(switched_on, client, event())
    with psycopg.connect(database) as site:
        site.execute('LOCK TABLE "SpecialistProfile" IN SHARE ROW EXCLUSIVE MODE')
        with pytest.raises(Retry, match="lock timeout"):
            refresh_profile_totals(switched_on)
    assert refresh_profile_totals(switched_on) == 1


def test_two_at_the_same_time(switched_on: Settings, connection: Connection, client: redis.Redis) -> None:
    """Any number of refreshes beside live counting come to the sum in the end."""
    settings = switched_on
    errors: list[Exception] = []

    def refresh_again_and_again() -> None:
        try:
            for _ in range(15):
                refresh_profile_totals(settings)
        except Exception as error:
            errors.append(error)

    threads = [Thread(target=refresh_again_and_again) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        count(settings, client, *(event(name) for name in ("anna", "boris", "clara") for _ in range(5)))
    for thread in threads:
        thread.join()
    refresh_profile_totals(settings)
    assert errors == []
    assert totals(connection) == dict.fromkeys(("anna", "boris", "clara"), (50, 0))


def test_more_than_an_integer(switched_on: Settings, connection: Connection) -> None:
    """A sum that the site's integer cannot hold is as much as it can, and stops nobody else's."""
    for ago in (1, 70, 80):
        views(connection, "anna", TODAY - timedelta(days=ago), 2_000_000_000, 0)
    views(connection, "boris", OLD, 1, 0)
    assert refresh_profile_totals(switched_on) == 2
    assert totals(connection)["anna"] == (2_147_483_647, 0)


def test_many(switched_on: Settings, connection: Connection) -> None:
    """More profiles than are written in one transaction."""
    connection.execute('INSERT INTO "SpecialistProfile" ("id") SELECT \'s\' || n FROM generate_series(1, 2500) AS n')
    connection.execute(
        'INSERT INTO "SpecialistAnalyticsDaily" ("id", "specialistId", date, "profileViews", "updatedAt")'
        ' SELECT "id", "id", %s, 3, now() FROM "SpecialistProfile" WHERE "id" LIKE \'s%%\'',
        [OLD],
    )
    assert refresh_profile_totals(switched_on) == 2500


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ('ALTER TABLE "SpecialistProfile" DROP COLUMN "contactViews"', "has no integers"),
        ('ALTER TABLE "SpecialistProfile" ALTER "contactViews" TYPE text USING \'\'', "has no integers"),
        (GRANT.replace("GRANT", "REVOKE").replace(" TO ", " FROM "), GRANT),
    ],
)
def test_what_a_person_must_do(switched_on: Settings, connection: Connection, change: str, line: str) -> None:
    """A site without the columns, or a role without the right: one line that says what to do, in `verify` and the job;
    and with the setting off nobody asks.
    """
    connection.execute('ALTER TABLE "SpecialistProfile" ALTER "contactViews" DROP DEFAULT')
    code, output, _ = run_worker(switched_on, "verify")
    assert (code, "profile totals" in output) == (0, True)
    connection.execute(change.encode())
    with pytest.raises(Stop) as stopped:
        refresh_profile_totals(switched_on)
    assert line in str(stopped.value)
    code, output, _ = run_worker(switched_on, "verify")
    assert (code, line in output) == (1, True)
    _, output, _ = run_worker(switched_on, "doctor", "--json")
    assert "profile totals" in output
    off = settings_with(switched_on, ANALYTICS_PROFILE_TOTALS="0")
    assert refresh_profile_totals(off) == 0
    code, output, _ = run_worker(off, "verify")
    assert (code, "profile totals" in output) == (0, False)


def test_the_job(
    switched_on: Settings, connection: Connection, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job of each minute assigns them, after the outcomes."""
    for name, value in environment(switched_on).items():
        monkeypatch.setenv(name, value)
    count(switched_on, client, event())
    assert jobs.outcomes.open_days()["profiles"] == 1
    assert totals(connection)["anna"] == (1, 0)
