"""Brute force for the puzzles of `logic`: every arrangement, liar and truth value is tried."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import permutations, product
from typing import Final

Clue = tuple[str, int, int]

HOLDS: Final[Mapping[str, Callable[[Sequence[int], int, int], bool]]] = {
    "start": lambda at, a, _: at[a] == 0,
    "end": lambda at, a, _: at[a] == len(at) - 1,
    "inner": lambda at, a, _: 0 < at[a] < len(at) - 1,
    "after": lambda at, a, b: at[a] == at[b] + 1,
    "before": lambda at, a, b: at[a] == at[b] - 1,
    "gap": lambda at, a, b: abs(at[a] - at[b]) == 2,
    "has": lambda at, a, b: at[a] == b,
    "not": lambda at, a, b: at[a] != b,
}
"""Whether a clue about `a` and `b` is true where `at` gives the place of each."""


def enough(clues: Sequence[Clue], size: int) -> list[Clue]:
    """Those clues, in their order, that together leave one arrangement.

    Raises:
        ValueError: all of them leave more than one.
    """
    worlds = list(permutations(range(size)))
    used = []
    for kind, a, b in clues:
        left = [at for at in worlds if HOLDS[kind](at, a, b)]
        if len(left) < len(worlds):
            used.append((kind, a, b))
            worlds = left
        if len(worlds) == 1:
            return used
    raise ValueError(f"{len(worlds)} arrangements are left")


def odd_ones(said: Sequence[tuple[int, int, bool]], *, odd_lies: bool) -> list[int]:
    """Who of three may be the only liar, or the only one who does not lie.

    Args:
        said: who says of whom that this person tells the truth (or lies).
        odd_lies: the odd one out is the liar.
    """
    found = []
    for odd in range(3):
        lies = [(person == odd) == odd_lies for person in range(3)]
        if all(lies[who] == (lies[about] == honest) for who, about, honest in said):
            found.append(odd)
    return found


def culprits(said: Sequence[tuple[int, bool]], liars: int) -> list[int]:
    """Who of three may have done it, if so many say something false.

    Args:
        said: of whom each says that this person did it (or did not).
        liars: number of false statements.
    """
    return [
        guilty
        for guilty in range(3)
        if sum((about == guilty) != did for about, did in said) == liars
    ]


def verdict(rules: Sequence[str], fact: str, asked: str) -> int:
    """0 if it follows, 1 if its opposite does, 2 if neither; `A>-B` is "if A then not B"."""
    letters = sorted({char for text in (*rules, fact, asked) for char in text if char.isalpha()})
    found = set()
    for values in product((False, True), repeat=len(letters)):
        world = dict(zip(letters, values, strict=True))

        def true(literal: str, world: Mapping[str, bool] = world) -> bool:
            return world[literal[-1]] != literal.startswith("-")

        sides = [rule.split(">") for rule in rules]
        if true(fact) and all(not true(left) or true(right) for left, right in sides):
            found.add(true(asked))
    return 2 if len(found) == 2 else 0 if found == {True} else 1
