"""What the web tier may ask for: each rule of the contract, and no input that breaks it."""

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.operations.refresh import RefreshArguments
from worker.operations.requests import Refused, Request, RequestReason, parse_request

TODAY = date(2026, 11, 22)


def asked(**fields: Any) -> Request | Refused:
    """What becomes of a request with these fields; `since` is `from`, which is a word of Python's."""
    whole = {"kind": "refresh", "specialistId": "anna"} | fields
    named = {"from" if name == "since" else name: value for name, value in whole.items() if value is not None}
    parts = [part for pair in named.items() for part in pair]
    return parse_request(b"7-0", [part if isinstance(part, bytes) else str(part).encode() for part in parts], TODAY)


@pytest.mark.parametrize(
    ("fields", "first", "last"),
    [
        ({"since": "2026-11-01", "to": "2026-11-20"}, date(2026, 11, 1), date(2026, 11, 20)),
        ({"since": "2026-11-01"}, date(2026, 11, 1), TODAY),
        ({"to": "2026-11-20"}, date(2026, 11, 20), date(2026, 11, 20)),
        ({}, TODAY, TODAY),
        ({"since": "", "to": ""}, TODAY, TODAY),
        ({"since": "2025-11-22"}, date(2025, 11, 22), TODAY),
        ({"since": "2024-02-29", "to": "2024-02-29", "why": "unknown fields are ignored"}, *[date(2024, 2, 29)] * 2),
    ],
)
def test_a_request(fields: dict[str, str], first: date, last: date) -> None:
    """Both dates are part of the range; without `to` it ends today, without `from` it is one day."""
    assert asked(**fields) == Request("7-0", "anna", first, last)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"kind": None}, "missing_kind"),
        ({"kind": "erase"}, "unknown_kind"),
        ({"kind": "Refresh"}, "unknown_kind"),
        ({"specialistId": None}, "missing_specialist"),
        ({"specialistId": ""}, "missing_specialist"),
        ({"specialistId": "an na"}, "bad_specialist"),
        ({"specialistId": "anna\n"}, "bad_specialist"),
        ({"specialistId": "a" * 65}, "bad_specialist"),
        ({"since": "2026-02-30"}, "bad_date"),
        ({"to": "2026-13-01"}, "bad_date"),
        ({"to": "20261122"}, "bad_date"),
        ({"to": "2026-W01-1"}, "bad_date"),
        ({"to": "2026-11-22T00:00:00Z"}, "bad_date"),
        ({"to": "2026-11-22\n"}, "bad_date"),
        ({"to": "٢٠٢٦-11-22"}, "bad_date"),
        ({"to": b"\xff"}, "bad_date"),
        ({"since": "0000-01-01"}, "bad_date"),
        ({"since": "2026-11-22", "to": "2026-11-21"}, "bad_range"),
        ({"since": "2026-11-23"}, "bad_range"),
        ({"since": "2025-11-21"}, "range_too_long"),
        ({"since": "0001-01-01", "to": "9999-12-31"}, "range_too_long"),
        ({"note": "x" * 2_000_000}, "entry_too_large"),
    ],
)
def test_a_bad_request(fields: dict[str, Any], reason: str) -> None:
    """What cannot be done has its reason, and what was sent."""
    refused = asked(**fields)
    assert isinstance(refused, Refused)
    assert refused.reason is RequestReason(reason)
    assert refused.entry_id == "7-0"
    assert sum(map(len, refused.fields)) < 3_000
    assert b"specialistId" in refused.fields or fields.get("specialistId", "") is None


WORDS = st.sampled_from([b"kind", b"refresh", b"specialistId", b"anna", b"from", b"to", b"2026-11-22", b"2026-11-31"])
PART = st.one_of(WORDS, st.binary(max_size=20), st.dates().map(lambda day: day.isoformat().encode()))


@given(st.binary(max_size=20), st.lists(PART, max_size=12))
def test_nothing_breaks_it(entry_id: bytes, fields: list[bytes]) -> None:
    """Whatever the bytes are, there is an answer; and what it accepts, the operation takes."""
    verdict = parse_request(entry_id, fields, TODAY)
    if isinstance(verdict, Request):
        RefreshArguments(specialist=verdict.specialist_id, first=verdict.first, last=verdict.last)
    else:
        assert isinstance(verdict, Refused)
        assert list(verdict.fields) == fields
