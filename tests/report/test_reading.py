from __future__ import annotations

import pytest

from harness.errors import RecordError
from harness.report import words
from harness.report.reading import LONGEST, clean, flatten, read
from harness.score import SCHEMA
from tests.report import sample
from tests.report.snapshots import golden


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ref-4m.q8_0.gguf", "ref-4m.q8_0.gguf"),
        ("한국어 모델", "한국어 모델"),
        ("two\nlines\tand", "two lines and"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\x00b\x9b", "a\\x00b\\x9b"),
        ("\u202etxt.exe", "\\u{202e}txt.exe"),
        ("zero\u200bwidth", "zero\\u{200b}width"),
        ("\ud800", "\\u{d800}"),
        (None, "None"),
    ],
)
def test_clean(text, shown) -> None:
    assert clean(text) == shown


def test_clean_bounds_length() -> None:
    assert clean("x" * 10_000_000) == "x" * LONGEST + "…"
    assert clean("x" * LONGEST) == "x" * LONGEST


@pytest.mark.parametrize("change", [{"schema": "2"}, {"kind": "run"}, {"schema": None}])
def test_another_schema_is_refused_with_the_command_that_mends_it(change) -> None:
    with pytest.raises(RecordError) as caught:
        read(sample.card([], **change))
    assert caught.value.hint.startswith("harness score")
    assert caught.value.allowed == f"kind 'scorecard', schema 1 to {SCHEMA}"


def test_ranks_are_marked_as_shared_within_their_list_only() -> None:
    view = read(sample.laptop())
    assert [row.place for row in view.rows] == ["1=", "1=", "3", "4", "–"]
    entries = [
        sample.entry("a", rank=1, speed=1, skill=1),
        sample.entry("b", rank=1, speed=1, skill=1) | {"list": "embedded"},
    ]
    view = read(sample.card(entries))
    assert [ranking.list_name for ranking in view.rankings] == ["real", "embedded"]
    assert [row.place for row in view.rows] == ["1", "1"]


def test_effects_multiply_to_the_score() -> None:
    for row in read(golden()).rows:
        if row.score.value is not None:
            product = 1000.0
            for factor in row.factors:
                product *= factor.effect
            assert product == pytest.approx(row.score.value, rel=1e-3)


def test_adjusted_interval_holds_the_adjusted_value() -> None:
    for row in read(golden()).rows:
        for task in row.tasks:
            found = task.adjusted
            assert found.lo is not None
            assert found.value is not None
            assert found.hi is not None
            assert found.lo - 1e-4 <= found.value <= found.hi + 1e-4


def test_facts_that_should_stay_are_marked_when_they_change() -> None:
    facts = {fact.name: fact for fact in read(sample.laptop()).facts}
    assert facts["power_mode"].changed
    assert facts["memory_available_bytes"].differs
    assert not facts["memory_available_bytes"].changed
    assert not facts["cpu"].changed


def test_flatten() -> None:
    nested = {"a": {"b": 1, "c": None}, "d": [1, "x"], "e": [{"f": True}], "g": False}
    assert flatten(nested) == [("a.b", "1"), ("d", "1, x"), ("e.0.f", "yes"), ("g", "no")]


@pytest.mark.parametrize(
    ("tier", "trust", "shown", "standing"),
    [
        ("verified", None, "unverified", "self_run"),
        ("verified", {"state": "unverified", "reason": "no_evaluator"}, "unverified", "self_run"),
        ("verified", {"state": "verified", "signers": ["jury"]}, "verified", "verified"),
        ("unverified", {"state": "verified", "signers": ["jury"]}, "unverified", "unverified"),
        ("ci", None, "ci", "ci"),
    ],
)
def test_no_profile_makes_a_run_official(tier, trust, shown, standing) -> None:
    """Only an evaluator's signature that was checked for this very report does."""
    view = read(golden() | {"tier": tier} | ({"trust": trust} if trust else {}))
    assert (view.tier, view.standing) == (shown, standing)
    assert view.trust.state == (trust or {"state": "self"})["state"]
    if tier == "verified" and shown != tier:
        found = {
            row.tier for ranking in read(golden() | {"tier": tier}).rankings for row in ranking.rows
        }
        assert "verified" not in found


def test_a_report_says_who_vouches_for_it() -> None:
    for state, said in (
        (None, "not verified by an evaluator"),
        ({"state": "unverified", "reason": "key_revoked"}, "the signing key was revoked"),
        ({"state": "verified", "signers": ["jury", "<b>"]}, "Signature of jury, <b> checked"),
    ):
        view = read(golden() | ({"trust": state} if state else {}))
        assert said in words.trust(view, "en")
