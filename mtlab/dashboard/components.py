"""Pieces that several pages are made of. All text is given as text, never as markup: whatever it holds, it is shown."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dash import dcc, html

from mtlab.dashboard.address import run_href
from mtlab.dashboard.summaries import DAMAGED, ORDER, RunSummary
from mtlab.report.formats import numbers

ASSETS = Path(__file__).parent / "assets"
Component = Any  #: what Dash draws: a component, a text, or a list of them

ARIA_HIDDEN: Mapping[str, Any] = {"aria-hidden": "true"}  #: of what says nothing to those who cannot see it

#: condition → mark, word, and what it means; the mark tells without colour
CONDITIONS: Mapping[str, tuple[str, str, str]] = {
    "done": ("✓", "done", "finished: it never changes again"),
    "running": ("▶", "running", "a worker is at it"),
    "queued": ("⋯", "queued", "waits for a place in the cluster's queue"),
    "interrupted": ("■", "stopped", "cut off: `mtlab run` goes on from its last checkpoint"),
    "new": ("○", "waiting", "not started yet"),
    "failed": ("✗", "failed", "its last attempt failed"),
    "blocked": ("⊘", "blocked", "waits for a run that failed"),
    DAMAGED: ("⚠", "damaged", "a file of it cannot be read"),
}


def aria_label(what: str) -> dict[str, Any]:
    """Name a component for those who cannot see it."""
    return {"aria-label": what}


def flatten_components(content: Iterable[Component]) -> list[Component]:
    """Put lists of parts within a list into one list, as Dash draws no others."""
    found: list[Component] = []
    for part in content:
        found += flatten_components(part) if isinstance(part, list | tuple) else [part]
    return found


def badge(condition: str, text: str | None = None) -> Component:
    """Show in which condition something is: a mark and a word."""
    mark, word, meaning = CONDITIONS[condition]
    shown = html.Span(mark, className="mark", **ARIA_HIDDEN)
    return html.Span([shown, text or word], className=f"badge {condition}", title=meaning)


def run_badge(run: RunSummary) -> Component:
    """Show in which condition a run is; of one under way also how far it is."""
    word = CONDITIONS[run.condition][1]
    if run.condition == "queued":
        word += f" (job {run.job})"
    if run.condition in ("running", "interrupted") and run.steps:
        word += f" {min(100, 100 * run.step // run.steps)} %"
    return badge(run.condition, word)


def condition_counts(found: Mapping[str, int]) -> Component:
    """Show how many runs are in which condition."""
    return html.Span(
        [badge(name, f"{found[name]} {CONDITIONS[name][1]}") for name in ORDER if found.get(name)], className="counts"
    )


def progress_bar(found: Mapping[str, int], share: float) -> Component:
    """Show how far all runs are, as a bar: a segment for each condition, as long as its share of the runs."""
    total = sum(found.values()) or 1
    segments = [
        html.Span(className=f"segment {name}", style={"width": f"{100 * found[name] / total:.2f}%"})
        for name in ORDER
        if found.get(name)
    ]
    told = f"{100 * share:.0f} % of all steps are made"
    return html.Div(
        [
            html.Div(segments, className="bar", role="img", **aria_label(told)),
            html.Span(f"{100 * share:.0f} %", className="share", title=told),
        ],
        className="progress",
    )


def empty_notice(what: str, *how: Component) -> Component:
    """Say what is missing, and which command makes it."""
    return html.Div([html.P(what), *flatten_components(how)], className="empty")


def quiet_text(text: str) -> Component:
    """Add a quieter sentence."""
    return html.P(text, className="quiet")


def error_notice(what: str, *details: Component) -> Component:
    """Say what went wrong."""
    return html.Div([html.P(what, className="what"), *flatten_components(details)], className="trouble", role="status")


def command_line(line: str) -> Component:
    """Show a command, with a button that copies it."""
    copy = dcc.Clipboard(content=line, className="copy", title=f"Copy the command {line}")
    return html.Div([html.Code(line), copy], className="command")


def section(title: str, *content: Component, about: str = "") -> Component:
    """Make a part of a page with a title of its own."""
    told = html.P(about, className="about") if about else None
    return html.Section([html.H2(title), told, *flatten_components(content)], className="section")


def definition_list(pairs: Iterable[tuple[str, Component]]) -> Component:
    """Show names and values; those without a value are left out."""
    shown = [(name, value) for name, value in pairs if value not in (None, "")]
    return html.Dl([html.Div([html.Dt(name), html.Dd(value)]) for name, value in shown], className="facts")


@dataclass(frozen=True)
class TableColumn:
    """A column of a table."""

    name: str
    cells: Sequence[Component]
    numeric: bool = False
    heads: bool = False  #: do its cells name their lines?
    help: str = ""

    @property
    def says(self) -> bool:
        """Does it say anything?"""
        return any(cell is not None and cell != "" for cell in self.cells)


def data_table(
    columns: Sequence[TableColumn], caption: str, classes: Sequence[str] = (), groups: Sequence[str] | None = None
) -> Component:
    """Make a table; on narrow screens each line becomes a card, so every cell knows the name of its column.

    Args:
        columns: of equal length.
        caption: what the table shows, for those who cannot see it.
        classes: of the lines, if they have any.
        groups: what each line belongs to; where that changes, it is told above the line.

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
    """Show the colour that a variant has in figures."""
    return html.Span(className="swatch", style={"background": colour}, **ARIA_HIDDEN)


def note_list(told: Sequence[str]) -> Component:
    """List what a reader must know."""
    return html.Ul([html.Li(each) for each in told], className="notes") if told else None


def run_link(run: str, text: str, study: str = "") -> Component:
    """Link to the page of a run, remembering the study that it was come upon in."""
    return dcc.Link(text, href=run_href(run, study=study))


def time_ago(moment: float | None) -> str:
    """Say how long ago something was, in the roundest words that are true.

    >>> ago(time.time() - 4000)
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
    """Show how long ago something was; pointed at, when."""
    if moment is None:
        return numbers.NONE
    exact = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
    return html.Time(time_ago(moment), dateTime=exact, title=exact)


def format_setting(value: Any) -> str:
    """Write a value of a configuration as one would in YAML, on one line.

    >>> shown({"name": "static", "weight": None}), shown([1, 2]), shown(True)
    ('{name: static, weight: null}', '[1, 2]', 'true')
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {format_setting(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(format_setting, value)) + "]"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
