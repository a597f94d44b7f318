"""`harness models` as a user types it, against a server on loopback."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness import cli_models
from harness.cli import cli
from harness.errors import HarnessError
from harness.specfile import load_catalogue
from tests.conftest import Harness, interruptible
from tests.models.hub_server import COMMIT, REPO, Hub, serving, sha256

WEIGHTS = b"GGUF" + b"\x03" + bytes(500_000)
FILES = {"toy.gguf": WEIGHTS, "config.json": b"{}", "model.safetensors": b"x"}
TEXT = f"""\
models:   # what is measured
  - id: toy.q4_0.gguf
    family: toy
    format: gguf
    quantisation: q4_0
    source:
      kind: hub
      repo: {REPO}   # by its maker
      files: [toy.gguf, config.json]
    licence: CC-BY-NC-4.0
    commercial: false
  - {{id: gone.q4_0.gguf, family: gone, format: gguf, quantisation: q4_0, source: {{kind: hub, repo: a/b, files: [b.gguf]}}}}
  - {{id: ref-2m.q8_0.gguf, family: ref-2m, format: gguf, quantisation: q8_0, source: embedded, licence: Apache-2.0, commercial: true}}
  - id: own.q4_0.gguf
    family: own
    format: gguf
    quantisation: q4_0
    source: {{kind: file, path: own.gguf, sha256: {{own.gguf: {sha256(WEIGHTS)}}}}}
sets:
  all: [toy.q4_0.gguf, gone.q4_0.gguf]
"""  # noqa: E501


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.chdir(tmp_path)
    Path("models.yaml").write_text(TEXT)
    Path("own.gguf").write_bytes(WEIGHTS)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with serving(Hub(commits={COMMIT: dict(FILES)})) as found:
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        yield found


def typed(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["models", *arguments])


def last_json(result: Result) -> dict[str, object]:
    found = json.loads(result.stdout.splitlines()[-1])
    assert isinstance(found, dict)
    return found


def test_from_pull_to_verify(server: Hub) -> None:
    done = typed("pull", "toy.q4_0.gguf")
    assert done.exit_code == 0
    assert COMMIT in done.stdout
    assert f"toy.gguf: 488 KiB, sha256 {sha256(WEIGHTS)}" in done.stderr
    assert "not pinned" in done.stderr
    assert "next: harness models pin toy.q4_0.gguf" in done.stderr
    checked = typed("verify", "toy.q4_0.gguf")
    assert (checked.exit_code, "not pinned" in checked.stdout) == (3, True)
    assert "next: harness models pin toy.q4_0.gguf" in checked.stderr

    shown = typed("pin", "toy.q4_0.gguf", "--dry-run")
    assert f"+      revision: {COMMIT}\n" in shown.stdout
    assert Path("models.yaml").read_text() == TEXT
    assert typed("pin", "toy.q4_0.gguf").exit_code == 0
    written = Path("models.yaml").read_text().splitlines()
    assert [line for line in written if line not in TEXT.splitlines()] == [
        f"      revision: {COMMIT}",
        "      sha256:",
        f"        toy.gguf: {sha256(WEIGHTS)}",
        f"        config.json: {sha256(b'{}')}",
    ]
    again = last_json(typed("pin", "toy.q4_0.gguf", "--json"))
    assert (again["status"], again["changed"]) == ("ok", False)

    checked = typed("verify", "toy.q4_0.gguf", "own.q4_0.gguf")
    assert checked.exit_code == 0, checked.output
    assert checked.stdout.count("ok  ") == 3
    pulled = last_json(typed("pull", "toy.q4_0.gguf", "--json"))["models"]
    assert pulled[0]["pinned"] is True  # type: ignore[index]


def test_verify_names_what_changed(server: Hub) -> None:
    typed("pull", "toy.q4_0.gguf")
    typed("pin", "toy.q4_0.gguf")
    source = load_catalogue("models.yaml").models["toy.q4_0.gguf"].source
    blob = next(Path("cache").rglob(f"blobs/{source.sha256['toy.gguf']}"))
    blob.write_bytes(WEIGHTS[:-1] + b"!")
    done = typed("verify", "toy.q4_0.gguf", "--json")
    assert done.exit_code == 3
    found = last_json(done)
    assert (found["status"], found["reason"]) == ("error", "not_as_pinned")
    files = {file["name"]: file for file in found["models"][0]["files"]}  # type: ignore[index]
    assert files["config.json"]["state"] == "ok"
    assert files["toy.gguf"]["state"] == "changed"
    assert files["toy.gguf"]["expected"] == sha256(WEIGHTS)
    assert "next: harness models pull toy.q4_0.gguf" in done.stderr
    # Without a name: what is here. The embedded model and the own file are right.
    everything = last_json(typed("verify", "--json"))["models"]
    assert [entry["id"] for entry in everything] == [  # type: ignore[attr-defined]
        "toy.q4_0.gguf", "ref-2m.q8_0.gguf", "own.q4_0.gguf",
    ]  # fmt: skip
    Path("own.gguf").unlink()
    gone = typed("verify", "own.q4_0.gguf")
    assert "missing    own.q4_0.gguf  own.gguf" in gone.stdout
    assert "next: put the right files of own.q4_0.gguf at own.gguf" in gone.stderr


def test_what_is_refused_is_not_passed_over_when_all_is_verified(
    server: Hub, tmp_path: Path
) -> None:
    typed("pull", "toy.q4_0.gguf")
    typed("pin", "toy.q4_0.gguf")
    assert typed("verify").exit_code == 0
    (tmp_path / "secret").write_text("{}")
    link = next(Path("cache").rglob("snapshots/*/config.json"))
    link.unlink()
    link.symlink_to(tmp_path / "secret")
    done = typed("verify")
    assert done.exit_code == 2
    assert "out of its repository" in done.stderr
    link.unlink()
    Path("own.gguf").write_bytes(b"")
    done = typed("verify")
    assert done.exit_code == 2
    assert "own.gguf: the file is empty" in done.stderr


def test_nothing_to_verify_is_said(server: Hub) -> None:
    Path("models.yaml").write_text(TEXT.split("  - {id: ref-2m", maxsplit=1)[0])
    done = typed("verify")
    assert "no model of models.yaml is here: nothing was hashed" in done.stderr


def test_a_file_without_hashes_is_never_right(server: Hub) -> None:
    Path("models.yaml").write_text(TEXT.replace(f", sha256: {{own.gguf: {sha256(WEIGHTS)}}}", ""))
    done = typed("verify", "own.q4_0.gguf")
    assert (done.exit_code, "not pinned own.q4_0.gguf" in done.stdout) == (3, True)
    line = f"sha256: {{own.gguf: {sha256(WEIGHTS)}}}"
    assert f"next: write into the source of own.q4_0.gguf: {line}" in done.stderr
    Path("own.gguf").unlink()
    done = typed("verify", "own.q4_0.gguf")
    assert (done.exit_code, "missing    own.q4_0.gguf  own.gguf" in done.stdout) == (3, True)


def test_one_failure_does_not_keep_the_others(server: Hub) -> None:
    done = typed("pull", "--set", "all", "--json")
    assert done.exit_code == 3
    found = last_json(done)
    assert [entry["id"] for entry in found["models"]] == ["toy.q4_0.gguf"]  # type: ignore[attr-defined]
    (fault,) = found["failed"]  # type: ignore[misc]
    assert (fault["id"], fault["reason"]) == ("gone.q4_0.gguf", "repository_unknown")
    assert "next:" in done.stderr
    alone = typed("pull", "gone.q4_0.gguf")
    assert isinstance(alone.exception, HarnessError)
    assert "nothing to do" in typed("pull", "ref-2m.q8_0.gguf").stderr


def test_a_licence_is_no_markup_of_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    row = ("m", "file", "x", "here", "", "", "[/x] [red]y \x1b[31m", "read the licence", "")
    cli_models._show_table([row])
    shown = capsys.readouterr().out
    assert "[/x] [red]y" in shown
    assert "\x1b[31m" not in shown


def test_models_have_to_be_named(server: Hub) -> None:
    for command in ("pull", "pin"):
        shown = typed(command).stderr
        assert "Name models, or a set with --set." in shown
        assert "allowed: ids, or --set with one of all" in shown
        assert "next: harness models list" in shown
        assert typed(command, "toy.q4_0.gguf", "--set", "all").exit_code == 2


def test_a_set_of_random_weights_is_not_pulled_but_made(server: Hub) -> None:
    source = "{kind: synthetic, shape: smollm2-135m}"
    entry = (
        "{id: s.q4_0.gguf, family: s, format: gguf, quantisation: q4_0, synthetic: true, source: "
    )
    Path("models.yaml").write_text(f"models:\n  - {entry}{source}}}\n")
    shown = typed("pull", "s.q4_0.gguf").stderr
    assert "to make it: harness models synth smollm2-135m --quant q4_0 --format gguf" in shown


def test_a_change_of_a_file_without_a_last_line_end_is_shown_in_lines(server: Hub) -> None:
    entry = TEXT.split("    licence", maxsplit=1)[0].rstrip()
    Path("models.yaml").write_text(entry)
    shown = typed("pin", "toy.q4_0.gguf", "--dry-run").stdout
    assert "\n\\ No newline at end of file\n" in shown
    assert shown.endswith("\n")


def test_an_interrupted_pull_keeps_what_has_come(server: Hub) -> None:
    """Ctrl-C: the next command is named, and the next pull goes on."""
    weights = b"GGUF" + bytes(4 << 20)
    server.commits = {COMMIT: {"toy.gguf": weights, "config.json": b"{}"}}
    server.rate = 4 << 20
    command = [sys.executable, "-m", "harness", "models", "pull", "toy.q4_0.gguf"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, preexec_fn=interruptible
    ) as child:
        deadline = time.monotonic() + 20
        while not _part_bytes() and child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        child.send_signal(signal.SIGINT)
        _, shown = child.communicate(timeout=20)
    assert child.returncode == 130
    assert "interrupted; what has come is kept\n  next: the same command again" in shown
    assert _part_bytes(), "steps are smaller than the client's 10 MiB"
    server.rate = 0
    server.asked.clear()
    assert typed("pull", "toy.q4_0.gguf").exit_code == 0
    assert any("range" in headers for *_, headers in server.asked)


def _part_bytes() -> int:
    return sum(part.stat().st_size for part in Path("cache").rglob("*.harness.incomplete"))


def test_the_list_shows_what_matters(server: Hub) -> None:
    rows = {line.split()[0]: line for line in typed("list").stdout.splitlines()}
    assert "NON-COMMERCIAL" in rows["toy.q4_0.gguf"]
    assert " pull " in rows["toy.q4_0.gguf"]
    assert "not pinned" in rows["toy.q4_0.gguf"]
    assert "read the licence" in rows["gone.q4_0.gguf"]
    assert "488 KiB" in rows["own.q4_0.gguf"]
    assert " pinned " in rows["own.q4_0.gguf"]
    assert list(rows) == ["toy.q4_0.gguf", "gone.q4_0.gguf", "ref-2m.q8_0.gguf", "own.q4_0.gguf"]
    assert typed("list", "--commercial").stdout.split()[0] == "ref-2m.q8_0.gguf"
    typed("pull", "toy.q4_0.gguf")
    first = last_json(typed("list", "--json"))["models"][0]  # type: ignore[index]
    assert (first["here"], first["pinned"], first["sets"]) == (True, False, ["all"])
    assert first["size_bytes"] == len(WEIGHTS) + 2


def test_the_whole_command(
    server: Hub, run_harness: Harness, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In a process of its own: message, code and JSON of a failure; then a run's hint."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    done: subprocess.CompletedProcess[str] = run_harness(
        "models", "pull", "toy.q4_0.gguf", "--json", check=3
    )
    assert json.loads(done.stdout.splitlines()[-1])["reason"] == "no_network"
    assert "next: connect this machine" in done.stderr
