"""What is answered in place of the page when something is wrong, whatever it is."""

import asyncio
from http import HTTPStatus
from typing import cast

import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from tests.support import settings_for
from worker.errors import Retry, Stop
from worker.reading.period import NoPeriod
from worker.reading.read import NoSpecialist
from worker.token import Audience
from worker.web.access import Access
from worker.web.page import page_routes
from worker.web.readings import Readings


class Wrong:
    """An access at which something goes wrong."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def exchange(self, _: Request, __: Audience) -> Response | None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "status", "english", "russian"),
    [
        (HTTPException(401), 401, "come in through the site", "Войдите через сайт"),
        (HTTPException(429, headers={"Retry-After": "7"}), 429, "A little slower", "Чуть помедленнее"),
        (HTTPException(503, "a line for the API"), 503, "ANALYTICS_SECRET", "ANALYTICS_SECRET"),
        (NoPeriod("a line for the API"), 400, "no such period", "Такого периода нет"),
        (NoSpecialist("a line for the API"), 404, "not known here", "Такого профиля здесь нет"),
        (Retry("a line for the log"), 503, "database cannot be reached", "База данных не отвечает"),
        (Stop("a line for the log"), 503, "our mistake", "наша ошибка"),
        (RuntimeError("a line for the log"), 500, "our mistake", "наша ошибка"),
    ],
)
def test_every_error_is_a_page(error: Exception, status: int, english: str, russian: str) -> None:
    """It has its status, says in both languages what to do, and not a word of what is meant for the log or the API."""
    settings = settings_for("postgresql://nowhere/none", "redis://nowhere")
    [route] = page_routes(settings, cast(Access, Wrong(error)), cast(Readings, None))
    for language, words in (("en", english), ("ru", russian)):
        request = Request(
            {
                "type": "http",
                "method": "GET",
                "path": route.path,
                "query_string": b"token=abc&period=%3Cb%3E",
                "headers": [(b"accept-language", language.encode())],
            }
        )
        answer: Response = asyncio.run(route.endpoint(request))
        body = bytes(answer.body).decode().replace("\N{NO-BREAK SPACE}", " ")
        assert (answer.status_code, answer.headers["cache-control"]) == (HTTPStatus(status), "no-store")
        assert words in body
        assert f'<html lang="{language}">' in body
        assert not any(said in body for said in ("a line for", "Traceback", "<b>", "token="))
        assert ("retry-after" in answer.headers) == (status == 429 or isinstance(error, Retry))
