"""Korean messages: none is missing, values come through intact, English is the rest."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from harness import doctor, messages, selftest, terminal
from harness.cli import cli
from harness.errors import SpecError
from harness.messages.catalogue import Catalogue, Template, korean, particle
from harness.messages.commands import Command, Group, wrapped
from tests import messages as collected

ENTRIES = collected.korean()
MARKERS = [f"⟦{number}⟧" for number in range(10)]
HOLED = sorted(text for text in ENTRIES if Template.of(text).holes)
AWKWARD = st.text(st.sampled_from("가힣ab7 _-./\\:;,()'\"{}%\n\t…«»\u202e\x1b"), max_size=12)


@pytest.fixture
def in_korean() -> Iterator[None]:
    messages.speak("ko")
    yield
    messages.speak("en")


def words_of(text: str) -> str:
    """A text without what stands for values."""
    return re.sub(r"\{\d!?\}", "", text)


def test_every_text_of_the_code_has_korean() -> None:
    missing = {text: place for text, place in collected.needed().items() if text not in ENTRIES}
    assert missing == {}, "python -m tests.messages prints lines to fill in"


def test_the_collector_finds_texts_of_every_kind() -> None:
    """A missing entry can only be noticed for a text that was found."""
    found = collected.needed()
    assert "cannot write {0}: {1}" in found  # of an error
    assert "a folder in which files can be made" in found  # what is allowed
    assert "free some disk space, or {0}" in found  # a hint
    assert "Print one JSON object." in found  # an option's help
    assert any(text.startswith("Measure models and write") for text in found)  # a docstring
    assert "tuned {0}: {1}" in found  # what is said on the way
    assert "No such command {0}." in found  # of Click
    assert "Engines" in found  # a single word


def test_nothing_is_translated_that_nobody_says() -> None:
    assert sorted(set(ENTRIES) - collected.sources()) == []


@pytest.mark.parametrize("name", collected.EXEMPT_MODULES)
def test_exempt_modules_exist(name: str) -> None:
    assert (collected.ROOT / name).exists()


def test_exempt_texts_exist() -> None:
    every = collected.sources()
    for prefixes in collected.EXEMPT.values():
        for prefix in prefixes:
            assert any(text.startswith(prefix.strip()) for text in every), prefix


def test_holes_agree() -> None:
    wrong = [
        text
        for text, said in ENTRIES.items()
        if sorted(Template.of(text).holes) != sorted(Template.of(said).holes)
    ]
    assert wrong == []


def test_korean_fits_the_console_of_korean_windows() -> None:
    for text, said in ENTRIES.items():
        try:
            said.encode("cp949")
        except UnicodeEncodeError as error:
            pytest.fail(f"{text!r}: {error}")


def test_the_catalogue_is_sorted_so_that_merges_are_small() -> None:
    assert list(ENTRIES) == sorted(ENTRIES)
    assert collected.CATALOGUE.read_text("utf-8").count("\n") == len(ENTRIES) + 2


def test_no_translation_is_empty_or_has_only_english_words() -> None:
    """Names and placeholders may be all of it."""
    for text, said in ENTRIES.items():
        assert said, text
        if re.search(r"[a-z]{3} [a-z]", words_of(text)) and not re.search("[가-힣]", said):
            assert words_of(said) in {"", words_of(text)} or " " not in text, text


# --- matching ------------------------------------------------------------------------------


def test_each_text_is_recognised() -> None:
    """With values that mean nothing the translation is the entry's own, and nobody else's."""
    wrong = {}
    for text, expected in ENTRIES.items():
        template = Template.of(text)
        values = MARKERS[: len(template.holes)]
        if (
            "" in template.parts[1:-1]
        ):  # two holes side by side: nobody knows where the first of such holes ends
            continue
        said = korean().translate(template.fill(values))
        if said != Template.of(expected).fill(values):
            wrong[text] = said
    assert wrong == {}


@given(st.sampled_from(HOLED), st.lists(AWKWARD, min_size=10, max_size=10))
def test_values_come_through_intact(text: str, values: list[str]) -> None:
    template = Template.of(text)
    values = [f"⟦{value}⟧" for value in values[: len(template.holes)]]
    said = korean().translate(template.fill(values))
    lost = Counter("".join(values)) - Counter(said)
    assert not {char: count for char, count in lost.items() if not char.isspace()}


@given(st.text(max_size=300))
def test_any_text_may_come(text: str) -> None:
    assert isinstance(korean().translate(text), str)


def test_a_long_text_takes_no_time_to_speak_of() -> None:
    """Matching is linear: what others wrote into a message cannot hold the program up."""
    began = time.process_time()
    for word in (": is has of and", "; did you mean '", " (in", "  x  of ", ". ", "unknown key '"):
        korean().translate(word * (20_000 // len(word)))
    assert time.process_time() - began < 2


def test_a_template_with_more_of_its_own_wins() -> None:
    found = Catalogue({"{0} is {1}": "{0}: {1}", "{0} is not {1}": "{0} 아님 {1}"})
    assert found.translate("x is not y") == "x 아님 y"


def test_messages_inside_of_messages_are_found(in_korean: None) -> None:
    said = messages.tr("this is not YAML: x")
    assert said == "YAML이 아닙니다: x"
    assert messages.tr(
        "harness: interrupted; what has come is kept\n  next: the same command again"
    ) == ("harness: 중단되었습니다. 받은 부분은 남아 있습니다\n  다음: 같은 명령을 다시 실행하세요")
    # of a worker's record: places, messages, and what it allowed, in lines
    error = SpecError("no .onnx file in this folder", where="/a: b", allowed="a folder", hint="x")
    assert "이 폴더에 .onnx 파일이 없습니다" in messages.tr(str(error))


def test_a_message_behind_a_label_in_a_hole_is_found(in_korean: None) -> None:
    assert messages.tr("latency process 1 ended timeout: no end after 196 s") == (
        "latency 프로세스 1의 결과: 시간 초과: 196초가 지나도 끝나지 않았습니다"
    )


def test_an_error_in_a_hole_is_found_behind_its_reason(in_korean: None) -> None:
    said = messages.tr(
        "fixed-p64-n64: 10 of 15 observations; latency process 2 ended timeout: no end after 196 s"
    )
    assert said.endswith("프로세스 2의 결과: 시간 초과: 196초가 지나도 끝나지 않았습니다")


def test_a_value_that_is_no_message_stays(in_korean: None) -> None:
    for value in ("none", "file", "model", "ready", "C:/Program Files (x86)/models"):
        assert f"'{value}'" in messages.tr(f"unknown key '{value}'")


def test_two_holes_side_by_side(in_korean: None) -> None:
    assert messages.tr("unknown key 'a' in models; did you mean 'b'?") == (
        "알 수 없는 키 'a' (models 안). 혹시 'b'입니까?"
    )


def test_what_has_no_korean_stays_english(in_korean: None) -> None:
    assert messages.tr("colourless ideas sleep furiously") == "colourless ideas sleep furiously"


def test_english_is_said_as_it_is_written() -> None:
    assert messages.tr("no model is loaded") == "no model is loaded"
    assert messages.tr("no model is loaded", "ko") == "적재한 모델이 없습니다"


def test_an_error_keeps_its_english_for_records() -> None:
    error = SpecError("no model is loaded", where="a.gguf: byte 4", allowed="1 or more", hint="x")
    assert str(error) == "a.gguf: byte 4: no model is loaded\n  allowed: 1 or more\n  next: x"
    messages.speak("ko")
    try:
        assert error.text(messages.tr) == (
            "a.gguf: 4바이트 위치: 적재한 모델이 없습니다\n  허용: 1 이상\n  다음: x"
        )
        assert str(error).startswith("a.gguf: byte 4: no model")
    finally:
        messages.speak("en")


@pytest.mark.parametrize(
    ("word", "behind", "said"),
    [
        ("모델", "을(를) 읽", "을 읽"),
        ("메모리", "을(를) 읽", "를 읽"),
        ("3", "이(가) 아", "이 아"),
        ("2", "이(가) 아", "가 아"),
        ("10", "은(는)", "은"),
        ("메모리", "(으)로", "로"),
        ("모델", "(으)로", "로"),
        ("한국", "(으)로", "으로"),
        ("8", "(으)로", "로"),
        ("메모리", "과(와) 그", "와 그"),
        ("'모델", "'을(를)", "'을"),
        ("'값'", "(이)라는", "이라는"),
        ("model.gguf", "을(를) 읽", "을(를) 읽"),
        ("", "을(를)", "을(를)"),
        ("92.3%", "을(를) 썼", "를 썼"),
    ],
)
def test_particles(word: str, behind: str, said: str) -> None:
    assert particle(word, behind) == said


def test_wide_letters_count_two_columns() -> None:
    assert messages.width("한글 ab") == 7
    assert messages.pad("한글", 6) == "한글  "
    assert wrapped("한글 한글 한글 ab", 9) == ["한글 한글", "한글 ab"]


# --- the command line ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "locale", "lang"),
    [
        ([], "ko_KR.UTF-8", "ko"),
        ([], "C.UTF-8", "en"),
        (["--lang", "ko", "run"], "C", "ko"),
        (["run", "--lang=ko"], "C", "ko"),
        (["run", "--lang", "en"], "ko_KR.UTF-8", "en"),
        (["--lang", "ko", "run", "--lang", "en"], "C", "en"),
        (["run", "--lang", "fr"], "ko_KR.UTF-8", "ko"),
        (["run", "--", "--lang", "ko"], "C", "en"),
    ],
)
def test_the_language_that_is_asked_for(
    arguments: list[str], locale: str, lang: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", locale)
    assert messages.asked_for(arguments) == lang


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


def test_every_command_has_help_in_the_readers_language() -> None:
    for path in commands(cli):
        command: click.Command = cli
        for name in path:
            assert isinstance(command, click.Group)
            command = command.commands[name]
        assert isinstance(command, Command | Group), path


@pytest.fixture
def invoked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    yield
    messages.speak("en")


@pytest.mark.parametrize("path", list(commands(cli)), ids=" ".join)
def test_help_of_every_command_is_korean(path: tuple[str, ...], invoked: None) -> None:
    done = CliRunner().invoke(cli, ["--lang", "ko", *path, "--help"])
    assert done.exit_code == 0
    assert done.output.startswith("사용법: ")
    for line in done.output.splitlines()[1:]:
        # Names of commands are no sentences.
        about = re.split(r"\s{2,}", line.strip(), maxsplit=1)[-1]
        about = re.sub(r"harness [a-z]+ [a-z]+", "", about)
        assert not re.search(r"[a-z]{2,} [a-z]{2,} [a-z]{2,}", about), line
        assert messages.width(line) <= 80, line


def test_a_command_in_korean_leaves_the_language_as_it_was(invoked: None) -> None:
    for arguments in (["--help"], ["score", "nowhere"], ["run", "--nope"], ["nope"]):
        CliRunner().invoke(cli, ["--lang", "ko", *arguments])
        assert messages.language() == "en"


def test_help_in_english_is_what_it_was(invoked: None) -> None:
    done = CliRunner().invoke(cli, ["run", "--help"])
    assert "  Measure models and write a ranked scorecard.\n" in done.output
    assert "Show this message and exit." in done.output


def speaking(*arguments: str, lang: str = "ko_KR.UTF-8", **others: str) -> tuple[str, str, int]:
    """stdout, stderr and exit code of the command itself."""
    environment = {"LC_ALL": lang, "PATH": "", "PYTHONIOENCODING": "utf-8", **others}
    command = [sys.executable, "-m", "harness", *arguments]
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    encoding = others.get("PYTHONIOENCODING", "utf-8")
    return done.stdout.decode(encoding), done.stderr.decode(encoding), done.returncode


def test_errors_of_usage_are_korean() -> None:
    _, said, code = speaking("run", "--nope")
    assert code == 2
    assert said.replace("python -m ", "") == (
        "사용법: harness run [OPTIONS]\n도움말: harness run --help\n\n"
        "오류: '--nope'(이)라는 옵션은 없습니다. "
        "(혹시 다음 중 하나입니까: '--model', '--nonce', '--tune'?)\n"
    )


def test_a_wrong_name_is_explained_in_korean_and_json_stays_english() -> None:
    shown, said, code = speaking("run", "--profile", "quik", "--dry-run", "--json")
    assert code == 2
    assert said.startswith("harness: 알 수 없는 프로파일 'quik'. 혹시 'quick'입니까?\n  허용: ")
    assert "\n  다음: harness run --profile quick --dry-run\n" in said
    found = json.loads(shown)
    assert found["reason"] == "unknown_profile"
    assert found["message"].startswith("unknown profile 'quik'; did you mean 'quick'?\n  allowed: ")


def test_a_redirected_console_of_korean_windows_gets_its_own_letters() -> None:
    _, said, code = speaking("score", "nowhere", PYTHONIOENCODING="cp949")
    assert code == 2
    assert said.startswith("harness: nowhere: 기록이 있는 실행이 여기에 없습니다\n")


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("cp949", "-30.0 % [-30.6 %, -] 5 μs 한"), ("ascii", "-30.0 % [-30.6 %, -] 5 us ?")],
)
def test_a_sign_that_a_console_lacks_keeps_its_meaning(encoding: str, shown: str) -> None:
    """A minus must not become a question mark: the change would lose its direction."""
    script = (
        "import sys; from harness import cli; cli._settle_process()\n"
        "sys.stdout.write('\u221230.0 % [\u221230.6 %, \u2013] 5 \xb5s \ud55c')"
    )
    environment = {"PYTHONIOENCODING": encoding, "PATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, env=environment, check=True
    )
    assert done.stdout.decode(encoding) == shown


def test_lang_wins_over_the_locale() -> None:
    _, said, _ = speaking("--lang", "en", "score", "nowhere")
    assert said.startswith("harness: nowhere: no run with records here\n")
    _, said, _ = speaking("--lang", "ko", "score", "nowhere", lang="C.UTF-8")
    assert "이 여기에 없습니다" in said


ENGLISH = re.compile(r"\b[a-z]{2,} [a-z]{2,} [a-z]{2,}\b")
"""Three words in a row: a sentence that was left English."""


def english_of(text: str) -> list[str]:
    """Lines that hold English sentences; commands to type are no sentences."""
    said = re.sub(r"(harness|sudo|uv pip|python -m pip)( [\w./-]+)+", "", text)
    return [line for line in said.splitlines() if ENGLISH.search(line)]


def test_the_doctor_speaks_korean(in_korean: None, tmp_path: Path) -> None:
    found = doctor.diagnose(tmp_path, import_in_child=lambda _modules: "")
    assert english_of(doctor.text(found)) == []
    broken = doctor.diagnose(tmp_path / "x", import_in_child=lambda _modules: "boom")
    assert "불러올 수 없음: boom" in doctor.text(broken)
    assert "cannot be imported: boom" in json.dumps(broken)


def test_the_self_test_speaks_korean(in_korean: None) -> None:
    check = {"what": "error of the time between tokens of 1.0 ms", "unit": "s", "reason": ""}
    found = {
        "checks": [
            check | {"asked": 20e-6, "measured": 3e-6, "passed": True},
            check
            | {"asked": 20e-6, "measured": None, "passed": False, "reason": "no x in the records"},
        ],
        "noise": [{"code": "on_battery", "detail": "the machine ran on battery during its jobs"}],
        "wall_s": 3.0,
    }
    assert english_of(selftest.text(found)) == []
    assert "1.0 ms 토큰 간격의 오차" in selftest.text(found)
    assert selftest.text(found).splitlines()[1].endswith("; 기록에 x이(가) 없습니다")


def test_what_a_run_says_is_korean(in_korean: None, capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show_tuning("m", "4 threads, 8 for prefill")
    terminal.show_items("m", 15, 20, 130.0)
    terminal.show_items("m", 15, 0, 3.0)
    said = capsys.readouterr().err
    assert said == (
        "스레드 조정 m: 스레드 4개, 프리필은 8개\n"
        "     m: 문항 15 / 20, 약 2분 10초 남음\n"
        "     m: 문항 15, 약 3초 남음\n"
    )


def test_english_start_does_not_read_the_catalogue() -> None:
    script = "import sys, harness.cli; print('harness.messages.catalogue' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_words_are_never_said_past_the_translation() -> None:
    """`click.echo` is for data: words go through `echo` of harness.messages.commands."""
    wrong = []
    for path in sorted(collected.ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) != "click.echo":
                continue
            texts = [
                text
                for text in collected.templates(node.args[0])
                if text in ENTRIES and text != "harness: {0}"
            ]
            wrong += [f"{path.name}:{node.lineno}: {text}" for text in texts]
    assert wrong == []
