"""Items whose answer is one number or one word: how they are built and marked.

Strict: the whole output, or what stands behind its last `;`, is the answer. Loose: the
last number, or the last of the words that the item names, is the answer, whatever
courtesy, unit or explanation stands around it; a rival named after it spoils it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from harness.spec import Language
from harness.suites.tasks.base import Grade, Item, Setting, grade, make_item
from harness.suites.tasks.draw import Draw
from harness.suites.tasks.marking import NUMBER, SYLLABLE, last_part, number_in

VERDICTS: Final[Mapping[Language, tuple[str, str, str]]] = {
    "ko": ("예", "아니요", "알 수 없음"),
    "en": ("yes", "no", "unknown"),
}
"""It follows, its opposite follows, neither follows."""

_HOW: Final[Mapping[Language, tuple[str, str, str]]] = {
    "ko": ("숫자만 쓰세요.", "답만 쓰세요.", "예, 아니요, 알 수 없음 가운데 하나만 쓰세요."),
    "en": ("Write only the number.", "Write only the answer.", "Write only yes, no or unknown."),
}

_LONGEST: Final = 2000
"""Characters that are read: no answer is longer, and hostile text costs nothing."""

# What may follow a Korean noun without a space; anything else makes it another word.
_AFTER: Final = "은는이가을를과와의도만에로으씨님께랑하보부까처뿐라야여예입임인였다네요죠군번쪽"
_DENIED_AFTER: Final = re.compile(r"[이가은는]?\s?(?:아니|아닙|아닌|말고)")
_DENIED_BEFORE: Final = re.compile(r"(?:\bnot|n't)(?: the)? $")

# A bare "no" or "네" ("no dax", "네 명") is not a verdict, so what follows them counts.
_VERDICT_PATTERNS: Final[Mapping[str, str]] = {
    "예": r"(?<![가-힣])(?:예|네)(?=입니다|이다|라고|[^\w\s]|\s*$)",
    "아니요": r"(?<![가-힣])아니[요오](?![가-힣])|(?<![가-힣])아니[요오](?=입니다|라고)",
    "알 수 없음": r"알 수(?:가|는)? 없|(?<![가-힣])모(?:른다|릅니다|름)",
    "yes": r"\byes\b(?=[^\w\s]|\s*$)",
    "no": r"\bno\b(?=[^\w\s]|\s*$)",
    "unknown": r"\bunknown\b|\b(?:cannot|can't|not) (?:be )?(?:known?|determined?|said|say|tell)\b",
}


class Ask(NamedTuple):
    """A question with its answer, before it takes one of the two forms.

    Attributes:
        wrong: wrong choices, best first; no more are used than the task offers.
        words: the words that marking looks for, the answer among them; empty if the
            answer is a number.
        steps: what a trained model writes before the answer.
        check: more that goes into the item's `check`.
    """

    template: str
    level: int
    question: str
    answer: str
    wrong: Sequence[str]
    words: Sequence[str] = ()
    steps: str = ""
    check: Mapping[str, Any] = MappingProxyType({})

    @property
    def lead(self) -> str:
        """The steps as they stand before the answer."""
        return f"{self.steps};" if self.steps else ""

    @property
    def max_tokens(self) -> int:
        """Cap of a free answer."""
        return max(24, 2 * len(f" {self.lead}{self.answer}"))

    def how(self, language: Language) -> str:
        """How the answer is to be written."""
        kind = 0 if not self.words else 2 if self.answer in VERDICTS[language] else 1
        return _HOW[language][kind]


def build(setting: Setting, draw: Draw, ask: Ask) -> Item:
    """The item of a question in the form that the setting asks for."""
    marked = setting.form == "free" and ask.words
    return make_item(
        setting,
        draw,
        template=ask.template,
        level=ask.level,
        question=ask.question,
        answer=ask.answer,
        wrong=ask.wrong,
        asked=f"{ask.question} {ask.how(setting.language)}",
        max_tokens=ask.max_tokens,
        steps=ask.lead,
        check={**ask.check, "words": list(ask.words)} if marked else ask.check,
    )


def mark(text: str, item: Item) -> Grade:
    """Mark a free answer; see the module."""
    whole = len(text) <= _LONGEST
    text = unicodedata.normalize("NFC", text[-_LONGEST:])
    ending = last_part(text)
    tidied = _tidy(ending)
    words = item.check.get("words", ())
    if not words:
        found = number_in(ending) or number_in(text)
        if NUMBER.fullmatch(tidied):
            tidied = tidied.replace(",", "")
    else:
        found = last_word(ending, words) or last_word(text, words)
    strict = whole and tidied == item.answer
    return grade(answered=found is not None, strict=strict, loose=found == item.answer)


def last_word(text: str, words: Sequence[str]) -> str | None:
    """The last of the words that the text names; one that it denies is none of them."""
    last: tuple[int, int, str] | None = None
    for word in words:
        for match in re.finditer(_pattern(word), text, re.IGNORECASE):
            # Of two that begin together, one of them begins the other.
            last = max(last or (-1, 0, ""), (match.start(), match.end(), word))
    if last is None:
        return None
    start, end, word = last
    if word in _VERDICT_PATTERNS:
        return word
    denied = _DENIED_AFTER.match(text, end) or _DENIED_BEFORE.search(
        text[max(0, start - 9) : start]
    )
    return None if denied else word


def _pattern(word: str) -> str:
    if word in _VERDICT_PATTERNS:
        return _VERDICT_PATTERNS[word]
    if word.isascii():
        return rf"\b{re.escape(word)}\b"
    return rf"(?<!{SYLLABLE}){re.escape(word)}(?:(?!{SYLLABLE})|(?=[{_AFTER}]))"


def _tidy(text: str) -> str:
    """One line with single spaces, without the final period."""
    return " ".join(text.split()).removesuffix(".").rstrip()
