"""The versions and the digest of the source code that trains.

The engine's version is part of a run's id. The digest is not: it is stored with each run, so that a change is reported.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib import metadata
from pathlib import Path

ENGINE_VERSION = 8  #: raise it when the same configuration and seed give other results

#: The files and folders of the package that make examples, the levels of towers, and train a model.
TRAINING_CODE = (
    *(
        "attention.py",
        "matmul.py",
        "seeding.py",
        "distributed",
        "managers",
        "model",
        "runs/checkpoints.py",
        "tasks",
        "towers",
        "training",
    ),
    *(
        "data/batches.py",
        "data/cache/extract.py",
        "data/captions.py",
        "data/datasets",
        "data/image_files.py",
        "data/inputs.py",
        "data/masking.py",
        "data/matching.py",
        "data/shards/streaming",
        "data/transforms",
        "data/worlds",
    ),
)


def installed_version(package: str) -> str | None:
    """Return the version of an installed package, without importing it; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@lru_cache(maxsize=1)
def training_code_digest() -> str:
    """Return the digest of the source that makes examples and trains; hidden files are an editor's locks."""
    package = Path(__file__).resolve().parents[1]
    paths = [package / name for name in TRAINING_CODE]
    files = [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("[!.]*.py")))]
    hasher = hashlib.blake2b(digest_size=6)
    for path in files:
        hasher.update(path.name.encode() + b"\0" + path.read_bytes())
    return hasher.hexdigest()
