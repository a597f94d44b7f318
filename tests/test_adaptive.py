"""Repeating ends when it should, and not before."""

import math
import random
from dataclasses import replace

import pytest

from harness import adaptive
from harness.adaptive import decide, half_width
from harness.cases import Case, cases_of
from harness.plan import build
from harness.spec import Artefact, Device, KernelSuite, LatencySuite, Model, Source, Suites
from tests.strategies import Candidate, job, profile

USED = profile(suites=Suites(latency=LatencySuite(prompt_tokens=(64, 256), output_tokens=(8,))))
USED = replace(
    USED,
    protocol=replace(
        USED.protocol,
        processes={"latency": 5},
        processes_max={"latency": 20},
        precision=0.03,
        budget_s=600.0,
    ),
)


def samples(noise, processes, used=USED, suite="latency"):
    candidate = Candidate(id="x", noise=noise)
    rows = [row for k in range(processes) for row in job(candidate, used, suite, k)]
    return [row for row in rows if row["type"] == "sample"]


def is_precise(used, rows, cases=()):
    scored = {case.id for group in cases_of(used).values() for case in group if case.scored}
    return adaptive.is_precise(used, rows, cases or scored)


def test_a_quiet_model_is_precise_as_soon_as_the_profile_allows():
    assert not is_precise(USED, samples(0.001, 4))
    assert is_precise(USED, samples(0.001, 5))


def test_a_noisy_model_is_repeated():
    assert not is_precise(USED, samples(0.2, 5))
    assert not is_precise(USED, samples(0.2, 20))


def test_one_imprecise_case_is_enough_to_go_on():
    rows = samples(0.001, 5)
    slow = [
        row
        | {"token_ns": [t * (1 + row["process"]) for t in row["token_ns"]]}
        | {"end_ns": row["end_ns"] * 9}
        if row.get("kind") == "request" and row["case"] == "fixed-p256-n8"
        else row
        for row in rows
    ]
    assert not is_precise(USED, slow)
    assert is_precise(USED, slow, {"fixed-p64-n8"}), "a job of the other case is not needed"


def test_refused_samples_do_not_make_precise():
    rows = samples(0.001, 5)
    refused = [row | {"evaluated": 1} if row["process"] == 4 else row for row in rows]
    assert not is_precise(USED, refused)


def test_a_model_without_any_usable_sample_gains_nothing_by_repeating():
    assert is_precise(USED, [])
    assert is_precise(USED, [row | {"evaluated": 1} for row in samples(0.2, 5)])


def test_cases_that_are_only_shown_do_not_matter():
    used = replace(USED, suites=Suites(latency=LatencySuite(
        prompt_tokens=(64,), output_tokens=(8,), depths=(0, 512))))  # fmt: skip
    rows = samples(0.001, 5, used)
    shown = [
        row
        | {"token_ns": [t * (1 + row["process"]) for t in row["token_ns"]]}
        | {"end_ns": row["end_ns"] * 9}
        if row.get("kind") == "request" and row["case"].endswith("@d512")
        else row
        for row in rows
    ]
    assert is_precise(used, shown)


def test_kernel_rates_are_read_too():
    used = replace(USED, suites=Suites(kernel=KernelSuite(prompt_tokens=64, output_tokens=8)))
    used = replace(used, protocol=replace(used.protocol, processes={"kernel": 3}))
    assert is_precise(used, samples(0.001, 3, used, "kernel"))
    assert not is_precise(used, samples(0.3, 3, used, "kernel"))


def test_half_width_by_hand():
    """Logs 0, 0.1 and 0.2: mean 0.1, standard error 0.1 / sqrt 3, t with 2 degrees 4.303."""
    medians = [1.0, math.exp(0.1), math.exp(0.2)]
    assert half_width(medians) == pytest.approx(math.expm1(4.30265 * 0.1 / math.sqrt(3)), rel=1e-4)
    assert half_width([2.0, 2.0]) == 0.0


def test_half_widths_hold_what_they_promise():
    """Of 400 sets of five processes, about 95 % of intervals hold the true value."""
    draw = random.Random(5)
    held = 0
    for _ in range(400):
        logs = [draw.gauss(0, 0.02) for _ in range(5)]
        width = math.log1p(half_width([math.exp(value) for value in logs]))
        held += abs(sum(logs) / 5) <= width
    assert 0.92 <= held / 400 <= 0.98


def jobs(used=USED):
    model = Model(
        id="x", family="x", format="gguf", quantisation="f16", source=Source(kind="file", path="x")
    )
    artefact = Artefact(model=model, path="x", sha256={"x": "0" * 64}, size_bytes=10)
    device = Device(id="d", name="")
    return build(used, device, [artefact], threads=1).jobs


def test_decisions_on_the_jobs_of_a_plan():
    optional = [found for found in jobs() if found.optional]
    assert len(optional) == 15
    precise, noisy = samples(0.001, 5), samples(0.2, 5)
    assert decide(optional[0], precise, 10.0, USED) == "precise"
    assert decide(optional[0], noisy, 10.0, USED) == ""
    assert decide(optional[0], noisy, 600.0, USED) == "budget_spent"
    endless = replace(USED, protocol=replace(USED.protocol, budget_s=0.0))
    assert decide(optional[0], noisy, 1e9, endless) == ""


def test_a_job_of_shown_cases_only_is_never_needed():
    optional = next(found for found in jobs() if found.optional)
    shown = replace(optional, cases=(Case(id="fixed-p64-n8@d512", scored=False),))
    assert decide(shown, samples(0.3, 5), 1.0, USED) == "precise"
