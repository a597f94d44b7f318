"""Numbers as people write them: digits with 만 and 억, Sino-Korean, native Korean, English.

Korean counts things, animals and hours with native numerals (`세 마리`, `스무 권`), reads
money and minutes in Sino-Korean (`삼만 이천`), and leaves a space at each 만 and 억.
"""

from __future__ import annotations

import re
from typing import Final

from harness.suites.tasks.hangul import PARTICLES, with_particle

_DIGITS: Final = "영일이삼사오육칠팔구"
_PLACES: Final = ((1000, "천"), (100, "백"), (10, "십"))
_MYRIADS: Final = ((10**12, "조"), (10**8, "억"), (10**4, "만"))
_NATIVE: Final = ("", "한", "두", "세", "네", "다섯", "여섯", "일곱", "여덟", "아홉")
_TENS: Final = ("", "열", "스물", "서른", "마흔", "쉰", "예순", "일흔", "여든", "아흔")
_ALONE: Final = {"한": "하나", "두": "둘", "세": "셋", "네": "넷"}
_EN_ONES: Final = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
    *("eighteen", "nineteen"),
)
_EN_TENS: Final = (
    *("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"),
)
_EN_SCALES: Final = ((10**9, "billion"), (10**6, "million"), (10**3, "thousand"))


class Number(int):
    """A number that a template writes in several ways.

    `{n}` gives digits, `{n:은/는}` digits with their particle, `{n:native}` the native
    numeral before a counter, `{n:word}` the English word, `{n:day}` `1 day` or `3 days`.
    """

    __slots__ = ()

    def __format__(self, how: str) -> str:
        """The number, written as `how` says."""
        if not how:
            return str(int(self))
        if how in PARTICLES:
            return with_particle(str(int(self)), how)
        if how == "native":
            return native(self)
        if how == "word":
            return english(self)
        return f"{int(self)} {how}" if self == 1 else f"{int(self)} {how}s"


def sino(number: int) -> str:
    """Sino-Korean reading: `sino(32000) == "삼만 이천"`; `0 <= number < 10**16`."""
    if not number:
        return _DIGITS[0]
    parts = []
    for size, name in _MYRIADS:
        count, number = divmod(number, size)
        if count:
            # 10000 is read 만, but 10**8 일억.
            parts.append(name if count == 1 and name == "만" else _below_myriad(count) + name)
    if number:
        parts.append(_below_myriad(number))
    return " ".join(parts)


def _below_myriad(number: int) -> str:
    out = ""
    for size, name in _PLACES:
        count, number = divmod(number, size)
        out += ("" if count == 1 else _DIGITS[count]) + name if count else ""
    return out + (_DIGITS[number] if number else "")


def mixed(number: int) -> str:
    """Digits with 억, 만 and round 천: `mixed(35000) == "3만 5천"`."""
    parts = []
    for size, name in _MYRIADS:
        count, number = divmod(number, size)
        if count:
            parts.append(f"{count}{name}")
    if number:
        parts.append(str(number) if number % 1000 else f"{number // 1000}천")
    return " ".join(parts) or "0"


def native(number: int) -> str:
    """Native Korean numeral before a counter: 세, 스무, 스물한; `1 <= number <= 99`."""
    return "스무" if number == 20 else _TENS[number // 10] + _NATIVE[number % 10]


def english(number: int) -> str:
    """English words: `english(32500) == "thirty-two thousand five hundred"`."""
    if number < 20:
        return _EN_ONES[number]
    if number < 100:
        tens, ones = divmod(number, 10)
        return _EN_TENS[tens] + (f"-{_EN_ONES[ones]}" if ones else "")
    for size, name in (*_EN_SCALES, (100, "hundred")):
        if number >= size:
            count, rest = divmod(number, size)
            return f"{english(count)} {name}" + (f" {english(rest)}" if rest else "")
    raise AssertionError("unreachable")  # pragma: no cover


_ONE: Final = "[일이삼사오육칠팔구]"
_GROUP: Final = re.compile(rf"(?:({_ONE}?)천)?(?:({_ONE}?)백)?(?:({_ONE}?)십)?({_ONE})?")


def read_sino(text: str) -> int | None:
    """The number of a Sino-Korean reading, whatever its spaces; None if it is none."""
    rest = "".join(text[:80].split())
    if rest in {"영", "공"}:
        return 0
    total = 0
    for size, name in _MYRIADS:
        before, found, after = rest.partition(name)
        if found:
            count = 1 if not before else _read_group(before)
            if count is None:
                return None
            total, rest = total + count * size, after
    last = _read_group(rest) if rest or not total else 0
    return None if last is None else total + last


def _read_group(text: str) -> int | None:
    match = _GROUP.fullmatch(text)
    if not text or match is None:
        return None
    counts = [0 if found is None else _DIGITS.find(found) or 1 for found in match.groups()]
    return sum(count * size for count, size in zip(counts, (1000, 100, 10, 1), strict=True))


_READ_NATIVE: Final = {native(number): number for number in range(1, 100)}
_READ_NATIVE.update(
    (_TENS[number // 10] + _ALONE.get(_NATIVE[number % 10], _NATIVE[number % 10]), number)
    for number in range(1, 100)
)


def read_native(text: str) -> int | None:
    """The number of a native numeral, alone (`셋`) or before a counter (`세`)."""
    return _READ_NATIVE.get(text)


def read_english(text: str) -> int | None:
    """The number of English words, with or without `and`; None if they are none."""
    total = part = 0
    words = [word for word in re.split(r"[\s,-]+", text[:200].lower()) if word and word != "and"]
    scales = {name: size for size, name in _EN_SCALES}
    for word in words:
        if word in _EN_ONES:
            part += _EN_ONES.index(word)
        elif word and word in _EN_TENS:
            part += 10 * _EN_TENS.index(word)
        elif word == "hundred":
            part *= 100
        elif word in scales:
            total, part = total + part * scales[word], 0
        else:
            return None
    return total + part if words else None


_EN_WORD: Final = "|".join((*_EN_ONES, *_EN_TENS[2:], "hundred", *(n for _, n in _EN_SCALES)))
_IN_WORDS: Final = re.compile(
    r"[일이삼사오육칠팔구십백천만억조](?: ?[일이삼사오육칠팔구십백천만억조])+"
    rf"|\b(?:{_EN_WORD})(?:[\s,-]{{1,2}}(?:and\s)?(?:{_EN_WORD}))*\b",
    re.IGNORECASE,
)


def words_in(text: str) -> list[int]:
    """Numbers in words, Korean ones of two syllables or more, of the last 1,000 characters."""
    runs = [match.group() for match in _IN_WORDS.finditer(text[-1000:])]
    values = [read_english(run) if run.isascii() else read_sino(run) for run in runs]
    return [value for value in values if value is not None]


_MIXED: Final = re.compile(
    r"(?<![\d.,])(?:\d[\d,]{0,14}(?:\.\d{1,4})?\s?"
    r"(?:천만|백만|십만|[억만천](?!큼)|thousand|million|billion)\s?)+(?:\d[\d,]{0,14})?"
)
_MIXED_PART: Final = re.compile(
    r"(\d[\d,]*(?:\.\d+)?)\s?(천만|백만|십만|억|만|천|thousand|million|billion)?"
)
_UNITS: Final = {
    "천만": 10**7,
    "백만": 10**6,
    "십만": 10**5,
    "억": 10**8,
    "만": 10**4,
    "천": 1000,
    "": 1,
    **{name: size for size, name in _EN_SCALES},
}


def plain_digits(text: str) -> str:
    """`text` with amounts such as `3만 2천` and `32 thousand` in digits alone."""

    def total(match: re.Match[str]) -> str:
        whole = 0.0
        for amount, unit in _MIXED_PART.findall(match.group()):
            whole += float(amount.replace(",", "")) * _UNITS[unit]
        end = " " if match.group()[-1].isspace() else ""
        return f"{round(whole)}{end}"

    return _MIXED.sub(total, text)
