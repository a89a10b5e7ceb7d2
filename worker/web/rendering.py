"""From a template to an answer: every page of ours is made here, in the language and the theme of whoever asked."""

from collections.abc import Mapping
from functools import partial

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from worker.web.address import here
from worker.web.assets import assets
from worker.web.preferences import Theme, preferences
from worker.web.words import Language, Words

WORDS = {language: Words(language) for language in Language}

_templates = Environment(
    loader=PackageLoader("worker.web"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.globals |= {"themes": list(Theme)}
for _name in _templates.list_templates():
    _templates.get_template(_name)  # is compiled now, so that nobody waits for it later


def render(
    request: Request,
    template: str,
    context: Mapping[str, object],
    status_code: int = 200,
    headers: Mapping[str, str] | None = None,
    *,
    language: Language | None = None,
) -> Response:
    """A page.

    A `language` is for a page that speaks no other one.

    Beside the context a template has `t` (texts, numbers and dates in its language, see `Words`), `theme`, `asset` (the
    address of a file) and `here` (the address of this page with other parameters).
    """
    wanted, theme = preferences(request)
    languages, language = ((), language) if language else (Language, wanted)
    return HTMLResponse(
        _templates.get_template(template).render(
            context,
            t=WORDS[language],
            languages=list(languages),
            theme=theme,
            asset=_address,
            here=partial(here, request),
        ),
        status_code,
        {"Cache-Control": "no-store", "Content-Language": language, **(headers or {})},
    )


def _address(name: str) -> str:
    return assets()[name].address
