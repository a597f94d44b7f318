"""Gates: they pass when they should and fail when they should."""

from dataclasses import replace

import pytest

from tests.strategies import MIB, gate
from tests.test_score import REF, SMALL, scored


@pytest.mark.parametrize(
    ("limit", "passed"), [(3.0, True), (0.512, True), (0.511999, True), (0.5, False)]
)
def test_gate_on_a_lower_is_better_metric(limit, passed):
    """The median is 0.512 s; thresholds meet figures of six digits."""
    used = replace(SMALL, gates=(gate(id="first", metric="ttft_s", limit=limit),))
    found = scored([replace(REF, noise=0.0)], used)["ref"]
    assert found["gates"][0]["passed"] is (passed if limit != 0.511999 else False)
    assert (found["score"] is None) is not found["gates"][0]["passed"]


def test_gate_on_a_case_and_a_rate():
    used = replace(
        SMALL,
        gates=(
            gate(id="first", metric="ttft_s", case="fixed-p256-n32", limit=1.0),
            gate(id="rate", metric="decode_tok_per_s", limit=8.0),
        ),
    )
    found = scored([replace(REF, noise=0.0)], used)["ref"]
    assert [g["passed"] for g in found["gates"]] == [False, True]
    assert found["reason"] == "gate_failed"
    assert "gate first: ttft_s is 1.024, the limit is 1" in found["detail"]


def test_gate_of_device_memory():
    used = replace(SMALL, gates=(gate(),))
    assert scored([REF], used, budget=401 * MIB)["ref"]["gates"][0]["passed"] is True
    failed = scored([REF], used, budget=399 * MIB)["ref"]
    assert failed["gates"][0] | {"value": 0} == {
        "id": "memory",
        "metric": "peak_resident_bytes",
        "required": True,
        "passed": False,
        "value": 0,
        "limit": 399 * MIB,
        "reason": "beyond_limit",
    }
    assert failed["reason"] == "gate_failed"
    unknown = scored([REF], used)["ref"]
    assert unknown["gates"][0]["passed"] is None
    assert unknown["gates"][0]["reason"] == "no_budget"
    assert unknown["score"] == 1000.0


def test_gate_of_accuracy():
    gates = (gate(id="accuracy", metric="accuracy_ratio", limit=0.9),)
    used = replace(SMALL, gates=gates)
    found = scored([REF, replace(REF, id="x", skill=0.5, seed=8)], used)
    assert found["ref"]["gates"][0]["passed"] is True
    assert found["x"]["gates"][0]["passed"] is False
    assert found["x"]["reason"] == "gate_failed"
    few = replace(SMALL, gates=(replace(gates[0], min_items=2000),))
    found = scored([REF, replace(REF, id="x", skill=0.5, seed=8)], few)["x"]
    assert found["gates"][0]["passed"] is None
    assert found["gates"][0]["reason"] == "too_few_items"
    assert found["rank"] is not None


def test_gate_that_cannot_be_read_fails_and_an_optional_one_is_only_listed():
    used = replace(SMALL, gates=(gate(id="kernel", metric="kernel_pp_tok_per_s", limit=1.0),))
    assert scored([REF], used)["ref"]["reason"] == "gate_failed"
    used = replace(SMALL, gates=(gate(metric="ttft_s", limit=0.001, required=False),))
    found = scored([REF], used)["ref"]
    assert found["gates"][0]["passed"] is False
    assert found["rank"] == 1
