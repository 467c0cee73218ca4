"""Web servers on this machine: with and without ranges of bytes, and such as fail."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Plain(SimpleHTTPRequestHandler):
    """Python's own: it sends whole files, whatever is asked for. Counts what was asked, and fails as it is told."""

    asked: list[str]
    fail: Any  #: called with the handler for each request; True: it has answered

    def __init__(self, *args: Any, asked: list[str], fail: Any, **kwargs: Any) -> None:
        self.asked, self.fail = asked, fail
        super().__init__(*args, **kwargs)

    def do_GET(self) -> None:
        self.asked.append(f"{self.path} {self.headers.get('Range', '')}".strip())
        if not self.fail(self):
            self.answer()

    def answer(self) -> None:
        super().do_GET()

    def log_message(self, *args: Any) -> None:
        pass


class Ranged(Plain):
    """As most servers: sends ranges."""

    def answer(self) -> None:
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        path = Path(self.translate_path(self.path))
        if match is None or not path.is_file():
            super().answer()
            return
        data = path.read_bytes()
        first, last = int(match[1]), int(match[2] or len(data) - 1)
        piece = data[first : last + 1]
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{first + len(piece) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(piece)))
        self.end_headers()
        self.wfile.write(piece)


@contextmanager
def serving(
    folder: Path, handler: type[Plain] = Ranged, fail: Any = lambda _: False
) -> Iterator[tuple[str, list[str]]]:
    """Serve a folder; give its address and the list of what was asked for."""
    asked: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder), asked=asked, fail=fail))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
