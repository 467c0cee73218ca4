"""Files that a user names to be written, such as by `--out`: links are followed, pipes and devices written into."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mtlab import files
from mtlab.errors import UserError


@contextmanager
def output_file(path: Path) -> Iterator[Path]:
    """Yield a path to write what a user wants in `path` to, see `files.atomic_write`.

    Where `path` is a link, the file that it leads to is replaced. Pipes and devices are never replaced: they are
    yielded themselves.

    Raises:
        UserError: `path` is a folder, or cannot be written.

    """
    if path.name in ("", "..") or path.is_dir():
        raise UserError("is a folder: name a file in it", file=path)
    if path.absolute().parts[1] not in ("dev", "proc") and (path.is_file() or not path.exists()):
        with files.atomic_write(Path(os.path.realpath(path))) as scratch:
            yield scratch
        return
    with files.explain_disk_errors(path):
        try:
            yield path
        except FileNotFoundError:
            raise UserError("cannot be written: no file can be made here", file=path) from None


def write_output(path: Path, text: str) -> None:
    """Write a text where a user wants it, see `output_file`."""
    with output_file(path) as file:
        file.write_bytes(text.encode())
