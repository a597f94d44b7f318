from __future__ import annotations

import base64
import hashlib
import itertools
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from harness.report import html
from harness.specfile import resolve_profile
from tests.report import sample
from tests.report.snapshots import golden

VOID = {"meta", "link", "br", "wbr", "img", "input", "hr"}


class Page(HTMLParser):
    """Every element of a page with its text."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.inline: dict[str, list[str]] = {"script": [], "style": []}
        self.shown = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in self.inline:
            self.inline[self.open[-1]].append(data)
        else:
            self.shown += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attrs for name, attrs in self.elements if name == tag]


CARDS = {"golden": golden, "hostile": sample.hostile, "none": lambda: sample.card([])}


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    return {name: html.render(make()) for name, make in CARDS.items()}


@pytest.fixture(params=CARDS, scope="module")
def page(request: pytest.FixtureRequest, texts: dict[str, str]) -> Page:
    return Page(texts[request.param])


def test_elements_nest(page: Page) -> None:
    assert page.open == []


def test_nothing_is_fetched_and_nothing_is_active(page: Page) -> None:
    for tag, attrs in page.elements:
        assert tag not in {"img", "iframe", "object", "embed", "base", "form", "use", "image"}
        for name, value in attrs.items():
            assert not name.startswith("on")
            assert name not in {"src", "srcset", "style", "action", "xlink:href"}
            if name == "href":
                assert value.startswith("#") or value == "data:,"
    assert "@import" not in page.inline["style"][0]
    assert "url(" not in page.inline["style"][0]


def test_policy_allows_exactly_the_inline_code(page: Page) -> None:
    (policy,) = [m["content"] for m in page.all("meta") if "http-equiv" in m]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for kind in ("script", "style"):
        code = "".join(page.inline[kind])
        assert len(page.all(kind)) == 1
        digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


def test_policy_comes_before_the_code(texts: dict[str, str]) -> None:
    text = texts["golden"]
    assert text.index("Content-Security-Policy") < text.index("<style>") < text.index("<script>")
    assert text.startswith("<!doctype html>")


@pytest.mark.parametrize("payload", sample.PAYLOADS)
def test_payloads_are_text(texts: dict[str, str], payload: str) -> None:
    page = Page(texts["hostile"])
    shown = re.sub(r"[\x00-\x1f\x7f-\x9f]|[\u202a-\u202e\u2066-\u2069]", "", payload)
    visible = shown if shown == payload else ""
    assert visible in page.shown
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", page.shown)


def test_both_languages_and_the_one_asked_for_first(texts: dict[str, str]) -> None:
    text = texts["golden"]
    assert '<html lang="ko">' in text
    assert "순위표" in text
    assert "Ranking" in text
    page = Page(text)
    pressed = {b["data-lang"]: b["aria-pressed"] for b in page.all("button") if "data-lang" in b}
    assert pressed == {"ko": "true", "en": "false"}
    assert '<html lang="en">' in html.render(sample.card([]), lang="en")


def test_first_screen_answers_who_why_whether_and_where(texts: dict[str, str]) -> None:
    head = texts["golden"].split("<main>")[0]
    shown = Page(head[head.index("<header>") :] if "<header>" in head else head).shown
    for words in (
        "공동 1위",
        "기준 모델 ref-4m.f16.gguf(1000점) 대비",
        "유의하지 않거나",
        "A laptop",
        "미검증",
    ):
        assert words in shown


def test_tables_can_be_read_without_eyes(page: Page) -> None:
    ids = {attrs["id"] for _, attrs in page.elements if "id" in attrs}
    assert len(ids) == sum("id" in attrs for _, attrs in page.elements)
    for _, attrs in page.elements:
        if "aria-labelledby" in attrs:
            assert attrs["aria-labelledby"] in ids
    for head in page.all("th"):
        assert head.get("scope") in {"row", "col", "rowgroup"}
    for table in page.all("table"):
        if "ranking" in table.get("class", "").split():
            assert any(th.get("aria-sort") == "ascending" for th in page.all("th"))
    headings = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    for before, after in itertools.pairwise(headings):
        assert after <= before + 1


def test_measured_values_outcomes_and_definitions_are_there(texts: dict[str, str]) -> None:
    shown = Page(texts["golden"]).shown
    for words in (
        "785",
        "[769, 801]",
        "harness models pull startup-d.q4_k_m.gguf",
        "메모리 부족",
        "not better than guessing",
        "prompt in memory to first output token",
        "이 프로젝트의 제안",
        "calendar · ",
        "달력 (한국어)",
        "건너뜀 2",
        "796문항으로는 정답률 차이가 5.5%p보다",
        "fixed-p256-n32",
        "20261123T081500Z-a1b2c3",
    ):
        assert words in shown


def test_twenty_models_stay_small() -> None:
    """Of the most that a shipped profile measures."""
    assert len(html.render(sample.challenge(20)).encode()) <= 1_500_000


def test_the_same_scorecard_gives_the_same_page() -> None:
    card = sample.card([])
    assert html.render(card) == html.render(card)


def test_charts_are_imported_only_when_drawn() -> None:
    heavy = "{'altair', 'vl_convert', 'pandas', 'jinja2'}"
    code = f"import sys, harness.report.html; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_sample_is_as_large_as_the_profile_challenge() -> None:
    suites = resolve_profile("challenge").suites
    assert suites.accuracy
    assert suites.latency
    assert sorted(suites.accuracy.tasks) == sorted(sample.SUITES)
    (made,) = sample.challenge(1)["entries"]
    assert len(made["tasks"]) == len(suites.accuracy.tasks) * len(suites.accuracy.languages)
    fixed = [case for case in made["cases"] if case.startswith("fixed-")]
    assert len(fixed) == len(suites.latency.prompt_tokens) * len(suites.latency.depths)


def test_the_new_parts_are_on_the_page() -> None:
    page = Page(html.render(sample.laptop()))
    for words in (
        "초당 글자 수",
        "tg128 @ d1024",
        "2nd+ Token Generation Rate",
        "문맥 길이와 단계별 최대 메모리",
        "c2048-mmap",
        "메모리 읽기 41.2 → 40.9 GB/s",
        "시간에 따른 디코드 속도",
        "측정되지 않음: 전력 기록이 너무 성김",
        "실행 중 점점 느려짐",
        "측정하지 않은 조건",
    ):
        assert words in page.shown
    chips = [a for a in page.all("a") if a.get("class", "").startswith("chip")]
    assert [chip["class"] for chip in chips] == [
        *(["chip valid"] * 4),  # gates of the ranked models
        "chip invalid",  # findings of one
        "chip invalid",  # gates of the one without a score
    ]


def test_suites_that_did_not_run_leave_no_empty_section() -> None:
    made = sample.entry("a", rank=1, speed=1, skill=1)
    made |= {"cases": {}, "compat": {}, "sustained": None}
    made["metrics"] = {"accuracy": made["metrics"]["accuracy"]}
    page = Page(html.render(sample.card([made])))
    ids = [attrs["id"] for attrs in page.all("section") if "id" in attrs]
    assert "ranking" in ids
    assert not {"chat", "other"} & set(ids)
    linked = {attrs["href"].removeprefix("#") for attrs in page.all("a")}
    assert set(ids) <= linked
    assert "지속 성능" not in page.shown
