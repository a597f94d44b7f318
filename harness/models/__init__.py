"""Model files: what a network is, and how the embedded ones become GGUF and ONNX."""
