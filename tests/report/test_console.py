from __future__ import annotations

import re

import pytest
from rich.cells import cell_len

from harness.report import console
from tests.report import sample
from tests.report.snapshots import golden, printed


@pytest.mark.parametrize("lang", ["en", "ko"])
@pytest.mark.parametrize("make", [sample.laptop, sample.hostile, golden])
def test_fits_100_columns(make, lang) -> None:
    assert max(map(cell_len, printed(make(), lang=lang).splitlines())) <= 100


def test_says_who_leads_why_it_is_a_tie_and_what_to_do_next() -> None:
    text = printed(sample.laptop())
    assert text.startswith("Joint first: hanul-2.1b.q4_k_m.gguf, mirae-2.0b.q4_k_m.gguf")
    assert "[unverified]" in text
    assert "1= hanul-2.1b.q4_k_m.gguf" in text
    assert "the order inside a tie is not a ranking" in " ".join(text.split())
    assert "sol-360m.q8_0.gguf: at chance: not better than guessing" in text
    assert "→ harness models pull byeol-2.4b.q4_k_m.gguf" in text
    assert "few repetitions: 2 processes of 5 requests" in text
    assert "memory#0: out of memory" in text
    assert "findings on models: 2 (models: 1); see the report" in text
    assert text.rstrip().endswith("report.html")


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_findings_on_models_take_one_line_of_80_columns(lang) -> None:
    card = sample.laptop()
    for entry in card["entries"]:
        entry["findings"] = [{"code": "throttled", "severity": "invalid", "detail": "x"}] * 101
    lines = printed(card, lang=lang).splitlines()
    (line,) = [line for line in lines if "505" in line]
    assert cell_len(line) <= 80


def test_no_color_leaves_no_colour() -> None:
    coloured = printed(sample.laptop(), terminal=True)
    plain = printed(sample.laptop(), terminal=True, environ={"TERM": "xterm", "NO_COLOR": "1"})
    colour = re.compile(r"\x1b\[[0-9;]*3[0-7][0-9;]*m")
    assert colour.search(coloured)
    assert not colour.search(plain)


def test_hostile_strings_are_shown_and_not_obeyed() -> None:
    text = printed(sample.hostile())
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
    assert "\\x1b[31mred" in text
    assert "[bold red]markup[/bold red]" in text.replace("\n", "")


def test_rendering_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    console.render(sample.laptop())
    assert capsys.readouterr() == ("", "")


def test_without_any_model() -> None:
    assert "No ranking: no model has a score" in printed(sample.card([]))


@pytest.mark.parametrize("columns", [40, 60, 80])
@pytest.mark.parametrize("lang", ["en", "ko"])
def test_a_narrow_terminal_loses_no_figure_and_no_name(columns, lang) -> None:
    card = golden()
    whole, narrow = (
        " ".join(printed(card, lang=lang, width=width).split()) for width in (100, columns)
    )
    figures = re.findall(r"\d[\d.]* (?:MiB|ms|%)|\[\d+, \d+\]", whole)
    assert len(figures) > 40
    for figure in [*figures, *(entry["model"] for entry in card["entries"])]:
        assert narrow.replace(" ", "").count(figure.replace(" ", "")), figure


def test_processes_that_ended_alike_share_a_line() -> None:
    card = golden()
    (lost,) = [entry for entry in card["entries"] if entry["model"] == "startup-c.q8_0.gguf"]
    assert [job["process"] for job in lost["jobs"] if job["outcome"] != "ok"] == [0, 1]
    text = printed(card)
    assert "startup-c.q8_0.gguf memory#0,1: out of memory" in text
