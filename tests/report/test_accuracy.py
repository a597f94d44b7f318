"""The accuracy tables: scores by language, their details, and model against model."""

from __future__ import annotations

import re

import pytest

from harness.report import accuracy, html, markdown, words
from harness.report.reading import read
from tests.report import sample
from tests.report.snapshots import golden, printed
from tests.report.test_figures import bare, lines

MAKERS = (accuracy.answers, accuracy.choices, accuracy.templates)


@pytest.mark.parametrize("make", MAKERS)
def test_every_line_fills_its_table_and_every_heading_has_words(make) -> None:
    for card in (sample.laptop(), sample.hostile(), golden()):
        numbers = make(read(card))
        assert numbers.groups
        for line in lines(numbers).values():
            assert line.missing is not None or len(line.figures) == len(numbers.heads)
    for key in (numbers.title, f"{numbers.title}.caption", numbers.first):
        assert words.strings()[key]["ko"]
    for head in numbers.heads:
        assert f"{head.group}.{head.text}" in words.strings()


@pytest.mark.parametrize("make", MAKERS)
def test_cards_without_details_have_none(make) -> None:
    """Those of versions before there were forms, and of runs without accuracy."""
    card = sample.laptop()
    for entry in card["entries"]:
        for task in entry["tasks"].values():
            for name in sample.answered(0):
                del task[name]
    del card["accuracy"]
    for old in (card, bare()):
        view = read(old)
        assert make(view).groups == ()
        assert accuracy.skipped(view).rows == accuracy.compared(view).rows == ()
        assert words.detectable(view, "ko") == ""
        assert html.render(old)
        assert markdown.render(old)
    assert accuracy.suites(read(card)) == ["arith", "copy", "count", "josa"]


def test_what_a_model_did_not_answer_is_no_zero() -> None:
    view = read(sample.laptop())
    model = view.rows[0].model
    copied = lines(accuracy.answers(view))[model, "en-copy"].figures
    assert [figure.text for figure in copied] == [
        *("60.0 % (50.0 %)", "–", "–", "–", "5.0 %", "–", "0", "80")
    ]
    choice = lines(accuracy.choices(view))[model, "en-copy"].figures
    assert [figure.text for figure in choice[-2:]] == ["–", "–"]
    assert lines(accuracy.choices(view))[model, "ko-josa"].figures[-1].text == "0.072 nat"


def test_languages_stand_in_rows_korean_first() -> None:
    view = read(sample.laptop())
    suites = accuracy.suites(view)
    korean, english = accuracy.languages(view.rows[0], suites)
    assert (korean.code, english.code) == ("ko", "en")
    assert [task.id if task else None for task in korean.tasks] == [
        *("ko-arith", None, "ko-count", "ko-josa")
    ]
    assert korean.mean.value == view.rows[0].metric("accuracy_ko").value
    assert accuracy.items(view, "arith") == 80
    assert accuracy.items(view, "none") is None


@pytest.mark.parametrize(
    ("lang", "task", "marks"),
    [
        ("en", "ko-arith", ""),
        ("en", "ko-josa", "1.2 % unanswered · near ties 3 · cut off 1 · skipped 2"),
        ("ko", "ko-josa", "무응답 1.2 % · 근소차 3 · 잘린 답 1 · 건너뜀 2"),
        ("en", "en-copy", "at chance · 5.0 % unanswered"),
    ],
)
def test_marks(lang, task, marks) -> None:
    found = read(sample.laptop()).rows[0].task(task)
    assert found is not None
    assert words.marks(found, lang) == marks


def test_tasks_are_named_by_suite_and_language() -> None:
    assert words.word("ko", "task", "ko-honorific") == "높임말 (한국어)"
    assert words.word("en", "task", "en-longctx") == "Long context (English)"
    assert words.word("en", "task", "logic") == "Logic"
    assert words.word("en", "task", "ko-mine") == "ko-mine"
    assert words.word("en", "task", "fr-logic") == "fr-logic"


def test_every_task_of_a_profile_has_a_name() -> None:
    from typing import get_args

    from harness.spec import TaskName

    for name in get_args(TaskName):
        assert set(words.strings()[f"task.{name}"]) == {"ko", "en"}


def test_what_can_be_told_is_said_everywhere() -> None:
    card = golden()
    said = "796문항으로는 정답률 차이가 5.5%p보다 작으면 어느 모델이 나은지 가릴 수 없습니다"
    assert said in markdown.render(card, lang="ko")
    assert said in html.render(card)
    assert "796 items, differences below 5.5 points" in markdown.render(card)
    assert "(796 items tell 5.5 points apart)" in printed(card)
    view = read(card)
    assert words.accuracy_line(None, view, "en") == "(796 items tell 5.5 points apart)"
    assert words.accuracy_line(None, read(sample.card([])), "en") == ""


def test_models_are_compared_within_their_list_only() -> None:
    view = read(golden())
    (real,) = (r for r in view.rankings if r.list_name == "real")
    rows = accuracy.compared(view, real).rows
    assert [cell.text for cell in rows[0][:2]] == ["startup-b.q4_k_m.gguf", "startup-a.q4_k_m.gguf"]
    assert rows[0][2].text == "1.1 [−1.4, 3.8]"
    assert len(rows) == 1
    assert len(accuracy.compared(view).rows) == 1 + 6 * 5 // 2
    for lang in words.LANGS:
        for key in accuracy.compared(view).heads:
            assert words.say(lang, key)


def test_skipped_items_are_listed_with_their_reason() -> None:
    text = markdown.render(golden(), lang="ko")
    assert "| ref-1m.q8_0.gguf | 달력 (한국어) | 문맥 길이 초과 | 2 |" in text


def test_details_are_folded_in_markdown() -> None:
    text = markdown.render(sample.hostile())
    assert text.count("<details>") == text.count("</details>") == len(MAKERS)
    assert not re.search(r"<(?!/?(details|summary)>)", text)
