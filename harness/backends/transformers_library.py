"""PyTorch and `transformers`: imported on use, kept offline, opened with nothing that runs code."""

from __future__ import annotations

import inspect
import os
import sys
from pathlib import Path
from typing import Any, NamedTuple

from harness.backends import engine_hint
from harness.backends.safetensors_folder import SafetensorsFolder
from harness.errors import BackendError, CapabilityError, PrerequisiteError
from harness.spec import file_sha256

_LIBRARIES = ("libtorch_cpu.so", "torch_cpu.dll", "libtorch_cpu.dylib")


class Libraries(NamedTuple):
    """The modules `torch`, `transformers` and `tokenizers`."""

    torch: Any
    transformers: Any
    tokenizers: Any


def import_engine() -> Libraries:
    """Import the engine's three packages.

    Raises:
        PrerequisiteError: one of them is missing or does not load.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if "huggingface_hub" not in sys.modules:
        # Read once, at its import. Where another library has imported it already, that one
        # may need the network; what is opened here is local in any case.
        os.environ["HF_HUB_OFFLINE"] = "1"
        os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        import tokenizers
        import torch
        import transformers
        from transformers import AutoModelForCausalLM, DynamicCache  # noqa: F401  (it is lazy)
    except (ImportError, OSError, RuntimeError) as error:
        raise PrerequisiteError(
            f"PyTorch or transformers cannot be loaded: {error}",
            hint=engine_hint("transformers"),
            reason="engine_missing",
        ) from error
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return Libraries(torch, transformers, tokenizers)


def open_network(libraries: Libraries, folder: SafetensorsFolder, *, mapped: bool) -> Any:
    """The network in float32 on the CPU, ready to evaluate.

    Args:
        mapped: leave float32 weights in the pages of their file; otherwise they are copied,
            or memory would depend on the type that they are stored in.

    Raises:
        BackendError: unreadable, or weights that the network needs are not in the files.
        CapabilityError: a network without a cache or without a choice of rows.
    """
    torch = libraries.torch
    try:
        network, found = _from_pretrained(libraries, folder.home, "sdpa")
    except Exception as error:
        raise BackendError(
            f"transformers cannot load this folder: {_first_line(error)}",
            where=str(folder.home),
            reason="load_failed",
        ) from error
    lacking = sorted(found["missing_keys"]) + sorted(map(str, found["mismatched_keys"]))
    if lacking or found["error_msgs"]:
        # transformers would go on with random numbers in their place.
        raise BackendError(
            f"the weights are not whole: {', '.join(lacking[:3]) or found['error_msgs'][:1]}",
            where=str(folder.home),
            hint="fetch the model again",
            reason="weights_incomplete",
        )
    accepted = inspect.signature(network.forward).parameters
    if "logits_to_keep" not in accepted or cache_argument(network) not in accepted:
        raise CapabilityError(
            f"{type(network).__name__} has no cache that can be given, or no choice of rows",
            where=str(folder.home),
        )
    if not mapped:
        with torch.no_grad():
            for weight in [*network.parameters(), *network.buffers()]:
                weight.data = weight.data.clone()
    return network.eval().requires_grad_(requires_grad=False)


def _from_pretrained(libraries: Libraries, home: Path, attention: str) -> tuple[Any, Any]:
    try:
        return libraries.transformers.AutoModelForCausalLM.from_pretrained(  # type: ignore[no-any-return]
            home,
            dtype=libraries.torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            # Named, or the configuration could name a kernel to be fetched.
            attn_implementation=attention,
            output_loading_info=True,
        )
    except ValueError as error:
        if attention == "eager" or "scaled_dot_product_attention" not in str(error):
            raise
        return _from_pretrained(libraries, home, "eager")


def _first_line(error: Exception) -> str:
    """Its messages go on with advice about options that are fixed here."""
    return str(error).strip().split("\n", 1)[0][:300] or type(error).__name__


def cache_argument(network: Any) -> str:
    """What `forward` calls its cache; older versions of transformers name it otherwise."""
    accepted = inspect.signature(network.forward).parameters
    return "cache" if "cache" in accepted else "past_key_values"


def new_cache(libraries: Libraries, network: Any) -> tuple[Any, bool]:
    """An empty cache, and whether it can be cut at any token.

    Layers with a sliding window get a whole cache: the network's mask leaves out what lies
    behind the window, and what was pruned could not be brought back.
    """
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    cache = libraries.transformers.DynamicCache(config=network.config)
    cache.layers = [
        DynamicLayer() if type(layer) is DynamicSlidingWindowLayer else layer
        for layer in cache.layers
    ]
    croppable = all(
        getattr(layer, "is_croppable", type(layer) is DynamicLayer) for layer in cache.layers
    )
    return cache, croppable


def kv_bytes_per_token(network: Any) -> int:
    """Keys and values of every layer in float32; 0 where layers differ or keep a state."""
    config = network.config.get_text_config()
    odd = ("kv_lora_rank", "num_kv_shared_layers", "num_global_key_value_heads", "global_head_dim")
    if any(getattr(config, name, None) for name in odd):
        return 0
    heads = getattr(config, "num_attention_heads", 0)
    kept = getattr(config, "num_key_value_heads", None) or heads
    width = getattr(config, "head_dim", None) or (config.hidden_size // heads if heads else 0)
    layers: int = config.num_hidden_layers
    return layers * 2 * kept * width * 4


def identity(libraries: Libraries, network: Any) -> dict[str, str]:
    """Versions, build, instruction set, library, number type and threads, as they are in use."""
    torch = libraries.torch
    folder = Path(torch.__file__).parent / "lib"
    library = next((folder / name for name in _LIBRARIES if (folder / name).is_file()), None)
    return {
        "engine": "transformers",
        "engine_version": libraries.transformers.__version__,
        "torch": torch.__version__,
        "build": torch.version.git_version or "unknown",
        "instruction_set": torch.backends.cpu.get_cpu_capability(),
        "library": str(library or folder),
        "library_sha256": file_sha256(library) if library else "unknown",
        "device": "CPU",
        "threads": str(torch.get_num_threads()),
        "network": type(network).__name__,
        "dtype": str(network.dtype).removeprefix("torch."),
        "attention": str(network.config._attn_implementation),  # noqa: SLF001  (no public name)
    }
