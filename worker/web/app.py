"""The routes. Each kind of answer has a module, which makes its routes out of what it needs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.types import ASGIApp

from worker.inspection.observe import Observer
from worker.settings import Settings
from worker.web.access import Access
from worker.web.api import api_routes
from worker.web.assets import asset_routes
from worker.web.headers import SecurityHeaders
from worker.web.health import health_routes
from worker.web.metrics import metrics_routes
from worker.web.ops import ops_routes
from worker.web.page import not_found, page_routes
from worker.web.problems import EXCEPTION_HANDLERS
from worker.web.readings import Readings


def create_app(settings: Settings, observer: Observer, access: Access, ops_observer: Observer) -> ASGIApp:
    """The ASGI application. No server is asked before somebody asks us."""
    readings = Readings(settings)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            readings.close()

    routes = [
        *metrics_routes(settings, observer),
        *health_routes(settings, observer),
        *api_routes(access, readings),
        *ops_routes(settings, access, ops_observer),
        *asset_routes(),
        *page_routes(settings, access, readings),
    ]
    app = Starlette(
        routes=routes, exception_handlers={**EXCEPTION_HANDLERS, HTTPStatus.NOT_FOUND: not_found}, lifespan=lifespan
    )
    # Else a slash too many leads, with a token and without TLS, to what `Host` says: behind a proxy, to our own name.
    app.router.redirect_slashes = False
    return SecurityHeaders(app)
