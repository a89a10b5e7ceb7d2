"""All kinds of runs, by name."""

from worker.erase import ERASE_SPECIALIST, ERASE_VISITOR
from worker.legacy import LEGACY_COUNTERS
from worker.recompute import RECOMPUTE
from worker.refresh import REFRESH

OPERATIONS = {
    operation.kind: operation
    for operation in (
        ERASE_SPECIALIST,
        ERASE_VISITOR,
        RECOMPUTE,
        LEGACY_COUNTERS,
        REFRESH,
    )
}
