"""Messages in the reader's language: English in the code, Korean from a catalogue.

Code says what it has to say in English, in an f-string where it is needed. Where a text meets
a reader, `tr` looks for the template that it was made from and puts its values into the Korean
one. What has no Korean stays English; records, JSON and reason codes always do.
(docs/decisions/0010-korean-messages.md)
"""

from __future__ import annotations

import itertools
import locale
import os
import unicodedata
from collections.abc import Sequence
from typing import Final, Literal

Lang = Literal["ko", "en"]

_spoken: Lang = "en"
_WIDE: Final = frozenset("WF")
_PLAINER: Final = {
    "−": "-",
    "–": "-",
    "µ": "μu",  # Korean Windows has the Greek letter
    "→": ">",
    "·": "|",
    "×": "x",
    "±": "~",
    "…": ".",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
}
"""Signs that a console may lack, and those of the same width that come nearest, best first."""


def speak(lang: Lang) -> None:
    """Set the language of everything that is said from now on."""
    global _spoken  # noqa: PLW0603 - a process has one reader
    _spoken = lang


def language() -> Lang:
    """The language that messages are in."""
    return _spoken


def asked_for(arguments: Sequence[str]) -> Lang:
    """What a command line asks for by `--lang`, else the locale's.

    It is read before Click parses anything, so that usage errors have it, too.
    """
    asked = of_locale()
    for name, value in itertools.pairwise([*arguments, ""]):
        if name == "--":
            break
        if (name, value) == ("--lang", "ko") or name == "--lang=ko":
            asked = "ko"
        elif (name, value) == ("--lang", "en") or name == "--lang=en":
            asked = "en"
    return asked


def of_locale() -> Lang:
    """Korean where the user's locale says so."""
    spoken = next(filter(None, map(os.environ.get, ("LC_ALL", "LC_MESSAGES", "LANG"))), None)
    spoken = spoken or locale.getlocale()[0] or ""  # Windows sets none of these variables
    return "ko" if spoken.lower().startswith("ko") else "en"


def tr(text: str, lang: Lang | None = None) -> str:
    """A text in the reader's language, or in `lang`; unchanged where it has no translation."""
    if (lang or _spoken) == "en" or not text:
        return text
    from harness.messages import catalogue

    return catalogue.korean().translate(text)


def plainer(error: UnicodeError) -> tuple[str, int]:
    """Error handler of a stream: what it cannot encode becomes what comes nearest, else `?`.

    A minus that became a `?` would turn -30 % into what anybody reads as 30 %.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start : error.end]
    return "".join(_nearest(char, error.encoding) for char in found), error.end


def _nearest(char: str, encoding: str) -> str:
    for candidate in _PLAINER.get(char, ""):
        try:
            candidate.encode(encoding)
        except UnicodeEncodeError:
            continue
        return candidate
    return "?"


def width(text: str) -> int:
    """Columns that a text takes on a terminal: Hangul takes two a letter."""
    return sum(
        0
        if unicodedata.combining(char)
        else 2
        if unicodedata.east_asian_width(char) in _WIDE
        else 1
        for char in text
    )


def pad(text: str, columns: int) -> str:
    """A text filled up with spaces, as `f"{text:<{columns}}"` does where letters are narrow."""
    return text + " " * (columns - width(text))
