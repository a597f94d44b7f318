"""Which tool to call, with which arguments, or none where no tool fits.

The tools are listed as signatures, `book_room(room:str, day:str, hour?:int)`, a question
mark being an argument that is given only if the user sets it. Every tool has a twin with
the same arguments that does something else (`light_on`, `light_off`). Level 1 lists one
tool with one argument. Level 2 lists a tool with two arguments and its twin. Level 3 lists
three tools, one of them the twin, with a third argument that is optional: half of the
users set it, the others name such a value for another time. In a quarter of these items
the tool that would fit is not listed, and `none` is right.

Wrong choices are the twin, wrong arguments, or both. At level 3 `none` takes the place of
one of them, so that it is right as often as it would be by chance.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from harness.spec import Form, Language
from harness.suites.tasks import jsontext
from harness.suites.tasks.base import Grade, Item, Setting, data, grade, make_item
from harness.suites.tasks.draw import Draw
from harness.suites.tasks.slots import Field, Word, fill, read_fields

NAME: Final = "tools"
VERSION: Final = 1
CHANCE: Final[Mapping[Form, float]] = {"choice": 0.25, "free": 1 / 12}
"""Free: the share of items whose answer is `none`."""

NONE: Final = "none"
MAX_TOKENS: Final = 200
"""The same for every item: a smaller cap would tell a refusal."""

Arguments = dict[str, int | str]


class Family(NamedTuple):
    """Two tools that take the same arguments; tools of one topic could do for each other."""

    topic: str
    tools: tuple[str, str]
    parameters: tuple[str, ...]

    def signature(self, tool: str) -> str:
        """`light_on(room:str)`."""
        return f"{tool}({', '.join(self.parameters)})"

    def twin(self, tool: str) -> str:
        """The other tool."""
        return self.tools[1 - self.tools.index(tool)]


class Template(NamedTuple):
    """What a user says: `sets` and `recalls` set the optional argument, or only name one."""

    name: str
    tool: str
    text: str
    arguments: tuple[Field, ...]
    sets: str
    recalls: str


_DATA: Final = data("tools")
FAMILIES: Final = tuple(
    Family(row["topic"], tuple(row["tools"]), tuple(row["parameters"])) for row in _DATA["families"]
)
_FAMILY: Final = {tool: family for family in FAMILIES for tool in family.tools}


def _template(row: Mapping[str, str]) -> Template:
    optional = row.get("with", ""), row.get("without", "")
    return Template(row["name"], row["tool"], row["text"], read_fields(row["arguments"]), *optional)


TEMPLATES: Final = {
    language: tuple(map(_template, _DATA[language]["templates"])) for language in ("ko", "en")
}


def _level(template: Template) -> int:
    return len(template.arguments)


def templates(language: Language) -> Mapping[str, tuple[int, ...]]:
    """Each template has the level of its number of arguments."""
    return {template.name: (_level(template),) for template in TEMPLATES[language]}


def _call(tool: str, arguments: Arguments) -> str:
    return json.dumps({"name": tool, "arguments": arguments}, ensure_ascii=False)


def _arguments(
    draw: Draw, template: Template, slots: Mapping[str, Word], *, is_set: bool
) -> tuple[Arguments, Arguments]:
    """The right arguments, and wrong ones out of what the user says."""
    every = template.arguments
    optional = every[-1].name if template.sets else ""
    right = {each.name: slots[each.slot].value for each in every}
    mistaken = {each.name: slots[each.other or each.slot].value for each in every}
    flips = bool(optional) and (mistaken == right or draw.below(2) == 0)
    wrong = dict(right) if flips else mistaken
    if optional and not is_set:
        del right[optional]
    if optional and is_set == flips:
        del wrong[optional]
    return right, wrong


def _listed(draw: Draw, template: Template, *, refused: bool) -> list[str]:
    """The signatures of an item in random order."""
    family = _FAMILY[template.tool]
    tools = [template.tool, family.twin(template.tool)][: _level(template)]
    if _level(template) == 3:
        other = draw.pick([each for each in FAMILIES if each.topic != family.topic])
        # A pair of twins and a third tool are listed either way.
        tools = [tools[1], *other.tools] if refused else [*tools, draw.pick(other.tools)]
    return [_FAMILY[tool].signature(tool) for tool in draw.shuffled(tools)]


def _wrong(
    draw: Draw, template: Template, right: Arguments, wrong: Arguments, *, refused: bool
) -> list[str]:
    """Three wrong choices."""
    twin = _FAMILY[template.tool].twin(template.tool)
    calls = [_call(template.tool, wrong), _call(twin, right), _call(twin, wrong)]
    if refused:
        # Any three: the choices look as they do where the tool is listed.
        return draw.shuffled([*calls, _call(template.tool, right)])[:3]
    return [*draw.shuffled(calls)[:2], NONE] if _level(template) == 3 else calls


def generate(setting: Setting, draw: Draw) -> Item:
    """Build one item; see the module."""
    level = draw.between(1, 3)
    template = draw.pick([each for each in TEMPLATES[setting.language] if _level(each) == level])
    refused = level == 3 and draw.below(4) == 0
    is_set = draw.below(2) == 0
    said = f"{template.text} {template.sets if is_set else template.recalls}".strip()
    slots = fill(draw, setting.language, said)
    right, wrong = _arguments(draw, template, slots, is_set=is_set)
    tools = "\n".join(_listed(draw, template, refused=refused))
    question = _DATA[setting.language]["question"].format(tools, said.format(**slots))
    answer = NONE if refused else _call(template.tool, right)
    return make_item(
        setting,
        draw,
        template=template.name,
        level=level,
        question=question,
        answer=answer,
        wrong=_wrong(draw, template, right, wrong, refused=refused),
        asked=f"{question}\n\n{_DATA[setting.language]['how']}",
        max_tokens=MAX_TOKENS,
    )


class Call(NamedTuple):
    """A call that was read; the name `none` and no arguments is a refusal."""

    name: str
    arguments: Mapping[str, Any]


_REFUSAL: Final = Call(NONE, {})

# A name, and brackets without any inside; possessive, so that no text takes long.
_NOTATION: Final = re.compile(
    r"""(?<!\w)[A-Za-z_]\w{0,63}\((?:[^()\[\]{}"'\\\n]|"[^"\\\n]*+"|'[^'\\\n]*+'){0,400}+\)"""
)
_REFUSES: Final = re.compile(
    r"none(?![a-z_])|(?:\S{1,20} ){0,3}none(?:입니다|이에요|예요|이다)?[.!]?$"
)
_MARKUP: Final = " \t`*_\"'>#-.("


def _as_call(found: Mapping[str, Any]) -> Call | None:
    name, arguments = found.get("name"), found.get("arguments", {})
    if isinstance(name, str) and name.lower() == NONE and not arguments:
        return _REFUSAL
    return Call(name, arguments) if isinstance(name, str) and isinstance(arguments, dict) else None


def _literal(node: ast.expr) -> object:
    """The constant that was written; `true` and `false` count as well."""
    if isinstance(node, ast.Name) and node.id in {"true", "false"}:
        return node.id == "true"
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        return None


def _notation(written: str) -> Call | None:
    """`set_alarm(hour=7, minute=30)` as a call; nothing is ever executed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            node = ast.parse(written, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.args:
        return None
    arguments = {str(each.arg): _literal(each.value) for each in node.keywords}
    return Call(node.func.id, arguments) if len(arguments) == len(node.keywords) else None


def _refuses(text: str) -> bool:
    """Whether a line begins with `none`, or is a short sentence that ends in it."""
    for line in text.lower().splitlines():
        unlabelled = line.rpartition(":")[2]
        if any(_REFUSES.match(part.strip(_MARKUP)) for part in (line, unlabelled)):
            return True
    return False


def _read(text: str) -> Call | None:
    """The first call in a text: as JSON, else as Python writes it, else a refusal."""
    text = text[: jsontext.LONGEST]
    for found in jsontext.objects(text):
        call = _as_call(found)
        if call is not None:
            return call
    written: Sequence[str] = _NOTATION.findall(text)[: jsontext.MOST_STARTS]
    calls = (call for each in written if (call := _notation(each)) is not None)
    return next(calls, _REFUSAL if _refuses(text) else None)


def mark(text: str, item: Item) -> Grade:
    """Compare the call with the right one, the order of its arguments aside.

    Strict: the text is the call and nothing else, its values of the right type. Loose: the
    first call in the text is it, in JSON or as Python writes it, numbers perhaps quoted.
    """
    if item.answer == NONE:
        strict = text.strip() == NONE
        read = _REFUSAL if strict else _read(text)
        return grade(answered=read is not None, strict=strict, loose=read == _REFUSAL)
    expected = json.loads(item.answer)
    right: Arguments = expected["arguments"]
    read = _read(text)
    loose = (
        read is not None
        and read.name == expected["name"]
        and read.arguments.keys() == right.keys()
        and all(jsontext.same(value, read.arguments[name]) for name, value in right.items())
    )
    whole = jsontext.whole_object(text)
    strict = (
        loose
        and whole is not None
        and whole.keys() == expected.keys()
        and all(jsontext.exactly(value, whole["arguments"][name]) for name, value in right.items())
    )
    return grade(answered=read is not None, strict=strict, loose=loose)
