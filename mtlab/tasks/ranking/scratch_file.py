"""Experts of a whole split, on disk rather than in memory while pairs are ranked.

Shapes: B items, N experts, L tokens, D width.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from mtlab import files
from mtlab.managers.base import Experts

RESERVE = 2**30  #: bytes that are left free on the disk


class ScratchFile:
    """Experts of items by number, in a file without a name: it is gone when it is closed, whatever happens.

    Args:
        items: how many there will be.
        folder: where the file lies; None: in mtlab's cache folder.

    """

    def __init__(self, items: int, folder: Path | None = None) -> None:
        self.items = items
        self.folder = files.cache_root() / "scratch" if folder is None else folder
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = cast("BinaryIO", tempfile.TemporaryFile(dir=self.folder, buffering=0))  # noqa: SIM115 - see __exit__
        self._places: dict[int, tuple[int, tuple[int, ...]]] = {}
        self._masks: dict[int, Tensor | None] = {}
        self._dtype = torch.float32
        self._end = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    @property
    def item_bytes(self) -> int:
        """Bytes of an item, at most."""
        return max(_bytes(shape, self._dtype) for _, shape in self._places.values())

    def add(self, numbers: Sequence[int], experts: Experts) -> None:
        """Write the experts of some items, [B, N, L, D].

        Raises:
            DiskError: the disk has not enough room for all items to come, if they are like these, or is full.

        """
        states = experts.states.cpu().contiguous()
        self._refuse_too_large((self.items - len(self._places)) * _bytes(tuple(states.shape[1:]), states.dtype))
        self._dtype = states.dtype
        masks = [None] * len(numbers) if experts.mask is None else list(experts.mask.cpu())
        for number, item, mask in zip(numbers, states, masks, strict=True):
            data = item.view(torch.uint8).numpy().data.cast("B")
            with files.explain_disk_errors(self.folder):
                self._write(data)
            self._places[number] = self._end, tuple(item.shape)
            self._masks[number] = mask
            self._end += len(data)

    def read(self, numbers: Sequence[int], device: torch.device) -> Experts:
        """Read the experts of some items: [B, N, L, D], L the longest of them, zero behind shorter ones."""
        longest = max(self._places[number][1][1] for number in numbers)
        parts = [self._read(number) for number in numbers]
        states = torch.stack([F.pad(part, (0, 0, 0, longest - part.shape[1])) for part in parts])
        masks = [self._masks[number] for number in numbers]
        if all(mask is None for mask in masks):
            return Experts(states.to(device))
        known = [mask for mask in masks if mask is not None]
        padded = torch.stack([F.pad(mask, (0, longest - len(mask))) for mask in known])
        return Experts(states.to(device), padded.to(device))

    def _read(self, number: int) -> Tensor:
        place, shape = self._places[number]
        held = torch.empty(shape, dtype=self._dtype)
        data, at = held.view(torch.uint8).numpy().data.cast("B"), 0
        while at < len(data):
            read = os.preadv(self._file.fileno(), [data[at:]], place + at)
            if not read:
                raise OSError("the scratch file has been cut off")
            at += read
        return held

    def _write(self, data: memoryview) -> None:
        at = 0
        while at < len(data):
            at += os.pwrite(self._file.fileno(), data[at:], self._end + at)

    def _refuse_too_large(self, needed: int) -> None:
        free = shutil.disk_usage(self.folder).free
        if needed + RESERVE > free:
            raise files.DiskError(
                f"ranking needs {needed / 1e9:.1f} GB of scratch space, {free / 1e9:.1f} GB are free: "
                "set MTLAB_CACHE to a folder on a larger disk",
                file=self.folder,
            )


def _bytes(shape: tuple[int, ...], dtype: torch.dtype) -> int:
    return torch.Size(shape).numel() * dtype.itemsize
