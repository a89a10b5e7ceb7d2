"""`/profile/analytics`: a specialist's own numbers as a page; and where nothing is, a page that leads there.

It is whole without JavaScript; with it the trend is drawn. The token of the link that somebody came by is exchanged for
a cookie, and sees an address without it.
"""

from datetime import UTC, date, datetime
from http import HTTPStatus

from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from worker.days import local_date
from worker.errors import AnalyticsError, Retry
from worker.log import get_logger
from worker.reading.period import Asked, NoPeriod, PeriodName
from worker.reading.shape import Reading, Trend
from worker.settings import Settings
from worker.token import PAGES, Audience
from worker.web.access import Access
from worker.web.page_view import page_view
from worker.web.preferences import preferences, switched
from worker.web.problems import answer, is_api, problem_of
from worker.web.readings import Readings
from worker.web.rendering import WORDS, render

PATH = PAGES[Audience.SPECIALIST]

log = get_logger(__name__)


def page_routes(settings: Settings, access: Access, readings: Readings) -> list[Route]:
    """The routes of the page, and from where the server alone is named to it."""

    async def page(request: Request) -> Response:
        try:
            exchanged = await access.exchange(request, Audience.SPECIALIST)
            return exchanged or switched(request) or await _page(request, access, readings)
        except (HTTPException, AnalyticsError) as error:
            return _problem(request, error, settings)
        except Exception as error:  # one of ours that nobody thought of: it is told in the log, and a page is a page
            log.exception("page failed")
            return _problem(request, error, settings)

    async def root(_: Request) -> Response:
        return RedirectResponse(PATH)

    compressed = [Middleware(GZipMiddleware)]
    return [Route("/", root), *(Route(path, page, middleware=compressed) for path in (PATH, f"{PATH}/"))]


async def not_found(request: Request, error: Exception) -> Response:
    """What is told of an address where nothing is: to a browser on a page, to others as whatever else goes wrong."""
    if is_api(request) or "text/html" not in request.headers.get("accept", ""):
        return await answer(request, error)
    context = {"periods": [], "status": HTTPStatus.NOT_FOUND.value, "why": "no_page", "action": PATH}
    return switched(request) or render(request, "problem.html", context, HTTPStatus.NOT_FOUND)


async def _page(request: Request, access: Access, readings: Readings) -> Response:
    specialist = access.cookie(request, Audience.SPECIALIST).subject
    asked = readings.asked(*(request.query_params.get(name) or None for name in ("period", "from", "to")))
    reading = await readings.read(specialist, asked)
    view = page_view(
        reading,
        await _before(reading, asked, readings),
        WORDS[preferences(request).language],
        datetime.now(UTC),
    )
    period = reading.period
    return render(
        request,
        "page.html",
        {
            **_switch(asked.today.isoformat(), period.name, period.first.isoformat(), period.last.isoformat()),
            "specialist": specialist,
            "view": view,
        },
    )


async def _before(reading: Reading, asked: Asked, readings: Readings) -> Trend | None:
    """The trend of the period before, if its days can stand below those of this one, and anything was counted on them.

    Weeks and months are the calendar's: those of two periods begin on other days, and are not alike.
    """
    before = reading.period.before
    if before is None or reading.trend.step != "day":
        return None
    trend = (await readings.read(reading.specialist, Asked(None, before.first, before.last, asked.today))).trend
    return trend if any(point.profile_views is not None for point in trend.points) else None


def _problem(request: Request, error: Exception, settings: Settings) -> Response:
    """A page that says what is wrong, and what to do; of a period the switch is there for another one."""
    problem = problem_of(error)
    today = local_date(datetime.now(UTC), settings.time_zone).isoformat()
    given = [_date(request.query_params.get(name)) for name in ("from", "to")]
    no_period = error if isinstance(error, NoPeriod) else None
    switch = _switch(today, None, *given) if no_period else {"periods": []}
    return render(
        request,
        "problem.html",
        {**switch, "status": problem.status.value, "why": _why(error, problem.status), "no_period": no_period},
        problem.status,
        problem.headers,
    )


def _date(text: str | None) -> str | None:
    """What was given, if a field for dates can show it."""
    try:
        return date.fromisoformat(text or "").isoformat()
    except ValueError:
        return None


def _why(error: Exception, status: HTTPStatus) -> str:
    """Which texts tell it."""
    known = {400: "period", 401: "sign_in", 404: "no_profile", 429: "too_many"}
    if isinstance(error, Retry):
        return "away"
    if isinstance(error, HTTPException) and status == HTTPStatus.SERVICE_UNAVAILABLE:
        return "secret"
    return known.get(status, "failed")


def _switch(today: str, chosen: PeriodName | None, first: str | None, last: str | None) -> dict[str, object]:
    """What the switch of periods shows."""
    return {
        "periods": list(PeriodName),
        "chosen": chosen,
        "first": first,
        "last": last,
        "today": today,
        "action": PATH,
    }
