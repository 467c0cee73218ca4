"""`sums.json`: checksums of what a finished run left, so that a file that has changed since is noticed, never reported.

Runs that older versions finished have none, and are taken as they are.
"""

from __future__ import annotations

import zlib
from pathlib import Path

from mtlab import files
from mtlab.errors import UserError

NAME = "sums.json"
NOT_SUMMED = ("lock.json", "log.txt", NAME)  #: they change after the run is finished
ADVICE = "`mtlab clean --yes` sets the run aside, and `mtlab run` trains it again, with the same result"


def write(run: Path, result: str) -> None:
    """Write the checksums of all files of a run that is about to be finished by a `result.json` of this text."""
    sums = {
        str(path.relative_to(run)): of(path.read_bytes())
        for folder in (run, run / "checkpoints")
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name not in NOT_SUMMED and not _temporary(path)
    }
    sums.pop("checkpoints/last.safetensors", None)  # is needed no more
    files.write_json(run / NAME, {"format": 1, "crc32": {**sums, "result.json": of(result.encode())}})


def check(run: Path, name: str, data: bytes) -> None:
    """See that a file of a finished run holds what it did at the end.

    Args:
        run: the run directory.
        name: of the file in it.
        data: what it holds.

    Raises:
        UserError: it does not, or its checksum cannot be read.

    """
    known = _known(run).get(name)
    if known is not None and known != of(data):
        raise UserError(f"has changed since the run was finished: {ADVICE}", file=run / name)


def damaged(run: Path) -> dict[str, str]:
    """Find the files of a finished run that are not what they were: name → what is wrong with it."""
    try:
        known = _known(run)
    except UserError:
        return {NAME: "is damaged"}
    found = {}
    for name, wanted in known.items():
        try:
            if of((run / name).read_bytes()) != wanted:
                found[name] = "has changed"
        except FileNotFoundError:
            found[name] = "is lost"
    return found


def _known(run: Path) -> dict[str, str]:
    try:
        known: dict[str, str] = files.read_json(run / NAME)["crc32"]
        known.items()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"is damaged: {ADVICE}", file=run / NAME) from None
    except UserError as error:
        raise UserError(f"{error.problem}; {ADVICE}", file=run / NAME) from None
    return known


def of(data: bytes) -> str:
    """Return the checksum of some bytes."""
    return f"{zlib.crc32(data):08x}"


def _temporary(path: Path) -> bool:
    return path.name.startswith(files.TEMPORARY) or ".corrupt" in path.name
