"""Mechanisms that add levels to the state of a layer: LLaVA-OV-Manager, DeepStack, Qwen3-VL.

Shapes: B examples, N experts, L tokens, K layers, S stacks, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from mtlab.interop.mechanisms.bundle import (
    Mechanism,
    NotExpressible,
    Reproduction,
    Run,
    Tensors,
    aggregate,
    build,
    place,
)
from mtlab.interop.mechanisms.mllm import llava_ov_manager_model, rename_manager
from mtlab.managers.base import Experts, Inputs


def llava_ov_manager(bundle: Mechanism) -> Reproduction:
    """`manager.py`: static and adaptive managers, in front of the first layer or of a later one."""
    if "in/experts" not in bundle.io:
        return llava_ov_manager_model(bundle)
    kind, first = bundle.options["mm_manager_type"], bundle.options["layer_index"] == 0
    static = first or "static" in kind
    experts, width = bundle.io["in/experts"].shape[1], bundle.io["in/experts"].shape[-1]
    options = {} if static else {"query": bundle.options["query"] or "own"}
    manager = build(
        "residual_static" if static else "residual_adaptive", options, place(width, experts, 0 if first else 1, 2)
    )

    def run(noise: Tensor | None = None, *, query: bool = True) -> Run:
        def compute(parameters: Tensors, inputs: Tensors) -> dict[str, Tensor]:
            own = inputs["own"]
            other = inputs.get("query") if query else None
            given = Inputs(Experts(inputs["experts"]), history=(own,), other=other, noise=noise)
            hidden = aggregate(manager, rename_manager(parameters), given).hidden
            return {"delta": hidden - own, "hidden": hidden}

        return compute

    further = {"no_query/": run(query=False), "query_each/": run(), "noise/": run(bundle.io.get("noise/jitter"))}
    held = {prefix: case for prefix, case in further.items() if any(name.startswith(prefix) for name in bundle.io)}
    return Reproduction({"": run(), **held})


def deepstack(bundle: Mechanism) -> Reproduction:
    """DeepStack-L: stacks are added in front of layer `start` and of every `interval`-th one above."""
    stacks, starts = bundle.io["in/stacks"], bundle.io["in/image_start"].long()
    tokens = torch.arange(bundle.io["in/embedding"].shape[1])
    visual = (tokens >= starts.unsqueeze(1)) & (tokens < starts.unsqueeze(1) + stacks.shape[2])
    options = {"start": bundle.options["deepstack_start_id"], "interval": bundle.options["deepstack_interval"]}
    run = _injected(bundle, visual, options, lambda inputs: inputs["stacks"].transpose(0, 1))
    return Reproduction({"": run}, {"stack_": "crops of a higher resolution: a tower offers levels of one"})


def qwen3_vl(bundle: Mechanism) -> Reproduction:
    """Qwen3-VL: level i is added behind layer i, which is in front of layer i + 1."""
    if len(bundle.io["in/levels"]) >= len(bundle.io["in/layers"]):
        raise NotExpressible("`deepstack` adds no level behind the last layer")
    run = _injected(bundle, bundle.io["in/visual_mask"].bool(), {}, lambda inputs: inputs["levels"].unsqueeze(0))
    return Reproduction({"": run}, {"merger/": "another number of tokens: four patches become one"})


def _injected(
    bundle: Mechanism, visual: Tensor, options: Mapping[str, Any], levels: Callable[[Tensors], Tensor]
) -> Run:
    """Run the loop over layers, each of which adds a given tensor to its input.

    Args:
        bundle: with `in/embedding` [B, T, D] and `in/layers` [K, B, T, D].
        visual: True at the image's tokens, [B, T].
        options: of `deepstack`.
        levels: takes the experts of the image's tokens from the inputs, [b, S, L, D], b · L of them in all.

    """
    layers = len(bundle.io["in/layers"])

    def run(_parameters: Tensors, inputs: Tensors) -> dict[str, Tensor]:
        experts = Experts(levels(inputs))
        shape = experts.states[:, 0].shape
        state, given = inputs["embedding"], []
        for depth, added in enumerate(inputs["layers"]):
            manager = build("deepstack", options, place(shape[-1], experts.states.shape[1], depth, layers))
            hidden = aggregate(manager, {}, Inputs(experts, history=(state[visual].view(shape),))).hidden
            state = state.masked_scatter(visual.unsqueeze(-1), hidden)
            given.append(state)
            state = state + added
        return {"layer_in": torch.stack(given), "final": state}

    return run
