"""Logic: read back, and solved by other means; each puzzle has exactly one solution."""

import hashlib
import re
from collections import Counter
from itertools import permutations, product

import pytest

from harness.suites.tasks import FORMS, LANGUAGES, item_at, logic
from harness.suites.tasks.base import FRAMES, Setting, data
from harness.suites.tasks.short_answer import VERDICTS
from tests.suites.tasks.reading import read, sentences, wrong_particles

SEED = hashlib.sha256(b"tests of logic").digest()
DATA = data("logic")
ENTRIES = {
    language: {entry["id"]: entry for entry in DATA[language]["templates"]}
    for language in LANGUAGES
}


def made(language, form, count):
    setting = Setting(language=language, form=form)
    return [item_at("logic", setting, index, SEED) for index in range(count)]


# A second solver, which knows only the text


def listed(text):
    return re.split(r", | and ", text)


def first_read(templates, sentence):
    """The name of the template that the sentence comes from, with its slots."""
    found = [(name, row) for name, text in templates.items() if (row := read(text, sentence))]
    assert len(found) == 1, (sentence, found)
    return found[0]


def ordered(language, entry, told, question):
    """By repeatedly taking who has nobody above."""
    above = {}
    for each in told:
        kind, row = first_read({name: entry[name] for name in ("more", "less")}, each)
        high, low = (row["a"], row["b"]) if kind == "more" else (row["b"], row["a"])
        above.setdefault(high, set())
        above.setdefault(low, set()).add(high)
    line = []
    while len(line) < len(above):
        free = [name for name in above if name not in line and above[name] <= set(line)]
        assert len(free) == 1, "the order is not told"
        line += free
    first, nth, last = entry["ask"]
    if read(first, question) is not None:
        return line[0]
    if read(last, question) is not None:
        return line[-1]
    ordinal = read(nth, question)["n"]
    return line[DATA[language]["ordinals"].index(ordinal)]


def true_of(kind, row, at, size):
    """Whether a clue holds where people stand at 1, 2, …; written apart from the generator."""
    a, b = at[row["a"]], at.get(row.get("b"))
    if kind == "start":
        return a == 1
    if kind == "end":
        return a == size
    if kind == "inner":
        return a not in {1, size}
    if kind == "after":
        return a - b == 1
    if kind == "before":
        return b - a == 1
    return abs(a - b) - 1 == 1


def lined(language, entry, told, question):
    scene = DATA[language]["scenes"][entry["scene"]]
    intro, *clues = told
    people = listed(read(scene["intro"], intro)["all"])
    kinds = {name: text for name, text in scene.items() if name != "intro"}
    rows = [first_read(kinds, clue) for clue in clues]
    worlds = []
    for line in permutations(people):
        at = {name: place for place, name in enumerate(line, 1)}
        if all(true_of(kind, row, at, len(line)) for kind, row in rows):
            worlds.append(line)
    assert len(worlds) == 1, "the row is not told"
    (line,) = worlds
    asked = read(entry["ask"], question)
    if entry["asked"] == "next":
        return line[line.index(asked["a"]) + 1]
    if entry["asked"] == "place":
        return str(line.index(asked["a"]) + 1)
    if "floor" in asked:
        return line[int(asked["floor"]) - 1]
    return line[DATA[language]["ordinals"].index(asked["n"])]


def shared(language, entry, told, question):
    scene = DATA[language]["scenes"][entry["scene"]]
    clues = [
        (kind, row) for each in told for kind in ("has", "not") if (row := read(scene[kind], each))
    ]
    (intro,) = [row for count in (1, 2) if (row := read(scene["intro"], " ".join(told[:count])))]
    people, things = listed(intro["all"]), listed(intro["items"])
    assert len(clues) == len(told) - scene["intro"].count(".")
    worlds = []
    for order in permutations(things):
        owns = dict(zip(people, order, strict=True))
        if all((owns[row["a"]] == row["b"]) == (kind == "has") for kind, row in clues):
            worlds.append(owns)
    assert len(worlds) == 1, "who has what is not told"
    asked = read(entry["ask"], question)
    if entry["asked"] == "what":
        return worlds[0][asked["a"]]
    return next(who for who, thing in worlds[0].items() if thing == asked["b"])


def lied(language, entry, told, _question):
    """All eight ways to lie, of which those with the right number of liars are kept."""
    scene = DATA[language]["scenes"][entry["scene"]]
    people = listed(read(entry["tell"], told[0])["all"])
    said = [first_read(scene, each) for each in told[1:]]
    assert sorted(row["a"] for _, row in said) == sorted(people)
    found = set()
    for values in product((True, False), repeat=3):
        honest = dict(zip(people, values, strict=True))
        if sum(not value for value in values) != entry["liars"]:
            continue
        if all(honest[row["a"]] == (honest[row["b"]] == (kind == "true")) for kind, row in said):
            odd = entry["liars"] != 1
            found |= {name for name in people if honest[name] == odd}
    assert len(found) == 1, "who lies is not told"
    return found.pop()


def did(language, entry, told, _question):
    scene = DATA[language]["scenes"][entry["scene"]]
    people = listed(read(entry["tell"], told[0])["all"])
    assert told[1] == entry["rule"]
    found = []
    for guilty in people:
        lies = 0
        for each in told[2:]:
            named = {kind: row for kind in scene if (row := read(scene[kind], each))}
            # "자기가" reads like a name: then both patterns fit, and the closer one counts.
            kind = "self" if "self" in named else next(iter(named))
            about = named[kind]["a"] if kind == "self" else named[kind]["b"]
            lies += (about == guilty) != (kind == "did")
        if lies == entry["liars"]:
            found.append(guilty)
    assert len(found) == 1, "who did it is not told"
    return found[0]


def closure(rules, fact):
    """All that follows from a fact, rules being read forwards and backwards."""
    known = {fact}
    for _ in range(10):
        for (left, yes), (right, sure) in rules:
            if (left, yes) in known:
                known.add((right, sure))
            if (right, not sure) in known:
                known.add((left, not yes))
    return known


def rules_of(scene, told):
    rules = []
    for each in told:
        found = [
            (signs, row) for signs, text in scene["rules"].items() if (row := read(text, each))
        ]
        if found:
            ((signs, row),) = found
            rules.append(((row["x"], signs[0] == "+"), (row["y"], signs[1] == "+")))
    return rules


def facts_of(scene, told):
    facts = []
    for each in told:
        if any(read(text, each) for text in scene["rules"].values()):
            continue
        sign, row = first_read(scene["facts"], each)
        facts.append((row.get("k"), (row["x"], sign == "+")))
    return facts


def judged(language, entry, told, question):
    scene = DATA[language]["scenes"][entry["scene"]]
    ((name, fact),) = facts_of(scene, told)
    known = closure(rules_of(scene, told), fact)
    asked = read(scene["ask"], question.removesuffix(entry["hint"]).strip())
    assert asked.get("k") == name
    yes, no, unknown = VERDICTS[language]
    return yes if (asked["x"], True) in known else no if (asked["x"], False) in known else unknown


def chosen(language, entry, told, question):
    scene = DATA[language]["scenes"][entry["scene"]]
    rules = rules_of(scene, told)
    asked = (read(entry["ask"], question)["x"], entry["asked"] == "sure")
    sure = [name for name, fact in facts_of(scene, told) if asked in closure(rules, fact)]
    assert len(sure) == 1, sure
    return sure[0]


SOLVERS = {
    "order": ordered,
    "line": lined,
    "share": shared,
    "liar": lied,
    "culprit": did,
    "verdict": judged,
    "which": chosen,
}


def solved(language, template, text):
    entry = ENTRIES[language][template]
    hint = entry.get("hint", "")
    *told, question = sentences(text.removesuffix(hint))
    return SOLVERS[entry["kind"]](language, entry, told, question)


# Comments on the liars: in the first, two agree on Minsu; in the second, whoever calls
# another honest cannot be the only honest one.
BY_HAND = """
order-height / 민수는 지수보다 키가 큽니다. 지수는 하준보다 키가 큽니다. 키가 두 번째로 큰 사람은 누구입니까? / 지수
order-age / 지수는 민수보다 나이가 적습니다. 하준은 민수보다 나이가 많습니다. 나이가 가장 많은 사람은 누구입니까? / 하준
order-arrival / 은별은 나래보다 늦게 도착했습니다. 나래는 태오보다 늦게 도착했습니다. 세 번째로 도착한 사람은 누구입니까? / 은별
order-score / 유나는 수빈보다 점수가 높습니다. 예린은 수빈보다 점수가 낮습니다. 점수가 가장 낮은 사람은 누구입니까? / 예린
order-floor / 유나는 수빈보다 위층에 삽니다. 예린은 수빈보다 아래층에 삽니다. 가장 높은 층에 사는 사람은 누구입니까? / 유나
order-price / 모자는 가방보다 쌉니다. 가방은 시계보다 쌉니다. 가장 싼 것은 무엇입니까? / 모자
order-weight / 구두는 우산보다 무겁습니다. 공책은 구두보다 무겁습니다. 두 번째로 무거운 것은 무엇입니까? / 구두
order-length / 붓은 자보다 짧습니다. 자는 빗보다 짧습니다. 가장 긴 것은 무엇입니까? / 빗
seat-nth / 민수, 지수, 하준이 한 줄로 앉았습니다. 지수는 맨 왼쪽에 앉았습니다. 민수는 지수의 바로 오른쪽에 앉았습니다. 왼쪽에서 세 번째에 앉은 사람은 누구입니까? / 하준
seat-next / 민수, 지수, 하준, 유나가 한 줄로 앉았습니다. 하준은 양 끝 자리에 앉지 않았습니다. 민수는 하준의 바로 왼쪽에 앉았습니다. 지수는 유나의 바로 오른쪽에 앉았습니다. 하준의 바로 오른쪽에 앉은 사람은 누구입니까? / 유나
queue-nth / 민수, 지수, 하준이 한 줄로 섰습니다. 민수는 맨 뒤에 섰습니다. 지수는 하준의 바로 앞에 섰습니다. 앞에서 첫 번째에 선 사람은 누구입니까? / 지수
queue-next / 민수, 지수, 하준이 한 줄로 섰습니다. 민수와 지수 사이에는 한 사람만 있습니다. 지수는 맨 앞에 섰습니다. 지수의 바로 뒤에 선 사람은 누구입니까? / 하준
floor-who / 3층 건물에 민수, 지수, 하준이 한 층에 한 명씩 삽니다. 민수는 하준의 바로 위층에 삽니다. 지수는 맨 아래층에 삽니다. 3층에 사는 사람은 누구입니까? / 민수
floor-number / 3층 건물에 민수, 지수, 하준이 한 층에 한 명씩 삽니다. 하준은 민수의 바로 아래층에 삽니다. 하준은 맨 위층에도 맨 아래층에도 살지 않습니다. 하준은 몇 층에 삽니까? / 2
pet-who / 민수, 지수, 하준은 서로 다른 동물을 한 마리씩 키웁니다. 동물은 토끼, 오리, 거북입니다. 민수는 오리를 키웁니다. 지수는 거북을 키우지 않습니다. 거북을 키우는 사람은 누구입니까? / 하준
pet-what / 민수, 지수, 하준은 서로 다른 동물을 한 마리씩 키웁니다. 동물은 토끼, 오리, 거북입니다. 민수는 오리를 키웁니다. 지수는 거북을 키우지 않습니다. 지수가 키우는 동물은 무엇입니까? / 토끼
drink-who / 민수, 지수, 하준은 서로 다른 음료를 한 잔씩 마셨습니다. 음료는 물, 우유, 홍차입니다. 하준은 물을 마시지 않았습니다. 지수는 홍차를 마셨습니다. 물을 마신 사람은 누구입니까? / 민수
drink-what / 민수, 지수, 하준은 서로 다른 음료를 한 잔씩 마셨습니다. 음료는 물, 우유, 홍차입니다. 하준은 물을 마시지 않았습니다. 지수는 홍차를 마셨습니다. 하준이 마신 음료는 무엇입니까? / 우유
day-who / 민수, 지수, 하준은 서로 다른 요일에 한 번씩 청소합니다. 요일은 월요일, 화요일, 금요일입니다. 민수는 금요일에 청소합니다. 하준은 월요일에 청소하지 않습니다. 월요일에 청소하는 사람은 누구입니까? / 지수
day-what / 민수, 지수, 하준은 서로 다른 요일에 한 번씩 청소합니다. 요일은 월요일, 화요일, 금요일입니다. 민수는 금요일에 청소합니다. 하준은 월요일에 청소하지 않습니다. 하준이 청소하는 날은 무슨 요일입니까? / 화요일
one-liar / 민수, 지수, 하준 가운데 한 사람만 거짓말을 합니다. 민수는 지수가 거짓말을 한다고 말합니다. 지수는 하준이 참말을 한다고 말합니다. 하준은 민수가 거짓말을 한다고 말합니다. 거짓말을 하는 사람은 누구입니까? / 민수
one-honest / 민수, 지수, 하준 가운데 한 사람만 참말을 합니다. 민수는 지수가 참말을 한다고 말합니다. 지수는 민수가 참말을 한다고 말합니다. 하준은 지수가 거짓말을 한다고 말합니다. 참말을 하는 사람은 누구입니까? / 하준
broke-one-false / 민수, 지수, 하준 가운데 한 사람이 접시를 깼습니다. 한 사람만 거짓말을 합니다. 민수는 자기가 깨지 않았다고 말합니다. 지수는 자기가 깨지 않았다고 말합니다. 하준은 민수가 깨지 않았다고 말합니다. 접시를 깬 사람은 누구입니까? / 지수
broke-one-true / 민수, 지수, 하준 가운데 한 사람이 접시를 깼습니다. 한 사람만 참말을 합니다. 민수는 지수가 접시를 깼다고 말합니다. 지수는 하준이 접시를 깼다고 말합니다. 하준은 지수가 접시를 깼다고 말합니다. 접시를 깬 사람은 누구입니까? / 하준
ate-one-false / 민수, 지수, 하준 가운데 한 사람이 떡을 먹었습니다. 한 사람만 거짓말을 합니다. 민수는 지수가 떡을 먹었다고 말합니다. 지수는 자기가 먹지 않았다고 말합니다. 하준은 민수가 떡을 먹었다고 말합니다. 떡을 먹은 사람은 누구입니까? / 민수
ate-one-true / 민수, 지수, 하준 가운데 한 사람이 떡을 먹었습니다. 한 사람만 참말을 합니다. 민수는 하준이 먹지 않았다고 말합니다. 지수는 하준이 먹지 않았다고 말합니다. 하준은 지수가 먹지 않았다고 말합니다. 떡을 먹은 사람은 누구입니까? / 하준
rule-guests / 민수가 오면 지수도 옵니다. 민수가 왔습니다. 지수는 왔습니까? (예/아니요/알 수 없음) / 예
rule-guests / 민수가 오지 않으면 지수가 옵니다. 지수는 오지 않았습니다. 민수는 왔습니까? (예/아니요/알 수 없음) / 예
rule-lights / 빨간 불이 켜지면 파란 불은 켜지지 않습니다. 파란 불이 켜졌습니다. 빨간 불은 켜졌습니까? (예/아니요/알 수 없음) / 아니요
rule-shops / 빵집이 문을 열면 책방도 문을 엽니다. 오늘 책방이 문을 열었습니다. 오늘 빵집은 문을 열었습니까? (예/아니요/알 수 없음) / 알 수 없음
rule-bells / 큰 종이 울리면 작은 종도 울립니다. 작은 종이 울리면 하얀 종은 울리지 않습니다. 큰 종이 울렸습니다. 하얀 종은 울렸습니까? (예/아니요/알 수 없음) / 아니요
sets-member / 모든 두키는 라몽입니다. 모든 라몽은 가롬입니다. 민수는 두키입니다. 민수는 가롬입니까? (예/아니요/알 수 없음) / 예
sets-sure / 모든 두키는 라몽입니다. 민수는 라몽이 아닙니다. 지수는 두키입니다. 하준은 가롬입니다. 라몽인 것이 확실한 사람은 누구입니까? / 지수
sets-never / 모든 두키는 라몽입니다. 민수는 라몽이 아닙니다. 지수는 라몽입니다. 하준은 가롬입니다. 두키가 아닌 것이 확실한 사람은 누구입니까? / 민수
order-age / Tom is younger than Ann. Ann is younger than Ben. Who is the second oldest? / Ann
seat-next / Tom, Ann and Ben sit in a row. Tom sits at neither end. Ben sits directly to the left of Tom. Who sits directly to the right of Tom? / Ann
drink-what / Tom, Ann and Ben each had a different drink. The drinks are: milk, tea, juice. Ann had the tea. Tom did not have the milk. Which drink did Ben have? / milk
one-liar / Exactly one of Tom, Ann and Ben lies. Tom says that Ann lies. Ann says that Ben tells the truth. Ben says that Tom lies. Who lies? / Tom
broke-one-false / One of Tom, Ann and Ben broke the plate. Exactly one of them lies. Tom says: I did not break it. Ann says: I did not break it. Ben says that Tom did not break it. Who broke the plate? / Ann
rule-shops / If the bank stays shut, the bakery opens. Today the bakery stayed shut. Did the bank open today? (yes/no/unknown) / yes
sets-member / No blim is a gleb. Tom is not a gleb. Is Tom a blim? (yes/no/unknown) / unknown
"""  # noqa: E501


@pytest.mark.parametrize("line", BY_HAND.strip().splitlines())
def test_the_second_solver_agrees_with_a_person(line):
    template, text, answer = line.split(" / ")
    assert solved("en" if text.isascii() else "ko", template, text) == answer


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_text_alone_gives_the_one_answer(language, form):
    before, after = FRAMES[language, form].split("{}")
    for item in made(language, form, 1000):
        text = item.context.removeprefix(before).removesuffix(after)
        assert solved(language, item.template, text) == item.answer.strip(), item


# Form


@pytest.mark.parametrize("language", LANGUAGES)
def test_verdicts_are_as_frequent(language):
    items = [item for item in made(language, "free", 2500) if item.answer in VERDICTS[language]]
    for level in (1, 2, 3):
        counts = Counter(item.answer for item in items if item.level == level)
        total = sum(counts.values())
        assert all(abs(counts[word] / total - 1 / 3) < 0.1 for word in VERDICTS[language])


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_text_is_short_enough_for_a_tiny_model(language):
    used = set()
    for item in made(language, "free", 2500):
        text = item.context + item.solution
        if language == "ko":
            assert len(re.findall("[가-힣]", text)) <= 150
            used |= set(re.findall("[가-힣]", text))
        else:
            assert len(text) <= 400
        assert item.max_tokens >= max(24, 2 * len(item.solution))
    assert len(used) <= 240


@pytest.mark.parametrize("language", LANGUAGES)
def test_steps_end_in_the_answer_and_name_only_what_the_text_names(language):
    for item in made(language, "free", 800):
        steps, _, answer = item.solution.strip().rpartition(";")
        assert answer == item.answer
        for word in filter(None, re.split("[>,=-]", steps)):
            assert word in item.context


def test_korean_particles_agree():
    words = [word for group in DATA["ko"]["words"].values() for word in group]
    for item in made("ko", "free", 2000):
        assert not wrong_particles(item.question, words)


def test_korean_sentences_end_politely():
    for item in made("ko", "free", 500):
        text = item.question.removeprefix("질문: ").replace(" (예/아니요/알 수 없음)", "")
        *told, asked, how = sentences(text)
        assert all(each.endswith("니다.") for each in told)
        assert asked.endswith("니까?")
        assert how.endswith("쓰세요.")


def test_english_sentences_begin_with_a_capital():
    for item in made("en", "free", 500):
        for each in sentences(item.question.replace(" (yes/no/unknown)", "")):
            assert each[0].isupper(), each


@pytest.mark.parametrize("language", LANGUAGES)
def test_who_is_named_in_the_question_is_no_choice(language):
    seen = 0
    for item in made(language, "choice", 1500):
        if item.template in {"seat-next", "queue-next"}:
            asked = sentences(item.context)[-1]
            assert not any(choice.strip() in asked for choice in item.choices), item
            seen += 1
    assert seen > 40


@pytest.mark.parametrize("form", FORMS)
def test_the_people_are_listed_in_no_telling_order(form):
    """In a row or at a share, the answer is as often any of those listed."""
    places = Counter()
    for item in made("ko", form, 2500):
        if item.template in {"seat-nth", "queue-next", "pet-who", "one-liar", "ate-one-true"}:
            names = re.search(r"((?:[가-힣]{2}, )+[가-힣]{2})", item.context).group(1).split(", ")
            if len(names) == 3:
                places[names.index(item.answer.strip())] += 1
    total = sum(places.values())
    assert all(abs(places[place] / total - 1 / 3) < 0.12 for place in range(3)), places


@pytest.mark.parametrize(
    ("text", "strict", "loose"),
    [
        ("{}", True, True),
        ("{}.", True, True),
        ("가>나>다;{}", True, True),
        ("정답은 {}입니다.", False, True),
        ("**{}**입니다", False, True),
        ("답: {}", False, True),
        ("잘 모르는 문제입니다", False, False),
        ("", False, False),
    ],
)
def test_marking(text, strict, loose):
    for item in made("ko", "free", 150):
        found = logic.mark(text.format(item.answer), item)
        assert (found.strict, found.loose) == (strict, loose), item


def test_a_rival_named_after_the_answer_is_wrong():
    for item in made("ko", "free", 300):
        for word in item.check.get("words", ()):
            if word != item.answer:
                assert not logic.mark(word, item).loose
                assert not logic.mark(f"{item.answer}, {word}", item).loose
                assert logic.mark(f"{word}, {item.answer}", item).loose


def test_there_are_as_many_templates_in_both_languages():
    assert logic.templates("ko") == logic.templates("en")
    assert len(logic.templates("ko")) == 33
