"""Many refreshes at once: what one costs is the look at the ledger, and that is the same for one and for all."""

from collections.abc import Sequence

from pydantic import ValidationError

from worker.daily.outcomes import refresh_outcomes_of
from worker.daily.recompute import list_wrong_dates
from worker.errors import AnalyticsError
from worker.log import get_logger
from worker.operations.execute import pulse
from worker.operations.refresh import REFRESH, RefreshArguments
from worker.operations.runs import Claim, claim_waiting_runs, finish_runs
from worker.store import Connection

MOST_AT_ONCE = 500
"""What takes some tenths of a second beside counting."""

log = get_logger(__name__)


def refresh_waiting(runs: Connection, connection: Connection, time_zone: str) -> list[Claim] | None:
    """Claim the refreshes of the same dates that have waited longest, and do them together.

    Args:
        runs: in autocommit mode, for the rows of the runs.
        connection: another one, for the work.
        time_zone: IANA name; its midnight divides the days.

    Returns:
        Those that are to be executed one by one: whose views are not right, which takes steps; or all, if something was
        in the way, so that each waits or fails by itself. None if none waited.

    Raises:
        Retry: the server is away.
    """
    claims = claim_waiting_runs(runs, REFRESH.kind, differ_in="specialist", limit=MOST_AT_ONCE)
    if not claims:
        return None
    try:
        with pulse(runs, claims):
            return _refresh(runs, connection, claims, time_zone)
    except (AnalyticsError, ValidationError) as error:
        log.debug("refreshes go one by one", runs=len(claims), why=str(error))
        return claims


def _refresh(runs: Connection, connection: Connection, claims: Sequence[Claim], time_zone: str) -> list[Claim]:
    asked = [RefreshArguments.model_validate(claim.arguments) for claim in claims]
    specialists, first, last = [each.specialist for each in asked], asked[0].first, asked[0].last
    outcome_rows = refresh_outcomes_of(connection, specialists, first, last, time_zone)
    wrong = {each.specialist_id for each in list_wrong_dates(connection, specialists, first, last, time_zone)}
    right = [claim for claim in claims if claim.arguments["specialist"] not in wrong]
    results = [{"rows": 0, "outcome_rows": outcome_rows.get(claim.arguments["specialist"], 0)} for claim in right]
    finish_runs(runs, right, results, (last - first).days + 1)
    log.debug("refreshed", first=str(first), last=str(last), runs=len(right), outcome_rows=sum(outcome_rows.values()))
    return [claim for claim in claims if claim.arguments["specialist"] in wrong]
