"""Synthetic models: random weights in the exact shape of a real network, on disk.

A laptop is qualified for speed and memory by them, with no licensed model at all. Kernels
take the same time as with trained weights; the text is noise, so every file is stamped
`synthetic` and never scored for what it knows. The same arguments give the same bytes on
every machine.
"""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.errors import PrerequisiteError, SpecError
from harness.models import export_gguf, export_onnx, export_safetensors, shapes
from harness.models.network import Network, NetworkConfig
from harness.models.random_weights import Progress, RandomTensors
from harness.models.reference import cache_folder
from harness.spec import Format, Model

_SPARE_BYTES = 64 << 20
"""For the vocabulary, and so that the disk is not filled to the last byte."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a synthetic model is made from; equal recipes give equal bytes.

    Attributes:
        shape: a name of `shapes.SHAPES`.
        format: of the file. quantisation: of its matrices.
        seed: of the random weights.
        context: positions; 0 = the usual number, at most as many as the network has.
        layers: fewer than the network has, for trials; 0 = all of them.
    """

    shape: str
    format: Format
    quantisation: str
    seed: int = 0
    context: int = 0
    layers: int = 0

    def config(self) -> NetworkConfig:
        """The network's shape.

        Raises:
            SpecError: a shape, quantisation, context or number of layers that cannot be.
        """
        shape = shapes.find_shape(self.shape)
        shapes.check_quantisation(self.format, self.quantisation)
        if self.layers > shape.layers:
            raise SpecError(
                f"{self.layers} layers are more than '{self.shape}' has",
                allowed=f"1 to {shape.layers}",
                reason="bad_layers",
            )
        return network_config(
            shape, context=shapes.context_of(self.shape, self.context), layers=self.layers
        )

    def path(self) -> Path:
        """Where `harness models synth` puts it unless told otherwise."""
        context = shapes.context_of(self.shape, self.context)
        parts = [self.shape, f"seed{self.seed}", f"ctx{context}"]
        parts += [f"layers{self.layers}"] * bool(self.layers)
        return cache_folder() / "synthetic" / ".".join([*parts, self.quantisation, self.format])

    def command(self) -> str:
        """The command that makes it."""
        context = shapes.context_of(self.shape, self.context)
        return (
            f"harness models synth {self.shape} --quant {self.quantisation} "
            f"--format {self.format} --seed {self.seed} --context {context}"
        ) + (f" --layers {self.layers}" if self.layers else "")


def network_config(shape: shapes.Shape, *, context: int, layers: int = 0) -> NetworkConfig:
    """A row of the table in an exporter's terms; `layers` of 0 are all of them."""
    return NetworkConfig(
        architecture=shape.architecture,
        hidden_size=shape.hidden,
        num_hidden_layers=layers or shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        intermediate_size=shape.feed_forward,
        vocab_size=shape.vocabulary,
        rope_theta=shape.rope_theta,
        rms_norm_eps=shape.norm_epsilon,
        max_position_embeddings=context,
        tie_word_embeddings=True,
        bos_token_id=256,
        eos_token_id=257,
        llama3_rope_factor=shape.rope_factor,
    )


def random_network(recipe: Recipe, folder: Path, progress: Progress | None = None) -> Network:
    """The network of a recipe; its tokenizer is written into `folder`.

    Raises:
        SpecError: the recipe is impossible.
    """
    config = recipe.config()
    return Network(
        name=f"{recipe.shape}-synthetic",
        config=config,
        tensors=RandomTensors(config, recipe.seed, progress),
        tokenizer=byte_tokenizer(folder / "tokenizer.json", config.vocab_size),
        synthetic=True,
    )


def synthesise(
    recipe: Recipe,
    target: Path | None = None,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write a synthetic model; it appears whole or not at all.

    Args:
        recipe: what to make.
        target: a `.gguf` file, or for the other formats a folder [default: `recipe.path()`].
        force: replace what is there.
        progress: told how many weights are made.

    Raises:
        SpecError: an impossible recipe, or something is there already.
        PrerequisiteError: a package or space is missing, or the place cannot be written.
    """
    config = recipe.config()
    target = (target or recipe.path()).expanduser().absolute()
    with _told(target):
        _check_target(target, recipe, force=force)
        target.parent.mkdir(parents=True, exist_ok=True)
        _check_space(target.parent, _bytes(config, recipe))
        # Beside its place: a rename never copies.
        with tempfile.TemporaryDirectory(prefix=".making-", dir=target.parent) as temporary:
            folder = Path(temporary)
            made = folder / target.name
            _export(random_network(recipe, folder, progress), made, recipe)
            if target.is_dir():  # which a rename does not replace
                target.replace(folder / "replaced")
            made.replace(target)
    return target


def recipe_of(model: Model) -> Recipe:
    """What a `synthetic` entry is made from."""
    return Recipe(
        shape=model.source.shape,
        format=model.format,
        quantisation=model.quantisation,
        seed=model.source.seed,
        context=model.context,
    )


def locate(model: Model) -> Path:
    """Where the weights of a `synthetic` entry lie.

    Raises:
        PrerequisiteError: they have not been made; `hint` makes them.
    """
    path = recipe_of(model).path()
    if not path.exists():
        raise PrerequisiteError(
            f"the random weights of {model.id} have not been made: {path} is missing",
            hint=recipe_of(model).command(),
            reason="model_missing",
        )
    return path


def byte_tokenizer(path: Path, vocab_size: int) -> Path:
    """Save a tokeniser of 256 byte tokens, `<t256>`, `<t257>` … and a single merge.

    The numbered tokens are never produced from text, only by the model: a prompt of
    n ASCII characters has n tokens. llama.cpp refuses a file without any merge.
    """
    # GPT-2's names of bytes: printable ones are themselves, the others follow from 256 on.
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    alphabet = sorted(chr(code) for code in [*printable, *range(256, 512 - len(printable))])
    never = ["þ", "ÿ"]  # bytes 254 and 255, which no UTF-8 text has
    tokens = [*alphabet, *(f"<t{i}>" for i in range(256, vocab_size - 1)), "".join(never)]
    ends = [{"id": i, "content": f"<t{i}>", "special": True} for i in (256, 257)]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    digits = {"type": "Digits", "individual_digits": True}
    document = {
        "version": "1.0",
        "added_tokens": [{**end, **flags} for end in ends],
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [digits, {**level, "use_regex": True}],
        },
        "decoder": {**level, "use_regex": True},
        "model": {
            "type": "BPE",
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": [never],
        },
    }
    path.write_text(json.dumps(document, ensure_ascii=False), "utf-8", newline="\n")
    return path


def _export(network: Network, made: Path, recipe: Recipe) -> None:
    if recipe.format == "gguf":
        export_gguf.export_gguf(network, made, recipe.quantisation)
    elif recipe.format == "onnx":
        export_onnx.export_onnx(network, made, recipe.quantisation)
    else:
        export_safetensors.export_safetensors(network, made, recipe.quantisation)


def _bytes(config: NetworkConfig, recipe: Recipe) -> int:
    """About how many bytes the weights take.

    Raises:
        PrerequisiteError: the package that writes the format is missing.
    """
    if recipe.format == "onnx":
        return export_onnx.weight_bytes(config, recipe.quantisation)
    if recipe.format == "safetensors":
        return config.parameters * export_safetensors.FORMATS[recipe.quantisation][1].itemsize
    return export_gguf.weight_bytes(config, recipe.quantisation)


def _check_target(target: Path, recipe: Recipe, *, force: bool) -> None:
    if recipe.format == "gguf" and target.suffix != ".gguf":
        raise SpecError(
            f"'{target.name}' is no name of a GGUF file",
            where=str(target),
            allowed="a name that ends in .gguf",
            reason="bad_target",
        )
    if target.exists() and not force:
        raise SpecError(
            "something is there already",
            where=str(target),
            allowed="a place that is free",
            hint="add --force to replace it, or choose another place with --out",
            reason="target_exists",
        )
    # What --force may replace is a model, never a folder of somebody's work.
    if target.is_dir() and not (target / "tokenizer.json").is_file():
        raise SpecError(
            "this folder holds no model and is not replaced",
            where=str(target),
            allowed="a folder that was made by `harness models synth`, or a new one",
            reason="target_exists",
        )


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE_BYTES:
        raise PrerequisiteError(
            f"the model takes {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free",
            where=str(folder),
            hint="free space, or choose another place with --out",
            reason="disk_full",
        )


@contextlib.contextmanager
def _told(target: Path) -> Iterator[None]:
    """Turn failures of the disk into the user's error."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise PrerequisiteError(
            f"cannot write: {error.strerror}",
            where=str(target),
            hint="free space, or choose another place with --out",
            reason="disk_full" if full else "unwritable",
        ) from error
