"""Rules of a gate and what they add up to: each passes when it should and fails when it should."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from harness.compare import compare
from harness.comparing import sides
from harness.errors import Exit, SpecError
from harness.gate import Rule, comparison_exit_code, exit_code, rules
from harness.score import scorecard
from tests.compared import TTFT, one, spread
from tests.strategies import Candidate, gate, profile, records

GATED = profile(gates=(gate(id="fast", metric="ttft_s", limit=1.0),))
REF = Candidate(id="ref", skill=0.6)


def card_of(*found: Candidate, used: Any = GATED) -> dict[str, Any]:
    return scorecard(records([REF, *found], used))


def by_id(found: tuple[Rule, ...]) -> dict[tuple[str, str], Rule]:
    return {(rule.model, rule.id): rule for rule in found}


def compared(ratio: float, sd: float = 0.005) -> Any:
    a, b = one("a", {TTFT: spread(0.5, sd)}), one("b", {TTFT: spread(0.5 * ratio, sd, seed=2)})
    return compare(a, b)


def test_the_profiles_gates_are_rules() -> None:
    found = by_id(rules(card_of(), None))
    assert found["ref", "gate fast"].outcome == "passed"
    strict = replace(GATED, gates=(gate(id="fast", metric="ttft_s", limit=0.1),))
    missed = rules(card_of(used=strict), None)
    rule = by_id(missed)["ref", "gate fast"]
    assert (rule.outcome, rule.metric, rule.limit) == ("failed", "ttft_s", 0.1)
    assert rule.value is not None
    assert rule.value > 0.1
    assert exit_code(missed) == Exit.REGRESSED
    shown = rules(card_of(used=strict), None, optional=("fast",))
    assert exit_code(shown) == Exit.DONE


@pytest.mark.parametrize(
    ("ratio", "sd", "outcome", "code", "strict"),
    [
        (1.0, 0.005, "passed", Exit.DONE, Exit.DONE),
        (0.9, 0.005, "passed", Exit.DONE, Exit.DONE),
        (1.1, 0.005, "failed", Exit.REGRESSED, Exit.REGRESSED),
        (1.05, 0.1, "inconclusive", Exit.DONE, Exit.INCONCLUSIVE),
    ],
)
def test_cases_are_rules(ratio: float, sd: float, outcome: str, code: Exit, strict: Exit) -> None:
    made = compared(ratio, sd)
    found = rules(card_of(), made)
    rule = by_id(found)["m", "ttft_s fixed-p64-n32"]
    assert (rule.outcome, rule.case) == (outcome, made.cases[0])
    assert exit_code(found) == code
    assert exit_code(found, fail_on_inconclusive=True) == strict
    assert comparison_exit_code(made) == code
    assert comparison_exit_code(made, fail_on_inconclusive=True) == strict


def test_a_case_that_is_gone_fails_and_a_new_one_does_not() -> None:
    both, single = (
        {TTFT: spread(1, 0.01), ("x", "ttft_s"): spread(1, 0.01)},
        {TTFT: spread(1, 0.01)},
    )
    gone = rules(card_of(), compare(one("a", both), one("b", single)))
    assert by_id(gone)["m", "ttft_s x"].outcome == "failed"
    assert exit_code(gone) == Exit.REGRESSED
    new = rules(card_of(), compare(one("a", single), one("b", both)))
    assert not by_id(new)["m", "ttft_s x"].required
    assert exit_code(new, fail_on_inconclusive=True) == Exit.DONE


def test_what_cannot_be_compared_does_not_pass() -> None:
    made = compare(
        one("a", {TTFT: spread(1, 0.01)}), one("b", {TTFT: spread(1, 0.01)}, workload="x")
    )
    found = rules(card_of(), made)
    assert by_id(found)["run", "comparable other_profile"].outcome == "incomparable"
    assert exit_code(found) == comparison_exit_code(made) == Exit.INCOMPARABLE


def test_a_failed_job_fails() -> None:
    card = card_of(Candidate(id="x", fails=(("memory", "out_of_memory"),)))
    found = rules(card, None)
    rule = by_id(found)["x", "measured"]
    assert (rule.outcome, rule.reason) == ("failed", "out_of_memory")
    assert by_id(found)["ref", "measured"].outcome == "passed"
    assert exit_code(found) == Exit.REGRESSED


def test_an_invalid_run_fails() -> None:
    strict = replace(GATED, tolerates_unknown=False, tier="verified")
    rows = records([REF], strict)
    finding = {"code": "on_battery", "severity": "invalid", "detail": "on battery"}
    next(row for row in rows if row["type"] == "environment")["findings"] = [finding]
    card = scorecard(rows)
    assert card["verdict"]["state"] == "invalid"
    found = by_id(rules(card, None))["run", "valid"]
    assert (found.outcome, found.reason, found.detail) == ("failed", "run_invalid", "on_battery")
    assert sides.side(rows, card, name="a").invalid == "run_invalid"


def test_nothing_to_check_is_refused() -> None:
    with pytest.raises(SpecError) as caught:
        rules(card_of(used=profile()), None)
    assert caught.value.reason == "nothing_to_check"
    assert "baseline save" in caught.value.hint


TEN = replace(
    GATED,
    protocol=replace(GATED.protocol, processes={"latency": 10, "memory": 10, "accuracy": 1}),
)
FIVE = replace(TEN, protocol=replace(TEN.protocol, processes={"latency": 5, "memory": 5}))
MINE = Candidate(id="mine", skill=0.6, seed=3)
SLOW = replace(MINE, speed=0.5)
Rows = list[dict[str, Any]]


def gated(before: Rows, after: Rows) -> dict[tuple[str, str], Rule]:
    """What the gate says of a run against a baseline, and that it is red."""
    card = scorecard(after)
    a = replace(sides.side(before, scorecard(before), name="main"), run="before")
    found = rules(card, compare(a, sides.side(after, card, name="latest")))
    assert exit_code(found) != Exit.DONE
    return by_id(found)


def is_item(row: dict[str, Any]) -> bool:
    return row["type"] == "sample" and row["suite"] == "accuracy" and row["model"] == "mine"


def test_a_model_that_is_gone_or_renamed_fails() -> None:
    """Its reference alone would still compare well."""
    renamed = records([REF, replace(SLOW, id="mine-2")], TEN)
    rule = gated(records([REF, MINE], TEN), renamed)["mine", "present"]
    assert (rule.outcome, rule.reason) == ("failed", "not_in_run")
    assert "--baseline NAME:MODEL" in rule.detail


@pytest.mark.parametrize("tasks", [("ko-arith",), ("ko-arith", "ko-josa", "en-arith", "en-josa")])
def test_accuracy_that_is_gone_fails(tasks: tuple[str, ...]) -> None:
    rows = records([REF, MINE], TEN)
    less = [row for row in rows if not (is_item(row) and row["case"] in tasks)]
    found = gated(rows, less)
    for task in tasks:
        rule = found["mine", f"accuracy_raw {task}"]
        assert (rule.outcome, rule.reason) == ("failed", "missing_case")
    assert len(tasks) == 4 or found["mine", "accuracy_raw all"].outcome == "passed"


def test_other_items_do_not_pass() -> None:
    rows, other = records([REF, MINE], TEN), records([REF, MINE], TEN)
    for row in filter(is_item, other):
        row["level"] += 1
    rule = gated(rows, other)["mine", "accuracy_raw ko-josa"]
    assert (rule.outcome, rule.reason) == ("incomparable", "other_items")
    seeded = records([REF, replace(MINE, skill=0.1)], TEN)
    seeded[0]["seed"] = {"public": True, "sha256": "5e" * 32}
    rule = gated(rows, seeded)["mine", "accuracy_raw all"]
    assert (rule.outcome, rule.reason) == ("incomparable", "other_items")


def test_to_skip_an_item_is_to_fail_it() -> None:
    rows, skips = records([REF, MINE], TEN), records([REF, MINE], TEN)
    kept = {"template", "level", "chance", "case", "index", "form"}
    kept |= {"type", "job", "model", "suite", "process"}
    for row in filter(is_item, skips):
        if row["correct"] and row["index"] % 2:
            for name in row.keys() - kept:
                del row[name]
            row |= {"kind": "item_skipped", "reason": "prompt_too_long", "detail": ""}
    assert gated(rows, skips)["mine", "accuracy_raw all"].outcome == "failed"


@pytest.mark.parametrize(("before", "after"), [(TEN, FIVE), (FIVE, TEN), (FIVE, FIVE)])
def test_too_few_processes_to_find_anything_do_not_pass(before: Any, after: Any) -> None:
    found = gated(records([REF, MINE], before), records([REF, SLOW], after))
    rule = found["run", "decidable"]
    assert (rule.outcome, rule.reason) == ("incomparable", "too_few_processes")
    assert f"fixed-p256-n32: {before.protocol.processes['latency']} → " in rule.detail


def test_a_process_whose_samples_were_refused_is_missed() -> None:
    rows = records([REF, MINE], TEN)
    spoilt = records([REF, MINE], TEN)
    for row in spoilt:
        if row.get("kind") == "request" and row["model"] == "mine" and row["process"] == 4:
            row["token_ns"] = [5] * len(row["token_ns"])
    assert "mine fixed-p256-n32: 10 → 9" in gated(rows, spoilt)["run", "decidable"].detail


def test_more_processes_than_before_and_some_weak_cases_pass() -> None:
    """A profile may repeat its other suites less, as `standard` does."""
    weak = replace(TEN, protocol=replace(TEN.protocol, processes={"latency": 12, "memory": 2}))
    rows = records([REF, MINE], weak)
    a = replace(sides.side(rows, scorecard(rows), name="main"), run="before")
    found = rules(scorecard(rows), compare(a, sides.side(rows, scorecard(rows), name="b")))
    assert by_id(found)["run", "decidable"].outcome == "passed"
    assert exit_code(found, fail_on_inconclusive=True) == Exit.DONE


def test_a_run_that_was_cut_short_fails() -> None:
    rows = records([REF, MINE], TEN)
    cut = [dict(row) for row in rows]
    cut[0]["jobs"] = 100
    rule = gated(rows, cut)["run", "complete"]
    assert (rule.outcome, rule.reason) == ("failed", "run_unfinished")
    assert "of 100 jobs are on record" in rule.detail


def test_a_model_whose_jobs_do_not_count_fails() -> None:
    strict = replace(TEN, tolerates_unknown=False)
    rows, battery = records([REF, MINE], strict), records([REF, MINE], strict)
    for row in battery:
        if row["type"] == "telemetry" and row["source"] == "worker" and row["model"] == "mine":
            row["counters"]["on_battery"] = 1
    found = gated(rows, battery)
    assert (found["mine", "measured"].outcome, found["mine", "measured"].reason) == (
        "failed",
        "invalid_job",
    )
    assert found["run", "valid"].outcome == found["ref", "measured"].outcome == "passed"


def test_a_fall_of_accuracy_is_a_broken_rule() -> None:
    rows = {skill: records([replace(REF, skill=skill)], GATED) for skill in (0.8, 0.4)}
    a, b = (
        replace(sides.side(found, scorecard(found), name=str(skill)), run=str(skill))
        for skill, found in rows.items()
    )
    found = rules(card_of(), compare(a, b))
    assert by_id(found)["ref", "accuracy_raw all"].outcome == "failed"
