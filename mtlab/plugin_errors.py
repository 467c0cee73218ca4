"""Errors that plug-ins raise, described in one line with the line of the plug-in that they come from."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path
from types import TracebackType

from mtlab.errors import UserError, one_line

OURS = str(Path(__file__).parent)
LIBRARIES = ("torch", "omegaconf", "numpy")  #: an error inside them is shown at the line that called them


def describe_error(error: BaseException) -> str:
    """Describe an error and where it was raised: `ZeroDivisionError: division by zero (mine.py:3)`."""
    if isinstance(error, UserError):
        return one_line(error)
    line = one_line(error, kind=True)
    names_its_place = isinstance(error, SyntaxError)
    place = None if names_its_place else locate_error(error.__traceback__)
    return f"{line} ({place})" if place else line


def format_traceback(error: BaseException) -> str:
    """Format the traceback from the first line of a plug-in on."""
    formatted = traceback.TracebackException.from_exception(error)
    first = next((n for n, frame in enumerate(formatted.stack) if not _is_no_plugin(frame.filename)), 0)
    del formatted.stack[:first]
    return "".join(formatted.format())


def locate_error(trace: TracebackType | None) -> str | None:
    """Return the innermost line of a plug-in: `mine.py:3`."""
    for frame in reversed(traceback.extract_tb(trace)):
        if not _is_no_plugin(frame.filename):
            return f"{Path(frame.filename).name}:{frame.lineno}"
    return None


def _is_no_plugin(file: str) -> bool:
    """Return whether a file is ours, Python's own, or one of a known library."""
    if file.startswith(("<", OURS)):
        return True
    parts = Path(file).parts
    installed = next((parts.index(folder) for folder in ("site-packages", "dist-packages") if folder in parts), None)
    if installed is not None:
        return parts[installed + 1] in LIBRARIES
    return file.startswith(sysconfig.get_path("stdlib"))
