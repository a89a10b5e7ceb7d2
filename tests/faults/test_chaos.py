"""A short storm, so that `make chaos` itself is known to work."""

from tests.chaos.faults import Group
from tests.chaos.storm import storm


def test_a_short_storm() -> None:
    """Half a minute of kills, cuts and restarts at random: the tables equal the straight count."""
    outcome = storm(seed=1, events=60_000, minutes=0.4, say=print)
    assert not outcome.verdict.wrong
    assert (outcome.verdict.lost, outcome.verdict.doubled) == (0, 0)
    assert outcome.entries >= 60_000
    assert outcome.repeats > 0
    assert outcome.hit[Group.PROCESS] > 0
    assert outcome.hit[Group.CONNECTION] > 0
