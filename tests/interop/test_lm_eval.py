"""Tasks of lm-evaluation-harness: our engines and trie against its own PyTorch model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

from harness.errors import SpecError
from harness.spec import BackendOptions
from tests.interop.conftest import Tasks, model, require

pytestmark = [
    # Their warnings about themselves are not ours to mend.
    pytest.mark.filterwarnings("ignore"),
]

CONTEXT = 256
OPTIONS = BackendOptions(threads=1, context=CONTEXT)
NO_TORCH = "PyTorch not available here: not compared with lm-eval's own model"

CHOICES = [
    {"q": "57+68=", "options": ["125", "12", "1250", "124"], "right": 0},
    {"q": "Question: what is 3 + 4? Answer: ", "options": ["7", "70", "eight"], "right": 0},
    {
        "q": "빈칸에 알맞은 말을 고르시오. 사과",
        "options": ["는 과일이다", "는", "은 과일이다"],
        "right": 0,
    },
    {
        "q": "우리 집 고양이는 12살이다. 강아지는 ",
        "options": ["10살이다", "10", "열 살"],
        "right": 1,
    },
    {
        "q": "오늘은 월요일이다.  내일은  ",
        "options": ["화요일", "화요일이다", "수요일"],
        "right": 0,
    },
    {"q": "An apple is", "options": [" a fruit", " an fruit", " a"], "right": 2},
    {"q": "A: 안녕\r\nB:", "options": [" 안녕", " 안녕하세요", " hello 🙂"], "right": 1},
    {"q": "서울에서 부산까지 400km", "options": ["를 갔다", "을 갔다"], "right": 0},
]
TEXTS = [
    {"text": "우리 집 고양이는 12살이다. " * 40},
    {"text": "The sum of 57 and 68 is 125."},
    {"text": "한국어와 English가 섞인 글 🙂\n\n둘째 문단 <|endoftext|> 끝."},
    {"text": "가"},
]
PROMPTS = [
    {"q": "57+68=", "a": "125"},
    {"q": "사과 3개와 배 4개는 모두 몇 개입니까?\nA:", "a": "7"},
    {"q": "The sum of 3 and 4 is", "a": "7"},
    {"q": "우리 집 고양이는 ", "a": "12살"},
]


class Found(NamedTuple):
    """Answers and aggregates of one evaluation."""

    answers: dict[tuple[str, int], list[Any]]
    results: dict[str, dict[str, float]]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Tasks:
    made = Tasks(tmp_path_factory.mktemp("tasks"))
    choice = {
        "output_type": "multiple_choice",
        "doc_to_text": "{{q}}",
        "doc_to_choice": "options",
        "doc_to_target": "right",
        "metric_list": [{"metric": name} for name in ("acc", "acc_norm", "acc_bytes")],
    }
    made.add("choice_0", CHOICES, **choice, num_fewshot=0, target_delimiter="")
    made.add("choice_2", CHOICES, **choice, num_fewshot=2, target_delimiter=" ")
    made.add(
        "rolling",
        TEXTS,
        output_type="loglikelihood_rolling",
        doc_to_text="",
        doc_to_target="{{text}}",
        metric_list=[{"metric": "bits_per_byte"}, {"metric": "word_perplexity"}],
    )
    made.add(
        "likely",
        [{"q": "", "a": "안녕"}, {"q": "57+68=", "a": "57+68"}, {"q": "한국 ", "a": "사람"}],
        output_type="loglikelihood",
        doc_to_text="{{q}}",
        doc_to_target="{{a}}",
        target_delimiter="",
        metric_list=[{"metric": "perplexity"}, {"metric": "acc"}],
    )
    made.add(
        "answer",
        PROMPTS,
        output_type="generate_until",
        doc_to_text="{{q}}",
        doc_to_target="{{a}}",
        num_fewshot=1,
        generation_kwargs={"until": ["\n\n", "살"], "max_gen_toks": 24, "do_sample": False},
        metric_list=[{"metric": "exact_match"}],
    )
    return made


ALL = ("choice_0", "choice_2", "rolling", "likely", "answer")


def collected(results: dict[str, Any]) -> Found:
    """Answers as numbers and texts, whatever form their samples have."""
    answers: dict[tuple[str, int], list[Any]] = {}
    for task, samples in results["samples"].items():
        for sample in samples:
            answers[task, sample["doc_id"]] = [_number(value) for value in sample["filtered_resps"]]
    return Found(answers, results["results"])


def _number(value: Any) -> Any:
    """`(log-likelihood, greedy)`, a log-likelihood, or a text."""
    if isinstance(value, list | tuple):
        return float(value[0]), str(value[1]) == "True"
    try:
        return float(value)
    except ValueError:
        return value


Evaluate = Callable[..., Found]


@pytest.fixture(scope="module")
def evaluated(lm_eval: ModuleType, tasks: Tasks, cache: Path) -> Evaluate:
    """Results of one of our engines, kept for all tests."""
    kept: dict[str, Found] = {}

    def evaluate(variant: str) -> Found:
        if variant not in kept:
            found = lm_eval.evaluate(
                model(variant, cache),
                ALL,
                options=OPTIONS,
                include_path=tasks.folder,
                include_defaults=False,
                bootstrap_iters=0,
            )
            kept[variant] = collected(found)
        return kept[variant]

    return evaluate


@pytest.fixture(scope="module")
def reference_found(lm_eval: ModuleType, tasks: Tasks, cache: Path) -> Found:
    """The same tasks by lm-eval's own model on the same weights."""
    require("torch", "transformers", "accelerate", reason=NO_TORCH)
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    hf = HFLM(
        pretrained=str(model("f32.safetensors", cache)),
        device="cpu",
        dtype="float32",
        batch_size=1,
        max_length=CONTEXT,
    )
    manager = TaskManager(include_path=str(tasks.folder), include_defaults=False)
    return collected(
        simple_evaluate(model=hf, tasks=list(ALL), task_manager=manager, bootstrap_iters=0)
    )


def tokens_of(task: str, index: int) -> int:
    """A lower bound of the tokens scored: none has more than a syllable, letter or digit."""
    return max(1, len(TEXTS[index]["text"]) // 3) if task == "rolling" else 1


VARIANTS = {"f32.safetensors": 1e-4, "fp32.onnx": 1e-3, "f16.gguf": 0.05}


@pytest.mark.parametrize("variant", VARIANTS)
def test_log_likelihoods_are_those_of_lm_eval(
    variant: str, reference_found: Found, evaluated: Evaluate
) -> None:
    if variant == "f32.safetensors":
        require("torch", "transformers", reason=NO_TORCH)
    tolerance = VARIANTS[variant]
    found = evaluated(variant)
    assert found.answers.keys() == reference_found.answers.keys()
    worst = 0.0
    for key, expected in reference_found.answers.items():
        for one, other in zip(found.answers[key], expected, strict=True):
            if isinstance(other, str):
                continue
            ours, theirs = (v[0] if isinstance(v, tuple) else v for v in (one, other))
            scale = tokens_of(*key) if variant == "f16.gguf" or key[0] == "rolling" else 1
            worst = max(worst, abs(ours - theirs) / scale)
            if variant != "f16.gguf" and isinstance(other, tuple):
                assert one[1] == other[1], key
    assert worst <= tolerance


@pytest.mark.parametrize("variant", ["f32.safetensors", "fp32.onnx"])
def test_metrics_and_answers_are_those_of_lm_eval(
    variant: str, reference_found: Found, evaluated: Evaluate
) -> None:
    found = evaluated(variant)
    for task, metrics in reference_found.results.items():
        for name, value in metrics.items():
            if isinstance(value, float):
                assert found.results[task][name] == pytest.approx(value, rel=1e-4), (task, name)
    generated = {key: v for key, v in reference_found.answers.items() if key[0] == "answer"}
    assert len(generated) == len(PROMPTS)
    for key, texts in generated.items():
        assert found.answers[key] == texts


# --- what comes back ------------------------------------------------------------------


@pytest.fixture
def small(lm_eval: ModuleType, tasks: Tasks, cache: Path) -> Callable[..., dict[str, Any]]:
    def evaluate(*names: str, **options: Any) -> dict[str, Any]:
        found: dict[str, Any] = lm_eval.evaluate(
            model("fp32.onnx", cache),
            names or ("choice_2",),
            options=OPTIONS,
            include_path=tasks.folder,
            include_defaults=False,
            bootstrap_iters=1,
            **options,
        )
        return found

    return evaluate


def test_results_are_plain_json_with_the_model_and_how_it_ran(
    small: Callable[..., dict[str, Any]],
) -> None:
    found = small()
    assert json.loads(json.dumps(found)) == found
    config = found["config"]
    assert config["model"] == found["model_source"] == "sllm-harness"
    assert config["model_args"]["backend"] == "onnxruntime"
    assert config["model_args"]["context"] == CONTEXT
    assert str(Path.home()) + "/" not in json.dumps(config)
    assert config["engine"]["engine"] == "onnxruntime"
    assert set(config["model_sha256"]) == {"genai_config.json", "model.onnx", "tokenizer.json"}
    assert config["model_num_parameters"] == 2_359_296
    assert found["n-samples"]["choice_2"] == {"original": 8, "effective": 8}
    assert found["n-shot"]["choice_2"] == 2
    assert found["max_length"] == CONTEXT
    sample = found["samples"]["choice_2"][0]
    assert sample["arguments"]["gen_args_0"]["arg_1"] == " 125"
    assert sample["target"] == "0"
    assert len(found["task_hashes"]["choice_2"]) == 64


def test_limit_and_shots_can_be_given(small: Callable[..., dict[str, Any]]) -> None:
    found = small("choice_2", limit=3, num_fewshot=1)
    assert found["n-samples"]["choice_2"] == {"original": 8, "effective": 3}
    assert found["n-shot"]["choice_2"] == 1
    prompt = found["samples"]["choice_2"][0]["arguments"]["gen_args_0"]["arg_0"]
    assert prompt.count("\n\n") == 1
    assert "samples" not in small("choice_0", log_samples=False)


def test_files_are_those_of_lm_evals_command(
    small: Callable[..., dict[str, Any]], lm_eval: ModuleType, tasks: Tasks, tmp_path: Path
) -> None:
    """Names and keys of our files against what its tracker writes of the same results."""
    from harness.interop.lm_eval_files import save

    found = small()
    ours = save(found, tmp_path / "ours")
    from lm_eval import simple_evaluate
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.tasks import TaskManager

    lm = lm_eval.HarnessLM("ref-2m.fp32.onnx", threads=1, context=CONTEXT)
    tracker = EvaluationTracker(output_path=str(tmp_path / "theirs"))
    results = simple_evaluate(
        model=lm,
        model_args="pretrained=ref-2m.fp32.onnx",
        tasks=["choice_2"],
        task_manager=TaskManager(include_path=str(tasks.folder), include_defaults=False),
        evaluation_tracker=tracker,
        bootstrap_iters=1,
    )
    lm.close()
    samples = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=samples)
    tracker.save_results_samples(task_name="choice_2", samples=samples["choice_2"])
    theirs = sorted((tmp_path / "theirs").rglob("*.json*"))
    assert [f.name.split("_2026")[0].split("_20")[0] for f in sorted(ours)] == [
        f.name.split("_2026")[0].split("_20")[0] for f in theirs
    ]
    written, expected = (json.loads(files[0].read_text("utf-8")) for files in (ours, theirs))
    assert expected.keys() <= written.keys()
    assert written["results"] == expected["results"]
    assert written["task_hashes"] == expected["task_hashes"]
    lines, wanted = (files[1].read_text("utf-8").splitlines() for files in (ours, theirs))
    assert [json.loads(line) for line in lines] == [json.loads(line) for line in wanted]


def test_exported_records_have_the_keys_and_the_marks_of_lm_eval(
    small: Callable[..., dict[str, Any]],
) -> None:
    """Its own answers as records of ours: the same accuracy and errors, the same fields."""
    from harness.interop.lm_eval_files import export

    theirs = small("choice_0")
    records = [
        {
            "type": "sample",
            "model": "m",
            "suite": "accuracy",
            "case": "c",
            "kind": "item",
            "form": "choice",
            "index": sample["doc_id"],
            "right": sample["doc"]["right"],
            "log_likelihoods": [float(value) for value, _ in sample["filtered_resps"]],
            "chars": [len(text) for text in sample["doc"]["options"]],
            "bytes": [len(text.encode()) for text in sample["doc"]["options"]],
        }
        for sample in theirs["samples"]["choice_0"]
    ]
    ours = export(records)["m"]
    nameless = {"name": "", "alias": ""}
    assert ours["results"]["c_choice"] | nameless == pytest.approx(
        theirs["results"]["choice_0"] | nameless
    )
    written_by_command = {"pretty_env_info", "transformers_version", "lm_eval_version"}
    of_this_machine = {"upper_git_hash", "max_length", "eot_token_id"}
    assert theirs.keys() - ours.keys() == written_by_command | of_this_machine
    assert theirs["samples"]["choice_0"][0].keys() == ours["samples"]["c_choice"][0].keys()
    assert theirs["config"].keys() == ours["config"].keys()


def test_an_unknown_task_is_named(lm_eval: ModuleType, tasks: Tasks) -> None:
    with pytest.raises(SpecError, match="unknown task 'choice_3'; did you mean 'choice_") as caught:
        lm_eval.evaluate(
            "ref-2m.fp32.onnx", ["choice_3"], include_path=tasks.folder, include_defaults=False
        )
    assert caught.value.hint
