"""The view of a running study in a notebook: the bars of the terminal, redrawn in place below the cell."""

from __future__ import annotations

import io
import sys
from typing import Any, Self

from mtlab.launch.board import Board, LaunchedRun
from mtlab.launch.views.live import LiveView, describe_job

WIDTH = 110  #: columns
PRE = '<pre style="line-height:1.3;white-space:pre">{code}</pre>'


def notebook_shell() -> Any | None:
    """Return IPython's shell where it is the kernel of a notebook, else None."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell if hasattr(shell, "kernel") else None


class NotebookView(LiveView):
    """A view of the whole study in the output of a notebook's cell; failures are printed above it."""

    def __init__(self) -> None:
        from rich.console import Console

        console = Console(
            file=io.StringIO(), record=True, width=WIDTH, force_terminal=True, force_jupyter=False, highlight=False
        )
        super().__init__(console)
        self._handle: Any = None

    def __enter__(self) -> Self:
        return self

    def changed(self, job: LaunchedRun) -> None:
        """Print failures and retries."""
        if job.state == "failed" or (job.state == "queued" and job.attempt):
            print(describe_job(job))

    def _draw(self, board: Board) -> None:
        from IPython.display import HTML, display

        self.console.file = io.StringIO()  # what is kept is the recording, which the export empties
        self.console.print(self.render(board))
        html = HTML(self.console.export_html(inline_styles=True, code_format=PRE))
        if self._handle is None:
            self._handle = display(html, display_id=True)
        else:
            self._handle.update(html)
