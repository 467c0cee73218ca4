"""The key `tracking` of a study: tracker → its options; no part of a run's identity."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtlab.config.check import check_config, to_plain
from mtlab.config.plugins import import_plugins
from mtlab.errors import UserError, place_errors
from mtlab.tracking.base import TRACKERS

TrackerOptions = dict[str, Any]  #: tracker → its options, of the class that it declares


def check_tracking(given: Any) -> TrackerOptions:
    """Check what a study has below `tracking`; a tracker that is null is off.

    Raises:
        UserError: no mapping, an unknown tracker, or wrong options; the key is below `tracking`.

    """
    if not isinstance(given, Mapping):
        raise UserError(f"expected tracker → options, found {given!r}", key="tracking")
    checked: TrackerOptions = {}
    for name, options in given.items():
        with place_errors(key=f"tracking.{name}"):
            entry = TRACKERS.get(str(name))
            if options is None:
                continue
            if not isinstance(options, Mapping):
                raise UserError(f"expected a mapping of options ({{}} for none), found {options!r}")
            checked[entry.name] = check_config(entry.config, options)
    return checked


def plain_tracking(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return checked options as plain data."""
    return {name: to_plain(each) for name, each in options.items()}


def stored_tracking(plan: Mapping[str, Any], *, plugins: bool = True) -> TrackerOptions:
    """Return the trackers of a stored plan; the study's plug-ins are imported if one is none of ours.

    Raises:
        UserError: a tracker is unknown here, its options have changed since, or `plugins` forbids those that it needs.

    """
    given = {name: options for name, options in plan["tracking"].items() if options is not None}
    if given.keys() - {entry.name for entry in TRACKERS}:
        import_plugins(plan["plugins"], Path(plan["plugin_folder"]), allowed=plugins)
    return check_tracking(given)
