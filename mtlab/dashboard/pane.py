"""One view of a study: what it is drawn from, and what it is drawn as."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mtlab.dashboard import controls, drawn
from mtlab.dashboard.cards import StudyCard
from mtlab.dashboard.page import Look
from mtlab.dashboard.parts import Part
from mtlab.dashboard.scope import Scope
from mtlab.dashboard.views import View
from mtlab.recording.reader import Kind

if TYPE_CHECKING:
    import plotly.graph_objects as go

KINDS: Mapping[str, str] = {"contributions": "contributions", "weights": "raw weights"}


@dataclass(frozen=True)
class Studied:
    """A look at a study."""

    look: Look
    card: StudyCard
    plan: Mapping[str, Any]  #: the stored plan, whole
    scope: Scope  #: the part of it that is looked at

    @property
    def view(self) -> View:
        """The address."""
        return self.look.view

    def figure(self, made: go.Figure, name: str, *, caption: bool = True) -> Part:
        """Put a figure on the page."""
        return drawn.figure(made, name, self.look.dark, caption=caption)


@dataclass(frozen=True)
class Pane:
    """One view of a study, drawn."""

    body: Sequence[Part]
    controls: Sequence[Part] = field(default=())
    whole: bool = False  #: is it of the whole study, whatever is filtered?


def kind_of(view: View) -> Kind:
    """Say whether contributions or weights are looked at."""
    return "weights" if view.text("kind") == "weights" else "contributions"


def kind_switch(view: View) -> Part:
    """Choose between contributions and weights."""
    return controls.switch("kind", "shown", KINDS, kind_of(view))
