"""Benchmark small language models on the device: latency, memory and accuracy."""

__version__ = "0.1.0"
