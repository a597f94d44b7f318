from __future__ import annotations

import html
import itertools
import re
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
    long = f"maker-{'x' * 99}.q4_k_m.gguf"
    assert charts.labels([long]) == ["maker-xxxxxxxxxx…xxxxx.q4_k_m.gguf"]
    assert len(charts.label(long)) == charts.LONGEST_LABEL


@pytest.mark.parametrize("draw", [charts.tradeoff, charts.scores])
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


def test_titles_stand_in_both_languages() -> None:
    svg = charts.bilingual(charts.scores(read(sample.laptop()).rows))
    assert re.search('<text lang="ko"[^>]*>점수 \\(점선은 기준 모델\\)</text>', svg)
    assert re.search('<text lang="en"[^>]*>Score \\(dashed: the reference\\)</text>', svg)
    assert "\ue000" not in svg
    assert charts.bilingual(svg) == svg


def test_a_title_that_nobody_translated_is_shown_and_escaped() -> None:
    key = html.escape("task.<b>own & new</b>")
    svg = charts.bilingual(f"<text fill='x'>\ue000{key}\ue001</text>")
    assert svg.count("&lt;b&gt;own &amp; new&lt;/b&gt;</text>") == 2
    assert "<b>" not in svg


def test_a_chart_keeps_its_marks_and_loses_its_fat() -> None:
    svg = charts.scores(read(sample.laptop()).rows)
    root = ET.fromstring(svg)  # our own output
    names = {name for element in root.iter() for name in element.attrib}
    assert not {"font-family", "role", "aria-label", "class"} & names
    assert 'opacity="1"' not in svg
    shown = "".join(root.itertext())
    for row in read(sample.laptop()).rankings[0].ranked:
        assert f"{row.place} {row.model}" in shown
    points = [e for e in root.iter() if e.get("fill") in {charts.ACCENT, charts.MUTED}]
    assert len([e for e in points if e.tag.endswith("path")]) == 4
