"""A place on a page that shows one of several figures, chosen by selectors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

from mtlab.report.figures import theme
from mtlab.report.figures.arrangement import arrangements, panel_names
from mtlab.report.page.html_writer import Markup, element, json_script

if TYPE_CHECKING:
    import plotly.graph_objects as go

KIND = "kind"  #: the choice that one switch makes for all figures of a page
_CSV = "Save the numbers that are shown"


@dataclass(frozen=True)
class FigureChoice:
    """A selector of figures."""

    key: str
    label: str
    options: Mapping[Any, str]  #: value → label; values are strings
    start: str | None = None  #: the option to start with, if it has a figure; else the first that has one
    view: bool = False  #: another view of the same numbers: `mtlab figures` writes the first one, unless told by name
    layouts: Mapping[str, Mapping[str, Any]] | None = None  #: value → what it changes in the layout of any figure


class FiguresOnDemand(Mapping[tuple[str, ...], "go.Figure"]):
    """Figures that are drawn when they are asked for: a name or a list of names needs not all of them."""

    def __init__(self, choices: Sequence[FigureChoice], draw: Callable[..., go.Figure]) -> None:
        """Take what draws a figure from one value of each choice without `layouts`."""
        options = [choice.options for choice in choices if choice.layouts is None]
        self._keys = dict.fromkeys(product(*options))
        self._draw = draw
        self._drawn: dict[tuple[str, ...], go.Figure] = {}

    def __getitem__(self, key: tuple[str, ...]) -> go.Figure:
        if key not in self._keys:
            raise KeyError(key)
        if key not in self._drawn:
            self._drawn[key] = self._draw(*key)
        return self._drawn[key]

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


@dataclass(frozen=True)
class FigureGroup:
    """Figures of one kind, for each combination of choices."""

    id: str
    title: str
    figures: Mapping[tuple[str, ...], go.Figure]  #: by one value of each choice without `layouts`
    choices: tuple[FigureChoice, ...] = ()

    @property
    def drawn_choices(self) -> list[FigureChoice]:
        """The choices that have figures of their own."""
        return [choice for choice in self.choices if choice.layouts is None]

    @property
    def first(self) -> go.Figure:
        """The figure that is shown at first; one without data, if none has any."""
        if not any(figure.data for figure in self.figures.values()):
            return next(iter(self.figures.values()))
        return self.figures[tuple(self._start().values())]

    def _start(self) -> dict[str, str]:
        """Return the choices at first: those of a figure with data, of the page's first kind if possible."""
        keys = [key for key, figure in self.figures.items() if figure.data]
        choices = self.drawn_choices
        for place, choice in enumerate(choices):
            if choice.key == KIND:
                keys = [key for key in keys if key[place] == next(iter(choice.options))] or keys
        chosen: dict[str, str] = {}
        for place, choice in enumerate(choices):
            value = next((key[place] for key in keys if key[place] == choice.start), keys[0][place])
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
        first = {choice.key: next(iter(choice.options)) for choice in self.choices} | start
        choices = [
            element(
                "label",
                choice.label,
                " ",
                element(
                    "select",
                    [
                        element("option", name, value=value, selected=value == first[choice.key])
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
            "choices": [{"key": choice.key, "options": list(choice.options)} for choice in self.drawn_choices],
            "layouts": {choice.key: choice.layouts for choice in self.choices if choice.layouts is not None},
            "figures": {
                json.dumps(key, separators=(",", ":"), ensure_ascii=False): _figure_data(figure)
                for key, figure in self.figures.items()
            },
        }
        return element(
            "section",
            heading,
            element("button", "CSV", type="button", class_="csv", title=_CSV),
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
    layout |= {"meta": {"panels": panel_names(figure)}}
    layout |= {"height": meta["height"], "margin": {**layout.get("margin", {}), "t": theme.top_margin(figure)}}
    arranged = [{"width": each.width, "layout": each.layout} for each in arrangements(figure)]
    return {"data": plain["data"], "layout": layout, "caption": meta["caption"], "arrangements": arranged}
