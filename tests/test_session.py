"""What lies between the commands and the stages."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness import runs, seeds, session
from harness.errors import PrerequisiteError, SpecError
from harness.extensions import load, target, targets
from harness.models import chat
from harness.models.reference import materialise
from harness.plan import Plan
from harness.prepare import prepare
from harness.spec import sha256
from harness.specfile import built_in


def test_a_missing_engine_skips_its_models_with_the_install_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "llama_cpp" else found(name)
    )
    plan = prepare(suites=["memory"])
    assert plan.jobs
    assert {job.backend for job in plan.jobs} == {"onnxruntime"}
    assert plan.skipped
    for skip in plan.skipped:
        assert skip.reason == "engine_missing"
        assert skip.hint.endswith("pip install llama-cpp-python gguf")


def test_without_any_engine_there_is_nothing_to_measure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    plan = prepare()
    with pytest.raises(PrerequisiteError) as caught:
        session.run(plan, tmp_path)
    assert caught.value.reason == "nothing_to_measure"
    assert "pip install" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    paths = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        path = tmp_path / name / "same.fake.json"
        path.write_text("{}")
        paths.append(str(path))
    with pytest.raises(SpecError, match="same model id"):
        prepare(models=paths)


def test_a_model_that_cannot_be_tuned_is_skipped_alone(tmp_path: Path) -> None:
    timed = '{"step_s": 0.01, "prefill_s_per_token": 0.001}'
    entries = []
    for name, fields in (("good", timed), ("broken", '{"fail_on_load": "broken on purpose"}')):
        (tmp_path / f"{name}.fake.json").write_text(fields)
        source = f"{{kind: file, path: {name}.fake.json}}"
        entry = f"id: {name}.fake, family: {name}, format: fake, quantisation: f, source: {source}"
        entries.append(f"  - {{{entry}}}\n")
    catalogue = tmp_path / "models.yaml"
    catalogue.write_text("models:\n" + "".join(entries))
    # The reference is tuned too, which takes a real engine many seconds.
    quick = built_in("profiles/quick.yaml").read_text("utf-8")
    ours = tmp_path / "quick.yaml"
    ours.write_text(quick.replace("reference: ref-4m.f16.gguf", "reference: good.fake"), "utf-8")
    told: list[str] = []
    plan = prepare(
        profile=str(ours),
        catalogue_path=catalogue,
        models=["good.fake", "broken.fake"],
        suites=["latency"],
        tune=lambda model, _: told.append(model),
    )
    assert {"good.fake", "good.fake.tuned", "broken.fake"} <= {job.model for job in plan.jobs}
    (skip,) = (skip for skip in plan.skipped if skip.model.startswith("broken"))
    assert (skip.model, skip.reason) == ("broken.fake.tuned", "load_failed")
    assert "broken on purpose" in skip.detail
    assert "good.fake" in told


def test_candidates_are_skipped_with_their_fetch_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    plan = prepare(set_name="candidates", suites=["memory"])
    assert {job.model for job in plan.jobs} == {"ref-4m.f16.gguf"}
    assert plan.skipped
    assert {skip.reason for skip in plan.skipped} == {"not_pulled"}
    assert all(skip.hint == f"harness models pull {skip.model}" for skip in plan.skipped)


def test_a_commercial_comparison_leaves_other_models_out() -> None:
    plan = prepare(set_name="candidates", suites=["memory"], commercial=True)
    barred = {skip.model: skip for skip in plan.skipped if skip.reason == "not_commercial"}
    assert "forbids commercial use" in barred["exaone-3.5-2.4b.q4_k_m.gguf"].detail
    assert "not known to allow" in barred["llama-3.2-1b.q4_k_m.gguf"].detail
    assert "qwen3-0.6b.q4_k_m.gguf" not in barred
    assert {job.model for job in plan.jobs} == {"ref-4m.f16.gguf"}
    with pytest.raises(SpecError, match="CC-BY-NC") as caught:
        prepare(models=["kanana-nano-2.1b.q4_k_m.gguf"], commercial=True)
    assert caught.value.reason == "not_commercial"
    assert not prepare(models=["ref-2m.q8_0.gguf"], suites=["memory"], commercial=True).skipped


def test_the_challenge_waits_for_its_organiser() -> None:
    with pytest.raises(PrerequisiteError) as caught:
        prepare(profile="challenge")
    assert caught.value.reason == "reference_missing"
    assert caught.value.exit_code == 3


def test_unknown_backends_are_named() -> None:
    known = {"fake": "harness.backends.fake:FakeBackend"}
    with pytest.raises(SpecError, match="unknown backend 'fakee'; did you mean 'fake'"):
        target("fakee", known, "harness.backends")
    assert load(known["fake"]).__name__ == "FakeBackend"
    with pytest.raises(SpecError, match="is not a class"):
        load("harness.backends:BACKENDS")


def test_plugins_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_PLUGINS", "none")
    assert targets({"fake": "x:Y"}, "harness.backends") == {"fake": "x:Y"}


def test_a_run_may_show_every_model_the_canonical_template(
    tmp_path: Path,
) -> None:
    """Networks without a template of their own keep their plain text."""
    pytest.importorskip("onnxruntime")
    shutil.copytree(materialise("ref-2m.int4.onnx"), tmp_path / "chat.int4.onnx")
    (tmp_path / "chat.int4.onnx" / "chat_template.jinja").write_text(
        "<{{ messages[0].content }}>", "utf-8"
    )
    wanted = {"models": [str(tmp_path / "chat.int4.onnx")], "suites": ["task"]}
    own, canonical = prepare(**wanted), prepare(**wanted, chat_template="canonical")
    assert (own.profile.chat_template, canonical.profile.chat_template) == ("own", "canonical")
    assert {job.id for job in own.jobs}.isdisjoint(job.id for job in canonical.jobs)

    name = "chat.int4.onnx"

    def prompts(plan: Plan, model: str) -> set[str]:
        jobs = [job for job in plan.jobs if job.model == model]
        return {text for job in jobs for case in job.cases for text in case.texts}

    assert {text[0] for text in prompts(own, name)} == {"<"}
    assert {text[:6] for text in prompts(canonical, name)} == {"User: "}
    reference = own.profile.reference
    assert prompts(own, reference) == prompts(canonical, reference)
    shown = {
        entry["id"]: (entry["chat_template"], entry["template_sha256"])
        for plan in (own, canonical)
        for entry in session._run_record(plan, "run", [], seeds.PUBLIC, "")["models"]
    }
    assert shown[reference] == ("plain", "")
    assert shown[name] == ("canonical", sha256(chat.CANONICAL.read_bytes()))


def test_one_harness_at_a_time_measures_into_a_folder(tmp_path):
    code = "import sys; from pathlib import Path; from harness import runs\n"
    code += "with runs.alone(Path(sys.argv[1])):\n    print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "results")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout.readline() == b"held\n"
        with (
            pytest.raises(PrerequisiteError, match="another harness is measuring") as caught,
            runs.alone(tmp_path / "results"),
        ):
            pass
        assert (caught.value.reason, caught.value.exit_code) == ("results_locked", 3)
        other.kill()
    # Who was killed has left nothing that could stop the next one.
    with runs.alone(tmp_path / "results"):
        pass
