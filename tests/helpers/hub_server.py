"""A hub on loopback that takes what Hugging Face's client sends: accounts, repositories, files as text and by LFS."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

TOKEN = "hf_0123456789abcdefghijklmnopqrstuvwxyz"


class Hub(ThreadingHTTPServer):
    """What the hub holds."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder  #: of all repositories, as OWNER/NAME
        self.visibility: dict[str, str] = {}
        self.commits: list[tuple[str, str]] = []  #: repository, message
        self.large: dict[str, bytes] = {}  #: sha256 → content
        self.full = False  #: refuse large files?

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables of a process that knows this hub alone, and is logged in."""
        return {
            "HF_ENDPOINT": f"http://127.0.0.1:{self.server_address[1]}",
            "HF_TOKEN": TOKEN,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_XET": "1",  # the newer storage has a protocol of its own; this is what it falls back to
        }

    def commit(self, repository: str, lines: list[dict[str, Any]]) -> str:
        """Write the files of a commit; return its id."""
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                self.commits.append((repository, value["summary"]))
                continue
            path = self.folder / repository / value["path"]
            path.parent.mkdir(parents=True, exist_ok=True)
            large = line["key"] == "lfsFile"
            path.write_bytes(self.large[value["oid"]] if large else base64.b64decode(value["content"]))
        return hashlib.sha1(str(self.commits).encode()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        if not self._allowed():
            return
        if self.path == "/api/whoami-v2":
            self._answer(200, {"name": "me", "type": "user", "orgs": [], "auth": {"accessToken": {"role": "write"}}})
        elif self.path.startswith("/api/models/") and self.path[12:] in self.server.visibility:
            self._answer(200, {"id": self.path[12:], "siblings": [], "tags": [], "downloads": 0})
        else:
            self._answer(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self._allowed():
            return
        if self.path == "/api/repos/create":
            self._create(json.loads(body))
        elif self.path == "/api/validate-yaml":
            self._answer(200, {"errors": [], "warnings": []})
        elif found := re.fullmatch(r"/api/models/(.+)/preupload/main", self.path):
            files = [{"path": each["path"], **_mode(each["path"])} for each in json.loads(body)["files"]]
            self._answer(200, {"files": files})
        elif re.fullmatch(r"/.+\.git/info/lfs/objects/batch", self.path):
            url = f"http://{self.headers['Host']}/large/"
            objects = [
                each | {"actions": {"upload": {"href": url + each["oid"]}}} for each in json.loads(body)["objects"]
            ]
            self._answer(200, {"transfer": "basic", "objects": objects})
        elif found := re.fullmatch(r"/api/models/(.+)/commit/main", self.path):
            commit = self.server.commit(found[1], [json.loads(line) for line in body.splitlines()])
            self._answer(200, {"commitUrl": f"http://{self.headers['Host']}/{found[1]}", "commitOid": commit})
        else:
            self._answer(404, {"error": f"what is {self.path}?"})

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.full:
            self._answer(403, {"error": "Private storage is full"})
            return
        self.server.large[self.path.rpartition("/")[2]] = content
        self._answer(200, {})

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['organization'] or 'me'}/{asked['name']}"
        if not name.startswith("me/"):
            self._answer(403, {"error": "You don't have the rights to create a model under this namespace"})
        elif name in self.server.visibility:
            self._answer(409, {"error": "You already created this model repo"})
        else:
            self.server.visibility[name] = asked.get("visibility") or ("private" if asked.get("private") else "public")
            self._answer(200, {"url": f"http://{self.headers['Host']}/{name}", "name": name})

    def _allowed(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self._answer(401, {"error": "Invalid user token."})
        return False

    def _answer(self, code: int, content: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        data = json.dumps(content).encode()
        self.send_response(code)
        for name, value in {"Content-Type": "application/json", "Content-Length": len(data), **(headers or {})}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        pass


def _mode(path: str) -> dict[str, object]:
    return {"uploadMode": "lfs" if path.endswith(".safetensors") else "regular", "shouldIgnore": False}


@contextmanager
def running_hub(folder: Path) -> Iterator[Hub]:
    """Run a hub that keeps its repositories in a folder."""
    hub = Hub(folder)
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
