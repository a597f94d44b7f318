"""The screenshots of docs/walk.md, taken of a made-up run.

`python -m tests.browser.screenshots` takes them again after a deliberate change; look at
them before they are committed.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

from playwright.sync_api import Browser, sync_playwright

from harness.report import html
from tests.browser.conftest import A4_WIDTH_PX
from tests.report import sample

FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"
A4_HEIGHT_PX = 1017
"""269 mm at 96 px an inch: the height of A4 within the margins."""


class Shot(NamedTuple):
    """The first `height` pixels of the page or of one of its sections."""

    name: str
    width: int
    height: int
    lang: str = "ko"
    theme: str = "light"
    section: str = ""
    paper: bool = False


SHOTS = (
    Shot("walk-1280-ko", 1280, 800),
    Shot("walk-1280-en", 1280, 800, lang="en"),
    Shot("walk-360-ko", 360, 1500),
    Shot("walk-print-ko", A4_WIDTH_PX, A4_HEIGHT_PX, paper=True),
    Shot("advice-1280-ko", 1280, 800, section="advice"),
    Shot("advice-1280-en", 1280, 800, lang="en", section="advice"),
    Shot("charts-1280-en-dark", 1280, 800, lang="en", theme="dark", section="charts"),
)


def take(browser: Browser, page_url: str, shot: Shot) -> None:
    context = browser.new_context(
        viewport={"width": shot.width, "height": shot.height}, color_scheme=shot.theme
    )
    page = context.new_page()
    if shot.paper:
        page.emulate_media(media="print")
    page.goto(f"{page_url}#{shot.lang}")
    path = FOLDER / f"{shot.name}.png"
    if shot.section:
        box = page.locator(f"#{shot.section}").bounding_box()
        assert box
        page.screenshot(
            path=path, full_page=True, clip={**box, "height": min(box["height"], shot.height)}
        )
    else:
        page.screenshot(path=path)
    context.close()


def main() -> None:
    path = shutil.which("chromium")
    assert path, "apt-get install chromium fonts-noto-cjk"
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        report = Path(folder) / "report.html"
        report.write_text(html.render(sample.laptop()), "utf-8")
        browser = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for shot in SHOTS:
            take(browser, report.as_uri(), shot)
        browser.close()


if __name__ == "__main__":
    main()
