"""The Redis server: its version and role, and whether it keeps what is in the stream."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

import redis

from worker.doctor.check import Check, error, ok, warning
from worker.settings import Settings, without_credentials
from worker.stream import redis_errors
from worker.units import duration, size

OLDEST_REDIS = 7
FULL, NEARLY_FULL = 0.95, 0.8
TIGHT_S = 24 * 3600
"""A weekend is longer, but a stream that fills memory within a day of a standing worker is the one to hear about."""
SHORTEST_SPAN_S = 600
"""A rate measured over less says nothing about tomorrow."""


@dataclass(frozen=True, slots=True)
class RedisFacts:
    """What Redis says about itself. None is what it does not tell: where it is managed, CONFIG may be forbidden."""

    where: str
    version: str
    product: str = "Redis"
    role: str | None = None
    eviction: str | None = None
    memory_used: int | None = None
    memory_limit: int | None = None
    """`maxmemory`, else the memory of the machine, in bytes."""
    aof: bool | None = None
    appendfsync: str | None = None
    save: str | None = None
    """The rules of its snapshots, such as `60 1`: after 60 seconds with 1 change. Empty: none are made."""
    failed_saves: tuple[str, ...] = ()
    """Which of its writes to disk went wrong the last time."""


@dataclass(frozen=True, slots=True)
class StreamSize:
    """What a stream takes."""

    bytes: int
    oldest_age_s: float
    """Age of its oldest entry, by the clock of Redis."""


def redis_server(facts: RedisFacts) -> Check:
    """Whether it is new enough, and one that can be written to."""
    found = f"{facts.product} {facts.version} at {facts.where}"
    if int(facts.version.partition(".")[0]) < OLDEST_REDIS:
        advice = f"upgrade: {OLDEST_REDIS}.0 is needed, which counts the entries added to a stream"
        return error("Redis", f"{found} is too old", advice)
    if facts.role == "slave":
        return error("Redis", f"{found} is a replica, which nobody can write to", "let REDIS_URL name the primary")
    return ok("Redis", found)


def eviction(facts: RedisFacts, *, allowed: bool) -> Check:
    """Whether full memory costs the stream: eviction takes whole keys, so all of a shard at once.

    Args:
        facts: about the server.
        allowed: somebody has decided to live with it (`ANALYTICS_ALLOW_EVICTION`).
    """
    policy, remedy = facts.eviction, "`CONFIG SET maxmemory-policy noeviction`, and the same where it is configured"
    if policy is None:
        return warning("eviction", "not known: Redis does not tell", "see that its maxmemory-policy is noeviction")
    if policy.startswith("allkeys-"):
        found = f"{policy} drops the whole event stream when memory is full"
        if allowed:
            return warning("eviction", f"{found} (ANALYTICS_ALLOW_EVICTION)", remedy)
        return error("eviction", found, f"{remedy}; or accept it with ANALYTICS_ALLOW_EVICTION=1")
    if policy.startswith("volatile-"):
        return warning("eviction", f"{policy} spares the stream, but not RQ's notes about its workers", remedy)
    return ok("eviction", policy)


def persistence(facts: RedisFacts) -> Check:
    """How much of what Redis has accepted a crash of it may cost."""
    remedy = "`CONFIG SET appendonly yes` on the running server first, then where it is configured"
    if facts.aof:
        if facts.appendfsync == "no":
            return warning(
                "persistence",
                "AOF without fsync: a crash of the machine loses about 30 s",
                "`CONFIG SET appendfsync everysec`",
            )
        return ok("persistence", f"AOF, appendfsync {facts.appendfsync or 'not known'}")
    if facts.aof is None:
        return warning("persistence", "not known: Redis does not tell", "see that its append-only file is on")
    if facts.save is None:
        return warning("persistence", "no AOF; whether there are snapshots is not known", remedy)
    if not facts.save:
        return warning("persistence", "none: a restart of Redis loses every event that was not read", remedy)
    numbers = [int(number) for number in facts.save.split()]
    _, seconds = min(zip(numbers[1::2], numbers[::2], strict=True))  # the rule that waits for the fewest events
    found = f"snapshots only (save {facts.save}): a crash loses up to {duration(seconds)} of events"
    return warning("persistence", found, remedy)


def last_save(facts: RedisFacts) -> Check:
    """Whether Redis could write to its disk the last time it tried."""
    if facts.failed_saves:
        advice = "look at its log and its disk: it may refuse events now, and a restart would lose them"
        return error("last save", f"failed: {', '.join(facts.failed_saves)}", advice)
    return ok("last save", "went well")


def memory(facts: RedisFacts, streams: Iterable[StreamSize] = (), retention_s: float = 0.0) -> Check:
    """How full the memory is, and when it will be if nobody reads: then nothing is trimmed.

    Args:
        facts: about the server.
        streams: those whose entries are old enough to tell a rate from.
        retention_s: how long entries that were read stay.
    """
    used, limit = facts.memory_used, facts.memory_limit
    if used is None or not limit:
        return ok("memory", f"{size(used)} used, limit not known" if used else "not known")
    measured = [stream for stream in streams if stream.oldest_age_s >= SHORTEST_SPAN_S]
    per_second = sum(stream.bytes / stream.oldest_age_s for stream in measured)
    to_come = sum(stream.bytes * max(0.0, retention_s / stream.oldest_age_s - 1) for stream in measured)
    full_in_s = (limit - used) / per_second if per_second else float("inf")
    found = f"{size(used)} of {size(limit)} used"
    if used > FULL * limit:
        return error("memory", f"{found}: soon full", "give Redis more memory, and see that the worker runs and trims")
    if full_in_s < TIGHT_S:
        return warning("memory", f"{found}; full in {duration(full_in_s)} if nobody reads", "give Redis more memory")
    if used + to_come > limit:
        advice = "give Redis more memory, or set ANALYTICS_STREAM_RETENTION_HOURS lower"
        return warning("memory", f"{found}; what the stream is to keep takes {size(to_come)} more", advice)
    if used > NEARLY_FULL * limit:
        return warning("memory", found, "give Redis more memory")
    return ok("memory", found)


def read_redis(settings: Settings, client: redis.Redis) -> RedisFacts:
    """Ask Redis about itself; changes nothing.

    Raises:
        Stop: it refuses us.
        Retry: it is away.
    """
    with redis_errors(settings):
        info = client.info()
        configured = {name: _configured(client, name) for name in ("appendfsync", "save")}
    aof = info.get("aof_enabled")
    saves = {"rdb_last_bgsave_status": "snapshot", "aof_last_write_status": "append-only file"}
    return RedisFacts(
        where=without_credentials(settings.redis_url.get_secret_value()),
        version=str(info.get("valkey_version") or info["redis_version"]),
        product="Valkey" if "valkey_version" in info else "Redis",
        role=info.get("role"),
        eviction=info.get("maxmemory_policy") or _configured(client, "maxmemory-policy"),
        memory_used=info.get("used_memory"),
        memory_limit=info.get("maxmemory") or info.get("total_system_memory"),
        aof=None if aof is None else bool(aof),
        failed_saves=tuple(what for name, what in saves.items() if info.get(name, "ok") != "ok"),
        **configured,
    )


def _configured(client: redis.Redis, name: str) -> str | None:
    with suppress(redis.ResponseError):
        value = client.config_get(name).get(name)
        return None if value is None else str(value)
    return None
