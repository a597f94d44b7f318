"""Our own records in the files of lm-evaluation-harness."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from harness.errors import RecordError
from harness.interop.lm_eval_files import export, save

Record = dict[str, Any]


def choice(index: int, values: list[float], right: int, **fields: Any) -> Record:
    return {
        "type": "sample",
        "model": "a.f16.gguf",
        "suite": "accuracy",
        "case": "ko-josa",
        "kind": "item",
        "form": "choice",
        "index": index,
        "template": "topic",
        "level": 1,
        "chance": 0.5,
        "correct": values.index(max(values)) == right,
        "answered": True,
        "right": right,
        "log_likelihoods": values,
        "tokens": [1] * len(values),
        "chars": [1, 4],
        "bytes": [3, 6],
        "margin": 1.0,
        **fields,
    }


def free(index: int, *, strict: bool, correct: bool, **fields: Any) -> Record:
    return {
        **choice(index, [0.0], 0),
        "form": "free",
        "case": "en-arith",
        "strict": strict,
        "correct": correct,
        "credit": float(correct),
        "truncated": False,
        "output": " 7",
        **fields,
    }


RECORDS: list[Record] = [
    {
        "type": "run",
        "harness": "0.1.0",
        "started_utc": "2026-11-26T01:02:03+00:00",
        "profile": {"suites": {"accuracy": {"shots": 2}}},
        "models": [
            {
                "id": "a.f16.gguf",
                "quantisation": "f16",
                "source": {"revision": ""},
                "sha256": {"a.gguf": "1" * 64},
                "weights": {"body_parameters": 10, "head_parameters": 5},
            }
        ],
    },
    {"type": "engine", "model": "a.f16.gguf", "facts": {"engine": "llama.cpp", "threads": "2"}},
    {"type": "job", "model": "a.f16.gguf", "suite": "accuracy", "suite_version": 3, "wall_s": 1.5},
    {"type": "job", "model": "a.f16.gguf", "suite": "latency", "suite_version": 9, "wall_s": 9.0},
    {"type": "telemetry", "model": "a.f16.gguf"},
    choice(0, [-1.0, -2.0], 0),
    choice(1, [-1.0, -2.0], 1),
    choice(2, [-3.0, -5.0], 0),
    choice(2, [-9.0, -5.0], 0, process=1),
    {**choice(3, [0.0], 0), "kind": "item_skipped", "reason": "context_exceeded"},
    free(0, strict=True, correct=True),
    free(1, strict=False, correct=True),
    {**choice(0, [-1.0, -2.0], 0), "model": "b.f16.gguf"},
]


def test_choices_and_free_answers_become_tasks() -> None:
    found = export(RECORDS)
    assert set(found) == {"a.f16.gguf", "b.f16.gguf"}
    results = found["a.f16.gguf"]["results"]
    assert set(results) == {"ko-josa_choice", "en-arith_free"}
    assert results["ko-josa_choice"] == {
        "name": "ko-josa_choice",
        "alias": "ko-josa_choice",
        "sample_len": 3,
        "acc,none": pytest.approx(2 / 3),
        "acc_stderr,none": pytest.approx(1 / 3),
        # Over 1 and 4 characters: -1 against -0.5, twice, and -3 against -1.25.
        "acc_norm,none": pytest.approx(1 / 3),
        "acc_norm_stderr,none": pytest.approx(1 / 3),
        # Over 3 and 6 bytes: equal, so the first one, twice; -1 against -0.83.
        "acc_bytes,none": pytest.approx(1 / 3),
        "acc_bytes_stderr,none": pytest.approx(1 / 3),
    }
    assert results["en-arith_free"] == {
        "name": "en-arith_free",
        "alias": "en-arith_free",
        "sample_len": 2,
        "exact_match,strict-match": 0.5,
        "exact_match_stderr,strict-match": pytest.approx(0.5),
        "exact_match,flexible-extract": 1.0,
        "exact_match_stderr,flexible-extract": 0.0,
    }
    assert found["b.f16.gguf"]["results"]["ko-josa_choice"]["acc_stderr,none"] == "N/A"


def test_what_was_run_stands_beside() -> None:
    found = export(RECORDS)["a.f16.gguf"]
    assert found["n-samples"]["ko-josa_choice"] == {"original": 4, "effective": 3}
    assert found["n-shot"] == {"en-arith_free": 2, "ko-josa_choice": 2}
    assert found["versions"] == {"en-arith_free": 3, "ko-josa_choice": 3}
    assert found["higher_is_better"]["en-arith_free"] == {"exact_match": True}
    assert found["configs"]["ko-josa_choice"]["output_type"] == "multiple_choice"
    assert found["configs"]["en-arith_free"]["output_type"] == "generate_until"
    assert found["date"] == datetime(2026, 11, 26, 1, 2, 3, tzinfo=UTC).timestamp()
    assert found["total_evaluation_time_seconds"] == "1.5"
    config = found["config"]
    assert config["model_num_parameters"] == 15
    assert config["model_dtype"] == "f16"
    assert config["engine"]["engine"] == config["model_args"]["backend"] == "llama.cpp"
    assert config["model_args"]["pretrained"] == found["model_name"] == "a.f16.gguf"


def test_samples_hold_what_records_say() -> None:
    samples = export(RECORDS)["a.f16.gguf"]["samples"]
    first = samples["ko-josa_choice"][0]
    doc = {
        "case": "ko-josa",
        "index": 0,
        "template": "topic",
        "level": 1,
        "chance": 0.5,
        "form": "choice",
    }
    assert first["doc"] == doc
    assert first["resps"] == [[["-1.0", "None"]], [["-2.0", "None"]]]
    assert first["filtered_resps"] == [["-1.0", "None"], ["-2.0", "None"]]
    assert (first["target"], first["filter"], first["acc"], first["acc_norm"]) == (
        "0",
        "none",
        1,
        0,
    )
    assert first["metrics"] == ["acc", "acc_norm", "acc_bytes"]
    text = json.dumps(doc, indent=2, ensure_ascii=False)
    assert first["doc_hash"] == hashlib.sha256(text.encode()).hexdigest()
    assert first["arguments"] == {}
    assert first["prompt_hash"] == ""
    strict, loose = samples["en-arith_free"][2:]
    assert (strict["filter"], strict["exact_match"]) == ("strict-match", 0.0)
    assert (loose["filter"], loose["exact_match"]) == ("flexible-extract", 1.0)
    assert strict["resps"] == [[" 7"]]
    assert strict["filtered_resps"] == [" 7"]


def test_a_run_without_accuracy_exports_nothing() -> None:
    assert export([record for record in RECORDS if record["type"] != "sample"]) == {}
    assert export([]) == {}


def test_records_alone_are_enough() -> None:
    (found,) = export([choice(0, [-1.0, -2.0], 0)]).values()
    assert found["results"]["ko-josa_choice"]["acc,none"] == 1.0
    assert found["date"] is None


def test_files_carry_the_date_and_no_samples_twice(tmp_path: Path) -> None:
    found = export(RECORDS)["a.f16.gguf"]
    when = datetime(2026, 11, 26, 1, 2, 3, 4, tzinfo=UTC)
    files = save(found, tmp_path, when)
    assert [file.relative_to(tmp_path).as_posix() for file in files] == [
        "a.f16.gguf/results_2026-11-26T01-02-03.000004.json",
        "a.f16.gguf/samples_en-arith_free_2026-11-26T01-02-03.000004.jsonl",
        "a.f16.gguf/samples_ko-josa_choice_2026-11-26T01-02-03.000004.jsonl",
    ]
    aggregates = json.loads(files[0].read_text("utf-8"))
    assert "samples" not in aggregates
    assert aggregates["results"] == found["results"]
    lines = [json.loads(line) for line in files[2].read_text("utf-8").splitlines()]
    assert lines == found["samples"]["ko-josa_choice"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match="cannot write results") as caught:
        save(export(RECORDS)["a.f16.gguf"], tmp_path / "file")
    assert "--output" in caught.value.hint
