"""Reading and writing files: atomic writes, JSON, JSON lines, and the cache folder."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from mtlab.errors import UserError

TEMPORARY = ".tmp-"  #: how the name of a file that is being written starts

_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "your disk quota is used up"}
_ADVICE = {
    errno.EROFS: "the file system is read-only: choose another folder",
    errno.EACCES: "permission denied: choose a folder that you may write to",
    errno.EPERM: "permission denied: choose a folder that you may write to",
    errno.ENOTDIR: "a part of this path is a file, not a folder",
    errno.EEXIST: "a part of this path is a file, not a folder",
    errno.EISDIR: "is a folder (expected a file): move it away",
    errno.ENOTEMPTY: "is a folder (expected a file): move it away",
    errno.ENAMETOOLONG: "the name is too long for this file system",
}
#: how a file system of the network says that it is not there any more
GONE = (errno.ENOTCONN, errno.ECONNABORTED, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN)


class DiskError(UserError):
    """A disk is full, or it, or the network, does not answer: nothing can be done until that has changed."""


class ReadOnlyError(UserError):
    """A folder cannot be written: the file system is read-only, or the user may not."""


def as_user_error(error: BaseException, path: Path, *, action: str = "written") -> BaseException:
    """Turn a disk's error (full, gone, read-only, forbidden) into a `UserError` with advice; return others unchanged.

    Libraries written in Rust (safetensors, polars) give the system's error number in their message alone.

    Args:
        error: as it was raised.
        path: the file or folder concerned, where the error names none.
        action: what was tried: "written" or "read".

    """
    number = error.errno if isinstance(error, OSError) else None
    if number is None and (match := re.search(r"\(os error (\d+)\)", str(error))):
        number = int(match[1])
    if isinstance(error, UserError) or number not in (*_FULL, *_ADVICE, *GONE, errno.EIO):
        return error
    named = getattr(error, "filename", None)
    place = path if not isinstance(named, str | bytes) or TEMPORARY in str(named) else Path(os.fsdecode(named))
    if number in _FULL:
        problem = f"{_FULL[number]} (mounted at {mount_point(place)}): free some space, or choose another folder"
        return DiskError(f"cannot be {action}: {problem}", file=place)
    if number not in _ADVICE:
        problem = f"the disk does not answer ({os.strerror(number)}): once it does, run again"
        return DiskError(f"cannot be reached: {problem}", file=place)
    kind = ReadOnlyError if number in (errno.EROFS, errno.EACCES, errno.EPERM) else UserError
    advice = _ADVICE[number] if action == "written" else _ADVICE[number].partition(": choose")[0]
    return kind(f"cannot be {action}: {advice}", file=place)


def mount_point(path: Path) -> Path:
    """Return the folder at which the disk of a path is mounted; the path need not exist."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if os.path.ismount(folder))


@contextmanager
def explain_disk_errors(path: Path) -> Iterator[None]:
    """Raise errors of a disk, full, gone or read-only, as a `UserError`, whatever writes `path` within the block."""
    try:
        yield
    except Exception as error:
        explained = as_user_error(error, path)
        if explained is error:
            raise
        raise explained from error


def check_folder(folder: Path) -> None:
    """Check that files can be written into a folder, before what goes there is computed; make it if it is missing.

    Raises:
        UserError: the disk is full or read-only, or the folder may not be written.

    """
    with explain_disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"x")
            probe.flush()


def sync(path: Path) -> None:
    """Flush a file's content to the disk (fsync)."""
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Flush renames in a folder to the disk (fsync)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_FENCES: dict[Path, Callable[[], AbstractContextManager[None]]] = {}  #: folder → what its writer holds meanwhile


@contextmanager
def fenced(folder: Path, hold: Callable[[], AbstractContextManager[None]]) -> Iterator[None]:
    """Within the block, let this process change files below a folder only while it holds `hold()`, see `fence`."""
    _FENCES[folder.absolute()] = hold
    try:
        yield
    finally:
        del _FENCES[folder.absolute()]


def fence(path: Path) -> AbstractContextManager[None]:
    """Return what must be held while `path` is replaced, extended or removed: nothing outside of fenced folders."""
    folders = path.absolute().parents
    return next((hold() for folder, hold in _FENCES.items() if folder in folders), nullcontext())


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a path beside `path` to write to; on success it replaces `path` atomically, else it is removed.

    The yielded name keeps the suffix, as some libraries go by it. Missing parent folders are made.

    Raises:
        UserError: the disk is full or read-only, or the folder may not be written, or is fenced, and another's by now.

    """
    scratch = path.with_name(f"{TEMPORARY}{secrets.token_hex(6)}-{path.name}")
    with explain_disk_errors(path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            yield scratch
            sync(scratch)
            with fence(path):
                os.replace(scratch, path)
        except BaseException:
            with suppress(OSError):
                scratch.unlink()
            raise
        sync_folder(path.parent)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield a folder beside `path` to fill; on success it is renamed to `path`, else it is removed.

    Raises:
        UserError: `path` exists already, the disk is full or read-only, or the folder may not be written.

    """
    if path.exists() or path.is_symlink():
        raise UserError("exists already: name another place, or remove it first", file=path)
    scratch = path.absolute().with_name(f"{TEMPORARY}{secrets.token_hex(6)}-{path.name}")
    with explain_disk_errors(path):
        try:
            scratch.mkdir(parents=True)
            yield scratch
            for file in scratch.rglob("*"):
                if file.is_file():
                    sync(file)
            os.rename(scratch, path)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        sync_folder(path.absolute().parent)


def modified_ns(path: Path) -> int | None:
    """Return when a file was last modified, in ns, or None if there is none."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of killed writers from a folder; only its one writer may call this."""
    for leftover in folder.glob(f"{TEMPORARY}*"):
        leftover.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes | bytearray) -> None:
    """Write a file atomically; see `atomic_write`."""
    with atomic_write(path) as scratch:
        scratch.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8 and with the line ends of `text`; see `atomic_write`."""
    write_bytes(path, text.encode())


def json_text(data: Any) -> str:
    """Serialise data as our JSON files hold it.

    Raises:
        ValueError: a number is not finite.

    """
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, data: Any) -> None:
    """Write a JSON file atomically; see `atomic_write`.

    Raises:
        ValueError: a number is not finite.

    """
    write_text(path, json_text(data))


def read_bytes(path: Path) -> bytes:
    """Read a file.

    Raises:
        FileNotFoundError: there is none.
        UserError: it is a folder, or may not be read.

    """
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise as_user_error(error, path, action="read") from None


def read_text(path: Path) -> str:
    """Read a text file, which is UTF-8 whatever the locale.

    Raises:
        FileNotFoundError: there is none.
        UserError: it is a folder, may not be read, or is not UTF-8.

    """
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError:
        raise UserError("is not a text file (expected UTF-8)", file=path) from None


def read_json(path: Path, *, advice: str = "it was changed by hand, or the disk is damaged") -> Any:
    """Read a JSON file.

    Args:
        path: the file.
        advice: what can be done where it is damaged.

    Raises:
        FileNotFoundError: there is none.
        UserError: it is not JSON, or no file.

    """
    raw = read_bytes(path)
    try:
        # of bytes, Python guesses an encoding, and tells of one that nobody has used
        data = json.loads(raw.decode("utf-8-sig"), parse_constant=_refuse_constant)
        if rb"\u" in raw:
            json.dumps(data, ensure_ascii=False).encode()  # half a surrogate pair could be neither printed nor written
    except (ValueError, RecursionError) as error:
        raise UserError(f"is not JSON ({error}): {advice}", file=path) from None
    return data


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def json_line(data: Any) -> bytes:
    """Serialise one JSON object as a line of a file.

    Raises:
        ValueError: a number is not finite.

    """
    return json.dumps(data, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def append_line(path: Path, data: Any) -> None:
    """Append one JSON object as a line, in a single write, so that several processes may append to one file.

    An incomplete last line (its writer was killed) is left alone, and the new one starts on a line of its own.

    Raises:
        ValueError: a number is not finite.
        UserError: the disk is full or read-only, or the folder may not be written.

    """
    line = json_line(data)
    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            with fence(path):
                size = os.fstat(descriptor).st_size
                if size and os.pread(descriptor, 1, size - 1) != b"\n":
                    line = b"\n" + line
                if os.write(descriptor, line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        finally:
            os.close(descriptor)


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON lines, none if it is missing. Incomplete lines are left out, see `append_line`."""
    return read_jsonl_from(path, 0)[0]


def read_jsonl_from(path: Path, offset: int) -> tuple[list[dict[str, Any]], int]:
    """Read the complete lines after `offset` bytes, and return them with the offset to continue from.

    A file that has become shorter than `offset` was replaced and is read from its start. The rest of a line that
    `offset` lies in is skipped.
    """
    try:
        with path.open("rb") as stream:
            if offset > os.fstat(stream.fileno()).st_size:
                offset = 0
            stream.seek(max(0, offset - 1))
            skipped = len(stream.readline()) - 1 if offset else 0
            data = stream.read()
    except FileNotFoundError:
        return [], 0
    except OSError as error:
        raise as_user_error(error, path, action="read") from None
    offset += skipped
    whole = data.rfind(b"\n") + 1
    lines = [line for line in data[:whole].split(b"\n") if line.strip()]
    try:
        rows = json.loads(b"[" + b",".join(lines) + b"]")  # ten times as fast as line by line
    except ValueError:
        rows = [row for line in lines if (row := _parsed(line)) is not None]
    return [row for row in rows if isinstance(row, dict)], offset + whole


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None


def free_bytes(path: Path) -> int:
    """Return the free bytes of the disk that `path` is on, which need not exist yet."""
    existing = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(existing).free


def cache_root() -> Path:
    """Return the folder of the expert cache: `$MTLAB_CACHE`, else `mtlab` in the user's cache folder."""
    named = os.environ.get("MTLAB_CACHE")
    if named:
        return Path(named).expanduser().absolute()
    import platformdirs

    return platformdirs.user_cache_path("mtlab")
