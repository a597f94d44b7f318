"""What a resumed run is judged by: the looks at the machine of all its sessions."""

import pytest

from harness.score import dump, scorecard
from tests.strategies import CALIBRATION, records
from tests.test_validity import FIELD, STRICT, codes


def resumed(*sessions):
    """A clean run's records with these looks at the machine: one tuple of changes a session,
    before it and, if it ended, after it.
    """
    rows = records(FIELD, STRICT)
    looks = {row["when"]: row for row in rows if row["type"] == "environment"}
    own = [
        looks[when] | {"session": number} | change
        for number, changes in enumerate(sessions)
        for when, change in zip(("before", "after"), changes, strict=False)
    ]
    return [row for row in rows if row["type"] != "environment"] + own


def reading(factor):
    return {"calibration": CALIBRATION | {"read_bytes_per_s": 1e10 * factor}}


@pytest.mark.parametrize(
    ("sessions", "code"),
    [
        # It was fast, became slow, died, and was slow from the resumption to the end.
        ([(reading(1.0),), (reading(0.7), reading(0.7))], "calibration_drift"),
        ([(reading(1.0), reading(0.7)), (reading(1.0), reading(1.0))], "calibration_drift"),
        ([({"facts": {"power_mode": "balanced"}},), ({"facts": {"power_mode": "performance"}}, {})],
         "power_mode_changed"),
        # The counter begins anew where the machine was restarted.
        ([({"facts": {"throttle_count": 9}}, {"facts": {"throttle_count": 12}}),
          ({"facts": {"throttle_count": 0}}, {"facts": {"throttle_count": 0}})], "throttled"),
    ],
)  # fmt: skip
def test_every_session_of_a_resumed_run_counts(sessions, code):
    rows = resumed(*sessions)
    card = scorecard(rows)
    assert codes(card["verdict"]["findings"])[code] == "invalid"
    assert dump(scorecard(rows[:1] + rows[:0:-1])) == dump(card)


def test_a_resumed_run_shows_its_first_and_its_last_look():
    named = [{"facts": {"os": name}} for name in ("d", "c", "b", "a")]
    card = scorecard(resumed(named[:2], named[2:]))
    assert [card["environment"][when]["os"] for when in ("before", "after")] == ["d", "a"]
    assert scorecard(resumed(named[:2], named[2:3]))["environment"]["after"] == {}
