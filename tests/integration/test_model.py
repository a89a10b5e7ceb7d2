"""The worker's own steps in any order, with everything that can happen between them, held against a plain model.

What is in Redis is read from Redis. The model says what must have become of it: which events are counted, what the
books say, and how many entries were lost. Nothing here runs at the same time: a step is one thing that a worker, a
stranger, a server or an operator does.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
import redis
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.support import add_specialists, fresh_database, settings_for
from worker import store
from worker.batch import Batch
from worker.continuity import Position
from worker.daily.recompute import recompute_days
from worker.embedded import Servers
from worker.errors import Conflict, Retry
from worker.pipeline import Rollup
from worker.report import Report
from worker.settings import Settings
from worker.store import Connection, connect_postgres
from worker.stream import connect_redis

ZONE = ZoneInfo("Europe/Berlin")
FIRST, LAST = date(2024, 10, 25), date(2024, 10, 28)
MIDNIGHT_MS = 1_729_980_000_000
"""Of 27 October 2024 in Berlin, when the clocks went back."""
CLOCK_MS = 1_730_419_200_000
"""Where the clock of Redis begins: its entries are younger than the events."""
MINUTE_MS, HOUR_MS = 60_000, 3_600_000
REWIND_MINUTES = 10
"""The clock of a replica that takes over is less behind than that."""

Raw = tuple[bytes, ...]
Entry = tuple[bytes, Raw]
"""Id and fields, as Redis has them."""


class Fate(NamedTuple):
    """What must become of an entry, by the contract."""

    becomes: str
    """`counted`, `excluded` or `dead_lettered`, if it is the first with its identity."""
    identity: tuple[object, ...]
    row: tuple[str, date] = ("", FIRST)
    column: str = ""


def fate(shard: int, entry_id: bytes, raw: Raw) -> Fate:
    """A plain reading of the few kinds of entries that are sent here."""
    fields = dict(zip(raw[::2], raw[1::2], strict=True))
    if fields[b"type"] == b"nonsense" or fields[b"specialistId"] == b"nobody":
        return Fate("dead_lettered", ("dead", shard, entry_id, raw))
    moment = datetime.fromtimestamp(int(fields[b"occurredAt"]) / 1000, UTC)
    identity = (fields[b"eventId"],) if b"eventId" in fields else (entry_id, raw)
    specialist = fields[b"specialistId"]
    return Fate(
        "excluded" if fields.get(b"viewerId") == specialist else "counted",
        (moment.date(), *identity),
        (specialist.decode(), moment.astimezone(ZONE).date()),
        "contactViews" if fields[b"type"] == b"contact_view" else fields[b"source"].decode(),
    )


@dataclass
class Shard:
    """What the model knows about one stream."""

    number: int
    key: str
    read: set[Entry] = field(default_factory=set)
    """Entries of committed batches."""
    books: Counter[str] = field(default_factory=Counter)
    lost: set[Entry] = field(default_factory=set)
    """Entries that left the stream behind the stored position, since `lost_before` was recorded."""
    destroyed: set[Entry] = field(default_factory=set)
    """Entries that strangers took away. An older server that takes over can have them again, too old to be read."""
    lost_before: int = 0
    loss_is_known: bool = True
    """False from a restart or rewind on, until the end of the stream was reached once."""
    restarts: int = 0


@dataclass
class Reader:
    """A worker: a rollup, and the batch that it has read and not sent yet."""

    shard: Shard
    rollup: Rollup
    resources: ExitStack
    batch: Batch | None = None
    has: list[Entry] = field(default_factory=list)


class Ground(NamedTuple):
    """The servers that all examples share."""

    settings: Settings
    connection: Connection
    client: redis.Redis


ENDINGS = ("answered", "read ahead", "no answer", "not arrived")
"""Of a batch that is sent: PostgreSQL answers; it answers while the next batch is read; the worker dies before the
answer; the worker's connection is cut before."""
WORK = ("only read", "only read", "answered", "answered", *ENDINGS, "trim", "crash")
STEPS = st.sampled_from(
    [
        *WORK,
        *("drain", "drain", "recompute"),
        *("stranger_trims", "stranger_trims", "stranger_deletes", "stranger_deletes"),
        *("take_snapshot", "fail_over", "reset", "rewind"),
    ]
)
READERS = st.sampled_from(["early", "late"])
SHARDS = st.sampled_from([0, 1])
MOMENTS = st.builds(
    lambda hours, ms: MIDNIGHT_MS + hours * HOUR_MS + ms, st.sampled_from([-24, -1, 0, 1, 2, 3, 25]), st.integers(-1, 1)
)
EVENTS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(["profile_view", "profile_view", "contact_view", "nonsense"]),
        "specialistId": st.sampled_from(["anna", "boris", "anna", "nobody"]),
        "occurredAt": MOMENTS.map(str),
        "source": st.sampled_from(["catalog", "search", "direct", "other"]),
    },
    optional={"viewerId": st.just("anna"), "eventId": st.uuids(version=4).map(str)},
)


class Traffic(NamedTuple):
    """What the web tier sends before the next step, so that no step meets an empty stream all the time."""

    events: list[dict[str, str]]
    repeats: list[int]
    """Numbers of older events that are sent once more."""
    later_ms: int
    apart_ms: int


TRAFFIC = st.builds(
    Traffic,
    st.lists(EVENTS, max_size=12),
    st.lists(st.integers(0, 1_000), max_size=3),
    st.sampled_from([0, 1, HOUR_MS]),
    st.sampled_from([0, 1, MINUTE_MS // 2]),
)


class Model(RuleBasedStateMachine):
    """The rules are what can happen; the invariants hold after each."""

    def __init__(self, ground: Ground) -> None:
        super().__init__()
        self.settings, self.connection, self.client = ground
        self.shards = [Shard(number, key) for number, key in enumerate(self.settings.stream_keys)]
        self.readers: dict[str, Reader] = {}
        self.clock_ms = self.latest_ms = CLOCK_MS
        self.sequence = 0
        self.sent: list[dict[str, str]] = []
        self.counted: set[tuple[object, ...]] = set()
        """Identities of the events in the ledger and of the dead letters."""
        self.rows: defaultdict[tuple[str, date], Counter[str]] = defaultdict(Counter)
        self.snapshot: tuple[dict[str, bytes | None], int] | None = None

    @initialize()
    def begin(self) -> None:
        self.client.delete(*self.settings.stream_keys)
        self.connection.execute(
            'DELETE FROM analytics.event; DELETE FROM "SpecialistAnalyticsDaily"; DELETE FROM analytics.dead_letter;'
            "DELETE FROM analytics.stream_position; DELETE FROM analytics.continuity_event"
        )

    @rule(shard=SHARDS, traffic=TRAFFIC, step=STEPS, name=READERS, number=st.integers(0, 12))
    def go_on(self, shard: int, traffic: Traffic, step: str, name: str, number: int) -> None:
        """One rule and not one for each step: Hypothesis would leave many of them out of most examples."""
        stream = self.shards[shard]
        self.send(stream, traffic)
        if step in WORK:
            self.work(stream, name, step)
        else:
            disturbance: Callable[[Shard, int], None] = getattr(self, step)
            disturbance(stream, number)

    # The web tier

    def send(self, shard: Shard, traffic: Traffic) -> None:
        self.pass_time(traffic.later_ms)
        repeats = [self.sent[number % len(self.sent)] for number in traffic.repeats if self.sent]
        for event in [*traffic.events, *repeats]:
            self.pass_time(traffic.apart_ms)
            self.sequence += 1
            fields: dict[Any, Any] = dict(event)
            self.client.xadd(shard.key, fields, id=f"{self.clock_ms}-{self.sequence}")
            self.sent.append(event)

    def pass_time(self, milliseconds: int) -> None:
        if milliseconds:
            self.clock_ms, self.sequence = self.clock_ms + milliseconds, 0
            self.latest_ms = max(self.latest_ms, self.clock_ms)

    # The workers

    def work(self, shard: Shard, name: str, step: str) -> None:
        """A worker reads, if it has nothing at hand, and goes on as far as the step says; it may have to be started."""
        if name not in self.readers:
            self.start(name, shard)
        reader = self.readers[name]
        if step == "trim":
            with self.only_what_was_read_goes(reader.shard):
                reader.rollup._trim()
        elif step == "crash":
            self.forget(name)
        elif reader.batch is None:
            self.gather(name)
        if step in ENDINGS and name in self.readers and reader.batch is not None:
            with self.only_what_was_read_goes(reader.shard):
                self.hand_over(name, reader, reader.batch, step)

    def start(self, name: str, shard: Shard) -> None:
        with ExitStack() as resources:
            rollup = Rollup(self.settings, shard.number, Report(shard.number), resources)
            self.readers[name] = Reader(shard, rollup, resources.pop_all())

    def forget(self, name: str) -> None:
        if name in self.readers:
            self.readers.pop(name).resources.close()

    def gather(self, name: str) -> None:
        """Read, and heal what is found about the stream; only who has an old position may fail at that."""
        reader = self.readers[name]
        stored = self.position(reader.shard)
        try:
            self.keep(reader, reader.rollup._gather(None))
        except Conflict:
            assert reader.rollup.position != stored
            self.forget(name)

    def keep(self, reader: Reader, batch: Batch) -> None:
        first, last = batch.read_after.last_id, batch.after.last_id
        reader.has = self.entries(reader.shard, f"({first}", str(last)) if batch.entries else []
        assert len(reader.has) == batch.entries
        reader.batch = batch if batch.moves else None

    def hand_over(self, name: str, reader: Reader, batch: Batch, ending: str) -> None:
        succeeds = self.position(reader.shard) == batch.read_after and ending != "not arrived"
        has, following = reader.has, None
        if ending == "not arrived":
            reader.rollup.writer.close()
        try:
            in_flight = reader.rollup._send(batch)
            if ending == "read ahead":
                following = reader.rollup._gather(in_flight)
                assert following.read_after == batch.after
            if ending == "no answer":
                in_flight.answer.exception()  # it has come, and nobody hears it
            else:
                reader.rollup._settle(in_flight)
        except (Conflict, Retry):
            assert not succeeds
            self.forget(name)
            return
        if succeeds:
            self.count(reader.shard, has)
        assert succeeds or ending == "no answer"
        reader.batch = None
        if ending == "no answer":
            self.forget(name)
        elif following is not None:
            self.keep(reader, following)

    def count(self, shard: Shard, entries: list[Entry]) -> None:
        """The model of a commit."""
        for entry in entries:
            shard.read.add(entry)
            shard.lost.discard(entry)
            verdict = fate(shard.number, *entry)
            shard.books["read"] += 1
            if verdict.identity in self.counted:
                shard.books["duplicates"] += 1
                continue
            self.counted.add(verdict.identity)
            shard.books[verdict.becomes] += 1
            if verdict.becomes == "counted":
                self.rows[verdict.row][verdict.column] += 1

    def drain(self, shard: Shard, number: int = 0) -> None:
        """A new worker reads to the end: then all that is in Redis is counted, and every loss has its number."""
        self.start("drain", shard)
        reader = self.readers["drain"]
        while True:
            before = reader.rollup.position
            self.gather("drain")
            if reader.batch:
                self.hand_over("drain", reader, reader.batch, "answered")
            elif reader.rollup.position == before:
                break
        self.forget("drain")
        self.all_is_read(shard)

    def all_is_read(self, shard: Shard) -> None:
        assert set(self.entries(shard)) <= shard.read | shard.destroyed
        lost, ordinal = self.connection.execute(
            "SELECT lost, ordinal FROM analytics.stream_position WHERE stream = %s", [shard.key]
        ).fetchall()[0]
        added = self.client.xinfo_stream(shard.key)["entries-added"] if self.client.exists(shard.key) else 0
        assert ordinal == added
        if shard.loss_is_known:
            assert lost - shard.lost_before == len(shard.lost)
        shard.lost_before, shard.lost, shard.loss_is_known = lost, set(), True

    # Strangers, servers and operators

    def stranger_trims(self, shard: Shard, kept: int) -> None:
        with self.noticing_what_goes(shard):
            self.client.xtrim(shard.key, maxlen=kept, approximate=False)

    def stranger_deletes(self, shard: Shard, number: int) -> None:
        if doomed := self.entries(shard)[-number - 1 :: 3]:
            with self.noticing_what_goes(shard):
                self.client.xdel(shard.key, *(entry_id for entry_id, _ in doomed))

    def reset(self, shard: Shard, number: int) -> None:
        """An eviction, or FLUSHDB. It takes a moment: the ids that come then are new."""
        self.pass_time(1)
        for gone in [shard] if number % 2 else self.shards:
            with self.noticing_what_goes(gone):
                self.client.delete(gone.key)
            self.begins_anew(gone)

    def take_snapshot(self, shard: Shard, number: int) -> None:
        self.snapshot = ({key: self.client.dump(key) for key in self.settings.stream_keys}, self.clock_ms)

    def fail_over(self, shard: Shard, minutes_behind: int) -> None:
        """Another server takes over, with what it had got until then and with a clock that may be behind."""
        dumps, clock_ms = self.snapshot or (dict.fromkeys(self.settings.stream_keys), CLOCK_MS)
        for key, dump in dumps.items():
            self.client.delete(key)
            if dump:
                self.client.restore(key, 0, dump)
        self.client.execute_command("DEBUG", "CHANGE-REPL-ID")  # type: ignore[no-untyped-call]
        behind_ms = min(minutes_behind, REWIND_MINUTES - 1) * MINUTE_MS
        self.clock_ms, self.sequence = max(clock_ms + 1, self.latest_ms - behind_ms), 0
        for begun in self.shards:
            self.begins_anew(begun)

    def begins_anew(self, shard: Shard) -> None:
        shard.loss_is_known = False
        shard.restarts += 1

    def rewind(self, shard: Shard, number: int) -> None:
        """An operator sets the position back."""
        if position := self.position(shard):
            read = [entry_id.decode() for entry_id, _ in self.entries(shard, last=str(position.last_id))]
            self.connection.execute(
                "UPDATE analytics.stream_position SET last_id = %s, ordinal = NULL WHERE stream = %s",
                [["0-0", *read][-number - 1 :][0], shard.key],
            )
            shard.loss_is_known = False

    def recompute(self, shard: Shard, number: int) -> None:
        """An operator recomputes, with or without a reason."""
        if damaged := number % 2:
            self.connection.execute('DELETE FROM "SpecialistAnalyticsDaily"')
        changed = sum(change.rows for _, change in recompute_days(self.connection, FIRST, LAST, ZONE.key))
        assert changed == (len(self.rows) if damaged else 0)

    # What must hold after every step

    @invariant()
    def the_daily_table_is_the_count(self) -> None:
        found = self.connection.execute(
            'SELECT "specialistId", date, "profileViews", "contactViews", sources FROM "SpecialistAnalyticsDaily"'
        )
        sources = ("catalog", "search", "direct", "other")
        assert {(specialist, day): tuple(row) for specialist, day, *row in found} == {
            key: (
                sum(row[source] for source in sources),
                row["contactViews"],
                {source: row[source] for source in sources},
            )
            for key, row in self.rows.items()
        }

    @invariant()
    def the_books_balance(self) -> None:
        found = self.connection.execute(
            "SELECT stream, entries_read, counted, duplicates, excluded, dead_lettered FROM analytics.stream_position"
        )
        books = {stream: tuple(numbers) for stream, *numbers in found}
        names = ("read", "counted", "duplicates", "excluded", "dead_lettered")
        for shard in self.shards:
            assert books.get(shard.key, (0,) * 5) == tuple(shard.books[name] for name in names)

    @invariant()
    def each_event_is_kept_once(self) -> None:
        kept = self.connection.execute(
            "SELECT (SELECT count(*) FROM analytics.event) + (SELECT count(*) FROM analytics.dead_letter)"
        ).fetchone()
        assert kept == (len(self.counted),)

    @invariant()
    def no_restart_is_made_up(self) -> None:
        for shard in self.shards:
            found = self.connection.execute(
                "SELECT count(*) FROM analytics.continuity_event WHERE stream = %s AND action = 'rewound'", [shard.key]
            ).fetchone()
            assert found is not None
            assert found[0] <= shard.restarts

    # Looking at the servers

    def entries(self, shard: Shard, first: str = "-", last: str = "+") -> list[Entry]:
        answer: Any = self.client.xrange(shard.key, first, last)
        return [(entry_id, tuple(part for pair in fields.items() for part in pair)) for entry_id, fields in answer]

    def position(self, shard: Shard) -> Position | None:
        return store.load_position(self.connection, shard.key)

    def only_what_was_read_goes(self, shard: Shard) -> "Goings":
        """Whatever a worker does, an entry that leaves the stream by it was committed."""
        return Goings(self, shard, by_strangers=False)

    def noticing_what_goes(self, shard: Shard) -> "Goings":
        return Goings(self, shard, by_strangers=True)

    def teardown(self) -> None:
        try:
            for shard in self.shards:
                self.drain(shard)
            self.the_daily_table_is_the_count()
            self.the_books_balance()
            self.each_event_is_kept_once()
        finally:
            for name in list(self.readers):
                self.forget(name)


class Goings:
    """Entries that leave a stream meanwhile: lost, if they stand behind the stored position and it has an ordinal."""

    def __init__(self, model: Model, shard: Shard, *, by_strangers: bool) -> None:
        self.model, self.shard, self.by_strangers = model, shard, by_strangers

    def __enter__(self) -> None:
        self.before = set(self.model.entries(self.shard))

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            return
        gone = self.before - set(self.model.entries(self.shard))
        if self.by_strangers:
            self.shard.destroyed |= gone
        assert gone <= self.shard.read | self.shard.destroyed
        position = self.model.position(self.shard)
        if position is not None and position.ordinal is not None:
            self.shard.lost |= {entry for entry in gone if _number(entry) > position.last_id}


def _number(entry: Entry) -> tuple[int, int]:
    ms, _, seq = entry[0].partition(b"-")
    return int(ms), int(seq)


@pytest.fixture
def ground(servers: Servers, migrated_template: str, redis_url: str) -> Iterator[Ground]:
    with fresh_database(servers.database_url, migrated_template) as url, ExitStack() as resources:
        settings = settings_for(
            url,
            redis_url,
            ANALYTICS_SHARDS="2",
            ANALYTICS_TIME_ZONE=ZONE.key,
            ANALYTICS_LEDGER_DAYS="0",
            ANALYTICS_REWIND_MINUTES=str(REWIND_MINUTES),
            ANALYTICS_STREAM_RETENTION_HOURS="1",
            ANALYTICS_BREAKER_SHARE="1",
        )
        connection = resources.enter_context(connect_postgres(settings, "test"))
        add_specialists(connection, ["anna", "boris"])
        for number in range((LAST - FIRST).days + 3):
            store.create_partition(connection, FIRST + timedelta(days=number - 1))
        client = resources.enter_context(connect_redis(settings))
        nodes = client.config_get("stream-node-max-entries")
        resources.callback(client.config_set, "stream-node-max-entries", nodes["stream-node-max-entries"])
        client.config_set("stream-node-max-entries", 3)  # so that trimming by whole nodes trims something
        yield Ground(settings, connection, client)


@pytest.mark.timeout(900)  # a failure is made small before it is shown
def test_model(ground: Ground) -> None:
    """Whatever happens in whatever order: the table is a straight count, the books balance, losses have a number."""

    def machine() -> Any:
        return Model(ground)

    run_state_machine_as_test(
        machine,  # type: ignore[arg-type]
        settings=hypothesis_settings(max_examples=hypothesis_settings().max_examples // 4, stateful_step_count=40),
    )
