"""Baseline and noise files: the same bytes again, and no edit unseen."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import baselines
from harness.comparing.noise import FLOOR, NO_FLOOR, Floor, measured_floor, noise_floor
from harness.comparing.sides import Side
from harness.errors import Exit, HarnessError
from harness.stats import student_t
from tests.compared import DECODE, MEMORY, TTFT, answers, model, one, side, spread

SIDE = side(
    "20261126T081500Z-a1b2c3",
    {
        "m": model(
            {TTFT: spread(0.5, 0.01), MEMORY: spread(3e8, 0.001)},
            answers={"ko-josa": answers("110-")},
        )
    },
)


def judged(found: Side, *findings: dict[str, str], state: str = "valid") -> baselines.Judged:
    card = {"verdict": {"state": state, "findings": list(findings)}, "entries": []}
    return baselines.Judged(found, card, ())


def kept(folder: Path, name: str = "main") -> Path:
    return baselines.save(judged(SIDE), name, folder).path


def test_saving_again_gives_the_same_bytes(tmp_path: Path) -> None:
    path = kept(tmp_path)
    assert path == tmp_path / "baselines" / "main.json"
    first = path.read_bytes()
    found = baselines.find_baseline("main", tmp_path)
    assert baselines.save(judged(found), "main", tmp_path).path.read_bytes() == first
    assert baselines.find_baseline(str(path), tmp_path) == replace(found, name=str(path))
    assert len(first) < 4000
    content = json.loads(first)
    assert content["schema"] == baselines.SCHEMA
    # Lists of figures stand on one line, so that git shows what changed.
    assert max(map(len, first.decode().splitlines())) > 100


def test_listing(tmp_path: Path) -> None:
    assert baselines.listing(tmp_path) == []
    kept(tmp_path, "main")
    (tmp_path / "baselines" / "broken.json").write_text("{")
    broken, main = baselines.listing(tmp_path)
    assert broken["error"] == "baseline_damaged"
    assert (main["name"], main["run"], main["models"]) == ("main", SIDE.run, ["m"])


def test_a_missing_baseline(tmp_path: Path) -> None:
    kept(tmp_path)
    with pytest.raises(HarnessError) as caught:
        baselines.find_baseline("mian", tmp_path)
    error = caught.value
    assert (error.reason, error.exit_code) == ("baseline_missing", Exit.PREREQUISITE)
    assert "did you mean 'main'?" in error.message
    assert error.hint == "harness baseline save latest --name mian"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text.replace("0.49", "0.48", 1), "baseline_edited"),
        (lambda text: text.replace('"m": {', '"n": {', 1), "baseline_edited"),
        (lambda text: text.replace('"schema": 1', '"schema": 2'), "schema_too_new"),
        (lambda text: text.replace('"kind": "baseline"', '"kind": "noise"'), "baseline_damaged"),
        (lambda text: text[: len(text) // 2], "baseline_damaged"),
        (lambda text: text.replace('"invalid": ""', '"invalid": NaN'), "baseline_damaged"),
        (lambda _: "[" * 100_000, "baseline_damaged"),
        (lambda _: "[]", "baseline_damaged"),
        (lambda _: "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "baseline_damaged"),
    ],
)
def test_a_touched_file_is_refused(tmp_path: Path, change, reason: str) -> None:
    path = kept(tmp_path)
    text = path.read_text("utf-8")
    changed = change(text)
    assert changed != text
    path.write_text(changed, "utf-8")
    with pytest.raises(HarnessError) as caught:
        baselines.find_baseline("main", tmp_path)
    error = caught.value
    assert (error.reason, error.where) == (reason, str(path))
    assert error.exit_code == (Exit.SPECIFICATION if "too_new" in reason else Exit.FAILED)
    assert error.hint


@pytest.mark.parametrize("missing", ["models", "device", "workload"])
def test_a_sealed_file_of_another_form_is_refused(tmp_path: Path, missing: str) -> None:
    """Somebody may seal what we never wrote."""
    path = kept(tmp_path)
    content = json.loads(path.read_text("utf-8"))
    del content[missing], content["sha256"]
    path.write_text(json.dumps(content | {"sha256": baselines.digest(content)}))
    with pytest.raises(HarnessError) as caught:
        baselines.find_baseline("main", tmp_path)
    assert caught.value.reason == "baseline_damaged"


@pytest.mark.parametrize("figure", ["1e999", "-1e999", '"0.5"', "1" + "0" * 400, "null", "true"])
def test_sealed_figures_that_are_none_are_refused(tmp_path: Path, figure: str) -> None:
    path = kept(tmp_path)
    content = json.loads(path.read_text("utf-8"))
    del content["sha256"]
    medians = content["models"]["m"]["medians"]
    medians["fixed-p64-n32"]["ttft_s"] = [json.loads(figure)]
    with contextlib.suppress(ValueError):  # as nobody can seal an infinity, it is left unsealed
        content["sha256"] = baselines.digest(content)
    path.write_text(json.dumps(content).replace("Infinity", "1e999"))
    with pytest.raises(HarnessError) as caught:
        baselines.find_baseline("main", tmp_path)
    assert caught.value.reason == "baseline_damaged"


def test_a_metric_that_nobody_knows_is_not_passed_over(tmp_path: Path) -> None:
    """Passed over, it would be a case that can no longer get worse."""
    path = kept(tmp_path)
    content = json.loads(path.read_text("utf-8"))
    del content["sha256"]
    medians = content["models"]["m"]["medians"]["fixed-p64-n32"]
    medians["first_s"] = medians.pop("ttft_s")
    path.write_text(json.dumps(content | {"sha256": baselines.digest(content)}))
    with pytest.raises(HarnessError) as caught:
        baselines.find_baseline("main", tmp_path)
    assert caught.value.reason == "baseline_damaged"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Main",
        "../main",
        "a/b",
        "latest",
        "previous",
        "noise-1",
        "a" * 81,
        ".x",
        "nul",
        "com1.x",
    ],
)
def test_names_that_cannot_be(tmp_path: Path, name: str) -> None:
    with pytest.raises(HarnessError) as caught:
        kept(tmp_path, name)
    assert (caught.value.reason, caught.value.exit_code) == ("bad_name", Exit.SPECIFICATION)
    assert not (tmp_path / "baselines").exists()


CUT = {"code": "run_incomplete", "severity": "warn", "detail": "7 of 9 jobs are on record"}


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (judged(side("r", {"m": model({})})), "nothing_measured"),
        (judged(SIDE, state="invalid"), "run_invalid"),
        (judged(SIDE, CUT), "run_unfinished"),
    ],
)
def test_what_makes_no_baseline(tmp_path: Path, run: baselines.Judged, reason: str) -> None:
    with pytest.raises(HarnessError) as caught:
        baselines.save(run, "main", tmp_path)
    assert (caught.value.reason, caught.value.exit_code) == (reason, Exit.FAILED)
    assert not (tmp_path / "baselines").exists()


def test_a_weak_baseline_is_saved_with_a_warning(tmp_path: Path) -> None:
    few = one("r", {TTFT: spread(0.5, 0.01, k=9)})
    (warning,) = baselines.save(judged(few), "few", tmp_path).warnings
    assert warning.startswith("no case has 10 processes")
    assert baselines.save(judged(SIDE), "main", tmp_path).warnings == ()


def test_one_model_of_a_baseline(tmp_path: Path) -> None:
    both = side("r", {name: model({TTFT: spread(0.5, 0.01)}) for name in ("m", "n.q4.gguf")})
    path = baselines.save(judged(both), "main", tmp_path).path
    for text in ("main:n.q4.gguf", f"{path}:n.q4.gguf"):
        assert list(baselines.find_baseline(text, tmp_path).models) == ["n.q4.gguf"]
    with pytest.raises(HarnessError) as caught:
        baselines.find_baseline("main:o", tmp_path)
    assert caught.value.reason == "unknown_name"


# --- noise ------------------------------------------------------------------------------


def runs_of(*centres: float, sd: float = 0.01) -> list[Side]:
    return [
        one(f"r{n}", {TTFT: spread(centre, sd, seed=n), DECODE: spread(50, sd, seed=n)})
        for n, centre in enumerate(centres)
    ]


def test_the_floor_is_what_runs_differed_by() -> None:
    floor = measured_floor(runs_of(1.0, 1.03, 1.01, 1.02, 1.0))
    assert floor.runs == 5
    assert floor.machine == SIDE.machine
    between = np.std(np.log([1.0, 1.03, 1.01, 1.02, 1.0]), ddof=1)
    bound = np.expm1(max(np.log(1.03), student_t(4) * np.sqrt(2) * between))
    assert floor.metrics["ttft_s"] == pytest.approx(bound, rel=1e-4)
    assert floor.metrics["decode_tok_per_s"] < 1e-4
    assert floor.of("ttft_s", 1.0) == pytest.approx(np.log1p(bound), rel=1e-4)
    assert floor.of("decode_tok_per_s", 1.0) == pytest.approx(np.log1p(FLOOR))


def test_few_runs_have_a_wide_floor() -> None:
    means = np.log([[1.0], [1.01], [1.02]])
    assert noise_floor(means) == pytest.approx(student_t(2) * np.sqrt(2) * np.std(means, ddof=1))
    many = np.log(np.tile([[1.0], [1.02]], (10, 1)))
    assert noise_floor(many) > np.log(1.02)


@given(st.lists(st.floats(-0.1, 0.1), min_size=3, max_size=8))
def test_the_floor_holds_every_pair_of_its_runs(effects: list[float]) -> None:
    means = np.array(effects)[:, None]
    assert noise_floor(means) >= max(effects) - min(effects)


@pytest.mark.parametrize(
    ("found", "reason", "code"),
    [
        (runs_of(1, 1), "too_few_runs", Exit.SPECIFICATION),
        ([*runs_of(1, 1), *runs_of(1)], "too_few_runs", Exit.SPECIFICATION),
        (
            [*runs_of(1, 1), one("x", {TTFT: spread(1, 0.01)}, device={"cpu": "other"})],
            "other_device",
            Exit.INCOMPARABLE,
        ),
        (
            [*runs_of(1, 1), one("x", {MEMORY: spread(1, 0.01)})],
            "nothing_in_common",
            Exit.INCOMPARABLE,
        ),
    ],
)
def test_runs_that_tell_no_noise(found: list[Side], reason: str, code: Exit) -> None:
    with pytest.raises(HarnessError) as caught:
        measured_floor(found)
    assert (caught.value.reason, caught.value.exit_code) == (reason, code)
    assert "harness " in caught.value.hint


def test_two_machines_have_the_larger_floor() -> None:
    a = Floor(machine="a", runs=5, metrics={"ttft_s": 0.03})
    b = Floor(machine="b", runs=3, metrics={"ttft_s": 0.02, "decode_tok_per_s": 0.05})
    joined = a.joined(b)
    assert joined.metrics == {"ttft_s": 0.03, "decode_tok_per_s": 0.05}
    assert joined.runs == 3
    assert a.joined(a) == a
    assert a.joined(NO_FLOOR) == a
    assert NO_FLOOR.joined(b) == replace(b)
