"""A real browser for the report: Debian's own chromium, driven by Playwright.

Every page opened here is watched: what it asks for, what its policy forbids and what it
says on the console are findings, and fail the test that opened it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request, Route, sync_playwright

from harness.report import html
from tests.browser.cards import CARDS

Opened = Callable[..., Page]
Report = Callable[[str], Path]
A4_WIDTH_PX = 703
"""186 mm at 96 px an inch: a page of A4 within the margins of the style sheet."""


def chromium() -> str:
    """Path of the browser; without one tests are skipped, except where CI promises it."""
    path = shutil.which("chromium")
    if path is None:
        why = "no chromium here; on Debian: apt-get install chromium fonts-noto-cjk"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    return path


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = chromium()
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The page of one of `CARDS`, written once."""
    folder = tmp_path_factory.mktemp("reports")

    def write(name: str) -> Path:
        path = folder / f"{name}.html"
        if not path.exists():
            path.write_text(html.render(CARDS[name]()), "utf-8")
        return path

    return write


@pytest.fixture
def opened(browser: Browser, report: Report) -> Iterator[Opened]:
    """Open a report: `opened(NAME, width=…, height=…, lang="ko", **context)`.

    Requests are counted in any case; a test that breaks the policy itself is not `watched`.
    """
    asked: list[str] = []
    said: list[str] = []
    contexts = []

    def watch(route: Route, request: Request) -> None:
        asked.append(request.url)
        if request.url.startswith("file:") and request.is_navigation_request():
            route.continue_()
        else:
            route.abort()

    def open_(
        name: str,
        *,
        width: int = 1280,
        height: int = 800,
        lang: str = "ko",
        watched: bool = True,
        **context: Any,
    ) -> Page:
        made = browser.new_context(viewport={"width": width, "height": height}, **context)
        contexts.append(made)
        made.route("**/*", watch)
        page = made.new_page()
        if watched:
            page.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
            page.on("pageerror", lambda error: said.append(f"error: {error}"))
            page.expose_function("forbidden", lambda found: said.append(found))  # noqa: PLW0108
            page.add_init_script(
                "addEventListener('securitypolicyviolation', (e) => "
                "forbidden(`policy: ${e.violatedDirective} ${e.blockedURI}`))"
            )
        page.goto(f"{report(name).as_uri()}#{lang}")
        return page

    yield open_
    count = len(contexts)
    for context in contexts:
        context.close()
    assert said == []
    assert len(asked) == count, asked
