"""All kinds of runs, by name."""

from worker.recompute import RECOMPUTE

OPERATIONS = {operation.kind: operation for operation in (RECOMPUTE,)}
