"""What is chosen on a page: each control sets one name of the page's address. See `app.chosen`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dash import dcc, html

from mtlab.dashboard import components
from mtlab.dashboard.components import Component

Options = Mapping[str, str]  #: value → words


@dataclass(frozen=True)
class ControlValue:
    """What a control says."""

    name: str  #: of the address, that it sets
    default: str  #: what the address need not mention; of a box the value that it stands for
    value: Any

    @classmethod
    def of(cls, group: Sequence[Mapping[str, Any]]) -> list[ControlValue]:
        """Read what Dash tells of all controls of a kind."""
        return [cls(*_named(each["id"]), each.get("value")) for each in group]

    @property
    def written(self) -> str | list[str] | None:
        """As it stands in the address; None if it need not."""
        if isinstance(self.value, list):
            return [str(value) for value in self.value]
        return None if self.value in (None, self.default) else str(self.value)


def _named(identity: Mapping[str, str]) -> tuple[str, str]:
    return (identity["sets"], identity["default"]) if "sets" in identity else (identity["picks"], identity["of"])


def control_id(name: str, default: str = "") -> dict[str, str]:
    """Return the id of a control: the name that it sets, and the value that the address need not mention."""
    return {"sets": name, "default": default}


def radio_buttons(name: str, label: str, options: Options, value: str, default: str | None = None) -> Component:
    """Choose one of a few: all are seen at once.

    Args:
        name: what of the address it sets.
        label: what is chosen.
        options: what can be.
        value: what is.
        default: what the address need not mention; by default the first option. Empty where what is chosen without an
            address depends on what is in the store: a link must mean the same tomorrow.

    """
    named = control_id(name, _first(options, default))
    buttons = dcc.RadioItems(options=_options(options), value=value, id=named, className="switch", inline=True)
    return html.Div(
        [html.Span(label, className="label", **components.ARIA_HIDDEN), buttons],
        className="control",
        role="group",
        **components.aria_label(label),
    )


def dropdown(
    name: str, label: str, options: Options, value: str, default: str | None = None, *, wide: bool = False
) -> Component:
    """Choose one of many; see `radio_buttons`. `wide` is for long options."""
    named = control_id(name, _first(options, default))
    menu = dcc.Dropdown(options=_options(options), value=value, id=named, clearable=False, className="menu")
    return _labelled(label, menu, wide=wide)


def multi_dropdown(
    name: str, label: str, options: Options, value: Sequence[str], placeholder: str = "all"
) -> Component:
    """Choose any number of many."""
    menu = dcc.Dropdown(
        options=_options(options),
        value=list(value),
        id=control_id(name),
        multi=True,
        className="menu",
        placeholder=placeholder,
    )
    return _labelled(label, menu)


def search_box(name: str, label: str, value: str, placeholder: str = "") -> Component:
    """Write a text, such as one that is looked for."""
    box = dcc.Input(
        value=value, id=control_id(name), type="search", debounce=0.3, placeholder=placeholder, className="box"
    )
    return _labelled(label, box)


def checkbox(name: str, value: str, label: str, ticked: bool) -> Component:
    """Choose whether `value` is in the list `name`; the label is for those who cannot see where the box stands."""
    return dcc.Checklist(
        options=[{"value": "yes", "label": html.Span(label, className="unseen")}],
        value=["yes"] if ticked else [],
        id={"picks": name, "of": value},
        className="tick",
    )


def _first(options: Options, default: str | None) -> str:
    return next(iter(options), "") if default is None else default


def _options(options: Options) -> list[dict[str, str]]:
    return [{"value": value, "label": words} for value, words in options.items()]


def _labelled(label: str, control: Component, *, wide: bool = False) -> Component:
    """Put a label before a control; Dash writes the id of the control as JSON."""
    target = json.dumps(control.id, sort_keys=True, separators=(",", ":"))
    return html.Div(
        [html.Label(label, htmlFor=target, className="label"), control], className="control wide" if wide else "control"
    )
