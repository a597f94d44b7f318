"""Engine adapters. A new one is one module and one line in `BACKENDS`."""

BACKENDS = {
    "llama_cpp": "harness.backends.llama_cpp:LlamaCppBackend",
    "onnxruntime": "harness.backends.onnxruntime:OnnxRuntimeBackend",
    "fake": "harness.backends.fake:FakeBackend",
}
"""Name → `module:Class`; third-party ones come from the entry-point group `harness.backends`."""

ENGINES = {
    "llama_cpp": {"llama_cpp": "llama-cpp-python", "gguf": "gguf"},
    "onnxruntime": {"onnxruntime": "onnxruntime", "onnx": "onnx", "tokenizers": "tokenizers"},
}
"""Modules that a backend needs, the engine itself first, with the package of each."""
