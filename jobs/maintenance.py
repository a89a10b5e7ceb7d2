"""Doorway: what keeps the ledger in shape."""

from worker.maintenance import make_partitions_ahead
from worker.settings import load_settings


def partitions() -> dict[str, int]:
    """Make the ledger's partitions of the days to come.

    Returns:
        What was done, counted.
    """
    return make_partitions_ahead(load_settings())
