"""English cases of `honorific`: four registers by rule, from slang to formal.

Slang has words such as `gonna`; casual English has contractions; plain English has none;
formal English puts formal words for everyday ones. A text marks what changes in brackets,
one field a register, an empty field being the one before: `[They're||They are|] [buy|||
purchase]`. Names in `<>` are slots.
"""

from __future__ import annotations

import re
from itertools import product
from typing import Final

from harness.spec import Form
from harness.suites.tasks.base import data
from harness.suites.tasks.draw import Draw
from harness.suites.tasks.exercise import Exercise
from harness.suites.tasks.fill import picked

REGISTERS: Final = ("slang", "casual", "plain", "formal")
_DATA: Final = data("honorific")["en"]
_SLOT: Final = re.compile(r"<(\w+)>")
_SITE: Final = re.compile(r"\[([^\]]*)\]")
_SPEECH: Final = {name: (level, text) for name, level, text in _DATA["speech"]}
_PARTS: Final = {name: (level, texts) for name, level, texts in _DATA["parts"]}
TEMPLATES: Final[dict[str, int]] = {
    **{name: level for name, (level, _) in _SPEECH.items()},
    **{name: level for name, (level, _) in _PARTS.items()},
    **dict(_DATA["other"]),
}
"""Level of each template."""


def _filled(draw: Draw, text: str) -> str:
    """`text` with a draw in each slot; what is drawn may hold slots."""
    while slot := _SLOT.search(text):
        drawn = draw.pick(_DATA["slots"][slot[1]])
        text = text[: slot.start()] + drawn + text[slot.end() :]
    return text


def _fields(site: str) -> list[str]:
    """What a site is in each register."""
    out: list[str] = []
    for field in site.split("|"):
        out.append(field or out[-1])
    return out


def written(text: str, register: str) -> tuple[str, ...]:
    """All accepted sentences of one register, the usual one first."""
    place = REGISTERS.index(register)
    pieces = [
        (part,) if odd % 2 == 0 else tuple(_fields(part)[place].split("/"))
        for odd, part in enumerate(_SITE.split(text))
    ]
    return tuple("".join(chosen) for chosen in product(*pieces))


def _hints(text: str, source: str, target: str) -> str:
    """The words that a writer could not know: those other than contractions."""
    words = []
    for site in _SITE.findall(text):
        slang, casual, plain, formal = _fields(site)
        if target == "formal" and formal != plain:
            words.append(formal)
        elif target == "slang" and slang != casual:
            words.append(slang)
        elif target != "formal" and source == "formal" and formal != plain:
            words.append(plain)
    if not words:
        return ""
    *most, last = (f"'{word}'" for word in words)
    return f", using {', '.join(most)} and {last}" if most else f", using {last}"


def _speech(draw: Draw, form: Form, text: str) -> Exercise:
    text = _filled(draw, text)
    target = draw.pick(REGISTERS)
    others = [each for each in REGISTERS if each != target]
    told = _DATA["gloss"][target]
    right = written(text, target)
    if form == "choice":
        question = f"Which sentence is {told}?"
        return Exercise(question, right, tuple(written(text, each)[0] for each in others))
    origin = draw.pick(others)
    source = written(text, origin)[0]
    wrong = tuple(sentence for each in others for sentence in written(text, each))
    question = f"Rewrite this in {told}{_hints(text, origin, target)}: {source}"
    return Exercise(question, right, wrong, given=(source,))


def _parts(draw: Draw, form: Form, texts: list[str]) -> Exercise:
    """Several sentences of one register, against those that slip into another."""
    drawn = [_filled(draw, text) for text in texts]
    while len(set(drawn)) < len(drawn):
        drawn[-1] = _filled(draw, texts[-1])
    target = draw.pick(("slang", "formal"))
    other = "formal" if target == "slang" else "slang"

    def said(*registers: str) -> tuple[str, ...]:
        pieces = [written(text, each) for text, each in zip(drawn, registers, strict=True)]
        return tuple(" ".join(chosen) for chosen in product(*pieces))

    plans = [[other if at == slip else target for at in range(len(drawn))] for slip in range(3)]
    if len(drawn) == 2:
        plans[2] = [other, other]
    wrong = [said(*plan)[0] for plan in plans]
    right = said(*[target] * len(drawn))
    if form == "free":
        source = said(*[other] * len(drawn))[0]
        hints = _hints(" ".join(drawn), other, target)
        question = f"Rewrite all of this in {_DATA['gloss'][target]}{hints}: {source}"
        return Exercise(question, right, (*wrong, source), given=(source,))
    if len(drawn) == 2 and draw.below(2):
        question = f"Which message is {other} English first and {target} English after that?"
        return Exercise(question, (wrong[0],), (right[0], wrong[1], wrong[2]))
    return Exercise(f"Which message is {target} English throughout?", right, tuple(wrong))


def _word(draw: Draw, form: Form) -> Exercise:
    word, formal = draw.pick(_DATA["words"])
    wrong = [row[1] for row in _DATA["words"] if row[1] != formal]
    # Several words would do where there are no choices.
    begins = f" that begins with '{formal[:2]}'" if form == "free" else ""
    question = f"What is a formal word for '{word}'{begins}?"
    return Exercise(question, (formal, formal.capitalize()), tuple(draw.shuffled(wrong)[:3]))


def _name(draw: Draw, _form: Form) -> Exercise:
    register = draw.pick(REGISTERS)
    text = _filled(draw, draw.pick([text for level, text in _SPEECH.values() if level == 1]))
    sentence = written(text, register)[0]
    question = (
        "Slang, casual (contractions), plain (no contractions) or formal (formal words):"
        f" which of these is the following? {sentence}"
    )
    others = tuple(each for each in REGISTERS if each != register)
    return Exercise(question, (register, register.capitalize()), others, given=(sentence,))


def _request(draw: Draw, form: Form) -> Exercise:
    act = draw.pick(_DATA["requests"])
    begun = act[0].upper() + act[1:]
    forms = {
        "bare": (f"{begun}.",),
        "please": (f"Please {act}.", f"{begun}, please."),
        "could": (f"Could you {act}, please?", f"Could you please {act}?", f"Could you {act}?"),
        "grateful": (f"I would be grateful if you could {act}.",),
    }
    target = draw.pick(tuple(forms))
    others = [each for each in forms if each != target]
    blind, named = _DATA["asked"][target]
    if form == "choice":
        question = f"Which request is {blind}?"
        return Exercise(question, forms[target], tuple(forms[each][0] for each in others))
    source = forms[draw.pick(others)][0]
    wrong = tuple(sentence for each in others for sentence in forms[each])
    return Exercise(f"Rewrite this as {named}: {source}", forms[target], wrong, given=(source,))


def _closing(draw: Draw, _form: Form) -> Exercise:
    opening, closing = draw.pick(_DATA["closings"])
    opening = picked(draw, opening)
    closings = tuple(dict.fromkeys(row[1] for row in _DATA["closings"]))
    question = (
        f"A British letter opens with '{opening}'. Which ending fits:"
        " Yours faithfully, Yours sincerely, Cheers or Lots of love?"
    )
    others = tuple(each for each in closings if each != closing)
    return Exercise(question, (closing, f"{closing},"), others)


def exercise(name: str, draw: Draw, form: Form) -> Exercise:
    """Draw an exercise of one template."""
    if name in _SPEECH:
        return _speech(draw, form, _SPEECH[name][1])
    if name in _PARTS:
        return _parts(draw, form, _PARTS[name][1])
    others = {"word": _word, "name": _name, "request": _request, "closing": _closing}
    return others[name](draw, form)
