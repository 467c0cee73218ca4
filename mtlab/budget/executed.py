"""FLOPs as they are really executed: texts at their real length, cached towers not at all, gradients where needed.

Counted on the meta device, forward and backward, as `mtlab.cost` counts the published arithmetic: matrix products and
convolutions alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from mtlab.budget.texts import cut
from mtlab.cost import passes
from mtlab.model import construct
from mtlab.towers import KINDS, build_tower, is_cached, tower_shape
from mtlab.towers.base import Features, Tower


@dataclass(frozen=True)
class Executed:
    """FLOPs for one example."""

    forward: int  #: one pass
    step: int  #: training: all forward and backward passes


def executed(config: Mapping[str, Any], *, answers: int, text_tokens: int) -> Executed:
    """Count what one example costs in training, with texts of `text_tokens` tokens.

    Raises:
        UserError: the configuration is wrong; the key says where.

    """
    shapes = {kind: tower_shape(kind, config[kind]) for kind in KINDS}
    lengths = {"text": text_tokens, "vision": shapes["vision"].tokens}
    with torch.device("meta"):
        model = construct(config, shapes["text"], shapes["vision"], answers=answers)
        # Eval all through: dropout is elementwise, and attention with it takes another path that is counted alike.
        model.eval()
        levels: dict[str, Features] = {}
        forward, backward = 0, 0
        amounts = {"text": 1, "vision": model.task.pictures}
        for kind in KINDS:
            trained = config[kind]["trainable"]
            levels[kind] = Features(
                tuple(
                    torch.empty(amounts[kind], lengths[kind], width, requires_grad=trained)
                    for width in shapes[kind].widths
                )
            )
            if is_cached(kind, config):
                continue
            tower = build_tower(kind, config[kind], weights=False).eval()
            given = tuple(tensor.to("meta") for tensor in tower.dummy_inputs(amounts[kind]))
            inputs = cut(given, text_tokens) if kind == "text" else given
            cost = _counted(partial(_levels, tower, inputs), backward=trained)
            forward, backward = forward + cost[0], backward + cost[1]
        fusion = _counted(lambda: (model(levels["text"], levels["vision"]).logits,), backward=True)
        heads = _counted(lambda: _further_heads(model, levels, text_tokens), backward=True)
    often = passes(config["task"])
    step = often.towers * (forward + backward) + often.fusion * sum(fusion) + sum(heads)
    return Executed(forward + fusion[0], step)


def _levels(tower: Tower[Any], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    features: Features = tower(*inputs)
    return features.levels


def _further_heads(model: Any, levels: Mapping[str, Features], text_tokens: int) -> tuple[Tensor, ...]:
    """Run the heads that a forward pass leaves out: those of pre-training and retrieval."""
    words, contrast = getattr(model.task, "mlm", None), getattr(model.task, "itc", None)
    found: list[Tensor] = []
    if words is not None:
        found.append(words(torch.empty(1, text_tokens, model.encoder.config.width, requires_grad=True)))
    if contrast is not None:
        found += contrast(levels["text"], levels["vision"])
    return tuple(found)


def _counted(run: Callable[[], tuple[Tensor, ...]], *, backward: bool) -> tuple[int, int]:
    """Count the FLOPs of a run forward and, if asked for, backward."""
    with torch.set_grad_enabled(backward):
        with FlopCounterMode(display=False) as forth:
            outputs = run()
        first: int = forth.get_total_flops()
        roots = [output for output in outputs if output.requires_grad]
        if not backward or not roots:
            return first, 0
        with FlopCounterMode(display=False) as back:
            torch.autograd.backward(roots, [torch.empty_like(root) for root in roots])
        second: int = back.get_total_flops()
    return first, second
