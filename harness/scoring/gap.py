"""How much better models do on items that everybody knows than on secret ones.

    public run ─┐
                ├ per model: macro mean over tasks, chance-adjusted ─▶ public − secret
    secret run ─┘

The two sides hold different items of the same templates, so each is resampled by
template with draws of its own. A gap above 0 that is significant says that the public
items, or ones like them, were in the training data.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from harness.errors import IncomparableError, SpecError
from harness.records import run_record
from harness.scoring.accuracy import summarise, summarise_task
from harness.scoring.items import Item
from harness.scoring.observe import Observed, observe
from harness.scoring.rules import read_rules
from harness.stats import Interval, holm, percentile_interval, round_all, two_sided_p

Items = Mapping[str, Collection[Item]]
"""Answered items of one model, by case."""

_ALPHA = 0.05
_SAME = ("forms", "shots", "context")
"""Settings of the accuracy suite that make items harder or easier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Public minus secret accuracy of one model.

    Attributes:
        public, secret: macro means over `cases`, adjusted for chance.
        value, interval: their difference and its 95 % interval.
        p: two-sided, of no difference.
        cases: that both sides answered.
    """

    public: float
    secret: float
    value: float
    interval: Interval
    p: float
    public_items: int
    secret_items: int
    cases: tuple[str, ...]

    @property
    def significant(self) -> bool:
        """The interval excludes 0."""
        return self.interval.lo > 0 or self.interval.hi < 0


def gap(public: Items, secret: Items) -> Gap | None:
    """The gap over the cases that both sides answered; None without any.

    Its interval is the wider of the bootstrap and, at each end, the one made of both sides'
    own intervals (Zou and Donner 2008): resampling alone would be sure of itself where a
    side is all right or all wrong.
    """
    cases = tuple(sorted(case for case in public if public[case] and secret.get(case)))
    if not cases:
        return None
    # The names keep the draws of the two sides apart.
    left = summarise({case: summarise_task(f"public/{case}", public[case]) for case in cases})
    right = summarise({case: summarise_task(f"secret/{case}", secret[case]) for case in cases})
    value = left.value - right.value
    draws = left.draws - right.draws
    below = math.hypot(left.value - left.interval.lo, right.interval.hi - right.value)
    above = math.hypot(left.interval.hi - left.value, right.value - right.interval.lo)
    drawn = percentile_interval(draws, value)
    return Gap(
        public=left.value,
        secret=right.value,
        value=value,
        interval=Interval(min(drawn.lo, value - below), max(drawn.hi, value + above)),
        p=two_sided_p(value, float(np.std(draws, ddof=1))),
        public_items=left.n,
        secret_items=right.n,
        cases=cases,
    )


# --- two runs -------------------------------------------------------------------------

Records = Sequence[Mapping[str, Any]]


class _Side(NamedTuple):
    """What a run says: its suite, its seed's facts, and its models."""

    suite: Mapping[str, Any]
    seed: Mapping[str, Any]
    models: dict[str, Observed]

    def generated(self, model: str) -> Items:
        """Items of the generated cases: an evaluator's own are the same in both runs."""
        names = {
            f"{language}-{task}"
            for language in self.suite["languages"]
            for task in self.suite["tasks"]
        }
        return {case: rows for case, rows in self.models[model].items.items() if case in names}


def between(public: Records, secret: Records) -> dict[str, Any]:
    """The gap of every model that both runs measured, from the same files.

    Returns:
        `entries` (largest gap first: model, public, secret, gap, lo, hi, p after Holm's
        adjustment over the models, significant, items and cases) and `left_out` (why, by
        model); floats have 6 significant digits.

    Raises:
        RecordError: there is no run record, or its profile cannot be read.
        SpecError: the first run is a secret one, or the second a public one.
        IncomparableError: the runs asked differently, or share no model.
    """
    left, right = _side(public), _side(secret)
    _check_sides(left, right)
    gaps: dict[str, Gap] = {}
    left_out: dict[str, str] = {}
    for model in sorted(left.models.keys() | right.models.keys()):
        if why := _why_not(left.models.get(model), right.models.get(model)):
            left_out[model] = why
        elif found := gap(left.generated(model), right.generated(model)):
            gaps[model] = found
        else:
            left_out[model] = "no case was answered in both runs"
    if not gaps:
        raise IncomparableError(
            "no model answered items in both runs",
            allowed="\n    ".join(f"{model}: {why}" for model, why in left_out.items()),
            hint="harness run --model ID with the public items, then with --seed-file",
        )
    adjusted = holm([found.p for found in gaps.values()])
    rows = [_row(model, found, p) for (model, found), p in zip(gaps.items(), adjusted, strict=True)]
    rows.sort(key=lambda row: (-row["gap"], row["model"]))
    found = round_all({"entries": rows, "left_out": left_out})
    return dict(found)


def _row(model: str, found: Gap, p: float) -> dict[str, Any]:
    return {
        "model": model,
        "public": found.public,
        "secret": found.secret,
        "gap": found.value,
        "lo": found.interval.lo,
        "hi": found.interval.hi,
        "p": p,
        "significant": found.significant and p < _ALPHA,
        "public_items": found.public_items,
        "secret_items": found.secret_items,
        "cases": list(found.cases),
    }


def _side(records: Records) -> _Side:
    run = run_record(records)
    rules = read_rules(run["profile"])
    suite = run["profile"]["suites"].get("accuracy") or {"languages": [], "tasks": []}
    observed = observe(records, run["models"], rules)
    return _Side(suite, run.get("seed") or {}, {seen.id: seen for seen in observed})


def _check_sides(public: _Side, secret: _Side) -> None:
    hint = "harness accuracy gap PUBLIC_RUN SECRET_RUN"
    # Runs of earlier versions do not say which seed they had.
    if public.seed.get("public") is False:
        raise SpecError(
            "the first run asked secret items", allowed="the public run first", hint=hint
        )
    if secret.seed.get("public") is True:
        raise SpecError(
            "the second run asked the public items",
            allowed="a run with --seed-file second",
            hint=hint,
        )
    for name in _SAME:
        if public.suite.get(name) != secret.suite.get(name):
            raise IncomparableError(
                f"the runs differ in more than their items: {name} is {public.suite.get(name)} "
                f"and {secret.suite.get(name)}",
                allowed="two runs of one profile",
                hint=hint,
            )
    made = {side.seed.get("generator") for side in (public, secret)} - {None}
    if len(made) > 1:
        raise IncomparableError(
            "the runs' items were made by different versions of the generator",
            allowed="two runs of one harness version",
            hint=hint,
        )


def _why_not(public: Observed | None, secret: Observed | None) -> str:
    if public is None or secret is None:
        return f"only in the {'secret' if public is None else 'public'} run"
    if public.model.get("sha256") != secret.model.get("sha256"):
        return "the model's files differ"
    return ""


def text(found: Mapping[str, Any]) -> str:
    """The table for people, in percentage points."""
    rows: Iterable[Mapping[str, Any]] = found["entries"]
    width = max([len(row["model"]) for row in rows] + [5])
    lines = [f"{'model':<{width}}  public  secret     gap  95 % interval    p"]
    for row in rows:
        shares = "".join(f"{100 * row[key]:8.1f}" for key in ("public", "secret", "gap"))
        interval = f"{100 * row['lo']:+.1f} … {100 * row['hi']:+.1f}"
        word = "  better on the public items" if row["gap"] > 0 else "  worse on the public items"
        lines.append(
            f"{row['model']:<{width}}{shares}  {interval:<15}  {row['p']:.3f}"
            f"{word if row['significant'] else ''}"
        )
    lines += [f"left out {model}: {why}" for model, why in found["left_out"].items()]
    lines.append("accuracy above chance in %, macro mean over tasks; p after Holm's adjustment")
    return "\n".join(lines)
