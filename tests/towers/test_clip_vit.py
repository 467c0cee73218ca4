"""CLIP's ViT, of any size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mtlab.errors import UserError
from mtlab.towers.build import build_tower, tower_digest, tower_shape
from mtlab.towers.loading.positions import resize_positions

NODE = {"name": "clip_vit", "width": 32, "depth": 3, "heads": 2, "patch": 8, "image_size": 32}


def test_shape_is_what_it_gives() -> None:
    shape = tower_shape("vision", NODE | {"layers": "top2"})
    tower = build_tower("vision", NODE | {"layers": "top2"})
    features = tower(*tower.dummy_inputs(2))
    assert (shape.levels, shape.tokens, shape.class_token) == ((2, 3), 17, True)
    assert [tuple(level.shape) for level in features.levels] == [(2, 17, 32)] * 2
    for level in features.levels:  # under the last norm, all of them
        assert torch.allclose(level.mean(-1), torch.zeros(2, 17), atol=1e-5)


def test_is_timms_own_network() -> None:
    """At the published measures it has the names and shapes of timm's CLIP ViT, position for position."""
    import timm

    base = {"name": "clip_vit"}
    with torch.device("meta"):
        ours = build_tower("vision", base, weights=False).network
        timms = timm.create_model("vit_base_patch16_clip_quickgelu_224", num_classes=0)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in timms.state_dict().items()}
    assert str(ours.blocks[0].mlp.act) == str(timms.blocks[0].mlp.act)
    assert ours.norm.eps == timms.norm.eps


def test_weights_come_from_a_file_and_positions_are_resized(tmp_path: Path) -> None:
    tower = build_tower("vision", NODE | {"seed": 3})
    save_file(tower.network.state_dict(), tmp_path / "vit.safetensors")
    node = NODE | {"weights": str(tmp_path / "vit.safetensors")}
    same, larger = build_tower("vision", node), build_tower("vision", node | {"image_size": 48})
    assert all(torch.equal(a, b) for a, b in zip(tower.network.parameters(), same.network.parameters(), strict=True))
    assert torch.equal(larger.network.pos_embed, resize_positions(tower.network.pos_embed, 37))
    assert tower_digest("vision", node) != tower_digest("vision", NODE)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    tower = build_tower("vision", NODE)
    save_file(tower.network.state_dict(), tmp_path / "vit.safetensors")
    with pytest.raises(UserError, match=r"12 weights differ \(blocks\.3\."):
        build_tower("vision", NODE | {"depth": 4, "weights": str(tmp_path / "vit.safetensors")})


def test_positions_without_a_square_grid_are_refused(tmp_path: Path) -> None:
    weights = build_tower("vision", NODE).network.state_dict()
    save_file(weights | {"pos_embed": weights["pos_embed"][:, :-1].contiguous()}, tmp_path / "vit.safetensors")
    with pytest.raises(UserError, match=r"1 weights differ \(pos_embed\)"):
        build_tower("vision", NODE | {"weights": str(tmp_path / "vit.safetensors")})


def test_resizing_keeps_the_class_token_and_a_constant_grid() -> None:
    positions = torch.cat([torch.randn(1, 1, 4), torch.ones(1, 9, 4)], 1)
    larger = resize_positions(positions, 26)
    assert torch.equal(larger[:, :1], positions[:, :1])
    assert torch.allclose(larger[:, 1:], torch.ones(1, 25, 4))
    with pytest.raises(ValueError, match="square"):
        resize_positions(positions, 25)
