"""Tasks of lm-evaluation-harness on our engines: the model `sllm-harness`.

`evaluate` runs any of its tasks on a model of ours; `HarnessLM` is what its own Python
interface sees once this module is imported. Requests are sorted into a trie of tokens,
so that shots and stems are evaluated once for all that begin with them. Definitions are
lm-eval's: trailing white space of a context belongs to the continuation, and the tokens
behind the context's own encoding are scored.

Everything happens in this process. Tasks that bring Python code (`!function`) execute it.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.errors import (
    HarnessError,
    PrerequisiteError,
    SpecError,
    did_you_mean,
    install_hint,
)
from harness.interop import opening
from harness.interop.generation import Request, generate
from harness.interop.lm_eval_files import completed
from harness.interop.special_ids import special_ids
from harness.interop.token_trie import Ids, score
from harness.models import chat
from harness.spec import Artefact, BackendOptions

try:
    from lm_eval import simple_evaluate, utils
    from lm_eval.api.model import TemplateLM
    from lm_eval.api.registry import register_model
    from lm_eval.tasks import TaskManager
except ImportError as missing:
    raise PrerequisiteError(
        f"lm-evaluation-harness cannot be imported: {missing}",
        hint=install_hint('"sllm-harness[lm-eval]"'),
    ) from missing

NAME = "sllm-harness"
"""What lm-eval calls a model of ours."""

_MAX_OUTPUT_TOKENS = 256
_OURS = ("batch_size", "max_batch_size", "device")
"""Arguments that lm-eval hands to every model; sequences are evaluated one at a time here."""


@register_model(NAME)
class HarnessLM(TemplateLM):  # type: ignore[misc]
    """A model of ours for lm-eval.

    Args:
        pretrained: a model's id in the models file, or its path.
        backend: `llama_cpp`, `onnxruntime` or `transformers`; empty = the format's own.
        threads: 0 = the performance cores. context: tokens; 0 = what the model declares,
            at most 4,096. Texts beyond it are cut from the left, as lm-eval does.
        add_bos_token: put a start token before texts; None = as the model's files say.
        options: all of the backend's options, instead of `threads` and `context`.

    Raises:
        SpecError: an unknown model, backend or argument.
        PrerequisiteError: the engine or the model's files are not here.
        BackendError: the engine refused the model.
    """

    def __init__(
        self,
        pretrained: str | Path | Artefact = "",
        backend: str = "",
        *,
        threads: int = 0,
        context: int = 0,
        add_bos_token: bool | None = None,
        options: BackendOptions | None = None,
        **others: Any,
    ) -> None:
        super().__init__()
        known = ("pretrained", "backend", "threads", "context", "add_bos_token")
        for name in others.keys() - set(_OURS):
            raise SpecError(
                f"unknown model argument '{name}'{did_you_mean(name, known)}",
                allowed=", ".join(known),
                reason="unknown_name",
            )
        self.artefact = opening.artefact(pretrained, backend)
        chosen = options or dataclasses.replace(
            self.artefact.model.options, threads=threads, context=context
        )
        self.engine_options = opening.pinned(chosen, self.artefact.model)
        self.engine = opening.opened(self.artefact, self.engine_options)
        self._special = special_ids(self.artefact, self.engine)
        if add_bos_token is not None:
            start = (self._special.prefix,) if add_bos_token else ()
            self._special = self._special._replace(start=start)
        self._converse = lru_cache(maxsize=4096)(self._rendered)

    def close(self) -> None:
        """Free the engine."""
        self.engine.close()

    # --- facts ------------------------------------------------------------------------

    @property
    def eot_token_id(self) -> int:
        """The token that ends a text."""
        return self._special.end

    @property
    def prefix_token_id(self) -> int:
        """What an empty context is replaced by."""
        return self._special.prefix

    @property
    def max_length(self) -> int:
        """Tokens that can be evaluated at once."""
        return self.engine.context

    @property
    def max_gen_toks(self) -> int:
        """Tokens of an answer where the task does not say."""
        return _MAX_OUTPUT_TOKENS

    @property
    def tokenizer_name(self) -> str:
        """Names the tokeniser in lm-eval's caches of requests."""
        files = sorted(self.artefact.sha256.items())
        found = next((digest for name, digest in files if name == "tokenizer.json"), files[0][1])
        return f"{self.artefact.model.id}.{found[:12]}"

    def get_model_info(self) -> dict[str, Any]:
        """What is written beside results, so that they can be told apart."""
        model, costs = self.artefact.model, self.artefact.weights
        return {
            "model_num_parameters": sum(
                costs.get(name, 0) for name in ("body_parameters", "head_parameters")
            )
            or -1,
            "model_dtype": model.quantisation,
            "model_revision": model.source.revision or "main",
            "model_sha": "",
            "model_sha256": dict(self.artefact.sha256),
            "engine": {name: _homeless(text) for name, text in self.engine.describe().items()},
        }

    # --- text -------------------------------------------------------------------------

    def tok_encode(
        self,
        string: str,
        add_special_tokens: bool | None = None,  # noqa: FBT001 - lm-eval's
        **_: Any,
    ) -> list[int]:
        """Ids of a text; special tokens in it are read as such.

        Args:
            string: the text.
            add_special_tokens: put the start token first; None = as the model does, unless
                the text begins with it.
        """
        ids = self.engine.encode(string, special=True)
        start = list(self._special.start)
        if add_special_tokens is False or (add_special_tokens is None and ids[:1] == start):
            return ids
        return start + ids

    def chat_template(
        self,
        chat_template: bool | str = False,  # noqa: FBT001, FBT002 - lm-eval's
    ) -> str:
        """The text of the model's template; empty where its turns are plain lines."""
        template = chat.required_template(self.artefact) if chat_template else None
        return template.text if template else ""

    def apply_chat_template(
        self,
        chat_history: Sequence[Mapping[str, str]],
        add_generation_prompt: bool = True,  # noqa: FBT001, FBT002 - lm-eval's
    ) -> str:
        """A conversation in the model's template, rendered in a child with limits."""
        turns = tuple((turn["role"], turn["content"]) for turn in chat_history)
        return self._converse(turns, add_generation_prompt)

    def _rendered(self, turns: tuple[tuple[str, str], ...], ask: bool) -> str:  # noqa: FBT001
        template, where = chat.required_template(self.artefact), Path(self.artefact.path)
        if template is None:
            return _plain_turns(turns, ask=ask)
        said = [{"role": role, "content": content} for role, content in turns]
        try:
            return chat.render_turns(template, said, where, ask=ask)
        except HarnessError:
            # Templates of models without a system role raise: lm-eval then leaves it out.
            rest = [turn for turn in said if turn["role"] != "system"]
            if rest == said:
                raise
            return chat.render_turns(template, rest, where, ask=ask)

    # --- requests ---------------------------------------------------------------------

    def _loglikelihood_tokens(
        self,
        requests: Sequence[tuple[tuple[str, str] | None, Sequence[int], Sequence[int]]],
        **_: Any,
    ) -> list[tuple[float, bool]]:
        """Log-likelihood of each continuation, and whether greedy decoding gives it."""
        pairs = [self._fitting(context, ids) for _, context, ids in requests]
        answers = [(option.log_likelihood, option.greedy) for option in score(self.engine, pairs)]
        for (text, *_rest), answer in zip(requests, answers, strict=True):
            if text is not None:
                self.cache_hook.add_partial("loglikelihood", text, answer)
        return answers

    def _fitting(self, context: Sequence[int], ids: Sequence[int]) -> tuple[Ids, Ids]:
        """Cut a context from the left; the last token of a continuation is not evaluated."""
        room = self.max_length + 1 - len(ids)
        if room < 1:
            raise HarnessError(
                f"a continuation of {len(ids)} tokens exceeds the context of {self.max_length}",
                hint="ask for a longer context, as far as the model has one",
                reason="context_exceeded",
            )
        return tuple(context[-room:]), tuple(ids)

    def loglikelihood_rolling(
        self,
        requests: Sequence[Any],
        disable_tqdm: bool = False,  # noqa: ARG002, FBT001, FBT002 - lm-eval's
    ) -> list[float]:
        """Log-likelihood of whole texts, in windows that predict every token once."""
        windows = [list(self._windows(request.args[0])) for request in requests]
        scored = iter(self._loglikelihood_tokens([w for each in windows for w in each]))
        totals = [sum(next(scored)[0] for _ in each) for each in windows]
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def _windows(self, text: str) -> Iterable[tuple[None, list[int], list[int]]]:
        for window in utils.get_rolling_token_windows(
            token_list=self.tok_encode(text),
            prefix_token=self.prefix_token_id,
            max_seq_len=self.max_length,
            context_len=1,
        ):
            context, ids = utils.make_disjoint_window(window)
            yield None, context, ids

    def generate_until(
        self,
        requests: Sequence[Any],
        disable_tqdm: bool = False,  # noqa: ARG002, FBT001, FBT002 - lm-eval's
    ) -> list[str]:
        """Greedy answers, cut before the first stop string."""
        asked = [self._asked(*request.args) for request in requests]
        answers = generate(self.engine, asked)
        for request, answer in zip(requests, answers, strict=True):
            self.cache_hook.add_partial("generate_until", request.args, answer)
        return answers

    def _asked(self, text: str, settings: Mapping[str, Any]) -> Request:
        """One request for an answer; contexts are cut from the left so that it fits.

        Raises:
            SpecError: the task samples, or leaves no room for a context.
        """
        if settings.get("do_sample") or float(settings.get("temperature") or 0.0) > 0.0:
            raise SpecError(
                "the task draws its answers at random",
                allowed="greedy decoding (do_sample: false)",
                hint="change generation_kwargs of the task",
                reason="bad_specification",
            )
        names = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
        most = int(next((settings[name] for name in names if settings.get(name)), 0))
        most = most or self.max_gen_toks
        room = self.max_length - most
        if room < 1:
            raise SpecError(
                f"answers of {most} tokens leave no room in a context of {self.max_length}",
                hint="ask for a longer context, or set max_gen_toks of the task",
                reason="context_exceeded",
            )
        until = settings.get("until") or []
        stops = (until,) if isinstance(until, str) else tuple(until)
        return Request(tuple(self.tok_encode(text)[-room:]), stops, most)


def evaluate(
    model: str | Path | Artefact,
    tasks: Sequence[str],
    *,
    backend: str = "",
    options: BackendOptions | None = None,
    include_path: Path | None = None,
    include_defaults: bool = True,
    num_fewshot: int | None = None,
    limit: float | None = None,
    log_samples: bool = True,
    apply_chat_template: bool = False,
    bootstrap_iters: int = 100_000,
) -> dict[str, Any]:
    """Run tasks of lm-eval on one model; what comes back is what its `results.json` holds.

    Args:
        model: an id of the models file, a path, or an artefact.
        tasks: names of tasks, groups or tags.
        include_path: a folder with tasks of one's own.
        include_defaults: look for names among lm-eval's own tasks, too.
        limit: documents a task, or their share where it is below 1.
        log_samples: keep every document and answer under `samples`; without it the key
            is absent.
        bootstrap_iters: resamplings for standard errors that have no formula.

    Returns:
        Plain JSON data; `lm_eval_files.save` writes it in lm-eval's files.

    Raises:
        SpecError, PrerequisiteError, BackendError: as `HarnessLM`, or an unknown task.
    """
    manager = TaskManager(
        include_path=str(include_path) if include_path else None,
        include_defaults=include_defaults,
    )
    _require_tasks(tasks, manager)
    started = time.perf_counter()
    lm = HarnessLM(model, backend, options=options)
    try:
        arguments = {
            "pretrained": _homeless(str(model.path if isinstance(model, Artefact) else model)),
            "backend": lm.artefact.model.backend_name,
            "threads": lm.engine_options.threads,
            "context": lm.engine_options.context,
        }
        found = simple_evaluate(
            model=lm,
            model_args=arguments,
            tasks=list(tasks),
            task_manager=manager,
            num_fewshot=num_fewshot,
            limit=limit,
            log_samples=log_samples,
            apply_chat_template=apply_chat_template,
            bootstrap_iters=bootstrap_iters,
        )
        template = lm.chat_template(apply_chat_template) if apply_chat_template else None
    finally:
        lm.close()
    results = json.loads(json.dumps(found, default=utils.handle_non_serializable))
    results["config"]["model"] = NAME
    results["max_length"] = lm.engine_options.context
    results["eot_token_id"] = lm.eot_token_id
    return completed(
        results,
        model_source=NAME,
        model_name=lm.artefact.model.id,
        chat_template=template,
        seconds=time.perf_counter() - started,
    )


def _require_tasks(names: Sequence[str], manager: Any) -> None:
    """Refuse names that match nothing before a model is loaded."""
    known = list(manager.all_tasks)
    for name in names:
        if not Path(name).is_file() and not manager.match_tasks([name]):
            raise SpecError(
                f"unknown task '{name}'{did_you_mean(name, known)}",
                allowed="a task, group or tag of lm-eval, or of the folder that is included",
                hint="lm-eval ls tasks",
                reason="unknown_name",
            )


def _plain_turns(turns: Iterable[tuple[str, str]], *, ask: bool) -> str:
    """A conversation for networks without a template: as `models.chat` writes single ones."""
    ends = {"user": "\nA:", "assistant": "\n"}
    text = "".join(
        (" " if role == "assistant" else "") + content + ends.get(role, "\n")
        for role, content in turns
    )
    return text if ask else text.removesuffix("\n")


def _homeless(text: str) -> str:
    """A home folder would name its owner."""
    return text.replace(str(Path.home()), "~")
