"""Results in the JSON of lm-evaluation-harness 0.4.13: its own, and ours translated.

`results_<date>.json` holds aggregates (`results` → task → `metric,filter`) with how they
came about, `samples_<task>_<date>.jsonl` one document and filter a line. Needs nothing
but the standard library, so that kept records can be exported anywhere.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.errors import RecordError

Json = dict[str, Any]

_LENGTHS = {"acc": None, "acc_norm": "chars", "acc_bytes": "bytes"}
"""Metrics of choices, and the length that log-likelihoods are divided by."""

_MARKS = {"strict-match": "strict", "flexible-extract": "correct"}
"""Filters of free answers as lm-eval names them, and our mark for each."""


def completed(
    results: Mapping[str, Any],
    *,
    model_source: str,
    model_name: str,
    chat_template: str | None,
    seconds: float,
) -> Json:
    """What `simple_evaluate` returns with what lm-eval's command adds when it writes files.

    Samples are put into the form of their files, in which every answer is a string.
    """
    done = dict(results)
    if "samples" in done:
        done["samples"] = {
            task: [_file_form(sample) for sample in samples]
            for task, samples in done["samples"].items()
        }
    return done | {
        "task_hashes": {name: _task_hash(s) for name, s in done.get("samples", {}).items()},
        "model_source": model_source,
        "model_name": model_name,
        "model_name_sanitized": _sanitised(model_name),
        "system_instruction": None,
        "system_instruction_sha": None,
        "fewshot_as_multiturn": True,
        "chat_template": chat_template,
        "chat_template_sha": _hash(chat_template) if chat_template else None,
        "total_evaluation_time_seconds": str(seconds),
    }


def save(results: Mapping[str, Any], folder: Path, when: datetime | None = None) -> list[Path]:
    """Write one model's results as lm-eval's command does, below `folder`.

    Args:
        results: what `evaluate` returns, or one entry of what `export` returns.

    Returns:
        The files: the aggregates first, then one a task where samples were kept.

    Raises:
        RecordError: the folder cannot be written.
    """
    date = (when or datetime.now(UTC)).replace(tzinfo=None).isoformat().replace(":", "-")
    home = folder / results["model_name_sanitized"]
    aggregates = {key: value for key, value in results.items() if key != "samples"}
    texts = {f"results_{date}.json": json.dumps(aggregates, indent=2, ensure_ascii=False)}
    for task, samples in results.get("samples", {}).items():
        lines = (json.dumps(sample, ensure_ascii=False) + "\n" for sample in samples)
        texts[f"samples_{_sanitised(task)}_{date}.jsonl"] = "".join(lines)
    try:
        home.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (home / name).write_text(text, "utf-8", newline="\n")
    except OSError as error:
        raise RecordError(
            f"cannot write results: {error.strerror}",
            where=str(error.filename or home),
            hint="name another folder with --output",
        ) from error
    return [home / name for name in texts]


def export(records: Iterable[Mapping[str, Any]]) -> dict[str, Json]:
    """Our own accuracy records of a run, as lm-eval would have written them.

    A case becomes one task a form: `<case>_choice` with `acc`, `acc_norm` (over Unicode
    characters) and `acc_bytes`, `<case>_free` with `exact_match` under the filters
    `strict-match` and `flexible-extract`. Standard errors are lm-eval's: the sample
    deviation over the root of n. Documents are `{case, index, template, level, chance,
    form}`. What records do not say is empty: whether an option was the greedy one, and all
    prompts with their hashes.

    Args:
        records: of one run, in the order of its journal; other records are passed over.

    Returns:
        By model: the content of `results.json`, and `samples` by task.
    """
    run: Mapping[str, Any] = {}
    engines: dict[str, Mapping[str, Any]] = {}
    jobs: dict[str, list[Mapping[str, Any]]] = {}
    items: dict[str, dict[tuple[str, str, int], Mapping[str, Any]]] = {}
    for record in records:
        model = record.get("model", "")
        match record["type"]:
            case "run":
                run = record
            case "engine":
                engines[model] = record
            case "job" if record.get("suite") == "accuracy":
                jobs.setdefault(model, []).append(record)
            case "sample" if record.get("kind") in {"item", "item_skipped"}:
                key = (record["case"], record["form"], record["index"])
                # Every process answers the same items: the first one counts.
                items.setdefault(model, {}).setdefault(key, record)
    return {
        model: _exported(
            model,
            found,
            run=run,
            engine=engines.get(model, {}),
            jobs=jobs.get(model, []),
        )
        for model, found in items.items()
    }


def _exported(
    model: str,
    items: Mapping[tuple[str, str, int], Mapping[str, Any]],
    *,
    run: Mapping[str, Any],
    engine: Mapping[str, Any],
    jobs: Sequence[Mapping[str, Any]],
) -> Json:
    tasks: dict[str, list[Mapping[str, Any]]] = {}
    for (case, form, _), record in sorted(items.items()):
        tasks.setdefault(f"{case}_{form}", []).append(record)
    samples = {
        task: [sample for record in found for sample in _samples(record)]
        for task, found in tasks.items()
    }
    version = next((job["suite_version"] for job in jobs if "suite_version" in job), None)
    suite = ((run.get("profile") or {}).get("suites") or {}).get("accuracy") or {}
    shots = suite.get("shots", 0)
    results = {
        "results": {task: _aggregates(task, samples[task]) for task in tasks},
        "group_subtasks": {},
        "configs": {
            task: _task_config(task, found, shots, version) for task, found in tasks.items()
        },
        "versions": dict.fromkeys(tasks, version),
        "n-shot": dict.fromkeys(tasks, shots),
        "higher_is_better": {
            task: dict.fromkeys(_metrics(found[0]["form"]), True) for task, found in tasks.items()
        },
        "n-samples": {
            task: {
                "original": len(found),
                "effective": sum(record["kind"] == "item" for record in found),
            }
            for task, found in tasks.items()
        },
        "samples": samples,
        "config": _config(model, run, engine),
        "git_hash": None,
        "date": _timestamp(run.get("started_utc")),
        "harness_version": run.get("harness", ""),
    }
    seconds = sum(float(job.get("wall_s", 0.0)) for job in jobs)
    return completed(
        results,
        model_source="sllm-harness",
        model_name=model,
        chat_template=None,
        seconds=seconds,
    )


# --- documents ----------------------------------------------------------------------


def _samples(record: Mapping[str, Any]) -> list[Json]:
    """Lines of one item: one for a choice, one a filter for a free answer, none if skipped."""
    if record["kind"] != "item":
        return []
    names = ("case", "index", "template", "level", "chance", "form")
    doc = {name: record[name] for name in names if name in record}
    choice = record["form"] == "choice"
    target = str(record["right"]) if choice else ""
    base = {
        "doc_id": record["index"],
        "doc": doc,
        "target": target,
        "arguments": [],
        "doc_hash": _hash(json.dumps(doc, indent=2, ensure_ascii=False)),
        "prompt_hash": "",
        "target_hash": _hash(target),
    }
    if choice:
        answers = [[value, None] for value in record["log_likelihoods"]]
        marks = {name: _chosen(record, length) for name, length in _LENGTHS.items()}
        return [
            base
            | {"resps": [[answer] for answer in answers], "filtered_resps": answers}
            | {"filter": "none", "metrics": list(marks), **marks}
        ]
    return [
        base
        | {"resps": [[record["output"]]], "filtered_resps": [record["output"]]}
        | {"filter": name, "metrics": ["exact_match"], "exact_match": float(record[mark])}
        for name, mark in _MARKS.items()
    ]


def _chosen(record: Mapping[str, Any], length: str | None) -> float:
    """Whether the best option is the right one, the first on ties."""
    values = record["log_likelihoods"]
    if length:
        values = [v / max(1, n) for v, n in zip(values, record[length], strict=True)]
    return float(values.index(max(values)) == record["right"])


def _file_form(sample: Mapping[str, Any]) -> Json:
    """Arguments as named fields and answers as strings, as lm-eval writes them."""
    arguments = {
        f"gen_args_{i}": {f"arg_{j}": value for j, value in enumerate(given)}
        for i, given in enumerate(sample["arguments"])
    }
    return dict(sample) | {
        "arguments": arguments,
        "resps": _strings(sample["resps"]),
        "filtered_resps": _strings(sample["filtered_resps"]),
        "target": str(sample["target"]),
    }


def _strings(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_strings(item) for item in value]
    return str(value)


# --- aggregates ---------------------------------------------------------------------


def _aggregates(task: str, samples: Sequence[Mapping[str, Any]]) -> Json:
    """`metric,filter` and `metric_stderr,filter` of a task."""
    values: dict[tuple[str, str], list[float]] = {}
    for sample in samples:
        for metric in sample["metrics"]:
            values.setdefault((metric, sample["filter"]), []).append(sample[metric])
    out: Json = {
        "name": task,
        "alias": task,
        "sample_len": max(map(len, values.values()), default=0),
    }
    for (metric, name), found in values.items():
        mean = math.fsum(found) / len(found)
        out[f"{metric},{name}"] = mean
        out[f"{metric}_stderr,{name}"] = _standard_error(found, mean)
    return out


def _standard_error(values: Sequence[float], mean: float) -> float | str:
    if len(values) < 2:
        return "N/A"
    squares = math.fsum((value - mean) ** 2 for value in values)
    return math.sqrt(squares / (len(values) - 1) / len(values))


def _metrics(form: str) -> list[str]:
    return list(_LENGTHS) if form == "choice" else ["exact_match"]


def _task_config(
    task: str, records: Sequence[Mapping[str, Any]], shots: int, version: object
) -> Json:
    form = records[0]["form"]
    return {
        "task": task,
        "output_type": "multiple_choice" if form == "choice" else "generate_until",
        "num_fewshot": shots,
        "metric_list": [
            {"metric": name, "aggregation": "mean", "higher_is_better": True}
            for name in _metrics(form)
        ],
        "metadata": {"version": version},
    }


def _config(model: str, run: Mapping[str, Any], engine: Mapping[str, Any]) -> Json:
    """How the model was run; fields of lm-eval that mean nothing here are null."""
    entry: Mapping[str, Any] = next(
        (found for found in run.get("models", []) if found.get("id") == model), {}
    )
    facts = engine.get("facts", {})
    costs = entry.get("weights", {})
    parameters = costs.get("body_parameters", 0) + costs.get("head_parameters", 0)
    empty = ("use_cache", "limit", "gen_kwargs", "random_seed", "numpy_seed", "torch_seed")
    return {
        "model": "sllm-harness",
        "model_args": {
            "pretrained": model,
            "backend": facts.get("engine", ""),
            "threads": facts.get("threads", ""),
            "context": facts.get("context_allocated", ""),
        },
        "model_num_parameters": parameters or -1,
        "model_dtype": entry.get("quantisation", ""),
        "model_revision": (entry.get("source") or {}).get("revision") or "main",
        "model_sha": "",
        "model_sha256": entry.get("sha256", {}),
        "engine": facts,
        "batch_size": 1,
        "batch_sizes": [],
        "device": "cpu",
        "bootstrap_iters": 0,
        **dict.fromkeys((*empty, "fewshot_seed")),
    }


def _timestamp(text: str | None) -> float | None:
    """Seconds since 1970 of an ISO time."""
    return datetime.fromisoformat(text).timestamp() if text else None


def _task_hash(samples: Sequence[Mapping[str, Any]]) -> str:
    hashes = ("doc_hash", "prompt_hash", "target_hash")
    return _hash("".join(sample[name] for sample in samples for name in hashes))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _sanitised(name: str) -> str:
    """A file name, as lm-eval makes it of a model's."""
    return re.sub(r'["<>:/|\\?*\[\]]+', "__", name)
