"""All kinds of runs, by name."""

from worker.backfill_events import BACKFILL_EVENTS
from worker.erase import ERASE_SPECIALIST, ERASE_VISITOR
from worker.legacy import LEGACY_COUNTERS
from worker.outcomes import BACKFILL_OUTCOMES
from worker.recompute import RECOMPUTE
from worker.refresh import REFRESH
from worker.replay import REPLAY, REQUEUE

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
