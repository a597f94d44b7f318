"""The accuracy suite of a profile: forms, shots, context, commitment and held-out data."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cases import accuracy_cases
from harness.errors import Exit, SpecError
from harness.spec import AccuracySuite, HeldOut, Profile, profile_from_json, to_json
from harness.specfile import load_profile, resolve_profile
from tests.test_specfile import PROFILE, write

HASH = "0a" * 32
SUITE = f"""\
  accuracy:
    tasks: [arith, josa]
    languages: [ko, en]
    items: 41
    forms: [free, choice]
    shots: 3
    context: 4096
    verify: 0.5
    commitment: {HASH}
    data:
      - id: exam
        path: data/exam.jsonl
        sha256: {HASH}
        choices: letter
        shots: 5
        licence: CC-BY-ND-4.0
      - {{id: facts, path: facts.yaml, sha256: {HASH}}}
"""
TEXT = PROFILE.replace("  accuracy: {tasks: [arith], languages: [ko, en], items: 100}\n", SUITE)


def suite_of(profile: Profile) -> AccuracySuite:
    assert profile.suites.accuracy is not None
    return profile.suites.accuracy


def test_all_fields_are_read(tmp_path: Path) -> None:
    profile = load_profile(write(tmp_path, TEXT))
    suite = suite_of(profile)
    assert (suite.forms, suite.shots, suite.context, suite.verify) == (
        ("free", "choice"), 3, 4096, 0.5,
    )  # fmt: skip
    assert suite.commitment == HASH
    exam, facts = suite.data
    assert exam == HeldOut(
        id="exam",
        path="data/exam.jsonl",
        sha256=HASH,
        choices="letter",
        shots=5,
        licence="CC-BY-ND-4.0",
    )
    assert (facts.choices, facts.shots, facts.licence) == ("cloze", 0, "")
    assert profile_from_json(to_json(profile)) == profile


def test_what_a_profile_leaves_out(tmp_path: Path) -> None:
    suite = suite_of(load_profile(write(tmp_path, PROFILE)))
    assert suite.forms == ("choice", "free")
    assert (suite.shots, suite.context, suite.verify) == (0, 2048, 0.0)
    assert (suite.commitment, suite.data) == ("", ())


def test_items_are_shared_among_the_forms(tmp_path: Path) -> None:
    case = next(accuracy_cases(suite_of(load_profile(write(tmp_path, TEXT)))))
    assert (case.items_of("free"), case.items_of("choice")) == (21, 20)


def test_own_data_needs_no_generated_task(tmp_path: Path) -> None:
    text = TEXT.replace("tasks: [arith, josa]", "tasks: []")
    assert suite_of(load_profile(write(tmp_path, text))).tasks == ()


# (what is replaced, by what, line, message, allowed)
FAULTS = [
    ("forms: [free, choice]", "forms: [free, chioce]", 21,
     "forms is 'chioce'; did you mean 'choice'?", "choice, free"),
    ("forms: [free, choice]", "forms: []", 21, "forms is an empty list", "at least one value"),
    ("forms: [free, choice]", "forms: [free, free]", 21, "forms has free twice", "each value once"),
    ("forms: [free, choice]", "form: [free]", 21,
     "unknown key 'form' in 'accuracy' of 'suites'; did you mean 'forms'?",
     "tasks, languages, items, forms, shots, context, verify, commitment, budget_s, data"),
    ("items: 41", "items: 1", 20, "1 item of each task cannot be shared among 2 forms",
     "at least 2, or one form"),
    ("tasks: [arith, josa]", "tasks: [arith, jossa]", 18,
     "tasks is 'jossa'; did you mean 'josa'?", "arith, calendar, josa, honorific"),
    ("shots: 3", "shots: 26", 22, "shots is 26", "0 to 25"),
    ("shots: 3", "shots: -1", 22, "shots is -1", "0 to 25"),
    ("shots: 3", "shots: few", 22, "shots is 'few', text", "a whole number"),
    ("context: 4096", "context: 255", 23, "context is 255", "256 to 131,072"),
    ("context: 4096", "context: 131073", 23, "context is 131073", "256 to 131,072"),
    ("verify: 0.5", "verify: 2", 24, "verify is 2.0", "0 to 1"),
    ("verify: 0.5", "verify: -0.1", 24, "verify is -0.1", "0 to 1"),
    ("verify: 0.5", "budget_s: -1", 24, "budget_s is -1.0", "0 to 86,400"),
    (f"commitment: {HASH}", "commitment: '12'", 25, "commitment is '12'",
     "64 digits out of 0-9 and a-f"),
    (f"commitment: {HASH}", f"commitment: {HASH.upper()}", 25, "commitment is '0A0A",
     "64 digits out of 0-9 and a-f"),
    (f"commitment: {HASH}", f"seed: {HASH}", 25,
     "unknown key 'seed' in 'accuracy' of 'suites'", "commitment"),
    ("id: exam", "id: Exam 1", 27, "id of data 'Exam 1' cannot be used as a name",
     "lower-case letters"),
    ("id: exam", "id: arith", 27,
     "data 'arith' would be taken for the generated task of that name",
     "another id, such as 'my-arith'"),
    ("id: exam", "id: ko-logic", 27,
     "data 'ko-logic' would be taken for the generated task of that name",
     "another id, such as 'my-ko-logic'"),
    ("id: facts", "id: exam", 33, "data 'exam' is defined twice", "ids that differ"),
    ("path: data/exam.jsonl", "path: data/exam.csv", 28,
     "data 'data/exam.csv' is of no known kind", "a .jsonl file, or a .yaml task of lm-eval"),
    ("path: data/exam.jsonl", "path: ''", 28, "data '' is of no known kind", "a .jsonl file"),
    ("path: data/exam.jsonl", "file: data/exam.jsonl", 28,
     ("unknown key 'file' in 'exam' of 'accuracy' of 'suites' "
      "(and 1 more problem in this file)"), "id, path, sha256, choices, shots, licence"),
    (f"        sha256: {HASH}\n", "", 27,
     "key 'sha256' in 'exam' of 'accuracy' of 'suites' is missing", ""),
    (f"        sha256: {HASH}", "        sha256: 0a", 29, "sha256 of 'data/exam.jsonl' is '0a'",
     "64 digits out of 0-9 and a-f"),
    ("choices: letter", "choices: letters", 30, "choices is 'letters'; did you mean 'letter'?",
     "cloze, letter"),
    ("shots: 5", "shots: 99", 31, "shots is 99", "0 to 25"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "line", "message", "allowed"), FAULTS, ids=[fault[3] for fault in FAULTS]
)
def test_a_fault_is_reported_at_its_line(
    tmp_path: Path, old: str, new: str, line: int, message: str, allowed: str
) -> None:
    assert old in TEXT
    path = write(tmp_path, TEXT.replace(old, new, 1))
    with pytest.raises(SpecError) as caught:
        load_profile(path)
    error = caught.value
    assert error.where == f"{path}:{line}"
    assert error.message.startswith(message), error.message
    assert allowed in error.allowed
    assert error.hint == f"correct it, then: harness run --profile {path} --dry-run"
    assert error.exit_code == Exit.SPECIFICATION


@pytest.mark.parametrize(("name", "items"), [("quick", 20), ("standard", 100), ("challenge", 100)])
def test_shipped_profiles_ask_all_tasks_in_both_languages(name: str, items: int) -> None:
    profile = resolve_profile(name)
    suite = suite_of(profile)
    assert profile.version >= 3
    assert len(suite.tasks) == 11
    assert suite.languages == ("ko", "en")
    assert (suite.items, suite.shots) == (items, 0)
    assert suite.context == (1024 if name == "quick" else 2048)
    assert (suite.commitment, suite.data) == ("", ())
    assert suite.verify == (0.02 if name == "challenge" else 0.0)
