"""HTML, in which every text is escaped unless it is markup already."""

from __future__ import annotations

import html
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Content = str | Iterable[Any] | None

_VOID = {"img", "input", "meta", "br", "hr"}


def element(tag: str, *content: Content, **attributes: str | int | bool | None) -> Markup:
    """Write an element. An attribute's `_` is a `-`, one at its end is dropped; None and False leave it out.

    >>> element("a", "1 < 2", href="#x", class_="y", hidden=True, title=None)
    '<a href="#x" class="y" hidden>1 &lt; 2</a>'
    """
    written = []
    for name, value in attributes.items():
        key = name.rstrip("_").replace("_", "-")
        if value is True:
            written.append(key)
        elif value is not None and value is not False:
            written.append(f'{key}="{html.escape(str(value))}"')
    opening = " ".join([tag, *written])
    return Markup(f"<{opening}>" if tag in _VOID else f"<{opening}>{join(content)}</{tag}>")


def join(content: Content) -> Markup:
    """Write one after the other: markup as it is, other text escaped, lists item by item, nothing for None.

    >>> joined(["a & b", [element("b", "c"), None]])
    'a &amp; b<b>c</b>'
    """
    if content is None:
        return Markup("")
    if isinstance(content, Markup):
        return content
    if isinstance(content, str):
        return Markup(html.escape(content))
    return Markup("".join(join(each) for each in content))


def json_script(value: Any, **attributes: str) -> Markup:
    """Embed plain data for a script to read; nothing in it can end the element."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    safe = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return element("script", Markup(safe), type="application/json", **attributes)


@dataclass(frozen=True)
class HtmlCell:
    """A cell of a table that is more than its content."""

    content: Content
    class_: str


def table(
    header: Iterable[Content],
    lines: Iterable[Iterable[Content | HtmlCell]],
    *,
    caption: str,
    left: Collection[int] | None = None,
) -> Markup:
    """Write a table that scrolls by itself where it is wider than the page; the first column heads its lines.

    Args:
        header: of the columns.
        lines: cell by cell.
        caption: what the table is, for those who cannot see it at a glance.
        left: columns of words; None: all are.

    """
    columns = list(header)
    words = range(len(columns)) if left is None else left
    head = [
        element("th", each, scope="col", class_="left" if place in words else None)
        for place, each in enumerate(columns)
    ]
    body = []
    for line in lines:
        first, *rest = (each if isinstance(each, HtmlCell) else HtmlCell(each, "") for each in line)
        cells = []
        for place, each in enumerate(rest, 1):
            classes = [*(["left"] if place in words else []), *each.class_.split()]
            cells.append(element("td", each.content, class_=" ".join(classes) or None))
        body.append(element("tr", element("th", first.content, scope="row"), cells))
    made = element("table", element("caption", caption), element("thead", element("tr", head)), element("tbody", body))
    return element("div", made, class_="scroll", tabindex=0, role="region", aria_label=caption)
