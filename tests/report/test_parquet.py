from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from harness import frames
from harness.errors import PrerequisiteError, RecordError
from harness.report import parquet as form
from harness.report.formats import Material
from tests import strategies
from tests.report import sample


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Table]:
    folder = sample.folder(tmp_path_factory.mktemp("run"))
    material = Material(card=sample.laptop(), folder=folder, lang="en")
    files = form.files(material)
    assert files == form.files(material)
    return {name: parquet.read_table(io.BytesIO(data)) for name, data in files.items()}


def test_it_holds_the_frames(written: dict[str, pa.Table]) -> None:
    for name, frame in zip(("samples", "items"), frames.observations(sample.RECORDS), strict=True):
        found = written[f"{name}.parquet"].to_pandas()
        assert list(found.columns) == list(frame.columns)
        assert len(found) == len(frame) > 100
        for column in frame:
            same = frame[column].astype(object).where(frame[column].notna(), None)
            read = found[column].astype(object).where(found[column].notna(), None)
            assert same.tolist() == read.tolist(), column


def test_units_are_in_the_metadata_of_fields(written: dict[str, pa.Table]) -> None:
    samples = written["samples.parquet"]
    units = json.loads(samples.field("value").metadata[b"units"])
    told = samples.to_pandas().dropna(subset="metric").drop_duplicates("metric")
    assert units == dict(zip(told["metric"], told["unit"], strict=True))
    assert units["ttft_s"] == "s"
    margin = written["items.parquet"].field("margin_nat")
    assert json.loads(margin.metadata[b"units"]) == {"margin_nat": "nat"}


def test_types_do_not_depend_on_what_a_run_holds(
    written: dict[str, pa.Table], tmp_path: Path
) -> None:
    """A column without a value has the type of any other: files of many runs are one data set."""
    lost = strategies.Candidate(id="x", fails=tuple((s, "failed") for s in strategies.SUITES))
    folder = sample.folder(tmp_path, strategies.records([lost]))
    for name, data in form.files(Material(card={}, folder=folder, lang="en")).items():
        table = parquet.read_table(io.BytesIO(data))
        assert table.num_rows == 0
        assert table.schema.types == written[name].schema.types
        both = pa.concat_tables([table, written[name]])
        assert isinstance(both.to_pandas(), pd.DataFrame)


def test_without_pyarrow_the_install_line_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(PrerequisiteError) as caught:
        form.files(Material(card={}, folder=tmp_path, lang="en"))
    assert caught.value.reason == "pyarrow_missing"
    assert caught.value.hint.endswith('install "sllm-harness[parquet]"')
    assert caught.value.exit_code == 3


def test_without_records_the_path_is_said(tmp_path: Path) -> None:
    with pytest.raises(RecordError) as caught:
        form.files(Material(card={}, folder=tmp_path, lang="en"))
    assert caught.value.where == str(tmp_path / "records.jsonl")
