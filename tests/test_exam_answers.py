"""What a worker says is not believed: nonsense ends its job, never the run, and is no figure."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from harness import exam as exams
from harness import heldout
from harness.backends.fake import FakeBackend
from harness.cases import Case
from harness.errors import BackendError
from harness.exam import Budget, Exam
from harness.records import encode_line
from harness.sources import Generated, Own
from harness.spec import HeldOut, file_sha256
from harness.suites import exchange
from harness.suites.tasks import PUBLIC_SEED
from tests.test_exam import CASE, artefact, job_of, sit

CHOICE = {"log_likelihoods": [-1.0, -2.0, -3.0, -4.0], "tokens": [1, 1, 1, 1], "naive": [-1.0] * 4}
FREE = {"output": "none", "tokens": 1, "truncated": False}


def served(folder: Path, case: Case, *said: object, budget: Budget | None = None) -> Exam:
    """An exam that has heard these messages; strings are lines as they are."""
    found = artefact(folder)
    exam = Exam(job_of(found, case), found, {case.id: Generated(case, PUBLIC_SEED)}, budget)
    lines = [each if isinstance(each, str) else json.dumps(each) for each in said]
    answers = io.BytesIO("".join(f"{line}\n" for line in lines).encode())
    exam.serve(io.BytesIO(), answers)
    for record in exam.records:
        encode_line(record)
    return exam


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"log_likelihoods": [-1.0, -2.0], "tokens": [1, 1]},
        CHOICE | {"log_likelihoods": [-1.0, float("nan"), -2.0, -3.0]},
        CHOICE | {"log_likelihoods": [-1.0, float("-inf"), -2.0, -3.0]},
        CHOICE | {"log_likelihoods": [-1.0, "-2.0", -2.0, -3.0]},
        CHOICE | {"log_likelihoods": [-1.0, 10**400, -2.0, -3.0]},
        CHOICE | {"log_likelihoods": -1.0},
        CHOICE | {"tokens": [1, 1, True, 1]},
        CHOICE | {"naive": [float("inf")] * 4},
        {"log_likelihoods": [-1.0] * 4, "tokens": [1] * 4},
        {"skipped": ["context_exceeded"], "detail": ""},
        {"skipped": "context_exceeded"},
        "[1, 2]",
        "null",
        "[" * 100_000,
        '{"log_likelihoods": [' + "9" * 5000 + "]}",
    ],
)
def test_nonsense_about_a_choice_is_no_answer(tmp_path: Path, said: object) -> None:
    exam = served(tmp_path, CASE, {"ready": CASE.id}, said)
    assert exam.broken.startswith("the worker answered nonsense or nothing")
    assert not [record for record in exam.records if record["kind"] == "item"]


@pytest.mark.parametrize("said", [{"output": 3}, {"output": "a"}, {"truncated": False}])
def test_nonsense_about_a_free_answer_is_none(tmp_path: Path, said: object) -> None:
    free = dataclasses.replace(CASE, forms=("free",))
    exam = served(tmp_path, free, {"ready": CASE.id}, FREE, said)
    assert exam.broken
    assert len(exam.records) == 1


@pytest.mark.parametrize("said", ["[]", {"ready": ["ko-tools"]}, {"begin": 1}])
def test_nonsense_instead_of_readiness(tmp_path: Path, said: object) -> None:
    assert served(tmp_path, CASE, said).broken


def test_half_characters_are_written_as_replaced_ones(tmp_path: Path) -> None:
    free = dataclasses.replace(CASE, forms=("free",), items=1)
    exam = served(tmp_path, free, {"ready": CASE.id}, FREE | {"output": "\ud800 none"})
    assert not exam.broken
    assert exam.records[0]["output"] == "? none"


def test_an_answer_has_a_length(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("harness.exam._TEXT_CHARS_MAX", 10)
    free = dataclasses.replace(CASE, forms=("free",), items=2)
    said = [FREE | {"output": "x" * length} for length in (10, 11)]
    exam = served(tmp_path, free, {"ready": CASE.id}, *said)
    assert "a text of 11 characters" in exam.broken
    assert len(exam.records) == 1


def test_a_case_is_asked_once(tmp_path: Path) -> None:
    free = dataclasses.replace(CASE, forms=("free",), items=1)
    exam = served(tmp_path, free, *[{"ready": CASE.id}, FREE] * 2)
    assert [record["kind"] for record in exam.records].count("item") == 1


def test_a_case_that_is_left_out_is_named(tmp_path: Path) -> None:
    free = dataclasses.replace(CASE, forms=("free",), items=1)
    other = dataclasses.replace(free, id="ko-other")
    found = artefact(tmp_path)
    job = dataclasses.replace(job_of(found, free), cases=(free, other))
    exam = Exam(job, found, {case.id: Generated(case, PUBLIC_SEED) for case in (free, other)})
    lines = "".join(f"{json.dumps(said)}\n" for said in ({"ready": free.id}, FREE))
    exam.serve(io.BytesIO(), io.BytesIO(lines.encode()))
    assert exam.broken == "it left out ko-other"


def test_a_message_without_an_end_is_not_held(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(exchange, "MAX_BYTES", 1000)
    exam = served(tmp_path, CASE, {"ready": CASE.id}, "x" * 2000)
    assert "more than 1000 bytes" in exam.broken


class Masking(FakeBackend):
    """An engine that forbids all tokens but one."""

    def _logits(self, state: int) -> Any:
        logits = super()._logits(state)
        logits[1:] = -float("inf")
        return logits


def test_an_option_without_any_probability_ends_the_job(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    outcome, records = sit(tmp_path, CASE, targets={"fake": "tests.test_exam_answers:Masking"})
    assert (outcome.state, outcome.reason) == ("failed", "not_finite")
    assert not [record for record in records if record.get("kind") == "item"]


class Forking(FakeBackend):
    """An engine that leaves a process behind, out of reach even of its keeper, with its pipes."""

    def decode(self, ids: Any) -> str:
        if not (child := os.fork()):
            os.setsid()
            time.sleep(60)
            os._exit(0)
        Path(os.environ["HARNESS_EXAM_LEFT"]).write_text(str(child))
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
        os._exit(3)


@pytest.mark.skipif(sys.platform != "linux", reason="keepers are Linux's")
def test_who_holds_the_pipes_does_not_hold_the_parent(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    monkeypatch.setenv("HARNESS_EXAM_LEFT", str(tmp_path / "left"))
    monkeypatch.setenv("HARNESS_SANDBOX", "off")  # where there is one, nothing can be forked
    others = set(threading.enumerate())
    outcome, records = sit(tmp_path, CASE, targets={"fake": "tests.test_exam_answers:Forking"})
    os.kill(int((tmp_path / "left").read_text()), signal.SIGKILL)  # it is still there
    assert outcome.reason == "worker_killed"
    assert len([record for record in records if record.get("kind") == "item"]) == 5
    assert {*threading.enumerate()} == others


# --- skipped items and budgets ------------------------------------------------------------


def no_template(items: object) -> None:
    del items
    raise BackendError("no chat template", reason="no_chat_template")


def test_without_a_template_free_items_are_skipped_and_counted(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(Exam, "_prompts", lambda self, items: no_template(items))
    exam = served(tmp_path, CASE, {"ready": CASE.id}, *[CHOICE] * 5)
    assert not exam.broken
    skipped = [r for r in exam.records if r["kind"] == "item_skipped"]
    assert [(r["index"], r["form"], r["reason"]) for r in skipped] == [
        (index, "free", "no_chat_template") for index in range(4)
    ]


def test_a_budget_asks_nobody_for_more_than_the_others(tmp_path, monkeypatch) -> None:
    """Whoever has no template was recorded as failing at items that nobody was asked."""
    case = dataclasses.replace(CASE, items=300)
    budget = Budget(10.0)
    budget.items = {case.id: 12}
    exam = served(tmp_path, case, {"ready": case.id}, *[CHOICE] * 6, *[FREE] * 6, budget=budget)
    asked = {(r["form"], r["index"]) for r in exam.records if r["kind"] != "geometry"}
    monkeypatch.setattr(Exam, "_prompts", lambda self, items: no_template(items))
    other = served(tmp_path, case, {"ready": case.id}, *[CHOICE] * 6, budget=budget)
    assert {(r["form"], r["index"]) for r in other.records if r["kind"] != "geometry"} == asked
    assert sum(r["kind"] == "item_skipped" for r in other.records) == 6


def test_cases_weigh_in_a_budget_what_they_weigh_in_the_mean(tmp_path, monkeypatch) -> None:
    seen = []
    monkeypatch.setattr(
        exams, "allocate", lambda _, strata: seen.extend(strata) or {s.case: 8 for s in strata}
    )
    english = dataclasses.replace(CASE, id="en-tools", language="en")
    data = dataclasses.replace(CASE, id="data-x", task="x", forms=("choice",))
    cases = [dataclasses.replace(case, items=8) for case in (CASE, english, data)]
    found = artefact(tmp_path)
    sources = {
        case.id: Generated(dataclasses.replace(case, task="tools"), PUBLIC_SEED) for case in cases
    }
    exam = Exam(job_of(found, *cases), found, sources, Budget(1.0))
    one = [CHOICE] * 4 + [FREE] * 4
    lines = [{"ready": CASE.id}, *one, *one, *[CHOICE] * 8]
    exam.serve(io.BytesIO(), io.BytesIO(b"".join(json.dumps(x).encode() + b"\n" for x in lines)))
    assert not exam.broken
    assert {s.case: s.weight for s in seen} == {"ko-tools": 0.5, "en-tools": 0.5, "data-x": 1.0}


@pytest.mark.parametrize(("delimiter", "lengths"), [("\\n", [3, 2]), ("", [3, 2]), (" ", [3, 2])])
def test_lengths_leave_the_delimiter_out(tmp_path: Path, delimiter: str, lengths) -> None:
    """acc_norm divides by the option's own characters, whatever stands before it."""
    items = tmp_path / "items.jsonl"
    items.write_text('{"q": "a?", "options": [" ab", "xy"], "right": 0}\n', "utf-8")
    task = tmp_path / "task.yaml"
    task.write_text(
        "task: t\ndataset_path: json\ndataset_kwargs: {data_files: items.jsonl}\n"
        "output_type: multiple_choice\ndoc_to_text: q\ndoc_to_choice: options\n"
        f'doc_to_target: right\ntarget_delimiter: "{delimiter}"\n'
        f"metadata: {{sha256: {file_sha256(items)}}}\n",
        "utf-8",
    )
    entry = HeldOut(id="t", path=task.name, sha256=file_sha256(task))
    own = heldout.load(entry, tmp_path)
    case = Case(id="data-t", task="t", items=1, forms=("choice",), data_sha256=entry.sha256)
    found = artefact(tmp_path)
    exam = Exam(job_of(found, case), found, {case.id: Own(own)})
    said = {"log_likelihoods": [-1.0, -2.0], "tokens": [1, 1], "naive": [-1.0, -2.0]}
    lines = [{"ready": case.id}, said]
    exam.serve(io.BytesIO(), io.BytesIO(b"".join(json.dumps(x).encode() + b"\n" for x in lines)))
    assert not exam.broken
    assert exam.records[0]["chars"] == lengths


# --- chat templates -----------------------------------------------------------------------


def chatting(folder: Path, template: str, policy: Any) -> Exam:
    """An exam of a model whose files hold this template."""
    (folder / "tokenizer.json").write_text("{}")
    (folder / "chat_template.jinja").write_text(template, "utf-8")
    found = artefact(folder)
    model = dataclasses.replace(found.model, format="onnx", chat_template=policy)
    found = dataclasses.replace(found, model=model, path=str(folder / "model.onnx"))
    return Exam(job_of(found, CASE), found, {CASE.id: Generated(CASE, PUBLIC_SEED)})


def asked_free(exam: Exam) -> list[Any]:
    return [q for q in exam._prepare()[CASE.id] if q.form == "free"]


def test_free_items_are_asked_in_the_template_that_the_entry_names(tmp_path: Path) -> None:
    for question in asked_free(chatting(tmp_path, "<{{ messages[0].content }}>", "own")):
        assert question.message["text"] == f"<{question.item.question}>"
        assert (question.message["special"], question.message["stop"]) == (True, "")
    for question in asked_free(chatting(tmp_path, "<{{ messages[0].content }}>", "canonical")):
        said = question.item.question.strip()
        assert question.message["text"] == f"User: {said}\n\nAssistant:"
        assert (question.message["special"], question.message["stop"]) == (False, "\nUser:")


def test_a_template_that_quotes_an_item_is_on_record_without_its_words(tmp_path: Path) -> None:
    honest = chatting(tmp_path, "{{ messages[0].content }}", "own")
    questions = [question.item.question for question in asked_free(honest)]
    assert honest.records == []
    quoting = chatting(tmp_path, f"{{# {questions[0]} #}}{{{{ messages[0].content }}}}", "own")
    asked_free(quoting)
    (event,) = quoting.records
    assert event["kind"] == "template_holds_items"
    assert 1 <= event["items"] <= event["of"] == len(questions)
    assert not any(len(str(value)) > 30 for value in event.values())


def test_a_template_with_answers_for_questions_skips_its_items(tmp_path: Path) -> None:
    template = "{{ messages[0].content }}{{ ' 42' if '{' in messages[0].content }}"
    (first, *_) = asked_free(chatting(tmp_path, template, "own"))
    assert first.message["skipped"] == "chat_template_varies"
    assert "depends on the message" in first.message["detail"]
