"""Entropy of attention against the attention that the layers perform."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from mtlab.attention import Attention
from mtlab.model.layers import CrossModalLayer
from mtlab.recording import attention
from mtlab.recording.attention import measure_entropies, measure_layer
from mtlab.tasks.build import build
from mtlab.towers.base import Features, TowerShape

B, L, M, D, H = 5, 4, 3, 8, 2


def masked(lengths: list[int], longest: int) -> Tensor:
    return torch.arange(longest) < torch.tensor(lengths).unsqueeze(1)


def test_the_weights_are_those_that_the_fused_attention_uses() -> None:
    torch.manual_seed(0)
    layer = Attention(D, H, dropout=0.0)
    queries, context, mask = torch.randn(B, L, D), torch.randn(B, M, D), masked([3, 2, 1, 3, 2], M)
    measured, weights = layer.forward_with_weights(queries, context, mask)
    torch.testing.assert_close(weights.sum(-1), torch.ones(B, H, L))
    value = layer.key_value(context).chunk(2, -1)[1].view(B, M, H, -1).transpose(1, 2)
    by_hand = layer.out((weights @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(by_hand, measured)
    torch.testing.assert_close(layer(queries, context, mask), measured)


@pytest.mark.parametrize("cells", [1, 2**22])
def test_entropy_by_hand(monkeypatch: pytest.MonkeyPatch, cells: int) -> None:
    """One example has a single key: it has no entropy, and does not count. Nor do padded queries."""
    monkeypatch.setattr(attention, "CELLS", cells)
    torch.manual_seed(0)
    layer = CrossModalLayer(D, H, 2, 0.0, 1e-5).eval()
    own, other = torch.randn(B, L, D), torch.randn(B, M, D)
    own_lengths, other_lengths = [4, 3, 2, 4, 1], [3, 2, 1, 3, 2]
    own_mask, other_mask = masked(own_lengths, L), masked(other_lengths, M)
    with torch.no_grad():
        measured = measure_layer(layer, own, other, own_mask, other_mask)
        attended = layer.self_norm(own + layer.self_attention(own, own, own_mask))
        weights = layer.cross_attention.forward_with_weights(attended, other, other_mask)[1].double().numpy()
    entropies = [
        -(weights[b, :, q, :keys] * np.log(weights[b, :, q, :keys])).sum(-1) / np.log(keys)
        for b, keys in enumerate(other_lengths)
        for q in range(own_lengths[b])
        if keys > 1
    ]
    assert measured.cross.queries == len(entropies) == 12
    np.testing.assert_allclose(measured.cross.total.numpy(), np.sum(entropies, 0), rtol=1e-5)
    assert measured.own.queries == sum(length for length in own_lengths if length > 1)


def test_without_masks_all_tokens_are_seen() -> None:
    torch.manual_seed(0)
    layer = CrossModalLayer(D, H, 2, 0.0, 1e-5).eval()
    torch.nn.init.zeros_(layer.self_attention.query.weight)
    torch.nn.init.zeros_(layer.self_attention.query.bias)
    with torch.no_grad():
        measured = measure_layer(layer, torch.randn(B, L, D), torch.randn(B, M, D), None, masked([1] * B, M))
    assert (measured.own.total / measured.own.queries).tolist() == pytest.approx([1.0] * H)  # no query: all alike
    assert measured.cross.queries == 0


def test_attention_is_measured_on_what_the_layers_read() -> None:
    """The first layer reads positions too, where a tower has none: a manager does not hand them on."""
    towers = TowerShape((6,), (1,), 1, L, class_token=True, positions=True), TowerShape((6,), (1,), 1, M, False, False)
    options = {"width": D, "heads": H, "cross_layers": 2, "mlp_ratio": 1, "position_std": 1.0}
    config = {"manager": {"name": "bridge"}, "model": options, "task": {"name": "question_answering"}}
    encoder = build(config, *towers, answers=3).eval().encoder
    read = {}
    for key, _ in encoder.managers():
        encoder.layer(*key).register_forward_pre_hook(lambda layer, given, key=key: read.update({key: (layer, *given)}))
    mask = masked([4, 3, 2, 4, 1], L)
    with torch.no_grad():
        given = Features((torch.randn(B, L, 6),), mask), Features((torch.randn(B, M, 6),))
        recorded = encoder(*given, record=True).recorded
        hidden = {key: each.hidden for key, each in recorded.items()}
        measured = measure_entropies(encoder, hidden, {"text": mask, "image": None})
        expected = {key: measure_layer(*call) for key, call in read.items()}
    assert measured.keys() == expected.keys()
    for key, entropies in expected.items():
        torch.testing.assert_close(measured[key].own.total, entropies.own.total)
        torch.testing.assert_close(measured[key].cross.total, entropies.cross.total)
