"""The circuit breaker's window."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.breaker import NOTHING_SEEN, Window

SIZE = 1_000


def after(*batches: tuple[int, int]) -> Window:
    """The window after batches of (entries, bad)."""
    window = NOTHING_SEEN
    for entries, bad in batches:
        window = window.followed_by(entries, bad, SIZE)
    return window


@pytest.mark.parametrize(
    ("batches", "mostly_bad"),
    [
        ([], False),
        ([(999, 999)], False),  # too few to say
        ([(1_000, 500)], False),  # half is not most
        ([(1_000, 501)], True),
        ([(50_000, 25_001)], True),  # a batch larger than the window counts whole
        ([(500, 500), (499, 0), (1, 1)], True),
        ([(1, 1)] * 1_000, True),
        ([(10, 1)] * 10_000, False),  # a tenth is bad, and stays a tenth
        ([(1_000, 1_000), (1_000, 0)], False),  # old ones are forgotten
        ([(1, 0)] * 1_000 + [(1, 1)] * 600, False),  # fading: old ones count for more than their turn
        ([(1, 0)] * 1_000 + [(1, 1)] * 800, True),
    ],
)
def test_most_of_the_latest_entries(batches: list[tuple[int, int]], mostly_bad: bool) -> None:
    """It is mostly bad when more than the share of at least a window of the latest entries is."""
    assert after(*batches).is_mostly_bad(SIZE, 0.5) == mostly_bad


@given(st.lists(st.integers(0, 3_000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n)))))
def test_the_window_stays_in_proportion(batches: list[tuple[int, int]]) -> None:
    """However the batches come, no more are bad than there are, and a share of 1 never halts."""
    window = after(*batches)
    assert 0 <= window.bad <= window.entries + 1e-6
    assert not window.is_mostly_bad(SIZE, 1.0 + 1e-9)
    assert window.entries <= max([SIZE, *(entries for entries, _ in batches)])
