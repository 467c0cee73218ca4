"""timm towers of several families, and weights from files: good, foreign, damaged, and dangerous."""

import pickle
import time

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mtlab.errors import UserError
from mtlab.towers.base import TokenGrid
from mtlab.towers.build import build_tower, fetch_tower, token_grid, tower_digest, tower_shape
from mtlab.towers.loading.positions import resize_positions


def timm_node(model, **options):
    return {"name": "timm", "model": model, "weights": "random", "image_size": 64, **options}


def noise(count=2, side=64, seed=0):
    return list(np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("model", "depth", "tokens", "class_token", "positions"),
    [
        ("test_vit", 6, 17, True, True),
        ("test_vit_relpos", 9, 16, False, False),
        ("test_efficientnet", 5, 4, False, False),
        ("test_resnet", 5, 4, False, False),
        ("test_convnext", 4, 4, False, False),
    ],
)
def test_families(model, depth, tokens, class_token, positions):
    node = timm_node(model)
    shape, tower = tower_shape("vision", node), build_tower("vision", node)
    assert (shape.depth, shape.tokens, shape.class_token, shape.positions) == (depth, tokens, class_token, positions)
    found = tower(*tower.prepare(noise()))
    assert [level.shape for level in found.levels] == [(2, tokens, width) for width in shape.widths]
    assert all(level.isfinite().all() and level.std() > 0.1 for level in found.levels)


def test_levels_of_a_vit_are_its_blocks_under_its_last_norm():
    tower = build_tower("vision", timm_node("test_vit", layers=[3, -1]))
    (pixels,) = tower.prepare(noise())
    found = tower(pixels)
    network, states = tower.network, []
    hook = [block.register_forward_hook(lambda *given: states.append(given[-1])) for block in network.blocks]
    hidden = network.forward_features(pixels)
    for handle in hook:
        handle.remove()
    torch.testing.assert_close(found.levels[0], network.norm(states[2]))
    torch.testing.assert_close(found.levels[1], hidden)


def test_levels_may_be_left_as_they_are():
    tower = build_tower("vision", timm_node("test_vit", layers=[3, -1], norm="none"))
    (pixels,) = tower.prepare(noise())
    states = []
    for block in tower.network.blocks:
        block.register_forward_hook(lambda *given: states.append(given[-1]))
    low, top = tower(pixels).levels
    assert torch.equal(low, states[2])
    assert torch.equal(top, states[-1])


def test_a_tower_cut_to_its_lowest_blocks_gives_what_they_give_in_the_whole():
    whole, cut = (build_tower("vision", timm_node("test_vit", layers=[2, 4], **size)) for size in ({}, {"blocks": 4}))
    assert cut.info.depth == 4
    (pixels,) = whole.prepare(noise())
    for one, other in zip(whole(pixels).levels, cut(pixels).levels, strict=True):
        assert torch.equal(one, other)
    assert len(cut.network.blocks) == 4
    with pytest.raises(UserError, match="cannot be cut to 9 blocks"):
        tower_shape("vision", timm_node("test_vit", blocks=9))


def test_levels_of_a_cnn_are_pooled_in_reading_order_and_standardised():
    tower = build_tower("vision", timm_node("test_resnet", grid=2, layers=[-2]))
    (pixels,) = tower.prepare(noise())
    (level,) = tower(pixels).levels
    torch.testing.assert_close(level.mean(-1), torch.zeros(2, 4), atol=1e-5, rtol=0)
    torch.testing.assert_close(level.var(-1, unbiased=False), torch.ones(2, 4), atol=1e-2, rtol=0)
    raw = tower.network.forward_intermediates(pixels, intermediates_only=True)[-2]  # [2, C, 4, 4]
    corner = torch.nn.functional.layer_norm(raw[:, :, :2, 2:].mean((2, 3)), raw.shape[1:2])
    torch.testing.assert_close(level[:, 1], corner, atol=1e-4, rtol=1e-3)


def test_the_grid_does_not_depend_on_which_levels_are_offered():
    tokens = {tower_shape("vision", timm_node("test_resnet", layers=layers)).tokens for layers in ("all", [1], "top1")}
    assert tokens == {4}


def test_random_weights_come_from_their_seed():
    one, same, other = (build_tower("vision", timm_node("test_vit", seed=seed)).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["network.pos_embed"], other["network.pos_embed"])


def drawn(count, seed):
    """Draw circles and squares of any colour, size and place on noise; return them with their kind."""
    draw = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:64, 0:64]
    kinds = draw.integers(0, 2, count)
    pictures = draw.integers(80, 170, (count, 64, 64, 3)).astype(np.uint8)
    for picture, kind in zip(pictures, kinds, strict=True):
        size, (row, column) = draw.integers(8, 18), draw.integers(20, 44, 2)
        across, down = abs(columns - column), abs(rows - row)
        inside = np.hypot(across, down) < size if kind else np.maximum(across, down) < size
        picture[inside] = draw.integers(0, 256, 3)
    return list(pictures), torch.from_numpy(kinds)


def test_efficientnet_has_learnt_to_see():
    tower = build_tower("vision", {"name": "efficientnet_lite0", "layers": [4]})
    (pictures, kinds), (others, expected) = drawn(200, seed=0), drawn(200, seed=1)
    with torch.no_grad():
        seen, tested = (tower(*tower.prepare(given)).levels[0].mean(1) for given in (pictures, others))
    middle = seen.mean(0)
    centred = seen - middle
    ridge = torch.linalg.solve(centred.T @ centred + 10 * torch.eye(112), centred.T @ (kinds * 2.0 - 1))
    assert ((tested - middle) @ ridge > 0).eq(expected.bool()).float().mean() > 0.85


def test_every_tensor_of_the_package_finds_its_place():
    """Both list their tensors in the order of the network, so the order checks the names."""
    from mtlab.towers.efficientnet import _file
    from mtlab.towers.loading.weights import read_tensors

    tower = build_tower("vision", {"name": "efficientnet_lite0", "grid": 2, "layers": "top2"})
    theirs = [value for name, value in read_tensors(_file()).items() if not name.startswith("_fc")]
    ours = list(tower.network.state_dict().values())
    assert len(theirs) == len(ours) == 294
    assert all(torch.equal(one, two) for one, two in zip(theirs, ours, strict=True))
    assert [level.shape for level in tower(*tower.prepare(noise())).levels] == [(2, 4, 112), (2, 4, 320)]
    assert len(tower_digest("vision", {"name": "efficientnet_lite0"})) == 64


def test_weights_from_a_file(tmp_path):
    source = build_tower("vision", timm_node("test_vit", seed=7))
    wanted = source(*source.prepare(noise())).levels[-1]
    state = source.network.state_dict()
    save_file(state, tmp_path / "w.safetensors")
    torch.save({"state_dict": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "w.pth")
    digests = set()
    for name in ("w.safetensors", "w.pth"):
        node = timm_node("test_vit", weights=str(tmp_path / name))
        tower = build_tower("vision", node)
        assert torch.equal(tower(*tower.prepare(noise())).levels[-1], wanted)
        digests.add(tower_digest("vision", node))
    assert len(digests) == 2
    assert None not in digests


def test_positions_are_resized_as_published_if_asked(tmp_path):
    source = build_tower("vision", timm_node("test_vit", seed=7))
    save_file(source.network.state_dict(), tmp_path / "w.safetensors")
    node = timm_node("test_vit", weights=str(tmp_path / "w.safetensors"), image_size=96)
    smoothed, published = (build_tower("vision", node | {"antialias": given}).network for given in (True, False))
    wanted = resize_positions(source.network.pos_embed, published.pos_embed.shape[1])
    torch.testing.assert_close(published.pos_embed, wanted)
    assert not torch.allclose(smoothed.pos_embed, wanted, atol=1e-3)
    with pytest.raises(UserError, match=r"vision\.antialias: .*'test_resnet'"):
        build_tower("vision", timm_node("test_resnet", antialias=False), weights=False)


def test_the_digest_follows_the_content(tmp_path):
    path, node = tmp_path / "w.pth", timm_node("test_vit", weights=str(tmp_path / "w.pth"))
    torch.save({"a": torch.zeros(2)}, path)
    first = tower_digest("vision", node)
    assert tower_digest("vision", node) == first
    torch.save({"a": torch.ones(2)}, path)
    assert tower_digest("vision", node) != first


class Runs:
    """Unpickling it would run a command."""

    def __reduce__(self):
        return print, ("the weights file ran code",)


def spoilt(path, how):
    if how == "code":
        torch.save({"state_dict": {"w": torch.zeros(1)}, "callback": Runs()}, path)
    elif how == "plain pickle":
        path.write_bytes(pickle.dumps({"callback": Runs()}))
    elif how == "foreign":
        torch.save({"layer.weight": torch.zeros(2, 2)}, path)
    elif how == "no tensors":
        torch.save({"epoch": 3}, path)
    elif how == "cut":
        torch.save({"w": torch.zeros(1000)}, path)
        path.write_bytes(path.read_bytes()[:2000])
    elif how == "text":
        path.write_text("not weights at all")
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "folder":
        path.mkdir()


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("code", "holds code"),
        ("plain pickle", "holds code"),
        ("foreign", "does not fit the model"),
        ("no tensors", "no named tensors"),
        ("cut", "not a readable"),
        ("text", "not a readable"),
        ("empty", "not a readable"),
        ("folder", "is a folder"),
        ("missing", "no such weights file"),
    ],
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_that_are_refused(tmp_path, capsys, how, told, suffix):
    path = tmp_path / f"w{suffix}"
    spoilt(path, how)
    with pytest.raises(UserError) as caught:
        build_tower("vision", timm_node("test_vit", weights=str(path)))
    message = str(caught.value)
    assert message.startswith(f"{path}: vision.weights: ")
    assert "\n" not in message
    if suffix == ".pth" or how in ("folder", "missing"):
        assert told in message
    else:
        assert "not a readable safetensors file" in message
    assert "ran code" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("node", "told"),
    [
        (timm_node("vit_tiny_patch16_223"), "vision.model: timm has no model 'vit_tiny_patch16_223'; did you mean"),
        (timm_node("zzzzzz"), "vision.model: timm has no model 'zzzzzz'; see timm.list_models()"),
        (timm_node("test_vit", layers="top7"), "vision.layers: top7 asks for 7 levels; the tower has 6"),
        (timm_node("test_vit", norm="batch"), "vision.norm: "),
        (timm_node("resnet18", norm="own"), "vision.norm: 'resnet18' has no last norm that fits every level: write"),
        (
            timm_node("swin_tiny_patch4_window7_224", norm="own", image_size=64),
            "vision.norm: 'swin_tiny_patch4_window7",
        ),
        (timm_node("test_vit", image_size=4), "vision.image_size: 4"),
        (
            timm_node("vit_tiny_patch16_224", image_size=60),
            "vision.image_size: patches of 16 pixels do not fill 60, the rest would be cut off; 48 and 64 would do",
        ),
        (
            timm_node("test_vit.r160"),
            "vision.model: timm has no weights 'r160' of 'test_vit'; did you mean 'r160_in1k'?",
        ),
        (timm_node("test_vit", weights="pretrained"), "vision.model: 'timm/test_vit.r160_in1k' is not in the hub's"),
    ],
)
def test_one_line_for_the_user(node, told):
    started = time.monotonic()
    with pytest.raises(UserError) as caught:
        build_tower("vision", node)
    assert str(caught.value).startswith(told)
    assert time.monotonic() - started < 30
    if node["weights"] == "pretrained":
        with pytest.raises(UserError, match="cannot be reached"):
            fetch_tower("vision", node)


def test_hub_weights_have_no_digest_before_they_are_here():
    assert tower_digest("vision", timm_node("test_vit", weights="pretrained")) is None
    assert tower_shape("vision", timm_node("test_vit", weights="pretrained")).depth == 6


@pytest.mark.parametrize(
    ("node", "grid"),
    [
        ({"name": "efficientnet_lite0", "grid": 5}, TokenGrid(5, 5, prefix=0)),
        (
            {"name": "clip_vit", "image_size": 64, "patch": 16, "width": 32, "heads": 2, "depth": 2},
            TokenGrid(4, 4, prefix=1),
        ),
        ({"name": "timm", "model": "vit_tiny_patch16_224", "weights": "random"}, TokenGrid(14, 14, prefix=1)),
        (
            {"name": "timm", "model": "deit_tiny_distilled_patch16_224", "weights": "random"},
            TokenGrid(14, 14, prefix=2),
        ),
        (
            {"name": "timm", "model": "vit_small_patch14_reg4_dinov2", "weights": "random", "image_size": 28},
            TokenGrid(2, 2, prefix=5),
        ),
        ({"name": "tiny_vision", "image_size": 32, "patch": 8}, TokenGrid(4, 4, prefix=1)),
        ({"name": "planted"}, None),
    ],
)
def test_how_tokens_lie_in_the_image(node, grid):
    assert token_grid(node) == grid
    if grid is not None:
        assert grid.prefix + grid.rows * grid.columns == tower_shape("vision", node).tokens
