"""Renders figures as PNG, SVG or PDF with kaleido and the local Chromium, without network."""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mtlab import files
from mtlab.errors import UserError, missing_extra

if TYPE_CHECKING:
    import plotly.graph_objects as go

Result = TypeVar("Result")
FORMATS = (".png", ".svg", ".pdf")
IDLE = 60.0  #: seconds that a browser is kept for the next figures
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
    """Render (figure, format) pairs by one browser, which later calls within `IDLE` seconds find running.

    Raises:
        UserError: kaleido or a Chromium is missing.

    """
    try:
        import kaleido  # noqa: F401
    except ImportError:
        raise missing_extra("kaleido", "images", of="a picture of a figure") from None
    wanted = [(figure.to_dict(), _options(figure, kind)) for figure, kind in figures]
    try:
        return _browser().render(wanted)
    except Exception as error:
        if type(error).__name__ == "ChromeNotFoundError":
            raise UserError("pictures of figures need Chrome or Chromium on this machine") from None
        if type(error).__name__ == "BrowserFailedError":
            raise UserError("pictures of figures need Chrome or Chromium, which ended at its start here") from None
        raise


@cache
def _browser() -> _Browser:
    """Return this process's browser."""
    return _Browser()


class _Browser:
    """A browser that renders figures, in a thread with an event loop: that of a notebook runs already.

    Its start takes as long as a dozen figures, so that it is kept for a while.
    """

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.opened = AsyncExitStack()
        self.kaleido: Any = None
        self.closing: asyncio.TimerHandle | None = None
        self.lock = asyncio.Lock()
        threading.Thread(target=self.loop.run_forever, name="browser", daemon=True).start()
        atexit.register(self._wait, self.close)

    def render(self, wanted: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> list[bytes]:
        """Render figures with their options; with a new browser where one that was kept has ended meanwhile."""
        return self._wait(partial(self._render, wanted))

    async def _render(self, wanted: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> list[bytes]:
        async with self.lock:
            if self.closing is not None:
                self.closing.cancel()
            kept = self.kaleido is not None
            try:
                return await self._render_all(wanted)
            except (Exception, asyncio.CancelledError):  # the latter of what a browser that has ended did not answer
                await self._close()
                if not kept:
                    raise
                return await self._render_all(wanted)
            finally:
                self.closing = self.loop.call_later(IDLE, lambda: self.loop.create_task(self.close()))

    async def _render_all(self, wanted: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> list[bytes]:
        import kaleido

        if self.kaleido is None:  # with mathjax, the page would fetch it from the network
            self.kaleido = await self.opened.enter_async_context(kaleido.Kaleido(n=1, mathjax=False))
        return [await self.kaleido.calc_fig(figure, opts=options) for figure, options in wanted]

    async def close(self) -> None:
        """End the browser; another is started where one is needed."""
        async with self.lock:
            await self._close()

    async def _close(self) -> None:
        self.kaleido = None
        with suppress(Exception, asyncio.CancelledError):  # it may have ended by itself
            await self.opened.aclose()

    def _wait(self, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        return asyncio.run_coroutine_threadsafe(work(), self.loop).result()


def _options(figure: go.Figure, kind: str) -> dict[str, Any]:
    size = {"width": figure.layout.width or 760, "height": figure.layout.height or 420}
    return {"format": kind, "scale": SCALE if kind == "png" else 1, **size}
