"""The words of a report: strings in two languages, values as text, whole sentences.

Both writers of text and the page take their wording from here, so that a tie or a
winner is described in the same words everywhere.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from functools import cache
from importlib import resources
from typing import Literal, NamedTuple, cast

from harness.messages import tr
from harness.metrics import METRICS, show_bytes, show_share
from harness.report.view import Check, Estimate, Factor, Ranking, Row, Task, View

Lang = Literal["ko", "en"]
LANGS: tuple[Lang, Lang] = ("ko", "en")
DASH = "–"
NAMED = 3
"""Models named in a sentence before the rest is only counted."""
USUAL = ("accuracy", "ttft_s", "decode_tok_per_s", "peak_resident_bytes")
"""Metrics that a ranking shows whatever its score is made of."""
CALIBRATED = {
    "read_bytes_per_s": "GB/s",
    "copy_bytes_per_s": "GB/s",
    "fp32_flop_per_s": "GFLOP/s",
}
KST = timezone(timedelta(hours=9), "KST")


@cache
def strings() -> Mapping[str, Mapping[str, str]]:
    """The dictionary of strings: key → language → text.

    `strings.json` holds what the reports say, `codes.json` the names of codes.
    """
    folder = resources.files("harness.report").joinpath("templates")
    texts = [folder.joinpath(name).read_text("utf-8") for name in ("strings.json", "codes.json")]
    return cast(
        "Mapping[str, Mapping[str, str]]",
        {key: entry for text in texts for key, entry in json.loads(text).items()},
    )


def say(lang: Lang, key: str, **values: object) -> str:
    """The string of a key in a language, with its values filled in."""
    return strings()[key][lang].format(**values)


def word(lang: Lang, group: str, code: str) -> str:
    """A translated code such as a tier; the code itself where it has no translation.

    A task is named by its suite and language: `ko-josa`. A `message` is a whole sentence.
    """
    if group == "message":
        return tr(code, lang)
    if entry := strings().get(f"{group}.{code}"):
        return entry[lang]
    language, _, suite = code.partition("-")
    known = strings().get(f"task.{suite}")
    if group == "task" and known and language in LANGS:
        return f"{known[lang]} ({word(lang, 'language', language)})"
    return code


def number(value: float | None, digits: int = 3) -> str:
    """Significant digits: `1410`, `0.0512`, `12.0`; an exponent only for tiny values."""
    if value is None:
        return DASH
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits}g}")
    if abs(rounded) >= 10 ** (digits - 1):
        return f"{rounded:.0f}"
    text = f"{rounded:#.{digits}g}"
    return text.rstrip(".")


def value(metric: str, amount: float | None) -> str:
    """A metric's value with its unit, as the registry shows it."""
    if amount is None:
        return DASH
    known = METRICS.get(metric)
    return known.show(amount) if known else number(amount)


def size(amount: float | None) -> str:
    """Bytes in binary units."""
    return DASH if amount is None else show_bytes(amount)


def interval(estimate: Estimate) -> str:
    """`[1360, 1470]`, or nothing where no interval is known."""
    if estimate.lo is None or estimate.hi is None:
        return ""
    return f"[{number(estimate.lo)}, {number(estimate.hi)}]"


def percent(effect: float) -> str:
    """A factor as a signed change: 1.076 → `+7.6 %`."""
    change = f"{(effect - 1) * 100:+.1f} %"
    return "0.0 %" if change[1:] == "0.0 %" else change.replace("-", "−")


def moment(started: str) -> str:
    """A UTC time in ISO form as UTC and Korean time; any other text as it is."""
    try:
        utc = datetime.fromisoformat(started).astimezone(timezone.utc)  # noqa: UP017
    except ValueError:
        return started
    return f"{utc:%Y-%m-%d %H:%M} UTC ({utc.astimezone(KST):%m-%d %H:%M} KST)"


def names(rows: Sequence[Row], lang: Lang) -> str:
    """Model ids in a sentence, the first few of them."""
    shown = ", ".join(row.model for row in rows[:NAMED])
    rest = len(rows) - NAMED
    return say(lang, "lead.more", models=shown, count=rest) if rest > 0 else shown


def main_ranking(view: View) -> Ranking | None:
    """The list that the headline speaks of: the first with a ranked model."""
    return next((r for r in view.rankings if r.leaders), None)


def leader(ranking: Ranking | None, lang: Lang) -> str:
    """Who is first, in one line."""
    if ranking is None or not ranking.leaders:
        return say(lang, "lead.none")
    key = "lead.one" if len(ranking.leaders) == 1 else "lead.joint"
    return say(lang, key, models=names(ranking.leaders, lang))


def score(row: Row, lang: Lang) -> str:
    """A score with its interval, in words."""
    bounds = interval(row.score)
    if not bounds:
        return say(lang, "score_alone", score=number(row.score.value))
    return say(lang, "score_of", score=number(row.score.value), interval=bounds)


def rule(key: str, view: View, lang: Lang, **values: object) -> str:
    """A sentence on the least gap that counts, in the unit of the score."""
    least = say(lang, "least.points" if view.adds_up else "least.share")
    return say(lang, key, least=least, **values)


def significance(ranking: Ranking | None, view: View, lang: Lang) -> str:
    """Whether the lead is more than chance, in one sentence."""
    if ranking is None or not ranking.leaders:
        return say(lang, "sure.none")
    if len(ranking.ranked) == 1:
        return say(lang, "sure.alone")
    if len(ranking.leaders) > 1:
        return rule("sure.no", view, lang, count=len(ranking.leaders))
    tied = ranking.leaders[0].tied_with
    if tied:
        return rule("sure.partly", view, lang, models=", ".join(tied[:NAMED]))
    return rule("sure.yes", view, lang)


class Case(NamedTuple):
    """Why the leader leads: its factors against another model; empty for none.

    Attributes:
        model: of which leader, where several share the lead; else empty.
    """

    against: str
    factors: tuple[Factor, ...]
    model: str = ""


def why(ranking: Ranking, view: View) -> Case:
    """The leader's factors against the best model that it beats.

    Where all ranked models share the lead they are against the reference. The product
    of the effects is the ratio of the two scores, where these are geometric.
    """
    first = ranking.leaders[0]
    joint = first.model if len(ranking.leaders) > 1 else ""
    behind = [row for row in ranking.ranked if row.rank != 1]
    if behind:
        other = behind[0]
        pairs = ((factor, other.factor(factor.metric)) for factor in first.factors)
        factors = [against(mine, theirs) for mine, theirs in pairs if theirs]
        return Case(other.model, _by_influence(factors), joint)
    if first.model == view.reference:
        return Case("", (), joint)
    return Case(view.reference, _by_influence(first.factors), joint)


def versus(case: Case, view: View, lang: Lang) -> str:
    """Which model the leader is compared with."""
    key = "why.versus_reference" if case.against == view.reference else "why.versus"
    said = say(lang, key, model=case.against, points=number(view.reference_points))
    return f"{case.model}: {said}" if case.model else said


def against(mine: Factor, theirs: Factor) -> Factor:
    """One model's part of a score relative to another's instead of the reference's."""
    both_add = mine.points is not None and theirs.points is not None
    return replace(
        mine,
        ratio=mine.ratio / theirs.ratio,
        capped=mine.capped or theirs.capped,
        effect=mine.effect / theirs.effect,
        points=(mine.points or 0.0) - (theirs.points or 0.0) if both_add else None,
    )


def influence(factor: Factor) -> float:
    """By how much a part lifts (above 0) or lowers a score, to order the parts by."""
    return math.log(factor.effect) if factor.points is None else factor.points


def _by_influence(factors: Sequence[Factor]) -> tuple[Factor, ...]:
    return tuple(sorted(factors, key=lambda f: -abs(influence(f))))


def effect(factor: Factor, lang: Lang) -> str:
    """What a part does to the score: a percentage, or points where parts are added."""
    if factor.points is None:
        return percent(factor.effect)
    amount = f"{factor.points:+.0f}".replace("-", "−")
    return say(lang, "effect.points", points="0" if amount[1:] == "0" else amount)


def phrase(factor: Factor, lang: Lang) -> str:
    """`decode rate 1.9× better`."""
    metric = word(lang, "metric", factor.metric)
    if abs(factor.ratio - 1) < 0.005:
        return say(lang, "why.same", metric=metric)
    if factor.ratio > 1:
        return say(lang, "why.better", metric=metric, ratio=f"{factor.ratio:.2f}")
    return say(lang, "why.worse", metric=metric, ratio=f"{1 / factor.ratio:.2f}")


def axes(view: View, lang: Lang) -> str:
    """Caption of the chart of the Pareto front, with the metrics that it compares."""
    names = ", ".join(word(lang, "metric", metric) for metric in view.axes)
    return say(lang, "chart.tradeoff.caption", axes=names)


def machine(view: View, lang: Lang) -> str:
    """The declared device's name, or that it has none."""
    if view.device.get("id") == "this-machine":
        return say(lang, "machine.this")
    return view.device.get("name") or view.device.get("id") or say(lang, "machine.unnamed")


def trust(view: View, lang: Lang) -> str:
    """Who vouches for the result: nobody, unless a bundle was verified for this report."""
    found = view.trust
    names = ", ".join(found.signers)
    reason = word(lang, "unverified", found.reason)
    return say(lang, f"trust.{found.state}", names=names, reason=reason)


def unfinished(view: View, lang: Lang) -> str:
    """That a run has not come to its end, and how to go on with it; empty where it has."""
    found = next((f for f in view.findings if f.code == "run_incomplete"), None)
    if found is None:
        return ""
    said = [f"{word(lang, 'finding', found.code)}: {tr(found.detail, lang)}."]
    if view.trust.state == "self" and view.announced is not None:  # else an older harness's
        said.append(say(lang, "unfinished.next", run=view.run))
    return " ".join(said)


def attempt(view: View, lang: Lang) -> str:
    """`run 3 of 7`, whether it was announced, how many before it are gone, and whether it was
    interrupted meanwhile.
    """
    count, of = view.attempt
    if not (count and of):
        return ""
    kinds = {True: "attempt.announced", False: "attempt.unannounced", None: "attempt"}
    later = view.later
    if view.announced is False and of.isdecimal():  # all that are known, those after it as well
        of, later = str(int(of) + later), 0
    said = [say(lang, kinds[view.announced], number=count, of=of)]
    if gone := sum(run.gone for run in view.earlier):
        said.append(say(lang, "attempt.gone", count=gone))
    if later:
        said.append(say(lang, "attempt.later", count=later))
    if view.resumed or view.again:
        said.append(say(lang, "attempt.resumed", count=view.resumed, again=view.again))
    return "; ".join(said)


def columns(view: View) -> tuple[str, ...]:
    """The metrics of a ranking: what the score is made of, then what one asks of any model."""
    usual = dict.fromkeys(USUAL)
    scored = sorted(view.weights, key=lambda m: USUAL.index(m) if m in usual else len(USUAL))
    return tuple(dict.fromkeys([*scored, *usual]))


def shown_metrics(rows: Sequence[Row], wanted: Sequence[str]) -> tuple[str, ...]:
    """Those of the wanted metrics that at least one row has."""
    return tuple(m for m in wanted if any(row.metric(m).value is not None for row in rows))


def why_unranked(row: Row, lang: Lang) -> str:
    """Reason and detail of a model without a score."""
    return cause(row.reason, row.detail, lang) or say(lang, "no_score")


def cause(reason: str, detail: str, lang: Lang) -> str:
    """A reason code in words, with its detail."""
    said = (word(lang, "reason", reason), tr(detail, lang))
    return ": ".join(part for part in said if part)


def absent(reason: str, detail: str, lang: Lang) -> str:
    """That something was not measured, and why where that is known."""
    why = cause(reason, detail, lang)
    return say(lang, "absent.why", why=why) if why else say(lang, "absent")


def calibration(view: View, lang: Lang) -> str:
    """What the machine could do before and after the run, in SI units."""
    before, after = view.calibration
    first = before or after
    if first is None:
        return say(lang, "calibration.none")
    parts = []
    for name, unit in CALIBRATED.items():
        rates = [getattr(found, name) for found in view.calibration if found]
        shown = " → ".join(number(rate / 1e9) for rate in rates if rate is not None)
        if shown:
            parts.append(say(lang, f"calibration.{name}", value=f"{shown} {unit}"))
    values = {"threads": first.threads or DASH, "method": first.method or DASH}
    return say(lang, "calibration", rates=", ".join(parts) or DASH, **values)


def finding_group(code: str) -> str:
    """Group of a finding's code: a refused sample speaks by its reason."""
    return "reason" if f"reason.{code}" in strings() else "finding"


def outcome(gate: Check) -> str:
    """Key of the string for a gate's outcome."""
    if gate.passed is None:
        return "inconclusive"
    return "passed" if gate.passed else "failed"


def defined(view: View) -> list[str]:
    """Registered metrics that this scorecard holds, in the registry's order."""
    present = {m for row in view.rows for m in row.metrics}
    present |= {m for row in view.rows for case in row.cases.values() for m in case}
    return [metric for metric in METRICS if metric in present]


def definition(metric: str, lang: Lang) -> str:
    """A metric's meaning in one line; English is the registry's own."""
    if lang == "en":
        return METRICS[metric].definition
    return say(lang, f"about.{metric}")


def marks(task: Task, lang: Lang) -> str:
    """What one has to know of a task's figure, in a few words; nothing for a plain one."""
    near = task.choices.near_ties if task.choices else None
    counts = {
        "near_ties": near,
        "truncated": task.written.truncated if task.written else 0,
        "skipped_count": sum(task.skipped.values()),
    }
    out = [say(lang, "at_chance")] if task.at_chance else []
    if task.unanswered:
        out.append(say(lang, "unanswered", share=value("accuracy", task.unanswered)))
    out += [say(lang, key, count=count) for key, count in counts.items() if count]
    return " · ".join(out)


def points(amount: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    return f"{100 * amount:.1f}".replace("-", "−")


def detectable(view: View, lang: Lang, *, short: bool = False) -> str:
    """How small a difference in accuracy the items can tell; nothing where none was compared."""
    found = view.detectable
    if found is None:
        return ""
    return say(
        lang,
        "detectable.short" if short else "detectable",
        items=f"{found.items:,}",
        points=points(found.minimum_detectable_difference),
        **({} if short else {"share": show_share(found.discordance)}),
    )


def accuracy_line(ranking: Ranking | None, view: View, lang: Lang) -> str:
    """The leader's accuracy by language, and what differences the items can tell."""
    parts = []
    if ranking is not None and ranking.leaders:
        first = ranking.leaders[0]
        shares = {name: first.metric(f"accuracy_{name}").value for name in LANGS}
        found = [
            f"{word(lang, 'language', name)} {show_share(share)}"
            for name, share in shares.items()
            if share is not None
        ]
        if found:
            parts.append(say(lang, "accuracy.of", model=first.model, shares=", ".join(found)))
    return " ".join([*parts, detectable(view, lang, short=True)]).strip()


def key_facts(view: View, lang: Lang) -> list[str]:
    """What one asks first of a machine: model, processor, memory, system, power."""
    memory, power = view.fact("memory_bytes"), view.fact("power_source")
    parts = [
        view.fact("product"),
        view.fact("cpu"),
        show_bytes(float(memory)) if memory.isdigit() else memory,
        view.fact("os"),
        word(lang, "is", power),
    ]
    return [part for part in parts if part]


def machine_line(view: View, lang: Lang) -> str:
    """The declared device and what was observed of it, in one line."""
    return " · ".join([machine(view, lang), *key_facts(view, lang)])


def sandbox(view: View, lang: Lang) -> str:
    """How the workers were confined, in one line; empty where none loaded a model."""
    if view.sandbox is None:
        return ""
    if view.sandbox.level:
        return say(lang, "sandbox.confined", level=view.sandbox.level)
    return say(lang, "sandbox.open", why=word(lang, "sandbox", view.sandbox.reason))


def evidence(ranking: Ranking | None, view: View, lang: Lang) -> str:
    """The comparison behind the claim: the leader and the next in score."""
    if ranking is None or len(ranking.ranked) < 2:
        return ""
    first, second = ranking.ranked[:2]
    for pair in view.pairs:
        if {pair.a, pair.b} == {first.model, second.model}:
            values = {"gap": gap(pair.gap, view, lang), "p": probability(pair.p)}
            return say(lang, "evidence", a=first.model, b=second.model, **values)
    return ""


def gap(amount: float | None, view: View, lang: Lang) -> str:
    """How far two scores are apart: a share of the lower one, or points."""
    if amount is None or not view.adds_up:
        return percent_of(amount)
    return say(lang, "gap.points", points=f"{1000 * amount:.1f}")


def percent_of(amount: float | None) -> str:
    """A share as a percentage: 0.0195 → `1.95 %`."""
    return DASH if amount is None else f"{amount * 100:.2f} %"


def probability(amount: float | None) -> str:
    """A p value; below a thousandth only that it is."""
    if amount is None:
        return DASH
    return "< 0.001" if amount < 0.001 else f"= {amount:.3f}"


def span(metric: str, estimate: Estimate) -> str:
    """An interval with its unit once: `828 – 848 ms`; nothing where it is not known."""
    if estimate.lo is None or estimate.hi is None:
        return ""
    low, high = value(metric, estimate.lo), value(metric, estimate.hi)
    number_part, _, unit = low.rpartition(" ")
    if unit and high.endswith(f" {unit}"):
        low = number_part
    return f"{low} – {high}"


def dominated(row: Row, lang: Lang) -> str:
    """Who is better than a model in all four metrics."""
    return say(lang, "pareto.by", models=", ".join(row.dominated_by[:NAMED]))
