"""Asks a worker the items of accuracy cases, one prompt at a time, and marks its answers.

seed ─▶ items ─▶ prompts ─▶ worker ─▶ log-likelihoods, texts ─▶ marks ─▶ sample records

The answers stay here, in the parent: what a worker holds is one prompt. Chat prompts are
rendered by the model's own template before its first question.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from statistics import fmean
from typing import IO, Any, NamedTuple

from harness.budget import FLOOR, SHARED, Stratum, allocate, item_variance, reached
from harness.cases import Case
from harness.errors import HarnessError
from harness.job import Job
from harness.models import chat
from harness.records import PartWriter, Record
from harness.sources import Source
from harness.spec import Artefact, Form, Profile
from harness.suites import exchange
from harness.suites.tasks.base import Item

ItemProgress = Callable[[str, int, int, float], None]
"""Called now and then with a model, items answered, items in all (0 = as many as the time allows)
and about how many seconds are left."""

_PROGRESS_S = 10.0
_TEXT_CHARS_MAX = 1 << 20
"""Of one answer: all of them are held, and no item asks for so much."""
_VERIFIED_LEAST = 1
"""Choice items of each case that are scored both ways: near-ties are judged by them."""


class Question(NamedTuple):
    """One item as it is asked; a `skipped` in the message says why it cannot be."""

    case: str
    number: int
    form: Form
    item: Item
    chance: float
    message: Mapping[str, Any]


class Budget:
    """How many items of each case fit a time; decided by the first exam that is sat.

    All models of a run are asked the same items, so the first one, which should be the
    slowest, decides for all. `half_width` is what it expects of the interval of the mean.
    """

    def __init__(self, seconds: float, items: Mapping[str, int] | None = None) -> None:
        self.seconds = seconds
        self.items = dict(items) if items else None
        self.half_width = math.inf

    @classmethod
    def of(cls, profile: Profile, items: Mapping[str, int] | None = None) -> Budget | None:
        """A profile's, if it has one; of a resumed run with the `items` that were decided on."""
        accuracy = profile.suites.accuracy
        return cls(accuracy.budget_s, items) if accuracy and accuracy.budget_s else None


class _Pilot(NamedTuple):
    """How the first items of a case went."""

    case: str
    asked: int
    right: int
    chance: float
    seconds: float


class Exam:
    """The accuracy items of one job.

    Args:
        sources: of each case, by its id.
        budget: ask no more than fits; None = everything.
        progress: who is told how far it is.
    """

    def __init__(
        self,
        job: Job,
        artefact: Artefact,
        sources: Mapping[str, Source],
        budget: Budget | None = None,
        progress: ItemProgress | None = None,
    ) -> None:
        self._job = job
        self._progress = progress
        self._asked = self._total = 0
        self._begun_s = self._told_s = 0.0
        self._artefact = artefact
        self._sources = sources
        self._budget = budget
        self.records: list[Record] = []
        """Sample records, in the order of asking; complete when `serve` has returned."""
        self.broken = ""
        """Why not everything was asked."""
        self._kept: Path | None = None
        self._writer: PartWriter | None = None

    def keep_in(self, path: Path) -> None:
        """Append what is marked to this file as well: hours of answers survive a crash."""
        self._kept = path

    def serve(self, questions: IO[bytes], answers: IO[bytes]) -> None:
        """Ask everything; ends early where the worker does.

        Raises:
            RecordError: what is marked cannot be kept.
        """
        # Only here: of a worker that cannot be started nothing is served, nor closed.
        self._writer = PartWriter(self._kept) if self._kept else None
        try:
            self._serve(questions, answers)
        finally:
            if self._writer:
                self._writer.close()

    def _serve(self, questions: IO[bytes], answers: IO[bytes]) -> None:
        prepared = self._prepare()  # what fails here is ours, and no worker's nonsense
        try:
            self._total = 0 if self._budget else sum(map(len, prepared.values()))
            self._begun_s = self._told_s = time.perf_counter()
            every = len(prepared)
            while (message := exchange.read(answers)) is not None:
                case = message["ready"]
                if self._budget:
                    # The worker does not care whose items it is asked while one case is open.
                    self._ask_within(self._budget, prepared, questions, answers)
                    prepared = {}
                else:
                    # Once: who is asked again could answer otherwise.
                    self._ask(prepared.pop(case, ()), questions, answers)
                exchange.write(questions, {"end": case})
            if 0 < len(prepared) < every:
                self.broken = f"it left out {', '.join(sorted(prepared))}"
        except (BrokenPipeError, ValueError, KeyError, TypeError, OverflowError) as error:
            self.broken = self.broken or f"the worker answered nonsense or nothing: {error!r}"

    def _ask(
        self, asked: Iterable[Question], questions: IO[bytes], answers: IO[bytes]
    ) -> tuple[int, int]:
        """Ask and mark; how many there were, and how many answers were right.

        Raises:
            BrokenPipeError: no answer came.
        """
        count = right = 0
        for question in asked:
            answer: Mapping[str, Any] | None = question.message
            if "skipped" not in question.message:
                exchange.write(questions, question.message)
                answer = exchange.read(answers)
            if answer is None:
                self.broken = f"no answer to item {question.number} of {question.case}"
                raise BrokenPipeError(self.broken)
            marked = list(self._marked(question, answer))
            self._keep(*marked)
            count += 1
            right += any(record.get("correct", False) for record in marked)
            self._tell()
        return count, right

    def _keep(self, *marked: Record) -> None:
        self.records += marked
        if self._writer:
            self._writer.write(*marked)

    def _tell(self) -> None:
        """Say how far it is, at most every few seconds: nothing here is timed."""
        self._asked += 1
        now = time.perf_counter()
        if self._progress is None or now - self._told_s < _PROGRESS_S:
            return
        self._told_s, spent_s = now, now - self._begun_s
        if self._budget:
            left_s = self._budget.seconds - spent_s
        else:
            left_s = spent_s * (self._total / self._asked - 1)
        self._progress(self._job.model, self._asked, self._total, max(0.0, left_s))

    def _ask_within(
        self,
        budget: Budget,
        prepared: Mapping[str, Sequence[Question]],
        questions: IO[bytes],
        answers: IO[bytes],
    ) -> None:
        """A few items of each case, then those that narrow the mean's interval most."""
        done = dict.fromkeys(prepared, 0)
        if budget.items is None and prepared:
            begun = time.perf_counter()
            pilots = [self._pilot(*each, questions, answers) for each in prepared.items()]
            done = {pilot.case: pilot.asked for pilot in pilots}
            strata = self._strata(pilots, prepared)
            left_s = budget.seconds - (time.perf_counter() - begun)
            budget.items = allocate(left_s, strata)
            budget.half_width = reached(strata, budget.items)
        for case, asked in prepared.items():
            wanted = (budget.items or {}).get(case, 0)
            self._ask(_first(asked, done[case], wanted), questions, answers)

    def _pilot(
        self, case: str, asked: Sequence[Question], questions: IO[bytes], answers: IO[bytes]
    ) -> _Pilot:
        started = time.perf_counter()
        first = _first(asked, 0, FLOOR)
        count, right = self._ask(first, questions, answers)
        chance = fmean(q.chance for q in first) if first else 0.0
        return _Pilot(case, count, right, chance, time.perf_counter() - started)

    def _strata(
        self, pilots: Sequence[_Pilot], prepared: Mapping[str, Sequence[Question]]
    ) -> list[Stratum]:
        suite_of = {case.id: case.task for case in self._job.cases}
        sizes = Counter(suite_of.values())
        share = sum(pilot.right for pilot in pilots) / max(1, sum(pilot.asked for pilot in pilots))
        return [
            Stratum(
                case=pilot.case,
                # The mean is first over the languages of a suite, then over suites.
                weight=1 / sizes[suite_of[pilot.case]],
                seconds_per_item=max(1e-6, pilot.seconds / max(1, pilot.asked)),
                variance=item_variance(
                    pilot.right, pilot.asked, chance=pilot.chance, share=share, strength=SHARED
                ),
                done=pilot.asked,
                most=len(prepared[pilot.case]),
            )
            for pilot in pilots
        ]

    # --- asking -----------------------------------------------------------------------

    def _prepare(self) -> dict[str, list[Question]]:
        """All questions by case."""
        asked: dict[str, list[Question]] = {}
        written: list[tuple[Case, int, Item, str]] = []
        for case in self._job.cases:
            source = self._sources[case.id]
            asked[case.id] = list(self._choices(case, source))
            shots = source.shots("free") if "free" in case.forms else ""
            written += [
                (case, index, item, shots) for index, item in enumerate(_free(case, source))
            ]
        prompts: Iterable[Mapping[str, Any]]
        try:
            prompts = self._prompts([(item, shots) for _, _, item, shots in written])
        except HarnessError as error:
            # Only those whose turn comes count: with a budget others are asked no more.
            prompts = repeat({"skipped": error.reason, "detail": error.message}, len(written))
        for (case, index, item, _), prompt in zip(written, prompts, strict=True):
            asked[case.id].append(self._question(case, index, item, prompt))
        return asked

    def _question(self, case: Case, index: int, item: Item, message: Mapping[str, Any]) -> Question:
        form: Form = "choice" if item.choices else "free"
        return Question(case.id, index, form, item, self._sources[case.id].chance(item), message)

    def _choices(self, case: Case, source: Source) -> Iterator[Question]:
        if "choice" not in case.forms:
            return
        shots = source.shots("choice")
        items = list(source.items("choice"))
        verified = max(_VERIFIED_LEAST, round(case.verify * len(items)))
        every = max(1, len(items) // verified)
        for index, item in enumerate(items):
            message = {
                "shots": shots,
                "stem": item.context,
                "options": item.choices,
                "verify": index % every == 0 and index // every < verified,
            }
            yield self._question(case, index, item, message)

    def _prompts(self, items: Sequence[tuple[Item, str]]) -> Iterable[Mapping[str, Any]]:
        """What the model is given for free answers: chat prompts, or plain text."""
        if not items:
            return []
        template = chat.required_template(self._artefact)
        if template is None:
            return [
                {
                    "text": shots + item.context,
                    "special": False,
                    "max_tokens": item.max_tokens,
                    "stop": item.stop,
                }
                for item, shots in items
            ]
        if count := chat.quoted(template, (item.question for item, _ in items)):
            # Without its words: reports are public, the items may not be.
            event = {"type": "event", "kind": "template_holds_items"}
            self._keep(event | {"items": count, "of": len(items)})
        messages = [shots + item.question for item, shots in items]
        texts = chat.render(template, messages, Path(self._artefact.path))
        return [
            {
                "text": text,
                "special": template.special,
                "max_tokens": item.max_tokens,
                "stop": template.stop,
            }
            for text, (item, _) in zip(texts, items, strict=True)
        ]

    # --- marking ----------------------------------------------------------------------

    def _marked(self, question: Question, answer: Mapping[str, Any]) -> Iterator[Record]:
        if answer.get("skipped"):
            yield _skipped(question, _text(answer["skipped"]), _text(answer["detail"]))
            return
        item, source = question.item, self._sources[question.case]
        sample = _sample(question, "item")
        if question.form == "choice":
            count = len(item.choices)
            scores, tokens = _numbers(answer["log_likelihoods"], count), answer["tokens"]
            yield sample | _chosen(item, scores, _numbers(tokens, count, int), source.delimiter)
            if question.message["verify"]:
                yield _geometry(question, scores, tokens, _numbers(answer["naive"], count))
        else:
            output = _text(answer["output"])
            grade = source.mark(output, item)
            yield sample | {
                "correct": grade.loose,
                "answered": grade.answered,
                "strict": grade.strict,
                "credit": round(grade.credit, 6),
                "truncated": answer["truncated"] is True,
                "output": output,
            }


def _first(asked: Sequence[Question], start: int, end: int) -> list[Question]:
    """Items `start … end` where the forms take turns, choices first: they share a prefix."""
    turns = sorted(asked, key=lambda q: (q.number, q.form))
    return sorted(turns[start:end], key=lambda q: (q.form, q.number))


def _free(case: Case, source: Source) -> Iterator[Item]:
    return source.items("free") if "free" in case.forms else iter(())


def _numbers(values: object, count: int, *kinds: type) -> list[Any]:
    """What a worker says may be nonsense: it must not become a figure, nor end the run.

    Raises:
        ValueError: it is no list of so many finite numbers.
    """
    kinds = kinds or (float, int)
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"no list of {count} numbers")
    if not all(type(value) in kinds and math.isfinite(value) for value in values):
        raise ValueError("not all of its numbers are finite ones")
    return values


def _text(value: object) -> str:
    """Text that can be written into a record.

    Raises:
        ValueError: it is no text.
    """
    if not isinstance(value, str):
        raise ValueError(f"{type(value).__name__} in place of text")  # noqa: TRY004  (one kind)
    if len(value) > _TEXT_CHARS_MAX:
        raise ValueError(f"a text of {len(value)} characters")
    return value.encode("utf-8", "replace").decode()


def _chosen(item: Item, scores: Sequence[float], tokens: Sequence[int], delimiter: str) -> Record:
    """The first of the most likely choices is taken; ties are the margin's business."""
    best = max(range(len(scores)), key=lambda i: scores[i])
    others = [score for i, score in enumerate(scores) if i != best]
    right = item.choices.index(item.answer)
    bare = [choice.removeprefix(delimiter) for choice in item.choices]
    return {
        "correct": best == right,
        "answered": True,
        "right": right,
        "log_likelihoods": list(scores),
        "tokens": list(tokens),
        "chars": [len(choice) for choice in bare],
        "bytes": [len(choice.encode()) for choice in bare],
        "margin": round(scores[best] - max(others), 6),
    }


def _geometry(
    question: Question, scores: Sequence[float], tokens: Sequence[int], naive: Sequence[float]
) -> Record:
    """How far sharing and grouping moved the log-likelihoods of one item."""
    pairs = zip(scores, naive, strict=True)
    return {
        "type": "sample",
        "case": question.case,
        "kind": "geometry",
        "index": question.number,
        "tokens": list(tokens),
        "difference_nat": [round(abs(shared - alone), 6) for shared, alone in pairs],
    }


def _sample(question: Question, kind: str) -> Record:
    return {
        "type": "sample",
        "case": question.case,
        "kind": kind,
        "index": question.number,
        "form": question.form,
        "template": question.item.template,
        "level": question.item.level,
        "chance": question.chance,
    }


def _skipped(question: Question, reason: str, detail: str) -> Record:
    return _sample(question, "item_skipped") | {"reason": reason, "detail": detail[:300]}
