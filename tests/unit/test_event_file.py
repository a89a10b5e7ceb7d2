"""A line of a file becomes the fields that the web tier would push."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from worker.errors import Stop
from worker.event_file import EventFile, Shift, event_fields

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def ms(text: str) -> str:
    return str(round(datetime.fromisoformat(text).timestamp() * 1000))


def moved(*times: str) -> list[str]:
    events = [{"occurredAt": time} for time in times]
    return [str(event["occurredAt"]) for event in Shift.to_today(events, NOW).of(events)]


@pytest.mark.parametrize(
    ("event", "fields"),
    [
        ({"type": "page_view", "occurredAt": 1431857114000}, {"type": "page_view", "occurredAt": "1431857114000"}),
        ({"new": True, "price": 1.5, "tags": ["ä", None]}, {"new": "true", "price": "1.5", "tags": '["ä",null]'}),
        ({"source": None, "type": ""}, {"type": ""}),
    ],
)  # fmt: skip
def test_values_become_text(event: Mapping[str, Any], fields: Mapping[str, str]) -> None:
    """Numbers become digits, the rest JSON; null is left out; what is unknown or bad stays as it is."""
    assert event_fields({"eventId": "as it is", **event}) == {"eventId": "as it is", **fields}


def test_an_id_is_made_where_there_is_none() -> None:
    """An event without an id gets a new UUID, another one for each."""
    first, second = (UUID(str(event_fields({"type": "profile_view"})["eventId"])) for _ in range(2))
    assert first.version == second.version == 4
    assert first != second


def test_lines(tmp_path: Path) -> None:
    """Every line but an empty one is an event, as often as one goes through the file."""
    file = tmp_path / "events.ndjson"
    file.write_text('{"eventId": "1"}\n\n  {"eventId": "2"}  \r\n{"eventId": "3"}')
    events = EventFile(file)
    assert [list(events) for _ in range(2)] == [[{"eventId": "1"}, {"eventId": "2"}, {"eventId": "3"}]] * 2
    assert events.bytes_read == events.size


@pytest.mark.parametrize("line", [b"[1]", b"nothing", b'{"type":', b"\xff\xfe", b"[" * 100_000, b"17", b"null"])
def test_a_line_that_is_no_event(tmp_path: Path, line: bytes) -> None:
    """A line that is no JSON object is named by file and number."""
    file = tmp_path / "events.ndjson"
    file.write_bytes(b'{"eventId": "1"}\n\n' + line + b"\n")
    with pytest.raises(Stop, match=r"events\.ndjson, line 3: not a JSON object"):
        list(EventFile(file))


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file, or a folder, is said in one line."""
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(Stop, match=f"cannot read {path}: "):
            list(EventFile(path))


def test_the_newest_day_becomes_today() -> None:
    """All times move by the same whole number of days, in both ways to write them."""
    assert moved(ms("2015-05-19T23:59:59.999Z"), ms("2015-05-20T08:30:00Z"), "2015-05-20T01:00:00+03:00") == [
        ms("2026-11-21T23:59:59.999Z"),
        ms("2026-11-22T08:30:00Z"),
        "2026-11-21T22:00:00+00:00",
    ]


def test_days_are_those_of_utc() -> None:
    """An hour after midnight in Berlin is still yesterday."""
    assert moved("2026-11-21T00:30:00+01:00") == ["2026-11-22T23:30:00+00:00"]


def test_bad_times_stay_and_do_not_measure() -> None:
    """A time that cannot be read stays as it is, and one ahead of now does not decide which day is the newest."""
    bad = ["yesterday", "", "2015-05-20T08:30:00", "9" * 40, "9999-12-31T23:59:59Z"]
    assert moved(ms("2026-11-20T00:00:00Z"), *bad) == [ms("2026-11-22T00:00:00Z"), *bad]
    assert moved(*bad) == bad


def test_it_is_said_what_will_be_ahead_of_now() -> None:
    """Events of the newest day that are later than now cannot be counted yet: the shift knows how many they are."""
    events = [{"occurredAt": f"2015-05-20T{time}Z"} for time in ("11:00:00", "12:04:59", "12:05:01", "23:00:00")]
    assert Shift.to_today(events, NOW).ahead == 2
