"""May this run be merged? The profile's gates and the comparison with a baseline as rules. Pure.

scorecard + comparison ─ rules ─▶ outcomes ─ exit_code ─▶ 0, 1, 5 or 6

Every gate of the profile, every compared case, and that nothing is missing is a rule of its
own: a CI service shows each as a test case.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from harness.compare import LEAST_PROCESSES, Case, Comparison
from harness.errors import Exit, SpecError
from harness.scoring.validity import unfinished

Outcome = Literal["passed", "failed", "inconclusive", "incomparable"]
_OF_VERDICT: Mapping[str, Outcome] = {
    "regressed": "failed",
    "improved": "passed",
    "unchanged": "passed",
    "inconclusive": "inconclusive",
}
_FINE = frozenset({"ok", "skipped"})
RUN = "run"
"""What a rule belongs to that is not of one model."""

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One thing that has to hold.

    Attributes:
        model: whom it concerns; `run` = everybody. id: what is asked, with its case.
        required: False where the profile only wants it shown.
        reason, detail: code and text of why it did not pass.
        case: of a comparison. value, limit, metric: of a gate.
    """

    model: str
    id: str
    outcome: Outcome
    required: bool = True
    reason: str = ""
    detail: str = ""
    case: Case | None = None
    metric: str = ""
    value: float | None = None
    limit: float | None = None


def rules(
    card: Json, comparison: Comparison | None, optional: Collection[str] = ()
) -> tuple[Rule, ...]:
    """All rules for a run.

    Args:
        card: of the run that is judged. comparison: of it (as B) with a baseline.
        optional: ids of gates that the profile only wants shown.

    Raises:
        SpecError: there is nothing that it could be held against.
    """
    out = [rule for entry in card["entries"] for rule in _of_entry(entry, optional)]
    if not out and comparison is None:
        raise SpecError(
            f"profile '{card['profile']['id']}' has no gates, and no baseline was named",
            allowed="a profile with gates, or --baseline",
            hint="harness baseline save latest --name main",
            reason="nothing_to_check",
        )
    if comparison is not None:
        out += of_comparison(comparison)
    return (*of_run(card), *out)


def of_run(card: Json) -> Iterator[Rule]:
    """That the run counts, came to its end, and that every model was measured."""
    findings = card["verdict"]["findings"]
    invalid = card["verdict"]["state"] == "invalid"
    found = [f for f in findings if f.get("severity") in {"invalid", "unknown"}]
    yield Rule(
        model=RUN,
        id="valid",
        outcome="failed" if invalid else "passed",
        reason="run_invalid" if invalid else "",
        detail="; ".join(str(finding["code"]) for finding in found) if invalid else "",
    )
    cut = unfinished(card)
    yield Rule(
        model=RUN,
        id="complete",
        outcome="failed" if cut else "passed",
        reason="run_unfinished" if cut else "",
        detail=cut,
    )
    for entry in card["entries"]:
        reason, detail = _not_measured(entry)
        yield Rule(
            model=entry["model"],
            id="measured",
            outcome="failed" if reason else "passed",
            reason=reason,
            detail=detail,
        )


def _not_measured(entry: Json) -> tuple[str, str]:
    """Why a model's jobs do not stand: one failed, they do not count, or left nothing."""
    for job in entry["jobs"]:
        if job["outcome"] not in _FINE:
            return str(job["reason"] or job["outcome"]), f"{job['suite']}: {job['detail']}"
    if entry["reason"] == "invalid_job":
        return "invalid_job", str(entry["detail"])
    for finding in entry["findings"]:
        if finding["code"] == "samples_refused":
            return "not_measured", str(finding["detail"])
    return "", ""


def _of_entry(entry: Json, optional: Collection[str]) -> Iterator[Rule]:
    for found in entry["gates"]:
        passed = found["passed"]
        yield Rule(
            model=entry["model"],
            id=f"gate {found['id']}",
            outcome="inconclusive" if passed is None else "passed" if passed else "failed",
            required=found["id"] not in optional,
            reason=found.get("reason") or "",
            metric=found.get("metric") or "",
            value=found.get("value"),
            limit=found.get("limit"),
        )


def of_comparison(comparison: Comparison) -> Iterator[Rule]:
    """A rule for each case, or for each reason why there is none."""
    for reason in comparison.reasons:
        yield Rule(
            model=RUN,
            id=f"comparable {reason.code}",
            outcome="incomparable",
            reason=reason.code,
            detail=reason.detail,
        )
    # What was measured before and is not any more is no better than worse.
    for model in () if comparison.reasons else comparison.only_a:
        yield Rule(
            model=model,
            id="present",
            outcome="failed",
            reason="not_in_run",
            detail="measure it too, name the models to compare (--baseline NAME:MODEL), or save "
            "the baseline again",
        )
    yield from _decidable(comparison.cases)
    for case in comparison.cases:
        yield Rule(
            model=case.model,
            id=f"{case.metric} {case.case}",
            outcome=_outcome(case),
            # What is new has nothing to be worse than.
            required=bool(case.n_a),
            reason=case.reason,
            case=case,
        )


def _outcome(case: Case) -> Outcome:
    if case.reason == "missing_case" and case.n_a:
        return "failed"
    if case.reason == "other_items":
        return "incomparable"
    return _OF_VERDICT[case.verdict]


def _decidable(cases: Sequence[Case]) -> Iterator[Rule]:
    """That something could be called worse at all: fewer than ten processes never are, and
    to measure fewer than the baseline must not be a way to pass.
    """
    timed = [case for case in cases if not case.is_accuracy and case.n_a and case.n_b]
    weak = [case for case in timed if min(case.n_a, case.n_b) < LEAST_PROCESSES]
    fewer = [case for case in weak if case.n_a >= LEAST_PROCESSES]
    open_ = fewer or (weak if len(weak) == len(timed) else [])
    if timed:
        yield Rule(
            model=RUN,
            id="decidable",
            outcome="incomparable" if open_ else "passed",
            reason="too_few_processes" if open_ else "",
            detail="; ".join(
                f"{case.model} {case.case}: {case.n_a} → {case.n_b}" for case in open_[:3]
            ),
        )


def exit_code(found: Sequence[Rule], *, fail_on_inconclusive: bool = False) -> Exit:
    """What the command ends with: the worst of the required rules."""
    outcomes = {rule.outcome for rule in found if rule.required}
    if "failed" in outcomes:
        return Exit.REGRESSED
    if "incomparable" in outcomes:
        return Exit.INCOMPARABLE
    if "inconclusive" in outcomes and fail_on_inconclusive:
        return Exit.INCONCLUSIVE
    return Exit.DONE


def comparison_exit_code(comparison: Comparison, *, fail_on_inconclusive: bool = False) -> Exit:
    """The same for a comparison alone."""
    if comparison.verdict == "inconclusive" and not fail_on_inconclusive:
        return Exit.DONE
    codes: Mapping[str, Exit] = {
        "regressed": Exit.REGRESSED,
        "incomparable": Exit.INCOMPARABLE,
        "inconclusive": Exit.INCONCLUSIVE,
    }
    return codes.get(comparison.verdict, Exit.DONE)
