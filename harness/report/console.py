"""A scorecard for a terminal: the ranked table and what one has to know to read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.messages import tr
from harness.report import reading, words
from harness.report.narrow import Fitting
from harness.report.view import Check, Ranking, Row, View
from harness.report.words import Lang, say

STYLES = {
    "valid": "bold green",
    "verified": "bold green",
    "warn": "bold yellow",
    "unverified": "bold yellow",
    "invalid": "bold red",
    "error": "bold red",
}
COLUMNS = ("accuracy", "ttft_s", "decode_tok_per_s", "peak_resident_bytes")


def render(
    scorecard: Mapping[str, Any], *, files: Sequence[str] = (), lang: Lang = "en"
) -> RenderableType:
    """The scorecard as something rich can print, at most 100 columns wide.

    Args:
        scorecard: contents of scorecard.json.
        files: paths to name at the end.
        lang: language of headings and sentences.

    Raises:
        RecordError: not a scorecard of a known schema.
    """
    view = reading.read(scorecard)
    parts: list[RenderableType] = [_head(view, lang)]
    for ranking in view.rankings:
        parts += [Text(), _table(ranking, view, lang), *_unranked(ranking, lang)]
    if not view.rankings:
        parts += [Text(), Text(say(lang, "lead.none"), style="bold")]
    if line := words.accuracy_line(words.main_ranking(view), view, lang):
        parts += [Text(), Text(line)]
    parts += [Text(), Text(words.rule("ties", view, lang), style="dim")]
    parts.append(Text(say(lang, "method.weights"), style="dim"))
    parts += _remarks(view, lang)
    if files:
        parts += [Text(), Text(say(lang, "files"), style="bold")]
        parts += [Text(f"  {path}", no_wrap=True, overflow="fold") for path in files]
    return Group(*parts)


def show(
    scorecard: Mapping[str, Any],
    console: Console,
    *,
    files: Sequence[str] = (),
    lang: Lang = "en",
) -> None:
    """Print a scorecard on a console that the caller made (and so chose the stream of).

    Rich reads NO_COLOR itself.
    """
    width = min(console.width, 100)
    console.print(render(scorecard, files=files, lang=lang), width=width, highlight=False)


def _head(view: View, lang: Lang) -> Text:
    main = words.main_ranking(view)
    text = Text()
    text.append(words.leader(main, lang), style="bold")
    text.append("  ")
    text.append(f"[{words.word(lang, 'tier', view.tier)}]", style=STYLES.get(view.tier, "bold"))
    text.append(f"\n{words.trust(view, lang)}", style="dim")
    if said := words.unfinished(view, lang):
        text.append(f"\n{said}", style="yellow")
    text.append(f"\n{words.significance(main, view, lang)}")
    evidence = words.evidence(main, view, lang)
    text.append(f"\n{evidence}" if evidence else "", style="dim")
    facts = [
        words.machine_line(view, lang),
        f"{view.profile.get('id', '')} v{view.profile.get('version', '')}",
        words.attempt(view, lang),
        view.run,
    ]
    text.append("\n" + " · ".join(fact for fact in facts if fact), style="dim")
    if sandbox := words.sandbox(view, lang):
        text.append(f"\n{sandbox}", style="dim")
    return text


def _table(ranking: Ranking, view: View, lang: Lang) -> Fitting:
    table = Table(
        title=words.word(lang, "list", ranking.list_name),
        title_justify="left",
        title_style="bold",
        box=None,
        padding=(0, 1, 0, 0),
        header_style="bold underline",
    )
    table.add_column(say(lang, "rank"), justify="right", no_wrap=True)
    table.add_column(say(lang, "model"), overflow="fold", min_width=22)
    table.add_column(say(lang, "score"), no_wrap=True)
    for metric in COLUMNS:
        table.add_column(say(lang, f"short.{metric}"), justify="right", no_wrap=True)
    for row in ranking.rows:
        table.add_row(*_cells(row, view, lang))
    return Fitting(table, named=(0, 1))


def _cells(row: Row, view: View, lang: Lang) -> list[Text]:
    name = Text(row.model, style="bold" if row.rank == 1 else "")
    if row.model == view.reference:
        name.append(f" ({say(lang, 'reference').lower()})", style="dim")
    if row.rank is None:
        score = Text(say(lang, "no_score"), style="yellow")
    else:
        score = Text(words.number(row.score.value), style="bold")
        score.append(f" {words.interval(row.score)}", style="dim")
    values = [
        Text(words.value(metric, row.metric(metric).value).removesuffix(" tok/s"))
        for metric in COLUMNS
    ]
    return [Text(row.place), name, score, *values]


def _is_far(gate: Check) -> bool:
    """A gate of fidelity that was missed: no rank tells of it."""
    return gate.id.startswith("fidelity-") and gate.passed is False


def _unranked(ranking: Ranking, lang: Lang) -> list[RenderableType]:
    if not ranking.unranked:
        return []
    lines: list[RenderableType] = [Text(say(lang, "unranked"), style="yellow")]
    lines += [Text(f"  {row.model}: {words.why_unranked(row, lang)}") for row in ranking.unranked]
    return lines


def _problems(view: View, lang: Lang) -> list[Text]:
    """Jobs that did not end well; processes that ended alike share a line."""
    found: dict[tuple[str, str, str, str], list[str]] = {}
    for job in view.problems:
        cause = words.cause(job.cause, job.detail, lang)
        ended = words.word(lang, "outcome", job.outcome)
        found.setdefault((job.model, job.suite, ended, cause), []).append(job.process)
    return [
        Text(f"  {model} {suite}#{','.join(processes)}: {ended}  {cause}".rstrip())
        for (model, suite, ended, cause), processes in found.items()
    ]


def _remarks(view: View, lang: Lang) -> list[RenderableType]:
    out: list[RenderableType] = [Text()]
    verdict = Text(f"{say(lang, 'verdict')}: ", style="bold")
    state = words.word(lang, "verdict", view.verdict)
    verdict.append(state, style=STYLES.get(view.verdict, "bold"))
    out.append(verdict)
    for finding in view.findings:
        line = Text("  ")
        line.append(
            words.word(lang, "severity", finding.severity),
            style=STYLES.get(finding.severity, "yellow"),
        )
        title = words.word(lang, words.finding_group(finding.code), finding.code)
        line.append(f" {title}: {tr(finding.detail, lang)}")
        out.append(line)
    if found := [len(row.findings) for row in view.rows if row.findings]:
        said = say(lang, "findings.models", count=sum(found), models=len(found))
        out.append(Text(f"  {said}", style="yellow"))
    if far := [(row, gate) for row in view.rows for gate in row.gates if _is_far(gate)]:
        out += [Text(), Text(say(lang, "fidelity.far"), style="bold yellow")]
    for row, gate in far:
        value, limit = (words.value(gate.metric, found) for found in (gate.value, gate.limit))
        why = words.word(lang, "reason", gate.reason)
        shown = f"{value} ({say(lang, 'limit')} {limit})" if gate.metric else ""
        out.append(Text(f"  {row.model}  {gate.id}: {why}  {shown}".rstrip()))
    if view.problems:
        out += [Text(), Text(say(lang, "jobs"), style="bold")]
    out += _problems(view, lang)
    if view.skipped:
        out += [Text(), Text(say(lang, "skipped"), style="bold")]
    for skipped in view.skipped:
        cause = words.cause(skipped.reason, skipped.detail, lang)
        out.append(Text(f"  {skipped.model}  {cause}"))
        if skipped.hint:
            out.append(Text(f"    → {tr(skipped.hint, lang)}", style="cyan"))
    return out
