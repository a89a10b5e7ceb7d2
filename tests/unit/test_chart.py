"""Bars in a terminal."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from worker.reading.chart import EIGHTHS, bars


def test_bars() -> None:
    """The highest fills its column, half of it half, zero nothing, and what is not known has a dot."""
    assert bars([8, 4, 0, None], height=2) == ["█   ", "██ ·"]
    assert bars([1, 2, 4], height=1) == ["▂▄█"]


def test_the_smallest_is_seen() -> None:
    """One view beside a million is a line and no gap."""
    assert bars([1_000_000, 1], height=1) == ["█▁"]


def test_nothing_at_all() -> None:
    """Where there is nothing, nothing is drawn, and nothing fails."""
    assert bars([0, 0], height=1) == ["  "]
    assert bars([None], height=2) == [" ", "·"]
    assert bars([], height=1) == [""]


@given(st.lists(st.none() | st.integers(0, 10**9), max_size=50), st.integers(1, 8), st.integers(1, 5))
def test_a_chart_is_a_rectangle(values: list[int | None], height: int, width: int) -> None:
    """All lines are as long as all bars together, and a bar stands on the ground."""
    lines = bars(values, height, width)
    assert {len(line) for line in lines} == {len(values) * width}
    for column in zip(*lines, strict=True):
        filled = [EIGHTHS.find(cell) for cell in reversed(column)]
        assert all(low == 8 for low, high in pairwise(filled) if high > 0)
