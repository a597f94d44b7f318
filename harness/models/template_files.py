"""Chat templates where models keep them: in a GGUF file, or beside an ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from harness.models.gguf_file import GgufFile, read_header
from harness.preflight import documents
from harness.preflight.rules import TEMPLATE_CHARS_MAX
from harness.spec import Format

_TOKENS: Final = ("bos_token", "eos_token", "unk_token", "pad_token")
_GGUF_TOKENS: Final = {
    "bos_token": "tokenizer.ggml.bos_token_id",
    "eos_token": "tokenizer.ggml.eos_token_id",
    "unk_token": "tokenizer.ggml.unknown_token_id",
    "pad_token": "tokenizer.ggml.padding_token_id",
}


class Template(NamedTuple):
    """A chat template.

    Attributes:
        tokens: texts of special tokens that it may name.
        special: its text spells special tokens, such as `<|im_start|>`.
        stop: text at which an answer in it ends; empty = only the model ends it.
    """

    text: str
    tokens: Mapping[str, str]
    special: bool = True
    stop: str = ""


def find(path: Path, kind: Format) -> Template | None:
    """The chat template in a GGUF file, or in the folder around an ONNX graph, if any.

    Raises:
        SpecError, OSError, ValueError: it is there, but unreadable, no text or too long.
    """
    found = _in_gguf(read_header(path)) if kind == "gguf" else _in_folder(path)
    if found:
        whole = "".join([found.text, *found.tokens.values()])
        if len(whole) > TEMPLATE_CHARS_MAX:
            raise ValueError(f"it has {len(whole)} characters, at most {TEMPLATE_CHARS_MAX} may be")
        whole.encode()  # JSON can spell half a character
    return found


def _in_gguf(file: GgufFile) -> Template | None:
    text = file.metadata.get("tokenizer.chat_template")
    if not isinstance(text, str) or not text.strip():
        return None
    tokens = {}
    for name, key in _GGUF_TOKENS.items():
        index = file.metadata.get(key)
        if isinstance(index, int) and (token := file.string_at("tokenizer.ggml.tokens", index)):
            tokens[name] = token
    return Template(text, tokens)


def _in_folder(graph: Path) -> Template | None:
    """`chat_template.jinja`, else `tokenizer_config.json`, else `chat_template.json`."""
    home = graph if graph.is_dir() else graph.parent
    if not (home / "tokenizer.json").is_file():
        home = home.parent
    config = _read_object(home / "tokenizer_config.json")
    beside = home / "chat_template.jinja"
    if beside.is_file():
        text = _read_text(beside)
    else:
        text = _template_in(config) or _template_in(_read_object(home / "chat_template.json"))
    if not text.strip():
        return None
    tokens = {}
    for name in _TOKENS:
        token = config.get(name)
        content = token.get("content") if isinstance(token, dict) else token
        if isinstance(content, str):
            tokens[name] = content
    return Template(text, tokens)


def _template_in(config: Mapping[str, Any]) -> str:
    """A template may be a string, or a list of named ones of which `default` is for chat."""
    found = config.get("chat_template")
    if isinstance(found, list):
        chat = [t for t in found if isinstance(t, dict) and t.get("name") == "default"]
        found = chat[-1].get("template") if chat else None
    return found if isinstance(found, str) else ""


def _read_object(path: Path) -> dict[str, Any]:
    return documents.read(path) if path.is_file() else {}


def _read_text(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(4 * TEMPLATE_CHARS_MAX + 1)  # UTF-8 takes four bytes at most
    if len(data) > 4 * TEMPLATE_CHARS_MAX:
        raise ValueError(f"{path.name} has more than {TEMPLATE_CHARS_MAX} characters")
    return data.decode("utf-8")
