"""The command line: parse, call one library function, print, exit. No logic.

Data goes to stdout and everything else to stderr. With `--json` the last line of
stdout is one JSON object, also when the command fails.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import os
import signal
import sys
from io import BufferedWriter, FileIO, TextIOWrapper
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TextIO

import click

import harness
from harness import cli_preflight, durable, messages
from harness.cli_accuracy import accuracy
from harness.cli_bundle import bundle
from harness.cli_compare import baseline, compare, gate
from harness.cli_kit import kit
from harness.cli_ledger import ledger
from harness.cli_models import models
from harness.cli_profiles import profiles
from harness.cli_run import run
from harness.cli_schema import schema
from harness.cli_shared import as_json as _as_json
from harness.cli_shared import emit as _emit
from harness.cli_shared import lang as _lang
from harness.cli_shared import results as _results
from harness.cli_synth import synth
from harness.errors import Exit, HarnessError
from harness.messages import Lang
from harness.messages.commands import Group, echo, show


class _Cli(Group):
    """The whole command line: its language is settled before anything is parsed."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Speak the language that the arguments or the locale ask for, until it is closed."""
        before = messages.language()
        messages.speak(messages.asked_for(args))
        try:
            context = super().make_context(info_name, args, parent, **extra)
        except BaseException:
            messages.speak(before)
            raise
        context.call_on_close(lambda: messages.speak(before))
        return context


@click.group(cls=_Cli, context_settings={"help_option_names": ["-h", "--help"]})
@_lang
@click.version_option(harness.__version__, prog_name="harness")
def cli(*, lang: Lang | None) -> None:
    """Measure small language models on this machine and rank them.

    Start with `harness run`: it measures the models that come with it, by llama.cpp and
    by ONNX Runtime, and writes a scorecard and a report. Nothing is downloaded.
    """
    del lang  # `_Cli` has read it already


@cli.command()
@click.argument("run_folder", metavar="RUN", default="latest")
@_results
@_lang
@_as_json
def score(*, run_folder: str, results: Path, lang: Lang | None, as_json: bool) -> None:
    """Build the scorecard of RUN (a folder, an id, or latest) again from its records."""
    from harness import runs, terminal

    folder = runs.find_run(run_folder, results)
    card = runs.write_scorecard(folder)
    if as_json:
        _emit(card)
    else:
        terminal.show_card(card, folder, lang or messages.language())
    terminal.show_blocked(card)
    raise SystemExit(runs.exit_code(card))


@cli.command()
@click.argument("run_folder", metavar="RUN", default="latest")
@click.option(
    "--format",
    "names",
    multiple=True,
    metavar="NAME",
    help="html, markdown, csv, parquet, …; repeatable [default: markdown and html].",
)
@click.option(
    "--llama-bench",
    "benches",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Results of llama-bench -o json to show beside ours; repeatable.",
)
@click.option(
    "--keys",
    "trusted",
    type=click.Path(path_type=Path),
    multiple=True,
    help="Trusted public keys, where RUN is a bundle; repeatable.",
)
@_results
@_lang
@_as_json
def report(
    *,
    run_folder: str,
    names: tuple[str, ...],
    benches: tuple[Path, ...],
    trusted: tuple[Path, ...],
    results: Path,
    lang: Lang | None,
    as_json: bool,
) -> None:
    """Write the report of RUN (a folder, an id, latest, or a bundle) into its folder.

    A bundle is verified first, and its report written beside it.
    """
    from harness import ledger as ledger_of
    from harness import runs
    from harness.bundle import reported
    from harness.interop import llama_bench
    from harness.report import formats

    bundle = bool(trusted) or reported.is_bundle(Path(run_folder))
    if bundle:
        folder = Path(run_folder)
        card = shown = reported.card_of(folder, trusted)
    else:
        folder = runs.find_run(run_folder, results)
        card = runs.card_of(folder / "records.jsonl")
        later = ledger_of.later(folder, card["run"])
        shown = card | {"attempt": card["attempt"] | {"later": later}}
    shown = shown | (llama_bench.imported(benches, card, folder) if benches else {})
    material = formats.Material(card=shown, folder=folder, lang=lang or messages.language())
    target = reported.target_of(folder) if bundle else folder
    paths = formats.write(material, names or formats.DEFAULT, target)
    if not bundle:
        runs.keep_scorecard(folder, card)  # only now: what cannot be reported is left as it is
    if as_json:
        _emit({"run": str(folder), "reports": [str(path) for path in paths]})
    else:
        if bundle:
            echo(reported.vouched(shown, material.lang), err=True)
        click.echo("\n".join(str(path) for path in paths))


@cli.command()
@click.argument("path", metavar="FILE")
@click.option(
    "-p",
    "prompt",
    type=click.IntRange(0, 1 << 17),
    default=512,
    show_default=True,
    help="Prompt tokens; 0 leaves prompt processing out.",
)
@click.option(
    "-n",
    "output",
    type=click.IntRange(0, 1 << 17),
    default=128,
    show_default=True,
    help="Output tokens; 0 leaves token generation out.",
)
@click.option(
    "-r",
    "repetitions",
    type=click.IntRange(1, 1000),
    default=5,
    show_default=True,
    help="Timed repetitions.",
)
@click.option(
    "-t",
    "threads",
    type=click.IntRange(0, 1024),
    default=0,
    help="Threads [default: the performance cores that may be used].",
)
@_as_json
def bench(
    *, path: str, prompt: int, output: int, repetitions: int, threads: int, as_json: bool
) -> None:
    """Kernel speed of a local GGUF file or ONNX folder, as llama-bench measures it."""
    from harness import session
    from harness.spec import BackendOptions

    found = session.bench(
        path,
        prompt=prompt,
        output=output,
        repetitions=repetitions,
        options=BackendOptions(threads=threads),
    )
    if as_json:
        _emit(found)
        return
    threads_used = found["options"]["threads"]
    echo(f"{found['model']}  {found['backend']}  {threads_used} threads")
    for test in found["tests"]:
        samples = test["tok_per_s"]["samples"]
        echo(
            f"  {test['name']:<8} {test['tok_per_s']['median']:>10.2f} tok/s"
            f"   {min(samples):.2f} … {max(samples):.2f}, {len(samples)} repetitions"
        )


@cli.group()
def devices() -> None:
    """Laptops that models are to run on."""


@devices.command("list")
@_as_json
def devices_list(*, as_json: bool) -> None:
    """List the declared laptops, and which of them this machine is."""
    from harness import devices as laptops

    found = laptops.listing()
    if as_json:
        _emit({"devices": found})
    else:
        echo(laptops.text(found))


@devices.command("probe")
@_as_json
def devices_probe(*, as_json: bool) -> None:
    """Write devices/local.yaml, which declares this very machine; git ignores it."""
    from harness import devices as laptops
    from harness.spec import to_json

    device, path = laptops.probe()
    if as_json:
        _emit({"written": str(path), "device": to_json(device)})
        return
    echo(f"wrote {path}: {device.name}")
    echo(f"next: harness run --device {device.id}")


@cli.command()
@click.option("--quick", is_flag=True, help="Fewer repetitions and sizes.")
@_as_json
def selftest(*, quick: bool, as_json: bool) -> None:
    """Measure the harness itself against an engine whose times and sizes are known.

    Run it first on a new laptop: it says how far this machine's clock, memory readings
    and noise can be trusted.
    """
    from harness import selftest as truth

    found = truth.run(quick=quick, progress=lambda line: echo(line, err=True))
    if as_json:
        _emit(found)
    else:
        echo(truth.text(found))
    raise SystemExit(truth.exit_code(found))


@cli.command()
@_results
@_as_json
def doctor(*, results: Path, as_json: bool) -> None:
    """Say what this machine can measure, and how to mend what it cannot."""
    from harness import doctor as examination

    found = examination.diagnose(results)
    if as_json:
        _emit(found)
    else:
        echo(examination.text(found))
    raise SystemExit(examination.exit_code(found))


@cli.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path())
@_as_json
def init(*, folder: Path, as_json: bool) -> None:
    """Write a models file, a device and a profile to start from; nothing is overwritten."""
    from harness import scaffold

    written, kept = scaffold.init(folder)
    if as_json:
        _emit({"written": [str(path) for path in written], "kept": [str(path) for path in kept]})
        return
    for path in written:
        echo(f"wrote {path}")
    for path in kept:
        echo(f"kept  {path}")


for _group in (accuracy, baseline, bundle, kit, ledger, models, profiles):
    cli.add_command(_group)
for _verb in (run, compare, gate, schema):
    cli.add_command(_verb)
for _command in (cli_preflight.check, cli_preflight.unpack, synth):
    models.add_command(_command)


def main() -> None:
    """Entry point: turns every expected error into one message and an exit code."""
    as_json = "--json" in sys.argv[1:]
    messages.speak(messages.asked_for(sys.argv[1:]))  # errors are shown behind the last context
    _settle_process()
    try:
        try:
            cli.main(standalone_mode=False)
        finally:
            sys.stdout.flush()  # what cannot be written now would be Python's to report, later
    except click.ClickException as error:
        show(error)
        _fail(as_json, error.format_message(), "usage", error.exit_code)
    except HarnessError as error:
        _refuse(as_json, error)
    except (KeyboardInterrupt, click.Abort):
        echo(f"harness: {_after_interruption(sys.argv[1:])}", err=True)
        _fail(as_json, "interrupted", "interrupted", Exit.INTERRUPTED)
    except BrokenPipeError:
        _drop_output()  # whoever read it has seen enough
        raise SystemExit(int(Exit.DONE)) from None
    except Exception as error:
        if os.environ.get("HARNESS_DEBUG"):
            raise
        if isinstance(error, OSError) and error.errno in durable.DISK_ERRORS:
            # What is printed may go into a file, and not every one that is written is a record.
            if not error.filename:
                _drop_output()
            _refuse(as_json, durable.unwritable(str(error.filename or "stdout"), error))
        message = f"{type(error).__name__}: {error}"
        echo(f"harness: a bug: {message}\n  next: set HARNESS_DEBUG=1 for the traceback", err=True)
        _fail(as_json, message, "unexpected_error", Exit.FAILED)


def _drop_output() -> None:
    """Nothing goes out any more; Python must not complain of that at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _after_interruption(arguments: list[str]) -> str:
    """What an interrupted command leaves, and what to do next."""
    verb = next((word for word in arguments if word not in {"--lang", "ko", "en"}), "")
    again = ("--attempts", "--resume")
    if verb == "run" and not any(word.startswith(again) for word in arguments):
        named = any(word.startswith(("--out", "--results")) for word in arguments)
        where = " --out FOLDER" if named else ""
        return f"interrupted; what was measured is kept\n  next: harness run --resume latest{where}"
    kept = "what has come is kept" if "pull" in arguments[:2] else "nothing half made is used"
    return f"interrupted; {kept}\n  next: the same command again"


def _settle_process() -> None:
    """End as by Ctrl-C when asked to, and never fail on a character."""
    for name in ("SIGTERM", "SIGHUP"):  # SIGHUP: the terminal was closed
        if number := getattr(signal, name, None):
            signal.signal(number, _interrupt)
    if number := getattr(signal, "SIGCHLD", None):
        # Whoever started us may ignore it, and then nobody is told how a child has ended.
        signal.signal(number, signal.SIG_DFL)
    codecs.register_error("plainer", messages.plainer)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if sys.platform != "win32" and stream.isatty():
            setattr(sys, name, _outliving(stream))
    for stream in (sys.stdout, sys.stderr):
        # A redirected stdout on Korean Windows is CP949, which has neither minus nor en dash.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="plainer")


class _Terminal(FileIO):
    """One that may be closed before we end: nobody reads any more, and records are still kept."""

    def write(self, data: Any, /) -> int:
        """Write, or do as if."""
        try:
            return super().write(data)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            return len(memoryview(data))


def _outliving(stream: TextIO) -> TextIO:
    """The same terminal, which may be closed."""
    raw = _Terminal(stream.fileno(), "w", closefd=False)
    return TextIOWrapper(BufferedWriter(raw), encoding=stream.encoding, line_buffering=True)


def _refuse(as_json: bool, error: HarnessError) -> NoReturn:  # noqa: FBT001
    with contextlib.suppress(OSError):
        click.echo(f"harness: {error.text(messages.tr)}", err=True)
    _fail(as_json, str(error), error.reason, error.exit_code)


def _fail(as_json: bool, message: str, reason: str, code: int) -> NoReturn:  # noqa: FBT001
    if as_json:
        with contextlib.suppress(OSError):
            _emit({"status": "error", "reason": reason, "message": message, "exit_code": int(code)})
    raise SystemExit(int(code))


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
