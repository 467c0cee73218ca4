"""Some 200 mistakes of a user: each gets one clear line, as docs/mistakes.md shows."""

from __future__ import annotations

import pytest
from mistakes import DOCS, collect, page


@pytest.mark.slow
def test_every_mistake_gets_one_clear_line_which_is_the_one_in_the_docs() -> None:
    found = collect()
    assert [answer for answer in found if not answer.fair] == []
    assert page(found) == DOCS.read_text(encoding="utf-8"), "python tests/faults/mistakes.py writes it anew"
