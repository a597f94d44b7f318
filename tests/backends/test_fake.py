"""The fake engine: exact time on either clock, and every fault that its file can ask for."""

from __future__ import annotations

import itertools
import json
import mmap
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from harness.backends.fake import FakeBackend
from harness.errors import BackendError
from harness.spec import BackendOptions
from tests.conftest import FakeModel

OPTIONS = BackendOptions(threads=1)
LOAD = """
import sys
from pathlib import Path
from harness.backends.fake import FakeBackend
from harness.spec import BackendOptions
backend = FakeBackend()
backend.load(Path(sys.argv[1]), BackendOptions(threads=1))
print("loaded", flush=True)
backend.prefill([1, 2])
print("prefilled", flush=True)
backend.step(3)
"""


def load(path: Path) -> FakeBackend:
    backend = FakeBackend()
    backend.load(path, OPTIONS)
    return backend


def in_child(path: Path, timeout: float = 20) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", LOAD, str(path)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def test_virtual_time_is_exact(fake_model: FakeModel) -> None:
    path = fake_model(load_s=2, prefill_s_per_token=0.001, step_s=0.01, slow_steps={"1": 0.5})
    started = time.perf_counter()
    backend = load(path)
    assert backend.now_ns() == 2_000_000_000
    backend.prefill([1] * 300)
    assert backend.now_ns() == 2_300_000_000
    ends = []
    for _ in range(3):
        backend.step(5)
        ends.append(backend.now_ns() - 2_300_000_000)
    assert ends == [10_000_000, 510_000_000, 520_000_000]
    backend.reset()
    backend.step(5)
    backend.step(5)
    assert backend.now_ns() == 3_330_000_000, "slow steps are counted from the reset"
    assert time.perf_counter() - started < 1


def test_real_time_meets_its_deadlines(fake_model: FakeModel) -> None:
    backend = load(fake_model(clock="real", step_s=0.005, truth="truth.jsonl"))
    for _ in range(5):
        started = time.perf_counter_ns()
        backend.step(5)
        assert time.perf_counter_ns() - started >= 5_000_000
    assert abs(backend.now_ns() - time.perf_counter_ns()) < 10**9
    backend.close()


def test_truth_is_written_on_close(fake_model: FakeModel, tmp_path: Path) -> None:
    backend = load(fake_model(prefill_s_per_token=0.5, truth="truth.jsonl"))
    backend.prefill([1, 2, 3])
    backend.close()
    lines = [json.loads(line) for line in (tmp_path / "truth.jsonl").read_text().splitlines()]
    assert lines[1] == {"kind": "prefill", "tokens": 3, "start_ns": 0, "end_ns": 1_500_000_000}


def test_logits_follow_the_seed_and_the_sequence(fake_model: FakeModel) -> None:
    first, second = load(fake_model(seed=1)), load(fake_model("other", seed=2))
    rows = [backend.extend(backend.root(), [3, 4], [0, 1]) for backend in (first, second)]
    assert (rows[0] != rows[1]).all()
    assert (rows[0][0] != rows[0][1]).all()
    assert abs(rows[0][:, :256]).max() <= 4
    # The same on every platform, for ever: recorded runs of tests depend on it.
    first.reset()
    assert first.prefill(list(b"abc")).next_id == 22


def test_end_of_text_comes_only_where_it_is_let(fake_model: FakeModel) -> None:
    never, always = load(fake_model()), load(fake_model("ends", eos_bias=100))
    assert all(never.step(token % 256).next_id != 256 for token in range(2000))
    assert always.prefill([1]).next_id == 256


def test_naive_adapter_is_caught(fake_model: FakeModel) -> None:
    backend = load(fake_model(reuse_prefix=True, prefill_s_per_token=1))
    ids = [5, 6, 7, 8]
    assert backend.prefill(ids).evaluated == 4
    backend.reset()
    assert backend.prefill(ids).evaluated == 1
    backend.reset()
    assert backend.prefill([5, 6, 9, 9]).evaluated == 2
    assert backend.now_ns() == 7_000_000_000, "it is as fast as it claims"


def test_a_chunk_is_evaluated_and_counted_honestly(fake_model: FakeModel) -> None:
    backend = load(fake_model(chunk_tokens=3, step_s=0.01, context=8))
    backend.prefill([1, 2])
    assert backend.step(5).evaluated == 3
    assert backend.now_ns() == 10_000_000, "the time of one token"
    assert backend.step(5).evaluated == 3
    with pytest.raises(BackendError, match="exceed the context of 8"):
        backend.step(5)


def test_a_chunk_goes_on_with_the_models_own_tokens(fake_model: FakeModel) -> None:
    honest, chunks = load(fake_model()), load(fake_model("chunks", chunk_tokens=3))
    token = honest.prefill([1, 2]).next_id
    for _ in range(3):
        token = honest.step(token).next_id
    assert chunks.step(chunks.prefill([1, 2]).next_id).next_id == token


@pytest.mark.parametrize("clock", ["virtual", "real"])
def test_an_early_return_is_paid_for_in_the_next_call(fake_model: FakeModel, clock: str) -> None:
    backend = load(fake_model(clock=clock, early_return=True, step_s=0.5))
    moments = [backend.now_ns()]
    for _ in range(2):
        backend.step(5)
        moments.append(backend.now_ns())
    backend.extend(backend.root(), [5], [0])
    moments.append(backend.now_ns())
    spans_s = [(after - before) / 1e9 for before, after in itertools.pairwise(moments)]
    least_s = [0.05, 0.5, 0.45]
    if clock == "virtual":
        assert spans_s == pytest.approx(least_s)
    else:
        assert all(span >= least for span, least in zip(spans_s, least_s, strict=True))
        assert spans_s[0] < 0.45, "most of the work is still to come"
    backend.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_child_holds_memory_until_the_model_is_closed(fake_model: FakeModel) -> None:
    size = 64 << 20
    before = resident()
    backend = load(fake_model(allocate_bytes=size, allocate_kind="child"))
    child = backend._ballast
    held = resident(child.pid)
    assert 0 < held - size < 16 << 20
    assert resident() - before < 8 << 20
    backend.close()
    assert child.returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_child_dies_with_a_killed_worker(fake_model: FakeModel) -> None:
    path = fake_model(allocate_bytes=1 << 20, allocate_kind="child", hang="prefill")
    command = [sys.executable, "-c", LOAD, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "loaded\n"
        (child,) = psutil.Process(worker.pid).children()
        worker.kill()
    child.wait(20)  # raises if it lives on


def test_load_failure_keeps_its_message(fake_model: FakeModel) -> None:
    with pytest.raises(BackendError, match="no such tensor") as caught:
        load(fake_model(fail_on_load="no such tensor"))
    assert "toy.fake.json" in str(caught.value)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to die of")
@pytest.mark.parametrize(
    ("at", "said"), [("load", ""), ("prefill", "loaded"), ("step", "loaded prefilled")]
)
def test_crash_ends_the_process(fake_model: FakeModel, at: str, said: str) -> None:
    done = in_child(fake_model(crash_signal={"at": at, "signal": "SIGSEGV"}))
    assert done.returncode == -signal.SIGSEGV
    assert " ".join(done.stdout.split()) == said


def test_hang_never_returns(fake_model: FakeModel) -> None:
    with pytest.raises(subprocess.TimeoutExpired) as caught:
        in_child(fake_model(hang="prefill"), timeout=2)
    assert caught.value.stdout is None or b"prefilled" not in caught.value.stdout


HOLD = """
import sys
from pathlib import Path
from harness.backends.fake import FakeBackend
from harness.spec import BackendOptions

def resident():
    return int(Path("/proc/self/statm").read_text("ascii").split()[1])

backend = FakeBackend()
before = resident()
backend.load(Path(sys.argv[1]), BackendOptions(threads=1))
held = resident() - before
backend.close()
print(held, resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", ["heap", "private", "shared", "transient"])
def test_memory_is_taken_and_kept(fake_model: FakeModel, kind: str) -> None:
    """In a process of its own: here others' rubbish is freed meanwhile."""
    size = 64 << 20
    command = [sys.executable, "-c", HOLD]
    command.append(str(fake_model(allocate_bytes=size, allocate_kind=kind)))
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    held, left = (int(pages) * mmap.PAGESIZE for pages in done.stdout.split())
    assert abs(held - (0 if kind == "transient" else size)) < 8 << 20
    assert abs(left) < 8 << 20


def resident(process: int | str = "self") -> int:
    pages = int(Path(f"/proc/{process}/statm").read_text("ascii").split()[1])
    return pages * mmap.PAGESIZE


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"step_ms": 3}, "unknown field 'step_ms'; did you mean 'step_s'?"),
        ({"clock": "sundial"}, "clock is 'sundial'"),
        ({"hang": "always"}, "hang is 'always'"),
        ({"allocate_kind": "attic"}, "allocate_kind is 'attic'"),
    ],
)
def test_wrong_fields_are_named(
    fake_model: FakeModel, fields: dict[str, object], message: str
) -> None:
    with pytest.raises(BackendError, match=r"toy\.fake\.json") as caught:
        load(fake_model(**fields))
    assert message in str(caught.value)
    assert "allowed: " in str(caught.value)


def test_only_an_object_is_a_model(tmp_path: Path) -> None:
    path = tmp_path / "list.fake.json"
    path.write_text("[1]", "utf-8")
    with pytest.raises(BackendError, match="a JSON object"):
        load(path)


def test_options_may_ask_for_less_context(fake_model: FakeModel) -> None:
    backend = FakeBackend()
    backend.load(fake_model(context=100), BackendOptions(threads=1, context=40))
    assert backend.context == 40
