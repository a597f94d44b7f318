"""Models, devices, profiles and backend options, as frozen values.

Standard library only: the measured child reads jobs made of these. YAML and its
errors live in `specfile`, which only the parent imports.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from harness.specgate import Gate, Scoring
from harness.spectext import FidelitySuite, LanguageSuite, TextFile

Format = Literal["gguf", "onnx", "safetensors", "fake"]
SourceKind = Literal["embedded", "file", "folder", "hub", "synthetic"]
Grouping = Literal["suite", "case"]
TaskName = Literal[
    "arith",
    "calendar",
    "josa",
    "honorific",
    "ifeval",
    "extract",
    "tools",
    "longctx",
    "logic",
    "table",
    "pairs",
]
ChatTemplate = Literal["own", "plain", "canonical"]
Form = Literal["choice", "free"]
ChoiceForm = Literal["cloze", "letter"]
Power = Literal["ac", "battery", "any"]
Tier = Literal["verified", "unverified", "ci", "synthetic"]
Language = Literal["ko", "en"]

MODEL_ID = re.compile(r"[a-z0-9][a-z0-9._-]*")
DEFAULT_BACKEND: Mapping[str, str] = {
    "gguf": "llama_cpp",
    "onnx": "onnxruntime",
    "safetensors": "transformers",
    "fake": "fake",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where an artefact comes from.

    Attributes:
        path: file or folder, relative to the models file (`file`, `folder`).
        repo, revision, files: repository, 40-hex commit and names (`hub`).
        shape, seed: of random weights (`synthetic`).
        sha256: expected hash a file name, checked before use where given.
    """

    kind: SourceKind
    path: str = ""
    repo: str = ""
    revision: str = ""
    files: tuple[str, ...] = ()
    shape: str = ""
    seed: int = 0
    sha256: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendOptions:
    """Settings that change what is measured; they are part of a job's identity.

    Attributes:
        threads: worker threads for decode; 0 lets the plan pin the performance cores that
            this process may use.
        threads_prefill: worker threads for prefill; 0 = as many as for decode.
        context: tokens of key–value cache to allocate; 0 lets the plan pick the
            smallest power of two that holds the job's longest case.
        mmap: map weights from the file instead of copying them; off in official
            runs because mapped pages are not charged to the process alone.
        flash_attention: llama.cpp's fused attention.
        kv_type: number type of the key–value cache (llama.cpp; the others have their own).
        batch_tokens: tokens given to the engine in one call while prefilling.
        sequences: branches of one prefix that may be evaluated in one call (llama.cpp;
            only scoring asks for more than 1).
    """

    threads: int = 0
    threads_prefill: int = 0
    context: int = 0
    mmap: bool = False
    flash_attention: bool = True
    kv_type: Literal["f16", "f32"] = "f16"
    batch_tokens: int = 512
    sequences: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One artefact: the very file that is timed is the one whose accuracy is scored.

    Attributes:
        family: name shared by the artefacts of one network.
        context: longest context that the network declares, in tokens; 0 = unknown.
        licence: SPDX id or the licence's own name; empty = not declared.
        commercial: False where the licence forbids commercial use; None = unknown.
        chat_template: `own` renders chat prompts by the template in the model's files;
            `plain` gives it the text, a line break and `A:` (networks trained without one);
            `canonical` renders them by the suite's template, `models/canonical.jinja`.
        tuned: its thread counts were chosen by measuring. Such an entry, or one whose
            options name a count, is never ranked beside one with default settings.
        synthetic: random weights in the shape of a real network, which know nothing: speed
            and memory are measured, and no suite that asks what it knows.
    """

    id: str
    family: str
    format: Format
    quantisation: str
    source: Source
    backend: str = ""
    licence: str = ""
    commercial: bool | None = None
    context: int = 0
    chat_template: ChatTemplate = "own"
    tuned: bool = False
    synthetic: bool = False
    options: BackendOptions = field(default_factory=BackendOptions)
    note: str = ""

    @property
    def backend_name(self) -> str:
        """The backend that runs this format unless the entry names another."""
        return self.backend or DEFAULT_BACKEND[self.format]


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A declared target laptop. `None` means that the fact is not known.

    Attributes:
        memory_bytes: installed RAM. memory_budget_bytes: what one model may take
            of it (weights, key–value cache and runtime).
        power: power source that a valid run needs.
        power_mode: power mode that a valid run needs, as `harness doctor` shows it.
    """

    id: str
    name: str
    device_class: str = ""
    cpu: str | None = None
    physical_cores: int | None = None
    memory_bytes: int | None = None
    memory_budget_bytes: int | None = None
    npu: str | None = None
    power: Power = "any"
    power_mode: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """How often and in which order.

    Attributes:
        processes: fresh worker processes a suite (k), keyed by suite.
        processes_max: more of them, until `precision` is reached or `budget_s` is spent;
            a suite that is not named keeps to `processes`.
        precision: half-width of the 95 % interval, relative, at which repeating ends.
        budget_s: wall time that one model may take before repeating ends; 0 = no limit.
        cool_down_max_s: longest wait before a job for the processor to cool down to
            3 degrees above its temperature at the start; 0 = never wait.
        requests: timed requests a case in one process (n).
        warmup_max: most untimed full-shape requests before a case; warming ends
            once the coefficient of variation of the last three is below 5 %.
        grouping: `suite` runs all cases of a suite in one process, `case` one each.
        job_timeout_s: wall time after which a worker is killed.
    """

    processes: Mapping[str, int]
    requests: int
    warmup_max: int
    grouping: Grouping
    job_timeout_s: float
    processes_max: Mapping[str, int] = field(default_factory=dict)
    precision: float = 0.03
    budget_s: float = 0.0
    cool_down_max_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySuite:
    """Fixed workload: every prompt length with every output length, EOS ignored.

    Attributes:
        depths: tokens that are in the cache before the prompt; only 0 is scored, the
            rest of the sweep is shown.
    """

    prompt_tokens: tuple[int, ...]
    output_tokens: tuple[int, ...]
    depths: tuple[int, ...] = (0,)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSuite:
    """Chat prompts of real text, rendered by the model's own template, EOS honoured.

    Attributes:
        prompts: how many of each language. output_tokens: most tokens of an answer.
    """

    languages: tuple[Language, ...]
    prompts: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelSuite:
    """Prompt processing and token generation apart, as llama-bench has them."""

    prompt_tokens: int
    output_tokens: int
    depths: tuple[int, ...] = (0,)


@dataclass(frozen=True, slots=True, kw_only=True)
class SustainedSuite:
    """Requests of one shape back to back for at least `duration_s`."""

    duration_s: float
    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergySuite:
    """The fixed workload's requests, with the energy that the machine takes for them."""

    prompt_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySuite:
    """One request that fills the context; peaks are read a phase.

    Attributes:
        context: tokens of the case that is scored.
        further_contexts: shown only; with `context` they tell what a token costs.
        output_tokens: of every request; the prompt takes the rest of the context.
        mapped: measure `context` also with the weights mapped from their file (shown only).
    """

    context: int
    output_tokens: int
    further_contexts: tuple[int, ...] = ()
    mapped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """An evaluator's own items: a JSONL file, or a YAML task of lm-evaluation-harness.

    Attributes:
        path: relative to the profile's file. sha256: of its bytes; another file is refused.
        choices: `letter` lists the choices in the question and compares their letters,
            `cloze` compares the choices themselves.
        shots: solved items before each question, the first of the file, which are not asked.
        licence: SPDX id or own name; texts of ND or NC items are never printed.
        form, language, items: what the file holds; filled in when it is read.
    """

    id: str
    path: str
    sha256: str
    choices: ChoiceForm = "cloze"
    shots: int = 0
    licence: str = ""
    form: Form = "choice"
    language: Language = "ko"
    items: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AccuracySuite:
    """Generated tasks, and an evaluator's own data.

    Attributes:
        items: of each task and language, shared evenly among the forms.
        shots: solved items before each question, the same for all of a case.
        context: tokens of cache for every model; what does not fit is skipped and counted.
        verify: share of choice items that are scored again by one full forward an option.
        commitment: sha256 in hex that a secret seed has to match; empty = the public seed.
            The seed itself comes on the command line and is never written down.
        budget_s: time for the items of one model; which cases they are taken from is decided
            by the first, largest one, and `items` is then the most of a case. 0 = all items.
    """

    tasks: tuple[TaskName, ...]
    languages: tuple[Language, ...]
    items: int
    forms: tuple[Form, ...] = ("choice", "free")
    shots: int = 0
    context: int = 2048
    verify: float = 0.0
    commitment: str = ""
    budget_s: float = 0.0
    data: tuple[HeldOut, ...] = ()


SUITE_TYPES: Mapping[str, type[Any]] = {
    "latency": LatencySuite,
    "task": TaskSuite,
    "kernel": KernelSuite,
    "sustained": SustainedSuite,
    "memory": MemorySuite,
    "energy": EnergySuite,
    "accuracy": AccuracySuite,
    "language": LanguageSuite,
    "fidelity": FidelitySuite,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Suites:
    """What a profile runs; an absent suite is not run."""

    latency: LatencySuite | None = None
    task: TaskSuite | None = None
    kernel: KernelSuite | None = None
    sustained: SustainedSuite | None = None
    memory: MemorySuite | None = None
    energy: EnergySuite | None = None
    accuracy: AccuracySuite | None = None
    language: LanguageSuite | None = None
    fidelity: FidelitySuite | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What is run and how it is judged. Weights and gates are this project's proposal.

    Attributes:
        scoring: the formula that makes a score of ratios and weights.
        fixed_family: the network that a challenge prescribes: artefacts of this family
            compete in the division `fixed-model`, all others in `open`; empty = one division.
        reference: model that ratios are taken to; a run always measures it.
        fallback_references: taken in turn where the engine of the one before is not
            installed; the profile's hash then differs, so such runs never compare.
        tolerates_unknown: sensors that cannot be read, and all other findings on the
            machine, are warnings; the scorecard then is never `verified`.
        tolerates: codes of findings that a strict profile forgives all the same.
        chat_template: `canonical` shows every model the suite's template instead of its own.
    """

    id: str
    version: int
    title: str
    reference: str
    tier: Tier
    protocol: Protocol
    suites: Suites
    weights: Mapping[str, float]
    scoring: Scoring = "geometric"
    fixed_family: str = ""
    fallback_references: tuple[str, ...] = ()
    gates: tuple[Gate, ...] = ()
    tolerates_unknown: bool = True
    tolerates: tuple[str, ...] = ()
    chat_template: Literal["own", "canonical"] = "own"
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalogue:
    """A models file: entries by id, and named sets of ids."""

    path: str
    models: Mapping[str, Model]
    sets: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """A model whose files are present and hashed.

    Attributes:
        path: what the backend opens: a GGUF file, an ONNX graph or a safetensors folder.
        sha256: hash a file, by path relative to `path`'s folder.
        size_bytes: all files together.
        weights: what one token costs, by `models.token_cost`: `read_bytes` of weights,
            `body_parameters` of all matrices but the head, `head_parameters`, `kv_bytes`
            of the key-value cache; what the file does not say is absent.
        template_sha256: hash of the chat template's text; empty = none.
        preflight: `passed` where the files kept the rules of docs/preflight.md.
    """

    model: Model
    path: str
    sha256: Mapping[str, str]
    size_bytes: int
    weights: Mapping[str, int] = field(default_factory=dict)
    template_sha256: str = ""
    preflight: str = ""


_PLAIN = frozenset({str, int, float, bool, type(None)})


def to_json(value: Any) -> Any:
    """Plain JSON data of a spec value (dataclasses become objects, tuples arrays)."""
    if type(value) in _PLAIN:
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    return value


def profile_from_json(data: Mapping[str, Any]) -> Profile:
    """The profile that `to_json` wrote.

    Raises:
        KeyError, TypeError, AttributeError: it is none.
    """
    fields = dict(data)
    fields["protocol"] = Protocol(**fields["protocol"])
    suites: dict[str, dict[str, Any]] = {
        name: dict(found) for name, found in fields["suites"].items() if found
    }
    if accuracy := suites.get("accuracy"):
        accuracy.pop("seed", None)  # what runs before 2026-12 wrote: the public seed
        accuracy["data"] = [HeldOut(**entry) for entry in accuracy.get("data", ())]
    fields["suites"] = Suites(
        **{
            name: SUITE_TYPES[name](**{key: _part(key, item) for key, item in found.items()})
            for name, found in suites.items()
        }
    )
    fields["gates"] = tuple(Gate(**gate) for gate in fields["gates"])
    return Profile(**{name: _frozen(value) for name, value in fields.items()})


def _part(key: str, value: Any) -> Any:
    if key == "files":
        return tuple(TextFile(**found) for found in value)
    return _frozen(value)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def canonical(value: Any) -> bytes:
    """One byte string a value: sorted keys, no spaces, no NaN. What hashes are taken of."""
    return canonical_json(to_json(value))


def canonical_json(plain: Any) -> bytes:
    """As `canonical`, of what is plain JSON data already."""
    return json.dumps(
        plain, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def sha256(data: bytes) -> str:
    """Hash of bytes, in hex."""
    # Not at the top: hashlib maps OpenSSL, 3.6 MiB that a bare worker does not need.
    import hashlib

    return hashlib.sha256(data).hexdigest()


def digest(value: Any) -> str:
    """sha256 of the canonical form, in hex."""
    return sha256(canonical(value))


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
