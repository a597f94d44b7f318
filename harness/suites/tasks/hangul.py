"""Korean particles that depend on the final consonant of the word before them.

A precomposed Hangul syllable is `U+AC00 + (initial * 21 + vowel) * 28 + final`, so the
final consonant is a remainder. Arabic digits and Latin capitals count as they are read
aloud: 3 is "삼", L is "엘".
"""

from __future__ import annotations

from typing import Final

FINALS: Final = (
    *("", "ㄱ", "ㄲ", "ㄳ", "ㄴ", "ㄵ", "ㄶ", "ㄷ", "ㄹ", "ㄺ", "ㄻ", "ㄼ", "ㄽ", "ㄾ"),
    *("ㄿ", "ㅀ", "ㅁ", "ㅂ", "ㅄ", "ㅅ", "ㅆ", "ㅇ", "ㅈ", "ㅊ", "ㅋ", "ㅌ", "ㅍ", "ㅎ"),
)
"""Final consonants in Unicode order; the first is none."""

# A number ending in 0 is read "영", "십", "백", "천" or "만": the consonants differ, but
# each is there and none is ㄹ, which is all that the particles ask.
_DIGIT_FINALS: Final = ("ㅇ", "ㄹ", "", "ㅁ", "", "", "ㄱ", "ㄹ", "ㄹ", "")
_LETTER_FINALS: Final = {"L": "ㄹ", "M": "ㅁ", "N": "ㄴ", "R": "ㄹ"}

_FIRST: Final = 0xAC00
_LAST: Final = 0xD7A3

PARTICLES: Final = {
    "은/는": ("은", "는"),
    "이/가": ("이", "가"),
    "을/를": ("을", "를"),
    "과/와": ("과", "와"),
    "으로/로": ("으로", "로"),
    "이라고/라고": ("이라고", "라고"),
    "이에요/예요": ("이에요", "예요"),
    "아/야": ("아", "야"),
}
"""Each pair: after a final consonant, and after a vowel."""


def final_consonant(word: str) -> str:
    """The final consonant of the last sound of `word`, empty after a vowel.

    Raises:
        ValueError: the word does not end in a Hangul syllable, digit or Latin capital.
    """
    last = word[-1:]
    if last and _FIRST <= ord(last) <= _LAST:
        return FINALS[(ord(last) - _FIRST) % 28]
    if last.isascii() and last.isdigit():
        return _DIGIT_FINALS[int(last)]
    if last.isascii() and last.isupper():
        return _LETTER_FINALS.get(last, "")
    raise ValueError(f"{word!r} does not end in a Hangul syllable, a digit or a Latin capital")


def takes_first(word: str, pair: str) -> bool:
    """Whether `word` takes the first form of the pair, the one after a consonant."""
    final = final_consonant(word)
    return final not in ("", "ㄹ") if pair == "으로/로" else final != ""


def particle(word: str, pair: str) -> str:
    """The form of the pair that follows `word`: `particle("물", "으로/로") == "로"`."""
    with_final, without_final = PARTICLES[pair]
    return with_final if takes_first(word, pair) else without_final


def with_particle(word: str, pair: str) -> str:
    """`word` with its particle attached."""
    return word + particle(word, pair)


class Word(str):
    """A word that a template joins to its particle: `"{:은/는}".format(Word("물"))`."""

    __slots__ = ()

    def __format__(self, pair: str) -> str:
        """The word, or the word with the form of `pair` that it takes."""
        return with_particle(str(self), pair) if pair else str(self)


def syllable(initial: int, vowel: int, final: int) -> str:
    """The precomposed syllable of Unicode jamo numbers (0–18, 0–20, 0–27)."""
    return chr(_FIRST + (initial * 21 + vowel) * 28 + final)
