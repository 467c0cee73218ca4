"""Archives of a study, written by `mtlab bundle`: a zip file whose folder `store/` is a store with that study alone.

An archive comes from others. So its members are checked before anything is written, and none can leave the folder that
it is unpacked into.
"""

from __future__ import annotations

import atexit
import errno
import json
import re
import shutil
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from mtlab import files
from mtlab.errors import UserError

FORMAT = 1
ABOUT = "mtlab.json"  #: what the archive says of itself
STORE = "store"  #: folder of the store in it
MAX_FILES = 200_000
_ABOUT_BYTES = 1_000_000
_UNPACKED: dict[Path, Path] = {}  #: temporary folder → its archive
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,120}")  #: of a member's path: no `..`, no drive, no hidden file


def is_archive(path: Path) -> bool:
    """Return whether a path looks like an archive: a file called `….zip`."""
    return path.suffix == ".zip" and not path.is_dir()


def read_about(path: Path) -> dict[str, Any]:
    """Read what an archive says of itself: format, study, versions.

    Raises:
        UserError: it is damaged, no archive of a study, or of a newer format.

    """
    with _opened(path) as archive:
        return _about(archive, path)


def unpacked(path: Path) -> Path:
    """Unpack the store of an archive into a temporary folder, which is removed when this process ends; return it.

    An archive that was written anew is unpacked anew.

    Raises:
        UserError: as `unpack`.

    """
    try:
        status = path.stat()
    except OSError:  # which unpacking tells
        return _unpacked(path, 0, 0)
    return _unpacked(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=8)
def _unpacked(path: Path, _size: int, _modified: int) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="mtlab-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    _UNPACKED[folder] = path
    unpack(path, folder / STORE)
    return folder / STORE


def name_archives(message: str) -> str:
    """Name the archives of this process, and not the temporary folders that they are unpacked into, in a message."""
    for folder, path in _UNPACKED.items():
        message = message.replace(f"{folder}/", f"{path}/")
    return message


def unpack(path: Path, into: Path) -> None:
    """Write the store of an archive into a new folder.

    Raises:
        UserError: the archive is damaged, has a member that is no plain file below it, or has no room on the disk.

    """
    with _opened(path) as archive:
        plan = f"{STORE}/studies/{_about(archive, path)['study']}/plan.json"
        if plan not in archive.namelist():
            raise UserError(f"holds no {plan}: it is not as `mtlab bundle` wrote it", file=path)
        members = [(member, _target(member, into, path)) for member in archive.infolist()]
        wanted = [(member, target) for member, target in members if target is not None]
        if len({target for _, target in wanted}) != len(wanted):
            raise UserError("holds a file twice: it was not written by `mtlab bundle`", file=path)
        size, free = sum(member.file_size for member, _ in wanted), files.free_bytes(into.parent)
        if len(wanted) > MAX_FILES or size > free:
            raise UserError(
                f"holds {len(wanted)} files of {size / 1e9:.1f} GB: there are {free / 1e9:.1f} GB free here", file=path
            )
        into.mkdir(parents=True)
        for member, target in wanted:
            with files.explain_disk_errors(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, target.open("xb") as copy:
                    shutil.copyfileobj(source, copy)


def _target(member: zipfile.ZipInfo, into: Path, path: Path) -> Path | None:
    """Return where a member of the store is written; None for what is beside the store, and for folders.

    Raises:
        UserError: its name could lead elsewhere, or it is no plain file.

    """
    kind = stat.S_IFMT(member.external_attr >> 16)
    parts = member.filename.rstrip("/").split("/")
    if not all(map(_PART.fullmatch, parts)):
        raise UserError(
            f"holds a file of the name {member.filename!r}: it was not written by `mtlab bundle`", file=path
        )
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or member.flag_bits & 1:
        raise UserError(f"{member.filename} in it is no plain file: it was not written by `mtlab bundle`", file=path)
    if parts[0] != STORE or member.is_dir():
        return None
    return into.joinpath(*parts[1:]) if len(parts) > 1 else None


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except FileNotFoundError:
        raise UserError("no such file", file=path) from None
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:  # the last: encrypted, or nested deeply
        raise UserError(f"is damaged, or no zip file ({error})", file=path) from None
    except OSError as error:
        if error.errno != errno.EINVAL:  # an offset below 0
            raise
        raise UserError("is damaged, or no zip file (an offset in it is wrong)", file=path) from None


def _about(archive: zipfile.ZipFile, path: Path) -> dict[str, Any]:
    try:
        member = archive.getinfo(ABOUT)
    except KeyError:
        raise UserError(f"is no archive of a study (no {ABOUT}): `mtlab bundle STUDY` writes one", file=path) from None
    if member.file_size > _ABOUT_BYTES:
        raise UserError(f"has a {ABOUT} of {member.file_size} bytes: it was not written by `mtlab bundle`", file=path)
    try:
        about = json.loads(archive.read(member))
    except ValueError:
        about = None
    if not isinstance(about, dict) or not isinstance(about.get("study"), str):
        raise UserError(f"has a damaged {ABOUT}", file=path)
    if about.get("format") != FORMAT:
        raise UserError(f"has format {about.get('format')}, this mtlab knows format {FORMAT}: update mtlab", file=path)
    return about
