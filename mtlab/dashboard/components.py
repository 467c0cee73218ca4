"""Components that several pages share. Text is always passed as text, never as markup."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dash import dcc, html

from mtlab.dashboard.address import PageAddress, run_href
from mtlab.dashboard.summaries import CONDITION_ORDER, DAMAGED, RunSummary
from mtlab.report.figures import theme
from mtlab.report.figures.arrangement import arrangements, panel_names
from mtlab.report.formats import numbers

if TYPE_CHECKING:
    import plotly.graph_objects as go

ASSETS = Path(__file__).parent / "assets"
_GRAPH_CONFIG: Any = {
    "displaylogo": False,
    "responsive": True,
    "modeBarButtonsToRemove": ["select2d", "lasso2d", "autoScale2d", "zoomIn2d", "zoomOut2d"],
    "toImageButtonOptions": {"format": "svg"},
}
Component = Any  #: what Dash draws: a component, a text, or a list of them

ARIA_HIDDEN: Mapping[str, Any] = {"aria-hidden": "true"}  #: of components that screen readers skip


class ConditionLabel(NamedTuple):
    """How a condition of a run is shown."""

    mark: str  #: tells it without colour
    word: str
    meaning: str


CONDITIONS: Mapping[str, ConditionLabel] = {
    "done": ConditionLabel("✓", "done", "finished: it never changes again"),
    "running": ConditionLabel("▶", "running", "a worker is at it"),
    "queued": ConditionLabel("⋯", "queued", "waits for a place in the cluster's queue"),
    "pruned": ConditionLabel("✂", "pruned", "the search stopped it: others were better by then"),
    "interrupted": ConditionLabel("■", "interrupted", "cut off: `mtlab run` goes on from its last checkpoint"),
    "new": ConditionLabel("○", "new", "not started yet"),
    "failed": ConditionLabel("✗", "failed", "its last attempt failed"),
    "blocked": ConditionLabel("⊘", "blocked", "waits for a run that failed"),
    DAMAGED: ConditionLabel("⚠", "damaged", "a file of it cannot be read"),
}


def aria_label(name: str) -> dict[str, Any]:
    """Name a component for screen readers."""
    return {"aria-label": name}


def data_name(name: str) -> dict[str, Any]:
    """Give a component a name for assets/pages.js."""
    return {"data-name": name}


def flatten_components(content: Iterable[Component]) -> list[Component]:
    """Flatten nested lists, as Dash takes no others."""
    flat: list[Component] = []
    for component in content:
        flat += flatten_components(component) if isinstance(component, list | tuple) else [component]
    return flat


def badge(condition: str, text: str | None = None) -> Component:
    """Show a condition: its mark and its word."""
    mark, word, meaning = CONDITIONS[condition]
    shown = html.Span(mark, className="mark", **ARIA_HIDDEN)
    return html.Span([shown, text or word], className=f"badge {condition}", title=meaning)


def run_badge(run: RunSummary) -> Component:
    """Show the condition of a run, and of an unfinished one its progress."""
    word = CONDITIONS[run.condition].word
    if run.condition == "queued":
        word += f" (job {run.job})"
    if run.condition in ("running", "interrupted") and run.steps:
        word += f" {min(100, 100 * run.step // run.steps)} %"
    return badge(run.condition, word)


def condition_counts(counts: Mapping[str, int]) -> Component:
    """Show the number of runs in each condition."""
    return html.Span(
        [badge(name, f"{counts[name]} {CONDITIONS[name].word}") for name in CONDITION_ORDER if counts.get(name)],
        className="counts",
    )


def progress_bar(counts: Mapping[str, int], share: float) -> Component:
    """Show progress as a bar with a segment for each condition, as long as its share of the runs."""
    total = sum(counts.values()) or 1
    segments = [
        html.Span(className=f"segment {name}", style={"width": f"{100 * counts[name] / total:.2f}%"})
        for name in CONDITION_ORDER
        if counts.get(name)
    ]
    text = f"{100 * share:.0f} % of all steps are made"
    return html.Div(
        [
            html.Div(segments, className="bar", role="img", **aria_label(text)),
            html.Span(f"{100 * share:.0f} %", className="share", title=text),
        ],
        className="progress",
    )


def empty_notice(what: str, *how: Component) -> Component:
    """Say what is missing and how to make it."""
    return html.Div([html.P(what), *flatten_components(how)], className="empty")


def quiet_text(text: str) -> Component:
    """Write a sentence in quiet type."""
    return html.P(text, className="quiet")


def error_notice(what: str, *details: Component) -> Component:
    """Show an error."""
    return html.Div([html.P(what, className="what"), *flatten_components(details)], className="trouble", role="status")


def command_line(line: str) -> Component:
    """Show a command, with a button that copies it."""
    copy = dcc.Clipboard(content=line, className="copy", title=f"Copy the command {line}")
    return html.Div([html.Code(line), copy], className="command")


def section(title: str, *content: Component, about: str = "") -> Component:
    """Make a section with a title."""
    text = html.P(about, className="about") if about else None
    return html.Section([html.H2(title), text, *flatten_components(content)], className="section")


def definition_list(pairs: Iterable[tuple[str, Component]]) -> Component:
    """List names and values, without those that are empty."""
    shown = [(name, value) for name, value in pairs if value not in (None, "")]
    return html.Dl([html.Div([html.Dt(name), html.Dd(value)]) for name, value in shown], className="facts")


@dataclass(frozen=True)
class TableColumn:
    """A column of a table."""

    name: str
    cells: Sequence[Component]
    numeric: bool = False
    heads: bool = False  #: its cells are the headings of their lines
    help: str = ""

    @property
    def filled(self) -> bool:
        """Whether any cell is not empty."""
        return any(cell is not None and cell != "" for cell in self.cells)


def data_table(
    columns: Sequence[TableColumn], caption: str, classes: Sequence[str] = (), groups: Sequence[str] | None = None
) -> Component:
    """Make a table; on narrow screens each line becomes a card, so each cell carries the name of its column.

    Args:
        columns: of equal length.
        caption: what the table shows, for screen readers.
        classes: CSS classes of the lines.
        groups: the group of each line; its name stands above its first line.

    """
    head = [
        html.Th(column.name, scope="col", className="numeric" if column.numeric else "", title=column.help or None)
        for column in columns
    ]
    lines: list[Component] = []
    for index in range(max((len(column.cells) for column in columns), default=0)):
        if groups is not None and (index == 0 or groups[index] != groups[index - 1]):
            lines.append(html.Tr(html.Th(groups[index], colSpan=len(columns), scope="rowgroup"), className="group"))
        cells = [_cell(column, column.cells[index]) for column in columns]
        lines.append(html.Tr(cells, className=classes[index] if classes else ""))
    return html.Div(
        html.Table([html.Caption(caption, className="unseen"), html.Thead(html.Tr(head)), html.Tbody(lines)]),
        className="table",
        tabIndex=0,
        role="region",
        **aria_label(caption),
    )


def _cell(column: TableColumn, content: Component) -> Component:
    classes = ["numeric"] if column.numeric else []
    if isinstance(content, str) and content in ("", numbers.NONE):
        classes.append("none")
    settings: dict[str, Any] = {"className": " ".join(classes), "data-label": column.name}
    return html.Th(content, scope="row", **settings) if column.heads else html.Td(content, **settings)


def swatch(colour: str) -> Component:
    """Show the colour of a variant in figures."""
    return html.Span(className="swatch", style={"background": colour}, **ARIA_HIDDEN)


def note_list(notes: Sequence[str]) -> Component:
    """List notes; None without any."""
    return html.Ul([html.Li(note) for note in notes], className="notes") if notes else None


def run_link(run: str, text: str, study: str = "") -> Component:
    """Link to the page of a run, seen from a study."""
    return dcc.Link(text, href=run_href(run, study=study))


def page_number(address: PageAddress) -> int:
    """Return the page of a long table that an address asks for, from 1."""
    written = address.text("page")
    return max(int(written), 1) if written.isdecimal() else 1


def page_links(address: PageAddress, page: int, pages: int, name: str) -> Component:
    """Link to the page before and after; None where there is one page.

    Args:
        address: of the page that holds the table.
        page: the number of the table's page, from 1.
        pages: their number.
        name: of the links, for screen readers.

    """
    if pages < 2:
        return None
    links = [
        dcc.Link(f"{word} page", href=address.changed({"page": str(number)}).href)
        for word, number in (("previous", page - 1), ("next", page + 1))
        if 1 <= number <= pages
    ]
    return html.Nav([html.Span(f"page {page} of {pages}"), *links], className="pages", **aria_label(name))


def time_ago(moment: float | None) -> str:
    """Say how long ago a time was, in its largest whole unit.

    >>> time_ago(time.time() - 4000)
    '1 hour ago'
    """
    if moment is None:
        return numbers.NONE
    seconds = max(0.0, time.time() - moment)
    if seconds < 60:
        return "just now"
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= length:
            number = int(seconds // length)
            return f"{number} {unit}{'s' if number > 1 else ''} ago"
    raise AssertionError


def time_element(moment: float | None) -> Component:
    """Show how long ago a time was, with the exact time as a tooltip."""
    if moment is None:
        return numbers.NONE
    exact = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
    return html.Time(time_ago(moment), dateTime=exact, title=exact)


def figure_component(figure: go.Figure, name: str, dark: bool, *, caption: bool = True) -> Component:
    """Put a figure on a page: title and caption as text, the plot fitted to the page and its theme.

    Zoom and hidden lines survive a redraw.

    Args:
        figure: see `theme.finish`.
        name: of the figure on its page.
        dark: draw it for a dark background.
        caption: show the caption; False where the page shows it elsewhere.

    """
    meta = dict(figure.layout.meta)
    if not figure.data:  # an annotation says why there is nothing to draw
        why = " ".join(str(note.text) for note in figure.layout.annotations).replace("<br>", " ")
        return html.Div([html.H3(meta["title"]), empty_notice(why)], className="figure")
    fitted = theme.without_title(theme.dark(figure) if dark else figure)
    arranged = [{"width": each.width, "layout": each.layout} for each in arrangements(figure)]
    kept = {"arrangements": arranged, "panels": panel_names(figure)}  # pages.js chooses one, figures.js names numbers
    fitted.update_layout(uirevision=meta["title"], meta=kept)
    graph = dcc.Graph(
        figure=fitted,
        id=f"figure-{name}",
        config=_GRAPH_CONFIG,
        responsive=True,
        style={"height": f"{meta['height']}px"},
        className="graph",
    )
    csv = html.Button("CSV", className="csv", title="Save the numbers that are shown", **data_name(name))
    text = [
        html.Div([html.H3(meta["title"]), csv], className="title"),
        html.P(meta["caption"]) if meta["caption"] and caption else None,
    ]
    label = aria_label(f"{meta['title']}. {meta['caption']}")
    return html.Figure([html.Figcaption(text), html.Div(graph, role="img", **label)], className="figure")
