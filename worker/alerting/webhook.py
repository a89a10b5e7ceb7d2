"""One POST to where alerts are told."""

import json
from collections.abc import Mapping
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from worker.errors import Retry

TIMEOUT_S = 5.0


class _NoRedirect(HTTPRedirectHandler):
    """A redirect is an error: the message and the URL's token are for one receiver."""

    def redirect_request(self, *_: object) -> None:
        return None


_opener = build_opener(_NoRedirect)


def post(url: str, message: Mapping[str, Any]) -> None:
    """Deliver a message as JSON.

    Raises:
        Retry: it was not taken. The line does not repeat the URL, which can hold a token.
    """
    headers = {"Content-Type": "application/json", "User-Agent": "specialist-analytics-worker"}
    try:
        with _opener.open(Request(url, json.dumps(message).encode(), headers), timeout=TIMEOUT_S):
            return
    except HTTPError as error:
        error.close()
        raise Retry(f"the receiver of alerts answers {error.code}") from None
    except (OSError, HTTPException, ValueError) as error:
        raise Retry(f"the receiver of alerts cannot be reached: {type(error).__name__}") from None
