"""A stage for all tests of a module: each begins and ends with a worker that has counted everything."""

from collections.abc import Iterator

import pytest

from tests.faults.stage import Stage, stage


@pytest.fixture(scope="module")
def module_stage() -> Iterator[Stage]:
    with stage() as ready:
        ready.start("run")
        yield ready


@pytest.fixture
def running(module_stage: Stage) -> Stage:
    """Both servers and `python -m worker run`, which is at work."""
    module_stage.send(200)
    module_stage.check()
    return module_stage
