"""Controls of pages: each sets one name of the page's address, see `app.apply_controls`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dash import dcc, html

from mtlab.dashboard import components
from mtlab.dashboard.components import Component

Options = Mapping[Any, str]  #: value, a string → label


@dataclass(frozen=True)
class ControlValue:
    """The value of a control."""

    name: str  #: that it sets in the address
    default: str  #: value that the address leaves out; of a checkbox the value that it stands for
    value: Any

    @classmethod
    def of(cls, group: Sequence[Mapping[str, Any]]) -> list[ControlValue]:
        """Read the values of all controls of a kind from Dash's callback context."""
        return [cls(*_name_and_default(each["id"]), each.get("value")) for each in group]

    @property
    def address_value(self) -> str | list[str] | None:
        """The value for the address; None for the default."""
        if isinstance(self.value, list):
            return [str(value) for value in self.value]
        return None if self.value in (None, self.default) else str(self.value)


def _name_and_default(identity: Mapping[str, str]) -> tuple[str, str]:
    return (identity["sets"], identity["default"]) if "sets" in identity else (identity["picks"], identity["of"])


def control_id(name: str, default: str = "") -> dict[str, str]:
    """Return the id of a control: the name that it sets, and the value that the address leaves out."""
    return {"sets": name, "default": default}


def radio_buttons(name: str, label: str, options: Options, value: str, default: str | None = None) -> Component:
    """Make radio buttons, for a few options that are all visible.

    Args:
        name: that it sets in the address.
        label: of the control.
        options: to choose from.
        value: the chosen one.
        default: value that the address leaves out; None: the first option. Empty where the default depends on what is
            in the store, so that a link means the same tomorrow.

    """
    named = control_id(name, _default_of(options, default))
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
    """Make a menu to choose one of many options, see `radio_buttons`; `wide` for long labels."""
    named = control_id(name, _default_of(options, default))
    menu = dcc.Dropdown(options=_options(options), value=value, id=named, clearable=False, className="menu")
    return _labelled(label, menu, wide=wide)


def multi_dropdown(name: str, label: str, options: Options, value: Sequence[str]) -> Component:
    """Make a menu to choose any number of options."""
    menu = dcc.Dropdown(
        options=_options(options),
        value=list(value),
        id=control_id(name),
        multi=True,
        className="menu",
        placeholder="all",
    )
    return _labelled(label, menu)


def search_box(name: str, label: str, value: str, placeholder: str = "") -> Component:
    """Make a box for a text to search for."""
    box = dcc.Input(
        value=value, id=control_id(name), type="search", debounce=0.3, placeholder=placeholder, className="box"
    )
    return _labelled(label, box)


def checkbox(name: str, value: str, label: str, ticked: bool) -> Component:
    """Make a checkbox for whether `value` is in the list `name`; the label is for screen readers."""
    return dcc.Checklist(
        options=[{"value": "yes", "label": html.Span(label, className="unseen")}],
        value=["yes"] if ticked else [],
        id={"picks": name, "of": value},
        className="tick",
    )


def _default_of(options: Options, default: str | None) -> str:
    return next(iter(options), "") if default is None else default


def _options(options: Options) -> list[dict[str, str]]:
    return [{"value": value, "label": label} for value, label in options.items()]


def _labelled(label: str, control: Component, *, wide: bool = False) -> Component:
    """Put a label before a control; Dash writes the id of the control as JSON."""
    target = json.dumps(control.id, sort_keys=True, separators=(",", ":"))
    return html.Div(
        [html.Label(label, htmlFor=target, className="label"), control], className="control wide" if wide else "control"
    )
