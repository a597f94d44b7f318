"""Templates that try to leave their sandbox, or to take the machine with them.

`python -m tests.hostile_templates` renders every bomb with the real limits and prints how long
each took and the most memory that its child held.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from harness.errors import HarnessError
from harness.models import chat
from harness.models.template_files import Template


class Hostile(NamedTuple):
    """What a template says, and a word of the refusal that names what it tried."""

    text: str
    tried: str
    kind: str = "escape"


ESCAPES = {
    "classes": Hostile("{{ ''.__class__.__mro__[1].__subclasses__() }}", "__class__"),
    "silent": Hostile("{{ 'x' if ''.__class__ else 'y' }}", "__class__"),
    "defined": Hostile("{{ ''.__class__ is defined }}", "__class__"),
    "subscript": Hostile("{{ ''['__class__'] }}", "__class__"),
    "spelled": Hostile(r"{{ ''['\x5f\x5fclass\x5f\x5f'] }}", "__class__"),
    "attr": Hostile("{{ '' | attr('__class__') }}", "__class__"),
    "attr in parts": Hostile("{{ '' | attr(['__cla', 'ss__'] | join) }}", "__class__"),
    "mro": Hostile("{{ dict.mro() }}", "mro"),
    "range": Hostile("{{ range.__globals__ }}", "__globals__"),
    "cycler": Hostile(
        "{{ cycler.__init__.__globals__.os.popen('touch FILE; echo $SECRET').read() }}", "__init__"
    ),
    "joiner": Hostile("{{ joiner.__init__.__globals__.os.environ.SECRET }}", "__init__"),
    "namespace": Hostile(
        "{{ namespace.__init__.__globals__.__builtins__.open('FILE', 'w').write('x') }}", "__init__"
    ),
    "network": Hostile(
        "{{ cycler.__init__.__globals__.__builtins__.__import__('socket')"
        ".create_connection(('127.0.0.1', PORT)) }}",
        "__init__",
    ),
    "lipsum": Hostile("{{ lipsum.__globals__['os'].system('touch FILE') }}", "lipsum", "failed"),
    "method": Hostile("{{ cycler('a').next.__func__.__code__.co_consts }}", "__func__"),
    "undefined": Hostile("{{ nothing.__init__.__globals__.sys.modules }}", "__init__"),
    "generator": Hostile("{{ (['a'] | map('upper')).gi_frame.f_globals }}", "gi_frame"),
    "self": Hostile("{{ self._TemplateReference__context.vars }}", "_TemplateReference__context"),
    "loop": Hostile("{% for x in [1] %}{{ loop._iterator }}{% endfor %}", "_iterator"),
    "macro": Hostile("{% macro m() %}{% endmacro %}{{ m._func.__globals__ }}", "_func"),
    "caller": Hostile(
        "{% macro m() %}{{ caller._func.__globals__ }}{% endmacro %}{% call m() %}{% endcall %}",
        "_func",
    ),
    "format": Hostile("{{ '{0.__class__.__mro__}'.format('') }}", "__class__"),
    "format stored": Hostile("{% set f = '{0.__class__}'.format %}{{ f('') }}", "__class__"),
    "format passed": Hostile(
        "{% macro m(f) %}{{ f('') }}{% endmacro %}{{ m('{0.__class__}'.format) }}", "__class__"
    ),
    "format by attr": Hostile("{{ ('{0.__class__}' | attr('format'))('') }}", "__class__"),
    "format of markup": Hostile("{{ ('{0.__class__}' | safe).format('') }}", "__class__"),
    "format map": Hostile("{{ '{a.__class__}'.format_map({'a': ''}) }}", "__class__"),
    "map attribute": Hostile("{{ [''] | map(attribute='__class__') | list }}", "__class__"),
    "map attr": Hostile("{{ [''] | map('attr', '__class__') | list }}", "__class__"),
    "groupby": Hostile("{{ [''] | groupby('__class__') }}", "__class__"),
    "sort": Hostile("{{ ['b', 'a'] | sort(attribute='__class__') }}", "__class__"),
    "selectattr": Hostile("{{ [''] | selectattr('__class__') | list }}", "__class__"),
    "sum": Hostile("{{ [''] | sum(attribute='__class__') }}", "__class__"),
    "append": Hostile("{% set a = [] %}{{ a.append(1) }}", "append"),
    "update": Hostile("{% set a = {} %}{{ a.update(b=1) }}", "update"),
    "include": Hostile("{% include '/etc/passwd' %}", "/etc/passwd"),
    "include if there": Hostile("{% include '/etc/passwd' ignore missing %}", "/etc/passwd"),
    "import": Hostile("{% import '/etc/passwd' as p %}", "/etc/passwd"),
    "from": Hostile("{% from '/etc/passwd' import root %}", "/etc/passwd"),
    "extends": Hostile("{% extends '/etc/passwd' %}", "/etc/passwd"),
    "debug": Hostile("{% debug %}", "debug", "failed"),
    "do": Hostile("{% do [].append(1) %}", "do", "failed"),
    "xmlattr": Hostile("{{ {'a onload=x': 1} | xmlattr }}", "a onload=x", "failed"),
    "random": Hostile("{{ ['a', 'b'] | random }}", "random", "failed"),
}
"""For every Jinja environment of ours; FILE, PORT and `$SECRET` are to be filled in."""

CHAT_ESCAPES = {
    "messages append": Hostile("{{ messages.append({'role': 'user'}) }}", "append"),
    "messages pop": Hostile("{% set m = messages.pop(0) %}{{ m.content }}", "pop"),
    "messages insert": Hostile("{{ messages.insert(0, {}) }}", "insert"),
    "message update": Hostile("{{ messages[0].update({'content': 'x'}) }}", "update"),
    "message setdefault": Hostile("{{ messages[0].setdefault('tools', []) }}", "setdefault"),
    "raise_exception": Hostile("{{ raise_exception.__globals__.sandbox }}", "__globals__"),
    "strftime_now": Hostile("{{ strftime_now.__self__.__class__ }}", "__self__"),
    "tojson default": Hostile("{{ messages | tojson(default=dict) }}", "default", "failed"),
    "tojson cls": Hostile("{{ messages | tojson(cls=namespace) }}", "cls", "failed"),
    "generation": Hostile(
        "{% generation %}{{ messages.__class__ }}{% endgeneration %}", "__class__"
    ),
}
"""For chat templates alone."""

_DEEP = "{% set n = namespace(x=1) %}{% for i in range(20000) %}{% set n.x = STEP %}{% endfor %}"
BOMBS = {
    "loops": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "product": "{{ range(99999) | map('string') | map('center', 9999) | map('length') | sum }}"
    "{% for i in range(99999) %}{{ range(99999) | sum == 0 }}{% endfor %}",
    "power": "{{ 7 ** (10 ** 9) % 7 }}",
    "doubling": "{% set n = namespace(x='a') %}"
    "{% for i in range(60) %}{% set n.x = n.x * 2 %}{% endfor %}",
    "padding": "{{ 'a' | center(3000000000) }}",
    "product of strings": "{{ 'a' * 3000000000 }}",
    "wide range": "{{ range(10 ** 9) | join }}",
    "many texts": "{% for i in range(99999) %}{{ 'a' * 9999 }}{% endfor %}",
    "macro": "{% macro m() %}{{ m() }}{{ m() }}{% endmacro %}{{ m() }}",
    "parentheses": "{{ " + "(" * 250_000 + "1" + ")" * 10,
    "blocks": "{% if 1 %}" * 26_000,
    "source of 1 MB": "{{ " + "[" * 1_000_000,  # longer than what a file may hold
    "deep list": _DEEP.replace("STEP", "[n.x]") + "{{ n.x | tojson }}",
    "deep tuple": _DEEP.replace("STEP", "(n.x,)") + "{{ {n.x: 1} }}",
}
"""What must end within 10 s and 1 GiB, whatever it is."""


class Ended(NamedTuple):
    """How a bomb ended, after how long, and the largest child of this process by then."""

    reason: str
    seconds: float
    peak_bytes: int


def detonate(text: str, timeout_s: float = chat.TIMEOUT_S) -> Ended:
    """Render a template as any model's is."""
    begun = time.perf_counter()
    reason = "rendered"
    try:
        chat.render(Template(text, {}), ["hi"], Path("bomb.gguf"), timeout_s=timeout_s)
    except HarnessError as error:
        reason = error.reason
    seconds = time.perf_counter() - begun
    return Ended(reason, seconds, largest_child_bytes())


def largest_child_bytes() -> int:
    """Peak resident memory of the largest child that has ended."""
    import resource  # Windows has none

    kib: int = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return kib << 10


def detonated(name: str, timeout_s: float = chat.TIMEOUT_S) -> Ended:
    """The same in a process of its own, none of whose other children were larger."""
    command = [sys.executable, "-m", "tests.hostile_templates", name, str(timeout_s)]
    done = subprocess.run(command, capture_output=True, check=True)
    return Ended(*json.loads(done.stdout))


if __name__ == "__main__":
    if sys.argv[1:]:
        sys.stdout.write(json.dumps(detonate(BOMBS[sys.argv[1]], float(sys.argv[2]))))
    else:
        for bomb in BOMBS:
            reason, seconds, peak_bytes = detonated(bomb)
            sys.stdout.write(f"{bomb:20} {reason:24} {seconds:5.2f} s {peak_bytes >> 20:5} MiB\n")
