"""The embedded tokeniser and weights have the shape that everything else relies on."""

import json
import math
from pathlib import Path

import pytest
from safetensors import safe_open
from tokenizers import Tokenizer

from harness.spec import Language
from harness.suites.tasks import FORMS, LANGUAGES, TASKS, item_at
from harness.suites.tasks.base import Item, Setting

WEIGHTS = Path(__file__).parents[3] / "harness" / "models" / "weights"
NAMES = {"ref-4m": 4, "ref-2m": 2}
VOCABULARY = 3072


def items(name: str, language: Language, count: int) -> list[Item]:
    """Items as short as those that the models were trained on, of both forms."""
    settings = [Setting(language=language, form=form, longest_tokens=200) for form in FORMS]
    return [item_at(name, setting, index) for setting in settings for index in range(count)]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.from_file(str(WEIGHTS / "tokenizer.json"))


def test_ids_are_contiguous_and_special_tokens_come_first(tokenizer):
    vocabulary = tokenizer.get_vocab()
    assert sorted(vocabulary.values()) == list(range(VOCABULARY))
    assert tokenizer.token_to_id("<|endoftext|>") == 0
    assert tokenizer.token_to_id("<|pad|>") == 1
    assert tokenizer.encode("").ids == []


@pytest.mark.parametrize(
    "text",
    [
        "사과는 57+68",
        "a\r\nb\tc  d",
        "똠방각하 뷁",
        "漢字 😀",
        "\x00\x7f",
        "1,250원",
        " an apple's",
    ],
)
def test_text_survives_a_round_trip(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_no_token_holds_two_syllables_and_common_ones_are_single(tokenizer):
    for token_id in range(VOCABULARY):
        text = tokenizer.decode([token_id])
        hangul = [char for char in text if "가" <= char <= "힣"]
        assert len(hangul) <= 1
        assert not hangul or len(text) == 1
    for name in TASKS:
        for item in items(name, "ko", 300):
            text = item.context + item.solution
            hangul = sum("가" <= char <= "힣" for char in text)
            single = sum("가" <= tokenizer.decode([i]) <= "힣" for i in tokenizer.encode(text).ids)
            assert single == hangul, text


def test_a_context_is_a_prefix_in_tokens_too(tokenizer):
    for name in TASKS:
        for language in LANGUAGES:
            for item in items(name, language, 100):
                context = tokenizer.encode(item.context).ids
                for end in item.choices or (item.solution,):
                    assert tokenizer.encode(item.context + end).ids[: len(context)] == context


def test_a_solution_fits_its_cap(tokenizer):
    for name in TASKS:
        for language in LANGUAGES:
            for item in items(name, language, 300):
                if not item.choices:
                    assert len(tokenizer.encode(item.solution + "\n").ids) <= item.max_tokens


@pytest.mark.parametrize(("name", "layers"), NAMES.items())
def test_weights_are_half_precision_llama(name, layers):
    with safe_open(WEIGHTS / f"{name}.safetensors", "np") as file:
        config = json.loads(file.metadata()["config"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no mapping
    assert config == {
        "architecture": "llama",
        "hidden_size": 256,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 64,
        "intermediate_size": 768,
        "vocab_size": VOCABULARY,
        "rope_theta": 10000.0,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    assert len(tensors) == 2 + 9 * layers
    assert tensors["model.embed_tokens.weight"].shape == (VOCABULARY, 256)
    assert tensors["model.layers.0.self_attn.k_proj.weight"].shape == (128, 256)
    assert tensors["model.layers.0.mlp.down_proj.weight"].shape == (256, 768)
    for key, value in tensors.items():
        assert str(value.dtype) == "float16", key
        assert math.isfinite(float(abs(value.astype("float32")).sum())), key


def test_weights_stay_small():
    files = [WEIGHTS / f"{name}.safetensors" for name in NAMES]
    assert sum(file.stat().st_size for file in files) <= 16_000_000
