"""Names of published checkpoints and ours: every weight in one place, and back to the bit."""

from __future__ import annotations

import pytest
import torch
from bundles import folders, weights
from torch import Tensor

from mtlab.errors import UserError
from mtlab.interop.families import detect_layout
from mtlab.interop.heads import HEADS, names_in_head, published_names
from mtlab.interop.weight_names import CheckpointLayout, to_ours, to_theirs, weight_mappings


def layout_of(state: dict[str, Tensor]) -> CheckpointLayout:
    return detect_layout({name: tuple(tensor.shape) for name, tensor in state.items()})


@pytest.mark.parametrize("bundle", folders())
@pytest.mark.parametrize("task", HEADS)
def test_there_and_back_is_the_same_to_the_bit(bundle: str, task: str) -> None:
    state = weights(bundle)
    entries = weight_mappings(layout_of(state), task)
    ours, unmapped = to_ours(state, entries)
    back = to_theirs(ours, unmapped, entries)
    assert set(back) == set(state)
    assert all(torch.equal(back[name], state[name]) for name in state)
    placed = [name for entry in entries for name in entry.theirs]
    assert len(placed) == len(set(placed))


def test_families_are_told_apart() -> None:
    told = {
        bundle: layout_of(weights(bundle))
        for bundle in ("extra_meter_fusion", "bt", "mt_aaue_vector", "mt_saue_scalar")
    }
    assert (told["extra_meter_fusion"].family, told["bt"].family) == ("meter", "bridgetower")
    assert told["mt_aaue_vector"].adaptive
    assert not told["mt_saue_scalar"].adaptive
    assert told["mt_aaue_vector"].experts == (3, 4)
    assert (told["bt"].text_layers, told["bt"].vision_layers, told["bt"].cross_layers) == (4, 4, 3)


def test_one_misnamed_weight_is_named() -> None:
    state = weights("bt")
    state["vit_model.visual.transformer.resblocks.7.ln_1.bias"] = state.pop(
        "vit_model.visual.transformer.resblocks.3.ln_1.bias"
    )
    with pytest.raises(UserError, match=r"lacks vit_model.*3\.ln_1\.bias and has the unknown vit_model.*7\.ln_1\.bias"):
        to_ours(state, weight_mappings(layout_of(state), "pretraining"))


def test_another_family_is_told_by_what_it_holds() -> None:
    with pytest.raises(UserError, match=r"no METER, BridgeTower or ManagerTower: 2 weights, features\.0"):
        detect_layout({"features.0.weight": (3,), "features.0.bias": (3,)})
    other = {name.replace("vit_model.visual", "vit_model"): (3,) for name in weights("bt")}
    with pytest.raises(UserError, match="not CLIP's ViT"):
        detect_layout(other)


@pytest.mark.parametrize("bundle", folders())
def test_heads_are_named_both_ways(bundle: str) -> None:
    for kind, names in layout_of(weights(bundle)).heads.items():
        assert published_names(kind, names_in_head(names).values()) == names


def test_a_classifier_of_one_layer_is_a_sequence_of_one() -> None:
    names = ("vqa_classifier.0.bias", "vqa_classifier.0.weight")
    assert names_in_head(names) == {names[0]: "bias", names[1]: "weight"}
    assert published_names("vqa", ("bias", "weight")) == names
