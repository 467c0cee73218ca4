"""What a page is drawn from, and what it is drawn as."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mtlab.dashboard.data import Data
from mtlab.dashboard.parts import Part
from mtlab.dashboard.views import View


@dataclass(frozen=True)
class Look:
    """One look at the store."""

    data: Data
    view: View  #: which page, and what was chosen on it
    dark: bool = False  #: are figures to be drawn on a dark ground?


@dataclass(frozen=True)
class Page:
    """A page, drawn."""

    title: str
    head: Part
    controls: Sequence[Part] = field(default=())
    body: Sequence[Part] = ()
