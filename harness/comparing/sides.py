"""One side of a comparison: what a run has to say about each model, condensed. Pure.

records + scorecard ─ side ─▶ Side ─ to_json ─▶ baseline file ─ from_json ─▶ Side

A side holds what must be equal before two of them may be put side by side (workload, suite
versions, device, engine build, options, artefact), one median a process of every compared
metric, and which accuracy items were right. Figures have 6 significant digits from the start,
so that a run and its baseline compare alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from harness.errors import SpecError, did_you_mean
from harness.metrics import METRICS
from harness.records import run_record
from harness.scoring.itemtable import Items
from harness.scoring.observe import Observed, observe
from harness.scoring.rules import Rules, read_rules
from harness.scoring.validity import unfinished
from harness.spec import digest
from harness.stats import median, round_significant

COMPARED = (
    *("ttft_s", "decode_tok_per_s", "task_ttft_s", "task_decode_tok_per_s"),
    *("kernel_pp_tok_per_s", "kernel_tg_tok_per_s", "energy_j_per_tok", "peak_resident_bytes"),
)
"""One metric for each thing that can get worse. The others say the same again (TPOT is one over
the decode rate), or mostly what the page cache held (`load_s`); each would cost power."""
DEVICE = (
    *("product", "cpu", "machine", "isa", "physical_cores", "logical_cores", "usable_cpus"),
    *("cpu_quota", "memory_bytes", "memory_limit_bytes", "os"),
)
"""Observed facts that make two machines the same one. A kernel's release is not among them:
what an update of it costs is worth knowing."""
CONDITIONS = ("power_source", "power_mode", "governor", "energy_preference", "turbo")
"""Observed facts of a machine's settings, which decide its speed."""
_BUILD = (
    *("engine", "engine_version", "binding", "torch", "build", "instruction_set"),
    *("library_sha256", "libraries_sha256", "provider", "device"),
)
"""Facts of an engine that make two builds the same. Where its library lies is not one."""
_OPTIONS = ("threads", "threads_prefill", "flash_attention", "kv_type", "batch_tokens")
"""What a user sets; the context and the branches follow from the suite."""
_WORKLOAD = ("id", "suites", "chat_template")
_PROTOCOL = ("requests", "warmup_max", "grouping", "cool_down_max_s")
_MEMORY_UNIT = 1 << 28
"""Kernels of one machine keep back some MiB more or less."""

Json = Mapping[str, Any]


class Answers(NamedTuple):
    """Who was right in one accuracy task.

    Attributes:
        questions: hash of what was asked, in order. outcomes: `1` right, `0` wrong, `-` not
            asked, an item each. clusters: number of each item's template.
    """

    questions: str
    outcomes: str
    clusters: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One model of a side.

    Attributes:
        artefact: hash of its files' hashes. build, options: of its engine.
        medians: of each process, by case and metric.
        answers: by accuracy task.
    """

    artefact: str
    backend: str
    build: Mapping[str, str]
    options: Mapping[str, Any]
    medians: Mapping[tuple[str, str], tuple[float, ...]]
    answers: Mapping[str, Answers]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One run, or a baseline made of one.

    Attributes:
        name: as the user calls it. run: its id. profile: id and version, for people.
        workload: hash of all that decides what is measured; how often, and how it is
            judged, is not part of it.
        suite_versions: of the suites that ran.
        device, conditions: observed facts before the run.
        items: what accuracy items were drawn from.
        invalid: why the run does not count; empty = it does.
        finished: whether the run came to its end; no baseline is made of one that did not.
    """

    name: str
    run: str
    harness: str
    profile: str
    workload: str
    suite_versions: Mapping[str, int]
    device: Mapping[str, Any]
    conditions: Mapping[str, Any]
    items: str
    invalid: str
    models: Mapping[str, Measured]
    finished: bool = True

    @property
    def machine(self) -> str:
        """Key of the machine: a hash of its facts."""
        return machine_key(self.device)

    @property
    def label(self) -> str:
        """Its name with the run that it stands for: `latest` is another one tomorrow."""
        return self.name if self.run in self.name else f"{self.name} ({self.run})"

    @property
    def is_empty(self) -> bool:
        """Whether nothing was measured."""
        return not any(model.medians or model.answers for model in self.models.values())

    def only(self, model: str) -> Side:
        """The side with this model alone.

        Raises:
            SpecError: it has no such model.
        """
        if model not in self.models:
            known = ", ".join(sorted(self.models))
            raise SpecError(
                f"{self.name} has no model '{model}'{did_you_mean(model, self.models)}",
                allowed=known,
                hint=f"harness compare {self.name}:MODEL …",
                reason="unknown_name",
            )
        return replace(self, models={model: self.models[model]})


def machine_key(device: Mapping[str, Any]) -> str:
    """16 hex digits of the hash of a machine's facts."""
    return digest(device)[:16]


def side(records: Sequence[Json], card: Json, *, name: str) -> Side:
    """The side of one run.

    Args:
        records: of `records.jsonl`, in any order. card: the scorecard made of them.

    Raises:
        RecordError: no run record, or an unusable profile.
    """
    run = run_record(records)
    rules = read_rules(run["profile"])
    facts = card["environment"]["before"]
    return Side(
        name=name,
        run=str(run["run"]),
        harness=str(run.get("harness", "")),
        profile=f"{rules.profile.id} v{rules.profile.version}",
        workload=_workload(run["profile"]),
        suite_versions=_versions(records),
        device=_facts(facts, DEVICE),
        conditions=_facts(facts, CONDITIONS),
        items=digest(run.get("seed", {})),
        invalid="run_invalid" if card["verdict"]["state"] == "invalid" else "",
        finished=not unfinished(card),
        models={seen.id: _measured(seen, rules) for seen in observe(records, run["models"], rules)},
    )


def _workload(profile: Json) -> str:
    """Hash of what a profile measures: weights, gates, the reference and the numbers of
    processes decide nothing about a single process.
    """
    kept = {name: profile.get(name) for name in _WORKLOAD}
    protocol = {name: profile["protocol"].get(name) for name in _PROTOCOL}
    return digest(kept | {"protocol": protocol})


def _versions(records: Sequence[Json]) -> dict[str, int]:
    found = {
        str(record.get("suite", "")): int(record["suite_version"])
        for record in records
        if record["type"] == "job" and "suite_version" in record
    }
    return dict(sorted(found.items()))


def _facts(facts: Json, names: Sequence[str]) -> dict[str, Any]:
    found = {name: facts.get(name, "unknown") for name in names}
    if isinstance(size := found.get("memory_bytes"), int):
        found["memory_bytes"] = round(size / _MEMORY_UNIT) * _MEMORY_UNIT
    return found


def _measured(seen: Observed, rules: Rules) -> Measured:
    facts, options = seen.engine.get("facts", {}), seen.engine.get("options", {})
    return Measured(
        artefact=digest(seen.model.get("sha256", {})),
        backend=str(seen.engine.get("backend", "")),
        build={name: str(facts[name]) for name in _BUILD if name in facts},
        options={name: options[name] for name in _OPTIONS if name in options},
        medians={
            (case, metric): tuple(round_significant(median(values)) for values in series.processes)
            for (case, metric), series in seen.series.items()
            if metric in COMPARED and case in rules.scored(METRICS[metric].suite)
        },
        answers={
            task: _answers(items)
            for task, items in seen.items.items()
            if task in rules.scored("accuracy")
        },
    )


def _answers(items: Items) -> Answers:
    templates = {name: n for n, name in enumerate(dict.fromkeys(items.templates))}
    pairs = zip(items.places, items.questions, strict=True)
    outcomes = zip(items.skipped, items.correct.tolist(), strict=True)
    return Answers(
        questions=digest([[*place, *question] for place, question in pairs]),
        outcomes="".join("-" if skipped else str(int(right)) for skipped, right in outcomes),
        clusters=tuple(templates[template] for template in items.templates),
    )


_TEXTS = ("run", "harness", "profile", "workload", "items", "invalid")


def to_json(value: Side) -> dict[str, Any]:
    """Plain JSON data of a side, without its name."""
    return {
        **{name: getattr(value, name) for name in _TEXTS},
        "suite_versions": dict(value.suite_versions),
        "device": dict(value.device),
        "conditions": dict(value.conditions),
        "models": {
            name: {
                "artefact": model.artefact,
                "backend": model.backend,
                "build": dict(model.build),
                "options": dict(model.options),
                "medians": _nested(model.medians),
                "answers": {task: found._asdict() for task, found in model.answers.items()},
            }
            for name, model in value.models.items()
        },
    }


def _nested(medians: Mapping[tuple[str, str], Sequence[float]]) -> dict[str, dict[str, Any]]:
    out: dict[str, dict[str, Any]] = {}
    for (case, metric), values in medians.items():
        out.setdefault(case, {})[metric] = list(values)
    return out


def from_json(data: Json, *, name: str) -> Side:
    """The side that `to_json` wrote.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is none.
    """
    texts: dict[str, Any] = {field: str(data[field]) for field in _TEXTS}
    return Side(
        name=name,
        **texts,
        suite_versions={str(suite): int(v) for suite, v in data["suite_versions"].items()},
        device=dict(data["device"]),
        conditions=dict(data["conditions"]),
        models={str(model): _model(found) for model, found in data["models"].items()},
    )


def _model(found: Json) -> Measured:
    return Measured(
        artefact=str(found["artefact"]),
        backend=str(found["backend"]),
        build={str(key): str(value) for key, value in found["build"].items()},
        options=dict(found["options"]),
        medians={
            (str(case), METRICS[metric].id): tuple(_figure(value) for value in values)
            for case, metrics in found["medians"].items()
            for metric, values in metrics.items()
        },
        answers={str(task): _checked(answers) for task, answers in found["answers"].items()},
    )


def _figure(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise TypeError(f"{value!r} is no figure")
    return round_significant(float(value))


def _checked(found: Json) -> Answers:
    answers = Answers(
        questions=str(found["questions"]),
        outcomes=str(found["outcomes"]),
        clusters=tuple(int(number) for number in found["clusters"]),
    )
    if set(answers.outcomes) - set("01-") or len(answers.outcomes) != len(answers.clusters):
        raise ValueError("answers that are none")
    return answers
