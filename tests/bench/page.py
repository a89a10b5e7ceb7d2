"""What a specialist waits for: the first look at the page, in a browser that was never there."""

from contextlib import ExitStack, redirect_stdout
from io import StringIO

from playwright.sync_api import Browser, sync_playwright

from tests.bench.figures import Figure, Results, Say, Sheet, number
from tests.bench.freshness import percentile
from tests.bench.ground import Ground
from tests.browser.dataset import NINA
from tests.browser.stage import Stage, set_up
from tests.browser.visit import PAGE, log_in, visiting
from tests.chromium import find_chromium
from tests.debian import Unavailable

PAINT_MS = 300.0
LOADS, QUICK_LOADS = 40, 10

TIMES = """() => new Promise(seen => {
    const [load] = performance.getEntriesByType("navigation")
    new PerformanceObserver((list, observer) => {
        const paint = list.getEntriesByName("first-contentful-paint")[0]
        if (paint) observer.disconnect(), seen([paint.startTime, load.domComplete])
    }).observe({ type: "paint", buffered: true })
})"""


def page(ground: Ground, say: Say) -> Results:
    """The page of each period, each time by somebody who has nothing of it in a cache."""
    try:
        program = find_chromium()
    except Unavailable as reason:
        say(f"no page without Chromium: {reason}")
        return Results([])
    sheet = Sheet("First look at the page", ("period", "first paint: p50 ms", "p95 ms", "all there: p50 ms", "p95 ms"))
    with ExitStack() as stack:
        with redirect_stdout(StringIO()):  # what the worker's loop tells while it counts
            stage = stack.enter_context(set_up())
        browser = stack.enter_context(sync_playwright()).chromium.launch(executable_path=program)
        for period in ("week", "month", "year"):
            looks = [_look(browser, stage, period) for _ in range(QUICK_LOADS if ground.quick else LOADS)]
            paints, whole = (sorted(taken) for taken in zip(*looks, strict=True))
            cells = [percentile(taken, share) for taken in (paints, whole) for share in (50, 95)]
            sheet.rows.append((period, *map(number, cells)))
            if period == "month":
                beside = f"half of them within {number(cells[0])} ms"
                figure = Figure("first paint of a month's page, p95", cells[1], "ms", PAINT_MS, beside=beside)
    return Results([figure], [sheet])


def _look(browser: Browser, stage: Stage, period: str) -> tuple[float, float]:
    """Milliseconds until something is to be seen, and until all is there; from when the address was asked for."""
    with visiting(browser, stage) as visit:
        log_in(visit, NINA)
        visit.go(f"{PAGE}?period={period}")
        paint, complete = visit.page.evaluate(TIMES)
        return float(paint), float(complete)
