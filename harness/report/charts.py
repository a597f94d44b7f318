"""Charts of a report as static SVG.

View ─ plain rows ─▶ Altair specification ─▶ vl-convert ─▶ SVG text, inlined in the page

The SVG holds no script, no link and no style attribute, so the page's content policy
can forbid all three. Colours are a fixed palette that the style sheet maps to the
light and the dark theme. Altair and vl-convert are imported only when a chart is
drawn: they cost half a second and 33 GB of address space.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from harness.report.view import Row
from harness.report.words import LANGS, word

INK = "#1b2430"
MUTED = "#5b6675"
GRID = "#dfe4ea"
ACCENT = "#0b63c5"
FAINT = "#9aa7b5"
PAPER = "#ffffff"
ORANGE = "#b8560b"
TEAL = "#1a8570"
FONT = "sans-serif"
"""Only measured with: the page sets its own. A list of names takes twice as long to measure."""
WIDTH = 500
LABEL_PX = 6.8
LONGEST_LABEL = 34
_OPEN, _CLOSE = "\ue000", "\ue001"
"""Private characters around the key of a title that `bilingual` fills in."""
_FAT = re.compile(
    r' (?:font-family|pointer-events|aria-[a-z]+|role|class|xmlns:xlink)="[^"]*"'
    r'| (?:opacity|stroke-opacity|fill-opacity|stroke-width)="1"'
    r'| font-size="11.5px"| font-weight="normal"'
)
"""Attributes that the page sets itself, defaults, and roles that a single image must not hold."""
_ROUGH = re.compile(r"(\d+\.\d\d)\d+")
_EMPTY = re.compile(r'<path d="(?:|M0,0h0v0h0Z)"(?: display="none")?/>|<g></g>')


class Point(NamedTuple):
    """A model in the plane of speed and accuracy, in pixels from the top left."""

    x: float
    y: float
    label: str


class Place(NamedTuple):
    """Where a label starts, and whether it stands so far off that it needs a line."""

    x: float
    y: float
    far: bool


def tradeoff(models: Sequence[Row]) -> str:
    """Accuracy over decode rate with intervals and labels; empty without any model."""
    shown = [(row, *plane) for row in models if (plane := _plane(row))]
    if not shown:
        return ""
    rows = [row for row, _, _ in shown]
    height = 360 + 14 * max(0, len(rows) - 8)
    short = labels([row.model for row in rows])
    xs = domain([v for r in rows for v in span(r, "decode_tok_per_s")], log=True)
    ys = domain([v for r in rows for v in span(r, "accuracy")], log=False)
    log = xs[1] / xs[0] > 6
    if not log:
        xs = (max(0.0, xs[0] - 0.06 * (xs[1] - xs[0])), xs[1])

    there, back = (math.log, math.exp) if log else (float, float)
    low, high = there(xs[0]), there(xs[1])
    points = [
        Point((there(x) - low) / (high - low) * WIDTH, (ys[1] - y) / (ys[1] - ys[0]) * height, text)
        for (_, x, y), text in zip(shown, short, strict=True)
    ]
    data = []
    for (row, x, y), point, place in zip(shown, points, place_labels(points, height), strict=True):
        x_lo, x_hi = span(row, "decode_tok_per_s")
        y_lo, y_hi = span(row, "accuracy")
        data.append(
            {
                "x": x,
                "y": y,
                "x_lo": x_lo,
                "x_hi": x_hi,
                "y_lo": y_lo,
                "y_hi": y_hi,
                "label": point.label,
                "front": row.on_front,
                "label_x": back(low + place.x / WIDTH * (high - low)),
                "label_y": ys[1] - place.y / height * (ys[1] - ys[0]),
                "far": place.far,
            }
        )
    return _tradeoff_svg(data, xs=xs, ys=ys, log=log, height=height)


def _tradeoff_svg(
    data: list[dict[str, Any]],
    *,
    xs: tuple[float, float],
    ys: tuple[float, float],
    log: bool,
    height: int,
) -> str:
    import altair as alt

    x_scale = alt.Scale(type="log" if log else "linear", domain=list(xs), nice=False, zero=False)
    y_scale = alt.Scale(domain=list(ys), nice=False, zero=False)
    x_title, y_title = title("axis.speed"), title("axis.accuracy")

    def x(field: str) -> alt.X:
        return alt.X(f"{field}:Q", scale=x_scale, title=x_title, axis=alt.Axis(tickCount=6))

    def y(field: str) -> alt.Y:
        return alt.Y(
            f"{field}:Q", scale=y_scale, title=y_title, axis=alt.Axis(tickCount=6, format="%")
        )

    base = alt.Chart(alt.InlineData(values=data))
    colour = alt.condition("datum.front", alt.value(ACCENT), alt.value(FAINT))
    fill = alt.condition("datum.front", alt.value(ACCENT), alt.value(PAPER))
    layers = [
        base.transform_filter("datum.far")
        .mark_rule(color=FAINT, strokeWidth=0.8, opacity=0.8)
        .encode(x("x"), y("y"), x2="label_x:Q", y2="label_y:Q"),
        base.mark_rule(strokeWidth=1.5).encode(x("x_lo"), y("y"), x2="x_hi:Q", color=colour),
        base.mark_rule(strokeWidth=1.5).encode(x("x"), y("y_lo"), y2="y_hi:Q", color=colour),
        base.mark_point(size=72, strokeWidth=2, opacity=1).encode(
            x("x"), y("y"), stroke=colour, fill=fill
        ),
        base.mark_text(align="left", baseline="middle", fontSize=11.5, color=INK).encode(
            x("label_x"), y("label_y"), text="label:N"
        ),
    ]
    return svg(alt.layer(*layers).properties(width=WIDTH, height=height))


def scores(rows: Sequence[Row], reference_points: float = 1000.0) -> str:
    """Scores with intervals beside the reference's; empty where nobody is ranked."""
    data: list[dict[str, Any]] = [
        {
            "model": f"{row.place} {label(row.model)}",
            "score": row.score.value,
            "lo": row.score.value if row.score.lo is None else row.score.lo,
            "hi": row.score.value if row.score.hi is None else row.score.hi,
            "first": row.rank == 1,
        }
        for row in rows
        if row.rank is not None and row.score.value is not None
    ]
    if not data:
        return ""
    import altair as alt

    ends = [d[end] for d in data for end in ("lo", "hi")]
    low, high = domain([reference_points, *ends], log=False)
    scale = alt.Scale(domain=[max(0.0, low), high], nice=False, zero=False)
    x = alt.X("score:Q", scale=scale, title=title("axis.score"), axis=alt.Axis(tickCount=6))
    y = alt.Y("model:N", sort=None, title=None, axis=names_axis([d["model"] for d in data]))
    colour = alt.condition("datum.first", alt.value(ACCENT), alt.value(MUTED))
    base = alt.Chart(alt.InlineData(values=data))
    reference = alt.Chart(alt.InlineData(values=[{"score": reference_points}]))
    chart = alt.layer(
        reference.mark_rule(color=MUTED, strokeDash=[4, 4]).encode(x),
        base.mark_rule(strokeWidth=2.5).encode(
            alt.X("lo:Q", scale=scale), y, x2="hi:Q", color=colour
        ),
        base.mark_point(size=85, opacity=1, strokeWidth=2).encode(x, y, fill=colour, stroke=colour),
    )
    return svg(chart.properties(width=bar_width(data), height=alt.Step(30)))


def bilingual(svg: str) -> str:
    """A chart with its titles in both languages; the style sheet shows one of them.

    Drawing costs far more than this, so a chart is drawn once. No label can hold the marks
    around a key: reading a scorecard removes such characters.
    """

    def texts(found: re.Match[str]) -> str:
        group, _, code = html.unescape(found.group(2)).partition(".")
        shown = {lang: html.escape(word(lang, group, code)) for lang in LANGS}
        return "".join(
            f'<text lang="{lang}"{found.group(1)}>{text}</text>' for lang, text in shown.items()
        )

    return re.sub(f"<text([^>]*)>{_OPEN}(.+?){_CLOSE}</text>", texts, svg)


def _lighter(svg: str) -> str:
    """A chart without what changes nothing in a page: a third of its size."""
    lean = re.sub(r"<[^>]*>", lambda tag: _FAT.sub("", _ROUGH.sub(r"\1", tag.group())), svg)
    return _EMPTY.sub("", lean)


def title(key: str) -> str:
    """A title that `bilingual` fills in: `axis.speed` is a key of the dictionary."""
    return f"{_OPEN}{key}{_CLOSE}"


def place_labels(points: Sequence[Point], height: float) -> list[Place]:
    """A place for each label that covers as few points and other labels as it can.

    Greedy: each label takes the first free place of a widening ring of offsets, the
    most crowded point first; where none is free, the one with the fewest collisions.
    """
    taken: list[tuple[float, float, float, float]] = [
        (p.x - 7, p.y - 7, p.x + 7, p.y + 7) for p in points
    ]
    places: dict[int, Place] = {}
    order = sorted(
        range(len(points)),
        key=lambda i: sum(math.dist(points[i][:2], p[:2]) < 60 for p in points),
    )
    for index in order:
        point = points[index]
        width = len(point.label) * LABEL_PX
        best: tuple[float, Place, tuple[float, float, float, float]] | None = None
        for step, (dx, dy) in enumerate(_offsets(width)):
            x, y = point.x + dx, point.y + dy
            box = (x - 2, y - 8, x + width + 2, y + 8)
            outside = box[0] < 0 or box[2] > WIDTH or box[1] < 0 or box[3] > height
            cost = sum(_overlap(box, other) for other in taken) + (4000 if outside else 0) + step
            if best is None or cost < best[0]:
                best = (cost, Place(x, y, abs(dy) > 20), box)
        if best is not None:
            places[index] = best[1]
            taken.append(best[2])
    return [places[i] for i in range(len(points))]


def _offsets(width: float) -> list[tuple[float, float]]:
    out: list[tuple[float, float]] = [(11, -10), (11, 11), (-11 - width, -10), (-11 - width, 11)]
    for ring in (18, 34, 50, 66, 82, 98, 114):
        for dy in (-ring, ring):
            out += [(-width / 2, dy), (12, dy), (-12 - width, dy)]
    return out


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))


def labels(models: Sequence[str]) -> list[str]:
    """Short labels: an ending `.quant.format` that all share says nothing here."""
    ends = {".".join(model.rsplit(".", 2)[1:]) for model in models}
    end = f".{ends.pop()}" if len(ends) == 1 and len(models) > 1 else ""
    return [label(model.removesuffix(end) or model) for model in models]


def label(model: str) -> str:
    """A model id short enough for a chart."""
    if len(model) <= LONGEST_LABEL:
        return model
    # Names of one maker differ at their ends: size, quantisation, format.
    half = LONGEST_LABEL // 2
    return f"{model[: half - 1]}…{model[-half:]}"


def _plane(row: Row) -> tuple[float, float] | None:
    """Decode rate and accuracy, where a model has both and the rate has a logarithm."""
    x, y = row.metric("decode_tok_per_s").value, row.metric("accuracy").value
    return None if x is None or y is None or x <= 0 else (x, y)


def span(row: Row, metric: str) -> tuple[float, float]:
    """The interval of a metric, the value itself where it has none; never below 0 on a log axis."""
    found = row.metric(metric)
    middle = found.value or 0.0
    lo = middle if found.lo is None else found.lo
    hi = middle if found.hi is None else found.hi
    return (max(lo, middle / 10), hi) if metric != "accuracy" else (lo, hi)


def domain(values: Sequence[float], *, log: bool) -> tuple[float, float]:
    """The extent of the values with a margin: 8 % of it; on a log axis the 0.12th power of
    their ratio, at least 15 %.
    """
    low, high = min(values), max(values)
    if log:
        margin = max((high / low) ** 0.12, 1.15)
        return low / margin, high * margin
    margin = max((high - low) * 0.08, abs(high) * 0.01, 1e-3)
    return low - margin, high + margin


def names_axis(names: Sequence[str]) -> Any:
    """The axis of model names, with room for them in the fonts of the reader."""
    import altair as alt

    # vl-convert measures text with its own fonts; the reader's may be wider.
    return alt.Axis(
        grid=False,
        domain=False,
        labelLimit=300,
        labelPadding=8,
        minExtent=names_px(names),
    )


def names_px(names: Sequence[str]) -> float:
    """How wide the longest of these names can get, in pixels."""
    return 14 + max(len(name) for name in names) * (LABEL_PX + 0.3)


def bar_width(data: Sequence[dict[str, Any]]) -> float:
    """What is left for the bars beside the names, in pixels."""
    return max(200.0, WIDTH + 40 - names_px([d["model"] for d in data]))


def svg(chart: Any) -> str:
    """Draw an Altair chart in the look of the page."""
    import vl_convert

    text = {"labelColor": MUTED, "titleColor": MUTED, "labelFontSize": 11.5}
    configured = chart.configure(font=FONT, background="transparent", aria=False)
    configured = configured.configure_view(stroke=None)
    configured = configured.configure_axis(
        gridColor=GRID,
        domainColor=GRID,
        ticks=False,
        labelPadding=5,
        titleFontSize=12,
        titleFontWeight="normal",
        titlePadding=10,
        **text,
    )
    drawn: str = vl_convert.vegalite_to_svg(configured.to_dict())
    return _lighter(drawn)
