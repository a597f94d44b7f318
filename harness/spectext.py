"""Settings of the suites that read running text, as frozen values. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFile:
    """An evaluator's own text, in UTF-8.

    Attributes:
        path: relative to the profile's file. sha256: of its bytes; another file is refused.
        licence: SPDX id or own name; the text itself is never printed.
    """

    id: str
    path: str
    sha256: str
    licence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageSuite:
    """How well a model predicts text, in bits for each byte of it.

    Attributes:
        tokens: size of each generated text, at 3 UTF-8 bytes a token: all models read the
            same bytes, whatever their tokenisers make of them.
        context: tokens of a window; windows overlap by half.
        files: texts of one's own, beside or instead of the generated ones.
    """

    tokens: int
    languages: tuple[Literal["ko", "en"], ...] = ()
    context: int = 512
    files: tuple[TextFile, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FidelitySuite(LanguageSuite):
    """How near each artefact of a family is to the one of the highest precision.

    Attributes:
        kld_max, agreement_min: limits of the gates, on the worst of the texts: mean
            divergence in nats a token, share of tokens with the same most likely one.
    """

    kld_max: float = 0.02
    agreement_min: float = 0.97
