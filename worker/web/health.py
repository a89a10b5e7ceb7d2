"""`/healthz`: whether the counting goes on.

Alive is who moves, or has nothing to move for. PostgreSQL knows when a position moved last (`committed_at`, by its own
clock), so one look is enough, also for a process that has just started.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from worker.errors import AnalyticsError, NotMigrated, Retry
from worker.inspection.observe import Observation, Observer
from worker.inspection.status import ShardStatus
from worker.settings import Settings

GRACE_S = 60.0
"""Seconds that an entry may wait unread while the position stands still: a rollup job that died with its worker is
made good within 15 s, and a batch of the largest size takes less than a second."""

NO_STORE = {"Cache-Control": "no-store"}


def health_routes(settings: Settings, observer: Observer) -> list[Route]:
    """The route of `/healthz`."""

    async def healthz(_: Request) -> Response:
        problems = find_problems(await run_in_threadpool(observer.look), settings.stream_keys)
        body = {"status": "fail" if problems else "pass", "problems": problems}
        return JSONResponse(body, status_code=503 if problems else 200, headers=NO_STORE)

    return [Route("/healthz", healthz)]


def find_problems(seen: Observation, streams: Sequence[str]) -> list[dict[str, Any]]:
    """Why the counting does not go on; empty if it does.

    Args:
        seen: one look at both servers.
        streams: those that are to be read. One of an earlier number of shards is nobody's.
    """
    problems = [_unusable(server, error) for server, error in seen.away.items()]
    problems += [_standing(shard) for shard in seen.shards or () if shard.stream in streams and stands(shard)]
    return problems


def stands(shard: ShardStatus) -> bool:
    """Whether something has waited to be read for longer than the grace, and the position has not moved for as long."""
    moved_s_ago = shard.books.committed_s_ago if shard.books else shard.waits_s
    return min(shard.waits_s, moved_s_ago) > GRACE_S


def _standing(shard: ShardStatus) -> dict[str, Any]:
    why = "never read" if not shard.books else "halted" if shard.books.halted_at else "stuck"
    return {
        "what": shard.stream,
        "why": why,
        "entries_waiting": shard.lag_entries,
        "oldest_waits_seconds": round(shard.waits_s, 1),
        "moved_seconds_ago": round(shard.books.committed_s_ago, 1) if shard.books else None,
    }


def _unusable(server: str, error: AnalyticsError) -> dict[str, Any]:
    """Whatever the error's line says of hosts and users is for the log, not for whoever asks."""
    kinds: Mapping[type[AnalyticsError], str] = {NotMigrated: "not migrated", Retry: "away"}
    return {"what": server, "why": kinds.get(type(error), "refuses us")}
