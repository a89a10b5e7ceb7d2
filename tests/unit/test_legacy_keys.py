"""What the keys of the legacy counters say."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.operation import Problem
from worker.operations.legacy_keys import Counter, Total, parse_key, parse_value, shown, source_of

DAY, LAST = date(2026, 11, 10), date(2026, 11, 23)
COUNTER = Counter(DAY, "anna", "profile_view", ":catalog")


@pytest.mark.parametrize(
    ("key", "counter", "source"),
    [
        ("profile:view:anna:catalog:2026-11-10", COUNTER, "catalog"),
        ("contact:view:anna:search:2026-11-10", Counter(DAY, "anna", "contact_view", ":search"), "search"),
        ("profile:view:anna:direct:2026-11-10", Counter(DAY, "anna", "profile_view", ":direct"), "direct"),
        ("profile:view:anna:2026-11-10", Counter(DAY, "anna", "profile_view", ""), "direct"),
        ("profile:view:anna::2026-11-10", Counter(DAY, "anna", "profile_view", ":"), "direct"),
        ("profile:view:anna:Catalog:2026-11-10", Counter(DAY, "anna", "profile_view", ":Catalog"), "other"),
        ("profile:view:anna:a:b:2026-11-10", Counter(DAY, "anna", "profile_view", ":a:b"), "other"),
        ("profile:view:anna:реклама:2026-11-10", Counter(DAY, "anna", "profile_view", ":реклама"), "other"),
        ("profile:view:anna:x\n:2024-02-29", Counter(date(2024, 2, 29), "anna", "profile_view", ":x\n"), "other"),
    ],
)
def test_a_counter(key: str, counter: Counter, source: str) -> None:
    """A key says whose views it counts, of which date, and what they count under."""
    assert parse_key(key.encode(), LAST) == counter
    assert source_of(counter.spelling) == source


@pytest.mark.parametrize(
    ("key", "total"),
    [
        (b"profile:views:anna", Total("anna", "profile_view", "")),
        (b"contact:views:anna", Total("anna", "contact_view", "")),
        (b"contact:views:anna:phone", Total("anna", "contact_view", ":phone")),
    ],
)
def test_a_total(key: bytes, total: Total) -> None:
    """The totals of all days are no counters of a day."""
    assert parse_key(key, LAST) == total


@pytest.mark.parametrize(
    "key",
    [
        b"profile:views:leaderboard",
        b"analytics:events",
        b"rq:job:view",
        b"profile:viewers",
        b"x:profile:view:a:b:c",
        b"",
    ],
)
def test_another_key(key: bytes) -> None:
    """What is not of the legacy, and the leaderboard, is no problem either."""
    assert parse_key(key, LAST) is None


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (b"profile:view:", "malformed_key"),
        (b"profile:view:anna", "malformed_key"),
        (b"profile:view:anna:catalog", "malformed_key"),
        (b"profile:view::catalog:2026-11-10", "malformed_key"),
        (b"profile:view:anna:catalog:2026-11-1", "malformed_key"),
        (b"profile:view:anna:catalog:20261110", "malformed_key"),
        (b"profile:view:anna:catalog:2026-11-10 ", "malformed_key"),
        (b"profile:view:anna:catalog:\xef\xbc\x92026-11-10", "malformed_key"),
        (b"profile:view:anna:\xff:2026-11-10", "malformed_key"),
        (b"profile:view:an\0na:catalog:2026-11-10", "malformed_key"),
        (b"profile:view:anna:" + b"x" * 1000 + b":2026-11-10", "malformed_key"),
        (b"profile:views:anna:phone", "malformed_key"),
        (b"contact:views:", "malformed_key"),
        (b"profile:view:anna:catalog:2026-02-30", "bad_date"),
        (b"profile:view:anna:catalog:0000-00-00", "bad_date"),
        (b"profile:view:anna:catalog:1999-12-31", "bad_date"),
        (b"profile:view:anna:catalog:2026-11-24", "bad_date"),
    ],
)
def test_a_bad_key(key: bytes, reason: str) -> None:
    """What cannot be read is a problem that names the key."""
    assert parse_key(key, LAST) == Problem(reason, shown(key))


@pytest.mark.parametrize(
    ("value", "views"),
    [(b"0", 0), (b"7", 7), (b"007", 7), (b"999999999", 999_999_999)]
    + [(value, "bad_value") for value in (b"", b"-1", b"1.5", b"1e3", b" 1", b"1\n", b"x", b"\xef\xbc\x91", b"9" * 41)]
    + [(value, "too_large") for value in (b"1000000000", b"9" * 40)],
)
def test_a_value(value: bytes, views: int | str) -> None:
    """A value is a number of views that a day can have, or a problem."""
    found = parse_value(b"key", value, COUNTER)
    assert (found.reason if isinstance(found, Problem) else found) == views


def test_a_total_can_be_larger() -> None:
    """All days together can have more views than one."""
    assert parse_value(b"key", b"1000000000", Total("anna", "profile_view", "")) == 1_000_000_000


@given(st.binary(max_size=300))
def test_any_bytes(rest: bytes) -> None:
    """Whatever a key is, it can be told, and what is told can be kept in PostgreSQL."""
    for key in (rest, b"profile:view:" + rest, b"contact:views:" + rest, b"profile:view:" + rest + b":2026-11-10"):
        found = parse_key(key, LAST)
        texts = [part for part in found or () if isinstance(part, str)]
        assert all("\0" not in text and text.encode() is not None for text in texts)
