"""LLaVA-OV-Manager as a whole: SigLIP, projector and Qwen2 of transformers, with our managers inside.

Padding is not compared: where the authors' tensors hold it, ours take theirs.

Shapes: B samples, I images of all samples, L tokens of an image, N levels, T tokens of a sample, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    Qwen2Config,
    SiglipVisionConfig,
)

from mtlab.interop.mechanisms.bundle import Mechanism, Reproduction, Run, Tensors, linear
from mtlab.interop.mechanisms.mllm_samples import GROUPS, Samples, given_inputs, image_starts, image_token
from mtlab.managers.base import Experts, Inputs
from mtlab.model.mllm.managed import Injection, ManagedModel


def llava_ov_manager_model(bundle: Mechanism) -> Reproduction:
    """Reproduce every group of a bundle of the whole model."""
    groups = [group for group in GROUPS if any(name.startswith(f"{group}/") for name in bundle.io)]
    cases: dict[str, Run] = {f"{group}/": _runs(bundle, group) for group in groups if group != "generate"}
    if "generate" in groups:
        cases["generate/"] = _generation(bundle)
    if "flat/noise/out/logits" in bundle.io:
        cases["flat/noise/"] = _noisy(bundle)
    return Reproduction(cases)


def build_model(bundle: Mechanism, group: str) -> ManagedModel:
    """Build the managed model of a group with blank weights: LLaVA without tiles, LLaVA-OneVision with tiles."""
    part = GROUPS[group]
    options, sizes = bundle.options, bundle.config["sizes"]
    vision: dict[str, Any] = dict(sizes["vision"])
    vision["num_hidden_layers"] -= 1  # the authors delete the last block
    tower = SiglipVisionConfig(
        **vision,
        layer_norm_eps=options["vision_layer_norm_eps"],
        hidden_act=options["vision_hidden_act"],
        vision_use_head=False,
    )
    text = Qwen2Config(
        **sizes["llm"],
        rms_norm_eps=options["rms_norm_eps"],
        rope_parameters={"rope_type": "default", "rope_theta": options["rope_theta"]},
        tie_word_embeddings=False,
    )
    common: dict[str, Any] = {
        "vision_config": tower,
        "text_config": text,
        "image_token_index": image_token(bundle),
        "vision_feature_layer": -1,
        "vision_feature_select_strategy": "full",
    }
    model: Any
    if part is None:
        model = LlavaForConditionalGeneration(LlavaConfig(**common))
    else:
        side = vision["image_size"]
        tiles = [[rows * side, columns * side] for columns, rows in options["image_grid_pinpoints_tiles_w_h"]]
        model = LlavaOnevisionForConditionalGeneration(
            LlavaOnevisionConfig(
                **common,
                image_grid_pinpoints=tiles,
                vision_aspect_ratio="anyres_max_2" if group == "anyres_max" else "anyres_max_9",
                video_token_index=image_token(bundle) - 1,
            )
        )
    kind = options["mm_manager_type"]
    query = next((word for word in ("last", "average", "cross") if word in kind.split("_")), "own")
    node: dict[str, Any] = (
        {"name": "residual_static"} if "static" in kind else {"name": "residual_adaptive", "query": query}
    )
    layers, levels = tuple(options["manager_layers"]), tuple(options["levels"])
    injection = Injection(layers=layers, levels=levels, part=part or "all")
    return ManagedModel(model, node, injection).eval()


def rename_weights(bundle: Mechanism, weights: Tensors, managed: ManagedModel) -> dict[str, Tensor]:
    """Give the authors' tensors our names; those that the model does not have are left out."""
    named = {"model.manager_layer_embedding": "level_embeddings", "lm_head.weight": "model.lm_head.weight"}
    starts = {
        "model.vision_tower.vision_tower.vision_model.": "model.model.vision_tower.",
        "model.mm_projector.0.": "model.model.multi_modal_projector.linear_1.",
        "model.mm_projector.2.": "model.model.multi_modal_projector.linear_2.",
        "model.image_newline": "model.model.image_newline",
    }
    found: dict[str, Tensor] = {}
    managers: dict[str, dict[str, Tensor]] = {}
    for name, tensor in weights.items():
        if name.startswith("model.manager."):
            number, rest = name.removeprefix("model.manager.").split(".", 1)
            managers.setdefault(number, {})[rest] = tensor
            continue
        start = next((start for start in starts if name.startswith(start)), None)
        ours = named.get(name) or (
            f"model.model.language_model.{name.removeprefix('model.')}"
            if start is None
            else starts[start] + name.removeprefix(start)
        )
        found[ours] = tensor
    for number, own in managers.items():
        layer = bundle.options["manager_layers"][int(number)]
        found |= {f"managers.{layer}.{name}": tensor for name, tensor in rename_manager(own).items()}
    known = {name for name, _ in managed.named_parameters()}
    return {name: tensor for name, tensor in found.items() if name in known}


def rename_manager(parameters: Tensors) -> dict[str, Tensor]:
    """Give our names; the keys' bias, which shifts all logits of a query alike, has no counterpart."""
    ours = {"gate": parameters["layer_scores" if "layer_scores" in parameters else "zero_gate"]}
    if "linear_controller.weight" in parameters:
        ours["controller.weight"] = parameters["linear_controller.weight"]
    if "fusion_attention.q_proj.weight" in parameters:
        ours |= linear(parameters, "fusion_attention.q_proj", "query")
        ours["key.weight"] = parameters["fusion_attention.k_proj.weight"]
    return ours


@dataclass
class _Seen:
    """What passes through the managers and layers of a forward pass."""

    inputs: dict[int, Inputs] = field(default_factory=dict)  #: by decoder layer
    hidden: dict[int, Tensor] = field(default_factory=dict)  #: by decoder layer, what its manager returns
    layer_in: dict[int, Tensor] = field(default_factory=dict)  #: of every decoder layer
    embedded: Tensor = field(default_factory=lambda: torch.empty(0))  #: the language model's input

    @property
    def lengths(self) -> Tensor:
        """The tokens of each image that take part, [I]."""
        experts = next(iter(self.inputs.values())).experts
        images, _, length, _ = experts.states.shape
        return torch.full((images,), length) if experts.mask is None else experts.mask.sum(1)


@contextmanager
def _watched(managed: ManagedModel) -> Iterator[_Seen]:
    """Note what passes through a forward pass."""
    seen, language_model = _Seen(), managed.model.model.language_model

    def note_manager(layer: int, _module: nn.Module, args: tuple[Any, ...], result: Any) -> None:
        seen.inputs[layer], seen.hidden[layer] = args[0], result.hidden

    def note_layer(layer: int, _module: nn.Module, args: tuple[Any, ...]) -> None:
        seen.layer_in[layer] = args[0]

    def note_embedded(_module: nn.Module, _args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.embedded = kwargs["inputs_embeds"]

    hooks = [language_model.register_forward_pre_hook(note_embedded, with_kwargs=True)]
    hooks += [managed.manager(layer).register_forward_hook(partial(note_manager, layer)) for layer in managed.layers]
    hooks += [
        each.register_forward_pre_hook(partial(note_layer, layer)) for layer, each in enumerate(language_model.layers)
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


class _Applied(nn.Module):
    def __init__(self, managed: ManagedModel) -> None:
        super().__init__()
        self.managed = managed

    def forward(self, function: Callable[[ManagedModel], dict[str, Tensor]]) -> dict[str, Tensor]:
        return function(self.managed)


def _runs(bundle: Mechanism, group: str) -> Run:
    managed = build_model(bundle, group)

    def run(parameters: Tensors, inputs: Tensors) -> dict[str, Tensor]:
        given = {**given_inputs(bundle, group), **inputs}
        return _applied(bundle, managed, parameters, lambda each: _outputs(bundle, group, each, given))

    return run


def _noisy(bundle: Mechanism) -> Run:
    managed = build_model(bundle, "flat")
    jitter = bundle.io
    noise = {
        layer: torch.cat([jitter[name] for name in sorted(jitter) if name.startswith(f"flat/noise/jitter.{number}.")])
        for number, layer in enumerate(bundle.options["manager_layers"])
    }

    def run(parameters: Tensors, _inputs: Tensors) -> dict[str, Tensor]:
        inputs = given_inputs(bundle, "flat")
        outputs = _applied(bundle, managed, parameters, lambda each: _outputs(bundle, "flat", each, inputs, noise))
        return {"logits": outputs["logits"]}

    return run


def _generation(bundle: Mechanism) -> Run:
    managed = build_model(bundle, "generate")
    steps = bundle.io["generate/out/ids"].shape[1]

    def run(parameters: Tensors, inputs: Tensors) -> dict[str, Tensor]:
        return _applied(bundle, managed, parameters, lambda each: generate(each, inputs))

    @torch.no_grad()
    def generate(each: ManagedModel, inputs: Tensors) -> dict[str, Tensor]:
        samples = Samples.of(bundle, each.model.model.get_image_features, "generate", inputs)
        made = each.generate(
            **samples.batch,
            question=samples.question,
            max_new_tokens=steps,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
            pad_token_id=bundle.config["tokens"]["pad"],
        )
        return {"ids": made.sequences[:, -steps:], "logits": torch.stack(made.logits, 1)}

    return run


def _applied(
    bundle: Mechanism,
    managed: ManagedModel,
    parameters: Tensors,
    function: Callable[[ManagedModel], dict[str, Tensor]],
) -> dict[str, Tensor]:
    ours = rename_weights(bundle, parameters, managed)
    if missing := {name for name, _ in managed.named_parameters()} - set(ours):
        raise KeyError(f"no tensor for {', '.join(sorted(missing)[:3])}")
    given = {f"managed.{name}": tensor for name, tensor in ours.items()}
    result: dict[str, Tensor] = torch.func.functional_call(_Applied(managed), given, (function,))
    return result


def _outputs(
    bundle: Mechanism,
    group: str,
    managed: ManagedModel,
    inputs: Tensors,
    noise: Mapping[int, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Compute what a group holds, or its case with noise, under its names."""
    samples = Samples.of(bundle, managed.model.model.get_image_features, group, inputs)
    with _watched(managed) as seen:
        result = managed(**samples.batch, question=samples.question, noise=noise, use_cache=False)
    mask, rows = samples.batch["attention_mask"].bool(), torch.tensor(samples.rows)
    is_image = samples.batch["input_ids"] == image_token(bundle)
    outputs = {
        "image_index": torch.tensor(image_starts(is_image, samples)),
        "image_length": seen.lengths,
        "image_number": torch.bincount(rows, minlength=len(mask)),
        "query_index": torch.tensor(samples.raw),
        "merged_mask": mask.long(),
    }
    by_token = {"logits": result.output.logits, "inputs_embeds": seen.embedded}
    by_token |= {f"layer_in.{number}": states for number, states in seen.layer_in.items()}
    prefix = f"{group}/" if noise is None else f"{group}/noise/"
    for name, tensor in by_token.items():
        stored = bundle.io.get(f"{prefix}mid/{name}", bundle.io.get(f"{prefix}out/{name}"))
        outputs[name] = tensor if stored is None else torch.where(mask.unsqueeze(-1), tensor, stored)
    if f"{group}/mid/experts" in bundle.io:
        outputs["experts"] = _padded(seen.inputs[managed.layers[-1]].experts, bundle.io[f"{group}/mid/experts"])
    return outputs | dict(_by_sample(managed, seen, samples))


def _padded(experts: Experts, theirs: Tensor) -> Tensor:
    """Give the levels [I, N, L, D] the authors' padding, and their dummy images of samples without an image."""
    padded = theirs.clone()
    for image, states in enumerate(experts.states.detach()):
        real = slice(None) if experts.mask is None else experts.mask[image]
        padded[image][:, : states.shape[1]][:, real] = states[:, real]
    return padded


def _by_sample(managed: ManagedModel, seen: _Seen, samples: Samples) -> Iterator[tuple[str, Tensor]]:
    """Yield what each manager adds to the images of a sample, and what it asks with."""
    for number, layer in enumerate(managed.layers):
        inputs, rows = seen.inputs[layer], torch.tensor(samples.rows)
        own = inputs.history[-1] if inputs.history else inputs.experts.states[:, -1]
        for sample in sorted(set(samples.rows)):
            of_sample = rows == sample
            delta, mask = (seen.hidden[layer] - own)[of_sample], inputs.experts.mask
            yield f"manager.{number}.{sample}.delta", delta if mask is None else delta[:, mask[of_sample][0]]
            asked = samples.question[sample].nonzero()[:, 0]
            states = seen.layer_in[layer][sample, asked].unsqueeze(0)
            if inputs.other is not None:
                real = slice(None) if inputs.other_mask is None else inputs.other_mask[of_sample][0]
                states = inputs.other[of_sample][:1, real]
            yield f"manager.{number}.{sample}.query", states
