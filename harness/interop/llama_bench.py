"""Results of llama-bench (`-o json`, `jsonl` or `csv`) as rows beside our kernel figures.

FILE ─ read ─▶ BenchTest, each checked ─ beside ─▶ `imported` of the scorecard that is reported

They are shown, marked as imported, and never scored or ranked: nobody knows under what
conditions they were measured.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from harness import records
from harness.errors import SpecError, printable

Json = dict[str, Any]

MOST_BYTES = 16 << 20
MOST_TESTS = 10_000
_HINT = "llama-bench -m MODEL.gguf -o json > FILE.json"
_BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
"""Windows PowerShell redirects into UTF-16."""


class BenchTest(NamedTuple):
    """One test of one file.

    Attributes:
        file: name without folders. model_bytes: of its tensors, as llama.cpp counts them.
        name: as llama-bench prints it, such as `tg128 @ d512`.
        tok_per_s, stddev: mean and standard deviation over n repetitions; `csv` has no n.
        build: commit and number of llama.cpp.
    """

    file: str
    model_bytes: int
    name: str
    tok_per_s: float
    stddev: float
    n: int | None
    threads: int
    build: str


def imported(paths: Iterable[Path], card: Mapping[str, Any], folder: Path) -> Json:
    """What a scorecard that is being reported says besides: `imported`, from these files.

    Args:
        card: the scorecard. folder: of its run, whose records name the models' files.

    Raises:
        SpecError: as `read`. RecordError: the run's records cannot be read.
    """
    tests = [test for path in paths for test in read(path)]
    run = records.run_record(records.read(folder / "records.jsonl").records)
    return {"imported": beside(tests, card["entries"], run["models"])}


def read(path: Path) -> list[BenchTest]:
    """All tests of a file, in its order.

    Raises:
        SpecError: `llama_bench_missing`, or `llama_bench_unreadable` with the line or the
            number of the test that is not what llama-bench writes.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise SpecError(
            f"cannot be read: {error.strerror}",
            where=str(path),
            hint=_HINT,
            reason="llama_bench_missing",
        ) from error
    try:
        return [_test(number, fields) for number, fields in enumerate(_parse(_text(data)), 1)]
    except (ValueError, RecursionError, csv.Error) as error:
        raise SpecError(
            f"not what llama-bench writes: {printable(str(error))[:200]}",
            where=str(path),
            allowed="the output of llama-bench -o json, jsonl or csv",
            hint=_HINT,
            reason="llama_bench_unreadable",
        ) from error


def beside(
    tests: Iterable[BenchTest],
    entries: Iterable[Mapping[str, Any]],
    models: Iterable[Mapping[str, Any]],
) -> list[Json]:
    """A row a test and model of ours that it measured, or one without a model.

    A file is a model's where its name and the bytes of its tensors agree. The bytes are what
    our own llama.cpp counted: without it there are no figures to put beside.

    Args:
        entries: of the scorecard. models: of the run record.
    """
    names = {str(m["id"]): [str(m["id"]), *m.get("sha256", {})] for m in models}
    loaded = {
        str(entry["model"]): (entry["engine"].get("load") or {}).get("model_bytes")
        for entry in entries
    }
    out: list[Json] = []
    for test in tests:
        own = [
            model
            for model, model_bytes in loaded.items()
            if model_bytes == test.model_bytes and _named(test.file, names.get(model, [model]))
        ]
        facts = {key: value for key, value in test._asdict().items() if key != "name"}
        out += ({"model": model, "test": test.name, **facts} for model in own or [""])
    return out


def _named(file: str, names: Iterable[str]) -> bool:
    """Whether a file is one of these, which may be in folders."""
    own = [_base(name).casefold() for name in names]
    return file.casefold() in {*own, *map(_garbled, own)}


def _garbled(name: str) -> str:
    """A name as llama-bench's JSON has it: its escape of a byte above 0x7f is cut in the middle."""
    return "".join(chr(byte) if byte < 0x80 else "\ufffff" for byte in name.encode())


def _base(name: str) -> str:
    return re.split(r"[\\/]", name)[-1]


def _text(data: bytes) -> str:
    if len(data) > MOST_BYTES:
        raise ValueError(f"more than {MOST_BYTES >> 20} MiB")
    mark = next((mark for mark in _BYTE_ORDER_MARKS if data.startswith(mark)), b"")
    return data.decode(_BYTE_ORDER_MARKS.get(mark, "utf-8")).strip()


def _parse(text: str) -> list[Mapping[str, Any]]:
    """The form is seen from the first character."""
    if text.startswith("["):
        found: Any = records.strict_json(text)
    elif text.startswith("{"):
        found = [records.strict_json(line) for line in text.splitlines() if line.strip()]
    elif text.startswith("build_commit,"):
        found = list(csv.DictReader(io.StringIO(text), strict=True))
    else:
        raise ValueError(f"it begins with {text[:20]!r}")
    if not all(isinstance(fields, dict) for fields in found):
        raise ValueError("a test is no object")
    if not 0 < len(found) <= MOST_TESTS:
        raise ValueError(f"{len(found)} tests; 1 to {MOST_TESTS:,} are read")
    return list(found)


def _test(number: int, fields: Mapping[str, Any]) -> BenchTest:
    try:
        prompt, output, depth = (_whole(fields, f"n_{part}") for part in ("prompt", "gen", "depth"))
        rate, stddev = _rate(fields, "avg_ts"), _rate(fields, "stddev_ts")
        samples = fields.get("samples_ts")
        return BenchTest(
            file=_base(_string(fields, "model_filename")),
            model_bytes=_whole(fields, "model_size", least=1),
            name=_name(prompt, output, depth),
            tok_per_s=rate,
            stddev=stddev,
            n=None if samples is None else _repetitions(samples, rate),
            threads=_whole(fields, "n_threads", least=1),
            build=f"{_string(fields, 'build_commit')} ({_whole(fields, 'build_number')})",
        )
    except ValueError as error:
        raise ValueError(f"test {number}: {error}") from error


def _name(prompt: int, output: int, depth: int) -> str:
    parts = [f"pp{prompt}"] if prompt else []
    parts += [f"tg{output}"] if output else []
    if not parts:
        raise ValueError("neither prompt nor output tokens")
    return "+".join(parts) + (f" @ d{depth}" if depth else "")


def _repetitions(samples: Any, mean: float) -> int:
    """How many rates there are; their mean has to be the one that the file states."""
    rates = [_positive(rate, "samples_ts") for rate in samples] if isinstance(samples, list) else []
    if not rates or not math.isclose(math.fsum(rates) / len(rates), mean, rel_tol=0.01):
        raise ValueError(f"avg_ts is {mean:g}, which is not the mean of samples_ts")
    return len(rates)


def _string(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name} is {value!r}; it must be a text")
    return value


def _whole(fields: Mapping[str, Any], name: str, *, least: int = 0) -> int:
    """An integer; in `csv` it is a text."""
    value = fields.get(name)
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 2**63:
        raise ValueError(f"{name} is {value!r}; it must be an integer of at least {least}")
    return value


def _rate(fields: Mapping[str, Any], name: str) -> float:
    value = fields.get(name)
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}(\.[0-9]{1,18})?", value):
        value = float(value)
    return _positive(value, name, zero=name == "stddev_ts")


def _positive(value: Any, name: str, *, zero: bool = False) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not (value > 0 or (zero and value == 0)):
        raise ValueError(f"{name} is {value!r}; it must be a positive number")
    return float(value)
