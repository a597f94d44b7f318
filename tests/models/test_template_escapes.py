"""No template leaves its sandbox: each attempt is an error that names what was tried."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from harness.errors import HarnessError
from harness.heldout import render as heldout
from harness.models import chat, template_child
from harness.models.template_files import Template
from tests.hostile_templates import CHAT_ESCAPES, ESCAPES, Hostile

SECRET = "canary-5f1d"
HARMFUL = ("cycler", "joiner", "namespace", "network", "lipsum")


class Canary(NamedTuple):
    """What a template that gets out would leave: a file, a connection, a value."""

    file: Path
    server: socket.socket

    def fill(self, template: str) -> str:
        port = str(self.server.getsockname()[1])
        return template.replace("FILE", str(self.file)).replace("PORT", port)

    def died(self, output: str) -> bool:
        try:
            self.server.accept()[0].close()
        except BlockingIOError:
            return SECRET in output or self.file.exists()
        return True


@pytest.fixture
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Canary]:
    monkeypatch.setenv("SECRET", SECRET)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield Canary(tmp_path / "canary", server)


def chat_answer(template: str) -> dict[str, Any]:
    request = {"template": template, "tokens": {"bos_token": "<s>"}, "ask": True}
    conversations = [[{"role": "user", "content": "hi"}]]
    return template_child.answer(request | {"conversations": conversations})


def heldout_answer(template: str) -> dict[str, Any]:
    templates = {"text": template, "choice": "", "target": ""}
    return heldout._answer({"templates": templates, "docs": [{"q": "hi"}]})


@pytest.mark.parametrize("hostile", (ESCAPES | CHAT_ESCAPES).values(), ids=ESCAPES | CHAT_ESCAPES)
def test_an_escape_is_refused_by_name(hostile: Hostile, canary: Canary) -> None:
    answer = chat_answer(canary.fill(hostile.text) + "{{ messages[0].content }}")
    assert answer.keys() == {"error", "reason"}
    assert answer["reason"] == f"chat_template_{hostile.kind}"
    assert hostile.tried in answer["error"]
    assert not canary.died(answer["error"])


@pytest.mark.parametrize("hostile", ESCAPES.values(), ids=ESCAPES)
def test_a_task_file_cannot_either(hostile: Hostile, canary: Canary) -> None:
    answer = heldout_answer(canary.fill(hostile.text) + "{{ q }}")
    assert answer["field"] == "text"
    assert hostile.tried in answer["error"] or "'nothing' is undefined" in answer["error"]
    assert not canary.died(answer["error"])


@pytest.mark.parametrize("name", HARMFUL)
def test_harm_is_refused_in_the_real_child(name: str, canary: Canary) -> None:
    with pytest.raises(HarnessError) as caught:
        chat.render(Template(canary.fill(ESCAPES[name].text), {}), ["hi"], Path("m.gguf"))
    assert caught.value.reason == f"chat_template_{ESCAPES[name].kind}"
    assert ESCAPES[name].tried in caught.value.message
    assert "mend the template" in caught.value.hint
    assert not canary.died(str(caught.value))


@pytest.mark.skipif(os.name == "nt", reason="the harm is a shell's")
@pytest.mark.parametrize("name", HARMFUL)
def test_the_harm_is_real_without_a_sandbox(name: str, canary: Canary) -> None:
    script = "import jinja2, sys; print(jinja2.Template(sys.argv[1]).render())"
    command = [sys.executable, "-c", script, canary.fill(ESCAPES[name].text)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert canary.died(done.stdout)


HONEST = {
    "private keys": "{{ {'__class__': 'yes'}['__class__'] }}",
    "keys like methods": "{{ {'append': 'yes'}['append'] }}",
    "absent names": "{{ nothing }}{{ messages[0].tool_calls }}{{ nothing is defined }}",
    "a list that grows": "{% set a = [] %}{% for i in range(3) %}{% set a = a + [i] %}{% endfor %}",
    "namespace": "{% set ns = namespace(found=false) %}{% set ns.found = true %}{{ ns.found }}",
    "format": "{{ '{} and {a[0]}'.format(1, a=['b']) }}{{ '%s-%d' | format('a', 3) }}",
    "attributes": "{{ messages | map(attribute='role') | join(',') }}"
    "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}",
    "macros": "{% macro m(x) %}{{ x }}{% endmacro %}{{ m(1) }}{{ caller is defined }}",
    "cycler": "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ joiner()() }}",
    "loops": "{% for m in messages %}{{ loop.index0 }}{{ loop.last }}{{ loop.length }}{% endfor %}",
    "text": "{{ ' a '.strip().upper().split('x')[0] }}{{ 'a</think>b'.split('</think>')[-1] }}",
    "json": "{{ messages | tojson(indent=2) }}{{ [1] | tojson(ensure_ascii=True) }}",
}


@pytest.mark.parametrize("template", HONEST.values(), ids=HONEST)
def test_what_honest_templates_do_is_allowed(template: str) -> None:
    answer = chat_answer(template)
    assert answer.keys() == {"texts"}, answer
