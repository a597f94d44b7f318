"""What a token costs follows from the network's shape, whatever file holds it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from harness.backends.base import Backend
from harness.backends.llama_cpp import LlamaCppBackend
from harness.backends.onnxruntime import OnnxRuntimeBackend
from harness.models import reference
from harness.models.export_gguf import export_gguf
from harness.models.export_onnx import export_onnx
from harness.models.export_safetensors import export_safetensors
from harness.models.network import EMBEDDING, NetworkConfig, tensor_shapes
from harness.models.resolve import resolve
from harness.models.token_cost import weights_of
from harness.spec import BackendOptions, Model, Source

if TYPE_CHECKING:
    from harness.models.network import Network

gguf = pytest.importorskip("gguf")
onnx = pytest.importorskip("onnx")
helper = onnx.helper

BITS = {"q8_0": 8.5, "q4_0": 4.5, "f16": 16, "f32": 32, "fp32": 32, "int8": 9, "int4": 5}
"""Bits of a weight, scales included: blocks of 32 with a float16, in ONNX a float32, scale."""


def parameters(config: NetworkConfig) -> tuple[int, int]:
    """Of the body's matrices, and of the head."""
    shapes = tensor_shapes(config)
    layers = [s for name, s in shapes.items() if ".layers." in name and len(s) == 2]
    return sum(map(math.prod, layers)), math.prod(shapes[EMBEDDING])


@pytest.mark.parametrize("name", reference.NETWORKS)
@pytest.mark.parametrize(
    "variant",
    [
        "f16.gguf",
        "q8_0.gguf",
        "q4_0.gguf",
        "fp32.onnx",
        "int8.onnx",
        "int4.onnx",
        "f32.safetensors",
    ],
)
def test_the_reference_models(name: str, variant: str) -> None:
    quant, kind = variant.split(".")
    model = Model(
        id=f"{name}.{variant}",
        family=name,
        format=kind,  # type: ignore[arg-type]
        quantisation=quant,
        source=Source(kind="embedded"),
    )
    found = resolve(model, Path()).weights
    config = reference.network(name).config
    body, head = parameters(config)
    kept = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    head_bits = BITS["q8_0"] if quant == "q4_0" else BITS[quant]
    assert found == {
        "read_bytes": (body * BITS[quant] + head * head_bits) / 8,
        "body_parameters": body,
        "head_parameters": head,
        "kv_bytes": kept * (2 if kind == "gguf" else 4),
    }


def test_a_known_network_in_plain_numbers() -> None:
    """Two bytes a parameter of ref-2m; its embedding is also its head, so it is read."""
    path = reference.materialise("ref-2m.f16.gguf")
    assert reference.network("ref-2m").config.tie_word_embeddings
    assert weights_of(path, "gguf") == {
        "read_bytes": 4_718_592,
        "body_parameters": 1_572_864,
        "head_parameters": 786_432,
        "kv_bytes": 1024,  # 2 layers x 2 heads x (64 + 64) x 2 bytes
    }


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_an_embedding_costs_nothing_unless_it_is_the_head(
    make_toy: Callable[..., Network], tmp_path: Path, *, tied: bool, architecture: str
) -> None:
    toy = make_toy(tie_word_embeddings=tied, architecture=architecture)
    body, head = parameters(toy.config)
    export_gguf(toy, tmp_path / "toy.gguf", "f16")
    found = [weights_of(tmp_path / "toy.gguf", "gguf")]
    for quant in ("fp32", "int4"):
        graph = export_onnx(toy, tmp_path / quant, quant, logits_rows=False)
        found.append(weights_of(graph, "onnx"))
    folder = export_safetensors(toy, tmp_path / "toy.safetensors", "f32")
    found.append(weights_of(folder, "safetensors"))
    assert [cost.pop("read_bytes") for cost in found] == [
        (body + head) * bits // 8 for bits in (16, 32, 5, 32)
    ]
    cached = [cost.pop("kv_bytes") for cost in found]
    config = toy.config
    kept = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim
    assert cached == [2 * kept, 4 * kept, 4 * kept, 4 * kept]
    assert found == [{"body_parameters": body, "head_parameters": head}] * 4


def safetensors_folder(
    folder: Path, config: dict[str, object], shapes: dict[str, list[int]]
) -> Path:
    """A folder whose one file lists tensors and holds zeros."""
    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(end))
    return folder


SHAPE = {
    "hidden_size": 8,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 3,
}
TENSORS = {"model.embed_tokens.weight": [10, 8], "model.layers.0.o.weight": [8, 8]}


def test_widened_weights_are_read_at_the_size_that_they_have_in_memory(tmp_path: Path) -> None:
    folder = safetensors_folder(tmp_path / "m", SHAPE, {**TENSORS, "model.norm.weight": [8]})
    assert weights_of(folder, "safetensors") == {
        "read_bytes": 4 * (64 + 80),
        "body_parameters": 64,
        "head_parameters": 80,
        "kv_bytes": 3 * 2 * 2 * (8 // 4) * 4,
    }


def test_a_token_is_sent_to_some_of_the_experts(tmp_path: Path) -> None:
    experts = {f"model.layers.0.mlp.experts.{i}.up.weight": [4, 8] for i in range(8)}
    config = {**SHAPE, "num_experts": 8, "num_experts_per_tok": 2}
    folder = safetensors_folder(tmp_path / "m", config, {**TENSORS, **experts})
    assert weights_of(folder, "safetensors")["body_parameters"] == 64 + 2 * 4 * 8
    fused = {**TENSORS, "model.layers.0.mlp.experts.gate_up_proj": [8, 4, 8]}
    folder = safetensors_folder(tmp_path / "m", config, fused)
    assert weights_of(folder, "safetensors")["body_parameters"] == 64 + 2 * 4 * 8
    folder = safetensors_folder(tmp_path / "m", SHAPE, fused)
    assert weights_of(folder, "safetensors") == {}, "how many are used is not said"


@pytest.mark.parametrize(
    ("change", "lost"),
    [
        ({"layer_types": ["linear_attention", "full_attention"]}, "kv_bytes"),
        ({"kv_lora_rank": 4}, "kv_bytes"),
        ({"vision_config": {}}, "read_bytes"),
        ({"num_attention_heads": "four"}, "read_bytes"),
    ],
)
def test_what_safetensors_do_not_say_is_left_out(
    change: dict[str, object], lost: str, tmp_path: Path
) -> None:
    folder = safetensors_folder(tmp_path / "m", {**SHAPE, **change}, TENSORS)
    assert lost not in weights_of(folder, "safetensors")


def test_weights_outside_the_graph_count_and_are_not_needed(
    toy: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = export_onnx(toy, tmp_path / "inside", "int8")
    monkeypatch.setattr("harness.models.export_onnx.EXTERNAL_BYTES", 0)
    outside = export_onnx(toy, tmp_path / "outside", "int8")
    (outside.parent / "model.onnx.data").unlink()
    assert weights_of(outside, "onnx") == weights_of(inside, "onnx") != {}


def test_only_experts_that_a_token_meets_count(tmp_path: Path) -> None:
    path = tmp_path / "moe.gguf"

    def write(**experts: int) -> dict[str, int]:
        writer = gguf.GGUFWriter(path, "llama")
        for name, count in experts.items():
            getattr(writer, f"add_{name}")(count)
        for name, shape in {
            "token_embd.weight": (100, 32),
            "output.weight": (100, 32),
            "output_norm.weight": (32,),
            "blk.0.attn_q.weight": (32, 32),
            "blk.0.ffn_up_exps.weight": (8, 64, 32),
        }.items():
            writer.add_tensor(name, np.zeros(shape, np.float16))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return weights_of(path, "gguf")

    body, head = 32 * 32 + 2 * 64 * 32, 100 * 32
    assert write(expert_count=8, expert_used_count=2) == {
        "read_bytes": 2 * (body + head),
        "body_parameters": body,
        "head_parameters": head,
    }
    assert write(expert_count=8) == write() == write(expert_count=2, expert_used_count=8) == {}


def test_one_part_of_a_split_model_says_nothing(tmp_path: Path) -> None:
    def write(parts: int) -> dict[str, int]:
        writer = gguf.GGUFWriter(tmp_path / "part.gguf", "llama")
        writer.add_uint16("split.count", parts)
        for name in ("token_embd.weight", "blk.0.attn_q.weight"):
            writer.add_tensor(name, np.zeros((32, 32), np.float16))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return weights_of(tmp_path / "part.gguf", "gguf")

    assert write(1)["body_parameters"] == 1024
    assert write(2) == {}


def write_graph(
    path: Path, nodes: list[tuple[str, list[str], str]], **shapes: tuple[str, tuple[int, ...]]
) -> dict[str, int]:
    """Save a graph of `(operator, inputs, output)`; weights as `name=(type, shape)`."""
    weights = [
        helper.make_tensor(
            name,
            getattr(onnx.TensorProto, kind),
            shape,
            bytes(helper.tensor_dtype_to_np_dtype(getattr(onnx.TensorProto, kind)).itemsize)
            * math.prod(shape),
            raw=True,
        )
        for name, (kind, shape) in shapes.items()
    ]
    made = [helper.make_node(op, inputs, [output]) for op, inputs, output in nodes]
    result = helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, None)
    graph = helper.make_graph(made, "g", [], [result], weights)
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return weights_of(path, "onnx")


def test_how_other_exporters_store_weights(tmp_path: Path) -> None:
    cost = write_graph(
        tmp_path / "m.onnx",
        [
            ("Gather", ["table", "ids"], "x"),
            ("MatMulInteger", ["x", "int8"], "a"),
            ("DequantizeLinear", ["stored", "scale"], "float"),
            ("MatMul", ["a", "float"], "b"),
            ("Gemm", ["b", "plain", "bias"], "c"),
            ("Cast", ["head"], "head_cast"),
            ("Transpose", ["head_cast"], "head_matrix"),
            ("MatMul", ["c", "head_matrix"], "rough"),
            ("Cast", ["rough"], "logits"),
        ],
        table=("FLOAT", (50, 16)),
        int8=("INT8", (16, 24)),
        stored=("UINT8", (24, 8)),
        scale=("FLOAT", (8,)),
        plain=("FLOAT", (8, 16)),
        bias=("FLOAT", (16,)),
        head=("FLOAT16", (50, 16)),
    )
    assert cost == {
        "read_bytes": 16 * 24 + 24 * 8 + 4 * 8 + 4 * 8 * 16 + 4 * 16 + 2 * 50 * 16,
        "body_parameters": 16 * 24 + 24 * 8 + 8 * 16,
        "head_parameters": 50 * 16,
    }


def test_nothing_is_said_where_the_graph_does_not_say(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    weights = {"w": ("FLOAT", (4, 4)), "head": ("FLOAT", (4, 9))}
    body = ("MatMul", ["x", "w"], "a")
    assert write_graph(path, [body, ("MatMul", ["a", "head"], "logits")], **weights)
    assert write_graph(path, [body, ("Relu", ["a"], "logits")], **weights) == {}
    assert write_graph(path, [body, ("MatMul", ["a", "head"], "other")], **weights) == {}
    experts = [body, ("QMoE", ["a", "w"], "b"), ("MatMul", ["b", "head"], "logits")]
    assert write_graph(path, experts, **weights) == {}
    looped = [("Cast", ["b"], "a"), ("Cast", ["a"], "b"), ("MatMul", ["a", "b"], "logits")]
    assert write_graph(path, looped, **weights) == {}


@pytest.mark.parametrize("kind", ["gguf", "onnx"])
def test_a_damaged_file_says_nothing(toy: Network, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "model.onnx"
    if kind == "onnx":
        export_onnx(toy, tmp_path, "int8")
    else:
        export_gguf(toy, path, "q8_0")
    whole = path.read_bytes()
    assert weights_of(path, kind)  # type: ignore[arg-type]
    for damaged in (b"", b"\x3a", whole[: len(whole) // 2], b"\xff" * 4096, bytes(4096)):
        path.write_bytes(damaged)
        assert weights_of(path, kind) == {}  # type: ignore[arg-type]
    path.unlink()
    assert weights_of(path, kind) == {}  # type: ignore[arg-type]


def test_the_fake_engine_has_no_weights(tmp_path: Path) -> None:
    (tmp_path / "toy.fake.json").write_text("{}")
    assert weights_of(tmp_path / "toy.fake.json", "fake") == {}


@pytest.mark.parametrize(
    ("variant", "backend"), [("q8_0.gguf", LlamaCppBackend), ("int8.onnx", OnnxRuntimeBackend)]
)
def test_the_cache_that_is_predicted_is_the_one_that_the_engine_makes(
    variant: str, backend: type[Backend]
) -> None:
    path = reference.materialise(f"ref-2m.{variant}")
    opened = backend()
    made = opened.load(path, BackendOptions(threads=1, context=64)).kv_bytes_per_token
    opened.close()
    graph = path if path.is_file() else path / "model.onnx"
    assert weights_of(graph, variant[-4:])["kv_bytes"] == made  # type: ignore[arg-type]
