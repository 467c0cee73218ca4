"""`mtlab verify`: compare our model's tensors, given a published model's weights, with the published model's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtlab.errors import UserError
from mtlab.interop import bundle
from mtlab.interop.reference_outputs import compare_all, quantity_group

ATOL = RTOL = 1e-5  #: agreement: |ours − theirs| ≤ ATOL + RTOL · |theirs|, in float32 on the CPU


@dataclass(frozen=True)
class Quantity:
    """The difference of one tensor between the published model and ours."""

    name: str  #: in the bundle
    largest: float  #: largest absolute difference; infinite where one of the two is not a number
    ok: bool

    @property
    def group(self) -> str:
        """One of `reference_outputs.GROUPS`."""
        return quantity_group(self.name)


@dataclass(frozen=True)
class Verification:
    """The result for one bundle."""

    folder: Path
    family: str
    quantities: tuple[Quantity, ...]
    not_compared: tuple[str, ...]  #: outputs in the bundle that nothing is compared with

    @property
    def ok(self) -> bool:
        """Whether all quantities agree."""
        return all(quantity.ok for quantity in self.quantities)

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
            "quantities": [{**vars(quantity), "group": quantity.group} for quantity in self.quantities],
            "not_compared": list(self.not_compared),
        }


def verify(folder: Path) -> Verification:
    """Build a bundle's model as one of ours, and compare all outputs that the bundle holds.

    Raises:
        UserError: it is no bundle, is damaged, has other weights than its kind, or holds no outputs.

    """
    stored = bundle.read_bundle(folder)
    quantities: list[Quantity] = []
    with bundle.rebuild(stored) as ours:
        try:
            for name, own, theirs in compare_all(ours):
                quantities.append(_compare(name, own, theirs, folder))
        except UserError as error:
            raise error.at(file=folder) from None
        except (RuntimeError, IndexError, ValueError, AssertionError) as error:
            first = " ".join(str(error).split())[:160]
            raise UserError(f"the inputs do not fit the model: {first}", file=folder / bundle.IO) from error
    if not quantities:
        raise UserError("holds nothing that could be compared", file=folder / bundle.IO)
    done = {quantity.name for quantity in quantities}
    rest = [name for name in stored.io if name not in done and not name.startswith(_INPUTS) and name not in _LABELS]
    return Verification(folder, stored.layout.family, tuple(quantities), tuple(sorted(rest)))


def _compare(name: str, ours: Tensor, theirs: Tensor, folder: Path) -> Quantity:
    if ours.shape != theirs.shape:
        shapes = f"{tuple(theirs.shape)}, expected {tuple(ours.shape)}"
        raise UserError(f"{name} has shape {shapes}", file=folder / bundle.IO)
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
