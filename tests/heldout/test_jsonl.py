"""Lines of an evaluator's file: read whole, or refused at their place with what is right."""

from __future__ import annotations

import codecs
import os
from pathlib import Path

import pytest

from harness.errors import SpecError
from harness.heldout import fingerprint, load, may_print
from harness.heldout.lines import MAX_LINE_BYTES
from harness.spec import HeldOut, sha256
from tests.heldout.helpers import CAPITAL, FRANCE, SUM, jsonl, load_bytes, load_rows, refusal


def test_choices_are_compared_as_they_are(tmp_path: Path) -> None:
    task = load_rows(tmp_path, CAPITAL, FRANCE | {"id": "fr", "level": 3, "group": "capitals"})
    assert (task.id, task.form, task.licence) == ("exam", "choice", "Apache-2.0")
    korean, english = task.items
    assert korean.context == "질문: 한국의 수도는?\n정답:"
    assert korean.choices == (" 서울", " 부산", " 대구")
    assert korean.answer == korean.solution == " 서울"
    assert (korean.template, korean.level) == ("exam-1", 1)
    assert english.context == "Question: Capital of France?\nCorrect answer:"
    assert english.answer == " Paris"
    assert (english.template, english.level) == ("capitals", 3)
    assert task.ids == ("exam-1", "fr")
    assert (task.shots, task.prefix, task.notes) == ((), "", {})
    assert len({fingerprint(item) for item in task.items}) == 2


def test_letters_list_the_choices_in_the_question(tmp_path: Path) -> None:
    task = load_rows(tmp_path, CAPITAL, choices="letter")
    (item,) = task.items
    assert item.context == "질문: 한국의 수도는?\nA. 서울\nB. 부산\nC. 대구\n정답:"
    assert item.choices == (" A", " B", " C")
    assert item.answer == " A"


def test_free_answers(tmp_path: Path) -> None:
    task = load_rows(
        tmp_path, SUM, {"prompt": "프랑스의 수도는?", "answer": ["파리", "Paris"], "template": "t"}
    )
    first, second = task.items
    assert task.form == "free"
    assert first.context == "Question: 12 + 30 = ?\nAnswer:"
    assert first.question == "12 + 30 = ?"
    assert (first.answer, first.solution, first.stop) == ("42", " 42", "\n")
    assert first.max_tokens == 256
    assert first.check == {"checker": "number", "answers": ["42"]}
    assert second.context == "질문: 프랑스의 수도는?\n답:"
    assert second.check == {"checker": "exact", "answers": ["파리", "Paris"]}
    assert second.template == "t"


def test_shots_are_the_first_lines_and_are_not_asked(tmp_path: Path) -> None:
    task = load_rows(tmp_path, CAPITAL, FRANCE, CAPITAL | {"question": "다시?"}, shots=2)
    assert [item.answer for item in task.shots] == [" 서울", " Paris"]
    assert task.ids == ("exam-3",)
    assert task.prefix == (
        "질문: 한국의 수도는?\n정답: 서울\n\n"
        "Question: Capital of France?\nCorrect answer: Paris\n\n"
    )
    error = refusal(tmp_path, jsonl(CAPITAL, FRANCE), shots=2)
    assert error.message == "2 shots of 2 items leave nothing to ask"
    assert error.reason == "no_items"


def test_the_language_can_be_given(tmp_path: Path) -> None:
    task = load_rows(tmp_path, {**FRANCE, "language": "ko"})
    assert task.items[0].context.startswith("질문: Capital")
    assert task.language == "ko"
    assert load_rows(tmp_path, FRANCE, FRANCE, CAPITAL).language == "en"


@pytest.mark.parametrize(
    ("answer", "right"), [(1, 1), ("부산", 1), (" 부산 ", 1), ("B", 1), ("대구", 2)]
)
def test_an_answer_is_a_number_a_text_or_a_letter(
    tmp_path: Path, answer: object, right: int
) -> None:
    (item,) = load_rows(tmp_path, CAPITAL | {"answer": answer}).items
    assert item.choices.index(item.answer) == right


def test_a_text_comes_before_a_letter(tmp_path: Path) -> None:
    row = {"question": "Which?", "choices": ["B", "C", "A"], "answer": "A"}
    assert load_rows(tmp_path, row).items[0].answer == " A"


def test_a_hundred_options_are_allowed_where_no_letters_are_needed(tmp_path: Path) -> None:
    row = {"question": "Which?", "choices": [f"option {n}" for n in range(100)], "answer": 99}
    task = load_rows(tmp_path, row)
    assert len(task.items[0].choices) == 100
    assert task.notes == {"prefix_choice": 1}  # "option 1" begins "option 10"
    error = refusal(tmp_path, jsonl(row), choices="letter")
    assert error.message == "100 choices, but A to Z are 26 letters"
    assert "`choices: cloze` in the profile" in error.allowed
    assert error.reason == "too_many_letters"


def test_what_is_remarkable_is_counted(tmp_path: Path) -> None:
    row = {"question": "Which?", "choices": ["New York", "New York City"], "answer": 0}
    task = load_rows(tmp_path, row, FRANCE, FRANCE)
    assert task.notes == {"prefix_choice": 1, "repeated_question": 1}
    assert load_rows(tmp_path, row, choices="letter").notes == {}


def test_windows_files_are_accepted(tmp_path: Path) -> None:
    plain = load_rows(tmp_path, CAPITAL, FRANCE)
    windows = codecs.BOM_UTF8 + jsonl(CAPITAL, FRANCE).replace(b"\n", b"\r\n") + b"\r\n\n"
    assert load_bytes(tmp_path, windows).items == plain.items
    assert load_bytes(tmp_path, jsonl(CAPITAL, FRANCE).rstrip(b"\n")).items == plain.items


# --- refusals -------------------------------------------------------------------------

BASE = jsonl(CAPITAL)
LINE = '{"question": "…", "choices": ["…", "…"], "answer": 0}'

# (second line, column, message, allowed, reason)
FAULTS = [
    ({**CAPITAL, "choices": []}, "no choices: there is nothing to choose", '["…", "…"]',
     "too_few_choices"),
    ({**CAPITAL, "choices": ["서울"]}, "one choice: there is nothing to choose", '["…", "…"]',
     "too_few_choices"),
    ({**CAPITAL, "choices": ["서울", " 서울 "]}, "choices 1 and 2 are equal: '서울'",
     "choices that differ in more than space", "equal_choices"),
    ({**CAPITAL, "choices": ["서울", "  "]}, "choice 2 is empty", LINE, "empty_choice"),
    ({**CAPITAL, "choices": ["서울", 3]}, "choice 2 is a number, not text", LINE, "wrong_type"),
    ({**CAPITAL, "choices": "서울"}, "choices is text, not a list", LINE, "wrong_type"),
    ({**CAPITAL, "choices": [str(n) for n in range(1001)]}, "1,001 choices", "at most 1,000",
     "too_many_choices"),
    ({**CAPITAL, "answer": "인천"}, "answer '인천' is not one of the choices",
     "0 to 2, or the text of a choice, or its letter A to C", "answer_not_a_choice"),
    ({**CAPITAL, "answer": 3}, "answer 3 is not the number of a choice, counted from 0",
     "0 to 2, or the text", "answer_not_a_choice"),
    ({**CAPITAL, "answer": -1}, "answer -1 is not the number of a choice", "0 to 2",
     "answer_not_a_choice"),
    ({**CAPITAL, "answer": True}, "answer is true or false, not a number or text", "0 to 2",
     "wrong_type"),
    ({**CAPITAL, "answer": 1.0}, "answer is a decimal number, not a number or text", "0 to 2",
     "wrong_type"),
    ({**CAPITAL, "answer": None}, "answer is null, not a number or text", "0 to 2", "wrong_type"),
    ({**CAPITAL, "question": ""}, "question is empty", LINE, "empty_question"),
    ({**CAPITAL, "question": " \n"}, "question is empty", LINE, "empty_question"),
    ({**CAPITAL, "question": ["?"]}, "question is a list, not text", LINE, "wrong_type"),
    ({**CAPITAL, "question": "a\0b"}, "question holds the control character U+0000",
     "printable text", "bad_text"),
    ({"question": "?", "choices": ["a", "b"], "anwser": 0},
     "unknown field 'anwser'; did you mean 'answer'?", "question, choices, answer, id",
     "unknown_field"),
    ({"question": "?", "choices": ["a", "b"]}, "field 'answer' is missing", LINE, "missing_field"),
    ({"choices": ["a", "b"], "answer": 0}, "field 'question' is missing", LINE, "missing_field"),
    ({"qestion": "?", "answer": "b"},
     "the line has neither 'question' nor 'prompt'; did you mean 'question'?",
     '{"prompt": "…", "answer": "…", "checker": "exact"}', "missing_field"),
    ({**CAPITAL, "checker": "exact"}, "unknown field 'checker'", "question, choices",
     "unknown_field"),
    ({**CAPITAL, "x\x1b[31m": 1}, "unknown field 'x\\u001b[31m'", "question", "unknown_field"),
    ({**CAPITAL, "template": "a", "group": "b"}, "'template' and 'group' mean the same",
     "one of the two", "unknown_field"),
    ({**CAPITAL, "template": ["a"]}, "template is a list", "text or a whole number", "wrong_type"),
    ({**CAPITAL, "id": "a\nb"}, "id 'a\\u000ab' cannot be used as a name", "printable text",
     "bad_text"),
    ({**CAPITAL, "id": "x" * 101}, "id 'xxx", "at most 100 characters", "bad_text"),
    ({**CAPITAL, "id": "exam-1"}, "id 'exam-1' is used twice, first in line 1",
     "ids that differ, or none", "equal_ids"),
    ({**CAPITAL, "level": 4}, "level is a number that is not a level", "1, 2, 3", "wrong_type"),
    ({**CAPITAL, "level": [1]}, "level is a list that is not a level", "1, 2, 3", "wrong_type"),
    ({**CAPITAL, "language": "kr"}, "language is text that is not one", "ko, en", "wrong_type"),
    (SUM, "an item with a free answer in a file that begins with the other form",
     "put the others into a file of their own", "mixed_forms"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "message", "allowed", "reason"),
    FAULTS,
    ids=[f"{n}-{f[3]}" for n, f in enumerate(FAULTS)],
)
def test_a_fault_is_refused_at_its_line(
    tmp_path: Path, row: object, message: str, allowed: str, reason: str
) -> None:
    error = refusal(tmp_path, BASE + jsonl(row))
    assert error.where == f"{tmp_path / 'exam.jsonl'}:2"
    assert error.message.startswith(message), error.message
    assert allowed in error.allowed
    assert error.reason == reason
    assert error.hint == f"correct it, then: harness accuracy check {tmp_path / 'exam.jsonl'}"


FREE_FAULTS = [
    ({"prompt": "?", "answer": ""}, "answer is empty", '"checker": "exact"', "empty_answer"),
    ({"prompt": "?", "answer": []}, "answer is an empty list", '"checker": "exact"',
     "empty_answer"),
    ({"prompt": "?", "answer": 42}, "answer is a number, not text", '"answer": "…"', "wrong_type"),
    ({"prompt": " ", "answer": "42"}, "prompt is empty", '"prompt": "…"', "empty_prompt"),
    ({"prompt": "?"}, "field 'answer' is missing", '"prompt": "…"', "missing_field"),
    ({"prompt": "?", "answer": "x", "checker": "numbr"},
     "unknown checker 'numbr'; did you mean 'number'?", "exact, number, contains, letter",
     "unknown_checker"),
    ({"prompt": "?", "answer": "x", "checker": "regex"}, "unknown checker 'regex'",
     "exact, number, contains, letter", "unknown_checker"),
    ({"prompt": "?", "answer": "x", "checker": ["exact"]}, "checker is a list, not text",
     "exact, number", "wrong_type"),
    ({"prompt": "?", "answer": ["1", "one"], "checker": "number"}, "answer 'one' is no number",
     '"1250", "1,250" or "-0.5"', "answer_unreachable"),
    ({"prompt": "?", "answer": "AB", "checker": "letter"}, "answer 'AB' is no letter",
     '"A" to "Z"', "answer_unreachable"),
    ({"prompt": "?", "answer": "a\nb"}, "answer 'a\\u000ab' holds the text at which answers end",
     "an answer without '\\n'", "answer_unreachable"),
    (CAPITAL, "an item with choices in a file that begins with the other form",
     "a file of their own", "mixed_forms"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("row", "message", "allowed", "reason"), FREE_FAULTS, ids=[f[1] for f in FREE_FAULTS]
)
def test_a_fault_of_a_free_item(
    tmp_path: Path, row: object, message: str, allowed: str, reason: str
) -> None:
    error = refusal(tmp_path, jsonl(SUM, row))
    assert error.where.endswith(":2")
    assert error.message.startswith(message), error.message
    assert allowed in error.allowed
    assert error.reason == reason


BYTES = [
    (b'{"question": "\xb8\xf0"}\n', ":2:15", "byte 0xb8 at offset {offset} of the file is not UTF",
     "UTF-8: save the file again as UTF-8", "not_utf8"),
    (b'{"question": "a",}\n', ":2:18", "this is not JSON: ", LINE, "bad_json"),
    (b"[1, 2]\n", ":2", "the line holds no JSON object", LINE, "bad_json"),
    (b'{"answer": NaN}\n', ":2", "NaN is not a JSON number", LINE, "bad_json"),
    (b'{"answer": 1e999}\n', ":2", "a number is too large", "numbers below 1e308", "bad_json"),
    (b'{"answer": ' + b"9" * 5000 + b"}\n", ":2", "a number is too large", "numbers below",
     "bad_json"),
    (b'{"answer": 1, "answer": 2}\n', ":2", "field 'answer' is given twice", LINE, "bad_json"),
    (b'{"a":' * 30 + b"1" + b"}" * 30 + b"\n", ":2", "the line has more than 20 levels of nesting",
     LINE, "bad_json"),
    (b'{"a":' + b"[" * 90_000 + b"\n", ":2", "the line has more than 20 levels", LINE, "bad_json"),
    (b'{"question": "\\ud800"}\n', ":2", "an escape names half a character", "both halves",
     "bad_text"),
    (b'"' + b"x" * MAX_LINE_BYTES + b'"\n', ":2", "the line has 1,048,578 bytes", "at most 1 MiB",
     "line_too_long"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "place", "message", "allowed", "reason"), BYTES, ids=[f[2][:30] for f in BYTES]
)
def test_bytes_that_are_no_line(
    tmp_path: Path, line: bytes, place: str, message: str, allowed: str, reason: str
) -> None:
    error = refusal(tmp_path, BASE + line)
    assert error.where == f"{tmp_path / 'exam.jsonl'}{place}"
    assert error.message.startswith(message.format(offset=len(BASE) + 14)), error.message
    assert allowed in error.allowed
    assert error.reason == reason


def test_the_offset_counts_the_byte_order_mark(tmp_path: Path) -> None:
    error = refusal(tmp_path, codecs.BOM_UTF8 + b'{"a": "\xff"}')
    assert "byte 0xff at offset 10 of the file" in error.message


@pytest.mark.parametrize(
    ("content", "message", "reason"),
    [
        (b"", "the file has no lines", "no_items"),
        (b"\n \r\n", "the file has no lines", "no_items"),
        (codecs.BOM_UTF16_LE + "{}".encode("utf-16-le"), "the file is UTF-16", "not_utf8"),
        (b"{}\n" * 100_001, "the file has 100,001 lines", "data_too_large"),
    ],
    ids=["empty", "blank", "utf-16", "long"],
)
def test_a_file_without_items(tmp_path: Path, content: bytes, message: str, reason: str) -> None:
    error = refusal(tmp_path, content)
    assert error.message == message
    assert error.reason == reason


def test_all_faults_of_a_file_are_counted(tmp_path: Path) -> None:
    bad = jsonl(CAPITAL, {**CAPITAL, "question": ""}, {**CAPITAL, "answer": 9})
    error = refusal(tmp_path, bad + b"{\n" + jsonl({**CAPITAL, "answer": 7}))
    assert error.where.endswith(":2")
    assert error.message == (
        "question is empty (4 problems in this file: answer_not_a_choice 2, bad_json 1, "
        "empty_question 1)"
    )


def test_one_bad_line_refuses_the_whole_file(tmp_path: Path) -> None:
    """A silently smaller set would be a wrong number."""
    refusal(tmp_path, jsonl(*[CAPITAL] * 50, {**CAPITAL, "answer": 9}, *[CAPITAL] * 50))


# --- the file and its hash ------------------------------------------------------------


def test_another_file_than_the_announced_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "exam.jsonl"
    path.write_bytes(jsonl(CAPITAL))
    found, expected = sha256(path.read_bytes()), "0a" * 32
    with pytest.raises(SpecError) as caught:
        load(HeldOut(id="exam", path="exam.jsonl", sha256=expected), tmp_path)
    error = caught.value
    assert error.reason == "dataset_changed"
    assert error.where == str(path)
    assert found in error.message
    assert expected in error.allowed
    assert error.hint.endswith(f"harness accuracy check {path}")
    assert error.exit_code == 2


def test_the_hash_comes_before_the_content(tmp_path: Path) -> None:
    (tmp_path / "exam.jsonl").write_bytes(b"{")
    with pytest.raises(SpecError) as caught:
        load(HeldOut(id="exam", path="exam.jsonl", sha256="0a" * 32), tmp_path)
    assert caught.value.reason == "dataset_changed"


@pytest.mark.parametrize(
    ("name", "message", "reason"),
    [
        ("absent.jsonl", "there is no such file", "data_missing"),
        ("folder.jsonl", "this is not a file", "data_unreadable"),
        ("nul\0.jsonl", "the file cannot be read: embedded null byte", "data_unreadable"),
    ],
)
def test_a_file_that_is_not_there(tmp_path: Path, name: str, message: str, reason: str) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(SpecError) as caught:
        load(HeldOut(id="exam", path=name, sha256="0a" * 32), tmp_path)
    assert caught.value.message == message
    assert caught.value.reason == reason


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "exam.jsonl")
    with pytest.raises(SpecError, match="this is not a file"):
        load(HeldOut(id="exam", path="exam.jsonl", sha256="0a" * 32), tmp_path)


# --- licences -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("licence", "printable"),
    [
        ("Apache-2.0", True),
        ("CC-BY-SA-4.0", True),
        ("MIT", True),
        ("NCSA", True),
        ("CC-BY-ND-4.0", False),
        ("CC-BY-NC-ND-4.0", False),
        ("cc by nc 4.0", False),
        ("CC BY-NonCommercial", False),
        ("no_derivatives", False),
        ("비영리 변경금지", False),
        ("all rights reserved", False),
        ("unknown", False),
        ("", False),
        ("  ", False),
    ],
)
def test_which_licences_let_texts_be_shown(licence: str, *, printable: bool) -> None:
    assert may_print(licence) is printable


@pytest.mark.parametrize("row", [f[0] for f in FAULTS if "서울" in str(f[0])][:12])
def test_texts_under_nd_stay_out_of_messages(tmp_path: Path, row: object) -> None:
    error = refusal(tmp_path, jsonl(FRANCE, row), licence="CC-BY-ND-4.0")

    for text in ("서울", "부산", "인천", "수도"):
        assert text not in str(error)


def test_a_hash_stands_for_a_text_that_must_not_be_shown(tmp_path: Path) -> None:
    row = {**CAPITAL, "answer": "인천"}
    error = refusal(tmp_path, jsonl(row), licence="CC-BY-NC-4.0")
    assert f"[text with sha256 {sha256('인천'.encode())[:12]}…]" in error.message
