"""What the tests of `extract` and `tools` share: cases by hand, and particles that do not agree."""

import json
import unicodedata
from pathlib import Path

from harness.suites.tasks import slots
from harness.suites.tasks.slots import Word

_PAIRS = [("은", "는"), ("이", "가"), ("을", "를"), ("과", "와"), ("으로", "로")]


def by_hand(name):
    """Words of each language, and its rows of texts and answers, written by hand."""
    found = json.loads(Path(__file__).with_name(f"{name}_by_hand.json").read_text("utf-8"))
    words = {
        language: {slot: _word(written) for slot, written in found[language]["words"].items()}
        for language in ("ko", "en")
    }
    return words, [(language, *row) for language in ("ko", "en") for row in found[language]["rows"]]


def _word(written):
    return Word(*written) if isinstance(written, list) else Word(written, str(written))


def misjoined(*more):
    """Every Korean word of a slot with each particle that it does not take."""
    words = {word.shown for options in slots.KINDS["ko"].values() for word in options}
    words |= {word.other for word in slots.KINDS["ko"]["goods"] + slots.KINDS["ko"]["menu"]}
    words = {word for word in words if word and "가" <= word[-1] <= "힣"} | {*more}
    wrong = set()
    for word in words:
        jamo = unicodedata.normalize("NFD", word[-1])
        for with_final, without in _PAIRS:
            needs = len(jamo) == 3 and not (without == "로" and jamo[2] == "\u11af")
            wrong.add(word + (without if needs else with_final))
    # A word without particle may look like one with: 오이, 가을.
    return wrong - words
