"""Refuses files of studies that hold a password or a key: they are stored with the results, and shown in reports."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

#: What a string holds → how it looks. Variables (`$NAME`) are fine: what they stand for is not stored.
PATTERNS = {
    "a password in a URL": re.compile(r"[a-z][a-z0-9+.-]*://[^\s/@]*:(?!\$\{?\w)[^\s/@]+@", re.IGNORECASE),
    "a key in a URL": re.compile(
        r"https?://[^\s/@:$]{20,}@"
        r"|://\S*[?&](?:[\w-]*(?:password|secret|token|signature|api_?key|access_?key)|sig|key|auth)=[^\s&$]",
        re.IGNORECASE,
    ),
    "a key in a command": re.compile(
        r"\bAuthorization:\s*\w+\s+[^\s'\"$]|\bcurl\b.*\s(?:-u|--user)[\s=]+['\"]?[^\s:$]+:[^\s'\"$]", re.IGNORECASE
    ),
    "a key of the environment": re.compile(r"\b[A-Z0-9_]*(?:PASSWORD|SECRET|TOKEN|_KEY)\s*=\s*['\"]?[^\s'\"$]"),
    "a key of Hugging Face": re.compile(r"\bhf_[A-Za-z0-9]{30,}"),
}


#: keys whose strings are secrets, whatever they look like: of a plug-in's options
SECRETS = frozenset({"password", "secret", "token", "api_key", "access_key"})


def find_credentials(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield where strings below a node hold credentials, and which: key, words.

    Args:
        node: of a file.
        key: of the node.

    """
    if isinstance(node, dict):
        for name, below in node.items():
            place = f"{key}.{name}" if key else str(name)
            if str(name).lower() in SECRETS and isinstance(below, str) and below and not below.startswith("$"):
                yield place, "a secret, by its name"
            else:
                yield from find_credentials(below, place)
    elif isinstance(node, list):
        for index, below in enumerate(node):
            yield from find_credentials(below, f"{key}[{index}]")
    elif isinstance(node, str):
        yield from ((key, what) for what, pattern in PATTERNS.items() if pattern.search(node))
