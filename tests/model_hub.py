"""A model hub on loopback that serves folders: just what its client asks for to list and fetch."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True, kw_only=True)
class Hub:
    """Where it is, and which files were fetched."""

    url: str
    fetched: list[str] = field(default_factory=list)


@contextmanager
def running_hub(repositories: Mapping[str, Path]) -> Iterator[Hub]:
    """Serve the folders under the names `owner/name` while the block runs."""
    fetched: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, repositories, fetched))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Hub(url=f"http://127.0.0.1:{server.server_port}", fetched=fetched)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, repositories: Mapping[str, Path], fetched: list[str], *args: object) -> None:
        self._repositories = repositories
        self._fetched = fetched
        super().__init__(*args)  # type: ignore[arg-type]

    def do_HEAD(self) -> None:
        self._file(whole=False)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].strip("/").split("/")
        if path[:2] != ["api", "models"]:
            self._file(whole=True)
            return
        folder = self._repositories.get("/".join(path[2:4]))
        if folder is None:
            self._refuse("RepoNotFound")
            return
        files = [
            {"type": "file", "path": str(each.relative_to(folder)), "size": 1, "oid": "0" * 40}
            for each in sorted(folder.rglob("*"))
            if each.is_file()
        ]
        self._answer(json.dumps(files).encode(), {"Content-Type": "application/json"})

    def _file(self, *, whole: bool) -> None:
        owner, name, resolve, _revision, *rest = [*self.path.strip("/").split("/"), "", "", ""]
        folder = self._repositories.get(f"{owner}/{name}")
        wanted = "/".join(part for part in rest if part)
        if folder is None or resolve != "resolve" or not (folder / wanted).is_file():
            self._refuse("EntryNotFound")
            return
        data = (folder / wanted).read_bytes()
        if whole:
            self._fetched.append(wanted)
        etag = hashlib.sha256(data).hexdigest()
        self._answer(data, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}, body=whole)

    def _answer(self, data: bytes, headers: Mapping[str, str], *, body: bool = True) -> None:
        self.send_response(200)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def _refuse(self, code: str) -> None:
        self.send_response(404)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass
