"""Attention over depth with a learned query: attention residuals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mtlab.config.options import option
from mtlab.managers.base import Inputs, Place, register_manager
from mtlab.managers.depthwise.base import DepthSum, Weighed

EPS = 1e-6  #: of the root mean square
Source = tuple[int, int | None]  #: a state, or the difference of two (the first less the second)


@register_manager("attention_residual", version=2)
class AttentionResidual(DepthSum):
    """Attention residuals: one softmax over the tower's levels and the states below, by a learned query per layer.

    out = Σ_i α_i v_i, α = softmax_i(q · RMSNorm(v_i)) for each token, the query q a parameter, the values not normed.
    The sources v, besides the levels, are by `mode`

    - `full`: all states below;
    - `block_states`: the states at the end of each block of layers, and the newest one;
    - `block`: what each block of layers has added up, and the part of the block at work; once more behind the last
      layer;
    - `delta`, `delta_block`: what each layer, or finished block, has changed; the sum is added to the newest state.

    The newest state (with `block` the work of the open block) is a source of its own, twice where it is in the list
    already, with β (`recency`) on its score; not so in the delta modes. An intervention keeps what the levels weigh in
    all, but in the delta modes and with `gate: alpha` or `gate_sources`, where weights are no shares. Source: Attention
    Residuals (Kimi Team, arXiv 2603.15031), as re-implemented in wdlctc/open-attention-residuals; there in front of
    each sublayer, here of each cross-modal layer.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(DepthSum.Config):
        mode: Literal["full", "block", "block_states", "delta", "delta_block"] = option(
            "full", "the sources besides the levels: see above"
        )
        block: int = option(2, "cross-modal layers of a block, in the modes with blocks", minimum=1)
        recency: float = option(
            0.0, "initial β, added to the newest state's score (large: a plain stack)", sizing=False
        )
        gate: Literal["none", "scalar", "vector", "alpha"] = option(
            "none",
            "hand on (1 − g) ⊙ newest state + g ⊙ out, with g = 1; σ of a number, at first -2; σ of a linear map of "
            "the newest state, at first -2; or a number, at first 0",
        )
        gate_sources: bool = option(False, "multiply the sources by σ of a linear map of the newest state first")
        null_source: bool = option(
            False,
            "a learned vector is one more source: a token may read nothing. Contributions are shares of what it reads",
        )
        entropy: float = option(
            0.0,
            "weight λ of an auxiliary loss: less λ times the mean entropy of α. Those of all managers add up: a "
            "published λ, of the mean over managers, is this one times the number of managers",
            minimum=0.0,
            sizing=False,
        )

    layer_weight_names: ClassVar[frozenset[str]] = frozenset({"recency", "gate_logit", "alpha"})

    recency: nn.Parameter | None
    null: nn.Parameter | None

    @classmethod
    def search_space(cls) -> Mapping[str, Any]:
        """The sources, the gate and the recency bias."""
        return {
            "mode": {"choice": ["full", "block", "block_states", "delta", "delta_block"]},
            "gate": {"choice": ["none", "scalar", "vector", "alpha"]},
            "recency": {"float": [0.0, 3.0]},
        }

    @classmethod
    def mixes_output(cls, config: Config, place: Place) -> bool:  # noqa: ARG003 - at any place
        """In the mode of blocks."""
        return config.mode == "block"

    @classmethod
    def read_states(cls, config: Config, place: Place) -> list[int]:
        """Return the levels and the states of `sources`, see `DepthSum.read_states`."""
        found = {number for source in cls.sources(config, place) for number in source if number is not None}
        return sorted({*found, place.experts - 1 + place.depth})

    @classmethod
    def sources(cls, config: Config, place: Place) -> list[Source]:
        """Return the sources by the numbers of states as in `read_states`; but in delta modes the newest is last."""
        top, depth, block = place.experts - 1, place.depth, config.block
        levels: list[Source] = [(number, None) for number in range(0 if config.experts == "all" else top, top + 1)]
        newest: Source = (top + depth, None)
        if config.mode == "full":
            return [*levels, *((top + layer, None) for layer in range(1, depth + 1)), newest]
        ends = range(block, depth + 1, block)
        if config.mode == "block_states":
            return [*levels, *((top + end, None) for end in ends), newest]
        if config.mode == "delta":
            return [*levels, *((top + layer, top + layer - 1) for layer in range(1, depth + 1))]
        if config.mode == "delta_block":
            return [*levels, *((top + end, top + end - block) for end in ends)]
        closed = max(depth - 1, 0) // block  # a block is closed when the next one's first layer has been at work
        sums: list[Source] = [
            (top + end, top + end - block if end > block else None) for end in range(block, closed * block + 1, block)
        ]
        return [*levels, *sums, (top + depth, top + closed * block if closed else None)]

    def __init__(self, config: Config, place: Place) -> None:
        super().__init__(config, place)
        width, self.delta = place.width, config.mode.startswith("delta")
        self.raw_weights = self.delta or config.gate == "alpha" or config.gate_sources  # else parts of a softmax
        if self.delta and not place.depth:
            self.skips = {place.experts: 1.0}
        at = {number: index for index, number in enumerate(self.read)}
        self.parts = [(at[plus], None if minus is None else at[minus]) for plus, minus in self.sources(config, place)]
        spread = torch.zeros(len(self.parts), len(self.read))
        for row, (plus, minus) in zip(spread, self.parts, strict=True):
            row[plus] += 1
            if minus is not None:
                row[minus] -= 1
        self.register_buffer("spread", spread, persistent=False)  #: sources in terms of the states that are read
        self.query = nn.Linear(width, 1, bias=False)
        self.scale = nn.Parameter(torch.ones(width))
        self.recency = None if self.delta else nn.Parameter(torch.tensor(float(config.recency)))
        self.null = nn.Parameter(torch.zeros(width)) if config.null_source else None
        self.source_gate = nn.Linear(width, width) if config.gate_sources else None
        if config.gate == "scalar":
            self.gate_logit = nn.Parameter(torch.tensor(-2.0))
        if config.gate == "vector":
            self.gate_weight = nn.Parameter(torch.zeros(width, width))
            self.gate_bias = nn.Parameter(torch.full((width,), -2.0))
        if config.gate == "alpha":
            self.alpha = nn.Parameter(torch.tensor(0.0))
        self.starts_as_identity = config.gate == "alpha"
        if len(self.read) == 1 and not self.delta and self.null is None and self.source_gate is None:
            self.inert = frozenset(name for name, _ in self.named_parameters())  # a state mixed with itself

    spread: Tensor

    def weigh(self, states: Sequence[Tensor], inputs: Inputs, /) -> Weighed:
        """Attend, and turn the weights of the sources into those of the states, [B, R, L, 1|D]."""
        newest = states[-1]
        sources = [states[plus] if minus is None else states[plus] - states[minus] for plus, minus in self.parts]
        opened = None if self.source_gate is None else self.source_gate(newest).sigmoid()
        keys = sources if opened is None else [source * opened for source in sources]
        if self.null is not None:
            keys = [self.null.to(newest.dtype).expand_as(newest), *keys]
        scores = [self.query(F.rms_norm(key, key.shape[-1:], self.scale.to(key.dtype), EPS)) for key in keys]
        if self.recency is not None:
            scores[-1] = scores[-1] + self.recency
        attention = torch.stack(scores, 1).softmax(1)  # [B, S, L, 1]
        nothing, attention_of = (None, attention) if self.null is None else (attention[:, 0], attention[:, 1:])
        weights = torch.einsum("bslo,sr->brlo", attention_of, self.spread.to(attention.dtype))
        constant = None if nothing is None or self.null is None else (nothing * self.null).to(newest.dtype)
        weights = weights if opened is None else weights * opened.unsqueeze(1)
        return Weighed(*self._gated(weights, constant, newest), self._punish(attention, inputs.experts.mask))

    def _gated(self, weights: Tensor, constant: Tensor | None, newest: Tensor) -> tuple[Tensor, Tensor | None]:
        """Add what is kept of the newest state to its weight, in the row at the end."""
        gate: Tensor | float = 1.0
        if self.config.gate == "scalar":
            gate = self.gate_logit.sigmoid()
        if self.config.gate == "vector":
            gate = F.linear(newest, self.gate_weight, self.gate_bias).sigmoid().unsqueeze(1)
        if self.config.gate == "alpha":
            gate = self.alpha
        kept = torch.zeros_like(self.spread[:1]).view(1, -1, 1, 1)
        kept[:, -1] = 1
        if self.delta:
            weights = weights + kept
        if self.config.gate == "none":
            return weights, constant
        if constant is not None:
            constant = constant * (gate.squeeze(1) if isinstance(gate, Tensor) and gate.ndim else gate)
        return gate * weights + (1 - gate) * kept, constant

    def _punish(self, attention: Tensor, mask: Tensor | None) -> Tensor | None:
        """Return the auxiliary loss: −λ times the entropy of α, the mean over examples of that over real tokens."""
        if not self.config.entropy:
            return None
        entropy = -(attention * (attention + 1e-8).log()).sum((1, 3))  # [B, L]
        real = torch.ones_like(entropy) if mask is None else mask.to(entropy)
        loss: Tensor = -self.config.entropy * ((entropy * real).sum(1) / real.sum(1)).mean()
        return loss
