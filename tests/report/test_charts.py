from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET

import pytest

from harness.report import charts
from harness.report.reading import read
from tests.report import sample


def test_labels_of_a_crowd_neither_cover_each_other_nor_leave_the_chart() -> None:
    points = [charts.Point(20 + i * 9.0, 30 + i * 6.0, f"model-{i:02d}") for i in range(20)]
    places = charts.place_labels(points, 400)
    width = len(points[0].label) * charts.LABEL_PX
    for one, other in itertools.combinations(places, 2):
        assert abs(one.x - other.x) >= width or abs(one.y - other.y) >= 14
    for place in places:
        assert 0 <= place.x <= charts.WIDTH - width
        assert 0 <= place.y <= 400


def test_labels_drop_an_ending_that_all_share() -> None:
    assert charts.labels(["a.q8_0.gguf", "b.q8_0.gguf"]) == ["a", "b"]
    assert charts.labels(["a.q8_0.gguf", "a.f16.gguf"]) == ["a.q8_0.gguf", "a.f16.gguf"]
    assert charts.labels(["a.q8_0.gguf"]) == ["a.q8_0.gguf"]
    assert charts.labels(["x" * 99])[0].endswith("…")


def test_a_sustained_run_is_drawn_with_its_gaps_and_only_where_there_is_one() -> None:
    made = [sample.entry(name, rank=1, speed=1, skill=1) for name in ("long", "gap", "short")]
    made[1]["sustained"]["minutes"] = [20.0, None, 18.0]
    made[2]["sustained"]["minutes"] = [20.0]
    svg = charts.sustained(read(sample.card(made)).rows)
    shown = "".join(ET.fromstring(svg).itertext())  # our own output
    assert "long" in shown
    assert "gap" in shown
    assert "short" not in shown


@pytest.mark.parametrize("draw", [charts.tradeoff, charts.scores, charts.memory, charts.sustained])
def test_without_models_there_is_no_chart(draw) -> None:
    assert draw(()) == ""


def test_svg_holds_nothing_active() -> None:
    rows = read(sample.hostile()).rows
    root = ET.fromstring(charts.tradeoff(rows))  # our own output
    for element in root.iter():
        tag = element.tag.rpartition("}")[2]
        assert tag in {"svg", "g", "path", "line", "rect", "text", "defs", "clipPath"}
        for name in element.attrib:
            assert not name.lower().startswith("on")
            assert "href" not in name
            assert name != "style"
    shown = "".join(root.itertext())
    assert "<script>alert(1)" in shown


def test_zero_and_equal_values_still_draw() -> None:
    made = sample.entry("a", rank=1, speed=1, skill=1)
    made["metrics"]["accuracy"] = {"value": 0.0, "lo": 0.0, "hi": 0.0, "n": 1, "unit": "1"}
    made["metrics"]["decode_tok_per_s"] = {"value": 0.5, "lo": None, "hi": None, "n": 1}
    assert charts.tradeoff(read(sample.card([made])).rows).startswith("<svg")


def test_titles_are_translated_and_escaped() -> None:
    svg = charts.scores(read(sample.laptop()).rows)
    assert "점수 (기준 모델 = 1000)" in charts.translate(svg, "ko")
    assert "Score (reference = 1000)" in charts.translate(svg, "en")
    assert "\ue000" not in charts.translate(svg, "en")
