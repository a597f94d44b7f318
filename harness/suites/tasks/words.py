"""Word lists of the generated tasks, out of `words.json`."""

from __future__ import annotations

from typing import Final

from harness.suites.tasks.base import data
from harness.suites.tasks.hangul import final_consonant

Words = tuple[str, ...]

_LISTS: Final = data("words")

KO_THINGS: Final[Words] = tuple(_LISTS["ko_things"])
"""Things that one can buy, hold or see, with and without a final consonant."""
KO_PLACES: Final[Words] = tuple(_LISTS["ko_places"])
"""Places that one can go to; ㄹ finals are many, since 으로/로 turns on them."""
KO_PEOPLE: Final[Words] = tuple(_LISTS["ko_people"])
"""People that one can meet."""
KO_NAMES: Final[Words] = tuple(_LISTS["ko_names"])
"""Given names."""
KO_ACRONYMS: Final[Words] = tuple(_LISTS["ko_acronyms"])
"""Abbreviations that are read letter by letter; none ends in R, which is read two ways."""
EN_VOWEL_NOUNS: Final[Words] = tuple(_LISTS["en_vowel_nouns"])
EN_CONSONANT_NOUNS: Final[Words] = tuple(_LISTS["en_consonant_nouns"])
EN_VOWEL_SOUNDS: Final[Words] = tuple(_LISTS["en_vowel_sounds"])
"""Phrases that begin with a vowel sound; most begin with a consonant letter or a digit."""
EN_CONSONANT_SOUNDS: Final[Words] = tuple(_LISTS["en_consonant_sounds"])
"""Phrases that begin with a consonant sound; most begin with a vowel letter or a digit."""
EN_PERSONS: Final[Words] = tuple(_LISTS["en_persons"])
"""Countable people whose plural adds an s."""
EN_THINGS: Final[Words] = tuple(_LISTS["en_things"])
EN_IRREGULAR: Final[tuple[tuple[str, str], ...]] = tuple(map(tuple, _LISTS["en_irregular"]))
"""Singular and plural."""


def by_final(words: Words) -> dict[str, Words]:
    """Words in three groups: `none`, `rieul` and `other` final consonant."""
    groups: dict[str, list[str]] = {"none": [], "rieul": [], "other": []}
    for word in dict.fromkeys(words):
        final = final_consonant(word)
        groups["none" if not final else "rieul" if final == "ㄹ" else "other"].append(word)
    return {name: tuple(members) for name, members in groups.items()}
