"""Figures, flips and gates of fidelity, and their place on a scorecard."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from harness.score import dump, scorecard
from harness.scoring.divergence import read_divergence
from harness.scoring.fidelity import Flips, figures, flips
from harness.spectext import FidelitySuite, LanguageSuite
from harness.times import SampleRefusedError
from tests.answered import formed, skipped
from tests.strategies import Candidate, profile, records

SAMPLE: dict[str, Any] = {
    "reference": "best",
    "bytes": 8,
    "kld_nat": [0.0, 0.1, 0.3, 0.0],
    "same_top": 3,
    "delta_p_squares": 0.04,
    "nats": 6.0,
    "reference_nats": 4.0,
}


def test_figures_by_hand() -> None:
    found = figures([read_divergence(SAMPLE)], "x")
    assert found["kld_nat"].value == pytest.approx(0.1)
    assert found["kld_nat_p50"].value == pytest.approx(0.05)
    assert found["kld_nat_p99"].value == pytest.approx(0.3 - 0.03 * 0.2)
    assert found["top1_agreement"].value == 0.75
    assert found["delta_p_rms"].value == pytest.approx(0.1)
    assert found["bits_per_byte_change"].value == pytest.approx(2 / math.log(2) / 8)
    assert {figure.n for figure in found.values()} == {4}


def test_intervals_hold_their_value() -> None:
    draw = np.random.default_rng(0)
    long = SAMPLE | {"kld_nat": draw.exponential(0.01, 2000).tolist(), "same_top": 1960}
    found = figures([read_divergence(long)], "x")
    for name in ("kld_nat", "top1_agreement"):
        interval = found[name].interval
        assert interval
        assert interval.lo < found[name].value < interval.hi
    lo, hi = found["kld_nat"].interval  # type: ignore[misc]
    assert hi - lo == pytest.approx(4 * 0.01 / 2000**0.5, rel=0.4)
    assert found["top1_agreement"].interval == pytest.approx((0.97286, 0.98527), abs=1e-4)


def test_texts_are_pooled_by_their_tokens() -> None:
    first, second = read_divergence(SAMPLE), read_divergence(SAMPLE | {"kld_nat": [1.0] * 12})
    assert figures([first, second], "x")["kld_nat"].value == pytest.approx(12.4 / 16)


@pytest.mark.parametrize(
    "changes",
    [
        {"kld_nat": []},
        {"kld_nat": None},
        {"kld_nat": [math.nan]},
        {"kld_nat": [-0.1]},
        {"kld_nat": ["0"]},
        {"same_top": 5},
        {"same_top": -1},
        {"same_top": 1.5},
        {"nats": math.inf},
        {"reference_nats": None},
        {"delta_p_squares": -1},
        {"bytes": 0},
    ],
)
def test_an_odd_sample_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SampleRefusedError):
        read_divergence(SAMPLE | changes)


# --- flips ------------------------------------------------------------------------------


def test_flips_by_hand() -> None:
    reference = {("t", i): i < 6 for i in range(10)}
    candidate = {("t", i): (i not in {0, 1, 7} and i < 6) or i == 7 for i in range(12)}
    assert flips(reference, candidate) == Flips(2, 1, 10, 1.0)
    assert flips(reference, {}) is None
    assert flips(reference, reference) == Flips(0, 0, 10, 1.0)


# --- on the card ------------------------------------------------------------------------

PROFILE = profile(reference="net.f16.gguf")
PROFILE = dataclasses.replace(
    PROFILE,
    suites=dataclasses.replace(
        PROFILE.suites,
        language=LanguageSuite(tokens=2048, languages=("ko", "en")),
        fidelity=FidelitySuite(tokens=2048, languages=("ko", "en")),
    ),
)
REF = Candidate(id="net.f16.gguf", reference="net.f16.gguf", skill=0.6)
NEAR = Candidate(id="net.q8_0.gguf", reference=REF.id, kld=0.0005, skill=0.6, seed=1)
FAR = Candidate(id="net.q2_k.gguf", reference=REF.id, kld=0.3, skill=0.6, seed=2)


def entries(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {entry["model"]: entry for entry in scorecard(rows)["entries"]}


def gates(entry: dict[str, Any]) -> dict[str, bool | None]:
    return {gate["id"]: gate["passed"] for gate in entry["fidelity"]["gates"]}


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return list(formed(records([REF, NEAR, FAR], PROFILE)))


def chosen(rows: list[dict[str, Any]], model: str) -> list[int]:
    """Where the choice items of a model stand."""
    return [i for i, r in enumerate(rows) if r.get("form") == "choice" and r["model"] == model]


def test_figures_and_gates_stand_on_the_card(rows: list[dict[str, Any]]) -> None:
    found = entries(rows)
    near, far = found[NEAR.id], found[FAR.id]
    assert near["metrics"]["kld_nat"]["value"] == pytest.approx(0.0005, rel=0.2)
    assert near["metrics"]["kld_nat"]["n"] == 800
    assert near["cases"]["fidelity-ko"]["top1_agreement"]["lo"] < 0.995
    assert near["fidelity"]["reference"] == REF.id
    assert gates(near) == dict.fromkeys(
        ("fidelity-tokeniser", "fidelity-kld", "fidelity-top1"),
        True,
    )
    assert gates(far) == {
        "fidelity-tokeniser": True,
        "fidelity-kld": False,
        "fidelity-top1": False,
    }
    worst = far["fidelity"]["gates"][1]
    both = [far["cases"][f"fidelity-{text}"]["kld_nat"]["value"] for text in ("ko", "en")]
    assert (worst["value"], worst["limit"], worst["reason"]) == (max(both), 0.02, "beyond_limit")
    assert near["fidelity"]["flips"]["n"] == len(chosen(rows, NEAR.id)) > 0
    ref = found[REF.id]["fidelity"]
    assert (ref["reason"], ref["gates"], ref["flips"]) == ("is_reference", [], None)


def test_an_item_that_was_not_asked_did_not_turn(rows: list[dict[str, Any]]) -> None:
    places = chosen(rows, NEAR.id)
    left = [*rows]
    left[places[0]] = skipped(rows[places[0]])
    assert entries(left)[NEAR.id]["fidelity"]["flips"]["n"] == len(places) - 1


def test_fidelity_never_changes_a_score_or_a_rank(rows: list[dict[str, Any]]) -> None:
    suites = dataclasses.replace(PROFILE.suites, language=None, fidelity=None)
    bare = list(formed(records([REF, NEAR, FAR], dataclasses.replace(PROFILE, suites=suites))))
    found, other = entries(rows), entries(bare)
    for model, entry in found.items():
        assert entry["rank"] == other[model]["rank"] is not None
        assert entry["score"] == other[model]["score"]
        assert other[model]["fidelity"] is None


def test_rebuilding_is_blind_to_order(rows: list[dict[str, Any]]) -> None:
    assert dump(scorecard(rows[::-1])) == dump(scorecard(rows))


@pytest.mark.parametrize(
    ("reason", "alike"), [("tokeniser_differs", False), ("reference_missing", None)]
)
def test_what_was_skipped_has_a_reason_and_no_figure(
    rows: list[dict[str, Any]], reason: str, *, alike: bool | None
) -> None:
    kept = [
        row for row in rows
        if not (row.get("kind") == "divergence" and row["model"] == NEAR.id)
    ]  # fmt: skip
    skips = [
        {"type": "event", "kind": "skipped", "model": NEAR.id, "case": f"fidelity-{text}"}
        | {"reason": reason, "detail": "why"}
        for text in ("ko", "en")
    ]
    found = entries([*kept, *skips])[NEAR.id]
    assert "kld_nat" not in found["metrics"]
    assert found["fidelity"]["reason"] == reason
    assert found["fidelity"]["detail"] == "fidelity-en: why"
    assert gates(found) == {
        "fidelity-tokeniser": alike,
        "fidelity-kld": None,
        "fidelity-top1": None,
    }
    assert {finding["code"] for finding in found["findings"]} == {reason}
    assert found["rank"] is not None


def test_a_reference_that_failed_is_named() -> None:
    failed = dataclasses.replace(REF, fails=(("fidelity", "timeout"),))
    found = entries(records([failed], PROFILE))[REF.id]["fidelity"]
    assert found["reason"] == "timeout"
    assert {gate["passed"] for gate in found["gates"]} == {None}


def test_a_model_alone_has_no_gates() -> None:
    alone = Candidate(id="solo.f16.gguf", skill=0.6)
    run, *rest = records([REF, alone], PROFILE)
    skip = {"model": alone.id, "case": "fidelity-ko", "reason": "no_reference", "detail": "alone"}
    found = entries([run | {"skipped": [skip | {"hint": ""}]}, *rest])[alone.id]["fidelity"]
    assert (found["reason"], found["gates"]) == ("no_reference", [])
    assert entries([run, *rest])[alone.id]["fidelity"] is None


# --- bits per byte -----------------------------------------------------------------------


def test_bits_per_byte_of_both_texts(rows: list[dict[str, Any]]) -> None:
    found = entries(rows)[REF.id]
    bits = 2000 * (4.5 - 1.8) / math.log(2) / 6000
    assert found["cases"]["text-ko"]["bits_per_byte"]["value"] == pytest.approx(bits, rel=1e-5)
    assert found["metrics"]["bits_per_byte"] == {
        "value": pytest.approx(bits, rel=1e-5), "lo": None, "hi": None, "n": 2, "unit": "bit/B",
    }  # fmt: skip
    assert found["metrics"]["perplexity"]["value"] == pytest.approx(math.exp(2.7), rel=1e-5)


def test_a_guesser_of_tokens_is_marked_and_cannot_win_by_it() -> None:
    weighed = dataclasses.replace(PROFILE, weights={"bits_per_byte": 1.0})
    rows = [
        row | {"vocabulary": 2} if row.get("kind") == "text" and row["model"] == NEAR.id else row
        for row in records([REF, NEAR], weighed)
    ]
    found = entries(rows)
    assert found[REF.id]["score"] == 1000
    assert found[NEAR.id]["reason"] == "at_chance"
    assert found[NEAR.id]["score"] is None
    unweighed = [row | {"profile": rows[0]["profile"] | {"weights": {}}} if row["type"] == "run"
                 else row for row in rows]  # fmt: skip
    assert "at_chance" in {f["code"] for f in entries(unweighed)[NEAR.id]["findings"]}


def test_fewer_bits_score_better() -> None:
    weighed = dataclasses.replace(PROFILE, weights={"bits_per_byte": 1.0})
    better = dataclasses.replace(NEAR, skill=0.8)
    found = entries(records([REF, better], weighed))
    assert found[better.id]["score"] == pytest.approx(1000 * (4.5 - 1.8) / (4.5 - 2.4), rel=1e-4)


# --- random weights -------------------------------------------------------------------------


def test_random_weights_get_no_score_of_knowledge() -> None:
    noise = dataclasses.replace(NEAR, synthetic=True)
    found = entries(records([REF, noise], PROFILE))[noise.id]
    assert found["list"] == "synthetic"
    assert (found["reason"], found["score"]) == ("synthetic_weights", None)
    fast = dataclasses.replace(PROFILE, weights={"ttft_s": 1.0})
    assert entries(records([REF, noise], fast))[noise.id]["score"] is not None
