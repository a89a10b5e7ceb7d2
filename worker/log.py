"""Logs: one event name and key/values a line; JSON when nobody watches, readable on a terminal."""

import logging
import re
import sys

import structlog
from structlog.stdlib import BoundLogger
from structlog.typing import EventDict, Processor, WrappedLogger

_CREDENTIALS = re.compile(r"(?<=://)[^\s'\"]*@|(?<=password=)[^\s&'\"]+", re.IGNORECASE)


def hide_credentials(text: str) -> str:
    """The text without what stands between `://` and `@`, and after `password=`."""
    return _CREDENTIALS.sub("", text)


def _drop_credentials(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Last guard before a line is written: libraries put URLs into their own messages and tracebacks."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = hide_credentials(value)
    return event


def configure_logging(level: str = "INFO", *, json: bool | None = None) -> None:
    """Send structlog's and the standard library's lines (RQ's too) through one pipe to standard error.

    Args:
        level: lowest level that is shown.
        json: JSON lines; by default whenever standard error is not a terminal.
    """
    as_json = not sys.stderr.isatty() if json is None else json
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    # A traceback becomes plain text first: the pretty kind prints local variables, and those can hold a password.
    last: list[Processor] = [
        structlog.processors.format_exc_info,
        _drop_credentials,
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)


def get_logger(name: str) -> BoundLogger:
    """A logger whose lines carry `logger=name`."""
    return structlog.stdlib.get_logger(name)
