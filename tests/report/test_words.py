from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.metrics import METRICS
from harness.report import words
from harness.report.reading import read
from harness.report.view import Estimate
from tests.report import sample
from tests.report.snapshots import golden


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1094.93, "1090"),
        (999.6, "1000"),
        (780.94, "781"),
        (12.0, "12.0"),
        (0.05123, "0.0512"),
        (0, "0"),
        (None, "–"),
        (-3.14159, "-3.14"),
        (1.2e-9, "1.20e-09"),
    ],
)
def test_number(value, text) -> None:
    assert words.number(value) == text


@pytest.mark.parametrize(
    ("effect", "text"), [(1.182, "+18.2 %"), (0.961, "−3.9 %"), (1.0001, "0.0 %"), (1, "0.0 %")]
)
def test_percent(effect, text) -> None:
    assert words.percent(effect) == text


def test_a_unit_is_said_once() -> None:
    assert words.span("ttft_s", Estimate(value=0.84, lo=0.828, hi=0.848)) == "828 – 848 ms"
    assert words.span("ttft_s", Estimate(value=1.0, lo=0.99, hi=1.06)) == "990 ms – 1.06 s"
    assert words.span("ttft_s", Estimate(value=1.0)) == ""


def test_moment_in_both_time_zones() -> None:
    assert words.moment("2026-11-23T08:15:00Z") == "2026-11-23 08:15 UTC (11-23 17:15 KST)"
    assert words.moment("yesterday") == "yesterday"


def test_every_string_has_both_languages_with_the_same_fields() -> None:
    for key, entry in words.strings().items():
        wanted = {"ko"} if key.startswith("about.") else {"ko", "en"}
        assert set(entry) == wanted, key
        fields = {frozenset(part for part in _fields(text)) for text in entry.values()}
        assert len(fields) == 1, key


def _fields(text: str) -> list[str]:
    return [part.split("}")[0] for part in text.split("{")[1:]]


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_has_a_name_and_a_definition(metric: str) -> None:
    for lang in words.LANGS:
        assert words.word(lang, "metric", metric) != metric
        assert words.definition(metric, lang)


def _ranking(**ranks: int | None):
    entries = [sample.entry(m, rank=r, speed=1, skill=1) for m, r in ranks.items()]
    return read(sample.card(entries))


def test_significance_says_what_the_ranks_say() -> None:
    def said(view) -> str:
        return words.significance(words.main_ranking(view), view, "en").split()[0]

    assert said(_ranking(a=1, b=2)) == "Yes:"
    assert said(_ranking(a=1, b=1, c=3)) == "No:"
    assert said(_ranking(a=1, b=None)) == "It"
    assert said(_ranking(a=None)) == "No"
    tied = [
        sample.entry("a", rank=1, speed=1, skill=1),
        sample.entry("b", rank=2, speed=1, skill=1),
    ]
    tied[0]["tied_with"] = ["b"]
    assert said(read(sample.card(tied))) == "Partly:"


def test_why_compares_with_the_best_model_behind() -> None:
    view = read(sample.laptop())
    main = words.main_ranking(view)
    assert main is not None
    case = words.why(main, view)
    assert case.against == "ref-1.5b.q4_k_m.gguf"
    assert case.factors[0].metric == "accuracy"
    product = 1.0
    for factor in case.factors:
        product *= factor.effect
    first, other = main.ranked[0].score.value, main.ranked[2].score.value
    assert first is not None
    assert other is not None
    assert product == pytest.approx(first / other)


def test_why_of_the_reference_alone_and_of_tied_leaders() -> None:
    alone = _ranking(a=1)
    main = words.main_ranking(alone)
    assert main is not None
    assert words.why(main, alone) == ("", (), "")
    view = read(golden())
    main = words.main_ranking(view)
    assert main is not None
    assert words.why(main, view).against == view.reference


def test_evidence_is_the_comparison_of_the_first_two() -> None:
    view = read(sample.laptop())
    said = words.evidence(words.main_ranking(view), view, "en")
    assert said.endswith("gap 1.03 %, adjusted p = 0.600")


def test_unknown_codes_stay_as_they_are() -> None:
    assert words.word("ko", "reason", "brand_new") == "brand_new"
    assert words.cause("", "", "ko") == ""


@pytest.mark.parametrize("name", ["strings.json", "codes.json"])
def test_nothing_is_worded_twice(name):
    """Of two equal keys JSON keeps the last one, silently."""
    path = Path(words.__file__).parent / "templates" / name

    def once(pairs):
        keys = [key for key, _ in pairs]
        assert len(keys) == len(set(keys)), sorted(k for k in keys if keys.count(k) > 1)
        return dict(pairs)

    json.loads(path.read_text("utf-8"), object_pairs_hook=once)


def test_a_message_is_korean_in_korean_reports() -> None:
    assert words.word("ko", "message", "no model is loaded") == "적재한 모델이 없습니다"
    assert words.word("en", "message", "no model is loaded") == "no model is loaded"
    assert words.cause("load_failed", "cannot be read: x", "ko") == (
        "모델을 읽지 못함: 읽을 수 없습니다: x"
    )
