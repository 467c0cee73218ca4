"""What a visitor does on the dashboard's pages, and waits for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Visit = Callable[..., Any]  #: the fixture `visit`
Serve = Callable[[Path], str]  #: the fixture `serve`


def ready(page: Any, title: str) -> None:
    """Wait until a page is drawn."""
    page.wait_for_selector("html:not(.going)", state="attached")
    page.wait_for_selector(f"h1:has-text('{title}')")


def drawn(page: Any) -> int:
    """Count the figures that are drawn, once all are."""
    asked = page.locator(".graph").count()
    for place in range(asked):
        page.locator(".graph .main-svg").nth(place).wait_for(state="attached")
    return int(asked)


def pick(page: Any, label: str, option: str) -> None:
    """Choose an option of a menu."""
    page.locator(f".control:has(.label:text-is('{label}')) button").click()
    page.locator(".dash-dropdown-content .dash-dropdown-option", has_text=option).first.click()


def option(page: Any, text: str) -> Any:
    """Find a button of a switch."""
    return page.locator(".switch label", has=page.get_by_text(text, exact=True))


def go(page: Any, address: str, title: str) -> None:
    """Go to an address within the application, as links and the back button do, and wait until it is drawn."""
    page.evaluate(
        "address => { history.pushState({}, '', address); dispatchEvent(new PopStateEvent('popstate')) }", address
    )
    ready(page, title)
    drawn(page)
