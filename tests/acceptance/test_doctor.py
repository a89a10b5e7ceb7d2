"""The doctor and the start on real servers, each thing that can be wrong made so."""

import json
import re
import signal
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import redis
from psycopg.conninfo import conninfo_to_dict

from jobs import view
from tests.rq_fixtures import wait_for
from tests.support import (
    add_specialists,
    ended,
    run_postgres_program,
    run_worker,
    settings_for,
    settings_with,
    start_worker,
)
from worker.doctor.check import Check, Level
from worker.doctor.examination import Groups, examine
from worker.embedded import EmbeddedRedis
from worker.inspection.doctor_view import read_jobs
from worker.pipeline import run_shard
from worker.settings import Settings
from worker.store import Connection, create_partition
from worker.stream import connect_redis

OK, WARNING, ERROR = Level.OK, Level.WARNING, Level.ERROR
STREAM = "analytics:events"
GOOD = {"type": "profile_view", "specialistId": "anna"}
NOBODY = "127.0.0.1:1"


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "BETWEEN_LOOKS_S", 0.01)


@pytest.fixture(scope="module")
def own_redis() -> Iterator[EmbeddedRedis]:
    """A Valkey that these tests may set up as they like."""
    with tempfile.TemporaryDirectory() as folder, EmbeddedRedis(Path(folder)) as server:
        yield server


@pytest.fixture
def redis_url(own_redis: EmbeddedRedis) -> Iterator[str]:
    """Emptied, and set up again as it was when the test is over."""
    with redis.Redis.from_url(own_redis.url) as client:
        client.flushall()
        before = {name: client.config_get(name)[name] for name in ("maxmemory-policy", "maxmemory", "save")}
        yield own_redis.url
        client.replicaof("NO", "ONE")
        for name, value in (before | {"appendonly": "yes", "appendfsync": "everysec"}).items():
            client.config_set(name, value)


def examined(settings: Settings, disk_bytes: int | None = None) -> Groups:
    return examine(settings, read_jobs(settings), {}, disk_bytes)


def check(settings: Settings, name: str, disk_bytes: int | None = None) -> Check:
    """The one line of this name."""
    [found] = [each for checks in examined(settings, disk_bytes).values() for each in checks if each.name == name]
    return found


def levels(groups: Groups) -> dict[str, Level]:
    return {check.name: check.level for checks in groups.values() for check in checks}


def read_entries(settings: Settings, connection: Connection, entries: int) -> None:
    """Run the rollup until so many entries are read."""

    def all_are_read() -> bool:
        return connection.execute("SELECT entries_read FROM analytics.stream_position").fetchone() == (entries,)

    run_shard(settings, 0, all_are_read)


def test_all_is_well(settings: Settings, connection: Connection) -> None:
    """With running processes, a secret and good events every line is ok and the exit code is 0."""
    settings = settings_with(settings, ANALYTICS_SECRET="x" * 32)
    add_specialists(connection, ["anna"])
    now = str(round(datetime.now(UTC).timestamp() * 1000))
    with connect_redis(settings) as client:
        client.xadd(STREAM, GOOD | {"eventId": "00000000-0000-0000-0000-000000000001", "occurredAt": now})
    worker = start_worker(settings, "run")
    try:
        wait_for(lambda: Level.ERROR not in levels(examined(settings)).values())
        code, output, errors = run_worker(settings, "doctor")
        assert (code, errors) == (0, ""), output
        assert output.splitlines()[-1] == "all is well"
        assert "newest events" in output
    finally:
        worker.send_signal(signal.SIGTERM)
        ended(worker)


def test_json_and_exit_code(settings: Settings) -> None:
    """The JSON document has every line; where no worker runs, that is an error, and the exit code 1."""
    code, output, errors = run_worker(settings, "doctor", "--json", "--disk-gb", "1")
    assert (code, errors) == (1, "")
    document = json.loads(output)
    assert list(document) == ["servers", "schema", "streams", "jobs", "events"]
    [workers] = [line for line in document["jobs"] if line["name"] == "workers"]
    assert workers["level"] == "error" and "python -m worker run" in workers["advice"]
    [disk] = [line for line in document["servers"] if line["name"] == "disk"]
    assert disk["level"] == "error"  # the write-ahead log alone may take four gigabytes
    code, _, errors = run_worker(settings, "doctor", "--disk-gb", "inf")
    assert code == 2 and "--disk-gb" in errors and "Traceback" not in errors


def test_table_on_a_narrow_terminal(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """No line is longer than the terminal is wide, nothing is cut off, and the colours say what the words say."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    _, output, _ = run_worker(settings, "doctor")
    assert "\x1b[1;31merror" in output and "\x1b[32mok" in output and "\x1b[1;33mwarning" in output
    plain = re.sub(r"\x1b\[[\d;]*m", "", output)
    assert max(map(len, plain.splitlines())) == 80
    assert "…" not in plain


def test_nothing_is_changed(settings: Settings, database: str, connection: Connection, client: redis.Redis) -> None:
    """Neither Redis nor the database is another one after the doctor has looked, whatever he has found."""
    add_specialists(connection, ["anna"])
    for _ in range(3):
        client.xadd(STREAM, GOOD)  # type: ignore[arg-type]
    client.xadd(f"{STREAM}:{{7}}", GOOD)  # type: ignore[arg-type]
    read_entries(settings, connection, 3)
    leave_astray(client)
    before = dump(database, client)
    code, output, _ = run_worker(settings, "doctor", "--json")
    assert code == 1 and "rollup-9" in output
    assert dump(database, client) == before


def dump(database: str, client: redis.Redis) -> tuple[str, dict[bytes | str, tuple[object, bool]]]:
    """Everything in the database, and in Redis with whether it will expire."""
    code, text, errors = run_postgres_program("pg_dump", database)
    assert code == 0, errors
    lines = (line for line in text.splitlines() if "restrict" not in line)  # a random word against injection
    kept: dict[bytes | str, tuple[object, bool]]
    kept = {key: (client.dump(key), client.ttl(key) >= 0) for key in client.scan_iter()}
    return "\n".join(lines), kept


def leave_astray(client: redis.Redis) -> None:
    """A job without its hash, one whose worker is gone, and one that failed."""
    client.rpush("rq:queue:rollup", "rollup-9")
    client.zadd("rq:wip:ops", {"partitions-1:abc": 1.0})
    client.zadd("rq:failed:ops", {"partitions-2": 4e9})


def test_jobs_astray(settings: Settings, client: redis.Redis) -> None:
    """A missing rollup, jobs without a worker or without a body, and failed jobs are found."""
    leave_astray(client)
    found = {each.name: each for each in examined(settings)["jobs"]}
    assert found["rollups"].level is ERROR and "rollup-0" in found["rollups"].found
    assert found["orphaned jobs"].found == "without a worker: partitions-1; without a body: rollup-9"
    assert found["failed jobs"].found == "partitions-2"
    assert found["workers"].level is ERROR


def test_no_credential_is_shown(settings: Settings) -> None:
    """No password appears, whether the servers answer, refuse, or are away."""
    database, cache = settings.database_url.get_secret_value(), settings.redis_url.get_secret_value()
    user, password = conninfo_to_dict(database)["user"], conninfo_to_dict(database)["password"]
    for database_url, redis_url in (
        (database, cache),
        (f"postgresql://{user}:geheim@{NOBODY}/x", f"redis://:geheim@{NOBODY}/0"),
        (database.replace(str(password), "geheim"), re.sub("://.*@", "://:geheim@", cache)),
    ):
        for option in ((), ("--json",)):
            _, output, errors = run_worker(settings_for(database_url, redis_url), "doctor", *option)
            for secret in ("geheim", str(password), cache.partition("@")[0].rpartition(":")[2]):
                assert secret not in output + errors


def test_servers_away(settings: Settings) -> None:
    """A server that is away is one error, and everything that needs only the other is still checked."""
    database, cache = settings.database_url.get_secret_value(), settings.redis_url.get_secret_value()
    found = levels(examined(settings_for(database, f"redis://{NOBODY}/0")))
    assert found["Redis"] is ERROR and found["PostgreSQL"] is OK
    assert {"migrations", "disk", "dead letters", "draining"} <= found.keys()
    assert not {"eviction", "positions", "workers", "newest events"} & found.keys()
    found = levels(examined(settings_for(f"postgresql://{NOBODY}/x", cache)))
    assert found["Redis"] is OK and found["PostgreSQL"] is ERROR
    assert {"eviction", "workers", "newest events", "draining"} <= found.keys()
    assert not {"migrations", "positions", "dead letters"} & found.keys()
    found = levels(examined(settings_for(f"postgresql://{NOBODY}/x", f"redis://{NOBODY}/0")))
    assert found["Redis"] is ERROR and found["PostgreSQL"] is ERROR and found["clocks"] is OK


@pytest.mark.parametrize(
    ("name", "configuration", "level"),
    [
        ("eviction", {"maxmemory-policy": "allkeys-lfu"}, ERROR),
        ("eviction", {"maxmemory-policy": "volatile-lru"}, WARNING),
        ("persistence", {"appendfsync": "no"}, WARNING),
        ("persistence", {"appendonly": "no", "save": "60 1"}, WARNING),
        ("persistence", {"appendonly": "no", "save": ""}, WARNING),
    ],
)
def test_redis_configuration(
    settings: Settings, client: redis.Redis, name: str, configuration: dict[str, str], level: Level
) -> None:
    """What Redis is set up to do is seen, and how to change it is said."""
    assert check(settings, name).level is OK
    for option, value in configuration.items():
        client.config_set(option, value)
    found = check(settings, name)
    assert found.level is level
    assert "CONFIG SET" in found.advice


def test_memory(settings: Settings, client: redis.Redis) -> None:
    """Memory that is nearly full is an error."""
    assert check(settings, "memory").level is OK
    client.config_set("maxmemory", round(client.info("memory")["used_memory"] * 1.02))
    assert check(settings, "memory").level is ERROR


def test_what_redis_does_not_tell(settings: Settings, client: redis.Redis) -> None:
    """Where CONFIG and MEMORY are forbidden, as on managed servers, INFO has to do, and the rest is not known."""
    client.acl_setuser(
        "managed", enabled=True, passwords=["+word"], keys=["*"], commands=["+@all", "-config", "-memory"]
    )
    url = re.sub("://.*@", "://managed:word@", settings.redis_url.get_secret_value())
    client.xadd(STREAM, GOOD)  # type: ignore[arg-type]
    groups = examined(settings_for(settings.database_url.get_secret_value(), url))
    found = {each.name: each for each in groups["servers"]}
    assert found["eviction"].level is OK and found["memory"].level is OK
    assert found["persistence"] == Check("persistence", OK, "AOF, appendfsync not known")


def test_replica(settings: Settings, client: redis.Redis) -> None:
    """A REDIS_URL that names a replica is an error."""
    client.replicaof("127.0.0.1", "1")
    assert check(settings, "Redis").level is ERROR


def test_future_ids(settings: Settings, client: redis.Redis) -> None:
    """An id that somebody made up, far in the future, is seen: without its time such an entry is a dead letter."""
    client.xadd(STREAM, GOOD, id="4000000000000-0")  # type: ignore[arg-type]
    groups = {each.name: each for checks in examined(settings).values() for each in checks}
    assert groups["future ids"].level is WARNING and STREAM in groups["future ids"].found
    assert "in_the_future" in groups["newest events"].found


def test_read_only_database(settings: Settings, connection: Connection) -> None:
    """A database that can only be read, as a replica is, is an error."""
    name = conninfo_to_dict(settings.database_url.get_secret_value())["dbname"]
    connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
    assert check(settings, "PostgreSQL").level is ERROR


def test_missing_migration(settings: Settings, connection: Connection) -> None:
    """Where nothing was ever migrated, that is one error, and not one for each table."""
    connection.execute("DROP SCHEMA analytics CASCADE")
    found = levels(examined(settings))
    assert found["migrations"] is ERROR and found["disk"] is OK
    assert "positions" not in found


def test_time_zone(settings: Settings, connection: Connection) -> None:
    """The time zone must be one that PostgreSQL has, too."""
    assert check(settings, "time zone").level is OK
    assert check(settings.model_copy(update={"time_zone": "Mars/Olympus"}), "time zone").level is ERROR


def test_schema(settings: Settings, connection: Connection) -> None:
    """The index that repeats the unique one is mentioned, and not missed; a damaged table is an error."""
    assert "specialistId_date_idx" in check(settings, "redundant index").found
    connection.execute('DROP INDEX "SpecialistAnalyticsDaily_specialistId_date_idx"')
    assert check(settings, "redundant index").found == "none"
    assert check(settings, "daily table").level is OK
    connection.execute('DROP INDEX "SpecialistAnalyticsDaily_date_idx"')
    assert check(settings, "daily table").level is ERROR


def test_outcome_tables(settings: Settings, connection: Connection) -> None:
    """Of the site's tables those are named that have no index to find a day by."""
    assert "counts as zero: ConsultationRequest, Order, Review" in check(settings, "outcomes").found
    for table, specialist in (("Order", "specialistProfileId"), ("Review", "specialistId")):
        connection.execute(f'CREATE TABLE "{table}" ("{specialist}" text, "createdAt" timestamp(3))'.encode())
        connection.execute(f'CREATE INDEX ON "{table}" ("{specialist}", "createdAt")'.encode())
    found = check(settings, "outcomes")
    assert found.level is WARNING and '"Order", "Review"' in found.found
    connection.execute('CREATE INDEX ON "Order" ("createdAt"); CREATE INDEX ON "Review" ("createdAt", "specialistId")')
    found = check(settings, "outcomes")
    assert found.level is OK and "Order" not in found.found


def test_disk(settings: Settings, connection: Connection) -> None:
    """The forecast follows the partitions of the last days, and the size that somebody gives."""
    yesterday = datetime.now(UTC) - timedelta(days=1)
    create_partition(connection, yesterday.date())
    connection.execute(
        "INSERT INTO analytics.event SELECT %s, gen_random_uuid(), %s, 'profile_view', 'direct', NULL, 'anna', NULL,"
        " NULL, '1-1', 0 FROM generate_series(1, 10000)",
        (yesterday.date(), yesterday),
    )
    found = check(settings, "disk", disk_bytes=10**12)
    assert found.level is OK
    [(per_day,)] = connection.execute("SELECT pg_total_relation_size(%s)", (f"analytics.event_{yesterday:%Y%m%d}",))
    [(taken,)] = connection.execute(
        "SELECT pg_database_size(current_database()) + pg_size_bytes(current_setting('max_wal_size'))"
    )
    for days, level in ((2, ERROR), (10, WARNING), (20, OK), (40, OK)):
        found = check(settings, "disk", disk_bytes=taken + days * per_day)
        assert found.level is level
        assert ("full in" in found.found) == (days < 40)


def test_positions(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """A stream that nobody ever read, that was read, that lost unread entries, and that was emptied."""
    add_specialists(connection, ["anna"])
    assert check(settings, "positions").level is OK
    for _ in range(10):
        client.xadd(STREAM, GOOD)  # type: ignore[arg-type]
    assert "never read: 10 entries" in check(settings, "positions").found
    read_entries(settings, connection, 10)
    assert check(settings, "positions").level is OK
    for _ in range(200):
        client.xadd(STREAM, GOOD)  # type: ignore[arg-type]
    client.xtrim(STREAM, maxlen=150, approximate=False)
    found = check(settings, "positions")
    assert found.level is ERROR and "50 entries are gone" in found.found
    client.delete(STREAM)
    found = check(settings, "positions")
    assert found.level is ERROR and "emptied" in found.found


def test_nobody_commits(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """Entries that wait for minutes while nothing is committed are an error."""
    client.xadd(STREAM, GOOD, id="1000-0")  # type: ignore[arg-type]
    epoch = client.info("replication")["master_replid"]
    connection.execute(
        "INSERT INTO analytics.stream_position (stream, epoch, last_id, ordinal, committed_at)"
        " VALUES (%s, %s, '0-0', 0, now() - interval '10 minutes')",
        (STREAM, epoch),
    )
    found = check(settings, "positions")
    assert found.level is ERROR and "nothing committed for 10 min, 1 entries wait" in found.found
    connection.execute("UPDATE analytics.stream_position SET committed_at = now()")
    assert check(settings, "positions").level is WARNING


def test_halted_shard(settings: Settings, connection: Connection) -> None:
    """A shard that halts in front of bad events is an error that says why."""
    settings = settings_with(settings, ANALYTICS_BREAKER_ENTRIES="10")
    with connect_redis(settings) as client:
        for _ in range(20):
            client.xadd(STREAM, {"type": "nonsense"})

    def is_halted() -> bool:
        return connection.execute("SELECT FROM analytics.stream_position WHERE halted_at IS NOT NULL").fetchone() == ()

    run_shard(settings, 0, is_halted)
    found = check(settings, "positions")
    assert found.level is ERROR and f"{STREAM} is halted" in found.found and "unknown_type" in found.found
    assert "python -m worker resume" in found.advice


def test_other_streams(settings: Settings, client: redis.Redis) -> None:
    """Events in the streams of another number of shards are found, also in the one without a number."""
    client.xadd(f"{STREAM}:{{5}}", GOOD)  # type: ignore[arg-type]
    found = check(settings, "other streams")
    assert found.level is ERROR and f"1 entries in {STREAM}:{{5}}" in found.found
    sharded = settings_with(settings, ANALYTICS_SHARDS="8")
    assert check(sharded, "other streams").level is OK
    client.xadd(STREAM, GOOD)  # type: ignore[arg-type]
    assert check(sharded, "other streams").level is ERROR


def test_losses(settings: Settings, connection: Connection) -> None:
    """What the worker wrote down about a stream within a week is told with its number; a halted shard lost nothing."""

    def write_down(verdict: str, action: str, days_ago: int = 0) -> None:
        connection.execute(
            "INSERT INTO analytics.continuity_event (happened_at, stream, verdict, action, lost, stored, seen)"
            " VALUES (now() - %s * interval '1 day', %s, %s, %s, 10, '{}', '{}')",
            (days_ago, STREAM, verdict, action),
        )

    write_down("trimmed_unread", "went_on", days_ago=8)
    write_down("mostly_bad", "halted")
    assert check(settings, "losses").level is OK
    for _ in range(7):
        write_down("trimmed_unread", "went_on")
    for verdict, action in (("mostly_bad", "halted"), ("mostly_good", "resumed")) * 3:
        write_down(verdict, action)
    found = check(settings, "losses")
    assert found.level is WARNING and "70 entries" in found.found and "trimmed_unread" in found.found


def test_events(settings: Settings, connection: Connection, client: redis.Redis) -> None:
    """The newest entries are held against the contract, as the rollup would, and dead letters are told."""
    add_specialists(connection, ["anna"])
    for _ in range(10):
        client.xadd(STREAM, GOOD)  # type: ignore[arg-type]
    found = {each.name: each for each in examined(settings)["events"]}
    assert found["newest events"].level is OK
    assert found["repeats"].found == "100% without eventId, 100% without occurredAt: a retry counts twice"
    assert found["dead letters"].level is OK
    for fields in ({"type": "nonsense"}, GOOD | {"specialistId": "nobody"}, GOOD | {"specialistId": "none"}):
        client.xadd(STREAM, fields)  # type: ignore[arg-type]
    found = {each.name: each for each in examined(settings)["events"]}
    assert found["newest events"].level is ERROR
    assert found["newest events"].found == "3 of 13 would be dead letters, most often unknown_specialist"
    connection.execute(
        "INSERT INTO analytics.dead_letter (stream, entry_id, reason, fields, buried_at)"
        " VALUES ('s', '1-1', 'too_old', '[]', now()), ('s', '1-2', 'bad_time', '[]', now() - interval '25 hours')"
    )
    assert check(settings, "dead letters").found == "in 24 h: 1 too_old"


# ---- the start -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [("run",), ("work", "rollup"), ("schedule",)])
def test_start_is_refused_where_the_stream_may_be_evicted(
    settings: Settings, client: redis.Redis, command: tuple[str, ...]
) -> None:
    """One line says which policy, how to change it and how to start all the same; the exit code is 2."""
    client.config_set("maxmemory-policy", "allkeys-lru")
    code, _, errors = run_worker(settings, *command)
    assert code == 2
    assert len(errors.splitlines()) == 1, errors
    for words in ("allkeys-lru", "CONFIG SET maxmemory-policy noeviction", "ANALYTICS_ALLOW_EVICTION=1"):
        assert words in errors


def test_start_is_refused_on_a_replica(settings: Settings, client: redis.Redis) -> None:
    """Where nothing could be trimmed and no job be put in, nothing starts."""
    client.replicaof("127.0.0.1", "1")
    code, _, errors = run_worker(settings, "schedule")
    assert (code, len(errors.splitlines())) == (2, 1), errors
    assert "replica" in errors


def test_start_with_warnings(settings: Settings, client: redis.Redis) -> None:
    """What is allowed, or only worth a warning, is said once, and the process starts and stops as ever."""
    client.config_set("maxmemory-policy", "allkeys-lru")
    client.config_set("appendonly", "no")
    client.xadd(STREAM, GOOD, id="4000000000000-0")  # type: ignore[arg-type]
    scheduler = start_worker(settings_with(settings, ANALYTICS_ALLOW_EVICTION="1"), "schedule")
    assert scheduler.stderr
    lines = []
    for line in scheduler.stderr:
        lines.append(json.loads(line))
        if lines[-1]["event"] == "scheduler started":
            break
    scheduler.send_signal(signal.SIGTERM)
    code, _, _ = ended(scheduler)
    assert code == 0
    warnings = [line for line in lines if line["event"] == "found at the start"]
    assert [line["check"] for line in warnings] == ["eviction", "persistence", "future ids"]
    assert {line["level"] for line in warnings} == {"warning"}
    assert all(line["advice"] for line in warnings)
    assert lines[-1]["event"] == "scheduler started"


def test_start_without_a_word(settings: Settings) -> None:
    """Where all is well the first thing said is that it has started."""
    scheduler = start_worker(settings, "schedule")
    assert scheduler.stderr
    assert json.loads(scheduler.stderr.readline())["event"] == "scheduler started"
    scheduler.send_signal(signal.SIGTERM)
    assert ended(scheduler)[0] == 0
