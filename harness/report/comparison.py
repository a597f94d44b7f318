"""Comparisons and gates for people and for CI: terminal, Markdown, JUnit, JSON.

Comparison / rules ─ Table (cells as plain text, worst first) ─▶ rich, Markdown

Names of models and files come from others: cells are cleaned for terminals and escaped for
Markdown here, as everywhere in the reports.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console, Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from harness.compare import Case, Comparison
from harness.comparing.noise import FLOOR
from harness.errors import Exit
from harness.gate import RUN, Outcome, Rule, exit_code
from harness.metrics import METRICS
from harness.report import junit, words
from harness.report.markdown import escape
from harness.report.markdown import table as markdown_table
from harness.report.narrow import Fitting
from harness.report.reading import clean
from harness.report.words import DASH, Lang, say, word
from harness.spec import to_json
from harness.stats import round_all

SUMMARY_BYTES = 1 << 20
"""What GitHub takes of one step's summary."""
_WORST_FIRST = ("regressed", "failed", "incomparable", "inconclusive", "improved")
_STYLES = {
    "regressed": "bold red",
    "failed": "bold red",
    "incomparable": "bold red",
    "inconclusive": "yellow",
    "improved": "bold green",
    "passed": "green",
}
_WIDTH = 120


class Table(NamedTuple):
    """Rows of plain text, the last column notes; `states` colours each row's `state_column`.

    Attributes:
        named: how many of the first columns name a row. folded: columns whose text may fold.
    """

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    states: tuple[str, ...]
    state_column: int
    named: int
    left: tuple[int, ...]
    folded: tuple[int, ...] = (0,)


class Page(NamedTuple):
    """All that is said: a title, a headline with its state, lines, a table, small print."""

    title: str
    headline: str
    state: str
    lines: tuple[str, ...]
    table: Table | None
    notes: tuple[str, ...]


# --- what is said -----------------------------------------------------------------------


def comparison_page(made: Comparison, lang: Lang) -> Page:
    """A comparison in words and one table of its cases."""
    count = made.count(made.verdict)
    head = say(lang, f"compare.head.{made.verdict}", count=count, cases=len(made.cases))
    return Page(
        title=say(lang, "compare.title"),
        headline=head,
        state=made.verdict,
        lines=(_sides(made, lang), *_reasons(made, lang)),
        table=_cases(made.cases, lang) if made.cases else None,
        notes=_notes(made, lang),
    )


def gate_page(
    rules: Sequence[Rule],
    made: Comparison | None,
    lang: Lang,
    *,
    fail_on_inconclusive: bool = False,
) -> Page:
    """A gate's rules in words and one table."""
    state = _state(rules, fail_on_inconclusive=fail_on_inconclusive)
    required = [rule for rule in rules if rule.required]
    outcome = "inconclusive" if state == "open" else state
    count = sum(rule.outcome == outcome for rule in required)
    return Page(
        title=say(lang, "gate.title"),
        headline=say(lang, f"gate.head.{state}", rules=len(required), count=count),
        state="passed" if state == "open" else "failed" if state == "inconclusive" else state,
        lines=(_sides(made, lang) if made else say(lang, "gate.no_baseline"),),
        table=_rules(rules, lang),
        notes=_notes(made, lang) if made else (),
    )


_STATES = {
    Exit.REGRESSED: "failed",
    Exit.INCOMPARABLE: "incomparable",
    Exit.INCONCLUSIVE: "inconclusive",
}


def _state(rules: Sequence[Rule], *, fail_on_inconclusive: bool) -> str:
    """What the exit code says, in a word."""
    code = exit_code(rules, fail_on_inconclusive=fail_on_inconclusive)
    undecided = any(rule.required and rule.outcome == "inconclusive" for rule in rules)
    return _STATES.get(code, "open" if undecided else "passed")


def _sides(made: Comparison, lang: Lang) -> str:
    return say(lang, "compare.sides", a=made.a, b=made.b)


def _reasons(made: Comparison, lang: Lang) -> list[str]:
    return [words.cause(reason.code, reason.detail, lang) for reason in made.reasons]


def _only(made: Comparison, lang: Lang) -> list[str]:
    found = {"A": made.only_a, "B": made.only_b}
    return [
        say(lang, "compare.only", side=side, models=", ".join(models))
        for side, models in found.items()
        if models
    ]


def _notes(made: Comparison, lang: Lang) -> tuple[str, ...]:
    method = (_floor(made, lang), say(lang, "compare.method")) if made.cases else ()
    cut = made.unfinished if made.cases else ()
    unfinished = [say(lang, "compare.unfinished", side=side) for side in cut]
    return (*_only(made, lang), *unfinished, *method)


def _floor(made: Comparison, lang: Lang) -> str:
    if not made.floor.runs:
        return say(lang, "compare.floor.default")
    floors = ", ".join(
        f"{word(lang, 'metric', metric)} {words.percent_of(max(share, FLOOR))}"
        for metric, share in made.floor.metrics.items()
    )
    return say(lang, "compare.floor.measured", runs=made.floor.runs, floors=floors)


def _cases(cases: Sequence[Case], lang: Lang) -> Table:
    found = sorted(
        cases, key=lambda case: (_rank(case.verdict), case.model, case.metric, case.case)
    )
    heads = ("model", "metric", "case")
    return Table(
        heads=(
            *(say(lang, key) for key in heads),
            *("A", "B"),
            *(say(lang, f"compare.{key}") for key in ("change", "p", "result", "note")),
        ),
        rows=tuple(_case_row(case, lang) for case in found),
        states=tuple(case.verdict for case in found),
        state_column=7,
        named=3,
        left=(0, 1, 2, 7, 8),
    )


def _case_row(case: Case, lang: Lang) -> tuple[str, ...]:
    return (
        case.model,
        word(lang, "metric", case.metric),
        word(lang, "case", case.case),
        words.value(case.metric, case.a),
        words.value(case.metric, case.b),
        change(case, lang),
        DASH if case.p_holm is None else words.probability(case.p_holm).removeprefix("= "),
        word(lang, "change", case.verdict),
        note(case, lang),
    )


def change(case: Case, lang: Lang) -> str:
    """`+5.1 % [+3.2 %, +7.0 %]`; accuracy in points."""

    def shown(amount: float) -> str:
        return words.points(amount) if case.is_accuracy else words.percent(amount)

    if case.change is None:
        return DASH
    text = shown(case.change)
    if case.lo is not None and case.hi is not None:
        text += f" [{shown(case.lo)}, {shown(case.hi)}]"
    return say(lang, "compare.points", points=text) if case.is_accuracy else text


def note(case: Case, lang: Lang) -> str:
    """Why a case has no figures, or what would decide an inconclusive one."""
    if case.reason:
        return word(lang, "reason", case.reason)
    if case.verdict != "inconclusive":
        return ""
    if case.needed is None:
        return say(lang, "compare.needs.none")
    key = "compare.needs.items" if case.is_accuracy else "compare.needs.processes"
    return say(lang, key, count=f"{case.needed:,}")


def _rules(rules: Sequence[Rule], lang: Lang) -> Table:
    found = sorted(rules, key=lambda rule: _rank(rule.outcome))
    return Table(
        heads=(
            say(lang, "model"),
            *(say(lang, f"gate.{key}") for key in ("rule", "figures")),
            *(say(lang, f"compare.{key}") for key in ("result", "note")),
        ),
        rows=tuple(_rule_row(rule, lang) for rule in found),
        states=tuple(rule.outcome for rule in found),
        state_column=3,
        named=2,
        left=(0, 1, 2, 3, 4),
        folded=(0, 2),
    )


def _rule_row(rule: Rule, lang: Lang) -> tuple[str, ...]:
    outcome = say(lang, f"gate.{rule.outcome}")
    if not rule.required:
        outcome += f" ({say(lang, 'gate.optional')})"
    model = say(lang, "rule.run") if rule.model == RUN else rule.model
    return (model, rule_name(rule, lang), figures(rule, lang), outcome, remark(rule, lang))


def rule_name(rule: Rule, lang: Lang) -> str:
    """What is asked, in words."""
    if rule.case is not None:
        metric, case = word(lang, "metric", rule.case.metric), word(lang, "case", rule.case.case)
        return f"{metric} {case}"
    if rule.metric or rule.id.startswith("gate "):
        name = rule.id.removeprefix("gate ")
        return f"{say(lang, 'gate')} {name}"
    return say(lang, f"rule.{rule.id.split()[0]}")


def figures(rule: Rule, lang: Lang) -> str:
    """A → B with its change, or a gate's value and limit."""
    if rule.case is not None:
        a, b = (words.value(rule.case.metric, side) for side in (rule.case.a, rule.case.b))
        return f"{a} → {b}, {change(rule.case, lang)}"
    if rule.value is None:
        return ""
    value, limit = (words.value(rule.metric, found) for found in (rule.value, rule.limit))
    return say(lang, "gate.limit", value=value, limit=limit)


def remark(rule: Rule, lang: Lang) -> str:
    """Why it did not pass."""
    if rule.case is not None:
        return note(rule.case, lang)
    return words.cause(rule.reason, rule.detail, lang)


def _rank(state: str) -> int:
    return _WORST_FIRST.index(state) if state in _WORST_FIRST else len(_WORST_FIRST)


# --- forms ------------------------------------------------------------------------------


def show(page: Page, console: Console) -> None:
    """Print on a console that the caller made (and so chose the stream of)."""
    console.print(_rich(page), width=min(console.width, _WIDTH), highlight=False)


def _rich(page: Page) -> RenderableType:
    parts: list[RenderableType] = [
        Text(clean(page.headline), style=_STYLES.get(page.state, "bold")),
        *(Text(clean(line)) for line in page.lines),
    ]
    if page.table is not None:
        named = (*range(page.table.named), page.table.state_column)
        table = Fitting(_rich_table(page.table), named=named)
        parts += [Text(), table, *_remarks(page.table)]
    parts += (
        [Text(), *(Text(clean(line), style="dim") for line in page.notes)] if page.notes else []
    )
    return Group(*parts)


def _remarks(found: Table) -> list[Text]:
    """The notes below the table: a column of sentences would leave none for the figures."""
    return [
        Text(f"  {clean(' '.join(row[: found.named]))}: {clean(row[-1])}")
        for row in found.rows
        if row[-1]
    ]


def _rich_table(found: Table) -> RichTable:
    made = RichTable(box=None, padding=(0, 1, 0, 0), header_style="bold underline")
    for index, head in enumerate(found.heads[:-1]):
        made.add_column(
            head,
            justify="left" if index in found.left else "right",
            overflow="fold",
            no_wrap=index not in found.folded,
        )
    for row, state in zip(found.rows, found.states, strict=True):
        cells = [Text(clean(cell)) for cell in row[:-1]]
        cells[found.state_column].stylize(_STYLES.get(state, ""))
        made.add_row(*cells)
    return made


def markdown(page: Page) -> str:
    """The page as GitHub-flavoured Markdown, every value escaped."""
    lines = [f"## {escape(page.title)}", "", f"**{escape(page.headline)}**", ""]
    lines += [f"- {escape(line)}" for line in page.lines]
    if page.table is not None:
        body = [[escape(cell) for cell in row] for row in page.table.rows]
        heads = [escape(head) for head in page.table.heads]
        lines += ["", *markdown_table(heads, body, left=page.table.left)]
    lines += [text for line in page.notes for text in ("", escape(line))]
    return "\n".join(lines) + "\n"


def capped(text: str, most_bytes: int, lang: Lang) -> str:
    """The text, or its first whole lines and one that says how many are cut.

    The table has the worst first, so that what is cut is what matters least.
    """
    if len(text.encode()) <= most_bytes:
        return text
    lines = text.splitlines(keepends=True)
    room = most_bytes - len(_cut(lang, most_bytes, len(lines)).encode())
    if room < 0:
        return ""  # one byte too many, and GitHub shows nothing at all
    kept: list[str] = []
    for line in lines:
        room -= len(line.encode())
        if room < 0:
            break
        kept.append(line)
    return "".join(kept) + _cut(lang, most_bytes, len(lines) - len(kept))


def _cut(lang: Lang, most_bytes: int, count: int) -> str:
    return f"\n{escape(say(lang, 'compare.cut', limit=most_bytes >> 10, count=count))}\n"


_JUNIT: Mapping[Outcome, junit.Outcome] = {
    "passed": "passed",
    "failed": "failed",
    "inconclusive": "skipped",
    "incomparable": "error",
}


def junit_xml(
    rules: Sequence[Rule], name: str, lang: Lang, *, fail_on_inconclusive: bool = False
) -> bytes:
    """One test case a rule; what is not required never fails, what is open is skipped."""
    cases = []
    for rule in rules:
        outcome = _JUNIT[rule.outcome]
        if rule.outcome == "inconclusive" and fail_on_inconclusive:
            outcome = "failed"
        if not rule.required and outcome != "passed":
            outcome = "skipped"
        told = [remark(rule, lang), figures(rule, lang)]
        cases.append(
            junit.Case(
                suite=rule.model,
                name=rule.id,
                outcome=outcome,
                message=next(filter(None, told), say(lang, f"gate.{rule.outcome}")),
                detail="\n".join(filter(None, told)),
                properties=_properties(rule),
            )
        )
    return junit.render(name, cases)


def _properties(rule: Rule) -> dict[str, str]:
    if rule.case is None:
        return {}
    names = ("a", "b", "change", "lo", "hi", "p_holm", "floor", "n_a", "n_b")
    found = {name: getattr(rule.case, name) for name in names}
    return {"unit": METRICS[rule.case.metric].unit} | {
        name: str(value) for name, value in found.items() if value is not None
    }


def as_json(made: Comparison | None, rules: Sequence[Rule] | None = None) -> dict[str, Any]:
    """JSON data: the comparison, and a gate's rules with the places of their cases."""
    out: dict[str, Any] = {} if made is None else to_json(made)
    if made is not None:
        out["reasons"] = [reason._asdict() for reason in made.reasons]
    if rules is not None:
        out = {"comparison": out or None, "rules": [_rule_json(rule) for rule in rules]}
    rounded: dict[str, Any] = round_all(out)
    return rounded


def _rule_json(rule: Rule) -> dict[str, Any]:
    found: dict[str, Any] = to_json(rule)
    if rule.case is None:
        del found["case"]
    return found
