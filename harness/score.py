"""Records in, scorecard out: pure, deterministic, and blind to the order of records.

records ─ observe ─▶ summaries ─ judge ─▶ scores and reasons ─ rank ─▶ scorecard (JSON)

The steps live in `harness.scoring`; docs/metrics.md says what they compute.
A scorecard holds nothing that the records do not: scoring again gives the same bytes.

Schema history
  1  first version
  2  `sessions`; `attempt` says what was announced and which earlier runs are gone
Each version only added fields: readers take any that is not newer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from harness.scoring.entry import entry_json
from harness.scoring.fidelity import entry as fidelity_entry
from harness.scoring.formulas import FORMULAS
from harness.scoring.gather import by_type, gather
from harness.scoring.judge import Judged, judge
from harness.scoring.observe import Observed
from harness.scoring.paired import compare_accuracy
from harness.scoring.part import Parts, Setting, parts_of, read_setting
from harness.scoring.rank import Ranking, pareto, rank
from harness.scoring.rules import LOAD_CASES, UNKNOWN_LOAD_CASE, Rules
from harness.scoring.sandboxes import lowest, unconfined
from harness.scoring.summary import Summaries, length_ratio
from harness.scoring.validity import Validity, examine_run, forgive
from harness.spec import canonical, canonical_json
from harness.stats import round_all

__all__ = ["LISTS", "SCHEMA", "blocked", "dump", "scorecard"]

SCHEMA = 2
_KINDS = ("real", "real-tuned", "embedded", "embedded-tuned", "synthetic")
LISTS = (*(f"fixed-{kind}" for kind in _KINDS), *_KINDS)
"""Ranked apart: artefacts of a prescribed network (`fixed-…`) and open ones; a network of this
project says nothing about a real one, and settings that were chosen by measuring nothing about
the defaults. A card has one tier, except that what is synthetic has its own."""
FULL_PROCESSES = 10
FULL_REQUESTS = 5

Json = dict[str, Any]


class Finding(NamedTuple):
    """A code and a sentence that says what to do."""

    code: str
    detail: str


def scorecard(records: Sequence[Mapping[str, Any]], *, torn: bool = False) -> Json:
    """The scorecard of one run.

    Args:
        records: of `records.jsonl`, in any order; unknown types are ignored.
        torn: the file ended in an unfinished line, which was dropped.

    Returns:
        JSON data whose floats have 6 significant digits.

    Raises:
        RecordError: no run record, several that differ, or an unusable profile.
    """
    found = gather(records)
    setting = read_setting(found[0].told)
    return compare(setting, parts_of(found, setting.run["models"], setting), torn=torn)


def compare(setting: Setting, made: Parts, *, torn: bool = False) -> Json:
    """The scorecard of what the models of a run come to one by one."""
    run, rules, looks = setting
    told, parts = by_type(made.counted), made.models
    observed = [part.observed for part in parts]
    validity = examine_run(
        told,
        [*(job for part in parts for job in part.jobs), *made.strangers],
        {part.observed.id: part.findings for part in parts},
        rules,
        looks,
    )
    own = [
        *_lost(run, made.counted, torn=torn),
        *_few_repetitions(rules),
        *_known_items(run, rules),
        *_nothing_to_rank(observed, rules),
    ]
    sandboxes = lowest(told.get("engine", ()))
    own += unconfined(sandboxes) if rules.profile.tier == "verified" else []
    environment = looks.environment
    verdict = _verdict(environment, own, validity, rules)
    judged = judge(
        observed,
        [_with_length(part.observed, part.summaries, observed, rules) for part in parts],
        rules,
        memory_budget=run["device"].get("memory_budget_bytes"),
        run_invalid=_why_invalid(verdict),
        jobs_invalid=_jobs_invalid(validity, rules),
    )
    groups = [[entry for entry in judged if entry.list_name == name] for name in LISTS]
    scored = [[entry for entry in group if entry.score is not None] for group in groups]
    formula = FORMULAS[rules.profile.scoring]
    rankings = [rank(group, rules.weights, formula) for group in scored]
    tier = _tier(rules, verdict)
    near = _fidelity(observed, run, rules)
    shown = {part.observed.id: part.shown for part in parts}
    by_list = dict(zip(LISTS, rankings, strict=True))
    listed = sorted(((entry, by_list[entry.list_name]) for entry in judged), key=_row)
    card: Json = round_all(
        {
            **_run_facts(run, rules),
            "sessions": _sessions(made.told, made.counted),
            "tier": tier,
            "environment": {when: found["facts"] for when, found in environment.items()},
            "calibration": looks.calibration,
            "verdict": verdict,
            "pareto": _pareto(scored, rules),
            "pairs": [pair._asdict() for ranking in rankings for pair in ranking.pairs],
            "accuracy": compare_accuracy(scored, rules),
        }
    )
    card["entries"] = [
        entry_json(
            entry, shown[entry.id], ranking, rules, findings=validity.models[entry.id], tier=tier
        )
        | round_all({"fidelity": near[entry.id], "sandbox": sandboxes.get(entry.id)})
        for entry, ranking in listed
    ]
    return card


def _row(found: tuple[Judged, Ranking]) -> tuple[bool, int, float, str]:
    """By rank, then score, then id; those without a rank last."""
    entry, ranking = found
    rank = ranking.ranks.get(entry.id)
    return rank is None, rank or 0, -(entry.score or 0), entry.id


def _run_facts(run: Mapping[str, Any], rules: Rules) -> Json:
    """What a scorecard says of the run without looking at a sample."""
    profile = {name: getattr(rules.profile, name) for name in ("id", "version", "title", "note")}
    return {
        "schema": SCHEMA,
        "kind": "scorecard",
        "run": run["run"],
        "profile": {**profile, "sha256": rules.sha256},
        "reference": rules.profile.reference,
        "harness": run.get("harness", ""),
        "started_utc": run.get("started_utc", ""),
        "device": run["device"],
        "attempt": run.get("attempt", {"number": 1, "of": 1}),
        "seed": dict(run.get("seed", {})),
        "scoring": rules.profile.scoring,
        "fixed_family": rules.profile.fixed_family,
        "weights": dict(rules.weights),
        "skipped": sorted(run.get("skipped", []), key=canonical),
    }


def _sessions(everything: Iterable[Mapping[str, Any]], kept: Iterable[Mapping[str, Any]]) -> Json:
    """When a run was resumed, and which jobs were begun again because their start was lost."""
    counted = {id(record) for record in kept}
    again = [
        {name: record.get(name) for name in ("model", "suite", "process", "outcome", "reason")}
        for record in everything
        if record["type"] == "job" and id(record) not in counted
    ]
    resumed = [str(r.get("started_utc", "")) for r in everything if r.get("kind") == "resumed"]
    return {"resumed": sorted(resumed), "again": sorted(again, key=canonical)}


def _fidelity(observed: Sequence[Observed], run: Mapping[str, Any], rules: Rules) -> Json:
    """How near each model is to its reference, by id."""
    others = {seen.id: seen for seen in observed}
    suite = rules.profile.suites.fidelity
    return {
        seen.id: fidelity_entry(seen, others, run.get("skipped", ()), suite) for seen in observed
    }


def _pareto(scored: Sequence[Sequence[Judged]], rules: Rules) -> Json:
    """Who is on the front of a list, and who is dominated by whom."""
    measured = [suite for suite in rules.cases if rules.scored(suite)]
    fronts = [pareto(group, measured) for group in scored]
    return {
        "axes": list(fronts[0].axes),
        "front": [model for front in fronts for model in front.front],
        "dominated": {m: by for front in fronts for m, by in front.dominated.items()},
    }


def dump(card: Mapping[str, Any]) -> bytes:
    """The bytes of `scorecard.json`: canonical JSON and a newline.

    Args:
        card: as `scorecard` rounded it.

    Raises:
        ValueError: a NaN or an infinity is inside.
    """
    return canonical_json(card) + b"\n"


def _verdict(
    environment: Mapping[str, Json], own: Sequence[Json], validity: Validity, rules: Rules
) -> Json:
    """Whether the run counts. A tolerant profile turns everything into warnings."""
    around = [finding for record in environment.values() for finding in record["findings"]]
    findings = forgive([*around, *own, *validity.run], validity.forgiven)
    severities = {finding.get("severity") for finding in findings}
    if not rules.profile.tolerates_unknown and severities & {"invalid", "unknown"}:
        state = "invalid"
    elif _base_tier(rules, findings) != "verified":
        state = "unverified"
    else:
        state = "warn" if severities or any(validity.models.values()) else "valid"
    return {"state": state, "findings": findings}


def _lost(
    run: Mapping[str, Any], records: Iterable[Mapping[str, Any]], *, torn: bool
) -> list[Json]:
    """Findings on a record file that ends before its run did."""
    out: list[Json] = []
    if torn:
        detail = "the last line was unfinished and was dropped"
        out.append({"code": "records_torn", "severity": "warn", "detail": detail})
    # An optional job that precision made needless is not lost.
    ended = len(
        {
            record.get("job")
            for record in records
            if record["type"] == "job" or record.get("kind") == "not_needed"
        }
    )
    planned = run.get("jobs", ended)
    if ended < planned:
        detail = f"{ended} of {planned} jobs are on record"
        out.append({"code": "run_incomplete", "severity": "warn", "detail": detail})
    return out


def _few_repetitions(rules: Rules) -> list[Json]:
    out = []
    protocol = rules.profile.protocol
    processes, requests = protocol.processes.get("latency", 1), protocol.requests
    if rules.cases["latency"] and (processes < FULL_PROCESSES or requests < FULL_REQUESTS):
        out.append(
            {
                "code": "few_repetitions",
                "severity": "warn",
                "detail": f"{processes} processes of {requests} requests a case; "
                f"a full run has {FULL_PROCESSES} of {FULL_REQUESTS}",
            }
        )
    return out


def _nothing_to_rank(observed: Sequence[Observed], rules: Rules) -> list[Json]:
    """A run whose ranks would say nothing, because of who took part or what became of them."""
    reference = rules.profile.reference
    outcomes = {job.outcome for seen in observed for job in seen.jobs}
    kept = any(_measured(seen) for seen in observed)
    if not kept or (outcomes and "ok" not in outcomes):
        detail = (
            "no job ended well with a sample that can be used, so there is nothing to score: see "
            "the reasons of the jobs and models, then `harness doctor` and `harness run`"
        )
        if outcomes == {"interrupted"}:
            detail = (
                "the run was interrupted before a job had ended, so there is nothing to score yet: "
                "`harness run --resume RUN` goes on with it"
            )
        return [{"code": "nothing_measured", "severity": "warn", "detail": detail}]
    if reference not in [seen.id for seen in observed]:
        detail = (
            f"scores are ratios to {reference}, which this run did not measure: make its file and "
            "its engine available (`harness doctor`), then `harness run`"
        )
        return [{"code": "reference_not_measured", "severity": "warn", "detail": detail}]
    if len(observed) == 1:
        detail = "nothing is compared with it: name a second one with `harness run --model`"
        return [{"code": "single_model", "severity": "warn", "detail": detail}]
    return []


def _measured(seen: Observed) -> bool:
    """Whether any case has a figure; that a model could be loaded is none."""
    cases = {case for case, _ in seen.counts} - {*LOAD_CASES.values(), UNKNOWN_LOAD_CASE}
    return bool(cases or seen.items or seen.divergences or seen.stores_reference)


def blocked(card: Mapping[str, Any]) -> Finding | None:
    """Why a whole card could hold no score, so that a caller can tell it from a bad score."""
    if any(entry["score"] is not None for entry in card["entries"]):
        return None
    for finding in card["verdict"]["findings"]:
        if finding["code"] in {"nothing_measured", "reference_not_measured"}:
            return Finding(finding["code"], finding["detail"])
    for entry in card["entries"]:
        if entry["reason"] == "reference_at_chance":
            return Finding(entry["reason"], entry["detail"])
    return None


def _known_items(run: Mapping[str, Any], rules: Rules) -> list[Json]:
    """What an official run's items are worth: public ones can be trained on, and a seed that
    nobody was bound to could have been chosen.
    """
    seed = run.get("seed")
    if not seed:
        return []
    if seed.get("public"):
        if rules.profile.tier != "verified":
            return []
        detail = "anybody can have trained on the items of the public seed"
        return [{"code": "public_items", "severity": "warn", "detail": detail}]
    if seed.get("committed"):
        return []
    detail = "the profile did not name the seed's hash before the run"
    return [{"code": "seed_not_committed", "severity": "warn", "detail": detail}]


def _why_invalid(verdict: Mapping[str, Any]) -> str:
    if verdict["state"] != "invalid":
        return ""
    codes = sorted({f["code"] for f in verdict["findings"] if f["severity"] != "warn"})
    return f"the run does not count: {', '.join(codes)}"


def _jobs_invalid(validity: Validity, rules: Rules) -> dict[str, str]:
    """Why a model's jobs do not count, in a strict profile's eyes."""
    if rules.profile.tolerates_unknown:
        return {}
    invalid = {
        model: [finding for finding in findings if finding["severity"] == "invalid"]
        for model, findings in validity.models.items()
    }
    return {
        model: "; ".join(f"{finding['code']}: {finding['detail']}" for finding in findings)
        for model, findings in invalid.items()
        if findings
    }


def _with_length(
    seen: Observed, summary: Summaries, observed: Sequence[Observed], rules: Rules
) -> Summaries:
    """The summaries with the length of chat answers against the reference's."""
    reference = next((other for other in observed if other.id == rules.profile.reference), None)
    ratio = length_ratio(seen, reference) if reference else None
    if ratio is None:
        return summary
    return replace(summary, metrics={**summary.metrics, "length_ratio": ratio})


def _tier(rules: Rules, verdict: Mapping[str, Any]) -> str:
    """A virtual machine is never ranked beside laptops."""
    virtual = any(finding["code"] == "virtual_machine" for finding in verdict["findings"])
    tier = _base_tier(rules, verdict["findings"])
    return "ci" if virtual and tier != "synthetic" else tier


def _base_tier(rules: Rules, findings: Iterable[Mapping[str, Any]]) -> str:
    """The profile's own, unless what it asks of an official run was not in force."""
    free = any(finding["code"] == "not_sandboxed" for finding in findings)
    return "unverified" if free else rules.profile.tier
