"""What must be true before a process of ours starts: both servers answer, and the schema is there."""

from worker.errors import Stop
from worker.migrations import missing_migrations
from worker.settings import Settings
from worker.store import connect_postgres
from worker.stream import connect_redis, redis_errors


def check_ready(settings: Settings) -> None:
    """Find out now, in one line, what would otherwise fail again and again in a log.

    Raises:
        Stop: a URL, password or migration is missing or wrong.
        Retry: a server is away.
    """
    with connect_redis(settings) as client, redis_errors(settings):
        client.ping()
    with connect_postgres(settings, "start") as connection:
        missing = missing_migrations(connection)
    if missing:
        raise Stop(f"the database lacks the migration {missing[0]}: run `python -m worker migrate`")
