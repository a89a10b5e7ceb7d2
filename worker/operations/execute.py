"""One execution of a run: its steps, each of them noted before the next one begins."""

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

from pydantic import ValidationError

from worker.backoff import Backoff
from worker.errors import AnalyticsError, Conflict, Retry
from worker.log import get_logger
from worker.operation import Step
from worker.operations.registry import OPERATIONS
from worker.operations.runs import Claim, Run, State, advance_run, load_run, settle_run, touch_runs
from worker.settings import Settings
from worker.store import Connection, connect_postgres

PULSE_S = 1.0

log = get_logger(__name__)


class Ending(NamedTuple):
    """How an execution ended."""

    state: State | None
    """The run's: `queued` if it gave way; None if it is not known, or somebody else has the run."""
    kind: str | None = None
    error: str | None = None


class Unusable(AnalyticsError):
    """A row of `analytics.run` asks for what this version cannot do."""


def execute(
    settings: Settings,
    run_id: int,
    attempt: int,
    until: Callable[[], bool],
    on_step: Callable[[Step], None] = lambda step: None,
) -> Ending:
    """Go on with a run where it stands, until it ends or has to give way; a server that is away is waited for.

    Args:
        settings: where the servers are.
        run_id: its number.
        attempt: the one that it was claimed with.
        until: asked between two steps, and while waiting: whether to give way.
        on_step: told of each step that is noted.

    Raises:
        Stop: PostgreSQL refuses us, so that not even a failure can be noted.
    """
    backoff = Backoff()

    def noted(step: Step) -> None:
        backoff.reset()
        on_step(step)

    while True:
        try:
            with connect_postgres(settings, f"run {run_id}") as connection:
                run = load_run(connection, run_id)
                if run is None or run.attempt != attempt or run.state != "running":
                    return Ending(None)
                with pulse(connection, [run]):
                    return _go_on(connection, settings, run, until, noted)
        except (Retry, Conflict) as error:
            log.warning("run has to wait", run=run_id, why=str(error), seconds=backoff.next_s)
            backoff.wait(until)
            if until():
                return _give_way(settings, run_id, attempt, str(error))


def _give_way(settings: Settings, run_id: int, attempt: int, why: str) -> Ending:
    with suppress(Retry, Conflict), connect_postgres(settings, f"run {run_id}") as connection:
        return Ending(settle_run(connection, run_id, attempt, "queued", why))
    return Ending(None)  # without a sign of life: somebody else will go on with it


def _go_on(
    connection: Connection, settings: Settings, run: Run, until: Callable[[], bool], on_step: Callable[[Step], None]
) -> Ending:
    error = None
    try:
        state = "stopped" if run.stopped_by else _walk(connection, settings, run, until, on_step)
    except (Retry, Conflict):
        raise
    except AnalyticsError as why:
        state, error = "failed", str(why)
    except Exception as why:  # a defect, or RQ's timeout: the next time would be no better
        log.exception("run met the unexpected", run=run.id, kind=run.kind)
        state, error = "failed", f"{type(why).__name__}: {why}"
    if state is not None:
        state = settle_run(connection, run.id, run.attempt, state, error)
    return Ending(state, run.kind, error)


def _walk(
    connection: Connection, settings: Settings, run: Run, until: Callable[[], bool], on_step: Callable[[Step], None]
) -> State | None:
    """Step by step. Returns what is to become of the run; None if somebody else has it."""
    with _steps(settings, run) as steps:
        for step in steps:
            stop = advance_run(connection, run.id, run.attempt, step)
            if stop is None:
                return None
            on_step(step)
            if stop:
                return "stopped"
            if step.done != step.total and until():  # what is done needs no other turn to hear it
                return "queued"
    return "done"


@contextmanager
def _steps(settings: Settings, run: Run) -> Iterator[Iterator[Step]]:
    """The steps that are left. They are closed before anybody hears that the run is his."""
    operation = OPERATIONS.get(run.kind)
    if operation is None:
        raise Unusable(f"this version knows no operation {run.kind!r}")
    try:
        arguments = operation.arguments.model_validate(run.arguments)
    except ValidationError as error:
        raise Unusable(f"{run.kind} does not take these arguments: {error.errors()[0]['msg']}") from None
    steps = operation.steps(settings, run.id, arguments, run.cursor)
    try:
        yield steps
    finally:
        if isinstance(steps, Generator):
            steps.close()


@contextmanager
def pulse(connection: Connection, runs: Sequence[Run | Claim]) -> Iterator[None]:
    """Give signs of life while a step takes its time. Whatever is in their way, the next step will meet it too.

    Args:
        connection: another one than the step's own, which is busy.
        runs: that the step is for.
    """
    over = threading.Event()

    def beat() -> None:
        with suppress(AnalyticsError):
            while not over.wait(PULSE_S):
                touch_runs(connection, runs)

    thread = threading.Thread(target=beat, name="pulse", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
