"""Instructions that a program can verify, alone or together, on a given word.

The free form asks for a short text; every instruction is checked by `instructions`. In the
choice form one of four texts satisfies them all and the others miss one, which the same
checks prove for each item. Level 1 has one instruction, level 2 a harder one or two, level
3 two or three. The word that a text is asked for keeps one text from answering everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

from harness.spec import Form, Language
from harness.suites.tasks.base import Grade, Item, Setting, framed, grade, shuffled_choices
from harness.suites.tasks.drafts import write
from harness.suites.tasks.draw import Draw
from harness.suites.tasks.hangul import particle
from harness.suites.tasks.instructions import MEASURES, Rule, loosened, satisfies
from harness.suites.tasks.outlines import DATA, SET, STYLES, Outline

NAME: Final = "ifeval"
VERSION: Final = 1
CHANCE: Final[Mapping[Form, float]] = {"choice": 0.25, "free": 0.0}

_LONGEST: Final = {"ko": 75, "en": 110}
"""Characters of the longest solution."""
_TRIES: Final = 400
_POOL: Final = 12
_NEAR: Final = 8
_SHAPED: Final = ("json", "csv")
_LINED: Final = ("paragraphs", "bullets", "numbers")
_LETTERS: Final = "bcfgkmpvw"
_NUMBERS: Final = {
    **dict.fromkeys(("sentences", "paragraphs", "bullets", "numbers"), (2, 3)),
    **dict.fromkeys(("brackets", "exclaims", "hashtags"), (2, 3)),
    "csv": (3, 5),
}
"""Least and most of what is counted."""

_MOST_TOKENS: Final = 160
_NEXT_QUESTION: Final = {"ko": "\n질문:", "en": "\nQuestion:"}


TEMPLATES: Final = {
    language: {"+".join(kinds): (level, tuple(kinds)) for level, kinds in its["templates"]}
    for language, its in DATA.items()
}
"""Level and instructions of each template, by its name."""


class _Drawn(NamedTuple):
    """What the rules of an item are about: its word, and other nouns in random order."""

    language: Language
    topic: str
    nouns: Iterator[str]
    shaped: bool

    def asked(self) -> str:
        """The first sentence of the question."""
        suffix = particle(self.topic, "을/를") if self.language == "ko" else ""
        base: str = DATA[self.language]["base"]["data" if self.shaped else "text"]
        return base.format(topic=self.topic, topic_object=suffix)

    def base(self) -> list[Rule]:
        """What every answer keeps: the word, more than the word, and no echo."""
        rules: list[Rule] = [("include", {"word": self.topic}), ("forbid", {"word": self.asked()})]
        return rules if self.shaped else [*rules, ("words-min", {"n": 2})]


def templates(language: Language) -> Mapping[str, tuple[int, ...]]:
    """Levels of each template."""
    return {name: (level,) for name, (level, _) in TEMPLATES[language].items()}


def _params(draw: Draw, kind: str, kinds: tuple[str, ...], drawn: _Drawn) -> dict[str, Any]:
    """Parameters of one instruction; numbers that are measured come later."""
    its = DATA[drawn.language]
    if kind in ("include", "forbid"):
        return {"word": next(drawn.nouns)}
    if kind == "frequency":
        # With a number of sentences: one of them is without the word.
        return {"word": drawn.topic, "n": 2 if "sentences" in kinds else draw.between(2, 3)}
    if kind == "sentences" and "frequency" in kinds:
        return {"n": 3}
    if kind == "json":
        first, *rest = its["keys"]
        more = draw.shuffled(rest)[: draw.between(1, 2)]
        return {"keys": [first, its["thing"], *more] if "forbid" in kinds else [first, *more]}
    if kind in ("opening", "closing"):
        return {"text": draw.pick(its[f"{kind}s"])}
    if kind == "no-letter":
        return {"letter": draw.pick([each for each in _LETTERS if each not in drawn.topic])}
    if kind == "order":
        return {"words": [next(drawn.nouns), next(drawn.nouns)]}
    return {"n": draw.between(*_NUMBERS[kind])} if kind in _NUMBERS else its["given"].get(kind, {})


def _draft(draw: Draw, drawn: _Drawn, rules: list[Rule], broken: int = -1) -> str:
    """A text meant to keep every rule but one."""
    outline = Outline(language=drawn.language, topic=drawn.topic, style=draw.pick(STYLES))
    for place, (kind, params) in enumerate(rules):
        SET[kind](outline, params, draw, good=place != broken)
    return write(outline, draw)


def _measured(draw: Draw, kind: str, text: str) -> dict[str, int]:
    """The number of an instruction that `text` is to satisfy, at times with some room."""
    room = 0 if kind in ("chars", "words") else draw.below(4 if kind.startswith("chars") else 2)
    return {"n": MEASURES[kind](text) + (-room if kind.endswith("min") else room)}


def _right(draw: Draw, drawn: _Drawn, kinds: tuple[str, ...]) -> tuple[str, list[Rule]] | None:
    """A text with the rules that it keeps, unless none was found."""
    rules: list[Rule] = [
        (kind, {} if kind in MEASURES else _params(draw, kind, kinds, drawn)) for kind in kinds
    ]
    fixed = [rule for rule in rules if rule[0] not in MEASURES]
    for _ in range(_TRIES):
        text = _draft(draw, drawn, rules)
        if len(text) <= _LONGEST[drawn.language] and satisfies(text, [*drawn.base(), *fixed]):
            return text, [
                (kind, _measured(draw, kind, text) if kind in MEASURES else params)
                for kind, params in rules
            ]
    return None


def _wrong(draw: Draw, drawn: _Drawn, right: str, rules: list[Rule]) -> list[str]:
    """Three texts with the word that miss a rule, of about the same length.

    A random number of them is longer than the right one, so that length tells nothing
    where the rules are not about length.
    """
    pool: list[str] = []
    for attempt in range(_TRIES):
        text = _draft(draw, drawn, rules, broken=attempt % len(rules))
        keeps = satisfies(text, drawn.base()) and not satisfies(text, rules)
        if keeps and text not in pool and text != right:
            pool.append(text)
        if len(pool) == _POOL:
            break
    near = draw.shuffled(sorted(pool, key=lambda text: abs(len(text) - len(right)))[:_NEAR])
    shorter = [text for text in near if len(text) <= len(right)]
    longer = [text for text in near if len(text) > len(right)]
    split = draw.below(4)
    chosen = shorter[:split] + longer[: 3 - split]
    return (chosen + [text for text in near if text not in chosen])[:3]


def _question(drawn: _Drawn, rules: list[Rule]) -> str:
    korean = drawn.language == "ko"
    said = [drawn.asked()]
    for kind, params in rules:
        nouns = params.get("words", ())
        named = params.get("word") or (nouns[-1] if nouns else "")
        filled = DATA[drawn.language]["ask"][kind].format(
            **{key: value for key, value in params.items() if key not in ("marks", "words")},
            first=nouns[0] if nouns else "",
            second=named,
            object=particle(named, "을/를") if korean and named else "",
            about=particle(named, "은/는") if korean and named else "",
            direction=particle(params["text"], "으로/로") if korean and kind == "opening" else "",
            listed=", ".join(f"'{key}'" for key in params.get("keys", ())),
        )
        said.append(filled)
    return " ".join(said)


def generate(setting: Setting, draw: Draw) -> Item:
    """Build one item; see the module.

    Raises:
        RuntimeError: the frames do not suffice for a template; the tests see to it.
    """
    level = draw.between(1, 3)
    language = setting.language
    name = draw.pick([each for each, its in TEMPLATES[language].items() if its[0] == level])
    kinds = TEMPLATES[language][name][1]
    its = DATA[language]
    for _ in range(_TRIES):
        topic, nouns = draw.pick(its["topics"]), iter(draw.shuffled(its["extras"]))
        drawn = _Drawn(language, topic, nouns, any(kind in _SHAPED for kind in kinds))
        found = _right(draw, drawn, kinds)
        if not found:
            continue
        right, rules = found
        question = _question(drawn, rules)
        item = Item(
            template=name,
            level=level,
            context=framed(setting, question),
            answer=right,
            solution=f" {right}",
            check={"rules": [*drawn.base(), *rules]},
        )
        if setting.form == "free":
            return _free(item, language, question)
        wrong = _wrong(draw, drawn, right, rules)
        if len(wrong) == 3:
            choices = shuffled_choices(draw, right, wrong)
            return replace(item, choices=choices, answer=item.solution)
    raise RuntimeError(f"no text for {name}")


def _free(item: Item, language: Language, question: str) -> Item:
    lined = any(kind in _LINED for kind, _ in item.check["rules"])
    return replace(
        item,
        question=f"{question} {DATA[language]['how']}",
        max_tokens=min(_MOST_TOKENS, max(32, 2 * len(item.answer))),
        stop=_NEXT_QUESTION[language] if lined else "\n",
    )


def mark(text: str, item: Item) -> Grade:
    """Mark a free answer: strictly as it is, loosely by the loose readings of IFEval."""
    rules = item.check["rules"]
    return grade(
        answered=bool(text.strip()),
        strict=satisfies(text, rules),
        loose=any(satisfies(each, rules) for each in loosened(text)),
    )
