"""What a short text is to be like, to satisfy an instruction or to miss it by a little.

Each instruction sets a field or two of an `Outline`, either as it asks (`good`) or in a way
that breaks it; `drafts` writes the text. Nothing here decides whether a text satisfies
anything: `instructions` does.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from harness.spec import Language
from harness.suites.tasks.base import data
from harness.suites.tasks.draw import Draw
from harness.suites.tasks.instructions import Params

DATA: Final[dict[str, Any]] = data("ifeval")
STYLES: Final = ("요", "니다", "다")
"""Korean endings, in the order of the frames."""


@dataclass(slots=True, kw_only=True)
class Outline:
    """What a text is to be like.

    Attributes:
        topics: how many sentences hold the topic.
        style: Korean ending of the sentences; `odd` gives one of them another.
        extras: further nouns in the first sentence, at most two.
        asked: how many sentences are questions, -1 for all.
        count: number of sentences, the closing among them.
        marker: what the text begins with; `late` puts it before the second sentence.
        joiner: what stands between sentences.
        item: what each line begins with, `{}` being its number.
        wrap: text around the whole, `{}` being the whole.
    """

    language: Language
    topic: str
    style: str
    count: int = 1
    topics: int = 1
    odd: bool = False
    extras: list[str] = field(default_factory=list)
    asked: int = 0
    exclaimed: int = 0
    blanks: int = 0
    blank_marks: str = "[]"
    prefix: str = ""
    marker: str = ""
    comma: bool = False
    late: bool = False
    joiner: str = " "
    item: str = ""
    closing: str = ""
    early: bool = False
    doubled: bool = False
    case: str = ""
    wrap: list[str] = field(default_factory=list)
    whole: str = ""


def _other(draw: Draw, options: list[Any], one: Any) -> Any:
    return draw.pick([each for each in options if each != one])


def _near(draw: Draw, n: int, *, good: bool) -> int:
    return n if good else max(1, n + draw.pick((-1, 1)))


def _include(o: Outline, p: Params, draw: Draw, *, good: bool) -> None:
    extras = DATA[o.language]["extras"]
    o.extras.append(p["word"] if good else _other(draw, extras, p["word"]))


def _forbid(o: Outline, p: Params, draw: Draw, *, good: bool) -> None:
    _include(o, p, draw, good=not good)


def _count(o: Outline, p: Params, draw: Draw, *, good: bool) -> None:
    o.count = _near(draw, p["n"], good=good)


def _frequency(o: Outline, p: Params, draw: Draw, *, good: bool) -> None:
    o.topics = _near(draw, p["n"], good=good)
    o.count = max(o.count, p["n"] + 1)


def _paragraphs(o: Outline, p: Params, draw: Draw, *, good: bool) -> None:
    o.count, o.joiner = p["n"], "\n\n"
    if not good and draw.below(2):
        o.joiner = draw.pick(("\n", " "))
    elif not good:
        o.count = _near(draw, p["n"], good=False)


def _list(o: Outline, p: Params, draw: Draw, *, good: bool, marks: tuple[str, str]) -> None:
    o.joiner, o.item, o.count = "\n", marks[0], p["n"]
    if not good and draw.below(4) == 0:
        o.item = marks[1]
    elif not good:
        o.count = _near(draw, p["n"], good=False)


def _json(o: Outline, p: Params, draw: Draw, *, good: bool) -> None:
    known = DATA[o.language]["keys"]
    keys = list(p["keys"])
    way = 0 if good else draw.between(1, 4)
    if way == 1:
        keys[-1] = draw.pick([each for each in known if each not in keys])
    elif way == 2:
        keys.append(draw.pick([each for each in known if each not in keys]))
    values = {key: draw.pick(known.get(key) or o.extras or [o.topic]) for key in keys}
    values[p["keys"][0]] = o.topic
    o.whole = json.dumps(values, ensure_ascii=False)
    if way == 3:
        o.whole = o.whole.replace('"', "'")
    elif way == 4:
        o.whole = o.whole[:-1]


def _csv(o: Outline, p: Params, draw: Draw, *, good: bool) -> None:
    count, comma = p["n"], ","
    if not good and draw.below(4) == 0:
        comma = draw.pick((";", "/"))
    elif not good:
        count = _near(draw, p["n"], good=False)
    cells = [o.topic, *draw.shuffled(DATA[o.language]["extras"])[: count - 1]]
    o.whole = comma.join(draw.shuffled(cells))


def _opening(o: Outline, p: Params, draw: Draw, *, good: bool) -> None:
    o.count = max(o.count, 2)
    if good or draw.below(3):
        o.marker = p["text"] if good else _other(draw, DATA[o.language]["openings"], p["text"])
    else:
        o.marker, o.late = p["text"], True


def _closing(o: Outline, p: Params, draw: Draw, *, good: bool) -> None:
    o.count = max(o.count, 2)
    o.closing, o.style = p["text"], "니다" if p["text"].endswith("니다.") else "요"
    if not good and draw.below(2):
        o.early = True
    elif not good:
        o.closing = _other(draw, DATA[o.language]["closings"], p["text"])


def _prefix(o: Outline, _p: Params, draw: Draw, *, good: bool) -> None:
    o.prefix = draw.pick(DATA[o.language]["prefixes"])[good]


def _cased(o: Outline, _p: Params, draw: Draw, *, good: bool, case: str) -> None:
    o.case = case if good else draw.pick((f"most {case}", f"most {case}", ""))


def _no_comma(o: Outline, _p: Params, draw: Draw, *, good: bool) -> None:
    o.marker = o.marker or draw.pick(DATA[o.language]["openings"])
    o.comma = not good


def _styled(o: Outline, _p: Params, draw: Draw, *, good: bool, style: str) -> None:
    o.count = max(o.count, 2)
    o.style = style
    if not good and draw.below(2):
        o.odd = True
    elif not good:
        o.style = _other(draw, list(STYLES), style)


def _no_repeat(o: Outline, _p: Params, draw: Draw, *, good: bool) -> None:
    # A word written twice makes a text longer: those that have none are two sentences.
    o.count = 2 if good else draw.between(1, 2)
    if not good and draw.below(2):
        o.count = o.topics = 2
    o.doubled = not good


def _title(o: Outline, p: Params, draw: Draw, *, good: bool) -> None:
    late = not good and draw.below(3) == 0
    opened, closed = p["marks"] if good or late else draw.pick(DATA[o.language]["title-marks"])
    title = opened + draw.pick(DATA[o.language]["titles"]).format(t=o.topic) + closed
    o.wrap.append(f"{{}} {title}" if late else f"{title} {{}}")


def _postscript(o: Outline, p: Params, draw: Draw, *, good: bool) -> None:
    early = not good and draw.below(2)
    mark = p["mark"] if good or early else draw.pick(DATA[o.language]["postscript-marks"])
    more = f"{mark} {draw.pick(DATA[o.language]['postscripts'])}"
    o.style = "요"
    # A remark at the beginning has a text after it, but none before.
    o.wrap.append(f"{more} {{}}" if early else f"{{}} {more}")


def _quoted(o: Outline, _p: Params, draw: Draw, *, good: bool) -> None:
    o.count = max(o.count, 2)
    o.wrap.append('"{}"' if good else draw.pick(("'{}'", "first", "last")))


def _question(o: Outline, _p: Params, draw: Draw, *, good: bool) -> None:
    o.count, o.style = 2, "요"
    o.asked = -1 if good else draw.below(2)


def _exclaims(o: Outline, p: Params, draw: Draw, *, good: bool) -> None:
    o.count = 3
    o.exclaimed = p["n"] if good else draw.pick([n for n in range(4) if n != p["n"]])


def _brackets(o: Outline, p: Params, draw: Draw, *, good: bool) -> None:
    o.count = max(o.count, 3)
    o.blanks = p["n"]
    if not good and draw.below(2):
        o.blank_marks = draw.pick(("()", "<>"))
    elif not good:
        o.blanks = _near(draw, p["n"], good=False)


def _hashtags(o: Outline, p: Params, draw: Draw, *, good: bool) -> None:
    sign, count = "#", p["n"]
    if not good and draw.below(4) == 0:
        sign = draw.pick(("@", "*"))
    elif not good:
        count = _near(draw, p["n"], good=False)
    tags = draw.shuffled(DATA[o.language]["extras"])[:count]
    o.wrap.append("{} " + " ".join(sign + tag for tag in tags))


def _divider(o: Outline, p: Params, draw: Draw, *, good: bool) -> None:
    o.count = 2
    o.joiner = f" {p['mark'] if good else draw.pick(('---', '==', '+++'))} "
    if not good and draw.below(3) == 0:
        o.joiner = " "
        o.wrap.append(f"{{}} {p['mark']}")


def _order(o: Outline, p: Params, _draw: Draw, *, good: bool) -> None:
    o.extras = list(p["words"]) if good else list(reversed(p["words"]))


def _measured(o: Outline, _p: Params, draw: Draw, **_: bool) -> None:
    o.count = max(o.count, draw.between(1, 2))


def _short(o: Outline, _p: Params, draw: Draw, *, good: bool) -> None:
    o.count = 1 if good else draw.between(1, 2)


def _long(o: Outline, _p: Params, draw: Draw, *, good: bool) -> None:
    o.count = 2 if good else draw.between(1, 2)


SET: Final[dict[str, Callable[..., None]]] = {
    "include": _include,
    "forbid": _forbid,
    "sentences": _count,
    "paragraphs": _paragraphs,
    "frequency": _frequency,
    "bullets": partial(_list, marks=("- ", "{}. ")),
    "numbers": partial(_list, marks=("{}. ", "- ")),
    "json": _json,
    "csv": _csv,
    "opening": _opening,
    "closing": _closing,
    "hangul": _prefix,
    "no-digits": _prefix,
    "upper": partial(_cased, case="upper"),
    "lower": partial(_cased, case="lower"),
    "no-comma": _no_comma,
    "yo": partial(_styled, style="요"),
    "nida": partial(_styled, style="니다"),
    "no-repeat": _no_repeat,
    "no-letter": _measured,
    "title": _title,
    "postscript": _postscript,
    "quoted": _quoted,
    "question": _question,
    "exclaims": _exclaims,
    "brackets": _brackets,
    "hashtags": _hashtags,
    "divider": _divider,
    "order": _order,
    "chars": _measured,
    "chars-max": _short,
    "chars-min": _long,
    "words": _measured,
    "words-max": _short,
    "words-min": _long,
}
"""How each instruction is kept or broken: `set(outline, params, draw, good=…)`."""
