"""Sketches of visitors merge, stay small, and are read for ever; who has no need of them does not load the library."""

import subprocess
import sys
from random import Random

import pytest
from datasketches import hll_sketch

from tests.support import TOP
from worker.daily.visitors import ERROR, LG_K, merged, sketch_of


def hashes(random: Random, number: int) -> list[bytes]:
    return [random.randbytes(8) for _ in range(number)]


def test_a_sketch_of_today_is_read_for_ever() -> None:
    """The bytes of a sketch, and what is read from those of November 2026, stay as they were with datasketches 5.2."""
    kept = bytes.fromhex("0201070e0308030060c35c090c1eb2066be55c0f")
    assert sketch_of(b"".join(bytes([7, n] * 4) for n in range(3))) == kept
    assert merged([kept]) == 3


@pytest.mark.parametrize("number", [1, 2, 7, 8, 40, 300, 1_500])
def test_few_visitors_are_exact(number: int) -> None:
    """Up to 1,536 visitors a sketch has 4 bytes for each and 12 more at most, and days merge without an error."""
    random = Random(number)
    everybody = hashes(random, number)
    days = [sketch_of(b"".join(random.sample(everybody, number // 2))) for _ in range(30)]
    assert merged([*days, sketch_of(b"".join(everybody))]) == number
    assert len(sketch_of(b"".join(everybody))) <= 4 * number + 12


def test_many_visitors_within_the_error() -> None:
    """Of years of large days, 95 of 100 estimates are off by no more than is said, and none by twice as much."""
    random, off = Random(1), []
    for number in (2_000, 10_000, 60_000):
        for _ in range(20):
            everybody = hashes(random, number)
            days = [everybody[at :: random.choice((2, 3, 5))] for at in range(5)]
            sketches = [sketch_of(b"".join(day)) for day in [*days, everybody[: number // 2]]]
            truth = len(set().union(*days, everybody[: number // 2]))
            off.append(abs(merged(sketches) - truth) / truth)
            assert max(map(len, sketches)) < 8_500
    assert sum(share > ERROR for share in off) <= 3
    assert max(off) < 2 * ERROR


def test_the_error_is_what_the_library_says() -> None:
    """The documented error is that of a merged sketch, at two standard deviations."""
    assert pytest.approx(hll_sketch.get_rel_err(True, True, LG_K, 2), abs=0.0001) == -ERROR
    assert pytest.approx(hll_sketch.get_rel_err(False, True, LG_K, 2), abs=0.0001) == ERROR


@pytest.mark.parametrize(
    "module", ["jobs.rollup", "jobs.work", "worker.scheduler", "worker.supervisor", "jobs.outcomes"]
)
def test_who_needs_no_sketch_loads_none(module: str) -> None:
    """The long-lived processes and a minute without new events never import the library, nor what it brings along."""
    code = f"import sys, {module}; sys.exit(str({{'datasketches', 'numpy'}} & sys.modules.keys() or ''))"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=TOP, capture_output=True, text=True, check=False)
    assert loaded.stderr.strip() == ""
