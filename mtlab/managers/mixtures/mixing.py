"""The mixture of experts that all managers of ManagerTower hand on, and its gradient in as few passes as it takes.

Shapes: B examples, N experts, L own tokens, D width.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def mix(standardised: Tensor, weights: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Compute Σ_n α_n ⊙ (r_n ⊙ γ_n + β_n), one expert after another, so that the N terms never stand side by side.

    Args:
        standardised: r, [B, N, L, D].
        weights: α, [B|1, N, L|1, D|1].
        scale: γ, [N, 1, D].
        shift: β, [N, 1, D].

    Returns:
        [B, L, D]. Elementwise work alone: it counts no FLOPs in the published arithmetic.

    """
    per_token: Tensor | None = None
    if weights.shape[0] == 1 and weights.shape[2] == 1:  # shared by all tokens: the norm folds into the weights
        scale, shift = ((weights * part).squeeze(0) for part in (scale, shift))
    else:
        per_token = weights.expand(*standardised.shape[:-1], -1)
    if torch.compiler.is_compiling():  # which fuses by itself
        return _forward(standardised, per_token, scale, shift)
    mixed: Tensor = _Mix.apply(standardised, per_token, scale, shift)  # type: ignore[no-untyped-call]
    return mixed


def _forward(standardised: Tensor, weights: Tensor | None, scale: Tensor, shift: Tensor) -> Tensor:
    """Mix with weights of each token, [B, N, L, D|1], or with none."""
    experts = standardised.unbind(1)
    hidden = shift.sum(0) if weights is None else torch.addcmul(shift[0], experts[0], scale[0]) * weights[:, 0]
    for number in range(0 if weights is None else 1, len(experts)):
        if weights is None:
            hidden = torch.addcmul(hidden, experts[number], scale[number])
        else:
            normed = torch.addcmul(shift[number], experts[number], scale[number])
            hidden = torch.addcmul(hidden, normed, weights[:, number])
    return hidden


class _Mix(torch.autograd.Function):
    """`_forward`, with a backward pass that makes no term twice: autograd's own takes four times as long on a CPU."""

    @staticmethod
    def forward(ctx: Any, standardised: Tensor, weights: Tensor | None, scale: Tensor, shift: Tensor) -> Tensor:
        ctx.save_for_backward(standardised, weights, scale, shift)
        return _forward(standardised, weights, scale, shift)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        standardised, weights, scale, shift = ctx.saved_tensors
        gradient, device = gradient.contiguous(), standardised.device.type
        # where products are only counted, on the meta device, there is no autocast to leave
        whole = torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()
        with whole:
            if weights is None:
                return _of_shared(gradient, standardised, scale)
            backward = _of_tokens if weights.shape[-1] == 1 else _of_dimensions
            return backward(gradient, standardised, weights.to(gradient.dtype), scale, shift)


def _of_shared(gradient: Tensor, standardised: Tensor, scale: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:
    """Differentiate where scale and shift hold the weights, [N, 1, D]."""
    of_experts, of_scale = torch.empty_like(standardised), torch.empty_like(scale)
    term = torch.empty_like(gradient)
    for number, expert in enumerate(standardised.unbind(1)):
        of_scale[number, 0] = torch.mul(gradient, expert, out=term).sum((0, 1))
        torch.mul(gradient, scale[number], out=of_experts[:, number])
    return of_experts, None, of_scale, gradient.sum((0, 1)).expand_as(scale)


def _of_tokens(
    gradient: Tensor, standardised: Tensor, weights: Tensor, scale: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Differentiate where a token has one weight for each expert, [B, N, L, 1]: sums are products with vectors."""
    batch, experts, length, width = standardised.shape
    flat, weighed = gradient.view(-1, width), weights.transpose(0, 1).reshape(experts, -1)  # [B · L, D], [N, B · L]
    of_experts, of_scale = torch.empty_like(standardised), torch.empty_like(scale)
    of_weights, term = shift.squeeze(1) @ flat.t(), torch.empty_like(gradient)
    for number, expert in enumerate(standardised.unbind(1)):
        rows = torch.mul(gradient, expert, out=term).view(-1, width)
        of_weights[number].addmv_(rows, scale[number, 0])
        of_scale[number, 0] = rows.t().mv(weighed[number])
        torch.mul(gradient, scale[number], out=term)
        torch.mul(term, weights[:, number], out=of_experts[:, number])
    of_shift = (weighed @ flat).unsqueeze(1)
    return of_experts, of_weights.view(experts, batch, length, 1).transpose(0, 1), of_scale, of_shift


def _of_dimensions(
    gradient: Tensor, standardised: Tensor, weights: Tensor, scale: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Differentiate where a token has a weight for each expert and dimension, [B, N, L, D], as under noise."""
    of_experts, of_weights = torch.empty_like(standardised), torch.empty_like(weights)
    of_scale, of_shift = torch.empty_like(scale), torch.empty_like(shift)
    term, normed = torch.empty_like(gradient), torch.empty_like(gradient)
    for number, expert in enumerate(standardised.unbind(1)):
        torch.mul(gradient, weights[:, number], out=term)
        torch.mul(term, scale[number], out=of_experts[:, number])
        of_shift[number, 0] = term.sum((0, 1))
        of_scale[number, 0] = term.mul_(expert).sum((0, 1))
        torch.addcmul(shift[number], expert, scale[number], out=normed)
        torch.mul(gradient, normed, out=of_weights[:, number])
    return of_experts, of_weights, of_scale, of_shift
