"""Samples of one model, checked and gathered by case and process.

    duplicates once ─ refuse what cannot be trusted ─▶ values, items, problems

Requests and items, which are nearly all of a run, are read as columns where every sample of
a case is sound, and one by one where any is not: both give the same figures.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import accumulate, groupby
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from harness.metrics import Floats, suite_of
from harness.scoring.divergence import Divergence, read_divergence
from harness.scoring.energy import request_joules
from harness.scoring.gather import Place
from harness.scoring.items import Item, read_geometry, read_item, read_skipped
from harness.scoring.itemtable import Items, assemble, read_items
from harness.scoring.language import guesses, text_metrics
from harness.scoring.proofs import require_available, require_repeated
from harness.scoring.rules import LOAD_CASES, UNKNOWN_LOAD_CASE, Rules
from harness.scoring.sustained import Curve, Pass, curve, read_pass
from harness.times import (
    SampleRefusedError,
    chat_times,
    kernel_tok_per_s,
    load_times,
    request_times,
    times_of_requests,
    whole,
)

PHASES = ("runtime", "import", "load", "prefill", "decode")
"""Phases of a memory case, in their order."""
SWAPPED_BYTES = 16 << 20
"""What may come back from swap during a model's jobs, or be swapped out of a worker before its
resident size says too little."""
_TRACE = "energy_trace"
_PHASE_OF = {"load": "job", "item": "form", "item_skipped": "form"}
"""`load` is the one sample that is not of a case: every job has its own. An item's index counts
within its form."""
_KEY_TYPES: tuple[type, ...] = (str, str, str, int, int, str)
_SPLIT = {f"{part}_bytes": f"peak_{part}_bytes" for part in ("anon", "file", "shmem")}

Sample = Mapping[str, Any]


class Series(NamedTuple):
    """Values of one metric in one case, an array for each process in order."""

    suite: str
    processes: tuple[Floats, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """Values of each process."""
        return tuple(values.size for values in self.processes)

    @property
    def n(self) -> int:
        """Values of all processes together."""
        return sum(self.counts)


class Problem(NamedTuple):
    """Why samples of a case cannot be used."""

    case: str
    reason: str
    detail: str


class Key(NamedTuple):
    """What a sample is, apart from what was read."""

    suite: str
    case: str
    kind: str
    process: int
    number: int
    phase: str


class Reader:
    """Collects the samples of one model.

    Every value that is read by itself goes through `_add`, and every refusal through `_refuse`: a
    subclass that listens there, and leaves nothing to columns, hears of each sample what scoring
    makes of it.
    """

    def __init__(self, rules: Rules) -> None:
        self.problems: set[Problem] = set()
        self.curves: list[Curve] = []
        self.answer_chars: dict[tuple[str, int], int] = {}
        self.traces: dict[str, Sample] = {}
        self.items: dict[str, Items] = {}
        self.geometry: dict[str, dict[int, float]] = defaultdict(dict)
        self.divergences: dict[str, Divergence] = {}
        self.stores_reference = False
        self._rules = rules
        self._values: dict[tuple[str, str, str, int], list[float | Floats]] = defaultdict(list)
        # Of requests read as columns; `_values` holds what was read one by one.
        self._series: dict[tuple[str, str], Series] = {}
        self._items: dict[tuple[str, int], list[Item]] = defaultdict(list)
        self._tables: dict[tuple[str, int], Items] = {}
        self._outputs: dict[tuple[str, str, int], list[str]] = defaultdict(list)
        self._memory: dict[tuple[str, int], dict[str, int]] = defaultdict(dict)
        self._available: dict[tuple[str, int], dict[str, int]] = defaultdict(dict)
        self._splits: dict[Key, Sample] = {}
        self._passes: dict[tuple[str, int], list[Pass]] = defaultdict(list)

    def collect(self, samples: Mapping[Place, list[Sample]]) -> None:
        """Read all samples; those that are refused become problems."""
        known: dict[Key, Sample] = {}
        conflicts: set[Key] = set()
        for sample in self._left(samples):
            key = _key(sample)
            if key is None:
                case = str(sample.get("case", ""))
                self.problems.add(Problem(case, "bad_sample", "a sample without its place"))
            elif known.setdefault(key, sample) is not sample and known[key] != sample:
                conflicts.add(key)
        for key in conflicts:
            # Taking either one would be a choice among attempts.
            del known[key]
            detail = f"two different {key.kind} samples of one request"
            self._refuse(key, "conflicting_samples", detail)
        ordered = sorted(known.items(), key=itemgetter(0))
        self.traces = {
            str(sample.get("job", "")): sample for key, sample in ordered if key.kind == _TRACE
        }
        for key, sample in ordered:
            try:
                self._read(key, sample)
            except SampleRefusedError as refused:
                self._refuse(key, refused.reason, refused.message)
        self._close_memory()
        self._close_sustained()
        self._close_items()

    def _left(self, samples: Mapping[Place, list[Sample]]) -> Iterator[Sample]:
        """Read what can be read as columns; the samples that are left, for reading one by one."""
        for (suite, case, kind), found in samples.items():
            match suite, kind:
                case "latency", "request":
                    done = self._requests_at_once(case, found)
                case "accuracy", "item" if (suite, case, "item_skipped") not in samples:
                    done = isinstance(case, str) and self._items_at_once(case, found)
                case _:
                    done = False
            if not done:
                yield from found

    def _requests_at_once(self, name: str, samples: Sequence[Sample]) -> bool:
        """Add the requests of a case, as `_request` does, if all of them are sound."""
        case, order = self._rules.cases["latency"].get(name), _in_order(samples)
        if case is None or order is None or any("phase" in sample for sample in samples):
            return False
        ordered = [samples[row] for _, _, row in order]
        times = times_of_requests(
            ordered,
            submitted=case.prompt_tokens,
            outputs=case.output_tokens,
            depth=case.depth_tokens,
        )
        if times is None or len({place[:2] for place in order}) < len(order):
            return False
        counts = Counter(process for process, _, _ in order).values()
        ends = list(accumulate(counts))
        for metric, values in times.items():
            parts = (values[end - n : end].ravel() for n, end in zip(counts, ends, strict=True))
            self._series[name, metric] = Series("latency", tuple(parts))
        for (_, number, _), sample in zip(order, ordered, strict=True):
            if output := sample.get("output_sha256"):
                self._outputs["latency", name, number].append(str(output))
        return True

    def _items_at_once(self, task: str, samples: Sequence[Sample]) -> bool:
        """Add the items of a task, as `_answer` does, if all of them are sound."""
        if (order := _in_order(samples)) is None:
            return False
        found = {}
        for process, rows in groupby(order, itemgetter(0)):
            _, numbers, own = zip(*rows, strict=True)
            items = read_items(numbers, [samples[row] for row in own])
            if items is None:
                return False
            found[task, process] = items
        self._tables |= found
        return True

    def _read(self, key: Key, sample: Sample) -> None:
        """A kind counts in its own suites only: workloads are never mixed in a metric."""
        match key.suite, key.kind:
            case "latency" | "energy", "request":
                self._request(key, sample)
            case "latency" | "task" | "kernel", "check" | "repeat":
                self._proof(key, sample)
            case "latency", "load":
                self._load(key, sample)
            case "task", "chat":
                self._chat(key, sample)
            case "kernel", "kernel":
                self._kernel(key, sample)
            case "sustained", "sustained":
                self._passes[key.case, key.process].append(read_pass(sample))
            case "accuracy", _:
                self._answer(key, sample)
            case "language" | "fidelity", _:
                self._text(key, sample)
            case "memory", "memory" | "memory_split":
                self._phase(key, sample)

    def _text(self, key: Key, sample: Sample) -> None:
        if key.suite == "language" and key.kind == "text":
            for metric, value in text_metrics(sample).items():
                self._add(key, metric, value)
            if guesses(sample):
                detail = "the text is predicted no better than by an equal chance for every token"
                self.problems.add(Problem(key.case, "at_chance", detail))
        elif key.suite == "fidelity" and key.kind == "divergence":
            self.divergences[key.case] = read_divergence(sample)
        elif key.suite == "fidelity" and key.kind == "stored":
            self.stores_reference = True

    def _answer(self, key: Key, sample: Sample) -> None:
        match key.kind:
            case "item":
                self._items[key.case, key.process].append(read_item(key.number, sample))
            case "item_skipped":
                self._items[key.case, key.process].append(read_skipped(key.number, sample))
            case "geometry":
                errors = self.geometry[key.case]
                for tokens, nat in read_geometry(sample):
                    errors[tokens] = max(nat, errors.get(tokens, 0.0))

    def _load(self, key: Key, sample: Sample) -> None:
        where = LOAD_CASES.get(str(sample.get("cache")), UNKNOWN_LOAD_CASE)
        for metric, value in load_times(sample).items():
            self._add(key, metric, value, case=where)

    def _proof(self, key: Key, sample: Sample) -> None:
        if key.kind == "check":
            require_available(sample)
        else:
            require_repeated(sample)

    def _request(self, key: Key, sample: Sample) -> None:
        case = self._rules.cases[key.suite].get(key.case)
        times = request_times(
            sample,
            submitted=case.prompt_tokens if case else None,
            outputs=case.output_tokens if case else None,
            depth=case.depth_tokens if case else 0,
        )
        if output := sample.get("output_sha256"):
            self._outputs[key.suite, key.case, key.number].append(str(output))
        if key.suite == "energy":
            joules = request_joules(sample, self.traces.get(str(sample.get("job", ""))))
            self._add(key, "energy_j", joules)
            self._add(key, "energy_j_per_tok", joules / (times.itl_s.size + 1))
            return
        for metric, value in times._asdict().items():
            if value is not None and not (isinstance(value, np.ndarray) and not value.size):
                self._add(key, metric, value)

    def _chat(self, key: Key, sample: Sample) -> None:
        if sample.get("token_ns") == []:
            self.answer_chars[key.case, key.number] = 0
        for metric, value in chat_times(sample)._asdict().items():
            if value is not None:
                self._add(key, metric, value)
        self.answer_chars[key.case, key.number] = whole(sample, "chars", least=0)
        if output := sample.get("output_sha256"):
            self._outputs[key.suite, key.case, key.number].append(str(output))

    def _kernel(self, key: Key, sample: Sample) -> None:
        rate = kernel_tok_per_s(sample)
        case = self._rules.cases["kernel"].get(key.case)
        if case and sample["tokens"] != case.prompt_tokens + case.output_tokens:
            raise SampleRefusedError(
                f"{sample['tokens']} tokens; the case asks for another count",
                reason="wrong_workload",
            )
        self._add(key, f"kernel_{key.case[:2]}_tok_per_s", rate)

    def _phase(self, key: Key, sample: Sample) -> None:
        if key.kind == "memory_split":
            self._splits[key] = sample
            return
        swapped = sample.get("swapped_bytes", 0)
        if isinstance(swapped, int) and swapped > SWAPPED_BYTES:
            raise SampleRefusedError(
                f"{swapped >> 20} MiB of the worker were swapped out, and so not resident",
                reason="memory_swapped",
            )
        peak = whole(sample, "peak_resident_bytes", least=1)
        self._memory[key.case, key.process][key.phase] = peak
        if isinstance(available := sample.get("available_bytes"), int):
            self._available[key.case, key.process][key.phase] = available

    def _split(self, key: Key, sample: Sample) -> int:
        """Add the parts of a whole case; the peak of its tree, 0 where it was one process."""
        for name, metric in _SPLIT.items():
            # Shown beside the peak, never scored: a part may be unknown.
            if isinstance(size := sample.get(name), int) and size >= 0:
                self._add(key, metric, size)
        if sample.get("tree_peak_bytes") is not None:
            return whole(sample, "tree_peak_bytes", least=1)
        if sample.get("processes") != 1:
            raise SampleRefusedError(
                "what the worker started could not be read", reason="memory_unreadable"
            )
        return 0

    def _close_memory(self) -> None:
        splits = {(key.case, key.process): (key, found) for key, found in self._splits.items()}
        for (case, process), phases in self._memory.items():
            key = Key("memory", case, "memory", process, 0, "")
            if "runtime" in phases:
                self._add(key, "runtime_resident_bytes", phases["runtime"])
            # A phase that is not there could have held the peak, and most of the samples.
            if not all(phase in phases for phase in PHASES):
                continue
            tree = 0
            if split := splits.get((case, process)):
                try:
                    tree = self._split(*split)
                except SampleRefusedError as refused:
                    self._refuse(key, refused.reason, refused.message)
            self._add(key, "peak_resident_bytes", max(*phases.values(), tree))
            available = self._available[case, process]
            if "runtime" in available:
                fall = available["runtime"] - min(available.values())
                self._add(key, "available_fall_bytes", fall)

    def _close_sustained(self) -> None:
        refused = {problem.case for problem in self.problems}
        for (case, process), passes in sorted(self._passes.items()):
            found = curve(passes)
            self.curves.append(found)
            if case in refused:
                continue  # a gap in the curve could hide the slowest requests
            key = Key("sustained", case, "sustained", process, 0, "")
            try:
                self._add(key, "sustained_ratio", found.ratio())
                self._add(key, "sustained_above_90_s", found.above_90_s())
            except SampleRefusedError as error:
                self._refuse(key, error.reason, error.message)

    def _close_items(self) -> None:
        """Items of the first process that answered any."""
        answered = self._items | self._tables
        for (task, process), items in sorted(answered.items(), key=itemgetter(0)):
            if task not in self.items:
                try:
                    self.items[task] = items if isinstance(items, Items) else assemble(items)
                except SampleRefusedError as refused:
                    key = Key("accuracy", task, "item", process, 0, "")
                    self._refuse(key, refused.reason, refused.message)

    def _add(self, key: Key, metric: str, value: float | Floats, *, case: str = "") -> None:
        if suite_of(metric) != key.suite:
            raise ValueError(f"{metric} is not measured by suite {key.suite}")
        self._values[key.suite, case or key.case, metric, key.process].append(value)

    def _refuse(self, key: Key, reason: str, detail: str) -> None:
        self.problems.add(Problem(key.case, reason, detail))

    def unusable(self, suites: Collection[str]) -> dict[str, Problem]:
        """Of these suites those with refused samples and no other; energy is left out, for
        many a machine has no meter.
        """
        out = {}
        used = {
            *self.items,
            *self.divergences,
            *(case for case, _ in self._series),
            *(case for _, case, _, _ in self._values),
        }
        for suite in sorted({*suites} - {"energy"}):
            cases = self._rules.cases.get(suite, {})
            refused = sorted(problem for problem in self.problems if problem.case in cases)
            if refused and used.isdisjoint(cases):
                out[suite] = refused[0]
        return out

    def phases(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """Peaks of all processes, by case and phase."""
        out: dict[str, dict[str, tuple[int, ...]]] = {}
        for (case, _), phases in sorted(self._memory.items()):
            found = out.setdefault(case, {})
            for phase in PHASES:
                if phase in phases:
                    found[phase] = (*found.get(phase, ()), phases[phase])
        return out

    def series(self) -> dict[tuple[str, str], Series]:
        """Values by (case, metric), in that order."""
        grouped: dict[tuple[str, str], list[Floats]] = defaultdict(list)
        suites: dict[tuple[str, str], str] = {}
        for (suite, case, metric, _), values in sorted(self._values.items(), key=itemgetter(0)):
            # The gaps between tokens are arrays, else it is one figure a sample.
            found = np.concatenate(values) if np.ndim(values[0]) else np.array(values)
            grouped[case, metric].append(found.astype(np.float64, copy=False))
            suites[case, metric] = suite
        one_by_one = {at: Series(suites[at], tuple(values)) for at, values in grouped.items()}
        return dict(sorted((self._series | one_by_one).items(), key=itemgetter(0)))

    def deterministic(self) -> bool | None:
        """Whether outputs of equal requests are equal, or None without repetitions."""
        repeated = [outputs for outputs in self._outputs.values() if len(outputs) > 1]
        return all(len(set(outputs)) == 1 for outputs in repeated) if repeated else None


def _key(sample: Sample) -> Key | None:
    get = sample.get
    kind = get("kind", "")
    phase = get(_PHASE_OF.get(str(kind), "phase"), "")
    key = Key(get("suite", ""), get("case", ""), kind, get("process", 0), get("index", 0), phase)
    return key if all(map(isinstance, key, _KEY_TYPES)) else None


def _in_order(samples: Sequence[Sample]) -> list[tuple[int, int, int]] | None:
    """Process, index and row of each sample, sorted; None where one has no such place."""
    process = [sample.get("process", 0) for sample in samples]
    number = [sample.get("index", 0) for sample in samples]
    if not {int}.issuperset(map(type, (*process, *number))):
        return None
    return sorted(zip(process, number, range(len(samples)), strict=True))
