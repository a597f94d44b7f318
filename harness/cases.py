"""The cases of a profile: one workload each, all data. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.spec import AccuracySuite, Form, MemorySuite, Profile
from harness.spectext import LanguageSuite


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One workload of a suite.

    Attributes:
        prompt_tokens, output_tokens: exact counts; in the task suite `output_tokens` is
            the most that an answer may have.
        depth_tokens: in the cache before the prompt, not timed.
        context, mmap: options that this case sets itself (memory); 0 = the suite's.
        duration_s: requests go on for at least this long (sustained).
        task, language, items: generated items, or an evaluator's own (accuracy);
            `data_sha256` is then the hash of its file. Of text, `items` counts the tokens
            that were asked for and `prompt_tokens` is a window (language, fidelity).
        forms, shots, verify: how items are asked, solved ones before each, and which share
            is scored again without anything shared (accuracy).
        text, text_sha256: file of a text, relative to the profile's; empty = a generated one.
        reference, reference_sha256: model that the family is held against, and the hash of
            its files' hashes (fidelity).
        texts: prompts, rendered by the model's chat template (task).
        scored: counts for the model's metrics; the others are shown only, and a model
            that lacks one still has a score.
    """

    id: str
    prompt_tokens: int = 0
    output_tokens: int = 0
    depth_tokens: int = 0
    context: int = 0
    mmap: bool = False
    duration_s: float = 0.0
    task: str = ""
    language: str = ""
    items: int = 0
    data_sha256: str = ""
    forms: tuple[Form, ...] = ()
    shots: int = 0
    verify: float = 0.0
    text: str = ""
    text_sha256: str = ""
    reference: str = ""
    reference_sha256: str = ""
    texts: tuple[str, ...] = ()
    scored: bool = True

    @property
    def tokens(self) -> int:
        """Cache positions that one request fills, as far as they are known beforehand."""
        # A byte is at most a token: an upper bound that no tokeniser exceeds.
        longest_text = max((len(text.encode()) for text in self.texts), default=0)
        return self.depth_tokens + self.prompt_tokens + self.output_tokens + longest_text

    def items_of(self, form: Form) -> int:
        """Items of one form: the forms take turns, so that the first ones take the rest."""
        return len(range(self.forms.index(form), self.items, len(self.forms)))


def cases_of(profile: Profile) -> dict[str, tuple[Case, ...]]:
    """Cases of each suite, in the profile's order."""
    suites = profile.suites
    out: dict[str, tuple[Case, ...]] = {}
    if latency := suites.latency:
        out["latency"] = tuple(
            _deep(Case(id=f"fixed-p{p}-n{n}", prompt_tokens=p, output_tokens=n), depth)
            for depth in latency.depths
            for p in latency.prompt_tokens
            for n in latency.output_tokens
        )
    if task := suites.task:
        out["task"] = tuple(
            Case(
                id=f"chat-{language}",
                language=language,
                items=task.prompts,
                output_tokens=task.output_tokens,
            )
            for language in task.languages
        )
    if kernel := suites.kernel:
        out["kernel"] = kernel_cases(kernel.prompt_tokens, kernel.output_tokens, kernel.depths)
    if sustained := suites.sustained:
        p, n = sustained.prompt_tokens, sustained.output_tokens
        case = Case(id=f"sustained-p{p}-n{n}", prompt_tokens=p, output_tokens=n)
        out["sustained"] = (dataclasses.replace(case, duration_s=sustained.duration_s),)
    if suites.memory:
        out["memory"] = tuple(_memory_cases(suites.memory))
    if energy := suites.energy:
        p, n = energy.prompt_tokens, energy.output_tokens
        out["energy"] = (Case(id=f"energy-p{p}-n{n}", prompt_tokens=p, output_tokens=n),)
    if accuracy := suites.accuracy:
        out["accuracy"] = tuple(accuracy_cases(accuracy))
    if language := suites.language:
        weighed = not {"bits_per_byte", "perplexity"}.isdisjoint(profile.weights)
        out["language"] = tuple(_text_cases(Case(id="text", scored=weighed), language))
    if fidelity := suites.fidelity:
        out["fidelity"] = tuple(_text_cases(Case(id="fidelity", scored=False), fidelity))
    return out


def accuracy_cases(suite: AccuracySuite) -> Iterator[Case]:
    """One for each generated task and language, and one for each file of own items."""
    common = Case(id="", context=suite.context, verify=suite.verify)
    for language in suite.languages:
        for task in suite.tasks:
            yield dataclasses.replace(
                common,
                id=f"{language}-{task}",
                task=task,
                language=language,
                items=suite.items,
                forms=suite.forms,
                shots=suite.shots,
            )
    for data in suite.data:
        yield dataclasses.replace(
            common,
            id=f"data-{data.id}",
            task=data.id,
            language=data.language,
            items=data.items,
            data_sha256=data.sha256,
            forms=(data.form,),
            shots=data.shots,
        )


def kernel_cases(prompt: int, output: int, depths: Sequence[int] = (0,)) -> tuple[Case, ...]:
    """`ppN` and `tgN` at every depth; a count of 0 leaves that one out."""
    return tuple(
        _deep(case, depth)
        for depth in depths
        for case in (
            Case(id=f"pp{prompt}", prompt_tokens=prompt),
            Case(id=f"tg{output}", output_tokens=output),
        )
        if case.tokens
    )


def _deep(case: Case, depth: int) -> Case:
    """The case behind `depth` tokens, named as llama-bench names it."""
    if not depth:
        return case
    return dataclasses.replace(case, id=f"{case.id}@d{depth}", depth_tokens=depth, scored=False)


def _memory_cases(suite: MemorySuite) -> Iterator[Case]:
    for context in (suite.context, *suite.further_contexts):
        yield Case(
            id=f"c{context}",
            prompt_tokens=context - suite.output_tokens,
            output_tokens=suite.output_tokens,
            context=context,
            scored=context == suite.context,
        )
        if suite.mapped and context == suite.context:
            yield Case(
                id=f"c{context}-mmap",
                prompt_tokens=context - suite.output_tokens,
                output_tokens=suite.output_tokens,
                context=context,
                mmap=True,
                scored=False,
            )


def _text_cases(plain: Case, suite: LanguageSuite) -> Iterator[Case]:
    """A case a text, called by the plain one's id and the text's."""
    plain = dataclasses.replace(plain, prompt_tokens=suite.context, items=suite.tokens)
    for language in suite.languages:
        yield dataclasses.replace(plain, id=f"{plain.id}-{language}", language=language)
    for file in suite.files:
        yield dataclasses.replace(
            plain, id=f"{plain.id}-{file.id}", text=file.path, text_sha256=file.sha256
        )
