"""The routes. Each kind of answer has a module, which makes its routes out of what it needs."""

from starlette.applications import Starlette

from worker.inspection.observe import Observer
from worker.settings import Settings
from worker.web.health import health_routes
from worker.web.metrics import metrics_routes


def create_app(settings: Settings, observer: Observer) -> Starlette:
    """The ASGI application. No server is asked before somebody asks us."""
    return Starlette(routes=[*metrics_routes(settings, observer), *health_routes(settings, observer)])
