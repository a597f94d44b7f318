"""scorecard.md: the scorecard as GitHub-flavoured Markdown.

Every value is escaped, so a model's name cannot open a link, a table cell, code or HTML.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.report import accuracy, advice, figures, reading, tables, words
from harness.report.formats import Material
from harness.report.view import Ranking, Row, Task, View
from harness.report.words import DASH, Lang, say

COLUMNS = (
    "accuracy",
    "ttft_s",
    "prefill_tok_per_s",
    "decode_tok_per_s",
    "itl_s_p90",
    "peak_resident_bytes",
)
_SPECIAL = re.compile(r"[\\`*\[\]<>|~#!&$@]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_LINKS = re.compile(r"(?i)(:)(?=//)|(?<=www)(\.)|(?<=mailto)(:)|(?<=xmpp)(:)")
_BLOCKS = re.compile(r"^[-+=](?![\w.])|(?<=^\d)[.)](?=\s|$)")
"""A list, a rule or the line under a heading, at the start of a line."""
_REFERENCES = re.compile(r"(?<!\w)@(?=\w)|@(?=[\w-]+\.\w)|#(?=\d)|\bGH-(?=\d)")
"""Mentions, addresses and issues: GitHub looks for them in the text, behind its entities."""
_BREAK = "\u200b"


def escape(text: object) -> str:
    """A value as inert Markdown, also inside a table cell or at the start of a line.

    Underscores inside a word stay, for they mean nothing there; `//` and `www.` are
    broken because GitHub links bare addresses.
    """
    inert = _REFERENCES.sub(rf"\g<0>{_BREAK}", reading.clean(text))
    for syntax in (_SPECIAL, _BLOCKS, _LINKS):
        inert = syntax.sub(lambda match: f"&#{ord(match.group())};", inert)
    return inert.replace(_BREAK, f"&#{ord(_BREAK)};")


def render(scorecard: Mapping[str, Any], *, lang: Lang = "en") -> str:
    """The scorecard as Markdown.

    Args:
        scorecard: contents of scorecard.json.
        lang: language of headings and sentences.

    Raises:
        RecordError: not a scorecard of a known schema.
    """
    view = reading.read(scorecard)
    main = words.main_ranking(view)
    lines = [
        f"# {say(lang, 'title')}",
        "",
        f"**{escape(words.leader(main, lang))}**",
        "",
        f"> **{escape(words.word(lang, 'tier', view.tier))}** {_about_tier(view, lang)}".rstrip(),
        f"> {escape(words.trust(view, lang))}",
        *[f"> {escape(said)}" for said in (words.unfinished(view, lang),) if said],
        "",
        *_summary(view, main, lang),
    ]
    for ranking in view.rankings:
        lines += _ranking(ranking, view, lang)
    lines += [words.rule("ties", view, lang), "", say(lang, "method.weights"), ""]
    lines += _advice(view, lang) + _parts(view, lang) + _accuracy(view, lang)
    for numbers in figures.all_of(view):
        lines += _figures(numbers, lang)
    lines += _validity(view, lang) + _machine(view, lang) + _definitions(view, lang)
    return "\n".join(lines).rstrip("\n") + "\n"


def files(material: Material) -> dict[str, bytes]:
    """`scorecard.md`."""
    return {"scorecard.md": render(material.card, lang=material.lang).encode()}


def _about_tier(view: View, lang: Lang) -> str:
    known = words.word(lang, "tier.about", view.standing)
    return "" if known == view.standing else known


def _summary(view: View, main: Ranking | None, lang: Lang) -> list[str]:
    lines = []
    if main is not None and main.leaders:
        first, case = main.leaders[0], words.why(main, view)
        lines.append(f"- {say(lang, 'who')}: {_score(first, lang)}")
        parts = [f"{words.phrase(f, lang)} ({words.effect(f, lang)})" for f in case.factors]
        versus = words.versus(case, view, lang) if parts else ""
        why = f"{versus}: {', '.join(parts)}" if parts else say(lang, "why.reference")
        lines.append(f"- {say(lang, 'why')}: {escape(why)}")
    lines.append(f"- {say(lang, 'sure')}: {escape(words.significance(main, view, lang))}")
    if evidence := words.evidence(main, view, lang):
        lines[-1] += f" ({escape(evidence)})"
    lines.append(f"- {say(lang, 'where')}: {escape(words.machine_line(view, lang))}")
    profile = f"{view.profile.get('id', '')} v{view.profile.get('version', '')}"
    lines += [
        f"- {say(lang, 'profile')}: {escape(profile)} {escape(words.attempt(view, lang))}".rstrip(),
        f"- {say(lang, 'run')}: {escape(view.run)}, {escape(words.moment(view.started_utc))}",
        f"- {say(lang, 'tool')}: harness {escape(view.harness)}",
        "",
    ]
    return lines


def _score(row: Row, lang: Lang) -> str:
    return escape(f"{row.model}, {words.score(row, lang)}")


def _ranking(ranking: Ranking, view: View, lang: Lang) -> list[str]:
    metrics = words.shown_metrics(ranking.rows, COLUMNS)
    head = [say(lang, "rank"), say(lang, "model"), say(lang, "score"), say(lang, "interval")]
    head += [words.word(lang, "metric", metric) for metric in metrics]
    head += [say(lang, "size"), say(lang, "engine"), say(lang, "licence")]
    body = []
    for row in ranking.rows:
        name = escape(row.model)
        if row.model == view.reference:
            name += f" ({say(lang, 'reference')})"
        ranked = row.rank is not None
        body.append(
            [
                row.place,
                f"**{name}**" if row.rank == 1 else name,
                words.number(row.score.value) if ranked else say(lang, "no_score"),
                words.interval(row.score) if ranked else "",
                *(words.value(metric, row.metric(metric).value) for metric in metrics),
                words.size(row.size_bytes),
                escape(row.backend),
                escape(row.licence) or DASH,
            ]
        )
    title = words.word(lang, "list", ranking.list_name)
    lines = [f"## {say(lang, 'ranking')}: {escape(title)}", "", *table(head, body, left=(1,)), ""]
    lines += [
        f"- {escape(row.model)}: {escape(words.why_unranked(row, lang))}"
        for row in ranking.unranked
    ]
    return lines + ([""] if ranking.unranked else [])


def _advice(view: View, lang: Lang) -> list[str]:
    """What holds each model back, as far as there is something to say."""
    lines = []
    for ranking in view.rankings:
        for row in ranking.rows:
            found = advice.remarks(view, ranking, row)
            if found:
                lines += [f"**{escape(row.place)} {escape(row.model)}**", ""]
                lines += [f"- {escape(advice.say(remark, lang))}" for remark in found]
                lines.append("")
    if not lines:
        return []
    return [f"## {say(lang, 'advice')}", "", say(lang, "advice.caption"), "", *lines]


def _parts(view: View, lang: Lang) -> list[str]:
    rows = [row for row in view.rows if row.factors]
    if not rows:
        return []
    metrics = list(view.weights)
    head = [say(lang, "model")]
    head += [
        f"{words.word(lang, 'metric', m)} ({words.number(view.weights[m], 2)})" for m in metrics
    ]
    body = []
    for row in rows:
        cells = [escape(row.model)]
        for metric in metrics:
            factor = row.factor(metric)
            if factor is None:
                cells.append(DASH)
                continue
            mark = f" {say(lang, 'capped')}" if factor.capped else ""
            cells.append(f"{factor.ratio:.2f} ({words.effect(factor, lang)}){mark}")
        body.append(cells)
    return [
        f"## {say(lang, 'parts')}",
        "",
        say(lang, "parts.caption"),
        "",
        *table([escape(h) for h in head], body, left=(0,)),
        "",
    ]


def _accuracy(view: View, lang: Lang) -> list[str]:
    """Scores by suite and language, their details, and model against model."""
    suites = accuracy.suites(view)
    if not suites:
        return []
    body = []
    for row in view.rows:
        overall = words.value("accuracy", row.metric("accuracy").value)
        for line in accuracy.languages(row, suites):
            cells = [escape(row.model), overall, escape(words.word(lang, "language", line.code))]
            cells.append(words.value("accuracy", line.mean.value))
            body.append([*cells, *(_score_of(task, lang) for task in line.tasks)])
    head = [say(lang, key) for key in ("model", "accuracy.overall", "language", "language.mean")]
    head += [escape(words.word(lang, "task", suite)) for suite in suites]
    lines = [f"## {say(lang, 'accuracy')}", ""]
    lines += [say(lang, "accuracy.caption"), say(lang, "method.guess"), ""]
    lines += [say(lang, f"seed.{view.seed}"), ""] if view.seed else []
    lines += [*table(head, body, left=(0, 2)), ""]
    for numbers in accuracy.all_of(view):
        lines += _folded(_figures(numbers, lang), numbers.title, lang)
    if (skipped := accuracy.skipped(view)).rows:
        lines += _plain(skipped, lang)
    if (compared := accuracy.compared(view)).rows:
        lines += [*_plain(compared, lang), escape(words.detectable(view, lang)), ""]
    return lines


def _folded(section: list[str], title: str, lang: Lang) -> list[str]:
    """A section behind a summary, its heading replaced by what it shows."""
    summary = f"<details><summary>{say(lang, title)}</summary>"
    return [summary, "", say(lang, f"{title}.caption"), "", *section[2:], "</details>", ""]


def _score_of(task: Task | None, lang: Lang) -> str:
    if task is None:
        return DASH
    marks = words.marks(task, lang)
    return words.value("accuracy", task.adjusted.value) + (f" ({marks})" if marks else "")


def _figures(numbers: figures.Numbers, lang: Lang) -> list[str]:
    """A table of figures; a column for the model where its lines are something else."""
    by_model = numbers.first == "model"
    head = (
        [say(lang, numbers.first)] if by_model else [say(lang, "model"), say(lang, numbers.first)]
    )
    head += [_cell(cell, lang) for cell in numbers.heads]
    body = []
    for group in numbers.groups:
        for line in group.lines:
            start = [] if by_model else [escape(group.title.text)]
            values = [escape(figure.text) for figure in line.figures]
            if line.missing is not None:
                values = [escape(words.absent(*line.missing, lang))]
                values += [""] * (len(numbers.heads) - 1)
            body.append([*start, _cell(line.name, lang), *values])
    left = (0,) if by_model else (0, 1)
    return [f"## {say(lang, numbers.title)}", "", *table(head, body, left=left), ""]


def _cell(cell: tables.Cell, lang: Lang) -> str:
    return escape(words.word(lang, cell.group, cell.text) if cell.group else cell.text)


def _validity(view: View, lang: Lang) -> list[str]:
    state = words.word(lang, "verdict", view.verdict)
    lines = [f"## {say(lang, 'verdict')}: {escape(state)}", ""]
    findings, *others = tables.validity(view)
    for severity, *rest in findings.rows:
        scope, code, detail = (_cell(cell, lang) for cell in rest)
        lines.append(f"- {_cell(severity, lang)}, {scope}: {code}: {detail}")
    if not findings.rows:
        lines.append(say(lang, "verdict.clean"))
    lines.append("")
    for plain in others:
        if plain.rows:
            lines += _plain(plain, lang)
    return lines


def _plain(plain: tables.Plain, lang: Lang) -> list[str]:
    head = [say(lang, key) for key in plain.heads]
    body = [[_cell(cell, lang) for cell in row] for row in plain.rows]
    left = range(len(head))
    return [f"## {say(lang, plain.title)}", "", *table(head, body, left=left), ""]


def _machine(view: View, lang: Lang) -> list[str]:
    lines = [f"## {say(lang, 'machine')}", ""]
    for line in filter(None, (words.calibration(view, lang), words.sandbox(view, lang))):
        lines += [escape(line), ""]
    engines = _plain(tables.engines(view), lang) if view.rows else []
    engines += _plain(found, lang) if (found := tables.templates(view)).rows else []
    if not view.facts:
        return [*lines, say(lang, "machine.none"), "", *engines]
    head = [say(lang, "fact"), say(lang, "before"), say(lang, "after")]
    body = [
        [
            escape(words.word(lang, "fact", fact.name)),
            escape(tables.fact(fact.name, fact.before, lang)),
            escape(tables.fact(fact.name, fact.after, lang)) if fact.differs else "",
        ]
        for fact in view.facts
    ]
    return [*lines, *table(head, body, left=(0, 1, 2)), "", *engines]


def _definitions(view: View, lang: Lang) -> list[str]:
    lines = [f"## {say(lang, 'method')}", ""]
    lines += [
        f"- {words.rule(f'method.{part}', view, lang)}" for part in (view.scoring, "rank", "guess")
    ]
    for metric in words.defined(view):
        name = words.word(lang, "metric", metric)
        lines.append(f"- {name} `{metric}`: {words.definition(metric, lang)}")
    return [*lines, ""]


def table(head: Sequence[str], body: Iterable[Sequence[str]], *, left: Sequence[int]) -> list[str]:
    """A Markdown table of cells that are escaped already; columns not in `left` are numbers."""
    rule = [":---" if index in left else "---:" for index in range(len(head))]
    return [f"| {' | '.join(line)} |" for line in [head, rule, *body]]
