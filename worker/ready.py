"""What must be true before a process of ours starts: what the doctor would call an error keeps it from starting."""

from worker.doctor.check import Level
from worker.doctor.examination import examine_start
from worker.errors import Stop
from worker.log import get_logger
from worker.settings import Settings

log = get_logger(__name__)


def check_ready(settings: Settings) -> None:
    """Find out now, in one line, what would otherwise fail again and again in a log, or lose events in silence.

    Raises:
        Stop: a URL, password or migration is missing or wrong, or Redis may evict the stream.
        Retry: a server is away.
    """
    checks = examine_start(settings)
    for check in checks:
        if check.level is Level.ERROR:
            raise Stop(f"{check.name}: {check.found}; {check.advice}")
    for check in checks:
        if check.level is Level.WARNING:
            log.warning("found at the start", check=check.name, found=check.found, advice=check.advice)
