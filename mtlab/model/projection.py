"""From a tower's levels to the experts: gate, projection to one width, embeddings of modality and level; positions.

Shapes: B examples, N experts, L tokens, D_n width of level n, D width of the cross-modal layers.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtlab.managers.base import Experts
from mtlab.towers.base import Features, TokenGrid, TowerShape


class Projections(nn.Module):
    """One linear map for all offered levels, or one for each, of standardised channels.

    Levels of different widths always have one each.

    Each level's centre and spread are 0 and 1 until `calibrate` is given data.

    Args:
        shape: the tower's offered levels.
        width: D.
        used: the offered experts (1-based) that some manager of either modality reads; the others are neither mapped
            nor given weights.
        per_level: one map for each level, though all have one width.

    """

    def __init__(self, shape: TowerShape, width: int, used: Collection[int], *, per_level: bool = False) -> None:
        super().__init__()
        self.used = frozenset(used)
        share = not per_level and len(set(shape.widths)) == 1
        self.shared = nn.Linear(shape.widths[0], width) if share else None
        self.names = [str(level) for level in shape.levels]
        own = () if self.shared is not None else sorted(self.used)
        self.levels = nn.ModuleDict({self.names[n - 1]: nn.Linear(shape.widths[n - 1], width) for n in own})

        for n in sorted(self.used):
            self.register_buffer(f"centre_{self.names[n - 1]}", torch.zeros(shape.widths[n - 1]))
            self.register_buffer(f"spread_{self.names[n - 1]}", torch.ones(shape.widths[n - 1]))

    @torch.no_grad()
    def calibrate(self, features: Features) -> None:
        """Standardise the channels of each level by their mean and deviation on a sample of the training data.

        Towers' channels differ by orders of magnitude, and the largest are almost constant: unless they are
        standardised, what tells one input from another is lost in training's first thousands of steps.
        """
        for expert in sorted(self.used):
            level = features.levels[expert - 1].float()
            real = level.flatten(0, 1) if features.mask is None else level[features.mask]
            centre, spread = self._channels(expert)
            centre.copy_(real.mean(0))
            spread.copy_(real.std(0, correction=min(1, len(real) - 1)).clamp_min(1e-3))  # of one token 0, not NaN

    def affine(self, expert: int) -> tuple[Tensor, Tensor]:
        """Return weight [D, D_n] and bias [D] of an offered expert's map (1-based), standardisation folded in.

        In bfloat16 a level some of whose channels have means of a hundred deviations comes out about 5 % off.
        """
        linear, (centre, spread) = self.linear(expert), self._channels(expert)
        weight = linear.weight / spread
        return weight, linear.bias - weight @ centre

    def _channels(self, expert: int) -> tuple[Tensor, Tensor]:
        name = self.names[expert - 1]
        return self.get_buffer(f"centre_{name}"), self.get_buffer(f"spread_{name}")

    def linear(self, expert: int) -> nn.Linear:
        """Return the map of an offered expert, 1-based."""
        if self.shared is not None:
            return self.shared
        linear = self.levels[self.names[expert - 1]]
        assert isinstance(linear, nn.Linear)
        return linear


def apply_gate(features: Features, gate: nn.Linear) -> Features:
    """Add to the top level a gated sum of those below it: h_N + Σ_{j<N} softmax_j(G h_j) ⊙ h_j, per dimension.

    Args:
        features: at least two offered levels of one width D_m, each [B, L, D_m]; the others stay as they are. One that
            is removed is left out: one below of the sum, the top one of what the sum is added to.
        gate: G, D_m → D_m.

    Source: METER (CVPR 2022), its fusion of all layers of a tower, at tower width and before projection.

    """
    *below, top = features.levels
    if features.removed == len(features.levels):
        top = torch.zeros_like(top)
    added = [level for expert, level in enumerate(below, 1) if expert != features.removed]
    if not added:
        return replace(features, levels=(*below, top))
    stacked = torch.stack(added, 1)  # [B, N − 1, L, D_m]
    mixed = (gate(stacked).softmax(1) * stacked).sum(1)
    return replace(features, levels=(*below, top + mixed))


class PositionEmbedding(nn.Embedding):
    """Learned positions of the tokens of a tower that has none of its own, which start from sines of row and column.

    Args:
        tokens: L, at most.
        width: D.
        grid: how the tokens lie; None: one after the other.

    Source: the sines are of "Attention is all you need" (NeurIPS 2017), section 3.5, in two dimensions as in DETR
    (ECCV 2020), appendix A.4.

    """

    def __init__(self, tokens: int, width: int, grid: TokenGrid | None) -> None:
        super().__init__(tokens, width)
        self.grid = grid or TokenGrid(1, tokens)

    def sines(self) -> Tensor:
        """Compute the initial positions, [L, D], of mean 0 over the tokens of the grid and deviation 1.

        Neighbours start alike. A quarter of the dimensions each holds sines and cosines of rows and of columns, with
        wave lengths from 2π to 200π tokens. Tokens before the grid, and dimensions beyond the last quarter, are zero.
        """
        places = torch.cartesian_prod(
            torch.arange(self.grid.rows), torch.arange(self.grid.columns)
        )  # [rows · columns, 2]
        quarter = max(1, self.embedding_dim // 4)
        angles = places.unsqueeze(-1) / 100 ** (torch.arange(quarter) / quarter)  # [rows · columns, 2, D / 4]
        waves = torch.cat([angles.sin(), angles.cos()], -1).flatten(1)[:, : self.embedding_dim]
        waves = waves - waves.mean(0)
        table = torch.zeros(self.num_embeddings, self.embedding_dim)
        table[self.grid.prefix :, : waves.shape[1]] = waves / waves.std().clamp_min(1e-6)
        return table

    def forward(self, hidden: Tensor) -> Tensor:  # adds, where its parent looks up
        """Add the positions to hidden states [B, L, D]."""
        return hidden + self.weight[: hidden.shape[1]].to(hidden.dtype)


class Embeddings(nn.Module):
    """Embeddings of a modality's tokens: its token type and their level in the tower; positions if the tower has none.

    The first two are added to each projected level. Positions are added once, to what the first manager makes of the
    levels: were each level given them, a mixture would average the levels' content and not their positions.

    Args:
        shape: the tower's offered levels.
        width: D.
        layers: embed the level (ManagerTower): a table of all the tower's levels, of which the offered are used.
        token_types: how many inputs have a token type of their own, such as the two images of a pair.

    """

    def __init__(self, shape: TowerShape, width: int, *, layers: bool, token_types: int = 1) -> None:
        super().__init__()
        self.rows = [level - 1 for level in shape.levels]
        self.token_type = nn.Embedding(token_types, width)
        self.layer = nn.Embedding(shape.depth, width) if layers else None
        self.position = None if shape.positions else PositionEmbedding(shape.tokens, width, shape.grid)

    def level(self, expert: int, token_type: int = 0) -> Tensor:
        """Add up the embeddings that all tokens of an offered expert (1-based) share, [D]."""
        added = self.token_type.weight[token_type]
        return added if self.layer is None else added + self.layer.weight[self.rows[expert - 1]]


def project(features: Features, projections: Projections, embeddings: Embeddings, token_type: int = 0) -> Experts:
    """Project the levels of a modality.

    A level that no manager reads is not projected: it stays zero.

    Args:
        features: the offered levels, each [B, L, D_n], and their mask.
        projections: the maps to D.
        embeddings: added to the projected levels.
        token_type: row of their token type.

    Returns:
        states [B, N, L, D] and the mask

    """
    mapped = {}
    for expert in sorted(projections.used):
        weight, bias = projections.affine(expert)
        mapped[expert] = F.linear(features.levels[expert - 1], weight, bias + embeddings.level(expert, token_type))
    blank = torch.zeros_like(next(iter(mapped.values())))
    stacked = torch.stack([mapped.get(expert, blank) for expert in range(1, len(features.levels) + 1)], 1)
    return Experts(stacked, features.mask)
