"""The worker's side of an exam: it answers questions, and knows no right answer."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from harness.backends.base import Capabilities
from harness.backends.fake import FakeBackend
from harness.cases import Case
from harness.errors import BackendError, CapabilityError
from harness.spec import BackendOptions
from harness.suites import accuracy, exchange
from harness.suites.accuracy import Answers, generate
from harness.suites.scorer import Scorer
from tests.suites.helpers import fake, job

CASE = Case(id="ko-josa", task="josa", language="ko", items=4, forms=("choice", "free"))
CHOOSE = {"shots": "", "stem": "사과", "options": ["는 좋다", "은 좋다"], "verify": False}
WRITE = {"text": "사과", "special": False, "max_tokens": 8, "stop": "\n"}


class Scripted(FakeBackend):
    """Writes what the test says, byte by byte, then its end token."""

    script = ""

    def _greedy(self) -> int:
        text = self.script.encode()
        place = self._position - self.prompt
        return text[place] if place < len(text) else 256

    prompt = 1


@pytest.fixture
def scripted(tmp_path: Path) -> Scripted:
    path = tmp_path / "toy.fake.json"
    path.write_text("{}")
    backend = Scripted()
    backend.load(path, BackendOptions(threads=1))
    return backend


@pytest.mark.parametrize(
    ("script", "cap", "stop", "found"),
    [
        (" 1+1=2;2\nmore", 40, "\n", (" 1+1=2;2", 9, False)),
        (" 12", 40, "\n", (" 12", 3, False)),
        ("no end in sight", 5, "\n", ("no en", 5, True)),
        ("fits", 4, "\n", ("fits", 4, False)),
        ("두 줄\n둘째", 40, "", ("두 줄\n둘째", 14, False)),
        ("목록\n\n질문: 또", 60, "\n질문:", ("목록\n", 15, False)),
        ("", 5, "\n", ("", 0, False)),
    ],
)
def test_writing_stops_at_a_text_the_cap_or_an_end_token(scripted, script, cap, stop, found):
    scripted.script = script
    assert generate(scripted, scripted.encode("?"), cap, stop=stop) == found


def test_a_prompt_that_leaves_no_room_for_its_answer_is_refused(tmp_path: Path) -> None:
    backend = fake(tmp_path, context=64)
    backend.calls.clear()
    with pytest.raises(BackendError) as caught:
        generate(backend, [1] * 60, 5, stop="")
    assert caught.value.reason == "context_exceeded"
    assert not backend.calls
    assert generate(backend, [1] * 60, 4, stop="")[1] <= 4


def test_choices_are_compared_and_verified_where_asked(tmp_path: Path) -> None:
    backend = fake(tmp_path, seed=3)
    found = Answers(backend).answer(CHOOSE)
    scorer = Scorer(fake(tmp_path, seed=3))
    expected = scorer.paths(*scorer.encode("사과", ["는 좋다", "은 좋다"]))
    assert found["log_likelihoods"] == pytest.approx([e.log_likelihood for e in expected])
    assert found["tokens"] == [e.tokens for e in expected]
    assert "naive" not in found
    again = Answers(backend).answer({**CHOOSE, "verify": True})
    assert again["naive"] == pytest.approx(found["log_likelihoods"], abs=1e-4)


def test_answers_do_not_depend_on_what_was_asked_before(tmp_path: Path) -> None:
    alone = Answers(fake(tmp_path, seed=3)).answer({**CHOOSE, "shots": "보기: 1\n\n"})
    answers = Answers(fake(tmp_path, seed=3))
    for question in (CHOOSE, WRITE, {**CHOOSE, "shots": "보기: 1\n\n", "verify": True}, WRITE):
        answers.answer(question)
    found = answers.answer({**CHOOSE, "shots": "보기: 1\n\n"})
    assert found["log_likelihoods"] == pytest.approx(alone["log_likelihoods"], abs=1e-6)


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ({**CHOOSE, "stem": "긴" * 3000}, "context_exceeded"),
        ({**CHOOSE, "options": ["은", ""]}, "empty_option"),
        ({**WRITE, "text": "긴" * 3000}, "context_exceeded"),
        ({**WRITE, "text": ""}, "empty_prompt"),
    ],
)
def test_what_cannot_be_asked_is_skipped_with_its_reason(tmp_path, question, reason):
    answers = Answers(fake(tmp_path))
    assert answers.answer(question)["skipped"] == reason
    assert "log_likelihoods" in answers.answer(CHOOSE), "the next item is none the worse"


def test_an_engine_that_fails_is_not_taken_for_a_hard_item(tmp_path, monkeypatch):
    backend = fake(tmp_path)

    def broken(*_: object) -> None:
        raise BackendError("llama_decode returned -3", reason="decode_failed")

    monkeypatch.setattr(backend, "_evaluate", broken)
    with pytest.raises(BackendError):
        Answers(backend).answer(CHOOSE)


@pytest.fixture
def pipes(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The parent's ends of a worker's pipes: where to ask, where to read answers."""
    asked, ask = os.pipe()
    answers, answer = os.pipe()
    ends = [os.fdopen(asked, "rb"), os.fdopen(ask, "wb")]
    ends += [os.fdopen(answers, "rb"), os.fdopen(answer, "wb")]
    monkeypatch.setattr(exchange, "_pipes", (ends[0], ends[3]))
    yield ends[1], ends[2]
    for end in ends:
        end.close()


def test_a_case_is_served_until_the_parent_ends_it(tmp_path, pipes):
    ask, answers = pipes
    records = []
    backend = fake(tmp_path)
    worker = threading.Thread(
        target=lambda: records.extend(accuracy.measure(CASE, backend, job("accuracy", CASE)))
    )
    worker.start()
    assert exchange.read(answers) == {"ready": "ko-josa"}
    for _ in range(60):
        exchange.write(ask, CHOOSE)
        assert "log_likelihoods" in exchange.read(answers)
    exchange.write(ask, {"end": "ko-josa"})
    worker.join(10)
    assert [record["index"] for record in records] == [0, 25, 50, 60]
    assert {record["type"] for record in records} == {"telemetry"}


def test_a_parent_that_is_gone_ends_the_case(tmp_path, pipes):
    ask, _ = pipes
    ask.close()
    list(accuracy.measure(CASE, fake(tmp_path), job("accuracy", CASE)))


def test_a_backend_without_logits_is_skipped(tmp_path, monkeypatch):
    backend = fake(tmp_path)
    monkeypatch.setattr(type(backend), "capabilities", Capabilities(logits=False))
    with pytest.raises(CapabilityError) as caught:
        list(accuracy.measure(CASE, backend, job("accuracy", CASE)))
    assert caught.value.reason == "no_logits"


def test_questions_outside_a_worker_are_an_error() -> None:
    with pytest.raises(RuntimeError, match="not started to be asked"):
        exchange.pipes()
