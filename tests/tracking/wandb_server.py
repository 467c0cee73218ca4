"""A W&B server that is good for one thing: to see what it is sent. Keeps runs, their history by line, and files.

Run as a script, `wandb_server.py FILE [refuse]`, it prints its port and writes all that it holds to FILE after every
request; `refuse` answers every key with 401.
"""

from __future__ import annotations

import gzip
import json
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class State:
    """What the server holds: run id → what was said of it."""

    def __init__(self, path: Path, *, refuse: bool) -> None:
        self.path = path
        self.refuse = refuse
        self.lock = threading.Lock()
        self.runs: dict[str, dict[str, Any]] = {}
        self.files: list[str] = []
        self.views: dict[str, dict[str, Any]] = {}  #: id → a saved workspace
        self.port = self.requests = 0
        if path.is_file():  # a server that was started again
            self.runs = json.loads(path.read_text())["runs"]

    def run(self, name: str) -> dict[str, Any]:
        return self.runs.setdefault(name, {"lines": {}, "exit": None})

    def write(self) -> None:
        scratch = self.path.with_suffix(".tmp")
        scratch.write_text(
            json.dumps({"runs": self.runs, "files": self.files, "views": self.views, "requests": self.requests})
        )
        scratch.replace(self.path)

    def upload(self, name: str) -> dict[str, Any]:
        url = f"http://127.0.0.1:{self.port}/upload/{name}"
        return {"id": "f", "name": name, "displayName": name, "uploadUrl": url, "uploadHeaders": []}

    # GraphQL

    def answer(self, name: str, given: dict[str, Any], query: str) -> dict[str, Any]:
        known = getattr(self, f"_{name}", None)
        if known is not None:
            found: dict[str, Any] = known(given)
            return found
        return {"serverInfo": {"features": []}} if "features" in query else {}

    def _Viewer(self, _: dict[str, Any]) -> dict[str, Any]:  # noqa: N802 - W&B's names
        return {
            "viewer": {
                "id": "v",
                "username": "me",
                "entity": "me",
                "flags": "{}",
                "admin": False,
                "teams": {"edges": []},
            }
        }

    def _GetDefaultEntity(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return self._Viewer(given)

    def _RunResumeStatus(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        run = self.runs.get(given["name"])
        model: dict[str, Any] = {
            "id": "p",
            "name": given["project"],
            "entity": {"id": "e", "name": "me"},
            "bucket": None,
        }
        if run is not None and run["lines"]:
            last = run["lines"][max(run["lines"], key=int)]
            model["bucket"] = {
                "id": "r",
                "name": given["name"],
                "summaryMetrics": json.dumps(json.loads(last)),
                "displayName": run.get("displayName"),
                "logLineCount": 0,
                "historyLineCount": len(run["lines"]),
                "eventsLineCount": 0,
                "historyTail": json.dumps([last]),
                "eventsTail": "[]",
                "config": run.get("config") or "{}",
                "tags": [],
                "notes": None,
                "wandbConfig": json.dumps({"t": 1}),
            }
        return {"model": model}

    def _UpsertBucket(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        run = self.run(given["name"])
        run |= {key: value for key, value in given.items() if value is not None}
        entity = given.get("entity") or "me"
        bucket = {
            "id": "r",
            "name": given["name"],
            "displayName": run.get("displayName"),
            "description": None,
            "config": run.get("config"),
            "sweepName": None,
            "project": {"id": "p", "name": given["project"], "entity": {"id": "e", "name": entity}},
            "historyLineCount": len(run["lines"]),
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": not run["lines"]}}

    def _CreateRunFiles(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        made = {"runID": "r", "uploadHeaders": [], "files": [self.upload(name) for name in given["files"]]}
        return {"createRunFiles": made}

    def _ArtifactType(self, _: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"project": {"artifact": None}}

    def _CreateArtifact(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        self.files.append(f"artifact {given['input'].get('artifactCollectionName') or given['input']}")
        sequence = {"id": "s", "latestArtifact": None}
        return {"createArtifact": {"artifact": {"id": "a", "state": "PENDING", "artifactSequence": sequence}}}

    def _CreateArtifactManifest(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        file = self.upload(given["name"])
        return {"createArtifactManifest": {"artifactManifest": {"id": "m", "file": file}}}

    def _UpdateArtifactManifest(self, _: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"updateArtifactManifest": {"artifactManifest": {"id": "m", "file": self.upload("manifest")}}}

    def _CreateArtifactFiles(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        files = [each["name"] for each in given["input"]["artifactFiles"]]
        edges = [
            {"node": {**self.upload(name), "storagePath": None, "uploadMultipartUrls": None, "artifact": {"id": "a"}}}
            for name in files
        ]
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    # Views: saved workspaces

    def _UpsertView2(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        known = given.get("id") in self.views
        number = given["id"] if known else f"view{len(self.views) + 1}"
        self.views[number] = {key: given[key] for key in ("entityName", "projectName", "name", "displayName")}
        self.views[number]["spec"] = json.loads(given["spec"])
        return {"upsertView": {"view": {"id": number, "name": given["name"]}, "inserted": not known}}

    def _View(self, given: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        nodes = [
            {"id": number, "displayName": view["displayName"], "spec": json.dumps(view["spec"])}
            for number, view in self.views.items()
            if view["name"] == given["viewName"]
        ]
        return {"project": {"allViews": {"edges": [{"node": node} for node in nodes]}}}

    def _CommitArtifact(self, _: dict[str, Any]) -> dict[str, Any]:  # noqa: N802
        return {"commitArtifact": {"artifact": {"id": "a", "digest": "d"}}}

    # Files

    def stream(self, run: str, sent: dict[str, Any]) -> None:
        history = (sent.get("files") or {}).get("wandb-history.jsonl")
        held = self.run(run)
        if history is not None:
            for place, line in enumerate(history["content"]):
                held["lines"][str(history["offset"] + place)] = line
        summary = (sent.get("files") or {}).get("wandb-summary.json")
        if summary is not None:
            held["summary"] = json.loads(summary["content"][-1])
        if sent.get("complete"):
            held["exit"] = sent.get("exitcode")


def handler(state: State) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def reply(self, code: int, data: Any) -> None:
            body = json.dumps(data).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def body(self) -> bytes:
            read = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            return gzip.decompress(read) if self.headers.get("Content-Encoding") == "gzip" else read

        def do_POST(self) -> None:
            body = self.body()
            state.requests += 1
            if state.refuse:
                self.reply(401, {"errors": [{"message": "invalid API key"}]})
                return
            answer: dict[str, Any] = {}
            with state.lock:
                if self.path.startswith("/graphql"):
                    asked = json.loads(body)
                    name = re.search(r"(?:query|mutation)\s+(\w+)", asked["query"])
                    found = state.answer(name[1] if name else "", asked.get("variables") or {}, asked["query"])
                    answer = {"data": found}
                elif self.path.endswith("/file_stream"):
                    state.stream(self.path.split("/")[-2], json.loads(body))
                state.write()
            self.reply(200, answer)

        def do_GET(self) -> None:
            with state.lock:
                state.requests += 1
                state.write()
            self.reply(200, {})

        def do_PUT(self) -> None:
            self.body()
            with state.lock:
                state.files.append(self.path.removeprefix("/upload/"))
                state.write()
            self.reply(200, {})

    return Handler


def main() -> None:
    state = State(Path(sys.argv[1]), refuse="refuse" in sys.argv[2:])
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(state))
    state.port = server.server_port
    state.write()
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
