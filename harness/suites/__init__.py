"""What is measured. A new suite is one module and one line in `SUITES`."""

SUITES = {
    "latency": "harness.suites.latency",
    "memory": "harness.suites.memory",
    "accuracy": "harness.suites.accuracy",
    "kernel": "harness.suites.kernel",
}
"""Name → module with `measure(case, backend, job)`, which runs one case and yields samples
without the fields of the job; a `CapabilityError` becomes a skipped case."""
