"""The charts beside the ranking: where memory goes, how tokens come, what suits whom.

Each draws the models of any list under each other, or in small panels where a curve
needs room of its own. Colours and text are those of `charts`; legends stand in the page.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from harness.report.charts import (
    ACCENT,
    FAINT,
    INK,
    ORANGE,
    TEAL,
    bar_width,
    label,
    labels,
    names_axis,
    svg,
    title,
)
from harness.report.view import Row

PANEL_WIDTH, PANEL_HEIGHT, PANELS_A_ROW = 230, 90, 3
STEP = 26
MIB = 2**20
PARTS = {"runtime": FAINT, "weights": ACCENT, "kv": ORANGE, "rest": TEAL}
"""Colours of the parts of a peak, in the order in which they are stacked."""
LIMITS = {"mbu": ACCENT, "mfu": ORANGE}
TONGUES = {"ko": ACCENT, "en": ORANGE}
Json = dict[str, Any]


def memory(rows: Sequence[Row]) -> str:
    """Peak memory in parts, smallest first; whole where the parts are unknown."""
    found = [(row, row.metric("peak_resident_bytes").value) for row in rows]
    known = sorted(((row, peak) for row, peak in found if peak is not None), key=lambda r: r[1])
    if not known:
        return ""
    import altair as alt

    bars: list[Json] = []
    for row, peak in known:
        parts = row.memory.split
        edges = [(part, getattr(parts, part)) for part in PARTS] if parts else [("runtime", peak)]
        start = 0.0
        for part, size in edges:
            if size > 0:
                end = start + size / MIB
                bars.append(
                    {"model": label(row.model), "from": start, "to": end, "fill": PARTS[part]}
                )
                start = end
    ends = [
        {"model": label(row.model), "to": peak / MIB, "text": f"{peak / MIB:,.0f}"}
        for row, peak in known
    ]
    y = _models(ends)
    chart = alt.layer(
        _chart(bars)
        .mark_bar(size=14)
        .encode(
            alt.X("from:Q", title=title("axis.memory"), axis=alt.Axis(tickCount=6)),
            y,
            x2="to:Q",
            color=_as_is("fill"),
        ),
        _chart(ends)
        .mark_text(align="left", dx=6, fontSize=11.5, color=INK)
        .encode(alt.X("to:Q", title=title("axis.memory")), y, text="text:N"),
    )
    return svg(chart.properties(width=bar_width(ends), height=alt.Step(STEP)))


def growth(rows: Sequence[Row]) -> str:
    """By how much the peak grows with the context, measured and computed, a panel a model."""
    shown = [row for row in rows if len(row.memory.contexts) > 1]
    if not shown:
        return ""
    import altair as alt

    measured: list[Json] = []
    for row, name in zip(shown, labels([row.model for row in shown]), strict=True):
        first, *_ = points = row.memory.contexts
        for point in points:
            computed = row.memory.kv_computed
            more = point.context - first.context
            measured.append(
                {
                    "model": name,
                    "context": point.context,
                    "grown": (point.peak_bytes - first.peak_bytes) / MIB,
                    "computed": None if computed is None else computed * more / MIB,
                }
            )
    x = alt.X("context:Q", title=title("axis.context"), axis=alt.Axis(tickCount=4, format=",d"))

    def y(field: str) -> alt.Y:
        return alt.Y(f"{field}:Q", title=title("axis.grown"), axis=alt.Axis(tickCount=3))

    base = alt.Chart(width=PANEL_WIDTH, height=PANEL_HEIGHT)
    return _panels(
        [
            base.mark_line(color=ORANGE, strokeDash=[4, 4]).encode(x, y("computed")),
            base.mark_line(color=ACCENT, strokeWidth=2, point={"size": 24, "color": ACCENT}).encode(
                x, y("grown")
            ),
        ],
        measured,
    )


def gaps(rows: Sequence[Row]) -> str:
    """How the times between tokens are distributed: nested ranges around the median."""
    known = sorted(
        ((row, row.gaps) for row in rows if row.gaps), key=lambda found: found[1].quantiles[50]
    )
    if not known:
        return ""
    import altair as alt

    data: list[Json] = []
    for row, found in known:
        at = {f"q{q}": seconds * 1e3 for q, seconds in found.quantiles.items()}
        ends = {"low": min(at.values()), "high": max(at.values())}
        data.append({"model": label(row.model), "max": found.max * 1e3, **ends, **at})
    least, most = min(d["low"] for d in data), max(d["max"] for d in data)
    log = most > 6 * least
    scale = alt.Scale(
        type="log" if log else "linear", domain=[least * 0.95, most * 1.05], nice=False, zero=False
    )
    y, base = _models(data), _chart(data)

    def x(field: str) -> alt.X:
        axis = alt.Axis(tickCount=6, format="~r")
        return alt.X(f"{field}:Q", scale=scale, title=title("axis.gap"), axis=axis)

    chart = alt.layer(
        base.mark_rule(color=FAINT, strokeWidth=2).encode(x("low"), y, x2="high:Q"),
        base.mark_rule(color=FAINT, strokeWidth=8).encode(x("q10"), y, x2="q90:Q"),
        base.mark_rule(color=ACCENT, strokeWidth=12).encode(x("q25"), y, x2="q75:Q"),
        base.mark_tick(color=INK, thickness=2.5, size=18).encode(x("q50"), y),
        base.mark_point(color=FAINT, size=28, strokeWidth=1.5).encode(x("max"), y),
    )
    return svg(chart.properties(width=bar_width(data), height=alt.Step(STEP)))


def roofline(rows: Sequence[Row]) -> str:
    """Shares of the machine's memory bandwidth and arithmetic, with the limit at 100 %."""
    data: list[Json] = [
        {
            "model": label(row.model),
            "share": found.value,
            "lo": found.value if found.lo is None else found.lo,
            "hi": found.value if found.hi is None else found.hi,
            "fill": colour,
            "shape": "circle" if metric == "mbu" else "diamond",
        }
        for row in rows
        for metric, colour in LIMITS.items()
        if (found := row.metric(metric)).value is not None
    ]
    if not data:
        return ""
    import altair as alt

    most = max(1.05, *(d["hi"] * 1.05 for d in data))
    scale = alt.Scale(domain=[0, most], nice=False)
    axis = alt.Axis(tickCount=6, format="%")
    y, base = _models(data), _chart(data)

    def x(field: str) -> alt.X:
        return alt.X(f"{field}:Q", scale=scale, title=title("axis.limit"), axis=axis)

    chart = alt.layer(
        _chart([{"share": 1.0}]).mark_rule(color=INK, strokeDash=[4, 4]).encode(x("share")),
        base.mark_rule(strokeWidth=2).encode(x("lo"), y, x2="hi:Q", color=_as_is("fill")),
        base.mark_point(size=70, opacity=1, filled=True).encode(
            x("share"), y, color=_as_is("fill"), shape=alt.Shape("shape:N", scale=None)
        ),
    )
    return svg(chart.properties(width=bar_width(data), height=alt.Step(STEP)))


def suites(rows: Sequence[Row], shown: Sequence[str]) -> str:
    """Accuracy with its interval by suite and language: a panel a suite, a line a model."""
    known = [row for row in rows if row.tasks]
    if not known:
        return ""
    import altair as alt

    data: list[Json] = [
        {
            "model": name,
            "suite": title(f"task.{task.suite}"),
            "share": task.adjusted.value,
            "lo": task.adjusted.lo,
            "hi": task.adjusted.hi,
            "fill": TONGUES.get(task.language, ACCENT),
            "language": task.language,
        }
        for row, name in zip(known, labels([row.model for row in known]), strict=True)
        for task in row.tasks
        if task.suite in shown
    ]
    low = min(0.0, *(d["lo"] for d in data))
    scale = alt.Scale(domain=[max(-1.0, low), 1], nice=False)
    names = list(dict.fromkeys(d["model"] for d in data))
    offset = alt.YOffset("language:N", sort=list(TONGUES), scale=alt.Scale(paddingOuter=0.4))
    y = alt.Y("model:N", sort=names, title=None, axis=names_axis(names))
    base = alt.Chart(width=PANEL_WIDTH, height=alt.Step(10))

    def x(field: str) -> alt.X:
        axis = alt.Axis(tickCount=3, format="%")
        return alt.X(f"{field}:Q", scale=scale, title=title("axis.accuracy"), axis=axis)

    layers = [
        base.mark_rule(strokeWidth=1.5).encode(x("lo"), y, offset, x2="hi:Q", color=_as_is("fill")),
        base.mark_point(size=22, opacity=1, filled=True).encode(
            x("share"), y, offset, color=_as_is("fill")
        ),
    ]
    order = [title(f"task.{suite}") for suite in shown]
    return _panels(layers, data, facet="suite", order=order)


def sustained(rows: Sequence[Row]) -> str:
    """Decode rate over the minutes of a sustained run, a small panel a model.

    As a share of the first minute, so that models of any speed stand side by side.
    """
    shown = [row for row in rows if len(row.minutes) > 1 and row.minutes[0]]
    if not shown:
        return ""
    import altair as alt

    data: list[Json] = [
        {"model": name, "minute": minute, "share": rate / (row.minutes[0] or 1.0)}
        for row, name in zip(shown, labels([row.model for row in shown]), strict=True)
        for minute, rate in enumerate(row.minutes, start=1)
        if rate is not None
    ]
    shares = [float(d["share"]) for d in data]
    scale = alt.Scale(
        domain=[min(0.85, min(shares) - 0.02), max(1.02, *shares)], nice=False, zero=False
    )
    minutes = max(len(row.minutes) for row in shown)
    ticks = list(range(1, minutes + 1, math.ceil(minutes / 6)))
    x = alt.X(
        "minute:Q",
        title=title("axis.minute"),
        scale=alt.Scale(domain=[1, minutes], nice=False),
        axis=alt.Axis(values=ticks, format="d"),
    )
    axis = alt.Axis(tickCount=3, format="%")
    y = alt.Y("share:Q", title=title("axis.share"), scale=scale, axis=axis)
    base = alt.Chart(width=PANEL_WIDTH, height=PANEL_HEIGHT)
    line = base.mark_line(color=ACCENT, strokeWidth=2)
    layers = [
        base.mark_rule(color=FAINT, strokeDash=[3, 3]).encode(y=alt.datum(0.9)),
        line.encode(x, y),
    ]
    return _panels(layers, data)


def _panels(
    layers: Iterable[Any],
    data: list[Json],
    *,
    facet: str = "model",
    order: Sequence[str] = (),
) -> str:
    import altair as alt

    header = alt.Header(title=None, labelColor=INK, labelFontSize=11.5, labelAnchor="start")
    order = list(order or dict.fromkeys(d[facet] for d in data))
    chart = alt.layer(*layers).facet(
        alt.Facet(f"{facet}:N", sort=order, header=header),
        data=alt.InlineData(values=data),
        columns=PANELS_A_ROW,
    )
    return svg(chart.resolve_axis(x="independent"))


def _chart(data: list[Json]) -> Any:
    import altair as alt

    return alt.Chart(alt.InlineData(values=data))


def _models(data: Sequence[Json]) -> Any:
    """The axis of model names, in the order of the data."""
    import altair as alt

    names = [d["model"] for d in data]
    return alt.Y("model:N", sort=None, title=None, axis=names_axis(names))


def _as_is(field: str) -> Any:
    """A colour that the data gives."""
    import altair as alt

    return alt.Color(f"{field}:N", scale=None, legend=None)
