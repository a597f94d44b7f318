"""Comparisons in words: every state, both languages, hostile names, and GitHub's limit."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from harness.compare import Comparison, compare
from harness.comparing.noise import NO_FLOOR, Floor
from harness.gate import Rule, of_comparison
from harness.report import comparison as forms
from harness.report.words import Lang
from tests.compared import DECODE, TTFT, answers, model, one, side, spread

HOSTILE = "<script>alert(1)</script>|`x`\x1b[31m\u202e"


def made(ratio: float = 1.1, sd: float = 0.005, floor: Floor = NO_FLOOR) -> Comparison:
    a, b = (
        side(run, {"m": model({TTFT: spread(t, sd), DECODE: spread(50, sd)}, answers=found)})
        for run, t, found in (
            ("before", 0.5, {"ko-josa": answers("1" * 90 + "0" * 10)}),
            ("after", 0.5 * ratio, {"ko-josa": answers("1" * 50 + "0" * 50)}),
        )
    )
    return compare(a, b, floor)


def printed(page: forms.Page, *, terminal: bool = False, width: int = 120) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=terminal, _environ={"TERM": "xterm"})
    forms.show(page, console)
    return stream.getvalue()


def test_a_run_that_did_not_come_to_its_end_is_named() -> None:
    whole = made()
    cut = replace(whole, unfinished=("B",))
    note = "B did not come to its end: what it lacks was not compared."
    assert note in forms.comparison_page(cut, "en").notes
    assert note not in forms.comparison_page(whole, "en").notes


@pytest.mark.parametrize(
    ("lang", "head"),
    [
        ("en", "Regressed: 2 of 3 cases are worse."),
        ("ko", "나빠짐: 3개 조건 중 2개가 나빠졌습니다."),
    ],
)
def test_a_comparison_in_both_languages(lang: Lang, head: str) -> None:
    page = forms.comparison_page(made(), lang)
    assert page.headline == head
    assert page.table is not None
    assert page.table.states == ("regressed", "regressed", "unchanged"), "the worst first"
    for text in (printed(page), forms.markdown(page)):
        assert head in text
        assert "+10.0 %" in text
        assert "500 ms" in text
        assert "−40.0" in text
    points = "%p" if lang == "ko" else "points"
    assert points in printed(page)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (made(1.05, 0.1), "processes a side would decide"),
        (made(1.0, 0.005), "unchanged"),
        (made(floor=Floor(machine="x", runs=5, metrics={"ttft_s": 0.031})), "from 5 runs"),
        (
            compare(one("a", {TTFT: spread(1, 0.01)}), one("b", {DECODE: spread(1, 0.01)})),
            "missing",
        ),
    ],
)
def test_notes(changed: Comparison, said: str) -> None:
    assert said in " ".join(printed(forms.comparison_page(changed, "en")).split())


def test_incomparable_names_the_reasons_and_no_table() -> None:
    a = one("a", {TTFT: spread(1, 0.01)})
    page = forms.comparison_page(compare(a, replace(a, run="b", workload="x")), "ko")
    assert page.table is None
    assert page.lines[-1].startswith("다른 프로파일: ")


def rule(**changes: Any) -> Rule:
    return Rule(**({"model": "m", "id": "gate fast", "outcome": "passed"} | changes))


@pytest.mark.parametrize(
    ("rules", "strict", "head", "state"),
    [
        ([rule()], False, "Passed: all 1 rules hold.", "passed"),
        ([rule(), rule(outcome="inconclusive")], False, "Passed: none of 2", "passed"),
        ([rule(outcome="inconclusive")], True, "Failed: 1 rules cannot be decided", "failed"),
        ([rule(), rule(outcome="failed")], False, "Failed: 1 of 2 rules are broken.", "failed"),
        ([rule(), rule(outcome="failed", required=False)], False, "Passed: all 1", "passed"),
        ([rule(outcome="incomparable")], False, "Incomparable: ", "incomparable"),
    ],
)
def test_heads_of_a_gate(rules: list[Rule], strict: bool, head: str, state: str) -> None:
    page = forms.gate_page(rules, None, "en", fail_on_inconclusive=strict)
    assert page.headline.startswith(head)
    assert page.state == state
    assert "No baseline was named" in page.lines[0]


def test_gates_show_value_and_limit() -> None:
    found = rule(metric="ttft_s", value=3.5, limit=3.0, outcome="failed", reason="gate_failed")
    page = forms.gate_page([found], None, "en")
    assert page.table is not None
    assert page.table.rows[0][1:4] == ("Gate fast", "3.50 s (limit 3.00 s)", "failed")


def test_junit_outcomes() -> None:
    rules = [
        rule(id="a"),
        rule(id="b", outcome="failed", reason="timeout", detail="latency: x"),
        rule(id="c", outcome="inconclusive"),
        rule(id="d", outcome="incomparable", reason="other_build"),
        rule(id="e", outcome="failed", required=False),
    ]
    text = forms.junit_xml(rules, "harness", "en").decode()
    assert 'tests="5" failures="1" errors="1" skipped="2"' in text
    strict = forms.junit_xml(rules, "harness", "en", fail_on_inconclusive=True).decode()
    assert 'tests="5" failures="2" errors="1" skipped="1"' in strict
    case = forms.junit_xml(list(of_comparison(made())), "harness", "en").decode()
    assert '<property name="change" value="1.1" />' in case
    assert '<property name="unit" value="s" />' in case


def test_hostile_names_are_inert() -> None:
    a, b = (
        side(run, {HOSTILE: model({TTFT: spread(t, 0.01)})}, name=HOSTILE)
        for run, t in (("a", 0.5), ("b", 0.6))
    )
    found = compare(a, b)
    rules = list(of_comparison(found))
    page = forms.comparison_page(found, "en")
    gated = forms.gate_page(rules, found, "en")
    for shown in (page, gated):
        text = forms.markdown(shown)
        assert "<script>" not in text
        assert "`" not in text
        terminal = printed(shown, terminal=False)
        assert "\x1b" not in terminal
        assert "\u202e" not in terminal + text
    xml = forms.junit_xml(rules, HOSTILE, "en")
    assert b"<script>" not in xml
    assert b"\x1b" not in xml


@pytest.mark.parametrize("lang", ["ko", "en"])
@pytest.mark.parametrize("room", [400, 1000, 3000])
def test_a_summary_keeps_to_its_limit(lang: Lang, room: int) -> None:
    text = "".join(f"| 줄 {n} |\n" for n in range(1000))
    cut = forms.capped(text, room, lang)
    assert len(cut.encode()) <= room
    assert cut.startswith("| 줄 0 |\n")
    kept = cut.count("| 줄 ")
    assert str(1000 - kept) in cut
    assert forms.capped("short\n", room, lang) == "short\n"
    assert forms.capped(text, 60, lang) == ""  # no room for the line that says so


def test_json_is_plain_and_rounded() -> None:
    found = forms.as_json(made(), list(of_comparison(made())))
    assert set(found) == {"comparison", "rules"}
    changes = {case["metric"]: case["change"] for case in found["comparison"]["cases"]}
    assert changes == {"accuracy_raw": -0.4, "decode_tok_per_s": 1.0, "ttft_s": 1.1}
    assert {rule["case"]["metric"] for rule in found["rules"] if "case" in rule} == set(changes)
    assert forms.as_json(None, [])["comparison"] is None


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("lang", ["en", "ko"])
def test_every_width_tells_which_figure_is_worse_by_how_much(width: int, lang: Lang) -> None:
    page = forms.comparison_page(made(), lang)
    text = "".join(printed(page, width=width).split())
    assert page.table is not None
    for row in page.table.rows:
        for cell in row:
            assert "".join(cell.split()) in text, cell
