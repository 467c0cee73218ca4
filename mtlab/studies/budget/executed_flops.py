"""FLOPs as they are executed: texts at their real length, no cached towers, gradients only where they are needed.

Counted on the meta device, forward and backward, as `mtlab.studies.budget.flops` counts the published arithmetic:
matrix products and convolutions alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from mtlab.studies.budget.flops import longest_caption
from mtlab.studies.budget.text_length import cut
from mtlab.tasks.base import lookup_task
from mtlab.tasks.build import construct
from mtlab.towers.base import Features, Tower
from mtlab.towers.build import KINDS, build_tower, tower_shape
from mtlab.training.sources import cached_towers


@dataclass(frozen=True)
class ExecutedFlops:
    """Executed FLOPs for one example."""

    towers: int  #: forward, of the towers that run
    fusion: int  #: forward, one pass of encoder and head
    step: int  #: training: all forward and backward passes

    @property
    def forward(self) -> int:
        """FLOPs of one forward pass."""
        return self.towers + self.fusion


def count_executed_flops(config: Mapping[str, Any], *, answers: int, text_tokens: int) -> ExecutedFlops:
    """Count the executed FLOPs of one example, with texts of `text_tokens` tokens.

    Raises:
        UserError: the configuration is wrong; the key says where.

    """
    shapes = {kind: tower_shape(kind, config[kind]) for kind in KINDS}
    lengths = {"text": text_tokens, "vision": shapes["vision"].tokens}
    task, options = lookup_task(config)
    often, hidden, cached = task.pass_counts(options), task.batch_needs(options).mask_share, cached_towers(config)
    read = {"text": often.texts, "vision": often.images}
    with torch.device("meta"):
        model = construct(config, shapes["text"], shapes["vision"], answers=answers)
        # Eval mode: dropout is elementwise, and attention without it has the same FLOPs.
        model.eval()
        levels: dict[str, Features] = {}
        forward, step = 0, 0.0
        amounts = {"text": 1, "vision": model.task.images}
        for kind in KINDS:
            trained = config[kind]["trainable"]
            levels[kind] = Features(
                tuple(
                    torch.empty(amounts[kind], lengths[kind], width, requires_grad=trained)
                    for width in shapes[kind].widths
                )
            )
            plain = 0 if kind in cached else read[kind]
            blind = often.masked_texts if kind == "text" else 0
            if not plain + blind:
                continue
            tower = build_tower(kind, config[kind], weights=False).eval()
            given = tuple(tensor.to("meta") for tensor in tower.dummy_inputs(amounts[kind]))
            inputs = cut(given, text_tokens) if kind == "text" else given
            cost = _counted(partial(_levels, tower, inputs), backward=trained)
            forward += cost[0]
            step += (plain + blind) * sum(cost)
        caption = longest_caption(model)
        fusion = _counted(
            lambda: (model(levels["text"], levels["vision"], continuation=caption).logits,), backward=True
        )
        words = max(1, round(text_tokens * (hidden or 0)))
        heads = _counted(lambda: _further_heads(model, levels, words), backward=True)
    return ExecutedFlops(forward, fusion[0], round(step) + often.fusion * sum(fusion) + sum(heads))


def _levels(tower: Tower[Any], inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    features: Features = tower(*inputs)
    return features.levels


def _further_heads(model: Any, levels: Mapping[str, Features], hidden_words: int) -> tuple[Tensor, ...]:
    """Run the heads of pre-training and retrieval, which are no part of the model's forward pass."""
    words, contrast = getattr(model.task, "mlm", None), getattr(model.task, "itc", None)
    found: list[Tensor] = []
    if words is not None and getattr(model.task, "itm", None) is not None:
        found.append(words(torch.empty(1, hidden_words, model.encoder.width, requires_grad=True)))
    if contrast is not None:
        found += contrast(levels["text"], levels["vision"])
    return tuple(found)


def _counted(run: Callable[[], tuple[Tensor, ...]], *, backward: bool) -> tuple[int, int]:
    """Count the FLOPs of a function's forward pass and, optionally, of its backward pass."""
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
