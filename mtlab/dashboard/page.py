"""What a page is drawn from, and what it is drawn as."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from mtlab.dashboard.address import PageAddress
from mtlab.dashboard.components import Component
from mtlab.dashboard.dashboard_data import DashboardData


@dataclass(frozen=True)
class PageRequest:
    """One look at the store."""

    data: DashboardData
    view: PageAddress  #: which page, and what was chosen on it
    dark: bool = False  #: are figures to be drawn on a dark ground?


@dataclass(frozen=True)
class Page:
    """A page, drawn."""

    title: str
    head: Component
    controls: Sequence[Component] = field(default=())
    body: Sequence[Component] = ()
