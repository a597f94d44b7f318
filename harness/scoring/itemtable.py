"""The items of one task of one model as columns, an array for each field.

A run holds a hundred thousand items: read and counted as columns they take a tenth of the
time. What any single item means stands in `items`.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, compress
from operator import itemgetter
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
        lengths = np.take_along_axis(self.tokens, best, 1).ravel().tolist()
        known = {length: nearest(errors, length) for length in set(lengths)}
        bounds = np.array([known[length] for length in lengths]).reshape(best.shape).sum(axis=1)
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
        choices = {row: item.choice for row, item in enumerate(found) if item.choice}
        written = {row: item.free for row, item in enumerate(found) if item.free}
        return cls(
            forms=[item.form for item in found],
            numbers=[item.number for item in found],
            templates=[item.template for item in found],
            levels=[item.level for item in found],
            chances=np.array([item.chance for item in found], dtype=np.float64),
            correct=np.array([item.correct for item in found], dtype=np.bool_),
            answered=np.array([item.answered for item in found], dtype=np.bool_),
            skipped=[item.skipped for item in found],
            choices=_by_width(list(choices), _transposed(choices.values(), len(Choice._fields))),
            free=_frees(list(written), _transposed(written.values(), len(Free._fields))),
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
        numbers: of the items, one at least; with their form they differ.
    """
    forms = [sample.get("form", "") for sample in samples]
    if not (_all(forms, str) and {"", "choice", "free"}.issuperset(forms)):
        return None
    order = sorted(zip(forms, numbers, range(len(forms)), strict=True))
    forms, numbers, rows = map(list, zip(*order, strict=True))
    if len(set(zip(forms, numbers, strict=True))) < len(forms):
        return None
    samples = [samples[row] for row in rows]
    columns = _columns(samples, ("template", "level", "chance", "correct", "answered"))
    if columns is None:
        return None
    template, level, chance, correct, answered = columns
    usable = _all(template, str) and _all(level, int) and _all(chance, int, float)
    if not (usable and _all(correct, bool) and _all(answered, bool)):
        return None
    if not all(0 <= share < 1 for share in chance):
        return None
    right, read = np.array(correct, dtype=np.bool_), np.array(answered, dtype=np.bool_)
    # In order of their forms: nothing, choice, free.
    first, end = bisect_left(forms, "choice"), bisect_left(forms, "free")
    choices = _read_choices(range(first, end), samples[first:end])
    written = _columns(samples[end:], Free._fields)
    if choices is None or written is None or not _are_free(*written):
        return None
    free = _frees(range(end, len(forms)), written)
    # What contradicts itself is for `read_item` to say.
    if any((table.hits() != right[table.rows]).any() for table in choices):
        return None
    if free and (free.strict & ~right[free.rows]).any():
        return None
    return Items(
        forms=forms,
        numbers=numbers,
        templates=list(template),
        levels=list(level),
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


_Columns = Sequence[Sequence[Any]]
"""Fields, each with a value for every sample: `[fields][n]`."""


def _columns(samples: Sequence[Sample], names: Sequence[str]) -> _Columns | None:
    """The fields of all samples, a column each; None where one lacks a field."""
    try:
        rows = list(map(itemgetter(*names), samples))
    except KeyError:
        return None
    return _transposed(rows, len(names))


def _transposed(rows: Collection[Sequence[Any]], columns: int) -> _Columns:
    """Rows as columns; so many empty ones where there is no row."""
    return list(zip(*rows, strict=True)) or [()] * columns


def _read_choices(
    rows: Sequence[int], samples: Sequence[Sample]
) -> tuple[ChoiceColumns, ...] | None:
    fields = _columns(samples, ("right", "log_likelihoods", "tokens", "chars", "bytes"))
    if fields is None:
        return None
    right, scores, *lengths = fields
    if not (_all(right, int) and all(_all(lists, list) for lists in (scores, *lengths))):
        return None
    widths = list(map(len, scores))
    if min(widths, default=2) < 2 or any(list(map(len, lists)) != widths for lists in lengths):
        return None
    if not _all(chain.from_iterable(scores), int, float):
        return None
    if not _all(chain.from_iterable(chain(*lengths)), int):
        return None
    try:
        tables = _by_width(rows, fields)
    except OverflowError:
        return None
    return tables if all(map(_is_usable, tables)) else None


def _is_usable(table: ChoiceColumns) -> bool:
    likely = table.log_likelihoods
    if not (np.isfinite(likely).all() and likely.max() <= POSITIVE_NAT):
        return False
    if not (table.right.min() >= 0 and table.right.max() < likely.shape[1]):
        return False
    lengths = ((table.tokens, 0), (table.chars, 1), (table.size, 1))
    return all(least <= column.min() and column.max() <= MOST_WHOLE for column, least in lengths)


def _by_width(rows: Sequence[int], fields: _Columns) -> tuple[ChoiceColumns, ...]:
    """Tables of the choice items in these rows, one for each number of options.

    Args:
        fields: of a `Choice`, a column each.
    """
    kinds: tuple[type, ...] = (np.int64, np.float64, np.int64, np.int64, np.int64)
    widths = list(map(len, fields[1]))
    tables = []
    for width in sorted(set(widths)):
        mine = [other == width for other in widths]
        columns: list[Any] = [
            np.array(list(compress(column, mine)), dtype=kind)
            for column, kind in zip(fields, kinds, strict=True)
        ]
        tables.append(ChoiceColumns(np.array(list(compress(rows, mine)), dtype=np.int64), *columns))
    return tuple(tables)


def _are_free(strict: Sequence[Any], credit: Sequence[Any], truncated: Sequence[Any]) -> bool:
    plain = _all(strict, bool) and _all(truncated, bool) and _all(credit, int, float)
    return plain and all(0 <= share <= 1 for share in credit)


def _frees(rows: Sequence[int], fields: _Columns) -> FreeColumns | None:
    """Columns of the written items in these rows.

    Args:
        fields: of a `Free`, a column each.
    """
    if not rows:
        return None
    strict, credit, truncated = fields
    return FreeColumns(
        np.array(rows, dtype=np.int64),
        np.array(strict, dtype=np.bool_),
        np.array(credit, dtype=np.float64),
        np.array(truncated, dtype=np.bool_),
    )
