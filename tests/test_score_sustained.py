"""Speed over minutes: the curve, its ratio, and when it stays low."""

import pytest

from harness.scoring.sustained import curve, read_pass
from harness.times import SampleRefusedError
from tests.strategies import records
from tests.test_score_suites import ALL, REF, edited, scored


def passes(rates, each_s=10.0):
    """Back to back requests of 11 tokens at the given decode rates, each of 10 s in all."""
    out = []
    for i, rate in enumerate(rates):
        start = round(i * each_s * 1e9)
        first, length = start + 10**9, round(10 / rate * 1e9)
        out.append(
            read_pass(
                {"start_ns": start, "first_ns": first, "last_ns": first + length}
                | {"end_ns": start + round(each_s * 1e9), "tokens": 11}
                | {"submitted": 5, "evaluated": 5, "decoded": 10}
            )
        )
    return curve(out[::-1])


def test_sustained_by_hand():
    """20 tok/s for a minute, then 15, at last 12."""
    found = passes([20.0] * 6 + [15.0] * 6 + [12.0] * 6)
    assert found.duration_s == 180
    assert found.minutes() == pytest.approx([20, 15, 12])
    assert found.ratio() == pytest.approx(0.6)
    assert found.above_90_s() == pytest.approx(60)


def test_a_rate_that_recovers_or_an_odd_request_ends_nothing():
    dip = passes([20.0] * 6 + [15.0] * 6 + [20.0] * 6)
    assert dip.above_90_s() == dip.duration_s
    odd = passes([20.0] * 6 + [10.0] + [20.0] * 11)
    assert odd.above_90_s() == odd.duration_s
    lucky = passes([20.0] * 6 + [15.0] * 6 + [30.0] + [15.0] * 5)
    assert lucky.above_90_s() == pytest.approx(60)


def test_a_short_run_has_a_curve_and_no_ratio():
    found = passes([20.0] * 9)
    assert found.minutes() == pytest.approx([20])
    for read in (found.ratio, found.above_90_s):
        with pytest.raises(SampleRefusedError) as refused:
            read()
        assert refused.value.reason == "too_short"


def test_a_minute_without_a_request_is_empty():
    assert passes([20.0, 20.0], each_s=90.0).minutes() == [20.0, 20.0, None]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"decoded": 5}, "wrong_token_count"),
        ({"evaluated": 1}, "prompt_not_evaluated"),
        ({"last_ns": 0}, "bad_times"),
        ({"tokens": 1, "decoded": 0}, "bad_times"),
    ],
)
def test_a_sustained_request_that_is_refused_leaves_no_ratio(change, reason):
    rows = edited(records([REF], ALL), change, kind="sustained", index=7)
    found = scored(rows)["ref"]
    assert "sustained_ratio" not in found["metrics"]
    # One process is the whole suite here: nothing of it can be used.
    assert {finding["code"] for finding in found["findings"]} == {reason, "samples_refused"}
    assert len(found["sustained"]["minutes"]) == 3
