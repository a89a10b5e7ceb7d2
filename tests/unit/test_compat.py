"""What `make compat` makes of a report of pytest."""

import pytest

from tests.compat.__main__ import Outcome, judged
from tests.compat.found import Found

FOUND = Found(["pytest"], {"Redis": "Redis 7.0.15"})


def report(failures: int = 0, redis: str = "Redis 7.0.15") -> bytes:
    return f"""<?xml version="1.0"?><testsuites><testsuite tests="9" failures="{failures}" errors="1" skipped="2">
        <properties><property name="Redis" value="{redis}"/></properties></testsuite></testsuites>""".encode()


def test_all_passed() -> None:
    """It holds when pytest is content and the tests ran on what was found; errors are failures."""
    counts = {"passed": 5, "failed": 2, "skipped": 2, "seconds": 7}
    assert judged(0, report(failures=1), FOUND, 7) == Outcome({"Redis": "Redis 7.0.15"}, counts, holds=True)


@pytest.mark.parametrize(
    ("code", "told"),
    [(1, report()), (5, report()), (0, report(redis="Valkey 9.1.2")), (4, b"")],
    ids=["a test failed", "no test ran", "other servers ran", "pytest did not start"],
)
def test_it_does_not_hold(code: int, told: bytes) -> None:
    """It does not hold when a test failed, when none ran, when it was other servers that ran, and without a report."""
    assert not judged(code, told, FOUND, 7).holds
