"""All kinds of runs, by name."""

from worker.daily.outcomes import BACKFILL_OUTCOMES
from worker.daily.recompute import RECOMPUTE
from worker.operations.backfill_events import BACKFILL_EVENTS
from worker.operations.erase import ERASE_SPECIALIST, ERASE_VISITOR
from worker.operations.legacy import LEGACY_COUNTERS
from worker.operations.refresh import REFRESH
from worker.operations.replay import REPLAY, REQUEUE

OPERATIONS = {
    operation.kind: operation
    for operation in (
        ERASE_SPECIALIST,
        ERASE_VISITOR,
        RECOMPUTE,
        LEGACY_COUNTERS,
        REFRESH,
        BACKFILL_EVENTS,
        BACKFILL_OUTCOMES,
        REPLAY,
        REQUEUE,
    )
}
