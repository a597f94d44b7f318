from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import pytest

from harness.report import accuracy, charts, plots
from harness.report.reading import read
from harness.report.view import View
from tests.report import sample
from tests.report.snapshots import golden

DRAWN = {
    "memory": lambda view: plots.memory(view.rows),
    "growth": lambda view: plots.growth(view.rows),
    "gaps": lambda view: plots.gaps(view.rows),
    "roofline": lambda view: plots.roofline(view.rows),
    "suites": lambda view: plots.suites(view.rows, accuracy.suites(view)),
    "sustained": lambda view: plots.sustained(view.rows),
}


def view_of(**changes: object) -> View:
    """One model with these parts of its entry changed."""
    return read(sample.card([sample.entry("a", rank=1, speed=1, skill=1) | changes]))


def texts(svg: str) -> str:
    return "\n".join(ET.fromstring(svg).itertext())  # our own output


def marks(svg: str, colour: str) -> list[ET.Element]:
    """Marks in one colour, as drawn."""
    return [
        element
        for element in ET.fromstring(svg).iter()
        if colour in {element.get("fill"), element.get("stroke")}
    ]


def width(mark: ET.Element) -> float:
    """Of a bar that starts at a corner: `Mx,yhWIDTHv…`."""
    (found,) = re.findall(r"^M[\d.]+,[\d.]+h([\d.]+)v", mark.get("d", ""))
    return float(found)


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_every_model_is_drawn_and_nothing_is_drawn_of_none(draw) -> None:
    shown = texts(draw(read(golden())))
    assert "startup-a.q4_k_m.gguf" in shown
    assert draw(read(sample.card([]))) == ""


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
def test_hostile_names_stay_text(draw) -> None:
    root = ET.fromstring(draw(read(sample.hostile())))  # our own output
    for element in root.iter():
        tag = element.tag.rpartition("}")[2]
        assert tag in {"svg", "g", "path", "line", "rect", "text", "defs", "clipPath"}
        assert not any(name.startswith("on") or "href" in name for name in element.attrib)


def test_the_parts_of_a_peak_are_stacked_to_its_length() -> None:
    svg = plots.memory(view_of().rows)
    bars = {
        part: sum(width(mark) for mark in marks(svg, colour))
        for part, colour in plots.PARTS.items()
    }
    whole = sum(bars.values())
    split = view_of().rows[0].memory.split
    assert split
    peak = sum(split[1:])
    for part, drawn in bars.items():
        assert drawn / whole == pytest.approx(getattr(split, part) / peak, abs=0.01)
    assert f"{peak / plots.MIB:,.0f}" in texts(svg)


def test_a_peak_of_unknown_parts_is_one_bar() -> None:
    memory = {"phases": {}, "kv_bytes_per_tok": {}, "contexts": [], "split": None}
    svg = plots.memory(view_of(memory=memory).rows)
    assert len(marks(svg, charts.FAINT)) == 1
    assert marks(svg, charts.ACCENT) == []


def test_one_context_shows_no_growth() -> None:
    memory = sample.details(1, 2**30)["memory"]
    assert plots.growth(view_of(memory=memory).rows)
    memory["contexts"] = memory["contexts"][:1]
    assert plots.growth(view_of(memory=memory).rows) == ""


def test_bands_of_gaps_nest_and_the_fastest_model_is_on_top() -> None:
    view = read(sample.laptop())
    svg = plots.gaps(view.rows)
    order = [line for line in texts(svg).splitlines() if line.endswith(".gguf")]
    fastest_first = sorted(view.rows, key=lambda row: row.gaps.quantiles[50])  # type: ignore[union-attr]
    assert order == [row.model for row in fastest_first]
    by_width = {mark.get("stroke-width"): mark for mark in marks(svg, charts.FAINT)}
    assert {"2", "8"} <= by_width.keys()
    assert len(marks(svg, charts.ACCENT)) == len(view.rows)


def test_few_gaps_have_no_outer_quantiles() -> None:
    gaps = {"n": 90, "min": 0.04, "max": 0.09, "quantiles": {str(q): 0.05 for q in (5, 10, 25)}}
    gaps["quantiles"] |= {str(q): 0.06 for q in (50, 75, 90, 95)}  # type: ignore[operator]
    assert plots.gaps(view_of(gaps=gaps).rows).startswith("<svg")


def test_both_shares_of_the_machine_are_drawn() -> None:
    svg = plots.roofline(view_of().rows)
    for colour in plots.LIMITS.values():
        assert len(marks(svg, colour)) == 2  # a point and its interval
    assert "100%" in texts(svg)


def test_suites_have_a_panel_each_and_a_mark_for_each_language() -> None:
    view = view_of()
    svg = plots.suites(view.rows, accuracy.suites(view))
    shown = texts(charts.bilingual(svg))
    assert "산술" in shown
    assert "Arithmetic" in shown
    points = [mark for mark in marks(svg, charts.ORANGE) if mark.get("fill") == charts.ORANGE]
    assert len(points) == sum(task.language == "en" for task in view.rows[0].tasks)


def test_a_sustained_run_is_drawn_with_its_gaps_and_only_where_there_is_one() -> None:
    made = [sample.entry(name, rank=1, speed=1, skill=1) for name in ("long", "gap", "short")]
    made[1]["sustained"]["minutes"] = [20.0, None, 18.0]
    made[2]["sustained"]["minutes"] = [20.0]
    shown = texts(plots.sustained(read(sample.card(made)).rows))
    assert "long" in shown
    assert "gap" in shown
    assert "short" not in shown
