"""A GGUF file that is no honest language model is refused by name; honest ones pass."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.errors import SpecError
from harness.models import reference
from harness.models.export_gguf import export_gguf
from harness.preflight import gguf
from harness.preflight.rules import RULES
from tests.backends.recurrent_gguf import write_mamba
from tests.preflight.forged import (
    TOKENS,
    array,
    document,
    entry,
    info,
    model,
    numbers,
    text,
    texts,
    u32,
    word,
    write,
)

if TYPE_CHECKING:
    from harness.models.network import Network

pytest.importorskip("gguf")
LARGEST = (1 << 64) - 1
TABLE = info("token_embd.weight", (32, 8))


def check(folder: Path, content: bytes) -> dict[str, Any]:
    return gguf.check(write(folder / "m.gguf", content))


def refused(folder: Path, content: bytes) -> SpecError:
    with pytest.raises(SpecError) as caught:
        check(folder, content)
    error = caught.value
    assert error.where.startswith(str(folder / "m.gguf"))
    assert error.allowed == RULES[error.reason]
    assert error.hint
    assert str(error).isprintable() or "\n" in str(error)
    return error


def patched(at: int, data: bytes) -> bytes:
    whole = model()
    return whole[:at] + data + whole[at + len(data) :]


# llama.cpp's own tests/test-gguf.cpp: every kind of file that it expects to be rejected.
HANDCRAFTED = {
    "HEADER_BAD_MAGIC": (patched(0, b"FUGG"), "gguf_magic"),
    "HEADER_BAD_VERSION_0": (patched(4, bytes(4)), "gguf_version"),
    "HEADER_BAD_VERSION_1": (patched(4, b"\1\0\0\0"), "gguf_version"),
    "HEADER_BAD_VERSION_FUTURE": (patched(4, b"\4\0\0\0"), "gguf_version"),
    "HEADER_BAD_VERSION_BIG_ENDIAN": (patched(4, b"\0\0\0\3"), "gguf_version"),
    "HEADER_BAD_N_TENSORS": (patched(8, b"\xff" * 8), "gguf_count"),
    "HEADER_BAD_N_KV": (patched(16, b"\xff" * 8), "gguf_count"),
    "HEADER_EMPTY": (document(), "gguf_no_model"),
    "KV_BAD_KEY_SIZE": (document(b"\xff" * 8, entries=1), "gguf_count"),
    "KV_EMPTY_KEY": (document(entry("", 0, b"\1"), entries=1), "gguf_key"),
    "KV_BAD_TYPE": (document(entry("k", 13, bytes(8)), entries=1), "gguf_value"),
    "KV_BAD_VALUE_SIZE": (
        document(entry("k", 8, struct.pack("<Q", LARGEST)), entries=1),
        "gguf_count",
    ),
    "KV_DUPLICATE_KEY": (document(*[entry("k", 0, b"\1")] * 2, entries=2), "gguf_key"),
    "KV_BAD_ALIGN": (model(general__alignment=u32(13)), "gguf_alignment"),
    "KV_WRONG_TYPE_ALIGN": (
        model(general__alignment=(10, struct.pack("<Q", 32))),
        "gguf_alignment",
    ),
    "TENSORS_BAD_NAME_SIZE": (model(info("x" * 64, (32,))), "gguf_tensor_name"),
    "TENSORS_BAD_N_DIMS": (model(info(dimensions=5)), "gguf_tensor_shape"),
    "TENSORS_BAD_SHAPE": (model(info(shape=(LARGEST, 1))), "gguf_tensor_shape"),
    "TENSORS_ZERO_DIM": (model(info(shape=(32, 0))), "gguf_tensor_shape"),
    "TENSORS_NE_TOO_BIG": (model(info(shape=(1 << 32, 1 << 31))), "gguf_tensor_shape"),
    "TENSORS_NBYTES_TOO_BIG": (model(info(shape=(1 << 32, 1 << 30))), "gguf_tensor_outside"),
    "TENSORS_NBYTES_PAD_WRAP": (model(info(shape=((1 << 62) - 1,))), "gguf_tensor_outside"),
    "TENSORS_BAD_TYPE": (model(info(kind=99)), "gguf_tensor_type"),
    "TENSORS_BAD_OFFSET": (model(info(offset=32)), "gguf_tensor_place"),
    "TENSORS_DUPLICATE_NAME": (
        model(TABLE, info("token_embd.weight", (32, 8), offset=1024), data=2048),
        "gguf_tensor_name",
    ),
    "TENSORS_BAD_ALIGN": (model(TABLE, general__alignment=u32(56)), "gguf_alignment"),
    "TENSORS_INCONSISTENT_ALIGN": (
        model(info("a", (8,)), info("b", (8,), offset=32), general__alignment=u32(64)),
        "gguf_tensor_place",
    ),
    "DATA_NOT_ENOUGH_DATA": (model(data=1023), "gguf_tensor_outside"),
    "DATA_BAD_ALIGN": (model(general__alignment=u32(0)), "gguf_alignment"),
    "DATA_INCONSISTENT_ALIGN": (
        model(general__alignment=u32(1 << 20)),
        "gguf_tensor_outside",
    ),
    "DATA_MEM_SIZE_OVERFLOW": (
        model(info("a", (1 << 61,)), info("b", (1 << 61,), offset=1 << 63)),
        "gguf_tensor_outside",
    ),
}


@pytest.mark.parametrize(("content", "rule"), HANDCRAFTED.values(), ids=HANDCRAFTED)
def test_the_kinds_that_llama_cpp_tests(tmp_path: Path, content: bytes, rule: str) -> None:
    assert refused(tmp_path, content).reason == rule


def heads(queries: int, keys: int) -> dict[str, tuple[int, bytes]]:
    return {
        "llama__attention__head_count": u32(queries),
        "llama__attention__head_count_kv": u32(keys),
    }


def vocabulary(*tokens: str | bytes, kinds: tuple[int, ...] = ()) -> bytes:
    """A model with other tokens, and a table, scores and types that fit."""
    count = len(tokens)
    return model(
        info("token_embd.weight", (32, count)),
        data=128 * count,
        tokenizer__ggml__tokens=(9, texts(*tokens)),
        tokenizer__ggml__scores=(9, numbers(6, *[0.0] * count)),
        tokenizer__ggml__token_type=(9, numbers(5, *(kinds or [1] * count))),
    )


NAN = struct.pack("<f", float("nan"))
# What llama.cpp ends the process on, has written outside its memory on, or must never load.
FORGED = {
    "an adapter": (model(general__type=word("adapter")), "gguf_no_model", "holds 'adapter'"),
    "a projector": (model(general__architecture=word("clip")), "gguf_no_model", "clip is not"),
    "a control vector": (model(general__architecture=word("controlvector")), "gguf_no_model", ""),
    "an encoder": (model(general__architecture=word("bert")), "gguf_no_model", "bert is not"),
    "escapes": (model(general__architecture=word("a\x1b[2J")), "gguf_no_model", "\\x1b"),
    "one of two files": (model(split__count=(2, b"\2\0")), "gguf_split", "one of 2 files"),
    "513 layers": (model(llama__block_count=u32(513)), "gguf_number", "513, not 1 to 512"),
    "no layers": (model(llama__block_count=u32(0)), "gguf_number", "0, not 1 to 512"),
    "layers that are text": (model(llama__block_count=word("2")), "gguf_number", "'2'"),
    "no context": (model(llama__context_length=None), "gguf_number", "None"),
    "7 heads for 3": (model(**heads(7, 3)), "gguf_number", "7 heads cannot share 3"),
    "heads of layers": (
        model(llama__block_count=u32(3), llama__attention__head_count=(9, numbers(4, 4, 4))),
        "gguf_number",
        "2 numbers for 3 layers",
    ),
    "rotated further than wide": (
        model(llama__rope__dimension_count=u32(64)),
        "gguf_number",
        "64 rotated dimensions of heads of 8",
    ),
    "more experts used than there": (
        model(llama__expert_count=u32(2), llama__expert_used_count=u32(3)),
        "gguf_number",
        "3 used of 2 experts",
    ),
    "every layer for further tokens": (
        model(llama__nextn_predict_layers=u32(1)),
        "gguf_number",
        "1 of 1 layers predict further tokens",
    ),
    "it looks ahead": (
        model(llama__attention__causal=(7, b"\0")),
        "gguf_number",
        "looks back only",
    ),
    "it pools": (model(llama__pooling_type=u32(9)), "gguf_number", "pools nothing"),
    "no number": (model(llama__rope__freq_base=(6, NAN)), "gguf_number", "nan, not"),
    "negative epsilon": (
        model(llama__attention__layer_norm_rms_epsilon=(6, struct.pack("<f", -1))),
        "gguf_number",
        "-1.0, not 0 to 1",
    ),
    "unknown scaling": (model(llama__rope__scaling__type=word("x")), "gguf_number", "'x'"),
    "unknown tokeniser": (model(tokenizer__ggml__model=word("t5")), "gguf_tokenizer", "'t5'"),
    "no tokens": (model(tokenizer__ggml__tokens=None), "gguf_vocabulary", "no list of tokens"),
    "fewer scores": (
        model(tokenizer__ggml__scores=(9, numbers(6, 0, 0))),
        "gguf_vocabulary",
        "2 numbers for 8 tokens",
    ),
    "types that are text": (
        model(tokenizer__ggml__token_type=(9, texts(*TOKENS))),
        "gguf_vocabulary",
        "no list of numbers",
    ),
    "merges that are numbers": (
        model(tokenizer__ggml__merges=(9, numbers(4, 1))),
        "gguf_vocabulary",
        "no list of texts",
    ),
    "fewer rows than tokens": (
        model(info("token_embd.weight", (32, 7))),
        "gguf_vocabulary",
        "its shape is (32, 7), the metadata say (32, 8)",
    ),
    "no table": (model(info("a", (32, 8))), "gguf_vocabulary", "no tensor 'token_embd.weight'"),
    "two tokens alike": (vocabulary("a", "b", "a"), "gguf_token", "two tokens 'a'"),
    "a NUL": (vocabulary("a", "b\0"), "gguf_token", "token 1 has a NUL"),
    "half a character": (vocabulary("a", b"\xed\x95"), "gguf_token", "token 1 is not UTF-8"),
    "a character in two": (vocabulary(b"\xed\x95", b"\x9c"), "gguf_token", "token 0 is not"),
    "a long token": (vocabulary("a" * 4097), "gguf_token", "token 0 has 4097 bytes"),
    "byte of -1": (vocabulary("<0x-1>", "a"), "gguf_token", "a byte token '<0x-1>'"),
    "byte of 256": (vocabulary("a", "<0x100>"), "gguf_token", "a byte token '<0x100>'"),
    "byte that is a word": (vocabulary("a", "b", kinds=(1, 6)), "gguf_token", "token 1 stands"),
    "start beyond the end": (
        model(tokenizer__ggml__bos_token_id=u32(8)),
        "gguf_special_token",
        "id 8 in a vocabulary of 8",
    ),
    "a vector of half precision": (
        model(TABLE, info("a", (32,), kind=1, offset=1024), data=1088),
        "gguf_tensor_type",
        "a vector of type 1",
    ),
    "a vector in blocks": (
        model(TABLE, info("a", (32,), kind=8, offset=1024), data=1058),
        "gguf_tensor_type",
        "a vector of type 8",
    ),
    "weights of type I64": (
        model(TABLE, info("a", (8, 1), kind=27, offset=1024), data=1088),
        "gguf_tensor_type",
        "weights of type 27",
    ),
    "a matrix of whole numbers": (
        model(TABLE, info("blk.0.attn_v.weight", (32, 8), kind=26, offset=1024), data=2048),
        "gguf_tensor_type",
        "weights of type 26",
    ),
    "a vocabulary that cannot spell": (
        model(tokenizer__ggml__model=word("llama")),
        "gguf_token",
        "there is no token <0x00>",
    ),
    "a template of a megabyte": (
        model(tokenizer__chat_template=word("x" * ((1 << 18) + 1))),
        "template_size",
        "too long",
    ),
    "a template that is a number": (
        model(tokenizer__chat_template=u32(1)),
        "template_size",
        "no text",
    ),
    "an array of arrays": (model(general__tags=(9, array(9, 1))), "gguf_value", "type 9"),
    "a truth value of 2": (model(general__x=(7, b"\x02")), "gguf_value", "truth value of 2"),
}


@pytest.mark.parametrize(("content", "rule", "words"), FORGED.values(), ids=FORGED)
def test_what_no_honest_model_says(tmp_path: Path, content: bytes, rule: str, words: str) -> None:
    error = refused(tmp_path, content)
    assert error.reason == rule
    assert words in error.message


HONEST = {
    "the smallest": model(),
    "an alignment of its own": model(
        info("token_embd.weight", (32, 8)), tail=bytes(64), general__alignment=u32(64)
    ),
    "a number a layer": model(
        llama__block_count=u32(2),
        llama__attention__head_count=(9, numbers(4, 4, 2)),
        llama__attention__head_count_kv=(9, numbers(4, 2, 0)),
    ),
    "experts": model(llama__expert_count=u32(8), llama__expert_used_count=u32(2)),
    "no special token, as some converters write it": model(
        tokenizer__ggml__padding_token_id=u32((1 << 32) - 1)
    ),
    "byte-like words": vocabulary("<0x", "0x0A>", "<0x0A>>", "a<0xZZ>", "<0xff>"),
    "empty tokens": vocabulary("", "", "a"),
    "a template": model(tokenizer__chat_template=word("{{ messages }}")),
}


@pytest.mark.parametrize("content", HONEST.values(), ids=HONEST)
def test_honest_files_pass(tmp_path: Path, content: bytes) -> None:
    found = check(tmp_path, content)
    assert found["context"] == 128
    assert found["synthetic"] is False


@pytest.mark.parametrize("name", [n for n in reference.artefact_ids() if n.endswith(".gguf")])
def test_the_embedded_models_pass(name: str) -> None:
    assert gguf.check(reference.materialise(name))["weights"]["kv_bytes"] > 0


@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_exports_pass(make_toy: Callable[..., Network], tmp_path: Path, architecture: str) -> None:
    toy = make_toy(architecture=architecture)
    export_gguf(toy, tmp_path / "toy.gguf", "q8_0")
    assert gguf.check(tmp_path / "toy.gguf")["context"] == toy.config.max_position_embeddings
    recurrent = write_mamba(toy, tmp_path / "mamba.gguf", 64)
    assert gguf.check(recurrent)["context"] == 64


def test_a_name_in_a_message_obeys_no_terminal(tmp_path: Path) -> None:
    error = refused(tmp_path, model(info("\x1b]8;;evil\x07", kind=99)))
    assert "\x1b" not in str(error)
    assert text("x") in model(general__name=word("x"))
