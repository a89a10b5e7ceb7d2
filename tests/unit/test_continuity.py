"""Stored facts against the stream's: what is missing in between?"""

from collections.abc import Sequence

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.stream_double import REWIND_MS, Reader, Server
from worker.continuity import (
    BEGINNING,
    EntryId,
    Lost,
    Position,
    Restarted,
    StreamFacts,
    Verdict,
    beginning,
    judge,
    mended,
)

READ_UP_TO = EntryId(1000, 0)
POSITION = Position("s", "epoch-1", READ_UP_TO, 100)


def facts(**changes: object) -> StreamFacts:
    """A stream of which 100 entries were read and 20 more have come; 50 of the old ones are still there."""
    values: dict[str, object] = {
        "epoch": "epoch-1",
        "length": 70,
        "entries_added": 120,
        "last_generated": EntryId(2000, 0),
        "first": EntryId(500, 0),
        "last_read_there": True,
    }
    return StreamFacts(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seen", "read", "reached_end", "verdict"),
    [
        (facts(), 20, True, None),
        (facts(), 5, False, None),
        # a stranger trimmed 3 of the 20
        (facts(length=17, first=EntryId(1003, 0)), 17, True, Lost("trimmed_unread", 3)),
        (facts(length=17, first=EntryId(1003, 0)), 5, False, Lost("trimmed_unread", 3)),
        # all 20 are gone, and with them every entry
        (facts(length=0, first=None), 0, True, Lost("trimmed_unread", 20)),
        # XDEL of two unread entries shows at the end; of read ones it does not matter
        (facts(length=68, max_deleted=EntryId(1500, 0)), 18, True, Lost("deleted_unread", 2)),
        (facts(length=60, max_deleted=EntryId(600, 0)), 20, True, None),
        (facts(length=10, first=EntryId(1500, 0), max_deleted=EntryId(1400, 0)), 5, False, Lost("deleted_unread", 10)),
        # FLUSHALL; a new stream in place of the old; an old snapshot
        (StreamFacts("epoch-1"), 0, True, Restarted("emptied")),
        (facts(length=3, entries_added=3, first=EntryId(1900, 0)), 3, True, Restarted("went_back")),
        (facts(epoch="epoch-2", last_generated=EntryId(900, 0)), 0, True, Restarted("went_back")),
        # another server, or the same one restarted: ids may have landed below the position
        (facts(epoch="epoch-2"), 20, True, Restarted("restarted")),
    ],
)
def test_verdicts(seen: StreamFacts, read: int, reached_end: bool, verdict: Verdict) -> None:
    """Every way in which a stream can differ from what was stored has its verdict, and the loss its exact number."""
    assert judge(POSITION, seen, read, reached_end) == verdict


def test_ids_order_as_numbers() -> None:
    """9-1 stands before 10-0, which text would order the other way."""
    assert EntryId.of("9-1") < EntryId.of("10-0") < EntryId.of("10-1")
    assert str(EntryId.of("10-1")) == "10-1"


def test_no_number_is_claimed_while_the_ordinal_is_unknown() -> None:
    """After a rewind, until the end of the stream has been reached, a loss is told without a number."""
    unknown = Position("s", "epoch-1", READ_UP_TO, None)
    assert judge(unknown, facts(), 20, True) is None
    seen = facts(length=17, first=EntryId(1003, 0))
    verdict = judge(unknown, seen, 17, True)
    assert verdict == Lost("trimmed_unread", None)
    assert mended(unknown, verdict, seen, 300) == Position("s", "epoch-1", EntryId(1002, 2**64 - 1), None)


def test_beginning() -> None:
    """Reading begins before the oldest entry still there, whatever was trimmed before."""
    assert beginning("s", facts()) == Position("s", "epoch-1", BEGINNING, 50)


RESTARTED = Restarted("restarted")
BEFORE_700, BEFORE_FIRST = EntryId(699, 2**64 - 1), EntryId(499, 2**64 - 1)


def test_rewind_goes_back_by_time() -> None:
    """A rewind goes back from the older of the two ends, under the new epoch, and claims to know no ordinal."""
    assert mended(POSITION, RESTARTED, facts(epoch="epoch-2"), 300) == Position("s", "epoch-2", BEFORE_700, None)
    behind = facts(epoch="epoch-2", last_generated=EntryId(900, 0))
    assert mended(POSITION, RESTARTED, behind, 300).last_id.after == EntryId(600, 0)


def test_rewind_stops_at_the_oldest_entry() -> None:
    """A rewind beyond the oldest entry begins there; in an empty stream, the ordinal is known at once."""
    assert mended(POSITION, RESTARTED, facts(epoch="epoch-2"), 10_000) == Position("s", "epoch-2", BEFORE_FIRST, None)
    assert mended(POSITION, RESTARTED, StreamFacts("epoch-2"), 0) == Position("s", "epoch-2", BEGINNING, 0)


def test_a_stream_that_was_replaced_is_read_from_its_beginning() -> None:
    """If the server is the same and the stream is not, none of it was read before, however old its ids are."""
    assert mended(POSITION, Restarted("went_back"), facts(), 300) == Position("s", "epoch-1", BEFORE_FIRST, None)


Act = tuple[str | int, ...]
"""A method of the server or of its reader, and its arguments."""

FEW, MS = st.integers(1, 6), st.integers(0, 40)
ADD = st.tuples(st.just("add"), FEW, MS)
READ = st.tuples(st.just("read"), FEW)
TRIM_READ = st.tuples(st.just("trim_read"))
STRANGERS = st.tuples(st.just("delete_entry"), st.integers(0, 20)) | st.tuples(st.just("trim"), st.integers(0, 6))
RESTARTS = st.tuples(st.sampled_from(["save", "restart", "fall_back"]))
DELETE_KEY = st.tuples(st.just("delete_key"))
CLOCKS = st.tuples(st.just("turn_clock"), st.integers(-400, 400)) | st.tuples(st.just("set_last_id"))
SLOW_CLOCK = st.tuples(st.just("fall_back_with_clock_behind"), st.integers(0, REWIND_MS // 4))


def live(acts: Sequence[Act]) -> Reader:
    """Live through a history, and read then what can be read."""
    server = Server()
    server.add(3, 10)
    server.save()
    reader = Reader(server)
    reader.read(3)
    for name, *arguments in acts:
        getattr(reader if name in ("read", "trim_read") else server, str(name))(*arguments)
    for _ in range(1_000):
        if not reader.read(4):
            return reader
    raise AssertionError("reading comes to no end")


def claimed(reader: Reader, after_read: int = 0) -> int:
    losses = ((read, verdict.count or 0) for read, verdict in reader.verdicts if isinstance(verdict, Lost))
    return sum(count for read, count in losses if read > after_read)


def test_the_model_counts() -> None:
    """The model itself: what is sent is counted, without any verdict."""
    reader = live([("add", 7, 1)])
    assert (len(reader.counted), reader.verdicts, reader.position.ordinal) == (10, [], 10)


@settings(max_examples=500, deadline=None)
@given(st.lists(ADD | READ | TRIM_READ, max_size=20))
def test_no_alarm_without_a_cause(acts: list[Act]) -> None:
    """While nobody but the worker takes anything away, all is counted and there is no verdict."""
    reader = live(acts)
    assert reader.counted == set(range(reader.server.sent))
    assert reader.verdicts == []


@settings(max_examples=1_000, deadline=None)
@given(st.lists(ADD | READ | TRIM_READ | STRANGERS, max_size=20))
def test_what_strangers_take_away_is_told_exactly(acts: list[Act]) -> None:
    """Whatever strangers trim and delete, in any order with the reads: what is not counted is lost, to the entry."""
    reader = live(acts)
    assert claimed(reader) == reader.server.sent - len(reader.counted)


@settings(max_examples=2_000, deadline=None)
@given(st.lists(ADD | READ | TRIM_READ | STRANGERS | DELETE_KEY | RESTARTS | CLOCKS, max_size=30))
def test_nothing_is_lost_in_silence_and_no_loss_is_made_up(acts: list[Act]) -> None:
    """Restarts, fail-overs, flushes, clocks and strangers: an entry that was there at a read is counted or told of.

    Told of is: within a number of lost ones, or by a record without number (of a restart, or of the way back from it).
    """
    reader = live(acts)
    assert not reader.made_up
    missed = [
        serial
        for serial, read in reader.first_seen.items()
        if serial not in reader.counted and read > reader.unsure_until
    ]
    assert len(missed) <= claimed(reader, reader.unsure_until)


@settings(max_examples=2_000, deadline=None)
@given(st.lists(ADD | READ | TRIM_READ | RESTARTS | SLOW_CLOCK, max_size=30))
def test_what_is_there_is_counted(acts: list[Act]) -> None:
    """As long as clocks are behind by less than a rewind, restarts and fail-overs hide nothing that is there."""
    assume(sum(int(act[1]) for act in acts if act[0] == "fall_back_with_clock_behind") <= REWIND_MS)
    reader = live(acts)
    assert set(reader.server.stream.entries.values()) <= reader.counted
