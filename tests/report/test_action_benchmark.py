"""What github-action-benchmark is given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.metrics import METRICS
from harness.report.action_benchmark import FIGURES, FILES, files
from harness.report.formats import Material
from tests.report import sample
from tests.report.snapshots import golden


def found(card: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    made = files(Material(card=card, folder=Path(), lang="en"))
    return {name: json.loads(data) for name, data in made.items()}


def test_each_file_has_one_direction() -> None:
    made = found(golden())
    assert list(made) == list(FILES.values())
    for direction, name in FILES.items():
        metrics = {figure["name"].split(" ")[1] for figure in made[name]}
        assert metrics
        assert {METRICS[metric].direction for metric in metrics} == {direction}
        assert metrics <= set(FIGURES)


def test_a_figure_has_its_unit_range_and_what_it_is() -> None:
    smaller = found(golden())[FILES["lower"]]
    (ttft,) = [figure for figure in smaller if figure["name"] == "ref-4m.q4_k_m.gguf ttft_s"]
    assert ttft["value"] == 0.365653
    assert ttft["unit"] == "s"
    assert ttft["range"] == "0.364822 to 0.372131"
    assert ttft["extra"].splitlines()[0] == "95 % interval of 40 values"
    assert "20261123T081500Z-a1b2c3" in ttft["extra"]


def test_names_are_unique_and_values_are_numbers() -> None:
    for figures in found(golden()).values():
        names = [figure["name"] for figure in figures]
        assert len(names) == len(set(names))
        assert all(isinstance(figure["value"], float | int) for figure in figures)


def test_what_a_profile_weighs_is_always_drawn() -> None:
    card = golden()
    card["weights"] = {"task_ttft_s": 0.5, "length_ratio": 0.5}
    bigger = found(card)[FILES["higher"]]
    assert any(figure["name"].endswith("length_ratio") for figure in bigger)


def test_nothing_measured_is_two_empty_lists() -> None:
    card = golden() | {"entries": []}
    assert found(card) == {name: [] for name in FILES.values()}


@pytest.mark.parametrize("evil", sample.PAYLOADS)
def test_names_of_others_are_cleaned(evil: str) -> None:
    card = golden()
    card["entries"][0]["model"] = evil
    text = json.dumps(found(card), ensure_ascii=False)
    assert not {"\x1b", "\u202e", "\x00", "\x9b"} & set(text)
