"""What is said to hold a model back, against scorecards whose causes are known."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace
from typing import Any

import pytest

from harness.report import advice, words
from harness.report.advice import Remark
from harness.report.reading import read
from harness.score import scorecard
from tests.perf.scoring_trials import FORMULAS, REF
from tests.report import sample
from tests.strategies import records

LANGS = ("ko", "en")


def remarks(entries: list[dict[str, Any]], model: str, **card: Any) -> tuple[Remark, ...]:
    view = read(sample.card(entries, **{"pareto": {"front": [], "dominated": {}}} | card))
    ranking = next(r for r in view.rankings if any(row.model == model for row in r.rows))
    row = next(row for row in ranking.rows if row.model == model)
    return advice.remarks(view, ranking, row)


def pair(**changes: Any) -> list[dict[str, Any]]:
    """A leader, and `mine` behind it with these changes."""
    mine = sample.entry("mine", rank=2, speed=1.0, skill=1.0) | changes
    return [sample.entry("leader", rank=1, speed=1.0, skill=1.5), mine]


def keys(found: tuple[Remark, ...], topic: str = "") -> list[str]:
    return [remark.key for remark in found if topic in {"", remark.topic}]


def test_a_lost_part_is_the_points_that_equality_would_bring() -> None:
    entries = pair()
    (part,) = [remark for remark in remarks(entries, "mine") if remark.key == "part"]
    score = entries[1]["score"]
    equal = score * math.exp(0.40 * math.log(1.5))
    assert part.values["score"] == f"{equal:.0f}"
    assert part.values["points"] == f"{equal - score:.0f}"
    assert advice.say(part, "ko") == (
        "정확도 31.0 %: 1위 leader의 46.5 %와 같다면 점수는 1176점입니다(+176점)."
    )
    assert advice.say(part, "en") == (
        "Accuracy 31.0 %: with the 46.5 % of the leader leader the score would be "
        "1176 (+176 points)."
    )


def test_points_of_all_parts_multiply_to_the_leaders_score() -> None:
    leader = sample.entry("leader", rank=1, speed=1.3, skill=1.5)
    mine = sample.entry("mine", rank=2, speed=0.9, skill=1.0)
    mine["ratios"]["peak_resident_bytes"]["value"] = leader["ratios"]["peak_resident_bytes"][
        "value"
    ]
    mine["score"] = 1000 * math.prod(
        mine["ratios"][metric]["value"] ** weight for metric, weight in sample.WEIGHTS.items()
    )
    parts = [r for r in remarks([leader, mine], "mine") if r.key == "part"]
    assert len(parts) == 3
    lifts = [float(str(part.values["score"])) / mine["score"] for part in parts]
    assert mine["score"] * math.prod(lifts) == pytest.approx(leader["score"], rel=2e-3)
    assert lifts == sorted(lifts, reverse=True)


def test_points_of_a_sum_are_those_that_the_formula_gives() -> None:
    """Under `aimers` parts are added: also where all is lost and the score is 0."""
    field = [
        replace(REF, id="ref"),
        replace(REF, id="fast", speed=1.4, skill=0.55, seed=1),
        replace(REF, id="slow", speed=0.4, seed=3),
    ]
    view = read(scorecard(records(field, FORMULAS["aimers"])))
    (ranking,) = view.rankings
    best, mine = ranking.rows[0], ranking.rows[-1]
    assert (best.model, mine.model, mine.score.value) == ("fast", "slow", 0)
    accuracy = mine.factor("accuracy")
    theirs = best.factor("tpot_s")
    assert accuracy is not None
    assert theirs is not None
    equal = 500 * accuracy.ratio + 500 * (1 - 1 / theirs.ratio)
    # Its accuracy alone would leave it at 0, so only its speed is named.
    (part,) = [r for r in advice.remarks(view, ranking, mine) if r.key == "part"]
    assert part.values["score"] == part.values["points"] == f"{equal:.0f}"
    assert equal > 500
    for row in ranking.rows[:2]:
        points = [factor.points for factor in row.factors if factor.points is not None]
        assert len(points) == 2
        assert 500 + sum(points) == pytest.approx(row.score.value, abs=0.01)


def test_a_tie_with_the_leader_is_said_before_its_parts() -> None:
    found = remarks(pair(tied_with=["leader"]), "mine")
    assert keys(found, "score")[:2] == ["tied", "part"]
    assert "2 % 이하" in advice.say(found[0], "ko")


def test_nobody_is_told_to_do_what_was_done() -> None:
    mine = sample.entry("mine", rank=1, speed=1.0, skill=1.0) | {"list": "real-tuned"}
    mine["metrics"]["mbu"] = sample.estimate(0.2, 0.01, "1")
    (found,) = [remark for remark in remarks([mine], "mine") if remark.topic == "speed"]
    for lang in LANGS:
        assert "--tune" not in advice.say(found, lang)


def test_a_gate_that_decides_nothing_says_so() -> None:
    gate = {"id": "rate", "metric": "decode_tok_per_s", "passed": False, "reason": "beyond_limit"}
    gate |= {"value": 6.0, "limit": 8.0, "required": False}
    (found,) = [r for r in remarks(pair(gates=[gate], fidelity=None), "mine") if r.topic == "gate"]
    assert advice.say(found, "ko").startswith("‘rate’ 관문(참고용)에 미달했습니다.")
    assert "“rate” (not required):" in advice.say(found, "en")


def test_what_a_remark_quotes_is_in_the_readers_language() -> None:
    detail = "not better than guessing: the 95 % interval of accuracy 0.033 reaches down to -0.095"
    mine = sample.entry("mine", rank=None, speed=1.0, skill=0.1) | {"detail": detail}
    findings = [{"code": "output_varies", "severity": "warn"}]
    findings[0]["detail"] = "the same request gave different outputs"
    mine["findings"] = findings
    found = remarks([sample.entry("leader", rank=1, speed=1.0, skill=1.5), mine], "mine")
    for remark in (found[0], found[-1]):
        assert not re.search("guessing|request", advice.say(remark, "ko"))
        assert re.search("guessing|request", advice.say(remark, "en"))


def test_the_leader_is_not_measured_against_itself() -> None:
    found = remarks(pair(), "leader")
    assert keys(found, "score") == []
    assert keys(found, "accuracy") == ["suite.chance", "suite.own"]


def test_a_missed_gate_says_by_how_much() -> None:
    gates = [
        {"id": "memory", "metric": "peak_resident_bytes", "passed": False, "reason": "beyond_limit"}
        | {"value": 5 * 2**30, "limit": 4 * 2**30},
        {"id": "rate", "metric": "decode_tok_per_s", "passed": False, "reason": "beyond_limit"}
        | {"value": 6.0, "limit": 8.0},
        {"id": "accuracy", "metric": "accuracy", "passed": None, "reason": "too_few_items"}
        | {"value": 0.91, "limit": 0.9},
        {"id": "licence", "metric": "", "passed": False, "reason": "not_measured"}
        | {"value": None, "limit": None},
        {"id": "fine", "metric": "ttft_s", "passed": True, "value": 1, "limit": 3, "reason": ""},
    ]
    found = [r for r in remarks(pair(gates=gates, fidelity=None), "mine") if r.topic == "gate"]
    assert [r.key for r in found] == ["gate.missed", "gate.missed", "gate.unknown", "gate.plain"]
    said = [advice.say(r, "en") for r in found]
    assert said[0].endswith("5.00 GiB where the limit is 4.00 GiB, 25.0 % beyond.")
    assert "25.0 % beyond" in said[1]
    assert "too few items" in said[2]


def test_a_model_without_a_score_says_why_and_how_far_it_is() -> None:
    mine = sample.entry("mine", rank=None, speed=1.0, skill=0.1)
    found = remarks([sample.entry("leader", rank=1, speed=1.0, skill=1.5), mine], "mine")
    assert found[0].key == "unranked"
    assert "찍기 수준 (찍기보다 낫다고 할 수 없습니다." in advice.say(found[0], "ko")
    (part,) = [remark for remark in found if remark.key == "part.unscored"]
    assert part.values["ratio"] == "15.0"


@pytest.mark.parametrize(
    ("mbu", "behind", "expected"),
    [(0.3, False, ["mbu.low"]), (0.6, True, []), (0.8, True, ["mbu.high"]), (0.8, False, [])],
)
def test_decoding_below_the_roof_points_at_the_engine(mbu, behind, expected) -> None:
    mine = pair()[1]
    mine["metrics"]["mbu"] = sample.estimate(mbu, 0.01, "1")
    mine["metrics"]["mfu"] = sample.estimate(0.1, 0.01, "1")
    if behind:
        mine["ratios"]["decode_tok_per_s"]["value"] = 0.5
    leader = sample.entry("leader", rank=1, speed=1.0, skill=1.5)
    assert keys(remarks([leader, mine], "mine"), "speed") == expected


@pytest.mark.parametrize(
    ("load_s", "mfu", "expected"),
    [
        (0.1, 0.1, ["prefill.low"]),
        (0.1, 0.4, []),
        (0.1, 0.6, ["prefill.high"]),
        (0.1, None, ["prefill"]),
        (9.0, 0.6, ["load", "prefill.high"]),
    ],
)
def test_a_late_first_token_is_the_prompt_or_the_load(load_s, mfu, expected) -> None:
    mine = pair()[1]
    mine["ratios"]["ttft_s"]["value"] = 0.5
    mine["metrics"]["load_s"] = sample.estimate(load_s, 0.01, "s")
    del mine["metrics"]["mfu"], mine["metrics"]["mbu"]
    if mfu is not None:
        mine["metrics"]["mfu"] = sample.estimate(mfu, 0.01, "1")
    leader = sample.entry("leader", rank=1, speed=1.0, skill=1.5)
    assert keys(remarks([leader, mine], "mine"), "speed") == expected


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ("weights", "memory.weights"),
        ("kv", "memory.kv"),
        ("runtime", "memory.runtime"),
        ("rest", "memory.rest"),
        ("", "memory.mixed"),
    ],
)
def test_memory_is_about_its_largest_part(part, expected) -> None:
    mine = pair()[1]
    mine["ratios"]["peak_resident_bytes"]["value"] = 0.6
    sizes = dict.fromkeys(("runtime", "weights", "kv", "rest"), 100.0 * 2**20)
    if part:
        sizes[part] = 2.0**30
    mine["memory"]["split"] = {"context": 2048} | sizes
    leader = sample.entry("leader", rank=1, speed=1.0, skill=1.5)
    (found,) = [r for r in remarks([leader, mine], "mine") if r.topic == "memory"]
    assert found.key == expected
    if part == "kv":
        assert "2,048토큰" in advice.say(found, "ko")


def test_memory_that_costs_nothing_is_not_explained() -> None:
    assert keys(remarks(pair(), "mine"), "memory") == []


def test_the_suites_furthest_behind_are_named_with_their_distance() -> None:
    entries = pair()
    entries[1]["tasks"]["ko-josa"]["adjusted"] = -0.05
    entries[1]["tasks"]["ko-josa"]["at_chance"] = True
    found = [r for r in remarks(entries, "mine") if r.topic == "accuracy"]
    assert found[0].key == "suite.behind_chance"
    theirs = entries[0]["tasks"]["ko-josa"]["adjusted"]
    assert found[0].values["points"] == f"{100 * (theirs + 0.05):.1f}"
    assert len(found) == advice.WEAKEST


def test_who_dominates_a_model_is_named() -> None:
    pareto = {"front": ["leader"], "dominated": {"mine": ["leader"]}}
    (found,) = [r for r in remarks(pair(), "mine", pareto=pareto) if r.topic == "pareto"]
    assert advice.say(found, "en").endswith(": leader")


def test_findings_come_last() -> None:
    findings = [{"code": "slowed_down", "severity": "invalid", "detail": "case a"}]
    found = remarks(pair(findings=findings), "mine")
    assert found[-1].topic == "validity"
    assert advice.say(found[-1], "ko") == "지적 사항: 실행 중 점점 느려짐 (case a)"


@pytest.mark.parametrize("card", [sample.laptop, sample.hostile], ids=["laptop", "hostile"])
def test_every_remark_is_said_in_both_languages_under_a_named_topic(card) -> None:
    view = read(card())
    found = [
        remark
        for ranking in view.rankings
        for row in ranking.rows
        for remark in advice.remarks(view, ranking, row)
    ]
    assert found
    for remark, lang in itertools.product(found, LANGS):
        said = advice.say(remark, lang)
        assert all(f"{{{name}}}" not in said for name in remark.values)
        assert words.say(lang, f"advice.topic.{remark.topic}")
    for remark in found:
        assert advice.say(remark, "ko") != advice.say(remark, "en")
