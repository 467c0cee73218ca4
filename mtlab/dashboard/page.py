"""Requests for pages, and pages as Dash components."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mtlab.dashboard import components, controls
from mtlab.dashboard.address import PageAddress
from mtlab.dashboard.components import Component
from mtlab.dashboard.dashboard_data import DashboardData
from mtlab.dashboard.selection import StudySelection
from mtlab.dashboard.summaries import StudySummary
from mtlab.recording.reader import Kind
from mtlab.report.figures.panels import KIND_MENU
from mtlab.runs.shell_command import shell_command

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class PageRequest:
    """The address that a browser asks for, and the store that answers."""

    data: DashboardData
    address: PageAddress
    dark: bool = False  #: draw figures for a dark background

    @property
    def kind(self) -> Kind:
        """Whether contributions or weights are shown."""
        return "weights" if self.address.text("kind") == "weights" else "contributions"

    def command_line(self, *words: str) -> Component:
        """Show a command of mtlab on this store."""
        return components.command_line(shell_command(*words, store=self.data.store))

    def kind_switch(self) -> Component:
        """Make the switch between contributions and weights."""
        return controls.radio_buttons("kind", "shown", KIND_MENU, self.kind)

    def figure(self, figure: go.Figure, name: str, *, caption: bool = True) -> Component:
        """Put a figure on the page, see `components.figure_component`."""
        return components.figure_component(figure, name, self.dark, caption=caption)


@dataclass(frozen=True, kw_only=True)
class StudyRequest(PageRequest):
    """A request for the page of a study."""

    summary: StudySummary
    plan: Mapping[str, Any]  #: the stored plan
    selection: StudySelection  #: the part of the plan that the address selects


@dataclass(frozen=True)
class Page:
    """A page as Dash components."""

    title: str
    head: Component
    controls: Sequence[Component] = field(default=())
    body: Sequence[Component] = ()


@dataclass(frozen=True)
class StudyTab:
    """One tab of a study's page as Dash components."""

    body: Sequence[Component]
    controls: Sequence[Component] = field(default=())
    whole_study: bool = False  #: it ignores filters and grouping


@dataclass(frozen=True)
class PageType:
    """The functions behind all pages of one kind."""

    draw: Callable[[PageRequest], Page]
    state: Callable[[PageRequest], object]  #: what the page depends on: it is drawn again when this has changed
