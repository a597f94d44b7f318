"""Long contexts: solved again from their text, no longer than the cache, without rivals."""

import hashlib
import json
import re
import time
from collections import Counter, defaultdict
from statistics import fmean

import pytest

from harness.suites.tasks import FORMS, LANGUAGES, item_at, longctx
from harness.suites.tasks.base import FRAMES, Setting, data
from harness.suites.tasks.draw import Draw
from harness.suites.tasks.haystack import haystack, tokens
from tests.suites.tasks.reading import pattern, read, sentences, wrong_particles

SEED = hashlib.sha256(b"tests of long contexts").digest()
DATA = data("longctx")
HAY = data("haystack")
LENGTHS = (200, 1024, 2048, 16384)


def made(language, form, length, count):
    setting = Setting(language=language, form=form, longest_tokens=length)
    return [item_at("longctx", setting, index, SEED) for index in range(count)]


# A second solver, which knows only the text


def facts(entry, told, asked):
    rows = [row for each in told if (row := read(entry["tell"], each))]
    found = [row for row in rows if all(row[slot] == value for slot, value in asked.items())]
    assert len(found) == 1, (rows, asked)
    return found[0][entry["slot"]]


def copied(entry, told, asked):
    numbers, same = {}, {}
    for each in told:
        if row := read(entry["then"], each):
            assert row["new"] not in same
            same[row["new"]] = row["old"]
        elif row := read(entry["tell"], each):
            numbers[row["new"]] = row["n"]
    name = asked["new"]
    for _ in told:
        name = same.get(name, name)
    return numbers[name]


def chained(entry, told, asked):
    holder = {}
    for each in told:
        row = read(entry["then"], each) or read(entry["tell"], each)
        if row:
            assert row.get("old") in {None, holder.get(row["thing"])}
            holder[row["thing"]] = row["new"]
    return holder[asked["thing"]]


def summed(entry, told, asked):
    sums = defaultdict(list)
    for each in told:
        if row := read(entry["tell"], each):
            assert not sums[row["who"]], "who starts has nothing yet"
            sums[row["who"]].append(int(row["n"]))
        elif row := read(entry["then"], each):
            assert sums[row["who"]], "who wins has started"
            sums[row["who"]].append(int(row["n"]))
    return str(sum(sums[asked["who"]]))


def counted(entry, told, asked):
    rows = [row for each in told if (row := read(entry["tell"], each))]
    who = [row["who"] for row in rows if row[entry["slot"]] == asked[entry["slot"]]]
    assert len(set(who)) == len(who)
    return str(len(who))


def commonest(entry, told, _asked):
    rows = {tuple(row.values()) for each in told if (row := read(entry["tell"], each))}
    (first, most), (_, next_most) = Counter(value for _, value in rows).most_common(2)
    assert most > next_most
    return first


SOLVERS = {
    "copy": copied,
    "chain": chained,
    "sum": summed,
    "count": counted,
    "common": commonest,
}


def solved(language, template, passage, question):
    entries = DATA[language]["facts"] + DATA[language]["tracks"]
    (entry,) = [each for each in entries if each["id"] == template]
    asked = read(entry["ask"], question)
    assert asked is not None, question
    return SOLVERS.get(entry.get("kind"), facts)(entry, sentences(passage), asked)


# The second solver against answers found by hand

BY_HAND = """
locker-number / 민수의 사물함은 512번이다. 비가 왔다. 지수의 사물함은 340번이다. / 지수의 사물함은 몇 번입니까? / 340
locker-owner / 민수의 사물함은 512번이다. 지수의 사물함은 340번이다. / 512번 사물함은 누구의 것입니까? / 민수
bus-number / 부산으로 가는 버스는 118번이다. 여수로 가는 버스는 207번이다. / 여수로 가는 버스는 몇 번입니까? / 207
bus-city / 서울로 가는 버스는 118번이다. 여수로 가는 버스는 207번이다. / 118번 버스는 어디로 갑니까? / 서울
password / 다락의 암호는 등대로 정해졌다. 부엌의 암호는 산호로 정해졌다. / 부엌의 암호는 무엇입니까? / 산호
password-room / 다락의 암호는 등대로 정해졌다. 부엌의 암호는 얼음으로 정해졌다. / 암호가 얼음으로 정해진 곳은 어디입니까? / 부엌
gift / 은별은 생일 선물로 우산을 받았다. 나래는 생일 선물로 모자를 받았다. / 나래가 생일 선물로 받은 것은 무엇입니까? / 모자
gift-who / 은별은 생일 선물로 우산을 받았다. 나래는 생일 선물로 모자를 받았다. / 생일 선물로 우산을 받은 사람은 누구입니까? / 은별
hidden / 시계는 창고에 숨겨져 있다. 안경은 서재에 숨겨져 있다. / 안경은 어디에 숨겨져 있습니까? / 서재
hidden-thing / 시계는 창고에 숨겨져 있다. 안경은 서재에 숨겨져 있다. / 창고에 숨겨져 있는 것은 무엇입니까? / 시계
lesson-room / 태오의 수업은 301호에서 열린다. 미소의 수업은 702호에서 열린다. / 미소의 수업은 몇 호에서 열립니까? / 702
weight / 반지의 무게는 105그램이다. 가방의 무게는 940그램이다. / 가방의 무게는 몇 그램입니까? / 940
bought-both / 민수는 빨간 모자를 샀다. 지수는 파란 모자를 샀다. 하준은 빨간 우산을 샀다. / 파란 모자를 산 사람은 누구입니까? / 지수
trip-both / 민수는 월요일에 부산으로 떠난다. 지수는 월요일에 서울로 떠난다. 유나는 화요일에 서울로 떠난다. / 월요일에 서울로 떠나는 사람은 누구입니까? / 지수
same-age / 민수는 9살이다. 지수는 12살이다. 유나는 민수와 동갑이다. 하준은 유나와 동갑이다. / 하준은 몇 살입니까? / 9
same-class / 민수는 3반이다. 은별은 5반이다. 유나는 은별과 같은 반이다. / 유나는 몇 반입니까? / 5
same-floor / 민수는 7층에 산다. 하준은 4층에 산다. 태오는 하준과 같은 층에 산다. 예린은 태오와 같은 층에 산다. / 예린은 몇 층에 삽니까? / 4
moved / 처음에 시계는 다락에 있었다. 처음에 모자는 부엌에 있었다. 누군가 시계를 창고로 옮겼다. 누군가 시계를 거실로 옮겼다. / 마지막에 시계는 어디에 있습니까? / 거실
passed-on / 민수가 처음에 열쇠를 맡았다. 민수는 열쇠를 지수에게 넘겼다. 지수는 열쇠를 하준에게 넘겼다. / 마지막에 열쇠를 맡은 사람은 누구입니까? / 하준
points / 민수는 12점에서 시작했다. 지수는 8점에서 시작했다. 민수는 5점을 더 얻었다. 민수는 4점을 더 얻었다. 지수는 9점을 더 얻었다. / 민수의 점수는 마지막에 몇 점입니까? / 21
count-bell / 민수가 종을 쳤다. 지수가 북을 쳤다. 하준이 종을 쳤다. 유나가 종을 쳤다. / 종을 친 사람은 모두 몇 명입니까? / 3
count-visits / 민수는 부산에 다녀왔다. 지수는 부산에 다녀왔다. 하준은 대구에 다녀왔다. / 부산에 다녀온 사람은 모두 몇 명입니까? / 2
count-words / 민수는 등대라고 썼다. 지수는 얼음이라고 썼다. 하준은 얼음이라고 썼다. / 얼음이라고 쓴 사람은 모두 몇 명입니까? / 2
common-animal / 민수는 토끼를 보았다. 지수는 여우를 보았다. 하준은 토끼를 보았다. / 가장 많은 사람이 본 동물은 무엇입니까? / 토끼
common-fruit / 민수는 감을 골랐다. 지수는 배를 골랐다. 하준은 배를 골랐다. / 가장 많은 사람이 고른 과일은 무엇입니까? / 배
locker-owner / Tom's locker is number 512. It rained. Ann's locker is number 340. / Whose locker is number 340? / Ann
bus-number / The bus to Rome is number 118. The bus to Lima is number 207. / What number is the bus to Lima? / 207
hidden-thing / The hat is hidden in the attic. The ring is hidden in the shed. / What is hidden in the attic? / hat
bought-both / Tom bought the red hat. Ann bought the blue hat. Ben bought the red bag. / Who bought the red bag? / Ben
same-floor / Tom lives on floor 7. Ben lives on floor 4. Ann lives on Ben's floor. / On which floor does Ann live? / 4
passed-on / At first Tom had the key. Tom gave the key to Ann. At first Ben had the hat. Ann gave the key to Leo. / Who has the key at the end? / Leo
points / Tom began with 12 points. Ann began with 9 points. Tom won 5 more points. Ann won 2 more points. / How many points does Ann have in the end? / 11
count-bell / Tom struck the bell. Ann struck the gong. Ben struck the bell. / How many people struck the bell? / 2
common-fruit / Tom chose figs. Ann chose plums. Ben chose figs. / Which fruit was chosen by the most people? / figs
"""  # noqa: E501


@pytest.mark.parametrize("line", BY_HAND.strip().splitlines())
def test_the_second_solver_agrees_with_a_person(line):
    template, passage, question, answer = line.split(" / ")
    language = "en" if question.isascii() else "ko"
    assert solved(language, template, passage, question) == answer


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("length", [200, 2048])
def test_the_text_alone_gives_the_answer(language, form, length):
    for item in made(language, form, length, 500 if length == 200 else 200):
        before, after = FRAMES[language, form].split("{}")
        text = item.context.removeprefix(before).removesuffix(after)
        intro, passage, question = text.split("\n")
        assert intro == DATA[language]["intro"]
        answer = solved(language, item.template, passage, question)
        assert answer == item.answer.strip(), item


# Lengths


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("length", LENGTHS)
def test_a_text_fills_its_size_and_stays_below_it(language, form, length):
    for item in made(language, form, length, {200: 1500, 1024: 200, 2048: 120}.get(length, 20)):
        size = item.check["size"]
        assert size <= length
        # Syllables, digits, marks and Korean spaces of the longest prompt, and the answer.
        most = 0
        for text in (item.context, item.question):
            words = re.findall("[A-Za-z]+", text)
            marks = re.sub("[A-Za-z]| (?![가-힣])", "", text)
            most = max(most, 1.5 * len(words) + len(marks))
        assert most + item.max_tokens < 0.85 * size
        if size >= 1024:
            assert most + item.max_tokens > 0.85 * size - 120


@pytest.mark.parametrize(
    ("length", "sizes"),
    [
        (200, {200}),
        (1000, {1000}),
        (1024, {1024}),
        (2047, {1024}),
        (2048, {1024, 2048}),
        (8192, {1024, 2048, 4096, 8192}),
        (16384, set(longctx.SIZES)),
        (99999, set(longctx.SIZES)),
    ],
)
def test_the_sizes_are_those_that_all_models_have(length, sizes):
    items = made("ko", "choice", length, 60)
    counts = Counter(item.check["size"] for item in items)
    assert set(counts) == sizes
    assert max(counts.values()) < 3.5 * min(counts.values())


def test_too_short_a_cache_is_said():
    setting = Setting(language="ko", form="free", longest_tokens=40)
    with pytest.raises(ValueError, match="tokens longer than the longest text"):
        item_at("longctx", setting, 0, SEED)


def test_two_thousand_tokens_take_two_milliseconds():
    setting = Setting(language="ko", form="free")
    best = min(timed(setting, index) for index in range(30))
    assert best < 0.002


def timed(setting, index):
    started = time.process_time()
    item_at("longctx", setting, index, SEED)
    return time.process_time() - started


def test_the_estimate_of_tokens():
    assert tokens("민수는 12살이다.") == 9
    assert tokens("Tom's hat.\n") == 1.5 + 1 + 1.5 + 1.5 + 1 + 1
    assert tokens("") == 0


# Needles and filler


@pytest.mark.parametrize("language", LANGUAGES)
def test_filler_names_nothing_that_can_be_asked(language):
    listed = [word for words in DATA[language]["words"].values() for word in words]
    filler = [word for words in HAY[language]["words"].values() for word in words]
    filler += HAY[language]["sentences"]
    for word in set(listed) - set(DATA[language]["words"]["colour"]):
        # "배" is a fruit, "배울" is not.
        edge = rf"\b{word}s?\b" if language == "en" else rf"(?<![가-힣]){word}(?![가-힣])"
        found = [text for text in filler if re.search(edge, text, re.IGNORECASE)]
        assert not found, (word, found)


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_filler_reads_like_a_needle(language):
    entries = DATA[language]["facts"] + DATA[language]["tracks"]
    tells = [pattern(entry[key]) for entry in entries for key in ("tell", "then") if key in entry]
    for item in made(language, "free", 16384, 6):
        told = sentences(item.context.split("\n")[1])
        needles = [each for each in told if any(tell.fullmatch(each) for tell in tells)]
        assert 1 <= len(needles) <= 30
        assert len(set(told)) == len(told)


@pytest.mark.parametrize("language", LANGUAGES)
def test_many_words_make_texts_that_do_not_repeat(language):
    words = HAY[language]["words"]
    used = Counter()
    for sentence in HAY[language]["sentences"]:
        slots = re.findall(r"\{(\w+)", sentence)
        assert len(slots) == len(set(slots))
        combinations = 1
        for slot in slots:
            used[slot] += 1
            combinations *= len(words[slot])
        assert 150 <= combinations * len(HAY[language]["sentences"]) <= 1 << 32
    assert set(used) == set(words)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("length", [1024, 16384])
def test_needles_stand_at_every_depth(language, length):
    items = made(language, "choice", length, 300 if length == 1024 else 150)
    depths = [item.check["depth"] for item in items if item.level < 3]
    assert all(0 <= depth <= 100 for depth in depths)
    assert 40 < fmean(depths) < 60
    assert len({depth // 20 for depth in depths}) >= 5


def test_the_depth_is_that_of_the_last_asked_needle():
    for index in range(50):
        text, depth = haystack(Draw(SEED, "x", index), "ko", [["가.", "나."], ["다."]], 400)
        told = sentences(text)
        assert told.index("가.") < told.index("나.")
        assert depth == 100 * told.index("나.") // (len(told) - 1)


@pytest.mark.parametrize("language", LANGUAGES)
def test_wrong_choices_stand_in_the_text(language):
    for item in made(language, "choice", 1024, 200):
        entries = DATA[language]["tracks"]
        kinds = {entry["id"]: entry["kind"] for entry in entries}
        if kinds.get(item.template) in {"sum", "count"}:
            numbers = sorted(int(choice) for choice in item.choices)
            assert numbers[3] - numbers[0] == 3
            continue
        for choice in item.choices:
            assert choice.strip() in item.context, item


@pytest.mark.parametrize("language", LANGUAGES)
def test_steps_are_right(language):
    for item in made(language, "free", 1024, 300):
        steps, _, answer = item.solution.strip().rpartition(";")
        assert answer == item.answer
        if item.template == "points":
            numbers, total = steps.split("=")
            assert str(sum(map(int, numbers.split("+")))) == total == answer
        elif item.template.startswith("count"):
            named = steps.split(",")
            assert len(named) == int(answer)
            places = [item.context.index(name) for name in named]
            assert len(set(named)) == len(named) == len(places)
        elif item.template.startswith("same"):
            assert steps.endswith(f"={answer}")


# Korean


def test_korean_particles_agree():
    listed = [word for words in DATA["ko"]["words"].values() for word in words]
    listed += [word for words in HAY["ko"]["words"].values() for word in words]
    listed += [str(number) for number in range(10)]
    for length, count in ((200, 600), (1024, 150)):
        for item in made("ko", "free", length, count):
            assert not wrong_particles(item.question, listed)


def test_wrong_particles_are_found():
    listed = ["민수", "은별", "서울", "3", "나래"]
    assert not wrong_particles("은별은 서울로 갔다. 민수가 왔다.", listed)
    assert wrong_particles("은별는 서울으로 민수이 나래을 왔다.", listed) == [
        "은별는",
        "서울으로",
        "민수이",
        "나래을",
    ]


def test_korean_sentences_end_alike():
    for item in made("ko", "free", 1024, 100):
        before, passage, question = item.question.split("\n")
        assert before == "다음 글을 읽고 답하세요."
        assert all(each.endswith("다.") for each in sentences(passage))
        asked, how = sentences(question)
        assert asked.endswith("까?")
        assert how in {"숫자만 쓰세요.", "답만 쓰세요."}


def test_english_sentences_begin_with_a_capital():
    for item in made("en", "free", 1024, 100):
        for each in sentences(item.context.split("\n")[1]):
            assert each[0].isupper()
            assert not re.search(r"\ba [aeiou]|\ban (?!hour)[^aeiou]", each), each


# Marking


@pytest.mark.parametrize(
    ("template", "text", "strict", "loose"),
    [
        ("locker-number", "{}", True, True),
        ("locker-number", "{}번", False, True),
        ("locker-number", "사물함은 {}번입니다.", False, True),
        ("locker-number", "{}번 또는 100번", False, False),
        ("locker-owner", "{}", True, True),
        ("locker-owner", "{}의 것입니다.", False, True),
        ("locker-owner", "{} 씨입니다!", False, True),
        ("hidden", "{}에 있습니다.", False, True),
        ("password", "'{}'", False, True),
        ("bus-city", "{}(으)로 갑니다", False, True),
        ("count-bell", "모두 {}명입니다.", False, True),
        ("count-bell", "가,나;{}", True, True),
        ("same-age", "{}살", False, True),
    ],
)
def test_marking(template, text, strict, loose):
    items = [each for each in made("ko", "free", 200, 400) if each.template == template]
    assert items
    for item in items:
        found = longctx.mark(text.format(item.answer), item)
        assert (found.strict, found.loose) == (strict, loose), item


def test_a_rival_from_the_text_is_wrong():
    for item in made("ko", "free", 1024, 200):
        for word in item.check.get("words", ()):
            if word != item.answer:
                assert not longctx.mark(word, item).loose
                assert not longctx.mark(f"{item.answer} 또는 {word}", item).loose
                assert longctx.mark(f"{word}에서 찾아보면 {item.answer}입니다", item).loose


def test_the_sentences_are_ours_alone_and_plain_json():
    for name in ("longctx", "haystack"):
        assert set(data(name)) == {"ko", "en"}
        json.dumps(data(name), allow_nan=False)
    for language in LANGUAGES:
        assert longctx.templates(language).keys() == longctx.templates("ko").keys()
        assert len(longctx.templates(language)) == 25
