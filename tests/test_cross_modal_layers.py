"""The cross-modal layer: one token alone as among all, and attention with dropout as torch has it."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from mtlab.attention import attend
from mtlab.config.schema import ModelConfig
from mtlab.managers.base import MANAGERS
from mtlab.model.encoder import CrossModalEncoder
from mtlab.model.layers import CrossModalLayer
from mtlab.towers.base import Features, TowerShape

SHAPE = TowerShape((12, 12), (1, 2), 2, 7, class_token=True, positions=True)
MASK = torch.arange(5) < torch.tensor([5, 3, 1]).unsqueeze(1)


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()


def outcome(out: Tensor, *inputs: Tensor, parameters: list[Tensor]) -> tuple[Tensor, ...]:
    """The output, gradients, and the next random number."""
    weighed = (out * torch.linspace(-1, 1, out.shape[-1], dtype=out.dtype)).sum()
    return out, *torch.autograd.grad(weighed, [*inputs, *parameters]), torch.rand(())


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("masked", ["own", "other"])
def test_one_token_alone_is_what_it_is_among_all(training: bool, masked: str) -> None:
    layer = CrossModalLayer(16, 4, 2, 0.3, 1e-5).double().train(training)
    text, image = drawn(3, 5, 16), drawn(3, 7, 16)
    streams = (text, image, MASK, None) if masked == "own" else (image, text, None, MASK)
    found = []
    for run in (lambda: layer(*streams)[:, :1], lambda: layer.of_one(*streams)):
        torch.manual_seed(3)
        found.append(outcome(run(), text, image, parameters=list(layer.parameters())))
    for whole, alone in zip(*found, strict=True):
        torch.testing.assert_close(alone, whole, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("mask", [None, MASK])
def test_attention_with_dropout_is_torchs(mask: Tensor | None) -> None:
    query, key, value = drawn(3, 2, 4, 8), drawn(3, 2, 5, 8) + 1, drawn(3, 2, 5, 8) * 2
    seen = None if mask is None else mask[:, None, None, :]
    found = []
    for run in (
        lambda: F.scaled_dot_product_attention(query, key, value, attn_mask=seen, dropout_p=0.4),
        lambda: attend(query, key, value, mask, 0.4),
    ):
        torch.manual_seed(3)
        found.append(outcome(run(), query, key, value, parameters=[]))
    for theirs, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("manager", [entry.name for entry in MANAGERS if entry.ours])
def test_what_is_pooled_does_not_depend_on_whether_tokens_are_read(manager: str) -> None:
    encoder = CrossModalEncoder(ModelConfig(width=16, heads=4, cross_layers=2), {"name": manager}, SHAPE, SHAPE)
    encoder = encoder.double().train()
    text = Features((drawn(3, 5, 12), drawn(3, 5, 12)), MASK)
    image = Features((drawn(3, 7, 12), drawn(3, 7, 12)))
    found = []
    for tokens in (("text", "image"), ("text",), ()):
        torch.manual_seed(3)
        fused = encoder(text, image, tokens=tokens)
        assert fused.text.shape[1] == (5 if "text" in tokens else 1)
        assert fused.image.shape[1] == (7 if "image" in tokens else 1)
        parameters = [p for p in encoder.parameters() if p.requires_grad]
        gradients = torch.autograd.grad(fused.pooled.square().sum(), parameters, allow_unused=True)
        found.append([fused.pooled, *(g for g in gradients if g is not None)])
    for other in found[1:]:
        assert len(other) == len(found[0])
        for alone, whole in zip(other, found[0], strict=True):
            torch.testing.assert_close(alone, whole, rtol=1e-8, atol=1e-10)


def test_a_mean_over_tokens_takes_them_all() -> None:
    pooled = TowerShape((12, 12), (1, 2), 2, 7, class_token=False, positions=True)
    encoder = CrossModalEncoder(ModelConfig(width=16, heads=4, cross_layers=1), {"name": "last"}, SHAPE, pooled)
    text, image = (Features((torch.randn(2, length, 12),) * 2) for length in (5, 7))
    fused = encoder.eval()(text, image, tokens=())
    assert fused.image.shape[1] == 7
    torch.testing.assert_close(fused.pooled, encoder(text, image).pooled)
