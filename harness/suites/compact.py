"""A network's predictions of a text, small enough to keep: about 1.5 KiB a token.

Of every predicted token the 256 most likely ids with ln p, the probability of all others
together, and ln p of the true token. Ids and logarithms take 24 bits each, in a plane of 16
and one of 8: ids up to 16 million, and ln p down to -64 in steps of 2^-18 nat. float16
would take no less room beside such ids and be 1000 times coarser at ln p = -8.

The file is a NumPy archive without pickles. Its header (UTF-8 JSON) says what was predicted
by which model, and tells whether another model's predictions can be held against it.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from harness.durable import write_whole
from harness.errors import CapabilityError
from harness.suites.rows import Coarse, Floats, Ids, Rows, coarse, log_probability, top

FORMAT: Final = 1
KEPT: Final = 256
_STEP: Final = 2.0**-18
_PLANES: Final = ("ids_low", "ids_high", "head_low", "head_high", "tail", "target")
_DAMAGE: Final = (zipfile.BadZipFile, zlib.error)
_Planes = tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]


class Predictions(NamedTuple):
    """Predictions of consecutive tokens.

    Attributes:
        ids: most likely tokens, best first, `[n, k]`. target: ln p of the true ones, `[n]`.
    """

    ids: Ids
    coarse: Coarse
    target: Floats

    def part(self, start: int, count: int) -> Predictions:
        """Those of `count` tokens."""
        cut = slice(start, start + count)
        kept = Coarse(self.coarse.head[cut], self.coarse.tail[cut])
        return Predictions(self.ids[cut], kept, self.target[cut])


def predictions(rows: Rows, targets: Sequence[int], ids: Ids | None = None) -> Predictions:
    """Of rows `[n, V]`, at the given ids or at the most likely ones."""
    if ids is None:
        ids = top(rows, KEPT)
    return Predictions(ids, coarse(rows, ids), log_probability(rows, targets))


def joined(parts: Sequence[Predictions]) -> Predictions:
    """Predictions of several stretches, one after the other."""
    head, tail = (np.concatenate(found) for found in zip(*(p.coarse for p in parts), strict=True))
    ids, target = np.concatenate([p.ids for p in parts]), np.concatenate([p.target for p in parts])
    return Predictions(ids, Coarse(head, tail), target)


def write(path: Path, header: Mapping[str, Any], found: Predictions) -> None:
    """Write a file whole.

    Raises:
        RecordError: it cannot be written.
    """
    logs = np.round(np.minimum(-found.coarse.head, 63.9) / _STEP).astype(np.int64)
    single = (found.coarse.tail.astype(np.float32), found.target.astype(np.float32))
    planes: tuple[Any, ...] = (*_split(found.ids), *_split(logs), *single)
    text = np.frombuffer(json.dumps({"format": FORMAT, **header}).encode(), np.uint8)
    buffer = io.BytesIO()
    arrays: dict[str, Any] = dict(zip(_PLANES, planes, strict=True))
    np.savez_compressed(buffer, header=text, **arrays)
    write_whole(path, buffer.getvalue())


def read(path: Path) -> tuple[dict[str, Any], Predictions]:
    """Header and predictions of a file.

    Raises:
        CapabilityError: `reference_missing`: it is not there, or not such a file.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            header = json.loads(archive["header"].tobytes())
            low, high, head_low, head_high, tail, target = (archive[name] for name in _PLANES)
        if header["format"] == FORMAT:
            logs: Floats = _join(head_low, head_high).astype(np.float64) * -_STEP
            kept = Coarse(logs, tail.astype(np.float64))
            return header, Predictions(_join(low, high), kept, target.astype(np.float64))
        problem: object = f"format {header['format']}"
    except FileNotFoundError as error:
        raise CapabilityError(
            "the model that it is held against left no predictions", reason="reference_missing"
        ) from error
    except (*_DAMAGE, OSError, ValueError, KeyError, TypeError, EOFError) as error:
        problem = error
    raise CapabilityError(
        f"not stored predictions: {problem}", where=str(path), reason="reference_missing"
    )


def _split(values: Ids) -> _Planes:
    """Numbers below 2^24 as a plane of 16 bits and one of 8."""
    return (values & 0xFFFF).astype(np.uint16), (values >> 16).astype(np.uint8)


def _join(low: npt.NDArray[np.uint16], high: npt.NDArray[np.uint8]) -> Ids:
    out: Ids = low.astype(np.int64) | high.astype(np.int64) << 16
    return out
