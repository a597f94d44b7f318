"""Every rule of validity bites on a forced violation, and clean runs raise no alarm."""

from dataclasses import replace

import pytest

from harness.environment import TELEMETRY, preconditions, windows
from harness.score import dump, scorecard
from harness.spec import (
    AccuracySuite,
    Device,
    EnergySuite,
    KernelSuite,
    LatencySuite,
    MemorySuite,
    Suites,
)
from tests.environment.test_other_platforms import RecordedWindows, fake_psutil
from tests.strategies import CALIBRATION, Candidate, profile, records

GIB = 2**30
STRICT = profile(
    tier="verified",
    tolerates_unknown=False,
    suites=Suites(latency=LatencySuite(prompt_tokens=(64, 256), output_tokens=(16,))),
    weights={"ttft_s": 0.5, "decode_tok_per_s": 0.5},
)
STRICT = replace(STRICT, protocol=replace(STRICT.protocol, processes={"latency": 10}, requests=5))
FIELD = [Candidate(id="ref"), Candidate(id="x", seed=1)]


def entries(card):
    return {entry["model"]: entry for entry in card["entries"]}


def codes(findings):
    return {finding["code"]: finding["severity"] for finding in findings}


def forced(change, used=STRICT, field=FIELD):
    """The scorecard of a clean run after `change(record)` on each record of model x."""
    rows = [
        change(row) if row.get("model", "x") == "x" and row["type"] != "run" else row
        for row in records(field, used)
    ]
    return scorecard([row for row in rows if row is not None])


def counters(**changes):
    """Change counters of every reading but the first of a case: what happened after it."""

    def change(row):
        if row.get("source") != "worker" or row["index"] == 0:
            return row
        moved = {
            name: value(row["counters"][name]) if callable(value) else value
            for name, value in changes.items()
        }
        return row | {"counters": row["counters"] | moved}

    return change


def facts(**changes):
    return lambda row: (
        row | {"facts": row["facts"] | changes} if row.get("source") == "parent" else row
    )


@pytest.mark.parametrize("seed", range(20))
def test_a_clean_run_raises_no_alarm(seed):
    field = [
        Candidate(id="ref", noise=0.01, seed=100 + seed),
        Candidate(id="x", noise=0.015, speed=1.2, seed=200 + seed),
    ]
    card = scorecard(records(field, STRICT))
    assert card["verdict"] == {"state": "valid", "findings": []}
    for entry in card["entries"]:
        assert entry["findings"] == []
        assert entry["rank"] is not None


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (counters(on_battery=1), "on_battery"),
        (facts(power_source="battery"), "on_battery"),
        (facts(governor="performance"), "power_mode_changed"),
        (facts(power_mode="low-power"), "power_mode_changed"),
        (counters(throttle_count=13), "throttled"),
        (counters(cpu_busy_ns=lambda ns: 2 * ns), "busy_machine"),
        (counters(cpu_steal_ns=10**10), "cpu_steal"),
        (counters(available_bytes=GIB // 2 - 1), "low_memory"),
        (counters(swap_in_bytes=8192 + (16 << 20) + 1), "swapped"),
        (counters(hard_faults=104), "hard_faults"),
        (counters(boot_offset_ns=5 * 10**9 + 20_000_000), "suspended"),
        (counters(wall_offset_ns=lambda ns: ns + 600_000_000), "clock_stepped"),
        (counters(continued=1), "process_stopped"),
    ],
)
def test_a_violation_invalidates_the_jobs_of_its_model_alone(change, code):
    card = forced(change)
    found = entries(card)
    assert codes(found["x"]["findings"]) == {code: "invalid"}
    assert found["x"]["reason"] == "invalid_job"
    assert code in found["x"]["detail"]
    assert found["x"]["score"] is None
    assert found["ref"]["findings"] == []
    assert found["ref"]["rank"] == 1
    assert card["verdict"]["state"] == "warn"


@pytest.mark.parametrize(
    "change",
    [
        counters(swap_in_bytes=8192 + (1 << 20)),
        counters(hard_faults=50),
        counters(boot_offset_ns=5 * 10**9 + 5_000_000),
        counters(wall_offset_ns=lambda ns: ns + 400_000_000),
        counters(available_bytes=GIB // 2),
        facts(governor="unknown"),
    ],
)
def test_what_stays_below_its_threshold_is_no_finding(change):
    assert entries(forced(change))["x"]["findings"] == []


def test_a_suspend_is_not_reported_as_a_clock_step():
    asleep = 3_600 * 10**9
    found = forced(counters(boot_offset_ns=lambda ns: ns + asleep))
    assert codes(entries(found)["x"]["findings"]) == {"suspended": "invalid"}


def test_faults_of_a_warm_up_do_not_count():
    """The first reading of the second case is 500 faults on: they fell before it."""

    def change(row):
        if row.get("source") != "worker" or row["case"] != "fixed-p256-n16":
            return row
        return row | {"counters": row["counters"] | {"hard_faults": 503}}

    assert entries(forced(change))["x"]["findings"] == []


def test_one_busy_block_is_enough_and_short_bursts_are_averaged():
    def burst(ns):
        """Every reading from the third on: others took so much just before it."""

        def change(row):
            if row.get("source") != "worker" or row["index"] < 3:
                return row
            busy = row["counters"]["cpu_busy_ns"] + (ns if row["case"] == "fixed-p64-n16" else 0)
            return row | {"counters": row["counters"] | {"cpu_busy_ns": busy}}

        return forced(change)

    # A request takes about 0.9 s on 8 processors: blocks of at least 1 s hold 8e9 ns or more.
    assert codes(entries(burst(12 * 10**9))["x"]["findings"]) == {"busy_machine": "invalid"}
    assert entries(burst(4 * 10**8))["x"]["findings"] == []


def test_short_jobs_are_judged_together():
    """A hundred of them, none with a second of its own: others took three quarters."""
    rows = records(FIELD, replace(STRICT, protocol=replace(STRICT.protocol, requests=1)))
    clock = 0
    for row in rows:
        if row.get("source") == "worker" and row["model"] == "x":
            if row["index"] == 0:
                clock += 10**12
                row["counters"] |= {"clock_ns": clock, "cpu_busy_ns": 0, "own_cpu_ns": 0}
            else:
                own, others = 6 * 10**8, 36 * 10**8
                row["counters"] |= {"clock_ns": clock + 6 * 10**8, "own_cpu_ns": own}
                row["counters"] |= {"cpu_busy_ns": own + others}
    found = entries(scorecard(rows))
    assert codes(found["x"]["findings"])["busy_machine"] == "invalid"
    assert "busy_machine" not in codes(found["ref"]["findings"])


@pytest.mark.parametrize("suite", ["memory", "kernel", "energy", "accuracy"])
def test_a_suite_that_nobody_watched_is_never_valid(suite):
    suites = Suites(
        latency=STRICT.suites.latency,
        kernel=KernelSuite(prompt_tokens=64, output_tokens=8),
        memory=MemorySuite(context=288, output_tokens=32),
        energy=EnergySuite(prompt_tokens=64, output_tokens=32),
        accuracy=AccuracySuite(tasks=("josa",), languages=("ko",), items=20),
    )
    rows = records(FIELD, replace(STRICT, suites=suites))
    assert scorecard(rows)["verdict"]["findings"] == []
    blind = [r for r in rows if not (r.get("source") == "worker" and r.get("suite") == suite)]
    (finding,) = scorecard(blind)["verdict"]["findings"]
    assert (finding["code"], finding["severity"]) == ("no_telemetry", "unknown")
    assert finding["detail"] == f"nothing watched the machine during {suite}"


def test_swapping_is_known_where_hard_faults_are_counted():
    """As on Windows and macOS, which count no page that comes back from swap."""

    def without(*names):
        def change(row):
            if row.get("source") != "worker":
                return row
            return row | {"counters": {n: v for n, v in row["counters"].items() if n not in names}}

        return codes(forced(change)["verdict"]["findings"])

    assert without("swap_in_bytes") == {}
    assert set(without("swap_in_bytes", "hard_faults")) == {
        "unknown_hard_faults",
        "unknown_swap_used_bytes",
    }


WINDOWS = {
    "clock_ns", "own_cpu_ns", "cpu_busy_ns", "cpus", "available_bytes", "on_battery",
    "boot_offset_ns", "wall_offset_ns", "hard_faults",
}  # fmt: skip


def test_a_strict_run_can_be_valid_on_windows():
    """Its readers know no throttle counter, for which the calibration vouches, and no steal."""
    facts = windows.read(fake_psutil(), RecordedWindows()) | {"temperature_c": "unknown"}
    device = Device(id="laptop", name="a laptop", power="ac", power_mode="best performance")
    rows = []
    for row in records(FIELD, STRICT):
        if row.get("source") == "worker":
            kept = {name: v for name, v in row["counters"].items() if name in WINDOWS}
            row |= {"counters": kept}
        elif row["type"] == "environment":
            row |= {"facts": facts, "findings": preconditions(device, facts)}
        elif row.get("source") == "parent":
            row |= {"facts": {name: facts.get(name, "unknown") for name in TELEMETRY}}
        rows.append(row)
    card = scorecard(rows)
    assert card["verdict"]["state"] == "warn"
    assert {f["severity"] for f in card["verdict"]["findings"]} == {"warn"}
    assert "unknown_throttle_count" in codes(card["verdict"]["findings"])
    assert all(entry["rank"] is not None for entry in card["entries"])


def slower(factor_of):
    """Requests of model x whose decoding takes a factor that depends on process and index."""

    def change(row):
        if row.get("kind") != "request":
            return row
        first, *_ = times = row["token_ns"]
        factor = factor_of(row["process"], row["index"])
        slow = [round(first + (t - first) * factor) for t in times]
        return row | {"token_ns": slow, "end_ns": slow[-1] + 1000}

    return change


def test_a_model_that_slows_down_over_the_run():
    found = entries(forced(slower(lambda process, _: 1.09 if process >= 5 else 1.0)))["x"]
    assert codes(found["findings"])["slowed_down"] == "invalid"
    steady = entries(forced(slower(lambda process, _: 1.01 if process >= 5 else 1.0)))["x"]
    assert steady["findings"] == []


@pytest.mark.parametrize(("spread", "severity"), [(0.15, "warn"), (0.5, "invalid")])
def test_processes_that_disagree(spread, severity):
    found = entries(forced(slower(lambda process, _: 1 + spread * (process % 5 == 2))))["x"]
    assert codes(found["findings"])["unstable"] == severity
    assert (found["reason"] == "invalid_job") is (severity == "invalid")


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("facts", {"build": "b1"}),
        ("facts", {"library_sha256": "00"}),
        ("options", {"threads": 4}),
        ("options", {"mmap": True}),
    ],
)
def test_another_engine_in_one_job(part, change):
    def edit(row):
        other = row["type"] == "engine" and row["process"] == 3
        named = {"library_sha256": "11", "mmap": False}
        if row["type"] != "engine":
            return row
        known = {name: value for name, value in named.items() if name in change}
        return row | {part: row[part] | known | (change if other else {})}

    found = entries(forced(edit))["x"]
    assert codes(found["findings"]) == {"engine_changed": "invalid"}
    assert next(iter(change)) in found["findings"][0]["detail"]


def test_a_context_of_its_own_is_not_another_engine():
    def edit(row):
        if row["type"] != "engine":
            return row
        size = 8192 if row["process"] == 3 else 512
        sizes = {"context_allocated": str(size), "batch": str(size)}
        sizes["branches"] = f"{size // 512} branches a call"
        return row | {
            "facts": row["facts"] | sizes,
            "options": row["options"] | {"context": size},
        }

    assert entries(forced(edit))["x"]["findings"] == []


def test_a_memory_case_may_map_the_weights():
    def edit(row):
        if row["type"] == "job":
            return row | {"suite": "memory" if row["process"] == 3 else row["suite"]}
        if row["type"] != "engine":
            return row
        mapped = row["process"] == 3
        return row | {
            "facts": row["facts"] | {"mmap": str(mapped).lower()},
            "options": row["options"] | {"mmap": mapped},
        }

    assert entries(forced(edit))["x"]["findings"] == []


def test_warm_ups_and_cooling_are_warnings():
    def edit(row):
        if row.get("kind") == "warmup" and row["process"] == 1:
            return row | {"converged": False}
        return row | {"gate": "capped"} if row.get("source") == "parent" else row

    found = entries(forced(edit))["x"]
    assert codes(found["findings"]) == {"not_converged": "warn", "thermal_gate_capped": "warn"}
    assert "2 of 20" in found["findings"][0]["detail"]
    assert found["rank"] == 1


def around(when, **changes):
    """A change of an environment record, which concerns the whole run."""
    return lambda row: row | changes if row.get("when") == when else row


@pytest.mark.parametrize("name", ["read_bytes_per_s", "copy_bytes_per_s", "fp32_flop_per_s"])
@pytest.mark.parametrize(("factor", "drifts"), [(0.9, True), (1.1, True), (0.96, False)])
def test_calibration_before_and_after(name, factor, drifts):
    after = CALIBRATION | {name: CALIBRATION[name] * factor}
    card = forced(around("after", calibration=after))
    assert ("calibration_drift" in codes(card["verdict"]["findings"])) is drifts
    assert {entry["reason"] for entry in card["entries"]} == {"run_invalid" if drifts else ""}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (around("after", facts={"power_mode": "quiet"}), "power_mode_changed"),
        (around("after", facts={"throttle_count": 13}), "throttled"),
        (around("after", calibration=None), "unknown_calibration"),
    ],
)
def test_findings_on_the_whole_run(change, code):
    card = forced(change)
    assert code in codes(card["verdict"]["findings"])
    assert card["verdict"]["state"] == "invalid"
    assert {entry["reason"] for entry in card["entries"]} == {"run_invalid"}


@pytest.mark.parametrize(
    ("counter", "code", "severity"),
    [
        ("on_battery", "unknown_power_source", "unknown"),
        ("cpu_busy_ns", "unknown_cpu_busy_ns", "unknown"),
        ("available_bytes", "unknown_memory_available_bytes", "unknown"),
        ("hard_faults", "unknown_hard_faults", "unknown"),
        ("boot_offset_ns", "unknown_boot_offset_ns", "warn"),
        ("continued", "unknown_continued", "warn"),
    ],
)
def test_an_unreadable_counter_is_one_finding(counter, code, severity):
    def edit(row):
        if row.get("source") != "worker":
            return row
        kept = {name: value for name, value in row["counters"].items() if name != counter}
        return row | {"counters": kept}

    card = forced(edit)
    assert codes(card["verdict"]["findings"]) == {code: severity}
    assert len(card["verdict"]["findings"]) == 1
    assert card["verdict"]["state"] == ("invalid" if severity == "unknown" else "warn")


def without_throttle_counts(row):
    if row.get("source") == "worker":
        kept = {name: v for name, v in row["counters"].items() if name != "throttle_count"}
        return row | {"counters": kept}
    return row


def test_calibration_stands_in_for_an_unreadable_throttle_counter():
    card = forced(without_throttle_counts)
    assert codes(card["verdict"]["findings"]) == {"unknown_throttle_count": "warn"}
    assert card["verdict"]["state"] == "warn"
    assert entries(card)["x"]["rank"] == 1


def test_without_calibration_it_does_not():
    card = forced(lambda row: without_throttle_counts(around("before", calibration=None)(row)))
    assert codes(card["verdict"]["findings"]) == {
        "unknown_throttle_count": "unknown",
        "unknown_calibration": "unknown",
    }
    assert card["verdict"]["state"] == "invalid"


def test_a_run_that_nobody_watched():
    card = forced(lambda row: None if row["type"] == "telemetry" else row, field=[FIELD[1]])
    found = codes(card["verdict"]["findings"])
    assert found == {"no_telemetry": "unknown", "reference_not_measured": "warn"}


@pytest.mark.parametrize("code", ["throttled", "busy_machine"])
def test_a_profile_forgives_the_codes_that_it_tolerates(code):
    change = counters(throttle_count=13, cpu_busy_ns=lambda ns: 2 * ns)
    lenient = replace(STRICT, tolerates=(code,))
    found = entries(forced(change, lenient))["x"]
    assert codes(found["findings"])[code] == "warn"
    assert sorted(codes(found["findings"]).values()) == ["invalid", "warn"]
    both = replace(STRICT, tolerates=("throttled", "busy_machine"))
    assert entries(forced(change, both))["x"]["rank"] == 1


def test_a_tolerant_profile_only_warns():
    tolerant = replace(STRICT, tier="unverified", tolerates_unknown=True)
    card = forced(counters(on_battery=1, continued=2), tolerant)
    found = entries(card)["x"]
    assert set(codes(found["findings"])) == {"on_battery", "process_stopped"}
    assert found["rank"] == 1
    assert card["verdict"]["state"] == "unverified"


def test_a_device_that_is_meant_to_run_on_battery():
    rows = records(FIELD, STRICT)
    run = rows[0] | {"device": rows[0]["device"] | {"power": "battery"}}
    moved = [counters(on_battery=1)(row) for row in rows[1:]]
    assert entries(scorecard([run, *moved]))["x"]["findings"] == []


def test_an_invalid_reference_leaves_nothing_to_compare_with():
    rows = [counters(on_battery=1)(row) if row.get("model") == "ref" else row
            for row in records(FIELD, STRICT)]  # fmt: skip
    found = entries(scorecard(rows))
    assert found["ref"]["reason"] == "invalid_job"
    assert found["x"]["reason"] == "no_reference"


def test_findings_do_not_depend_on_the_order_of_records():
    rows = [counters(throttle_count=13)(row) for row in records(FIELD, STRICT)]
    assert dump(scorecard(rows)) == dump(scorecard(rows[::-1]))


def test_a_template_that_quotes_the_exam_speaks_against_its_model():
    event = {"type": "event", "kind": "template_holds_items", "model": "x", "items": 3, "of": 8}
    rows = [*records(FIELD, STRICT), event, event]
    card = scorecard(rows)
    (finding,) = entries(card)["x"]["findings"]
    assert finding["code"] == "template_holds_items"
    assert finding["severity"] == "invalid"
    assert finding["detail"] == "its chat template quotes 6 of 16 questions"
    assert entries(card)["x"]["score"] is None
    assert entries(card)["ref"]["score"] is not None


def test_sequences_belong_to_the_suite_and_not_to_the_engine():
    def edit(row):
        if row["type"] != "engine":
            return row
        sequences = 8 if row["process"] == 3 else 1
        return row | {"options": row["options"] | {"sequences": sequences}}

    assert entries(forced(edit))["x"]["findings"] == []
