"""Every task: the same items for ever, spread evenly, with nothing given away."""

import hashlib
from collections import Counter, defaultdict
from functools import cache

import pytest

from harness.suites.tasks import LANGUAGES, TASKS, item_at, load_task
from harness.suites.tasks.base import Item, Language

CASES = [(name, language) for name in TASKS for language in LANGUAGES]
CHOICE_CASES = [case for case in CASES if case[0] in {"josa", "pairs"}]
FREE_CASES = [case for case in CASES if case not in CHOICE_CASES]
SEED = hashlib.sha256(b"tests").digest()
MANY = 3000


@cache
def many(name: str, language: Language) -> tuple[Item, ...]:
    return tuple(item_at(name, language, index, SEED) for index in range(MANY))


# The first 200 items of the public seed. A change here changes what every earlier score
# means: raise the task's VERSION, and train the reference models again.
GOLDEN = {
    ("arith", "ko"): "81105db9551c7213",
    ("arith", "en"): "5e66831e9c8b5540",
    ("calendar", "ko"): "fd152d93c7c56a9e",
    ("calendar", "en"): "6b597cbdbb12a7f1",
    ("josa", "ko"): "109675901865a83c",
    ("josa", "en"): "7651de06cc947414",
    ("pairs", "ko"): "83f2f01c25e7ee5e",
    ("pairs", "en"): "495758e6202273ca",
}


@pytest.mark.parametrize(("name", "language"), CASES)
def test_public_items_never_change(name, language):
    digest = hashlib.sha256()
    for index in range(200):
        digest.update(repr(item_at(name, language, index)).encode())
    assert digest.hexdigest()[:16] == GOLDEN[name, language]


@pytest.mark.parametrize(("name", "language"), CASES)
def test_an_item_depends_on_its_seed_and_index_alone(name, language):
    alone = item_at(name, language, 17, SEED)
    assert alone == many(name, language)[17]
    assert alone != item_at(name, language, 17, b"\1" * 32)


@pytest.mark.parametrize(("name", "language"), CASES)
def test_levels_are_even_and_every_template_occurs(name, language):
    items = many(name, language)
    levels = Counter(item.level for item in items)
    assert set(levels) == {1, 2, 3}
    assert all(abs(count / MANY - 1 / 3) < 0.04 for count in levels.values())
    templates = Counter(item.template for item in items)
    assert len(templates) >= 8
    assert templates.keys() == {template for template, _ in _declared(name, language)}
    at_levels = {(item.template, item.level) for item in items}
    assert at_levels == set(_declared(name, language))


def _declared(name, language):
    module = load_task(name)
    if name == "arith":
        return [(each.name, level) for each in module.TEMPLATES[language] for level in (1, 2, 3)]
    if name == "calendar":
        return [(each.name, level) for each in module.TEMPLATES for level in each.levels]
    if name == "josa":
        return [(each.name, each.level) for each in module.TEMPLATES[language]]
    return [(each.name, each.level) for each in module.RULES[language]]


@pytest.mark.parametrize(("name", "language"), CASES)
def test_contexts_are_clean(name, language):
    for item in many(name, language):
        assert item.context == item.context.strip()
        assert "{" not in item.context + item.solution
        assert "  " not in item.context + item.solution
        assert item.context.isascii() == (language == "en") or name == "josa"


@pytest.mark.parametrize(("name", "language"), CHOICE_CASES)
def test_choices_hold_the_answer_once_in_a_balanced_place(name, language):
    items = many(name, language)
    assert load_task(name).CHANCE == 0.5
    for item in items:
        assert len(item.choices) == len(set(item.choices)) == 2
        assert item.choices.count(item.answer) == 1
        assert item.solution == item.answer
        assert item.max_tokens == 0
    first = sum(item.choices[0] == item.answer for item in items) / MANY
    assert abs(first - 0.5) < 0.04


@pytest.mark.parametrize(("name", "language"), CHOICE_CASES)
def test_length_does_not_tell_the_answer(name, language):
    balance = sum(_longer(item) for item in many(name, language)) / MANY
    assert abs(balance) < 0.08


def _longer(item: Item) -> int:
    wrong = next(choice for choice in item.choices if choice != item.answer)
    return (len(item.answer) > len(wrong)) - (len(item.answer) < len(wrong))


@pytest.mark.parametrize(("name", "language"), CHOICE_CASES)
def test_no_continuation_is_right_here_and_wrong_there(name, language):
    right = {item.context + item.answer for item in many(name, language)}
    wrong = {
        item.context + choice
        for item in many(name, language)
        for choice in item.choices
        if choice != item.answer
    }
    assert not right & wrong


# Every pair of sentences has the same context.
@pytest.mark.parametrize(("name", "language"), [case for case in CASES if case[0] != "pairs"])
def test_one_question_has_one_answer(name, language):
    answers = defaultdict(set)
    for item in many(name, language):
        key = (item.context, frozenset(item.choices))
        answers[key].add(item.answer)
    assert all(len(found) == 1 for found in answers.values())


@pytest.mark.parametrize(("name", "language"), FREE_CASES)
def test_solutions_parse_to_their_answer(name, language):
    task = load_task(name)
    for item in many(name, language):
        assert item.choices == ()
        assert item.max_tokens >= len(item.solution) + 1 or item.max_tokens >= 40
        assert item.solution.startswith(" ")
        assert "\n" not in item.solution
        for text in (item.solution, item.solution + "\n", item.answer, f"\n {item.answer}."):
            assert task.parse(text) == item.answer, (item, text)


@pytest.mark.parametrize(("name", "language"), FREE_CASES)
def test_a_constant_answer_is_no_better_than_chance(name, language):
    answers = Counter(item.answer for item in many(name, language))
    limit = load_task(name).CHANCE + 0.03
    assert answers.most_common(1)[0][1] / MANY < limit


@pytest.mark.parametrize("name", TASKS)
def test_modules_name_themselves(name):
    task = load_task(name)
    assert name == task.NAME
    assert task.VERSION >= 1
    assert 0 <= task.CHANCE < 1


def test_an_unknown_task_is_a_key_error():
    with pytest.raises(KeyError, match="nonesuch"):
        load_task("nonesuch")


@pytest.mark.parametrize("name", ["josa", "pairs"])
def test_choice_tasks_parse_to_the_bare_text(name):
    assert load_task(name).parse(" 는 좋습니다.\n") == "는 좋습니다."
    assert load_task(name).parse(" \n") is None
