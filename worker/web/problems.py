"""What an error means over HTTP: a status, and as much as somebody outside may know."""

from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ExceptionHandler

from worker.errors import AnalyticsError, Retry
from worker.reading.period import NoPeriod
from worker.reading.read import NoSpecialist

RETRY_S = 5
"""Seconds after which to ask again when a server was away: counting is back as fast after an outage."""


class Problem(NamedTuple):
    """What is said of an error."""

    status: HTTPStatus
    detail: str | None = None
    """A line for whoever asked; None: the status says enough."""
    headers: Mapping[str, str] = MappingProxyType({})


def problem_of(error: Exception) -> Problem:
    """What is said of an error. Of one of ours or of a server no word goes out: the log has them."""
    if isinstance(error, HTTPException):
        status = HTTPStatus(error.status_code)
        return Problem(status, error.detail if error.detail != status.phrase else None, error.headers or {})
    if isinstance(error, NoPeriod):
        return Problem(HTTPStatus.BAD_REQUEST, str(error))
    if isinstance(error, NoSpecialist):
        return Problem(HTTPStatus.NOT_FOUND, "there is no such specialist")
    if isinstance(error, Retry):
        return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "the numbers cannot be read now", {"Retry-After": str(RETRY_S)})
    if isinstance(error, AnalyticsError):
        return Problem(HTTPStatus.SERVICE_UNAVAILABLE, "the numbers cannot be read: the service's log says why")
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR)


class ProblemDetails(BaseModel):
    """What went wrong (RFC 9457). The status says what kind it is, so the type is left at `about:blank`."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    title: str
    """The name of the status."""
    status: int
    """That of the answer."""
    detail: str | None = None
    """What to do about it, where there is more to say."""


def problem_response(problem: Problem) -> Response:
    """The answer of an API."""
    details = ProblemDetails(title=problem.status.phrase, status=problem.status, detail=problem.detail)
    body = details.model_dump_json(exclude_none=True)
    return Response(body, problem.status, problem.headers, "application/problem+json")


def is_api(request: Request) -> bool:
    """Whether the API was asked."""
    path = request.url.path
    return path == "/api" or path.startswith("/api/")


async def answer(request: Request, error: Exception) -> Response:
    """What is told of an error of which no page has made a page: problem details by the API, and elsewhere a line."""
    problem = problem_of(error)
    if is_api(request):
        return problem_response(problem)
    line = f"{problem.status.value} {problem.status.phrase}{f': {problem.detail}' if problem.detail else ''}\n"
    return PlainTextResponse(line, problem.status, problem.headers)


EXCEPTION_HANDLERS: Mapping[type[Exception], ExceptionHandler] = MappingProxyType(
    {HTTPException: answer, AnalyticsError: answer, Exception: answer}
)
