"""`harness models check` and `unpack`, as a user types them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tests.conftest import Harness
from tests.preflight.forged import model, u32, write


def test_a_line_a_model(run_harness: Harness, tmp_path: Path) -> None:
    good = write(tmp_path / "good.gguf", model())
    bad = write(tmp_path / "bad.gguf", model(llama__block_count=u32(513)))
    done = run_harness("models", "check", good)
    assert done.stdout == f"ok       {good}\n"
    done = run_harness("models", "check", good, bad, tmp_path / "absent", check=2)
    first, second, third = done.stdout.splitlines()
    assert first == f"ok       {good}"
    assert second == (
        f"refused  gguf_number: {bad}: 'llama.block_count': 513, not 1 to 512 "
        "(rule: hyperparameters in the range that networks have)"
    )
    assert third.startswith("refused  model_missing")


def test_verdicts_as_json(run_harness: Harness, tmp_path: Path) -> None:
    good = write(tmp_path / "good.gguf", model())
    bad = write(tmp_path / "bad.gguf", b"GGML" + bytes(40))
    done = run_harness("models", "check", good, bad, "--json", check=2)
    right, wrong = json.loads(done.stdout)["verdicts"]
    assert right["ok"] is True
    assert right["facts"]["context"] == 128
    assert (wrong["ok"], wrong["reason"]) == (False, "gguf_magic")
    assert wrong["where"] == f"{bad}: byte 0"
    assert wrong["rule"] == "a file that begins with GGUF"


def test_an_archive_is_unpacked_then_checked(run_harness: Harness, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    write(tmp_path / "source" / "m.gguf", model())
    packed = Path(shutil.make_archive(str(tmp_path / "sent"), "zip", tmp_path / "source"))
    done = run_harness("run", "--model", packed, check=2)
    assert f"harness models unpack {packed} FOLDER" in done.stderr
    done = run_harness("models", "unpack", packed, tmp_path / "here", child=True)
    assert done.stdout == f"unpacked: 1\nnext: harness models check {tmp_path / 'here'}\n"
    run_harness("models", "check", tmp_path / "here" / "m.gguf")
    done = run_harness("models", "unpack", packed, tmp_path / "here", check=3, child=True)
    assert "there already" in done.stderr
    done = run_harness("models", "unpack", packed, tmp_path / "new", "--json", child=True)
    assert json.loads(done.stdout) == {"folder": str(tmp_path / "new"), "files": 1}


def test_a_refused_model_ends_a_run_with_its_rule(run_harness: Harness, tmp_path: Path) -> None:
    bad = write(tmp_path / "bad.gguf", model(llama__block_count=u32(513)))
    done = run_harness("run", "--model", bad, "--dry-run", check=2)
    assert f"{bad}: 'llama.block_count': 513, not 1 to 512" in done.stderr
    assert "allowed: hyperparameters in the range that networks have" in done.stderr
