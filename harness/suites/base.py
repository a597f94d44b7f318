"""What suites share.

A suite drives a loaded backend and yields raw observations. It computes nothing that
can be computed later: aggregates come from `score`, again and again, from the records.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from harness.backends.base import Backend
from harness.suites.tasks.draw import Draw


def fixed_prompt(backend: Backend, length: int, salt: str) -> list[int]:
    """`length` token ids drawn from a salt: the same on every machine and process.

    Ids are uniform over the vocabulary without the ids that end a generation; real
    text of an exact token count does not exist for every tokeniser.
    """
    draw = Draw(salt.encode(), "prompt", 0)
    ends, vocabulary = backend.end_ids, backend.vocabulary
    ids: list[int] = []
    while len(ids) < length:
        token = draw.below(vocabulary)
        if token not in ends:
            ids.append(token)
    return ids


@contextmanager
def no_collector() -> Iterator[None]:
    """Keep Python's garbage collector out of a timed region."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
