"""What is measured, a module a suite.

A new one is a module here and a line in `SUITES`; its settings stand in `spec.Suites`, its
cases come from `cases_of`, its figures are registered in `metrics` and read from
samples in `scoring.observe`.
"""

SUITES = {
    "latency": "harness.suites.latency",
    "task": "harness.suites.task",
    "kernel": "harness.suites.kernel",
    "sustained": "harness.suites.sustained",
    "memory": "harness.suites.memory",
    "energy": "harness.suites.energy",
    "accuracy": "harness.suites.accuracy",
    "language": "harness.suites.language",
    "fidelity": "harness.suites.fidelity",
}
"""Name → module with `measure(case, backend, job)`, which runs one case and yields samples
without the fields of the job; a `CapabilityError` becomes a skipped case."""
