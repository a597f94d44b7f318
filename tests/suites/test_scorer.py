"""Log-likelihoods over a trie equal one full evaluation an option, on every engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness.backends.base import Backend
from harness.backends.fake import FakeBackend
from harness.errors import BackendError
from harness.spec import BackendOptions
from harness.suites.rows import norms
from harness.suites.scorer import Scorer
from tests.backends.conftest import Open, models, opened, toy  # noqa: F401  (fixtures)
from tests.suites.helpers import fake

SHOTS = "질문: 1+1\n정답: 2\n\n질문: 2+5\n정답: 7\n\n"
ITEMS = [
    ("책상", ("은 아주 좋습니다.", "는 아주 좋습니다.")),
    ("the ", ("a", "b", "c")),
    ("문제:\n", ("가", "나")),
    ("\n", ("a", "b")),
    ("", ("문을 열었다", "문이 열었다")),
    ("x", ("same start A", "same start BB", "same start A and more")),
    ("prefix of another", (" ab", " abc")),
    ("one", ("only",)),
    ("", ("z", "y")),
    ("질문: 3+4\n정답:", (" 7", " 8", " 10", " 1")),
    ("twice the same", (" x", " x")),
    ("long", tuple(f" {word * 12}" for word in ("가나다", "abc def", "라마바"))),
]


def full(
    backend: Backend, context: str, option: str, start: int = 10**6
) -> tuple[float, int, bool]:
    """One full forward pass in float64: lm-evaluation-harness's definition, written anew."""
    kept = context.rstrip()
    ids = backend.encode(context + option)
    start = min(start, len(backend.encode(kept)))
    if not start:
        ids, start = [min(backend.end_ids), *ids], 1
    logits = backend.extend(backend.root(), ids, range(len(ids))).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True))
    greedy = all(logits[i - 1].argmax() == ids[i] for i in range(start, len(ids)))
    total = float(sum(logits[i - 1, ids[i]] for i in range(start, len(ids))))
    return total, len(ids) - start, greedy


def check(scorer: Scorer, other: Backend, context: str, options: tuple[str, ...], abs_: float):
    found = scorer.paths(*scorer.encode(context, options))
    assert len(found) == len(options)
    # Where a merge crosses the boundary, all are scored from where they part.
    paths = [other.encode(scorer.shots + context + each) for each in options]
    parted = next((i for i, ids in enumerate(zip(*paths, strict=False)) if len({*ids}) > 1), 10**6)
    start = min(parted, *(len(path) - 1 for path in paths))
    for option, one in zip(options, found, strict=True):
        total, tokens, greedy = full(other, scorer.shots + context, option, start)
        assert one.log_likelihood == pytest.approx(total, abs=abs_)
        assert (one.tokens, one.greedy) == (tokens, greedy)


@pytest.mark.parametrize("shots", ["", SHOTS])
def test_shared_prefixes_change_nothing(tmp_path: Path, shots: str) -> None:
    scorer, other = Scorer(fake(tmp_path, seed=7), shots), fake(tmp_path, seed=7)
    for context, options in (*ITEMS, *reversed(ITEMS)):
        check(scorer, other, context, options, 1e-5)


ENGINES = {
    "f32.gguf": 2e-2,
    "onnx": 1e-3,
    "onnx-all-rows": 1e-3,
    "onnx-fan": 1e-3,
    "mamba.gguf": 2e-2,
}


@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.parametrize("sequences", [1, 8])
def test_every_engine_equals_a_full_forward(opened: Open, kind: str, sequences: int) -> None:  # noqa: F811
    exact: dict[str, Any] = {"flash_attention": False, "kv_type": "f32"}
    options = BackendOptions(threads=1, context=96, sequences=sequences, **exact)
    scorer = Scorer(opened(kind, options), "문: 1\n답: 2\n\n")
    other = opened(kind, BackendOptions(threads=1, context=96, **exact))
    for context, choices in (*ITEMS[:11], *ITEMS[:3]):
        check(scorer, other, context, choices, ENGINES[kind])


class Merging(FakeBackend):
    """A tokeniser that merges `ab` into one token, across boundaries as well."""

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        return list(text.encode().replace(b"ab", b"\xff"))


def open_as(kind: type[FakeBackend], folder: Path) -> FakeBackend:
    path = folder / "toy.fake.json"
    path.write_text("{}")
    backend = kind()
    backend.load(path, BackendOptions(threads=1))
    return backend


@pytest.mark.parametrize("shots", ["", "one\n\n", "shots a"])
def test_a_merge_across_the_boundary_is_scored_by_the_joint_encoding(
    tmp_path: Path, shots: str
) -> None:
    scorer, other = Scorer(open_as(Merging, tmp_path), shots), open_as(Merging, tmp_path)
    for context, options in (
        ("xa", ("b", "c")),
        ("a", ("b!", "c!")),
        ("b", ("b", "c")),
        ("a", ("b", "c")),
    ):
        check(scorer, other, context, options, 1e-5)


@pytest.mark.parametrize("shots", ["", "one\n\n"])
def test_no_option_gets_the_token_it_is_merged_into_for_nothing(tmp_path: Path, shots: str) -> None:
    """The options' difference is that of the whole texts, as if nobody had cut them."""
    scorer, other = Scorer(open_as(Merging, tmp_path), shots), open_as(Merging, tmp_path)
    merged, apart = (
        each.log_likelihood for each in scorer.paths(*scorer.encode("xa", ["b!", "c!"]))
    )
    whole = []
    for text in (f"{shots}xab!", f"{shots}xac!"):
        whole += Scorer(other).naive([other.encode(text)], 1)
    assert merged - apart == pytest.approx(whole[0] - whole[1], abs=1e-5)


class Beginning(FakeBackend):
    """A tokeniser that puts token 1 before every text."""

    begin_ids = (1,)


def test_the_models_first_token_is_put_before_every_text(tmp_path: Path) -> None:
    plain = open_as(FakeBackend, tmp_path)
    for shots, context in (("", "ab"), (SHOTS, "ab"), ("", "")):
        scorer = Scorer(open_as(Beginning, tmp_path), shots)
        (found,) = scorer.paths(*scorer.encode(context, ["cd"]))
        ids = [1, *plain.encode(shots + context)]
        logits = plain.extend(plain.root(), [*ids, ord("c")], [len(ids) - 1, len(ids)])
        both = logits[[0, 1], [ord("c"), ord("d")]] - norms(logits).log_sum
        assert found.log_likelihood == pytest.approx(both.sum(), abs=1e-5)


def test_one_token_options_and_shots_cost_nothing_twice(tmp_path: Path) -> None:
    backend = fake(tmp_path)
    scorer = Scorer(backend, "0123456789")
    backend.calls.clear()
    for _ in range(3):
        scorer.paths(*scorer.encode("abc", ["x", "y", "z", "w"]))
    assert [call.tokens for call in backend.calls] == [10, 3, 3, 3]
    backend.calls.clear()
    scorer.paths(*scorer.encode("abc", ["xy1", "xz2"]))
    # The stem and what the options share, then one token of each: the last is predicted.
    assert [call.tokens for call in backend.calls] == [4, 1, 1]


def test_verification_shares_nothing_and_leaves_the_scorer_usable(tmp_path: Path) -> None:
    backend = fake(tmp_path)
    scorer = Scorer(backend, SHOTS)
    before = scorer.paths(*scorer.encode("질문: 3+4\n정답:", [" 7", " 88"]))
    backend.calls.clear()
    paths, start = scorer.encode("질문: 3+4\n정답:", [" 7", " 88"])
    again = scorer.naive(paths, start)
    assert [call.tokens for call in backend.calls] == [len(path) - 1 for path in paths]
    assert again == pytest.approx([each.log_likelihood for each in before], abs=1e-5)
    assert scorer.paths(*scorer.encode("질문: 3+4\n정답:", [" 7", " 88"])) == before


def test_few_rows_are_held_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backend, other = fake(tmp_path, context=4096), fake(tmp_path, context=4096)
    widest = []
    evaluate = FakeBackend._evaluate
    monkeypatch.setattr(
        FakeBackend,
        "_evaluate",
        lambda self, ids, rows: (
            widest.append(len(rows)) if self is backend else None,
            evaluate(self, ids, rows),
        )[1],
    )
    scorer = Scorer(backend)
    check(scorer, other, "긴", ("가" * 300, "가" * 250 + "나", "다" * 100), 2e-4)
    paths, start = scorer.encode("긴", ["가" * 300])
    scorer.naive(paths, start)
    assert max(widest) <= 64


@pytest.mark.parametrize(
    ("context", "options", "reason"),
    [
        ("ab", ("x", ""), "empty_option"),
        ("", ("",), "empty_option"),
        ("a" * 5000, ("x", "y"), "context_exceeded"),
        ("a", ("x", "y" * 5000), "context_exceeded"),
    ],
)
def test_what_cannot_be_scored_is_refused_before_anything_is_evaluated(
    tmp_path: Path, context: str, options: tuple[str, ...], reason: str
) -> None:
    backend = fake(tmp_path, context=4096)
    scorer = Scorer(backend)
    backend.calls.clear()
    with pytest.raises(BackendError) as caught:
        scorer.paths(*scorer.encode(context, options))
    assert caught.value.reason == reason
    assert not backend.calls
    assert scorer.paths(*scorer.encode("ab", ["c"]))[0].tokens == 1


def test_a_hundred_options(tmp_path: Path) -> None:
    scorer, other = Scorer(fake(tmp_path)), fake(tmp_path)
    check(scorer, other, "한 수:", tuple(f" {number}" for number in range(100)), 1e-5)


def test_rows_are_normalised_as_in_double_precision() -> None:
    rows = (np.random.default_rng(1).standard_normal((5, 152_000)) * 8).astype(np.float32)
    rows[1, 7] = 300
    rows[2, :] = -np.inf
    rows[2, 5] = 3
    found = norms(rows)
    wide = rows.astype(np.float64)
    top = wide.max(axis=1)
    exact = top + np.log(np.exp(wide - top[:, None]).sum(axis=1))
    assert found.top == pytest.approx(top)
    assert found.log_sum == pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_that_overflowed_are_refused(bad: float) -> None:
    with pytest.raises(BackendError) as caught, np.errstate(invalid="ignore"):
        norms(np.array([[0.0, bad]], np.float32))
    assert caught.value.reason == "not_finite"
