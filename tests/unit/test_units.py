"""Times, spans of time and sizes as an operator reads them."""

from datetime import datetime, timedelta, timezone

import pytest

from worker.units import duration, size, utc


def test_utc() -> None:
    """A time is told in UTC, whatever zone it comes in."""
    assert utc(datetime(2026, 11, 23, 1, 2, 3, tzinfo=timezone(timedelta(hours=3)))) == "2026-11-22 22:02:03"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (123_456, "123 kB"), (2.5e9, "2.5 GB"), (7e15, "7000.0 TB")],
)
def test_size(count: float, text: str) -> None:
    """Bytes are rounded for people."""
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0 s"),
        (2.14, "2.1 s"),
        (60, "60 s"),
        (119, "119 s"),
        (120, "2 min"),
        (600, "10 min"),
        (7_500, "2 h 5 min"),
        (86_400, "24 h"),
        (10 * 86_400, "10 days"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    """A span of time is told in the units that matter."""
    assert duration(seconds) == text
