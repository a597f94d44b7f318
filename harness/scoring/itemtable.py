"""The items of one task of one model as columns, an array for each field.

A run holds a hundred thousand items: read and counted as columns they take a tenth of the
time. What any single item means stands in `items`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.metrics import Floats
from harness.scoring.items import (
    MOST_WHOLE,
    POSITIVE_NAT,
    Choice,
    Free,
    Geometry,
    Item,
    Sample,
    nearest,
)
from harness.times import SampleRefusedError

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


class ChoiceColumns(NamedTuple):
    """Choice items with one number of options: `n` items of `w` options, as `items.Choice`.

    Attributes:
        rows: which items of the table these are, `[n]`, ascending.
        right: `[n]`. log_likelihoods, tokens, chars, size: `[n, w]`.
    """

    rows: Ints
    right: Ints
    log_likelihoods: Floats
    tokens: Ints
    chars: Ints
    size: Ints

    def hits(self, lengths: Ints | None = None) -> Bools:
        """Whether the right option has the largest log-likelihood, or the largest over its
        length, the first of equals. A merge across the boundary can leave an option without a
        token of its own.
        """
        scores = self.log_likelihoods
        if lengths is not None:
            scores = scores / np.maximum(lengths, 1)
        found: Bools = scores.argmax(axis=1) == self.right
        return found

    @property
    def margin_nat(self) -> Floats:
        """Best minus second best log-likelihood, `[n]`."""
        ascending = np.sort(self.log_likelihoods, axis=1)
        margins: Floats = ascending[:, -1] - ascending[:, -2]
        return margins

    def near_ties(self, errors: Geometry) -> int:
        """Items that the geometry of batches could have decided: the margin is below the errors
        of the two best options, which is twice the error where they are equally long.

        The error of a length that was not measured is that of the nearest one (of two equally
        near the larger error).
        """
        best = np.argsort(-self.log_likelihoods, axis=1, kind="stable")[:, :2]
        lengths, place = np.unique(np.take_along_axis(self.tokens, best, 1), return_inverse=True)
        error = np.array([nearest(errors, int(length)) for length in lengths])
        bounds = error[place.reshape(best.shape)].sum(axis=1)
        return int(np.count_nonzero(self.margin_nat < bounds))

    def one(self, at: int) -> Choice:
        """One of the items by itself."""
        lists = (column[at].tolist() for column in self[2:])
        return Choice(int(self.right[at]), *map(tuple, lists))


class FreeColumns(NamedTuple):
    """Written answers, as `items.Free`, `[n]` each; `rows` as of choices."""

    rows: Ints
    strict: Bools
    credit: Floats
    truncated: Bools

    def one(self, at: int) -> Free:
        """One of the items by itself."""
        return Free(bool(self.strict[at]), float(self.credit[at]), bool(self.truncated[at]))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Items(Collection[Item]):
    """Items in the order of form and number; `Item`s are made when they are asked for.

    Attributes:
        forms, numbers, templates, levels, skipped: as in `Item`, a list each. chances, correct,
            answered: an array each, `[n]`.
        choices: by their number of options. free: the written ones.
    """

    forms: list[str]
    numbers: list[int]
    templates: list[str]
    levels: list[int]
    chances: Floats
    correct: Bools
    answered: Bools
    skipped: list[str]
    choices: tuple[ChoiceColumns, ...] = ()
    free: FreeColumns | None = None

    def __len__(self) -> int:
        return len(self.forms)

    def __contains__(self, item: object) -> bool:
        return item in list(self)

    def __iter__(self) -> Iterator[Item]:
        choices = {
            row: table.one(at)
            for table in self.choices
            for at, row in enumerate(table.rows.tolist())
        }
        rows = self.free.rows.tolist() if self.free else []
        written = {row: self.free.one(at) for at, row in enumerate(rows) if self.free}
        columns = (self.chances.tolist(), self.correct.tolist(), self.answered.tolist())
        plain = zip(self.numbers, self.templates, self.levels, *columns, self.forms, strict=True)
        for row, (fields, skipped) in enumerate(zip(plain, self.skipped, strict=True)):
            item = Item(*fields)
            yield item._replace(choice=choices.get(row), free=written.get(row), skipped=skipped)

    @property
    def places(self) -> list[tuple[str, int]]:
        """Which item of its task each one is."""
        return list(zip(self.forms, self.numbers, strict=True))

    @property
    def questions(self) -> list[tuple[str, int, float]]:
        """What must be equal where two models answered the same item."""
        return list(zip(self.templates, self.levels, self.chances.tolist(), strict=True))

    def asks_as(self, other: Items) -> bool:
        """Whether places and questions are the same: without a tuple for each."""
        names = ("forms", "numbers", "templates", "levels")
        alike = all(getattr(self, name) == getattr(other, name) for name in names)
        return alike and np.array_equal(self.chances, other.chances)

    @property
    def was_skipped(self) -> Bools:
        """Which were not asked."""
        return np.array([reason != "" for reason in self.skipped], dtype=np.bool_)

    @classmethod
    def of(cls, items: Iterable[Item]) -> Items:
        """Of items one by one, in their order."""
        if isinstance(items, Items):
            return items
        found = list(items)
        chosen = [(row, item.choice) for row, item in enumerate(found) if item.choice]
        written = [(row, item.free) for row, item in enumerate(found) if item.free]
        return cls(
            forms=[item.form for item in found],
            numbers=[item.number for item in found],
            templates=[item.template for item in found],
            levels=[item.level for item in found],
            chances=np.array([item.chance for item in found], dtype=np.float64),
            correct=np.array([item.correct for item in found], dtype=np.bool_),
            answered=np.array([item.answered for item in found], dtype=np.bool_),
            skipped=[item.skipped for item in found],
            choices=_by_width([row for row, _ in chosen], [choice for _, choice in chosen]),
            free=_frees([row for row, _ in written], [free for _, free in written]),
        )


def assemble(items: Iterable[Item]) -> Items:
    """Items of one task in order, skipped ones with the chance of the others of their form.

    Raises:
        SampleRefusedError: `conflicting_samples`: an item was both answered and skipped.
    """
    ordered = sorted(items, key=lambda item: item.place)
    if len({item.place for item in ordered}) < len(ordered):
        raise SampleRefusedError(
            "an item was both answered and skipped", reason="conflicting_samples"
        )
    known: dict[str, list[float]] = {}
    for item in ordered:
        if not math.isnan(item.chance):
            known.setdefault(item.form, []).append(item.chance)
    usual = {form: math.fsum(found) / len(found) for form, found in known.items()}
    return Items.of(
        item._replace(chance=usual.get(item.form, 0.0)) if math.isnan(item.chance) else item
        for item in ordered
    )


def read_items(numbers: Sequence[int], samples: Sequence[Sample]) -> Items | None:
    """The items of one task whose samples are all of kind `item` and usable, as `read_item` and
    `assemble` make them; None where one of them has to be looked at by itself.

    Args:
        numbers: of the items; with their form they differ.
    """
    forms = [sample.get("form", "") for sample in samples]
    if not (_all(forms, str) and {"", "choice", "free"}.issuperset(forms)):
        return None
    if len(set(zip(forms, numbers, strict=True))) < len(forms):
        return None
    order = sorted(range(len(samples)), key=lambda row: (forms[row], numbers[row]))
    samples = [samples[row] for row in order]
    forms = [forms[row] for row in order]
    names = ("template", "level", "chance", "correct", "answered")
    template, level, chance, correct, answered = (_column(samples, name) for name in names)
    usable = _all(template, str) and _all(level, int) and _all(chance, int, float)
    if not (usable and _all(correct, bool) and _all(answered, bool)):
        return None
    if not all(0 <= share < 1 for share in chance):
        return None
    by_form = defaultdict(list)
    for row, form in enumerate(forms):
        by_form[form].append(row)
    right = np.array(correct, dtype=np.bool_)
    choices = _read_choices(by_form["choice"], samples)
    if choices is None or not _are_free(written := [samples[row] for row in by_form["free"]]):
        return None
    free = _frees(by_form["free"], [tuple(map(sample.get, Free._fields)) for sample in written])
    # What contradicts itself is for `read_item` to say.
    if any((table.hits() != right[table.rows]).any() for table in choices):
        return None
    if free and (free.strict & ~right[free.rows]).any():
        return None
    read = np.array(answered, dtype=np.bool_)
    return Items(
        forms=forms,
        numbers=[numbers[row] for row in order],
        templates=template,
        levels=level,
        chances=np.array(chance, dtype=np.float64),
        correct=right & read,  # an answer that could not be read cannot be right
        answered=read,
        skipped=[""] * len(forms),
        choices=choices,
        free=free,
    )


def _all(values: Iterable[Any], *kinds: type) -> bool:
    """Whether all are of these types, and of no type that is made of them."""
    return set(kinds).issuperset(map(type, values))


def _column(samples: Iterable[Sample], name: str) -> list[Any]:
    return [sample.get(name) for sample in samples]


def _read_choices(rows: list[int], samples: Sequence[Sample]) -> tuple[ChoiceColumns, ...] | None:
    names = ("right", "log_likelihoods", "tokens", "chars", "bytes")
    right, scores, *lengths = (_column([samples[row] for row in rows], name) for name in names)
    if not (_all(right, int) and all(_all(lists, list) for lists in (scores, *lengths))):
        return None
    counts = list(map(len, scores))
    if min(counts, default=2) < 2 or any(list(map(len, lists)) != counts for lists in lengths):
        return None
    if not _all(chain.from_iterable(scores), int, float):
        return None
    for least, lists in zip((0, 1, 1), lengths, strict=True):
        flat = list(chain.from_iterable(lists))
        if not (_all(flat, int) and least <= min(flat, default=1)):
            return None
        if max(flat, default=1) > MOST_WHOLE:
            return None
    try:
        tables = _by_width(rows, list(zip(right, scores, *lengths, strict=True)))
    except OverflowError:
        return None
    for table in tables:
        inside = (table.right >= 0) & (table.right < table.log_likelihoods.shape[1])
        likely = table.log_likelihoods
        if not (inside.all() and np.isfinite(likely).all() and likely.max() <= POSITIVE_NAT):
            return None
    return tables


def _by_width(rows: Sequence[int], choices: Sequence[Sequence[Any]]) -> tuple[ChoiceColumns, ...]:
    """Tables of the choice items in these rows, one for each number of options.

    Args:
        choices: the fields of a `Choice` each.
    """
    tables = []
    widths = [len(scores) for _, scores, *_ in choices]
    for width in sorted(set(widths)):
        mine = [at for at, other in enumerate(widths) if other == width]
        right, scores, tokens, chars, size = zip(*(choices[at] for at in mine), strict=True)
        tables.append(
            ChoiceColumns(
                rows=np.array([rows[at] for at in mine], dtype=np.int64),
                right=np.array(right, dtype=np.int64),
                log_likelihoods=np.array(scores, dtype=np.float64),
                tokens=np.array(tokens, dtype=np.int64),
                chars=np.array(chars, dtype=np.int64),
                size=np.array(size, dtype=np.int64),
            )
        )
    return tuple(tables)


def _are_free(samples: Sequence[Sample]) -> bool:
    strict, credit, truncated = (_column(samples, name) for name in Free._fields)
    plain = _all(strict, bool) and _all(truncated, bool) and _all(credit, int, float)
    return plain and all(0 <= share <= 1 for share in credit)


def _frees(rows: Sequence[int], answers: Sequence[Sequence[Any]]) -> FreeColumns | None:
    """Columns of the written items in these rows.

    Args:
        answers: the fields of a `Free` each.
    """
    if not rows:
        return None
    strict, credit, truncated = zip(*answers, strict=True)
    return FreeColumns(
        np.array(rows, dtype=np.int64),
        np.array(strict, dtype=np.bool_),
        np.array(credit, dtype=np.float64),
        np.array(truncated, dtype=np.bool_),
    )
