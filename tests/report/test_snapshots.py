from __future__ import annotations

import pytest

from tests.report.snapshots import HERE, SNAPSHOTS


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_report_of_the_golden_scorecard_is_unchanged(name: str) -> None:
    again = "after a deliberate change: python -m tests.report.snapshots"
    assert SNAPSHOTS[name]() == (HERE / name).read_text("utf-8"), again
