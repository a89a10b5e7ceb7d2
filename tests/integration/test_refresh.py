"""A refresh assigns one specialist's rows of some dates, and touches nobody else's."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import psycopg
import pytest
import redis

from tests.counting import TODAY, add, drain, event
from tests.support import add_outcomes, add_specialists, site_creates
from worker.errors import Stop
from worker.migrations import migrate, migrations
from worker.operation import JsonObject, Step
from worker.operations.refresh import RefreshArguments, refresh_steps
from worker.settings import Settings
from worker.store import Connection

YESTERDAY = TODAY - timedelta(days=1)


@pytest.fixture(autouse=True)
def _site(connection: Connection) -> None:
    add_specialists(connection, ["anna", "boris"])
    site_creates(connection, "ConsultationRequest", "Order", "Review")
    migrate(connection, migrations())


def at_noon(day: date) -> datetime:
    return datetime.combine(day, time(12), UTC)


def viewed(specialist: str, day: date, **changes: Any) -> dict[Any, Any]:
    return event(specialist, occurredAt=int(datetime.combine(day, time(0), UTC).timestamp() * 1000), **changes)


def refresh(settings: Settings, first: date = YESTERDAY, last: date = TODAY, specialist: str = "anna") -> list[Step]:
    return list(refresh_steps(settings, 1, RefreshArguments(specialist=specialist, first=first, last=last), {}))


def rows(connection: Connection) -> list[tuple[Any, ...]]:
    """All that a refresh assigns, by specialist and date."""
    return connection.execute(
        """SELECT "specialistId", date, "profileViews", "contactViews", (sources ->> 'catalog')::integer,
                  "consultationRequests", orders, reviews, "conversionRateProfileToContact",
                  "conversionRateContactToRequest", "conversionRateRequestToOrder"
           FROM "SpecialistAnalyticsDaily" ORDER BY 1, 2"""
    ).fetchall()


def spoil(connection: Connection) -> None:
    connection.execute(
        """UPDATE "SpecialistAnalyticsDaily" SET "profileViews" = 99, "contactViews" = 98, sources = '{}', orders = 97,
           "conversionRateProfileToContact" = 1, "conversionRateRequestToOrder" = 2"""
    )


def test_rows_are_made_right(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Views, sources, outcomes and rates of the specialist's dates are what the formula says, and of nobody else's."""
    add(client, *(viewed("anna", day) for day in (YESTERDAY, TODAY, TODAY)), viewed("anna", TODAY, type="contact_view"))
    add(client, viewed("boris", TODAY))
    drain(settings)
    add_outcomes(connection, "ConsultationRequest", "anna", at_noon(TODAY), at_noon(TODAY))
    add_outcomes(connection, "Order", "anna", at_noon(TODAY), at_noon(TODAY - timedelta(days=2)))
    add_outcomes(connection, "Review", "boris", at_noon(TODAY))
    spoil(connection)
    wrong_boris = [row for row in rows(connection) if row[0] == "boris"]
    steps = refresh(settings)
    assert rows(connection) == [
        ("anna", YESTERDAY, 1, 0, 1, 0, 0, 0, 0, 0, 0),
        ("anna", TODAY, 2, 1, 2, 2, 1, 0, 50, 200, 50),
        *wrong_boris,
    ]
    assert steps[-1].result == {"rows": 2, "outcome_rows": 2}
    assert (steps[-1].done, steps[-1].total) == (2, 2)


def test_dates_without_a_row(settings: Settings, connection: Connection) -> None:
    """A date with outcomes alone, and one with what was imported alone, get their rows; an empty one gets none."""
    add_outcomes(connection, "Order", "anna", at_noon(YESTERDAY))
    connection.execute(
        """INSERT INTO analytics.baseline (date, specialist_id, origin, profile_views, catalog)
           VALUES (%s, 'anna', 'legacy', 5, 5)""",
        [TODAY - timedelta(days=300)],
    )
    refresh(settings, TODAY - timedelta(days=365))
    assert [row[1:4] + row[6:7] for row in rows(connection)] == [
        (TODAY - timedelta(days=300), 5, 0, 0),
        (YESTERDAY, 0, 0, 1),
    ]


def test_who_is_no_specialist_gets_no_row(settings: Settings, connection: Connection) -> None:
    """A profile that was deleted in between is no error."""
    add_outcomes(connection, "Order", "gone", at_noon(TODAY))
    refresh(settings, specialist="gone")
    assert rows(connection) == []


def test_what_is_right_is_not_written(
    settings: Settings, connection: Connection, client: redis.Redis, database: str
) -> None:
    """A refresh of what is right writes nothing, and waits for nobody who has locked positions, outcomes or rows."""
    add(client, viewed("anna", TODAY))
    drain(settings)
    add_outcomes(connection, "Order", "anna", at_noon(TODAY))
    refresh(settings)
    versions = 'SELECT ctid, xmin FROM "SpecialistAnalyticsDaily"'
    before = connection.execute(versions).fetchall()
    with psycopg.connect(database) as other:
        other.execute("LOCK TABLE analytics.stream_position IN SHARE ROW EXCLUSIVE MODE")
        other.execute("SELECT FROM analytics.outcome_refresh FOR UPDATE")
        other.execute('SELECT FROM "SpecialistAnalyticsDaily" FOR UPDATE')
        connection.execute("ALTER ROLE analytics_worker SET lock_timeout = '2s'")
        try:
            assert refresh(settings)[-1].result == {"rows": 0, "outcome_rows": 0}
        finally:
            connection.execute("ALTER ROLE analytics_worker RESET lock_timeout")
        other.rollback()
    assert connection.execute(versions).fetchall() == before


def test_cut_off_it_goes_on(
    settings: Settings, connection: Connection, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After any step it may be cut off; from its cursor, or from the one before, it comes to the same."""
    monkeypatch.setattr("worker.operations.refresh.STEP_S", 0.0)
    days = [TODAY - timedelta(days=ago) for ago in range(3, -1, -1)]
    add(client, *(viewed("anna", day) for day in days))
    drain(settings)
    right = rows(connection)
    arguments = RefreshArguments(specialist="anna", first=days[0], last=days[-1])
    spoil(connection)
    cursor: JsonObject = {}
    seen: list[Step] = []
    while not seen or seen[-1].done < len(days):
        for _ in range(2):  # the first is lost before it is noted
            steps = refresh_steps(settings, 1, arguments, cursor)
            step = next(iter(steps))
            steps.close()  # type: ignore[attr-defined]
        seen.append(step)
        cursor = step.cursor
    assert [step.done for step in seen] == [2, 4]  # what a lost step did is found done
    assert rows(connection) == right
    assert list(refresh_steps(settings, 1, arguments, cursor)) == []


def test_a_day_whose_events_are_gone(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """It keeps its views and the run says so; its outcomes are refreshed all the same."""
    add(client, viewed("anna", YESTERDAY))
    drain(settings)
    connection.execute(f"DROP TABLE analytics.event_{YESTERDAY:%Y%m%d}".encode())
    add_outcomes(connection, "Order", "anna", at_noon(YESTERDAY))
    with pytest.raises(Stop, match=r"events of .* are gone"):
        refresh(settings)
    assert [(row[2], row[6]) for row in rows(connection)] == [(1, 1)]


def test_other_arguments_are_refused() -> None:
    """A row of `analytics.run` that somebody wrote by hand is held to the same limits."""
    with pytest.raises(Stop):
        RefreshArguments(specialist="anna", first=TODAY, last=YESTERDAY)
    with pytest.raises(ValueError, match="more than 366 dates"):
        RefreshArguments(specialist="anna", first=TODAY - timedelta(days=366), last=TODAY)


def test_old_refreshes_are_forgotten(connection: Connection, settings: Settings) -> None:
    """The hourly upkeep forgets what went well after a day and what did not after a week, but nothing that is open or
    that an operator had done.
    """
    from worker.upkeep.maintenance import keep_ledger  # noqa: PLC0415

    connection.execute(
        """INSERT INTO analytics.run (kind, arguments, operator, state, ended_at)
           SELECT kind, jsonb_build_object('state', state, 'days', days), 'test', state::analytics.run_state,
                  CASE WHEN state NOT IN ('queued', 'running') THEN now() - days * interval '1 day' END
           FROM unnest(ARRAY['refresh', 'recompute']) AS kind,
                unnest(ARRAY['queued', 'running', 'done', 'failed', 'stopped']) AS state,
                unnest(ARRAY[0.9, 1.1, 6.9, 7.1]) AS days"""
    )
    connection.execute("INSERT INTO analytics.run_problem SELECT id, 'because', kind FROM analytics.run")
    before = connection.execute("SELECT kind, count(*) FROM analytics.run GROUP BY 1 ORDER BY 1").fetchall()
    assert before == [("recompute", 20), ("refresh", 20)]
    assert keep_ledger(settings)["pruned"] == 5
    left = connection.execute(
        """SELECT state, count(*), max(arguments ->> 'days') FILTER (WHERE ended_at IS NOT NULL)
           FROM analytics.run WHERE kind = 'refresh' GROUP BY 1 ORDER BY 1"""
    ).fetchall()
    assert left == [
        ("queued", 4, None),
        ("running", 4, None),
        ("done", 1, "0.9"),
        ("failed", 3, "6.9"),
        ("stopped", 3, "6.9"),
    ]
    assert connection.execute("SELECT count(*) FROM analytics.run WHERE kind = 'recompute'").fetchone() == (20,)
