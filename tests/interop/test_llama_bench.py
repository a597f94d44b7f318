"""Results of llama-bench as it wrote them, and files that are not quite that.

`llama-bench/ref-2m.*` are the output of llama.cpp 0c1e570 for `-p 64 -n 16 -d 0,128 -r 3 -t 2`.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from harness import runs
from harness.errors import SpecError
from harness.interop import llama_bench
from harness.interop.llama_bench import BenchTest, beside, read
from harness.records import JournalWriter
from harness.report import csv as csv_form
from harness.report import figures, markdown, reading, words
from harness.spec import KernelSuite, Suites
from tests import strategies

RECORDED = Path(__file__).parent / "llama-bench"
MODEL_BYTES = 2_511_872
NAMES = ["pp64", "tg16", "pp64 @ d128", "tg16 @ d128"]


def recorded() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((RECORDED / "ref-2m.json").read_text("utf-8"))
    return found


@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
def test_reads_every_form_that_llama_bench_wrote(form: str) -> None:
    tests = read(RECORDED / f"ref-2m.{form}")
    assert [test.name for test in tests] == NAMES
    for test in tests:
        assert (test.file, test.model_bytes, test.threads) == ("ref-2m.q8_0.gguf", MODEL_BYTES, 2)
        assert test.build == "0c1e570 (1)"
        assert test.n == (None if form == "csv" else 3)


def test_figures_are_those_of_the_file() -> None:
    for test, fields in zip(read(RECORDED / "ref-2m.json"), recorded(), strict=True):
        assert (test.tok_per_s, test.stddev) == (fields["avg_ts"], fields["stddev_ts"])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_reads_what_powershell_redirected(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    path.write_text((RECORDED / "ref-2m.json").read_text("utf-8"), encoding)
    assert [test.name for test in read(path)] == NAMES


def changed(tmp_path: Path, **fields: Any) -> Path:
    path = tmp_path / "out.json"
    path.write_text(json.dumps([recorded()[0] | fields]), "utf-8")
    return path


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"n_gen": 16}, "pp64+tg16"),
        ({"n_prompt": 512, "n_depth": 4096}, "pp512 @ d4096"),
        ({"some_field_of_a_later_version": {}}, "pp64"),
    ],
)
def test_names_are_llama_benchs(fields: dict[str, Any], name: str, tmp_path: Path) -> None:
    (test,) = read(changed(tmp_path, **fields))
    assert test.name == name


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"n_prompt": 0}, "neither prompt nor output tokens"),
        ({"n_prompt": -64}, "n_prompt is -64; it must be an integer of at least 0"),
        ({"n_prompt": 64.0}, "n_prompt is 64.0"),
        ({"n_prompt": True}, "n_prompt is True"),
        ({"n_gen": None}, "n_gen is None"),
        ({"n_depth": 10**30}, "n_depth is 1000"),
        ({"model_size": 0}, "model_size is 0; it must be an integer of at least 1"),
        ({"model_filename": ""}, "model_filename is ''; it must be a text"),
        ({"model_filename": ["x"]}, "model_filename is ['x']"),
        ({"avg_ts": 0}, "avg_ts is 0; it must be a positive number"),
        ({"avg_ts": -1.5}, "avg_ts is -1.5"),
        ({"avg_ts": "fast"}, "avg_ts is 'fast'"),
        ({"stddev_ts": -0.1}, "stddev_ts is -0.1"),
        ({"avg_ts": 12_000.0}, "avg_ts is 12000, which is not the mean of samples_ts"),
        ({"samples_ts": []}, "which is not the mean of samples_ts"),
        ({"samples_ts": "none"}, "which is not the mean of samples_ts"),
        ({"samples_ts": [1.0, "x"]}, "samples_ts is 'x'"),
        ({"n_threads": 0}, "n_threads is 0"),
        ({"build_commit": 7}, "build_commit is 7"),
        ({"build_commit": "\x1b[2J", "avg_ts": "\x1b[2J"}, "avg_ts is '\\x1b[2J'"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = changed(tmp_path, **fields)
    with pytest.raises(SpecError) as caught:
        read(path)
    assert f"{path}: not what llama-bench writes: test 1: " in str(caught.value)
    assert said in caught.value.message
    assert caught.value.reason == "llama_bench_unreadable"
    assert caught.value.exit_code == 2
    assert caught.value.hint.startswith("llama-bench -m")
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it begins with ''"),
        (b"| model | size |", "it begins with '| model | size |'"),
        (b"[]", "0 tests"),
        (b"[1]", "a test is no object"),
        (b"[{}", "Expecting"),
        (b"{}\n{", "Expecting"),
        (b"[" * 100_000, ""),
        (b'[{"avg_ts": NaN}]', "NaN is not a JSON number"),
        (b'[{"avg_ts": ' + b"9" * 5000 + b"}]", ""),
        (b"\xff\xfe\x00", "decode"),
        (b'[{"model_filename": "\xff"}]', "decode"),
        (b"[" + b"{}," * 10_000 + b"{}]", "10001 tests; 1 to 10,000 are read"),
        (b"build_commit,n_prompt\n", "0 tests"),
        (b'build_commit,n_prompt\n"a","1"x\n', "expected after"),
        (b" " * ((16 << 20) + 1), "more than 16 MiB"),
    ],
)
def test_what_is_no_such_file_is_refused(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    path.write_bytes(content)
    with pytest.raises(SpecError, match="not what llama-bench writes") as caught:
        read(path)
    assert said in caught.value.message
    assert len(caught.value.message) < 300


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as caught:
        read(tmp_path / "none.json")
    assert caught.value.reason == "llama_bench_missing"
    assert caught.value.where == str(tmp_path / "none.json")


def entry(model: str, model_bytes: int | None = MODEL_BYTES) -> dict[str, Any]:
    return {"model": model, "engine": {"load": {"model_bytes": model_bytes}}}


def one(**fields: Any) -> BenchTest:
    return read(RECORDED / "ref-2m.json")[0]._replace(**fields)


@pytest.mark.parametrize(
    ("file", "size", "ours", "matches"),
    [
        ("ref-2m.q8_0.gguf", MODEL_BYTES, ["ref-2m.q8_0.gguf"], True),
        ("REF-2M.Q8_0.GGUF", MODEL_BYTES, ["ref-2m.q8_0.gguf"], True),
        ("model.gguf", MODEL_BYTES, ["ref-2m.q8_0.gguf"], False),
        ("model.gguf", MODEL_BYTES, ["q8/model.gguf", "tokenizer.json"], True),
        ("ref-2m.q8_0.gguf", MODEL_BYTES + 1, ["ref-2m.q8_0.gguf"], False),
        # As llama-bench's JSON writes a name in Korean: one escape a byte, cut off.
        ("\ufffff" * 3 + ".gguf", MODEL_BYTES, ["모.gguf"], True),
        ("모.gguf", MODEL_BYTES, ["모.gguf"], True),
    ],
)
def test_a_file_is_a_models_by_name_and_size(
    file: str, size: int, ours: list[str], matches: bool
) -> None:
    models = [{"id": "ours", "sha256": dict.fromkeys(ours, "0a")}]
    (row,) = beside([one(file=file, model_bytes=size)], [entry("ours")], models)
    assert row["model"] == ("ours" if matches else "")


def test_a_tuned_entry_has_the_same_file() -> None:
    models = [{"id": name, "sha256": {"a.gguf": "0a"}} for name in ("a", "a.tuned")]
    rows = beside([one(file="a.gguf")], [entry("a"), entry("a.tuned")], models)
    assert [row["model"] for row in rows] == ["a", "a.tuned"]


def test_without_an_engine_of_ours_nothing_matches() -> None:
    entries = [{"model": "a.gguf", "engine": {}}, entry("a.gguf", None)]
    assert beside([one(file="a.gguf")], entries, [])[0]["model"] == ""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose kernel cases are those of the recorded file, on the same artefact."""
    folder = tmp_path_factory.mktemp("results") / "20261123T081500Z-a1b2c3"
    folder.mkdir()
    used = strategies.profile(
        suites=Suites(kernel=KernelSuite(prompt_tokens=64, output_tokens=16, depths=(0, 128)))
    )
    candidates = [strategies.Candidate(id=name) for name in ("ref-2m.q8_0.gguf", "other.gguf")]
    records = strategies.records(candidates, used)
    for record in records:
        if record["type"] == "engine":
            own = record["model"] == "ref-2m.q8_0.gguf"
            record["load"] = {"model_bytes": MODEL_BYTES if own else 1}
    writer = JournalWriter(folder / "records.jsonl")
    writer.append(*records)
    writer.close()
    return folder


def card_of(run: Path, *files: Path) -> dict[str, Any]:
    card = runs.write_scorecard(run)
    return card | llama_bench.imported(files, card, run)


def test_the_ratio_is_of_our_mean_to_theirs(run: Path) -> None:
    card = card_of(run, RECORDED / "ref-2m.json")
    view = reading.read(card)
    own = {bench.test: bench.tok_per_s for row in view.rows for bench in row.compat.llama_bench}
    table = figures.kernel(view)
    (group,) = (group for group in table.groups if group.title.text == "ref-2m.q8_0.gguf")
    theirs = [line for line in group.lines if line.figures[-1].text.startswith("llama-bench")]
    assert [line.name.text for line in theirs] == NAMES
    for line, fields in zip(theirs, recorded(), strict=True):
        median, mean, n, threads, ratio, source = (figure.text for figure in line.figures)
        assert (median, n, threads) == (words.DASH, "3", "2")
        assert mean == f"{fields['avg_ts']:.2f} ± {fields['stddev_ts']:.2f}"
        expected = own[line.name.text] / fields["avg_ts"]
        assert float(ratio.removesuffix("x")) == pytest.approx(expected, rel=5e-3)
        assert source == "llama-bench 0c1e570 (1)"
    ours = [line for line in group.lines if line not in theirs]
    assert [line.figures[-1].text for line in ours] == ["harness"] * 4


def test_a_test_that_we_did_not_run_has_no_ratio(run: Path, tmp_path: Path) -> None:
    card = card_of(run, changed(tmp_path, n_prompt=4096))
    table = figures.kernel(reading.read(card))
    (line,) = (line for group in table.groups for line in group.lines if line.name.text == "pp4096")
    assert line.figures[-2].text == words.DASH


def test_a_file_of_no_model_of_ours_stands_apart(run: Path, tmp_path: Path) -> None:
    card = card_of(run, changed(tmp_path, model_filename="C:\\models\\theirs.gguf"))
    table = figures.kernel(reading.read(card))
    assert [group.title.text for group in table.groups][-1] == "theirs.gguf"
    text = markdown.render(card)
    assert "## llama-bench: our figures and imported ones (never ranked)" in text
    assert "| theirs.gguf | pp64 |" in text


def test_imported_rows_change_nothing_else(run: Path) -> None:
    plain = runs.write_scorecard(run)
    before = (run / "scorecard.json").read_bytes()
    with_file = card_of(run, RECORDED / "ref-2m.json")
    assert (run / "scorecard.json").read_bytes() == before
    assert {k: v for k, v in with_file.items() if k != "imported"} == plain


def test_csv_holds_imported_rows_by_our_names_and_without_a_rank(run: Path) -> None:
    view = reading.read(card_of(run, RECORDED / "ref-2m.csv"))
    rows = list(csv.DictReader(io.StringIO(csv_form.render(view).decode("utf-8-sig"))))
    theirs = [row for row in rows if row["source"] != "harness"]
    assert [(row["case"], row["metric"]) for row in theirs] == [
        ("pp64", "kernel_pp_tok_per_s"),
        ("tg16", "kernel_tg_tok_per_s"),
        ("pp64@d128", "kernel_pp_tok_per_s"),
        ("tg16@d128", "kernel_tg_tok_per_s"),
    ]
    ours = {(row["model"], row["case"], row["metric"]) for row in rows if row not in theirs}
    for row in theirs:
        assert (row["model"], row["case"], row["metric"]) in ours
        assert (row["rank"], row["n"], row["unit"]) == ("", "", "tok/s")


@pytest.mark.parametrize("lang", ["ko", "en"])
def test_the_command_writes_them_into_page_and_text(run: Path, lang: str, run_harness: Any) -> None:
    done = run_harness(
        "report", run, "--llama-bench", RECORDED / "ref-2m.jsonl", "--lang", lang, "--json"
    )
    reports = [Path(path) for path in json.loads(done.stdout.splitlines()[-1])["reports"]]
    assert [path.name for path in reports] == ["scorecard.md", "report.html"]
    for path in reports:
        assert "llama-bench 0c1e570 (1)" in path.read_text("utf-8")


def test_the_command_refuses_another_file_with_its_reason(
    run: Path, tmp_path: Path, run_harness: Any
) -> None:
    path = tmp_path / "table.md"
    shutil.copy(Path(__file__), path)
    done = run_harness("report", run, "--llama-bench", path, "--json", check=2)
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["reason"] == "llama_bench_unreadable"
    assert "allowed: the output of llama-bench -o json, jsonl or csv" in done.stderr
