"""What the items of a task say beside the share right: forms, lengths, calibration, templates."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from harness.scoring.items import Choice, Free, Geometry, Item
from harness.stats_items import LEAST_OF_TEMPLATE, brier, calibration_error, overdispersion


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


def details(items: Sequence[Item], geometry: Geometry) -> Details:
    """Everything about the items of one task."""
    forms = sorted({item.form for item in items if item.form})
    reasons = Counter(item.skipped for item in items if item.skipped)
    return Details(
        forms={form: _share([item for item in items if item.form == form]) for form in forms},
        templates=_templates([item for item in items if not item.skipped]),
        choices=_choices([item.choice for item in items if item.choice], geometry),
        written=_written([item.free for item in items if item.free]),
        skipped=dict(sorted(reasons.items())),
        geometry=dict(sorted(geometry.items())),
    )


def _share(items: Sequence[Item]) -> Share:
    return Share(
        value=sum(item.correct for item in items) / len(items),
        n=len(items),
        chance=math.fsum(item.chance for item in items) / len(items),
    )


def _templates(items: Iterable[Item]) -> Templates | None:
    answers = [(item.template, (item.form, item.level), item.correct) for item in items]
    size = Counter(template for template, _, _ in answers)
    right = Counter(template for template, _, correct in answers if correct)
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


def _choices(found: Sequence[Choice], geometry: Geometry) -> Choices | None:
    if not found:
        return None
    n = len(found)
    forecasts = [choice.probabilities for choice in found]
    hits = [choice.chosen() == choice.right for choice in found]
    return Choices(
        acc_norm=sum(choice.chosen(choice.chars) == choice.right for choice in found) / n,
        acc_norm_bytes=sum(choice.chosen(choice.size) == choice.right for choice in found) / n,
        acc_norm_tokens=sum(choice.chosen(choice.tokens) == choice.right for choice in found) / n,
        brier=brier(forecasts, [choice.right for choice in found]),
        calibration_error=calibration_error([max(forecast) for forecast in forecasts], hits),
        margin_nat=median(choice.margin_nat for choice in found),
        near_ties=sum(choice.near_tie(geometry) for choice in found) if geometry else None,
    )


def _written(found: Sequence[Free]) -> Written | None:
    if not found:
        return None
    return Written(
        strict=sum(free.strict for free in found) / len(found),
        credit=math.fsum(free.credit for free in found) / len(found),
        truncated=sum(free.truncated for free in found),
    )
