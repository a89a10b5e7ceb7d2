"""The lifetime totals that a site shows of its profiles: the sum of all dates of the daily table, assigned.

Off by default. The table is the site's: its rows are written only where they differ, a thousand in a transaction, and
one that the site holds at that moment is left for the next time.
"""

from datetime import UTC, date, datetime
from typing import NamedTuple

from psycopg.rows import class_row, scalar_row

from worker.days import days_before, local_date
from worker.errors import Stop
from worker.queries import query
from worker.settings import Settings
from worker.store import Connection, connect_postgres, postgres_errors

ROWS_AT_ONCE = 1_000

PROFILE_TOTALS = "profile_totals"


class Access(NamedTuple):
    """What the site's table lets us do."""

    role: str
    there: bool
    """Whether it has the two columns."""
    writable: bool

    @property
    def refusal(self) -> str | None:
        """Why the totals cannot be written and what to do, or None if they can."""
        if not self.there:
            return (
                '"SpecialistProfile" has no integers "profileViews" and "contactViews": set ANALYTICS_PROFILE_TOTALS=0'
            )
        if not self.writable:
            columns = '("profileViews", "contactViews")'
            grant = f'GRANT SELECT {columns}, UPDATE {columns} ON "SpecialistProfile" TO {self.role}'
            return f"the database role lacks the right to the profiles' totals: as the owner of the table, {grant}"
        return None


class _Assigned(NamedTuple):
    written: int
    free: int
    """Rows that the site did not hold."""


def read_access(connection: Connection) -> Access:
    """Ask what the site's table lets us do."""
    with postgres_errors(), connection.cursor(row_factory=class_row(Access)) as cursor:
        access = cursor.execute(query("check_profile_totals")).fetchone()
    assert access is not None  # an aggregate is always one row
    return access


def refresh_profile_totals(settings: Settings) -> int:
    """Assign the totals of all specialists whose sum is another one, if `ANALYTICS_PROFILE_TOTALS` says so.

    Once a day, and when it is switched on, all dates are added up. From then on only yesterday and today, and only if
    something was counted since: what changes on older dates is seen on the next day.

    Returns:
        How many profiles were written.

    Raises:
        Stop: the columns or the right to them are missing.
        Retry: the server is away, or the site keeps its table locked.
    """
    if not settings.profile_totals:
        return 0
    [yesterday] = days_before(local_date(datetime.now(UTC), settings.time_zone), 1)
    with connect_postgres(settings, "profile totals") as connection, postgres_errors():
        if refusal := read_access(connection).refusal:
            raise Stop(refusal)
        [(closed_before,)] = connection.execute(query("load_closed_before"))
        if closed_before != yesterday:
            _close(connection, yesterday)
        [(counted, refreshed)] = connection.execute(query("load_counted"), {"what": PROFILE_TOTALS})
        if counted == refreshed:
            return 0
        ids = connection.cursor(row_factory=scalar_row)
        ids.execute(query("list_wrong_profile_totals"), {"since": yesterday})
        wrong = ids.fetchall()
        done = [_assign(connection, wrong[at : at + ROWS_AT_ONCE]) for at in range(0, len(wrong), ROWS_AT_ONCE)]
        if sum(rows.free for rows in done) == len(wrong):
            connection.execute(query("note_refreshed"), {"what": PROFILE_TOTALS, "counted": counted})
    return sum(rows.written for rows in done)


def _close(connection: Connection, day: date) -> None:
    """Add up all dates before the day; every profile is then looked at."""
    with connection.transaction():
        connection.execute(query("lock_profile_totals"))
        connection.execute(query("close_profile_totals"), {"closed_before": day})
        connection.execute(query("note_refreshed"), {"what": PROFILE_TOTALS, "counted": -1})


def _assign(connection: Connection, ids: list[str]) -> _Assigned:
    """Assign the totals of some specialists, by sums that are made while nobody else assigns."""
    with connection.transaction(), connection.cursor(row_factory=class_row(_Assigned)) as cursor:
        [(since, *_)] = connection.execute(query("lock_profile_totals"))
        assigned = cursor.execute(query("assign_profile_totals"), {"ids": ids, "since": since}).fetchone()
    assert assigned is not None  # a count is always one row
    return assigned
