"""Write a model in the exact shape of Qwen2.5-0.5B with random weights, for speed tests.

Usage: python -m tests.perf.make_05b OUT --format gguf --quant q4_0

Nothing is downloaded and no licence applies; kernels take the same time as with
real weights. Its text is noise, so it never gets an accuracy score.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from pathlib import Path

import click

from harness.models import export_gguf, export_onnx, export_safetensors
from harness.models.network import Network, NetworkConfig, RandomTensors

QWEN25_05B = NetworkConfig(
    architecture="qwen2",
    hidden_size=896,
    num_hidden_layers=24,
    num_attention_heads=14,
    num_key_value_heads=2,
    head_dim=64,
    intermediate_size=4864,
    vocab_size=151_936,
    rope_theta=1e6,
    rms_norm_eps=1e-6,
    max_position_embeddings=32_768,
    tie_word_embeddings=True,
    bos_token_id=256,
    eos_token_id=257,
)


def byte_tokenizer(path: Path, vocab_size: int) -> Path:
    """Save a tokeniser of 256 byte tokens, `<t256>`, `<t257>` … and a single merge.

    The numbered tokens are never produced from text, only by the model: a prompt of
    n ASCII characters has n tokens. llama.cpp refuses a file without any merge.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merged = alphabet[-2] + alphabet[-1]  # two bytes that never meet in UTF-8 text
    tokens = [*alphabet, *(f"<t{i}>" for i in range(len(alphabet), vocab_size - 1)), merged]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    pair = (alphabet[-2], alphabet[-1])
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[pair]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    document = json.loads(tokenizer.to_str())
    ends = [{"id": i, "content": f"<t{i}>"} for i in (256, 257)]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    document["added_tokens"] = [{**end, **flags, "special": True} for end in ends]
    path.write_text(json.dumps(document, ensure_ascii=False), "utf-8")
    return path


@click.command(help=__doc__)
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--format", "kind", type=click.Choice(["gguf", "onnx", "safetensors"]), default="gguf"
)
@click.option("--quant", default="q4_0", help="q4_0, q8_0, f16, f32; int4, int8, fp32; f16, f32.")
@click.option("--layers", default=QWEN25_05B.num_hidden_layers, show_default=True)
@click.option("--context", default=4096, show_default=True, help="Positions in the rotary tables.")
@click.option(
    "--every-row",
    is_flag=True,
    help="ONNX graphs without the input that chooses rows of logits, as others export them.",
)
def main(out: Path, kind: str, quant: str, layers: int, context: int, *, every_row: bool) -> None:
    """Write the model to the file (GGUF) or folder (ONNX, safetensors) OUT."""
    config = dataclasses.replace(
        QWEN25_05B, num_hidden_layers=layers, max_position_embeddings=context
    )
    with tempfile.TemporaryDirectory() as temporary:
        network = Network(
            name="qwen2.5-0.5b-shape",
            config=config,
            tensors=RandomTensors(config),
            tokenizer=byte_tokenizer(Path(temporary) / "tokenizer.json", config.vocab_size),
            synthetic=True,
        )
        if kind == "gguf":
            export_gguf.export_gguf(network, out, quant)
        elif kind == "safetensors":
            export_safetensors.export_safetensors(network, out, quant)
        else:
            export_onnx.export_onnx(network, out, quant, logits_rows=not every_row)


if __name__ == "__main__":
    main()
