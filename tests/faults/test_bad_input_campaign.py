"""The bad-input campaign in its short form: some inputs of each kind. `make faults` gives thousands of each."""

from __future__ import annotations

import os

import pytest
from bad_inputs import KINDS, judged

INPUTS = {"recipes": 30, "YAML as text": 30, "overrides": 40, "sweeps": 40, "run stores": 40}
#: kinds of which a few inputs take longer than a quick test may
SLOW = {
    "shards": 40,
    "checkpoints": 40,
    "golden bundles": 20,
    "studies beside settings": 40,
    "language models": 40,
    "own questions and captions": 40,
    "archives of studies": 40,
    "words of commands": 60,
    "trained models": 40,
}


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [*INPUTS.items(), *(pytest.param(*each, marks=pytest.mark.slow) for each in SLOW.items())],
)
def test_every_input_is_accepted_or_refused_in_one_line(
    kind: str, inputs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MTLAB_CACHE", "HF_HUB_OFFLINE"):  # put back what the campaign sets
        monkeypatch.setenv(name, os.environ.get(name, ""))
    judge = judged(kind, inputs, seed=7)
    assert judge.inputs > 0
    assert judge.problems == {}


def test_every_kind_is_tried() -> None:
    assert INPUTS.keys() | SLOW.keys() == KINDS.keys()
