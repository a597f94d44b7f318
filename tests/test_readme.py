"""The two READMEs say the same: commands, links and headings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENGLISH = (ROOT / "README.md").read_text("utf-8")
KOREAN = (ROOT / "README.ko.md").read_text("utf-8")


def blocks(text: str) -> list[str]:
    """Fenced blocks: commands without their comments, of other blocks the paths."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [
        re.sub(r" *#.*", "", body) if kind else " ".join(re.findall(r"[a-z.]+(?:/|\.yaml)", body))
        for kind, body in found
    ]


def shell(text: str) -> set[str]:
    """Commands in the text around the blocks."""
    outside = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`([^`]+)`", outside)
    return {" ".join(span.split()) for span in spans if "harness" in span or "uv" in span.split()}


def test_code_blocks_are_the_same() -> None:
    assert blocks(KOREAN) == blocks(ENGLISH)
    assert len(blocks(ENGLISH)) >= 4


def test_every_command_is_in_both() -> None:
    assert shell(ENGLISH) - shell(KOREAN) == set()
    # The Korean one says besides how to choose the language.
    assert {span for span in shell(KOREAN) - shell(ENGLISH) if "--lang" not in span} == set()


def test_links_are_the_same() -> None:
    links = [re.findall(r"\]\(([^)]+)\)", text) for text in (ENGLISH, KOREAN)]
    assert {*links[0], "README.md"} == {*links[1], "README.ko.md"}


def test_headings_agree_in_number_and_level() -> None:
    levels = [re.findall(r"^(#+) ", text, re.MULTILINE) for text in (ENGLISH, KOREAN)]
    assert levels[0] == levels[1]


@pytest.mark.parametrize(("text", "other"), [(ENGLISH, "README.ko.md"), (KOREAN, "README.md")])
def test_each_links_to_the_other_at_its_top(text: str, other: str) -> None:
    assert f"]({other})" in "\n".join(text.splitlines()[:5])
