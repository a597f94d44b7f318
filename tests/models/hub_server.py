"""A model hub on loopback, as huggingface_hub calls it, and a storage host it redirects to.

The hub answers at 127.0.0.1, the storage at localhost and another port: another host for
every rule about tokens. Faults are switched on by fields of `Hub`.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from unittest.mock import patch
from urllib.parse import unquote, urlsplit

COMMIT = "c" * 40
OTHER_COMMIT = "d" * 40
REPO = "maker/Toy-GGUF"
LARGE = re.compile(r"\.(gguf|onnx|onnx_data|safetensors)$")
CHUNK_BYTES = 1 << 16


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_blob(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@dataclass
class Hub:
    """What the servers hold, how they misbehave, and what they were asked.

    Attributes:
        commits: files by name, by commit. main: the commit that `main` is.
        asked: host, method, path and headers (lower-case names) of every request.
        api_status, file_status: answered instead of the listing, or of files.
        error_code: sent as X-Error-Code beside them.
        cut_bytes: the storage closes the connection after so many, `cuts` times.
        swapped: what the storage sends instead of a file, by its name.
        ranges: False = the storage ignores Range. rate: bytes a second, 0 = no limit.
        claimed: sizes that the listing names instead of the real ones.
        listing: sent instead of the listing.
    """

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    main: str = COMMIT
    asked: list[tuple[str, str, str, dict[str, str]]] = field(default_factory=list)
    url: str = ""
    storage: str = ""
    api_status: int = 200
    file_status: int = 200
    error_code: str = ""
    retry_after: str = ""
    cut_bytes: int = 0
    cuts: int = 0
    swapped: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    rate: int = 0
    claimed: dict[str, int] = field(default_factory=dict)
    listing: bytes = b""

    def paths(self, method: str = "GET", host: str = "storage") -> list[str]:
        return [path for asked, verb, path, _ in self.asked if (asked, verb) == (host, method)]

    def siblings(self, commit: str) -> list[Mapping[str, object]]:
        found: list[Mapping[str, object]] = []
        for name, data in self.commits[commit].items():
            size = self.claimed.get(name, len(data))
            entry: dict[str, object] = {
                "rfilename": name, "size": size, "blobId": git_blob(data),
            }  # fmt: skip
            if LARGE.search(name):
                entry["lfs"] = {"sha256": sha256(data), "size": size, "pointerSize": 134}
            found.append(entry)
        return found


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 5  # a client keeps its connections, and each holds a thread
    hub: Hub
    host: str

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.hub.asked.append((self.host, self.command, path, headers))
        try:
            if self.host == "storage":
                self.store(path.removeprefix("/"))
            elif found := re.fullmatch(r"/api/models/(.+?/.+?)/revision/(.+)", path):
                self.list(*found.groups())
            elif found := re.fullmatch(r"/(.+?/.+?)/resolve/(.+?)/(.+)", path):
                self.resolve(*found.groups())
            else:
                self.answer(404)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def answer(self, status: int, data: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def fault(self, status: int) -> None:
        headers = {"X_Error_Code": self.hub.error_code} if self.hub.error_code else {}
        if self.hub.retry_after:
            headers["Retry_After"] = self.hub.retry_after
        self.answer(status, **headers)

    def list(self, repo: str, revision: str) -> None:
        hub = self.hub
        commit = hub.main if revision == "main" else revision
        if hub.api_status != 200:
            self.fault(hub.api_status)
        elif repo != REPO:
            self.answer(404, X_Error_Code="RepoNotFound")
        elif commit not in hub.commits:
            self.answer(404, X_Error_Code="RevisionNotFound")
        else:
            body = {"id": repo, "sha": commit, "siblings": hub.siblings(commit)}
            self.answer(200, hub.listing or json.dumps(body).encode())

    def resolve(self, repo: str, revision: str, name: str) -> None:
        hub = self.hub
        commit = hub.main if revision == "main" else revision
        data = hub.commits.get(commit, {}).get(name)
        if hub.file_status != 200:
            status, hub.file_status = hub.file_status, hub.file_status
            if status == 429 and hub.retry_after:
                hub.file_status = 200  # once
            self.fault(status)
        elif repo != REPO or data is None:
            self.answer(404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        elif LARGE.search(name):
            headers = {"X_Linked_ETag": f'"{sha256(data)}"', "X_Linked_Size": str(len(data))}
            place = f"{hub.storage}/{commit}/{name}"
            self.answer(302, Location=place, X_Repo_Commit=commit, **headers)
        else:
            sent = hub.swapped.get(name, data)
            self.answer(200, sent, ETag=f'"{git_blob(data)}"', X_Repo_Commit=commit)

    def store(self, path: str) -> None:
        hub = self.hub
        commit, _, name = path.partition("/")
        data = hub.swapped.get(name, hub.commits[commit][name])
        start = 0
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if found and hub.ranges:
            start = int(found[1])
            if start >= len(data):
                self.answer(416, Content_Range=f"bytes */{len(data)}")
                return
        rest = data[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        most = len(rest)
        if hub.cuts:
            hub.cuts -= 1
            most = min(most, hub.cut_bytes)
        for place in range(0, most, CHUNK_BYTES):
            self.wfile.write(rest[place : min(place + CHUNK_BYTES, most)])
            if hub.rate:
                time.sleep(CHUNK_BYTES / hub.rate)
        if most < len(rest):
            self.close_connection = True


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Both servers, up and then down."""
    servers = []
    for host in ("hub", "storage"):
        handler = type("Handler", (_Handler,), {"hub": hub, "host": host})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
    hub.url = f"http://127.0.0.1:{servers[0].server_port}"
    hub.storage = f"http://localhost:{servers[1].server_port}"
    try:
        # The client reads the variable once, and another test may have imported it offline.
        with patch("huggingface_hub.constants.HF_HUB_OFFLINE", new=False):
            yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
