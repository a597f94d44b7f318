"""What `harness.compare` and `harness.gate` are made of: sides, what must be equal, noise."""
