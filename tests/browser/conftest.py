"""One browser and one stage for all tests of this folder, and a new window for each."""

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.stage import Stage, set_up
from tests.chromium import find_chromium
from tests.debian import Unavailable


# Ended with this folder: as long as Playwright runs, no other test of the same process could use asyncio.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    try:
        program = find_chromium()
    except Unavailable as reason:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no Chromium: {reason}")
    nowhere_else = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=program, args=[nowhere_else]) as running,
    ):
        yield running


@pytest.fixture(scope="package")
def stage(browser: Browser) -> Iterator[Stage]:
    with set_up() as running:
        yield running
