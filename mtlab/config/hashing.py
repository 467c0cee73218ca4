"""Hashing plain data, whatever the order of its keys."""

from __future__ import annotations

import hashlib
import json
from typing import Any


def canonical_json(value: Any) -> str:
    """Write plain data in the one way that equal data is written."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def digest(value: Any, length: int = 12) -> str:
    """Hash plain data to `length` hexadecimal digits."""
    return hashlib.blake2b(canonical_json(value).encode(), digest_size=32).hexdigest()[:length]
