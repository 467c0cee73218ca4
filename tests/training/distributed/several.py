"""Starting a script in several processes, as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
OWN = os.environ.get("PYTHONPATH", "")
PATHS = os.pathsep.join([str(HERE), str(HERE.parents[1] / "helpers"), *filter(None, [OWN])])  # of what scripts import
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": PATHS}


def torchrun(processes: int) -> list[str]:
    """Give the start of a command line under `torchrun`; under Python alone for one process."""
    if processes == 1:
        return [sys.executable]
    options = ["--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", str(processes)]
    return [sys.executable, "-m", "torch.distributed.run", *options]


def run(processes: int, script: str, arguments: Sequence[str], expected: int = 0) -> str:
    """Run a script of this folder to its end; return all that it printed."""
    command = [*torchrun(processes), str(HERE / script), *arguments]
    done = subprocess.run(
        command, env=ENVIRONMENT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=900, check=False
    )
    assert done.returncode == expected, done.stdout
    return done.stdout
