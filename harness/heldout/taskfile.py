"""A strict subset of lm-evaluation-harness's task YAML: what is asked, from which files.

Local JSONL, Jinja strings and the first n lines as shots. Whatever would run code, fetch
data or change answers after they were written is refused at its line, with the reason:
nothing is ignored that would change a number there.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

from harness.errors import did_you_mean
from harness.heldout.items import FREE_TOKENS
from harness.heldout.marking import CHECKERS
from harness.spec import HeldOut
from harness.specyaml import Document, Keys, listed

MAX_SHOTS: Final = 25
_CODE: Final = "a task file runs no code; a Jinja string does it, such as {}"
_CHOICE: Final = 'doc_to_choice: "{{choices}}", or a list of texts'
_TEXT: Final = 'doc_to_text: "{{question}}\\nAnswer:"'

_REFUSED: Final[Mapping[str, tuple[str, str]]] = {
    "include": (
        "one file, one hash: what it includes could change unseen",
        "its keys, written out here",
    ),
    "process_docs": ("a task file runs no code", "data that needs no preparation"),
    "process_results": ("a task file runs no code", "metadata: {checker: number}"),
    "custom_dataset": ("a task file runs no code", "dataset_kwargs: {data_files: items.jsonl}"),
    "class": ("a task file runs no code", "output_type: multiple_choice or generate_until"),
    "filter_list": (
        "filters change answers after they were written, before anybody marks them",
        "metadata: {checker: number}, one of " + ", ".join(CHECKERS),
    ),
    "repeats": ("answers are greedy: repeated ones are the same", "one answer an item"),
    "use_prompt": ("prompts are not fetched", _TEXT),
    "gen_prefix": ("what a model is made to begin with belongs to doc_to_text", _TEXT),
    "should_decontaminate": ("it reads a training corpus that is not here", "leave it out"),
    "doc_to_decontamination_query": ("it serves should_decontaminate", "leave it out"),
    "doc_to_image": ("only text is measured", "leave it out"),
    "doc_to_audio": ("only text is measured", "leave it out"),
    "unsafe_code": ("a task file runs no code", "leave it out"),
    "dataset_name": (
        "a part of a data set on a hub; the data lies in a local file",
        "leave it out",
    ),
    "group": ("a group is several tasks; each task is an entry of its own", "task: my_task"),
    "template_aliases": ("it is an old spelling", _TEXT),
}
"""Keys of lm-evaluation-harness that are not taken: why, and what is right."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DataFiles:
    """`dataset_kwargs`: file by split."""

    data_files: Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FewshotConfig:
    """How shots are chosen: the first n lines."""

    sampler: Literal["first_n"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """How free answers end."""

    until: tuple[str, ...] = ()
    max_gen_toks: int = FREE_TOKENS
    do_sample: bool = False
    temperature: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MetricEntry:
    """A metric that this harness reports anyway.

    Attributes:
        ignore_case, ignore_punctuation: of `exact_match`, which is our checker `exact`: its
            loose mark ignores both, whatever is said here.
    """

    metric: Literal["acc", "acc_norm", "exact_match"]
    aggregation: Literal["mean"] = "mean"
    higher_is_better: bool = True
    ignore_case: bool = False
    ignore_punctuation: bool = False


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What lm-evaluation-harness carries along unread.

    Attributes:
        sha256: of each data file, by the name given in `data_files`.
        checker: how free answers are marked.
    """

    sha256: Mapping[str, str]
    version: Any = None
    checker: Literal["exact", "number", "contains", "letter"] = "exact"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TaskFile:
    """One task. Field names are lm-evaluation-harness's.

    Attributes:
        doc_to_choice: a Jinja string or field, or the choices themselves.
        doc_to_target: a Jinja string, field, or the number of the right choice.
    """

    task: str
    dataset_path: Literal["json"]
    dataset_kwargs: DataFiles
    doc_to_text: str
    doc_to_target: Any
    metadata: Metadata
    output_type: Literal["multiple_choice", "generate_until"] = "generate_until"
    doc_to_choice: Any = None
    description: str = ""
    num_fewshot: int = 0
    fewshot_config: FewshotConfig | None = None
    training_split: str = ""
    validation_split: str = ""
    test_split: str = ""
    fewshot_split: str = ""
    target_delimiter: str = " "
    fewshot_delimiter: str = "\n\n"
    generation_kwargs: Generation | None = None
    metric_list: tuple[MetricEntry, ...] = ()
    task_alias: str = ""
    tag: Any = None

    @property
    def splits(self) -> tuple[str, str]:
        """Files that items and shots come from, as lm-evaluation-harness picks them."""
        files = self.dataset_kwargs.data_files
        if len(set(files.values())) == 1:
            only = next(iter(files.values()))
            return only, only
        asked = self.test_split or self.validation_split
        shots = self.fewshot_split or self.training_split or self.validation_split or asked
        return files[asked], files[shots]


def read(raw: bytes, path: Path, entry: HeldOut) -> tuple[TaskFile, Document]:
    """The task of a file's bytes.

    Raises:
        SpecError: with `file:line` of what is wrong or not taken.
    """
    document = Document(path, hint=f"harness accuracy check {path}", plain=_CODE.format(_TEXT))
    document.parse(raw)
    for key, (why, right) in _REFUSED.items():
        if key in document.data and document.data[key] is not None:
            document.fail((key,), f"'{key}' is not taken: {why}", allowed=right)
        document.data.pop(key, None)
    _refuse_remote(document)
    _expand(document)
    task = document.validate(TaskFile)
    _check(document, task, entry)
    return task, document


def _refuse_remote(document: Document) -> None:
    """A data set of a hub is not in this file's hash, and would need the network."""
    example = "dataset_path: json, and dataset_kwargs: {data_files: items.jsonl}"
    given = document.data.get("dataset_path", "json")
    if given != "json":
        document.fail(
            ("dataset_path",),
            f"data set {str(given)[:80]!r} is not a local JSONL file; nothing is fetched",
            allowed=example,
        )
    if "dataset_path" not in document.data:
        document.fail((), "key 'dataset_path' is missing", allowed=example)


def _expand(document: Document) -> None:
    """Short forms, written out: one data file, one hash, one stop text."""
    data = document.data
    kwargs = data.get("dataset_kwargs")
    if isinstance(kwargs, dict) and isinstance(kwargs.get("data_files"), str):
        kwargs["data_files"] = {"train": kwargs["data_files"]}
    metadata = data.setdefault("metadata", {})
    if isinstance(metadata, dict):
        found = metadata.setdefault("sha256", {})
        files = kwargs.get("data_files") if isinstance(kwargs, dict) else None
        if isinstance(found, str) and isinstance(files, dict):
            metadata["sha256"] = {str(name): found for name in files.values()}
    generation = data.get("generation_kwargs")
    if isinstance(generation, dict) and isinstance(generation.get("until"), str):
        generation["until"] = [generation["until"]]


def _check(document: Document, task: TaskFile, entry: HeldOut) -> None:
    document.require_range(("num_fewshot",), task.num_fewshot, 0, MAX_SHOTS)
    if task.num_fewshot and task.fewshot_config is None:
        document.fail(
            ("num_fewshot",),
            "shots would be drawn anew for every item, and could not be shared",
            allowed="fewshot_config: {sampler: first_n}",
        )
    if re.search(r"\{\{|\{%|\{#", task.description):
        document.fail(
            ("description",),
            "the description depends on the line, so that it cannot be shared",
            allowed="plain text",
        )
    if not task.fewshot_delimiter:
        document.fail(("fewshot_delimiter",), "fewshot_delimiter is empty", allowed='"\\n\\n"')
    _check_files(document, task)
    _check_form(document, task)
    if entry.choices == "letter":
        document.fail(
            ("doc_to_choice",) if task.doc_to_choice else (),
            f"the profile wants letters of '{entry.id}', but a task says itself what is compared",
            allowed="no `choices` in the profile; letters in doc_to_choice where they are meant",
        )
    if entry.shots not in {0, task.num_fewshot}:
        document.fail(
            ("num_fewshot",),
            f"num_fewshot is {task.num_fewshot}, the profile has {entry.shots} shots",
            allowed="the same number in both, or none in the profile",
        )


def _check_files(document: Document, task: TaskFile) -> None:
    where: Keys = ("dataset_kwargs", "data_files")
    files = task.dataset_kwargs.data_files
    if not files:
        document.fail(where, "data_files names no file", allowed="data_files: items.jsonl")
    for split, name in files.items():
        if "://" in name or "*" in name or Path(name).suffix.lower() != ".jsonl":
            document.fail(
                (*where, split),
                f"data file '{name[:80]}' is not one local JSONL file; nothing is fetched",
                allowed="a .jsonl file, relative to this one",
            )
    several = len(set(files.values())) > 1
    for key in ("training_split", "validation_split", "test_split", "fewshot_split"):
        split = getattr(task, key)
        if several and split and split not in files:
            document.fail(
                (key,),
                f"{key} is '{split}', which data_files does not name{did_you_mean(split, files)}",
                allowed=listed(files),
            )
    if several and not (task.test_split or task.validation_split):
        document.fail(
            where,
            "there are several data files, and nothing says which one is asked",
            allowed=f"test_split: {next(iter(files))}",
        )


def _check_form(document: Document, task: TaskFile) -> None:
    """Nothing of the other kind of output, and texts where texts are needed."""
    choice = task.output_type == "multiple_choice"
    given = task.doc_to_choice
    if choice and given is None:
        document.fail((), "key 'doc_to_choice' is missing", allowed=_CHOICE)
    if not choice and given is not None:
        document.fail(
            ("doc_to_choice",),
            "doc_to_choice belongs to multiple_choice",
            allowed="output_type: multiple_choice",
        )
    if not isinstance(given, str | list | dict | None):
        document.fail(("doc_to_choice",), "doc_to_choice is no list of texts", allowed=_CHOICE)
    target = task.doc_to_target
    if isinstance(target, bool) or not isinstance(target, str | int):
        document.fail(
            ("doc_to_target",),
            "doc_to_target is neither a Jinja string, a field nor a number",
            allowed='doc_to_target: "{{answer}}"',
        )
    if task.generation_kwargs:
        _check_generation(document, task.generation_kwargs, choice=choice)


def _check_generation(document: Document, generation: Generation, *, choice: bool) -> None:
    where: Keys = ("generation_kwargs",)
    if choice:
        document.fail(
            where,
            "generation_kwargs belong to generate_until",
            allowed="output_type: generate_until",
        )
    document.require_range((*where, "max_gen_toks"), generation.max_gen_toks, 1, 8192)
    if generation.do_sample or generation.temperature:
        document.fail(
            (*where, "do_sample" if generation.do_sample else "temperature"),
            "answers are greedy, or they could not be repeated",
            allowed="do_sample: false and temperature: 0",
        )
    if not all(generation.until):
        document.fail((*where, "until"), "until holds an empty text", allowed='until: ["\\n"]')
