"""Renders figures as PNG, SVG or PDF with kaleido and the local Chromium, without network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtlab import files
from mtlab.errors import UserError, missing_extra

if TYPE_CHECKING:
    import plotly.graph_objects as go

FORMATS = (".png", ".svg", ".pdf")
SCALE = 2  #: pixels of a PNG for one of the figure's: sharp on today's screens and on paper


def write_figures(figures: Mapping[Path, go.Figure]) -> None:
    """Write figures to files, each in its own size and in the format of the file's suffix.

    Raises:
        UserError: kaleido or a Chromium is missing, a file's ending is no format, or the folder may not be written.

    """
    for path in figures:
        if path.suffix not in FORMATS:
            raise UserError(f"{path.suffix or 'no ending'}: expected one of {', '.join(FORMATS)}", file=path)
    for path, data in zip(figures, render_images([(f, path.suffix[1:]) for path, f in figures.items()]), strict=True):
        files.write_bytes(path, data)


def render_images(figures: list[tuple[go.Figure, str]]) -> list[bytes]:
    """Render (figure, format) pairs with one start of the browser.

    Raises:
        UserError: kaleido or a Chromium is missing.

    """
    try:
        import kaleido
    except ImportError:
        raise missing_extra("kaleido", "images", of="a picture of a figure") from None

    async def render() -> list[bytes]:
        # With mathjax, the page would fetch it from the network.
        async with kaleido.Kaleido(n=1, mathjax=False) as browser:
            return [await browser.calc_fig(figure.to_dict(), opts=_options(figure, kind)) for figure, kind in figures]

    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    try:
        with ThreadPoolExecutor(1) as thread:  # in a notebook, this thread runs an event loop already
            return thread.submit(asyncio.run, render()).result()
    except Exception as error:
        if type(error).__name__ == "ChromeNotFoundError":
            raise UserError("pictures of figures need Chrome or Chromium on this machine") from None
        if type(error).__name__ == "BrowserFailedError":
            raise UserError("pictures of figures need Chrome or Chromium, which ended at its start here") from None
        raise


def _options(figure: go.Figure, kind: str) -> dict[str, Any]:
    size = {"width": figure.layout.width or 760, "height": figure.layout.height or 420}
    return {"format": kind, "scale": SCALE if kind == "png" else 1, **size}
