"""Commands as processes of their own, as users start them, and the most memory that they have."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

TELL = "print(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0], file=sys.stderr)"


def environment() -> dict[str, str]:
    """Keep compiled modules, as they are kept where mtlab is installed."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def python(*words: str) -> Callable[[], object]:
    """Make a call that runs this Python with these words."""
    line = [sys.executable, *words]
    return lambda: subprocess.run(line, env=environment(), check=True, stdout=subprocess.DEVNULL)


def mtlab(*words: str) -> Callable[[], object]:
    """Make a call that runs a command."""
    return python("-m", "mtlab", *words)


def peak(code: str, *words: str) -> float:
    """Run code in a process of its own, with these words in `sys.argv`; return the most memory that it had, in MiB.

    Not by getrusage: what it tells of a new process includes the memory of the one that started it.
    """
    line = [sys.executable, "-c", f"import sys\n{code}\n{TELL}", *words]
    done = subprocess.run(
        line, env=environment(), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    return int(done.stderr.split()[-1]) / 1024


def mtlab_peak(*words: str) -> float:
    """Return the most memory that a command has, in MiB."""
    return peak("from mtlab.cli import main\nmain()", *words)
