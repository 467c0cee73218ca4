"""The encoding of the terminal: letters that it lacks are written as ASCII, so that no output ever fails."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata

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
