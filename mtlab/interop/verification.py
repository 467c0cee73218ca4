"""Does our model, with a published model's weights, give the published model's tensors?"""

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
    """How far one of our tensors is from theirs."""

    name: str  #: as the bundle calls it
    largest: float  #: largest absolute difference; infinite where one of the two is not a number
    ok: bool

    @property
    def group(self) -> str:
        """One of `comparisons.GROUPS`."""
        return quantity_group(self.name)


@dataclass(frozen=True)
class Verification:
    """What came of one bundle."""

    folder: Path
    family: str
    quantities: tuple[Quantity, ...]
    left: tuple[str, ...]  #: outputs in the bundle that nothing of ours is compared with

    @property
    def ok(self) -> bool:
        """Do all quantities agree?"""
        return all(quantity.ok for quantity in self.quantities)

    def largest(self, name: str) -> float | None:
        """Largest difference in a group of quantities; None where there are none."""
        return max((quantity.largest for quantity in self.quantities if quantity.group == name), default=None)

    def group_ok(self, name: str) -> bool:
        """Do all quantities of a group agree?"""
        return all(quantity.ok for quantity in self.quantities if quantity.group == name)

    def to_json(self) -> dict[str, Any]:
        """Write as plain data."""
        return {
            "bundle": self.folder.name,
            "folder": str(self.folder),
            "family": self.family,
            "ok": self.ok,
            "quantities": [{**vars(quantity), "group": quantity.group} for quantity in self.quantities],
            "not_compared": list(self.left),
        }


def verify(folder: Path) -> Verification:
    """Rebuild a bundle's model as one of ours, and compare everything that the bundle holds.

    Raises:
        UserError: it is no bundle, is damaged, its weights are not those of its kind, or it holds nothing to compare.

    """
    given = bundle.read_bundle(folder)
    quantities: list[Quantity] = []
    with bundle.rebuild(given) as ours:
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
    left = [name for name in given.io if name not in done and not name.startswith(_GIVEN) and name not in _LABELS]
    return Verification(folder, given.layout.family, tuple(quantities), tuple(sorted(left)))


def _compare(name: str, ours: Tensor, theirs: Tensor, folder: Path) -> Quantity:
    if ours.shape != theirs.shape:
        shapes = f"{tuple(theirs.shape)}, expected {tuple(ours.shape)}"
        raise UserError(f"{name} has shape {shapes}", file=folder / bundle.IO)
    ours, theirs = ours.double(), theirs.double()
    difference = torch.nan_to_num((ours - theirs).abs(), nan=torch.inf)
    ok = bool((difference <= ATOL + RTOL * theirs.abs()).all())
    return Quantity(name, float(difference.max()) if difference.numel() else 0.0, ok)


_GIVEN = ("in/", "noise/eps.")
_LABELS = {
    *("mlm/text_ids", "mlm/labels", "itm/labels", "itm/false_images", "vqa/targets", "snli/labels"),
    *("nlvr2/image_1", "nlvr2/labels", "irtr_itm_itc/img_index"),
    *(f"{name}/neg_{kind}_idx" for name in ("itm_itc", "irtr_itm_itc") for kind in ("image", "text")),
}
