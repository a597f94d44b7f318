"""Accuracy items of both forms: what is read, refused and computed of them, by hand."""

import itertools
import math
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.score import dump, scorecard
from harness.scoring.accuracy import summarise, summarise_task
from harness.scoring.details import details
from harness.scoring.items import Choice, Item, read_geometry, read_item, read_skipped
from harness.scoring.itemtable import Items, assemble, read_items
from harness.spec import AccuracySuite
from harness.stats_items import softmax
from harness.times import SampleRefusedError
from tests.answered import formed
from tests.strategies import Candidate, profile, records

PLAIN = {"template": "t", "level": 1, "chance": 0.25, "correct": True, "answered": True}
CHOICE = PLAIN | {
    "form": "choice",
    "right": 1,
    "log_likelihoods": [-3.0, -2.0, -2.5, -9.0],
    "tokens": [1, 2, 3, 4],
    "chars": [3, 2, 9, 4],
    "bytes": [9, 4, 9, 4],
    "margin": 0.5,
}
FREE = PLAIN | {"form": "free", "chance": 0, "strict": False, "credit": 0.5, "truncated": False}
REF = Candidate(id="ref", skill=0.6)
ITEMS = profile(
    suites=replace(
        profile().suites,
        accuracy=AccuracySuite(tasks=("arith", "calendar"), languages=("ko", "en"), items=100),
    )
)


def entries(card):
    return {entry["model"]: entry for entry in card["entries"]}


# --- reading ----------------------------------------------------------------------------


def test_both_forms_are_read():
    choice = read_item(7, CHOICE)
    assert choice.place == ("choice", 7)
    assert choice.question == ("t", 1, 0.25)
    assert choice.choice == Choice(
        1, (-3.0, -2.0, -2.5, -9.0), (1, 2, 3, 4), (3, 2, 9, 4), (9, 4, 9, 4)
    )
    free = read_item(7, FREE)
    assert free.free == (False, 0.5, False)
    assert read_item(7, PLAIN) == Item(7, "t", 1, 0.25, correct=True, answered=True)
    assert not read_item(7, PLAIN | {"answered": False}).correct


@pytest.mark.parametrize(
    "sample",
    [
        CHOICE | {"correct": False},
        CHOICE | {"right": 0},
        CHOICE | {"right": 4},
        CHOICE | {"right": -1},
        CHOICE | {"right": None},
        CHOICE | {"log_likelihoods": [-3.0, -2.0, -2.5]},
        CHOICE | {"log_likelihoods": [-3.0, -2.0, -2.5, math.nan]},
        CHOICE | {"log_likelihoods": [-3.0, -2.0, -2.5, -math.inf]},
        CHOICE | {"log_likelihoods": [-3.0, 2.0, -2.5, -9.0]},
        CHOICE | {"log_likelihoods": "many"},
        CHOICE | {"tokens": [1, 2, 3]},
        CHOICE | {"tokens": [1, 2, 3, -1]},
        CHOICE | {"tokens": [1, 2, 3, True]},
        CHOICE | {"chars": [3, 2, 9, 0]},
        CHOICE | {"bytes": None},
        CHOICE | {"log_likelihoods": [-2.0], "tokens": [1], "chars": [1], "bytes": [1], "right": 0},
        FREE | {"strict": True, "correct": False},
        FREE | {"strict": None},
        FREE | {"truncated": 1},
        FREE | {"credit": 1.5},
        FREE | {"credit": math.nan},
        FREE | {"credit": "half"},
        PLAIN | {"form": "essay"},
        PLAIN | {"form": None},
    ],
)
def test_items_that_contradict_themselves_are_refused(sample):
    with pytest.raises(SampleRefusedError) as caught:
        read_item(3, sample)
    assert caught.value.reason == "bad_item"


def test_the_first_of_equal_options_is_chosen():
    equal = CHOICE | {"log_likelihoods": [-2.0, -2.0, -3.0, -4.0]}
    with pytest.raises(SampleRefusedError, match="contradicts its own log-likelihoods"):
        read_item(3, equal)
    assert read_item(3, equal | {"correct": False}).correct is False
    assert read_item(3, equal | {"right": 0}).correct


def test_a_merge_may_leave_an_option_without_a_token():
    item = read_item(3, CHOICE | {"tokens": [0, 2, 3, 4]})
    (table,) = Items.of([item]).choices
    assert not table.hits(table.tokens)


@pytest.mark.parametrize(
    "sample",
    [{"reason": ""}, {"reason": 3}, {"chance": 1.0}, {"chance": -0.1}, {"template": None}],
)
def test_skipped_items_that_make_no_sense_are_refused(sample):
    with pytest.raises(SampleRefusedError, match="skipped item"):
        read_skipped(3, {"form": "choice", "reason": "context_exceeded"} | sample)


def test_a_skipped_item_has_the_chance_of_its_form():
    skip = read_skipped(9, {"form": "choice", "reason": "context_exceeded", "detail": "…"})
    items = assemble([skip, read_item(2, CHOICE), read_item(2, FREE)])
    assert [item.place for item in items] == [("choice", 2), ("choice", 9), ("free", 2)]
    assert [item.chance for item in items] == [0.25, 0.25, 0.0]
    assert [(item.correct, item.answered) for item in items][1] == (False, False)
    (alone,) = assemble([skip])
    assert alone.chance == 0.0
    with pytest.raises(SampleRefusedError, match="both answered and skipped"):
        assemble([skip, read_item(9, CHOICE)])


@pytest.mark.parametrize(
    "sample",
    [
        {"tokens": [1, 2], "difference_nat": [0.1]},
        {"tokens": [1], "difference_nat": [math.nan]},
        {"tokens": [0], "difference_nat": [0.1]},
        {},
    ],
)
def test_geometry_that_makes_no_sense_is_refused(sample):
    with pytest.raises(SampleRefusedError) as caught:
        read_geometry(sample)
    assert caught.value.reason == "bad_item"


# --- details by hand --------------------------------------------------------------------


def test_normalised_choices_by_hand():
    """-3/3, -2/2, -2.5/9, -9/4 a character; by byte -3/9, -2/4, -2.5/9, -9/4; by token -3, -1,
    -2.5/3, -9/4: the third option wins by all three.
    """
    choice = read_item(3, CHOICE).choice
    assert choice.chosen == 1
    assert choice.margin_nat == pytest.approx(0.5)
    other = read_item(4, CHOICE | {"right": 2, "correct": False})
    found = details(Items.of([read_item(3, CHOICE), other]), {}).choices
    assert found[:3] == (0.5, 0.5, 0.5)
    p = softmax(np.array([[-3, -2, -2.5, -9]]))[0].tolist()
    one = p[0] ** 2 + (1 - p[1]) ** 2 + p[2] ** 2 + p[3] ** 2
    two = p[0] ** 2 + p[1] ** 2 + (1 - p[2]) ** 2 + p[3] ** 2
    assert found.brier == pytest.approx((one + two) / 2)
    assert found.calibration_error == pytest.approx(abs(0.5 - p[1]))
    assert found.margin_nat == pytest.approx(0.5)
    assert found.near_ties is None, "not measured is not 0"


@pytest.mark.parametrize(
    ("errors", "near"),
    [
        ({2: 0.26}, True),  # nearest to both: 0.52 in all
        ({2: 0.25}, False),  # not below 0.5
        ({2: 0.1, 3: 0.41}, True),  # one error each
        ({2: 0.1, 3: 0.39}, False),
        ({1: 0.0, 4: 0.4}, False),  # 2 is nearer to 1, 3 to 4
        ({1: 0.2, 3: 0.3, 9: 9.0}, True),  # 2 lies between: the larger error, 0.3 + 0.3
    ],
)
def test_near_ties_by_hand(errors, near):
    """Margin 0.5 nat between options of 2 and of 3 tokens."""
    (table,) = Items.of([read_item(3, CHOICE)]).choices
    assert table.near_ties(errors) == near


def test_details_of_a_mixed_task_by_hand():
    items = assemble(
        [
            *(read_item(i, CHOICE | {"template": f"t{i % 2}"}) for i in range(6)),
            *(
                read_item(i, FREE | {"correct": i < 2, "strict": i < 1, "truncated": i == 3,
                                     "answered": i < 3, "template": f"t{i % 2}"})
                for i in range(4)
            ),
            read_skipped(6, {"form": "choice", "reason": "context_exceeded", "template": "t0"}),
            read_skipped(9, {"form": "free", "reason": "too_slow"}),
        ]
    )  # fmt: skip
    task = summarise_task("ko-x", items)
    assert (task.suite, task.language) == ("x", "ko")
    assert (task.n, task.value) == (12, 8 / 12)
    assert task.chance == pytest.approx(7 * 0.25 / 12)
    assert task.unanswered == pytest.approx(1 / 12), "the skipped ones are told apart"
    found = task.details
    assert found.forms == {"choice": (6 / 7, 7, 0.25), "free": (0.4, 5, 0.0)}
    assert found.skipped == {"context_exceeded": 1, "too_slow": 1}
    assert found.written == (0.25, 0.5, 1)
    assert found.templates[:4] == (2, 0.8, 0.8, 0.8)
    assert details(Items.of([read_item(0, PLAIN)]), {}).forms == {}


# --- columns ----------------------------------------------------------------------------


@st.composite
def answers(draw):
    """Items of all forms, mostly sound, some of which contradict themselves."""
    samples = []
    for _ in range(draw(st.integers(1, 8))):
        sample = dict(draw(st.sampled_from([PLAIN, CHOICE, FREE])))
        sample |= {"level": draw(st.integers(0, 2)), "template": draw(st.sampled_from("ab"))}
        if draw(st.integers(0, 30)) == 0:
            name = draw(st.sampled_from(sorted(sample)))
            spoilt = [None, True, -1, 1.5, 10**30, "", "x", [], [1, 2], [0.0], [True, 2]]
            sample |= {name: draw(st.sampled_from(spoilt))}
        if "log_likelihoods" in sample and draw(st.booleans()):
            count = draw(st.integers(2, 5))
            scores = draw(st.lists(st.floats(-9, 0), min_size=count, max_size=count))
            lengths = draw(st.lists(st.integers(1, 5), min_size=count, max_size=count))
            right = draw(st.integers(0, count - 1))
            sample |= {
                "log_likelihoods": scores, "right": right, "tokens": lengths, "chars": lengths,
                "bytes": [3 * n for n in lengths], "correct": scores.index(max(scores)) == right,
            }  # fmt: skip
        samples.append(sample)
    numbers = draw(st.lists(st.integers(0, 9), min_size=len(samples), max_size=len(samples)))
    return numbers, samples


@given(answers())
def test_items_read_as_columns_are_those_read_one_by_one(found):
    numbers, samples = found
    table = read_items(numbers, samples)
    try:
        items = assemble(itertools.starmap(read_item, zip(numbers, samples, strict=True)))
    except SampleRefusedError:
        assert table is None
        return
    if table is None:  # what is odd, though it can be used, is left to the slow way
        assert any(type(sample["level"]) is bool for sample in samples)
        return
    assert list(table) == list(items)
    assert table.places == [item.place for item in items]
    assert table.questions == [item.question for item in items]
    geometry = {1: 0.2, 3: 0.4}
    assert details(table, geometry) == details(items, geometry)
    one, other = summarise_task("ko-x", table), summarise_task("ko-x", list(items))
    assert (one.interval, one.adjusted_interval) == (other.interval, other.adjusted_interval)
    assert one.draws.tolist() == other.draws.tolist()


# --- means ------------------------------------------------------------------------------


def task(name, right, n=100, chance=0.0):
    return summarise_task(name, [Item(i, f"t{i % 20}", 1, chance, i < right, answered=True)
                                 for i in range(n)])  # fmt: skip


def test_suites_weigh_the_same_whatever_their_languages():
    """(0.8 + (0.4 + 0.2)/2)/2: a suite in one language is not worth half of one in two."""
    tasks = {"ko-josa": task("ko-josa", 80), "ko-logic": task("ko-logic", 40),
             "en-logic": task("en-logic", 20)}  # fmt: skip
    mean = summarise(tasks)
    assert mean.value == pytest.approx(0.55)
    assert mean.n == 300
    assert mean.interval.lo < 0.55 < mean.interval.hi
    flat = summarise({name: replace(t, suite=name) for name, t in tasks.items()})
    assert flat.value == pytest.approx(1.4 / 3)


@given(st.permutations(["ko-a", "en-a", "ko-b"]))
def test_the_order_of_tasks_is_irrelevant(names):
    tasks = {name: task(name, 30 + 5 * len(name), 60) for name in sorted(names)}
    one, other = summarise(tasks), summarise({name: tasks[name] for name in names})
    assert one.value == other.value
    assert one.interval == other.interval


def test_language_means_are_metrics():
    card = scorecard(list(formed(records([REF], ITEMS))))
    found = card["entries"][0]
    for language in ("ko", "en"):
        own = [t["adjusted"] for t in found["tasks"].values() if t["language"] == language]
        metric = found["metrics"][f"accuracy_{language}"]
        assert metric["value"] == pytest.approx(sum(own) / 2, rel=1e-5)
        assert metric["n"] == 200
        assert metric["lo"] < metric["value"] < metric["hi"]
    mean = found["metrics"]["accuracy"]["value"]
    halves = [found["metrics"][f"accuracy_{lang}"]["value"] for lang in ("ko", "en")]
    assert mean == pytest.approx(sum(halves) / 2, rel=1e-5)


def test_a_stray_task_is_shown_and_does_not_count():
    rows = list(formed(records([REF], ITEMS)))
    easy = [row | {"case": "ko-josa"} for row in rows if row.get("case") == "ko-calendar"]
    one, other = entries(scorecard(rows))["ref"], entries(scorecard([*rows, *easy]))["ref"]
    assert "ko-josa" in other["tasks"]
    assert other["metrics"]["accuracy"] == one["metrics"]["accuracy"]


# --- whole cards ------------------------------------------------------------------------


def test_forms_do_not_change_what_was_said_before_there_were_any():
    """The same answers, with and without the fields of a form."""
    rows = list(formed(records([REF, replace(REF, id="x", seed=2)], ITEMS)))
    bare = {"form", "right", "log_likelihoods", "tokens", "chars", "bytes", "margin", "strict",
            "credit", "truncated", "output"}  # fmt: skip
    plain = [
        {k: v for k, v in row.items() if row.get("kind") != "item" or k not in bare} for row in rows
    ]
    cards = [scorecard(found) for found in (rows, plain)]
    for card in cards:
        for entry in card["entries"]:
            for found in entry["tasks"].values():
                for name in ("forms", "choices", "written", "templates"):
                    del found[name]
    assert dump(cards[0]) == dump(cards[1])


def test_a_record_that_lies_about_its_answer_gives_no_score():
    rows = list(formed(records([REF, replace(REF, id="x", seed=2)], ITEMS)))
    lie = next(r for r in rows if r.get("form") == "choice" and r["model"] == "x"
               and not r["correct"])  # fmt: skip
    rows[rows.index(lie)] = lie | {"correct": True}
    found = entries(scorecard(rows))["x"]
    assert found["reason"] == "bad_item"
    assert "contradicts its own log-likelihoods" in found["detail"]


def test_skipping_never_pays():
    """An item that is left out instead of answered wrongly changes nothing."""
    rows = list(formed(records([REF, replace(REF, id="x", seed=2)], ITEMS)))
    wrong = [r for r in rows if r.get("kind") == "item" and r["model"] == "x" and not r["correct"]]
    left_out = [
        {k: r[k] for k in ("type", "job", "model", "suite", "process", "case", "index", "form",
                           "template", "level", "chance")}
        | {"kind": "item_skipped", "reason": "context_exceeded", "detail": "…"}
        for r in wrong[:20]
    ]  # fmt: skip
    kept = [r for r in rows if not any(r is w for w in wrong[:20])]
    before, after = (entries(scorecard(found))["x"] for found in (rows, [*kept, *left_out]))
    assert after["score"] == before["score"]
    assert after["metrics"]["accuracy"] == before["metrics"]["accuracy"]
    skipped = [t["skipped"] for t in after["tasks"].values()]
    assert sum(s.get("context_exceeded", 0) for s in skipped) == 20
    # Also where the record says nothing of the item but its place.
    terse = [{k: v for k, v in r.items() if k not in {"template", "level", "chance"}}
             for r in left_out]  # fmt: skip
    again = entries(scorecard([*kept, *terse]))["x"]
    assert again["metrics"]["accuracy"]["value"] == before["metrics"]["accuracy"]["value"]
    assert again["rank"] is not None


def test_an_item_that_is_missing_altogether_gives_no_score():
    rows = list(formed(records([REF, replace(REF, id="x")], ITEMS), skipping="x"))
    assert entries(scorecard(rows))["x"]["rank"] is not None
    lost = [r for r in rows if r.get("kind") != "item_skipped"]
    assert entries(scorecard(lost))["x"]["reason"] == "incomplete_case"


def test_geometry_is_kept_by_length():
    rows = list(formed(records([REF], ITEMS)))
    found = entries(scorecard(rows))["ref"]["tasks"]["ko-calendar"]
    samples = [r for r in rows if r.get("kind") == "geometry" and r["case"] == "ko-calendar"]
    expected: dict[str, float] = {}
    for row in samples:
        for tokens, nat in zip(row["tokens"], row["difference_nat"], strict=True):
            expected[str(tokens)] = max(nat, expected.get(str(tokens), 0.0))
    assert found["geometry"] == expected
    assert found["choices"]["near_ties"] >= 1
    blind = [r for r in rows if r.get("kind") != "geometry"]
    assert entries(scorecard(blind))["ref"]["tasks"]["ko-calendar"]["choices"]["near_ties"] is None


def test_samples_of_other_kinds_make_no_task():
    rows = records([REF], ITEMS)
    stray = {"type": "sample", "model": "ref", "suite": "accuracy", "kind": ["item"], "index": 0}
    other = stray | {"kind": "song", "case": "ko-song", "process": 0}
    assert "ko-song" not in entries(scorecard([*rows, stray, other]))["ref"]["tasks"]


def test_intervals_of_a_share_cover_it():
    """Twenty templates of unequal difficulty, five items each: about 95 % hold the truth."""
    draw, hits, runs = random.Random(6), 0, 200
    for _ in range(runs):
        items = []
        for template in range(20):
            p = draw.betavariate(4, 3)
            items += [
                Item(5 * template + i, f"t{template}", 1, 0.0, draw.random() < p, answered=True)
                for i in range(5)
            ]
        lo, hi = summarise_task("ko-cover", items).interval
        hits += lo <= 4 / 7 <= hi
    assert hits / runs >= 0.91
