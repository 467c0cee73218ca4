"""Packages that a launcher needs, and that are extras."""

from __future__ import annotations

import importlib
from typing import Any

from mtlab.errors import missing_extra


def import_extra(package: str, launcher: str) -> Any:
    """Import the package of a launcher, whose extra has the launcher's name.

    Raises:
        UserError: it is not installed.

    """
    try:
        return importlib.import_module(package)
    except ImportError:
        raise missing_extra(package, launcher, of=launcher, key="launcher") from None
