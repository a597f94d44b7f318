"""Thread counts are chosen by what workers measured."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import tuning
from harness.backends import BACKENDS
from harness.environment import default_threads
from harness.errors import HarnessError
from harness.execute import execute_apart
from harness.job import Job
from harness.models import resolve
from harness.models.reference import materialise
from harness.spec import Artefact, BackendOptions, to_json
from harness.stats import median
from harness.tuning import LEAST_GAIN, Tuned, candidates, choose, tune, tuned_model
from tests.conftest import FakeModel

FOUR_CORES = {"physical_cores": 4, "performance_cores": 4, "logical_cores": 4, "usable_cpus": 4}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, (1,)),
        ({"physical_cores": "unknown", "usable_cpus": "unknown"}, (1,)),
        ({"usable_cpus": 2, "logical_cores": 2, "physical_cores": 2}, (1, 2)),
        (FOUR_CORES, (1, 2, 4)),
        # 6 fast and 10 slow cores, 22 hardware threads.
        (
            {"performance_cores": 6, "physical_cores": 16, "logical_cores": 22, "usable_cpus": 22},
            (1, 2, 4, 6, 8, 16, 22),
        ),
        ({"physical_cores": 16, "logical_cores": 22, "usable_cpus": 3}, (1, 2, 3)),
        ({"physical_cores": 8, "logical_cores": 16, "cpu_quota": 2.5}, (1, 2)),
        ({"physical_cores": 8, "logical_cores": 8, "cpu_quota": 0.5}, (1,)),
        ({"physical_cores": 8, "logical_cores": 8, "cpu_quota": "none"}, (1, 2, 4, 8)),
    ],
)
def test_candidates(facts: dict[str, object], expected: tuple[int, ...]) -> None:
    assert candidates(facts) == expected


@given(
    facts=st.fixed_dictionaries(
        {},
        optional={
            "performance_cores": st.integers(1, 64) | st.just("unknown"),
            "physical_cores": st.integers(1, 128) | st.just("unknown"),
            "logical_cores": st.integers(1, 256) | st.just("unknown"),
            "usable_cpus": st.integers(1, 256) | st.just("unknown"),
            "cpu_quota": st.floats(0.1, 256.0) | st.just("none"),
        },
    )
)
def test_candidates_can_be_used_and_hold_one(facts: dict[str, object]) -> None:
    found = candidates(facts)
    assert found[0] == 1
    assert list(found) == sorted(set(found))
    usable = facts.get("usable_cpus")
    if isinstance(usable, int):
        assert found[-1] <= usable
        assert min(default_threads(facts), usable) in found, "the default is always measured"


@given(
    st.dictionaries(
        st.integers(1, 64), st.lists(st.floats(1.0, 1e4), min_size=1, max_size=6), min_size=1
    )
)
def test_the_choice_is_the_smallest_that_is_nearly_fastest(rates: dict[int, list[float]]) -> None:
    chosen = choose(rates)
    medians = {threads: median(values) for threads, values in rates.items()}
    fastest = max(medians.values())
    assert fastest / medians[chosen] < 1 + LEAST_GAIN
    for threads, rate in medians.items():
        assert threads >= chosen or fastest / rate >= 1 + LEAST_GAIN * 0.999_999


def test_three_percent_decide() -> None:
    assert choose({1: [100.0], 2: [102.9]}) == 1
    assert choose({1: [100.0], 2: [103.1]}) == 2
    assert choose({1: [50.0], 2: [100.0], 4: [90.0]}) == 2
    assert choose({4: [1.0]}) == 4


def test_one_lucky_pass_decides_nothing() -> None:
    assert choose({1: [100.0, 100.0, 100.0], 2: [90.0, 91.0, 500.0]}) == 1


# --- with workers ---------------------------------------------------------------------


def artefact(path: Path) -> Artefact:
    return resolve.resolve(resolve.model_from_path(str(path)), Path())


def tuned_by(name: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Tuned, list[int]]:
    """Tune a fake engine of `threaded_engines`, and the counts in the order of the jobs."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    order: list[int] = []

    def noted(jobs: Sequence[Job], targets: Mapping[str, str]) -> Any:
        order.extend(job.options.threads for job in jobs)
        return execute_apart(jobs, targets)

    monkeypatch.setattr(tuning, "execute_apart", noted)
    targets = {"fake": f"tests.threaded_engines:{name}"}
    return tune(artefact(path), facts=FOUR_CORES, targets=targets), order


def test_prefill_and_decode_are_chosen_apart(
    fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, order = tuned_by("TwoPools", fake_model(), monkeypatch)
    assert order == [1, 2, 4, 4, 2, 1]
    assert found == Tuned(threads=2, threads_prefill=4)


def test_an_engine_with_one_pool_gets_one_count(
    fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert tuned_by("OnePool", fake_model(), monkeypatch)[0] == Tuned(4, 4)


def test_a_worker_that_fails_ends_the_tuning(
    fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fake_model(fail_on_load="broken on purpose")
    with pytest.raises(HarnessError, match=r"failed with 1 threads: .*broken on purpose") as caught:
        tuned_by("TwoPools", path, monkeypatch)
    assert caught.value.reason == "load_failed"
    assert str(path) in caught.value.where


def test_an_engine_that_measures_nothing_is_named(
    fake_model: FakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(HarnessError, match="tg64 was not measured") as caught:
        tuned_by("PromptsOnly", fake_model(), monkeypatch)
    assert caught.value.reason == "nothing_to_measure"


def test_a_real_engine_is_tuned() -> None:
    pytest.importorskip("llama_cpp")
    found = tune(
        artefact(materialise("ref-2m.f16.gguf")),
        facts={"physical_cores": 2, "logical_cores": 2, "usable_cpus": 2},
        targets=BACKENDS,
    )
    assert {found.threads, found.threads_prefill} <= {1, 2}


def test_a_tuned_entry_is_one_of_its_own(fake_model: FakeModel) -> None:
    model = dataclasses.replace(
        resolve.model_from_path(str(fake_model())),
        options=BackendOptions(threads=8, kv_type="f32", batch_tokens=64),
    )
    found = tuned_model(model, Tuned(threads=2, threads_prefill=4))
    assert found.id == f"{model.id}.tuned"
    assert found.tuned
    assert found.options == BackendOptions(
        threads=2, threads_prefill=4, kv_type="f32", batch_tokens=64
    )
    changed = {name for name, value in to_json(found).items() if value != to_json(model)[name]}
    assert changed == {"id", "tuned", "options"}
