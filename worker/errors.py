"""Errors, named by what the caller should do."""


class AnalyticsError(Exception):
    """Base of every error that this project raises on purpose; its text is one line for a person."""


class Stop(AnalyticsError):
    """A person must change something first (a setting, a migration, a file): say the line, exit with code 2."""


class NotMigrated(Stop):
    """The database lacks what a migration makes."""


class Retry(AnalyticsError):
    """A server is away or refused for now: forget what is in memory, wait a little, begin again."""


class Conflict(AnalyticsError):
    """Somebody else moved the position first: forget what is in memory, read the position again, begin at once."""


class Halted(AnalyticsError):
    """Most of the events are bad: count nothing until they are good, or a person lets them pass."""
