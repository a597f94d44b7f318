"""Every rule is documented, said by something, and named by nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import harness
from harness.errors import SpecError
from harness.preflight.rules import RULES, refuse

ROOT = Path(harness.__file__).parent
PAGE = (ROOT.parent / "docs" / "preflight.md").read_text("utf-8")
SOURCES = [ROOT / "models" / "gguf_file.py", ROOT / "models" / "safetensors_file.py"]
SOURCES += [path for path in (ROOT / "preflight").glob("*.py") if path.name != "rules.py"]


def test_the_page_lists_the_rules_in_the_codes_order_and_words() -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \| (.+) \|$", PAGE, re.MULTILINE)
    assert [row for row in rows if row[0] in RULES] == list(RULES.items())


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_used(rule: str) -> None:
    assert any(f'"{rule}"' in path.read_text("utf-8") for path in SOURCES)


def test_a_refusal_is_printable_and_says_all() -> None:
    with pytest.raises(SpecError) as caught:
        refuse("a\x1b.gguf", "gguf_key", "\u202ebad", place="byte 24")
    assert str(caught.value) == (
        "a\\u001b.gguf: byte 24: \\u202ebad\n"
        "  allowed: keys of the metadata are unique, not empty, and UTF-8\n"
        "  next: export the model again, or fetch it from its maker"
    )
    assert (caught.value.reason, caught.value.exit_code) == ("gguf_key", 2)
