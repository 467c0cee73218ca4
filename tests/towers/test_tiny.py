"""What holds for every tower, shown on the tiny ones."""

import numpy as np
import pytest
import torch

from mtlab.errors import UserError
from mtlab.towers.build import build_tower, tower_digest, tower_shape

TEXT = {"name": "tiny_text"}
VISION = {"name": "tiny_vision"}


def images(*shapes):
    draw = np.random.default_rng(0)
    return [draw.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]


@pytest.mark.parametrize(("kind", "node"), [("text", TEXT), ("vision", VISION)])
@pytest.mark.parametrize("layers", ["all", "top2", [1, -1]])
def test_the_shape_told_is_the_shape_given(kind, node, layers):
    node = {**node, "layers": layers}
    shape, tower = tower_shape(kind, node), build_tower(kind, node)
    raw = ["one two", "three"] if kind == "text" else images((32, 32), (50, 20))
    found = tower(*tower.prepare(raw))
    assert tuple(level.shape[-1] for level in found.levels) == shape.widths
    assert shape.levels == {"all": (1, 2, 3, 4), "top2": (3, 4)}.get(layers if isinstance(layers, str) else "", (1, 4))
    full = tower(*tower.dummy_inputs(2))
    assert all(level.shape == (2, shape.tokens, width) for level, width in zip(full.levels, shape.widths, strict=True))


def test_a_level_is_the_same_however_many_are_offered():
    everything = build_tower("text", TEXT)
    one = build_tower("text", {**TEXT, "layers": [2]})
    inputs = everything.prepare(["how many red circles?"])
    assert torch.equal(everything(*inputs).levels[1], one(*inputs).levels[0])


def test_padding_changes_nothing():
    tower = build_tower("text", TEXT)
    short, long = "a short one", "one that is longer than the other one by far"
    alone, padded = tower(*tower.prepare([short])), tower(*tower.prepare([short, long]))
    tokens = alone.levels[0].shape[1]
    assert padded.mask[0].sum() == tokens
    for one, two in zip(alone.levels, padded.levels, strict=True):
        torch.testing.assert_close(one[0], two[0, :tokens])


def test_long_texts_are_cut():
    ids, mask = build_tower("text", {**TEXT, "max_length": 5}).prepare(["word " * 50])
    assert ids.shape == mask.shape == (1, 5)


def test_words_do_not_depend_on_the_process():
    ids, _ = build_tower("text", TEXT).prepare(["Red red, blue"])
    assert ids.tolist() == [[1, 483, 483, 403, 453]]


def test_the_seed_draws_the_weights_and_leaves_ours_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, same, other = (build_tower("vision", {**VISION, "seed": seed}) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    states = [tower.state_dict() for tower in (one, same, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not torch.equal(states[0]["patches.weight"], states[2]["patches.weight"])


def test_a_frozen_tower_stays_frozen_inside_a_model_that_trains():
    frozen, trained = build_tower("text", TEXT), build_tower("text", {**TEXT, "trainable": True})
    model = torch.nn.ModuleList([frozen, trained]).train()
    assert [tower.training for tower in model] == [False, True]
    assert not any(parameter.requires_grad for parameter in frozen.parameters())
    assert all(parameter.requires_grad for parameter in trained.parameters())


def test_images_are_treated_each_by_itself():
    tower = build_tower("vision", VISION)
    raw = images((64, 48), (20, 90), (32, 32))
    (together,) = tower.prepare(raw)
    assert together.shape == (3, 3, 32, 32)
    for one, image in zip(together, raw, strict=True):
        assert torch.equal(tower.prepare([image])[0][0], one)


def test_pixels_are_scaled_channel_by_channel():
    image = np.zeros((32, 32, 3), np.uint8)
    image[..., 1] = 255
    (pixels,) = build_tower("vision", VISION).prepare([image])
    assert pixels[0, :, 0, 0].tolist() == [-2.0, 2.0, -2.0]  # mean 0.5, standard deviation 0.25


def test_read_only_images_are_taken():
    image = images((32, 32))[0]
    image.setflags(write=False)
    assert build_tower("vision", VISION).prepare([image])[0].shape == (1, 3, 32, 32)


@pytest.mark.parametrize(("kind", "node"), [("text", TEXT), ("vision", VISION)])
def test_without_weights_on_the_meta_device(kind, node):
    with torch.device("meta"):
        tower = build_tower(kind, node, weights=False)
        found = tower(*tower.dummy_inputs(1))
    assert found.levels[0].is_meta
    assert tower_digest(kind, node) == "random"


@pytest.mark.parametrize(
    ("kind", "node", "told"),
    [
        ("text", {}, "text: needs a name; known: blind, causal_lm, minilm, planted, tiny_text, transformers"),
        ("text", {"name": "tiny_txt"}, "text.name: unknown text tower 'tiny_txt'; did you mean 'tiny_text'?"),
        ("text", {**TEXT, "dept": 3}, "text.dept: unknown key; did you mean 'depth'?"),
        ("text", {**TEXT, "depth": 0}, "text.depth: 0"),
        ("text", {**TEXT, "heads": 5}, "text.heads: 5 heads do not divide the width 32"),
        ("text", {**TEXT, "layers": "top9"}, "text.layers: top9 asks for 9 levels; the tower has 4"),
        ("vision", {**VISION, "patch": 5}, "vision.patch: patches of 5 do not divide images of 32"),
    ],
)
def test_one_line_for_the_user(kind, node, told):
    with pytest.raises(UserError) as caught:
        tower_shape(kind, node)
    assert str(caught.value).startswith(told)
