"""Which artefact of a network the others are held against. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping

from harness.cases import Case
from harness.spec import Artefact, digest

_QUANTISED = re.compile(r"(?:iq|q|u?int)([1-8])(?![0-9])")
_FLOAT = re.compile(r"f(?:p|loat)?(16|32|64)")


def precision(quantisation: str) -> int:
    """Bits of a weight by the name of its number type, 0 where the name does not tell.

    `f32`, `fp32` → 32; `f16`, `fp16`, `bf16` → 16; `q8_0`, `int8` → 8; `q4_k_m`, `iq4_xs`,
    `int4`, `q4f16` → 4.
    """
    for pattern in (_QUANTISED, _FLOAT):
        if found := pattern.search(quantisation.lower()):
            return int(found[1])
    return 0


def references(artefacts: Iterable[Artefact]) -> dict[str, Artefact]:
    """The artefact of the highest precision of each family with two or more, by family.

    Of equal ones the first by id. Entries that share their files count once; thread counts
    do not change what a file says, and random weights say nothing.
    """
    families: dict[str, dict[str, Artefact]] = {}
    for artefact in sorted(artefacts, key=lambda found: found.model.id):
        if not artefact.model.tuned and not artefact.model.synthetic:
            family = families.setdefault(artefact.model.family, {})
            family.setdefault(digest(artefact.sha256), artefact)
    return {
        name: max(members.values(), key=lambda found: precision(found.model.quantisation))
        for name, members in families.items()
        if len(members) > 1
    }


def against(
    cases: Iterable[Case], artefact: Artefact, best: Mapping[str, Artefact]
) -> Iterator[Case]:
    """The cases with the reference of the artefact's family; none where it has none."""
    reference = best.get(artefact.model.family)
    if reference and not artefact.model.tuned:
        name, files = reference.model.id, digest(reference.sha256)
        for case in cases:
            yield dataclasses.replace(case, reference=name, reference_sha256=files)
