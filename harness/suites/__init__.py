"""What is measured: latency, memory, accuracy."""
