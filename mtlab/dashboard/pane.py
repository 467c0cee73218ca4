"""One view of a study: what it is drawn from, and what it is drawn as."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mtlab.dashboard import controls, drawn
from mtlab.dashboard.address import PageAddress
from mtlab.dashboard.components import Component
from mtlab.dashboard.page import PageRequest
from mtlab.dashboard.selection import StudySelection
from mtlab.dashboard.summaries import StudySummary
from mtlab.recording.reader import Kind

if TYPE_CHECKING:
    import plotly.graph_objects as go

KINDS: Mapping[str, str] = {"contributions": "contributions", "weights": "raw weights"}


@dataclass(frozen=True)
class StudyRequest:
    """A look at a study."""

    look: PageRequest
    card: StudySummary
    plan: Mapping[str, Any]  #: the stored plan, whole
    scope: StudySelection  #: the part of it that is looked at

    @property
    def view(self) -> PageAddress:
        """The address."""
        return self.look.view

    def figure(self, made: go.Figure, name: str, *, caption: bool = True) -> Component:
        """Put a figure on the page."""
        return drawn.figure_component(made, name, self.look.dark, caption=caption)


@dataclass(frozen=True)
class StudyTab:
    """One view of a study, drawn."""

    body: Sequence[Component]
    controls: Sequence[Component] = field(default=())
    whole: bool = False  #: is it of the whole study, whatever is filtered?


def chosen_kind(view: PageAddress) -> Kind:
    """Say whether contributions or weights are looked at."""
    return "weights" if view.text("kind") == "weights" else "contributions"


def kind_switch(view: PageAddress) -> Component:
    """Choose between contributions and weights."""
    return controls.radio_buttons("kind", "shown", KINDS, chosen_kind(view))
