"""What the reference models read: items of the generated tasks under the training seed.

Nothing here needs PyTorch, so the tests can check that training and test items are apart:
the first items of the public test seed are never trained on, nor is the twentieth part of
all possible items that held-out accuracy is measured on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from harness.suites.tasks import LANGUAGES, PUBLIC_SEED, TASKS, item_at, load_task
from harness.suites.tasks.base import Item, Language
from harness.suites.tasks.draw import Draw

TRAINING_SEED = hashlib.sha256(b"harness reference models: training").digest()
HELD_OUT_SEED = hashlib.sha256(b"harness reference models: held out").digest()
PUBLIC_ITEMS = 400
"""Items a task and language of the public seed that are kept out of training."""

HELD_OUT_PART = 20
"""One in this many possible items is never trained on."""

SHARES = {"arith": 6, "calendar": 6, "josa": 6, "pairs": 2}
"""Relative number of items a task; the last one's are long and soon learnt."""

SHOTS_IN_TEN = 1
"""In ten documents, how many hold several items of one task, as a few-shot prompt does."""


def key(item: Item) -> str:
    """What makes two items the same for training."""
    return f"{item.context}\n{item.solution}"


def is_held_out(item: Item) -> bool:
    """Whether the item belongs to the part that is kept for measuring."""
    digest = hashlib.sha256(key(item).encode()).digest()
    return int.from_bytes(digest[:4], "big") % HELD_OUT_PART == 0


def public_keys() -> frozenset[str]:
    """Keys of the public test items."""
    return frozenset(
        key(item_at(name, language, index, PUBLIC_SEED))
        for name in TASKS
        for language in LANGUAGES
        for index in range(PUBLIC_ITEMS)
    )


def training_items(name: str, language: Language, banned: frozenset[str]) -> Iterator[Item]:
    """Endless items of one task that may be trained on."""
    index = 0
    while True:
        item = item_at(name, language, index, TRAINING_SEED)
        index += 1
        if not is_held_out(item) and key(item) not in banned:
            yield item


def held_out_items(name: str, language: Language, per_level: int) -> list[Item]:
    """As many held-out items of each level; the same item may come twice."""
    out: list[Item] = []
    left = {1: per_level, 2: per_level, 3: per_level}
    index = 0
    while any(left.values()):
        item = item_at(name, language, index, HELD_OUT_SEED)
        index += 1
        if left[item.level] and is_held_out(item):
            left[item.level] -= 1
            out.append(item)
    return out


def documents(shares: dict[str, int] = SHARES) -> Iterator[list[tuple[str, str]]]:
    """Endless documents, each a list of (context, answer to learn) to be joined.

    Every answer ends in a newline, which is how the models say that they are done.
    """
    banned = public_keys()
    streams = {
        (name, language): training_items(name, language, banned)
        for name in TASKS
        for language in LANGUAGES
    }
    tickets = [pair for pair in streams for _ in range(shares[pair[0]])]
    index = 0
    while True:
        draw = Draw(TRAINING_SEED, "documents", index)
        index += 1
        pair = draw.pick(tickets)
        count = draw.between(2, 3) if draw.below(10) < SHOTS_IN_TEN else 1
        gap = draw.pick(("", "\n"))
        items = [next(streams[pair]) for _ in range(count)]
        yield [
            (gap + item.context if position else item.context, item.solution + "\n")
            for position, item in enumerate(items)
        ]


def score(name: str, text: str, item: Item) -> bool:
    """Whether a generated text is right."""
    return load_task(name).parse(text) == item.answer
