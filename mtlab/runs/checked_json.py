"""JSON files that hold their own checksum: stored plans, the looks of a study, and the checksums of a run's files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mtlab import checksums, files
from mtlab.errors import UserError

CHECKSUM = "checksum"  #: the key of the checksum, which is of all else in the file


def write_checked_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON with its checksum, atomically."""
    files.write_json(path, {**content, CHECKSUM: _checksum(content)})


def read_checked_json(path: Path, advice: str) -> dict[str, Any]:
    """Read JSON that `write_checked_json` has written, without its checksum.

    Args:
        path: the file.
        advice: what to do if it is damaged.

    Raises:
        FileNotFoundError: there is none.
        UserError: it has changed since it was written.

    """
    content = files.read_json(path, advice=advice)
    checksum = content.pop(CHECKSUM, None) if isinstance(content, dict) else None
    if checksum != _checksum(content):
        raise UserError(f"has changed since it was written: {advice}", file=path)
    return content  # type: ignore[no-any-return] # a mapping, as it has a checksum


def _checksum(content: Any) -> str:
    return checksums.of_bytes(files.json_text(content).encode())
