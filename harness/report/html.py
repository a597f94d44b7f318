"""report.html: one self-contained page in Korean and English.

View ─▶ Jinja2 template (autoescape) + SVG charts + hashed style and script ─▶ one file

The page opens from a file without a network. Its content policy allows exactly one
style sheet and one script, by their hashes: whatever a model's name could smuggle in
would neither run nor be fetched. Both languages are in the page; one is shown.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

from harness.metrics import METRICS
from harness.report import accuracy, advice, figures, reading, tables, words
from harness.report.formats import Material
from harness.report.view import Factor, Ranking, View
from harness.report.words import LANGS, Lang

if TYPE_CHECKING:
    from markupsafe import Markup

HEAT_STEPS = 10
OPEN_ADVICE = 6
"""Models of a list up to which all that is said of them stands open."""
_COMMAND = re.compile(r"\bharness run --tune\b")
EFFECT_STEPS = ((1.10, "up3"), (1.03, "up2"), (1.005, "up1"))


class Charts(NamedTuple):
    """The charts of one list as SVG; empty text where there is none."""

    tradeoff: Markup
    scores: Markup
    memory: Markup


def render(scorecard: Mapping[str, Any], *, lang: Lang = "ko") -> str:
    """The scorecard as an HTML page.

    Args:
        scorecard: contents of scorecard.json.
        lang: language shown first; the page can switch to the other.

    Raises:
        RecordError: not a scorecard of a known schema.
    """
    import jinja2
    from markupsafe import Markup

    view = reading.read(scorecard)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("harness.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = _asset("report.css"), _asset("report.js")
    return environment.get_template("report.html.j2").render(
        view=view,
        lang=lang,
        policy=policy(style, script),
        style=Markup(style),  # noqa: S704 - our own file, not a value of the scorecard
        script=Markup(script),  # noqa: S704 - as above
        words=words,
        tables=tables,
        metrics=METRICS,
        both=both,
        coded=coded,
        sentence=sentence,
        name=name,
        charts=charts,
        plot=plot,
        legend=legend,
        advice=advice,
        remark=remark,
        heat=heat,
        effect_class=effect_class,
        main=words.main_ranking(view),
        columns=words.columns(view),
        open_advice=OPEN_ADVICE,
        figures=figures,
        accuracy=accuracy,
    )


def files(material: Material) -> dict[str, bytes]:
    """`report.html`."""
    return {"report.html": render(material.card, lang=material.lang).encode()}


def policy(style: str, script: str) -> str:
    """The content policy that allows this style sheet, this script and nothing else."""
    return (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def both(key: str, **values: object) -> Markup:
    """A string of the dictionary in both languages, its values escaped."""
    return _pair({lang: words.say(lang, key, **values) for lang in LANGS})


def coded(group: str, code: str) -> Markup:
    """A translated code in both languages, or the code itself once."""
    return _pair({lang: words.word(lang, group, code) for lang in LANGS})


def sentence(function: str, *values: Any) -> Markup:
    """Both languages of a function of `words` or `tables`: `FUNCTION(*values, lang)`."""
    say = getattr(words, function, None) or getattr(tables, function)
    return _pair({lang: say(*values, lang) for lang in LANGS})


def remark(found: advice.Remark) -> Markup:
    """Both languages of one remark on a model; commands stand out and are not broken."""
    from markupsafe import Markup, escape

    said = {lang: str(escape(advice.say(found, lang))) for lang in LANGS}
    marked = {lang: _COMMAND.sub(r"<code>\g<0></code>", text) for lang, text in said.items()}
    # Escaped above: what is added is ours.
    return _pair({lang: Markup(text) for lang, text in marked.items()})  # noqa: S704


def name(model: str) -> Markup:
    """A model id that may break after its separators, isolated from the text around it."""
    from markupsafe import Markup

    parts = re.split(r"(?<=[-./])", model)
    return Markup("<bdi>{}</bdi>").format(Markup("<wbr>").join(parts))


def _pair(texts: Mapping[Lang, str]) -> Markup:
    from markupsafe import Markup, escape

    if texts["ko"] == texts["en"]:
        return escape(texts["ko"])
    return Markup("").join(
        Markup('<span lang="{}">{}</span>').format(lang, text) for lang, text in texts.items()
    )


def charts(ranking: Ranking, reference_points: float = 1000.0) -> Charts:
    """Draw the charts of one list, beside what a model like the reference scores."""
    from harness.report import charts as draw
    from harness.report import plots

    return Charts(
        tradeoff=_svg(draw.tradeoff(ranking.rows)),
        scores=_svg(draw.scores(ranking.ranked, reference_points)),
        memory=_svg(plots.memory(ranking.rows)),
    )


def plot(name: str, view: View) -> Markup:
    """Draw a chart of all models: `gaps`, `growth`, `roofline`, `suites` or `sustained`."""
    from harness.report import plots

    if name == "suites":
        return _svg(plots.suites(view.rows, accuracy.suites(view)))
    return _svg(getattr(plots, name)(view.rows))


def _svg(svg: str) -> Markup:
    from markupsafe import Markup

    from harness.report.charts import bilingual

    # The SVG is vl-convert's own output: it escapes the labels it was given.
    return Markup(bilingual(svg))  # noqa: S704


def legend(group: str) -> list[tuple[str, str]]:
    """Codes of a chart's colours in both dictionaries, and the class of each."""
    from harness.report import charts as draw
    from harness.report import plots

    classes = {
        draw.ACCENT: "accent",
        draw.ORANGE: "orange",
        draw.TEAL: "teal",
        draw.FAINT: "faint",
    }
    groups = {"part": plots.PARTS, "limit": plots.LIMITS, "language": plots.TONGUES}
    return [(code, classes[colour]) for code, colour in groups[group].items()]


def heat(share: float | None) -> str:
    """Class of a cell of the accuracy table, `h0` (guessing) to `h9` (perfect)."""
    if share is None:
        return ""
    return f"h{min(HEAT_STEPS - 1, max(0, int(share * HEAT_STEPS)))}"


def effect_class(factor: Factor) -> str:
    """Class of a part of a score: how far it lifts or lowers the score."""
    effect = factor.effect if factor.points is None else max(1e-3, 1 + factor.points / 1000)
    for least, name in EFFECT_STEPS:
        if effect >= least:
            return name
        if effect <= 1 / least:
            return name.replace("up", "down")
    return "even"


def _asset(name: str) -> str:
    return resources.files("harness.report").joinpath(f"templates/{name}").read_text("utf-8")


def _hash(code: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}"
