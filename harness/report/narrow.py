"""Tables for terminals of any width.

As columns where they fit; else two lines a row, for a figure that is cut off, or stands without
the name of its row, says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text

from harness.report.words import DASH

_FOLDED = 22
"""Columns of a terminal that a column needs whose text may fold."""
_GAP = "  "


class Fitting:
    """A table of `Text` cells, or its rows as lines.

    Args:
        table: columns that may not fold are `no_wrap`. named: numbers of the columns that begin
            a row's lines; the others follow, each behind its heading.
    """

    def __init__(self, table: Table, *, named: Sequence[int]) -> None:
        self.table = table
        self._named = named

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The form that fits."""
        if sum(_needed(column, console, options) for column in self.table.columns) <= (
            options.max_width
        ):
            yield self.table
            return
        if self.table.title:
            yield Text(str(self.table.title), style="bold")
        for row in zip(*(column.cells for column in self.table.columns), strict=True):
            yield Text(_GAP).join(row[number] for number in self._named)
            yield Padding(Text(_GAP).join(self._figures(row)), (0, 0, 0, 4))

    def _figures(self, row: Sequence[Text]) -> list[Text]:
        return [
            Text.assemble((f"{column.header} ", "dim"), cell)
            for number, (column, cell) in enumerate(zip(self.table.columns, row, strict=True))
            if number not in self._named and cell.plain not in {"", DASH}
        ]


def _needed(column: Column, console: Console, options: ConsoleOptions) -> int:
    """Columns of the terminal, with the space behind."""
    cells = (column.header, *column.cells)
    widest = max(Measurement.get(console, options, cell).maximum for cell in cells)
    return 1 + (widest if column.no_wrap else min(widest, _FOLDED))
