"""When a day is over."""

from datetime import UTC, date, datetime, timedelta

import pytest

from worker.days import end_of, local_date


@pytest.mark.parametrize(
    ("zone", "day", "end"),
    [
        ("UTC", date(2026, 11, 22), datetime(2026, 11, 23, tzinfo=UTC)),
        ("America/New_York", date(2026, 11, 22), datetime(2026, 11, 23, 5, tzinfo=UTC)),
        ("America/St_Johns", date(2010, 11, 6), datetime(2010, 11, 7, 3, 30, tzinfo=UTC)),  # 00:01 became 23:01
        ("America/Havana", date(2024, 11, 3), datetime(2024, 11, 4, 5, tzinfo=UTC)),
        ("America/Sao_Paulo", date(2018, 11, 3), datetime(2018, 11, 4, 3, tzinfo=UTC)),  # 00:00 became 01:00
        ("America/Sao_Paulo", date(2018, 2, 17), datetime(2018, 2, 18, 3, tzinfo=UTC)),  # 00:00 became 23:00
        ("Pacific/Apia", date(2011, 12, 29), datetime(2011, 12, 30, 10, tzinfo=UTC)),  # the 30th never was
    ],
)
def test_the_end_of_a_day(zone: str, day: date, end: datetime) -> None:
    """No moment from a day's end on is of that day, and the one before is, also where clocks are set at midnight."""
    assert end_of(day, zone) == end
    assert local_date(end - timedelta(milliseconds=1), zone) == day
    assert all(local_date(end + timedelta(minutes=minute), zone) > day for minute in range(24 * 60))
