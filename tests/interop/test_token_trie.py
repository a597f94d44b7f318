"""Sharing changes what is evaluated, never what is found."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.backends.base import Backend, Logits, Node
from harness.errors import BackendError
from harness.interop.generation import Request, generate
from harness.interop.token_trie import Ids, Option, score, walk
from harness.spec import BackendOptions
from tests.backends.conftest import make_backend
from tests.interop.conftest import model

CONTEXT = 256
TOLERANCE = {"fp32.onnx": 1e-5, "f16.gguf": 0.02}
"""Nats a token: a float16 cache depends a little on how tokens are grouped."""


class Counting:
    """A backend that counts what it is given, and how many rows are fetched at once."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.tokens = self.widest = 0
        real = backend.extend

        def extend(node: Node, tokens: Sequence[int], rows: Sequence[int]) -> Logits:
            self.tokens += len(tokens)
            self.widest = max(self.widest, len(rows))
            return real(node, tokens, rows)

        backend.extend = extend  # type: ignore[method-assign]


@pytest.fixture(scope="module", params=TOLERANCE)
def engine(request: pytest.FixtureRequest, cache: Path) -> Iterator[tuple[Backend, float]]:
    variant = request.param
    backend = make_backend("llama_cpp" if variant.endswith("gguf") else "onnxruntime")
    backend.load(model(variant, cache), BackendOptions(threads=1, context=CONTEXT))
    yield backend, TOLERANCE[variant]
    backend.close()


@pytest.fixture
def counting(cache: Path) -> Iterator[Counting]:
    backend = make_backend("onnxruntime")
    backend.load(model("fp32.onnx", cache), BackendOptions(threads=1, context=CONTEXT))
    yield Counting(backend)
    backend.close()


def naive(backend: Backend, context: Ids, ids: Ids) -> Option:
    """One full forward pass a request, and a plain softmax."""
    path = context + ids[:-1]
    rows = backend.extend(backend.root(), path, range(len(context) - 1, len(path)))
    wide = rows.astype(np.float64)
    wide -= np.log(np.exp(wide - wide.max(axis=1, keepdims=True)).sum(axis=1, keepdims=True))
    wide -= rows.max(axis=1, keepdims=True)
    total = sum(float(wide[i, token]) for i, token in enumerate(ids))
    return Option(total, len(ids), [int(row.argmax()) for row in rows] == list(ids))


def random_ids(length: int, seed: int) -> Ids:
    return tuple(np.random.default_rng(seed).integers(2, 2000, length).tolist())


SHOTS = random_ids(60, 1)
REQUESTS: list[tuple[Ids, Ids]] = [
    (SHOTS + random_ids(9, 2), (5,)),
    (SHOTS + random_ids(9, 2), (5, 6)),
    (SHOTS + random_ids(9, 2), (5, 6, 7, 8)),
    (SHOTS + random_ids(9, 2), (9, 6)),
    (SHOTS + random_ids(9, 2), (5, 6)),
    (SHOTS + random_ids(12, 3), random_ids(30, 4)),
    (SHOTS[:20] + random_ids(12, 5), random_ids(3, 6)),
    (SHOTS[:20], (1000, 7)),
    (SHOTS[:19], (SHOTS[19], 1000, 7)),
    (SHOTS, (44, 45)),
    ((7,), (3, 4, 5)),
    (random_ids(200, 8), random_ids(57, 9)),
]


def test_shared_equals_one_by_one(engine: tuple[Backend, float]) -> None:
    backend, tolerance = engine
    for found, (context, ids) in zip(score(backend, REQUESTS), REQUESTS, strict=True):
        expected = naive(backend, context, ids)
        assert abs(found.log_likelihood - expected.log_likelihood) <= tolerance * len(ids)
        assert found.tokens == len(ids)
        assert found.greedy == expected.greedy


def test_greedy_continuations_are_recognised(engine: tuple[Backend, float]) -> None:
    backend, _ = engine
    context, ids = SHOTS[:30], []
    backend.reset()
    token = backend.prefill(context).next_id
    for _ in range(8):
        ids.append(token)
        token = backend.step(token).next_id
    right = tuple(ids)
    wrong = (*right[:-1], right[-1] ^ 1)
    answers = score(backend, [(context, right), (context, wrong), (context, right[:3])])
    assert [answer.greedy for answer in answers] == [True, False, True]


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(
            st.lists(st.integers(2, 4), min_size=1, max_size=6).map(tuple),
            st.lists(st.integers(2, 4), min_size=1, max_size=5).map(tuple),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_any_trie_equals_one_by_one(counting: Counting, requests: list[tuple[Ids, Ids]]) -> None:
    """Few ids make many shared beginnings, equal requests and options within options."""
    counting.tokens = 0
    answers = score(counting.backend, requests)
    evaluated = counting.tokens
    expected = [naive(counting.backend, *request) for request in requests]
    for found, right in zip(answers, expected, strict=True):
        assert found.log_likelihood == pytest.approx(right.log_likelihood, abs=1e-3)
        assert found.tokens == right.tokens
    # Every distinct beginning of contexts is evaluated once; the last token of a context that
    # others go on from is evaluated again for its row, and continuations share nothing but
    # what all of one context begin with.
    contexts = {context for context, _ in requests}
    prefixes = {c[:n] for c in contexts for n in range(1, len(c))}
    tails = sum(len(ids) - 1 for _, ids in set(requests))
    assert evaluated <= len(prefixes) + len(contexts) + tails


def test_a_prefix_is_evaluated_once_and_short_options_cost_nothing(counting: Counting) -> None:
    stems = [random_ids(10, 20 + i) for i in range(8)]
    requests = [(SHOTS + stem, (letter,)) for stem in stems for letter in (10, 11, 12, 13)]
    score(counting.backend, requests)
    assert counting.tokens == len(SHOTS) + 8 * 10
    assert counting.widest == 1


def test_rows_are_fetched_a_few_at_a_time(counting: Counting) -> None:
    request = (SHOTS[:5], random_ids(100, 30))
    (found,) = score(counting.backend, [request])
    assert counting.widest == 64
    expected = naive(counting.backend, *request)
    assert found.log_likelihood == pytest.approx(expected.log_likelihood, abs=1e-3)


@pytest.mark.parametrize("request_", [((), (1,)), ((1,), ())])
def test_nothing_to_evaluate_is_refused(counting: Counting, request_: tuple[Ids, Ids]) -> None:
    with pytest.raises(BackendError, match="no tokens") as caught:
        score(counting.backend, [request_])
    assert caught.value.reason == "empty_prompt"


def test_overflow_is_refused(counting: Counting) -> None:
    with pytest.raises(BackendError) as caught:
        score(counting.backend, [(random_ids(CONTEXT, 1), (1, 2))])
    assert caught.value.reason == "context_exceeded"


def test_contexts_are_visited_once_in_an_order_that_shares(counting: Counting) -> None:
    contexts = [SHOTS, *((*SHOTS, *rest) for rest in ((3,), (2,), (3, 9), (2,)))]
    seen = [leaf.context for leaf in walk(counting.backend, contexts)]
    assert seen == sorted(set(contexts))
    assert counting.tokens <= len(SHOTS) + 5


def greedy(backend: Backend, context: Ids, most: int) -> list[int]:
    backend.reset()
    token = backend.prefill(context).next_id
    ids: list[int] = []
    while len(ids) < most and token not in backend.end_ids:
        ids.append(token)
        token = backend.step(token).next_id
    return ids


def test_answers_equal_plain_greedy_decoding(engine: tuple[Backend, float]) -> None:
    backend, _ = engine
    texts = [
        "57+68=",
        "사과는 과일이다. 고양이",
        "사과는 과일이다. 강아지",
        "The sum of 3 and 4 is",
    ]
    requests = [
        Request(tuple(backend.encode(text)), (), most)
        for text, most in itertools.product(texts, (1, 12))
    ]
    expected = [backend.decode(greedy(backend, r.context, r.most)) for r in requests]
    assert generate(backend, requests) == expected


def test_answers_end_before_a_stop(counting: Counting) -> None:
    backend = counting.backend
    context = tuple(backend.encode("57+68="))
    (whole,) = generate(backend, [Request(context, (), 20)])
    assert len(whole) > 3
    stop = whole[2]
    (cut,) = generate(backend, [Request(context, ("", "없는 글", stop), 20)])
    assert cut == whole.split(stop)[0]
    counting.tokens = 0
    twice = generate(backend, [Request(context, (stop,), 20)] * 3)
    assert twice == [cut] * 3
    assert counting.tokens < len(context) + 4, "equal requests are computed once, up to the stop"
    with pytest.raises(BackendError, match="no tokens"):
        generate(backend, [Request((), (), 3)])
