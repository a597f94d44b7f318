"""Siblings behind one node: together or one by one, they are what each would be alone."""

from __future__ import annotations

import numpy as np
import pytest

from harness.errors import BackendError
from harness.spec import BackendOptions
from tests.backends.conftest import CONTEXT, Open
from tests.backends.test_contract import EXACT, logits_of, prompt

BRANCHED = {
    "fake": "each branch alone",
    "f16.gguf": "7 branches a call",
    "mamba.gguf": "each branch alone",
    "onnx": "each branch alone",
    "onnx-all-rows": "each branch alone",
    "onnx-plain": "each branch alone",
    "onnx-plain-half": "each branch alone",
    "onnx-fan": "batches of 64 rows",
}


@pytest.mark.parametrize("kind", BRANCHED)
def test_branches_equal_fresh_evaluation_and_leave_nothing(opened: Open, kind: str) -> None:
    options = BackendOptions(threads=1, context=CONTEXT, batch_tokens=16, sequences=8)
    backend = opened(kind, options)
    assert backend.geometry == BRANCHED[kind]
    stem = prompt(20, 1)
    paths = [prompt(1 + 5 * i, 10 + i) for i in range(10)]
    rows = [list(range(len(path)))[-3:] for path in paths]
    root = backend.root()
    before = backend.extend(root, stem, [19])
    for _ in range(2):
        for path, wanted, found in zip(
            paths, rows, backend.branches(root, paths, rows), strict=True
        ):
            fresh = logits_of(opened(kind, options), stem + path)
            assert found.shape == (len(wanted), backend.vocabulary)
            assert np.allclose(found, fresh[20:][wanted], **EXACT)
    node = backend.fork(root)
    after = backend.extend(node, prompt(3), [2])
    assert np.allclose(after, logits_of(opened(kind, options), stem + prompt(3))[22:], **EXACT)
    assert np.allclose(before, logits_of(opened(kind, options), stem)[19:], **EXACT)


@pytest.mark.parametrize("kind", ["f16.gguf", "onnx-fan", "onnx", "mamba.gguf"])
def test_branches_refuse_what_extend_refuses(opened: Open, kind: str) -> None:
    options = BackendOptions(threads=1, context=CONTEXT, sequences=4)
    backend = opened(kind, options)
    root = backend.root()
    backend.extend(root, prompt(30), [29])
    for bad, reason in (
        ([prompt(3), prompt(CONTEXT)], "context_exceeded"),
        ([prompt(3), [backend.vocabulary]], "token_out_of_range"),
        ([prompt(3), []], "empty_prompt"),
    ):
        with pytest.raises(BackendError) as caught:
            list(backend.branches(root, bad, [[0], [0]]))
        assert caught.value.reason == reason
        backend.root()
        root = backend.root()
        backend.extend(root, prompt(30), [29])
    child = backend.fork(root)
    with pytest.raises(BackendError, match="only the deepest node"):
        list(backend.branches(root, [prompt(3), prompt(4)], [[0], [0]]))
    backend.drop(child)


def test_an_abandoned_walk_over_branches_leaves_nothing(opened: Open) -> None:
    options = BackendOptions(threads=1, context=CONTEXT, sequences=8)
    backend = opened("f16.gguf", options)
    root = backend.root()
    backend.extend(root, prompt(30), [29])
    next(backend.branches(root, [prompt(30), prompt(30, 1)], [[29], [29]])).copy()
    assert len(list(backend.branches(root, [prompt(60), prompt(6, 1)], [[59], [5]]))) == 2
