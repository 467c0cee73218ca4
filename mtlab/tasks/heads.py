"""The heads of METER, BridgeTower and ManagerTower.

Shapes: B examples, L text tokens, D width, D_t and D_v widths of the towers' top levels, V vocabulary, A answers.
"""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtlab.managers.base import pool_tokens
from mtlab.towers.base import Features, TowerShape

TEMPERATURES = (0.001, 0.5)  #: the contrastive temperature is kept within


def classifier(inputs: int, inner: int, answers: int, layers: int = 2) -> nn.Module:
    """Make a classification head: Linear, LayerNorm, GELU, Linear; or, with one layer, a single Linear."""
    if layers == 1:
        return nn.Linear(inputs, answers)
    return nn.Sequential(nn.Linear(inputs, inner), nn.LayerNorm(inner), nn.GELU(), nn.Linear(inner, answers))


class MaskedLanguageHead(nn.Module):
    """Predict each text token: LN(gelu(W x)), then a map to the vocabulary that is not tied to the word embeddings.

    Args:
        width: D.
        vocabulary: V.
        norm_eps: epsilon of the LayerNorm (published: 1e-12, as in the cross-modal layers).

    """

    def __init__(self, width: int, vocabulary: int, norm_eps: float = 1e-12) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, norm_eps)
        self.decoder = nn.Linear(width, vocabulary, bias=False)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    def forward(self, states: Tensor) -> Tensor:
        """Text states after the last cross-modal layer, [B, L, D] → logits [B, L, V]."""
        logits: Tensor = self.decoder(self.norm(F.gelu(self.dense(states)))) + self.bias
        return logits


class MatchingHead(nn.Module):
    """Do text and image belong together? Class 1: they do.

    In full precision whatever autocast says, as pairs are ranked by its logits: with the 8 bits of bf16 many are equal.

    Args:
        width: D.

    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * width, 2)

    def forward(self, pooled: Tensor) -> Tensor:
        """Pooled features [B, 2D] → logits [B, 2]."""
        kind = pooled.device.type
        counted = not torch.amp.is_autocast_available(kind)  # on the device `meta`: FLOPs are counted
        with nullcontext() if counted else torch.autocast(kind, enabled=False):
            logits: Tensor = self.linear(pooled.to(self.linear.weight.dtype))
            return logits


class ContrastiveHead(nn.Module):
    """Map the summaries of both towers to unit vectors of one space, and hold the contrastive temperature.

    A tower's summary is its class token, or else its mean, at the top offered level as it leaves the tower: before
    gate, projection and embeddings.

    Args:
        text: what the text tower offers.
        image: what the vision tower offers; its width need not be the text's.
        width: of the common space (published: 256).
        temperature: initial.

    """

    def __init__(self, text: TowerShape, image: TowerShape, width: int, temperature: float) -> None:
        super().__init__()
        self.class_tokens = text.class_token, image.class_token
        self.text = nn.Linear(text.widths[-1], width)
        self.image = nn.Linear(image.widths[-1], width)
        self.temperature = nn.Parameter(torch.tensor(float(temperature)))

    def forward(self, text: Features, image: Features) -> tuple[Tensor, Tensor]:
        """Both towers' offered levels, [B, L, D_t] and [B, M, D_v] at the top → unit vectors of both, [B, d]."""
        return self.of_texts(text), self.of_images(image)

    def of_texts(self, text: Features) -> Tensor:
        """Map texts alone, [B, d]."""
        own = pool_tokens(text.levels[-1], text.mask, class_token=self.class_tokens[0])
        return F.normalize(self.text(own), dim=-1)

    def of_images(self, image: Features) -> Tensor:
        """Map images alone, [B, d]."""
        own = pool_tokens(image.levels[-1], image.mask, class_token=self.class_tokens[1])
        return F.normalize(self.image(own), dim=-1)

    def clamped(self) -> Tensor:
        """Put the temperature back into its range, as is done before each use, and return it, a scalar.

        In place, as published: a clamp in the graph would hold it outside for ever, without a gradient.
        """
        with torch.no_grad():
            self.temperature.clamp_(*TEMPERATURES)
        return self.temperature
