"""Names that users type, and the models, devices and profiles that come with the harness."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness import specfile
from harness.cases import cases_of
from harness.compare import LEAST_PROCESSES
from harness.errors import SpecError
from harness.metrics import METRICS
from harness.spec import Device, Profile, to_json
from harness.specfile import load_catalogue
from harness.specgate import FACTS
from tests.test_specfile import CATALOGUE, DEVICE, PROFILE, write

# --- names ----------------------------------------------------------------------------


def test_unknown_names_are_answered_with_the_nearest(tmp_path: Path) -> None:
    catalogue = load_catalogue(write(tmp_path, CATALOGUE))
    with pytest.raises(SpecError) as caught:
        specfile.find_model(catalogue, "a.f16.ggfu")
    assert caught.value.message == "unknown model 'a.f16.ggfu'; did you mean 'a.f16.gguf'?"
    assert caught.value.allowed == "a.f16.gguf, b.int4.onnx"
    assert caught.value.hint == "harness models list"
    with pytest.raises(SpecError) as caught:
        specfile.find_set(catalogue, "defualt")
    assert caught.value.message == "unknown set 'defualt'; did you mean 'default'?"
    assert caught.value.allowed == "default, small"
    assert caught.value.hint == "harness models list"
    assert caught.value.where == catalogue.path
    with pytest.raises(SpecError) as caught:
        specfile.resolve_device("this-machin")
    assert caught.value.message == "unknown device 'this-machin'; did you mean 'this-machine'?"
    assert "lg-gram-2024-16gb" in caught.value.allowed
    assert caught.value.hint == "harness run --device this-machine --dry-run"
    with pytest.raises(SpecError) as caught:
        specfile.resolve_profile("quik")
    assert caught.value.message == "unknown profile 'quik'; did you mean 'quick'?"
    assert (
        caught.value.allowed
        == "challenge, quick, regression, standard, or the path of a .yaml file"
    )
    assert caught.value.hint == "harness run --profile quick --dry-run"


def test_long_lists_of_names_are_cut(tmp_path: Path) -> None:
    entry = "  - {{id: m{0}, family: m, format: fake, quantisation: q, source: embedded}}\n"
    text = "models:\n" + "".join(entry.format(n) for n in range(20))
    catalogue = load_catalogue(write(tmp_path, text))
    with pytest.raises(SpecError) as caught:
        specfile.find_model(catalogue, "x")
    assert caught.value.allowed.endswith(" and 8 more")


def test_a_folder_of_ones_own_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = specfile.default_catalogue_path()
    assert shipped.is_absolute()
    (tmp_path / "models.yaml").write_text(CATALOGUE)
    assert specfile.default_catalogue_path() == Path("models.yaml")
    for folder, text in (("devices", DEVICE), ("profiles", PROFILE)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.yaml").write_text(text)
    (tmp_path / "devices/this-machine.yaml").write_text(DEVICE)
    (tmp_path / "profiles/challenge.yaml").write_text(PROFILE)
    assert specfile.resolve_device("mine").id == "laptop"
    assert specfile.resolve_device("this-machine").id == "laptop"
    assert specfile.resolve_device("devices/mine.yaml").id == "laptop"
    assert specfile.resolve_profile("mine").id == "mine"
    # A profile of the program cannot be hidden, or `challenge` would mean two things.
    assert specfile.resolve_profile("challenge").id == "challenge"
    assert specfile.resolve_profile("profiles/challenge.yaml").id == "mine"


# --- what is shipped ------------------------------------------------------------------


def shipped_catalogue() -> Any:
    return load_catalogue(specfile.built_in("models.yaml"))


def test_the_shipped_models() -> None:
    catalogue = shipped_catalogue()
    sets = {"default", "embedded", "reference-precision", "candidates", "synthetic"}
    assert set(catalogue.sets) == sets
    default = specfile.find_set(catalogue, "default")
    assert len(default) >= 8
    assert all(model.source.kind == "embedded" for model in default)
    assert {model.family for model in default} == {"ref-4m", "ref-2m"}
    assert {model.format for model in default} == {"gguf", "onnx"}
    assert len({model.quantisation for model in default}) >= 4
    embedded = specfile.find_set(catalogue, "embedded")
    assert {model.id for model in default} <= {model.id for model in embedded}
    assert {model.id for model in embedded} == {
        f"{family}.{quantisation}"
        for family in ("ref-4m", "ref-2m")
        for quantisation in (
            "f16.gguf", "q8_0.gguf", "q4_0.gguf", "q4_k_m.gguf",
            "fp32.onnx", "int8.onnx", "int4.onnx",
        )
    }  # fmt: skip
    precise = specfile.find_set(catalogue, "reference-precision")
    assert [model.id for model in precise] == ["ref-4m.f32.safetensors", "ref-2m.f32.safetensors"]
    assert {model.backend_name for model in precise} == {"transformers"}
    assert all(model.source.kind == "embedded" for model in precise)
    for model in catalogue.models.values():
        assert model.id == f"{model.family}.{model.quantisation}.{model.format}"
        assert model.licence
    # Nothing of the candidates is pinned yet, so nothing of them may run silently.
    for model in specfile.find_set(catalogue, "candidates"):
        assert model.source.kind == "hub"
        assert not model.source.revision
    listed = sum(len(catalogue.sets[name]) for name in catalogue.sets if name != "default")
    assert len(catalogue.models) == listed


@pytest.mark.parametrize("name", sorted(specfile.device_files()))
def test_the_shipped_devices(name: str) -> None:
    device: Device = specfile.resolve_device(name)
    assert device.id == name
    if device.memory_bytes:
        # Half of the memory stays for the system and a browser.
        assert device.memory_budget_bytes == device.memory_bytes // 2
        assert device.power == "ac"


@pytest.mark.parametrize("name", ["challenge", "quick", "regression", "standard"])
def test_the_shipped_profiles(name: str) -> None:
    profile: Profile = specfile.resolve_profile(name)
    assert profile.id == name
    assert profile.weights == {
        "accuracy": 0.4, "ttft_s": 0.2, "decode_tok_per_s": 0.2, "peak_resident_bytes": 0.2,
    }  # fmt: skip
    assert profile.suites.latency is not None
    assert profile.suites.accuracy is not None
    accuracy = profile.suites.accuracy
    items = accuracy.items * len(accuracy.tasks) * len(accuracy.languages)
    processes = profile.protocol.processes
    catalogue = shipped_catalogue()
    if name == "quick":
        assert not profile.gates
        assert profile.tolerates_unknown
    elif name == "regression":
        # What a comparison needs of every case that it may call worse.
        assert processes["latency"] == processes["memory"] == LEAST_PROCESSES
        assert profile.protocol.requests >= 5
        assert profile.tier == "ci"
        assert sum(len(cases) for cases in cases_of(profile).values()) <= 20
        assert {profile.reference, *profile.fallback_references} <= set(catalogue.models)
    else:
        assert processes["latency"] >= 10
        assert profile.protocol.requests >= 5
        assert items >= 2000
    if name == "challenge":
        assert not profile.tolerates_unknown
        assert profile.reference not in catalogue.models
        assert processes["latency"] * profile.protocol.requests >= 50
        gates = {gate.metric: gate for gate in profile.gates}
        assert gates["accuracy_ratio"].limit == 0.9
        assert gates["accuracy_ratio"].min_items <= items
        assert gates["peak_resident_bytes"].limit is None
        assert gates["ttft_s"].limit == 3
        assert gates["decode_tok_per_s"].limit == 8
        assert set(gates) <= {*METRICS, *FACTS}
        assert set(FACTS) <= set(gates)
        assert all(gate.required for gate in profile.gates)
        cases = {
            f"fixed-p{p}-n{n}"
            for p in profile.suites.latency.prompt_tokens
            for n in profile.suites.latency.output_tokens
        }
        assert gates["ttft_s"].case in cases
    else:
        assert catalogue.models[profile.reference].source.kind == "embedded"
    assert to_json(profile)["id"] == name


@pytest.mark.parametrize("name", ["challenge", "quick", "regression", "standard"])
def test_shipped_profiles_say_whose_proposal_the_weights_are(name: str) -> None:
    text = specfile.built_in(f"profiles/{name}.yaml").read_text("utf-8")
    assert "published no scoring formula" in text
    assert "this project's proposal" in " ".join(text.replace("#", "").split())
