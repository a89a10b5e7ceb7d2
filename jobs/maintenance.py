"""Doorway: what keeps the ledger, the packed months and the streams in shape."""

from jobs.tick import scheduled
from worker.settings import load_settings
from worker.upkeep.maintenance import keep_ledger, trim_other_streams
from worker.upkeep.packing import pack_months


@scheduled
def partitions() -> dict[str, int]:
    """Make the ledger's partitions of the days to come, and seal the days that are past the retention.

    Returns:
        What was done, counted.
    """
    return keep_ledger(load_settings())


@scheduled
def pack() -> dict[str, int]:
    """Pack the months that changed and the days that are over, so that readings are quick.

    Returns:
        What was done, counted.
    """
    return pack_months(load_settings())


@scheduled
def trim() -> dict[str, int]:
    """Trim the streams of another number of shards, which nobody reads any more.

    Returns:
        What was done, counted.
    """
    return trim_other_streams(load_settings())
