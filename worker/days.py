"""Dates in the configured zone."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from worker.errors import Stop

MOST_DAYS = 3_660
"""Ten years: more at once is a slip of the pen."""


def days_between(first: date, last: date) -> list[date]:
    """Both, and all between.

    Raises:
        Stop: they are the wrong way round, or too far apart.
    """
    if last < first:
        raise Stop(f"the last day, {last}, comes before the first, {first}: turn them round")
    days = (last - first).days + 1
    if days > MOST_DAYS:
        raise Stop(f"from {first} to {last} are {days:,} days: ask for at most {MOST_DAYS:,} at once")
    return [first + timedelta(days=number) for number in range(days)]


def date_of(text: str, option: str) -> date:
    """A date as a person writes it.

    Args:
        text: YYYY-MM-DD.
        option: what it is called on the command line.

    Raises:
        Stop: there is no such date.
    """
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Stop(f"{option} {text!r} is no date: write it as 2026-11-10") from None


def moment_of(text: str, option: str) -> datetime:
    """A time as a person writes it, in UTC.

    Args:
        text: ISO 8601, a date alone is its midnight; UTC where it has no offset.
        option: what it is called on the command line.

    Raises:
        Stop: there is no such time.
    """
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise Stop(
            f"{option} {text!r} is no time: write it as 2026-11-20T14:00 (UTC) or 2026-11-20T14:00+02:00"
        ) from None


def days_before(today: date, number: int) -> list[date]:
    """The last `number` days that are over when it is `today`, the oldest first."""
    return [today - timedelta(days=ago) for ago in range(number, 0, -1)]


def local_date(moment: datetime, time_zone: str) -> date:
    """The date of a moment (with its zone) in the zone of an IANA name."""
    return moment.astimezone(ZoneInfo(time_zone)).date()


def end_of(day: date, time_zone: str) -> datetime:
    """The moment at which a date is over, in UTC. A midnight that is there twice, or not at all, is the later one."""
    midnight = datetime.combine(day + timedelta(days=1), datetime.min.time(), ZoneInfo(time_zone))
    return max(midnight.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
