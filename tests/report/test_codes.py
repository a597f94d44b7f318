"""Every code that a scorecard can hold is named in both languages and documented."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import harness
from harness.environment import FACTS
from harness.metrics import METRICS
from harness.preflight import onnx_rules, rules
from harness.report import words

ROOT = Path(harness.__file__).parent
PAGE = (ROOT.parent / "docs" / "metrics.md").read_text("utf-8")
FINDERS = ("environment/rules.py", "scoring/validity.py", "score.py")
REFUSERS = (
    "metrics.py",
    "scoring/divergence.py",
    "scoring/energy.py",
    "scoring/items.py",
    "scoring/observe.py",
    "scoring/proofs.py",
    "scoring/sustained.py",
)
LATER = {"incomparable", "not_pulled"}
"""Named already, for what the next commands will say."""
DOCUMENTED = set(re.findall(r"`([a-z0-9_]+)`", PAGE))


def findings(path: Path) -> Iterator[str]:
    """First arguments of `_finding` and values of "code" in a file, as far as they are literal."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "_finding":
            first = node.args[0]
            if isinstance(first, ast.Constant):
                yield str(first.value)
        elif isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                literal = isinstance(value, ast.Constant)
                if literal and isinstance(key, ast.Constant) and key.value == "code":
                    yield str(value.value)


def refusals(path: Path) -> Iterator[str]:
    """Reasons that a file gives to the errors it raises."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            for keyword in node.keywords:
                if keyword.arg == "reason" and isinstance(keyword.value, ast.Constant):
                    yield str(keyword.value.value)


FINDINGS = sorted({code for name in FINDERS for code in findings(ROOT / name)})
REASONS = sorted({code for name in REFUSERS for code in refusals(ROOT / name)})


def every_reason() -> Iterator[str]:
    """Reason codes that any file gives to an error, literal or as one of two literals."""
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            given = isinstance(node, ast.keyword) and node.arg == "reason"
            default = isinstance(node, ast.Assign) and (
                ast.unparse(node.targets[0]) == "default_reason"
            )
            if given or default:
                yield from codes_in(node.value)  # type: ignore[attr-defined]


def codes_in(value: ast.expr) -> Iterator[str]:
    """`"a"`, `x or "a"` and `"a" if x else "b"`; what is computed is not known."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value:
        yield value.value
    elif isinstance(value, ast.BoolOp):
        for part in value.values:
            yield from codes_in(part)
    elif isinstance(value, ast.IfExp):
        yield from codes_in(value.body)
        yield from codes_in(value.orelse)


RULES = {**rules.RULES, **onnx_rules.RULES}


def test_every_reason_of_every_error_has_a_name_in_both_languages() -> None:
    """A skipped model shows the code of whatever refused it."""
    reasons = {*every_reason(), *RULES}
    assert {"gguf_truncated", "unknown_format", "no_network", "run_missing"} <= reasons
    names = words.strings()
    nameless = [
        code for code in reasons if f"reason.{code}" not in names and f"finding.{code}" not in names
    ]
    assert sorted(nameless) == []


@pytest.mark.parametrize("code", RULES)
def test_names_of_rules_say_something_in_korean(code: str) -> None:
    assert re.search("[가-힣]", words.strings()[f"reason.{code}"]["ko"])


def test_every_fact_of_a_machine_has_a_name() -> None:
    assert [name for name in FACTS if f"fact.{name}" not in words.strings()] == []


def test_the_sources_were_found() -> None:
    assert {"on_battery", "slowed_down", "few_repetitions"} <= set(FINDINGS)
    assert {"prompt_not_evaluated", "token_not_available"} <= set(REASONS)


@pytest.mark.parametrize("code", FINDINGS)
def test_findings_are_named_and_documented(code: str) -> None:
    assert f"finding.{code}" in words.strings()
    assert code in DOCUMENTED


@pytest.mark.parametrize("code", REASONS)
def test_refusals_are_named_and_documented(code: str) -> None:
    assert f"reason.{code}" in words.strings()
    assert code in DOCUMENTED


def test_every_named_code_is_one_that_something_says() -> None:
    """In quotes in the source: codes are also parts of tables and of `unknown_…` names."""
    sources = "\n".join(path.read_text("utf-8") for path in ROOT.rglob("*.py"))
    spoken = set(re.findall(r'"([a-z0-9_]+)"', sources)) | LATER
    named = {
        key.partition(".")[2] for key in words.strings() if key.startswith(("finding.", "reason."))
    }
    assert (
        sorted(
            name
            for name in named - spoken
            if not name.startswith(("unknown_", "signal_", "ntstatus_"))
        )
        == []
    )


def test_no_code_is_both_a_finding_and_a_reason() -> None:
    names = words.strings()
    both = {key.removeprefix("finding.") for key in names if key.startswith("finding.")}
    assert not {code for code in both if f"reason.{code}" in names}


@pytest.mark.parametrize("metric", METRICS)
def test_metrics_are_documented(metric: str) -> None:
    assert metric in DOCUMENTED
