"""PyTorch and transformers: exact, in float32, rewound exactly, and nothing but data opened."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.backends import ENGINES, OPTIONAL
from harness.backends.base import Backend, Logits
from harness.errors import BackendError, CapabilityError, PrerequisiteError
from harness.models.network import Network
from harness.spec import BackendOptions
from tests.backends.conftest import CONTEXT, ONE_THREAD, Open, make_backend, require_torch

SMALL = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": CONTEXT,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": None,
}
LINEAR = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}
MoE = {
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
}

Make = Callable[..., Path]


@pytest.fixture
def make(toy: Network, tmp_path: Path) -> Make:
    """A folder with random weights of any architecture that transformers knows."""
    require_torch()
    import torch
    import transformers

    def make_folder(kind: str, dtype: str = "float32", **fields: Any) -> Path:
        torch.manual_seed(0)
        config = getattr(transformers, kind)(**SMALL | fields)
        network = transformers.AutoModelForCausalLM.from_config(
            config, dtype=getattr(torch, dtype), attn_implementation="eager"
        )
        folder = tmp_path / f"{kind}.safetensors"
        network.save_pretrained(folder)
        shutil.copyfile(toy.tokenizer, folder / "tokenizer.json")
        return folder

    return make_folder


def prompt(length: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(2, 250, length).tolist()


def whole(backend: Backend, ids: list[int]) -> Logits:
    """The network's own forward pass, without any cache."""
    import torch

    network = backend._network  # type: ignore[attr-defined]
    with torch.inference_mode():
        found: Logits = network(input_ids=torch.tensor([ids]), use_cache=False).logits[0].numpy()
    return found


ATTENTION = {
    "LlamaConfig": {},
    "MistralConfig": {"sliding_window": 12},
    "Gemma2Config": {"sliding_window": 12, "query_pre_attn_scalar": 16},
    "Gemma3TextConfig": {"sliding_window": 12, "query_pre_attn_scalar": 16},
    "Exaone4Config": {"sliding_window": 12, "sliding_window_pattern": 4},
    "Phi3Config": {"pad_token_id": 0},
    "GraniteConfig": {"logits_scaling": 4.0},
}


@pytest.mark.parametrize("kind", ATTENTION)
def test_rewinding_is_exact_also_behind_a_window(kind: str, make: Make, opened: Open) -> None:
    """Windows, soft caps and scaled logits are the network's own; the cache is only cut."""
    folder = make(kind, **ATTENTION[kind])
    backend = opened(folder, BackendOptions(threads=1, context=CONTEXT, batch_tokens=16))
    shots, options = prompt(40), [prompt(length, length) for length in (30, 1, 9)]
    root = backend.root()
    head = backend.extend(root, shots, [39])
    assert np.abs(head - whole(backend, shots)[-1:]).max() < 1e-4
    for option in options:
        node = backend.fork(root)
        rows = backend.extend(node, option, range(len(option)))
        backend.drop(node)
        assert np.abs(rows - whole(backend, shots + option)[40:]).max() < 1e-4


@pytest.mark.parametrize("kind", ["Qwen3NextConfig", "Qwen3_5TextConfig"])
def test_a_state_can_be_reset_but_not_cut(kind: str, make: Make, opened: Open) -> None:
    backend = opened(make(kind, **LINEAR, **MoE), ONE_THREAD)
    assert backend.describe()["cache"] == "state"
    ids = prompt(50)
    expected = whole(backend, ids)
    root = backend.root()
    rows = [backend.extend(root, ids[:30], range(30)), backend.extend(root, ids[30:], range(20))]
    assert np.abs(np.concatenate(rows) - expected).max() < 1e-4
    node = backend.fork(root)
    backend.extend(node, prompt(3), [])
    backend.drop(node)
    with pytest.raises(CapabilityError, match="cannot be rewound") as caught:
        backend.extend(root, prompt(3), [])
    assert caught.value.reason == "no_rewind"
    again = backend.extend(backend.root(), ids, range(50))
    assert np.abs(again - expected).max() < 1e-4


def test_only_rows_that_are_asked_for_pass_the_head(opened: Open) -> None:
    backend = opened("safetensors", BackendOptions(threads=1, context=CONTEXT, batch_tokens=16))
    passed = []
    backend._network.lm_head.register_forward_pre_hook(  # type: ignore[attr-defined]
        lambda _, given: passed.append(given[0].shape[1])
    )
    backend.extend(backend.root(), prompt(40), [3, 17, 18])
    assert passed == [1, 2, 0]
    passed.clear()
    backend.reset()
    backend.prefill(prompt(40))
    assert passed == [0, 0, 1]


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_weights_are_widened(dtype: str, make: Make, opened: Open) -> None:
    backend = opened(make("LlamaConfig", dtype), ONE_THREAD)
    facts = backend.describe()
    assert facts["dtype"] == facts["kv_type"] == "float32"
    assert backend.extend(backend.root(), prompt(5), [4]).dtype == np.float32


def test_facts_name_versions_threads_and_network(opened: Open) -> None:
    require_torch()
    import torch
    import transformers

    facts = opened("safetensors", BackendOptions(threads=2, context=CONTEXT)).describe()
    assert facts["engine"] == "transformers"
    assert facts["engine_version"] == transformers.__version__
    assert facts["torch"] == torch.__version__
    assert facts["threads"] == "2"
    assert facts["network"] == "LlamaForCausalLM"
    assert len(facts["library_sha256"]) == 64
    assert Path(facts["library"]).is_file()
    assert opened("safetensors", ONE_THREAD).describe()["threads"] == "1"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/maps")
@pytest.mark.parametrize("mapped", [False, True])
def test_weights_are_copied_unless_mapping_is_asked_for(
    mapped: bool, models: dict[str, Path], opened: Open
) -> None:
    backend = opened("safetensors", BackendOptions(threads=1, context=CONTEXT, mmap=mapped))
    maps = Path("/proc/self/maps").read_text("utf-8")
    assert (str(models["safetensors"] / "model.safetensors") in maps) == mapped
    weight = backend._network.lm_head.weight  # type: ignore[attr-defined]
    assert weight is backend._network.model.embed_tokens.weight, "still one matrix"  # type: ignore[attr-defined]


def test_a_call_that_fails_leaves_the_cache_as_it_was(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = opened("safetensors", BackendOptions(threads=1, context=CONTEXT, batch_tokens=8))
    backend.prefill(prompt(10))
    expected = backend.prefill(prompt(20, 1))
    backend.reset()
    backend.prefill(prompt(10))
    network, calls = backend._network, []  # type: ignore[attr-defined]

    def fails(**given: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("out of something")
        return network(**given)

    monkeypatch.setattr(backend, "_network", fails)
    with pytest.raises(BackendError, match="PyTorch failed: out of something") as caught:
        backend.prefill(prompt(20, 1))
    assert caught.value.reason == "run_failed"
    monkeypatch.setattr(backend, "_network", network)
    assert backend.prefill(prompt(20, 1)) == expected


def copied(models: dict[str, Path], target: Path) -> Path:
    return shutil.copytree(models["safetensors"], target / "copy.safetensors")


def test_weights_that_are_missing_are_not_made_up(
    models: dict[str, Path], tmp_path: Path, opened: Open
) -> None:
    require_torch()
    from safetensors.numpy import load_file, save_file

    folder = copied(models, tmp_path)
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(BackendError, match=r"not whole: model\.layers\.1\.mlp\.up_proj") as caught:
        opened(folder)
    assert caught.value.reason == "weights_incomplete"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "unheard-of"}, "cannot load this folder"),
        ({"model_type": "xlnet"}, "cannot load|no cache that can be given"),
        ({"hidden_size": 128}, "cannot load|not whole"),
    ],
)
def test_networks_that_are_not_known_are_named(
    change: dict[str, Any], message: str, models: dict[str, Path], tmp_path: Path, opened: Open
) -> None:
    folder = copied(models, tmp_path)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps(config | change), "utf-8")
    with pytest.raises(BackendError, match=message) as caught:
        opened(folder)
    assert caught.value.where == str(folder)


def test_code_in_a_folder_is_not_executed(
    models: dict[str, Path], tmp_path: Path, opened: Open
) -> None:
    folder = copied(models, tmp_path)
    witness = tmp_path / "executed"
    (folder / "modeling.py").write_text(f"open({str(witness)!r}, 'w')\n", "utf-8")
    config = json.loads((folder / "config.json").read_text("utf-8"))
    config["auto_map"] = {"AutoModelForCausalLM": "modeling.Own"}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(BackendError) as caught:
        opened(folder)
    assert caught.value.reason == "remote_code"
    assert not witness.exists()


def test_the_child_stays_offline() -> None:
    """Set before huggingface_hub is imported: it reads the variable once."""
    require_torch()
    script = (
        "from harness.backends.transformers_library import import_engine\n"
        "import_engine()\n"
        "from huggingface_hub import constants\n"
        "print(constants.HF_HUB_OFFLINE)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "True"


def test_a_missing_engine_names_the_extra(
    models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ENGINES["transformers"]:
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(PrerequisiteError, match="cannot be loaded") as caught:
        make_backend("transformers").load(models["safetensors"], ONE_THREAD)
    assert caught.value.reason == "engine_missing"
    assert caught.value.hint.endswith(f"pip install {OPTIONAL['transformers']}")
