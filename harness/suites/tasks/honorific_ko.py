"""Korean cases of `honorific`: speech levels, raised subjects and objects, humble words.

In the choice form a sentence is asked for by its memo form (`먹음`), which has no speech
level, so that no choice is a copy of the question; in the free form it is rewritten from
another level. Wrong choices differ from the right one in the ending or the particle only.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Final, NamedTuple

from harness.spec import Form
from harness.suites.tasks.base import data
from harness.suites.tasks.conjugate import LEVELS, Level, Mode, Predicate, conjugate, joined
from harness.suites.tasks.draw import Draw
from harness.suites.tasks.exercise import Exercise
from harness.suites.tasks.fill import picked
from harness.suites.tasks.hangul import with_particle
from harness.suites.tasks.speech import ROWS, Row, Speech, drawn, predicate

_DATA: Final = data("honorific")["ko"]
_POLITE: Final[tuple[Level, ...]] = ("해요체", "하십시오체")
_INTIMATE: Final[tuple[Level, ...]] = ("해라체", "해체")
_ASKING: Final = {"asked": "물으면", "asked-past": "물으면", "request": "부탁하면"}


def _rewritten(draw: Draw, form: Form, speech: Speech, target: Level, told: str) -> Exercise:
    """A sentence moved to a level that the question names or implies."""
    others = [level for level in LEVELS if level != target]
    wrong = tuple(sentence for level in others for sentence in speech.at(level))
    if form == "choice":
        asking = _ASKING.get(speech.mode)
        memo = speech.memo()
        question = f"{memo} {told} {asking}?" if asking else f"'{memo}'을 {told} 바꾸면?"
        return Exercise(question, speech.at(target), tuple(speech.at(level)[0] for level in others))
    source = speech.at(draw.pick(others))[0]
    question = f"다음 문장을 {told} 바꾸세요. {source}"
    return Exercise(question, speech.at(target), wrong, given=(source,))


def _level_exercise(draw: Draw, form: Form, row: Row) -> Exercise:
    target = draw.pick(LEVELS)
    told = f"{target}(예: {_DATA['examples'][target]})로" if row.level == 1 else f"{target}로"
    return _rewritten(draw, form, drawn(draw, row), target, told)


def _name(draw: Draw, _form: Form) -> Exercise:
    level = draw.pick(LEVELS)
    easy = [name for name, row in ROWS.items() if row.level == 1]
    sentence = drawn(draw, ROWS[draw.pick(easy)]).at(level)[0]
    question = f"'{sentence}' 이 문장은 해라체, 해체, 해요체, 하십시오체 가운데 무엇입니까?"
    others = tuple(each for each in LEVELS if each != level)
    return Exercise(question, (level,), others, also=_as_sentence(level))


def _word(draw: Draw, _form: Form) -> Exercise:
    group, question, answers = draw.pick(_DATA["words"])
    rest = [row[2][0] for row in _DATA["words"] if row[0] == group and row[2] != answers]
    wrong = tuple(draw.shuffled(rest)[:3])
    return Exercise(question, tuple(answers), wrong, also=_as_sentence(answers[0]))


def _as_sentence(word: str) -> tuple[str, ...]:
    return f"{word}입니다", with_particle(word, "이에요/예요"), f"{word}이다"


def _linked(draw: Draw, form: Form) -> Exercise:
    one, two = draw.shuffled(_DATA["who"])[:2]
    (phrase, word), (phrase_two, word_two) = draw.shuffled(ROWS["verb-past"].bank)[:2]
    first = f"{with_particle(one, '은/는')} {phrase} {word.stem}고"
    frame = f"{first} {with_particle(two, '은/는')} {phrase_two} {{}}"
    target = draw.pick(LEVELS)
    return _rewritten(draw, form, Speech(frame, (word_two,), "past"), target, f"{target}로")


def _situation(draw: Draw, form: Form) -> Exercise:
    told, target = draw.pick(_DATA["situations"])
    phrase, _, stem = draw.pick(_DATA["events"]).removesuffix("다").rpartition(" ")
    frame = f"{draw.pick(('어제', '오늘', '조금 전에'))} {phrase} {{}}"
    return _rewritten(draw, form, Speech(frame, (Predicate(stem),), "past"), target, told)


def _pronoun(draw: Draw, form: Form) -> Exercise:
    plain, humble = draw.pick(_DATA["pronouns"])
    phrase, word = draw.pick(ROWS["verb-present"].bank)
    polite, close = draw.pick(_POLITE), draw.pick(_INTIMATE)
    lower = draw.below(2) == 1
    target, source_level = (polite, close) if lower else (close, polite)
    one, other = (humble, plain) if lower else (plain, humble)
    rest = picked(draw, f"(매일|오늘도|요즘) {phrase} {{}}")
    right, mixed = (Speech(f"{who} {rest}", (word,), "present") for who in (one, other))
    told = f"자신을 {'낮추어' if lower else '낮추지 않고'} {target}로"
    wrong = (right.at(source_level), mixed.at(target), mixed.at(source_level))
    if form == "choice":
        question = f"'{mixed.memo()}'을 {told} 바꾸면?"
        return Exercise(question, right.at(target), tuple(each[0] for each in wrong))
    source = mixed.at(source_level)[0]
    question = f"다음 문장을 {told} 바꾸세요. {source}"
    return Exercise(question, right.at(target), sum(wrong, ()), given=(source,))


class Person(NamedTuple):
    """Who is young or old: with the right and the wrong particle, and what is said of them."""

    right: str
    wrong: str
    rests: tuple[str, ...]
    words: tuple[Predicate, ...]


def _swapped(
    draw: Draw, form: Form, people: tuple[Person, Person], around: tuple[str, Mode, Level]
) -> Exercise:
    """One person put for the other, with the particle and the predicate to match."""
    old, new = draw.shuffled(people)
    before, mode, level = around

    def say(who: str, of: Person) -> tuple[str, ...]:
        frames = [f"{before}{who} {rest} {{}}" for rest in of.rests]
        return tuple(each for frame in frames for each in Speech(frame, of.words, mode).at(level))

    source = say(old.right, old)[0]
    question = f"'{old.right}'를 '{new.right}'로 바꾸고 높임을 맞추세요. {source}"
    right, unmatched = say(new.right, new), say(new.right, old)
    if form == "choice":
        crossed = (say(new.wrong, new)[0], say(new.wrong, old)[0])
        return Exercise(question, right, (unmatched[0], *crossed))
    return Exercise(question, right, (*unmatched, *say(old.right, new)), given=(source,))


def _subjects(
    draw: Draw,
    rests: tuple[tuple[str, ...], tuple[str, ...]],
    words: tuple[tuple[Predicate, ...], tuple[Predicate, ...]],
) -> tuple[Person, Person]:
    young, old = draw.pick(_DATA["young"]), draw.pick(_DATA["old"])
    return (
        Person(with_particle(young, "이/가"), f"{young}께서", rests[0], words[0]),
        Person(f"{old}께서", with_particle(old, "이/가"), rests[1], words[1]),
    )


def _elder(draw: Draw, form: Form) -> Exercise:
    phrase, word = draw.pick(ROWS["elder-level"].bank)
    mode: Mode = draw.pick(("present", "past"))
    when = draw.pick(("지금", "오늘") if mode == "present" else ("어제", "아까"))
    rest = (f"{when} {phrase}",)
    people = _subjects(draw, (rest, rest), ((word,), joined(word, "{honorific}")))
    return _swapped(draw, form, people, ("", mode, draw.pick(LEVELS)))


def _elder_special(draw: Draw, form: Form) -> Exercise:
    phrase, stem, raised, stems = draw.pick(_DATA["specials"])
    when = draw.pick(("어제", "아까", "오늘 아침에"))
    rests = dict.fromkeys((f"{when} {raised}", f"{when} {phrase}"))
    words = ((Predicate(stem),), tuple(Predicate(each, "verb", "시") for each in stems))
    people = _subjects(draw, ((f"{when} {phrase}",), tuple(rests)), words)
    return _swapped(draw, form, people, ("", "past", draw.pick(LEVELS)))


def _humble(draw: Draw, form: Form) -> Exercise:
    gift, stem, stems = draw.pick(_DATA["gifts"])
    young, old = draw.pick(_DATA["young"]), draw.pick(_DATA["old"])
    level = draw.pick(LEVELS)
    me = "저는" if level in _POLITE else "나는"
    before = f"{me} {draw.pick(('어제', '아까', '오늘 아침에'))} "
    words = tuple(predicate(each) for each in stems)
    people = (
        Person(f"{young}에게", f"{young}께", (gift,), (predicate(stem),)),
        Person(f"{old}께", f"{old}에게", (gift,), words),
    )
    return _swapped(draw, form, people, (before, "past", level))


def _thing(draw: Draw, form: Form) -> Exercise:
    level = draw.pick(_POLITE)
    plain, raised = [], []
    for frame, stems, kind, mode in draw.shuffled(_DATA["things"])[:4]:
        word = predicate(draw.pick(stems), kind)
        said = picked(draw, frame)
        plain.append(Speech(said, (word,), mode).at(level))
        raised.append(Speech(said, joined(word, "{honorific}"), mode).at(level))
    if form == "free":
        source = raised[0][0]
        question = f"물건을 높인 잘못을 바르게 고치세요. {source}"
        return Exercise(question, plain[0], raised[0], given=(source,))
    if draw.below(2):
        others = tuple(each[0] for each in raised[1:])
        return Exercise("물건을 잘못 높이지 않은 문장은 무엇입니까?", plain[0], others)
    others = tuple(each[0] for each in plain[1:])
    return Exercise("물건을 잘못 높인 문장은 무엇입니까?", raised[0], others)


def _quote(draw: Draw, form: Form) -> Exercise:
    phrase, word = draw.pick(ROWS[draw.pick(("verb-past", "irregular-past"))].bank)
    target = draw.pick(LEVELS[1:])
    others = [level for level in LEVELS if level != target]
    before = f"{with_particle(draw.pick(_DATA['who']), '이/가')} {phrase}"
    kept, moved = (conjugate(word, "present", each)[0] for each in ("해라체", target))
    good, bad = (
        Speech(f"{before} {inner}고 {{}}", (Predicate("하"),), "past") for inner in (kept, moved)
    )
    other = draw.pick(others)
    if form == "choice":
        question = f"'{good.memo()}'을 {target}로 바꾸면?"
        wrong = (bad.at(target)[0], good.at(other)[0], bad.at(other)[0])
        return Exercise(question, good.at(target), wrong)
    rest = tuple(each for level in others for each in good.at(level))
    source = good.at(other)[0]
    question = f"다음 문장을 {target}로 바꾸세요. {source}"
    return Exercise(question, good.at(target), (*bad.at(target), *rest), given=(source,))


def _two(draw: Draw, form: Form) -> Exercise:
    people = draw.shuffled(_DATA["who"])[:2]
    scenes = draw.shuffled([*ROWS["verb-past"].bank, *ROWS["irregular-past"].bank])[:2]
    one, two = (
        Speech(f"{with_particle(who, '이/가')} {phrase} {{}}", (word,), "past")
        for who, (phrase, word) in zip(people, scenes, strict=True)
    )
    target, other = draw.shuffled(LEVELS)[:2]
    pairs = ((target, target), (target, other), (other, target), (other, other))
    right, *wrong = (
        tuple(f"{a} {b}" for a, b in product(one.at(first), two.at(second)))
        for first, second in pairs
    )
    if form == "choice":
        question = f"'{one.memo()}, {two.memo()}'을 {target} 두 문장으로 바꾸면?"
        return Exercise(question, right, tuple(each[0] for each in wrong))
    source = wrong[2][0]
    question = f"다음 두 문장을 {target}로 바꾸세요. {source}"
    return Exercise(question, right, sum(wrong, ()), given=(source,))


def _address(draw: Draw, _form: Form) -> Exercise:
    phrase, stem, raised = draw.pick(_DATA["asks"])
    young, old = draw.pick(("친구", "동생", "조카")), draw.pick(_DATA["old"])
    plain = Speech(f"{phrase} {{}}", (predicate(stem),), "asked")
    high = Speech(f"{phrase} {{}}", (Predicate(raised, "verb", "시"),), "asked")
    casual, stern, polite, formal = (
        plain.at("해체"),
        plain.at("해라체"),
        plain.at("해요체"),
        plain.at("하십시오체"),
    )
    raised_forms = (*high.at("해요체"), *high.at("하십시오체"), f"{phrase} {raised}나요?")
    said = f"'{phrase}', '{plain.words[0].stem}다'"
    if draw.below(2):
        best = draw.pick((high.at("해요체")[0], high.at("하십시오체")[0]))
        accept = tuple(dict.fromkeys((best, *raised_forms)))
        question = f"{said}를 써서 {old}께 여쭈면?"
        return Exercise(question, accept, (casual[0], stern[0], stern[1]))
    question = f"{said}를 써서 {young}에게 반말로 물으면?"
    wrong = (polite[0], formal[0], high.at("하십시오체")[0])
    return Exercise(question, (*casual, *stern), wrong)


_OTHERS: Final[dict[str, Callable[[Draw, Form], Exercise]]] = {
    "name": _name,
    "word": _word,
    "linked": _linked,
    "pronoun": _pronoun,
    "situation": _situation,
    "elder": _elder,
    "elder-special": _elder_special,
    "humble": _humble,
    "thing": _thing,
    "quote": _quote,
    "two": _two,
    "address": _address,
}

TEMPLATES: Final[dict[str, int]] = {
    **{name: row.level for name, row in ROWS.items()},
    **dict(_DATA["other"]),
}
"""Level of each template."""


def exercise(name: str, draw: Draw, form: Form) -> Exercise:
    """Draw an exercise of one template."""
    return _level_exercise(draw, form, ROWS[name]) if name in ROWS else _OTHERS[name](draw, form)
