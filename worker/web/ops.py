"""`/ops`: the operator's page, and what can be done there. It does nothing that the command line does otherwise."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from http import HTTPStatus

from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from jobs.queue import enqueue_run
from worker.errors import AnalyticsError
from worker.inspection.observe import Observer
from worker.log import get_logger
from worker.operations.replay import REQUEUE, RequeueArguments
from worker.operations.runs import Run, load_run, open_run, stop_run
from worker.settings import Settings
from worker.stream import redis_errors
from worker.token import PAGES, Audience
from worker.web.access import Access
from worker.web.ops_looks import Looks
from worker.web.ops_view import run_in_words, view
from worker.web.preferences import switched
from worker.web.problems import RETRY_S
from worker.web.rendering import render
from worker.web.words import Language

PATH = PAGES[Audience.OPERATOR]

LONGEST_NUMBER = 19
"""Digits of a number that PostgreSQL may not take for a bigint."""

REFERRER = {"Referrer-Policy": "same-origin"}
"""With `no-referrer` browsers send forms with `Origin: null`, which tells nothing about where they are from."""

log = get_logger(__name__)


def ops_routes(settings: Settings, access: Access, observer: Observer) -> list[Route]:
    """The routes of `/ops`.

    Args:
        settings: where the servers are.
        access: says who asks.
        observer: for this page alone.
    """
    page = OpsPage(settings, access, observer)
    compressed = [Middleware(GZipMiddleware)]
    return [
        *(Route(path, page.show, middleware=compressed) for path in (PATH, f"{PATH}/")),
        Route(f"{PATH}/live", page.show_live, middleware=compressed),
        Route(f"{PATH}/dead-letters/{{letter}}/requeue", page.requeue_letter, methods=["POST"]),
        Route(f"{PATH}/reasons/{{reason}}/requeue", page.requeue_reason, methods=["POST"]),
        Route(f"{PATH}/runs/{{run}}/stop", page.stop, methods=["POST"]),
    ]


class OpsPage:
    """The page of one web process."""

    def __init__(self, settings: Settings, access: Access, observer: Observer) -> None:
        """Nothing is asked yet."""
        self._settings = settings
        self._access = access
        self._observer = observer
        self._looks = Looks(settings, observer)

    async def show(self, request: Request) -> Response:
        """The whole page, as it is now; `?run=` says of a run what became of it."""
        try:
            if answer := await self._access.exchange(request, Audience.OPERATOR) or switched(request):
                return answer
            self._access.cookie(request, Audience.OPERATOR)
        except (HTTPException, AnalyticsError) as error:
            return _refused(request, error)
        return await self._render(request, "ops.html")

    async def show_live(self, request: Request) -> Response:
        """What of the page changes, for its script."""
        self._access.cookie(request, Audience.OPERATOR)
        return await self._render(request, "ops_live.html")

    async def requeue_letter(self, request: Request) -> Response:
        """Send one dead letter again."""
        return await self._requeue(request, {"letter": request.path_params["letter"]})

    async def requeue_reason(self, request: Request) -> Response:
        """Send all dead letters of a reason again."""
        return await self._requeue(request, {"reason": request.path_params["reason"]})

    async def stop(self, request: Request) -> Response:
        """Stop a run between two of its steps."""

        def stop(operator: str) -> int:
            run = self._find_run(request.path_params["run"])
            if run is None:
                raise HTTPException(HTTPStatus.NOT_FOUND, "there is no such run")
            self._observer.postgres.ask(partial(stop_run, run_id=run.id, operator=operator))
            return run.id

        return await self._act(request, stop)

    async def _requeue(self, request: Request, arguments: Mapping[str, object]) -> Response:
        def requeue(operator: str) -> int:
            try:
                wanted = RequeueArguments.model_validate(arguments)
            except ValidationError:
                raise HTTPException(HTTPStatus.NOT_FOUND, "there are no such dead letters") from None
            run = self._observer.postgres.ask(lambda connection: open_run(connection, REQUEUE, wanted, operator)).run
            self._enqueue(run)
            return run.id

        return await self._act(request, requeue)

    def _enqueue(self, run: Run) -> None:
        """Give it its turn. While Redis is away it waits: the scheduler finds it."""
        try:
            with redis_errors(self._settings):
                self._observer.redis.ask(lambda client: enqueue_run(client, run.id, run.attempt))
        except AnalyticsError as error:
            log.warning("run has to wait", run=run.id, why=str(error))

    async def _act(self, request: Request, action: Callable[[str], int]) -> Response:
        """Do what a form asks for, and go back to the page, which tells what became of it.

        Args:
            request: from a page of ours, or nothing is done.
            action: gets the name of whoever asks, and returns the number of the run.
        """
        try:
            claims = self._access.cookie(request, Audience.OPERATOR)
            if not is_from_here(request.headers):
                raise HTTPException(HTTPStatus.FORBIDDEN, "only the page itself can ask for this")
            run = await run_in_threadpool(action, f"{claims.subject}, on {PATH}")
        except (HTTPException, AnalyticsError) as error:
            return _refused(request, error)
        log.info("asked for on the operator's page", run=run, path=request.url.path, by=claims.subject)
        self._looks.forget()
        return RedirectResponse(f"{PATH}?run={run}", HTTPStatus.SEE_OTHER)

    async def _render(self, request: Request, template: str) -> Response:
        look = await self._looks.latest()
        run = None
        with suppress(AnalyticsError):  # the page says that the server is away
            run = await run_in_threadpool(self._find_run, request.query_params.get("run", ""))
        ops = view(look, self._settings.time_zone, self._settings.stream_keys)
        context = {
            "ops": ops,
            "said": run and run_in_words(run),
            "query": f"?run={run.id}" if run else "",
        }
        status, headers = HTTPStatus.OK, dict(REFERRER)
        if ops.knows_nothing:
            status, headers["Retry-After"] = HTTPStatus.SERVICE_UNAVAILABLE, str(RETRY_S)
        return render(request, template, context, status, headers, language=Language.EN)

    def _find_run(self, number: str) -> Run | None:
        if not (number.isascii() and number.isdecimal() and len(number) < LONGEST_NUMBER):
            return None
        return self._observer.postgres.ask(partial(load_run, run_id=int(number)))


def is_from_here(headers: Mapping[str, str]) -> bool:
    """Whether a request comes from a page of ours: browsers say so, and no page can say it for them.

    `Sec-Fetch-Site` is not sent where the connection is not encrypted; `Origin` is, with every form.
    """
    if site := headers.get("sec-fetch-site"):
        return site == "same-origin"
    _, scheme_ends, host = headers.get("origin", "").partition("://")
    return bool(scheme_ends) and host == headers.get("host")


def _refused(request: Request, error: HTTPException | AnalyticsError) -> Response:
    """A page that says why there is none.

    After a link on another page, or a redirect that began there, a browser holds back the cookie. So it is asked
    to come once more, now from a page of ours.
    """
    if isinstance(error, HTTPException):
        status, headers, detail = HTTPStatus(error.status_code), dict(error.headers or {}), error.detail
    else:
        status, headers, detail = HTTPStatus.SERVICE_UNAVAILABLE, {"Retry-After": str(RETRY_S)}, str(error)
    came_from_elsewhere = request.headers.get("sec-fetch-site") in ("cross-site", "same-site")
    context = {
        "status": status,
        "detail": "" if detail == status.phrase else detail,
        "once_more": status == HTTPStatus.UNAUTHORIZED and request.method == "GET" and came_from_elsewhere,
        "path": PATH,
    }
    return render(request, "ops_refused.html", context, status, {**headers, **REFERRER}, language=Language.EN)
