"""What a reader does with the page, in a browser."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import A4_WIDTH_PX, Opened

LANGS = ("ko", "en")
RANKING = "#ranking tr[data-model]:not([hidden])"
FOCUSABLE = "a[href], button, input, select, summary, [tabindex='0']"


def shown_models(page: Page) -> list[str]:
    return page.eval_on_selector_all(RANKING, "rows => rows.map(row => row.dataset.model)")


def choose(page: Page, label: str) -> Locator:
    return page.get_by_role("combobox", name=label)


def test_columns_sort_both_ways_and_what_is_missing_stays_below(opened: Opened) -> None:
    page = opened("laptop")
    before = shown_models(page)
    head = page.locator("#ranking th", has_text="최대 메모리")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert shown_models(page)[0] == "mirae-2.0b.q4_k_m.gguf"
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "descending"
    assert shown_models(page)[0] == "sol-360m.q8_0.gguf"
    assert page.locator("#ranking th[aria-sort=descending]").count() == 1
    score = page.locator("#ranking th", has_text="점수").get_by_role("button")
    for _ in range(2):
        score.click()
        assert shown_models(page)[-1] == "sol-360m.q8_0.gguf"
    assert sorted(shown_models(page)) == sorted(before)


def test_every_sortable_table_sorts_by_figures_not_by_text(opened: Opened) -> None:
    page = opened("twenty")
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    tables = page.locator("table.sortable")
    assert tables.count() >= 8
    for i in range(tables.count()):
        heads = tables.nth(i).locator("th[aria-sort] button")
        for button in (heads.first, heads.last):
            button.click()
            head = button.locator("xpath=..")
            assert head.get_attribute("aria-sort") in {"ascending", "descending"}
    speed = page.locator("table", has=page.locator("caption#cap-speed"))
    speed.locator("thead button").nth(1).click()
    values = speed.locator("tbody td:nth-child(2)").evaluate_all(
        "cells => cells.map(cell => Number(cell.dataset.v))"
    )
    assert values == sorted(values)


SORTED = """table => {
  // A time or a size whose unit depends on it can be compared by its amount only.
  const scales = { 'µs': 1e-6, ms: 1e-3, mJ: 1e-3, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 };
  const amount = (cell) => {
    const shown = [...cell.childNodes].filter(node => node.nodeName !== 'SMALL');
    const text = shown.map(node => node.textContent).join('').trim();
    const found = /^(?:< )?([−-]?[\\d,.]+) ?(\\S*)/.exec(text);
    if (!found) return null;
    const number = Number(found[1].replace('−', '-').replaceAll(',', ''));
    return number * (scales[found[2]] ?? 1);
  };
  const wrong = [];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    head.querySelector('button')?.click();
    const sign = head.getAttribute('aria-sort') === 'ascending' ? 1 : -1;
    for (const body of table.tBodies) {
      const rows = [...body.rows].filter(row => !row.classList.contains('group'));
      const cells = rows.map(row => row.cells[column]).filter(cell => cell);
      if (cells.some(cell => /[A-Za-z가-힣]{4}/.test(cell.textContent))) continue;
      const found = cells.map(amount).filter(value => value !== null);
      if (found.some((value, i) => i && sign * (value - found[i - 1]) < 0)) {
        wrong.push([table.caption?.id ?? head.textContent, column, found.slice(0, 9)]);
      }
    }
  });
  return wrong;
}"""


@pytest.mark.parametrize("name", ["twenty", "divided"])
def test_every_column_is_in_the_order_of_the_amounts_shown(opened: Opened, name: str) -> None:
    page = opened(name)
    tables = page.locator("table.sortable")
    wrong = [found for i in range(tables.count()) for found in tables.nth(i).evaluate(SORTED)]
    assert wrong == []


def test_a_sum_of_points_is_told_as_such(opened: Opened) -> None:
    page = opened("divided")
    assert "고정 모델 부문" in page.locator("h1").inner_text()
    who, why, sure, _ = page.locator(".answer").all_inner_texts()
    assert "토큰당 시간" in who
    assert "최대 메모리" not in who
    assert "다른 목록의 1위: other(실제 모델)" in who.replace(" (", "(")
    assert "기준 모델 ref(500점) 대비" in why
    assert "%" not in why
    assert "20점" in sure
    advice = page.locator("#advice details", has_text="slow").inner_text()
    assert "같다면 점수는" in advice
    assert "(+0점)" not in advice


def test_what_a_model_calls_itself_does_nothing(opened: Opened) -> None:
    page = opened("attacked")
    page.on("dialog", lambda dialog: pytest.fail(dialog.message))
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    page.get_by_label("이름 검색").fill("<script>")
    page.get_by_role("button", name="English").first.click()
    page.evaluate("document.querySelectorAll('thead button').forEach(button => button.click())")
    active = (
        "img, iframe, object, embed, base, form, math, template, use, animate, a:not([href^='#'])"
    )
    assert page.locator(active).count() == 0
    assert page.locator("script").count() == page.locator("style").count() == 1
    assert page.url.startswith("file:")
    assert "<script>" in page.title()


def test_the_title_speaks_the_language_of_the_page(opened: Opened) -> None:
    page = opened("laptop", lang="en")
    assert page.title().startswith("Joint first: hanul")
    page.get_by_role("button", name="한국어").click()
    assert page.title().startswith("공동 1위 hanul")


def test_lists_stay_apart_when_their_common_table_is_sorted(opened: Opened) -> None:
    page = opened("mixed")
    table = page.locator("table", has=page.locator("caption#cap-speed"))
    groups = "bodies => bodies.map(body => body.rows[0].className)"
    table.locator("thead button").nth(2).click()
    assert table.locator("tbody").evaluate_all(groups) == ["group", "group"]


def test_models_are_filtered_by_text_and_by_choice(opened: Opened) -> None:
    page = opened("mixed")
    count = page.locator(".filter output")
    expect(count).to_have_text("모델 5개 중 5개 표시")
    page.get_by_label("이름 검색").fill("Q8_0")
    assert set(shown_models(page)) == {"narae-1b.q8_0.gguf", "sol-360m.q8_0.gguf"}
    expect(count).to_have_text("모델 5개 중 2개 표시")
    assert page.locator("#advice details:not([hidden])").count() == 2
    assert page.locator("#speed tr[data-model]:not([hidden]) >> visible=true").count() >= 2
    choose(page, "엔진").select_option("onnxruntime")
    assert shown_models(page) == ["narae-1b.q8_0.gguf"]
    choose(page, "목록").select_option("real")
    expect(count).to_have_text("모델 5개 중 0개 표시")
    page.get_by_role("button", name="모두 보기").click()
    choose(page, "형식").select_option("gguf")
    expect(count).to_have_text("모델 5개 중 3개 표시")
    page.get_by_role("button", name="English").click()
    expect(count).to_have_text("3 of 5 models shown")
    assert choose(page, "List").locator("option").all_inner_texts() == [
        "all",
        "Real models",
        "Embedded reference models",
    ]
    assert count.get_attribute("aria-live") == "polite"


def test_the_language_switch_changes_every_text(opened: Opened) -> None:
    page = opened("laptop", lang="en")
    assert page.evaluate("document.documentElement.lang") == "en"
    english = page.inner_text("body")
    page.get_by_role("button", name="한국어").click()
    korean = page.inner_text("body")
    assert "Joint first" in english
    assert "공동 1위" in korean
    assert "Joint first" not in korean
    hangul = re.findall(r"[가-힣]+", english)
    assert hangul == ["한국어"]
    svg = page.locator("#charts svg text:visible").all_text_contents()
    assert any("디코드 속도" in text for text in svg)
    assert not any("Decode rate" in text for text in svg)


def test_the_colour_switch_overrides_the_system_and_reaches_the_charts(opened: Opened) -> None:
    page = opened("laptop", color_scheme="dark")
    colours = """() => [
      getComputedStyle(document.body).backgroundColor,
      getComputedStyle(document.querySelector('#charts [fill="#0b63c5"]')).fill,
      getComputedStyle(document.querySelector('#charts text')).fill,
    ]"""
    dark = page.evaluate(colours)
    page.get_by_role("button", name="밝게").click()
    light = page.evaluate(colours)
    assert all(one != other for one, other in zip(light, dark, strict=True))
    page.get_by_role("button", name="어둡게").click()
    assert page.evaluate(colours) == dark
    page.get_by_role("button", name="자동").click()
    assert page.evaluate(colours) == dark
    page.emulate_media(color_scheme="light")
    assert page.evaluate(colours) == light


@pytest.mark.parametrize("name", ["laptop", "none"])
def test_the_tab_key_reaches_everything_in_order(opened: Opened, name: str) -> None:
    page = opened(name)
    mark = "all => all.filter(e => e.checkVisibility()).map((e, i) => { e.dataset.stop = i; })"
    page.eval_on_selector_all(FOCUSABLE, mark)
    expected = page.locator("[data-stop]").count()
    reached = []
    for _ in range(expected):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("Number(document.activeElement.dataset.stop ?? -1)"))
        assert page.evaluate("document.activeElement.matches(':focus-visible')")
    assert reached == list(range(expected))


def test_sorting_works_from_the_keyboard(opened: Opened) -> None:
    page = opened("laptop")
    button = page.locator("#ranking th", has_text="최대 메모리").get_by_role("button")
    button.focus()
    page.keyboard.press("Enter")
    assert shown_models(page)[0] == "mirae-2.0b.q4_k_m.gguf"


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_captions_fit_beside_wide_tables(opened: Opened, width: int) -> None:
    page = opened("golden", width=width)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    cut = page.eval_on_selector_all(
        ".scroll",
        """all => all.filter(one => {
          const text = one.querySelector('caption > span:not([lang="en"])');
          const room = one.getBoundingClientRect().right + 1;
          return text && text.getBoundingClientRect().right > room;
        }).map(one => one.querySelector('caption').id)""",
    )
    assert cut == []


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("name", ["twenty", "golden", "laptop", "one", "none", "failed"])
def test_a_telephone_needs_no_sideways_scrolling(opened: Opened, name: str, lang: str) -> None:
    page = opened(name, width=360, height=740, lang=lang)
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("lang", LANGS)
@pytest.mark.parametrize("name", ["twenty", "golden", "laptop", "failed", "divided"])
def test_nothing_is_cut_on_paper(opened: Opened, name: str, lang: str) -> None:
    page = opened(name, width=A4_WIDTH_PX, height=1000, lang=lang)
    page.emulate_media(media="print")
    page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    wide = page.eval_on_selector_all(
        "table, svg, figure, .answer",
        f"""all => all.filter(one => one.getBoundingClientRect().right > {A4_WIDTH_PX + 1})
          .map(one => one.querySelector('caption')?.id ?? one.className ?? one.tagName)""",
    )
    assert wide == []
    broken = page.eval_on_selector_all(
        "td.num b, .grouped td, .ranking td.num",
        """all => all.filter(cell => {
          const range = document.createRange();
          const text = cell.firstChild;
          if (!text || text.nodeType !== 3) return false;
          const number = /^[−-]?[0-9.,]+/.exec(text.data.trim());
          if (!number) return false;
          range.setStart(text, text.data.indexOf(number[0]));
          range.setEnd(text, text.data.indexOf(number[0]) + number[0].length);
          return range.getClientRects().length > 1;
        }).map(cell => cell.textContent.trim())""",
    )
    assert broken == []
    assert page.locator(".filter:visible, nav:visible, .toggles:visible").count() == 0


def test_the_printed_report_has_pages_and_opens_what_was_closed(opened: Opened) -> None:
    page = opened("twenty")
    assert page.locator("details:not([open])").count() > 0
    made = page.pdf(prefer_css_page_size=True)
    pages = len(re.findall(rb"/Type\s*/Page\b", made))
    sizes = set(re.findall(rb"/MediaBox\s*\[([^]]*)\]", made))
    assert pages >= 5
    assert len(sizes) == 1
    width, height = (float(part) for part in sizes.pop().split()[2:])
    assert width == pytest.approx(595, abs=2)
    assert height == pytest.approx(842, abs=2)
    assert page.locator("details:not([open])").count() > 0
