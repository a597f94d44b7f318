"""Tasks of lm-evaluation-harness: what it would ask is asked, and nothing else is taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import SpecError
from harness.heldout import HeldOutTask, load, mark
from harness.heldout.lines import Report, Row
from harness.heldout.render import Templates, render
from harness.spec import sha256
from tests.heldout.helpers import entry, jsonl

DOCS = [
    {"q": "한국의 수도는?", "options": ["서울", "부산"], "gold": 0, "word": "서울"},
    {"q": "프랑스의 수도는?", "options": ["로마", "파리"], "gold": 1, "word": "파리"},
    {"q": "일본의 수도는?", "options": ["도쿄", "교토"], "gold": 0, "word": "도쿄"},
]
CHOICE = """\
task: capitals
dataset_path: json
dataset_kwargs:
  data_files: items.jsonl
test_split: train
output_type: multiple_choice
description: "다음 질문에 답하시오.\\n\\n"
doc_to_text: "질문: {{q}}\\n{% for o in options %}{{loop.index}}. {{o}}\\n{% endfor %}정답:"
doc_to_choice: options
doc_to_target: gold
num_fewshot: 1
fewshot_config:
  sampler: first_n
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
  - metric: acc_norm
metadata:
  version: 1.0
  sha256: HASH
"""
FREE = """\
task: capitals_free
dataset_path: json
dataset_kwargs: {data_files: items.jsonl}
output_type: generate_until
doc_to_text: "{{q}}"
doc_to_target: word
generation_kwargs:
  until: ["\\n", "."]
  max_gen_toks: 16
  do_sample: false
metadata: {sha256: HASH}
"""


def place(folder: Path, text: str, docs: list[dict[str, object]] | None = None) -> Path:
    (folder / "items.jsonl").write_bytes(jsonl(*(DOCS if docs is None else docs)))
    path = folder / "task.yaml"
    found = sha256((folder / "items.jsonl").read_bytes())
    path.write_text(text.replace("HASH", found), "utf-8")
    return path


def taken(folder: Path, text: str, docs: list[dict[str, object]] | None = None) -> HeldOutTask:
    return load(entry(place(folder, text, docs), id="exam"), folder)


def refused(
    folder: Path, text: str, docs: list[dict[str, object]] | None = None, **fields: object
) -> SpecError:
    path = place(folder, text, docs)
    with pytest.raises(SpecError) as caught:
        load(entry(path, id="exam", **fields), folder)
    error = caught.value
    assert error.exit_code == 2
    assert error.allowed or "is missing" in error.message
    assert "harness accuracy check" in error.hint
    return error


def test_multiple_choice(tmp_path: Path) -> None:
    task = taken(tmp_path, CHOICE)
    assert task.form == "choice"
    assert task.prefix == (
        "다음 질문에 답하시오.\n\n질문: 한국의 수도는?\n1. 서울\n2. 부산\n정답: 서울\n\n"
    )
    france, japan = task.items
    assert france.context == "질문: 프랑스의 수도는?\n1. 로마\n2. 파리\n정답:"
    assert france.choices == (" 로마", " 파리")
    assert france.answer == " 파리"
    assert japan.answer == " 도쿄"
    assert task.ids == ("exam-2", "exam-3")
    assert (france.template, france.level) == ("exam-2", 1)
    assert set(task.sha256) == {str(tmp_path / "task.yaml"), str(tmp_path / "items.jsonl")}


def test_generate_until(tmp_path: Path) -> None:
    task = taken(tmp_path, FREE)
    first = task.items[0]
    assert task.form == "free"
    assert (first.context, first.question) == ("한국의 수도는?", "한국의 수도는?")
    assert (first.answer, first.solution) == ("서울", " 서울")
    assert (first.stop, first.max_tokens) == ("\n", 16)
    assert mark(" 서울. 그리고", first).strict
    assert task.prefix == ""


@pytest.mark.parametrize(
    ("target", "choice"),
    [
        ("gold", "options"),
        ('"{{gold}}"', '"{{options}}"'),
        ("word", '"{{[options[0], options[1]]}}"'),
        ('"{{options[gold]}}"', "options"),
        ('"{{options.index(word)}}"', "options"),
    ],
)
def test_jinja_strings_and_fields_give_the_same(tmp_path: Path, target: str, choice: str) -> None:
    text = CHOICE.replace("doc_to_target: gold", f"doc_to_target: {target}")
    text = text.replace("doc_to_choice: options", f"doc_to_choice: {choice}")
    assert taken(tmp_path, text).items == taken(tmp_path, CHOICE).items


def test_constant_choices_and_targets(tmp_path: Path) -> None:
    text = CHOICE.replace("doc_to_choice: options", 'doc_to_choice: ["yes", no]')
    text = text.replace("doc_to_target: gold", "doc_to_target: 1")
    item = taken(tmp_path, text).items[0]
    assert (item.choices, item.answer) == ((" yes", " no"), " no")
    mapping = text.replace('["yes", no]', "{a: left, b: right}")
    assert taken(tmp_path, mapping).items[0].choices == (" left", " right")


def test_leading_space_belongs_to_whom_the_file_gives_it(tmp_path: Path) -> None:
    text = CHOICE.replace(
        "doc_to_choice: options", "doc_to_choice: \"{{[' ' + options[0], '  x']}}\""
    )
    text = text.replace("doc_to_target: gold", 'doc_to_target: 0\ntarget_delimiter: ""')
    task = taken(tmp_path, text)
    assert task.items[0].choices == (" 로마", "  x")
    assert (task.delimiter, taken(tmp_path, CHOICE).delimiter) == ("", " ")


def test_a_final_line_break_of_a_block_is_kept(tmp_path: Path) -> None:
    text = FREE.replace('doc_to_text: "{{q}}"', "doc_to_text: |\n  {{q}}\n  답:")
    assert taken(tmp_path, text).items[0].context == "한국의 수도는?\n답:\n"


def test_several_answers_and_a_checker(tmp_path: Path) -> None:
    text = FREE.replace("doc_to_target: word", "doc_to_target: \"{{['42', '1,250']}}\"")
    item = taken(tmp_path, text.replace("{sha256:", "{checker: number, sha256:")).items[0]
    assert item.check["answers"] == ["42", "1,250"]
    assert item.check["checker"] == "number"
    plain = FREE.replace("doc_to_target: word", 'doc_to_target: "[{{word}}]"')
    assert taken(tmp_path, plain).items[0].answer == "[서울]"


def test_without_until_an_answer_ends_at_the_fewshot_delimiter(tmp_path: Path) -> None:
    text = FREE[: FREE.index("generation_kwargs")] + "metadata: {sha256: HASH}\n"
    item = taken(tmp_path, text).items[0]
    assert (item.stop, item.max_tokens, item.check.get("until")) == ("\n\n", 256, None)


def test_shots_of_another_file(tmp_path: Path) -> None:
    (tmp_path / "dev.jsonl").write_bytes(jsonl(DOCS[2]))
    hashes = f"{{items.jsonl: HASH, dev.jsonl: {sha256((tmp_path / 'dev.jsonl').read_bytes())}}}"
    text = CHOICE.replace("items.jsonl\n", "{test: items.jsonl, dev: dev.jsonl}\n")
    text = text.replace("test_split: train", "test_split: test\nfewshot_split: dev")
    task = taken(tmp_path, text.replace("sha256: HASH", f"sha256: {hashes}"))
    assert "일본의 수도는?" in task.prefix
    assert len(task.items) == 3
    assert len(task.sha256) == 3
    error = refused(tmp_path, text.replace("fewshot_split: dev", "fewshot_split: dve").replace(
        "sha256: HASH", f"sha256: {hashes}"))  # fmt: skip
    assert error.message == (
        "fewshot_split is 'dve', which data_files does not name; did you mean 'dev'?"
    )
    error = refused(tmp_path, text.replace("test_split: test\n", "").replace("HASH", hashes))
    assert error.message == "there are several data files, and nothing says which one is asked"
    more = text.replace("num_fewshot: 1", "num_fewshot: 2").replace(
        "sha256: HASH", f"sha256: {hashes}"
    )
    assert refused(tmp_path, more).message == "2 shots, but 'dev.jsonl' has too few lines (1 lines)"


def test_fields_of_the_data_name_templates_where_they_can(tmp_path: Path) -> None:
    docs = [doc | {"template": "t", "level": 2, "id": n} for n, doc in enumerate(DOCS)]
    task = taken(tmp_path, CHOICE, docs)
    assert task.ids == ("1", "2")
    assert {(item.template, item.level) for item in task.items} == {("t", 2)}
    odd = [doc | {"template": ["t"], "level": "college", "id": None} for doc in DOCS]
    assert taken(tmp_path, CHOICE, odd).items == taken(tmp_path, CHOICE).items


# --- what is not taken ----------------------------------------------------------------

# (what is replaced, by what, line, message, allowed)
FAULTS = [
    ("doc_to_target: gold", "doc_to_target: !function utils.target", 10,
     "tag '!function' is not allowed; write a plain value",
     "a task file runs no code; a Jinja string does it, such as doc_to_text: "),
    ("task: capitals", "task: !!python/object/apply:os.system [ls]", 1,
     "tag 'tag:yaml.org,2002:python/object/apply:os.system' is not allowed", "runs no code"),
    ("test_split: train", "process_docs: utils.docs", 5,
     "'process_docs' is not taken: a task file runs no code", "data that needs no preparation"),
    ("test_split: train", "include: base.yaml", 5,
     "'include' is not taken: one file, one hash: what it includes could change unseen",
     "its keys, written out here"),
    ("test_split: train", "filter_list: [{name: x}]", 5,
     "'filter_list' is not taken: filters change answers after they were written",
     "metadata: {checker: number}"),
    ("test_split: train", "dataset_name: ko", 5, "'dataset_name' is not taken", "leave it out"),
    ("test_split: train", "repeats: 4", 5, "'repeats' is not taken: answers are greedy", "one"),
    ("dataset_path: json", "dataset_path: HAERAE-HUB/KMMLU", 2,
     "data set 'HAERAE-HUB/KMMLU' is not a local JSONL file; nothing is fetched",
     "dataset_path: json, and dataset_kwargs: {data_files: items.jsonl}"),
    ("dataset_path: json\n", "", 1, "key 'dataset_path' is missing", "dataset_path: json"),
    ("data_files: items.jsonl", "data_files: https://x.org/a.jsonl", 4,
     "data file 'https://x.org/a.jsonl' is not one local JSONL file; nothing is fetched",
     "a .jsonl file, relative to this one"),
    ("data_files: items.jsonl", "data_files: '*.jsonl'", 4,
     "data file '*.jsonl' is not one local JSONL file", "a .jsonl file"),
    ("data_files: items.jsonl", "data_files: items.parquet", 4,
     "data file 'items.parquet' is not one local JSONL file", "a .jsonl file"),
    ("data_files: items.jsonl", "data_files: {}", 4, "data_files names no file",
     "data_files: items.jsonl"),
    ("data_files: items.jsonl", "data_files: [items.jsonl]", 4, "data_files is given, a list",
     "a mapping"),
    ("data_files: items.jsonl", "data_file: items.jsonl", 4,
     ("unknown key 'data_file' in 'dataset_kwargs'; did you mean 'data_files'? "
      "(and 2 more problems in this file)"), "data_files"),
    ("test_split: train", "doc_to_txt: '{{q}}'", 5,
     "unknown key 'doc_to_txt'; did you mean 'doc_to_text'?", "task, dataset_path"),
    ("output_type: multiple_choice", "output_type: loglikelihood", 6,
     "output_type is 'loglikelihood'", "multiple_choice, generate_until"),
    ("output_type: multiple_choice", "output_type: generate_until", 9,
     "doc_to_choice belongs to multiple_choice", "output_type: multiple_choice"),
    ("doc_to_choice: options\n", "", 1, "key 'doc_to_choice' is missing",
     'doc_to_choice: "{{choices}}"'),
    ("doc_to_choice: options", "doc_to_choice: 3", 9, "doc_to_choice is no list of texts",
     "or a list of texts"),
    ("doc_to_target: gold", "doc_to_target: [0]", 10,
     "doc_to_target is neither a Jinja string, a field nor a number",
     'doc_to_target: "{{answer}}"'),
    ("doc_to_target: gold", "doc_to_target: true", 10, "doc_to_target is neither a Jinja", "{{"),
    ("doc_to_target: gold", "doc_to_target: glod", 10,
     ("doc_to_target is 'glod', which is neither a Jinja string nor a field of every line; "
      "did you mean 'gold'?"), "a field (gold, options, q, word) or text with {{field}}"),
    ("doc_to_target: gold", 'doc_to_target: "{{glod}}"', 10,
     "doc_to_target failed for line 1 of the data: UndefinedError: 'glod' is undefined",
     "{{field}} with the data's fields: gold, options, q, word"),
    ("doc_to_target: gold", 'doc_to_target: "{{gold"', 10,
     "doc_to_target failed: TemplateSyntaxError: ", "{{question}}"),
    ("doc_to_choice: options", 'doc_to_choice: "{{q}}"', 9,
     "doc_to_choice failed for line 1 of the data: SyntaxError: ", "{{field}}"),
    ("doc_to_choice: options", 'doc_to_choice: "{{gold}}"', 9,
     "doc_to_choice failed for line 1 of the data: TypeError: it does not give a list", "{{"),
    ("doc_to_choice: options", 'doc_to_choice: "{{[options]}}"', 9,
     "doc_to_choice failed for line 1 of the data: TypeError: its list holds a list", "{{"),
    ("{{q}}", "{{q.__class__.__mro__}}", 8,
     "doc_to_text failed for line 1 of the data: SecurityError: ", "{{field}}"),
    ("{{q}}", "{% include 'x' %}", 8, "doc_to_text failed for line 1 of the data: SecurityError: ",
     "{{field}}"),
    ("{{q}}", "{{'x' * 9999999}}", 8,
     "doc_to_text failed for line 1 of the data: OverflowError: more than 1048576 characters",
     "{{field}}"),
    ("num_fewshot: 1\nfewshot_config:\n  sampler: first_n", "num_fewshot: 1", 11,
     "shots would be drawn anew for every item", "fewshot_config: {sampler: first_n}"),
    ("sampler: first_n", "sampler: default", 13, "sampler is 'default'", "first_n"),
    ("num_fewshot: 1", "num_fewshot: 26", 11, "num_fewshot is 26", "0 to 25"),
    ("num_fewshot: 1", "num_fewshot: 3", 11, "3 shots leave nothing to ask (3 lines)",
     "fewer shots"),
    ("답하시오.", "{{q}}에 답하시오.", 7,
     "the description depends on the line, so that it cannot be shared", "plain text"),
    ("test_split: train", "fewshot_delimiter: ''", 5, "fewshot_delimiter is empty", '"\\n\\n"'),
    ("test_split: train", "generation_kwargs: {until: x}", 5,
     "generation_kwargs belong to generate_until", "output_type: generate_until"),
    ("metric: acc_norm", "metric: bleu", 18, "metric is 'bleu'", "acc, acc_norm, exact_match"),
    ("  sha256: HASH\n", "", 19,
     "the hash of 'items.jsonl' is missing: the data could change unseen",
     "metadata: {sha256: "),
    ("version: 1.0", "checker: regex", 20, "checker is 'regex'", "exact, number, contains, letter"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "line", "message", "allowed"),
    FAULTS,
    ids=[f"{number}-{fault[3][:40]}" for number, fault in enumerate(FAULTS)],
)
def test_what_is_not_taken_is_refused_at_its_line(
    tmp_path: Path, old: str, new: str, line: int, message: str, allowed: str
) -> None:
    assert old in CHOICE
    error = refused(tmp_path, CHOICE.replace(old, new, 1))
    assert error.where == f"{tmp_path / 'task.yaml'}:{line}"
    assert error.message.startswith(message), error.message
    assert allowed in error.allowed, error.allowed


@pytest.mark.parametrize(
    ("old", "new", "line", "message", "allowed"),
    [
        ("do_sample: false", "do_sample: true", 10, "answers are greedy", "do_sample: false"),
        ("do_sample: false", "temperature: 0.7", 10, "answers are greedy", "temperature: 0"),
        ("do_sample: false", "top_k: 3", 10, "unknown key 'top_k' in 'generation_kwargs'", "until"),
        ("max_gen_toks: 16", "max_gen_toks: 0", 9, "max_gen_toks is 0", "1 to 8,192"),
        ('["\\n", "."]', "['']", 8, "until holds an empty text", 'until: ["\\n"]'),
    ],
)
def test_how_free_answers_end(
    tmp_path: Path, old: str, new: str, line: int, message: str, allowed: str
) -> None:
    assert old in FREE
    error = refused(tmp_path, FREE.replace(old, new, 1))
    assert error.where == f"{tmp_path / 'task.yaml'}:{line}"
    assert error.message.startswith(message)
    assert allowed in error.allowed


def test_greedy_spelled_out_is_accepted(tmp_path: Path) -> None:
    text = FREE.replace("do_sample: false", "temperature: 0\n  do_sample: false")
    assert taken(tmp_path, text.replace('["\\n", "."]', '"."')).items[0].stop == "."


def test_what_the_profile_says_otherwise_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path, CHOICE, choices="letter")
    assert error.message.startswith("the profile wants letters of 'exam'")
    error = refused(tmp_path, CHOICE, shots=5)
    assert error.message == "num_fewshot is 1, the profile has 5 shots"
    assert len(load(entry(place(tmp_path, CHOICE), shots=1), tmp_path).shots) == 1


@pytest.mark.parametrize(
    ("change", "message", "reason"),
    [
        ({"options": ["서울"]}, "one choice: there is nothing to choose", "too_few_choices"),
        ({"options": ["서울", "서울"]}, "choices 1 and 2 are equal: '서울'", "equal_choices"),
        ({"options": "서울"}, "choices is text, not a list", "wrong_type"),
        ({"gold": 2}, "answer 2 is not the number of a choice", "answer_not_a_choice"),
        ({"gold": "B"}, "answer 'B' is not one of the choices", "answer_not_a_choice"),
        ({"gold": [0]}, "answer is a list, not a number or text", "wrong_type"),
    ],
)
def test_bad_data_is_refused_at_its_line(
    tmp_path: Path, change: dict[str, object], message: str, reason: str
) -> None:
    error = refused(tmp_path, CHOICE, [DOCS[0], DOCS[1] | change, DOCS[2]])
    assert error.where == f"{tmp_path / 'items.jsonl'}:2"
    assert error.message.startswith(message)
    assert error.reason == reason


def test_an_empty_context_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path, FREE, [DOCS[0] | {"q": " "}])
    assert error.message == "what doc_to_text gives is empty"
    assert error.reason == "empty_question"


def test_an_answer_behind_a_stop_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path, FREE, [DOCS[0] | {"word": "a.b"}])
    assert error.reason == "answer_unreachable"
    assert error.allowed == "an answer without '\\n' and '.'"


def test_changed_data_is_refused_though_the_task_file_is_the_same(tmp_path: Path) -> None:
    path = place(tmp_path, CHOICE)
    (tmp_path / "items.jsonl").write_bytes(jsonl(*DOCS[:2]))
    with pytest.raises(SpecError) as caught:
        load(entry(path), tmp_path)
    assert caught.value.reason == "dataset_changed"
    assert caught.value.where == str(tmp_path / "items.jsonl")
    assert "task.yaml names" in caught.value.message


def test_texts_under_nd_stay_out_of_template_errors(tmp_path: Path) -> None:
    text = CHOICE.replace("doc_to_target: gold", "doc_to_target: \"{{q | int(base='x')}}\"")
    text = text.replace("{{q | int(base='x')}}", "{{ {}[q] }}")
    open_error = refused(tmp_path, text)
    assert "수도" in open_error.message
    error = refused(tmp_path, text, licence="CC-BY-NC-ND-4.0")
    assert error.message == "doc_to_target failed for line 1 of the data: UndefinedError"


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for i in range(9**5) %}{% for j in range(9**5) %}{% endfor %}{% endfor %}", "timeout"),
        ("{% for i in range(99) %}{{ 'a' * 999999999 }}{% endfor %}", "failed"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "failed"),
    ],
    ids=["loops", "memory", "recursion"],
)  # fmt: skip
def test_a_template_that_never_ends_is_ended(tmp_path: Path, template: str, reason: str) -> None:
    report = Report(tmp_path / "task.yaml", printable=True)
    where = {"text": 8, "choice": 9, "target": 10}
    with pytest.raises(SpecError) as caught:
        render(Templates(template, "", ""), [Row(1, {"q": 1})], report, where=where, timeout_s=3)
    assert caught.value.reason == f"template_{reason}"
    assert caught.value.where.endswith("task.yaml:8")


def test_a_field_may_have_any_name(tmp_path: Path) -> None:
    docs = [{"self": "질문?", "a b": "답", "0": 1} for _ in range(2)]
    text = FREE.replace('"{{q}}"', "self").replace("doc_to_target: word", "doc_to_target: a b")
    assert taken(tmp_path, text, docs).items[0].answer == "답"
    assert taken(tmp_path, text.replace("doc_to_text: self", 'doc_to_text: "{{self}}"'), docs)
