"""Formulas on examples worked by hand, and samples that must be refused."""

import math

import pytest

from harness.metrics import METRICS
from harness.scoring.proofs import require_available, require_repeated
from harness.times import (
    SampleRefusedError,
    chat_times,
    kernel_tok_per_s,
    load_times,
    request_times,
)


def sample(**changes):
    """256 prompt tokens; first token after 0.5 s, then 40, 60 and 50 ms."""
    made = {
        "submitted": 256,
        "evaluated": 256,
        "ids_ns": 100_000_000,
        "token_ns": [500_000_000, 540_000_000, 600_000_000, 650_000_000],
        "end_ns": 651_000_000,
    }
    count = len(made["token_ns"])
    return made | {"decoded": count - 1} | changes


def test_request_by_hand():
    times = request_times(sample(), submitted=256, outputs=4)
    assert times.ttft_s == 0.5
    assert times.prefill_tok_per_s == pytest.approx(256 / 0.4)
    assert times.itl_s.tolist() == pytest.approx([0.04, 0.06, 0.05])
    assert times.tpot_s == pytest.approx(0.05)
    assert times.decode_tok_per_s == pytest.approx(20.0)
    assert times.end_to_end_s == pytest.approx(0.651)


def test_one_output_token_has_no_decode():
    times = request_times(sample(token_ns=[500_000_000], decoded=0))
    assert times.tpot_s is None
    assert times.decode_tok_per_s is None
    assert times.itl_s.size == 0


@pytest.mark.parametrize("evaluated", [1, 0, 255, 257])
def test_prompt_not_evaluated_is_refused(evaluated):
    with pytest.raises(SampleRefusedError, match=f"{evaluated} of 256 prompt tokens") as refused:
        request_times(sample(evaluated=evaluated))
    assert refused.value.reason == "prompt_not_evaluated"


@pytest.mark.parametrize(
    "changes",
    [
        {"token_ns": [500, 400, 600]},
        {"token_ns": [500, 500, 600]},
        {"token_ns": [math.nan, 1.0]},
        {"token_ns": [1.5, 2.5]},
        {"token_ns": []},
        {"token_ns": None},
        {"token_ns": [[1], [2]]},
        {"token_ns": [[1], [2, 3]]},
        {"token_ns": [1 << 70]},
        {"token_ns": ["1"]},
        {"token_ns": [True, True]},
        {"token_ns": [0, 5]},
        {"token_ns": [-5, 5]},
        {"token_ns": [100_000_000, 540_000_000]},
        {"ids_ns": -1},
        {"ids_ns": 0.5},
        {"end_ns": 600_000_000},
        {"end_ns": 0},
        {"end_ns": None},
        {"submitted": 0, "evaluated": 0},
        {"submitted": True, "evaluated": True},
        {"submitted": math.nan},
    ],
)
def test_impossible_times_are_refused(changes):
    with pytest.raises(SampleRefusedError) as refused:
        request_times(sample(**changes))
    assert refused.value.reason == "bad_times"


@pytest.mark.parametrize("asked", [{"submitted": 64}, {"outputs": 128}, {"outputs": 3}])
def test_other_workload_is_refused(asked):
    with pytest.raises(SampleRefusedError, match="the case asks for") as refused:
        request_times(sample(), **asked)
    assert refused.value.reason == "wrong_workload"


@pytest.mark.parametrize("decoded", [0, 1, 2, 4, 6])
def test_a_chunk_is_not_a_token(decoded):
    with pytest.raises(SampleRefusedError, match=f"counted {decoded} tokens in 3 steps") as refused:
        request_times(sample(decoded=decoded))
    assert refused.value.reason == "wrong_token_count"


def test_an_uncounted_token_is_refused():
    with pytest.raises(SampleRefusedError, match="decoded is None"):
        request_times(sample(decoded=None))


@pytest.mark.parametrize(("found", "reason"), [(511, "prompt_not_evaluated"), (None, "bad_times")])
def test_the_depth_must_be_in_the_cache(found, reason):
    assert request_times(sample(depth_evaluated=512), depth=512).ttft_s == 0.5
    with pytest.raises(SampleRefusedError) as refused:
        request_times(sample(depth_evaluated=found), depth=512)
    assert refused.value.reason == reason


def chat(**changes):
    """Three tokens and an end token: 12 characters in Hangul after 0.4 s of decoding."""
    made = sample(
        token_ns=[500_000_000, 600_000_000, 700_000_000],
        end_ns=900_000_000,
        decoded=3,
        stop="end",
        chars=12,
        bytes=36,
    )
    return made | changes


def test_chat_by_hand():
    times = chat_times(chat())
    assert times.task_ttft_s == 0.5
    assert times.task_tokenise_s == 0.1
    assert times.task_first_s == pytest.approx(times.task_ttft_s - 0.1)
    assert times.task_decode_tok_per_s == pytest.approx(10)
    assert times.task_char_per_s == pytest.approx(30)
    assert times.task_byte_per_s == pytest.approx(90)
    assert times.task_end_to_end_s == pytest.approx(0.9)
    assert times.task_output_tok == 3


def test_an_answer_that_reached_its_limit_has_no_end_token():
    assert chat_times(chat(stop="length", decoded=2)).task_output_tok == 3
    with pytest.raises(SampleRefusedError) as refused:
        chat_times(chat(stop="length"))
    assert refused.value.reason == "wrong_token_count"


def test_one_token_of_chat_has_no_rates():
    times = chat_times(chat(token_ns=[500_000_000], decoded=1))
    assert times.task_ttft_s == 0.5
    assert times.task_output_tok == 1
    assert times.task_decode_tok_per_s is times.task_char_per_s is times.task_byte_per_s is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"token_ns": [], "decoded": 0}, "no_output"),
        ({"evaluated": 1}, "prompt_not_evaluated"),
        ({"decoded": 6}, "wrong_token_count"),
        ({"token_ns": None}, "bad_times"),
        ({"chars": None}, "bad_times"),
        ({"bytes": -1}, "bad_times"),
    ],
)
def test_chat_answers_that_are_refused(changes, reason):
    with pytest.raises(SampleRefusedError) as refused:
        chat_times(chat(**changes))
    assert refused.value.reason == reason


def test_load():
    assert load_times({"ready_ns": 1_250_000_000}) == {"load_s": 1.25}
    phases = {"ready_ns": 10**9, "import_ns": 2 * 10**8, "weights_ns": 5 * 10**8}
    assert load_times(phases | {"compile_ns": None}) == {
        "load_s": 1.0,
        "load_import_s": 0.2,
        "load_weights_s": 0.5,
    }
    for broken in (
        {"ready_ns": 0},
        {"ready_ns": 10, "first_ns": 11},
        {"ready_ns": 9, "start_ns": -1},
    ):
        with pytest.raises(SampleRefusedError):
            load_times(broken)


def check(**changes):
    prefill, step = 10**8, 10**7
    made = {"prefill_ns": prefill, "after_prefill_ns": step, "extend_ns": prefill}
    made |= {"step_ns": step, "after_step_ns": step, "extend_step_ns": step}
    return made | {"same_token": True} | changes


def test_honest_tokens_are_available():
    require_available(check())
    require_available(check(prefill_ns=5 * 10**7, step_ns=5 * 10**6))
    require_available(check(prefill_ns=9 * 10**8, step_ns=9 * 10**7))


def test_what_is_slow_beside_an_honest_call_does_not_accuse_it():
    """Handing logits over takes longer than a step of a tiny model, and a busy machine may
    hit every call but the one in question: the next call then owes nothing.
    """
    require_available(check(step_ns=50_000, extend_step_ns=300_000, after_step_ns=310_000))
    require_available(check(step_ns=225_000, extend_step_ns=511_000, after_step_ns=600_000))
    require_available(check(prefill_ns=3 * 10**7, after_prefill_ns=4 * 10**7))


EARLY = {"prefill_ns": 49_000_000, "after_prefill_ns": 61_000_000}
EARLY_STEP = {"step_ns": 4_900_000, "after_step_ns": 15_100_000}


def test_an_early_token_is_named_with_its_times():
    with pytest.raises(SampleRefusedError, match=r"after 49\.0 ms, its logits take 100 ms"):
        require_available(check(**EARLY))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (EARLY, "token_not_available"),
        (EARLY_STEP, "token_not_available"),
        ({"same_token": False}, "wrong_token"),
        ({"same_token": 1}, "wrong_token"),
        ({"extend_ns": None}, "bad_times"),
        ({"after_step_ns": None}, "bad_times"),
        ({"step_ns": 0}, "bad_times"),
    ],
)
def test_early_and_wrong_tokens_are_refused(changes, reason):
    with pytest.raises(SampleRefusedError) as refused:
        require_available(check(**changes))
    assert refused.value.reason == reason


def test_kernel():
    assert kernel_tok_per_s({"tokens": 512, "elapsed_ns": 2_000_000_000}) == 256
    with pytest.raises(SampleRefusedError) as refused:
        kernel_tok_per_s({"tokens": 512, "evaluated": 1, "elapsed_ns": 10})
    assert refused.value.reason == "prompt_not_evaluated"
    with pytest.raises(SampleRefusedError):
        kernel_tok_per_s({"tokens": 512, "elapsed_ns": 0})


def repeat(repeated, *, evaluated=60, **changes):
    counts = {"submitted": 60, "evaluated": evaluated}
    return {"new_ns": [100, 110, 95], "repeated_ns": repeated} | counts | changes


def refusal(sample):
    with pytest.raises(SampleRefusedError) as refused:
        require_repeated(sample)
    return refused.value.reason


def test_repeated_prompts():
    assert refusal(repeat([3, 2, 3])) == "prompt_not_evaluated"
    assert refusal(repeat([100, 101, 99], evaluated=33)) == "prompt_not_evaluated"
    # Slower, equal, a little faster, and one honest outlier among the new ones.
    for repeated in ([100, 101, 99], [110, 120, 100], [91, 90, 92], [3, 2, 99]):
        require_repeated(repeat(repeated))
    for broken in ([], [0], None):
        assert refusal(repeat(broken)) == "bad_times"
    assert refusal(repeat([99], new_ns=[])) == "bad_times"


def test_registry_is_whole():
    assert {"load_s", "ttft_s", "accuracy", "itl_s_p99", "peak_resident_bytes"} <= METRICS.keys()
    for name, metric in METRICS.items():
        assert metric.id == name
        assert metric.direction in {"higher", "lower"}
        assert metric.definition
        suffix = {"s": "_s", "B": "_bytes", "tok/s": "_tok_per_s"}.get(metric.unit)
        assert suffix is None or suffix in name, name


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("ttft_s", 1.2345, "1.23 s"),
        ("ttft_s", 83.21, "83.2 s"),
        ("ttft_s", 0.0456, "45.6 ms"),
        ("itl_s", 0.0000456, "45.6 µs"),
        ("task_tokenise_s", 0.0, "0 µs"),
        ("peak_resident_bytes", 363 * 2**20, "363 MiB"),
        ("peak_resident_bytes", 2.5 * 2**30, "2.50 GiB"),
        ("peak_resident_bytes", 2048, "2.00 KiB"),
        ("peak_resident_bytes", 12, "12 B"),
        ("decode_tok_per_s", 1234.5, "1234 tok/s"),
        ("decode_tok_per_s", 8.031, "8.03 tok/s"),
        ("accuracy", 0.7119, "71.2 %"),
        ("accuracy_ratio", 0.987, "0.987x"),
    ],
)
def test_people_read(metric, value, text):
    assert METRICS[metric].show(value) == text


@pytest.mark.parametrize(
    ("metric", "amount", "shown"),
    [
        ("ttft_s", 0.99996, "1.00 s"),
        ("ttft_s", 0.0009999, "1.00 ms"),
        ("ttft_s", 0.9994, "999 ms"),
        ("ttft_s", 9.996, "10.0 s"),
        ("decode_tok_per_s", 9.996, "10.0 tok/s"),
        ("decode_tok_per_s", 999.6, "1000 tok/s"),
        ("accuracy", -0.0001, "0.0 %"),
        ("accuracy", -0.1, "-10.0 %"),
    ],
)
def test_what_is_shown_is_rounded_before_its_unit_is_chosen(metric, amount, shown):
    assert METRICS[metric].show(amount) == shown
