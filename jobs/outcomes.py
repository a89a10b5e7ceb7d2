"""Doorway: outcomes."""

from jobs.tick import scheduled
from worker.outcomes import refresh_last_days, refresh_open_days
from worker.settings import load_settings


@scheduled
def open_days() -> dict[str, int]:
    """Refresh the outcomes of today and yesterday.

    Returns:
        What was done, counted.
    """
    return refresh_open_days(load_settings())


@scheduled
def last_days() -> dict[str, int]:
    """Refresh the outcomes of the last days.

    Returns:
        What was done, counted.
    """
    return refresh_last_days(load_settings())
