"""Doorway: what keeps the ledger in shape."""

from worker.maintenance import keep_ledger
from worker.settings import load_settings


def partitions() -> dict[str, int]:
    """Make the ledger's partitions of the days to come, and seal the days that are past the retention.

    Returns:
        What was done, counted.
    """
    return keep_ledger(load_settings())
