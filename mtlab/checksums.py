"""Seals of safetensors files: a checksum over every byte of the file, kept in its own metadata. No torch.

safetensors notices that a file was cut, but not that a bit in it has changed. The seal stands in our metadata as eight
hexadecimal digits, and is computed over the whole file with zeros in their place.
"""

from __future__ import annotations

import json
import mmap
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

ABOUT = "mtlab"  #: key of our JSON in a file's metadata
SEAL = "seal"  #: key of the seal in our JSON, the last one
EMPTY = "00000000"

_BEFORE = json.dumps(json.dumps({SEAL: EMPTY}))[2:-12].encode()  # as it stands in the header: JSON within JSON
_HEADER = 100_000_000  #: bytes that safetensors allows a header at most


def described(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return the metadata of a file that is to be sealed.

    Raises:
        ValueError: a number is not finite.

    """
    return {ABOUT: json.dumps({**metadata, SEAL: EMPTY}, allow_nan=False)}  # one key: their order would be random


def seal(path: Path) -> str:
    """Seal a file that was written with what `described` returned; return the seal."""
    with path.open("r+b") as stream, closing(mmap.mmap(stream.fileno(), 0)) as data:
        place = _place(data)
        if place is None:
            raise ValueError(f"{path} has no place for a seal")
        found = f"{zlib.crc32(data):08x}"
        data[place : place + len(EMPTY)] = found.encode()
        data.flush()
    return found


def read(path: Path) -> str | None:
    """Read the seal that a file bears, right or not; None if it bears none."""
    with _sealed(path) as (data, place):
        return None if place is None else data[place : place + len(EMPTY)].decode(errors="replace")


def broken(path: Path) -> bool | None:
    """Tell whether a file has changed since it was sealed; None if it bears no seal.

    Raises:
        OSError: it cannot be read.

    """
    with _sealed(path) as (data, place):
        if place is None:
            return None
        end = place + len(EMPTY)
        with memoryview(data) as whole:
            total = zlib.crc32(whole[end:], zlib.crc32(EMPTY.encode(), zlib.crc32(whole[:place])))
        return data[place:end] != f"{total:08x}".encode()


@contextmanager
def _sealed(path: Path) -> Iterator[tuple[mmap.mmap | bytes, int | None]]:
    """Map a file into memory, and tell where the digits of its seal start."""
    with path.open("rb") as stream:
        if not os.fstat(stream.fileno()).st_size:  # nothing can be mapped
            yield b"", None
            return
        with closing(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)) as data:
            yield data, _place(data)


def _place(data: mmap.mmap) -> int | None:
    """Find where the digits of the seal start."""
    header = 8 + min(int.from_bytes(data[:8], "little"), _HEADER)
    place = data.rfind(_BEFORE, 0, header)
    return None if place < 0 or place + len(_BEFORE) + len(EMPTY) > len(data) else place + len(_BEFORE)
