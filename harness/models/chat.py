"""Chat prompts as a model wants them: its own template around a user's message.

A template is a program that came with the model. It runs in a child with limits
(`sandbox`), set up as `transformers` does it, so that the text is the one the model was
trained on. Workers get finished text. Data: model file → `template_of` → child → texts.

One thing differs on purpose: `strftime_now` always tells `DATE`, or prompts, and with
them token counts, would change from day to day.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from harness import sandbox
from harness.errors import HarnessError, SpecError, printable
from harness.models.gguf_file import GgufFile, read_header
from harness.spec import Artefact, Format, Language

PROMPTS: Final = Path(__file__).parent / "prompts.json"
"""`[{category, ko, en}, …]`: neighbours are of different categories."""

DATE: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""What every template takes for now."""

_TIMEOUT_S: Final = 20.0
_CONVERSATIONS_PER_S: Final = 200
_TEMPLATE_CHARS_MAX: Final = 1 << 18
_CONFIG_BYTES_MAX: Final = 32 << 20
_TOKENS: Final = ("bos_token", "eos_token", "unk_token", "pad_token")
_GGUF_TOKENS: Final = {
    "bos_token": "tokenizer.ggml.bos_token_id",
    "eos_token": "tokenizer.ggml.eos_token_id",
    "unk_token": "tokenizer.ggml.unknown_token_id",
    "pad_token": "tokenizer.ggml.padding_token_id",
}


class Template(NamedTuple):
    """A chat template, and the texts of special tokens that it may name."""

    text: str
    tokens: Mapping[str, str]


def prompts(language: Language, count: int) -> tuple[str, ...]:
    """The first `count` chat prompts, the same in every language, of rotating categories.

    Raises:
        SpecError: there are not so many.
    """
    found: list[dict[str, str]] = json.loads(PROMPTS.read_text("utf-8"))
    if count > len(found):
        raise SpecError(
            f"{count} chat prompts are asked for",
            allowed=f"at most {len(found)}",
            hint="correct the profile's task suite",
            reason="too_many_prompts",
        )
    return tuple(prompt[language] for prompt in found[:count])


def rendered(
    artefact: Artefact, languages: Sequence[Language], count: int
) -> dict[str, tuple[str, ...]]:
    """Chat prompts for one model by language: in its own template, or as plain lines.

    Raises:
        HarnessError: `no_chat_template`, `chat_template_failed` (it raises, leaves the
            sandbox, takes too much memory or output, or drops the message) or
            `chat_template_timeout`.
        SpecError: more prompts than there are.
    """
    asked: dict[str, tuple[str, ...]] = {name: prompts(name, count) for name in languages}
    template = required_template(artefact)
    if template is None:
        return {name: tuple(f"{text}\nA:" for text in texts) for name, texts in asked.items()}
    messages = [text for texts in asked.values() for text in texts]
    answers = iter(render(template, messages, Path(artefact.path)))
    return {name: tuple(next(answers) for _ in texts) for name, texts in asked.items()}


def required_template(artefact: Artefact) -> Template | None:
    """The template that a model's prompts need; None where its entry wants plain text.

    Raises:
        HarnessError: `no_chat_template`, or `chat_template_failed` where it is unreadable.
    """
    model = artefact.model
    # What the fake backend runs has no files that could hold a template.
    if model.chat_template == "plain" or model.format == "fake":
        return None
    template = template_of(Path(artefact.path), model.format)
    if template is None:
        raise HarnessError(
            "the model's files hold no chat template",
            where=artefact.path,
            hint="use the instruction-tuned model, or write `chat_template: plain` in its entry",
            reason="no_chat_template",
        )
    return template


def template_of(path: Path, kind: Format) -> Template | None:
    """The chat template in a GGUF file, or in the folder around an ONNX graph, if any.

    Raises:
        HarnessError: `chat_template_failed`: it is there, but unreadable or too long.
    """
    try:
        found = _in_gguf(read_header(path)) if kind == "gguf" else _in_folder(path)
    except (OSError, SpecError, ValueError) as error:
        raise _failed(f"it cannot be read: {error}", path) from error
    if found and len(found.text) > _TEMPLATE_CHARS_MAX:
        raise _failed(f"it has {len(found.text)} characters", path)
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
        named = {item.get("name"): item.get("template") for item in found if isinstance(item, dict)}
        found = named.get("default")
    return found if isinstance(found, str) else ""


def _read_object(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    found = json.loads(_read_text(path))
    if not isinstance(found, dict):
        raise ValueError(f"{path.name} holds no JSON object")  # noqa: TRY004  (a wrong file)
    return found


def _read_text(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(_CONFIG_BYTES_MAX + 1)
    if len(data) > _CONFIG_BYTES_MAX:
        raise ValueError(f"{path.name} is larger than {_CONFIG_BYTES_MAX >> 20} MiB")
    return data.decode("utf-8")


def render(
    template: Template, messages: Sequence[str], where: Path, *, timeout_s: float = _TIMEOUT_S
) -> list[str]:
    """Each message as a conversation's only one, up to where the model's answer begins.

    Raises:
        HarnessError: `chat_template_failed`, `chat_template_timeout`.
    """
    conversations = [[{"role": "user", "content": message}] for message in messages]
    texts = _render(template, conversations, where, timeout_s, ask=True)
    for message, text in zip(messages, texts, strict=True):
        if message.strip() not in text:
            raise _failed("the message is not in what it makes", where)
    return texts


def render_turns(
    template: Template,
    turns: Sequence[Mapping[str, str]],
    where: Path,
    *,
    ask: bool = True,
    timeout_s: float = _TIMEOUT_S,
) -> str:
    """One conversation of several turns, `{"role": …, "content": …}` each.

    Args:
        ask: end where the model's answer begins; otherwise end inside the last turn, which
            is an answer that the model is to go on with.

    Raises:
        HarnessError: `chat_template_failed`, `chat_template_timeout`.
    """
    (text,) = _render(template, [[dict(turn) for turn in turns]], where, timeout_s, ask=ask)
    if ask or not turns:
        return text
    begun = turns[-1]["content"].strip()
    if begun not in text:
        raise _failed("the last turn is not in what it makes", where)
    return text[: text.rindex(begun) + len(begun)]


def _render(
    template: Template,
    conversations: Sequence[Sequence[Mapping[str, str]]],
    where: Path,
    timeout_s: float,
    *,
    ask: bool,
) -> list[str]:
    """Have a child render; its answer is checked for being one."""
    # Exams render thousands of prompts at once.
    timeout_s += len(conversations) / _CONVERSATIONS_PER_S
    request = {
        "template": template.text,
        "tokens": template.tokens,
        "conversations": conversations,
        "ask": ask,
    }
    try:
        answer = sandbox.ask("harness.models.chat", request, timeout_s=timeout_s)
    except TimeoutError as error:
        raise _failed(str(error), where, reason="chat_template_timeout") from error
    except ChildProcessError as error:
        status, words = error.args
        raise _failed(f"its child ended with {status} {words}".strip(), where) from None
    if "error" in answer:
        raise _failed(answer["error"], where)
    texts: list[str] = answer["texts"]
    return texts


def _failed(message: str, where: Path, *, reason: str = "chat_template_failed") -> HarnessError:
    # Templates word their own errors.
    return HarnessError(
        f"its chat template failed: {printable(' '.join(message.split()))}",
        where=str(where),
        hint="fetch the model from its maker, or mend the template",
        reason=reason,
    )


# --- the child ----------------------------------------------------------------------


def _compiled(text: str) -> Callable[..., str]:
    """A function from variables to text, as long as that is below the cap."""
    from jinja2.exceptions import TemplateError
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks the answer for training; here it does nothing."""

        tags = {"generation"}  # noqa: RUF012  (the base class's type)

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    def tojson(value: Any, **options: Any) -> str:
        # Jinja's own escapes HTML.
        return json.dumps(value, ensure_ascii=False, **options)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = DATE.strftime
    template = environment.from_string(text)

    def render_one(**variables: Any) -> str:
        return sandbox.joined(template.generate(**variables))

    return render_one


def _answer(request: Mapping[str, Any]) -> dict[str, Any]:
    """A template and conversations in, texts out."""
    try:
        render_one = _compiled(request["template"])
        texts = [
            render_one(
                messages=conversation,
                tools=None,
                documents=None,
                add_generation_prompt=request["ask"],
                **request["tokens"],
            )
            for conversation in request["conversations"]
        ]
    except Exception as error:  # noqa: BLE001  (whatever a template raises is its failure)
        return {"error": sandbox.words_of(error)}
    return {"texts": texts}


if __name__ == "__main__":
    sandbox.serve(_answer)
