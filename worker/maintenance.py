"""Keeping the ledger in shape."""

from datetime import UTC, datetime, timedelta

from worker import store
from worker.settings import Settings

DAYS_AHEAD = 3


def make_partitions_ahead(settings: Settings) -> dict[str, int]:
    """Make the ledger partitions of today and of the days to come, so that no event at midnight has to wait for one.

    Returns:
        How many were `made`.
    """
    today = datetime.now(UTC).date()
    with store.connect_postgres(settings, "maintenance") as connection:
        days = [today + timedelta(days=ahead) for ahead in range(DAYS_AHEAD + 1)]
        return {"made": sum(store.create_partition(connection, day) for day in days)}
