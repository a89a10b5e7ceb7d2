"""What a dead letter keeps of an entry."""

import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from tests.counting import TODAY_MS
from worker.events import Event, Rules, parse
from worker.operations.dead_letters import BEHIND_ALL, Letter, resent
from worker.original import as_json, from_json

PARTS = st.lists(st.binary(max_size=40) | st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass")))
RULES = Rules(oldest_ms=0, newest_ms=2**62, exclude_bots=True, secret=b"")


@given(PARTS.filter(lambda parts: len(parts) % 2 == 0))
def test_the_bytes_come_back(fields: list[bytes]) -> None:
    """Fields of any bytes are the same after they were kept as JSON."""
    assert from_json(json.loads(as_json(fields))) == fields


@given(st.booleans(), st.booleans())
def test_sent_again_it_is_the_same_event(has_id: bool, has_time: bool) -> None:
    """An event that came without an id or a time of its own keeps those it had when it is sent again."""
    fields = [b"type", b"profile_view", b"specialistId", b"anna"]
    fields += [b"eventId", b"0b3e7c5e-0000-4000-8000-000000000001"] if has_id else []
    fields += [b"occurredAt", str(TODAY_MS).encode()] if has_time else []
    first = parse(b"1700000000000-3", fields, RULES)
    letter = Letter(
        1,
        datetime.now(UTC),
        "s",
        "1700000000000-3",
        "unknown_specialist",
        json.loads(as_json(fields)),
        "buried",
        BEHIND_ALL,
    )
    again = parse(b"1800000000000-0", [part for pair in resent(letter).items() for part in pair], RULES)
    assert isinstance(first, Event)
    assert isinstance(again, Event)
    assert again._replace(entry_id=first.entry_id) == first
