"""A person at the browser: a window with one's own language, theme and size, and a look at all that goes on in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal
from urllib.parse import urlsplit

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, ViewportSize

from tests.browser.stage import Stage
from tests.serving import BROWSER
from tests.support import TOP
from worker.token import Audience, sign

PAGE, OPS = "/profile/analytics", "/ops"

SCREENSHOTS = TOP / ".cache/screenshots"

Size = Literal["small phone", "phone", "tablet", "laptop", "wide"]

SIZES: dict[Size, ViewportSize] = {
    "small phone": {"width": 320, "height": 640},
    "phone": {"width": 360, "height": 740},
    "tablet": {"width": 820, "height": 1180},
    "laptop": {"width": 1280, "height": 800},
    "wide": {"width": 1920, "height": 1080},
}


@dataclass
class Visit:
    """A window, and what nobody should find in it."""

    stage: Stage
    context: BrowserContext
    page: Page
    expected: tuple[str, ...] = ()
    """What the console may complain of, such as the 401 that a test asks for."""
    _problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Watch it."""
        self.context.on("request", self._requested)
        self.context.on("console", self._said)
        self.context.on("weberror", lambda error: self._problems.append(f"error: {error.error}"))

    def go(self, path: str) -> int:
        """Open an address of the web process; the status of the answer."""
        answer = self.page.goto(self.stage.address + path)
        assert answer is not None
        return answer.status

    def picture(self, name: str) -> None:
        """Keep what is to be seen, from top to bottom."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)

    def problems(self) -> list[str]:
        """Requests to others, errors of scripts, and whatever the browser itself complained of."""
        return [problem for problem in self._problems if not any(text in problem for text in self.expected)]

    def barriers(self) -> list[str]:
        """What axe finds: things that people with a disability, or some of them, cannot use."""
        self.page.evaluate(AXE_SCRIPT)
        found: list[dict[str, Any]] = self.page.evaluate(
            "axe.run(document, {preload: false, resultTypes: ['violations']}).then(found => found.violations)"
        )
        return [f"{each['id']}: {each['help']}: {[node['html'] for node in each['nodes']]}" for each in found]

    def scrolls_sideways(self) -> list[str]:
        """The outermost elements that reach beyond the right edge of the window."""
        found: list[str] = self.page.evaluate(
            """() => {
                const width = document.documentElement.clientWidth
                if (document.documentElement.scrollWidth <= width) return []
                return [...document.body.querySelectorAll('*')]
                    .filter(e => e.getBoundingClientRect().right > width + 0.5)
                    .map(e => `${Math.round(e.getBoundingClientRect().right)} > ${width}: ${e.outerHTML.slice(0, 200)}`)
            }"""
        )
        return found

    def _requested(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme != "data" and f"{parts.scheme}://{parts.netloc}" != self.stage.address:
            self._problems.append(f"request: {request.url}")

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._problems.append(f"console: {message.text}")


@contextmanager
def visiting(
    browser: Browser,
    stage: Stage,
    *,
    size: Size = "laptop",
    dark: bool = False,
    language: str = "ru-RU",
    javascript: bool = True,
    expected: tuple[str, ...] = (),
) -> Iterator[Visit]:
    """A new window of somebody who was never here. At its end nothing may have gone wrong in it."""
    context = browser.new_context(
        viewport=SIZES[size],
        color_scheme="dark" if dark else "light",
        locale=language,
        user_agent=BROWSER,
        timezone_id="Pacific/Auckland",  # another one than the site's: days are the site's, wherever somebody looks
        java_script_enabled=javascript,
        is_mobile="phone" in size,
        has_touch="phone" in size,
    )
    context.set_default_timeout(10_000)
    try:
        visit = Visit(stage, context, context.new_page(), expected)
        yield visit
        assert not visit.problems(), visit.problems()
    finally:
        context.close()


def token(
    stage: Stage,
    subject: str,
    audience: Audience = Audience.SPECIALIST,
    hours: float = 1.0,
    *,
    link: bool = False,
) -> str:
    """One that is good for as long, or was until so long ago."""
    assert stage.settings.secret is not None
    key = stage.settings.secret.get_secret_value()
    return sign(key, subject, audience=audience, lifetime=timedelta(hours=hours), link=link)


def log_in(visit: Visit, subject: str, audience: Audience = Audience.SPECIALIST) -> None:
    """As the site does for its users: a token in a cookie."""
    keep(visit, token(visit.stage, subject, audience), audience)


def keep(visit: Visit, value: str, audience: Audience = Audience.SPECIALIST) -> None:
    """Have a value in the cookie where a token belongs."""
    name, path = ("analytics_token", "/") if audience is Audience.SPECIALIST else ("analytics_ops", OPS)
    visit.context.add_cookies(
        [{"name": name, "value": value, "domain": "127.0.0.1", "path": path, "httpOnly": True, "sameSite": "Lax"}]
    )
