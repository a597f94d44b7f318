"""Running text in Korean and English, made from templates of this project's own.

The same on every machine: bits per byte compare only over the very same bytes. Or a
text of an evaluator's own, by path and sha256. `PROBE` tells tokenisers apart.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Final

from harness.cases import Case
from harness.errors import CapabilityError
from harness.job import Job
from harness.spec import sha256
from harness.suites.tasks.draw import Draw
from harness.suites.tasks.hangul import PARTICLES, takes_first, with_particle

BYTES_A_TOKEN: Final = 3
"""UTF-8 bytes of text for each token that a profile asks for: one Hangul syllable."""
_SEED: Final = bytes(32)
_SLOT: Final = re.compile(r"\{(\w+?)(?::([^}]+))?\}")
_ENDINGS: Final = {"이고/고": ("이고", "고"), "이다/다": ("이다", "다")}
_STORY: Final = (3, 6)
"""Sentences of a paragraph, least and most."""


def case_text(case: Case, job: Job) -> str:
    """The text of a case: a file of the profile's, else one that is made here.

    Raises:
        CapabilityError: `text_missing`, `text_differs`: not the file that the profile means.
    """
    if not case.text:
        return generated(case.language, case.items * BYTES_A_TOKEN)
    path = Path(job.folder, case.text)
    try:
        data = path.read_bytes()
        text = data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CapabilityError(
            f"the text cannot be read: {error}", where=str(path), reason="text_missing"
        ) from error
    if sha256(data) != case.text_sha256:
        raise CapabilityError(
            "another sha256 than the profile's", where=str(path), reason="text_differs"
        )
    return text


@cache
def generated(language: str, size: int) -> str:
    """Paragraphs of whole sentences, at most `size` UTF-8 bytes (at least one sentence)."""
    parts: list[str] = []
    used = 0
    for part in _sentences(language):
        used += len(part.encode())
        if used > size and parts:
            break
        parts.append(part)
    return "".join(parts)


def _sentences(language: str) -> Iterator[str]:
    """Without end, each with the space or line break before it.

    Neighbouring templates tell one story; a round takes every template once, so that little
    can be copied from earlier in the text.
    """
    data = _data()[language]
    templates, gap = data["sentences"], ""
    for number in count():
        draw = Draw(_SEED, f"text-{language}", number)
        stories, start = [], 0
        while start < len(templates):
            stories.append(templates[start : start + draw.between(*_STORY)])
            start += len(stories[-1])
        for story in draw.shuffled(stories):
            words = _words(data["words"], draw)
            for template in story:
                yield gap + _filled(template, words, language)
                gap = " "
            gap = "\n"


def probe() -> str:
    """A fixed text, odd and plain, in both languages: equal tokenisers give equal ids."""
    return "\n".join((str(_data()["probe"]), generated("ko", 6000), generated("en", 6000)))


@cache
def _data() -> Any:
    return json.loads(Path(__file__).with_name("texts.json").read_text("utf-8"))


def _words(lists: dict[str, list[str]], draw: Draw) -> dict[str, str]:
    """One word for each slot of a paragraph; `friend` and `hobby2` differ from their like."""
    words = {name: draw.pick(options) for name, options in lists.items()}
    for name, other in (("friend", "who"), ("hobby2", "hobby")):
        words[name] = draw.pick([word for word in lists[other] if word != words[other]])
    return words


def _filled(template: str, words: dict[str, str], language: str) -> str:
    def fill(slot: re.Match[str]) -> str:
        word, mark = words[slot[1]], slot[2]
        if not mark:
            return word
        if mark in PARTICLES:
            return with_particle(word, mark)
        if mark in _ENDINGS:
            after_consonant, after_vowel = _ENDINGS[mark]
            return word + (after_consonant if takes_first(word, "이/가") else after_vowel)
        return f"{mark}{'n' * (word[0].lower() in 'aeiou')} {word}"

    text = _SLOT.sub(fill, template)
    return text[0].upper() + text[1:] if language == "en" else text
