"""Prompts reach a model in its own template, and a template can do no harm."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness import sandbox
from harness.errors import HarnessError, SpecError
from harness.models import chat, template_child
from harness.models.chat import Template, prompts, render, rendered, template_of
from harness.models.export_gguf import export_gguf
from harness.plan import SUITE_VERSIONS
from harness.spec import Artefact, Model, Source

if TYPE_CHECKING:
    from harness.models.network import Network

HERE = Path("model.gguf")
CHATML = """{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}"""


def artefact(path: Path, kind: str = "gguf", **fields: Any) -> Artefact:
    model = Model(
        id="a.b.c",
        family="a",
        format=kind,  # type: ignore[arg-type]
        quantisation="b",
        source=Source(kind="file", path=str(path)),
        **fields,
    )
    return Artefact(model=model, path=str(path), sha256={}, size_bytes=0)


def folder(path: Path, files: Mapping[str, object]) -> Path:
    """An ONNX folder with the given files; returns its graph."""
    path.mkdir(exist_ok=True)
    for name, content in {"tokenizer.json": {}, "model.onnx": "graph", **files}.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (path / name).write_text(text, "utf-8")
    return path / "model.onnx"


# --- prompts ------------------------------------------------------------------------


def test_every_prompt_is_there_in_both_languages() -> None:
    found = json.loads(chat.PROMPTS.read_text("utf-8"))
    assert len(found) >= 20
    for prompt in found:
        assert prompt.keys() == {"category", "ko", "en"}
        assert all(40 <= len(prompt[language]) <= 1500 for language in ("ko", "en"))
        korean = sum("가" <= char <= "힣" for char in prompt["ko"])
        assert korean > len(prompt["ko"]) / 5
        assert prompt["en"].isascii()
    assert len({prompt["ko"] for prompt in found}) == len(found)


def test_a_few_prompts_are_varied_already() -> None:
    categories = [prompt["category"] for prompt in json.loads(chat.PROMPTS.read_text("utf-8"))]
    assert len(set(categories[:8])) == 8
    assert all(first != second for first, second in pairwise(categories))


def test_prompts_come_in_a_fixed_order() -> None:
    assert prompts("ko", 10)[:4] == prompts("ko", 4)
    assert prompts("en", 1) != prompts("ko", 1)
    with pytest.raises(SpecError, match="25 chat prompts") as caught:
        prompts("en", 25)
    assert caught.value.allowed == "at most 24"


# --- where templates are found -----------------------------------------------------


def test_a_gguf_file_holds_its_template_and_tokens(toy: Network, tmp_path: Path) -> None:
    gguf = pytest.importorskip("gguf")
    plain = tmp_path / "plain.gguf"
    export_gguf(toy, plain, "f16")
    assert template_of(plain, "gguf") is None
    writer = gguf.GGUFWriter(tmp_path / "chat.gguf", "llama")
    writer.add_token_list(["<bos>", "끝"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_unk_token_id(9)
    writer.add_chat_template("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    found = template_of(tmp_path / "chat.gguf", "gguf")
    assert found is not None
    assert found.tokens == {"bos_token": "<bos>", "eos_token": "끝"}
    result = rendered(artefact(tmp_path / "chat.gguf"), ("ko", "en"), 2)
    assert result == {
        language: tuple(f"<bos>{text}끝" for text in prompts(language, 2))
        for language in ("ko", "en")
    }


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, None),
        ({"tokenizer_config.json": {"chat_template": None}}, None),
        ({"tokenizer_config.json": {"chat_template": " "}}, None),
        ({"tokenizer_config.json": {"chat_template": "config"}}, "config"),
        (
            {
                "tokenizer_config.json": {
                    "chat_template": [
                        {"name": "tool_use", "template": "tools"},
                        {"name": "default", "template": "config"},
                    ]
                }
            },
            "config",
        ),
        ({"tokenizer_config.json": {"chat_template": [{"name": "rag", "template": "x"}]}}, None),
        ({"tokenizer_config.json": {"chat_template": [{"name": ["default"]}, 1]}}, None),
        ({"chat_template.json": {"chat_template": "processor"}}, "processor"),
        (
            {"tokenizer_config.json": {"chat_template": "config"}, "chat_template.jinja": "한글"},
            "한글",
        ),
    ],
)
def test_where_an_onnx_folder_has_its_template(
    tmp_path: Path, files: dict[str, object], expected: str | None
) -> None:
    found = template_of(folder(tmp_path, files), "onnx")
    assert (found and found.text) == expected


def test_special_tokens_of_a_folder_are_texts_or_objects(tmp_path: Path) -> None:
    config = {
        "chat_template": "x",
        "bos_token": None,
        "eos_token": {"content": "<|im_end|>", "special": True},
        "pad_token": "<pad>",
    }
    graph = folder(tmp_path, {"tokenizer_config.json": config})
    found = template_of(graph, "onnx")
    assert found == Template("x", {"eos_token": "<|im_end|>", "pad_token": "<pad>"})


def test_a_graph_may_lie_one_folder_below(tmp_path: Path) -> None:
    folder(tmp_path, {"chat_template.jinja": CHATML})
    (tmp_path / "onnx").mkdir()
    (tmp_path / "model.onnx").rename(tmp_path / "onnx" / "model.onnx")
    result = rendered(artefact(tmp_path / "onnx" / "model.onnx", "onnx"), ("en",), 1)
    (text,) = prompts("en", 1)
    assert result == {
        "en": (f"<|im_start|>user\n{text}<|im_end|>\n<|im_start|>assistant\n",),
    }


def test_without_a_template_the_reason_says_so(tmp_path: Path) -> None:
    with pytest.raises(HarnessError) as caught:
        rendered(artefact(folder(tmp_path, {}), "onnx"), ("en",), 1)
    assert caught.value.reason == "no_chat_template"
    assert "chat_template: plain" in caught.value.hint


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"tokenizer_config.json": "{"}, "cannot be read"),
        ({"tokenizer_config.json": []}, "holds no object"),
        ({"chat_template.jinja": "x" * 300_000}, "300000 characters, at most 262144"),
        (
            {"tokenizer_config.json": {"chat_template": "x", "bos_token": "y" * 300_000}},
            "300001 characters",
        ),
        ({"tokenizer_config.json": "[" * 100_000}, "nested hundreds deep"),
        ({"tokenizer_config.json": '{"chat_template": "\\ud800"}'}, "surrogates not allowed"),
    ],
)
def test_an_unreadable_template_has_failed(
    tmp_path: Path, files: dict[str, object], message: str
) -> None:
    with pytest.raises(HarnessError, match=message) as caught:
        template_of(folder(tmp_path, files), "onnx")
    assert caught.value.reason == "chat_template_failed"


def test_a_huge_configuration_is_not_read(tmp_path: Path) -> None:
    graph = folder(tmp_path, {"tokenizer_config.json": {"chat_template": "x" * (8 << 20)}})
    with pytest.raises(HarnessError, match="more than 8 MiB") as caught:
        template_of(graph, "onnx")
    assert caught.value.reason == "chat_template_failed"


def test_a_huge_template_is_not_read(tmp_path: Path) -> None:
    graph = folder(tmp_path, {"chat_template.jinja": "가" * 400_000})
    with pytest.raises(HarnessError, match="more than 262144 characters") as caught:
        template_of(graph, "onnx")
    assert caught.value.reason == "chat_template_failed"


def test_a_template_that_is_no_utf8_has_failed(tmp_path: Path) -> None:
    graph = folder(tmp_path, {})
    (tmp_path / "chat_template.jinja").write_bytes(b"{{ bos_token }}\xff")
    with pytest.raises(HarnessError, match="can't decode byte 0xff") as caught:
        template_of(graph, "onnx")
    assert caught.value.reason == "chat_template_failed"


@pytest.mark.parametrize(("kind", "policy"), [("gguf", "plain"), ("fake", "own")])
def test_plain_prompts_ask_for_an_answer(tmp_path: Path, kind: str, policy: Any) -> None:
    result = rendered(artefact(tmp_path / "absent", kind, chat_template=policy), ("ko",), 3)
    assert result == {"ko": tuple(f"{text}\nA:" for text in prompts("ko", 3))}


# --- the suite's own template ---------------------------------------------------------


def test_the_canonical_template_is_the_same_for_every_model(tmp_path: Path) -> None:
    graph = folder(tmp_path, {"chat_template.jinja": "{{ messages[0].content }} The answer is 42."})
    found = chat.with_template(artefact(graph, "onnx"), "canonical")
    assert found.model.chat_template == "canonical"
    (text,) = prompts("ko", 1)
    assert rendered(found, ("ko",), 1) == {"ko": (f"User: {text}\n\nAssistant:",)}
    template = chat.required_template(found)
    assert template is not None
    assert (template.special, template.stop) == (False, "\nUser:")
    assert chat.render_turns(template, TURNS, graph, ask=False) == (
        "System: 짧게\n\nUser: 1+1?\n\nAssistant: 답은"
    )


def test_the_canonical_template_changes_with_the_suites_versions_only() -> None:
    """Who edits it raises both versions, then writes the new hash down here."""
    found = hashlib.sha256(chat.CANONICAL.read_bytes()).hexdigest()
    versions = (SUITE_VERSIONS["task"], SUITE_VERSIONS["accuracy"])
    assert (versions, found[:12]) == ((1, 2), "3a8479d7fc76")


def test_an_artefact_has_the_hash_of_its_template(tmp_path: Path) -> None:
    graph = folder(tmp_path, {"chat_template.jinja": CHATML})
    own = chat.with_template(artefact(graph, "onnx"), "own")
    assert own.template_sha256 == hashlib.sha256(CHATML.encode()).hexdigest()
    assert own.model.chat_template == "own"
    plain = chat.with_template(artefact(graph, "onnx", chat_template="plain"), "canonical")
    assert (plain.model.chat_template, plain.template_sha256) == ("plain", "")
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff")
    assert chat.with_template(artefact(graph, "onnx"), "own").template_sha256 == ""


# --- what templates may do -----------------------------------------------------------


def one(template: str, message: str = "안녕?", **tokens: str) -> str:
    (text,) = render(Template(template, tokens), [message], HERE)
    return text


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (CHATML, "<|im_start|>user\n안녕?<|im_end|>\n<|im_start|>assistant\n"),
        # Blocks leave no line of their own, as transformers sets Jinja up.
        ("  {% if true %}\n{{ messages[0]['content'] }}\n  {% endif %}\n", "안녕?\n"),
        ("{{ messages | tojson }}", '[{"role": "user", "content": "안녕?"}]'),
        (
            "{{ {'b': '<' ~ messages[0].content ~ '>'} | tojson(indent=1) }}",
            '{\n "b": "<안녕?>"\n}',
        ),
        ("{{ strftime_now('%d %b %Y') }} {{ messages[0].content }}", "01 Jan 2026 안녕?"),
        ("{% for m in messages * 3 %}{{ m.content }}{% break %}{% endfor %}", "안녕?"),
        ("{% generation %}{{ messages[0].content }}{% endgeneration %}", "안녕?"),
        ("{{ tools is none }}{{ documents is none }}{{ messages[0].content }}", "TrueTrue안녕?"),
        ("{{ enable_thinking is defined }}{{ messages[0].content }}", "False안녕?"),
        ("{{ bos_token }}{{ messages[0].content | trim }}{{ eos_token }}", "<s>안녕?"),
    ],
)
def test_templates_see_what_transformers_gives_them(template: str, expected: str) -> None:
    assert one(template, bos_token="<s>") == expected


NAUGHTY = {
    "raises": (
        "{{ raise_exception('only\x1b[2J English') }}",
        "failed",
        "TemplateError: only\\u001b[2J English",
    ),
    "no template": ("{% for %}", "failed", "TemplateSyntaxError"),
    "drops the message": ("hello", "failed", "the message is not in what it makes"),
    "NUL": ("{{ messages[0].content }}\0", "failed", "holds a NUL"),
    "reads the question": (
        "{{ messages[0].content }}{% if '?' in messages[0].content[:3] %} Answer: 42{% endif %}",
        "varies",
        "what it puts around a message depends on the message",
    ),
    "surrogate": (r"{{ '\ud800' }}{{ messages[0].content }}", "failed", "UnicodeEncodeError"),
    "no file": ("{% include '/etc/passwd' %}", "escape", "the template file '/etc/passwd'"),
    "long": ("{{ 'a' * 2000000 }}", "limit", "more than 1048576 characters"),
    "wide range": ("{{ range(10**9) | list }}", "limit", "Range too big"),
}


@pytest.mark.parametrize(("template", "kind", "message"), NAUGHTY.values(), ids=NAUGHTY)
def test_a_template_that_misbehaves_is_refused(template: str, kind: str, message: str) -> None:
    with pytest.raises(HarnessError) as caught:
        one(template)
    assert caught.value.reason == f"chat_template_{kind}"
    assert caught.value.where == str(HERE)
    assert message in " ".join(caught.value.message.split())
    assert caught.value.message.isprintable()


@pytest.mark.parametrize("message", ["user", "<", " spaces \n", "A:"])
def test_messages_that_look_like_the_frame_are_no_reason_to_refuse(message: str) -> None:
    expected = f"<|im_start|>user\n{message}<|im_end|>\n<|im_start|>assistant\n"
    assert one(CHATML, message) == expected
    trimmed = CHATML.replace("message.content", "message.content | trim")
    assert one(trimmed, message) == expected.replace(f"\n{message}", f"\n{message.strip()}")


def test_questions_in_a_template_are_counted() -> None:
    long = "Which of the four harbours of the Song dynasty was named Zaitun by travellers?"
    template = Template("{# " + long.upper().replace(" ", "\n") + " #}{{ messages }}", {})
    items = [f"Question: {long}", long[:39], "Which harbour is it?"]
    assert chat.quoted(template, items) == 1
    assert chat.quoted(Template(CHATML, {}), items) == 0
    assert chat.quoted(Template(CHATML, {"bos_token": long}), items) == 1


def test_a_template_cannot_run_for_ever() -> None:
    endless = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    with pytest.raises(HarnessError, match="takes more than 1 s") as caught:
        render(Template(endless, {}), ["hi"], HERE, timeout_s=1.0)
    assert caught.value.reason == "chat_template_timeout"
    assert chat.TIMEOUT_S < 10


def test_long_exams_are_rendered_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the number of messages nor their length changes a text or its place."""
    sizes: list[int] = []
    ask = sandbox.ask

    def noting(module: str, request: Mapping[str, Any], *, timeout_s: float) -> dict[str, Any]:
        sizes.append(len(request["conversations"]))
        return ask(module, request, timeout_s=timeout_s)

    monkeypatch.setattr(sandbox, "ask", noting)
    messages = [f"message {i}" for i in range(2200)]
    messages[1500] += "가" * 300_000
    monkeypatch.setattr(chat, "_BATCH_CHARS", 300_000)
    texts = render(Template("<{{ messages[0].content }}>", {}), messages, HERE)
    assert texts == [f"<{message}>" for message in messages]
    assert sizes == [1000, 500, 1, 700]


def test_all_texts_of_a_batch_together_have_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_child, "_ALL_CHARS_MAX", 10)
    request = {"template": "{{ messages[0].content }}", "tokens": {}, "ask": True}
    three = [[{"role": "user", "content": text}] for text in ("1234", "5678", "90")]
    assert "texts" in template_child.answer(request | {"conversations": three})
    refused = template_child.answer(request | {"conversations": [*three, three[0]]})
    assert refused["reason"] == "chat_template_limit"


def test_a_child_that_dies_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jinja2.py").write_text(
        "import os, sys\nsys.stderr.write('ouch\\n')\nos._exit(7)\n"
    )
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    with pytest.raises(HarnessError, match="its child ended with 7 ouch") as caught:
        one(CHATML)
    assert caught.value.reason == "chat_template_failed"


TURNS = [
    {"role": "system", "content": "짧게"},
    {"role": "user", "content": "1+1?"},
    {"role": "assistant", "content": " 답은 "},
]


def test_conversations_have_several_turns() -> None:
    asked = chat.render_turns(Template(CHATML, {}), TURNS, HERE)
    assert asked == (
        "<|im_start|>system\n짧게<|im_end|>\n<|im_start|>user\n1+1?<|im_end|>\n"
        "<|im_start|>assistant\n 답은 <|im_end|>\n<|im_start|>assistant\n"
    )
    begun = chat.render_turns(Template(CHATML, {}), TURNS, HERE, ask=False)
    assert begun.endswith("<|im_start|>assistant\n 답은"), "the model goes on from here"


def test_a_conversation_without_its_last_turn_is_refused() -> None:
    with pytest.raises(HarnessError, match="the last turn is not in what it makes"):
        chat.render_turns(Template("{{ messages[0].content }}", {}), TURNS, HERE, ask=False)


def test_the_limits_hold_without_a_parent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The child limits itself before it compiles anything of the template."""
    order: list[str] = []
    turns = [{"role": "user", "content": "hi"}]
    request = {
        "template": CHATML,
        "tokens": {},
        "conversations": [turns],
        "ask": True,
        "cpu_s": 21,
        "readable": ["/a/file"],
        "parent": 7,
    }
    monkeypatch.setattr("sys.stdin", _Stdin(json.dumps(request)))
    monkeypatch.setattr(sandbox, "attend", lambda parent: order.append(f"attend {parent}"))
    monkeypatch.setattr(sandbox, "limit", lambda cpu_s: order.append(f"limit {cpu_s}"))
    monkeypatch.setattr(sandbox, "confine", lambda access: order.append(f"read {access.read}"))
    monkeypatch.setattr(template_child, "compiled", _noting(order, template_child.compiled))
    sandbox.serve(template_child.answer)
    assert order == ["attend 7", "limit 21", "read ['/a/file']", "compile"]
    assert json.loads(capsys.readouterr().out) == {
        "texts": ["<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"]
    }


class _Stdin:
    def __init__(self, text: str) -> None:
        self.text = text

    def read(self) -> str:
        return self.text


def _noting(order: list[str], call: Callable[[str], Any]) -> Callable[[str], Any]:
    def noted(text: str) -> Any:
        order.append("compile")
        return call(text)

    return noted
