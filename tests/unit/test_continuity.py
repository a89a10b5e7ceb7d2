"""Stored facts against the stream's: what is missing in between?"""

import pytest

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
    rewound,
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
        (facts(length=10, first=EntryId(1500, 0), max_deleted=EntryId(1400, 0)), 5, False, None),
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


def test_nothing_is_claimed_while_the_ordinal_is_unknown() -> None:
    """After a rewind no loss is claimed until the end of the stream has been reached."""
    unknown = Position("s", "epoch-1", READ_UP_TO, None)
    assert judge(unknown, facts(length=17, first=EntryId(1003, 0)), 17, True) is None


def test_beginning() -> None:
    """Reading begins before the oldest entry still there, whatever was trimmed before."""
    assert beginning("s", facts()) == Position("s", "epoch-1", BEGINNING, 50)


def test_rewind_goes_back_by_time() -> None:
    """A rewind goes back from the older of the two ends, under the new epoch, and claims to know no ordinal."""
    assert rewound(POSITION, facts(epoch="epoch-2"), 300) == Position("s", "epoch-2", EntryId(700, 0), None)
    assert rewound(POSITION, facts(epoch="epoch-2", last_generated=EntryId(900, 0)), 300).last_id == EntryId(600, 0)


def test_rewind_stops_at_the_oldest_entry() -> None:
    """A rewind beyond the oldest entry begins there, where the ordinal is known again."""
    assert rewound(POSITION, facts(epoch="epoch-2"), 10_000) == Position("s", "epoch-2", BEGINNING, 50)
    assert rewound(POSITION, StreamFacts("epoch-2"), 0) == Position("s", "epoch-2", BEGINNING, 0)
