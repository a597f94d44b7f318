"""Exams through real workers: what is asked, marked, skipped and kept from the worker."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from harness import heldout
from harness.backends.fake import FakeBackend
from harness.cases import Case, accuracy_cases
from harness.exam import Budget, Exam
from harness.execute import Outcome, execute
from harness.job import Job
from harness.records import JournalWriter, read
from harness.sources import Generated, source_of
from harness.spec import (
    AccuracySuite,
    Artefact,
    BackendOptions,
    HeldOut,
    Model,
    Source,
    file_sha256,
)
from harness.suites.tasks import PUBLIC_SEED, item_at
from harness.suites.tasks.base import Setting

CASE = Case(
    id="ko-tools",
    task="tools",
    language="ko",
    items=9,
    forms=("choice", "free"),
    context=1024,
)
ENGLISH = dataclasses.replace(CASE, id="en-extract", task="extract", language="en", items=4)
TARGETS = {"fake": "harness.backends.fake:FakeBackend"}


def artefact(folder: Path, **fields: object) -> Artefact:
    path = folder / "toy.fake.json"
    path.write_text(json.dumps(fields), "utf-8")
    model = Model(
        id="toy",
        family="toy",
        format="fake",
        quantisation="",
        source=Source(kind="file", path=str(path)),
    )
    return Artefact(model=model, path=str(path), sha256={}, size_bytes=1)


def job_of(found: Artefact, *cases: Case, timeout_s: float = 60) -> Job:
    return Job(
        id="exam0000",
        model="toy",
        path=found.path,
        backend="fake",
        options=BackendOptions(threads=1, context=1024),
        suite="accuracy",
        suite_version=2,
        cases=cases,
        process=0,
        requests=1,
        warmup_max=1,
        seed="0" * 64,
        timeout_s=timeout_s,
        estimate_s=1,
    )


def sit(
    folder: Path,
    *cases: Case,
    seed: bytes = PUBLIC_SEED,
    targets: dict[str, str] = TARGETS,
    timeout_s: float = 60,
    budget: Budget | None = None,
    **fields: object,
) -> tuple[Outcome, list[dict[str, Any]]]:
    """Run one exam in a worker; its outcome and the journal's records."""
    found = artefact(folder, **fields)

    def feed(job: Job) -> Exam:
        return Exam(job, found, {case.id: Generated(case, seed) for case in job.cases}, budget)

    journal = JournalWriter(folder / "records.jsonl")
    jobs = [job_of(found, *cases, timeout_s=timeout_s)]
    (outcome,) = execute(jobs, targets, folder / "parts", journal, feeds={"accuracy": feed})
    journal.close()
    return outcome, read(folder / "records.jsonl").records


def items(records: list[dict[str, Any]], case: str, form: str) -> list[dict[str, Any]]:
    return [
        r for r in records if r.get("kind") == "item" and r["case"] == case and r["form"] == form
    ]


def test_every_item_is_asked_once_and_marked(tmp_path: Path) -> None:
    outcome, records = sit(tmp_path, CASE, ENGLISH)
    assert outcome.state == "ok"
    assert {form: len(items(records, "ko-tools", form)) for form in ("choice", "free")} == {
        "choice": 5,
        "free": 4,
    }
    assert len(items(records, "en-extract", "choice")) == 2
    for record in items(records, "ko-tools", "choice"):
        setting = Setting(language="ko", form="choice", longest_tokens=1024)
        item = item_at("tools", setting, record["index"])
        assert record["template"] == item.template
        assert record["level"] == item.level
        assert record["chance"] == 0.25
        assert item.choices[record["right"]] == item.answer
        scores = record["log_likelihoods"]
        assert record["correct"] == (scores.index(max(scores)) == record["right"])
        assert record["margin"] == pytest.approx(max(scores) - sorted(scores)[-2])
        assert record["chars"][0] == len(item.choices[0].strip())
        assert record["bytes"][0] == len(item.choices[0].strip().encode())
    for record in items(records, "ko-tools", "free"):
        assert {"strict", "credit", "truncated", "answered", "output"} <= record.keys()
        assert not record["correct"]
    geometry = [r for r in records if r.get("kind") == "geometry"]
    assert [r["case"] for r in geometry] == ["ko-tools", "en-extract"]
    assert max(geometry[0]["difference_nat"]) < 1e-3


def test_the_worker_holds_neither_seed_nor_answers(tmp_path: Path, monkeypatch) -> None:
    seen = tmp_path / "seen"
    monkeypatch.setenv("HARNESS_EXAM_SEEN", str(seen))
    monkeypatch.setenv("HARNESS_SANDBOX", "off")  # it may look, and write, where it likes
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    seed = bytes(range(32))
    target = {"fake": "tests.test_exam:Nosy"}
    outcome, records = sit(tmp_path, CASE, seed=seed, targets=target)
    assert outcome.state == "ok", outcome.detail
    said = seen.read_text("utf-8")
    assert seed.hex() not in said
    # Every prompt was seen, but never one before the answer to the last was given.
    asked = [line for line in said.splitlines() if line.startswith("extend")]
    assert len(asked) > 5
    free = items(records, "ko-tools", "free")
    assert len(free) == 4
    setting = Setting(language="ko", form="free", longest_tokens=1024)
    for record in free:
        answer = item_at("tools", setting, record["index"], seed).answer
        assert answer == "none" or answer not in said


class Nosy(FakeBackend):
    """Writes down everything that it is given, its process's command line and job file too."""

    def load(self, path: Path, options: BackendOptions) -> Any:
        import os
        import sys

        self.note = Path(os.environ["HARNESS_EXAM_SEEN"]).open("a", encoding="utf-8")  # noqa: SIM115
        for argument in sys.argv:
            self.note.write(f"argument {argument}\n")
            if argument.endswith(".json"):
                self.note.write(f"job {Path(argument).read_text('utf-8')}\n")
        self.note.write(f"environment {dict(os.environ)}\n")
        return super().load(path, options)

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        # Choices are continuations that it has to see, all alike; nothing else is an answer.
        self.note.write(f"extend {text!r}\n")
        self.note.flush()
        print("an engine that prints on standard output")  # noqa: T201
        return super().encode(text)


def test_another_seed_gives_other_items(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    public = sit(tmp_path / "a", CASE)[1]
    again = sit(tmp_path / "b", CASE)[1]
    secret = sit(tmp_path / "c", CASE, seed=b"\1" * 32)[1]

    def answers(records: list[dict[str, Any]]) -> list[Any]:
        keys = ("template", "level", "log_likelihoods", "output", "correct")
        return [
            [record.get(key) for key in keys] for record in records if record.get("kind") == "item"
        ]

    assert answers(public) == answers(again), "the same seed: identical items, identical scores"
    assert answers(public) != answers(secret)


def test_shots_come_before_every_question_and_are_never_asked(tmp_path: Path) -> None:
    source = Generated(dataclasses.replace(CASE, shots=3), PUBLIC_SEED)
    shots = source.shots("choice")
    assert shots.count("정답:") == 3
    assert shots.endswith("\n\n")
    asked = {item.context for item in source.items("choice")}
    assert not any(context in shots for context in asked)
    assert len(list(source.items("choice"))) == 5


def test_what_does_not_fit_is_skipped_and_counted(tmp_path: Path) -> None:
    small = dataclasses.replace(CASE, items=6)
    outcome, records = sit(tmp_path, small, context=180)
    assert outcome.state == "ok"
    skipped = [r for r in records if r.get("kind") == "item_skipped"]
    asked = [r for r in records if r.get("kind") == "item"]
    assert len(skipped) + len(asked) == 6
    assert skipped
    assert {r["reason"] for r in skipped} == {"context_exceeded"}


def test_part_of_the_choice_items_is_verified(tmp_path: Path) -> None:
    many = dataclasses.replace(CASE, items=20, verify=0.4)
    records = sit(tmp_path, many)[1]
    verified = [r["index"] for r in records if r.get("kind") == "geometry"]
    assert verified == [0, 2, 4, 6]


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({"crash_signal": {"at": "step", "signal": "SIGKILL"}}, "crashed"),
        ({"hang": "step"}, "timeout"),
    ],
)
def test_a_worker_that_dies_midway_loses_nothing_that_it_answered(tmp_path, fields, state):
    outcome, records = sit(tmp_path, CASE, timeout_s=6, **fields)
    assert outcome.state == state
    assert len(items(records, "ko-tools", "choice")) == 5, "they are asked first"


def test_an_answer_that_is_none_fails_the_job(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    outcome, _ = sit(tmp_path, CASE, targets={"fake": "tests.test_exam:Babbling"})
    assert (outcome.state, outcome.reason) == ("failed", "exam_broken")


class Babbling(FakeBackend):
    """An engine that got hold of the pipe and writes into it."""

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        from harness.suites import exchange

        exchange.pipes()[1].write(b"Loading weights 50 %\n")
        return super().encode(text)


def test_a_budget_is_spent_where_it_tells_most_and_the_same_for_the_next_model(tmp_path):
    cases = [dataclasses.replace(case, items=300) for case in (CASE, ENGLISH)]
    budget = Budget(4.0)
    counts = []
    for name, pace in (("slow", 1e-4), ("fast", 0.0)):
        (tmp_path / name).mkdir()
        outcome, records = sit(
            tmp_path / name, *cases, budget=budget, prefill_s_per_token=pace, clock="real"
        )
        assert outcome.state == "ok"
        asked = [(r["case"], r["form"], r["index"]) for r in records if r.get("kind") == "item"]
        assert len(set(asked)) == len(asked)
        counts.append(sorted(asked))
        if name == "slow":
            assert outcome.wall_s < 4.0 + 4.0, "the budget, and a worker's start"
    assert counts[0] == counts[1]
    assert budget.items is not None
    assert sum(budget.items.values()) == len(counts[0])
    assert all(8 <= count <= 300 for count in budget.items.values())
    assert 0 < budget.half_width < 0.4
    for case in budget.items:
        forms = [form for which, form, _ in counts[0] if which == case]
        assert abs(forms.count("choice") - forms.count("free")) <= 1


def own(folder: Path, name: str, lines: list[dict[str, Any]], **fields: Any) -> HeldOut:
    path = folder / f"{name}.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return HeldOut(id=name, path=path.name, sha256=file_sha256(path), **fields)


def test_an_evaluators_own_items_are_asked_and_marked(tmp_path: Path) -> None:
    chosen = [
        {"question": f"{n} 더하기 1은?", "choices": [str(n + 1), str(n), str(n + 2)], "answer": 0}
        for n in range(5)
    ]
    written = [
        {"prompt": f"{n} 더하기 1은? 숫자만 쓰세요.", "answer": str(n + 1), "checker": "number"}
        for n in range(3)
    ]
    entries = [
        own(tmp_path, "exam", chosen, choices="letter", shots=2),
        own(tmp_path, "essay", written),
    ]
    tasks = {entry.id: heldout.load(entry, tmp_path) for entry in entries}
    suite = AccuracySuite(
        tasks=(),
        languages=("ko",),
        items=2,
        context=1024,
        data=tuple(
            dataclasses.replace(entry, form=task.form, items=len(task.items))
            for entry in entries
            for task in [tasks[entry.id]]
        ),
    )
    cases = list(accuracy_cases(suite))
    assert [(case.id, case.items, case.forms) for case in cases] == [
        ("data-exam", 3, ("choice",)),
        ("data-essay", 3, ("free",)),
    ]
    found = artefact(tmp_path)
    journal = JournalWriter(tmp_path / "records.jsonl")

    def feed(job: Job) -> Exam:
        return Exam(job, found, {case.id: source_of(case, PUBLIC_SEED, tasks) for case in cases})

    (outcome,) = execute(
        [job_of(found, *cases)], TARGETS, tmp_path / "parts", journal, feeds={"accuracy": feed}
    )
    journal.close()
    records = read(tmp_path / "records.jsonl").records
    assert outcome.state == "ok"
    letters = items(records, "data-exam", "choice")
    assert [len(record["log_likelihoods"]) for record in letters] == [3, 3, 3]
    assert {record["right"] for record in letters} == {0}
    assert {record["chance"] for record in letters} == {1 / 3}
    assert [record["chars"] for record in letters] == [[1, 1, 1]] * 3
    assert len(items(records, "data-essay", "free")) == 3
    assert not any(record["correct"] for record in items(records, "data-essay", "free"))


def test_long_exams_say_how_far_they_are(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("harness.exam._PROGRESS_S", 0.0)
    told: list[tuple[Any, ...]] = []
    found = artefact(tmp_path)
    journal = JournalWriter(tmp_path / "records.jsonl")

    def feed(job: Job) -> Exam:
        sources = {CASE.id: Generated(CASE, PUBLIC_SEED)}
        return Exam(job, found, sources, None, lambda *values: told.append(values))

    list(execute([job_of(found, CASE)], TARGETS, tmp_path / "p", journal, feeds={"accuracy": feed}))
    journal.close()
    assert [row[:3] for row in told] == [("toy", n, 9) for n in range(1, 10)]
    assert told[-1][3] == 0.0
