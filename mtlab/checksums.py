"""The one checksum of this package: CRC-32 as eight hexadecimal digits, of bytes or of a whole safetensors file.

safetensors notices that a file was cut, but not that a bit in it has changed. So the checksum of a safetensors file is
embedded in its own metadata. It covers every byte of the file, with zeros in place of its own digits. No torch here.
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

METADATA_KEY = "mtlab"  #: key of our JSON in a file's metadata
CHECKSUM_KEY = "checksum"  #: key of the checksum in our JSON, the last one

_BLANK = "00000000"
_BLOCK = 1 << 20  #: bytes
_PREFIX = json.dumps(json.dumps({CHECKSUM_KEY: _BLANK}))[2:-12].encode()  # in the header: JSON within JSON
_LARGEST_HEADER = 100_000_000  #: bytes that safetensors allows a header at most


def of_bytes(data: bytes | bytearray | memoryview | mmap.mmap) -> str:
    """Return the checksum of some bytes."""
    return f"{zlib.crc32(data):08x}"


def of_file(path: Path) -> str:
    """Return the checksum of a file, read block by block.

    Raises:
        OSError: it cannot be read.

    """
    total = 0
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            total = zlib.crc32(block, total)
    return f"{total:08x}"


def safetensors_metadata(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return the metadata to save a file with, which `embed` then completes.

    Raises:
        ValueError: a number is not finite.

    """
    return {METADATA_KEY: json.dumps({**metadata, CHECKSUM_KEY: _BLANK}, allow_nan=False)}  # more keys: random order


def embed(path: Path) -> str:
    """Write the checksum into a file that was saved with `safetensors_metadata`, and return it."""
    with path.open("r+b") as stream, closing(mmap.mmap(stream.fileno(), 0)) as data:
        start = _find(data)
        if start is None:
            raise ValueError(f"{path} was saved without `safetensors_metadata`")
        checksum = of_bytes(data)
        data[start : start + len(_BLANK)] = checksum.encode()
        data.flush()
    return checksum


def read(path: Path) -> str | None:
    """Read the checksum embedded in a file, right or wrong, or None if there is none."""
    with _mapped(path) as data:
        start = _find(data)
        return None if start is None else data[start : start + len(_BLANK)].decode(errors="replace")


def verify(path: Path) -> bool | None:
    """Return whether a file is as it was written, or None if it has no checksum.

    Raises:
        OSError: it cannot be read.

    """
    with _mapped(path) as data:
        start = _find(data)
        if start is None:
            return None
        end = start + len(_BLANK)
        with memoryview(data) as whole:
            total = zlib.crc32(whole[end:], zlib.crc32(_BLANK.encode(), zlib.crc32(whole[:start])))
        return data[start:end] == f"{total:08x}".encode()


@contextmanager
def _mapped(path: Path) -> Iterator[mmap.mmap | bytes]:
    with path.open("rb") as stream:
        if not os.fstat(stream.fileno()).st_size:  # an empty file cannot be mapped
            yield b""
            return
        with closing(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)) as data:
            yield data


def _find(data: mmap.mmap | bytes) -> int | None:
    """Return where the digits of the embedded checksum start."""
    header = 8 + min(int.from_bytes(data[:8], "little"), _LARGEST_HEADER)
    start = data.rfind(_PREFIX, 0, header)
    return None if start < 0 or start + len(_PREFIX) + len(_BLANK) > len(data) else start + len(_PREFIX)
