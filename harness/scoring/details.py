"""What the items of a task say beside the share right: forms, lengths, calibration, templates."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import NamedTuple

import numpy as np

from harness.scoring.items import Geometry
from harness.scoring.itemtable import Bools, ChoiceColumns, FreeColumns, Items
from harness.stats import median
from harness.stats_items import (
    LEAST_OF_TEMPLATE,
    brier,
    calibration_error,
    overdispersion,
    softmax,
)


class Share(NamedTuple):
    """Share right of some items, and what a guesser would have."""

    value: float
    n: int
    chance: float


class Templates(NamedTuple):
    """Shares right of single templates with 3 items or more; a memorised one stands out.

    Attributes:
        n: templates. overdispersion: spread of their shares in units of what chance makes
            of it (1 = nothing beyond), difficulty and form allowed for; None = unknown.
    """

    n: int
    lowest: float
    median: float
    highest: float
    overdispersion: float | None


class Choices(NamedTuple):
    """Choice items by other rules than the largest log-likelihood.

    Attributes:
        acc_norm, acc_norm_bytes, acc_norm_tokens: share right by log-likelihood over
            Unicode characters, UTF-8 bytes and tokens of the option.
        brier, calibration_error: of the options' softmax.
        margin_nat: best minus second best log-likelihood, median.
        near_ties: items that the geometry of batches could have decided; None = it was
            not measured.
    """

    acc_norm: float
    acc_norm_bytes: float
    acc_norm_tokens: float
    brier: float
    calibration_error: float
    margin_nat: float
    near_ties: int | None


class Written(NamedTuple):
    """Free items: share right without anything around it, mean credit, cut answers."""

    strict: float
    credit: float
    truncated: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """Parts of a task that no score rests on; None where it has no such items.

    Attributes:
        forms: by form, where records name it.
        skipped: items that were not asked, by reason; they count as wrong.
        geometry: largest difference in nat of batched scoring, by tokens of an option.
    """

    forms: Mapping[str, Share]
    templates: Templates | None
    choices: Choices | None
    written: Written | None
    skipped: Mapping[str, int]
    geometry: Geometry


def details(items: Items, geometry: Geometry) -> Details:
    """Everything about the items of one task."""
    asked = ~items.was_skipped
    return Details(
        forms={form: _share(items, form) for form in sorted(set(items.forms) - {""})},
        templates=_templates(items, asked),
        choices=_choices(items.choices, geometry),
        written=_written(items.free),
        skipped=dict(sorted(Counter(filter(None, items.skipped)).items())),
        geometry=dict(sorted(geometry.items())),
    )


def _share(items: Items, form: str) -> Share:
    mine = np.array([other == form for other in items.forms], dtype=np.bool_)
    n = int(mine.sum())
    return Share(
        value=int(items.correct[mine].sum()) / n,
        n=n,
        chance=math.fsum(items.chances[mine].tolist()) / n,
    )


def _templates(items: Items, asked: Bools) -> Templates | None:
    strata = zip(items.forms, items.levels, strict=True)
    every = zip(items.templates, strata, items.correct.tolist(), strict=True)
    answers = Counter(compress(every, asked.tolist()))
    size: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for (template, _, correct), n in answers.items():
        size[template] += n
        right[template] += n * correct
    shares = [right[template] / n for template, n in size.items() if n >= LEAST_OF_TEMPLATE]
    if not shares:
        return None
    return Templates(
        n=len(shares),
        lowest=min(shares),
        median=median(shares),
        highest=max(shares),
        overdispersion=overdispersion(answers),
    )


def _choices(found: Sequence[ChoiceColumns], geometry: Geometry) -> Choices | None:
    if not found:
        return None
    forecasts = [softmax(table.log_likelihoods) for table in found]
    sure = np.concatenate([chances.max(axis=1) for chances in forecasts])
    hits = np.concatenate([table.hits() for table in found])
    return Choices(
        acc_norm=_share_of(table.hits(table.chars) for table in found),
        acc_norm_bytes=_share_of(table.hits(table.size) for table in found),
        acc_norm_tokens=_share_of(table.hits(table.tokens) for table in found),
        brier=brier(forecasts, [table.right for table in found]),
        calibration_error=calibration_error(sure, hits),
        margin_nat=median(np.concatenate([table.margin_nat for table in found])),
        near_ties=sum(table.near_ties(geometry) for table in found) if geometry else None,
    )


def _share_of(hits: Iterable[Bools]) -> float:
    """Share of true ones in all arrays."""
    found = np.concatenate(list(hits))
    return int(found.sum()) / found.size


def _written(found: FreeColumns | None) -> Written | None:
    if found is None:
        return None
    n = found.rows.size
    return Written(
        strict=int(found.strict.sum()) / n,
        credit=math.fsum(found.credit.tolist()) / n,
        truncated=int(found.truncated.sum()),
    )
