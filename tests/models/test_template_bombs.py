"""Whatever a template does, it ends in time and in memory. With the real limits:
`python -m tests.hostile_templates`.
"""

from __future__ import annotations

import sys

import pytest

from tests.hostile_templates import BOMBS, detonate, largest_child_bytes

SLOW = ("loops", "product", "power")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has only the timeout")
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_stopped(name: str) -> None:
    before = largest_child_bytes()
    ended = detonate(BOMBS[name], timeout_s=1.0 if name in SLOW else 9.0)
    assert ended.reason == f"chat_template_{'timeout' if name in SLOW else 'limit'}"
    assert ended.seconds <= 10
    # Engines in other tests may have been larger.
    assert ended.peak_bytes <= max(before, 1 << 30)
