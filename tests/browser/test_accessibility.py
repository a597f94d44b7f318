"""axe finds nothing serious, in either language and either theme.

The page's policy forbids scripts that are not its own, so only here the browser lets one in.
"""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browser.conftest import Opened

GRAVE = {"serious", "critical"}


@pytest.mark.parametrize(
    ("name", "theme", "lang"),
    [
        *(("laptop", theme, lang) for theme in ("light", "dark") for lang in ("ko", "en")),
        ("mixed", "dark", "ko"),
        ("failed", "light", "en"),
    ],
)
def test_no_serious_violation(opened: Opened, name: str, theme: str, lang: str) -> None:
    page = opened(name, lang=lang, color_scheme=theme, bypass_csp=True)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    found = Axe().run(page).response["violations"]
    grave = [
        (one["id"], one["nodes"][0]["html"][:160], one["nodes"][0].get("failureSummary"))
        for one in found
        if one["impact"] in GRAVE
    ]
    assert grave == []


def test_axe_would_have_found_one(opened: Opened) -> None:
    page = opened("none", bypass_csp=True)
    page.evaluate("document.querySelector('.switch button').setAttribute('style', 'color: #eee')")
    page.evaluate("document.querySelector('h1').innerHTML = '<a href=\"#\"></a>'")
    found = {one["id"] for one in Axe().run(page).response["violations"]}
    assert {"link-name"} <= found
