"""What watches the pages notices what it is there for."""

from __future__ import annotations

import pytest

from tests.browser.conftest import Opened, chromium


def test_without_a_browser_tests_are_skipped_and_ci_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install chromium"):
        chromium()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install chromium"):
        chromium()


def test_the_policy_stops_a_script_that_is_not_the_pages_own(opened: Opened) -> None:
    page = opened("none", watched=False)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.evaluate(
        """() => {
          const script = document.createElement('script');
          script.textContent = 'window.injected = true';
          document.body.append(script);
        }"""
    )
    assert page.evaluate("window.injected") is None
    assert any("Content Security Policy" in text for text in said)


def test_the_policy_stops_requests(opened: Opened) -> None:
    page = opened("none", watched=False)
    failed = page.evaluate(
        "fetch('https://example.invalid/').then(() => 'sent', error => error.name)"
    )
    assert failed == "TypeError"
