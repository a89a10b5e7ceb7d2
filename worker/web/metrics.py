"""`/metrics`: what PostgreSQL and Redis say at the moment of the scrape.

So no counter is ever behind the books, forgets when a process ends, or has to be added up over processes.
"""

import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from itertools import product
from types import MappingProxyType
from typing import NamedTuple

import redis
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from jobs.queue import OPS, ROLLUP
from jobs.view import JobsView, jobs_and_workers
from worker.alerting.alerts import ALERTS
from worker.days import end_of
from worker.errors import AnalyticsError
from worker.events import Reason
from worker.inspection.observe import POSTGRESQL, REDIS, Observer, Records
from worker.inspection.status import DeadLetters, ShardStatus, read_dead_letters
from worker.settings import Settings
from worker.stream import redis_errors
from worker.web.health import NO_STORE


class Definition(NamedTuple):
    """Labels and help text of a metric."""

    labels: tuple[str, ...]
    help: str


METRICS: Mapping[str, Definition] = MappingProxyType(
    {
        "analytics_up": Definition(("server",), "1 if the server answered this scrape, 0 if not"),
        "analytics_entries_read_total": Definition(("stream",), "entries read from the stream"),
        "analytics_entries_counted_total": Definition(("stream",), "of these, counted into the daily table"),
        "analytics_entries_duplicate_total": Definition(
            ("stream",), "of these, repeats of an event that was read before"
        ),
        "analytics_entries_excluded_total": Definition(("stream",), "of these, kept but not counted: bots, self-views"),
        "analytics_entries_dead_lettered_total": Definition(("stream",), "of these, dead letters"),
        "analytics_entries_lost_total": Definition(("stream",), "entries that left the stream before they were read"),
        "analytics_position_moved_timestamp_seconds": Definition(("stream",), "when entries were last committed"),
        "analytics_halted": Definition(("stream",), "1 while the shard is halted because most of its events are bad"),
        "analytics_backlog_entries": Definition(("stream",), "entries not read yet; absent while that is not known"),
        "analytics_oldest_unread_seconds": Definition(
            ("stream",), "age of the oldest entry not read yet, 0 without any"
        ),
        "analytics_continuity_events_total": Definition(("verdict",), "how often something was wrong with a stream"),
        "analytics_dead_letters": Definition(("reason",), "dead letters that lie buried"),
        "analytics_outcomes_refreshed_timestamp_seconds": Definition(
            (), "when requests, orders and reviews of today were last counted"
        ),
        "analytics_complete_through_timestamp_seconds": Definition(
            (),
            "end of the last closed day: all that had reached Redis by then is counted; absent while no day is closed",
        ),
        "analytics_runs": Definition(("state",), "runs that are `queued` or `running`"),
        "analytics_alert_firing": Definition(("alert",), "1 while the alert holds"),
        "analytics_jobs": Definition(("queue", "state"), "RQ's jobs that are `queued`, `started` or `failed`"),
        "analytics_workers": Definition(("queue", "state"), "worker processes, `busy` or `idle` for the most part"),
    }
)
"""Every metric there is. A label has a value for each stream, or one of a closed list: what is not on it is `other`."""

COUNT_MS = 500
"""Milliseconds that counting dead letters may take; if it takes longer, that metric alone is absent."""

OTHER = "other"
VERDICTS = ("trimmed_unread", "deleted_unread", "restarted", "went_back", "emptied")
REASONS = tuple(reason.value for reason in Reason)
QUEUES = (ROLLUP, OPS)
JOB_STATES = ("queued", "started", "failed")
RUN_STATES = ("queued", "running")
WORKER_STATES = ("started", "suspended", "busy", "idle")

Samples = Mapping[tuple[str, ...], float]
"""The values of one metric by its labels' values."""


def metrics_routes(settings: Settings, observer: Observer) -> list[Route]:
    """The route of `/metrics`."""
    registry = CollectorRegistry()
    registry.register(AnalyticsCollector(settings, observer))

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        text = await run_in_threadpool(encode, registry)
        return Response(text, headers={"Content-Type": content_type, **NO_STORE})

    return [Route("/metrics", metrics)]


class AnalyticsCollector(Collector):
    """Reads everything anew at each scrape; a server that is away takes only its own metrics with it."""

    def __init__(self, settings: Settings, observer: Observer) -> None:
        self._settings = settings
        self._observer = observer

    def describe(self) -> Iterable[Metric]:
        """Nothing: otherwise registering would be a scrape."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """The metrics of this moment."""
        seen = self._observer.look()
        samples: dict[str, Samples] = {
            "analytics_up": {(server,): float(server not in seen.away) for server in (POSTGRESQL, REDIS)},
        }
        if seen.records is not None:
            samples |= _of_records(seen.records, self._settings.time_zone)
            with suppress(AnalyticsError):
                samples |= _of_dead_letters(self._observer.postgres.ask(partial(read_dead_letters, within_ms=COUNT_MS)))
        if seen.shards is not None:
            samples |= _of_shards(seen.shards)
        if REDIS not in seen.away:
            with suppress(AnalyticsError):
                samples |= _of_jobs(self._observer.redis.ask(self._read_jobs))
        return (_family(name, samples[name]) for name in METRICS if name in samples)

    def _read_jobs(self, client: redis.Redis) -> JobsView:
        with redis_errors(self._settings):
            return jobs_and_workers(client)


def _family(name: str, samples: Samples) -> Metric:
    definition = METRICS[name]
    kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
    family = kind(name, definition.help, labels=definition.labels)
    for labels, value in samples.items():
        family.add_metric(labels, value)
    return family


def _of_records(records: Records, time_zone: str) -> dict[str, Samples]:
    columns = {"read": "entries_read", "counted": "counted", "duplicate": "duplicates", "excluded": "excluded"}
    columns |= {"dead_lettered": "dead_lettered", "lost": "lost"}
    books = records.books.values()
    findings = Counter[tuple[str, ...]]({(verdict,): 0 for verdict in VERDICTS})
    for finding in records.findings:
        findings[(_one_of(VERDICTS, finding.verdict),)] += finding.findings
    firing, through = {alert.name for alert in records.alerts}, records.closing.complete_through
    return {
        **{
            f"analytics_entries_{metric}_total": {(each.stream,): getattr(each, column) for each in books}
            for metric, column in columns.items()
        },
        "analytics_position_moved_timestamp_seconds": {
            (each.stream,): time.time() - each.committed_s_ago for each in books
        },
        "analytics_halted": {(each.stream,): float(each.halted_at is not None) for each in books},
        "analytics_continuity_events_total": findings,
        "analytics_outcomes_refreshed_timestamp_seconds": {(): time.time() - records.outcomes.refreshed_s_ago},
        "analytics_complete_through_timestamp_seconds": (
            {(): end_of(through, time_zone).timestamp()} if through else {}
        ),
        "analytics_runs": {(state,): records.runs.get(state, 0) for state in RUN_STATES},
        "analytics_alert_firing": {(name,): float(name in firing) for name in ALERTS},
    }


def _of_dead_letters(dead_letters: Iterable[DeadLetters]) -> dict[str, Samples]:
    by_reason = Counter[tuple[str, ...]]({(reason,): 0 for reason in REASONS})
    for dead in dead_letters:
        by_reason[(_one_of(REASONS, dead.reason),)] += dead.letters
    return {"analytics_dead_letters": by_reason}


def _of_shards(shards: Iterable[ShardStatus]) -> dict[str, Samples]:
    return {
        "analytics_backlog_entries": {
            (shard.stream,): shard.lag_entries for shard in shards if shard.lag_entries is not None
        },
        "analytics_oldest_unread_seconds": {(shard.stream,): shard.waits_s for shard in shards},
    }


def _of_jobs(jobs: JobsView) -> dict[str, Samples]:
    workers = Counter[tuple[str, ...]](dict.fromkeys(product(QUEUES, WORKER_STATES), 0))
    for worker in jobs.workers:
        workers[_one_of(QUEUES, worker.queue), _one_of(WORKER_STATES, worker.state)] += 1
    return {
        "analytics_jobs": {(queue.name, state): getattr(queue, state) for queue in jobs.queues for state in JOB_STATES},
        "analytics_workers": workers,
    }


def _one_of(known: Collection[str], value: str) -> str:
    return value if value in known else OTHER
