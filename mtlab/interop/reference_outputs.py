"""Compute with our model every output of the published model that a bundle holds, under the bundle's own names.

Shapes: B examples, L text tokens, M image tokens, D width.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from mtlab.errors import UserError
from mtlab.interop.bundle import CONFIG, WEIGHTS, Bundle, RebuiltModel
from mtlab.interop.weight_names import list_names, to_ours, to_theirs, weight_mappings
from mtlab.managers.base import MODALITIES
from mtlab.model.base import CrossModalOutput
from mtlab.tasks import objectives
from mtlab.tasks.build import TaskModel
from mtlab.tasks.pretraining import Pretraining
from mtlab.tasks.retrieval import Retrieval
from mtlab.towers.base import Features
from mtlab.towers.loading import timm_models

Compared = tuple[str, Tensor, Tensor]  #: the quantity's name in the bundle, ours, theirs
Named = Iterator[tuple[str, Tensor]]

#: Groups of quantities → pattern of the starts of their names; the first that matches counts.
GROUPS = {
    "towers": r"mid/(text|image)(_layer|_block)?\.",
    "fusion": r"mid/",
    "weights": r"out/manager_weights",
    "output": r"(?!noise/)(\w+/)?out/",
    "noise": r"noise/",
    "loss": r"loss/|\w+/loss|config/vqa_score",
    "grads": r"config/vqa_grad|(\w+/)?grad/",
    "logits": r"",
}


def quantity_group(name: str) -> str:
    """Return the group of `GROUPS` that a quantity belongs to."""
    return next(group for group, pattern in GROUPS.items() if re.match(pattern, name))


def compare_all(ours: RebuiltModel) -> Iterator[Compared]:
    """Compute every quantity that a bundle holds, and yield it with the bundle's.

    Raises:
        UserError: weights are missing, unknown, or of another shape.

    """
    bundle, io = ours.bundle, ours.bundle.io
    heads = set(bundle.layout.heads)
    needed = {"pretraining": {"mlm", "itm"}, "reasoning": {"nlvr2"}, "retrieval": {"itc"} if "itm" in heads else set()}
    with torch.no_grad():
        plain = ours.model("pretraining" if "mlm" in heads or "itm" in heads else "retrieval", heads=False)
        for name, value in (*_towers(plain, bundle), *_fused(plain, bundle), *_noisy(plain, bundle)):
            if name in io:
                yield name, value, io[name]
        for task, compute in (("pretraining", _pretraining), ("retrieval", _retrieval), ("reasoning", _reasoning)):
            if heads & needed[task]:
                for name, value in compute(ours.model(task), bundle):
                    if name in io:
                        yield name, value, io[name]
        if "snli" in heads and "snli/labels" in io:
            yield from _entailment(ours.model("entailment"), bundle)
    if "vqa" in heads and "vqa/targets" in io:
        yield from _answers(ours.model("question_answering"), bundle)


def _towers(model: TaskModel, bundle: Bundle) -> Named:
    """Yield every level of both towers, images' before the last LayerNorm as in the published code."""
    official = bundle.layout.dialect == "official"
    text, vision = (_network(model, kind) for kind in ("text", "vision"))
    states = text(bundle.ids, bundle.mask.long(), output_hidden_states=True).hidden_states
    for number, state in enumerate(states[1:] if official else states):
        yield f"mid/text_layer.{number}" if official else f"mid/text.{number}", state
    first: list[Tensor] = []
    with vision.norm_pre.register_forward_hook(lambda *given: first.append(given[2])):
        levels = timm_models.run_levels(vision, bundle.images, None, norm=False)
    blocks = [
        torch.cat([level.prefix, level.grid.flatten(2).transpose(1, 2)], 1)
        for level in levels
        if level.prefix is not None
    ]
    for number, block in enumerate(blocks if official else [*first, *blocks]):
        yield f"mid/image_block.{number}" if official else f"mid/image.{number}", block


def _fused(model: TaskModel, bundle: Bundle) -> Named:
    """Yield managers' and cross-modal layers' outputs at each depth, and the encoder's outputs."""
    text, image = _features(model, bundle)
    crossed: dict[str, Tensor] = {}
    hooks = [
        layer.register_forward_hook(lambda *given, name=f"{modality}.{depth}": crossed.update({name: given[2]}))
        for modality in MODALITIES
        for depth, layer in enumerate(getattr(model.encoder, modality).layers)
    ]
    fused: CrossModalOutput = model.encoder(text, image, record=True)
    for hook in hooks:
        hook.remove()
    for (modality, depth), aggregated in (fused.recorded or {}).items():
        for kind in ("manager", "bridge"):
            yield f"mid/{kind}_{modality}.{depth}", aggregated.hidden
        if aggregated.weights is not None:
            yield f"out/manager_weights.{modality}.{depth}", aggregated.weights
    yield from ((f"mid/cross_{name}", state) for name, state in crossed.items())
    yield from _outputs("out", bundle, fused)


def _noisy(model: TaskModel, bundle: Bundle) -> Named:
    """Yield the encoder's outputs under the training noise that the bundle holds."""
    keys = {(m, d): f"noise/eps.{m}.{d}" for m in MODALITIES for d in range(bundle.layout.cross_layers)}
    noise = {at: bundle.io[key] for at, key in keys.items() if key in bundle.io}
    if noise:
        yield from _outputs("noise", bundle, model.encoder(*_features(model, bundle), noise=noise))


def _outputs(start: str, bundle: Bundle, fused: CrossModalOutput) -> Named:
    names = ("text_feats", "image_feats", "cls_feats")
    if bundle.layout.dialect == "huggingface":
        names = ("text_features", "image_features", "pooler_output")
    yield from zip((f"{start}/{name}" for name in names), (fused.text, fused.image, fused.pooled), strict=True)


def _pretraining(model: TaskModel, bundle: Bundle) -> Named:
    """Yield logits and losses of masked words, matching, contrast, and matching with the bundle's hard negatives."""
    io, mask, task = bundle.io, bundle.mask, model.task
    assert isinstance(task, Pretraining)
    ids, labels = io.get("mlm/text_ids", bundle.ids), _first(io, "mlm/labels", "in/mlm_labels")
    if labels is not None and (head := task.mlm) is not None:
        words = head(model((ids, mask), (bundle.images,)).fused.text)
        yield "mlm/logits", words
        yield from _loss("mlm", objectives.masked_language(words, labels))
    labels = _first(io, "itm/labels", "in/itm_labels")
    if labels is not None and task.itm is not None:
        images = bundle.images
        if (others := io.get("itm/false_images")) is not None:
            images = torch.where(labels.view(-1, 1, 1, 1) == 1, images, others)
        logits = model((bundle.ids, mask), (images,)).logits
        yield "itm/logits", logits
        yield from _loss("itm", objectives.classification(logits, labels))
    if task.itc is not None:
        text, image = task.itc(*_features(model, bundle))
        yield from (("itc/text_feats", text), ("itc/image_feats", image))
        yield "loss/itc", objectives.contrastive(objectives.similarities(text, image, task.itc.clamped()))
        yield from _hard_negatives("itm_itc", model, bundle, torch.eye(len(text), dtype=torch.bool))


def _retrieval(model: TaskModel, bundle: Bundle) -> Named:
    images = bundle.io.get("irtr_itm_itc/img_index")
    if images is not None:
        yield from _hard_negatives("irtr_itm_itc", model, bundle, objectives.same_image(images))


def _hard_negatives(name: str, model: TaskModel, bundle: Bundle, positives: Tensor) -> Named:
    text, image = _features(model, bundle)
    assert isinstance(model.task, Pretraining | Retrieval)
    head = model.task.itc
    assert head is not None, "built with the bundle's heads"
    units: tuple[Tensor, Tensor] = head(text, image)
    scores = objectives.similarities(*units, head.clamped())
    yield f"loss/{name}.itc", objectives.contrastive(scores, positives)
    yield f"{name}/weights_t2i", objectives.negative_weights(scores.text_to_image, positives)
    yield f"{name}/weights_i2t", objectives.negative_weights(scores.image_to_text, positives)
    images, texts = (bundle.io.get(f"{name}/neg_{kind}_idx") for kind in ("image", "text"))
    if images is None or texts is None:
        return
    pairs = objectives.pair_hard_negatives(images, texts)
    logits = model(text.at(pairs.texts), image.at(pairs.images)).logits
    yield from ((f"{name}/itm_labels", pairs.labels), (f"{name}/itm_logits", logits))
    yield f"loss/{name}.itm", objectives.classification(logits, pairs.labels)


def _reasoning(model: TaskModel, bundle: Bundle) -> Named:
    second, labels = bundle.io.get("nlvr2/image_1"), bundle.io.get("nlvr2/labels")
    if second is not None and labels is not None:
        logits = model((bundle.ids, bundle.mask), (torch.cat([bundle.images, second]),)).logits
        yield from (("nlvr2/logits", logits), ("loss/nlvr2", model.task.loss(logits, labels)))


def _entailment(model: TaskModel, bundle: Bundle) -> Iterator[Compared]:
    logits = model((bundle.ids, bundle.mask), (bundle.images,)).logits
    found = {"snli/logits": logits, "loss/snli": model.task.loss(logits, bundle.io["snli/labels"])}
    yield from ((name, value, bundle.io[name]) for name, value in found.items() if name in bundle.io)


def _answers(model: TaskModel, bundle: Bundle) -> Iterator[Compared]:
    """Yield logits and loss of question answering, the VQA score, and the gradient norm of every weight."""
    io, targets = bundle.io, bundle.io["vqa/targets"]
    logits = model((bundle.ids, bundle.mask), (bundle.images,)).logits
    loss = model.task.loss(logits, targets)
    found = {"vqa/logits": logits.detach(), "loss/vqa": loss.detach()}
    yield from ((name, value, io[name]) for name, value in found.items() if name in io)
    score = bundle.config.get("vqa_score_metric")
    if score is not None:
        if isinstance(score, bool) or not isinstance(score, int | float):
            raise UserError(f"expected a number, found {score!r}", file=bundle.folder / CONFIG, key="vqa_score_metric")
        scored = model.task.outcome(logits.detach(), targets).scores["score"].mean()
        yield "config/vqa_score_metric", scored, torch.tensor(float(score))
    norms = bundle.config.get("vqa_grad_norm")
    if norms:
        unknown = sorted(set(norms) - set(bundle.weights)) if isinstance(norms, Mapping) else ["what is no mapping"]
        if unknown:
            problem = f"names {list_names(unknown)} (expected weights of {WEIGHTS} → norm)"
            raise UserError(problem, file=bundle.folder / CONFIG, key="vqa_grad_norm")
        loss.backward()
        gradients = _their_gradients(model, bundle)
        yield (
            "config/vqa_grad_norm",
            torch.stack([gradients[name].norm() for name in norms]),
            torch.tensor([norm or 0.0 for norm in norms.values()]),  # None: it got no gradient
        )


def _their_gradients(model: TaskModel, bundle: Bundle) -> dict[str, Tensor]:
    """Return our gradients under the checkpoint's names, zero for weights that our model lacks."""
    own = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in model.named_parameters()}
    entries = weight_mappings(bundle.layout, "question_answering")
    _, unmapped = to_ours(bundle.weights, entries)
    return to_theirs(own, {name: torch.zeros_like(weight) for name, weight in unmapped.items()}, entries)


def _features(model: TaskModel, bundle: Bundle) -> tuple[Features, Features]:
    return model.features("text", (bundle.ids, bundle.mask)), model.features("vision", (bundle.images,))


def _network(model: TaskModel, kind: str) -> Any:
    return model.towers[kind].network


def _loss(name: str, value: Tensor) -> Named:
    """Yield a loss under the names of both kinds of bundle."""
    yield from ((f"loss/{name}", value), (f"{name}/loss", value))


def _first(io: Mapping[str, Any], *names: str) -> Tensor | None:
    return next((io[name] for name in names if name in io), None)
