"""Language and theme of a page: what the browser says, until a person chooses. The choice is kept in a cookie.

A switch is a link with `?lang=` or `?theme=`: it sets the cookie and leads back to the same page, without JavaScript.
"""

from enum import StrEnum
from typing import NamedTuple, TypeVar

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from worker.web.address import here
from worker.web.words import Language

COOKIES = {"lang": "analytics_lang", "theme": "analytics_theme"}
"""By the parameter that changes it."""

REMEMBERED_S = 365 * 24 * 3600

MOST_LANGUAGES = 20
"""Languages of a header that are looked at: real ones name five."""

Choice = TypeVar("Choice", bound=StrEnum)


class Theme(StrEnum):
    """Light and dark."""

    AUTO = "auto"
    """As the device has it."""
    LIGHT = "light"
    DARK = "dark"


class Preferences(NamedTuple):
    """How a page looks to whoever asked for it."""

    language: Language
    theme: Theme


def preferences(request: Request) -> Preferences:
    """What was chosen, or else what the browser says."""
    accepted = request.headers.get("accept-language", "")
    return Preferences(
        _one_of(Language, request.cookies.get(COOKIES["lang"])) or accepted_language(accepted),
        _one_of(Theme, request.cookies.get(COOKIES["theme"])) or Theme.AUTO,
    )


def accepted_language(header: str) -> Language:
    """The language that is liked best of those there are, by `Accept-Language` (RFC 9110, 12.5.4).

    Args:
        header: whatever was sent: what cannot be read is passed over.
    """
    wanted = [part.strip().partition(";") for part in header.split(",")[:MOST_LANGUAGES]]
    ranked = sorted(wanted, key=lambda part: -_quality(part[2]))
    for tag, _, parameter in ranked:
        language = _one_of(Language, tag.strip().lower().partition("-")[0])
        if language and _quality(parameter) > 0:
            return language
    return Language.EN


def _quality(parameter: str) -> float:
    name, _, value = parameter.strip().partition("=")
    try:
        return float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return 0.0


def switched(request: Request) -> Response | None:
    """The answer to a link that changes language or theme; None if none was followed."""
    asked = [name for name in COOKIES if name in request.query_params]
    if not asked:
        return None
    answer = RedirectResponse(here(request, **dict.fromkeys(asked)), status_code=303)
    for name in asked:
        kinds: type[StrEnum] = Language if name == "lang" else Theme
        if choice := _one_of(kinds, request.query_params[name]):
            answer.set_cookie(
                COOKIES[name],
                choice,
                max_age=REMEMBERED_S,
                httponly=True,
                samesite="lax",
            )
    return answer


def _one_of(kinds: type[Choice], text: str | None) -> Choice | None:
    try:
        return kinds(text) if text is not None else None
    except ValueError:
        return None
