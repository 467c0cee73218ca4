"""`checksums.json`: checksums and sizes of the files of a finished run, so that a change is noticed, and never used."""

from __future__ import annotations

from pathlib import Path

from mtlab import checksums, files
from mtlab.errors import UserError
from mtlab.runs.checked_json import read_checked_json, write_checked_json

NAME = "checksums.json"
ADVICE = "`mtlab clean --yes` sets the run aside, and `mtlab run` trains it again, with the same result"

#: Files that change, or go, when a run is finished.
_NOT_COVERED = ("lock.json", "log.txt", NAME, "last.safetensors")


def write(run: Path, result: str) -> None:
    """Write the checksums of all files of a run that is about to be finished by a `result.json` with this text."""
    covered = {
        str(path.relative_to(run)): describe_file(path)
        for folder in (run, run / "checkpoints")
        if folder.is_dir()
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name not in _NOT_COVERED and not _is_leftover(path)
    }
    write_checked_json(run / NAME, {**covered, "result.json": describe(result.encode())})


def describe(data: bytes) -> str:
    """Return what `checksums.json` holds of a file: its checksum and its size."""
    return f"{checksums.of_bytes(data)} {len(data)}"


def describe_file(path: Path) -> str:
    """Return `describe` of a file that may be larger than the memory."""
    return f"{checksums.of_file(path)} {path.stat().st_size}"


def verify(run: Path, name: str, data: bytes) -> None:
    """Check that a file of a finished run is as it was when the run was finished.

    Args:
        run: the run directory.
        name: of the file in it.
        data: the file's content.

    Raises:
        UserError: it is not, or the run's checksums are lost or damaged.

    """
    if read(run).get(name) != describe(data):
        raise UserError(f"has changed since the run was finished: {ADVICE}", file=run / name)


def find_damage(run: Path, *, quick: bool = False) -> dict[str, str]:
    """Return the files of a finished run that are not as they were: name → what is wrong.

    Args:
        run: the run directory.
        quick: read only files of another size, or that were modified after the run was finished; a bit that the disk
            lost goes unseen.

    Raises:
        DiskError: the file system is not there any more, and tells nothing of the files.

    """
    try:
        known = read(run)
        finished = (run / NAME).stat().st_mtime_ns
    except files.DiskError:
        raise
    except UserError as error:
        return {NAME: error.problem.partition(":")[0]}
    problems = {}
    for name, described in known.items():
        try:
            there = (run / name).stat()
            if quick and there.st_mtime_ns < finished and described.endswith(f" {there.st_size}"):
                continue
            if describe_file(run / name) != described:
                problems[name] = "has changed"
        except (FileNotFoundError, NotADirectoryError):
            problems[name] = "is lost"
        except OSError as error:
            if error.errno in files.GONE:
                raise files.as_user_error(error, run / name, action="read") from error
            problems[name] = f"cannot be read ({error.strerror})"
    return problems


def read(run: Path) -> dict[str, str]:
    """Read what `checksums.json` holds of each file of a finished run, see `describe`.

    Raises:
        DiskError: its file system is not there any more.
        UserError: it is lost or damaged.

    """
    try:
        return read_checked_json(run / NAME, ADVICE)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"is lost: {ADVICE}", file=run / NAME) from None
    except files.DiskError:
        raise
    except UserError:
        raise UserError(f"is damaged: {ADVICE}", file=run / NAME) from None


def _is_leftover(path: Path) -> bool:
    return path.name.startswith(files.TEMPORARY) or ".corrupt" in path.name
