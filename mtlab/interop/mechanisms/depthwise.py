"""Mechanisms over depth: attention residuals, DenseFormer, MUDDFormer.

Where the authors mix in front of each sublayer of a transformer, each sublayer counts as a layer here, and the states
are those of the residual stream behind them.

Shapes: B examples, N experts, L tokens, K layers, D width.
"""

from __future__ import annotations

from itertools import accumulate

import torch
from torch import Tensor

from mtlab.interop.mechanisms.bundle import (
    Mechanism,
    NotExpressible,
    Reproduction,
    Tensors,
    aggregate,
    build,
    place,
    single,
)
from mtlab.managers.base import Experts, Inputs

_MODES = {"full": "full", "block": "block", "delta": "delta", "delta_block": "delta_block", "pre_gated": "delta"}
_GATES = {"bias": "none", "sigmoid_scalar": "scalar", "sigmoid_vector": "vector", "learnable_alpha": "alpha"}
_NAMES = {  #: end of a name of the authors' → ours
    "res_bias": "recency",
    "res_proj.weight": "query.weight",
    "res_norm.weight": "scale",
    "res_gate_logit": "gate_logit",
    "res_alpha": "alpha",
    "res_gate_proj.weight": "gate_weight",
    "res_gate_proj.bias": "gate_bias",
    "pre_gate.weight": "source_gate.weight",
    "pre_gate.bias": "source_gate.bias",
}


def attention_residuals(bundle: Mechanism) -> Reproduction:
    """Attention residuals: the operator alone, or the loop over sublayers in one of its modes."""
    return _operator(bundle) if "in/sources" in bundle.io else _schedule(bundle)


def _operator(bundle: Mechanism) -> Reproduction:
    """One mix of stored sources and the residual stream, which is the one state below."""
    delta, experts, width = "delta_attn_res" in bundle.source, *_sizes(bundle.io["in/sources"])
    names = {
        "bias": "recency",
        "null_source": "null",
        "proj.weight": "query.weight",
        "norm.weight": "scale",
        "gate.weight": "source_gate.weight",
        "gate.bias": "source_gate.bias",
    }
    options = {
        "mode": "delta_block" if delta else "block_states",
        "block": 2,
        "entropy": 1.0,
        "gate_sources": "gate.weight" in bundle.weights,
    }

    def run(parameters: Tensors, inputs: Tensors) -> dict[str, Tensor]:
        outputs: dict[str, Tensor] = {}
        given = Inputs(Experts(inputs["sources"].transpose(0, 1)), history=(inputs["partial"],))
        for output, null in (("h", False), ("h_null", True)):
            if null and "null_source" not in parameters:
                continue
            manager = build("attention_residual", {**options, "null_source": null}, place(width, experts, 1, 4))
            own = {name for name, _ in manager.named_parameters()}
            ours = {
                names[name]: tensor.flatten() if name == "null_source" else tensor
                for name, tensor in parameters.items()
            }
            result = aggregate(manager, {name: tensor for name, tensor in ours.items() if name in own}, given)
            outputs[output] = result.hidden
            if not null and result.auxiliary is not None:
                outputs["entropy"] = -result.auxiliary
        return outputs

    return Reproduction({"": run})


def _schedule(bundle: Mechanism) -> Reproduction:
    """The loop over sublayers; what they return is given."""
    mode, options = bundle.options["attnres_mode"], bundle.options
    if mode == "delta_v":
        raise NotExpressible("several inputs per layer: values are mixed apart from queries and keys")
    if mode not in _MODES:
        raise NotExpressible(
            f"access to sublayers: mode {mode!r} reads the output of the first layer's second sublayer"
        )
    ours = {
        "mode": "block_states" if mode == "block" and "Attention-Residuals/" not in bundle.source else _MODES[mode],
        "block": 2 * options["layers_per_block"],
        "gate": _GATES[options["attnres_gate_type"]],
        "gate_sources": mode == "pre_gated",
        "null_source": options["null_source"],
        "entropy": 1.0,
        "experts": "top",
    }
    sublayers, (_, width) = len(bundle.io["in/sublayers"]), _sizes(bundle.io["in/sublayers"])

    def run(parameters: Tensors, inputs: Tensors) -> dict[str, Tensor]:
        embedding = inputs["embedding"]
        stream = list(accumulate(inputs["sublayers"], initial=embedding))  # in front of each sublayer, and at the end
        mixed, entropies = [], []
        for depth in range(sublayers + (1 if ours["mode"] == "block" else 0)):
            manager = build("attention_residual", ours, place(width, 1, depth, sublayers))
            kind = f"layers.{depth // 2}.{('attn', 'mlp')[depth % 2]}_" if depth < sublayers else "final_"
            given = Inputs(single(embedding), history=tuple(stream[1 : depth + 1]))
            own = {name for name, _ in manager.named_parameters()}
            found = {name: parameters[kind + theirs] for theirs, name in _NAMES.items() if name in own}
            if "null" in own:
                found["null"] = _null_source(parameters, kind)
            result = aggregate(manager, found, given)
            mixed.append(result.hidden)
            if result.auxiliary is not None:
                entropies.append(-result.auxiliary)
        final = mixed.pop() if ours["mode"] == "block" else stream[-1]
        return {"h": torch.stack(mixed), "final": final, "entropy": torch.stack(entropies).mean()}

    return Reproduction({"": run})


def _null_source(parameters: Tensors, kind: str) -> Tensor:
    named = [name for name in parameters if name.startswith(kind) and "null" in name]
    if len(named) != 1:
        raise NotExpressible("where the published loop keeps its null source is not known")
    return parameters[named[0]]


def denseformer(bundle: Mechanism) -> Reproduction:
    """DenseFormer: an average behind each block, or one behind the last."""
    return _connect_to_last(bundle) if "in/states" in bundle.io else _depth_weighted_averages(bundle)


def _depth_weighted_averages(bundle: Mechanism) -> Reproduction:
    options = {"experts": "top", **{name: bundle.options[name] for name in ("dilation", "period")}}
    blocks, (_, width) = len(bundle.io["in/blocks"]), _sizes(bundle.io["in/blocks"])

    def run(parameters: Tensors, inputs: Tensors) -> dict[str, Tensor]:
        states = list(inputs["blocks"])
        handed_on = []
        for depth in range(1, blocks + 1):
            manager = build("depth_weighted", options, place(width, 1, depth, blocks))
            found = {name: parameters[f"alphas.{depth - 1}.weight"].flatten() for name, _ in manager.named_parameters()}
            given = Inputs(single(inputs["embedding"]), history=tuple(states[:depth]))
            handed_on.append(aggregate(manager, found, given).hidden)
        return {"x": torch.stack(handed_on)}

    return Reproduction({"": run})


def _connect_to_last(bundle: Mechanism) -> Reproduction:
    layers, (_, width) = len(bundle.io["in/states"]) - 1, _sizes(bundle.io["in/states"])

    def run(parameters: Tensors, inputs: Tensors) -> dict[str, Tensor]:
        embedding, *blocks = inputs["states"]
        manager = build("depth_weighted", {"experts": "top", "period": layers}, place(width, 1, layers, layers))
        weight = torch.cat([parameters[f"weight.{number}"] for number in range(layers + 1)])
        return {"x": aggregate(manager, {"weight": weight}, Inputs(single(embedding), history=tuple(blocks))).hidden}

    return Reproduction({"": run})


def muddformer(bundle: Mechanism) -> Reproduction:
    """MUDDFormer with one way; with four, only the sum behind the last block is one of ours."""
    ways = {number: len(bundle.weights[f"dense_bs.{number}"]) for number in range(len(bundle.io["in/blocks"]))}
    if any(count > 1 for count in ways.values()):
        raise NotExpressible("several inputs per layer: queries, keys, values and the residual are mixed apart")
    width = bundle.io["in/embedding"].shape[-1]

    def run(parameters: Tensors, inputs: Tensors) -> dict[str, Tensor]:
        outputs: dict[str, Tensor] = {}
        for number in ways:
            mixed, weights = mudd_sum(parameters, inputs, number, len(ways), width)
            outputs["final" if number + 1 == len(ways) else f"streams.{number + 1}"] = mixed
            outputs[f"weights.{number}"] = weights
        return {name: tensor if name == "final" else tensor.unsqueeze(0) for name, tensor in outputs.items()}

    return Reproduction({"": run})


def mudd_sum(parameters: Tensors, inputs: Tensors, number: int, blocks: int, width: int) -> tuple[Tensor, Tensor]:
    """Compute the sum behind a block with one way, [B, L, D], and its weights, [B, L, number + 2]."""
    manager = build("mudd", {"experts": "top"}, place(width, 1, number + 1, blocks))
    found = {
        "widen.weight": parameters[f"dynamic_dense.{number}.w1.weight"],
        "dynamic": parameters[f"dynamic_dense.{number}.w2.weight"],
        "static": parameters[f"dense_bs.{number}"].flatten(),
    }
    given = Inputs(single(inputs["embedding"]), history=tuple(inputs["blocks"][: number + 1]))
    result = aggregate(manager, found, given, record=True)
    assert result.weights is not None
    return result.hidden, result.weights.squeeze(-1).transpose(1, 2)


def hyper_connections(_bundle: Mechanism) -> Reproduction:
    """Hyper-connections: never one of ours."""
    raise NotExpressible("streams carried from layer to layer, which the parameters of every manager below have mixed")


def _sizes(stacked: Tensor) -> tuple[int, int]:
    """Return the number of states and the width of [n, B, L, D]."""
    return stacked.shape[0], stacked.shape[-1]
