"""`/healthz`: when the counting goes on, and when it does not."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from worker.errors import AnalyticsError, NotMigrated, Retry, Stop
from worker.inspection.observe import Observation, Records
from worker.inspection.status import Books, Closing, Outcomes, ShardStatus
from worker.web.health import GRACE_S, find_problems, stands

LONG = GRACE_S + 1
RECORDS = Records({}, [], [], Outcomes(datetime.now(UTC), 0.0, []), Closing(None, None, 0, [], 0, 0, None), [])


def shard(oldest_s: float, moved_s_ago: float | None, stream: str = "s") -> ShardStatus:
    books = None if moved_s_ago is None else Books(stream, "e", "1-0", 1, 0, 0, 0, 0, 0, 0, None, None, moved_s_ago)
    return ShardStatus(stream, "1-0", 5, oldest_s, oldest_s, 0.0, 0.0, books)


@pytest.mark.parametrize(
    ("oldest_s", "moved_s_ago", "is_stuck"),
    [
        (0.0, LONG, False),  # nothing to read, for hours
        (1.0, LONG, False),  # the first event after hours
        (LONG, 1.0, False),  # an old backlog, which is being read
        (LONG, LONG, True),
        (0.0, None, False),  # a new stream
        (1.0, None, False),
        (LONG, None, True),  # nobody has ever read it
        (-LONG, LONG, True),  # an id from the future, unread
        (-LONG, 1.0, False),
        (-LONG, None, False),
    ],
)
def test_alive_is_who_moves_or_has_nothing_to_move_for(
    oldest_s: float, moved_s_ago: float | None, is_stuck: bool
) -> None:
    """Stuck is a shard whose oldest unread entry is old and whose position has not moved for as long."""
    assert stands(shard(oldest_s, moved_s_ago)) is is_stuck


def test_a_stuck_shard_is_named() -> None:
    """The body says which shard is stuck, and since when; those that go on are not in it."""
    seen = Observation(RECORDS, [shard(LONG, LONG, "a"), shard(0, LONG, "b")], {})
    [problem] = find_problems(seen, ["a", "b"])
    assert (problem["what"], problem["why"], problem["moved_seconds_ago"]) == ("a", "stuck", LONG)


def test_a_halted_shard_is_named_so() -> None:
    """A shard that its breaker has halted is not simply stuck."""
    standing = shard(LONG, LONG)
    assert standing.books is not None
    halted = replace(standing, books=standing.books._replace(halted_at=datetime.now(UTC)))
    [problem] = find_problems(Observation(RECORDS, [halted], {}), ["s"])
    assert problem["why"] == "halted"


def test_streams_of_an_earlier_number_of_shards_are_not_ours() -> None:
    """What nobody is to read cannot be stuck; it is the lag alert that tells of it."""
    assert find_problems(Observation(RECORDS, [shard(LONG, LONG, "old")], {}), ["s"]) == []


@pytest.mark.parametrize(
    ("error", "why"),
    [(Retry("geheim"), "away"), (NotMigrated("geheim"), "not migrated"), (Stop("geheim"), "refuses us")],
)
def test_a_server_is_named_without_its_words(error: AnalyticsError, why: str) -> None:
    """A server that cannot be used is named; what it said (hosts, users) is not for whoever asks."""
    assert find_problems(Observation(None, None, {"redis": error}), []) == [{"what": "redis", "why": why}]
