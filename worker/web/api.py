"""The API: a specialist's numbers as JSON, and the document that describes it."""

import json
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker.web.access import Access
from worker.web.openapi import openapi
from worker.web.readings import Readings

ANALYTICS = "/api/specialists/{id}/analytics"

PARAMETERS = ("period", "from", "to")

CACHE = {"Cache-Control": "private, max-age=5", "Vary": "Authorization, Cookie"}
"""Whoever asks again within these seconds has seen as much; later the ETag says whether it is still that."""


def api_routes(access: Access, readings: Readings) -> list[Route]:
    """The routes below `/api`."""

    async def analytics(request: Request) -> Response:
        specialist = request.path_params["id"]
        if access.specialist(request).subject != specialist:
            raise HTTPException(HTTPStatus.FORBIDDEN)
        found = await readings.finish(specialist, readings.asked(*_period(request)))
        headers = CACHE | {"ETag": found.etag}
        if _matches(request, found.etag):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return Response(found.body, headers=headers, media_type="application/json")

    document = json.dumps(openapi(ANALYTICS))

    async def openapi_json(_: Request) -> Response:
        return Response(document, media_type="application/json", headers={"Cache-Control": "public, max-age=300"})

    return [Route(ANALYTICS, analytics), Route("/api/openapi.json", openapi_json)]


def _period(request: Request) -> list[str | None]:
    """What the three parameters say, each at most once, and no other: one mistyped would be another period."""
    given = request.query_params.multi_items()
    for name, _ in given:
        if name not in PARAMETERS:
            which = f"{name[:40]!r} is no parameter: there are {', '.join(PARAMETERS)}"
            raise HTTPException(HTTPStatus.BAD_REQUEST, which)
    values = dict(given)
    if len(values) < len(given):
        twice = next(name for name in values if len(request.query_params.getlist(name)) > 1)
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"{twice} is given twice")
    return [values.get(name) for name in PARAMETERS]


def _matches(request: Request, etag: str) -> bool:
    """Whether the client has this already (RFC 9110, section 13.1.2: compared weakly)."""
    if "if-none-match" not in request.headers:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in ",".join(request.headers.getlist("if-none-match")).split(",")]
    return etag in tags or "*" in tags
