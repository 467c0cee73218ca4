"""`mtlab verify`: compare our tensors, given a published model's or mechanism's weights, with the published ones."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtlab import files
from mtlab.errors import UserError, one_line
from mtlab.interop import bundle
from mtlab.interop.mechanisms.bundle import NotExpressible
from mtlab.interop.mechanisms.compare import FAMILIES, compare, mechanism_family, read_mechanism
from mtlab.interop.reference_outputs import compare_all, quantity_group

ATOL = RTOL = 1e-5  #: agreement: |ours − theirs| ≤ ATOL + RTOL · |theirs|, in float32 on the CPU


@dataclass(frozen=True)
class Quantity:
    """The difference of one tensor between the published model and ours."""

    name: str  #: in the bundle
    largest: float  #: largest difference, of a mechanism over the largest entry; infinite where one is not a number
    ok: bool

    @property
    def group(self) -> str:
        """One of `reference_outputs.GROUPS`."""
        return quantity_group(self.name)

    def to_json(self) -> dict[str, Any]:
        """Return plain data; `largest` is None where something is not a number."""
        largest = self.largest if math.isfinite(self.largest) else None
        return {"name": self.name, "largest": largest, "ok": self.ok, "group": self.group}


@dataclass(frozen=True)
class Verification:
    """The result for one bundle."""

    folder: Path
    family: str
    quantities: tuple[Quantity, ...]
    not_compared: tuple[str, ...]  #: outputs in the bundle that nothing is compared with
    mechanism: bool = False  #: a single mechanism, not a whole model
    lacks: str | None = None  #: what the interface of managers lacks to hold the mechanism at all; None: nothing
    parts_lacking: Mapping[str, str] = field(default_factory=dict)  #: start of outputs' names → what it lacks for these

    @property
    def ok(self) -> bool:
        """Whether the bundle can be expressed and all quantities agree."""
        return self.lacks is None and all(quantity.ok for quantity in self.quantities)

    @property
    def differs(self) -> bool:
        """Whether a quantity disagrees."""
        return not all(quantity.ok for quantity in self.quantities)

    def largest(self, name: str) -> float | None:
        """Return the largest difference in a group of quantities; None if it is empty."""
        return max((quantity.largest for quantity in self.quantities if quantity.group == name), default=None)

    def group_ok(self, name: str) -> bool:
        """Return whether all quantities of a group agree."""
        return all(quantity.ok for quantity in self.quantities if quantity.group == name)

    def to_json(self) -> dict[str, Any]:
        """Return plain data (docs/json.md)."""
        return {
            "bundle": self.folder.name,
            "folder": str(self.folder),
            "family": self.family,
            "ok": self.ok,
            "quantities": [quantity.to_json() for quantity in self.quantities],
            "not_compared": list(self.not_compared),
            "lacks": self.lacks,
            "parts_lacking": dict(self.parts_lacking),
        }


def verify(folder: Path) -> Verification:
    """Build a bundle's model, or its single mechanism, as one of ours, and compare all outputs that the bundle holds.

    Raises:
        UserError: it is no bundle, is damaged, has other weights than its kind, or holds no outputs.

    """
    config = files.read_json(folder / bundle.CONFIG) if (folder / bundle.CONFIG).is_file() else None
    family = mechanism_family(config)
    if family is not None and isinstance(config, Mapping):
        return _verify_mechanism(folder, config, family)
    stored = bundle.read_bundle(folder)
    quantities: list[Quantity] = []
    with bundle.rebuild(stored) as ours:
        try:
            for name, own, theirs in compare_all(ours):
                quantities.append(_compare(name, own, theirs, folder))
        except UserError as error:
            raise error.at(file=folder) from None
        except (RuntimeError, IndexError, ValueError, TypeError, AssertionError) as error:
            problem = f"the inputs do not fit the model: {one_line(error, 160)}"
            raise UserError(problem, file=folder / bundle.IO) from error
    if not quantities:
        raise UserError("holds nothing that could be compared", file=folder / bundle.IO)
    done = {quantity.name for quantity in quantities}
    rest = [name for name in stored.io if name not in done and not name.startswith(_INPUTS) and name not in _LABELS]
    return Verification(folder, stored.layout.family, tuple(quantities), tuple(sorted(rest)))


def _verify_mechanism(folder: Path, config: Mapping[str, Any], family: str) -> Verification:
    stored = read_mechanism(folder, config, bundle.WEIGHTS, bundle.IO)
    try:
        reproduction = FAMILIES[family](stored)
        compared = list(compare(stored, reproduction))
    except NotExpressible as lack:
        return Verification(folder, family, (), (), mechanism=True, lacks=str(lack))
    except UserError as error:
        raise error.at(file=folder / bundle.CONFIG) from None
    except (KeyError, RuntimeError, IndexError, ValueError, TypeError, AssertionError) as error:
        problem = f"its tensors or options do not fit together: {one_line(error, 160, kind=True)}"
        raise UserError(problem, file=folder) from error
    quantities = []
    for name, ours, theirs, tolerance in compared:
        _refuse_shape(name, ours, theirs, folder)
        largest = theirs.abs().amax().item() or 1.0
        difference = torch.nan_to_num((ours - theirs).abs(), nan=torch.inf).amax().item() / largest
        quantities.append(Quantity(name, difference, difference <= tolerance))
    if not quantities:
        raise UserError("holds nothing that could be compared", file=folder / bundle.IO)
    done = {quantity.name for quantity in quantities}
    rest = [name for name in stored.io if re.match(r"(\w+/)*(mid|out)/", name) and name not in done]
    rest = [name for name in rest if not name.startswith(tuple(reproduction.lacking))]
    held = {start: why for start, why in reproduction.lacking.items() if any(n.startswith(start) for n in stored.io)}
    return Verification(folder, family, tuple(quantities), tuple(sorted(rest)), mechanism=True, parts_lacking=held)


def _refuse_shape(name: str, ours: Tensor, theirs: Tensor, folder: Path) -> None:
    if ours.shape != theirs.shape:
        shapes = f"{tuple(theirs.shape)}, expected {tuple(ours.shape)}"
        raise UserError(f"{name} has shape {shapes}", file=folder / bundle.IO)


def _compare(name: str, ours: Tensor, theirs: Tensor, folder: Path) -> Quantity:
    _refuse_shape(name, ours, theirs, folder)
    ours, theirs = ours.double(), theirs.double()
    difference = torch.nan_to_num((ours - theirs).abs(), nan=torch.inf)
    ok = bool((difference <= ATOL + RTOL * theirs.abs()).all())
    return Quantity(name, float(difference.max()) if difference.numel() else 0.0, ok)


_INPUTS = ("in/", "noise/eps.")
_LABELS = {
    *("mlm/text_ids", "mlm/labels", "itm/labels", "itm/false_images", "vqa/targets", "snli/labels"),
    *("nlvr2/image_1", "nlvr2/labels", "irtr_itm_itc/img_index"),
    *(f"{name}/neg_{kind}_idx" for name in ("itm_itc", "irtr_itm_itc") for kind in ("image", "text")),
}
