"""Accuracy on the artefact and engine settings that are timed.

The parent asks (`harness.exam`); this suite compares choices by log-likelihood (`scorer`),
or writes greedily, and hands back what the engine said. It knows no right answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from harness.backends.base import Backend
from harness.cases import Case
from harness.errors import BackendError, CapabilityError
from harness.job import Job
from harness.records import Record
from harness.suites import exchange
from harness.suites.base import telemetry
from harness.suites.scorer import Scorer

_TELEMETRY_ITEMS: Final = 25
_REFUSED: Final = {"context_exceeded", "empty_option", "empty_prompt", "no_end_token"}
"""What makes one item impossible for one model; anything else ends the job."""
_DIGITS: Final = 6


def measure(case: Case, backend: Backend, job: Job) -> Iterator[Record]:
    """Answer the parent's questions; samples are written there.

    Raises:
        CapabilityError: `no_logits`.
    """
    del job
    if not backend.capabilities.logits:
        raise CapabilityError("this backend returns no logits", reason="no_logits")
    answers = Answers(backend)
    yield telemetry(case.id, 0)
    count = 0
    for count in exchange.serve(case.id, answers.answer):
        if count % _TELEMETRY_ITEMS == 0:
            yield telemetry(case.id, count)
    yield telemetry(case.id, count)


class Answers:
    """Turns a question into an answer, by one loaded backend."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._scorer = Scorer(backend)

    def answer(self, question: exchange.Message) -> dict[str, Any]:
        """Answer `{shots, stem, options, verify}` or `{text, special, max_tokens, stop}`.

        Returns:
            `log_likelihoods` and `tokens` of each option, with `naive` log-likelihoods where
            they are to be verified; or `output`, `tokens` and whether it was `truncated`; or
            `skipped` and `detail`.
        """
        try:
            return self._choose(question) if "options" in question else self._write(question)
        except BackendError as error:
            if error.reason not in _REFUSED:
                raise
            return {"skipped": error.reason, "detail": error.message}

    def _choose(self, question: exchange.Message) -> dict[str, Any]:
        if question["shots"] != self._scorer.shots:
            self._scorer = Scorer(self._backend, question["shots"])
        scorer = self._scorer
        paths, scored_from = scorer.encode(question["stem"], question["options"])
        found = scorer.paths(paths, scored_from)
        answer: dict[str, Any] = {
            "log_likelihoods": [round(each.log_likelihood, _DIGITS) for each in found],
            "tokens": [each.tokens for each in found],
        }
        if question["verify"]:
            naive = scorer.naive(paths, scored_from)
            answer["naive"] = [round(each, _DIGITS) for each in naive]
        return answer

    def _write(self, question: exchange.Message) -> dict[str, Any]:
        backend = self._backend
        special = bool(question["special"])
        ids = backend.encode(question["text"], special=special)
        if not special:
            ids = [*backend.begin_ids, *ids]
        text, tokens, truncated = generate(
            backend, ids, question["max_tokens"], stop=question["stop"]
        )
        # The scorer's prefix is gone from the cache.
        self._scorer = Scorer(backend)
        return {"output": text, "tokens": tokens, "truncated": truncated}


def generate(
    backend: Backend, ids: list[int], max_tokens: int, *, stop: str
) -> tuple[str, int, bool]:
    """Greedy continuation up to an end token, a text (empty = none) or the cap.

    Returns:
        The text before the stop, how many tokens were written, and whether the cap cut it.

    Raises:
        BackendError: `context_exceeded`: prompt and cap do not fit, and nothing was evaluated.
    """
    if len(ids) + max_tokens > backend.context:
        raise BackendError(
            f"{len(ids)} tokens and an answer of {max_tokens} exceed the context of "
            f"{backend.context}",
            reason="context_exceeded",
        )
    backend.reset()
    token = backend.prefill(ids).next_id
    written: list[int] = []
    # The stop may be spread over tokens, and a character over several of them.
    window = len(stop.encode()) + 4
    while token not in backend.end_ids:
        if len(written) == max_tokens:
            return backend.decode(written), len(written), True
        written.append(token)
        if stop and stop in backend.decode(written[-window:]):
            return backend.decode(written).split(stop, 1)[0], len(written), False
        token = backend.step(token).next_id
    return backend.decode(written), len(written), False
