"""Profiles out of YAML: what is run, how often, and how it is judged.

The checks that the types cannot make: every number in its range, every name one that
exists, and nothing demanded that the profile does not run.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.cases import Case, cases_of
from harness.errors import did_you_mean
from harness.metrics import METRICS, is_share, suite_of
from harness.spec import AccuracySuite, HeldOut, Language, MemorySuite, Profile, TaskName
from harness.specgate import FACTS, Gate, scoring_fault
from harness.spectext import LanguageSuite
from harness.specyaml import MOST, MOST_TOKENS, Document, Keys, listed


def load_profile(path: Path | str) -> Profile:
    """Read a profile file.

    Raises:
        SpecError: with `file:line` of what is wrong.
    """
    document = Document.read(Path(path), hint=f"harness run --profile {path} --dry-run")
    profile = document.validate(Profile)
    document.require_id(("id",), profile.id)
    document.require_id(("reference",), profile.reference)
    document.require_range(("version",), profile.version, 1, MOST)
    if profile.fixed_family:
        document.require_id(("fixed_family",), profile.fixed_family)
    _check_protocol(document, profile)
    _check_suites(document, profile)
    _check_weights(document, profile)
    names: set[str] = set()
    for index, gate in enumerate(profile.gates):
        _check_gate(document, ("gates", index), gate, profile)
        if gate.id in names:
            document.fail(
                ("gates", index, "id"),
                f"gate '{gate.id}' is defined twice",
                allowed="ids that differ",
            )
        names.add(gate.id)
    return profile


def _check_protocol(document: Document, profile: Profile) -> None:
    protocol = profile.protocol
    where: Keys = ("protocol", "processes")
    suites = [name for name in _suite_names(profile) if getattr(profile.suites, name) is not None]
    for name, count in protocol.processes.items():
        if name not in suites:
            document.fail(
                (*where, name),
                f"processes of '{name}', which the profile does not run"
                f"{did_you_mean(name, suites)}",
                allowed=listed(suites),
            )
        document.require_range((*where, name), count, 1, 1000)
    for name in suites:
        if name not in protocol.processes:
            document.fail(
                where,
                f"the number of processes of suite '{name}' is missing",
                allowed=f"a line '{name}: 1'",
            )
    for name, count in protocol.processes_max.items():
        most: Keys = ("protocol", "processes_max", name)
        if name not in suites:
            document.fail(
                most,
                f"processes_max of '{name}', which the profile does not run"
                f"{did_you_mean(name, suites)}",
                allowed=listed(suites),
            )
        document.require_range(most, count, protocol.processes[name], 1000)
    document.require_range(("protocol", "precision"), protocol.precision, 0.001, 1)
    document.require_range(("protocol", "budget_s"), protocol.budget_s, 0, 86_400)
    document.require_range(("protocol", "cool_down_max_s"), protocol.cool_down_max_s, 0, 3600)
    document.require_range(("protocol", "requests"), protocol.requests, 1, 10_000)
    document.require_range(("protocol", "warmup_max"), protocol.warmup_max, 1, 1000)
    document.require_range(("protocol", "job_timeout_s"), protocol.job_timeout_s, 1, 86_400)


def _check_suites(document: Document, profile: Profile) -> None:
    suites = profile.suites
    if not any(getattr(suites, name) for name in _suite_names(profile)):
        document.fail(
            ("suites",), "the profile runs no suite", allowed=listed(_suite_names(profile))
        )
    for name, field, least, most in NUMBERS:
        suite = getattr(suites, name)
        value = getattr(suite, field) if suite else None
        where: Keys = ("suites", name, field)
        if isinstance(value, tuple):
            _check_list(document, where, value, least)
        elif value is not None:
            document.require_range(where, value, least, most)
    if suites.task:
        _check_list(document, ("suites", "task", "languages"), suites.task.languages)
    if suites.accuracy:
        _check_accuracy(document, suites.accuracy)
    if suites.memory:
        _check_memory(document, suites.memory)
    _check_texts(document, ("suites", "language"), suites.language)
    _check_texts(document, ("suites", "fidelity"), suites.fidelity)


def _check_texts(document: Document, where: Keys, suite: LanguageSuite | None) -> None:
    if suite is None:
        return
    if suite.languages or not suite.files:
        _check_list(document, (*where, "languages"), suite.languages)
    if suite.context % 2:
        document.fail(
            (*where, "context"), f"context is {suite.context}", allowed="an even number of tokens"
        )
    for index, file in enumerate(suite.files):
        place: Keys = (*where, "files", index)
        document.require_id((*place, "id"), file.id)
        document.require_hex64((*place, "sha256"), "sha256", file.sha256)
        if not file.path:
            document.fail((*place, "path"), "path is empty", allowed="the path of a UTF-8 file")
        if file.id in (*suite.languages, *(other.id for other in suite.files[:index])):
            document.fail(
                (*place, "id"), f"text '{file.id}' is there twice", allowed="ids that differ"
            )


def _check_accuracy(document: Document, suite: AccuracySuite) -> None:
    where: Keys = ("suites", "accuracy")
    if suite.tasks or not suite.data:
        _check_list(document, (*where, "tasks"), suite.tasks)
    _check_list(document, (*where, "languages"), suite.languages)
    _check_list(document, (*where, "forms"), suite.forms)
    if suite.items < len(suite.forms):
        document.fail(
            (*where, "items"),
            f"{suite.items} item of each task cannot be shared among {len(suite.forms)} forms",
            allowed=f"at least {len(suite.forms)}, or one form",
        )
    document.require_range((*where, "verify"), suite.verify, 0, 1)
    if suite.commitment:
        document.require_hex64((*where, "commitment"), "commitment", suite.commitment)
    names: dict[str, int] = {}
    for index, entry in enumerate(suite.data):
        _check_data(document, (*where, "data", index), entry)
        if entry.id in names:
            document.fail(
                (*where, "data", index, "id"),
                f"data '{entry.id}' is defined twice",
                allowed="ids that differ",
            )
        names[entry.id] = index


def _check_data(document: Document, where: Keys, entry: HeldOut) -> None:
    document.require_id((*where, "id"), entry.id, what="id of data")
    language, _, task = entry.id.partition("-")
    if {entry.id, task if language in typing.get_args(Language) else ""} & set(_TASKS):
        document.fail(
            (*where, "id"),
            f"data '{entry.id}' would be taken for the generated task of that name",
            allowed=f"another id, such as 'my-{entry.id}'",
        )
    if Path(entry.path).suffix.lower() not in {".jsonl", ".yaml", ".yml"}:
        document.fail(
            (*where, "path"),
            f"data '{entry.path[:80]}' is of no known kind",
            allowed="a .jsonl file, or a .yaml task of lm-eval",
        )
    document.require_hex64((*where, "sha256"), f"sha256 of '{entry.path[:80]}'", entry.sha256)
    document.require_range((*where, "shots"), entry.shots, 0, _MOST_SHOTS)


def _check_memory(document: Document, memory: MemorySuite) -> None:
    _check_list(
        document, ("suites", "memory", "further_contexts"), memory.further_contexts or (2,), 2
    )
    for context in (memory.context, *memory.further_contexts):
        if context <= memory.output_tokens:
            document.fail(
                ("suites", "memory", "output_tokens"),
                f"{memory.output_tokens} output tokens leave no room for a prompt "
                f"in a context of {context}",
                allowed=f"at most {context - 1}",
            )
    if memory.context in memory.further_contexts:
        document.fail(
            ("suites", "memory", "further_contexts"),
            f"further_contexts has {memory.context}, which is the context that is scored",
            allowed="each value once",
        )


_MOST_SHOTS = 25
_TASKS = typing.get_args(TaskName)

NUMBERS: tuple[tuple[str, str, int, int], ...] = (
    ("latency", "prompt_tokens", 1, MOST_TOKENS),
    # Time per output token is defined between the first and the last one.
    ("latency", "output_tokens", 2, MOST_TOKENS),
    ("latency", "depths", 0, MOST_TOKENS),
    ("task", "prompts", 1, 24),
    ("task", "output_tokens", 2, MOST_TOKENS),
    ("kernel", "prompt_tokens", 0, MOST_TOKENS),
    ("kernel", "output_tokens", 0, MOST_TOKENS),
    ("kernel", "depths", 0, MOST_TOKENS),
    ("sustained", "duration_s", 1, 86_400),
    ("sustained", "prompt_tokens", 1, MOST_TOKENS),
    ("sustained", "output_tokens", 2, MOST_TOKENS),
    ("memory", "context", 2, MOST_TOKENS),
    ("memory", "output_tokens", 1, MOST_TOKENS),
    ("energy", "prompt_tokens", 1, MOST_TOKENS),
    ("energy", "output_tokens", 2, MOST_TOKENS),
    ("accuracy", "items", 1, 100_000),
    ("accuracy", "shots", 0, _MOST_SHOTS),
    ("accuracy", "context", 256, 131_072),
    ("accuracy", "budget_s", 0, 86_400),
    ("language", "tokens", 64, 1 << 16),
    ("language", "context", 64, MOST_TOKENS),
    # The divergence of every token is on record.
    ("fidelity", "tokens", 64, 4096),
    ("fidelity", "context", 64, MOST_TOKENS),
    ("fidelity", "kld_max", 0, 100),
    ("fidelity", "agreement_min", 0, 1),
)
"""Suite, field, and the range of its value or of every value in its list."""


def _suite_names(profile: Profile) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(profile.suites))


def _check_list(
    document: Document, where: Keys, values: Sequence[Any], least: int | None = None
) -> None:
    if not values:
        document.fail(where, f"{where[-1]} is an empty list", allowed="at least one value")
    for index, value in enumerate(values):
        if value in values[:index]:
            document.fail(
                (*where, index), f"{where[-1]} has {value} twice", allowed="each value once"
            )
        if least is not None:
            document.require_range((*where, index), value, least, MOST_TOKENS)


def _check_weights(document: Document, profile: Profile) -> None:
    for metric, weight in profile.weights.items():
        where: Keys = ("weights", metric)
        _check_metric(document, where, metric)
        if weight <= 0:
            document.fail(
                where,
                f"weight {weight:g} of '{metric}' is not positive",
                allowed="a number above 0; leave a metric out to ignore it",
                reason="weights_not_positive",
            )
        suite = suite_of(metric)
        _refuse_fidelity(document, where, metric)
        if metric == "accuracy_ratio":
            document.fail(
                where,
                "'accuracy_ratio' is for gates: of every metric the ratio is weighed anyway",
                allowed="accuracy",
            )
        if getattr(profile.suites, suite, None) is None:
            document.fail(
                where,
                f"'{metric}' has a weight, but the profile does not run the suite '{suite}'",
                allowed=f"metrics of the suites that are run, or suites with '{suite}'",
            )
    total = math.fsum(profile.weights.values())
    if abs(total - 1) > 1e-9:
        document.fail(
            ("weights",),
            f"the weights sum to {total:.10g}",
            allowed="a sum of 1",
            reason="weights_do_not_sum",
        )
    if fault := scoring_fault(profile.scoring, profile.weights, profile.gates):
        document.fail(("scoring",), fault, allowed=_SCORING[profile.scoring], reason="bad_scoring")


_SCORING = {
    "aimers": "weights such as {accuracy: 0.5, tpot_s: 0.5}",
    "gate": "weights of speed, and a gate {id: accuracy, metric: accuracy_ratio, limit: 0.99}",
}


def _refuse_fidelity(document: Document, where: Keys, metric: str) -> None:
    if suite_of(metric) == "fidelity":
        document.fail(
            where,
            f"'{metric}' is not for ranking: the suite 'fidelity' has gates of its own",
            allowed="kld_max and agreement_min of the suite",
        )


def _check_metric(document: Document, where: Keys, metric: str) -> None:
    if metric not in METRICS:
        document.fail(
            where,
            f"unknown metric '{metric}'{did_you_mean(metric, METRICS)}",
            allowed=listed(METRICS, most=len(METRICS)),
            reason="unknown_metric",
        )


def _check_gate(document: Document, where: Keys, gate: Gate, profile: Profile) -> None:
    document.require_id((*where, "id"), gate.id)
    if gate.metric in FACTS:
        _check_fact(document, where, gate)
        return
    if gate.metric not in METRICS:
        known = [*FACTS, *METRICS]
        document.fail(
            (*where, "metric"),
            f"unknown metric '{gate.metric}'{did_you_mean(gate.metric, known)}",
            allowed=f"{', '.join(FACTS)}, {listed(METRICS, most=len(METRICS))}",
            reason="unknown_metric",
        )
    _refuse_fidelity(document, (*where, "metric"), gate.metric)
    document.require_range((*where, "min_items"), gate.min_items, 0, MOST)
    cases = cases_of(profile)
    suite = suite_of(gate.metric)
    if not cases.get(suite):
        document.fail(
            (*where, "metric"),
            f"gate '{gate.id}' reads {gate.metric}, but the profile runs no {suite} suite",
            allowed="metrics of " + ", ".join(name for name, found in cases.items() if found),
        )
    names = [case.id for case in cases[suite]]
    if gate.case and gate.case not in names:
        document.fail(
            (*where, "case"),
            f"case '{gate.case}' is not one of the profile's{did_you_mean(gate.case, names)}",
            allowed=", ".join(names),
        )
    _check_limit(document, where, gate, profile)
    _check_items(document, where, gate, cases.get("accuracy", ()))


def _check_fact(document: Document, where: Keys, gate: Gate) -> None:
    """A fact holds or does not: nothing else can be asked of it."""
    given = {"limit": gate.limit is not None, "case": gate.case, "min_items": gate.min_items}
    for key, value in given.items():
        if value:
            document.fail(
                (*where, key),
                f"gate '{gate.id}' asks whether {gate.metric} holds: it has no {key}",
                allowed="id, metric, required",
                reason="impossible_gate",
            )


def _check_limit(document: Document, where: Keys, gate: Gate, profile: Profile) -> None:
    if gate.limit is None:
        if gate.metric != "peak_resident_bytes":
            document.fail(
                (*where, "limit"),
                f"gate '{gate.id}' has no limit",
                allowed="a number; null only for peak_resident_bytes (the device's budget)",
            )
        return
    if gate.limit <= 0:
        document.fail(
            (*where, "limit"),
            f"limit {gate.limit:g} of gate '{gate.id}' is not positive",
            allowed="a number above 0",
            reason="impossible_gate",
        )
    sustained = profile.suites.sustained
    if is_share(gate.metric):
        most = 1.0
    elif gate.metric == "sustained_above_90_s" and sustained:
        most = sustained.duration_s
    else:
        return
    if gate.limit > most:
        document.fail(
            (*where, "limit"),
            f"limit {gate.limit:g} of gate '{gate.id}' is more than {gate.metric} can be",
            allowed=f"above 0, at most {most:g}",
            reason="impossible_gate",
        )


def _check_items(document: Document, where: Keys, gate: Gate, cases: Sequence[Case]) -> None:
    """A gate that waits for more items than are asked would never be decided."""
    asked = sum(case.items for case in cases)
    # How many items a file holds shows only when it is read.
    if gate.min_items > asked and not any(case.data_sha256 for case in cases):
        document.fail(
            (*where, "min_items"),
            f"gate '{gate.id}' waits for {gate.min_items} items, but the profile asks {asked}",
            allowed=f"at most {asked}, or more items in the accuracy suite",
            reason="impossible_gate",
        )
