"""When somebody has to be told: from what was observed to the alerts that hold, and the words for them. Pure.

Nothing flaps, because of time alone: what lasts only a moment is no alert (`PENDING_S`), and an alert is over only when
it was not seen for a while (`CLEAR_S`).
"""

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, NamedTuple

from worker.errors import AnalyticsError
from worker.inspection.observe import POSTGRESQL, REDIS, Finding, Observation
from worker.inspection.status import Books, Closing, Outcomes, ShardStatus
from worker.settings import Settings
from worker.units import duration
from worker.upkeep.scheduled import Ran

PENDING_S = 15.0
"""Seconds that something must hold before it is an alert: a server that is restarted is not worth a message."""
CLEAR_S = 120.0
"""Seconds that an alert must not have been seen before it is over."""

SHARE_WINDOW_S = 3600.0
SHARE_LEAST_ENTRIES = 50
"""Of fewer entries a share says nothing."""

ALERTS: Mapping[str, str] = MappingProxyType(
    {
        "postgresql_away": "PostgreSQL is away, hangs, or refuses the worker",
        "redis_away": "the same of Redis",
        "lag": "the oldest unread entry of a stream is older than `ANALYTICS_ALERT_LAG_SECONDS`",
        "silence": "for `ANALYTICS_ALERT_SILENCE_MINUTES` no event came into any stream",
        "dead_letters": "of an hour's entries (at least 50) more than `ANALYTICS_ALERT_DEAD_SHARE` were dead letters",
        "halted": "a shard has halted because most of its events are bad",
        "stale_outcomes": "requests, orders and reviews were last counted `ANALYTICS_ALERT_OUTCOMES_MINUTES` ago",
        "lost_entries": "within 15 minutes entries were lost, or a stream was found restarted, emptied or put back",
        "wrong_rows": "within 15 minutes rows of a closed day were found not to be what its events say, and put right",
        "failed_job": "the last run of a line of the schedule failed, or never ended: see `schedule --list`",
    }
)
"""Every alert there is, and when it holds. The descriptions are the README's texts; a test holds the two together."""

AT_ONCE = frozenset({"halted", "lost_entries", "wrong_rows"})
"""Alerts that need no waiting: somebody has looked closely already."""


class Alert(NamedTuple):
    """Something that holds."""

    name: str
    text: str
    value: float
    threshold: float


Judgement = Mapping[str, Alert | None]
"""By name: what holds, or None for what certainly does not. What cannot be known just now is missing."""


class Tally(NamedTuple):
    """Entries read in a span of time, and how many of them were dead letters."""

    entries: int
    dead_letters: int


class Readings:
    """The books' sums, as they were over the last hour of this process's life."""

    def __init__(self) -> None:
        """Nothing was read yet."""
        self._readings: deque[tuple[float, Tally]] = deque()

    def add(self, now: float, books: Mapping[str, Books]) -> Tally:
        """Take in the books as they are at `now` (seconds of any clock); what was added to them over the last hour."""
        total = Tally(sum(b.entries_read for b in books.values()), sum(b.dead_lettered for b in books.values()))
        if self._readings and any(after < before for before, after in zip(self._readings[-1][1], total, strict=True)):
            self._readings.clear()  # the database was restored to an earlier moment
        self._readings.append((now, total))
        while self._readings[0][0] < now - SHARE_WINDOW_S:
            self._readings.popleft()
        first = self._readings[0][1]
        return Tally(total.entries - first.entries, total.dead_letters - first.dead_letters)


def judge(seen: Observation, last_hour: Tally, settings: Settings) -> Judgement:
    """What holds, what does not, and (by its absence) what cannot be known."""
    judged = {f"{server}_away": _away(server, seen.away.get(server)) for server in (POSTGRESQL, REDIS)}
    if seen.records is not None:
        judged["halted"] = _halted(seen.records.books)
        judged["lost_entries"] = _lost(seen.records.findings)
        judged["stale_outcomes"] = _stale_outcomes(seen.records.outcomes, settings.alert_outcomes_minutes)
        judged["wrong_rows"] = _wrong_rows(seen.records.closing)
        judged["failed_job"] = _failed_job(seen.records.scheduled)
        judged["dead_letters"] = _dead_letters(last_hour, settings.alert_dead_share)
    if seen.shards is not None:
        judged["lag"] = _lag(seen.shards, settings.alert_lag_seconds)
        judged["silence"] = _silence(seen.shards, settings.alert_silence_minutes)
    return judged


def _away(server: str, why: AnalyticsError | None) -> Alert | None:
    return Alert(f"{server}_away", str(why), 1, 0) if why else None


def _halted(books: Mapping[str, Books]) -> Alert | None:
    because = [each.halted_because or "" for each in books.values() if each.halted_at]
    if not because:
        return None
    return Alert("halted", f"{len(because)} of {len(books)} shards have halted: {because[0]}", len(because), 0)


def _lost(findings: Sequence[Finding]) -> Alert | None:
    recent = [finding for finding in findings if finding.recent_findings]
    if not recent:
        return None
    lost = sum(finding.recent_lost for finding in recent)
    what = ", ".join(f"{finding.recent_findings} × {finding.verdict}" for finding in recent)
    text = f"{lost:,} entries were lost before they were read ({what})"
    if any(finding.verdict in ("restarted", "went_back", "emptied") for finding in recent):
        text += "; what Redis lost when it was restarted or put back cannot be known: reading went back instead"
    return Alert("lost_entries", text, lost, 0)


def _stale_outcomes(outcomes: Outcomes, most_minutes: float) -> Alert | None:
    if not most_minutes or outcomes.refreshed_s_ago <= most_minutes * 60:
        return None
    text = (
        f"requests, orders and reviews of today were last counted {duration(outcomes.refreshed_s_ago)} ago: "
        "see the log of the ops worker"
    )
    return Alert("stale_outcomes", text, outcomes.refreshed_s_ago, most_minutes * 60)


def _wrong_rows(closing: Closing) -> Alert | None:
    if closing.wrong_rows:
        changes = f"profile views {closing.profile_views:+,}, contact views {closing.contact_views:+,}"
        text = (
            f"{closing.wrong_rows:,} daily rows of {', '.join(map(str, closing.wrong_days))} were not what the events"
            f" say, and were put right: {changes}; see analytics.day_difference"
        )
        return Alert("wrong_rows", text, closing.wrong_rows, 0)
    if closing.not_compared:
        return Alert("wrong_rows", f"a day was closed without being compared: {closing.not_compared}", 0, 0)
    return None


def _failed_job(scheduled: Sequence[Ran]) -> Alert | None:
    failed = [f"{line.name}: {line.failure}" for line in scheduled if line.failure]
    return Alert("failed_job", "; ".join(failed), len(failed), 0) if failed else None


def _dead_letters(last_hour: Tally, most: float) -> Alert | None:
    entries, dead = last_hour
    if entries < SHARE_LEAST_ENTRIES or dead <= most * entries:
        return None
    text = f"{dead:,} of the last {entries:,} entries ({dead / entries:.0%}) are dead letters"
    return Alert("dead_letters", text, dead / entries, most)


def _lag(shards: Sequence[ShardStatus], most_s: float) -> Alert | None:
    behind = [shard for shard in shards if shard.waits_s > most_s]
    if not behind:
        return None
    worst = max(behind, key=lambda shard: shard.waits_s)
    waiting = "" if worst.lag_entries is None else f", {worst.lag_entries:,} unread"
    text = (
        f"the oldest unread entry is {duration(worst.waits_s)} old (stream {worst.stream}{waiting}; "
        f"{len(behind)} of {len(shards)} streams are behind)"
    )
    return Alert("lag", text, worst.waits_s, most_s)


def _silence(shards: Sequence[ShardStatus], most_minutes: float) -> Alert | None:
    if not most_minutes:
        return None
    ages = [shard.newest_s for shard in shards if shard.newest_s is not None]
    if not ages:
        return Alert("silence", "no event is known to have ever come: see ANALYTICS_STREAM", 0, most_minutes * 60)
    if min(ages) <= most_minutes * 60:
        return None
    return Alert("silence", f"the last event came {duration(min(ages))} ago", min(ages), most_minutes * 60)


class Patience:
    """Lets what holds become an alert only when it has held for a while."""

    def __init__(self, pending_s: float) -> None:
        """Nothing holds yet."""
        self._pending_s = pending_s
        self._since: dict[str, float] = {}

    def ripe(self, judged: Judgement, now: float) -> dict[str, float]:
        """The names of what has held long enough, and since when (by the clock of `now`, seconds)."""
        for name, alert in judged.items():
            if alert is None:
                self._since.pop(name, None)
            else:
                self._since.setdefault(name, now)
        return {
            name: self._since[name]
            for name, alert in judged.items()
            if alert is not None and (name in AT_ONCE or now - self._since[name] >= self._pending_s)
        }


class Message(NamedTuple):
    """What has to be said: that an alert began, or that it is over."""

    id: int | None
    """None while PostgreSQL, which gives it, is away."""
    name: str
    is_start: bool
    started_at: datetime
    ended_at: datetime | None
    text: str
    value: float
    threshold: float


def payload(message: Message) -> dict[str, Any]:
    """The webhook's JSON. `text` is what Slack and Mattermost show, `content` what Discord does."""
    if message.is_start or message.ended_at is None:
        words = f"ALERT {message.name}: {message.text}"
    else:
        lasted = duration((message.ended_at - message.started_at).total_seconds())
        words = f"OVER {message.name}, after {lasted}. At its worst: {message.text}"
    ended_at = None if message.is_start or message.ended_at is None else message.ended_at.isoformat()
    return {
        "text": words,
        "content": words,
        "event": "start" if message.is_start else "end",
        "alert": message.name,
        "detail": message.text,
        "value": message.value,
        "threshold": message.threshold,
        "started_at": message.started_at.isoformat(),
        "ended_at": ended_at,
        "id": message.id,
    }
