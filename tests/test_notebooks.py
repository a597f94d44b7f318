"""The example in docs/notebooks.md runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import vl_convert

from harness.records import JournalWriter
from tests.golden_run import golden_records

PAGE = Path(__file__).parents[1] / "docs" / "notebooks.md"


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a notebook holds after all blocks of the page, beside the golden run."""
    home = tmp_path_factory.mktemp("work")
    folder = home / "results" / "20261123T081500Z-a1b2c3"
    folder.mkdir(parents=True)
    journal = JournalWriter(folder / "records.jsonl")
    journal.append(*golden_records())
    journal.close()
    code = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL))
    found: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        exec(compile(code, str(PAGE), "exec"), found)
    return found


def test_medians_by_process_are_the_scorecards(names: dict[str, Any]) -> None:
    for entry in names["run"].card["entries"]:
        for case, figures in entry["cases"].items():
            if "ttft_s" in figures:
                own = names["by_case"][entry["model"], case]
                assert own == pytest.approx(figures["ttft_s"]["value"], rel=1e-5)


@pytest.mark.parametrize("chart", ["scores", "distribution", "hard"])
def test_charts_are_drawn(names: dict[str, Any], chart: str) -> None:
    svg = vl_convert.vegalite_to_svg(names[chart].to_json())
    assert "startup-a.q4_k_m.gguf" in svg
    marks = {"scores": "mark-symbol", "distribution": "mark-line", "hard": "mark-line"}[chart]
    assert marks in svg


def test_every_frame_is_described(names: dict[str, Any]) -> None:
    described = set(re.findall(r"^\| `run\.(\w+)` \|", PAGE.read_text("utf-8"), re.MULTILINE))
    frames = {
        name for name in names["run"].__slots__ if hasattr(getattr(names["run"], name), "columns")
    }
    assert described == frames
