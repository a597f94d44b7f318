"""Short texts written from an outline: sentences drawn from frames, and what is around them."""

from __future__ import annotations

import re
from typing import Final

from harness.suites.tasks.draw import Draw
from harness.suites.tasks.fill import picked
from harness.suites.tasks.hangul import with_particle
from harness.suites.tasks.outlines import DATA, STYLES, Outline

_PAIRS: Final = {"을": "을/를", "이": "이/가", "은": "은/는", "과": "과/와"}


class _Frames:
    """Frames of each kind in random order, so that no text has one twice."""

    def __init__(self, draw: Draw, o: Outline) -> None:
        self._draw, self._o = draw, o
        self._left: dict[str, list[list[str]]] = {}
        self._slots = {"t": o.topic, "prefix": o.prefix}
        self._slots.update(zip("ab", o.extras, strict=False))
        if o.language == "ko":
            for short, pair in _PAIRS.items():
                self._slots[short] = with_particle(o.topic, pair)
                for name in "ab"[: len(o.extras)]:
                    self._slots[f"{name}_{short}"] = with_particle(self._slots[name], pair)

    def next(self, kind: str, style: str) -> str:
        """A sentence of this kind, without the mark at its end."""
        if not self._left.get(kind):
            self._left[kind] = self._draw.shuffled(DATA[self._o.language]["frames"][kind])
        text, *ends = self._left[kind].pop()
        ending = ends[min(STYLES.index(style), len(ends) - 1)] if ends else ""
        return picked(self._draw, text).format(**self._slots) + ending


def _kind(o: Outline, at: int, *, asked: bool) -> str:
    if asked:
        return "asked" if at < o.topics else "asked-free"
    if at == 0 and o.extras:
        return "trio" if len(o.extras) > 1 else "pair"
    if at == 0 and o.prefix:
        return "seen"
    if at < o.blanks:
        return "blank" if at == 0 else "blank-free"
    return "topic" if at < o.topics else "free"


def _sentences(o: Outline, draw: Draw) -> list[str]:
    frames = _Frames(draw, o)
    odd = draw.below(o.count) if o.odd else -1
    out = []
    for at in range(o.count - bool(o.closing) or 1):
        asked = o.asked < 0 or at < o.asked
        style = draw.pick([each for each in STYLES if each != o.style]) if at == odd else o.style
        body = frames.next(_kind(o, at, asked=asked), style)
        if o.marker and at == int(o.late):
            body = f"{o.marker}{',' * o.comma} {body}"
        if o.blank_marks != "[]":
            body = body.translate(str.maketrans("[]", o.blank_marks))
        body = body[0].upper() + body[1:]
        out.append(body + ("?" if asked else "!" if at < o.exclaimed else "."))
    return out


def _doubled(o: Outline, draw: Draw, text: str) -> str:
    """The text with one of its adverbs written twice."""
    present = [word for word in DATA[o.language]["adverbs"] if f" {word} " in text]
    if not present:
        return text
    word = draw.pick(present)
    return text.replace(f" {word} ", f" {word} {word} ", 1)


def _recased(o: Outline, draw: Draw, text: str) -> str:
    if not o.case:
        return text
    upper = o.case.endswith("upper")
    changed = text.upper() if upper else text.lower()
    if not o.case.startswith("most"):
        return changed
    # One word in the other case.
    pieces = re.split(r"(\s+)", changed)
    at = draw.pick([i for i, piece in enumerate(pieces) if sum(map(str.isalpha, piece)) > 2])
    pieces[at] = pieces[at].lower() if upper else pieces[at].capitalize()
    return "".join(pieces)


def write(o: Outline, draw: Draw) -> str:
    """The text of an outline."""
    if o.whole:
        return o.whole
    parts = _sentences(o, draw)
    if o.closing:
        parts.insert(0 if o.early else len(parts), o.closing)
    for wrap in o.wrap:
        if wrap in ("first", "last"):
            at = 0 if wrap == "first" else -1
            parts[at] = f'"{parts[at]}"'
    lines = [o.item.format(number) + part for number, part in enumerate(parts, 1)]
    text = o.joiner.join(lines)
    if o.doubled:
        text = _doubled(o, draw, text)
    for wrap in o.wrap:
        if wrap not in ("first", "last"):
            text = wrap.format(text)
    return _recased(o, draw, text)
