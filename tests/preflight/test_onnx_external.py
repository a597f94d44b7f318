"""28 escapes by external data: none opens a file outside the folder, and honest ones pass."""

from __future__ import annotations

import ctypes
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from onnx import helper

from harness.errors import SpecError
from harness.preflight.onnx import check
from tests.preflight.graphs import CARRIERS, model, outside, save, weight

LINUX = sys.platform == "linux"
SECRET = b"canary" * 12

ONLY_POSIX = pytest.mark.skipif(sys.platform == "win32", reason="links and FIFOs of POSIX")


def _symbolic(folder: Path, secret: Path) -> str:
    (folder / "weights").symlink_to(secret)
    return "weights"


def _parent(folder: Path, secret: Path) -> str:
    (folder / "data").symlink_to(secret.parent)
    return f"data/{secret.name}"


def _hard(folder: Path, secret: Path) -> str:
    # The only way of these by which ONNX Runtime 1.32 alone reads the secret, in all four
    # carriers: it compares paths after resolving them, and this one has nothing to resolve.
    (folder / "weights").hardlink_to(secret)
    return "weights"


def _fifo(folder: Path, secret: Path) -> str:
    os.mkfifo(folder / "weights")  # who opens it, waits for ever
    return "weights"


def _nested(folder: Path, secret: Path) -> str:
    (folder / "sub").mkdir()
    return f"sub/../../{secret.parent.name}/{secret.name}"


ESCAPES: dict[str, Callable[[Path, Path], str]] = {
    "absolute": lambda folder, secret: str(secret),
    "parent": lambda folder, secret: f"../{secret.parent.name}/{secret.name}",
    "symbolic_link": _symbolic,
    "link_to_folder": _parent,
    "hard_link": _hard,
    "fifo": _fifo,
    "nested": _nested,
    "proc": lambda folder, secret: "/proc/self/environ",
    "url": lambda folder, secret: f"file://{secret}",
    "memory": lambda folder, secret: "*/_ORT_MEM_ADDR_/*",
}

JUDGE = """
import json, sys
from pathlib import Path
opened = []
sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" else None)
from harness.errors import SpecError
from harness.preflight.onnx import check
found = {}
for graph in map(Path, sys.argv[1:]):
    opened.clear()
    try:
        found[str(graph)] = ["accepted", check(graph, graph.parent)]
    except SpecError as error:
        found[str(graph)] = [error.reason, str(error)]
    found[str(graph)].append([p for p in opened if not p.endswith((".py", ".pyc", ".so"))])
print(json.dumps(found))
"""


class Watched:
    """Counts openings of one file by any name and any process, as the kernel sees them."""

    def __init__(self, path: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.handle = libc.inotify_init1(os.O_NONBLOCK)
        opened, read = 0x20, 0x1
        assert libc.inotify_add_watch(self.handle, os.fsencode(path), opened | read) > 0

    def events(self) -> int:
        try:
            data = os.read(self.handle, 65536)
        except BlockingIOError:
            return 0
        return len(data) // struct.calcsize("iIII")


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], list[object]]:
    """All escapes in all carriers, judged by one child while the secret is watched."""
    root = tmp_path_factory.mktemp("escapes")
    secret = root / "private" / "secret.bin"
    secret.parent.mkdir()
    secret.write_bytes(SECRET)
    places: dict[str, tuple[str, str]] = {}
    for way, prepare in ESCAPES.items():
        for carrier, build in CARRIERS.items():
            folder = root / f"{way}-{carrier}"
            folder.mkdir()
            values = outside(weight(), prepare(folder, secret), offset=0, length=64)
            places[str(save(folder, build(values)))] = (way, carrier)
    watched = Watched(secret) if LINUX else None
    done = subprocess.run(
        [sys.executable, "-P", "-c", JUDGE, *places],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert watched is None or watched.events() == 0  # 0 bytes read outside, by any way
    if watched:
        secret.read_bytes()
        assert watched.events() > 0, "the watch sees nothing"
    return {places[path]: found for path, found in json.loads(done.stdout).items()}


@ONLY_POSIX
@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("way", ESCAPES)
def test_no_carrier_leads_outside(
    verdicts: dict[tuple[str, str], list[object]], way: str, carrier: str
) -> None:
    reason, message, opened = verdicts[way, carrier]
    linked = way in {"symbolic_link", "link_to_folder", "hard_link", "fifo"}
    assert reason == ("onnx_external_link" if linked else "onnx_external_path"), message
    assert isinstance(opened, list)
    assert all(name.endswith(f"{way}-{carrier}/model.onnx") for name in opened)


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("location", ["weights.bin", "data/model.onnx_data"])
def test_honest_external_data_pass(tmp_path: Path, carrier: str, location: str) -> None:
    file = tmp_path / location
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(bytes(128))
    values = outside(weight(), location, offset=64, length=64)
    assert check(save(tmp_path, CARRIERS[carrier](values)), tmp_path)["synthetic"] is False


@ONLY_POSIX
def test_a_hubs_cache_links_to_its_own_blobs_only(tmp_path: Path) -> None:
    commit = tmp_path / "models--a--b" / "snapshots" / ("0123456789" * 4)
    (commit / "onnx").mkdir(parents=True)
    for blobs in ("models--a--b/blobs", "models--a--c/blobs"):
        (tmp_path / blobs).mkdir(parents=True)
        (tmp_path / blobs / "e5").write_bytes(bytes(64))
    made = CARRIERS["initialiser"](outside(weight(), "weights"))
    save(tmp_path / "models--a--b" / "blobs", made)
    graph = commit / "onnx" / "model.onnx"
    graph.symlink_to("../../../blobs/model.onnx")
    (commit / "onnx" / "weights").symlink_to("../../../blobs/e5")
    check(graph, commit)
    (commit / "onnx" / "weights").unlink()
    (commit / "onnx" / "weights").symlink_to("../../../../models--a--c/blobs/e5")
    with pytest.raises(SpecError, match="'weights' is not a regular file") as caught:
        check(graph, commit)
    assert caught.value.reason == "onnx_external_link"


@pytest.mark.parametrize(
    ("entries", "reason", "words"),
    [
        ({"location": "missing"}, "onnx_external_missing", "'missing' is not there"),
        ({"offset": 65}, "onnx_external_range", "bytes 65 to 129 of 'weights', which has 128"),
        ({"offset": 2**63}, "onnx_external_range", "which has 128"),
        ({"offset": "-1"}, "onnx_external_range", "the offset '-1'"),
        ({"offset": "0x10"}, "onnx_external_range", "the offset '0x10'"),
        ({"length": 63}, "onnx_external_range", "63 bytes of external data for a tensor of 64"),
        ({"prepacked_0": "a|0|64"}, "onnx_external", "an unknown key 'prepacked_0'"),
        ({"location": ""}, "onnx_external_path", "an empty, dotted or padded part"),
        ({"location": "CON.bin"}, "onnx_external_path", "a device on Windows"),
        ({"location": "a\\..\\b"}, "onnx_external_path", "has a '\\'"),
        ({"location": "C:weights"}, "onnx_external_path", "':'"),
        ({"location": "%2e%2e/b"}, "onnx_external_path", "'%'"),
        ({"location": "~/b"}, "onnx_external_path", "'~'"),
        ({"location": "weights "}, "onnx_external_path", "padded part"),
        ({"location": "a\0b"}, "onnx_external_path", "characters that systems treat differently"),
        ({"location": "a/" * 101}, "onnx_external_path", "too long"),
        ({"location": "folder"}, "onnx_external_link", "not a regular file"),
    ],
)
def test_places_that_no_exporter_writes(
    tmp_path: Path, entries: dict[str, object], reason: str, words: str
) -> None:
    (tmp_path / "weights").write_bytes(bytes(128))
    (tmp_path / "folder").mkdir()
    entries = {"location": "weights", **entries}
    values = outside(weight(), str(entries.pop("location")), **entries)
    with pytest.raises(SpecError) as caught:
        check(save(tmp_path, CARRIERS["initialiser"](values)), tmp_path)
    assert caught.value.reason == reason
    assert words in caught.value.message
    assert "model.onnx: tensor 'w', byte " in caught.value.where


def test_another_engines_cache_is_no_operator_of_ours(tmp_path: Path) -> None:
    made = model()
    node = helper.make_node(
        "EPContext", ["x"], ["z"], domain="com.microsoft", ep_cache_context="../secret.bin"
    )
    made.graph.node.append(node)
    with pytest.raises(SpecError, match="'EPContext' of domain") as caught:
        check(save(tmp_path, made), tmp_path)
    assert caught.value.reason == "onnx_operator"
