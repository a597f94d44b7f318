"""Chat prompts as a model wants them: its own template around a user's message.

A template is a program that came with the model. It runs in a child with limits
(`template_child`), in batches, so that none of them may take long. Workers get finished
text. Data: model file → `template_of` → child → texts.

An entry, or a profile for all of them, may ask for the suite's own `canonical` template
instead: a model that knows much more in its own may have the answers there.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from harness import sandbox
from harness.errors import HarnessError, SpecError, printable
from harness.models import template_files
from harness.models.template_files import Template
from harness.spec import Artefact, ChatTemplate, Format, Language, sha256

PROMPTS: Final = Path(__file__).parent / "prompts.json"
"""`[{category, ko, en}, …]`: neighbours are of different categories."""

CANONICAL: Final = Path(__file__).parent / "canonical.jinja"
"""Names no special token, so that it is the same text for every model. What changes it raises
the versions of the suites that show it to models (`plan.SUITE_VERSIONS`)."""

TIMEOUT_S: Final = 9.0
"""For a batch, the child's start included; an honest template takes a tenth of it."""
_BATCH: Final = 1000
_BATCH_CHARS: Final = 4 << 20
_QUOTED_CHARS: Final = 40
_GREETING: Final = "안녕하세요? 오늘은 어떤 이야기를 해 볼까요?"
"""Rendered beside all others: an exam's questions must not be treated as an exam's."""

_Conversation = Sequence[Mapping[str, str]]


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
        HarnessError: `no_chat_template`, or what `render` raises.
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
    if model.chat_template == "canonical":
        text = CANONICAL.read_text("utf-8")
        return Template(text, {}, special=False, stop="\nUser:")
    template = template_of(Path(artefact.path), model.format)
    if template is None:
        raise HarnessError(
            "the model's files hold no chat template",
            where=artefact.path,
            hint="use the instruction-tuned model, or write `chat_template: plain` in its entry",
            reason="no_chat_template",
        )
    return template


def with_template(artefact: Artefact, wanted: ChatTemplate) -> Artefact:
    """The artefact with its template's hash; one that is not there, or unreadable, has none.

    Args:
        wanted: `canonical` takes the place of a model's own template; networks that were
            trained without one keep their plain text.
    """
    if wanted == "canonical" and artefact.model.chat_template == "own":
        model = dataclasses.replace(artefact.model, chat_template=wanted)
        artefact = dataclasses.replace(artefact, model=model)
    try:
        template = required_template(artefact)
    except HarnessError:
        return artefact  # the suites that need it say so
    found = sha256(template.text.encode()) if template else ""
    return dataclasses.replace(artefact, template_sha256=found)


def template_of(path: Path, kind: Format) -> Template | None:
    """The chat template in a model's files, if any.

    Raises:
        HarnessError: `chat_template_failed`: it is there, but unreadable or too long.
    """
    try:
        return template_files.find(path, kind)
    except (OSError, SpecError, ValueError) as error:
        raise _failed(f"it cannot be read: {error}", path) from error


def render(
    template: Template, messages: Sequence[str], where: Path, *, timeout_s: float = TIMEOUT_S
) -> list[str]:
    """Each message as a conversation's only one, up to where the model's answer begins.

    Args:
        timeout_s: for each thousand of messages.

    Raises:
        HarnessError: `chat_template_failed` (it raises, or drops the message),
            `chat_template_escape` (it tries to leave the sandbox), `chat_template_limit`
            (too much memory, output or nesting), `chat_template_timeout` or
            `chat_template_varies` (what it adds depends on the message).
    """
    if not messages:
        return []
    asked = [*messages, _GREETING]
    conversations = [[{"role": "user", "content": message}] for message in asked]
    texts = _render(template, conversations, where, timeout_s, ask=True)
    for message, text in zip(asked, texts, strict=True):
        if message.strip() not in text:
            raise _failed("the message is not in what it makes", where)
    _require_one_frame(asked, texts, where)
    return texts[:-1]


def _require_one_frame(messages: Sequence[str], texts: Sequence[str], where: Path) -> None:
    """Refuse a template that reads the questions: what it adds has to be the same for all."""
    # In the longest one nothing of the frame can be taken for the message.
    longest, text = max(zip(messages, texts, strict=True), key=lambda pair: len(pair[0]))
    for taken in (str, str.strip):
        before, found, after = text.partition(taken(longest))
        if found and all(
            text == before + taken(message) + after
            for message, text in zip(messages, texts, strict=True)
        ):
            return
    raise _failed(
        "what it puts around a message depends on the message",
        where,
        reason="chat_template_varies",
    )


def quoted(template: Template, items: Iterable[str]) -> int:
    """How many texts share 40 characters in a row, spaces and case aside, with a template."""
    said = _bare(template.text + "".join(template.tokens.values()))
    parts = {said[i : i + _QUOTED_CHARS] for i in range(len(said) - _QUOTED_CHARS + 1)}
    return sum(
        any(text[i : i + _QUOTED_CHARS] in parts for i in range(len(text) - _QUOTED_CHARS + 1))
        for text in map(_bare, items)
    )


def _bare(text: str) -> str:
    return "".join(text.split()).casefold()


def render_turns(
    template: Template,
    turns: Sequence[Mapping[str, str]],
    where: Path,
    *,
    ask: bool = True,
    timeout_s: float = TIMEOUT_S,
) -> str:
    """One conversation of several turns, `{"role": …, "content": …}` each.

    Args:
        ask: end where the model's answer begins; otherwise end inside the last turn, which
            is an answer that the model is to go on with.

    Raises:
        HarnessError: as of `render`.
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
    conversations: Sequence[_Conversation],
    where: Path,
    timeout_s: float,
    *,
    ask: bool,
) -> list[str]:
    """Have children render, batch after batch."""
    texts: list[str] = []
    for batch in _batches(conversations):
        request = {
            "template": template.text,
            "tokens": template.tokens,
            "conversations": batch,
            "ask": ask,
        }
        texts += _answer_of_child(request, where, timeout_s)
    if any("\0" in text for text in texts):
        raise _failed("what it makes holds a NUL", where)
    return texts


def _batches(conversations: Sequence[_Conversation]) -> Iterator[list[_Conversation]]:
    """A long exam must not have its template's limits grow with it."""
    batch: list[_Conversation] = []
    chars = 0
    for conversation in conversations:
        length = sum(len(turn["content"]) for turn in conversation)
        if batch and (len(batch) == _BATCH or chars + length > _BATCH_CHARS):
            yield batch
            batch, chars = [], 0
        batch.append(conversation)
        chars += length
    if batch:
        yield batch


def _answer_of_child(request: Mapping[str, object], where: Path, timeout_s: float) -> list[str]:
    """What a child renders; how it ended says why it did not."""
    try:
        answer = sandbox.ask("harness.models.template_child", request, timeout_s=timeout_s)
    except TimeoutError as error:
        raise _failed(str(error), where, reason="chat_template_timeout") from error
    except ChildProcessError as error:
        status, words = error.args
        # A signal: the system ended it for what it took.
        reason = "chat_template_limit" if status < 0 else "chat_template_failed"
        message = f"its child ended with {status} {words}".strip()
        raise _failed(message, where, reason=reason) from None
    if "error" in answer:
        raise _failed(answer["error"], where, reason=answer["reason"])
    texts: list[str] = answer["texts"]
    return texts


def _failed(message: str, where: Path, *, reason: str = "chat_template_failed") -> HarnessError:
    # Templates word their own errors.
    return HarnessError(
        f"its chat template {_VERBS[reason]}: {printable(' '.join(message.split()))}",
        where=str(where),
        hint="fetch the model from its maker, or mend the template",
        reason=reason,
    )


_VERBS: Final = {
    "chat_template_failed": "failed",
    "chat_template_varies": "reads the questions",
    "chat_template_escape": "tries to leave its sandbox",
    "chat_template_limit": "takes too much",
    "chat_template_timeout": "takes too long",
}
