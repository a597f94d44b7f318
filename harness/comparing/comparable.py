"""What must be equal before two sides are put beside each other, and what may differ on
purpose. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from harness.comparing.sides import Measured, Side

Axis = Literal["build", "device", "model", "options"]
_LONGEST = 60


class Reason(NamedTuple):
    """Why two sides must not be put side by side: a code, and what differs."""

    code: str
    detail: str


def reasons_against(
    a: Side, b: Side, pairs: Sequence[tuple[str, str]], across: Collection[Axis] = ()
) -> tuple[Reason, ...]:
    """All that forbids comparing, except what the caller wants to compare.

    What is measured can never differ on purpose: other prompts, counts or suite versions
    are other quantities.

    Args:
        pairs: models of A and B that belong together.
    """
    found = [Reason("run_invalid", side.name) for side in (a, b) if side.invalid]
    if a.workload != b.workload:
        # Two of one name and version differ in what only the hash can tell.
        sides = (f"{side.profile} [{side.workload[:8]}]" for side in (a, b))
        found.append(Reason("other_profile", _both(*sides)))
    shared = a.suite_versions.keys() & b.suite_versions.keys()
    before, after = (
        {suite: v for suite, v in side.suite_versions.items() if suite in shared} for side in (a, b)
    )
    found += _differs("other_suite_version", before, after)
    if "device" not in across:
        found += _differs("other_device", a.device, b.device)
        found += _differs("other_conditions", a.conditions, b.conditions)
    for mine, theirs in pairs:
        chosen = mine != theirs
        found += _of_models(theirs, a.models[mine], b.models[theirs], across, chosen=chosen)
    if not pairs:
        found.append(nothing_in_common(a, b))
    return tuple(dict.fromkeys(found))


def nothing_in_common(a: Side, b: Side) -> Reason:
    """No model, or no case of one, is on both sides."""
    return Reason("nothing_in_common", _both(*(", ".join(sorted(s.models)) for s in (a, b))))


def _of_models(
    name: str, a: Measured, b: Measured, across: Collection[Axis], *, chosen: bool
) -> Iterator[Reason]:
    """What differs between two models. Two that were named apart are meant to differ, and
    their engines with them where they need different ones.
    """
    if not (a.build and b.build):
        return  # one of them never ran: its cases are missing
    if not chosen and "model" not in across and a.artefact != b.artefact:
        yield Reason("other_model", f"{name}: {_both(a.artefact[:12], b.artefact[:12])}")
    if chosen and a.backend != b.backend:
        return
    if "build" not in across:
        yield from _differs("other_build", a.build, b.build, name)
    if "options" not in across:
        yield from _differs("other_options", a.options, b.options, name)


def _differs(
    code: str, a: Mapping[str, Any], b: Mapping[str, Any], name: str = ""
) -> Iterator[Reason]:
    """One reason that lists each fact that differs as `name: A → B`."""
    parts = [
        f"{fact} {_both(a.get(fact, '–'), b.get(fact, '–'))}"
        for fact in dict.fromkeys((*a, *b))
        if a.get(fact) != b.get(fact)
    ]
    if parts:
        yield Reason(code, f"{name}: {'; '.join(parts)}" if name else "; ".join(parts))


def _both(a: object, b: object) -> str:
    shown = (str(side) for side in (a, b))
    return " → ".join(f"{text[:_LONGEST]}…" if len(text) > _LONGEST else text for text in shown)
