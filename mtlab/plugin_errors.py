"""What code that is not ours raised, in one line: a plug-in's author wants the error and the line of the plug-in."""

from __future__ import annotations

import sysconfig
import traceback
from pathlib import Path
from types import TracebackType

from mtlab.errors import UserError

OURS = str(Path(__file__).parent)
LIBRARIES = ("torch", "omegaconf", "numpy")  #: an error inside them is told at the line that called them


def describe_error(error: BaseException) -> str:
    """Tell what was raised, and where: `ZeroDivisionError: division by zero (mine.py:3)`."""
    words = " ".join(str(error).split())
    if isinstance(error, UserError):
        return words
    kind = type(error).__name__
    line = f"{kind}: {words}" if words else kind
    place = (
        None if isinstance(error, SyntaxError) else locate_error(error.__traceback__)
    )  # which names file and line itself
    return f"{line} ({place})" if place else line


def format_traceback(error: BaseException) -> str:
    """Format the traceback from the first line on that is neither ours nor Python's own."""
    told_of = traceback.TracebackException.from_exception(error)
    first = next((n for n, frame in enumerate(told_of.stack) if not _elsewhere(frame.filename)), 0)
    del told_of.stack[:first]
    return "".join(told_of.format())


def locate_error(trace: TracebackType | None) -> str | None:
    """Name the innermost line that is neither ours, nor Python's own, nor a library's: `mine.py:3`."""
    for frame in reversed(traceback.extract_tb(trace)):
        if not _elsewhere(frame.filename):
            return f"{Path(frame.filename).name}:{frame.lineno}"
    return None


def _elsewhere(file: str) -> bool:
    if file.startswith(("<", OURS)):
        return True
    parts = Path(file).parts
    installed = next((parts.index(folder) for folder in ("site-packages", "dist-packages") if folder in parts), None)
    if installed is not None:
        return parts[installed + 1] in LIBRARIES
    return file.startswith(sysconfig.get_path("stdlib"))
