"""The generated texts: fixed, of the size asked for, and Korean with the right particles."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from pathlib import Path

import pytest

from harness.cases import Case
from harness.errors import CapabilityError
from harness.suites.texts import _data, _filled, case_text, generated, probe
from tests.suites.helpers import job

PINNED = {
    "ko": "77271463a2e6e8ea950648f5877f98adbd856a3aee0b4b95a48e48b98a855f47",
    "en": "a9618ccb413ff89294a9712da56b63e96ad710215d5c46bf395a0e22bdb9997e",
}
"""Bits per byte compare over the same bytes: a change here needs another suite version."""


@pytest.mark.parametrize("language", ["ko", "en"])
def test_the_text_is_the_same_everywhere(language: str) -> None:
    text = generated(language, 6144)
    assert hashlib.sha256(text.encode()).hexdigest() == PINNED[language]
    assert text.startswith(generated(language, 1000))


@pytest.mark.parametrize("language", ["ko", "en"])
@pytest.mark.parametrize("size", [1, 200, 3000, 50_000])
def test_whole_sentences_up_to_the_size(language: str, size: int) -> None:
    text = generated(language, size)
    assert text
    assert len(text.encode()) <= max(size, 300)
    assert len(text.encode()) > size - 300
    assert re.search(r"[.?!][”]?$", text)
    assert not re.search(r"[{}]|  | \n|\n\n", text)


def test_little_is_said_twice() -> None:
    for language in ("ko", "en"):
        sentences = re.split(r"(?<=[.?!])[ \n]", generated(language, 6144))
        assert len(set(sentences)) > 0.8 * len(sentences)


def test_every_korean_word_takes_its_particle() -> None:
    data = _data()["ko"]
    slots = {slot for line in data["sentences"] for slot in re.findall(r"\{(\w+):([^}]+)\}", line)}
    assert len(slots) > 20
    for name, pair in slots:
        for word in data["words"][{"friend": "who", "hobby2": "hobby"}.get(name, name)]:
            final = (ord(word[-1]) - 0xAC00) % 28
            after_consonant, after_vowel = pair.split("/")
            closed = final not in {0, 8} if pair == "으로/로" else final != 0  # 8 is ㄹ
            expected = word + (after_consonant if closed else after_vowel)
            assert _filled(f"{{{name}:{pair}}}", {name: word}, "ko") == expected


def test_english_articles_agree() -> None:
    text = generated("en", 100_000)
    assert not re.search(r"\b[Aa] [aeiou]\w+", text)
    assert not re.search(r"\b[Aa]n [^aeiou\s]", text)


def test_sentences_begin_with_a_capital() -> None:
    for line in generated("en", 20_000).split("\n"):
        assert re.match(r"[A-Z“]", line)


def test_the_probe_holds_both_languages_and_odd_things() -> None:
    text = probe()
    for part in ("꿻뷁", "can't", "1,234,567", "\r\n", "  ", "🙂", "<|endoftext|>", "漢字", "ㅋㅋ"):
        assert part in text
    assert generated("ko", 6000) in text
    assert generated("en", 6000) in text


# --- a text of one's own ---------------------------------------------------------------


def own(tmp_path: Path, content: bytes) -> Case:
    (tmp_path / "mine.txt").write_bytes(content)
    return Case(id="text-mine", text="mine.txt", text_sha256=hashlib.sha256(content).hexdigest())


def test_a_file_is_read_beside_the_profile(tmp_path: Path) -> None:
    case = own(tmp_path, "나의 글.\r\n".encode())
    asked = dataclasses.replace(job("language", case), folder=str(tmp_path))
    assert case_text(case, asked) == "나의 글.\r\n"


@pytest.mark.parametrize(
    ("content", "changes", "reason"),
    [
        (b"text", {"text": "other.txt"}, "text_missing"),
        (b"text", {"text_sha256": "0" * 64}, "text_differs"),
        (b"\xff\xfe", {}, "text_missing"),
    ],
)
def test_what_is_not_that_text_is_skipped(tmp_path, content, changes, reason) -> None:
    case = dataclasses.replace(own(tmp_path, content), **changes)
    asked = dataclasses.replace(job("language", case), folder=str(tmp_path))
    with pytest.raises(CapabilityError) as caught:
        case_text(case, asked)
    assert caught.value.reason == reason
