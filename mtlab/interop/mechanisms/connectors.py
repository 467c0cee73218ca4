"""Mechanisms in front of the first layer: TGIF, IGVA, Dense Connector, MMFuser, scalar mix.

Shapes: B examples, N experts, L tokens, D width.
"""

from __future__ import annotations

from math import isqrt

import torch
from torch import Tensor

from mtlab.interop.mechanisms.bundle import (
    Mechanism,
    Reproduction,
    Tensors,
    aggregate,
    build,
    compute,
    linear,
    place,
)
from mtlab.managers.base import Experts, Inputs, pool_tokens
from mtlab.managers.connectors.dense_connector import DenseConnector
from mtlab.managers.connectors.igva import Igva
from mtlab.managers.connectors.tgif import Tgif
from mtlab.towers.base import TokenGrid


def tgif(bundle: Mechanism) -> Reproduction:
    """TGIF: the selector, the norm and the projector, and how the text is pooled."""
    _, experts, _, width = bundle.io["in/experts"].shape
    options = {"hidden": bundle.options["router_hidden"], "entropy": bundle.options["layer_selector_alpha"]}
    manager = build("tgif", options, place(width, experts))
    assert isinstance(manager, Tgif)
    selector = "layer_selector.layer_weights_projection."

    def run(parameters: Tensors, inputs: Tensors) -> dict[str, Tensor]:
        found = linear(parameters, f"{selector}0", "widen") | linear(parameters, f"{selector}2", "controller")
        found |= linear(parameters, "layer_selector.norm", "norm")
        found |= linear(parameters, "mlp.0", "projector.first") | linear(parameters, "mlp.2", "projector.second")
        seen: dict[str, Tensor] = {}

        def intervene(weights: Tensor) -> Tensor:
            seen["weights"] = weights
            return weights

        given = Inputs(Experts(inputs["experts"]), Experts(inputs["text"][:, None, None]))
        hook = manager.norm.register_forward_hook(lambda *arguments: seen.update(mixed=arguments[-1]))
        result = aggregate(manager, found, given, intervene=intervene)
        hook.remove()
        chosen = seen["weights"].flatten(1) - torch.eye(experts)[manager.base - 1]
        outputs = {"projected": result.hidden, "mixed": seen["mixed"], "weights": chosen}
        return outputs | {"aux_loss": torch.zeros(()) if result.auxiliary is None else result.auxiliary}

    def pool(_parameters: Tensors, inputs: Tensors) -> dict[str, Tensor]:
        embedded = inputs["embedding"][inputs["input_ids"].clamp_min(0)]  # a placeholder of the image is looked up as 0
        return {"text": pool_tokens(embedded, inputs["attention_mask"].bool())}

    pooled = {"pool/": pool} if "pool/out/text" in bundle.io else {}
    return Reproduction({"": run, **pooled})


def igva(bundle: Mechanism) -> Reproduction:
    """IGVA: the channels in front of the projector, without the class token."""
    options, (levels, _, _, width) = bundle.options, bundle.io["in/hidden_states"].shape
    base, average = options["vit_base_layer"], bool(options["aggregate_by_average"])
    manager = build(
        "igva",
        {
            "groups": [[_expert(level) for level in group] for group in options["vit_aggregate_groups"]],
            "base": _expert(base),
            "weights": "equal" if average else "learned",
            "blocks": options["num_transformers"],
            "heads": options["num_heads"],
            "hidden": options["hidden"],
            "balance": 1.0,
        },
        place(width, levels, class_token=True),
    )
    projector = {name: tensor for name, tensor in manager.named_parameters() if name.startswith("projector.")}

    def run(parameters: Tensors, inputs: Tensors) -> dict[str, Tensor]:
        given = Inputs(
            Experts(inputs["hidden_states"].transpose(0, 1)),
            None if average else Experts(inputs["sentence"][:, None, None]),
        )

        def join(built: Igva) -> dict[str, Tensor]:
            joined, _, balance = built.channels(given)
            outputs = {"features": joined[:, 1:]}
            if average or balance is None:
                return outputs
            return outputs | {"weights": built.weigh(given), "balance_loss": balance}

        return compute(manager, projector | ({} if average else _igva_parameters(parameters)), join)

    return Reproduction({"": run})


def _igva_parameters(parameters: Tensors) -> dict[str, Tensor]:
    """Give our names; theirs packs queries, keys and values in one map."""
    ours = linear(parameters, "sentence_proj", "sentence") | linear(parameters, "cls_proj", "summary")
    ours |= linear(parameters, "linear", "controller")
    blocks = {name.split(".")[1] for name in parameters if name.startswith("transformers.")}
    for number in sorted(blocks, key=int):
        theirs, own = f"transformers.{number}", f"blocks.{number}"
        for kind in ("weight", "bias"):
            packed = parameters[f"{theirs}.cross_attention.in_proj_{kind}"]
            third = len(packed) // 3
            ours[f"{own}.attention.query.{kind}"] = packed[:third]
            ours[f"{own}.attention.key_value.{kind}"] = packed[third:]
        ours |= linear(parameters, f"{theirs}.cross_attention.out_proj", f"{own}.attention.out")
        ours |= linear(parameters, f"{theirs}.ffn.0", f"{own}.widen") | linear(
            parameters, f"{theirs}.ffn.2", f"{own}.narrow"
        )
        ours |= linear(parameters, f"{theirs}.norm1", f"{own}.attention_norm")
        ours |= linear(parameters, f"{theirs}.norm2", f"{own}.out_norm")
    return ours


def dense_connector(bundle: Mechanism) -> Reproduction:
    """Dense Connector: the channels in front of the projector, at its fixed levels of CLIP-L and SigLIP."""
    siglip, (levels, _, _, width) = bundle.options["is_siglip"], bundle.io["in/hidden_states"].shape
    first, top = (0, -1) if siglip else (1, -2)  # tokens in front of the patches
    half, end = (13, 26) if siglip else (12, 24)
    groups = {"sci": [[8], [16]], "dci": [list(range(1, half + 1)), list(range(half + 1, end + 1))]}
    managers = {
        name: build("dense_connector", {"groups": group, "top": top}, place(width, levels))
        for name, group in groups.items()
    }

    def run(_parameters: Tensors, inputs: Tensors) -> dict[str, Tensor]:
        given = Inputs(Experts(inputs["hidden_states"].transpose(0, 1)))

        def join(manager: DenseConnector) -> Tensor:
            return manager.channels(given)[0][:, first:]

        outputs = {name: compute(each, dict(each.named_parameters()), join) for name, each in managers.items()}
        patches = inputs["hidden_states"][:, :, first:]
        whole = patches[:, :, : patches.shape[2] // 8 * 8].unflatten(2, (-1, 8)).mean(3)
        pooled = [whole[level] for level in (7, 15)]
        return outputs | {"sti": torch.cat([patches[top], *pooled], 1)}  # for the gradients alone, which add up

    return Reproduction({"": run}, {"out/sti": "another number of tokens: pooled levels are appended as further ones"})


def mmfuser(bundle: Mechanism) -> Reproduction:
    """MMFuser, in front of its projector."""
    levels, _, length, width = bundle.io["in/experts"].shape
    side = isqrt(length)
    options = {"heads": bundle.options["n_heads"], "points": bundle.options["n_points"]}
    manager = build("mmfuser", options, place(width, levels, grid=TokenGrid(side, side)))

    def run(parameters: Tensors, inputs: Tensors) -> dict[str, Tensor]:
        ours = {"cross_gate": parameters["0.gamma1"], "self_gate": parameters["0.gamma2"]}
        for theirs, own in (("query_norm", "query_norm"), ("feat_norm", "level_norm"), ("norm1", "self_norm")):
            ours |= linear(parameters, f"0.{theirs}", own)
        for theirs, own in (("0.cross_attn", "cross_attention"), ("0.self_attn", "self_attention")):
            for kind in ("weight", "bias"):
                ours[f"{own}.offset_{kind}"] = parameters[f"{theirs}.sampling_offsets.{kind}"]
                ours[f"{own}.attention_{kind}"] = parameters[f"{theirs}.attention_weights.{kind}"]
            ours |= linear(parameters, f"{theirs}.value_proj", f"{own}.value")
            ours |= linear(parameters, f"{theirs}.output_proj", f"{own}.out")
        return {"mixed": aggregate(manager, ours, Inputs(Experts(inputs["experts"].transpose(0, 1)))).hidden}

    return Reproduction({"": run})


def scalar_mix(bundle: Mechanism) -> Reproduction:
    """AllenNLP's ScalarMix."""
    _, experts, _, width = bundle.io["in/experts"].shape
    manager = build("scalar_mix", {"layer_norm": bundle.options["do_layer_norm"]}, place(width, experts))

    def run(parameters: Tensors, inputs: Tensors) -> dict[str, Tensor]:
        scores = torch.cat([parameters[f"scalar_parameters.{number}"] for number in range(experts)])
        found = {"factor": parameters["gamma"], "score": scores.view(1, -1, 1, 1)}
        given = Inputs(Experts(inputs["experts"], inputs["mask"].bool()))
        result = aggregate(manager, found, given, record=True)
        assert result.weights is not None
        return {"mix": result.hidden, "weights": result.weights.flatten()}

    return Reproduction({"": run})


def _expert(level: int) -> int:
    """Turn an index into hidden states, 0 the embeddings, into the number of an expert, 1-based."""
    return level + 1 if level >= 0 else level
