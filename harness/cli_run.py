"""`harness run`: parse, prepare a plan, measure it, report. No logic."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NoReturn

import click
from click.core import ParameterSource

from harness import cli_shared, messages
from harness.messages import Lang
from harness.messages.commands import Command

if TYPE_CHECKING:
    from harness.plan import Plan
    from harness.resume import Past
    from harness.session import RunResult

_WITH_RESUME: Final = frozenset(
    {"resumed", "retry_failed", "seed_file", "dry_run", "results", "lang", "as_json"}
)
"""Options that mean something for a run that goes on."""


@click.command(cls=Command)
@click.option("--model", "models", multiple=True, metavar="PATH_OR_ID", help="A model; repeatable.")
@click.option("--set", "set_name", help="A named set [default: default].")
@click.option(
    "--suite",
    "suites",
    multiple=True,
    help="latency, task, kernel, sustained, memory, energy or accuracy; repeatable.",
)
@click.option("--profile", default="quick", show_default=True, help="A name or a YAML file.")
@click.option("--device", default="this-machine", show_default=True, help="A name or a YAML file.")
@click.option(
    "--tune",
    is_flag=True,
    help="Measure each model also with the fastest thread counts, listed apart.",
)
@click.option(
    "--seed-file",
    type=click.Path(path_type=Path),
    help="A secret seed for generated items, from `harness accuracy commit`.",
)
@click.option(
    "--budget",
    type=cli_shared.DURATION,
    help="Time for the accuracy items of one model, such as 10m: those that tell most are asked.",
)
@click.option("--verify", is_flag=True, help="Score 2 % of the choices again, one full pass each.")
@click.option(
    "--chat-template",
    metavar="WHOSE",
    type=click.Choice(["own", "canonical"]),
    help="own or canonical: the chat template to ask in [default: as the profile says].",
)
@cli_shared.commercial
@click.option("--nonce", default="", help="An evaluator's word for this very run, kept with it.")
@click.option(
    "--attempts",
    type=click.IntRange(1, 99),
    metavar="N",
    help="Announce N runs, whose median is the official result, and make them; after an "
    "interruption the same command makes those that are missing.",
)
@click.option(
    "--resume",
    "resumed",
    metavar="RUN",
    help="Go on with a run that was interrupted: a folder, an id, or latest.",
)
@click.option(
    "--retry-failed", is_flag=True, help="With --resume: run jobs that did not end well once more."
)
@click.option("--dry-run", is_flag=True, help="Print the plan and an estimate; measure nothing.")
@cli_shared.results
@cli_shared.models_file
@cli_shared.lang
@cli_shared.as_json
def run(
    *,
    models: tuple[str, ...],
    set_name: str | None,
    suites: tuple[str, ...],
    profile: str,
    device: str,
    tune: bool,
    seed_file: Path | None,
    budget: float | None,
    verify: bool,
    chat_template: Literal["own", "canonical"] | None,
    commercial: bool,
    nonce: str,
    attempts: int | None,
    resumed: str | None,
    retry_failed: bool,
    dry_run: bool,
    results: Path,
    models_file: Path | None,
    lang: Lang | None,
    as_json: bool,
) -> None:
    """Measure models and write a ranked scorecard.

    \b
    harness run                          the default set, in a few minutes
    harness run --model my-model.gguf    your model beside the reference
    harness run --dry-run                what would be done, and how long it takes
    harness run --resume latest          go on after a crash or Ctrl-C
    harness run --attempts 3             an official result: docs/ledger.md
    """  # noqa: D301 - Click wants the control character itself
    from harness import runs, seeds, session, specfile, terminal
    from harness.prepare import own_items, prepare

    spoken = lang or messages.language()
    if resumed is not None or retry_failed:
        _refuse_others(resumed)
        folder = runs.find_run(resumed or "", results)
        if dry_run:
            _print_left(folder, retry_failed=retry_failed, as_json=as_json)
            return
        _finish(_resume(folder, seed_file, retry_failed=retry_failed), spoken, as_json=as_json)
    if models and set_name:
        raise click.UsageError("--model and --set exclude each other.")
    if tune:
        _refuse_with_tune(dry_run=dry_run, attempts=attempts)
    seed = seeds.PUBLIC
    if seed_file or not dry_run:
        seed = seeds.for_run(specfile.resolve_profile(profile), seed_file, suites)
    plan = prepare(
        models=models,
        set_name=set_name or "default",
        suites=suites,
        profile=profile,
        device=device,
        catalogue_path=models_file,
        tune=terminal.show_tuning if tune else None,
        seed=seed.value,
        own=(own := own_items(profile)),
        budget_s=budget or 0.0,
        verify=0.02 if verify else 0.0,
        chat_template=chat_template,
        commercial=commercial,
    )
    if dry_run:
        _print_plan(plan, as_json=as_json)
        return
    terminal.show_ledger(results, plan, nonce, attempts)
    begun = _to_go_on_with(results, plan, nonce, announced=bool(attempts))
    if attempts or not begun:
        terminal.announce(plan)
    measure = functools.partial(
        session.run,
        plan,
        results,
        terminal.show_progress,
        seed=seed,
        own=own,
        items=terminal.show_items,
        nonce=nonce,
    )
    if attempts:
        left = session.announce(plan, results, attempts, nonce=nonce)
        first = [_resume(begun.folder, seed_file)] if begun else []
        made = _announced(measure, attempts, left, first)
        _finish_all(made, results, (plan.hash, nonce), spoken, as_json=as_json)
    result = _resume(begun.folder, seed_file) if begun else measure()
    if budget:
        terminal.show_reached(result.card)
    _finish(result, spoken, as_json=as_json)


def _refuse_with_tune(*, dry_run: bool, attempts: int | None) -> None:
    if dry_run:
        raise click.UsageError("--tune measures, --dry-run does not: they exclude each other.")
    if attempts:
        raise click.UsageError("--tune may choose other threads each time: not with --attempts.")


def _refuse_others(resumed: str | None) -> None:
    """Everything about a resumed run was settled when it was begun."""
    if resumed is None:
        raise click.UsageError("--retry-failed needs --resume.")
    context = click.get_current_context()
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        if source is ParameterSource.COMMANDLINE and option.name not in _WITH_RESUME:
            raise click.UsageError(
                f"--resume goes on with a run as it was begun: without {option.opts[0]}."
            )


def _resume(folder: Path, seed_file: Path | None, *, retry_failed: bool = False) -> RunResult:
    from harness import session, terminal

    return session.resume(
        folder,
        terminal.show_progress,
        seed_file=seed_file,
        items=terminal.show_items,
        retry_failed=retry_failed,
        announce=terminal.announce_resumed,
    )


def _to_go_on_with(results: Path, plan: Plan, nonce: str, *, announced: bool) -> Past | None:
    """The run of this plan that was interrupted, if the user wants it finished first.

    Args:
        announced: only one that was announced.

    Raises:
        PrerequisiteError: another harness measures into the folder.
    """
    from harness import resume, runs, terminal

    if not runs.runs_of(results, plan.hash):
        return None
    with runs.alone(results):  # one that is being measured just now was not interrupted
        past = resume.unfinished(results, plan, nonce, announced=announced)
    return past if past and terminal.wants_to_go_on(past) else None


def _announced(
    measure: Callable[..., RunResult], of: int, left: int, first: Sequence[RunResult]
) -> Iterator[RunResult]:
    """Every run of a series as it ends; an interruption ends the series for now."""
    from harness import terminal

    yield from first
    if any(result.status == "interrupted" for result in first):
        return
    for number in range(of - left + 1, of + 1):
        terminal.show_attempt(number, of)
        result = measure(announced=True)
        yield result
        if result.status == "interrupted":
            return


def _finish_all(
    made: Iterable[RunResult], results: Path, of: tuple[str, str], lang: Lang, *, as_json: bool
) -> NoReturn:
    """Write each run's reports as it ends, and show what all of them come to.

    Args:
        of: hash of the plan, and nonce.
    """
    from harness import cli_ledger, ledger, official, terminal

    plan, nonce = of
    ended = []
    for result in made:
        ended.append(result)
        _write_reports(result, lang)
        terminal.show_made(result.folder, result.status)
    status = ended[-1].status if ended else "done"
    found = None
    if status == "interrupted":
        terminal.show_interrupted(ended[-1].folder, announced=True)
    else:
        found = official.official(results, plan, ledger.nonce_digest(nonce))
    if as_json:
        cli_shared.emit(
            {
                "runs": [str(result.folder) for result in ended],
                "status": status,
                "official": cli_ledger.official_json(found) if found else None,
            }
        )
    elif found:
        cli_ledger.show(found, results)
    codes = [result.exit_code for result in ended]
    raise SystemExit(max([*codes, cli_ledger.exit_code(found)] if found else codes))


def _finish(result: RunResult, lang: Lang, *, as_json: bool) -> NoReturn:
    """Write the reports, show the card, and end as the run did."""
    from harness import terminal

    report = _write_reports(result, lang)
    if as_json:
        cli_shared.emit(
            {
                "run": str(result.folder),
                "scorecard": str(result.scorecard),
                "report": str(report),
                "status": result.status,
            }
        )
    else:
        terminal.show_card(result.card, result.folder, lang)
    if result.status == "interrupted":
        terminal.show_interrupted(result.folder)
    else:
        terminal.show_blocked(result.card)
    raise SystemExit(result.exit_code)


def _write_reports(result: RunResult, lang: Lang) -> Path:
    from harness.report import formats

    return formats.write(formats.Material(card=result.card, folder=result.folder, lang=lang))[-1]


def _print_left(folder: Path, *, retry_failed: bool, as_json: bool) -> None:
    from harness import resume, terminal

    past = resume.examine(folder, retry_failed=retry_failed)
    if as_json:
        cli_shared.emit(terminal.left_json(past))
    else:
        terminal.show_left(past)


def _print_plan(plan: Plan, *, as_json: bool) -> None:
    from harness import terminal
    from harness.spec import to_json

    if as_json:
        cli_shared.emit({"plan": to_json(plan), "estimate_s": round(plan.estimate_s, 1)})
    else:
        terminal.show_plan(plan)
