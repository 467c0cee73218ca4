"""HTML, in which every text is escaped unless it is markup already."""

from __future__ import annotations

import html
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mtlab.report.formats.tables import ReportTable


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

    >>> join(["a & b", [element("b", "c"), None]])
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


def html_table(table: ReportTable, caption: str, colours: Mapping[str, str] | None = None) -> Markup:
    """Write a table of a report.

    Args:
        table: what to write.
        caption: what the table is, for screen readers.
        colours: first cell of a line → its colour in figures.

    """
    lines = []
    for line in table.lines:
        cells = [element("strong", cell.text) if cell.best else join(cell.text) for cell in line]
        if line[0].best:
            cells[0] = Markup(cells[0] + " ★")
        if colours and line[0].text in colours:
            cells[0] = Markup(element("i", class_="swatch", style=f"background:{colours[line[0].text]}") + cells[0])
        lines.append([(cell, source.outcome.replace(" ", "-")) for cell, source in zip(cells, line, strict=True)])
    return _table(table.flat_header, lines, caption, table.text_columns)


def plain_table(
    header: Sequence[Content], lines: Iterable[Iterable[Content]], *, caption: str, text_columns: Collection[int] = ()
) -> Markup:
    """Write a table of any content.

    Args:
        header: of the columns.
        lines: cell by cell.
        caption: what the table is, for screen readers.
        text_columns: columns that do not hold numbers; empty: all.

    """
    cells = [[(cell, "") for cell in line] for line in lines]
    return _table(header, cells, caption, text_columns or range(len(header)))


def _table(
    header: Sequence[Content],
    lines: Iterable[Sequence[tuple[Content, str]]],
    caption: str,
    text_columns: Collection[int],
) -> Markup:
    """Write a table that scrolls by itself where it is wider than the page; the first column heads its lines.

    Args:
        header: of the columns.
        lines: content and class of each cell.
        caption: of the table.
        text_columns: columns that do not hold numbers.

    """
    head = [
        element("th", each, scope="col", class_="left" if at in text_columns else None)
        for at, each in enumerate(header)
    ]
    body = []
    for (first, _), *rest in lines:
        cells = []
        for at, (content, class_) in enumerate(rest, 1):
            classes = [*(["left"] if at in text_columns else []), *class_.split()]
            cells.append(element("td", content, class_=" ".join(classes) or None))
        body.append(element("tr", element("th", first, scope="row"), cells))
    table = element("table", element("caption", caption), element("thead", element("tr", head)), element("tbody", body))
    return element("div", table, class_="scroll", tabindex=0, role="region", aria_label=caption)
