"""Reports of cards that were scored by each formula, with the list names of divisions."""

from __future__ import annotations

from dataclasses import replace

import pytest
from markupsafe import escape

from harness.report import html, markdown, reading, words
from harness.score import LISTS, scorecard
from tests.perf.scoring_trials import FORMULAS, REF
from tests.strategies import records

FIELD = [REF, replace(REF, id="ref.q4.gguf", speed=1.4, seed=1), replace(REF, id="x", seed=2)]


@pytest.mark.parametrize("name", FORMULAS)
def test_each_formula_is_explained(name: str) -> None:
    card = scorecard(records(FIELD, replace(FORMULAS[name], fixed_family="ref")))
    view = reading.read(card)
    assert (view.scoring, view.reference_points) == (name, 500 if name == "aimers" else 1000)
    page = html.render(card)
    for lang in words.LANGS:
        text = markdown.render(card, lang=lang)
        assert words.say(lang, f"method.{name}") in text
        assert words.word(lang, "list", "fixed-real") in text
        assert "LocalScore" in text
        assert escape(words.say(lang, f"method.{name}")) in page


def test_a_half_counts_as_the_reference_under_aimers() -> None:
    """No factor of the leader is beyond what can be shown, also where a gain is all lost."""
    slow = replace(REF, id="slow", speed=0.4, seed=3)
    view = reading.read(scorecard(records([*FIELD, slow], FORMULAS["aimers"])))
    (ranking,) = view.rankings
    assert words.why(ranking, view).factors
    assert ranking.rows[-1].score.value == pytest.approx(0, abs=30)


def test_every_list_has_a_name_in_both_languages() -> None:
    for name in LISTS:
        assert set(words.strings()[f"list.{name}"]) == set(words.LANGS)
