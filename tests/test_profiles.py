"""Profiles of one's own: the documented ones work, wrong ones are refused by code, `harness
profiles` shows what is understood.
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from harness import specfile, specschema
from harness.errors import SpecError
from harness.prepare import prepare
from harness.score import scorecard
from harness.spec import digest, profile_from_json, to_json
from harness.specprofile import load_profile
from tests.strategies import Candidate, records
from tests.test_specfile import PROFILE, complaint

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "profiles.md").read_text("utf-8")
EXAMPLE = PAGE.split("```yaml profile\n")[1].split("```")[0]
VALIDATOR = Draft202012Validator(specschema.profile_schema())


def changed(text: str, lines: str) -> str:
    """The profile with its top keys replaced by those of some lines."""
    return yaml.safe_dump({**yaml.safe_load(text), **yaml.safe_load(lines)}, sort_keys=False)


def block(name: str) -> str:
    return PAGE.split(f"```yaml {name}\n")[1].split("```")[0]


def loaded(tmp_path: Path, text: str) -> Any:
    path = tmp_path / "mine.yaml"
    path.write_text(text, "utf-8")
    return load_profile(path)


def test_the_worked_example_ranks_two_divisions(tmp_path: Path) -> None:
    used = loaded(tmp_path, EXAMPLE)
    assert profile_from_json(json.loads(json.dumps(to_json(used)))) == used
    field = [
        Candidate(id="ref-4m.f16.gguf", skill=0.6),
        Candidate(id="ref-4m.q4_0.gguf", skill=0.6, speed=1.4, seed=1),
        Candidate(id="mine.q4_0.gguf", skill=0.7, speed=1.2, seed=2),
    ]
    card = scorecard(records(field, used, budget=8 << 30))
    found = {e["model"]: (e["list"], e["division"], e["rank"]) for e in card["entries"]}
    assert found == {
        "ref-4m.f16.gguf": ("fixed-real", "fixed-model", 2),
        "ref-4m.q4_0.gguf": ("fixed-real", "fixed-model", 1),
        "mine.q4_0.gguf": ("real", "open", 1),
    }
    pairs = {frozenset((pair["a"], pair["b"])) for pair in card["pairs"]}
    assert pairs == {frozenset(("ref-4m.f16.gguf", "ref-4m.q4_0.gguf"))}


@pytest.mark.parametrize("name", ["aimers", "gate"])
@pytest.mark.parametrize("shipped", ["challenge", "standard", "quick"])
def test_three_lines_change_the_formula(tmp_path: Path, name: str, shipped: str) -> None:
    text = specfile.built_in(f"profiles/{shipped}.yaml").read_text("utf-8")
    assert len(block(name).splitlines()) == 3
    assert loaded(tmp_path, changed(text, block(name))).scoring == name


@pytest.mark.parametrize(
    ("lines", "reason", "message"),
    [
        ("weights: {ttft_s: 0.5, accuracy: 0.4}", "weights_do_not_sum", "the weights sum to 0.9"),
        ("weights: {ttft_s: 1.5, accuracy: -0.5}", "weights_not_positive",
         "weight -0.5 of 'accuracy' is not positive"),
        ("weights: {ttft_ms: 1.0}", "unknown_metric",
         "unknown metric 'ttft_ms'; did you mean 'ttft_s'?"),
        ("gates: [{id: a, metric: licence, limit: 1}]", "unknown_metric",
         "unknown metric 'licence'"),
        ("gates: [{id: a, metric: accuracy, limit: 90}]", "impossible_gate",
         "limit 90 of gate 'a' is more than accuracy can be"),
        ("gates: [{id: a, metric: ttft_s, limit: 0}]", "impossible_gate",
         "limit 0 of gate 'a' is not positive"),
        ("gates: [{id: a, metric: accuracy_ratio, limit: 0.9, min_items: 201}]",
         "impossible_gate", "gate 'a' waits for 201 items, but the profile asks 200"),
        ("gates: [{id: a, metric: run_valid, limit: 1}]", "impossible_gate",
         "gate 'a' asks whether run_valid holds: it has no limit"),
        ("{scoring: aimers, weights: {ttft_s: 1.0}}", "bad_scoring",
         "scoring 'aimers' needs a weight for 'accuracy'"),
        ("scoring: gate", "bad_scoring", "takes accuracy as a gate"),
        ("{scoring: gate, weights: {ttft_s: 1.0}}", "bad_scoring",
         "needs a required gate on 'accuracy_ratio'"),
        ("scoring: harmonic", "bad_specification", "scoring is 'harmonic'"),
        ("weights: {accuracy_ratio: 1.0}", "bad_specification",
         "'accuracy_ratio' is for gates"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path: Path, lines: str, reason: str, message: str) -> None:
    error = complaint(tmp_path, "profile", changed(PROFILE, lines))
    assert (error.reason, int(error.exit_code)) == (reason, 2)
    assert message in error.message
    assert re.search(r"profile\.yaml:\d+$", error.where)
    assert error.allowed
    assert "correct it, then: harness run --profile" in error.hint
    assert reason in PAGE


def test_a_gate_beyond_the_device_is_refused(tmp_path: Path) -> None:
    path, device = tmp_path / "p.yaml", tmp_path / "d.yaml"
    path.write_text(changed(EXAMPLE, "gates: [{id: m, metric: peak_resident_bytes, limit: 32e9}]"))
    device.write_text("{id: small, name: Small, memory_bytes: 16 GiB}")
    with pytest.raises(
        SpecError, match="32000000000 bytes, more than device 'small' has"
    ) as caught:
        prepare(profile=str(path), device=str(device))
    assert caught.value.reason == "impossible_gate"
    assert str(16 << 30) in caught.value.allowed


def test_a_prescribed_network_that_nobody_has_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(changed(EXAMPLE, "fixed_family: ref-4n"))
    with pytest.raises(SpecError, match="prescribes the network 'ref-4n'") as caught:
        prepare(profile=str(path))
    assert caught.value.reason == "unknown_family"
    assert "did you mean 'ref-4m'?" in caught.value.message


# --- the command ------------------------------------------------------------------------


def test_list_show_and_check(run_harness, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(EXAMPLE, "utf-8")
    listed = json.loads(run_harness("profiles", "list", "--json").stdout)["profiles"]
    assert [found["id"] for found in listed] == ["challenge", "quick", "regression", "standard"]
    shown = json.loads(run_harness("profiles", "show", "quick", "--json").stdout)
    quick = specfile.resolve_profile("quick")
    assert (shown["profile"], shown["sha256"]) == (to_json(quick), digest(quick))
    text = run_harness("profiles", "check", path).stdout
    assert "fixed_family  ref-4m" in text
    assert "accuracy_ratio  0.9  required" in text
    path.write_text(changed(EXAMPLE, "weights: {ttft_s: 0.7}"))
    wrong = run_harness("profiles", "check", path, "--json", check=2)
    assert json.loads(wrong.stdout)["reason"] == "weights_do_not_sum"
    assert "the weights sum to 0.7" in wrong.stderr


def test_one_that_cannot_be_read_hides_no_other(run_harness, tmp_path: Path) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "mine.yaml").write_text("id: [")
    listed = run_harness("profiles", "list", check=2)
    assert "challenge" in listed.stdout
    assert "next: harness profiles check profiles/mine.yaml" in listed.stderr
    said = json.loads(run_harness("profiles", "list", "--json", check=2).stdout)
    assert said["broken"] == ["profiles/mine.yaml"]


# --- the schema -------------------------------------------------------------------------


def test_the_committed_schema_is_current() -> None:
    """Write it again with `harness profiles schema > docs/profile.schema.json`."""
    committed = (DOCS / "profile.schema.json").read_text("utf-8")
    assert committed == specschema.profile_text()
    Draft202012Validator.check_schema(json.loads(committed))


@pytest.mark.parametrize("name", ["challenge", "standard", "quick", ""])
def test_right_profiles_are_valid(name: str) -> None:
    text = specfile.built_in(f"profiles/{name}.yaml").read_text("utf-8") if name else EXAMPLE
    assert list(VALIDATOR.iter_errors(yaml.safe_load(text))) == []


def test_every_key_of_a_profile_is_explained() -> None:
    schema = specschema.profile_schema()
    for part in (schema, *(schema["$defs"][name] for name in ("Gate", "Protocol"))):
        plain = {"id"} if part is not schema else set()
        for key, value in part["properties"].items():
            assert key in plain or value.get("description"), key
    # The page names every field.
    for key in schema["properties"]:
        assert f"`{key}`" in PAGE, key


WRONG: dict[str, Any] = {
    "unknown key": lambda data: data.update(wieghts={}),
    "scoring": lambda data: data.update(scoring="harmonic"),
    "metric": lambda data: data.update(weights={"ttft_ms": 1.0}),
    "weight": lambda data: data["weights"].update(ttft_s=0),
    "gate metric": lambda data: data["gates"][0].update(metric="valid"),
    "tokens": lambda data: data["suites"]["latency"].update(prompt_tokens=[0]),
    "items": lambda data: data["suites"]["accuracy"].update(items=0),
    "task": lambda data: data["suites"]["accuracy"].update(tasks=["maths"]),
    "processes": lambda data: data["protocol"].update(processes={"latency": "ten"}),
    "no reference": lambda data: data.pop("reference"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_profiles_are_invalid(name: str) -> None:
    data = copy.deepcopy(yaml.safe_load(EXAMPLE))
    WRONG[name](data)
    assert not VALIDATOR.is_valid(data)
