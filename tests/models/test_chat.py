"""Prompts reach a model in its own template, and a template can do no harm."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness import sandbox
from harness.errors import HarnessError, SpecError
from harness.models import chat
from harness.models.chat import Template, prompts, render, rendered, template_of
from harness.models.export_gguf import export_gguf
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
        ({"tokenizer_config.json": []}, "no JSON object"),
        ({"chat_template.jinja": "x" * 300_000}, "300000 characters"),
    ],
)
def test_an_unreadable_template_has_failed(
    tmp_path: Path, files: dict[str, object], message: str
) -> None:
    with pytest.raises(HarnessError, match=message) as caught:
        template_of(folder(tmp_path, files), "onnx")
    assert caught.value.reason == "chat_template_failed"


def test_a_huge_configuration_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat, "_CONFIG_BYTES_MAX", 1 << 20)
    graph = folder(tmp_path, {"tokenizer_config.json": {"chat_template": "x" * (1 << 20)}})
    with pytest.raises(HarnessError, match="larger than 1 MiB") as caught:
        template_of(graph, "onnx")
    assert caught.value.reason == "chat_template_failed"


@pytest.mark.parametrize(("kind", "policy"), [("gguf", "plain"), ("fake", "own")])
def test_plain_prompts_ask_for_an_answer(tmp_path: Path, kind: str, policy: Any) -> None:
    result = rendered(artefact(tmp_path / "absent", kind, chat_template=policy), ("ko",), 3)
    assert result == {"ko": tuple(f"{text}\nA:" for text in prompts("ko", 3))}


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
        ("{{ {'b': '<안녕?>'} | tojson(indent=1) }}", '{\n "b": "<안녕?>"\n}'),
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
        "TemplateError: only\\u001b[2J English",
    ),
    "no template": ("{% for %}", "TemplateSyntaxError"),
    "unknown tag": ("{% include '/etc/passwd' %}", "TypeError: no loader"),
    "classes": ("{{ ''.__class__.__mro__ }}", "SecurityError"),
    "modules": ("{{ cycler.__init__.__globals__.os.popen('id').read() }}", "SecurityError"),
    "changes": ("{{ messages.append(1) }}", "SecurityError"),
    "formats": ("{{ '{0.__class__.__mro__}'.format(messages) }}", "SecurityError"),
    "drops the message": ("hello", "the message is not in what it makes"),
    "surrogate": (r"{{ '\ud800' }}{{ messages[0].content }}", "UnicodeEncodeError"),
    "long": ("{{ 'a' * 2000000 }}", "more than 1048576 characters"),
    "long in parts": (
        "{% for i in range(99999) %}{{ 'a' * 1000 }}{% endfor %}",
        "more than 1048576 characters",
    ),
    "recursive": ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
    "nested source": ("{{ " + "(" * 100_000, "RecursionError"),
    "wide range": ("{{ range(10**9) | list }}", "Range too big"),
}


@pytest.mark.parametrize(("template", "message"), NAUGHTY.values(), ids=NAUGHTY)
def test_a_template_that_misbehaves_has_failed(template: str, message: str) -> None:
    with pytest.raises(HarnessError) as caught:
        one(template)
    assert caught.value.reason == "chat_template_failed"
    assert caught.value.where == str(HERE)
    assert message in " ".join(caught.value.message.split())
    assert caught.value.message.isprintable()


@pytest.mark.skipif("sys.platform == 'win32'", reason="Windows has no such limits")
@pytest.mark.parametrize(
    "template",
    [
        "{{ 'a' * 3000000000 }}",
        "{{ '%2000000000d' % 1 }}",
        "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x * 2 %}{% endfor %}",
    ],
)
def test_a_template_cannot_take_all_memory(template: str) -> None:
    with pytest.raises(HarnessError, match="MemoryError") as caught:
        one(template)
    assert caught.value.reason == "chat_template_failed"


def test_a_template_cannot_run_for_ever() -> None:
    endless = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
    with pytest.raises(HarnessError, match="takes more than 1 s") as caught:
        render(Template(endless, {}), ["hi"], HERE, timeout_s=1.0)
    assert caught.value.reason == "chat_template_timeout"


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
    }
    monkeypatch.setattr("sys.stdin", _Stdin(json.dumps(request)))
    monkeypatch.setattr(sandbox, "limit", lambda cpu_s: order.append(f"limit {cpu_s}"))
    monkeypatch.setattr(sandbox, "confine", lambda access: order.append(f"read {access.read}"))
    compiled = chat._compiled
    monkeypatch.setattr(chat, "_compiled", _noting(order, compiled))
    sandbox.serve(chat._answer)
    assert order == ["limit 21", "read ['/a/file']", "compile"]
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
