"""Samples of speed, memory and energy, by kind: one raw observation each.

Times are whole nanoseconds of the clock that the backend measures with.
"""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from harness.schema.fields import Amount, Code, Count, JobId, Name, Ns, Positive, Sha256


class Chained(TypedDict):
    """What the parent adds to every line when it adopts it.

    Attributes:
        seq: number of the line, from 0.
        prev: sha256 of the line before, its line feed included; empty in the first.
    """

    seq: Count
    prev: Annotated[str, Field(pattern="^([0-9a-f]{64})?$")]


class Placed(Chained):
    """Which job a record belongs to.

    Attributes:
        job: hash of what is measured.
        model: id of the model.
        process: which of the fresh processes of this work, from 0.
        retry: how often the job had been started before within this run; absent = never.
            Only records of a job's last start count.
    """

    job: JobId
    model: Name
    process: Count
    retry: NotRequired[Positive]


class Sample(Placed):
    """One raw observation.

    Attributes:
        case: id of the workload within its suite.
    """

    type: Literal["sample"]
    case: Name


class Warmup(Sample):
    """Untimed repetitions before a case.

    Attributes:
        duration_ns: of each repetition.
        converged: the last three agreed within 5 %.
    """

    kind: Literal["warmup"]
    suite: Literal["latency", "task", "kernel"]
    duration_ns: Annotated[list[Ns], Field(min_length=1)]
    converged: bool


class Request(Sample):
    """One request of exact prompt and output lengths; times count from `clock_ns`.

    Attributes:
        index: of the request within its case and process.
        clock_ns: moment when the prompt was in memory.
        submitted: prompt tokens given to the engine.
        evaluated: prompt tokens that it evaluated.
        decoded: tokens that it evaluated after the prompt.
        ids_ns: token ids of the prompt were ready.
        token_ns: moment at which each output token was available to the caller.
        end_ns: the output's text was available.
        output_sha256: of the token ids: equal requests give equal ones.
        depth: tokens in the cache before the prompt; absent = 0.
        depth_evaluated: of those, evaluated before the clock started.
    """

    kind: Literal["request"]
    suite: Literal["latency", "energy"]
    index: Count
    clock_ns: Ns
    submitted: Positive
    evaluated: Count
    decoded: Count
    ids_ns: Ns
    token_ns: Annotated[list[Ns], Field(min_length=1)]
    end_ns: Ns
    output_sha256: Sha256
    depth: NotRequired[Count]
    depth_evaluated: NotRequired[Count]


class Load(Sample):
    """Start of a worker until it can take a request, by phase.

    Attributes:
        ready_ns: all phases together.
        start_ns: process and interpreter.
        import_ns: importing the engine.
        weights_ns: reading the weights.
        compile_ns: making the context or compiling; absent = part of `weights_ns`.
        first_ns: the first inference of one token.
        cache: whether the model's files were in the page cache.
    """

    kind: Literal["load"]
    suite: Literal["latency"]
    ready_ns: Ns
    start_ns: Ns
    import_ns: Ns
    weights_ns: Ns
    compile_ns: NotRequired[Ns]
    first_ns: Ns
    cache: Literal["cold", "warm", "unknown"]


class Check(Sample):
    """Proof that a token is available when it is returned: best of several tries.

    Attributes:
        prefill_ns: a prompt, its token returned.
        after_prefill_ns: the call after that.
        extend_ns: the same prompt, its logits handed over.
        step_ns: one token, the next returned.
        after_step_ns: the call after that.
        extend_step_ns: one token, its logits handed over.
        same_token: what was returned is the most likely one by the logits.
    """

    kind: Literal["check"]
    suite: Literal["latency"]
    prefill_ns: Ns
    after_prefill_ns: Ns
    extend_ns: Ns
    step_ns: Ns
    after_step_ns: Ns
    extend_step_ns: Ns
    same_token: bool


class Repeat(Sample):
    """Proof that nothing comes from a cache: prompts, and each right after itself.

    Attributes:
        new_ns: time to the first token of each new prompt.
        repeated_ns: of the same prompt once more.
        submitted: prompt tokens of all of them.
        evaluated: tokens that the engine evaluated.
    """

    kind: Literal["repeat"]
    suite: Literal["latency", "task", "kernel"]
    new_ns: list[Ns]
    repeated_ns: list[Ns]
    submitted: Positive
    evaluated: Count


class Chat(Sample):
    """One answer to a chat prompt; times count from the moment its text was in memory.

    Attributes:
        index: of the prompt within its case.
        ids_ns: token ids were ready.
        token_ns: moment of each token of the answer; empty = the model ended at once.
        end_ns: the answer's text was available.
        submitted: tokens of the prompt.
        evaluated: of those, evaluated by the engine.
        decoded: tokens that it evaluated after the prompt.
        stop: `end` = by the model, `length` = at the most that it may say.
        chars: length of the answer in Unicode characters.
        bytes: in UTF-8.
        output_sha256: of its token ids.
    """

    kind: Literal["chat"]
    suite: Literal["task"]
    index: Count
    ids_ns: Ns
    token_ns: list[Ns]
    end_ns: Ns
    submitted: Positive
    evaluated: Count
    decoded: Count
    stop: Literal["end", "length"]
    chars: Count
    bytes: Count
    output_sha256: Sha256


class Kernel(Sample):
    """One pass of prompt processing or of token generation, as llama-bench defines them.

    Attributes:
        index: of the pass within its case and process.
        tokens: that were asked for.
        evaluated: by the engine.
        elapsed_ns: of the whole pass.
    """

    kind: Literal["kernel"]
    suite: Literal["kernel"]
    index: Count
    tokens: Positive
    evaluated: Count
    elapsed_ns: Ns


class Sustained(Sample):
    """One of many requests back to back; times count from the beginning of the case.

    Attributes:
        index: of the request.
        tokens: of its output.
        submitted: prompt tokens given to the engine.
        evaluated: of those, evaluated.
        decoded: tokens that the engine evaluated after the prompt.
        start_ns: it began.
        first_ns: its first token was available.
        last_ns: its last token was.
        end_ns: its text was.
    """

    kind: Literal["sustained"]
    suite: Literal["sustained"]
    index: Count
    tokens: Positive
    submitted: Positive
    evaluated: Count
    decoded: Count
    start_ns: Ns
    first_ns: Ns
    last_ns: Ns
    end_ns: Ns


class Memory(Sample):
    """Resident size of the worker at the end of a phase.

    Attributes:
        phase: what had just been done.
        peak_resident_bytes: the most since the mark was set.
        resident_bytes: now.
        since: since when the peak counts: this phase, or the start of the process.
        swapped_bytes: of the process; absent = not known.
        available_bytes: of the machine; absent = not known.
    """

    kind: Literal["memory"]
    suite: Literal["memory"]
    phase: Literal["runtime", "import", "load", "prefill", "decode"]
    peak_resident_bytes: Count
    resident_bytes: Count
    since: Literal["phase", "start"]
    swapped_bytes: NotRequired[Count]
    available_bytes: NotRequired[Count]


class MemorySplit(Sample):
    """A worker and what it started, watched by the parent.

    Attributes:
        method: `sampled`, or `job_object` (Windows), which has no split.
        anon_bytes: resident and anonymous, in the largest sample.
        file_bytes: mapped from files.
        shmem_bytes: shared.
        processes: the most at once; null = not known.
        tree_peak_bytes: of all together; null = there was one, or one could not be read.
        samples: how many were taken.
    """

    kind: Literal["memory_split"]
    suite: Literal["memory"]
    method: Literal["sampled", "job_object"]
    anon_bytes: NotRequired[Count]
    file_bytes: NotRequired[Count]
    shmem_bytes: NotRequired[Count]
    processes: Count | None
    tree_peak_bytes: Count | None
    samples: NotRequired[Count]


class EnergyTrace(Sample):
    """What the machine took while a worker ran, read by the parent.

    Attributes:
        method: of reading; methods are never compared with each other.
        t_ns: moments of the readings, on the clock of the requests.
        joules: energy since the first of them.
        idle_w: mean power of the machine before the run, in W; absent = not known.
        problem: why reading ended early; absent = it did not.
    """

    kind: Literal["energy_trace"]
    suite: Literal["energy"]
    method: Literal["rapl", "psys", "battery"]
    t_ns: Annotated[list[Ns], Field(min_length=1)]
    joules: Annotated[list[Amount], Field(min_length=1)]
    idle_w: NotRequired[Amount]
    problem: NotRequired[Code]


TimedSample = (
    Warmup
    | Request
    | Load
    | Check
    | Repeat
    | Chat
    | Kernel
    | Sustained
    | Memory
    | MemorySplit
    | EnergyTrace
)
