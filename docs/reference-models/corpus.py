"""What the reference models read: items of the generated tasks under the training seed.

Nothing here needs PyTorch, so the tests can check that training and test items are apart:
the first items of the public test seed are never trained on, nor is the twentieth part of
all possible items that held-out accuracy is measured on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import count

from harness.suites.tasks import FORMS, LANGUAGES, PUBLIC_SEED, TASKS, item_at, load_task
from harness.suites.tasks.base import Form, Item, Language, Setting
from harness.suites.tasks.draw import Draw

TRAINING_SEED = hashlib.sha256(b"harness reference models: training").digest()
HELD_OUT_SEED = hashlib.sha256(b"harness reference models: held out").digest()
PUBLIC_ITEMS = 200
"""Items a task, language and form of the public seed that are kept out of training."""

HELD_OUT_PART = 20
"""One in this many possible items is never trained on."""

LENGTHS = (200, 500, 1024, 2048)
"""Longest texts in tokens, in turn; only tasks about long texts ask for it."""

SHARES = {
    "arith": 6,
    "calendar": 6,
    "josa": 4,
    "honorific": 4,
    "ifeval": 3,
    "extract": 4,
    "tools": 4,
    "longctx": 3,
    "logic": 4,
    "table": 4,
    "pairs": 2,
}
"""Relative number of items a task, the same in each language and form."""

SHOTS_IN_TEN = 1
"""In ten documents, how many hold several items of one task, as a few-shot prompt does."""

Kind = tuple[str, Language, Form]
"""A task in one language and form."""


def kinds() -> list[Kind]:
    """Every task in both languages and forms."""
    return [(name, language, form) for name in TASKS for language in LANGUAGES for form in FORMS]


def drawn_item(kind: Kind, index: int, seed: bytes, longest_tokens: int = 0) -> Item:
    """One item; unless a length is given, lengths follow each other."""
    name, language, form = kind
    longest = longest_tokens or LENGTHS[index % len(LENGTHS)]
    setting = Setting(language=language, form=form, longest_tokens=longest)
    return item_at(name, setting, index, seed)


def key(item: Item) -> str:
    """What makes two items the same for training."""
    return item.context + item.solution


def is_held_out(item: Item) -> bool:
    """Whether the item belongs to the part that is kept for measuring."""
    digest = hashlib.sha256(key(item).encode()).digest()
    return int.from_bytes(digest[:4], "big") % HELD_OUT_PART == 0


@cache
def public_keys() -> frozenset[str]:
    """Keys of the public test items, of every length."""
    return frozenset(
        key(drawn_item(kind, index, PUBLIC_SEED, longest))
        for kind in kinds()
        for longest in (LENGTHS if kind[0] == "longctx" else LENGTHS[:1])
        for index in range(PUBLIC_ITEMS)
    )


def training_items(
    kind: Kind, banned: frozenset[str], part: int = 0, parts: int = 1
) -> Iterator[Item]:
    """Endless items of one kind that may be trained on; of `parts` readers one has its own."""
    for index in count(part, parts):
        drawn = drawn_item(kind, index, TRAINING_SEED)
        if not is_held_out(drawn) and key(drawn) not in banned:
            yield drawn


def held_out_items(kind: Kind, per_level: int) -> list[Item]:
    """As many held-out items of each level; the same item may come twice."""
    out: list[Item] = []
    left = {1: per_level, 2: per_level, 3: per_level}
    for index in count():
        if not any(left.values()):
            break
        drawn = drawn_item(kind, index, HELD_OUT_SEED)
        if left[drawn.level] and is_held_out(drawn):
            left[drawn.level] -= 1
            out.append(drawn)
    return out


def documents(
    shares: Mapping[str, int] = SHARES, part: int = 0, parts: int = 1
) -> Iterator[list[tuple[str, str]]]:
    """Endless documents, each a list of (context, answer to learn) to be joined.

    The answer is the solution of a free question, or the right choice. Behind it stands the
    item's stop, mostly a newline, which is how the models say that they are done.
    """
    banned = public_keys()
    streams = {kind: training_items(kind, banned, part, parts) for kind in kinds()}
    tickets = [kind for kind in streams for _ in range(shares[kind[0]])]
    for index in count(part, parts):
        draw = Draw(TRAINING_SEED, "documents", index)
        kind = draw.pick(tickets)
        shots = draw.between(2, 3) if draw.below(10) < SHOTS_IN_TEN else 1
        gap = draw.pick(("", "\n"))
        items = [next(streams[kind]) for _ in range(shots)]
        yield [
            (gap + each.context if position else each.context, each.solution + each.stop)
            for position, each in enumerate(items)
        ]


def score(name: str, text: str, item: Item) -> bool:
    """Whether a generated text is right."""
    return load_task(name).mark(text, item).loose
