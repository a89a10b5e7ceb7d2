"""All checks in their order, those of a start and those of the doctor: facts are read here, and handed to the checks.

What cannot be read because a server is away or refuses becomes an error of its own; everything else is still checked.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import redis

from worker.daily.profile_totals import read_access
from worker.doctor import clock_checks, event_checks, job_checks, postgres_checks, redis_checks, stream_checks
from worker.doctor.check import Check, error, ok
from worker.doctor.clock_checks import Offset
from worker.doctor.job_checks import JobFacts
from worker.errors import AnalyticsError, Retry, Stop
from worker.migrations import missing_migrations
from worker.operations.request_store import read_requests
from worker.settings import Settings
from worker.store import Connection, check_time_zone, connect_postgres
from worker.stream import connect_redis, redis_errors

Groups = Mapping[str, list[Check]]
JobReader = Callable[[redis.Redis], JobFacts]


def examine_start(settings: Settings) -> list[Check]:
    """What must be true before a process of ours starts, and what a person should know of then.

    Raises:
        Stop: a URL or password is wrong, or PostgreSQL does not know the time zone.
        Retry: a server is away.
    """
    with connect_redis(settings) as client, connect_postgres(settings, "start") as connection:
        about_redis = redis_checks.read_redis(settings, client)
        about_postgres = postgres_checks.read_postgres(settings, connection)
        check_time_zone(connection, settings.time_zone)
        return [
            redis_checks.redis_server(about_redis),
            redis_checks.eviction(about_redis, allowed=settings.allow_eviction),
            postgres_checks.postgres_server(about_postgres),
            postgres_checks.migrations(missing_migrations(connection)),
            redis_checks.persistence(about_redis),
            stream_checks.future_ids(stream_checks.read_backlogs(settings, client)),
            clock_checks.clocks(
                clock_checks.read_redis_clock(settings, client), clock_checks.read_postgres_clock(connection)
            ),
        ]


def examine(
    settings: Settings, read_jobs: JobReader, environment: Mapping[str, str], disk_bytes: int | None = None
) -> Groups:
    """Everything, by groups; changes nothing.

    Args:
        settings: where the servers are, and how events are counted.
        read_jobs: says what there is in RQ.
        environment: of this process.
        disk_bytes: size of PostgreSQL's disk, if somebody knows.
    """
    with ExitStack() as resources:
        return _Examination(settings, resources).run(read_jobs, environment, disk_bytes)


class _Examination:
    """Reads and judges one thing after the other; what cannot be read is noted and passed over."""

    def __init__(self, settings: Settings, resources: ExitStack) -> None:
        self.settings = settings
        self.groups: dict[str, list[Check]] = {name: [] for name in ("servers", "schema", "streams", "jobs", "events")}
        self.client: redis.Redis | None = None
        self.connection: Connection | None = None
        self.migrated = False
        with self._noting("servers", "Redis"):
            client = resources.enter_context(connect_redis(settings))
            with redis_errors(settings):
                client.ping()
            self.client = client
        with self._noting("servers", "PostgreSQL"):
            self.connection = resources.enter_context(connect_postgres(settings, "doctor"))

    @contextmanager
    def _noting(self, group: str, name: str) -> Iterator[None]:
        """Turn what cannot be read into an error of the group."""
        try:
            yield
        except Retry as away:
            self.groups[group].append(error(name, str(away), "start the server, or correct its URL"))
        except AnalyticsError as refused:
            self.groups[group].append(error(name, str(refused), "correct what the line names, and look again"))

    def _add(self, group: str, checks: Iterable[Check]) -> None:
        self.groups[group] += checks

    def run(self, read_jobs: JobReader, environment: Mapping[str, str], disk_bytes: int | None) -> Groups:
        """Look at all that answers."""
        client, connection = self.client, self.connection
        if client:
            with self._noting("servers", "Redis"):
                self._redis(client)
        if connection:
            with self._noting("servers", "PostgreSQL"):
                self._postgres(connection, disk_bytes)
            with self._noting("schema", "schema"):
                self._schema(connection)
        with self._noting("servers", "clocks"):
            self._clocks()
        if client and connection and self.migrated:
            with self._noting("streams", "positions"):
                self._streams(client, connection)
        if client:
            with self._noting("jobs", "jobs"), redis_errors(self.settings):
                self._jobs(read_jobs(client))
            with self._noting("events", "newest events"):
                self._events(connection)
        if connection and self.migrated:
            with self._noting("events", "dead letters"):
                self._add("events", [event_checks.dead_letters(event_checks.read_dead_letters(connection))])
        self._add("jobs", [job_checks.draining(environment)])
        self._add("events", [event_checks.visitors(self.settings)])
        return {group: checks for group, checks in self.groups.items() if checks}

    def _redis(self, client: redis.Redis) -> None:
        facts = redis_checks.read_redis(self.settings, client)
        self._add(
            "servers",
            [
                redis_checks.redis_server(facts),
                redis_checks.eviction(facts, allowed=self.settings.allow_eviction),
                redis_checks.persistence(facts),
                redis_checks.last_save(facts),
            ],
        )
        backlogs = stream_checks.read_backlogs(self.settings, client)
        sizes = stream_checks.read_sizes(self.settings, client, backlogs)
        self._add("servers", [redis_checks.memory(facts, sizes, self.settings.stream_retention_hours * 3600)])
        self._add("streams", [stream_checks.future_ids(backlogs)])

    def _postgres(self, connection: Connection, disk_bytes: int | None) -> None:
        facts = postgres_checks.read_postgres(self.settings, connection, disk_bytes)
        self._add("servers", [postgres_checks.postgres_server(facts)])
        self._add("servers", [postgres_checks.connections(facts, rollups=self.settings.shards)])
        missing = missing_migrations(connection)
        self.migrated = not missing
        self._add("schema", [postgres_checks.migrations(missing)])
        ledger = postgres_checks.read_ledger(connection) if self.migrated else []
        today = postgres_checks.utc_today()
        self._add("servers", [postgres_checks.disk(facts, ledger, today, self.settings.ledger_days)])

    def _clocks(self) -> None:
        offsets: list[Offset | None] = [
            clock_checks.read_redis_clock(self.settings, self.client) if self.client else None,
            clock_checks.read_postgres_clock(self.connection) if self.connection else None,
        ]
        self._add("servers", [clock_checks.clocks(*offsets)])

    def _schema(self, connection: Connection) -> None:
        self._add("schema", postgres_checks.schema(postgres_checks.read_schema(connection)))
        if self.settings.profile_totals:
            self._add("schema", [postgres_checks.profile_totals(read_access(connection).refusal)])
        try:
            check_time_zone(connection, self.settings.time_zone)
        except Stop as unknown:
            self._add("schema", [error("time zone", str(unknown), "set it to a name that PostgreSQL has")])
        else:
            self._add("schema", [ok("time zone", self.settings.time_zone)])

    def _streams(self, client: redis.Redis, connection: Connection) -> None:
        ours, others, findings = stream_checks.read_stands(self.settings, connection, client)
        self._add("streams", stream_checks.positions(ours))
        self._add("streams", [stream_checks.unread_streams(others, self.settings.shards)])
        self._add("streams", [stream_checks.losses(findings)])
        self._add("streams", [stream_checks.requests(read_requests(self.settings, connection, client))])

    def _jobs(self, facts: JobFacts) -> None:
        checks = (job_checks.workers, job_checks.rollups, job_checks.orphaned_jobs, job_checks.failed_jobs)
        self._add("jobs", [check(facts) for check in checks])

    def _events(self, connection: Connection | None) -> None:
        sample = event_checks.read_sample(self.settings, connection)
        self._add("events", [event_checks.contract(sample), event_checks.identified(sample)])
