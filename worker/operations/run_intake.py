"""How a run counts entries: by the live path's rules and its very statement, under positions of the run's own.

A run's position moves in the same transaction as what it counts, so an entry counts once however often a run is killed,
and also if two executions of it overlap. Its row keeps the run's books. It is told from a stream's by its epoch.
"""

import gc
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

from psycopg.rows import class_row

from worker import store
from worker.batch import Batch
from worker.continuity import EntryId, Position
from worker.errors import Retry
from worker.events import Event
from worker.intake import Intake
from worker.operations.dead_letters import mark_counted
from worker.queries import query
from worker.settings import Settings
from worker.store import Committed, Connection, postgres_errors
from worker.stream import Entry

RUN_EPOCH = "run"
OF_A_FILE = -1
"""The ledger's shard of an event that came out of a file."""

PORTION_ENTRIES, PORTION_BYTES = 50_000, 16_000_000
"""One transaction takes at most so many entries, as a live batch does, and about so many bytes: live batches wait for
the daily rows that it has touched, and a run is stopped between two of them."""


@dataclass(frozen=True, slots=True)
class Portion:
    """Entries that a run counts in one transaction."""

    entries: Sequence[Entry]
    last_id: EntryId
    """How far the source is read with them."""


P = TypeVar("P", bound=Portion)


class RunBooks(NamedTuple):
    """What became of the entries that a run has read."""

    read: int
    counted: int
    repeats: int
    excluded: int
    dead_letters: int


@dataclass(frozen=True, slots=True)
class InFlight(Generic[P]):
    """A portion that PostgreSQL is working on."""

    portion: P
    events: Sequence[Event]
    answer: Future[Committed] | None
    """None: an earlier execution has committed it."""


class RunIntake:
    """Counts portions of entries, each in one transaction, while the next is read and parsed."""

    def __init__(self, settings: Settings, run: int, resources: ExitStack) -> None:
        """Connect; `resources` closes what is opened here."""
        self.settings = settings
        self.run = run
        self.writer = resources.enter_context(store.connect_postgres(settings, f"run {run}"))
        self.lookup = resources.enter_context(store.connect_postgres(settings, f"run {run} lookup"))
        self.background = resources.enter_context(ThreadPoolExecutor(max_workers=1))
        resources.enter_context(_no_collection())
        self.intake = Intake(settings, self.lookup)

    def position(self, stream: str, begin_after: EntryId) -> Position:
        """The stored position of that name (see `position_name`), made if it is missing.

        Raises:
            Retry: the server is away.
        """
        store.begin_position(self.lookup, Position(stream, RUN_EPOCH, begin_after, None))
        position = store.load_position(self.lookup, stream)
        if position is None:
            raise Retry(f"the position {stream} went away while it was made")
        return position

    def count(self, position: Position, origin: str, shard: int, portions: Iterable[P]) -> Iterator[P]:
        """Count what lies behind the position, and nothing that lies before it.

        Args:
            position: where the run stands. A portion ends there or lies on one side of it.
            origin: the stream that dead letters name.
            shard: the one that the ledger names.
            portions: in order.

        Yields:
            Each portion, once it is committed and before the next one is sent.

        Raises:
            Conflict: another execution of the run was faster; nothing of the portion was written.
            Retry: a server is away; perhaps it was written.
        """
        in_flight: InFlight[P] | None = None
        for portion in portions:
            events, rejected = self.intake.parse(portion.entries)
            if in_flight:
                yield self._settle(in_flight, origin)
            if portion.last_id <= position.last_id:
                in_flight = InFlight(portion, events, None)
                continue
            batch = Batch(position, origin)
            batch.add(portion.last_id, events, rejected)
            in_flight = InFlight(portion, events, self._send(batch, shard))
            position = batch.after
        if in_flight:
            yield self._settle(in_flight, origin)

    def _send(self, batch: Batch, shard: int) -> Future[Committed]:
        self.intake.make_partitions(batch.days)
        return self.background.submit(store.commit_batch, self.writer, batch, shard, self.settings.time_zone)

    def _settle(self, in_flight: InFlight[P], origin: str) -> P:
        """Wait for the commit, and put letters of an earlier reading aside. Done again it comes to the same."""
        if in_flight.answer:
            in_flight.answer.result()
        accepted = [event.entry_id for event in in_flight.events]
        mark_counted(self.lookup, origin, accepted, in_flight.portion.entries, f"run {self.run}")
        return in_flight.portion

    def books(self, *streams: str) -> RunBooks:
        """The books of these positions together."""
        return load_run_books(self.lookup, streams)


def position_name(run: int, shard: int | None = None) -> str:
    """Under what name a run keeps its position, one for each shard that it reads."""
    return f"run:{run}" if shard is None else f"run:{run}:{shard}"


def load_run_books(connection: Connection, streams: Sequence[str]) -> RunBooks:
    """The books of these positions together."""
    with postgres_errors(), connection.cursor(row_factory=class_row(RunBooks)) as cursor:
        books = cursor.execute(query("sum_books"), {"streams": list(streams)}).fetchone()
    assert books is not None  # a sum is always one row
    return books


@contextmanager
def _no_collection() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
