"""The brute force behind the puzzles of logic, by worked examples."""

import pytest

from harness.suites.tasks import logic
from harness.suites.tasks.base import data
from harness.suites.tasks.worlds import culprits, enough, odd_ones, verdict

DATA = data("logic")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("A>B; A; B", 0),
        ("A>B; A; A", 0),
        ("A>B; -B; A", 1),
        ("A>B; B; A", 2),
        ("A>B; -A; B", 2),
        ("A>B; C; B", 2),
        ("A>-B; A; B", 1),
        ("A>-B; B; A", 1),
        ("A>-B; -A; B", 2),
        ("A>-B; -B; A", 2),
        ("-A>B; -A; B", 0),
        ("-A>B; -B; A", 0),
        ("-A>B; A; B", 2),
        ("-A>-B; -A; B", 1),
        ("-A>-B; B; A", 0),
        ("A>B, B>C; A; C", 0),
        ("A>B, B>C; -C; A", 1),
        ("A>B, B>C; C; A", 2),
        ("A>B, B>-C; A; C", 1),
        ("A>B, B>-C; C; A", 1),
        ("A>B, C>B; A; C", 2),
        ("A>-B, C>B; A; C", 1),
        ("A>-B, C>B; C; A", 1),
        ("A>B, B>C, C>D; A; D", 0),
        ("A>B, B>C, C>D; -D; A", 1),
        ("A>B, B>C, D>C; A; D", 2),
        ("A>B, B>C, D>-C; A; D", 1),
        ("A>B, B>-C, D>C; A; D", 1),
        ("-B>-A, B>C; A; C", 0),
        ("-B>-A; B; A", 2),
        ("A>B, -A>B; C; B", 0),
    ],
)
def test_what_follows_worked_by_hand(pattern, expected):
    rules, fact, asked = pattern.split("; ")
    assert verdict(rules.split(", "), fact, asked) == expected


def test_every_verdict_has_patterns_at_every_level():
    for level in (1, 2, 3):
        for negated in (True, False):
            groups = logic._patterns(level, negated=negated)
            assert all(groups)
        assert sum(map(len, logic._patterns(level, negated=True))) == len(
            DATA["patterns"][str(level)]
        )


@pytest.mark.parametrize("asked", ["sure", "never"])
def test_the_first_fact_alone_decides(asked):
    wanted = {"sure": 0, "never": 1}[asked]
    for patterns in DATA["which"][asked].values():
        for pattern in patterns:
            rules, facts, query = logic._parsed(pattern)
            found = [verdict(rules, fact, query) == wanted for fact in facts]
            assert found == [True, False, False], pattern


@pytest.mark.parametrize(
    ("said", "odd_lies", "expected"),
    [
        # 0 and 1 accuse each other, 2 defends 0: only 1 can be the one liar.
        ([(0, 1, False), (1, 0, False), (2, 0, True)], True, [1]),
        ([(0, 1, False), (1, 0, False), (2, 1, True)], True, [0]),
        # All call the next a liar: no single liar, no single honest one.
        ([(0, 1, False), (1, 2, False), (2, 0, False)], True, []),
        ([(0, 1, True), (1, 2, True), (2, 0, True)], True, []),
        # 0 and 1 accuse each other, 2 accuses both by turns.
        ([(0, 1, False), (1, 0, False), (2, 0, False)], True, [0]),
        ([(0, 1, True), (1, 0, True), (2, 1, False)], False, [2]),
        ([(0, 1, False), (1, 0, False), (2, 1, False)], False, [1]),
    ],
)
def test_liars_worked_by_hand(said, odd_lies, expected):
    assert odd_ones(said, odd_lies=odd_lies) == expected


@pytest.mark.parametrize(
    ("said", "liars", "expected"),
    [
        ([(0, False), (1, False), (0, False)], 1, [1]),
        ([(1, True), (2, True), (1, True)], 2, [2]),
        ([(1, True), (1, True), (1, True)], 0, [1]),
        ([(0, False), (1, False), (2, False)], 1, [0, 1, 2]),
        ([(1, True), (0, True), (0, False)], 1, [1]),
    ],
)
def test_culprits_worked_by_hand(said, liars, expected):
    assert culprits(said, liars) == expected


def test_clues_are_used_until_one_arrangement_is_left():
    clues = [("start", 0, 0), ("before", 0, 1), ("after", 1, 0), ("end", 2, 0)]
    assert enough(clues, 3) == [("start", 0, 0), ("before", 0, 1)]
    with pytest.raises(ValueError, match="2 arrangements are left"):
        enough([("inner", 1, 0)], 3)
    assert enough([("inner", 1, 0), ("gap", 0, 2), ("end", 2, 0)], 3)[-1] == ("end", 2, 0)
