"""The tables of figures of a report: the same for Markdown and for the page.

View ─▶ Numbers: groups of lines of figures, each with its interval

A table without any figure is left out; a model that lacks what others have says why it
was not measured. Nothing that is absent becomes a 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple

from harness.metrics import METRICS
from harness.report import words
from harness.report.others import Bench, Imported, Spread
from harness.report.tables import Cell
from harness.report.view import Estimate, Row, View

LATENCY = (
    "ttft_s",
    "prefill_tok_per_s",
    "decode_tok_per_s",
    "tpot_s",
    "itl_s_p50",
    "itl_s_p90",
    "itl_s_p95",
    "itl_s_p99",
)
SPEED = (*(metric for metric in LATENCY if metric != "itl_s_p95"), "load_s")
LOAD = tuple(metric for metric in METRICS if metric.startswith("load_"))
CHAT = (
    "task_ttft_s",
    "task_first_s",
    "task_tokenise_s",
    "task_decode_tok_per_s",
    "task_char_per_s",
    "task_byte_per_s",
    "task_output_tok",
    "length_ratio",
    "task_end_to_end_s",
)
SUSTAINED = ("sustained_ratio", "sustained_above_90_s")
ENERGY = ("energy_j", "energy_j_per_tok")
ROOFLINE = ("mbu", "mfu")
LANGUAGE = ("bits_per_byte", "perplexity")
FIDELITY = tuple(metric.id for metric in METRICS.values() if metric.suite == "fidelity")
VARYING = ("ttft_s", "decode_tok_per_s")
PEAKS = ("peak_resident_bytes", "runtime_resident_bytes")
SPLIT = ("peak_anon_bytes", "peak_file_bytes", "peak_shmem_bytes", "available_fall_bytes")
PARTS = ("runtime", "weights", "kv", "rest")
PHASES = ("runtime", "import", "load", "prefill", "decode")
AIPERF = ("ttft_s", "itl_s", "request_latency_s")
_CASES = {
    "latency": "fixed-",
    "task": "chat-",
    "kernel": "(pp|tg)[0-9]",
    "sustained": "sustained-",
    "memory": "c[0-9]",
    "energy": "energy-",
    "language": "text-",
    "fidelity": "fidelity-",
}
"""How the names of a suite's cases start."""


class Figure(NamedTuple):
    """A value as text with its unit, its interval where one is known, and what to sort by."""

    text: str
    span: str = ""
    amount: float | None = None


class Line(NamedTuple):
    """One row; where `missing` is given it stands for all figures: reason and detail."""

    name: Cell
    figures: tuple[Figure, ...]
    missing: tuple[str, str] | None = None


class Group(NamedTuple):
    """Lines of one model, or of one list where each line is a model."""

    title: Cell
    lines: tuple[Line, ...]


class Numbers(NamedTuple):
    """A table of figures.

    Attributes:
        title: key of its heading; `TITLE.caption` explains it.
        first: key of the first column's heading: what the lines are.
    """

    title: str
    first: str
    heads: tuple[Cell, ...]
    groups: tuple[Group, ...]

    @property
    def length(self) -> int:
        """Lines of all groups."""
        return sum(len(group.lines) for group in self.groups)


NONE = Figure(words.DASH)
Figures = Callable[[Row], "tuple[Figure, ...]"]


def energy(view: View) -> Numbers:
    """Energy above the idle power, and by which method it was measured."""
    shown = words.shown_metrics(view.rows, ENERGY)

    def figures(row: Row) -> tuple[Figure, ...]:
        found = tuple(_figure(metric, row.metric(metric)) for metric in shown)
        methods = ", ".join(row.energy_methods)
        return (*found, NONE if _is_empty(found) or not methods else Figure(methods))

    heads = [*_metrics(shown), Cell("method", "column")]
    return _by_model(view, "energy", "energy", heads, figures)


def peaks(view: View) -> Numbers:
    """Peak memory of each model with the file's size and the cost of a token of context."""
    shown = words.shown_metrics(view.rows, PEAKS)
    growth = any(row.memory.kv_fitted or row.memory.kv_computed for row in view.rows)

    def figures(row: Row) -> tuple[Figure, ...]:
        out = [_figure(metric, row.metric(metric)) for metric in shown]
        if _is_empty(out):
            return (NONE,) * len(heads)
        out.append(Figure(words.size(row.size_bytes), amount=row.size_bytes))
        if growth:
            out += [
                Figure(words.value("kv_growth_bytes_per_tok", amount), amount=amount)
                for amount in (row.memory.kv_fitted, row.memory.kv_computed)
            ]
        return tuple(out)

    heads = [*_metrics(shown), Cell("size", "column")]
    heads += [Cell("kv_fitted", "column"), Cell("kv_computed", "column")] if growth else []
    return _by_model(view, "peaks", "memory", heads, figures)


def split(view: View) -> Numbers:
    """The peak in parts that add up to it, and at which context."""

    def figures(row: Row) -> tuple[Figure, ...]:
        parts = row.memory.split
        if parts is None:
            return (NONE,) * len(heads)
        sizes = [getattr(parts, part) for part in PARTS]
        context = Figure(f"{parts.context:,}", amount=parts.context)
        return (*(Figure(words.size(size), amount=size) for size in (*sizes, sum(sizes))), context)

    heads = [*(Cell(part, "part") for part in PARTS), *_metrics(["peak_resident_bytes"])]
    heads.append(Cell("context", "column"))
    return _by_model(view, "split", "memory", heads, figures)


def gaps(view: View) -> Numbers:
    """The distribution of the times between tokens, as far as it is known."""
    known = {q for row in view.rows if row.gaps for q in row.gaps.quantiles}
    shown = sorted(known)

    def figures(row: Row) -> tuple[Figure, ...]:
        found = row.gaps
        if found is None:
            return (NONE,) * len(heads)
        at = (found.min, *(found.quantiles.get(q) for q in shown), found.max)
        return (
            *(Figure(words.value("itl_s", seconds), amount=seconds) for seconds in at),
            Figure(f"{found.n:,}", amount=found.n),
        )

    heads = [Cell("min"), *(Cell(f"p{q}") for q in shown), Cell("max"), Cell("n", "column")]
    return _by_model(view, "gaps", "latency", heads, figures)


def phases(view: View) -> Numbers:
    """Peaks by context and phase, and the largest samples of each kind of memory."""
    known = {p for row in view.rows for found in row.memory.phases.values() for p in found}
    present = [phase for phase in PHASES if phase in known]
    split = _shown_in_cases(view, SPLIT)

    def lines(row: Row) -> Iterable[Line]:
        cases = {c for c, found in row.cases.items() if any(metric in found for metric in split)}
        for case in sorted(cases | set(row.memory.phases), key=natural):
            found, parts = row.memory.phases.get(case, {}), row.cases.get(case, {})
            yield Line(
                Cell(case, "case"),
                (
                    *(Figure(words.size(found.get(phase))) for phase in present),
                    *(_figure(metric, parts.get(metric)) for metric in split),
                ),
            )

    heads = [*(Cell(phase, "phase") for phase in present), *_metrics(split)]
    return grouped(view, "phases", first="case", suite="memory", heads=heads, lines=lines)


def variation(view: View) -> Numbers:
    """How far times to the first token and decode rates vary, at each level."""

    def lines(row: Row) -> Iterable[Line]:
        for case in sorted(row.cases, key=natural):
            found = [row.cases[case].get(metric) for metric in VARYING]
            spreads = [one.spread for one in found if one and one.spread]
            if len(spreads) == len(VARYING):
                shares = [share for s in spreads for share in (s.processes, s.requests)]
                odd = sum(one.outliers for one in found if one)
                figures = (Figure(words.percent_of(share)) for share in shares)
                yield Line(Cell(case, "case"), (*figures, Figure(str(odd))))

    sides = ("processes", "requests")
    heads = [Cell(f"{metric}_{side}", "column") for metric in VARYING for side in sides]
    heads.append(Cell("outliers", "column"))
    return grouped(view, "variation", first="case", suite="latency", heads=heads, lines=lines)


def outcomes(view: View) -> Numbers:
    """Jobs of each suite that ended well, of all that were started."""
    suites = dict.fromkeys(job.suite for row in view.rows for job in row.jobs)

    def figures(row: Row) -> tuple[Figure, ...]:
        ended = {s: [job.outcome for job in row.jobs if job.suite == s] for s in suites}
        shares = ((found.count("ok"), len(found)) for found in ended.values())
        return tuple(
            Figure(f"{good}/{count}", amount=good / count) if count else NONE
            for good, count in shares
        )

    heads = [Cell(suite, "suite") for suite in suites]
    return _by_model(view, "outcomes", "", heads, figures)


def flips(view: View) -> Numbers:
    """Choice items whose answer turned, against the reference of the model's family."""

    def figures(row: Row) -> tuple[Figure, ...]:
        turned = row.fidelity.flips if row.fidelity else None
        if row.fidelity is None or turned is None:
            return (NONE,) * len(heads)
        counts = (turned.n, turned.to_wrong, turned.to_right)
        p = Figure(words.probability(turned.p).removeprefix("= "))
        return (Figure(row.fidelity.reference), *(Figure(str(count)) for count in counts), p)

    heads = [Cell(column, "column") for column in ("against", "items", "to_wrong", "to_right", "p")]
    table = _by_model(view, "flips", "fidelity", heads, figures)
    groups = [
        group._replace(lines=tuple(line for line in group.lines if line.missing is None))
        for group in table.groups
    ]
    return table._replace(groups=tuple(group for group in groups if group.lines))


def kernel(view: View) -> Numbers:
    """Kernel passes: this project's median beside what llama-bench prints.

    Where results of llama-bench were put beside, they are lines of their own: of the model
    whose file they measured, else of their file.
    """
    beside = bool(view.imported)

    def lines(row: Row) -> Iterable[Line]:
        theirs = [found for found in view.imported if found.model == row.model]
        means = {bench.case: bench.tok_per_s for bench in row.compat.llama_bench}
        threads = dict(row.engine).get("options.threads", words.DASH)
        for bench in sorted(row.compat.llama_bench, key=lambda bench: natural(bench.case)):
            own = row.cases.get(bench.case, {}).get(f"kernel_{bench.test[:2]}_tok_per_s")
            figures = (_figure("kernel_pp_tok_per_s", own), *_mean(bench))
            source = (Figure(threads), NONE, Figure("harness")) if beside else ()
            yield Line(Cell(bench.test), (*figures, *source))
        yield from (_beside(found, means.get(found.case)) for found in theirs)

    heads = [Cell("kernel", "column"), Cell("t/s"), Cell("n", "column")]
    heads += [Cell(name, "column") for name in ("threads", "ratio", "source")] if beside else []
    title = "kernel_beside" if beside else "kernel"
    table = grouped(view, title, first="test", suite="kernel", heads=heads, lines=lines)
    strangers: dict[str, list[Line]] = {}
    for found in view.imported:
        if not found.model:
            strangers.setdefault(found.file, []).append(_beside(found, None))
    others = (Group(Cell(file), tuple(own)) for file, own in strangers.items())
    return table._replace(groups=(*table.groups, *others))


def _beside(found: Imported, own: float | None) -> Line:
    """An imported test; the ratio is of our mean to theirs."""
    ratio = NONE if own is None else Figure(words.value("accuracy_ratio", own / found.tok_per_s))
    source = Figure(f"llama-bench {found.build}")
    return Line(Cell(found.test), (NONE, *_mean(found), Figure(str(found.threads)), ratio, source))


def _mean(bench: Bench | Imported) -> tuple[Figure, Figure]:
    """Mean with standard deviation as llama-bench prints it, and over how many passes."""
    count = NONE if bench.n is None else Figure(str(bench.n))
    return Figure(f"{bench.tok_per_s:.2f} ± {bench.stddev:.2f}"), count


def mlperf_client(view: View) -> Numbers:
    """The fixed cases as MLPerf Client sums them up."""

    def figures(row: Row) -> tuple[Figure, ...]:
        client = row.compat.mlperf_client
        if client is None:
            return (NONE,) * 3
        return (
            Figure(words.value("ttft_s", client.ttft_s), amount=client.ttft_s),
            Figure(words.value("decode_tok_per_s", client.tok_per_s), amount=client.tok_per_s),
            Figure(str(client.n)),
        )

    heads = [
        Cell("Time To First Token"),
        Cell("2nd+ Token Generation Rate"),
        Cell("n", "column"),
    ]
    return _by_model(view, "mlperf_client", "latency", heads, figures)


def localscore(view: View) -> Numbers:
    """LocalScore's number, and the means behind it."""

    def figures(row: Row) -> tuple[Figure, ...]:
        found = row.compat.localscore
        if found is None:
            return (NONE,) * 5
        return (
            Figure(words.number(found.score), amount=found.score),
            *(
                Figure(words.value(metric, amount), amount=amount)
                for metric, amount in (
                    ("prefill_tok_per_s", found.prompt_tok_per_s),
                    ("decode_tok_per_s", found.output_tok_per_s),
                    ("ttft_s", found.ttft_s),
                )
            ),
            Figure(str(found.n)),
        )

    names = ("LocalScore", "Prompt tokens/s", "Generation tokens/s", "Time to first token")
    heads = [*(Cell(name) for name in names), Cell("n", "column")]
    return _by_model(view, "localscore", "latency", heads, figures)


def aiperf(view: View) -> Numbers:
    """The requests of all fixed cases together as AIPerf sums them up."""

    def lines(row: Row) -> Iterable[Line]:
        for metric in AIPERF:
            if spread := row.compat.aiperf.get(metric):
                figures = (Figure(words.value("ttft_s", amount)) for amount in spread)
                yield Line(Cell(metric, "aiperf"), tuple(figures))
        if row.compat.user_tok_per_s is not None:
            rate = Figure(words.value("decode_tok_per_s", row.compat.user_tok_per_s))
            yield Line(Cell("user_tok_per_s", "aiperf"), (rate, *(NONE,) * 3))

    heads = [Cell(column) for column in Spread._fields]
    return grouped(view, "aiperf", first="metric", suite="latency", heads=heads, lines=lines)


def natural(name: str) -> tuple[bool, bool, list[str | int]]:
    """Sort key by numbers in a name: depths behind the rest, Korean before English."""
    plain, _, depth = name.partition("@d")
    parts: list[str | int] = list(re.split(r"([0-9]+)", f"{plain} {depth}"))
    parts[1::2] = [int(part) for part in parts[1::2]]
    return bool(depth), name.endswith("-en"), parts


def _by_case(view: View, title: str, suite: str, metrics: Sequence[str]) -> Numbers:
    """The cases of each model that hold any of these metrics, and how often they ran."""
    shown = _shown_in_cases(view, metrics)

    def lines(row: Row) -> Iterable[Line]:
        for case in sorted(row.cases, key=natural):
            found = row.cases[case]
            if any(metric in found for metric in shown):
                counts = [found[m].n for m in shown if m in found and found[m].n is not None]
                count = str(counts[0]) if counts else words.DASH
                figures = (_figure(metric, found.get(metric)) for metric in shown)
                yield Line(Cell(case, "case"), (*figures, Figure(count)))

    heads = [*_metrics(shown), Cell("n", "column")]
    return grouped(view, title, first="case", suite=suite, heads=heads, lines=lines)


def _by_metric(view: View, title: str, suite: str, metrics: Sequence[str]) -> Numbers:
    """The models' own summaries of these metrics."""
    shown = words.shown_metrics(view.rows, metrics)

    def figures(row: Row) -> tuple[Figure, ...]:
        return tuple(_figure(metric, row.metric(metric)) for metric in shown)

    return _by_model(view, title, suite, _metrics(shown), figures)


def _by_model(
    view: View, title: str, suite: str, heads: Sequence[Cell], figures: Figures
) -> Numbers:
    """A table with one line a model, grouped by list where there are several."""
    several = len(view.rankings) > 1
    groups = []
    for ranking in view.rankings:
        lines = []
        for row in ranking.rows:
            found = figures(row)
            missing = _why_missing(view, row, suite) if _is_empty(found) else None
            lines.append(Line(Cell(row.model), found, missing))
        groups.append(Group(Cell(ranking.list_name, "list") if several else Cell(""), tuple(lines)))
    return _unless_empty(Numbers(title, "model", tuple(heads), tuple(groups)))


def grouped(
    view: View,
    title: str,
    *,
    first: str,
    suite: str,
    heads: Sequence[Cell],
    lines: Callable[[Row], Iterable[Line]],
) -> Numbers:
    """A table with a group of lines a model."""
    groups = []
    for row in view.rows:
        found = tuple(lines(row))
        if not found:
            found = (Line(Cell(""), (), _why_missing(view, row, suite)),)
        groups.append(Group(Cell(row.model), found))
    return _unless_empty(Numbers(title, first, tuple(heads), tuple(groups)))


def _unless_empty(numbers: Numbers) -> Numbers:
    filled = any(not _is_empty(line.figures) for group in numbers.groups for line in group.lines)
    return numbers if filled else numbers._replace(groups=())


def _is_empty(figures: Sequence[Figure]) -> bool:
    return all(figure == NONE for figure in figures)


def _why_missing(view: View, row: Row, suite: str) -> tuple[str, str]:
    """Why a model has no figures of a suite; two empty texts where nobody said."""
    if suite == "fidelity" and row.fidelity and row.fidelity.reason:
        return row.fidelity.reason, row.fidelity.detail
    for job in row.jobs:
        if job.suite == suite and job.outcome != "ok":
            return job.cause or job.outcome, job.detail
    prefix = _CASES.get(suite)
    for skipped in view.left_out:
        if prefix and skipped.model == row.model and re.match(prefix, skipped.case):
            return skipped.reason, skipped.detail
    for finding in row.findings:
        # A refused sample's finding begins with its case.
        if prefix and re.match(prefix, finding.detail):
            return finding.code, finding.detail
    return "", ""


def _shown_in_cases(view: View, metrics: Sequence[str]) -> tuple[str, ...]:
    present = {m for row in view.rows for case in row.cases.values() for m in case}
    return tuple(metric for metric in metrics if metric in present)


def _metrics(metrics: Sequence[str]) -> tuple[Cell, ...]:
    return tuple(Cell(metric, "metric") for metric in metrics)


def _figure(metric: str, found: Estimate | None) -> Figure:
    if found is None or found.value is None:
        return NONE
    exact = found.lo == found.hi
    span = "" if exact else words.span(metric, found)
    return Figure(words.value(metric, found.value), span, found.value)


speed = partial(_by_metric, title="speed", suite="latency", metrics=SPEED)
latency = partial(_by_case, title="latency", suite="latency", metrics=LATENCY)
load = partial(_by_case, title="load", suite="latency", metrics=LOAD)
chat = partial(_by_metric, title="chat", suite="task", metrics=CHAT)
chat_cases = partial(_by_case, title="chat_cases", suite="task", metrics=CHAT)
sustained = partial(_by_metric, title="sustained", suite="sustained", metrics=SUSTAINED)
language = partial(_by_case, title="prediction", suite="language", metrics=LANGUAGE)
fidelity = partial(_by_case, title="fidelity", suite="fidelity", metrics=FIDELITY)
roofline = partial(_by_metric, title="roofline", suite="latency", metrics=ROOFLINE)


def all_of(view: View) -> list[Numbers]:
    """Every table that has a figure, in the order of a report."""
    makers = (
        *(latency, gaps, variation, load, chat, chat_cases, sustained, energy, roofline),
        *(peaks, split, phases, language, fidelity, flips),
        *(kernel, mlperf_client, localscore, aiperf),
    )
    return [table for table in (make(view) for make in makers) if table.groups]
