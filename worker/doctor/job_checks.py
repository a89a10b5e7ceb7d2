"""RQ's jobs and workers, and what the platform does to them. What there is of jobs is read by `jobs.view`."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from worker.doctor.check import Check, error, ok, warning

DRAINING = "RAILWAY_DEPLOYMENT_DRAINING_SECONDS"
DRAINING_S = 15
"""The supervisor gives its parts 10 seconds, and takes up to 2 more to kill what is left."""


class JobFacts(NamedTuple):
    """What there is in RQ."""

    workers: Mapping[str, int]
    """Living ones, by queue."""
    missing_rollups: Sequence[str]
    """Neither waiting nor running."""
    without_worker: Sequence[str]
    """Said to be running, but no living worker has them."""
    without_hash: Sequence[str]
    """Ids in a queue, of which nothing else is there."""
    failed: Sequence[str]


def workers(facts: JobFacts) -> Check:
    """Whether somebody works on each queue."""
    idle = [queue for queue, number in facts.workers.items() if not number]
    if idle:
        found = f"none for the queue {' and '.join(idle)}"
        return error("workers", found, "start `python -m worker run`, and let it be restarted always")
    return ok("workers", ", ".join(f"{number} for {queue}" for queue, number in facts.workers.items()))


def rollups(facts: JobFacts) -> Check:
    """Whether every shard has its rollup."""
    if facts.missing_rollups:
        found = f"missing: {_some(facts.missing_rollups)}"
        return error("rollups", found, "start the scheduler, which puts them back: it is a part of `run`")
    return ok("rollups", "one for every shard")


def orphaned_jobs(facts: JobFacts) -> Check:
    """Whether jobs are held by nobody who could end them."""
    found = "; ".join(
        f"{what}: {_some(ids)}"
        for what, ids in (("without a worker", facts.without_worker), ("without a body", facts.without_hash))
        if ids
    )
    if found:
        return warning("orphaned jobs", found, "a running worker and scheduler clear them within a minute")
    return ok("orphaned jobs", "none")


def failed_jobs(facts: JobFacts) -> Check:
    """Whether jobs failed that RQ still keeps."""
    if facts.failed:
        return warning("failed jobs", _some(facts.failed), "the worker's log has the reason; the scheduler tries again")
    return ok("failed jobs", "none")


def draining(environment: Mapping[str, str]) -> Check:
    """Whether the platform lets a worker finish its batch at a deploy: Railway kills at once unless told otherwise."""
    if not any(name.startswith("RAILWAY_") for name in environment):
        return ok("draining", "not on Railway")
    seconds = environment.get(DRAINING, "")
    if not seconds.isdigit() or int(seconds) < DRAINING_S:
        found = f"{DRAINING} is {seconds or 'not set'}: a deploy cuts a batch off, to be read again"
        return warning("draining", found, f"set {DRAINING}=30")
    return ok("draining", f"{seconds} s")


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:3]) + (f" and {len(ids) - 3:,} more" if len(ids) > 3 else "")
