"""`python -m worker web`: the HTTP server."""

import gc
import socket
import sys

import uvicorn

from worker.daily.visitors import merged
from worker.errors import Stop
from worker.inspection.observe import Observer
from worker.log import get_logger
from worker.settings import Settings
from worker.stop import StopSignal
from worker.token import signing_key
from worker.web.access import Access
from worker.web.app import create_app
from worker.web.protocol import LimitedProtocol

DRAIN_S = 3
"""Seconds that requests at work have when the server is told to stop."""

KEEP_ALIVE_S = 75
"""Seconds that a connection is kept for the next request: longer than a proxy keeps it, or the proxy sends a request
into a connection that is just being closed."""

SWITCH_S = 0.0005
"""Seconds that a thread, such as one that looks at all for the operator's page, may keep the event loop waiting for
Python. At the default, ten times as much, a busy one held up every other answer by tens of milliseconds."""

GARBAGE_OBJECTS = 20_000
"""Objects that may gather until those are looked for that refer to each other. A year of numbers makes thousands."""

log = get_logger(__name__)


def run_web(settings: Settings, host: str, port: int) -> int:
    """Answer until SIGTERM or SIGINT.

    Args:
        settings: where the servers are; they need not be there yet.
        host: address to listen on; `::` is every one of IPv6 and of IPv4.
        port: 0 is any that is free.

    Returns:
        The exit code, 0.

    Raises:
        Stop: the address is not to be had.
    """
    sys.setswitchinterval(SWITCH_S)
    StopSignal().install()  # uvicorn sends the signal that ended it once more, to whoever listened before
    try:
        signing_key(settings.secret)
    except Stop as error:
        log.warning("nobody gets in but to /metrics and /healthz", why=str(error))
    else:
        merged(())  # loads a library: whoever comes first should not wait for it, half a second on a small machine
    with (
        _listen(host, port) as listening,
        Observer(settings, "web") as observer,
        Access(settings) as access,
        Observer(settings, "ops") as ops_observer,  # its own: a page that is slow holds up neither of the others
    ):
        config = uvicorn.Config(
            create_app(settings, observer, access, ops_observer),
            access_log=False,
            http=LimitedProtocol,
            log_config=None,
            log_level="warning",
            lifespan="on",
            loop="uvloop",
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=DRAIN_S,
            timeout_keep_alive=KEEP_ALIVE_S,
            ws="none",
        )
        _collect_less_garbage()
        log.info("web started", host=host, port=listening.getsockname()[1])
        uvicorn.Server(config).run(sockets=[listening])
        log.info("web stopped")
    return 0


def _collect_less_garbage() -> None:
    """Leave what is there at the start, a hundred thousand objects, out of every collection: each took 30 ms in which
    nobody was answered. What a reading is made of refers to nothing that refers back, and goes without a collection.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GARBAGE_OBJECTS)


def _listen(host: str, port: int) -> socket.socket:
    try:
        if host == "::" and not socket.has_dualstack_ipv6():
            host = "0.0.0.0"
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, dualstack_ipv6=host == "::", backlog=128)
    except OSError as error:
        raise Stop(f"cannot listen on {host} port {port}: {error.strerror or error}; see --host and --port") from None
