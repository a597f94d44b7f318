"""How near an artefact is to the most precise one of its family, token by token.

The reference of a family runs first and leaves its predictions of the text (`compact`) in
the run's folder; every other artefact, of whatever format, reads them and records how far
its own are from them. What cannot be compared is skipped with a reason: another tokeniser
above all, which would make figures that look like a damaged network.

The divergence is a lower bound: tokens behind the 256 most likely ones are one bucket.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from harness.backends.base import Backend, Logits
from harness.cases import Case
from harness.errors import CapabilityError
from harness.job import Job
from harness.records import Record
from harness.spec import digest, sha256
from harness.suites import compact
from harness.suites.base import telemetry
from harness.suites.compact import Predictions
from harness.suites.language import text_ids, walk
from harness.suites.rows import divergence
from harness.suites.texts import case_text, probe

_ENGINE = ("engine", "engine_version", "library_sha256")


def measure(case: Case, backend: Backend, job: Job) -> Iterator[Record]:
    """Leave predictions, or hold those of this model against the ones that were left."""
    text = case_text(case, job)
    ids = text_ids(backend, text)
    if len(ids) < 2:
        raise CapabilityError("the text is a single token", reason="no_output")
    path = Path(job.shared, f"{case.reference}.{case.id}.npz")
    header = {
        "case": case.id,
        "model": case.reference,
        "files_sha256": case.reference_sha256,
        **_tokeniser(backend),
        "text_sha256": sha256(text.encode()),
        "ids_sha256": digest(ids),
        "window": case.prompt_tokens,
    }
    sample = {"case": case.id, "index": 0, "reference": case.reference, "tokens": len(ids)}
    yield telemetry(case.id, 0)
    if job.model == case.reference:
        left = compact.joined(_predicted(backend, ids, case.prompt_tokens))
        facts = backend.describe()
        engine = {name: facts[name] for name in _ENGINE if name in facts}
        path.parent.mkdir(parents=True, exist_ok=True)
        compact.write(path, {**header, "engine": engine}, left)
        yield sample | {"kind": "stored", "stored_bytes": path.stat().st_size}
    else:
        known, stored = compact.read(path)
        _require_same(known, header)
        found = _against(backend, ids, case.prompt_tokens, stored)
        yield sample | {"kind": "divergence", "bytes": len(text.encode()), **found}
    yield telemetry(case.id, 1)


def _tokeniser(backend: Backend) -> dict[str, Any]:
    return {
        "vocabulary": backend.vocabulary,
        "begin_ids": list(backend.begin_ids),
        "probe_sha256": digest(backend.encode(probe())),
    }


def _require_same(known: dict[str, Any], own: dict[str, Any]) -> None:
    """Refuse to compare what was not made alike.

    Raises:
        CapabilityError: `tokeniser_differs`, `text_differs` or `reference_missing`.
    """
    reasons = {
        "vocabulary": ("tokeniser_differs", "sizes of the vocabularies"),
        "begin_ids": ("tokeniser_differs", "tokens that begin a text"),
        "probe_sha256": ("tokeniser_differs", "token ids of the probe"),
        "text_sha256": ("text_differs", "texts"),
        "ids_sha256": ("tokeniser_differs", "token ids of the text"),
        "window": ("text_differs", "windows"),
    }
    for name, value in own.items():
        if known.get(name) != value:
            reason, what = reasons.get(name, ("reference_missing", f"the {name} of the file"))
            shown = "" if name.endswith("sha256") else f": {known.get(name)} and {value}"
            raise CapabilityError(f"{what} differ from the reference's{shown}", reason=reason)


def _predicted(backend: Backend, ids: Sequence[int], size: int) -> list[Predictions]:
    parts: list[Predictions] = []

    def visit(first: int, rows: Logits, targets: Sequence[int]) -> None:
        if _counts(backend, first):
            parts.append(compact.predictions(rows, targets))

    walk(backend, ids, size, visit)
    return parts


def _counts(backend: Backend, first: int) -> bool:
    """Formats differ in the end-of-text token that stands for a missing BOS."""
    return first > 0 or bool(backend.begin_ids)


def _against(
    backend: Backend, ids: Sequence[int], size: int, stored: Predictions
) -> dict[str, Any]:
    """Divergence in nats of each token, and sums over all of them."""
    kld: list[float] = []
    same, nats, reference_nats, squares = 0, 0.0, 0.0, 0.0

    def visit(first: int, rows: Logits, targets: Sequence[int]) -> None:
        nonlocal same, nats, reference_nats, squares
        if not _counts(backend, first):
            return
        p = stored.part(len(kld), len(targets))
        q = compact.predictions(rows, targets, p.ids)
        kld.extend(float(f"{value:.4g}") for value in divergence(p.coarse, q.coarse))
        same += int((rows.argmax(axis=1) == p.ids[:, 0]).sum())
        nats -= float(q.target.sum())
        reference_nats -= float(p.target.sum())
        squares += float(((np.exp(q.target) - np.exp(p.target)) ** 2).sum())

    walk(backend, ids, size, visit)
    return {
        "kld_nat": kld,
        "same_top": same,
        "delta_p_squares": round(squares, 9),
        "nats": round(nats, 6),
        "reference_nats": round(reference_nats, 6),
    }
