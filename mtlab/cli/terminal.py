"""Standard output and error: letters that their encoding lacks are ASCII, and a reader may go away."""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
import unicodedata
from typing import Any

_ASCII = {
    "±": "+-", "×": "x", "·": "-", "–": "-", "—": "-", "−": "-", "…": "...", "→": "->", "←": "<-", "≤": "<=", "≥": ">=",
    "★": "*", "●": "o", "◂": "<", "▸": ">", "†": "+", "‡": "++", "σ": "s", "μ": "u", "Δ": "d", "✓": "yes", "✗": "no",
    "ß": "ss", "“": '"', "”": '"', "‘": "'", "’": "'", "─": "-", "━": "-", "│": "|", "┃": "|", "█": "#", "▌": "#",
}  # fmt: skip


def encode_everything() -> None:
    """Make standard output and error write `_ASCII`, or `?`, for letters that their encoding lacks."""
    codecs.register_error("mtlab", _replace)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="mtlab")


def outlive_readers() -> None:
    """Drop what is written to a pipe that nobody reads any more, as `tee` is gone after Ctrl-C: the work goes on."""
    if sys.stdout is sys.__stdout__:
        sys.stdout = _outliving(sys.stdout)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _outliving(sys.stderr)


def drop_output() -> None:
    """Drop what standard output still holds, which nobody reads: at its end, Python would complain."""
    if sys.stdout is sys.__stdout__:
        _to_nowhere(1)


class _Pipe(io.FileIO):
    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):  # EIO: of a terminal that was closed
                raise
            _to_nowhere(self.fileno())
            return super().write(data)


def _outliving(stream: Any) -> io.TextIOWrapper:
    stream.flush()
    raw = io.BufferedWriter(_Pipe(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(raw, stream.encoding, stream.errors, line_buffering=stream.line_buffering)


def _to_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(_replacement(letter, error.encoding) for letter in letters), error.end


def _replacement(letter: str, encoding: str) -> str:
    """Return what stands for a letter: ours, the letter without its accent, or a question mark."""
    plain = _ASCII.get(letter) or unicodedata.normalize("NFKD", letter)[0]
    try:
        plain.encode(encoding)
    except UnicodeEncodeError:
        return "?"
    return plain
