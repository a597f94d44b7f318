"""Chat answers on an engine whose true times are known: they end where the model ends them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness import times as times_of
from harness.backends.base import Step
from harness.backends.fake import EOS, FakeBackend
from harness.cases import Case
from harness.errors import CapabilityError
from harness.suites import task
from tests.suites.helpers import fake, job

TEXTS = ("안녕하세요?", "하늘은 왜 파란가요?")
CASE = Case(id="chat-ko", language="ko", items=2, output_tokens=6, texts=TEXTS)
TIMES = {"prefill_s_per_token": 0.001, "step_s": 0.02}
STEP_NS = 20_000_000


class Speaker(FakeBackend):
    """Says a given text and ends, whatever it is asked; takes 5 ms to tokenise."""

    said = "하늘"

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Refuse to read a rendered prompt as plain text."""
        assert special
        self._virtual_ns += 5_000_000
        return super().encode(text)

    def prefill(self, ids: Sequence[int], *, sample: bool = True) -> Step:
        """The first byte."""
        self.rest = [*self.said.encode(), *[EOS] * 32]
        return Step(self.rest.pop(0), super().prefill(ids, sample=sample).evaluated)

    def step(self, token: int, *, sample: bool = True) -> Step:
        """The next byte."""
        evaluated = super().step(token, sample=sample).evaluated
        return Step(self.rest.pop(0), evaluated)


def answers(backend: FakeBackend, case: Case = CASE) -> list[dict[str, Any]]:
    records = list(task.measure(case, backend, job("task", case)))
    return [record for record in records if record.get("kind") == "chat"]


@pytest.fixture
def speaker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    monkeypatch.setattr("tests.suites.helpers.FakeBackend", Speaker)
    return fake(tmp_path, **TIMES)


def test_an_answer_ends_with_the_models_end_token(speaker: FakeBackend) -> None:
    case = Case(id="chat-ko", items=2, output_tokens=50, texts=TEXTS)
    for text, record in zip(TEXTS, answers(speaker, case), strict=True):
        prompt = len(text.encode())
        first = 5_000_000 + prompt * 1_000_000
        assert record["ids_ns"] == 5_000_000
        assert record["token_ns"] == [first + STEP_NS * i for i in range(6)]
        assert record["end_ns"] == first + STEP_NS * 6, "the step of the end token counts"
        assert (record["submitted"], record["evaluated"]) == (prompt, prompt)
        assert (record["decoded"], record["stop"]) == (6, "end")
        assert (record["chars"], record["bytes"]) == (2, 6)
        times = times_of.chat_times({"type": "sample", **record})
        assert times.task_tokenise_s == 0.005
        assert times.task_decode_tok_per_s == 50


def test_an_answer_is_cut_at_the_cap(speaker: FakeBackend) -> None:
    record = answers(speaker, Case(id="chat-ko", items=1, output_tokens=4, texts=TEXTS[:1]))[0]
    assert (len(record["token_ns"]), record["decoded"], record["stop"]) == (4, 3, "length")
    assert record["chars"] == 2, "half a character is shown as a replacement"
    assert times_of.chat_times({"type": "sample", **record}).task_output_tok == 4


def test_an_end_at_the_cap_is_a_cut(speaker: FakeBackend) -> None:
    """Nobody asked for the next token, so nobody knows that it would have been the end."""
    record = answers(speaker, Case(id="chat-ko", items=1, output_tokens=6, texts=TEXTS[:1]))[0]
    assert (record["decoded"], record["stop"]) == (5, "length")


@pytest.mark.parametrize(("cap", "stop", "decoded"), [(1, "length", 0), (9, "end", 1)])
def test_an_answer_of_one_token_has_no_rate(
    speaker: Speaker, cap: int, stop: str, decoded: int
) -> None:
    speaker.said = "a"
    record = answers(speaker, Case(id="chat-en", items=1, output_tokens=cap, texts=("Hi",)))[0]
    assert (len(record["token_ns"]), record["stop"], record["decoded"]) == (1, stop, decoded)
    assert times_of.chat_times({"type": "sample", **record}).task_decode_tok_per_s is None


def test_silence_is_recorded_and_never_becomes_a_number(tmp_path: Path) -> None:
    for record in answers(fake(tmp_path, eos_bias=100, **TIMES)):
        assert record["token_ns"] == []
        assert (record["decoded"], record["stop"]) == (0, "end")
        assert (record["chars"], record["bytes"]) == (0, 0)
        assert record["end_ns"] == record["submitted"] * 1_000_000
        with pytest.raises(times_of.SampleRefusedError) as caught:
            times_of.chat_times({"type": "sample", **record})
        assert caught.value.reason == "no_output"


def test_every_text_once_and_none_before_it_is_timed(tmp_path: Path) -> None:
    backend = fake(tmp_path, **TIMES)
    work = dataclasses.replace(job("task", CASE, warmup_max=2), process=1)
    records = list(task.measure(CASE, backend, work))
    kinds = [record.get("kind", record.get("type")) for record in records]
    assert kinds == ["warmup", "telemetry", "chat", "telemetry", "chat", "telemetry"]
    assert [record["index"] for record in records[1:]] == [0, 0, 1, 1, 2]
    prompts = [call.tokens for call in backend.calls if call.kind == "prefill"]
    lengths = [len(text.encode()) for text in TEXTS]
    assert prompts == [max(lengths), max(lengths), *lengths]
    assert len({record["output_sha256"] for record in records if "output_sha256" in record}) == 2


def test_a_prompt_that_does_not_fit_is_skipped_before_anything_runs(tmp_path: Path) -> None:
    backend = fake(tmp_path, context=30)
    longest = len(TEXTS[1].encode())
    with pytest.raises(
        CapabilityError, match=rf"{longest} tokens and an answer of 6 exceed the context of 30"
    ) as caught:
        list(task.measure(CASE, backend, job("task", CASE)))
    assert caught.value.reason == "prompt_too_long"
    assert [call.kind for call in backend.calls] == ["load"]


def test_a_chunk_is_not_a_token(tmp_path: Path) -> None:
    record = answers(fake(tmp_path, **TIMES, chunk_tokens=4))[0]
    with pytest.raises(times_of.SampleRefusedError) as caught:
        times_of.chat_times({"type": "sample", **record})
    assert caught.value.reason == "wrong_token_count"
