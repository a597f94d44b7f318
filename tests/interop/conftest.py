"""lm-evaluation-harness, where it is installed: offline, on tasks written here."""

from __future__ import annotations

import importlib.util
import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from harness.models import reference

# Read once by the libraries, when the first test imports them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

NO_LM_EVAL = "lm-evaluation-harness not available here: its interface not tested"
NAME = "ref-2m"


def require(*modules: str, reason: str) -> None:
    if not all(map(importlib.util.find_spec, modules)):
        pytest.skip(reason)


@pytest.fixture(scope="session")
def lm_eval() -> ModuleType:
    """Our side of the interface; the libraries warn about themselves when they are imported."""
    require("lm_eval", reason=NO_LM_EVAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from harness.interop import lm_eval

        return lm_eval


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded models, made once."""
    return tmp_path_factory.mktemp("cache")


def model(variant: str, cache: Path) -> Path:
    """Path of the smaller reference model in one format."""
    path = reference.materialise(f"{NAME}.{variant}", cache)
    return path / "model.onnx" if variant.endswith("onnx") else path


class Tasks:
    """A folder with tasks for lm-eval: YAML beside the JSON lines that it names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, name: str, documents: Sequence[dict[str, Any]], **fields: Any) -> str:
        data = self.folder / f"{name}.jsonl"
        lines = (json.dumps(document, ensure_ascii=False) + "\n" for document in documents)
        data.write_text("".join(lines), "utf-8")
        task = {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {
                "data_files": {"test": str(data)},
                "cache_dir": str(self.folder / "cache"),
            },
            "test_split": "test",
            "fewshot_split": "test",
            "fewshot_config": {"sampler": "first_n"},
            "metadata": {"version": 1.0},
            **fields,
        }
        # JSON is YAML.
        (self.folder / f"{name}.yaml").write_text(json.dumps(task), "utf-8")
        return name
