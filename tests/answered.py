"""Accuracy records in their present form, made of the plain ones of `strategies.records`.

`formed(rows)` keeps who is right and adds how: every second item of a task without choices
becomes one of four options, the other stays a free answer. The records are deterministic.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any

Row = dict[str, Any]


def formed(rows: Iterable[Row], *, skipping: str = "") -> Iterator[Row]:
    """All records, with the items in two forms and geometry samples.

    Args:
        skipping: models whose id starts so leave out the two last items of a calendar.
    """
    for row in rows:
        if row["type"] != "sample" or row["kind"] != "item":
            yield row
            continue
        late = row["index"] >= 98 and row["case"].endswith("calendar")
        if skipping and row["model"].startswith(skipping) and late:
            yield skipped(row)
            continue
        draw = random.Random(f"{row['model'].removesuffix('.tuned')}/{row['case']}/{row['index']}")
        if _form(row) == "free":
            yield row | free(row, draw)
            continue
        made = row | choice(row, draw)
        yield made
        if row["index"] % 50 == 0:
            yield geometry(made, draw)


def _form(row: Row) -> str:
    return "choice" if row["chance"] or row["index"] % 2 == 0 else "free"


def choice(row: Row, draw: random.Random) -> Row:
    """Log-likelihoods whose largest is at the right option where the item is right."""
    chance = row["chance"] or 0.25
    count = round(1 / chance)
    right = draw.randrange(count)
    best = right if row["correct"] else (right + draw.randrange(1, count)) % count
    tokens = [draw.randrange(1, 5) for _ in range(count)]
    scores = [-draw.uniform(1.0, 3.0) * n - 1.0 for n in tokens]
    lead = 0.3 + draw.expovariate(0.8) if row["index"] % 40 else 0.002
    scores[best] = round(min(-0.001, max(scores) + lead), 6)
    others = [round(min(score, scores[best] - 1e-4), 6) for score in scores]
    scores = [scores[best] if i == best else score for i, score in enumerate(others)]
    chars = [2 * n for n in tokens]
    ordered = sorted(scores, reverse=True)
    return {
        "form": "choice",
        "chance": chance,
        "answered": True,
        "right": right,
        "log_likelihoods": scores,
        "tokens": tokens,
        "chars": chars,
        "bytes": [3 * n for n in chars],
        "margin": round(ordered[0] - ordered[1], 6),
    }


def free(row: Row, draw: random.Random) -> Row:
    """A written answer; one in ten right ones has something around it."""
    return {
        "form": "free",
        "chance": 0.0,
        "strict": row["correct"] and draw.random() < 0.9,
        "credit": 1.0 if row["correct"] else round(draw.random() / 2, 3),
        "truncated": not row["answered"] and draw.random() < 0.5,
        "output": "…",
    }


def skipped(row: Row) -> Row:
    """An item that did not fit."""
    place = ("type", "job", "model", "suite", "process", "case", "index")
    return {name: row[name] for name in (*place, "template", "level", "chance")} | {
        "kind": "item_skipped",
        "form": _form(row),
        "reason": "context_exceeded",
        "detail": "2100 tokens, the context has 2048",
    }


def geometry(row: Row, draw: random.Random) -> Row:
    """The same item once more by full forwards."""
    place = ("type", "job", "model", "suite", "process", "case", "index", "tokens")
    return {name: row[name] for name in place} | {
        "kind": "geometry",
        "difference_nat": [round(draw.uniform(0, 0.01) * n, 6) for n in row["tokens"]],
    }
