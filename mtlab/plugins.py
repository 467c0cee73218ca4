"""Modules that a study names under `plugins:`: imported, so that they can register managers, towers, tasks, data."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from mtlab.errors import UserError


def import_plugins(modules: Sequence[str], folder: Path, *, allowed: bool = True) -> None:
    """Import the modules that a study names; they may lie beside its file.

    Each is told before it is imported: importing runs its code.

    Raises:
        UserError: plug-ins are not allowed, or one cannot be imported.

    """
    if not modules:
        return
    if not allowed:
        raise UserError(f"asks for plug-ins ({', '.join(modules)}), which --no-plugins refuses", key="plugins")
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    for index, module in enumerate(modules):
        print(f"importing plug-in {module}", file=sys.stderr)
        try:
            importlib.import_module(module)
        except Exception as error:  # a stranger's code may raise anything
            problem = f"plug-in {module} cannot be imported: {type(error).__name__}: {error}"
            raise UserError(problem, key=f"plugins[{index}]") from error
