"""Renders figures as PNG, SVG or PDF with kaleido and the local Chromium, without network."""

from __future__ import annotations

import asyncio
import atexit
import os
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtlab import files
from mtlab.errors import UserError, missing_extra
from mtlab.report.figures import theme

if TYPE_CHECKING:
    import plotly.graph_objects as go

Wanted = tuple[dict[str, Any], dict[str, Any]]  #: a figure as data, and kaleido's options
FORMATS = (".png", ".svg", ".pdf")
IDLE = 60.0  #: seconds that a browser is kept for the next figures
CLOSING = 10.0  #: seconds that its end is waited for
TEMPORARY = 62  #: characters of the temporary folder at most: Chromium opens a socket in it, whose path Unix limits
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
    if not figures:
        return []
    if find_spec("kaleido") is None:
        raise missing_extra("kaleido", "images", of="a picture of a figure")
    wanted = [(figure.to_dict(), _options(figure, kind)) for figure, kind in figures]
    try:
        return _browser().render(wanted)
    except Exception as error:
        if type(error).__name__ == "ChromeNotFoundError":
            raise UserError("pictures of figures need Chrome or Chromium on this machine") from None
        if type(error).__name__ == "BrowserFailedError":
            raise UserError(f"pictures of figures need Chrome or Chromium, which {_end_at_start()}") from None
        raise


def is_font_installed(family: str) -> bool:
    """Return whether the browser has a font: if so, a text looks alike whatever would come in the font's place.

    Raises:
        UserError: see `render_images`.

    """
    import plotly.graph_objects as go

    figures = []
    for other in ("serif", "monospace"):
        figure = go.Figure(layout={"width": 200, "height": 60, "xaxis_visible": False, "yaxis_visible": False})
        font = {"family": f"{theme.quote_family(family)}, {other}", "size": 20}
        figure.add_annotation(text="miwlR0@", font=font, x=0.5, y=0.5, xref="paper", yref="paper", showarrow=False)
        figures.append((figure, "png"))
    first, second = render_images(figures)
    return first == second


def close_browser() -> None:
    """End the browser, if there is one, with its folders; for processes that end without Python's exit handlers."""
    if _browser.cache_info().currsize:
        _browser().close()


@cache
def _browser() -> _Browser:
    """Return this process's browser; its start takes seconds, and so it is kept for a while."""
    browser = _Browser()
    atexit.register(browser.close)
    return browser


class _Browser:
    """A browser that renders figures, in a thread with an event loop: that of a notebook runs already."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.lock = asyncio.Lock()  #: one figure after another
        self.opened = AsyncExitStack()
        self.kaleido: Any = None
        self.timer: asyncio.TimerHandle | None = None
        self.ending: asyncio.Task[None] | None = None
        self.thread = threading.Thread(target=self.loop.run_forever, name="browser", daemon=True)
        self.thread.start()

    def render(self, wanted: Sequence[Wanted]) -> list[bytes]:
        """Render figures with their options."""
        return asyncio.run_coroutine_threadsafe(self._render(wanted), self.loop).result()

    def close(self) -> None:
        """End the browser; another is started where one is needed. One that does not answer ends with this process."""
        if self.thread.is_alive():  # not so in a fork
            with suppress(TimeoutError):
                asyncio.run_coroutine_threadsafe(self._close(), self.loop).result(CLOSING)

    async def _render(self, wanted: Sequence[Wanted]) -> list[bytes]:
        async with self.lock:
            if self.timer is not None:
                self.timer.cancel()
            if self.kaleido is not None:
                with suppress(Exception, asyncio.CancelledError):  # of one that was kept, and has ended meanwhile
                    return await self._render_all(wanted)
                await self._end()
            try:
                return await self._render_all(wanted)
            except BaseException:
                await self._end()
                raise
            finally:
                self.timer = self.loop.call_later(IDLE, self._close_idle)

    async def _render_all(self, wanted: Sequence[Wanted]) -> list[bytes]:
        import kaleido

        if self.kaleido is None:  # with mathjax, the page would fetch it from the network
            self.kaleido = await self.opened.enter_async_context(kaleido.Kaleido(n=1, mathjax=False))
        return [await self.kaleido.calc_fig(figure, opts=options) for figure, options in wanted]

    def _close_idle(self) -> None:
        self.ending = self.loop.create_task(self._close())

    async def _close(self) -> None:
        async with self.lock:
            await self._end()

    async def _end(self) -> None:
        self.kaleido = None
        with suppress(Exception, asyncio.CancelledError):  # it may have ended by itself
            await self.opened.aclose()


os.register_at_fork(after_in_child=_browser.cache_clear)  # a fork has no thread that would answer


def _end_at_start() -> str:
    folder = tempfile.gettempdir()
    if len(folder) > TEMPORARY:
        return f"cannot open a socket in a folder of such length, {folder}: set TMPDIR to a shorter one"
    return "ended at its start here"


def _options(figure: go.Figure, kind: str) -> dict[str, Any]:
    size = {"width": figure.layout.width or 760, "height": figure.layout.height or 420}
    return {"format": kind, "scale": SCALE if kind == "png" else 1, **size}
