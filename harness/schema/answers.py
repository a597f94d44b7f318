"""Samples of what a model knows, by kind: items, and running text."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from harness.schema.fields import Amount, Code, Count, Name, Positive, Sha256
from harness.schema.sample import Sample
from harness.spec import Form


class _Item(Sample):
    """Which item of a task.

    Attributes:
        index: of the item within its task and form.
        template: that it was made from: items of one are not independent.
        level: of difficulty, from 1.
        chance: that a guesser is right.
    """

    suite: Literal["accuracy"]
    index: Count
    template: str
    level: int
    chance: Annotated[float, Field(ge=0, lt=1)]


class ChoiceItem(_Item):
    """Options compared by log-likelihood; lists have one value an option.

    Attributes:
        correct: the most likely option is the right one.
        answered: always true.
        right: index of the right option.
        log_likelihoods: in nat.
        tokens: that were scored.
        chars: Unicode characters of the option.
        bytes: of it in UTF-8.
        margin: best minus second best, in nat.
    """

    kind: Literal["item"]
    form: Literal["choice"]
    correct: bool
    answered: bool
    right: Count
    log_likelihoods: Annotated[list[float], Field(min_length=2)]
    tokens: Annotated[list[Count], Field(min_length=2)]
    chars: Annotated[list[Count], Field(min_length=2)]
    bytes: Annotated[list[Count], Field(min_length=2)]
    margin: float


class FreeItem(_Item):
    """A written answer and how it was marked.

    Attributes:
        correct: right, whatever stands around it.
        answered: something could be read as an answer.
        strict: right without anything around it.
        credit: share of it that is right.
        truncated: cut off at the most that may be written.
        output: the answer.
    """

    kind: Literal["item"]
    form: Literal["free"]
    correct: bool
    answered: bool
    strict: bool
    credit: Annotated[float, Field(ge=0, le=1)]
    truncated: bool
    output: str


class SkippedItem(_Item):
    """An item that could not be asked: it counts as wrong.

    Attributes:
        form: how it would have been asked.
        reason: why, as a code.
        detail: why, as a sentence.
    """

    kind: Literal["item_skipped"]
    form: Form
    reason: Annotated[Code, Field(min_length=1)]
    detail: str


class Geometry(Sample):
    """How far sharing a prefix moved the log-likelihoods of an item.

    Attributes:
        index: of the item.
        tokens: of each option.
        difference_nat: between shared and whole evaluation of each option, in nat.
    """

    kind: Literal["geometry"]
    suite: Literal["accuracy"]
    index: Count
    tokens: list[Count]
    difference_nat: list[Amount]


class Text(Sample):
    """How well running text was predicted.

    Attributes:
        index: always 0.
        text_sha256: of the text in UTF-8.
        bytes: of the text.
        tokens: of it in the model's tokeniser.
        vocabulary: tokens that there are.
        nats: minus log-likelihood, summed over each half window, in nat.
        chunk_nats: of each chunk that llama-perplexity scores.
        chunk_tokens: scored tokens of such a chunk.
    """

    kind: Literal["text"]
    suite: Literal["language"]
    index: Count
    text_sha256: Sha256
    bytes: Positive
    tokens: Positive
    vocabulary: Positive
    nats: Annotated[list[Amount], Field(min_length=1)]
    chunk_nats: list[Amount]
    chunk_tokens: Count


class _Compared(Sample):
    """A text of the fidelity suite.

    Attributes:
        index: always 0.
        reference: id of the family's most precise model.
        tokens: of the text.
    """

    suite: Literal["fidelity"]
    index: Count
    reference: Name
    tokens: Positive


class Stored(_Compared):
    """The reference has left its predictions for the others.

    Attributes:
        stored_bytes: size of their file.
    """

    kind: Literal["stored"]
    stored_bytes: Positive


class Divergence(_Compared):
    """How far a model's predictions are from its reference's.

    Attributes:
        bytes: of the text in UTF-8.
        kld_nat: Kullback-Leibler divergence of each token, in nat; a lower bound.
        same_top: tokens with the same most likely one.
        delta_p_squares: sum of squared changes of the true token's probability.
        nats: minus log-likelihood of the compared tokens, in nat.
        reference_nats: the reference's.
    """

    kind: Literal["divergence"]
    bytes: Positive
    kld_nat: Annotated[list[Amount], Field(min_length=1)]
    same_top: Count
    delta_p_squares: Amount
    nats: Amount
    reference_nats: Amount


KnowledgeSample = ChoiceItem | FreeItem | SkippedItem | Geometry | Text | Stored | Divergence
