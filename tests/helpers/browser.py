"""A real browser for tests of pages: whatever they ask for and complain about is written down, and must be nothing.

Fixtures, to be imported by a `conftest.py`: `chromium` (one browser a module) and `visit`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
PATIENCE = 120  #: seconds that a page may take on a machine that is busy with other things
OWN = ("127.0.0.1", "localhost", "::1")


@dataclass
class Visits:
    """The pages that a test has opened, and all that they did."""

    browser: Any
    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)  #: errors and warnings of the console, and exceptions
    contexts: list[Any] = field(default_factory=list)

    def __call__(self, place: str | Path, *, width: int = 1100, height: int = 900, dark: bool = False) -> Any:
        """Open a file or an address in a window of its own and return playwright's page."""
        look = {"color_scheme": "dark" if dark else "light", "reduced_motion": "reduce"}
        context = self.browser.new_context(viewport={"width": width, "height": height}, **look)
        context.set_default_timeout(90_000)  # a busy machine is no failure
        self.contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE * 1000)
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.complaints.append(f"exception: {error}"))
        page.on("console", self._heard)
        page.goto(place.as_uri() if isinstance(place, Path) else place)
        return page

    @property
    def outside(self) -> list[str]:
        """Requests that left the file system and this machine."""
        return [url for url in self.requests if not _own(url)]

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")


def _own(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("file", "data", "blob", "about") or parts.hostname in OWN


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """Start the machine's Chromium once for the tests of a module.

    Not for the session: as long as playwright is up, an event loop counts as running in this thread, so that a second
    one (every folder that imports this fixture has its own) and `asyncio.run` in any other test are refused.
    """
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("needs a Chromium: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Open pages; afterwards none may have asked for anything outside, or complained."""
    visits = Visits(chromium)
    yield visits
    for context in visits.contexts:
        context.close()
    assert visits.outside == []
    assert visits.complaints == []
