"""The site reads the daily table with Node's own driver, as `daily.mjs` does."""

import json
from datetime import UTC, datetime, timedelta

import redis

from tests.clients.web_tier import compiled
from tests.counting import TODAY, TODAY_MS, add, drain, event
from tests.node import call
from tests.support import add_specialists
from worker.events import DAY_MS
from worker.settings import Settings
from worker.store import Connection


def test_pg_reads_the_row(settings: Settings, connection: Connection, client: redis.Redis, database: str) -> None:
    """Wherever the site runs: dates are dates, times UTC, sources an object, counts and rates numbers."""
    add_specialists(connection, ["anna"])
    visits = [event(source="catalog"), event(source="search"), event(source="blog"), event(type="contact_view")]
    add(client, *visits, event(occurredAt=TODAY_MS - DAY_MS))
    began = datetime.now(UTC).replace(microsecond=0)
    drain(settings)
    for zone in ("UTC", "Europe/Moscow", "America/New_York"):
        ran = call("node", "daily.mjs", "anna", cwd=compiled(), DATABASE_URL=database, TZ=zone)
        assert ran.returncode == 0, ran.stderr
        before, today = json.loads(ran.stdout)
        assert (before["date"], today["date"]) == (str(TODAY - timedelta(days=1)), str(TODAY))
        assert today["sources"] == {"catalog": 1, "search": 1, "direct": 0, "other": 1}
        assert (today["profileViews"], today["contactViews"], today["conversionRateProfileToContact"]) == (3, 1, 33.3)
        assert began <= datetime.fromisoformat(today["updatedAt"]) <= datetime.now(UTC)
