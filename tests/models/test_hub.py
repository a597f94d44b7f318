"""Pulling through the real client from a real server, and what happens when it goes wrong."""

from __future__ import annotations

import os
import random
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import HarnessError, PrerequisiteError, SpecError
from harness.models import hub, hub_cache
from harness.models.inventory import verify
from harness.models.resolve import resolve
from harness.spec import Model, Source, file_sha256
from tests.models.hub_server import COMMIT, OTHER_COMMIT, REPO, Hub, serving, sha256
from tests.preflight import forged

WEIGHTS = forged.model(tail=random.Random(5).randbytes(1_000_000))
CONFIG = b'{"max_position_embeddings": 64}'
FILES = {"toy.gguf": WEIGHTS, "sub/config.json": CONFIG, "README.md": b"not asked for"}
PINNED = {"toy.gguf": sha256(WEIGHTS), "sub/config.json": sha256(CONFIG)}
TOKEN = "hf_" + "s" * 34


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with one repository, a cache of one's own, and smaller steps."""
    monkeypatch.setattr("harness.models.hub._STEP_BYTES", 1 << 16)
    for name in ("HF_HOME", "HF_HUB_OFFLINE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with serving(Hub(commits={COMMIT: dict(FILES), OTHER_COMMIT: dict(FILES)})) as found:
        monkeypatch.setenv("HF_ENDPOINT", found.url)
        yield found


def entry(*, pinned: bool = True, **source: object) -> Model:
    fields: dict[str, object] = {"repo": REPO, "files": tuple(PINNED)}
    if pinned:
        fields |= {"revision": COMMIT, "sha256": PINNED}
    return Model(
        id="toy.q4_0.gguf",
        family="toy",
        format="gguf",
        quantisation="q4_0",
        source=Source(kind="hub", **fields | source),  # type: ignore[arg-type]
    )


def quiet(_: str) -> None:
    """Nobody listens."""


def refused(model: Model, kind: type[HarnessError], reason: str) -> str:
    """The message of a pull that must not succeed."""
    with pytest.raises(kind) as caught:
        hub.pull(model, quiet)
    assert caught.value.reason == reason
    assert "harness models pull toy.q4_0.gguf" in caught.value.hint
    return str(caught.value)


# --- what should work -----------------------------------------------------------------------


def test_what_was_pulled_is_what_a_run_opens(server: Hub, tmp_path: Path) -> None:
    model = entry()
    with pytest.raises(PrerequisiteError) as caught:
        resolve(model, tmp_path)
    assert (caught.value.reason, caught.value.exit_code) == ("not_pulled", 3)
    assert caught.value.hint == "harness models pull toy.q4_0.gguf"
    assert server.asked == [], "a run never asks the hub"
    lines: list[str] = []
    done = hub.pull(model, lines.append)
    assert (done.commit, done.sha256) == (COMMIT, PINNED)
    assert [line.partition(":")[0] for line in lines] == ["toy.gguf", "sub/config.json"]
    assert not any("README" in path for *_, path, _ in server.asked)
    artefact = resolve(model, tmp_path)
    assert artefact.sha256 == PINNED
    assert artefact.path == str(done.folder / "toy.gguf"), "its name is kept"
    assert artefact.model.context == 128
    assert artefact.size_bytes == len(WEIGHTS) + len(CONFIG)
    server.asked.clear()
    assert hub.pull(model, lines.append) == done
    assert server.asked == [], "what is pinned, here and right needs nobody"
    assert not list((tmp_path / "cache").rglob("*.incomplete"))


def test_the_clients_own_tools_find_what_was_pulled(server: Hub) -> None:
    from huggingface_hub import scan_cache_dir, try_to_load_from_cache

    done = hub.pull(entry(), quiet)
    found = try_to_load_from_cache(
        REPO, "toy.gguf", cache_dir=os.environ["HF_HUB_CACHE"], revision=COMMIT
    )
    assert found == str(done.folder / "toy.gguf")
    (repo,) = scan_cache_dir(os.environ["HF_HUB_CACHE"]).repos
    assert repo.repo_id == REPO
    assert repo.size_on_disk == len(WEIGHTS) + len(CONFIG)


def test_an_entry_without_a_commit_is_found_as_it_was_pulled(server: Hub, tmp_path: Path) -> None:
    model = entry(pinned=False)
    done = hub.pull(model, quiet)
    assert done.commit == COMMIT
    server.main = OTHER_COMMIT
    assert resolve(model, tmp_path).path == str(done.folder / "toy.gguf")
    assert hub.pull(model, quiet).commit == OTHER_COMMIT, "pulling asks again"


def test_the_token_never_follows_a_redirect(server: Hub) -> None:
    server.cut_bytes, server.cuts = 300_000, 1
    hub.pull(entry(), quiet)
    asked = {
        host: [headers for place, *_, headers in server.asked if place == host]
        for host in ("hub", "storage")
    }
    assert all(headers["authorization"] == f"Bearer {TOKEN}" for headers in asked["hub"])
    assert len(asked["storage"]) == 2, "with and without Range"
    for headers in asked["storage"]:
        assert TOKEN not in str(headers)
        assert "authorization" not in headers


def test_a_cut_transfer_is_resumed(server: Hub) -> None:
    server.cut_bytes, server.cuts = 400_000, 1
    assert hub.pull(entry(), quiet).sha256 == PINNED
    ranges = [headers.get("range") for place, *_, headers in server.asked if place == "storage"]
    assert ranges == [None, "bytes=393216-"], "whole steps of 64 KiB"


def test_a_part_of_an_earlier_pull_is_resumed_or_dropped(server: Hub) -> None:
    blobs = hub_cache.repo_folder(REPO) / "blobs"
    blobs.mkdir(parents=True)
    part = blobs / f"{PINNED['toy.gguf']}.harness.incomplete"
    for there, first in (
        (WEIGHTS[:500_000], "bytes=500000-"),
        (b"x" * 500_000, "bytes=500000-"),
        (b"x" * 2_000_000, None),
        (WEIGHTS, None),
    ):
        part.write_bytes(there)
        server.asked.clear()
        assert hub.pull(entry(), quiet).sha256 == PINNED
        ranges = [headers.get("range") for place, *_, headers in server.asked if place == "storage"]
        # A wrong part costs its own transfer; then the file comes whole.
        assert ranges[:1] == ([] if there == WEIGHTS else [first])
        assert not part.exists()
        (blobs / PINNED["toy.gguf"]).unlink()


def test_a_server_without_ranges_starts_over(server: Hub) -> None:
    server.cut_bytes, server.cuts, server.ranges = 400_000, 1, False
    assert hub.pull(entry(), quiet).sha256 == PINNED


def test_waiting_when_asked_to(server: Hub) -> None:
    server.file_status, server.retry_after = 429, "0"
    assert hub.pull(entry(), quiet).sha256 == PINNED


# --- files that are not what they should be -------------------------------------------------


def cached() -> list[Path]:
    """Every file of the cache that somebody could open for a model."""
    folder = hub_cache.repo_folder(REPO)
    return [path for path in folder.rglob("*") if path.is_file() and path.name != "main"]


@pytest.mark.parametrize("pinned", [True, False])
@pytest.mark.parametrize("name", ["toy.gguf", "sub/config.json"])
def test_a_swapped_file_is_refused_and_removed(server: Hub, name: str, pinned: bool) -> None:
    good = FILES[name]
    server.swapped[name] = good[:-1] + b"\0"
    lines: list[str] = []
    with pytest.raises(SpecError) as caught:
        hub.pull(entry(pinned=pinned), lines.append)
    assert (caught.value.reason, caught.value.exit_code) == ("hash_mismatch", 2)
    text = str(caught.value)
    assert name in text
    assert REPO in text
    assert "harness models pull toy.q4_0.gguf" in text
    if name == "toy.gguf" or pinned:
        assert sha256(good) in text
        assert sha256(server.swapped[name]) in text
    assert all(path.read_bytes() != server.swapped[name] for path in cached())
    server.swapped.clear()
    assert hub.pull(entry(pinned=pinned), quiet).sha256 == PINNED


@pytest.mark.parametrize(
    ("sent", "reason"),
    [(WEIGHTS + b"more", "transfer_failed"), (WEIGHTS[:-7], "transfer_failed")],
    ids=["longer", "shorter"],
)
def test_a_file_of_another_size_is_refused(server: Hub, sent: bytes, reason: str) -> None:
    server.swapped["toy.gguf"] = sent
    refused(entry(), PrerequisiteError, reason)
    assert "toy.gguf" not in hub_cache.pulled(entry().source)
    server.swapped.clear()
    assert hub.pull(entry(), quiet).sha256 == PINNED


def test_a_part_longer_than_what_is_there_now_is_dropped(server: Hub) -> None:
    """HTTP 416: otherwise no later pull could ever succeed."""
    part = hub_cache.repo_folder(REPO) / "blobs" / f"{PINNED['toy.gguf']}.harness.incomplete"
    part.parent.mkdir(parents=True)
    part.write_bytes(WEIGHTS[:900_000])
    server.swapped["toy.gguf"] = WEIGHTS[:800_000]
    assert "HTTP 416" in refused(entry(), PrerequisiteError, "hub_failed")
    server.swapped.clear()
    assert hub.pull(entry(), quiet).sha256 == PINNED


def test_a_listing_with_another_hash_is_refused_before_any_byte(server: Hub) -> None:
    server.commits[COMMIT]["toy.gguf"] = WEIGHTS[::-1]
    text = refused(entry(), SpecError, "hash_mismatch")
    assert sha256(WEIGHTS[::-1]) in text
    assert PINNED["toy.gguf"] in text
    assert server.paths() == []


@pytest.mark.parametrize("keep_size", [True, False])
def test_a_file_that_changed_in_the_cache_is_fetched_again(
    server: Hub, tmp_path: Path, keep_size: bool
) -> None:
    done = hub.pull(entry(), quiet)
    damaged = WEIGHTS[:-1] + b"\0" if keep_size else WEIGHTS[:1000]
    (done.folder / "toy.gguf").resolve().write_bytes(damaged)
    with pytest.raises(SpecError) as caught:
        resolve(entry(), tmp_path)
    assert caught.value.reason == "hash_mismatch"
    assert caught.value.hint == "harness models pull toy.q4_0.gguf"
    found = {file.name: file for file in verify(entry(), tmp_path, file_sha256)}
    assert found["toy.gguf"].state == "changed"
    assert found["toy.gguf"].sha256 == sha256(damaged)
    lines: list[str] = []
    assert hub.pull(entry(), lines.append).sha256 == PINNED
    assert "removed, fetched again" in lines[0]
    assert (done.folder / "toy.gguf").read_bytes() == WEIGHTS


def test_links_end_in_their_repository(server: Hub, tmp_path: Path) -> None:
    done = hub.pull(entry(), quiet)
    outside = tmp_path / "outside.gguf"
    outside.write_bytes(WEIGHTS)
    link = done.folder / "toy.gguf"
    link.unlink()
    link.symlink_to(outside)
    with pytest.raises(SpecError, match="out of its repository") as caught:
        resolve(entry(), tmp_path)
    assert caught.value.reason == "link_escapes"
    assert str(outside) in str(caught.value)
    assert hub.pull(entry(), quiet).sha256 == PINNED
    assert outside.read_bytes() == WEIGHTS, "only the link was removed"
    assert resolve(entry(), tmp_path).sha256 == PINNED
    # Newer clients keep one copy for several repositories in a store of the same cache.
    store = hub_cache.cache_folder() / "blobs" / "ab" / "abc"
    store.parent.mkdir(parents=True)
    link.resolve().rename(store)
    link.unlink()
    link.symlink_to(store)
    assert resolve(entry(), tmp_path).sha256 == PINNED


# --- what the hub may answer ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code", "kind", "reason", "words"),
    [
        (401, "", PrerequisiteError, "access_denied", "HF_TOKEN"),
        (401, "GatedRepo", PrerequisiteError, "gated", "accept it on that page"),
        (403, "GatedRepo", PrerequisiteError, "gated", "gated"),
        (403, "", PrerequisiteError, "access_denied", "HF_TOKEN"),
        (404, "RepoNotFound", PrerequisiteError, "repository_unknown", "no repository"),
        (404, "RevisionNotFound", SpecError, "revision_unknown", f"no commit {COMMIT}"),
        (429, "", PrerequisiteError, "rate_limited", "wait some minutes"),
        (500, "", PrerequisiteError, "hub_failed", "HTTP 500"),
        (503, "", PrerequisiteError, "hub_failed", "HTTP 503"),
    ],
)
def test_each_refusal_has_its_next_step(
    server: Hub, status: int, code: str, kind: type[HarnessError], reason: str, words: str
) -> None:
    server.api_status, server.error_code = status, code
    assert words in refused(entry(), kind, reason)


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [(403, "", "access_denied"), (404, "EntryNotFound", "file_unknown"), (500, "", "hub_failed")],
)
def test_a_refused_file(server: Hub, status: int, code: str, reason: str) -> None:
    server.file_status, server.error_code = status, code
    refused(entry(), PrerequisiteError, reason)
    server.file_status = 200
    assert hub.pull(entry(), quiet).sha256 == PINNED


def test_names_that_the_repository_does_not_have(server: Hub) -> None:
    text = refused(entry(files=("toi.gguf",), sha256={}), SpecError, "file_unknown")
    assert "did you mean 'toy.gguf'?" in text
    assert f"no commit {'e' * 40}" in refused(
        entry(revision="e" * 40), SpecError, "revision_unknown"
    )
    other = entry(repo="maker/Other")
    assert "maker/Other" in refused(other, PrerequisiteError, "repository_unknown")


@pytest.mark.parametrize(
    "listing",
    [
        b"<html>log in</html>",
        b"[]",
        b'{"id": "a/b", "siblings": 3}',
        b'{"id": "a/b", "sha": "../../x", "siblings": []}',
        b'{"id": "a/b", "sha": "%s", "siblings": []}' % (b"f" * 40),
        b'{"id": "a/b", "sha": "%s", "siblings": [{"rfilename": "toy.gguf", "size": 3}]}'
        % COMMIT.encode(),
        b'{"id": "a/b", "sha": "%s", "siblings": [{"rfilename": "toy.gguf", "size": 3,'
        b' "blobId": "../../../etc/x"}]}' % COMMIT.encode(),
        b'{"id": "a/b", "sha": "%s", "siblings": [{"rfilename": "toy.gguf", "size": -3,'
        b' "blobId": "%s"}]}' % (COMMIT.encode(), b"a" * 40),
    ],
)
def test_what_is_no_hub_is_not_believed(server: Hub, listing: bytes) -> None:
    server.listing = listing
    assert "HF_ENDPOINT" in refused(entry(), PrerequisiteError, "hub_failed")
    assert cached() == []


def test_without_a_network(server: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "cannot be reached" in refused(entry(), PrerequisiteError, "no_network")
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    hub.pull(entry(), quiet)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert hub.pull(entry(), quiet).sha256 == PINNED, "all of it is here"
    refused(entry(pinned=False), PrerequisiteError, "offline")


def test_room_is_asked_for_before_any_byte(server: Hub) -> None:
    server.claimed["toy.gguf"] = 1 << 60
    text = refused(entry(), PrerequisiteError, "disk_full")
    assert "are to be fetched" in text
    assert "HF_HUB_CACHE=FOLDER" in text
    assert server.paths() == []


def test_a_disk_that_fills_up_meanwhile(server: Hub) -> None:
    """A limit on the size of files stands for the end of the disk: the same kind of error."""
    script = (
        "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "from harness.errors import HarnessError\n"
        "from harness.models import hub\n"
        "from tests.models.test_hub import entry\n"
        "try: hub.pull(entry(), print)\n"
        "except HarnessError as error: print(error.reason, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(Path(hub.__file__).parents[2])},
    )  # fmt: skip
    assert done.stdout.startswith("disk_full not enough room"[:9]), done.stdout + done.stderr
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    assert hub.pull(entry(), quiet).sha256 == PINNED


def test_a_cache_that_cannot_be_written(
    server: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "file" / "cache"))
    text = refused(entry(), PrerequisiteError, "cache_unusable")
    assert str(tmp_path / "file") in text
    assert "HF_HUB_CACHE=FOLDER" in text


def test_two_pulls_at_once_fetch_once(server: Hub) -> None:
    server.rate = 5_000_000
    found: list[hub.Pulled] = []
    threads = [
        threading.Thread(target=lambda: found.append(hub.pull(entry(), quiet))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [done.sha256 for done in found] == [PINNED, PINNED]
    assert len(server.paths()) == 1


# --- pin ------------------------------------------------------------------------------------


def test_pin_fetches_only_what_the_hub_has_no_sha256_of(server: Hub) -> None:
    found = hub.pin(entry(pinned=False), quiet)
    assert (found.commit, found.sha256) == (COMMIT, PINNED)
    assert server.paths() == [], "the weights stay where they are"
    server.main = OTHER_COMMIT
    assert hub.pin(entry(pinned=False), quiet).commit == OTHER_COMMIT
    assert hub.pin(entry(), quiet).commit == COMMIT, "a revision is kept"


def test_pin_never_replaces_a_hash(server: Hub) -> None:
    for name in PINNED:
        model = entry(sha256={**PINNED, name: "0" * 64})
        with pytest.raises(SpecError) as caught:
            hub.pin(model, quiet)
        assert caught.value.reason == "hash_mismatch"
        assert "0" * 64 in str(caught.value)


# --- the cache --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"HF_HOME": "/tmp/h o m e"},
        {"HF_HOME": "~/x", "HF_HUB_CACHE": "$HOME/hub"},
        {"HUGGINGFACE_HUB_CACHE": "/tmp/old"},
        {"XDG_CACHE_HOME": "/tmp/xdg"},
    ],
)
def test_the_cache_is_where_the_client_has_it(
    given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    script = "from huggingface_hub import constants; print(constants.HF_HUB_CACHE)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert str(hub_cache.cache_folder()) == done.stdout.strip()


def test_a_ref_that_is_no_commit_is_no_path(server: Hub) -> None:
    ref = hub_cache.repo_folder(REPO) / "refs" / "main"
    ref.parent.mkdir(parents=True)
    for text in ("../../../../etc", "", "\xff" * 40, "C" * 40):
        ref.write_text(text, "utf-8")
        assert hub_cache.snapshot(entry(pinned=False).source) is None


def test_the_files_beside_a_models_file_still_count(server: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "toy.q4_0.gguf"
    (folder / "sub").mkdir(parents=True)
    (folder / "toy.gguf").write_bytes(WEIGHTS)
    with pytest.raises(PrerequisiteError, match=r"sub/config\.json missing"):
        resolve(entry(), tmp_path)
    (folder / "sub" / "config.json").write_bytes(CONFIG)
    assert resolve(entry(), tmp_path).sha256 == PINNED
    (folder / "toy.gguf").write_bytes(WEIGHTS + b"!")
    with pytest.raises(SpecError) as changed:
        resolve(entry(), tmp_path)
    assert changed.value.reason == "hash_mismatch"
    assert changed.value.hint == f"remove {folder}, then: harness models pull toy.q4_0.gguf"


def test_an_entry_whose_files_are_no_model(server: Hub, tmp_path: Path) -> None:
    model = replace(entry(), format="onnx")
    hub.pull(model, quiet)
    with pytest.raises(SpecError, match="is a model of format 'onnx'"):
        resolve(model, tmp_path)


def test_kills_at_random_moments(tmp_path: Path) -> None:
    from tests.fuzz.pull_kills import kill_and_finish

    assert kill_and_finish(5, tmp_path, seed=1).inside >= 2
