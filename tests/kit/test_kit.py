"""A kit from end to end: the command, its models, profile and devices, and a second call.

Only the packages are left out: `python -m tests.perf.kit_offline` packs, installs and runs all.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from harness import specfile
from harness.cli import cli
from harness.errors import HarnessError, PrerequisiteError, SpecError
from harness.kit import building as kits
from harness.kit import wheels
from harness.kit.wheels import Closure
from harness.models import reference, resolve
from tests.test_main_job import PROFILE

pytest.importorskip("onnx")

PACKAGES = {"sllm-harness", "onnxruntime", "onnx", "tokenizers"}
Make = Callable[..., kits.Kit]
NET = "ref-2m.int8.onnx"
EMBEDDED = "".join(
    f"  - {{id: {name}.{kind}, family: {name}, format: {kind}, quantisation: {quant}, "
    "source: embedded, licence: Apache-2.0, commercial: true, context: 2048}\n"
    for name, quant, kind in (
        ("ref-4m.f16", "f16", "gguf"),
        ("ref-4m.fp32", "fp32", "onnx"),
        ("ref-2m.int8", "int8", "onnx"),
    )
)
"""The chosen one, and the references of the quick profile."""


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Build a kit in the folder `kit`, with one reference model and empty wheels."""
    whole = wheels.closure
    monkeypatch.setattr(wheels, "EXTRAS", {"onnx": "onnx"})

    def short(*arguments: Any) -> Closure:
        found = whole(*arguments).found
        return Closure({name: found[name] for name in PACKAGES}, {})

    def repack(found: Any, folder: Path) -> Path:
        wheel = folder / f"{found.name.replace('-', '_')}-{found.version}-py3-none-any.whl"
        if not wheel.exists():
            zipfile.ZipFile(wheel, "w").close()
        return wheel

    monkeypatch.setattr(reference, "artefact_ids", lambda: ("ref-2m.int8.onnx",))
    monkeypatch.setattr(wheels, "closure", short)
    monkeypatch.setattr(wheels, "repack", repack)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models.yaml").write_text(f"models:\n{EMBEDDED}sets: {{default: [{NET}]}}\n")

    def build(**options: Any) -> kits.Kit:
        return kits.build(tmp_path / "kit", **options)

    return build


@pytest.fixture
def own(tmp_path: Path, make: Make) -> Path:
    """A models file with models that are links, as in the hub's cache, and an NC licence."""
    blobs = tmp_path / "blobs"
    folder = tmp_path / "models" / "net.int8.onnx"
    (folder / "onnx").mkdir(parents=True)
    blobs.mkdir()
    made = reference.materialise("ref-2m.int8.onnx")
    for name, place in {"model.onnx": "onnx/model_q8.onnx", "tokenizer.json": "tokenizer.json",
                        "genai_config.json": "config.json"}.items():  # fmt: skip
        blob = blobs / hashlib.sha256(place.encode()).hexdigest()
        blob.write_bytes((made / name).read_bytes())
        (folder / place).symlink_to(blob)
    (tmp_path / "toy.fake.json").write_text("{}")
    (tmp_path / "models.yaml").write_text(
        f"models:\n{EMBEDDED}"
        "  - {id: net.int8.onnx, family: net, format: onnx, quantisation: int8, licence: X-NC, "
        "commercial: false, chat_template: plain, options: {threads: 1}, "
        "source: {kind: file, path: models/net.int8.onnx/onnx/model_q8.onnx}}\n"
        "  - {id: toy.fake, family: toy, format: fake, quantisation: f, note: '가: b', "
        "source: {kind: file, path: toy.fake.json}}\n"
        "  - {id: far.gguf, family: far, format: gguf, quantisation: q, "
        "source: {kind: hub, repo: a/b, files: [far.gguf]}}\n"
        "sets: {mine: [net.int8.onnx, toy.fake], all: [far.gguf]}\n"
    )
    return tmp_path / "models.yaml"


def test_models_come_as_plain_files_that_resolve_to_the_same(make: Make, own: Path) -> None:
    made = make(set_name="mine", catalogue_path=own)
    catalogue = specfile.load_catalogue(made.folder / "models.yaml")
    before = specfile.load_catalogue(own)
    assert catalogue.sets == {
        "default": ("net.int8.onnx", "toy.fake"),
        "mine": ("net.int8.onnx", "toy.fake"),
    }
    for model_id in catalogue.sets["default"]:
        here, there = before.models[model_id], catalogue.models[model_id]
        old = resolve.resolve(here, own.parent)
        new = resolve.resolve(there, made.folder)
        assert dataclasses.replace(new.model, source=here.source) == old.model
        assert (
            sorted(new.sha256.values())
            == sorted(old.sha256.values())
            == sorted(there.source.sha256.values())
        )
        assert new.size_bytes == old.size_bytes
    assert not [path for path in made.folder.rglob("*") if path.is_symlink()]
    assert set(reference.artefact_ids()) <= catalogue.models.keys()
    assert "far.gguf" not in catalogue.models
    assert "net.int8.onnx must not be used commercially: X-NC" in made.warnings
    licences = (made.folder / "licences" / "models.txt").read_text("utf-8")
    assert "net.int8.onnx: X-NC; commercial use FORBIDDEN (NC); a file" in licences
    # What comes with the harness is not made on the laptop.
    assert reference.materialise("ref-2m.int8.onnx", made.folder / "artefacts").is_dir()
    assert kits.verify(made.folder) == made.about


def test_a_pulled_model_comes_out_of_the_hubs_cache(
    make: Make, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repository whose graph lies two folders down, each file a link to a blob."""
    commit, deep = "1" * 40, "cpu/int4"
    monkeypatch.setenv("HF_HUB_CACHE", str(own.parent / "hub"))
    cache = own.parent / "hub" / "models--a--b"
    snapshot = cache / "snapshots" / commit / deep
    snapshot.mkdir(parents=True)
    (cache / "blobs").mkdir()
    made = reference.materialise(NET)
    hashes = {}
    for name in ("model.onnx", "tokenizer.json", "genai_config.json"):
        data = (made / name).read_bytes()
        hashes[f"{deep}/{name}"] = digest = hashlib.sha256(data).hexdigest()
        (cache / "blobs" / digest).write_bytes(data)
        (snapshot / name).symlink_to(Path("../../../../blobs") / digest)
    source = {"kind": "hub", "repo": "a/b", "revision": commit, "files": list(hashes)}
    entry = {"id": "b.int8.onnx", "family": "b", "format": "onnx", "quantisation": "int8"}
    text = json.dumps({**entry, "source": {**source, "sha256": hashes}})
    own.write_text(f"models:\n{EMBEDDED}  - {text}\nsets: {{mine: [b.int8.onnx]}}\n")
    kit = make(set_name="mine", catalogue_path=own)
    there = specfile.load_catalogue(kit.folder / "models.yaml").models["b.int8.onnx"]
    assert there.source.path == f"models/b.int8.onnx/{deep}/model.onnx"
    found = resolve.resolve(there, kit.folder)
    assert sorted(found.sha256.values()) == sorted(hashes.values())
    licences = (kit.folder / "licences" / "models.txt").read_text("utf-8")
    assert (
        f"b.int8.onnx: unknown licence; commercial use unknown: read the licence; a/b at {commit}"
        in licences
    )


def test_nothing_tells_of_this_machine(make: Make, own: Path) -> None:
    made = make(set_name="mine", catalogue_path=own)
    secrets = {str(own.parent), str(Path.home()) + "/", str(Path(kits.__file__).parents[2])}
    for path in made.folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not [text for text in secrets if text.encode() in data], path


def test_a_second_call_keeps_what_is_right_and_mends_the_rest(make: Make, own: Path) -> None:
    made = make(set_name="mine", catalogue_path=own)
    first = {path: path.stat().st_mtime_ns for path in made.folder.rglob("*.*") if path.is_file()}
    manifest = (made.folder / "MANIFEST.json").read_bytes()
    broken = made.folder / "models" / "net.int8.onnx" / "tokenizer.json"
    broken.write_bytes(b"half")
    (made.folder / "wheels" / ".older.whl.part").touch()
    (made.folder / "models" / "old.gguf").touch()
    make(set_name="mine", catalogue_path=own)
    assert (made.folder / "MANIFEST.json").read_bytes() == manifest
    kept = [path for path in first if path.suffix in {".whl", ".onnx", ".gguf"}]
    assert all(path.stat().st_mtime_ns == first[path] for path in kept)
    assert kits.verify(made.folder) == made.about


def test_a_kit_that_was_interrupted_is_finished(
    make: Make, own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.kit import supply

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(supply, "place_licences", stop)
        with pytest.raises(KeyboardInterrupt):
            make(set_name="mine", catalogue_path=own)
    with pytest.raises(SpecError, match=r"MANIFEST\.json: missing"):
        kits.verify(own.parent / "kit")
    assert kits.verify(make(set_name="mine", catalogue_path=own).folder)["kind"] == "kit"


def test_an_own_profile_comes_with_its_texts_and_secret_items(make: Make, tmp_path: Path) -> None:
    folder = tmp_path / "exam"
    (folder / "texts").mkdir(parents=True)
    (folder / "texts" / "news.txt").write_text("글 " * 3000)
    items = '{"question": "1 + 1 =", "choices": ["2", "3"], "answer": 0}\n'
    items += '{"question": "1 + 2 =", "choices": ["2", "3"], "answer": 1}\n'
    (folder / "items.jsonl").write_text(items)

    def digest(name: str) -> str:
        return hashlib.sha256((folder / name).read_bytes()).hexdigest()

    text = PROFILE.replace("ref-4m.f16.gguf", "ref-2m.int8.onnx").replace(
        "items: 60}",
        f"items: 60, data: [{{id: own, path: items.jsonl, sha256: {digest('items.jsonl')}}}]}}\n"
        "  language: {tokens: 64, languages: [ko], files: [{id: news, path: texts/news.txt, "
        f"sha256: {digest('texts/news.txt')}}}]}}",
    )
    text = text.replace("accuracy: 1}", "accuracy: 1, language: 1}")
    (folder / "small.yaml").write_text(text)
    made = make(models=[NET], profile=str(folder / "small.yaml"))
    assert made.about["profile"] == "profiles/small.yaml"
    packed = {
        path.relative_to(made.folder / "profiles").as_posix()
        for path in (made.folder / "profiles").rglob("*.*")
    }
    assert packed == {"small.yaml", "items.jsonl", "texts/news.txt"}
    assert any("1 files of held-out items are in the kit" in warning for warning in made.warnings)
    assert "run --profile profiles/small.yaml" in (made.folder / "README.txt").read_text("utf-8")
    moved = text.replace("path: texts/news.txt", "path: ../news.txt")
    (tmp_path / "news.txt").write_bytes((folder / "texts" / "news.txt").read_bytes())
    (folder / "small.yaml").write_text(moved)
    with pytest.raises(SpecError, match="lies outside its folder"):
        make(models=[NET], profile=str(folder / "small.yaml"))


@pytest.mark.parametrize(
    ("options", "message", "reason"),
    [
        ({"set_name": "all"}, "far.gguf is not on this machine", None),
        ({"set_name": "none"}, "unknown set 'none'", "unknown_set"),
        ({"models": ["ref-2m.int8"]}, "did you mean 'ref-2m.int8.onnx'", "unknown_model"),
        ({"models": [NET], "devices": ["gram"]}, "unknown device", "unknown_device"),
        ({"models": [NET], "profile": "fast"}, "unknown profile", "unknown_profile"),
    ],
)
def test_what_cannot_be_packed_is_named(
    make: Make, own: Path, options: Mapping[str, Any], message: str, reason: str | None
) -> None:
    with pytest.raises(HarnessError, match=re.escape(message)) as caught:
        make(catalogue_path=own, **options)
    assert reason in {None, caught.value.reason}
    assert not (own.parent / "kit" / "MANIFEST.json").exists()


def test_this_very_machine_is_no_device_of_a_kit(make: Make, tmp_path: Path) -> None:
    (tmp_path / "devices").mkdir()
    device = specfile.built_in("devices/this-machine.yaml").read_text("utf-8")
    (tmp_path / "devices" / "local.yaml").write_text(
        device.replace("id: this-machine", "id: local")
    )
    made = make(models=[NET])
    assert not (made.folder / "devices" / "local.yaml").exists()
    assert (made.folder / "devices" / "lg-gram-2024-16gb.yaml").is_file()
    with pytest.raises(SpecError, match="device 'local' declares this very machine"):
        make(models=[NET], devices=["local"])


def test_a_folder_with_something_else_is_left_alone(make: Make, tmp_path: Path) -> None:
    (tmp_path / "kit").mkdir()
    (tmp_path / "kit" / "thesis.txt").write_text("mine")
    with pytest.raises(SpecError, match="something else than a kit is here") as caught:
        make(models=[NET])
    assert caught.value.reason == "foreign_folder"
    assert [path.name for path in (tmp_path / "kit").iterdir()] == ["thesis.txt"]


def test_a_file_of_ones_own_in_a_kit_is_not_packed_and_not_lost(make: Make) -> None:
    folder = make(models=[NET]).folder
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(SpecError, match=r"'notes\.txt' is in the kit's folder and no part of it"):
        make(models=[NET])
    assert (folder / "notes.txt").read_text() == "mine"


def test_a_link_in_a_kit_is_refused_before_anything_is_packed(make: Make) -> None:
    folder = make(models=[NET]).folder
    (folder / "models" / "link").symlink_to(folder / "models.yaml")
    with pytest.raises(SpecError, match="models/link: a link, allowed are plain files"):
        make(models=[NET])


def test_a_disk_that_is_too_small_is_refused(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    usage = shutil.disk_usage(".")._replace(free=50 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(
        PrerequisiteError, match=r"the kit needs 0\.\d GB, 0\.1 GB are free"
    ) as caught:
        make(models=[NET])
    assert caught.value.reason == "disk_full"


def test_the_command_makes_and_verifies(make: Make, tmp_path: Path) -> None:
    def call(*words: str) -> Result:
        return CliRunner().invoke(cli, ["kit", *words])

    done = call("out", "--model", "ref-2m.int8.onnx", "--json")
    assert done.exit_code == 0, done.output
    assert "packing 4 packages for" in done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["kit"] == "out"
    assert found["about"]["models"] == [NET]
    assert found["size_bytes"] > 1 << 20
    assert "every file is as it was packed" in call("verify", "out").stdout
    (tmp_path / "out" / "models.yaml").write_text("models: []")
    broken = call("verify", "out", "--json")
    assert isinstance(broken.exception, SpecError)
    assert "models.yaml: changed" in str(broken.exception)
