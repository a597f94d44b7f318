"""Wrong numbers beside a right one that do not show which of them is right."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.suites.tasks.draw import Draw

_TRIES = 400


def corners(
    draw: Draw,
    right: int,
    small: Sequence[int],
    large: Sequence[int],
    *,
    allowed: Callable[[int], bool] = bool,
    wrap: int = 0,
) -> list[int]:
    """Three wrong values that form a rectangle with the right one.

    They are `right + s`, `right + l` and `right + s + l`. Wrong values scattered around
    the right one would give it away: it would lie in their middle and share most digits
    with them. At a rectangle's corners all four look the same.

    Args:
        small: signed slips to draw `s` from, such as a carry that was forgotten.
        large: signed slips to draw `l` from, such as an operation mixed up.
        allowed: whether a value may be shown; with `wrap` it is not asked.
        wrap: values are taken modulo this, if it is given.
    """
    for _ in range(_TRIES):
        s, l = draw.pick(small), draw.pick(large)  # noqa: E741 - as in the docstring
        values = [right, right + s, right + l, right + s + l]
        if wrap:
            values = [value % wrap for value in values]
        if len(set(values)) == 4 and (wrap or all(map(allowed, values[1:]))):
            return values[1:]
    raise ValueError(f"no wrong values beside {right} from {small} and {large}")
