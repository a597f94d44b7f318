"""What is measured. A new suite is one module and one line in `SUITES`."""

SUITES = {
    "latency": "harness.suites.latency",
    "memory": "harness.suites.memory",
    "accuracy": "harness.suites.accuracy",
    "kernel": "harness.suites.kernel",
}
"""Name → module with a `measure(case, backend, job)` (`harness.suites.base.Suite`)."""
