"""A place on a page that shows one of several figures, chosen by selectors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mtlab.report.figures import theme
from mtlab.report.page.html_writer import Markup, element, json_script

if TYPE_CHECKING:
    import plotly.graph_objects as go

KIND = "kind"  #: the choice that one switch makes for all figures of a page
_PANEL = 130  #: minimal width of a panel in pixels; narrower pages scroll


@dataclass(frozen=True)
class FigureChoice:
    """A selector of figures."""

    key: str
    label: str
    options: Mapping[str, str]  #: value → label
    last: bool = False  #: start with the last option that has a figure, not the first


@dataclass(frozen=True)
class FigureGroup:
    """Figures of one kind, for each combination of choices."""

    id: str
    title: str
    figures: Mapping[tuple[str, ...], go.Figure]  #: by one value of each choice
    choices: tuple[FigureChoice, ...] = ()

    def _start(self) -> dict[str, str]:
        """Return the choices at first: those of a figure with data, of the page's first kind if possible."""
        keys = [key for key, figure in self.figures.items() if figure.data]
        for place, choice in enumerate(self.choices):
            if choice.key == KIND:
                keys = [key for key in keys if key[place] == next(iter(choice.options))] or keys
        chosen: dict[str, str] = {}
        for place, choice in enumerate(self.choices):
            value = keys[-1 if choice.last else 0][place]
            keys = [key for key in keys if key[place] == value]
            chosen[choice.key] = value
        return chosen

    def to_html(self) -> Markup:
        """Write the selectors, and the figures as data that the page's script draws."""
        heading = element("h3", self.title, id=f"{self.id}-title")
        reasons = dict.fromkeys(str(each.layout.meta.get("why")) for each in self.figures.values() if not each.data)
        if not any(each.data for each in self.figures.values()):
            return element("section", heading, element("p", " ".join(reasons), class_="missing"), id=self.id)
        start = self._start()
        choices = [
            element(
                "label",
                choice.label,
                " ",
                element(
                    "select",
                    [
                        element("option", name, value=value, selected=value == start[choice.key])
                        for value, name in choice.options.items()
                    ],
                    data_choice=choice.key,
                ),
            )
            for choice in self.choices
            if choice.key != KIND and len(choice.options) > 1
        ]
        height = self.figures[tuple(start.values())].layout.meta["height"]  # the page does not jump once it is drawn
        plot = {"class_": "plot", "role": "img", "aria_labelledby": f"{self.id}-title", "style": f"height:{height}px"}
        known = {
            "choices": [{"key": choice.key, "options": list(choice.options)} for choice in self.choices],
            "figures": {
                json.dumps(key, separators=(",", ":"), ensure_ascii=False): _figure_data(figure)
                for key, figure in self.figures.items()
            },
        }
        return element(
            "section",
            heading,
            element("div", choices, class_="choices") if choices else None,
            element(
                "figure",
                element("div", element("div", **plot)),
                element("figcaption", aria_live="polite"),
            ),
            json_script(known, class_="figures"),
            class_="gallery",
            id=self.id,
        )


def _figure_data(figure: go.Figure) -> dict[str, Any]:
    """Return the data for plotly.js without a template: the page holds both templates once."""
    meta = figure.layout.meta
    if not figure.data:
        return {"why": meta.get("why", "")}
    plain = json.loads(figure.to_json())  # `theme.without_title` would validate every number again
    layout = {key: value for key, value in plain["layout"].items() if key not in ("template", "meta", "title", "width")}
    layout |= {"height": meta["height"], "margin": {**layout.get("margin", {}), "t": theme.top_margin(figure)}}
    return {"data": plain["data"], "layout": layout, "caption": meta["caption"], "width": _width(figure)}


def _width(figure: go.Figure) -> int:
    """Return the pixels that a figure needs for its panels, their titles, and the names beside them."""
    starts = {round((axis.domain or (0.0,))[0], 3) for axis in figure.select_xaxes()}
    titles = [axis.title.text for axis in figure.select_xaxes()] + [each.text for each in figure.layout.annotations]
    names = [str(name) for trace in figure.data if trace.y is not None for name in trace.y if isinstance(name, str)]
    beside = 5 * max((len(line) for name in names for line in name.split("<br>")), default=0)
    panel = max(_PANEL, 10 + 6 * max((len(title) for title in titles if title), default=0))
    return 90 + beside + panel * max(1, len(starts))
