"""`harness models synth`: random weights in the shape of a real network."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click

from harness import cli_shared
from harness.messages.commands import Command, echo
from harness.spec import Format


def _list(_context: click.Context, _option: click.Parameter, wanted: bool) -> None:  # noqa: FBT001 - Click's signature
    if wanted:
        from harness.models import shapes

        echo(shapes.text())
        raise click.exceptions.Exit


@click.command(cls=Command)
@click.argument("shape")
@click.option(
    "--quant", required=True, help="q4_0, q4_k_m, q6_k, q8_0, f16, f32; int4, int8, fp32."
)
@click.option(
    "--format",
    "kind",
    type=click.Choice(["gguf", "onnx", "safetensors"]),
    help="[default: the one that has the quantisation]",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="A .gguf file, else a folder [default: in the cache, where models.yaml finds it].",
)
@click.option("--seed", type=click.IntRange(0, 1 << 53), default=0, show_default=True)
@click.option(
    "--context", type=click.IntRange(0), default=0, help="Positions [default: 4096 at most]."
)
@click.option(
    "--layers", type=click.IntRange(0), default=0, help="Fewer layers, for trials [default: all]."
)
@click.option("--force", is_flag=True, help="Replace what is there.")
@click.option(
    "--list", is_flag=True, is_eager=True, expose_value=False, callback=_list, help="List shapes."
)
@cli_shared.as_json
def synth(
    *,
    shape: str,
    quant: str,
    kind: str | None,
    out: Path | None,
    seed: int,
    context: int,
    layers: int,
    force: bool,
    as_json: bool,
) -> None:
    """Write random weights in the shape of a real network, to qualify a laptop.

    They cost the time and memory that the network costs, need no licence, and know
    nothing: speed and memory are measured, accuracy never. The same arguments give the
    same bytes on every machine.

    \b
    harness models synth qwen2.5-0.5b --quant q4_0
    harness models synth qwen2.5-0.5b --quant int4
    harness models synth --list
    """  # noqa: D301 - Click wants the control character itself
    from harness.models import shapes
    from harness.models.synth import Recipe, synthesise

    quant = quant.lower()  # as file names of published models have it: Q4_K_M
    recipe = Recipe(
        shape=shape,
        format=cast("Format", kind or shapes.format_of(quant)),
        quantisation=quant,
        seed=seed,
        context=context,
        layers=layers,
    )
    path = synthesise(recipe, out, force=force, progress=_Progress())
    if as_json:
        files = [path] if path.is_file() else sorted(path.iterdir())
        size = sum(file.stat().st_size for file in files)
        cli_shared.emit({"model": str(path), "size_bytes": size})
        return
    click.echo(str(path))
    echo(f"next: harness run --model {path}", err=True)


class _Progress:
    """A line on stderr for every tenth of the weights."""

    def __init__(self) -> None:
        self._shown = 0

    def __call__(self, done: int, total: int) -> None:
        tenths = 10 * done // total
        if tenths > self._shown:
            self._shown = tenths
            echo(f"{10 * tenths:>3} % of {total / 1e6:,.0f} million weights", err=True)
