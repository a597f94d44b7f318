"""The commands as their users meet them, with real files and real signals."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.cli import _after_interruption
from harness.models.reference import materialise
from harness.records import JournalWriter, read
from tests.conftest import Harness, in_child, interruptible

PROFILE = """\
id: fast
version: 1
title: two suites on a virtual clock
reference: ref.f.fake
tier: unverified
protocol:
  processes: {latency: 2, memory: 1}
  requests: 3
  warmup_max: 3
  grouping: suite
  job_timeout_s: 30
suites:
  latency: {prompt_tokens: [16], output_tokens: [8]}
  memory: {context: 24, output_tokens: 8}
weights: {ttft_s: 0.4, decode_tok_per_s: 0.4, peak_resident_bytes: 0.2}
"""

FAKES = {
    "ref": {"step_s": 0.01, "prefill_s_per_token": 0.001},
    "slow": {"step_s": 0.02, "prefill_s_per_token": 0.002},
    "crash": {"crash_signal": {"at": "step", "signal": "SIGSEGV"}},
    "endless": {"clock": "real", "step_s": 0.2, "prefill_s_per_token": 0.001},
}


def fill(folder: Path) -> None:
    """Write a models file, a profile and fake models."""
    entries = []
    for name, fields in FAKES.items():
        (folder / f"{name}.fake.json").write_text(json.dumps(fields))
        entries.append(
            f"  - {{id: {name}.f.fake, family: {name}, format: fake, quantisation: f, "
            f"source: {{kind: file, path: {name}.fake.json}}, licence: Apache-2.0}}"
        )
    entries.append(
        "  - {id: gone.f.fake, family: gone, format: fake, quantisation: f, "
        "source: {kind: file, path: gone.fake.json}}"
    )
    sets = (
        "sets:\n  default: [ref.f.fake, slow.f.fake]\n"
        "  crashing: [ref.f.fake, crash.f.fake]\n"
        "  incomplete: [ref.f.fake, gone.f.fake]\n"
        "  endless: [endless.f.fake]\n"
    )
    (folder / "models.yaml").write_text("models:\n" + "\n".join(entries) + "\n" + sets)
    (folder / "fast.yaml").write_text(PROFILE)


@pytest.fixture
def bench_folder(tmp_path: Path) -> Path:
    """A folder with a models file, a profile and fake models."""
    fill(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Such a folder with one run, by a child."""
    folder = tmp_path_factory.mktemp("measured")
    fill(folder)
    done = in_child(["run", "--profile", "fast.yaml"], folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def run_folder(measured: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return shutil.copytree(measured, tmp_path, dirs_exist_ok=True)


def last_json(done: subprocess.CompletedProcess[str]) -> dict[str, object]:
    value = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(value, dict)
    return value


def test_run_ranks_and_keeps_everything(bench_folder: Path, run_harness: Harness) -> None:
    done = run_harness("run", "--profile", "fast.yaml", "--json", child=True)
    found = last_json(done)
    assert found["status"] == "done"
    folder = Path(str(found["run"]))
    kept = {path.name for path in (bench_folder / folder).iterdir()}
    assert kept == {"plan.json", "records.jsonl", "scorecard.json", "scorecard.md", "report.html"}
    card = json.loads((bench_folder / str(found["scorecard"])).read_text())
    ranks = {entry["model"]: entry["rank"] for entry in card["entries"]}
    assert ranks == {"ref.f.fake": 1, "slow.f.fake": 2}
    slow = next(entry for entry in card["entries"] if entry["model"] == "slow.f.fake")
    assert slow["metrics"]["decode_tok_per_s"]["value"] == pytest.approx(50)
    assert slow["metrics"]["ttft_s"]["value"] == pytest.approx(0.032)
    progress = [line for line in done.stderr.splitlines() if " left, about " in line]
    assert len(progress) == len(
        read(bench_folder / folder / "records.jsonl").records
        and [
            record
            for record in read(bench_folder / folder / "records.jsonl").records
            if record["type"] == "job"
        ]
    )
    assert "0 left" in progress[-1]


def test_score_rebuilds_byte_for_byte(run_folder: Path, run_harness: Harness) -> None:
    (card,) = (run_folder / "results").glob("*/scorecard.json")
    first = card.read_bytes()
    card.unlink()
    printed = last_json(run_harness("score", "latest", "--json"))
    assert card.read_bytes() == first
    assert printed == json.loads(first)
    assert "slow.f.fake" in run_harness("score", card.parent.name).stdout
    assert "slow.f.fake" in run_harness("score", card).stdout


def test_report_is_written_again_in_either_language(run_folder: Path, run_harness: Harness) -> None:
    (page,) = (run_folder / "results").glob("*/report.html")
    page.unlink()
    korean = last_json(run_harness("report", "latest", "--lang", "ko", "--json"))
    assert 'lang="ko"' in page.read_text("utf-8")
    assert str(page.relative_to(run_folder)) in korean["reports"]  # type: ignore[operator]
    run_harness("report", "--lang", "en")
    assert 'lang="en"' in page.read_text("utf-8")


def test_attempts_of_one_plan_are_counted(bench_folder: Path, run_harness: Harness) -> None:
    run_harness("run", "--profile", "fast.yaml", "--suite", "latency")
    run_harness("run", "--profile", "fast.yaml", "--suite", "memory")
    run_harness("run", "--profile", "fast.yaml", "--suite", "memory")
    card = last_json(run_harness("score", "latest", "--json"))
    first, second, third = sorted(
        json.loads(path.read_text("utf-8"))["run"]
        for path in (bench_folder / "results").glob("*/scorecard.json")
    )
    assert card["run"] == third
    assert {key: card["attempt"][key] for key in ("number", "of")} == {"number": 2, "of": 2}
    (earlier,) = card["attempt"]["earlier"]
    assert earlier["run"] == second != first
    assert earlier["started_utc"].startswith("20")


def test_lost_records_are_reported(run_folder: Path, run_harness: Harness) -> None:
    (records,) = (run_folder / "results").glob("*/records.jsonl")
    whole = records.read_bytes()
    records.write_bytes(whole + b'1234abcd {"ty')
    assert "records_torn" in findings(run_harness("score", "latest", "--json"))
    lines = whole.splitlines(keepends=True)
    records.write_bytes(b"".join(lines[: len(lines) // 2]))
    assert "run_incomplete" in findings(run_harness("score", "latest", "--json"))


def findings(done: subprocess.CompletedProcess[str]) -> set[str]:
    """Codes of the verdict's findings."""
    card = last_json(done)
    return {finding["code"] for finding in card["verdict"]["findings"]}  # type: ignore[index]


def test_latest_is_the_newest_run_that_has_records(run_folder: Path, run_harness: Harness) -> None:
    (run_folder / "results" / "29991231T000000Z-abcdef").mkdir()
    assert last_json(run_harness("score", "latest", "--json"))["kind"] == "scorecard"


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "9"},
        {"device": None},
        {"models": [{"id": "a"}]},
        {"profile": {"id": "a"}},
        {"profile": 3},
    ],
)
def test_records_of_another_form_are_refused(
    run_folder: Path, run_harness: Harness, change: dict[str, object]
) -> None:
    (records,) = (run_folder / "results").glob("*/records.jsonl")
    first, *rest = read(records).records
    records.unlink()
    journal = JournalWriter(records)
    for record in ({**first, **change}, *rest):
        journal.append(record)
    journal.close()
    done = run_harness("score", "latest", check=4)
    assert "records.jsonl" in done.stderr or "profile" in done.stderr


def test_modules_in_the_working_folder_are_not_run(
    bench_folder: Path, run_harness: Harness
) -> None:
    """A startup's folder may well hold a `tokenizers.py` of its own."""
    for name in ("ctypes.py", "tokenizers.py", "hashlib.py"):
        (bench_folder / name).write_text("raise SystemExit('the wrong module')")
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}  # as the installed command has it
    done = subprocess.run(
        [sys.executable, "-m", "harness", "bench", "ref.fake.json", "-p", "4", "-n", "2"],
        cwd=bench_folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_a_stdout_that_cannot_spell_everything(run_folder: Path, run_harness: Harness) -> None:
    for arguments in (["score", "latest", "--lang", "ko"], ["score", "latest", "--json"]):
        done = subprocess.run(
            [sys.executable, "-m", "harness", *arguments],
            cwd=run_folder,
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["kind"] == "scorecard"


def test_a_crash_fails_the_command_and_keeps_the_rest(
    bench_folder: Path, run_harness: Harness
) -> None:
    done = run_harness("run", "--profile", "fast.yaml", "--set", "crashing", "--json", check=4)
    assert last_json(done)["status"] == "failed"
    card = last_json(run_harness("score", "latest", "--json"))
    by_model = {entry["model"]: entry for entry in card["entries"]}  # type: ignore[attr-defined]
    assert by_model["ref.f.fake"]["rank"] == 1
    assert by_model["crash.f.fake"]["rank"] is None
    assert by_model["crash.f.fake"]["reason"] == "signal_sigsegv"
    assert "signal_sigsegv" in done.stderr


def test_an_absent_model_of_a_set_is_skipped_and_named(
    bench_folder: Path, run_harness: Harness
) -> None:
    done = run_harness("run", "--profile", "fast.yaml", "--set", "incomplete", "--suite", "memory")
    assert "skipped gone.f.fake: the model file is missing" in done.stderr
    assert "gone.f.fake" in done.stdout


def test_dry_run_measures_nothing(bench_folder: Path, run_harness: Harness) -> None:
    done = run_harness("run", "--profile", "fast.yaml", "--dry-run")
    assert "6 jobs, about " in done.stdout
    assert not (bench_folder / "results").exists()
    plan = last_json(run_harness("run", "--profile", "fast.yaml", "--dry-run", "--json"))
    assert len(plan["plan"]["jobs"]) == 6  # type: ignore[index]


BAD_INPUT = [
    (["run", "--model", "nope"], 2, ["unknown model 'nope'", "harness models list"]),
    (["run", "--model", "reff.f.fake"], 2, ["did you mean 'ref.f.fake'?"]),
    (["run", "--model", "absent/file.gguf"], 3, ["absent/file.gguf", "no such file"]),
    (
        ["run", "--profile", "fast.yaml", "--model", "gone.f.fake"],
        3,
        ["gone.fake.json", "missing", "--model PATH"],
    ),
    (["run", "--set", "defualt"], 2, ["unknown set 'defualt'", "did you mean 'default'?"]),
    (["run", "--profile", "quik"], 2, ["quik", "did you mean 'quick'?"]),
    (["run", "--device", "lg-gramm"], 2, ["lg-gramm"]),
    (["run", "--profile", "fast.yaml", "--suite", "latncy"], 2, ["did you mean 'latency'?"]),
    (["run", "--sute", "latency"], 2, ["No such option"]),
    (["score", "no-such-run"], 2, ["no-such-run", "harness run"]),
    (["report", "no-such-run"], 2, ["no-such-run", "a run folder, its id, latest or previous"]),
    (["bench", "absent.gguf"], 3, ["absent.gguf", "no such file"]),
    (["bench", "models.yaml"], 2, ["models.yaml", "a .gguf file"]),
    (["bench", "ref.fake.json", "-p", "0", "-n", "0"], 2, ["-p or -n above 0"]),
    (["bench", "ref.fake.json", "-r", "0"], 2, ["range"]),
    (["models", "list", "--set", "x"], 2, ["unknown set 'x'"]),
    (["run", "--models", "absent.yaml"], 2, ["absent.yaml"]),
    (["run", "--model", "x" * 300 + ".gguf"], 2, ["unknown model"]),
    (["run", "--model", "./" + "x" * 300 + ".gguf"], 3, ["no such file"]),
]


@pytest.mark.parametrize(("arguments", "code", "parts"), BAD_INPUT)
def test_bad_input_has_one_clear_message(
    bench_folder: Path, run_harness: Harness, arguments: list[str], code: int, parts: list[str]
) -> None:
    done = run_harness(*arguments, check=code)
    for part in parts:
        assert part in done.stderr
    failed = last_json(run_harness(*arguments, "--json", check=code))
    assert failed["exit_code"] == code
    assert failed["status"] == "error"


@pytest.mark.parametrize(
    ("name", "content", "code", "part"),
    [
        ("empty.gguf", b"", 2, "the file is empty"),
        ("short.gguf", b"GGUF\x03\0\0\0", 2, "cut off: 8 bytes of a file of 8 bytes"),
        ("text.gguf", b"hello, this is not a model at all", 2, "not a GGUF file"),
        ("model.bin", b"x", 2, "not a model format"),
    ],
)
def test_broken_model_files_are_named(
    bench_folder: Path, run_harness: Harness, name: str, content: bytes, code: int, part: str
) -> None:
    (bench_folder / name).write_bytes(content)
    done = run_harness("bench", name, check=code)
    assert name in done.stderr
    assert part in done.stderr


def test_an_onnx_folder_without_its_parts_is_named(
    bench_folder: Path, run_harness: Harness
) -> None:
    (bench_folder / "folder").mkdir()
    assert "no .onnx file" in run_harness("bench", "folder", check=2).stderr
    (bench_folder / "folder" / "model.onnx").write_bytes(b"x")
    assert "no tokenizer.json" in run_harness("bench", "folder", check=2).stderr


def test_malformed_yaml_names_file_and_line(bench_folder: Path, run_harness: Harness) -> None:
    models = bench_folder / "models.yaml"
    text = models.read_text().replace("family: slow", "famly: slow")
    models.write_text(text)
    done = run_harness("run", "--profile", "fast.yaml", check=2)
    assert "models.yaml:3" in done.stderr
    assert "famly" in done.stderr
    assert "family" in done.stderr


def test_mistyped_tasks_and_backends_name_file_and_line(
    bench_folder: Path, run_harness: Harness
) -> None:
    task = PROFILE.replace(
        "weights:", "  accuracy: {tasks: [josa, calender], languages: [ko], items: 5}\nweights:"
    )
    (bench_folder / "typo.yaml").write_text(task)
    done = run_harness("run", "--profile", "typo.yaml", "--dry-run", check=2)
    assert "typo.yaml:15" in done.stderr
    assert "calendar" in done.stderr
    models = bench_folder / "models.yaml"
    text = models.read_text()
    for wrong, part in (
        ("backend: lama_cpp", "did you mean 'llama_cpp'?"),
        ("backend: llama_cpp", "does not run format 'fake'"),
    ):
        models.write_text(text.replace("family: slow", f"family: slow, {wrong}"))
        done = run_harness("run", "--profile", "fast.yaml", "--dry-run", check=2)
        assert "models.yaml:3" in done.stderr
        assert part in done.stderr


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX here")
def test_an_unwritable_results_folder(bench_folder: Path, run_harness: Harness) -> None:
    (bench_folder / "taken").write_text("a file, not a folder")
    done = run_harness("run", "--profile", "fast.yaml", "--out", "taken", check=4)
    assert "taken: cannot write" in done.stderr
    assert "--out" in done.stderr


@pytest.mark.parametrize(
    ("words", "step"),
    [
        (["run"], "harness run --resume latest"),
        (["--lang", "ko", "run", "--out=mine"], "harness run --resume latest --out FOLDER"),
        (["run", "--results", "mine"], "harness run --resume latest --out FOLDER"),
        (["run", "--resume", "results/a"], "the same command again"),
        (["run", "--attempts=3", "--out", "mine"], "the same command again"),
        (["score", "latest"], "the same command again"),
    ],
)
def test_what_to_do_after_ctrl_c(words: list[str], step: str) -> None:
    assert _after_interruption(words).splitlines()[-1] == f"  next: {step}"


def under_way(folder: Path, model: str) -> bool:
    """Whether a job of this model has recorded something; the reference's end at once."""
    with contextlib.suppress(FileNotFoundError):
        for part in folder.glob("results/*/parts/*.part"):
            if part.stat().st_size and model in part.with_suffix(".json").read_text("utf-8"):
                return True
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_with_130_and_a_scorecard(
    bench_folder: Path, run_harness: Harness, number: signal.Signals
) -> None:
    command = [sys.executable, "-m", "harness", "run", "--json", "--profile", "fast.yaml"]
    process = subprocess.Popen(
        [*command, "--set", "endless", "--suite", "latency"],
        cwd=bench_folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=interruptible,
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not under_way(bench_folder, "endless"):
        time.sleep(0.05)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert "Traceback" not in stderr
    found = json.loads(stdout.splitlines()[-1])
    assert found["status"] == "interrupted"
    command = stderr.strip().rpartition("next: harness ")[2].split()
    assert command == ["run", "--resume", found["run"]]
    left = run_harness(*command, "--dry-run", "--json")
    assert last_json(left)["left"], "the command that is named goes on"
    assert (bench_folder / found["scorecard"]).is_file()
    card = last_json(run_harness("score", "latest", "--json"))
    assert any(
        job["outcome"] == "interrupted"
        for entry in card["entries"]  # type: ignore[attr-defined]
        for job in entry["jobs"]
    )


def test_bench_prints_rates_and_json(bench_folder: Path, run_harness: Harness) -> None:
    text = run_harness("bench", "ref.fake.json", "-p", "32", "-n", "4", "-r", "2").stdout
    assert "pp32" in text
    assert "1000.00 tok/s" in text
    found = last_json(run_harness("bench", "ref.fake.json", "-p", "0", "-n", "4", "--json"))
    (test,) = found["tests"]  # type: ignore[misc]
    assert test["name"] == "tg4"
    assert test["tok_per_s"]["median"] == pytest.approx(100)
    assert len(test["tok_per_s"]["samples"]) == 5


def test_bench_of_a_crashing_model(bench_folder: Path, run_harness: Harness) -> None:
    done = run_harness("bench", "crash.fake.json", check=4)
    assert "crash.fake.json: crashed" in done.stderr
    assert "next: harness doctor" in done.stderr


def test_a_model_cut_in_the_middle(bench_folder: Path, run_harness: Harness) -> None:
    whole = materialise("ref-2m.q8_0.gguf").read_bytes()
    (bench_folder / "half.gguf").write_bytes(whole[: len(whole) // 2])
    for arguments in (
        ["bench", "half.gguf"],
        ["run", "--profile", "fast.yaml", "--model", "./half.gguf"],
    ):
        done = run_harness(*arguments, check=2)
        assert "half.gguf: tensor '" in done.stderr
        assert "cut off: it ends at byte" in done.stderr
        assert "next: export the model again" in done.stderr


def test_models_list_and_init(bench_folder: Path, run_harness: Harness) -> None:
    assert "slow.f.fake" in run_harness("models", "list").stdout
    found = last_json(run_harness("models", "list", "--set", "crashing", "--json"))
    assert [model["id"] for model in found["models"]] == ["ref.f.fake", "crash.f.fake"]  # type: ignore[attr-defined]
    before = (bench_folder / "models.yaml").read_bytes()
    made = last_json(run_harness("init", ".", "--json"))
    assert "models.yaml" in str(made["kept"])
    assert (bench_folder / "models.yaml").read_bytes() == before
    assert "kept" in run_harness("init").stdout


def test_doctor_answers(bench_folder: Path, run_harness: Harness) -> None:
    assert "Python" in run_harness("doctor").stdout
    assert last_json(run_harness("doctor", "--json"))


def test_help_is_quick_and_complete(run_harness: Harness) -> None:
    text = run_harness("--help", child=True).stdout
    for command in ("run", "score", "report", "bench", "models", "doctor", "init"):
        assert command in text
    assert "harness, version" in run_harness("--version").stdout
