"""What must hold of every scorecard, whatever was measured."""

import json
import math
import random
import time
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.score import dump, scorecard
from harness.scoring.accuracy import summarise, summarise_task
from harness.scoring.items import Item
from harness.spec import AccuracySuite, Profile
from tests.perf.scoring_trials import (
    FORMULAS,
    QUICK,
    REF,
    same_answers,
    same_when_rebuilt,
    same_when_shuffled,
    ties,
)
from tests.strategies import Candidate, candidates, fields, records

few = settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)


every_formula = pytest.mark.parametrize("used", FORMULAS.values(), ids=FORMULAS)


def card_of(found, used=QUICK):
    return scorecard(records(found, used))


def by_hand(entry, card):
    """The score by the formula as docs/metrics.md has it, from the rounded ratios."""
    ratios = {metric: entry["ratios"][metric]["value"] for metric in card["weights"]}
    weights = card["weights"]
    if card["scoring"] == "aimers":
        gains = {m: r if m == "accuracy" else 1 - 1 / r for m, r in ratios.items()}
        return 1000 * max(0.0, sum(weights[m] * gain for m, gain in gains.items()))
    return 1000 * math.prod(r ** weights[m] for m, r in ratios.items())


def entries(card):
    return {entry["model"]: entry for entry in card["entries"]}


@every_formula
@few
@given(fields(), st.randoms(use_true_random=False))
def test_order_of_records_and_models_is_irrelevant(used, found, shuffler):
    rows = records(found, used)
    expected = dump(scorecard(rows))
    run = rows[0] | {"models": shuffler.sample(rows[0]["models"], len(found))}
    rest = rows[1:]
    shuffler.shuffle(rest)
    assert dump(scorecard([*rest, run])) == expected
    assert dump(scorecard(json.loads(json.dumps(rows)))) == expected
    assert dump(json.loads(expected)) == expected


@every_formula
@few
@given(fields(), st.sampled_from([0.001, 0.3, 60.0]), st.sampled_from([2**-4, 1024.0]))
def test_units_are_irrelevant(used, found, seconds, mebibytes):
    one = card_of(found, used)
    other = scorecard(
        records(
            [replace(c, memory_mib=c.memory_mib * mebibytes) for c in found],
            used,
            time_unit=seconds,
        )
    )
    for name, entry in entries(one).items():
        changed = entries(other)[name]
        assert changed["reason"] == entry["reason"]
        if entry["score"] is not None:
            # Nanoseconds are whole, so a rescaled time is off by a rounding.
            assert changed["score"] == pytest.approx(entry["score"], rel=1e-4)


@every_formula
@few
@given(fields(most=3), st.floats(1.05, 3.0), st.sampled_from(["speed", "memory", "skill"]))
def test_better_never_scores_less(used, found, factor, part):
    chosen = found[-1]
    better = {
        "speed": replace(chosen, speed=chosen.speed * factor),
        "memory": replace(chosen, memory_mib=chosen.memory_mib / factor),
        "skill": replace(chosen, skill=min(1.0, chosen.skill * factor)),
    }[part]
    before = entries(card_of(found, used))[chosen.id]
    after = entries(card_of([*found[:-1], better], used))[chosen.id]
    if before["score"] is not None:
        assert after["score"] >= before["score"] * (1 - 1e-5)


@every_formula
@few
@given(st.floats(0.5, 100.0), st.floats(0.1, 1000.0))
def test_a_guesser_never_ranks(used, speed, memory_mib):
    """However fast and small it is."""
    guesser = Candidate(id="guess", skill=0.0, speed=speed, memory_mib=memory_mib, seed=1)
    found = entries(card_of([REF, guesser], used))["guess"]
    assert found["score"] is None
    assert found["rank"] is None
    assert found["reason"] == "at_chance"


def test_guessers_are_seldom_lucky():
    """At most the 2.5 % that lie beyond one end of an exact 95 % interval."""
    draw = random.Random(3)
    lucky, guessers = 0, 400
    for _ in range(guessers):
        tasks = {}
        for name, chance in (("ko-josa", 0.5), ("ko-pairs", 0.5), ("ko-calendar", 0.25)):
            answers = [draw.random() < chance for _ in range(60)]
            items = [
                Item(i, f"t{i % 12}", 1, chance, right, answered=True)
                for i, right in enumerate(answers)
            ]
            tasks[name] = summarise_task(name, items)
        lucky += not summarise(tasks).at_chance
    assert lucky / guessers <= 0.035


@every_formula
@few
@given(fields(most=3))
def test_a_clone_ties_and_changes_no_other_pair(used, found):
    original = found[-1]
    clone = replace(original, id="z-clone")
    before, after = card_of(found, used), card_of([*found, clone], used)
    kept = {(p["a"], p["b"]): (p["gap"], p["p"]) for p in before["pairs"]}
    assert kept.items() <= {(p["a"], p["b"]): (p["gap"], p["p"]) for p in after["pairs"]}.items()
    twins = [entries(after)[name] for name in (original.id, clone.id)]
    if twins[0]["score"] is not None:
        assert twins[0]["score"] == twins[1]["score"]
        assert clone.id in twins[0]["tied_with"]
        assert original.id in twins[1]["tied_with"]


@every_formula
@few
@given(fields())
def test_ranks_say_who_beats_whom(used, found):
    card = card_of(found, used)
    by_id = entries(card)
    for name, entry in by_id.items():
        if entry["rank"] is None:
            assert entry["reason"]
            continue
        beaten = [p for p in card["pairs"] if p["beats"] and p["b"] == name]
        assert entry["rank"] == 1 + len(beaten)
        assert entry["rank_range"][0] <= entry["rank"] <= entry["rank_range"][1]
        assert entry["interval"][0] <= entry["score"] <= entry["interval"][1]
        assert entry["score"] == pytest.approx(by_hand(entry, card), rel=1e-4, abs=1e-3)
        for other in entry["tied_with"]:
            assert name in by_id[other]["tied_with"]
    for pair in card["pairs"]:
        assert by_id[pair["a"]]["score"] >= by_id[pair["b"]]["score"]
        assert pair["p_adjusted"] >= pair["p"]
        if pair["beats"]:
            assert pair["gap"] > 0.02
            assert pair["p_adjusted"] < 0.05
    dominated = card["pareto"]["dominated"]
    ranked = {name for name, entry in by_id.items() if entry["rank"] is not None}
    assert set(card["pareto"]["front"]) | set(dominated) == ranked
    assert not ranked or card["pareto"]["front"]


@pytest.mark.parametrize("used", [QUICK, FORMULAS["gate"]], ids=["geometric", "gate"])
@few
@given(candidates, st.sampled_from(["ref", "x"]))
def test_order_does_not_depend_on_the_reference(used, candidate, reference):
    """Uncapped: dividing by another model moves all scores alike. A sum of gains, as aimers
    has it, depends on what it is a gain against: docs/profiles.md says so.
    """
    other = replace(REF, id="x", skill=0.65, speed=1.1, memory_mib=380, seed=3)
    third = replace(REF, id="y", skill=0.7, speed=0.9, memory_mib=440, seed=candidate.seed)
    found = entries(card_of([REF, other, third], replace(used, reference=reference)))
    one = entries(card_of([REF, other, third], used))
    capped = any(
        ratio["capped"] for e in (*one.values(), *found.values()) for ratio in e["ratios"].values()
    )
    if not capped:
        ranked = [name for name in one if found[name]["score"] and one[name]["score"]]
        quotients = {found[name]["score"] / one[name]["score"] for name in ranked}
        assert max(quotients) == pytest.approx(min(quotients), rel=1e-4)


@few
@given(fields(most=3), st.data())
def test_dropped_samples_never_raise_a_score(found, data):
    """Whatever is missing: the score is the same, or there is none and a reason."""
    rows = records(found, QUICK)
    samples = [i for i, row in enumerate(rows) if row["type"] == "sample"]
    dropped = data.draw(st.sets(st.sampled_from(samples), min_size=1, max_size=5))
    before = entries(scorecard(rows))
    after = entries(scorecard([row for i, row in enumerate(rows) if i not in dropped]))
    for name, entry in after.items():
        if entry["score"] is None:
            assert entry["reason"]
        else:
            assert entry["score"] == before[name]["score"]


def test_equal_models_rarely_beat_each_other():
    """A/A of whole scorecards: eight equal models, three processes, spread of 3 %."""
    found = [replace(REF, id="ref" if i == 0 else f"m{i}", noise=0.03, seed=i) for i in range(8)]
    card = scorecard(same_answers(records(found, QUICK)))
    assert len(card["pairs"]) == 28
    assert not [pair for pair in card["pairs"] if pair["beats"]]
    assert {entry["rank"] for entry in card["entries"]} == {1}


@every_formula
def test_counted_trials(used: Profile):
    """The full counts: `python -m tests.perf.scoring_trials`."""
    assert ties(used, 20) >= 18
    assert same_when_shuffled(used, 5) == 5
    assert same_when_rebuilt(used, 2) == 2


@every_formula
@pytest.mark.parametrize("value", [math.nan, math.inf, 0, -1])
@pytest.mark.parametrize("field", ["token_ns", "end_ns", "peak_resident_bytes"])
def test_nan_zero_and_negative_are_refused(used: Profile, value, field):
    rows = records([REF, replace(REF, id="x", seed=1)], used)
    wrong = [value] * 8 if field == "token_ns" else value
    spoilt = [
        row | {field: wrong} if row.get("model") == "x" and field in row else row for row in rows
    ]
    needed = field != "peak_resident_bytes" or field in used.weights
    found = entries(scorecard(spoilt))["x"]
    assert (found["score"] is None) is needed
    assert found["reason"] == ("bad_times" if needed else "")


def test_a_clear_winner_wins():
    found = [REF, *(replace(REF, id=f"m{i}", speed=1 + 0.3 * i, seed=i) for i in (1, 2, 3))]
    card = scorecard(same_answers(records(found, QUICK)))
    ranks = {name: entry["rank"] for name, entry in entries(card).items()}
    assert ranks == {"ref": 4, "m1": 3, "m2": 2, "m3": 1}


def test_eight_models_are_scored_in_three_seconds():
    used = replace(
        QUICK,
        suites=replace(
            QUICK.suites,
            accuracy=AccuracySuite(
                tasks=("arith", "calendar", "josa", "pairs"), languages=("ko", "en"), items=100
            ),
        ),
    )
    found = [REF, *(replace(REF, id=f"m{i}", seed=i) for i in range(7))]
    rows = records(found, used)
    started = time.process_time()
    scorecard(rows)
    assert time.process_time() - started < 3
