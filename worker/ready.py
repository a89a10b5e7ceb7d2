"""What must be true before a process of ours starts: both servers answer, and the schema is there."""

from worker.errors import Stop
from worker.migrations import missing_migrations
from worker.settings import Settings
from worker.store import check_time_zone, connect_postgres
from worker.stream import connect_redis, redis_errors

OLDEST_REDIS = 7


def check_ready(settings: Settings) -> None:
    """Find out now, in one line, what would otherwise fail again and again in a log.

    Raises:
        Stop: a URL, password or migration is missing or wrong.
        Retry: a server is away.
    """
    with connect_redis(settings) as client, redis_errors(settings):
        version = str(client.info("server")["redis_version"])
    if int(version.partition(".")[0]) < OLDEST_REDIS:
        raise Stop(
            f"Redis is version {version}, but {OLDEST_REDIS}.0 is needed: it counts the entries added to a stream"
        )
    with connect_postgres(settings, "start") as connection:
        missing = missing_migrations(connection)
        check_time_zone(connection, settings.time_zone)
    if missing:
        raise Stop(f"the database lacks the migration {missing[0]}: run `python -m worker migrate`")
