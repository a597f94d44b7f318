"""The jury member's walk of docs/walk.md: four answers, no scrolling back, one document."""

from __future__ import annotations

import pytest

from tests.browser.conftest import Opened

QUESTIONS = {
    "ko": ["누가 1위인가", "점수의 근거", "차이가 유의한가", "어느 기기인가"],
    "en": ["Who leads", "Why", "Is it significant", "On which machine"],
}
BOXES = """all => all.map(one => {
  const box = one.getBoundingClientRect();
  return [box.left, box.top, box.right, box.bottom];
})"""


@pytest.mark.parametrize("lang", QUESTIONS)
@pytest.mark.parametrize(
    "name", ["golden", "laptop", "twenty", "one", "joint", "none", "failed", "divided"]
)
def test_the_first_screen_holds_all_four_answers_in_order(
    opened: Opened, name: str, lang: str
) -> None:
    page = opened(name, width=1280, height=800, lang=lang)
    assert page.locator(".answer h2").all_inner_texts() == QUESTIONS[lang]
    boxes = page.eval_on_selector_all(".answer", BOXES)
    for left, top, right, bottom in boxes:
        assert left >= 0
        assert top >= 0
        assert right <= 1280
        assert bottom <= 800
    assert [box[0] for box in boxes] == sorted(box[0] for box in boxes)


@pytest.mark.parametrize("lang", QUESTIONS)
def test_on_a_telephone_the_answers_come_before_any_table(opened: Opened, lang: str) -> None:
    page = opened("laptop", width=360, height=740, lang=lang)
    boxes = page.eval_on_selector_all(".answer", BOXES)
    assert [box[1] for box in boxes] == sorted(box[1] for box in boxes)
    first_table = page.locator("table").first.bounding_box()
    assert first_table is not None
    assert boxes[-1][3] < first_table["y"]


def test_the_answers_say_winner_reason_significance_and_machine(opened: Opened) -> None:
    page = opened("laptop")
    who, why, sure, where = page.locator(".answer").all_inner_texts()
    assert "hanul-2.1b.q4_k_m.gguf" in who
    assert "1140" in who
    assert "정확도 1.52배 우수" in why
    assert sure.splitlines()[-1].startswith("95 % 수준")
    assert "아니요" in sure
    assert "보정 p = 0.600" in sure
    assert "LG gram 16 (2025)" in where
    assert "Core(TM) Ultra 7" in where
    assert "사전 공지한 3회 중 2번째 실행" in where
