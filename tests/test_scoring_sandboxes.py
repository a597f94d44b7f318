"""What of the sandbox reaches the scorecard and its reports, and what an official run demands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.errors import SpecError
from harness.models.resolve import model_from_path
from harness.prepare import require_engine
from harness.report import markdown, reading, words
from harness.score import scorecard
from tests.strategies import Candidate, profile, records

MODELS = [Candidate(id="ref"), Candidate(id="other", speed=1.5, seed=3)]
OFFICIAL = profile(tier="verified", tolerates_unknown=True)
OFF = {"level": 0, "reason": "switched_off"}


def card_of(found: Any, *, official: bool = True, job: str = "") -> dict[str, Any]:
    """The scorecard of a run in which the model `other` recorded this of its sandbox."""
    rows = records(MODELS, OFFICIAL if official else replace(OFFICIAL, tier="unverified"))
    edited = []
    for row in rows:
        mine = row["type"] == "engine" and row["model"] == "other" and job in {"", row["job"]}
        edited.append({**row, "sandbox": found} if mine else row)
    return scorecard(edited)


def codes(card: dict[str, Any]) -> set[str]:
    return {finding["code"] for finding in card["verdict"]["findings"]}


def entry(card: dict[str, Any], model: str) -> dict[str, Any]:
    return next(one for one in card["entries"] if one["model"] == model)


def test_an_official_run_is_verified_where_every_worker_was_confined() -> None:
    card = card_of({"level": 1, "reason": ""})
    assert card["tier"] == "verified"
    assert "not_sandboxed" not in codes(card)
    assert {one["sandbox"]["level"] for one in card["entries"]} == {1}


@pytest.mark.parametrize("found", [OFF, {"level": 0, "reason": "no_landlock"}, None])
def test_an_official_run_is_unverified_where_one_was_not(found: Any) -> None:
    card = card_of(found)
    assert card["tier"] == card["verdict"]["state"] == "unverified"
    assert entry(card, "ref")["sandbox"]["level"] == 1
    (finding,) = (f for f in card["verdict"]["findings"] if f["code"] == "not_sandboxed")
    reason = found["reason"] if found else "not_recorded"
    assert finding["detail"] == f"other at level 0 ({reason})"
    assert entry(card, "other")["score"] is not None, "it is shown, not refused"


def test_the_least_confined_job_counts() -> None:
    engines = [row for row in records(MODELS, OFFICIAL) if row["type"] == "engine"]
    jobs = [row["job"] for row in engines if row["model"] == "other"]
    assert len(jobs) > 1
    card = card_of(OFF, job=jobs[-1])
    assert entry(card, "other")["sandbox"] == OFF
    assert card["tier"] == "unverified"


def test_another_profile_only_shows_it() -> None:
    card = card_of(OFF, official=False)
    assert "not_sandboxed" not in codes(card)
    view = reading.read(card)
    assert words.sandbox(view, "en") == "sandbox level 0: switched off by HARNESS_SANDBOX=off"
    assert "HARNESS_SANDBOX=off로 껐음" in markdown.render(card, lang="ko")


def test_a_run_in_which_no_worker_came_that_far_says_nothing() -> None:
    rows = [row for row in records(MODELS, OFFICIAL) if row["type"] != "engine"]
    assert words.sandbox(reading.read(scorecard(rows)), "en") == ""


@pytest.mark.parametrize("value", ["off", "on"])
def test_the_switch_has_two_positions(
    value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "toy.fake.json"
    path.write_text("{}")
    model = model_from_path(str(path))
    monkeypatch.setenv("HARNESS_SANDBOX", value)
    require_engine(model)
    monkeypatch.setenv("HARNESS_SANDBOX", "false")
    with pytest.raises(SpecError) as refused:
        require_engine(model)
    assert str(refused.value) == (
        "HARNESS_SANDBOX is 'false'\n  allowed: on or off\n  next: unset HARNESS_SANDBOX"
    )
