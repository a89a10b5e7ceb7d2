"""Doorway: the close of a day."""

from datetime import UTC, datetime

from jobs.tick import scheduled
from worker.settings import load_settings
from worker.upkeep.close import close_days, compare_closed_days


@scheduled
def days() -> dict[str, int | str | None]:
    """Close the days that are over and not closed yet.

    Returns:
        What was done, counted, and what the next day waits for.
    """
    return close_days(load_settings(), datetime.now(UTC))


@scheduled
def books() -> dict[str, int]:
    """Hold the last closed days against their events once more.

    Returns:
        What was done, counted.
    """
    return compare_closed_days(load_settings(), datetime.now(UTC))
