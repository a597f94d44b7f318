"""Predictions that are left for others, and how far others are from them."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.backends.base import Backend
from harness.backends.fake import FakeBackend
from harness.cases import Case
from harness.errors import CapabilityError
from harness.models import reference
from harness.models.export_gguf import export_gguf
from harness.records import Record
from harness.scoring.divergence import Divergence, read_divergence
from harness.scoring.fidelity import figures
from harness.spec import BackendOptions
from harness.suites import compact, fidelity
from harness.suites.rows import Coarse, coarse, top
from harness.suites.texts import generated
from tests.backends.conftest import make_backend
from tests.suites.helpers import fake, job, of_kind

CASE = Case(
    id="fidelity-ko",
    language="ko",
    prompt_tokens=512,
    items=100,
    reference="best",
    reference_sha256="ab" * 32,
)
FILE = "best.fidelity-ko.npz"


def measured(backend: Backend, model: str, shared: Path, case: Case = CASE) -> list[Record]:
    asked = dataclasses.replace(job("fidelity", case), model=model, shared=str(shared))
    return list(fidelity.measure(case, backend, asked))


def against(backend: Backend, shared: Path, case: Case = CASE) -> Divergence:
    (sample,) = of_kind(measured(backend, "other", shared, case), "divergence")
    return read_divergence(sample)


def reason(backend: Backend, shared: Path, case: Case = CASE) -> tuple[str, str]:
    with pytest.raises(CapabilityError) as caught:
        measured(backend, "other", shared, case)
    return caught.value.reason, caught.value.message


# --- the file ---------------------------------------------------------------------------


def test_predictions_survive_the_file(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(0, 4, (90, 152_064)).astype(np.float32)
    targets = list(range(90))
    parts = [
        compact.predictions(rows[:64], targets[:64]),
        compact.predictions(rows[64:], targets[64:]),
    ]
    made = compact.joined(parts)
    compact.write(tmp_path / "x.npz", {"model": "m"}, made)
    header, found = compact.read(tmp_path / "x.npz")
    assert header["model"] == "m"
    np.testing.assert_array_equal(found.ids, top(rows, 256))
    exact = coarse(rows, found.ids)
    np.testing.assert_allclose(found.coarse.head, exact.head, rtol=0, atol=2**-18)
    np.testing.assert_allclose(found.coarse.tail, exact.tail, rtol=1e-6)
    np.testing.assert_allclose(found.target, made.target, rtol=1e-6)
    assert (tmp_path / "x.npz").stat().st_size < 90 * (1.5 * 1024 + 16) + 2000
    part = found.part(64, 26)
    np.testing.assert_array_equal(part.ids, found.ids[64:])


def test_the_ends_of_24_bits_survive_too(tmp_path: Path) -> None:
    ids = np.array([[0, 65_535, 65_536, (1 << 24) - 1]])
    head = np.array([[0.0, -1e-9, -63.89, -500.0]])
    made = compact.Predictions(ids, Coarse(head, np.array([-1e-3])), np.array([-1.0]))
    compact.write(tmp_path / "x.npz", {}, made)
    found = compact.read(tmp_path / "x.npz")[1]
    np.testing.assert_array_equal(found.ids, ids)
    np.testing.assert_allclose(found.coarse.head, [[0, 0, -63.89, -63.9]], atol=1e-5)


@pytest.mark.parametrize("damage", ["absent", "empty", "cut", "text", "pickle", "format"])
def test_a_damaged_file_is_a_missing_reference(tmp_path: Path, damage: str) -> None:
    measured(fake(tmp_path), "best", tmp_path)
    path = tmp_path / FILE
    whole = path.read_bytes()
    if damage == "absent":
        path.unlink()
    elif damage == "pickle":
        np.savez(path, header=np.array([{"a": 1}], dtype=object))
    elif damage == "format":
        np.savez(path, **dict(np.load(path)) | {"header": np.frombuffer(b'{"format":9}', np.uint8)})
    else:
        path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "text": b"x" * 99}[damage])
    assert reason(fake(tmp_path), tmp_path)[0] == "reference_missing"


# --- the suite on a fake engine ---------------------------------------------------------------


def test_the_reference_leaves_its_predictions(tmp_path: Path) -> None:
    shared = tmp_path / "fidelity"
    (sample,) = of_kind(measured(fake(tmp_path), "best", shared), "stored")
    assert sample["tokens"] == len(generated("ko", 300).encode())
    assert sample["stored_bytes"] == (shared / FILE).stat().st_size
    header, found = compact.read(shared / FILE)
    assert header["files_sha256"] == CASE.reference_sha256
    assert header["engine"] == {"engine": "fake", "engine_version": "1"}
    assert len(found.target) == sample["tokens"] - 1, "the first has no BOS before it"


def test_the_same_network_is_at_no_distance(tmp_path: Path) -> None:
    measured(fake(tmp_path), "best", tmp_path)
    found = against(fake(tmp_path), tmp_path)
    assert found.kld.max() < 1e-9
    assert found.same_top == found.kld.size
    assert found.squares < 1e-12
    assert found.nats == pytest.approx(found.reference_nats, rel=1e-7)


def test_another_network_is_far(tmp_path: Path) -> None:
    measured(fake(tmp_path), "best", tmp_path)
    found = against(fake(tmp_path, seed=1), tmp_path)
    assert found.kld.mean() > 1
    assert found.same_top < 0.1 * found.kld.size


def test_figures_are_those_of_whole_distributions(tmp_path: Path) -> None:
    """256 of 257 tokens are kept, and the last one is the bucket: nothing is lost."""
    measured(fake(tmp_path), "best", tmp_path)
    found = against(fake(tmp_path, seed=1), tmp_path)
    ids = list(generated("ko", 300).encode())

    def log_softmax(seed: int) -> np.ndarray:
        backend = fake(tmp_path, seed=seed)
        wide = backend.extend(backend.root(), ids, range(len(ids))).astype(np.float64)
        return wide - np.log(np.exp(wide).sum(axis=1, keepdims=True))

    p, q = log_softmax(0)[:-1], log_softmax(1)[:-1]
    np.testing.assert_allclose(found.kld, (np.exp(p) * (p - q)).sum(1), rtol=2e-3)
    assert found.same_top == (p.argmax(1) == q.argmax(1)).sum()
    places = np.arange(len(p)), ids[1:]
    assert found.squares == pytest.approx(((np.exp(q) - np.exp(p))[places] ** 2).sum(), rel=1e-4)
    assert found.nats == pytest.approx(-q[places].sum(), rel=1e-6)


class Other(FakeBackend):
    """Another tokeniser: letters swapped."""

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        swapped = {ord("a"): "b", ord("b"): "a"}
        return super().encode(text.translate(swapped), special=special)


class Wider(FakeBackend):
    vocabulary = 260


class Beginning(FakeBackend):
    begin_ids = (255,)


@pytest.mark.parametrize("kind", [Other, Wider, Beginning])
def test_another_tokeniser_is_never_compared(tmp_path: Path, kind: type[FakeBackend]) -> None:
    measured(fake(tmp_path), "best", tmp_path)
    backend = kind()
    backend.load(tmp_path / "toy.fake.json", BackendOptions(threads=1))
    found, message = reason(backend, tmp_path)
    assert found == "tokeniser_differs"
    assert {Other: "probe", Wider: "257 and 260", Beginning: "[255]"}[kind] in message


def test_a_single_token_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    digest = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"
    case = dataclasses.replace(CASE, text=str(tmp_path / "a.txt"), text_sha256=digest)
    assert reason(fake(tmp_path), tmp_path, case)[0] == "no_output"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"items": 120}, "text_differs"),
        ({"language": "en"}, "text_differs"),
        ({"prompt_tokens": 256}, "text_differs"),
        ({"reference_sha256": "cd" * 32}, "reference_missing"),
    ],
)
def test_only_the_same_work_is_compared(tmp_path, changes, expected) -> None:
    measured(fake(tmp_path), "best", tmp_path)
    case = dataclasses.replace(CASE, **changes)
    assert reason(fake(tmp_path), tmp_path, case)[0] == expected


# --- trained weights in real engines -----------------------------------------------------------

REAL = dataclasses.replace(CASE, id="fidelity-en", language="en", items=500)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ref-2m in float32 leaves."""
    folder = tmp_path_factory.mktemp("shared")
    with opened("ref-2m.fp32.onnx") as backend:
        measured(backend, "best", folder, REAL)
    return folder


class opened:  # noqa: N801 - reads as a verb
    """An embedded artefact, or a file, in its engine on one thread."""

    def __init__(self, model: str | Path) -> None:
        path = reference.materialise(model) if isinstance(model, str) else model
        self.backend = make_backend("llama_cpp" if path.suffix == ".gguf" else "onnxruntime")
        self.backend.load(path, BackendOptions(threads=1, context=512))

    def __enter__(self) -> Backend:
        return self.backend

    def __exit__(self, *_: object) -> None:
        self.backend.close()


def distance(model: str, shared: Path) -> dict[str, Any]:
    with opened(model) as backend:
        found = figures([against(backend, shared, REAL)], model)
    return {name: figure.value for name, figure in found.items()}


def test_a_real_network_is_at_no_distance_from_itself(shared: Path) -> None:
    found = distance("ref-2m.fp32.onnx", shared)
    assert found["kld_nat"] < 1e-9
    assert found["top1_agreement"] == 1


def test_divergence_grows_as_bits_go(shared: Path) -> None:
    kld = {}
    for variant in ("f16.gguf", "q8_0.gguf", "q4_k_m.gguf", "q4_0.gguf", "int8.onnx", "int4.onnx"):
        found = distance(f"ref-2m.{variant}", shared)
        kld[variant] = found["kld_nat"]
        assert found["kld_nat_p50"] <= found["kld_nat"] <= found["kld_nat_p99"]
        assert 0.5 < found["top1_agreement"] <= 1
    assert kld["f16.gguf"] < 1e-4, "two engines, one network"
    assert 2 * kld["f16.gguf"] < kld["q8_0.gguf"]
    assert kld["q8_0.gguf"] < 0.2 * min(kld["q4_0.gguf"], kld["q4_k_m.gguf"])
    assert kld["int8.onnx"] < 0.2 * kld["int4.onnx"]
    assert kld["q4_0.gguf"] < 0.5


def damaged() -> Iterator[tuple[str, dict[str, Any]]]:
    """Tokenisers that look like the network's own and split text otherwise."""
    from tokenizers import Tokenizer

    document = json.loads((reference.WEIGHTS / "tokenizer.json").read_text("utf-8"))
    text = generated("en", 6000)
    whole = Tokenizer.from_str(json.dumps(document)).encode(text).ids
    draw = random.Random(1)
    while True:
        swapped = json.loads(json.dumps(document))
        merges = swapped["model"]["merges"]
        i, j = draw.sample(range(len(merges)), 2)
        merges[i], merges[j] = merges[j], merges[i]
        if Tokenizer.from_str(json.dumps(swapped)).encode(text).ids != whole:
            break
    yield "two merges swapped", swapped
    # The file names the wrong rule for splitting: most text comes out the same.
    steps = [{"type": "Split"}, {"type": "ByteLevel", "use_regex": False}]
    yield "another split", document | {"pre_tokenizer": {"pretokenizers": steps}}


@pytest.mark.parametrize("fault", ["two merges swapped", "another split"])
def test_a_damaged_tokeniser_is_caught(shared: Path, tmp_path: Path, fault: str) -> None:
    made = dict(damaged())[fault]
    network = reference.network("ref-2m")
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(made, ensure_ascii=False), "utf-8")
    export_gguf(dataclasses.replace(network, tokenizer=path), tmp_path / "x.gguf", "f16")
    with opened(tmp_path / "x.gguf") as backend:
        assert reason(backend, shared, REAL)[0] == "tokeniser_differs"
