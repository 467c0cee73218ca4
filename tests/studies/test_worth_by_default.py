"""Whether what levels are worth is measured follows from the configuration alone, and changes no id."""

from __future__ import annotations

from typing import Any

import pytest

from mtlab.resolution.identity import cell_identity
from mtlab.resolution.interventions import MAX_FORWARD, intervention_forwards, intervention_passes
from mtlab.resolution.resolve import resolve

TINY: dict[str, Any] = {
    "text": {"name": "tiny_text", "depth": 3, "width": 16, "layers": "all"},
    "vision": {"name": "tiny_vision", "depth": 4, "width": 16, "layers": "top2"},
    "data": {"name": "shapes", "train": 64, "val": 40, "test": 16},
}


def measured(**sections: Any) -> bool:
    value = resolve({**TINY, **sections})["record"]["interventions"]
    assert isinstance(value, bool), "a resolved configuration says yes or no"
    return value


def test_it_is_measured_where_it_is_cheap() -> None:
    assert measured()
    assert not measured(cache={"enabled": False}), "the towers would run in each pass"
    assert not measured(vision={**TINY["vision"], "trainable": True})
    captions = {"name": "shapes_captions", "train": 64, "val": 40, "test": 16}
    assert not measured(task={"name": "pretraining", "objectives": ["mlm", "itm"]}, data=captions), "masked words"
    assert measured(task={"name": "pretraining", "objectives": ["itm"]}, data=captions)
    passes = intervention_passes(resolve(TINY))
    assert passes == 3 + 2 + 2 * 2
    most = MAX_FORWARD // passes
    for examples, cheap in ((most, True), (most + 1, False)):
        assert measured(data={**TINY["data"], "val": examples}) == cheap


def test_what_is_written_is_kept() -> None:
    assert not measured(record={"interventions": False})
    assert measured(record={"interventions": True}, cache={"enabled": False})


@pytest.mark.parametrize("value", [None, True, False])
def test_no_id_changes(value: bool | None) -> None:
    made = [resolve({**TINY, **more}) for more in ({}, {"record": {"interventions": value}})]
    for config in made:
        config["train"]["length"] = {"steps": 10, "epochs": None, "flops": None}
    assert len({cell_identity(config).cell for config in made}) == 1


def test_ranking_counts_pairs() -> None:
    data = {"name": "shapes_captions", "train": 64, "val": 40}
    config = resolve({**TINY, "task": {"name": "retrieval"}, "data": data, "metrics": {"choose": "val/primary"}})
    assert intervention_forwards(config, 40) > 40 * intervention_passes(config)
