"""Korean predicates in four speech levels, conjugated by rule.

Each function gives every accepted form, the usual one first: `봐요` and `보아요` are both
right. Stems that end in ㄹ or ㅡ lose it by rule; the irregular stems name their change
(`ㄷ` 걷다, `ㅂ` 돕다, `ㅅ` 짓다, `르` 부르다), and so do honorific stems (`시`), 아니다 and
stems that stay apart from 어 (`어`: 여쭈어).
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from harness.suites.tasks.hangul import FINALS, final_consonant, syllable

Kind = Literal["verb", "adjective", "noun"]
Level = Literal["해라체", "해체", "해요체", "하십시오체"]
Mode = Literal["present", "past", "plan", "future", "asked", "asked-past", "request"]

LEVELS: Final[tuple[Level, ...]] = ("해라체", "해체", "해요체", "하십시오체")
ENDINGS: Final = {"해라체": "다", "해체": "어", "해요체": "어요", "하십시오체": "습니다"}
"""What follows the past in 었 and the intention in 겠."""

_A, _AE, _YA, _EO, _E, _YEO, _O, _WA = 0, 1, 2, 4, 5, 6, 8, 9
_WAE, _OE, _U, _WO, _EU, _I = 10, 11, 13, 14, 18, 20
_MERGED: Final = {_O: _WA, _U: _WO, _I: _YEO, _OE: _WAE}
_FUTURE: Final = {
    "해라체": (" 것이다", " 거다"),
    "해체": (" 거야", " 것이야"),
    "해요체": (" 거예요", " 것이에요", " 것이어요", " 거여요"),
    "하십시오체": (" 것입니다", " 겁니다"),
}


class Predicate(NamedTuple):
    """A verb or adjective without its 다, or the noun before 이다."""

    stem: str
    kind: Kind = "verb"
    change: str = ""


def _parts(char: str) -> tuple[int, int, int]:
    code = ord(char) - 0xAC00
    return code // 588, code // 28 % 21, code % 28


def _closed(text: str, final: str) -> str:
    """`text` whose last syllable has this final consonant in place of its own."""
    initial, vowel, _ = _parts(text[-1])
    return text[:-1] + syllable(initial, vowel, FINALS.index(final))


def _open(stem: str) -> str:
    """A stem before ㄴ, ㅂ and ㅅ, where a final ㄹ falls."""
    return _closed(stem, "") if final_consonant(stem) == "ㄹ" else stem


def _bright(text: str) -> bool:
    """Whether the last vowel asks for 아 rather than 어."""
    return _parts(text[-1])[1] in (_A, _YA, _O)


def infinitives(word: Predicate) -> tuple[str, ...]:
    """The stem with 아 or 어: the plain form of 해체."""
    stem, kind, change = word
    if kind == "noun":
        return _copula(word, "해체")
    if change == "르":
        head = _closed(stem[:-1], "ㄹ")
        return (head + ("라" if _bright(head) else "러"),)
    if change == "ㅂ":
        return (_closed(stem, "") + ("와" if stem[-1] in "돕곱" else "워"),)
    if change in ("ㄷ", "ㅅ"):
        stem = _closed(stem, "ㄹ" if change == "ㄷ" else "")
        return (stem + ("아" if _bright(stem) else "어"),)
    if stem.endswith("하"):
        return stem[:-1] + "해", stem + "여"
    if final_consonant(stem) or change == "어":
        return (stem + ("아" if _bright(stem) else "어"),)
    return _merged(stem)


def _merged(stem: str) -> tuple[str, ...]:
    """A stem that ends in a vowel, with 아 or 어 merged into it, then apart."""
    initial, vowel, _ = _parts(stem[-1])
    if vowel in (_A, _EO, _YEO):
        return (stem,)
    if vowel in (_AE, _E):
        return stem, stem + "어"
    if vowel == _EU:
        bright = len(stem) > 1 and stem[-2] != " " and _bright(stem[-2])
        return (stem[:-1] + syllable(initial, _A if bright else _EO, 0),)
    if vowel not in _MERGED:
        return (stem + "어",)
    merged = stem[:-1] + syllable(initial, _MERGED[vowel], 0)
    apart = stem + ("아" if vowel == _O else "어")
    return (merged,) if stem.endswith("오") else (merged, apart)


def before_eu(word: Predicate) -> str:
    """The stem before endings that begin with 으 after a consonant; ㄹ is kept."""
    stem, kind, change = word
    final = final_consonant(stem)
    if kind == "noun" and not change:
        return stem + "이"
    if change == "ㄷ":
        return _closed(stem, "ㄹ") + "으"
    if change == "ㅂ":
        return _closed(stem, "") + "우"
    if change == "ㅅ":
        return _closed(stem, "") + "으"
    return stem if final in ("", "ㄹ") else stem + "으"


def joined(word: Predicate, pattern: str) -> tuple[Predicate, ...]:
    """The predicate that an auxiliary makes: `{stem}고 있`, `{inf}야 하`, `{will} 수 있`.

    A pattern in `{honorific}` raises the subject.
    """
    kind: Kind
    if pattern == "{stem}":
        return (word,)
    if pattern == "{honorific}":
        kind = "adjective" if word.kind == "noun" else word.kind
        return (Predicate(_open(before_eu(word)) + "시", kind, "시"),)
    kind = "adjective" if pattern.endswith(("있", "싶")) else "verb"
    change = word.change if pattern.endswith("{stem}") else ""
    will = _closed(before_eu(word), "ㄹ")
    stems = [pattern.format(stem=word.stem, inf=inf, will=will) for inf in infinitives(word)]
    if pattern == "{inf} 주":
        # Written together it is allowed as well.
        stems += [stem.replace(" 주", "주") for stem in stems]
    return tuple(Predicate(stem, kind, change) for stem in dict.fromkeys(stems))


def conjugate(word: Predicate, mode: Mode, level: Level) -> tuple[str, ...]:
    """All accepted forms without the mark at their end, the usual one first."""
    if mode == "request":
        return _requested(word, level)
    if mode in ("asked", "asked-past"):
        return _asked(word, "present" if mode == "asked" else "past", level)
    if mode == "future":
        stem = _closed(before_eu(word), "ㄹ")
        return tuple(stem + ending for ending in _FUTURE[level])
    if mode == "plan":
        return (word.stem + "겠" + ENDINGS[level],)
    if mode == "past":
        return tuple(base + ENDINGS[level] for base in past_stems(word))
    return _present(word, level)


def past_stems(word: Predicate) -> tuple[str, ...]:
    """Stems in 았 or 었."""
    if word.change == "아니":
        return (word.stem + "었",)
    if word.kind == "noun":
        vowel = not final_consonant(word.stem)
        return (word.stem + "였", word.stem + "이었") if vowel else (word.stem + "이었",)
    return tuple(_closed(each, "ㅆ") for each in infinitives(word))


def _copula(word: Predicate, level: Level) -> tuple[str, ...]:
    """Forms of 이다 and 아니다 other than the formal one."""
    stem = word.stem
    if word.change == "아니":
        forms = {"해라체": ("다",), "해체": ("야",), "해요체": ("에요", "어요")}
        return tuple(stem + end for end in forms[level])
    vowel = not final_consonant(stem)
    if level == "해라체":
        return (stem + "다", stem + "이다") if vowel else (stem + "이다",)
    if level == "해체":
        return (stem + ("야" if vowel else "이야"),)
    return tuple(stem + end for end in (("예요", "여요") if vowel else ("이에요", "이어요")))


def _present(word: Predicate, level: Level) -> tuple[str, ...]:
    stem, kind, change = word
    if level == "하십시오체":
        base = stem + "이" if kind == "noun" and not change else _open(stem)
        return (base + "습니다",) if final_consonant(base) else (_closed(base, "ㅂ") + "니다",)
    if kind == "noun":
        return _copula(word, level)
    if level == "해라체":
        if kind == "adjective":
            return (stem + "다",)
        base = _open(stem)
        return (base + "는다",) if final_consonant(base) else (_closed(base, "ㄴ") + "다",)
    forms = infinitives(word)
    if level == "해체":
        return forms
    polite = tuple(form + "요" for form in forms)
    return (stem[:-1] + "세요", *polite) if change == "시" else polite


def _asked(word: Predicate, mode: Mode, level: Level) -> tuple[str, ...]:
    if level != "해라체":
        forms = conjugate(word, mode, level)
        return tuple(form[:-1] + "까" if level == "하십시오체" else form for form in forms)
    bases = past_stems(word) if mode == "past" else (_open(word.stem),)
    ends = ("니", "냐") if word.kind == "adjective" else ("니", "냐", "느냐")
    return tuple(base + end for base in bases for end in ends)


def _requested(word: Predicate, level: Level) -> tuple[str, ...]:
    forms = infinitives(word)
    base = _open(before_eu(word))
    if level == "해라체":
        return tuple(form + "라" for form in forms)
    if level == "해체":
        return forms
    if level == "해요체":
        return (base + "세요", *(form + "요" for form in forms), base + "셔요")
    return (base + "십시오",)


def note(word: Predicate, mode: Mode) -> str:
    """The form that has no speech level: a memo in ㅁ, or what is asked in 는지."""
    if mode == "asked-past":
        return past_stems(word)[0] + "는지"
    if mode == "asked":
        return _open(word.stem) + "는지"
    if mode == "future":
        return _closed(before_eu(word), "ㄹ") + " 것임"
    if mode in ("past", "plan"):
        return (past_stems(word)[0] if mode == "past" else word.stem + "겠") + "음"
    if word.stem.endswith(("있", "없")):
        return word.stem + "음"
    base = before_eu(word)
    return _closed(base, "ㄻ" if final_consonant(base) == "ㄹ" else "ㅁ")
