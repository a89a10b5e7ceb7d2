"""The streams: how far each is read, those that nobody reads, and ids from the future."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import redis
from psycopg.rows import dict_row

from worker.continuity import Lost, Position, Verdict, judge
from worker.doctor.check import Check, error, ok, warning
from worker.doctor.redis_checks import StreamSize
from worker.operations.request_store import RequestStand
from worker.queries import query
from worker.settings import Settings
from worker.store import Connection, load_position, postgres_errors
from worker.stream import Backlog, existing_streams, read_backlog, redis_errors
from worker.units import duration

FUTURE_S = 3600
BEHIND_S = 60.0
RECENT_S = 7 * 86_400
TRIES = 3
START = "start the worker: `python -m worker run`"


@dataclass(frozen=True, slots=True)
class Stand:
    """A stream and its stored position at one moment."""

    stream: str
    position: Position | None
    backlog: Backlog
    committed_s_ago: float = 0.0
    halted_because: str | None = None

    @property
    def verdict(self) -> Verdict:
        """What whoever reads on from that position would find wrong with the stream now."""
        if self.position is None:
            return None
        return judge(self.position, self.backlog.facts, 0, reached_end=self.backlog.oldest_age_s is None)


@dataclass(frozen=True, slots=True)
class Finding:
    """What the worker once found wrong with a stream, and wrote down."""

    stream: str
    verdict: str
    lost: int | None
    s_ago: float


def future_ids(backlogs: Mapping[str, Backlog]) -> Check:
    """Whether somebody gave an entry an id from the future: all later ones of that stream are at least as far ahead."""
    ahead = {stream: each.facts.last_generated.ms / 1000 - each.redis_s for stream, each in backlogs.items()}
    stream = max(ahead, key=lambda key: ahead[key], default="")
    if stream and ahead[stream] > FUTURE_S:
        found = f"{stream}: ids are {duration(ahead[stream])} ahead of the clock of Redis; reading goes on in order"
        advice = (
            "let every event carry occurredAt (without it they are dead letters: in_the_future)."
            " To be rid of it: pause the senders, wait for lag 0, DEL the stream"
        )
        return warning("future ids", found, advice)
    return ok("future ids", "none")


def positions(stands: Sequence[Stand]) -> Iterable[Check]:
    """Whether every shard is read; a line a shard that is not, else one for all."""
    bad = [check for stand in stands if (check := _position(stand)).level != "ok"]
    return bad or [ok("positions", f"{_streams(len(stands))} read up to the end, or being read")]


def _streams(count: int) -> str:
    return "the stream is" if count == 1 else f"all {count} streams are"


def _position(stand: Stand) -> Check:
    backlog = stand.backlog
    if stand.position is None:
        if backlog.entries:
            return error("positions", f"{stand.stream} was never read: {_waiting(backlog)}", START)
        return ok("positions", "nothing to read yet")
    if stand.halted_because:
        advice = "correct that, and it goes on by itself; or let them be dead letters: `python -m worker resume`"
        return error("positions", f"{stand.stream} is halted: {stand.halted_because}", advice)
    verdict = stand.verdict
    if isinstance(verdict, Lost):
        how_many = "entries" if verdict.count is None else f"{verdict.count:,} entries"
        found = f"{stand.stream}: {how_many} are gone that were not read"
        return error("positions", found, "nobody but the worker may trim or delete; once it runs, it records the loss")
    if verdict:
        found = f"{stand.stream} is not the stream that was read before: {verdict.verdict}"
        return error(
            "positions", found, "see that REDIS_URL is right; once the worker runs, it goes back and reads again"
        )
    return _progress(stand.stream, backlog, stand.committed_s_ago)


def _progress(stream: str, backlog: Backlog, committed_s_ago: float) -> Check:
    if backlog.oldest_age_s is None or backlog.oldest_age_s < BEHIND_S:
        return ok("positions", "read")
    if committed_s_ago > BEHIND_S:
        found = f"{stream}: nothing committed for {duration(committed_s_ago)}, {_waiting(backlog)}"
        return error("positions", found, f"{START}; if it runs, its log says why")
    found = f"{stream} is read, {duration(backlog.oldest_age_s)} behind, {_waiting(backlog)}"
    return warning("positions", found, "watch `python -m worker status`; if it does not catch up, use more shards")


def _waiting(backlog: Backlog) -> str:
    return "entries wait" if backlog.entries is None else f"{backlog.entries:,} entries wait"


def unread_streams(stands: Sequence[Stand], shards: int) -> Check:
    """Whether entries lie in streams of another number of shards, which nobody reads.

    Args:
        stands: of streams that are not those of the settings.
        shards: the number in the settings.
    """
    unread = {stand.stream: stand.backlog.entries for stand in stands if stand.backlog.entries != 0}
    if not unread:
        return ok("other streams", "none has anything to read")
    stream, entries = next(iter(unread.items()))
    number = "" if entries is None else f"{entries:,} "
    more = f", and {len(unread) - 1} streams more" if len(unread) > 1 else ""
    return error(
        "other streams",
        f"{number}entries in {stream}{more} that nobody reads: ANALYTICS_SHARDS is {shards}",
        "set ANALYTICS_SHARDS to what the web tier uses, or run a worker with the old number until they are read",
    )


def requests(stand: RequestStand) -> Check:
    """Whether what the web tier asks for is taken on."""
    if stand.oldest_s <= BEHIND_S:
        return ok("requests", f"{stand.unread:,} unread in {stand.stream}")
    found = f"{stand.unread:,} unread in {stand.stream}, the oldest since {duration(stand.oldest_s)}"
    return warning("requests", found, f"{START}; `python -m worker runs` shows the refreshes that are open")


def losses(findings: Sequence[Finding]) -> Check:
    """Whether a stream was found restarted, emptied or trimmed unread: the findings of a week, newest first."""
    if not findings:
        return ok("losses", f"none in the last {RECENT_S // 86_400} days")
    last, lost = findings[0], sum(finding.lost or 0 for finding in findings)
    found = f"{last.stream} {last.verdict} {duration(last.s_ago)} ago; {lost:,} entries known to be lost since a week"
    return warning("losses", found, "`python -m worker status` lists them; AOF, noeviction and nobody else who trims")


def read_stands(
    settings: Settings, connection: Connection, client: redis.Redis
) -> tuple[list[Stand], list[Stand], list[Finding]]:
    """The streams of the settings, the other streams that exist or were once read, and what was found wrong."""
    with postgres_errors(), connection.cursor(row_factory=dict_row) as cursor:
        rows = {str(row["stream"]): row for row in cursor.execute(query("list_positions"))}
        findings = [Finding(**row) for row in cursor.execute(query("list_losses"), {"recent_s": RECENT_S})]
    others = [key for key in existing_streams(client, settings, rows) if key not in settings.stream_keys]

    def stand(key: str) -> Stand:
        position, backlog = _position_and_backlog(settings, connection, client, key)
        row = rows.get(key, {"committed_s_ago": 0.0, "halted_because": None})
        return Stand(key, position, backlog, row["committed_s_ago"], row["halted_because"])

    return [stand(key) for key in settings.stream_keys], [stand(key) for key in others], findings


def _position_and_backlog(
    settings: Settings, connection: Connection, client: redis.Redis, key: str
) -> tuple[Position | None, Backlog]:
    for _ in range(TRIES):
        position = load_position(connection, key)
        backlog = read_backlog(client, settings, key, position)
        if load_position(connection, key) == position:
            break  # else a worker moved it, and perhaps trimmed: the two do not belong together
    return position, backlog


def read_backlogs(settings: Settings, client: redis.Redis) -> dict[str, Backlog]:
    """The streams of the settings, without their positions."""
    return {key: read_backlog(client, settings, key, None) for key in settings.stream_keys}


def read_sizes(settings: Settings, client: redis.Redis, backlogs: Mapping[str, Backlog]) -> list[StreamSize]:
    """What the streams take; those that are empty, or that Redis does not tell of, are left out."""
    sizes = []
    for key, backlog in backlogs.items():
        first = backlog.facts.first
        with redis_errors(settings), suppress(redis.ResponseError):
            if first and (used := client.memory_usage(key)):
                sizes.append(StreamSize(used, backlog.redis_s - first.ms / 1000))
    return sizes
