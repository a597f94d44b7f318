"""`harness compare`, `gate` and `baseline`: is this run worse than that one?"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from harness import messages
from harness.cli_shared import as_json as _as_json
from harness.cli_shared import emit as _emit
from harness.cli_shared import lang as _lang
from harness.cli_shared import results as _results
from harness.errors import SpecError
from harness.messages.commands import Command, Group, echo

if TYPE_CHECKING:
    from harness.gate import Rule
    from harness.report.comparison import Page
    from harness.report.words import Lang

F = TypeVar("F", bound=Callable[..., Any])
_STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
_AXES = ("build", "device", "model", "options")
ADVICE = {
    "other_build": "measure both with one engine, or compare builds on purpose: --across build",
    "other_device": "save a baseline of this machine (harness baseline save latest --name …), or "
    "compare machines on purpose: --across device",
    "other_conditions": "measure again with the same power source and mode, or --across device",
    "other_model": "compare the two files on purpose: --across model",
    "other_options": "measure both with the same options, or --across options",
    "other_profile": "measure both with one profile (harness run --profile …); the number of "
    "processes, weights and gates may differ",
    "other_suite_version": "measure the older one again with this version: harness run",
    "nothing_in_common": "name the models: harness compare RUN:MODEL RUN:MODEL",
    "other_items": "ask the same items: one profile and one seed",
    "too_few_processes": "measure with ten processes or more (profile regression does)",
    "run_invalid": "see why with harness score, and measure again",
}
"""What to do about each reason against a comparison."""
LARGE_FLOOR = 0.1
"""Noise above this hides what anybody would call a regression."""
_OUTPUTS = (
    click.option(
        "--across",
        type=click.Choice(_AXES),
        multiple=True,
        help="What may differ, because it is what you compare; repeatable.",
    ),
    click.option(
        "--fail-on-inconclusive", is_flag=True, help="Exit with 6 where something is undecided."
    ),
    click.option(
        "--markdown", type=click.Path(path_type=Path), metavar="FILE", help="Write Markdown."
    ),
    click.option(
        "--junit",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Write JUnit XML, a test case a rule.",
    ),
    click.option(
        "--github", is_flag=True, help="Append Markdown to the file that GITHUB_STEP_SUMMARY names."
    ),
)


def _outputs(command: F) -> F:
    """The options that compare and gate share."""
    for option in reversed(_OUTPUTS):
        command = option(command)
    return command


class _Wanted(NamedTuple):
    """Where results go, and in which language."""

    markdown: Path | None
    junit: Path | None
    github: bool
    as_json: bool
    lang: Lang
    strict: bool


@click.command(cls=Command)
@click.argument("a", metavar="A")
@click.argument("b", metavar="B")
@_outputs
@_results
@_lang
@_as_json
def compare(
    *,
    a: str,
    b: str,
    across: tuple[Any, ...],
    fail_on_inconclusive: bool,
    markdown: Path | None,
    junit: Path | None,
    github: bool,
    results: Path,
    lang: Lang | None,
    as_json: bool,
) -> None:
    """Say whether B is worse than A: a run (folder, id, latest, previous) or a baseline.

    RUN:MODEL names one model, so that two models can be compared, also of one run.

    \b
    harness compare previous latest
    harness compare main latest --across model     the same model in a new file
    harness compare latest:a.q8_0.gguf latest:a.q4_0.gguf

    Exit codes: 0 the same or better, 1 worse, 5 not comparable.
    """  # noqa: D301 - Click wants the control character itself
    from harness import baselines
    from harness.compare import compare as against
    from harness.gate import comparison_exit_code, of_comparison
    from harness.report import comparison as forms

    wanted = _Wanted(
        markdown, junit, github, as_json, lang or messages.language(), strict=fail_on_inconclusive
    )
    summary = _step_summary(wanted)
    (side_a, model_a), (side_b, model_b) = (baselines.find(text, results) for text in (a, b))
    models = (model_a or model_b, model_b or model_a)
    made = against(
        side_a,
        side_b,
        baselines.floor_of_both(side_a, side_b, results),
        across=across,
        models=models if all(models) else None,
    )
    code = comparison_exit_code(made, fail_on_inconclusive=fail_on_inconclusive)
    data = {**forms.as_json(made), "exit_code": int(code)}
    _hand_out(
        forms.comparison_page(made, wanted.lang), list(of_comparison(made)), data, wanted, summary
    )
    _explain(made.reasons)
    raise SystemExit(code)


@click.command(cls=Command)
@click.argument("run_folder", metavar="RUN", default="latest")
@click.option(
    "--baseline",
    metavar="NAME[:MODEL]",
    help="A saved baseline, or its file; with one of its models, only that one.",
)
@_outputs
@_results
@_lang
@_as_json
def gate(
    *,
    run_folder: str,
    baseline: str | None,
    across: tuple[Any, ...],
    fail_on_inconclusive: bool,
    markdown: Path | None,
    junit: Path | None,
    github: bool,
    results: Path,
    lang: Lang | None,
    as_json: bool,
) -> None:
    """Pass or fail RUN (a folder, an id, or latest): for CI.

    Checks that the run is valid and complete, the profile's own gates, and that nothing is
    worse than the baseline.

    \b
    harness run --profile regression --model my-model.gguf
    harness baseline save latest --name main       once, on the main branch
    harness gate latest --baseline main            in every pull request

    Exit codes: 0 passed, 1 a rule is broken, 3 no such baseline, 5 not comparable.
    """  # noqa: D301 - Click wants the control character itself
    from harness import baselines
    from harness import gate as gates
    from harness.compare import compare as against
    from harness.report import comparison as forms

    wanted = _Wanted(
        markdown, junit, github, as_json, lang or messages.language(), strict=fail_on_inconclusive
    )
    summary = _step_summary(wanted)
    before = baselines.find_baseline(baseline, results) if baseline is not None else None
    run = baselines.find_run(run_folder, results)
    made = None
    if before is not None:
        floor = baselines.floor_of_both(before, run.side, results)
        made = against(before, run.side, floor, across=across)
    rules = gates.rules(run.card, made, run.optional)
    code = gates.exit_code(rules, fail_on_inconclusive=fail_on_inconclusive)
    data = {**forms.as_json(made, rules), "exit_code": int(code)}
    page = forms.gate_page(rules, made, wanted.lang, fail_on_inconclusive=fail_on_inconclusive)
    _hand_out(page, rules, data, wanted, summary)
    _explain(
        (rule.reason, rule.detail or f"{rule.model}: {rule.id}")
        for rule in rules
        if rule.outcome == "incomparable"
    )
    raise SystemExit(code)


@click.group(cls=Group)
def baseline() -> None:
    """Runs that later ones are held against, in small files that belong into git."""


@baseline.command("save")
@click.argument("run_folder", metavar="RUN", default="latest")
@click.option("--name", default="main", show_default=True, help="Name of the baseline.")
@_results
@_as_json
def baseline_save(*, run_folder: str, name: str, results: Path, as_json: bool) -> None:
    """Keep RUN (a folder, an id, or latest) as a baseline in results/baselines/."""
    from harness import baselines
    from harness.report.reading import clean

    run = baselines.find_run(run_folder, results)
    path, missing = baselines.save(run, name, results)
    side = run.side
    for line in missing:
        echo(f"harness: warning: {clean(line)}", err=True)
    if as_json:
        _emit({"written": str(path), "name": name, "run": side.run, "machine": side.machine})
        return
    echo(f"wrote {path}: {len(side.models)} models of run {side.run}")
    echo(f"next: harness gate latest --baseline {name}")


@baseline.command("list")
@_results
@_as_json
def baseline_list(*, results: Path, as_json: bool) -> None:
    """List the baselines, and on which machine each was measured."""
    from harness import baselines
    from harness.errors import printable

    found = baselines.listing(results)
    if as_json:
        _emit({"baselines": found})
        return
    for one in found:
        if "error" in one:
            echo(f"{printable(one['name'])}  cannot be used: {one['error']}")
            continue
        facts = (one["name"], one["profile"], one["run"], one["machine"], one["cpu"])
        models = ", ".join(one["models"])
        echo("  ".join(printable(str(fact)) for fact in (*facts, models)))
    if not found:
        echo("no baseline yet\n  next: harness baseline save latest --name main", err=True)


@baseline.command("noise")
@click.argument("run_folders", metavar="RUN...", nargs=-1, required=True)
@_results
@_as_json
def baseline_noise(*, run_folders: tuple[str, ...], results: Path, as_json: bool) -> None:
    """Measure this machine's noise from at least three runs of the very same thing.

    What they differ by is kept beside the baselines; on this machine compare and gate then
    call no smaller change one. Ten runs are better.
    """
    from harness import baselines
    from harness.metrics import show_share

    floor, path = baselines.save_floor(run_folders, results)
    if max(floor.metrics.values()) > LARGE_FLOOR:
        echo(
            "harness: warning: this machine varies so much that a change of "
            f"{show_share(max(floor.metrics.values()))} would be taken for noise: quieten it "
            "(harness doctor) and measure again",
            err=True,
        )
    if as_json:
        _emit({"written": str(path), "machine": floor.machine, "metrics": dict(floor.metrics)})
        return
    echo(f"wrote {path}: noise of {floor.runs} runs")
    for metric, share in floor.metrics.items():
        echo(f"  {metric:<24} {show_share(share)}")


def _hand_out(
    page: Page, rules: Sequence[Rule], data: dict[str, Any], wanted: _Wanted, summary: Path | None
) -> None:
    """Print, and write the files that were asked for."""
    from rich.console import Console

    from harness.baselines import append_text, write_file
    from harness.report import comparison as forms

    text = forms.markdown(page)
    if wanted.markdown:
        write_file(wanted.markdown, text.encode())
    if wanted.junit:
        xml = forms.junit_xml(rules, "harness", wanted.lang, fail_on_inconclusive=wanted.strict)
        write_file(wanted.junit, xml)
    if summary is not None:
        room = forms.SUMMARY_BYTES - (summary.stat().st_size if summary.exists() else 0)
        append_text(summary, forms.capped(text, max(room, 0), wanted.lang))
    if wanted.as_json:
        _emit(data)
    else:
        forms.show(page, Console(file=sys.stdout))


def _explain(found: Iterable[tuple[str, str]]) -> None:
    """What to do where two sides cannot be compared, on stderr: each code once."""
    from harness.report.reading import clean

    told: dict[str, str] = {}
    for code, detail in found:
        told.setdefault(code, detail)
    for code, detail in told.items():
        echo(f"harness: {code}: {clean(detail)}", err=True)
        echo(f"  next: {ADVICE[code]}", err=True)


def _step_summary(wanted: _Wanted) -> Path | None:
    """The file that GitHub reads, found before anything is done."""
    if not wanted.github:
        return None
    path = os.environ.get(_STEP_SUMMARY, "")
    if not path:
        raise SpecError(
            f"--github was given, but {_STEP_SUMMARY} is not set",
            allowed="--github inside a step of a GitHub workflow",
            hint="--markdown FILE writes the same anywhere",
            reason="no_step_summary",
        )
    return Path(path)
