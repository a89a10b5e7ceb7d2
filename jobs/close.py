"""Doorway: the close of a day."""

from datetime import UTC, datetime

from jobs.tick import scheduled
from worker.settings import load_settings
from worker.upkeep.close import close_days, compare_closed_days
from worker.upkeep.packing import compare_packed_months


@scheduled
def days() -> dict[str, int | str | None]:
    """Close the days that are over and not closed yet.

    Returns:
        What was done, counted, and what the next day waits for.
    """
    return close_days(load_settings(), datetime.now(UTC))


@scheduled
def books() -> dict[str, int]:
    """Hold some packed months against their days, and the last closed days against their events once more.

    Returns:
        What was done, counted.
    """
    settings = load_settings()
    wrong_months = compare_packed_months(settings)
    return compare_closed_days(settings, datetime.now(UTC)) | {"wrong_months": wrong_months}
