"""Drawing SVG files with resvg, once: the pictures are kept in an archive in the cache folder.

The renderer runs in a process of its own: a file that crashes it, or takes for ever, is told and harms nothing else.
"""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from mtlab import files
from mtlab.data.progress import track
from mtlab.errors import UserError, missing_extra

SECONDS = 20  #: of processor time for one file: a plain one takes a hundredth of one
DOTS_PER_INCH = 90  #: of files with sizes in millimetres, as programs took it that wrote them
#: Reads lines of JSON, the arguments of a drawing; answers each with the length of a PNG, 0 if there is none, and it.
#: The timer of processor time ends the process, wherever it is.
CHILD = """
import json, resource, signal, sys
import resvg_py
resource.setrlimit(resource.RLIMIT_AS, (2**32, 2**32))
for line in sys.stdin:
    seconds, drawing = json.loads(line)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        drawn = bytes(resvg_py.svg_to_bytes(**drawing, skip_system_fonts=True))
    except BaseException:  # a panic of the renderer among them
        drawn = b""
    sys.stdout.buffer.write(len(drawn).to_bytes(4, "big") + drawn)
    sys.stdout.flush()
"""


def version() -> str:
    """Return the renderer's version, which pictures depend on.

    Raises:
        UserError: it is not installed.

    """
    return str(_renderer().__version__)


def draw_once(
    name: str,
    paths: Mapping[str, Path],
    size: int,
    *,
    background: str | None = None,
    finish: Callable[[bytes], bytes] = bytes,
) -> Mapping[str, bytes]:
    """Return pictures as PNGs: from the archive of that name, drawn when it is first asked for.

    Args:
        name: of the archive below the cache folder; all that the pictures depend on must be in it.
        paths: key → file; those that are no SVG are read as they are.
        size: of the square that an SVG is fitted into, in pixels.
        background: a colour; None: transparent.
        finish: applied to each picture before it is kept.

    Raises:
        UserError: a file cannot be drawn, or not in `SECONDS`.

    """
    archive = files.cache_root() / f"{name}.zip"
    try:
        return _read_all(archive)
    except (FileNotFoundError, zipfile.BadZipFile):  # not there yet, or damaged
        _draw_all(archive, paths, size, background, finish)
    return _read_all(archive)


def png_to_array(png: bytes) -> NDArray[np.uint8]:
    """Return a PNG without transparency as pixels, [H, W, 3] RGB."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as picture:
        return np.array(picture.convert("RGB"), np.uint8)


def _read_all(archive: Path) -> Mapping[str, bytes]:
    with zipfile.ZipFile(archive) as opened:
        return {entry.removesuffix(".png"): opened.read(entry) for entry in opened.namelist()}


def _renderer() -> Any:
    try:
        import resvg_py
    except ImportError:
        raise missing_extra("resvg-py", "offline", key="name") from None
    return resvg_py


def _draw_all(
    archive: Path,
    paths: Mapping[str, Path],
    size: int,
    background: str | None,
    finish: Callable[[bytes], bytes],
) -> None:
    """Draw every picture and keep them in one archive: seconds, with progress."""
    _renderer()
    with ExitStack() as stack:
        scratch = stack.enter_context(files.atomic_write(archive))
        opened = stack.enter_context(zipfile.ZipFile(scratch, "w"))
        drawing = stack.enter_context(_Drawing())
        for key, path in track(paths.items(), "drawing pictures", len(paths)):
            drawn = drawing.draw(path, size, background) if path.suffix == ".svg" else path.read_bytes()
            opened.writestr(f"{key}.png", finish(drawn))


class _Drawing:
    """The process that draws."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def draw(self, path: Path, size: int, background: str | None) -> bytes:
        """Draw a file, as a PNG.

        Raises:
            UserError: it cannot be drawn, or not in time.

        """
        assert self._process.stdin is not None
        drawing = {"svg_path": str(path), "width": size, "height": size, "background": background, "dpi": DOTS_PER_INCH}
        try:
            self._process.stdin.write(json.dumps([SECONDS, drawing]).encode() + b"\n")
            drawn = self._read(int.from_bytes(self._read(4), "big"))
        except (BrokenPipeError, EOFError):
            timed_out = self._process.wait() == -signal.SIGPROF
            problem = f"takes more than {SECONDS} seconds to draw" if timed_out else "cannot be drawn: resvg crashed"
            raise UserError(problem, file=path) from None
        if not drawn:
            raise UserError("is no SVG file that can be drawn", file=path)
        return drawn

    def _read(self, count: int) -> bytes:
        assert self._process.stdout is not None
        found = bytearray()
        while len(found) < count:
            read = self._process.stdout.read(count - len(found))
            if not read:
                raise EOFError
            found += read
        return bytes(found)
