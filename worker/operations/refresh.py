"""Refresh: one specialist's rows of some dates, assigned anew by the formula. What the web tier asks for."""

import time
from collections.abc import Iterator
from datetime import date, timedelta

from pydantic import model_validator

from worker.daily.outcomes import refresh_outcomes_of
from worker.daily.recompute import list_wrong_dates, recompute_day
from worker.days import days_between
from worker.operation import Arguments, JsonObject, Operation, Step
from worker.operations.requests import REFRESH_DAYS
from worker.settings import Settings
from worker.store import connect_postgres

STEP_S = 1.0


class RefreshArguments(Arguments):
    """Whose rows to assign anew."""

    specialist: str
    first: date
    last: date

    @model_validator(mode="after")
    def _days_are_few(self) -> "RefreshArguments":
        if len(days_between(self.first, self.last)) > REFRESH_DAYS:
            raise ValueError(f"more than {REFRESH_DAYS} dates")
        return self


def refresh_steps(settings: Settings, _run: int, arguments: RefreshArguments, cursor: JsonObject) -> Iterator[Step]:
    """Outcomes first, all dates at once: views of a date whose events are gone must not keep them back. Then views of
    dates that are not right, as many a step as take a second. Nearly always none is, and then nothing is locked.

    Raises:
        Stop: the events of a date are gone, and without them a number would become smaller; dates before it are done.
        Conflict: somebody was in the way.
        Retry: the server is away.
    """
    specialist, last, zone = arguments.specialist, arguments.last, settings.time_zone
    total = (last - arguments.first).days + 1
    done, rows, outcome_rows = (cursor.get(name, 0) for name in ("done", "rows", "outcome_rows"))
    if done == total:
        return

    def step() -> Step:
        result = {"rows": rows, "outcome_rows": outcome_rows}
        return Step(done=done, total=total, cursor={"done": done, **result}, result=result)

    with connect_postgres(settings, "refresh") as connection:
        if not done:
            wrong = refresh_outcomes_of(connection, [specialist], arguments.first, last, zone)
            outcome_rows = wrong.get(specialist, 0)
        first = arguments.first + timedelta(days=done)
        began = time.monotonic()
        for _, day in list_wrong_dates(connection, [specialist], first, last, zone):
            rows += recompute_day(connection, day, zone, specialist).rows
            done = (day - arguments.first).days + 1
            if done < total and time.monotonic() > began + STEP_S:
                yield step()
                began = time.monotonic()
    done = total
    yield step()


REFRESH = Operation("refresh", "days", RefreshArguments, refresh_steps)
