"""Tables: read back and solved by other means, with one answer each."""

import hashlib
import itertools
import re
from collections import Counter
from statistics import mean
from types import SimpleNamespace

import pytest

from harness.suites.tasks import FORMS, LANGUAGES, item_at, table
from harness.suites.tasks.base import FRAMES, Setting, data
from tests.suites.tasks.reading import read, wrong_particles

SEED = hashlib.sha256(b"tests of tables").digest()
DATA = data("table")
ORDINAL = {"두": 2, "세": 3, "second": 2, "third": 3}


def made(language, form, count):
    setting = Setting(language=language, form=form)
    return [item_at("table", setting, index, SEED) for index in range(count)]


# A second solver, which knows only the text


def parsed(lines):
    """The table's cells by column, from either notation."""
    if lines[0].startswith("|"):
        assert set(lines[1]) == {"|", "-"}
        rows = [line.strip("| ").split(" | ") for line in (lines[0], *lines[2:])]
    else:
        rows = [line.split(", ") for line in lines]
    head, *rows = rows
    assert {len(row) for row in rows} == {len(head)}
    return [
        {name: int(cell) if cell.isdigit() else cell for name, cell in zip(head, row, strict=True)}
        for row in rows
    ]


def only(found):
    (answer,) = found
    return answer


def ranked(t, better):
    """Names of the rows that so many rows exceed."""
    return [
        row[t.key]
        for row in t.rows
        if sum(each[t.column] > row[t.column] for each in t.rows) == better
    ]


def commonest(values):
    (first, most), (_, fewer) = Counter(values).most_common(2)
    assert most > fewer
    return first


def exact(value):
    assert value == int(value)
    return int(value)


SOLVERS = {
    "get": lambda t: t.named["key"][t.column],
    "group": lambda t: t.named["key"][t.group],
    "find": lambda t: only(row[t.key] for row in t.rows if row[t.column] == t.value),
    "most": lambda t: only(ranked(t, 0)),
    "least": lambda t: only(ranked(t, len(t.rows) - 1)),
    "nth": lambda t: only(ranked(t, ORDINAL[t.asked["nth"]] - 1)),
    "over": lambda t: sum(row[t.column] > t.value for row in t.rows),
    "under": lambda t: sum(row[t.column] < t.value for row in t.rows),
    "both": lambda t: only(row[t.key] for row in t.own if row[t.column] == t.value),
    "size": lambda t: len(t.own),
    "mode": lambda t: commonest(row[t.group] for row in t.rows),
    "gap": lambda t: abs(t.named["key"][t.column] - t.named["other"][t.column]),
    "range": lambda t: max(row[t.column] for row in t.rows) - min(row[t.column] for row in t.rows),
    "sum": lambda t: sum(row[t.column] for row in t.rows),
    "part": lambda t: sum(row[t.column] for row in t.own),
    "mean": lambda t: exact(mean(row[t.column] for row in t.rows)),
    "product": lambda t: t.named["key"][t.columns["n"]] * t.named["key"][t.columns["m"]],
    "part-most": lambda t: max(t.own, key=lambda row: row[t.column])[t.key],
    "part-over": lambda t: sum(row[t.column] > t.value for row in t.own),
}


def solved(language, template, lines, question):
    """The answer by the kind of question."""
    (entry,) = [each for each in DATA[language]["templates"] if each["id"] == template]
    columns = DATA[language]["domains"][entry["domain"]]["columns"]
    key, group, column = columns["key"], columns["group"], columns[entry["column"]]
    rows = parsed(lines)
    names = [row[key] for row in rows]
    assert len(set(names)) == len(rows)
    asked = read(entry["ask"], question)
    assert asked is not None, question
    found = SimpleNamespace(
        rows=rows,
        key=key,
        group=group,
        column=column,
        columns=columns,
        asked=asked,
        value=int(asked.get("value", 0)),
        own=[row for row in rows if row.get(group) == asked.get("group")],
        named={
            slot: rows[names.index(name)]
            for slot, name in asked.items()
            if slot in {"key", "other"}
        },
    )
    return str(SOLVERS[entry["kind"]](found))


SHOP = "품목, 수량, 가격/사과, 3, 500/배, 7, 900/귤, 5, 400"
ORIGIN = (
    "| 품목 | 산지 | 수량 |/|---|---|---|/| 사과 | 제주 | 3 |/| 배 | 나주 | 3 |/| 귤 | 제주 | 5 |"
)
ORIGIN_PRICE = "품목, 산지, 가격/사과, 대구, 500/배, 나주, 900/귤, 제주, 400"
CLUB = (
    "| 이름 | 점수 | 나이 |/|---|---|---|/| 민수 | 11 | 9 |/| 지수 | 25 | 12 |/| 은별 | 18 | 15 |"
)
TEAM = "이름, 팀, 점수/민수, 청팀, 11/지수, 홍팀, 25/은별, 청팀, 18/하준, 청팀, 7"
TEAM_AGE = "이름, 팀, 나이/민수, 청팀, 11/지수, 홍팀, 15/은별, 청팀, 8"
BOOK = "제목, 권수, 쪽수/바다, 2, 80/하늘, 9, 300/구름, 4, 120/편지, 6, 70"
FIELD = (
    "| 제목 | 분야 | 쪽수 |/"
    "|---|---|---|/"
    "| 바다 | 역사 | 80 |/"
    "| 하늘 | 과학 | 300 |/"
    "| 구름 | 역사 | 120 |"
)
FIELD_COPIES = "제목, 분야, 권수/바다, 역사, 8/하늘, 과학, 3/구름, 역사, 12"
BY_HAND = [
    ("shop-price", SHOP, "귤의 가격은 얼마입니까?", "400"),
    ("shop-number", SHOP, "배의 수량은 몇 개입니까?", "7"),
    ("shop-origin", ORIGIN_PRICE, "귤의 산지는 어디입니까?", "제주"),
    ("club-score", CLUB, "은별의 점수는 몇 점입니까?", "18"),
    ("club-age", CLUB, "나이가 12살인 사람은 누구입니까?", "지수"),
    ("club-team", TEAM, "은별은 어느 팀입니까?", "청팀"),
    ("book-pages", BOOK, "구름의 쪽수는 몇 쪽입니까?", "120"),
    ("book-copies", BOOK, "권수가 6권인 책의 제목은 무엇입니까?", "편지"),
    ("book-field", FIELD, "하늘의 분야는 무엇입니까?", "과학"),
    ("shop-dearest", SHOP, "가격이 가장 높은 품목은 무엇입니까?", "배"),
    ("shop-fewest", SHOP, "수량이 가장 적은 품목은 무엇입니까?", "사과"),
    ("shop-over", SHOP, "가격이 400원보다 높은 품목은 몇 가지입니까?", "2"),
    ("shop-over", SHOP, "가격이 500원보다 높은 품목은 몇 가지입니까?", "1"),
    ("shop-both", ORIGIN, "제주에서 온 품목 가운데 수량이 3개인 것은 무엇입니까?", "사과"),
    ("club-best", CLUB, "점수가 가장 높은 사람은 누구입니까?", "지수"),
    ("club-nth", CLUB, "점수가 두 번째로 높은 사람은 누구입니까?", "은별"),
    ("club-nth", CLUB, "점수가 세 번째로 높은 사람은 누구입니까?", "민수"),
    ("club-team-size", TEAM, "청팀은 모두 몇 명입니까?", "3"),
    ("club-largest", TEAM_AGE, "사람이 가장 많은 팀은 어느 팀입니까?", "청팀"),
    ("club-gap", CLUB, "민수와 지수의 점수 차이는 몇 점입니까?", "14"),
    ("book-thinnest", BOOK, "쪽수가 가장 적은 책의 제목은 무엇입니까?", "편지"),
    ("book-under", BOOK, "쪽수가 120쪽보다 적은 책은 몇 가지입니까?", "2"),
    ("book-field-size", FIELD, "분야가 역사인 책은 몇 가지입니까?", "2"),
    ("shop-total", SHOP, "수량을 모두 더하면 몇 개입니까?", "15"),
    ("shop-origin-total", ORIGIN, "제주에서 온 품목의 수량을 모두 더하면 몇 개입니까?", "8"),
    ("shop-value", SHOP, "가격은 한 개의 값입니다. 배를 모두 사면 얼마입니까?", "6300"),
    ("club-mean", CLUB, "나이의 평균은 몇 살입니까?", "12"),
    ("club-team-best", TEAM, "청팀에서 점수가 가장 높은 사람은 누구입니까?", "은별"),
    ("club-team-over", TEAM, "청팀에서 점수가 11점보다 높은 사람은 몇 명입니까?", "1"),
    ("club-team-over", TEAM, "청팀에서 점수가 7점보다 높은 사람은 몇 명입니까?", "2"),
    ("book-range", BOOK, "가장 많은 권수와 가장 적은 권수의 차이는 몇 권입니까?", "7"),
    ("book-field-total", FIELD_COPIES, "분야가 역사인 책은 모두 몇 권입니까?", "20"),
    ("book-nth", BOOK, "쪽수가 두 번째로 많은 책의 제목은 무엇입니까?", "구름"),
    ("book-field-over", FIELD, "분야가 역사인 책 가운데 80쪽보다 두꺼운 책은 몇 가지입니까?", "1"),
    (
        "club-gap",
        "name, score, age/Tom, 12, 9/Ann, 25, 8",
        "What is the difference between the scores of Tom and Ann?",
        "13",
    ),
    (
        "shop-both",
        "item, origin, stock/figs, Italy, 4/nuts, Chile, 4",
        "Which item from Chile has a stock of 4?",
        "nuts",
    ),
    (
        "book-nth",
        "title, copies, pages/Sea, 2, 80/Sky, 3, 90/Wind, 5, 60",
        "Which title has the third highest number of pages?",
        "Wind",
    ),
]


@pytest.mark.parametrize(("template", "rows", "question", "answer"), BY_HAND)
def test_the_second_solver_agrees_with_a_person(template, rows, question, answer):
    language = "en" if question.isascii() else "ko"
    assert solved(language, template, rows.split("/"), question) == answer


def parts(language, form, item):
    before, after = FRAMES[language, form].split("{}")
    intro, *lines, question = item.context.removeprefix(before).removesuffix(after).split("\n")
    assert intro == DATA[language]["intro"]
    return lines, question


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_text_alone_gives_the_answer(language, form):
    for item in made(language, form, 800):
        lines, question = parts(language, form, item)
        assert solved(language, item.template, lines, question) == item.answer.strip(), item


@pytest.mark.parametrize("language", LANGUAGES)
def test_both_notations_occur_as_often(language):
    marked = [item.context.count("|---") > 0 for item in made(language, "free", 800)]
    assert abs(sum(marked) / len(marked) - 0.5) < 0.06


@pytest.mark.parametrize("language", LANGUAGES)
def test_tables_grow_with_the_level(language):
    for item in made(language, "free", 600):
        lines, _ = parts(language, "free", item)
        rows = len(parsed(lines))
        assert rows in {1: {3, 4}, 2: {4, 5}, 3: {5, 6}}[item.level]
        assert item.level > 1 or rows == (4 if "words" in item.check else 3)


@pytest.mark.parametrize("language", LANGUAGES)
def test_both_conditions_are_needed(language):
    for item in made(language, "free", 900):
        lines, _question = parts(language, "free", item)
        rows = parsed(lines)
        if item.template == "shop-both":
            own = next(row for row in rows if item.answer in row.values())
            others = [row for row in rows if row is not own]
            _key, group, stock = own
            assert any(row[group] == own[group] for row in others)
            assert any(row[stock] == own[stock] for row in others)
        elif item.template == "club-team-best":
            score = list(rows[0])[2]
            best = max(rows, key=lambda row: row[score])
            assert item.answer not in best.values()


@pytest.mark.parametrize("language", LANGUAGES)
def test_steps_are_right_and_in_the_order_of_the_table(language):
    for item in made(language, "free", 900):
        steps, _, answer = item.solution.strip().rpartition(";")
        assert answer == item.answer
        lines, _ = parts(language, "free", item)
        text = "\n".join(lines)
        if not steps:
            continue
        for equation in steps.split(",") if "=" in steps else ():
            left, right = equation.split("=")
            assert re.fullmatch(r"\d+(?:[-+*/]\d+)+", left)
            assert eval(left) == int(right)
        if "=" not in steps and ">" not in steps:
            named = steps.split(",")
            assert len(named) == int(answer)
            places = [re.search(rf"^(\| )?{name}\b", text, re.MULTILINE).start() for name in named]
            assert places == sorted(places)
        elif ">" in steps:
            values = [int(value) for value in steps.split(">")]
            assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("language", LANGUAGES)
def test_wrong_choices_are_near_or_from_the_table(language):
    for item in made(language, "choice", 800):
        values = [choice.strip() for choice in item.choices]
        if values[0].isdigit():
            numbers = sorted(map(int, values))
            lookup = item.template in {"shop-price", "shop-number", "club-score", "book-pages"}
            inside = sum(value in item.context for value in values)
            steps = {b - a for a, b in itertools.pairwise(numbers)}
            assert inside >= 3 if lookup else len(steps) == 1, item
        else:
            assert all(value in item.context for value in values), item


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_text_is_short_enough_for_a_tiny_model(language):
    used = set()
    for item in made(language, "free", 1500):
        text = item.context + item.solution
        if language == "ko":
            assert len(re.findall("[가-힣]", text)) <= 90
            assert len(re.sub(r"\s", "", text)) <= 190
            used |= set(re.findall("[가-힣]", text))
        else:
            assert len(text) <= 340
        assert item.max_tokens >= max(24, 2 * len(item.solution))
    assert len(used) <= 150


def test_korean_particles_agree():
    domains = DATA["ko"]["domains"].values()
    listed = [word for domain in domains for word in domain["keys"] + domain["groups"]]
    listed += [word for domain in domains for word in domain["columns"].values()]
    for item in made("ko", "free", 1000):
        assert not wrong_particles(item.question, listed)
        question = item.question.split("\n")[-1]
        assert re.search(r"까\? (?:숫자만|답만) 쓰세요\.$", question)


@pytest.mark.parametrize(
    ("text", "strict", "loose"),
    [
        ("{}", True, True),
        (" {}.\n", True, True),
        ("3+5=8;{}", True, True),
        ("답은 {}입니다.", False, True),
        ("**{}**", False, True),
        ("표에서 찾으면 {}", False, True),
        ("{} 그리고 999", False, None),
        ("999", False, False),
        ("모르겠습니다", False, False),
    ],
)
def test_marking(text, strict, loose):
    for item in made("ko", "free", 150):
        found = table.mark(text.format(item.answer), item)
        # A number behind a word does not name a rival.
        expected = "words" in item.check if loose is None else loose
        assert (found.strict, found.loose) == (strict, expected), item


@pytest.mark.parametrize(
    ("template", "unit"),
    [
        ("shop-price", "원"),
        ("shop-number", "개"),
        ("club-gap", "점"),
        ("club-mean", "살"),
        ("club-team-size", "명"),
        ("book-pages", "쪽"),
        ("book-field-total", "권"),
    ],
)
def test_units_are_dropped(template, unit):
    items = [each for each in made("ko", "free", 600) if each.template == template]
    assert items
    for item in items:
        assert table.mark(f"{item.answer}{unit}", item).loose
        assert table.mark(f"{int(item.answer):,} {unit}입니다.", item).loose
        assert not table.mark(f"{int(item.answer) + 1}{unit}", item).loose


def test_there_are_as_many_templates_in_both_languages():
    assert table.templates("ko") == table.templates("en")
    assert len(table.templates("ko")) == 31
