"""The source code that trains: its digest is stored with each run, to tell that it has changed since."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

#: What trains, below the package: the source that `training_code_digest` covers, files and whole rooms.
TRAINING_CODE = (
    *("attention.py", "seeding.py", "distributed", "managers", "model", "tasks", "training"),
    *(
        "data/batches.py",
        "data/inputs.py",
        "data/masking.py",
        "data/matching.py",
        "data/shards/streaming/batch_loader.py",
    ),
)


@lru_cache(maxsize=1)
def training_code_digest() -> str:
    """Digest of the source that trains: stored with each run, so that `mtlab plan` can tell that it has changed."""
    package = Path(__file__).resolve().parents[1]
    paths = [package / name for name in TRAINING_CODE]
    files = [file for path in paths for file in ([path] if path.is_file() else sorted(path.rglob("*.py")))]
    hasher = hashlib.blake2b(digest_size=6)
    for path in files:
        hasher.update(path.name.encode() + b"\0" + path.read_bytes())
    return hasher.hexdigest()
