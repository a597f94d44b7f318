"""Engine adapters. A new one is one module and one line in `BACKENDS`."""

BACKENDS = {
    "llama_cpp": "harness.backends.llama_cpp:LlamaCppBackend",
    "onnxruntime": "harness.backends.onnxruntime:OnnxRuntimeBackend",
    "fake": "harness.backends.fake:FakeBackend",
}
"""Name → `module:Class`; third-party ones come from the entry-point group `harness.backends`."""

INSTALL = {
    "llama_cpp": 'python -m pip install "sllm-harness[llama-cpp]"',
    "onnxruntime": 'python -m pip install "sllm-harness[onnx]"',
}
"""The command that installs a missing engine."""
