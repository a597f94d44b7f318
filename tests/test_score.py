"""Scorecards of generated runs: shape, arithmetic by hand, and every reason for no score."""

import json
import math
from dataclasses import replace

import pytest

from harness.errors import RecordError
from harness.score import SCHEMA, dump, scorecard
from harness.spec import Protocol, Suites, canonical, digest, to_json
from tests.golden_run import PATH, golden_records
from tests.strategies import MIB, Candidate, profile, records

REF = Candidate(id="ref", skill=0.6)
SMALL = profile(
    protocol=Protocol(
        processes={"latency": 3, "memory": 1, "accuracy": 1},
        requests=2,
        warmup_max=1,
        grouping="suite",
        job_timeout_s=60.0,
    )
)


def entries(card):
    return {entry["model"]: entry for entry in card["entries"]}


def scored(candidates, used=SMALL, **options):
    return entries(scorecard(records(candidates, used, **options)))


def changed(rows, change, **where):
    """Records with `change` merged into the samples that match; None drops them."""
    out = []
    for row in rows:
        if row["type"] == "sample" and all(row.get(k) == v for k, v in where.items()):
            if change is not None:
                out.append(row | change)
        else:
            out.append(row)
    return out


def reason_after(change, **where):
    rows = changed(records([REF, replace(REF, id="x")], SMALL), change, model="x", **where)
    found = entries(scorecard(rows))
    assert found["ref"]["score"] == 1000.0
    assert found["x"]["score"] is None
    assert found["x"]["rank"] is None
    assert found["x"]["interval"] is None
    assert found["x"]["detail"]
    return found["x"]["reason"]


def test_golden_is_rebuilt_byte_for_byte():
    card = scorecard(golden_records())
    assert dump(card) == PATH.read_bytes()
    assert dump(card) == canonical(card) + b"\n"


def test_golden_has_what_reports_must_show():
    card = json.loads(PATH.read_bytes())
    assert card["schema"] == SCHEMA
    assert card["kind"] == "scorecard"
    assert card["verdict"]["state"] == "unverified"
    assert {e["list"] for e in card["entries"]} == {"embedded", "real", "real-tuned"}
    assert {e["reason"] for e in card["entries"]} == {"", "at_chance", "out_of_memory"}
    assert any(e["tied_with"] for e in card["entries"])
    assert any(r["capped"] for e in card["entries"] for r in e["ratios"].values())
    whole = [s["model"] for s in card["skipped"] if not s.get("case")]
    assert whole == ["startup-d.q4_k_m.gguf"]
    reasons = {e["fidelity"]["reason"] for e in card["entries"] if e["fidelity"]}
    assert reasons == {"", "is_reference", "no_reference", "tokeniser_differs"}
    assert any(g["passed"] is False for e in card["entries"] if e["fidelity"]
               for g in e["fidelity"]["gates"])  # fmt: skip
    ranks = [e["rank"] for e in card["entries"]]
    assert ranks == sorted(ranks, key=lambda rank: (rank is None, rank or 0))


def test_score_by_hand():
    used = replace(
        SMALL,
        weights={"ttft_s": 0.5, "decode_tok_per_s": 0.25, "peak_resident_bytes": 0.25},
        suites=replace(SMALL.suites, accuracy=None),
    )
    quiet = replace(REF, noise=0.0)
    other = replace(quiet, id="x", speed=1.25, memory_mib=320)
    found = scored([quiet, other], used)["x"]
    assert {name: r["value"] for name, r in found["ratios"].items()} == {
        "ttft_s": 1.25,
        "decode_tok_per_s": 1.25,
        "peak_resident_bytes": 1.25,
    }
    assert found["score"] == pytest.approx(1250, rel=1e-5)
    assert found["rank"] == 1
    assert scored([quiet, other], used)["ref"]["rank"] == 2


def test_metrics_by_hand():
    found = scored([replace(REF, noise=0.0)])["ref"]
    cases, metrics = found["cases"], found["metrics"]
    assert cases["fixed-p256-n32"]["ttft_s"]["value"] == pytest.approx(1.024)
    assert cases["fixed-p64-n32"]["ttft_s"]["value"] == pytest.approx(0.256)
    # Geometric mean of the two, and so on.
    assert metrics["ttft_s"]["value"] == pytest.approx(math.sqrt(1.024 * 0.256), rel=1e-5)
    assert metrics["ttft_s"]["unit"] == "s"
    assert metrics["ttft_s"]["n"] == 3 * 2 * 2
    assert metrics["tpot_s"]["value"] == pytest.approx(0.04)
    assert metrics["decode_tok_per_s"]["value"] == pytest.approx(25)
    assert metrics["prefill_tok_per_s"]["value"] == pytest.approx(250)
    assert metrics["itl_s"]["value"] == pytest.approx(0.04)
    assert metrics["itl_s_p99"]["value"] == pytest.approx(0.04)
    assert metrics["load_s"]["value"] == pytest.approx(0.9)
    assert metrics["peak_resident_bytes"]["value"] == pytest.approx(400 * MIB, rel=1e-5)
    assert metrics["runtime_resident_bytes"]["value"] == pytest.approx(25 * MIB, rel=1e-5)
    assert metrics["peak_file_bytes"]["value"] == pytest.approx(20 * MIB, rel=1e-5)
    assert found["deterministic"] is True
    assert found["engine"]["facts"] == {"build": "b6837"}
    assert len(found["jobs"]) == 5


def test_accuracy_by_hand():
    """Two tasks: 45 of 60 at chance 1/2 is 0.5 adjusted; 30 of 60 free answers is 0.5."""
    rows = records([REF], SMALL)
    rows = [
        row | {"correct": row["index"] < (45 if "josa" in row["case"] else 30), "answered": True}
        if row.get("kind") == "item"
        else row
        for row in rows
    ]
    found = entries(scorecard(rows))["ref"]
    josa, arith = found["tasks"]["ko-josa"], found["tasks"]["ko-arith"]
    assert (josa["value"], josa["adjusted"], josa["chance"]) == (0.75, 0.5, 0.5)
    assert (arith["value"], arith["adjusted"], arith["chance"]) == (0.5, 0.5, 0.0)
    assert found["metrics"]["accuracy"]["value"] == 0.5
    assert found["metrics"]["accuracy_raw"]["value"] == 0.625
    assert found["metrics"]["accuracy"]["n"] == 240
    assert sum(level["n"] for level in josa["levels"].values()) == 60
    assert josa["lo"] < 0.75 < josa["hi"]


def test_tail_percentiles_need_samples():
    """3 processes of 2 requests of 16 gaps: 96 values are too few."""
    used = replace(SMALL, suites=replace(SMALL.suites, latency=replace(
        SMALL.suites.latency, output_tokens=(17,))))  # fmt: skip
    metrics = scored([REF], used)["ref"]["metrics"]
    assert "itl_s_p50" in metrics
    assert "itl_s_p90" not in metrics


@pytest.mark.parametrize(
    ("reason", "change", "where"),
    [
        ("prompt_not_evaluated", {"evaluated": 1}, {"kind": "request", "index": 0, "process": 1}),
        ("wrong_workload", {"submitted": 63, "evaluated": 63}, {"case": "fixed-p64-n32"}),
        ("bad_times", {"end_ns": 0}, {"kind": "request", "index": 1}),
        ("bad_times", {"token_ns": [math.nan] * 32}, {"kind": "request"}),
        ("bad_times", {"peak_resident_bytes": 0}, {"kind": "memory", "phase": "decode"}),
        ("bad_times", {"peak_resident_bytes": -5}, {"kind": "memory", "phase": "load"}),
        ("conflicting_samples", {"phase": "load"}, {"kind": "memory", "phase": "decode"}),
        ("bad_item", {"chance": 1}, {"kind": "item", "index": 3}),
        ("bad_item", {"chance": math.nan}, {"kind": "item", "index": 3}),
        ("bad_item", {"correct": 1}, {"kind": "item", "index": 3}),
        ("bad_sample", {"index": "3"}, {"kind": "item", "index": 3}),
        ("incomplete_case", None, {"kind": "request", "process": 2, "index": 0}),
        ("incomplete_case", None, {"kind": "item", "index": 7, "case": "en-josa"}),
        ("missing_case", None, {"kind": "request", "case": "fixed-p64-n32"}),
        ("missing_case", None, {"suite": "memory"}),
        ("missing_case", None, {"kind": "memory", "phase": "decode"}),
        ("missing_case", None, {"suite": "accuracy"}),
        ("at_chance", {"correct": False, "answered": False}, {"kind": "item"}),
        ("different_items", {"template": "mine"}, {"kind": "item", "index": 3}),
        ("different_items", {"level": 3}, {"kind": "item", "index": 3}),
    ],
)
def test_no_score(reason, change, where):
    assert reason_after(change, **where) == reason


def test_an_unreadable_split_of_memory_is_only_left_out():
    rows = changed(records([REF], SMALL), {"anon_bytes": None}, kind="memory_split")
    found = entries(scorecard(rows))["ref"]
    assert found["rank"] == 1
    assert "peak_anon_bytes" not in found["metrics"]
    assert "peak_file_bytes" in found["metrics"]


def test_conflicting_samples_give_no_score_but_equal_ones_count_once():
    rows = records([REF, replace(REF, id="x")], SMALL)
    sample = next(r for r in rows if r.get("kind") == "request" and r["model"] == "x")
    assert dump(scorecard([*rows, sample])) == dump(scorecard(rows))
    faster = sample | {"token_ns": [t // 2 for t in sample["token_ns"]]}
    first = dump(scorecard([*rows, faster]))
    assert first == dump(scorecard([faster, *rows]))
    found = entries(json.loads(first))["x"]
    assert (found["score"], found["reason"]) == (None, "conflicting_samples")


def test_cached_repeats_give_no_score():
    rows = records([REF, replace(REF, id="x")], SMALL)
    check = next(r for r in rows if r.get("kind") == "request" and r["model"] == "x") | {
        "kind": "repeat",
        "new_ns": [100, 100],
        "repeated_ns": [5, 5],
    }
    assert entries(scorecard([*rows, check]))["x"]["reason"] == "prompt_not_evaluated"
    honest = check | {"repeated_ns": [99, 101]}
    assert entries(scorecard([*rows, honest]))["x"]["rank"] == 1


@pytest.mark.parametrize("outcome", ["crashed", "timeout", "out_of_memory", "interrupted"])
@pytest.mark.parametrize("suite", ["latency", "memory", "accuracy"])
def test_failed_jobs(suite, outcome):
    found = scored([REF, replace(REF, id="x", fails=((suite, outcome),))])["x"]
    assert found["score"] is None
    assert found["reason"] == outcome
    assert f"{suite} process 0 ended {outcome}" in found["detail"]
    assert {"suite": suite, "process": 0, "outcome": outcome, "reason": outcome, "detail": ""} in (
        found["jobs"]
    )


def test_skipped_case_names_its_reason():
    rows = changed(records([REF, replace(REF, id="x")], SMALL), None, model="x", suite="memory")
    event = {"type": "event", "kind": "skipped", "job": "j", "model": "x", "case": "c288"}
    event |= {"reason": "memory_unreadable", "detail": "this platform does not say"}
    found = entries(scorecard([*rows, event]))["x"]
    assert found["reason"] == "memory_unreadable"
    assert "this platform does not say" in found["detail"]


def test_reference_absent():
    found = scored([replace(REF, id="x")])["x"]
    assert (found["score"], found["reason"]) == (None, "no_reference")


def test_reference_broken():
    found = scored([replace(REF, fails=(("memory", "crashed"),)), replace(REF, id="x")])
    assert found["ref"]["reason"] == "crashed"
    assert found["x"]["reason"] == "no_reference"


def test_reference_at_chance():
    found = scored([replace(REF, skill=0.0), replace(REF, id="x")])
    assert found["ref"]["reason"] == "at_chance"
    assert found["x"]["reason"] == "reference_at_chance"


def test_profile_without_accuracy():
    used = replace(
        SMALL,
        weights={"ttft_s": 0.5, "load_s": 0.25, "itl_s_p90": 0.25},
        suites=Suites(latency=SMALL.suites.latency),
    )
    found = scored([REF, replace(REF, id="x", speed=1.5, seed=4, skill=0.0)], used)
    assert found["x"]["rank"] == 1
    assert found["ref"]["rank"] == 2
    assert found["x"]["ratios"]["load_s"]["value"] == pytest.approx(1.5, rel=0.05)
    assert found["x"]["ratios"]["itl_s_p90"]["lo"] < found["x"]["ratios"]["itl_s_p90"]["hi"]


def test_ratios_are_capped_and_say_so():
    found = scored([REF, replace(REF, id="x", speed=5, memory_mib=3000)])["x"]
    ratio = {"value": 2.0, "lo": 2.0, "hi": 2.0, "capped": True, "effect": 1.1487}
    assert found["ratios"]["ttft_s"] == ratio
    assert found["ratios"]["peak_resident_bytes"]["value"] == 0.5
    assert found["ratios"]["accuracy"]["capped"] is False


def test_one_process_cannot_tell_speeds_apart():
    alone = replace(SMALL, protocol=replace(SMALL.protocol, processes={"latency": 1}))
    found = scored([REF, replace(REF, id="x", speed=1.9, seed=5)], alone)
    assert found["x"]["score"] > 1200
    assert found["x"]["rank"] == found["ref"]["rank"] == 1
    assert found["x"]["tied_with"] == ["ref"]


def test_memory_within_8_mib_is_a_tie():
    used = replace(
        SMALL,
        weights={"peak_resident_bytes": 1.0},
        suites=replace(SMALL.suites, accuracy=None, latency=None),
    )
    small = replace(REF, memory_mib=40)
    near = scored([small, replace(small, id="x", memory_mib=32.1)], used)
    assert near["x"]["score"] > 1200
    assert near["x"]["rank"] == near["ref"]["rank"] == 1
    far = scored([small, replace(small, id="x", memory_mib=31.9)], used)
    assert (far["x"]["rank"], far["ref"]["rank"]) == (1, 2)


def test_lists_are_ranked_apart():
    found = scored(
        [
            replace(REF, kind="embedded"),
            replace(REF, id="slow", kind="embedded", speed=0.6, seed=1),
            replace(REF, id="mine", speed=0.7, seed=2),
            replace(REF, id="fake", format="fake", speed=0.7, seed=2),
        ]
    )
    assert {name: (e["list"], e["rank"]) for name, e in found.items()} == {
        "ref": ("embedded", 1),
        "slow": ("embedded", 2),
        "mine": ("real", 1),
        "fake": ("synthetic", 1),
    }
    assert found["mine"]["score"] == found["fake"]["score"]


def test_pareto():
    card = scorecard(
        records(
            [REF, replace(REF, id="worse", speed=0.7), replace(REF, id="lean", memory_mib=300)],
            SMALL,
        )
    )
    assert card["pareto"] == {
        "axes": ["accuracy", "ttft_s", "decode_tok_per_s", "peak_resident_bytes"],
        "front": ["lean"],
        "dominated": {"ref": ["lean"], "worse": ["lean", "ref"]},
    }


def with_findings(used, *severities):
    rows = records([REF, replace(REF, id="x", seed=1)], used)
    findings = [{"code": f"c{i}", "severity": s, "detail": ""} for i, s in enumerate(severities)]
    return [r | {"findings": findings} if r.get("when") == "after" else r for r in rows]


FULL = replace(
    profile(tier="verified", tolerates_unknown=False),
    protocol=replace(SMALL.protocol, processes={"latency": 10}, requests=5),
    suites=replace(SMALL.suites, accuracy=None),
    weights={"ttft_s": 1.0},
)


@pytest.mark.parametrize(
    ("severities", "state"),
    [((), "valid"), (("warn",), "warn"), (("unknown",), "invalid"), (("invalid",), "invalid")],
)
def test_verdict_of_a_strict_profile(severities, state):
    card = scorecard(with_findings(FULL, *severities))
    assert card["verdict"]["state"] == state
    entry = card["entries"][0]
    assert (entry["reason"] == "run_invalid") is (state == "invalid")
    assert (entry["score"] is None) is (state == "invalid")


@pytest.mark.parametrize("severities", [(), ("warn",), ("unknown",), ("invalid",)])
def test_verdict_of_a_tolerant_profile(severities):
    card = scorecard(with_findings(SMALL, *severities))
    assert card["verdict"]["state"] == "unverified"
    assert card["entries"][0]["rank"] == 1
    assert "few_repetitions" in {f["code"] for f in card["verdict"]["findings"]}


def test_virtual_machines_are_another_tier():
    rows = with_findings(SMALL, "warn")
    rows = json.loads(json.dumps(rows).replace('"c0"', '"virtual_machine"'))
    assert scorecard(rows)["tier"] == "ci"


def test_varying_output_is_a_finding():
    rows = changed(records([REF], SMALL), {"output_sha256": "00"}, kind="request", process=1)
    card = scorecard(rows)
    assert card["entries"][0]["deterministic"] is False
    assert "output_varies" in {f["code"] for f in card["entries"][0]["findings"]}


def test_a_job_for_each_case():
    used = replace(SMALL, protocol=replace(SMALL.protocol, grouping="case"))
    rows = records([REF, replace(REF, id="x", speed=1.5, seed=3)], used)
    # Every job of a case has its own loading time.
    load = next(r for r in rows if r.get("kind") == "load" and r["model"] == "x")
    found = entries(scorecard([*rows, load | {"job": "other", "ready_ns": 10**9}]))
    assert found["x"]["score"] > 1000
    assert found["x"]["metrics"]["load_s"]["n"] == 4


def test_engine_facts_that_differ_are_named():
    rows = records([REF], SMALL)
    engine = next(r for r in rows if r["type"] == "engine")
    other = engine | {"facts": {"build": "b1"}, "job": "other"}
    found = entries(scorecard([*rows, other]))["ref"]
    assert found["engine"]["facts"] == {}
    assert found["engine"]["varies"] == ["facts.build"]
    assert found["engine"]["options"]["threads"] == 8


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda rows: rows[1:], "no run record"),
        (lambda rows: [*rows, rows[0] | {"run": "other"}], "different runs"),
        (lambda rows: [{k: v for k, v in rows[0].items() if k != "models"}], "no 'models'"),
        (lambda rows: [rows[0] | {"profile": {"id": "x"}}], "profile cannot be read"),
        (
            lambda rows: [rows[0] | {"profile": to_json(replace(SMALL, weights={"ttft_ms": 1.0}))}],
            "weighs 'ttft_ms'",
        ),
        (
            lambda rows: [rows[0] | {"profile": to_json(replace(SMALL, weights={"ttft_s": 0.3}))}],
            "do not add up to 1",
        ),
    ],
)
def test_records_that_are_no_run(edit, message):
    with pytest.raises(RecordError, match=message):
        scorecard(edit(records([REF], SMALL)))


def test_unknown_records_and_models_are_ignored():
    rows = records([REF], SMALL)
    strange = [{"type": "telemetry", "watts": 5}, {"type": "sample", "model": "ghost"}]
    assert dump(scorecard([*strange, *rows])) == dump(scorecard(rows))


def test_profile_is_named_by_its_hash():
    assert scorecard(records([REF], SMALL))["profile"]["sha256"] == digest(SMALL)


def test_one_template_is_resampled_by_item():
    rows = changed(records([REF, replace(REF, id="x")], SMALL), {"template": "only"}, kind="item")
    found = entries(scorecard(rows))["x"]
    assert found["rank"] == 1
    josa = found["tasks"]["ko-josa"]
    assert josa["hi"] - josa["lo"] > 0.1


def test_a_weighted_zero_or_absent_metric_gives_no_score():
    used = replace(SMALL, weights={"load_first_s": 0.5, "ttft_s": 0.5})
    rows = changed(records([REF], used), {"first_ns": 0}, kind="load")
    assert entries(scorecard(rows))["ref"]["reason"] == "not_positive"
    used = replace(SMALL, weights={"kernel_pp_tok_per_s": 1.0})
    assert scored([REF], used)["ref"]["reason"] == "not_measured"
    assert scored([REF], replace(SMALL, weights={}))["ref"]["reason"] == "no_weights"


def test_nothing_measured():
    rows = [r for r in records([REF], SMALL) if r["type"] == "run"]
    card = scorecard(rows)
    assert card["entries"][0]["reason"] == "missing_case"
    assert (card["pareto"]["front"], card["pareto"]["dominated"]) == ([], {})
    empty = scorecard([rows[0] | {"models": []}])
    assert empty["entries"] == []


def test_dump_refuses_what_is_not_json():
    with pytest.raises(ValueError, match="not JSON compliant"):
        dump({"a": math.nan})


def test_an_entry_tells_its_chat_template():
    found = scored([REF, replace(REF, id="mine", kind="embedded")])
    assert found["ref"]["chat_template"] == {"policy": "own", "sha256": "c4" * 32}
    assert found["mine"]["chat_template"] == {"policy": "plain", "sha256": ""}
