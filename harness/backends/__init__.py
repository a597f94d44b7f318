"""Engine adapters. A new one is one module and one line in `BACKENDS`."""

from harness.errors import install_hint

BACKENDS = {
    "llama_cpp": "harness.backends.llama_cpp:LlamaCppBackend",
    "onnxruntime": "harness.backends.onnxruntime:OnnxRuntimeBackend",
    "transformers": "harness.backends.transformers:TransformersBackend",
    "fake": "harness.backends.fake:FakeBackend",
}
"""Name → `module:Class`; third-party ones come from the entry-point group `harness.backends`."""

ENGINES = {
    "llama_cpp": {"llama_cpp": "llama-cpp-python", "gguf": "gguf"},
    "onnxruntime": {"onnxruntime": "onnxruntime", "onnx": "onnx", "tokenizers": "tokenizers"},
    "transformers": {
        "torch": "torch",
        "transformers": "transformers",
        "tokenizers": "tokenizers",
    },
}
"""Modules that a backend needs, the engine itself first, with the package of each."""

OPTIONAL = {"transformers": '"sllm-harness[transformers]"'}
"""Backends that a plain installation leaves out, with what installs all that they need:
its bounds keep the newest PyTorch and its gigabytes of CUDA away."""


def engine_hint(name: str) -> str:
    """The command that installs a backend's engine."""
    return install_hint(*([OPTIONAL[name]] if name in OPTIONAL else ENGINES[name].values()))
