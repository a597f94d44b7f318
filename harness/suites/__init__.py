"""What is measured. A new suite is one module and one line in `SUITES`."""

SUITES = {
    "latency": "harness.suites.latency",
    "task": "harness.suites.task",
    "kernel": "harness.suites.kernel",
    "sustained": "harness.suites.sustained",
    "memory": "harness.suites.memory",
    "energy": "harness.suites.energy",
    "accuracy": "harness.suites.accuracy",
}
"""Name → module with `measure(case, backend, job)`, which runs one case and yields samples
without the fields of the job; a `CapabilityError` becomes a skipped case."""
