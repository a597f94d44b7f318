"""Verdicts on two sides: every rule on either side of its edge."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from harness.compare import Case, Comparison, compare, judge, units_needed, welch
from harness.comparing.noise import Floor
from harness.errors import HarnessError
from harness.stats import holm
from tests.compared import BUILD, DECODE, DEVICE, MEMORY, TTFT, answers, model, one, side, spread

MIB = 2**20
WELCH = (0.12400000000000011, -0.004436326402851909, 0.25243632640285213, 0.05600794689281805)


def case_of(made: Comparison, metric: str = "ttft_s") -> Case:
    (found,) = [case for case in made.cases if case.metric == metric]
    return found


def ttft(ratio: float, sd: float = 0.01, k: int = 10, **options: Any) -> Case:
    """B has `ratio` times the TTFT of A."""
    a = one("a", {TTFT: spread(0.5, sd, k)})
    b = one("b", {TTFT: spread(0.5 * ratio, sd, k, seed=2)})
    return case_of(compare(a, b, **options))


# --- the test ---------------------------------------------------------------------------


def test_welch_against_scipy() -> None:
    """scipy.stats.ttest_ind(b, a, equal_var=False) and its confidence_interval, version 1.17."""
    a = np.array([1.02, 0.97, 1.05, 1.00, 0.99])
    b = np.array([1.10, 1.21, 0.94, 1.15, 1.30, 1.08])
    found = welch(a, b)
    assert found.effect[0] == pytest.approx(WELCH[0], rel=1e-12)
    assert (found.lo[0], found.hi[0]) == pytest.approx(WELCH[1:3], rel=1e-9)
    assert found.p[0] == pytest.approx(WELCH[3], rel=1e-9)


def test_many_comparisons_cost_one_call() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.standard_normal((3, 4, 7)), rng.standard_normal((3, 4, 9))
    together = welch(a, b)
    for i in range(3):
        for j in range(4):
            alone = welch(a[i, j], b[i, j])
            assert [part[i, j] for part in together] == pytest.approx(
                [part[0] for part in alone], rel=1e-12
            )


def test_without_spread_equal_is_equal_and_different_is_different() -> None:
    still = np.full(10, math.log(0.016))
    same = welch(still, np.full(7, math.log(0.016)))
    assert (same.p[0], abs(same.effect[0]) < 1e-15) == (1.0, True)
    moved = welch(still, still + 0.05)
    assert (moved.p[0], moved.lo[0], moved.hi[0]) == (0.0, moved.effect[0], moved.effect[0])


# --- verdicts ---------------------------------------------------------------------------


def test_a_slowdown_and_a_speedup() -> None:
    slower, faster = ttft(1.05), ttft(1 / 1.05)
    assert (slower.verdict, faster.verdict) == ("regressed", "improved")
    assert slower.change == pytest.approx(1.05, rel=1e-5)
    assert slower.lo is not None
    assert slower.hi is not None
    assert 1 < slower.lo < 1.05 < slower.hi
    assert (slower.a, slower.b) == (0.5, pytest.approx(0.525, rel=1e-5))
    assert (slower.n_a, slower.n_b, slower.needed) == (10, 10, None)


def test_higher_rates_are_better() -> None:
    a, b = (one(run, {DECODE: spread(centre, 0.01)}) for run, centre in (("a", 50), ("b", 40)))
    assert case_of(compare(a, b), "decode_tok_per_s").verdict == "regressed"
    assert case_of(compare(b, a), "decode_tok_per_s").verdict == "improved"


def test_a_change_below_the_floor_is_none_however_certain() -> None:
    assert ttft(1.019, sd=0.0005).verdict == "unchanged"
    assert ttft(1.021, sd=0.0005).verdict == "regressed"


def test_the_machines_own_floor_counts_where_it_is_larger() -> None:
    noisy = Floor(machine="x", runs=5, metrics={"ttft_s": 0.06})
    assert ttft(1.05).verdict == "regressed"
    assert ttft(1.05, floor=noisy).verdict == "unchanged"
    assert ttft(1.08, floor=noisy).verdict == "regressed"
    assert ttft(1.021, sd=0.0005, floor=Floor(metrics={"ttft_s": 0.001})).verdict == "regressed"


def test_nine_processes_never_accuse() -> None:
    found = ttft(2.0, sd=0.001, k=9)
    assert (found.verdict, found.needed) == ("inconclusive", 10)
    assert ttft(2.0, sd=0.001, k=10).verdict == "regressed"
    assert ttft(1.0, sd=0.001, k=9).verdict == "unchanged"


def test_one_process_says_nothing() -> None:
    a, b = (one(run, {TTFT: (value,)}) for run, value in (("a", 0.5), ("b", 0.5)))
    found = case_of(compare(a, b))
    assert (found.verdict, found.lo, found.p, found.needed) == ("inconclusive", None, None, 10)


def test_noise_is_inconclusive_and_says_what_would_decide() -> None:
    found = ttft(1.05, sd=0.08)
    assert found.verdict == "inconclusive"
    assert found.needed is not None
    assert 40 < found.needed < 60
    # With so many, the same figures do decide.
    assert ttft(1.05, sd=0.08, k=found.needed).verdict == "regressed"
    assert ttft(1.0, sd=0.04, k=10).verdict == "inconclusive"
    assert ttft(1.0, sd=0.04, k=ttft(1.0, sd=0.04).needed or 0).verdict == "unchanged"


def test_what_no_number_would_decide() -> None:
    assert units_needed(0.0197, 0.05, 0.0198, 1, most=1000) is None
    assert units_needed(0.5, 1e-9, 0.02, 1, most=1000) == 10


def test_planned_processes_find_the_effect_in_four_of_five() -> None:
    """The number is for a power of 80 %: simulated with the very functions of a comparison."""
    effect, sd, cases = math.log(1.05), 0.04, 20
    k = units_needed(effect, 2 * sd**2, math.log(1.02), cases, most=1000)
    assert k is not None
    rng = np.random.default_rng(7)
    a, b = (sd * rng.standard_normal((400, k)) for _ in range(2))
    found = welch(a, b + effect)
    power = np.mean(found.p * cases < 0.05)
    assert 0.72 < power < 0.90


def test_many_cases_need_stronger_evidence() -> None:
    """Holm: what is significant alone is not among twenty."""
    quiet = {(f"c{n}", "ttft_s"): spread(1, 0.02, seed=n) for n in range(19)}
    a = one("a", {TTFT: spread(1, 0.02)} | quiet)
    b = one("b", {TTFT: spread(1.0225, 0.02, seed=2)} | quiet)
    alone = compare(one("a", {TTFT: spread(1, 0.02)}), one("b", {TTFT: spread(1.0225, 0.02)}))
    assert case_of(alone).verdict == "regressed"
    found = next(case for case in compare(a, b).cases if case.case == TTFT[0])
    assert found.p is not None
    assert found.p < 0.05 < (found.p_holm or 0)
    assert found.verdict == "inconclusive"


def test_memory_changes_below_8_mib_are_none() -> None:
    def grown(mib: float) -> str:
        a = one("a", {MEMORY: spread(100 * MIB, 0.001)})
        b = one("b", {MEMORY: spread((100 + mib) * MIB, 0.001)})
        return case_of(compare(a, b), "peak_resident_bytes").verdict

    assert grown(7) == "unchanged"
    assert grown(9) == "regressed"
    assert grown(-9) == "improved"


def test_the_summary_names_what_needs_attention_first() -> None:
    worse, same = spread(1.1, 0.005), spread(1, 0.005)
    wide = spread(1, 0.1)
    for cases, verdict in (
        ({"x": worse, "y": wide}, "regressed"),
        ({"x": wide, "y": same}, "inconclusive"),
        ({"x": same, "y": same}, "unchanged"),
    ):
        a = one("a", {(name, "ttft_s"): spread(1, 0.005) for name in cases})
        b = one("b", {(name, "ttft_s"): values for name, values in cases.items()})
        assert compare(a, b).verdict == verdict
    a, b = (one(run, {TTFT: spread(centre, 0.005)}) for run, centre in (("a", 1.1), ("b", 1)))
    assert compare(a, b).verdict == "improved"


def test_cases_of_one_side_alone_are_told() -> None:
    a, b = (
        one("a", {TTFT: spread(1, 0.01), DECODE: spread(9, 0.01)}),
        one("b", {TTFT: spread(1, 0.01)}),
    )
    lost = case_of(compare(a, b), "decode_tok_per_s")
    assert (lost.reason, lost.n_a, lost.n_b, lost.verdict) == (
        "missing_case",
        10,
        0,
        "inconclusive",
    )
    assert case_of(compare(a, b)).p_holm == case_of(compare(a, b)).p, "it is not in Holm's family"


def test_what_is_not_positive_has_no_ratio() -> None:
    a, b = one("a", {TTFT: (0.0,) * 10}), one("b", {TTFT: spread(1, 0.01)})
    assert case_of(compare(a, b)).reason == "not_positive"


# --- accuracy ---------------------------------------------------------------------------


def answered(before: str, after: str, **changes: Any) -> Case:
    a = side("a", {"m": model({}, answers={"ko-josa": answers(before)})})
    b = side("b", {"m": model({}, answers={"ko-josa": answers(after)})}, **changes)
    return case_of(compare(a, b), "accuracy_raw")


def test_a_fall_of_accuracy_is_found_item_by_item() -> None:
    before = "1" * 150 + "0" * 50
    fallen = answered(before, "1" * 120 + "0" * 80)
    assert fallen.verdict == "regressed"
    assert (fallen.a, fallen.b, fallen.change) == (0.75, 0.6, -0.15)
    assert (fallen.n_a, fallen.n_b) == (200, 200)
    assert answered("1" * 120 + "0" * 80, before).verdict == "improved"
    assert answered(before, before).verdict == "unchanged"
    # The same shares, but other items: forty flips either way are no fall.
    swapped = answered("10" * 100, "01" * 100)
    assert (swapped.change, swapped.p) == (0.0, 1.0)


def test_few_flips_are_inconclusive_and_say_how_many_items_would_do() -> None:
    found = answered("1" * 100 + "0" * 100, "0" * 3 + "1" * 97 + "0" * 100)
    assert found.verdict == "inconclusive"
    assert found.needed is not None
    assert found.needed > 200


def test_flips_of_one_template_say_little() -> None:
    """Thirty items of one template fell: they may be one cause, and the interval knows."""

    def fall(templates: int) -> Case:
        before = answers("1" * 300, templates=templates)
        broken = "".join("0" if c == 0 and n < 300 else "1" for n, c in enumerate(before.clusters))
        after = before._replace(outcomes=broken)
        a, b = (
            side(r, {"m": model({}, answers={"t": x})}) for r, x in (("a", before), ("b", after))
        )
        return case_of(compare(a, b), "accuracy_raw")

    found = fall(10)
    assert found.change == -0.1
    assert found.p is not None
    assert found.p < 1e-6
    assert found.verdict == "inconclusive"


def test_an_item_that_one_side_skipped_is_one_that_it_failed() -> None:
    found = answered("11110000----", "1111000011--")
    assert (found.n_a, found.a, found.b, found.change) == (10, 0.4, 0.6, 0.2)
    assert answered("1" * 200, "-" * 100 + "1" * 100).verdict == "regressed"


def test_what_only_one_side_was_asked_is_named() -> None:
    assert answered("1" * 20, "0" * 20, items="18").reason == "other_items"
    a = side("a", {"m": model({}, answers={"t": answers("11")})})
    b = side("b", {"m": model({}, answers={"t": answers("11", questions="r")})})
    other = case_of(compare(a, b), "accuracy_raw")
    assert (other.case, other.reason, other.n_a, other.n_b) == ("t", "other_items", 2, 2)
    both = side("c", {"m": model({}, answers={"t": answers("11"), "u": answers("10110")})})
    gone, paired = compare(both, a).cases
    assert (gone.case, gone.reason, gone.n_a, gone.n_b) == ("u", "missing_case", 5, 0)
    assert (paired.case, paired.n_a, paired.verdict) == ("all", 2, "unchanged")


# --- what must be equal -----------------------------------------------------------------

HERE = {TTFT: spread(1, 0.01)}
OTHER = [
    ({"workload": "e1" * 32}, "other_profile", None),
    ({"suite_versions": {"latency": 3, "memory": 2}}, "other_suite_version", None),
    ({"device": DEVICE | {"cpu": "Core 5"}}, "other_device", "device"),
    ({"conditions": {"power_source": "battery"}}, "other_conditions", "device"),
    ({"invalid": "run_invalid"}, "run_invalid", None),
]
OTHER_MODEL = [
    ({"build": BUILD | {"library_sha256": "bb" * 32}}, "other_build", "build"),
    ({"options": {"threads": 4}}, "other_options", "options"),
    ({"artefact": "0b" * 32}, "other_model", "model"),
]


def check(a: Any, b: Any, code: str, axis: Any) -> None:
    made = compare(a, b)
    assert (made.verdict, [reason.code for reason in made.reasons]) == ("incomparable", [code])
    assert not made.cases
    across = ("build", "device", "model", "options")
    wanted = "incomparable" if axis is None else "unchanged"
    assert compare(a, b, across=across).verdict == wanted
    if axis:
        assert compare(a, b, across=(axis,)).verdict == "unchanged"
        others = [name for name in across if name != axis]
        assert compare(a, b, across=others).verdict == "incomparable"


@pytest.mark.parametrize(("changes", "code", "axis"), OTHER)
def test_sides_that_differ(changes: dict[str, Any], code: str, axis: str | None) -> None:
    check(one("a", HERE), one("b", HERE, **changes), code, axis)


@pytest.mark.parametrize(("changes", "code", "axis"), OTHER_MODEL)
def test_models_that_differ(changes: dict[str, Any], code: str, axis: str | None) -> None:
    check(one("a", HERE), side("b", {"m": model(HERE, **changes)}), code, axis)


def test_a_reason_says_what_differs() -> None:
    made = compare(one("a", HERE), one("b", HERE, device=DEVICE | {"cpu": "Core 5"}))
    assert made.reasons[0].detail == "cpu Core 7 → Core 5"


def test_versions_of_suites_that_one_side_did_not_run_do_not_matter() -> None:
    made = compare(one("a", HERE), one("b", HERE, suite_versions={"latency": 2}))
    assert made.verdict == "unchanged"


def test_models_and_cases_in_common() -> None:
    a = side("a", {"m": model(HERE), "x": model(HERE)})
    b = side("b", {"m": model(HERE), "y": model(HERE)})
    made = compare(a, b)
    assert (made.only_a, made.only_b, {case.model for case in made.cases}) == (
        ("x",),
        ("y",),
        {"m"},
    )
    strangers = compare(side("a", {"x": model(HERE)}), side("b", {"y": model(HERE)}))
    assert [reason.code for reason in strangers.reasons] == ["nothing_in_common"]


def test_two_models_by_name() -> None:
    run = side("a", {"x": model(HERE), "y": model({TTFT: spread(1.2, 0.01)}, artefact="0b" * 32)})
    made = compare(run, run, models=("x", "y"))
    assert (made.verdict, case_of(made).model) == ("regressed", "y")
    onnx = model(HERE, backend="onnxruntime", build={"engine": "onnxruntime"}, options={})
    assert compare(run, side("b", {"z": onnx}), models=("x", "z")).verdict == "unchanged"
    newer = model(HERE, build=BUILD | {"library_sha256": "bb" * 32})
    made = compare(run, side("b", {"z": newer}), models=("x", "z"))
    assert [reason.code for reason in made.reasons] == ["other_build"], "the same engine"


def test_refusals() -> None:
    a = one("a", HERE)
    for b, options, reason in (
        (a, {}, "same_run"),
        (a, {"models": ("m", "m")}, "same_run"),
        (one("b", HERE), {"models": ("m", "n")}, "unknown_name"),
        (side("b", {"m": model({})}), {}, "nothing_measured"),
    ):
        with pytest.raises(HarnessError) as caught:
            compare(a, b, **options)
        assert caught.value.reason == reason
        assert caught.value.hint


def test_each_guard_is_needed() -> None:
    """Taking one away turns an innocent case into an alarm."""
    alarm = {"floor": 0.02, "k": 10, "higher_is_better": False}
    assert judge(0.05, 0.01, 0.09, 0.01, **alarm) == "regressed"
    assert judge(0.05, 0.01, 0.09, 0.06, **alarm) == "inconclusive"
    assert judge(0.05, -0.01, 0.11, 0.01, **alarm) == "inconclusive"
    assert judge(0.019, 0.01, 0.03, 0.01, **alarm) == "inconclusive"
    assert judge(0.05, 0.01, 0.09, 0.01, **(alarm | {"k": 9})) == "inconclusive"
    assert holm([0.03, 0.03]) == [0.06, 0.06]


def test_what_differs_is_told_also_between_profiles_of_one_name() -> None:
    a, b = side("a", {"m": model(HERE)}), side("b", {"m": model(HERE)}, workload="e1" * 32)
    reasons = compare(a, b).reasons
    before, _, after = reasons[0].detail.partition(" → ")
    assert reasons[0].code == "other_profile"
    assert before != after
    assert after.endswith("[e1e1e1e1]")


def test_names_that_are_cut_show_it() -> None:
    a, b = side("a", {"m" * 90: model(HERE)}), side("b", {"n": model(HERE)})
    (reason,) = compare(a, b).reasons
    assert reason.detail == f"{'m' * 60}… → n"
