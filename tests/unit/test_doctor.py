"""Each check of the doctor: what is well, what is worth a warning, and what is an error."""

from collections import Counter
from dataclasses import replace
from datetime import date, timedelta

import pytest

from tests.support import settings_for
from worker.continuity import EntryId, Position, StreamFacts
from worker.doctor import clock_checks, event_checks, job_checks, postgres_checks, redis_checks, stream_checks
from worker.doctor.check import Level
from worker.doctor.clock_checks import Offset
from worker.doctor.event_checks import Sample
from worker.doctor.job_checks import JobFacts
from worker.doctor.postgres_checks import OutcomeTable, PartitionSize, PostgresFacts, SchemaFacts
from worker.doctor.redis_checks import RedisFacts, StreamSize
from worker.doctor.stream_checks import Finding, Stand
from worker.events import Reason, Rules
from worker.operations.request_store import RequestBooks, RequestStand
from worker.stream import Backlog

OK, WARNING, ERROR = Level.OK, Level.WARNING, Level.ERROR

GB = 10**9
HOUR = 3600.0
TODAY = date(2026, 11, 22)

REDIS = RedisFacts(
    where="redis://h",
    version="8.2.1",
    role="master",
    eviction="noeviction",
    memory_used=GB,
    memory_limit=10 * GB,
    aof=True,
    appendfsync="everysec",
    save="",
)
POSTGRES = PostgresFacts(
    where="postgresql://h/d",
    version="18.4",
    read_only=False,
    pooled=False,
    connections_left=90,
    database_bytes=GB,
    wal_bytes=GB,
    free_bytes=10 * GB,
)
SCHEMA = SchemaFacts(failed={}, redundant_indexes=[], outcome_tables=[])
JOBS = JobFacts({"rollup": 1, "ops": 1}, [], [], [], [])


@pytest.mark.parametrize(
    ("facts", "level"),
    [
        (REDIS, OK),
        (replace(REDIS, version="7.0.15"), OK),
        (replace(REDIS, version="6.2.14"), ERROR),
        (replace(REDIS, version="10.0"), OK),
        (replace(REDIS, role="slave"), ERROR),
        (replace(REDIS, role=None), OK),
    ],
)
def test_redis_server(facts: RedisFacts, level: Level) -> None:
    """Redis 7 or newer is needed, and not a replica."""
    assert redis_checks.redis_server(facts).level is level


@pytest.mark.parametrize(
    ("policy", "allowed", "level"),
    [
        ("noeviction", False, OK),
        ("allkeys-lru", False, ERROR),
        ("allkeys-random", False, ERROR),
        ("allkeys-lfu", True, WARNING),
        ("volatile-ttl", False, WARNING),
        ("volatile-lru", True, WARNING),
        (None, False, WARNING),
    ],
)
def test_eviction(policy: str | None, allowed: bool, level: Level) -> None:
    """A policy that can take the stream is an error unless allowed; one that can take only keys with a TTL is not."""
    check = redis_checks.eviction(replace(REDIS, eviction=policy), allowed=allowed)
    assert check.level is level
    assert ("ANALYTICS_ALLOW_EVICTION=1" in check.advice) == (level is ERROR)
    assert level is OK or "noeviction" in check.advice


@pytest.mark.parametrize(
    ("facts", "level", "words"),
    [
        (REDIS, OK, "everysec"),
        (replace(REDIS, appendfsync="always"), OK, "always"),
        (replace(REDIS, appendfsync=None), OK, "not known"),
        (replace(REDIS, appendfsync="no"), WARNING, "30 s"),
        (replace(REDIS, aof=False), WARNING, "none"),
        (replace(REDIS, aof=False, save="60 10000 3600 1 300 100"), WARNING, "up to 60 min"),
        (replace(REDIS, aof=False, save=None), WARNING, "no AOF"),
        (replace(REDIS, aof=None), WARNING, "not known"),
    ],
)
def test_persistence(facts: RedisFacts, level: Level, words: str) -> None:
    """Only an append-only file that is written at least every second is well."""
    check = redis_checks.persistence(facts)
    assert check.level is level
    assert words in check.found


def test_last_save() -> None:
    """A write to disk that went wrong is an error, and is named."""
    assert redis_checks.last_save(REDIS).level is OK
    check = redis_checks.last_save(replace(REDIS, failed_saves=("snapshot",)))
    assert check.level is ERROR and "snapshot" in check.found


@pytest.mark.parametrize(
    ("used", "streams", "level", "words"),
    [
        (GB, [], OK, "1.0 GB of 10.0 GB"),
        (8 * GB + 1, [], WARNING, "8.0 GB"),
        (9.5 * GB + 1, [], ERROR, "soon full"),
        (GB, [StreamSize(GB, 72 * HOUR)], OK, "used"),
        (8 * GB, [StreamSize(4 * GB, 24 * HOUR)], WARNING, "full in 12 h if nobody reads"),
        (4 * GB, [StreamSize(GB // 2, 5 * HOUR)], WARNING, "takes 6.7 GB more"),
        (3 * GB, [StreamSize(GB // 2, 5 * HOUR)], OK, "used"),
        (GB, [StreamSize(GB // 10, 100.0)], OK, "used"),  # too young to tell a rate from
    ],
)
def test_memory(used: float, streams: list[StreamSize], level: Level, words: str) -> None:
    """Nearly full is a warning, as is what a day without readers or the retention would fill; full is an error."""
    facts = replace(REDIS, memory_used=int(used))
    check = redis_checks.memory(facts, streams, retention_s=72 * HOUR)
    assert check.level is level
    assert words in check.found


def test_memory_is_not_known() -> None:
    """Without a limit nothing can be said, and so it is said."""
    for facts in (replace(REDIS, memory_limit=None), replace(REDIS, memory_used=None)):
        check = redis_checks.memory(facts)
        assert check.level is OK and "not known" in check.found


@pytest.mark.parametrize(
    ("redis_clock", "postgres_clock", "level", "words"),
    [
        (Offset(-0.01, 0.01), Offset(-0.01, 0.01), OK, "this machine and Redis and PostgreSQL agree"),
        (Offset(-4.0, 5.0), Offset(-9.0, 3.0), OK, "agree"),  # slow links: they can agree
        (Offset(2.1, 2.3), Offset(0.0, 0.0), WARNING, "Redis is 2.1 s ahead of this machine"),
        (Offset(0.0, 0.1), Offset(-400.0, -399.0), WARNING, "PostgreSQL is 399.0 s behind"),
        (Offset(1.5, 1.5), Offset(-1.5, -1.5), WARNING, "PostgreSQL is 3.0 s behind Redis"),
        (Offset(1.9, 1.9), None, OK, "this machine and Redis agree"),
        (None, Offset(9.0, 9.0), WARNING, "PostgreSQL"),
        (None, None, OK, "only this machine"),
    ],
)
def test_clocks(redis_clock: Offset | None, postgres_clock: Offset | None, level: Level, words: str) -> None:
    """More than two seconds between any two clocks is a warning, but never because of a slow link."""
    check = clock_checks.clocks(redis_clock, postgres_clock)
    assert check.level is level
    assert words in check.found


@pytest.mark.parametrize(
    ("facts", "level"),
    [
        (POSTGRES, OK),
        (replace(POSTGRES, pooled=True), OK),
        (replace(POSTGRES, version="13.9"), ERROR),
        (replace(POSTGRES, version="14.1"), WARNING),
        (replace(POSTGRES, version="15"), OK),
        (replace(POSTGRES, read_only=True), ERROR),
    ],
)
def test_postgres_server(facts: PostgresFacts, level: Level) -> None:
    """PostgreSQL 14 or newer is needed, and not one that can only be read."""
    assert postgres_checks.postgres_server(facts).level is level


@pytest.mark.parametrize(("left", "rollups", "level"), [(90, 4, OK), (19, 4, OK), (18, 4, WARNING), (0, 1, WARNING)])
def test_connections(left: int, rollups: int, level: Level) -> None:
    """There must be room for a second worker and web process, as there are during a deploy."""
    assert postgres_checks.connections(replace(POSTGRES, connections_left=left), rollups).level is level


def ledger(days: int, each: int) -> list[PartitionSize]:
    return [PartitionSize(TODAY - timedelta(back), each) for back in range(days)]


@pytest.mark.parametrize(
    ("free", "partitions", "ledger_days", "level"),
    [
        (10 * GB, ledger(8, GB // 10), 35, OK),  # 2.7 GB to come
        (10 * GB, ledger(8, GB), 35, WARNING),  # 27 GB to come, a gigabyte a day
        (2 * GB, ledger(8, GB), 35, ERROR),
        (20 * GB, ledger(8, GB), 35, OK),  # too little, but in 20 days
        (2 * GB, ledger(34, GB), 35, OK),  # one more day, then the oldest goes
        (5 * GB, ledger(300, GB), 0, WARNING),  # all is kept
        (GB, ledger(1, 0), 35, OK),  # no day is over
        (0, ledger(8, GB), 35, ERROR),
        (-GB, [], 35, ERROR),
        (None, ledger(8, GB), 35, OK),
    ],
)
def test_disk(free: int | None, partitions: list[PartitionSize], ledger_days: int, level: Level) -> None:
    """Full within 14 days is a warning, within 3 an error; not if the retention is reached before."""
    check = postgres_checks.disk(replace(POSTGRES, free_bytes=free), partitions, TODAY, ledger_days)
    assert check.level is level
    assert ("--disk-gb" in check.advice) == (free is None)


def test_daily_growth() -> None:
    """It is the mean of the last seven days that are over: neither today's, nor that of days long ago or to come."""
    sizes = {-3: 900, 0: 900, 1: 10, 2: 20, 7: 60, 8: 900}
    partitions = [PartitionSize(TODAY - timedelta(back), each) for back, each in sizes.items()]
    assert postgres_checks.daily_growth(partitions, TODAY) == 30


def test_schema() -> None:
    """What verify finds is an error, except for the index that nobody needs; a redundant index is only mentioned."""
    assert postgres_checks.migrations([]).level is OK
    check = postgres_checks.migrations(["0001_a", "0002_b"])
    assert check.level is ERROR and "0001_a" in check.found and "python -m worker migrate" in check.advice

    assert postgres_checks.daily_table(SCHEMA).level is OK
    without = {postgres_checks.PLAIN_INDEX: "missing"}
    assert postgres_checks.daily_table(replace(SCHEMA, failed=without)).level is OK
    invalid = {postgres_checks.PLAIN_INDEX: "INVALID"}
    assert postgres_checks.daily_table(replace(SCHEMA, failed=invalid)).level is ERROR
    check = postgres_checks.daily_table(replace(SCHEMA, failed=without | {"a": "b", "c": "d"}))
    assert check.level is ERROR and check.found == "a: b and 1 more"

    check = postgres_checks.redundant_index(replace(SCHEMA, redundant_indexes=['"x"']))
    assert check.level is OK and '"x"' in check.found and check.advice


def test_outcome_tables() -> None:
    """A table without an index on createdAt is a warning; a missing one counts as zero, which is said."""
    fine, slow = OutcomeTable("Order", True, True), OutcomeTable("Review", True, False)
    missing = OutcomeTable("ConsultationRequest", False, False)
    assert postgres_checks.outcome_tables(replace(SCHEMA, outcome_tables=[fine])).level is OK
    check = postgres_checks.outcome_tables(replace(SCHEMA, outcome_tables=[missing, fine]))
    assert check.level is OK and "counts as zero: ConsultationRequest" in check.found
    check = postgres_checks.outcome_tables(replace(SCHEMA, outcome_tables=[missing, fine, slow]))
    assert check.level is WARNING and '"Review"' in check.found and "counts as zero" in check.found
    assert '"Order"' not in check.found and 'ON "Review" ("createdAt")' in check.advice


NOW = 1_800_000_000.0


def backlog(
    entries: int | None = 0, oldest_age_s: float | None = None, *, added: int = 100, last_ms: float = NOW * 1000
) -> Backlog:
    last = EntryId(int(last_ms), 0)
    return Backlog(
        entries, oldest_age_s, StreamFacts("epoch", added, added, last, EntryId(1, 0), last_read_there=True), NOW
    )


def position(ordinal: int | None = 100, epoch: str = "epoch", last_ms: float = NOW * 1000) -> Position:
    return Position("s", epoch, EntryId(int(last_ms), 0), ordinal)


@pytest.mark.parametrize(
    ("last_ms", "level"),
    [
        (0, OK),
        (NOW * 1000, OK),
        ((NOW + 3500) * 1000, OK),
        ((NOW + 3601) * 1000, WARNING),
        (4e15, WARNING),
    ],
)
def test_future_ids(last_ms: float, level: Level) -> None:
    """Ids more than an hour ahead of the clock of Redis are a warning that names the stream."""
    check = stream_checks.future_ids({"a": backlog(), "b": backlog(last_ms=last_ms)})
    assert check.level is level
    assert level is OK or ("b" in check.found and "occurredAt" in check.advice)


@pytest.mark.parametrize(
    ("stand", "level", "words"),
    [
        (Stand("s", None, backlog()), OK, ""),
        (Stand("s", None, backlog(7, 1.0)), ERROR, "never read: 7 entries"),
        (Stand("s", position(), backlog()), OK, ""),
        (Stand("s", position(), backlog(), committed_s_ago=9_000.0), OK, ""),
        (Stand("s", position(90), backlog(10, 59.0), committed_s_ago=9_000.0), OK, ""),
        (Stand("s", position(90), backlog(10, 61.0), committed_s_ago=61.0), ERROR, "10 entries wait"),
        (Stand("s", position(90), backlog(10, 3000.0), committed_s_ago=0.1), WARNING, "50 min behind"),
        (Stand("s", position(None), backlog(None, 61.0), committed_s_ago=61.0), ERROR, "entries wait"),
        (Stand("s", position(101), backlog()), ERROR, "went_back"),
        (Stand("s", position(last_ms=NOW * 1000 + 1), backlog()), ERROR, "went_back"),
        (Stand("s", position(epoch="other"), backlog()), ERROR, "restarted"),
        (Stand("s", position(), backlog(added=0, last_ms=0)), ERROR, "emptied"),
        (Stand("s", position(90), backlog()), ERROR, "10 entries are gone"),
        (Stand("s", position(90), backlog(10, 9.0), halted_because="all bad"), ERROR, "halted: all bad"),
    ],
)
def test_positions(stand: Stand, level: Level, words: str) -> None:
    """A shard must be read, not be behind for long, and its stream be the one that the position is about."""
    [check] = stream_checks.positions([stand])
    assert check.level is level
    assert words in check.found


def test_positions_of_many_shards() -> None:
    """Each shard that is not well has a line of its own; all that are have one together."""
    good, bad = Stand("s", position(), backlog()), Stand("t", None, backlog(1, 1.0))
    assert len(list(stream_checks.positions([good] * 8))) == 1
    assert [check.level for check in stream_checks.positions([good, bad, good, bad])] == [ERROR, ERROR]


def test_unread_streams() -> None:
    """Entries in the streams of another number of shards are an error that says how many, and where."""
    read = Stand("old", position(), backlog())
    assert stream_checks.unread_streams([read], 4).level is OK
    check = stream_checks.unread_streams([read, Stand("x:{5}", None, backlog(1234, 1.0))], 4)
    assert check.level is ERROR and "1,234 entries in x:{5}" in check.found and "ANALYTICS_SHARDS is 4" in check.found
    assert stream_checks.unread_streams([Stand("x", position(None), backlog(None, 1.0))], 4).level is ERROR


def test_requests() -> None:
    """Requests that wait for a minute are told of: nobody takes them on."""
    books = RequestBooks("5-0", 7, 5, 1, 90.0)
    assert stream_checks.requests(RequestStand("asked", 3, 59.0, books)).level is OK
    check = stream_checks.requests(RequestStand("asked", 3, 61.0, books))
    assert check.level is WARNING and "3 unread in asked" in check.found


def test_losses() -> None:
    """What was found wrong within a week is a warning with the number of entries lost."""
    assert stream_checks.losses([]).level is OK
    check = stream_checks.losses([Finding("s", "restarted", None, 60.0), Finding("s", "trimmed_unread", 30, 90.0)])
    assert check.level is WARNING and "30 entries" in check.found and "restarted" in check.found


@pytest.mark.parametrize(
    ("bad", "level"), [(0, OK), (10, OK), (11, WARNING), (200, WARNING), (201, ERROR), (1000, ERROR)]
)
def test_contract(bad: int, level: Level) -> None:
    """A hundredth of bad entries is nothing, more is a warning, a fifth an error, with the most frequent reason."""
    rejected = Counter({Reason.BAD_TIME: bad - 1, Reason.TOO_OLD: 1}) if bad else Counter[Reason]()
    check = event_checks.contract(Sample(1000, rejected))
    assert check.level is level
    assert not bad or "bad_time" in check.found


def test_every_reason_has_a_meaning() -> None:
    """Whatever the reason, the advice says what it means."""
    for reason in Reason:
        assert len(event_checks.contract(Sample(1, Counter({reason: 1}))).advice) > 40


@pytest.mark.parametrize(
    ("sample", "level", "words"),
    [
        (Sample(0), OK, "no entry"),
        (Sample(100), OK, "all have"),
        (Sample(100, without_event_id=12), WARNING, "12% without eventId: a retry counts twice"),
        (Sample(100, without_occurred_at=100), WARNING, "100% without occurredAt: a retry after midnight"),
        (Sample(100, without_event_id=1, without_occurred_at=2), WARNING, "1% without eventId, 2% without occurredAt"),
    ],
)
def test_identified(sample: Sample, level: Level, words: str) -> None:
    """Entries whose repeat could not be recognised are a warning."""
    check = event_checks.identified(sample)
    assert check.level is level
    assert words in check.found


def test_sample() -> None:
    """Entries are judged as the rollup would; who sends no id or no time is counted."""
    rules = Rules.at(round(NOW * 1000), ledger_days=35, exclude_bots=True, secret=b"")
    entry_id = b"%d-0" % (NOW * 1000)
    good = [b"type", b"profile_view", b"specialistId", b"anna"]
    entries = [
        (entry_id, [*good, b"contactType", b"eventId"]),  # a value that is called like a field
        (entry_id, [*good, b"eventId", b"00000000-0000-0000-0000-000000000000", b"occurredAt", b"%d" % (NOW * 1000)]),
        (entry_id, [b"type", b"profile_view", b"specialistId", b"gone"]),
        (entry_id, [b"type", b"nonsense"]),
    ]
    sample = event_checks.judge_entries(entries, rules, unknown={"gone"})
    assert sample == Sample(4, Counter({Reason.UNKNOWN_SPECIALIST: 1, Reason.UNKNOWN_TYPE: 1}), 3, 3)


def test_dead_letters() -> None:
    """Dead letters of the last day are a warning with their reasons."""
    assert event_checks.dead_letters([]).level is OK
    check = event_checks.dead_letters([("too_old", 1200), ("bad_time", 3)])
    assert check.level is WARNING and "1,200 too_old, 3 bad_time" in check.found


def test_visitors() -> None:
    """Without the secret no visitor is stored, which is a warning."""
    urls = ("postgresql://h/d", "redis://h")
    assert event_checks.visitors(settings_for(*urls)).level is WARNING
    check = event_checks.visitors(settings_for(*urls, ANALYTICS_SECRET="geheim"))
    assert check.level is OK and "geheim" not in str(check)


@pytest.mark.parametrize(
    ("environment", "level"),
    [
        ({}, OK),
        ({"RAILWAY_PROJECT_ID": "x"}, WARNING),
        ({"RAILWAY_DEPLOYMENT_DRAINING_SECONDS": "14"}, WARNING),
        ({"RAILWAY_DEPLOYMENT_DRAINING_SECONDS": "long"}, WARNING),
        ({"RAILWAY_DEPLOYMENT_DRAINING_SECONDS": "15"}, OK),
    ],
)
def test_draining(environment: dict[str, str], level: Level) -> None:
    """On Railway, and only there, the time between SIGTERM and SIGKILL must be long enough."""
    assert job_checks.draining(environment).level is level


def test_jobs() -> None:
    """A queue without a worker and a shard without a rollup are errors; what is orphaned or failed is a warning."""
    for check in (job_checks.workers, job_checks.rollups, job_checks.orphaned_jobs, job_checks.failed_jobs):
        assert check(JOBS).level is OK
    found = job_checks.workers(JOBS._replace(workers={"rollup": 0, "ops": 2}))
    assert found.level is ERROR and "rollup" in found.found and "ops" not in found.found
    assert job_checks.rollups(JOBS._replace(missing_rollups=["rollup-3"])).level is ERROR
    found = job_checks.orphaned_jobs(JOBS._replace(without_worker=["a"], without_hash=list("bcdef")))
    assert found.level is WARNING
    assert found.found == "without a worker: a; without a body: b, c, d and 2 more"
    assert job_checks.failed_jobs(JOBS._replace(failed=["partitions-1"])).level is WARNING
