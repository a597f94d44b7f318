"""Our engines as a model of lm-evaluation-harness: its arguments, contexts and turns."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from harness.errors import HarnessError, PrerequisiteError, SpecError
from tests.interop.conftest import model

# Their warnings about themselves are not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def lm(lm_eval: ModuleType, cache: Path) -> Iterator[Any]:
    made = lm_eval.HarnessLM(model("fp32.onnx", cache), threads=1, context=64)
    yield made
    made.close()


def test_the_model_is_registered_under_its_name(
    lm_eval: ModuleType, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_eval.api.registry import get_model

    monkeypatch.setenv("HARNESS_CACHE", str(cache))
    kind = get_model("sllm-harness")
    assert kind is lm_eval.HarnessLM
    text = "pretrained=ref-2m.fp32.onnx,backend=onnxruntime,threads=1,context=64"
    made = kind.create_from_arg_string(text, {"batch_size": "auto", "device": None})
    assert made.max_length == 64
    assert made.engine_options.threads == 1
    assert made.artefact.model.id == "ref-2m.fp32.onnx"
    assert made.tokenizer_name.startswith("ref-2m.fp32.onnx.")
    made.close()


def test_the_context_is_what_the_model_declares_up_to_a_limit(
    lm_eval: ModuleType, cache: Path
) -> None:
    made = lm_eval.HarnessLM(model("fp32.onnx", cache))
    assert made.max_length == 2048
    assert made.engine_options.threads >= 1
    made.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pretrained": "ref-2m.fp32.onx"}, "did you mean 'ref-2m.fp32.onnx'"),
        ({"pretrained": "ref-2m.fp32.onnx", "backend": "llama_cpp"}, "does not run format 'onnx'"),
        ({"pretrained": "ref-2m.fp32.onnx", "backend": "onnx"}, "unknown backend 'onnx'"),
        ({"pretrained": "ref-2m.fp32.onnx", "thread": 2}, "did you mean 'threads'"),
    ],
)
def test_wrong_arguments_are_named(
    arguments: dict[str, Any],
    message: str,
    lm_eval: ModuleType,
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(cache))
    with pytest.raises(SpecError, match=message):
        lm_eval.HarnessLM(**arguments)


def test_long_contexts_are_cut_from_the_left(lm: Any) -> None:
    ids = list(range(2, 102))
    whole = lm._loglikelihood_tokens([(("a", "b"), ids, [5, 6])])
    cut = lm._loglikelihood_tokens([(("a", "b"), ids[-63:], [5, 6])])
    assert whole == cut
    with pytest.raises(HarnessError, match="exceeds the context of 64") as caught:
        lm._loglikelihood_tokens([(("a", "b"), [3], list(range(2, 70)))])
    assert caught.value.reason == "context_exceeded"


class Instance(NamedTuple):
    args: tuple[Any, ...]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"do_sample": True}, "at random"),
        ({"temperature": 0.7}, "at random"),
        ({"max_gen_toks": 64}, "leave no room"),
    ],
)
def test_answers_that_cannot_be_given_are_refused(
    settings: dict[str, Any], message: str, lm: Any
) -> None:
    with pytest.raises(SpecError, match=message):
        lm.generate_until([Instance(("가", settings))])


def test_settings_of_answers_are_read_as_lm_eval_does(lm: Any) -> None:
    (one,) = lm.generate_until([Instance(("57+68=", {"until": "\n", "max_new_tokens": 1}))])
    (three,) = lm.generate_until([Instance(("57+68=", {"until": ["\n"], "max_gen_toks": 3}))])
    assert three.startswith(one)
    assert len(lm.tok_encode(three)) > len(lm.tok_encode(one))


def test_a_start_token_can_be_asked_for(lm_eval: ModuleType, cache: Path) -> None:
    path = model("fp32.onnx", cache)
    made = lm_eval.HarnessLM(path, threads=1, context=64, add_bos_token=True)
    bare = made.engine.encode("가나")
    assert made.tok_encode("가나") == [0, *bare]
    assert made.tok_encode("<|endoftext|>가나") == [0, *bare], "not a second one"
    assert made.tok_encode("가나", add_special_tokens=False) == bare
    made.close()


def test_plain_models_get_plain_turns(
    lm_eval: ModuleType, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(cache))
    made = lm_eval.HarnessLM("ref-2m.fp32.onnx", threads=1, context=64)
    turns = [
        {"role": "system", "content": "짧게."},
        {"role": "user", "content": "1+1?"},
        {"role": "assistant", "content": "2"},
        {"role": "user", "content": "2+2?"},
    ]
    assert made.apply_chat_template(turns) == "짧게.\n1+1?\nA: 2\n2+2?\nA:"
    begun = [turns[1], {"role": "assistant", "content": "답은"}]
    assert made.apply_chat_template(begun, add_generation_prompt=False) == "1+1?\nA: 답은"
    assert made.chat_template(chat_template=True) == ""
    made.close()


NO_SYSTEM = """{%- for message in messages %}
{%- if message.role == 'system' %}{{ raise_exception('no system') }}{% endif %}
{{- '<' + message.role + '>' + message.content }}
{%- endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"""


def test_the_models_own_template_is_used(lm_eval: ModuleType, cache: Path, tmp_path: Path) -> None:
    import shutil

    folder = shutil.copytree(model("fp32.onnx", cache).parent, tmp_path / "chat.fp32.onnx")
    made = lm_eval.HarnessLM(folder, threads=1, context=64)
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": "안녕"}]
    with pytest.raises(HarnessError) as caught:
        made.apply_chat_template(turns)
    assert caught.value.reason == "no_chat_template"
    (folder / "chat_template.jinja").write_text(NO_SYSTEM, "utf-8")
    assert made.chat_template(chat_template=True) == NO_SYSTEM
    assert made.apply_chat_template(turns) == "<user>안녕<assistant>", "without the system's turn"
    made.close()


def test_without_lm_eval_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.delitem(sys.modules, "harness.interop.lm_eval", raising=False)
    with pytest.raises(PrerequisiteError, match="lm-evaluation-harness") as caught:
        import harness.interop.lm_eval  # noqa: F401
    assert caught.value.hint.endswith('pip install "sllm-harness[lm-eval]"')
