"""Accuracy items as they were recorded, each checked against itself.

Three forms: `choice` holds a log-likelihood an option, `free` how a written answer was
marked, and records from before there were forms say only whether it was right. An item
that was skipped (its text did not fit the context that all models get) counts as not
answered: leaving hard items out must not pay.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from harness.times import SampleRefusedError

Sample = Mapping[str, Any]
Geometry = Mapping[int, float]
"""Largest difference in nat between trie and full forward, by tokens of the option."""

POSITIVE_NAT = 1e-3
"""What rounding may leave of a log-likelihood above 0."""
MOST_WHOLE = 1 << 53
"""Above it, floats no longer tell whole numbers apart."""

_ITEM: tuple[Any, ...] = (str, int, (int, float), bool, bool)
_SKIPPED: tuple[Any, ...] = (str, int, (int, float), str, str)
"""Types of the fields; made once, for there are a thousand items a model."""


class Choice(NamedTuple):
    """The options of one item.

    Attributes:
        right: index of the right one. log_likelihoods: in nat.
        tokens, chars, size: scored tokens, Unicode characters and UTF-8 bytes, each
            without the space before the option.
    """

    right: int
    log_likelihoods: tuple[float, ...]
    tokens: tuple[int, ...]
    chars: tuple[int, ...]
    size: tuple[int, ...]

    @property
    def chosen(self) -> int:
        """The option with the largest log-likelihood, the first of equals."""
        return self.log_likelihoods.index(max(self.log_likelihoods))

    @property
    def margin_nat(self) -> float:
        """Best minus second best log-likelihood."""
        best, second = sorted(self.log_likelihoods, reverse=True)[:2]
        return best - second


class Free(NamedTuple):
    """How a written answer was marked; `credit` is the share of it that is right."""

    strict: bool
    credit: float
    truncated: bool


class Item(NamedTuple):
    """One accuracy item and how it was answered.

    Attributes:
        number: index of the item; with `form` it tells the item within its task.
        correct: right by the loose mark. answered: something could be read as an answer.
        skipped: why the item was not asked; empty = it was.
    """

    number: int
    template: str
    level: int
    chance: float
    correct: bool
    answered: bool
    form: str = ""
    choice: Choice | None = None
    free: Free | None = None
    skipped: str = ""

    @property
    def place(self) -> tuple[str, int]:
        """Which item of its task this is."""
        return self.form, self.number

    @property
    def question(self) -> tuple[str, int, float]:
        """What must be equal where two models answered the same item."""
        return self.template, self.level, self.chance


def read_item(number: int, sample: Sample) -> Item:
    """An `item` sample.

    Raises:
        SampleRefusedError: `bad_item`: a field is missing or of another kind, or the record
            contradicts itself.
    """
    names = ("template", "level", "chance", "correct", "answered")
    found: list[Any] = [sample.get(name) for name in names]
    template, level, chance, correct, answered = found
    if not all(map(isinstance, found, _ITEM)) or not 0 <= chance < 1:
        raise _bad("an item's fields are not usable")
    form = sample.get("form", "")
    choice = free = None
    if form == "choice":
        choice = _choice(sample)
        if correct != (choice.chosen == choice.right):
            raise _bad(f"item {number} contradicts its own log-likelihoods")
    elif form == "free":
        free = _free(sample)
        if free.strict and not correct:
            raise _bad(f"item {number} is right strictly, but not loosely")
    elif form != "":
        raise _bad(f"form {form!r} is not known")
    # An answer that could not be read cannot be right.
    right = correct and answered
    return Item(
        number, template, level, float(chance), right, answered, form, choice=choice, free=free
    )


def read_skipped(number: int, sample: Sample) -> Item:
    """An `item_skipped` sample: an item that was not answered.

    Template, level and chance are those of the item where the record has them.

    Raises:
        SampleRefusedError: `bad_item`.
    """
    wanted = {"template": "", "level": 0, "chance": math.nan, "form": "", "reason": "skipped"}
    found = [sample.get(name, default) for name, default in wanted.items()]
    template, level, chance, form, reason = found
    usable = all(map(isinstance, found, _SKIPPED))
    if not usable or not reason or not (math.isnan(chance) or 0 <= chance < 1):
        raise _bad("a skipped item's fields are not usable")
    return Item(
        number,
        template,
        level,
        float(chance),
        correct=False,
        answered=False,
        form=form,
        skipped=reason,
    )


def read_geometry(sample: Sample) -> list[tuple[int, float]]:
    """A `geometry` sample: tokens of each option and |trie - full forward| in nat.

    Raises:
        SampleRefusedError: `bad_item`.
    """
    tokens, differences = _whole(sample, "tokens"), _floats(sample, "difference_nat")
    if len(tokens) != len(differences):
        raise _bad("a geometry sample's lists differ in length")
    return [(count, abs(nat)) for count, nat in zip(tokens, differences, strict=True)]


def _choice(sample: Sample) -> Choice:
    scores, right = _floats(sample, "log_likelihoods"), sample.get("right")
    tokens = _whole(sample, "tokens", least=0)
    chars, size = _whole(sample, "chars"), _whole(sample, "bytes")
    count = len(scores)
    if count < 2 or {len(tokens), len(chars), len(size)} != {count}:
        raise _bad("a choice item's lists differ in length, or hold fewer than two options")
    if not isinstance(right, int) or not 0 <= right < count or max(scores) > POSITIVE_NAT:
        raise _bad("a choice item's right option or log-likelihoods are impossible")
    return Choice(right, scores, tokens, chars, size)


def _free(sample: Sample) -> Free:
    strict, truncated, credit = (sample.get(name) for name in ("strict", "truncated", "credit"))
    if not (isinstance(strict, bool) and isinstance(truncated, bool)):
        raise _bad("a free item's marks are not usable")
    if not isinstance(credit, (int, float)) or not 0 <= credit <= 1:
        raise _bad("a free item's credit is not a share")
    return Free(strict, float(credit), truncated)


def _floats(sample: Sample, name: str) -> tuple[float, ...]:
    values = sample.get(name)
    # Types of all at once: a run holds a hundred thousand of these lists.
    kinds = {int, float}
    if (
        isinstance(values, list)
        and kinds.issuperset(map(type, values))
        and all(map(math.isfinite, values))
    ):
        return tuple(map(float, values))
    raise _bad(f"{name} is no list of numbers")


def _whole(sample: Sample, name: str, *, least: int = 1) -> tuple[int, ...]:
    values = sample.get(name)
    whole = isinstance(values, list) and {int}.issuperset(map(type, values))
    if isinstance(values, list) and whole:
        ascending = sorted(values)
        if not ascending or least <= ascending[0] <= ascending[-1] <= MOST_WHOLE:
            return tuple(values)
    raise _bad(f"{name} is no list of whole numbers of at least {least}")


def nearest(errors: Geometry, tokens: int) -> float:
    """Error of a length, or of the nearest one that was measured, of two the larger."""
    if tokens in errors:
        return errors[tokens]
    return -min((abs(length - tokens), -error) for length, error in errors.items())[1]


def _bad(message: str) -> SampleRefusedError:
    return SampleRefusedError(message, reason="bad_item")
