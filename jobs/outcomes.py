"""Doorway: outcomes, and the visitors and totals that follow from what was counted."""

from jobs.tick import scheduled
from worker.daily.outcomes import refresh_last_days, refresh_open_days
from worker.daily.profile_totals import refresh_profile_totals
from worker.daily.visitors import refresh_visitors_of_ledger, refresh_visitors_of_open_days
from worker.settings import load_settings


@scheduled
def open_days() -> dict[str, int]:
    """Refresh the outcomes of today and yesterday, their visitors, and the profiles' totals.

    Returns:
        What was done, counted.
    """
    settings = load_settings()
    outcomes, visitors = refresh_open_days(settings), refresh_visitors_of_open_days(settings)
    return outcomes | {"visitors": visitors, "profiles": refresh_profile_totals(settings)}


@scheduled
def last_days() -> dict[str, int]:
    """Refresh the outcomes of the last days, and the visitors of all days that the ledger holds.

    Returns:
        What was done, counted.
    """
    settings = load_settings()
    return refresh_last_days(settings) | {"visitors": refresh_visitors_of_ledger(settings)}
