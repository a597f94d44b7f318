"""Questions about a small table: look up, compare, count, add, and two conditions at once.

A table has a word that names its row, a group and two numbers, of which a question shows
two; it is written with commas or as Markdown. Numbers of a column differ, so that the
highest is one row, and what is counted or added is never nothing. Level 1 looks up in
three rows (four where the answer is a word), level 2 compares or counts in four or five,
level 3 adds, averages or has two conditions in five or six.

The solution shows what is added or which rows count: `3+5+2=10;10`, `Tom,Ann;2`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from harness.spec import Form, Language
from harness.suites.tasks.base import Grade, Item, Setting, data
from harness.suites.tasks.draw import Draw
from harness.suites.tasks.fill import fill, near_numbers, sampled
from harness.suites.tasks.short_answer import Ask, build
from harness.suites.tasks.short_answer import mark as mark_short

NAME: Final = "table"
VERSION: Final = 1
CHANCE: Final[Mapping[Form, float]] = {"choice": 0.25, "free": 0.06}

_DATA: Final = data("table")
_SHOWN: Final = {"g": "group", "n": "n", "m": "m"}

Entry = Mapping[str, Any]


class Row(NamedTuple):
    """One row; `number` is the column that is asked about, `second` the other one."""

    line: int
    key: str
    group: str
    number: int
    second: int


class Found(NamedTuple):
    """An answer, what stands in the question's slots, and where wrong choices come from."""

    answer: str
    wrong: Sequence[str]
    slots: Mapping[str, str | int]
    words: Sequence[str] = ()
    steps: str = ""


class Source(NamedTuple):
    """The rows of a table, those of the asked group first; they are shown by their line."""

    draw: Draw
    rows: list[Row]
    ordinals: Sequence[str]
    step: int

    @property
    def own(self) -> list[Row]:
        """Rows of the first row's group, as they are shown."""
        return [row for row in sorted(self.rows) if row.group == self.rows[0].group]

    def row(self, row: Row, **slots: str | int) -> Found:
        """The answer is the name of a row."""
        others = [each.key for each in self.rows if each != row]
        keys = [each.key for each in self.rows]
        return Found(row.key, sampled(self.draw, others, 3), slots, keys)

    def tally(self, rows: Sequence[Row], **slots: str | int) -> Found:
        """The answer is a number of rows, from 1 to 4."""
        steps = ",".join(row.key for row in rows)
        wrong = [str(number) for number in range(1, 5) if number != len(rows)]
        return Found(str(len(rows)), wrong, slots, (), steps)

    def total(self, rows: Sequence[Row], **slots: str | int) -> Found:
        """The answer is a sum."""
        total = sum(row.number for row in rows)
        steps = f"{'+'.join(str(row.number) for row in rows)}={total}"
        return Found(str(total), near_numbers(self.draw, total, step=self.step), slots, (), steps)

    def difference(self, numbers: Sequence[int], **slots: str | int) -> Found:
        """The answer is the difference of two numbers."""
        high, low = max(numbers), min(numbers)
        wrong = near_numbers(self.draw, high - low, step=self.step)
        return Found(str(high - low), wrong, slots, (), f"{high}-{low}={high - low}")


def templates(language: Language) -> Mapping[str, tuple[int, ...]]:
    """Levels of each template."""
    return {entry["id"]: tuple(entry["levels"]) for entry in _DATA[language]["templates"]}


def generate(setting: Setting, draw: Draw) -> Item:
    """Build one item; see the module."""
    text = _DATA[setting.language]
    level = draw.between(1, 3)
    entry = draw.pick([each for each in text["templates"] if level in each["levels"]])
    domain = text["domains"][entry["domain"]]
    rows = _rows(draw, domain, entry, level)
    source = Source(draw, rows, text["ordinals"], domain[entry["column"]][2])
    found = _KINDS[entry["kind"]](source)
    shown = _shown(domain, entry, sorted(rows), markdown=draw.below(2) == 0)
    ask = Ask(
        template=entry["id"],
        level=level,
        question=f"{text['intro']}\n{shown}\n{fill(entry['ask'], **found.slots)}",
        answer=found.answer,
        wrong=found.wrong,
        words=found.words,
        steps=found.steps,
    )
    return build(setting, draw, ask)


def mark(text: str, item: Item) -> Grade:
    """Mark a free answer."""
    return mark_short(text, item)


def _rows(draw: Draw, domain: Entry, entry: Entry, level: int) -> list[Row]:
    """Rows with different names and numbers; how the groups fall depends on the question."""
    kind = entry["kind"]
    count = {"get": 3, "group": 4, "find": 4}.get(kind) or level + draw.between(2, 3)
    first, *others = sampled(draw, domain["groups"], 4)
    if kind == "group":
        groups = [first, *others]
    elif kind == "mode":
        groups = [first] * level + others
    else:
        least = {"get": 1, "size": 1, "part-over": 3}.get(kind, 2)
        own = draw.between(least, count - 1 if kind == "size" else count - 2)
        groups = [first] * own + [draw.pick(others[:2]) for _ in range(count - own)]
    columns = []
    for name in (entry["column"], "m" if entry["column"] == "n" else "n"):
        low, high, step = domain[name]
        columns.append(sampled(draw, range(low, high + 1, step), len(groups)))
    keys = sampled(draw, domain["keys"], len(groups))
    lines = draw.shuffled(range(len(groups)))
    return [Row(*fields) for fields in zip(lines, keys, groups, *columns, strict=True)]


def _shown(domain: Entry, entry: Entry, rows: Sequence[Row], *, markdown: bool) -> str:
    names = ["key", *(_SHOWN[letter] for letter in entry["show"])]
    lines = [[domain["columns"][name] for name in names]]
    for row in rows:
        values = {"key": row.key, "group": row.group, entry["column"]: str(row.number)}
        lines.append([values.get(name, str(row.second)) for name in names])
    if not markdown:
        return "\n".join(", ".join(line) for line in lines)
    table = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([table[0], "|---" * len(names) + "|", *table[1:]])


# Questions


def _number(row: Row) -> int:
    return row.number


def _get(source: Source) -> Found:
    """A number by its row; wrong are those of the other rows and one beside it."""
    row, *others = source.rows
    column = [each.number for each in source.rows]
    beside = [row.number + source.step * far for far in (-2, -1, 1, 2)]
    wrong = [each.number for each in others]
    wrong.append(source.draw.pick([each for each in beside if each > 0 and each not in column]))
    return Found(str(row.number), [str(number) for number in wrong], {"key": row.key})


def _group(source: Source) -> Found:
    row, *others = source.rows
    wrong = [each.group for each in others]
    return Found(row.group, wrong, {"key": row.key}, [row.group, *wrong])


def _nth(source: Source) -> Found:
    """The second or third highest, behind the order of all."""
    ordered = sorted(source.rows, key=_number, reverse=True)
    place = source.draw.between(1, 2)
    found = source.row(ordered[place], nth=source.ordinals[place])
    return found._replace(steps=">".join(str(row.number) for row in ordered))


def _over(source: Source) -> Found:
    """Rows above one of the numbers, which itself is not above."""
    limit = source.draw.pick(sorted(map(_number, source.rows))[:-1])
    return source.tally([row for row in sorted(source.rows) if row.number > limit], value=limit)


def _under(source: Source) -> Found:
    limit = source.draw.pick(sorted(map(_number, source.rows))[1:])
    return source.tally([row for row in sorted(source.rows) if row.number < limit], value=limit)


def _both(source: Source) -> Found:
    """One row has group and number; another shares its group, a third its number."""
    first, last = source.rows[0], source.rows[-1]
    source.rows[-1] = last._replace(number=first.number)
    return source.row(first, group=first.group, value=first.number)


def _mode(source: Source) -> Found:
    groups = list(dict.fromkeys(row.group for row in source.rows))
    return Found(groups[0], groups[1:], {}, groups)


def _gap(source: Source) -> Found:
    first, second = source.rows[:2]
    return source.difference([first.number, second.number], key=first.key, other=second.key)


def _mean(source: Source) -> Found:
    """The highest number is lowered until the average is whole."""
    rows = source.rows
    top = max(range(len(rows)), key=lambda place: rows[place].number)
    excess = sum(row.number for row in rows) % len(rows)
    rows[top] = rows[top]._replace(number=rows[top].number - excess)
    found = source.total(sorted(rows))
    mean = int(found.answer) // len(rows)
    return found._replace(
        answer=str(mean),
        wrong=near_numbers(source.draw, mean),
        steps=f"{found.steps},{found.answer}/{len(rows)}={mean}",
    )


def _product(source: Source) -> Found:
    """The row's two numbers multiplied; wrong are products with a neighbour of the first."""
    row = source.rows[0]
    product = row.number * row.second
    wrong = near_numbers(source.draw, product, step=row.second, low=row.second)
    return Found(
        str(product), wrong, {"key": row.key}, steps=f"{row.number}*{row.second}={product}"
    )


def _part_most(source: Source) -> Found:
    """The highest of a group; another group has a higher one."""
    rows = source.rows
    top = max(range(len(rows)), key=lambda place: rows[place].number)
    high, last = rows[top].number, rows[-1].number
    rows[top] = rows[top]._replace(number=last)
    rows[-1] = rows[-1]._replace(number=high)
    return source.row(max(source.own, key=_number), group=rows[0].group)


def _part_over(source: Source) -> Found:
    """Rows of a group above one of its numbers."""
    own = source.own
    limit = source.draw.pick(sorted(map(_number, own))[:-1])
    above = [row for row in own if row.number > limit]
    return source.tally(above, group=own[0].group, value=limit)


_KINDS: Final[Mapping[str, Callable[[Source], Found]]] = {
    "get": _get,
    "group": _group,
    "find": lambda source: source.row(source.rows[0], value=source.rows[0].number),
    "most": lambda source: source.row(max(source.rows, key=_number)),
    "least": lambda source: source.row(min(source.rows, key=_number)),
    "nth": _nth,
    "over": _over,
    "under": _under,
    "both": _both,
    "size": lambda source: source.tally(source.own, group=source.rows[0].group),
    "mode": _mode,
    "gap": _gap,
    "range": lambda source: source.difference([row.number for row in source.rows]),
    "sum": lambda source: source.total(sorted(source.rows)),
    "part": lambda source: source.total(source.own, group=source.rows[0].group),
    "mean": _mean,
    "product": _product,
    "part-most": _part_most,
    "part-over": _part_over,
}
