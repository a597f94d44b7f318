"""The rules that a submitted model must keep, each with the words a startup reads.

The ids are reason codes. docs/preflight.md lists the same table; a test compares them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NoReturn

from harness.errors import SpecError, printable

TEMPLATE_CHARS_MAX: Final = 1 << 18
DEVICES: Final = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *(\..*)?")
"""Names in small letters that are no file's on Windows."""

RULES: Final[Mapping[str, str]] = {
    # files and folders
    "file_kind": "models are regular files and folders",
    "file_link": "no symbolic or hard links in a submitted folder",
    "file_name": "names in UTF-8 without control characters, at most 255 bytes",
    "file_type": ".gguf .onnx .onnx_data .onnx.data .data .safetensors .model .json .jsonl .txt "
    ".jinja .md, and README, LICENSE, NOTICE files",
    "folder_size": "at most 4,096 files, 8 folders deep, paths of at most 1,024 bytes",
    # GGUF: the header
    "gguf_magic": "a file that begins with GGUF",
    "gguf_version": "GGUF version 2 or 3, little-endian",
    "gguf_truncated": "every count, length and text of the header ends inside the file",
    "gguf_count": "at most 65,536 entries and tensors, 16,777,216 elements an array, "
    "1 MiB a text, 64 MiB of header",
    "gguf_key": "keys of the metadata are unique, not empty, and UTF-8",
    "gguf_value": "texts in UTF-8, numbers, truth values, and arrays of these",
    "gguf_alignment": "general.alignment is an unsigned 32-bit power of two, at most 1 MiB",
    "gguf_tensor_name": "names of tensors are unique, 1 to 63 bytes, and UTF-8",
    "gguf_tensor_shape": "1 to 4 dimensions above 0, rows of whole blocks, fewer than 2^63 "
    "elements",
    "gguf_tensor_type": "a number type that ggml has today; vectors are F32, "
    "and no matrix holds whole numbers",
    "gguf_tensor_place": "each tensor begins where the one before it ended, rounded up to the "
    "alignment",
    "gguf_tensor_outside": "every tensor ends inside the file",
    # GGUF: what it says
    "gguf_no_model": "a whole language model in one file: no adapter, projector, control vector, "
    "encoder, importance matrix or session",
    "gguf_split": "one file: join the parts with `llama-gguf-split --merge`",
    "gguf_number": "hyperparameters in the range that networks have",
    "gguf_tokenizer": "tokenizer.ggml.model is llama, gpt2, gemma4, plamo2 or rwkv",
    "gguf_vocabulary": "as many scores, types and embedding rows as tokens, at most 1,048,576",
    "gguf_token": "tokens differ, are UTF-8 of at most 4,096 bytes without NUL, and byte tokens "
    "are written <0x00> to <0xFF>, all of which a vocabulary of the kind llama has",
    "gguf_special_token": "ids of special tokens lie inside the vocabulary",
    "template_size": "a chat template has at most 262,144 characters",
    # JSON, tokenisers, safetensors
    "json_invalid": "one JSON object in UTF-8",
    "json_size": "at most 128 MiB for tokenizer.json, 8 MiB for other JSON files",
    "json_depth": "JSON nested at most 32 deep, with at most 8,388,608 values",
    "tokenizer_invalid": "a tokenizer.json that the `tokenizers` package opens",
    "tokenizer_type": "BPE, Unigram, WordPiece or WordLevel, without custom parts",
    "tokenizer_ids": "ids of tokens differ and are below 1,048,576",
    "tokenizer_limit": "a tokeniser that opens and encodes some kilobytes within seconds, in 1 GiB",
    "safetensors_header": "a header of at most 64 MiB that ends inside the file, with tensors of "
    "known types and whole shapes",
    "safetensors_place": "tensors follow each other without gaps or overlaps and fill the file",
    # archives
    "archive_type": ".zip, .tar, .tar.gz, .tar.bz2 or .tar.xz, not damaged and not encrypted",
    "archive_entry": "only regular files and folders",
    "archive_name": "relative names without `..`, drives or reserved words, each of them once",
    "archive_size": "at most 4,096 entries and 64 GiB, and no more than 200 bytes out of one",
    "archive_disk": "room on the disk for all of it",
    # the child that judges
    "preflight_limit": "judged within its time and 1 GiB of memory",
    "preflight_crashed": "a file that can be judged without a crash",
}
"""Rule by id, in words. What each one defends against is in docs/preflight.md."""


def refuse(
    path: Path | str, rule: str, message: str, *, place: str = "", hint: str = ""
) -> NoReturn:
    """Refuse a file: what is wrong, where in it, and the rule that it breaks.

    Args:
        place: inside the file, such as `byte 24` or `tensor 'a'`.

    Raises:
        SpecError: always; its text is printable, whatever the file holds.
    """
    raise SpecError(
        printable(message),
        where=printable(f"{path}: {place}" if place else str(path)),
        allowed=RULES[rule],
        hint=hint or "export the model again, or fetch it from its maker",
        reason=rule,
    )
