"""Suites beside latency, memory and accuracy: their figures by hand, and never in one column."""

import json
import statistics
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.metrics import METRICS
from harness.score import dump, scorecard
from harness.scoring.efficiency import mbu, mfu
from harness.scoring.reader import PHASES, Series
from harness.scoring.summary import _Alike
from harness.spec import KernelSuite, MemorySuite, TaskSuite
from tests.golden_run import PROFILE
from tests.strategies import MIB, Candidate, profile, records

ORACLE = json.loads((Path(__file__).parent / "oracles" / "mbu.json").read_text("utf-8"))
REF = Candidate(id="ref", skill=0.6, noise=0.0, kv_bytes_per_tok=4096)
ALL = replace(PROFILE, reference="ref", gates=())
LEAN = profile()


def entries(card):
    return {entry["model"]: entry for entry in card["entries"]}


def scored(rows):
    return entries(scorecard(rows))


def edited(rows, change, **where):
    """Records with `change` (fields, or a function of the sample) applied where they match."""
    out = []
    for row in rows:
        if row["type"] == "sample" and all(row.get(key) == value for key, value in where.items()):
            out.append(row | (change(row) if callable(change) else change))
        else:
            out.append(row)
    return out


@pytest.fixture(scope="module")
def everything():
    return scored(records([REF, replace(REF, id="x", chatty=0.5)], ALL))


# --- efficiency -----------------------------------------------------------------------


@pytest.mark.parametrize("row", ORACLE["rows"], ids=lambda row: row["build"])
def test_mbu_is_that_of_si_bytes(row):
    share = mbu(
        np.array([row["tg128_tok_per_s"]]),
        read_bytes=ORACLE["model_bytes_gib"] * 2**30,
        kv_bytes=0,
        read_bytes_per_s=ORACLE["peak_bytes_per_s"],
    )
    assert 100 * share[0] == pytest.approx(row["correct_percent"], abs=0.05)
    assert 100 * share[0] > row["quoted_percent"] * 1.05


def test_mfu_by_hand():
    """100 tokens in 2 s, 3 million parameters in the body and 1 million in the head."""
    share = mfu(
        np.array([50.0]),
        prompt_tokens=100,
        body_parameters=3e6,
        head_parameters=1e6,
        flop_per_s=1e9,
    )
    assert share[0] == pytest.approx(2 * (3e6 * 100 + 1e6) / 2 / 1e9)


def test_utilisation_of_a_run_by_hand(everything):
    """400 MiB of memory: 280 MiB of weights read a token, 25 tok/s, 50 GB/s."""
    cases = everything["ref"]["cases"]
    kv = 4096 * (64 + 32 / 2)
    assert cases["fixed-p64-n32"]["mbu"]["value"] == pytest.approx(
        (280 * MIB + kv) * 25 / 5e10, rel=1e-5
    )
    deeper = cases["fixed-p64-n32@d512"]["mbu"]["value"] - cases["fixed-p64-n32"]["mbu"]["value"]
    assert deeper == pytest.approx(4096 * 512 * 25 / 5e10, rel=1e-3)
    operations = 2 * (400e6 * 64 + 40e6)
    assert cases["fixed-p64-n32"]["mfu"]["value"] == pytest.approx(
        operations / (64 * 4e-3) / 2e11, rel=1e-5
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda row: row | {"calibration": None} if row["type"] == "environment" else row,
        lambda row: (
            row | {"models": [model | {"weights": {}} for model in row["models"]]}
            if row["type"] == "run"
            else row
        ),
        lambda row: row | {"load": {"kv_bytes_per_token": 0}} if row["type"] == "engine" else row,
    ],
)
def test_an_unknown_roof_or_weight_gives_no_figure(change):
    found = scored([change(row) for row in records([REF], LEAN)])["ref"]
    assert "mbu" not in found["metrics"]
    assert "decode_tok_per_s" in found["metrics"]


def test_an_engine_may_beat_the_roof():
    slow_roof = [
        row
        | {"calibration": row["calibration"] | {"read_bytes_per_s": 1e9, "fp32_flop_per_s": 1e9}}
        if row["type"] == "environment"
        else row
        for row in records([REF], LEAN)
    ]
    found = scored(slow_roof)["ref"]
    assert found["metrics"]["mbu"]["value"] > 1
    assert found["metrics"]["mfu"]["value"] > 1


def test_calibration_is_on_the_card():
    rows = [row | {"calibration": None} if row.get("when") == "after" else row
            for row in records([REF], LEAN)]  # fmt: skip
    calibration = scorecard(rows)["calibration"]
    assert calibration["before"]["threads"] == 8
    assert calibration["after"] is None


# --- cases and columns ----------------------------------------------------------------


def test_cases_that_are_only_shown_do_not_enter_metrics(everything):
    """Depths and further contexts are there, and the metric is that of the scored cases."""
    found = everything["ref"]
    assert {"fixed-p64-n32@d512", "tg32@d512", "c4096", "c288-mmap"} <= found["cases"].keys()
    assert found["metrics"]["peak_resident_bytes"] == found["cases"]["c288"]["peak_resident_bytes"]
    assert found["metrics"]["kernel_tg_tok_per_s"] == found["cases"]["tg32"]["kernel_tg_tok_per_s"]
    assert found["metrics"]["ttft_s"]["n"] == 4 * 5 * 2


def test_a_shown_case_may_be_missing_or_refused():
    rows = edited(records([REF], ALL), {"evaluated": 1}, case="fixed-p64-n32@d512", kind="request")
    rows = [row for row in rows if row.get("case") != "c4096"]
    found = scored(rows)["ref"]
    assert found["rank"] == 1
    assert "ttft_s" not in found["cases"].get("fixed-p64-n32@d512", {})
    assert {finding["code"] for finding in found["findings"]} == {"prompt_not_evaluated"}
    assert "fixed-p64-n32@d512: 1 of 64" in found["findings"][0]["detail"]


@pytest.mark.parametrize("kind", ["request", "chat", "kernel", "sustained", "load", "memory"])
def test_samples_of_another_suite_never_mix(kind):
    rows = records([REF], ALL)
    stray = [row | {"suite": "accuracy"} for row in rows if row.get("kind") == kind]
    assert stray
    faster = [{**row, "job": "other"} for row in stray]
    assert dump(scorecard([*rows, *faster])) == dump(scorecard(rows))


def test_energy_requests_feed_no_latency(everything):
    case = everything["ref"]["cases"]["energy-p64-n32"]
    assert case.keys() == {"energy_j", "energy_j_per_tok"}
    assert all(METRICS[metric].suite == "energy" for metric in case)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"decoded": 3}, "wrong_token_count"),
        ({"decoded": 93}, "wrong_token_count"),
        ({"decoded": None}, "bad_times"),
    ],
)
def test_chunks_are_refused(change, reason):
    rows = edited(records([REF, replace(REF, id="x")], LEAN), change, kind="request", model="x")
    assert scored(rows)["x"]["reason"] == reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda row: {
                "prefill_ns": row["extend_ns"] // 10,
                "after_prefill_ns": row["step_ns"] + row["extend_ns"],
            },
            "token_not_available",
        ),
        (
            lambda row: {
                "step_ns": row["extend_step_ns"] // 10,
                "after_step_ns": 2 * row["extend_step_ns"],
            },
            "token_not_available",
        ),
        (lambda _: {"same_token": False}, "wrong_token"),
    ],
)
def test_tokens_that_were_not_there_give_no_score(change, reason):
    rows = edited(records([REF, replace(REF, id="x")], LEAN), change, kind="check", model="x")
    found = scored(rows)
    assert found["x"]["reason"] == reason
    assert found["ref"]["rank"] == 1


def test_cold_and_warm_loading_are_apart():
    rows = edited(
        records([REF], LEAN),
        lambda row: {"cache": "cold", "case": "load-cold", "ready_ns": 2 * row["ready_ns"]},
        kind="load",
        process=0,
    )
    rows = edited(rows, {"cache": "warm"}, kind="load", cache="unknown")
    weighed = [
        row | {"profile": row["profile"] | {"weights": {"load_s": 1.0}}}
        if "profile" in row
        else row
        for row in rows
    ]
    found = scored(weighed)["ref"]
    assert found["cases"]["load"]["load_s"]["n"] == 2
    assert found["cases"]["load-cold"]["load_s"]["value"] == pytest.approx(1.8)
    assert found["metrics"]["load_s"]["value"] == pytest.approx(0.9)
    assert found["metrics"]["load_weights_s"]["value"] == pytest.approx(0.18)
    assert found["rank"] == 1, "the cold start is one of the three that are demanded"


def test_optional_processes_are_used_and_not_demanded():
    more = replace(LEAN, protocol=replace(LEAN.protocol, processes={"latency": 5}))
    rows = records([REF], more)
    run = records([REF], LEAN)[0]
    planned = [
        {"type": "event", "kind": "not_needed", "reason": "precise", "job": f"j{i}", "model": "ref"}
        for i in range(3)
    ]
    jobs = sum(row["type"] == "job" for row in rows) + len(planned)
    card = scorecard([run | {"jobs": jobs}, *rows[1:], *planned])
    assert entries(card)["ref"]["metrics"]["ttft_s"]["n"] == 5 * 3 * 2
    assert "run_incomplete" not in {f["code"] for f in card["verdict"]["findings"]}
    lost = scorecard([run | {"jobs": jobs}, *rows[1:]])
    assert "run_incomplete" in {f["code"] for f in lost["verdict"]["findings"]}


@pytest.mark.parametrize(
    ("suites", "metric", "case"),
    [
        ({"kernel": KernelSuite(prompt_tokens=64, output_tokens=8)}, "kernel_tg_tok_per_s", "tg8"),
        ({"kernel": KernelSuite(prompt_tokens=64, output_tokens=8)}, "kernel_pp_tok_per_s", "pp64"),
        ({"task": TaskSuite(languages=("ko",), prompts=3, output_tokens=32)}, "task_ttft_s",
         "chat-ko"),
        ({"energy": ALL.suites.energy}, "energy_j", "energy-p64-n32"),
        ({"sustained": ALL.suites.sustained}, "sustained_ratio", "sustained-p64-n32"),
    ],
)  # fmt: skip
def test_any_suite_can_be_weighed_and_is_then_demanded(suites, metric, case):
    used = replace(LEAN, suites=replace(LEAN.suites, **suites), weights={metric: 1.0})
    rows = records([REF, replace(REF, id="x", speed=1.2)], used)
    assert scored(rows)["x"]["reason"] == ""
    gone = [row for row in rows if row.get("model") != "x" or row.get("case") != case]
    assert scored(gone)["x"]["reason"] == "missing_case"
    if metric != "sustained_ratio":
        one = next(row for row in rows if row.get("model") == "x" and row.get("case") == case)
        assert scored([row for row in rows if row is not one])["x"]["reason"] == "incomplete_case"


def test_tuned_entries_are_ranked_apart():
    field = [
        replace(REF, kind="embedded"),
        replace(REF, id="ref.tuned", kind="embedded", speed=1.3, tuned=True),
        replace(REF, id="x", speed=1.1),
        replace(REF, id="x.tuned", speed=1.4, tuned=True),
    ]
    card = scorecard(records(field, LEAN))
    assert {name: (e["list"], e["rank"]) for name, e in entries(card).items()} == {
        "ref": ("embedded", 1),
        "ref.tuned": ("embedded-tuned", 1),
        "x": ("real", 1),
        "x.tuned": ("real-tuned", 1),
    }
    assert card["pairs"] == []


# --- chat -----------------------------------------------------------------------------


def test_short_answers_show(everything):
    """Half as chatty: 3, 4 or 5, 6 tokens against 6, 9 and 12."""
    assert everything["ref"]["metrics"]["length_ratio"]["value"] == 1.0
    assert everything["x"]["metrics"]["length_ratio"]["value"] == pytest.approx(
        (3 + 4 + 6) / 27, rel=1e-5
    )


def test_an_empty_answer_counts_as_no_characters():
    rows = edited(
        records([REF, replace(REF, id="x")], ALL),
        {"token_ns": [], "decoded": 0, "chars": 0, "bytes": 0},
        kind="chat",
        index=2,
        model="x",
    )
    found = scored(rows)["x"]
    assert found["metrics"]["length_ratio"]["value"] == pytest.approx(15 / 27, rel=1e-5)
    assert {finding["code"] for finding in found["findings"]} == {"no_output", "short_answers"}
    assert found["rank"] is not None


def test_text_rates_by_hand(everything):
    """9 tokens at 25 tok/s: 8 gaps of 40 ms and 1 µs for 18 characters of 3 bytes."""
    case = everything["ref"]["cases"]["chat-ko"]
    assert case["task_char_per_s"]["value"] == pytest.approx(18 / 0.320001, rel=1e-4)
    assert case["task_byte_per_s"]["value"] == pytest.approx(54 / 0.320001, rel=1e-4)
    assert case["task_decode_tok_per_s"]["value"] == pytest.approx(25, rel=1e-4)


# --- memory ---------------------------------------------------------------------------


def test_growth_with_context_is_fitted_beside_what_was_computed(everything):
    memory = everything["ref"]["memory"]
    assert memory["kv_bytes_per_tok"] == {"fitted": 4096.0, "computed": 4096}
    assert list(memory["phases"]["c288"]) == [*PHASES]
    assert memory["phases"]["c4096"]["decode"] == pytest.approx(
        400 * MIB + (4096 - 288) * 4096, rel=1e-5
    )


def test_mapped_weights_do_not_enter_the_fit():
    rows = edited(
        records([REF], ALL), {"peak_resident_bytes": 10**10}, kind="memory", case="c288-mmap"
    )
    assert scored(rows)["ref"]["memory"]["kv_bytes_per_tok"]["fitted"] == 4096.0


def test_a_start_that_nobody_could_look_into_is_neither_cold_nor_warm():
    change = {"cache": "unknown", "case": "load-unknown"}
    found = scored(edited(records([REF], LEAN), change, kind="load"))["ref"]
    assert found["cases"]["load-unknown"]["load_s"]["n"] == 3
    assert "load" not in found["cases"]
    assert "load_s" not in found["metrics"]


def test_variation_is_told_at_each_level(everything):
    """By hand: three processes whose medians are 1, 2 and 3 s, and requests 10 % around them."""
    spread = everything["ref"]["cases"]["fixed-p64-n32"]["ttft_s"]["spread"]
    assert set(spread) == {"processes", "requests", "mad"}
    series = Series("latency", tuple(np.array([0.9, 1.0, 1.1]) * k for k in (1.0, 2.0, 3.0)))
    (found,) = spreads(series, 2.0)
    assert found.processes == pytest.approx(0.5)
    assert found.requests == pytest.approx(0.1)
    assert found.mad == pytest.approx(0.9 / 2)
    assert spreads(Series("latency", (np.array([4.0]),)), 4.0) == [(None, None, 0.0)]
    assert spreads(Series("latency", (np.array([0.0]),)), 0.0) == [None]


def spreads(series, value):
    return _Alike([("case", "ttft_s")], [series]).spreads([value])[1]


def test_threads_that_an_entry_names_are_not_ranked_beside_the_defaults():
    rows = records([REF, replace(REF, id="x")], LEAN)
    (run,) = (row for row in rows if row["type"] == "run")
    run["models"][1]["options"]["threads"] = 6
    found = scored(rows)
    assert (found["ref"]["list"], found["x"]["list"]) == ("real", "real-tuned")


def test_a_model_that_failed_in_another_suite_says_so_for_what_was_not_run():
    """Asked for one suite alone, the others have no jobs: that is not why it has no score."""
    rows = [
        row
        for row in records([replace(REF, fails=(("latency", "crashed"),))], LEAN)
        if row.get("suite") in {None, "latency"}
    ]
    found = scored(rows)["ref"]
    assert found["reason"] == "crashed"
    assert "latency process 0 ended crashed" in found["detail"]


def test_short_answers_are_said_to_be_short():
    rows = records([REF, replace(REF, id="x", chatty=0.5)], ALL)
    found = {model: {f["code"] for f in entry["findings"]} for model, entry in scored(rows).items()}
    assert "short_answers" in found["x"]
    assert "short_answers" not in found["ref"]


@pytest.mark.parametrize("phase", ["runtime", "import", "load", "prefill", "decode"])
def test_a_phase_that_is_not_there_could_have_held_the_peak(phase):
    rows = [row for row in records([REF], LEAN) if row.get("phase") != phase]
    assert scored(rows)["ref"]["reason"] == "missing_case"


def test_growth_has_an_interval_where_its_peaks_have_one():
    suite = MemorySuite(context=288, output_tokens=32, further_contexts=(1024,))
    used = replace(LEAN, suites=replace(LEAN.suites, memory=suite))
    used = replace(used, protocol=replace(used.protocol, processes={"latency": 3, "memory": 3}))
    rows = edited(
        records([REF], used),
        lambda row: {"peak_resident_bytes": row["peak_resident_bytes"] + MIB * row["process"]},
        kind="memory",
    )
    growth = scored(rows)["ref"]["metrics"]["kv_growth_bytes_per_tok"]
    assert growth["value"] == pytest.approx(4096)
    assert growth["lo"] <= 4096 <= growth["hi"]
    assert growth["n"] == 6


# --- other tools ----------------------------------------------------------------------


def test_as_llama_bench_prints_it():
    rows = records([replace(REF, noise=0.05)], ALL)
    rates = [
        row["tokens"] / row["elapsed_ns"] * 1e9 for row in rows if row.get("case") == "tg32@d512"
    ]
    found = scored(rows)["ref"]["compat"]["llama_bench"]
    assert [row["test"] for row in found] == ["pp128", "pp128 @ d512", "tg32", "tg32 @ d512"]
    assert found[3]["tok_per_s"] == pytest.approx(statistics.fmean(rates), rel=1e-5)
    assert found[3]["stddev"] == pytest.approx(statistics.stdev(rates), rel=1e-4)
    assert found[3]["n"] == len(rates) == 10


def test_as_mlperf_client_prints_it(everything):
    """Means of 0.256 s and 1.024 s; their geometric mean."""
    found = everything["ref"]["compat"]["mlperf_client"]
    assert found == {
        "ttft_s": pytest.approx(0.512, rel=1e-5),
        "tok_per_s": pytest.approx(25, rel=1e-5),
        "n": 40,
    }


def test_as_aiperf_prints_it():
    more = replace(LEAN, protocol=replace(LEAN.protocol, processes={"latency": 10}, requests=5))
    found = scored(records([REF], more))["ref"]["compat"]["aiperf"]
    assert found["ttft_s"] == {
        "avg": pytest.approx((0.256 + 1.024) / 2, rel=1e-5),
        "p50": pytest.approx((0.256 + 1.024) / 2, rel=1e-5),
        "p90": pytest.approx(1.024, rel=1e-5),
        "p99": pytest.approx(1.024, rel=1e-5),
    }
    # 31 gaps of 40 ms, and 1 µs of text.
    assert found["itl_s"]["avg"] == pytest.approx((31 * 0.04 + 1e-6) / 31, rel=1e-5)
    assert found["request_latency_s"]["p99"] == pytest.approx(1.024 + 1.240001, rel=1e-5)
    assert found["output_tok_per_s_per_user"] == pytest.approx(25, rel=1e-4)


def test_other_tools_figures_need_all_cases_and_tails_need_100_requests(everything):
    assert everything["ref"]["compat"]["aiperf"]["ttft_s"]["p90"] is None
    rows = [row for row in records([REF], LEAN) if row.get("case") != "fixed-p64-n32"]
    compat = scored(rows)["ref"]["compat"]
    assert compat.pop("llama_bench") == []
    assert compat == dict.fromkeys(("mlperf_client", "aiperf", "localscore"))


# --- energy ---------------------------------------------------------------------------


def test_energy_by_hand(everything):
    """20 W at work less 5 W idle over 0.256 s + 31 x 40 ms + 1 µs."""
    joules = 15 * 1.496001
    found = everything["ref"]
    assert found["metrics"]["energy_j"]["value"] == pytest.approx(joules, rel=1e-4)
    assert found["metrics"]["energy_j_per_tok"]["value"] == pytest.approx(joules / 32, rel=1e-4)
    assert found["energy"] == {"methods": ["rapl"]}


def test_a_request_without_a_trace_has_no_energy():
    rows = [row for row in records([REF], ALL) if row.get("kind") != "energy_trace"]
    found = scored(rows)["ref"]
    assert "energy_j" not in found["metrics"]
    assert {finding["code"] for finding in found["findings"]} == {"no_energy"}
    assert found["rank"] == 1
