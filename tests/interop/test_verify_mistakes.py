"""Plausible slips in each formula: verification catches every one of them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from bundles import ROOTS
from torch import Tensor, nn

from mtlab.interop import reference_outputs
from mtlab.interop.bundle import RebuiltModel, read_bundle, rebuild
from mtlab.interop.verification import _compare
from mtlab.model.network import VisionLanguageModel
from mtlab.tasks import objectives
from mtlab.towers.base import Features

Change = Callable[[VisionLanguageModel], object]


def disagreeing(bundle: str, change: Change = lambda _: None, until: str = "", **sections: dict[str, Any]) -> set[str]:
    """Verify a bundle, up to a quantity, with a model that is changed on purpose; name what disagrees."""

    class Changed(RebuiltModel):
        def model(self, task: str, *, heads: bool = True) -> VisionLanguageModel:
            model = super().model(task, heads=heads)
            with torch.no_grad():
                change(model)
            return model

    with rebuild(read_bundle(ROOTS[0] / bundle)) as right:
        altered = {key: right.sections[key] | options for key, options in sections.items()}
        wrong = Changed(**{**vars(right), "sections": {**right.sections, **altered}})
        found = []
        for compared in reference_outputs.compare_all(wrong):
            found.append(_compare(*compared, right.bundle.folder))
            if compared[0] == until:
                break
    return {quantity.name for quantity in found if not quantity.ok}


def managers(change: Callable[[Any], object]) -> Change:
    return lambda model: [change(manager) for _, manager in model.encoder.managers()]


def vision_blocks(change: Callable[[Any], object]) -> Change:
    return lambda model: [change(block) for block in model.towers["vision"].network.blocks]


def rolled(weight: Tensor, by: int, dim: int) -> None:
    weight.copy_(weight.roll(by, dim))


def swapped_halves(manager: Any) -> None:
    if hasattr(manager, "controller"):
        rolled(manager.controller.weight, manager.place.width, 1)


def swapped_attention(model: VisionLanguageModel) -> None:
    for stream in (model.encoder.text, model.encoder.image):
        for layer in stream.layers:
            layer.self_attention, layer.cross_attention = layer.cross_attention, layer.self_attention


def other_bridges(model: VisionLanguageModel) -> None:
    for _, manager in model.encoder.managers():
        manager.expert = max(1, manager.expert - 1)


#: what is wrong → bundle, change, a quantity that must disagree
SLIPS: dict[str, tuple[str, Change, str]] = {
    "theta multiplied": (
        "mt_aaue_vector",
        managers(lambda manager: manager.temperature.reciprocal_()),
        "out/manager_weights.text.0",
    ),
    "theta multiplied, static": (
        "mt_saue_scalar",
        managers(lambda manager: manager.temperature.reciprocal_()),
        "out/manager_weights.image.1",
    ),
    "query halves swapped": ("mt_aaue_vector", managers(swapped_halves), "out/manager_weights.text.1"),
    "no layer embedding": (
        "mt_saue_scalar",
        lambda model: model.encoder.text.embeddings.layer.weight.zero_(),
        "mid/manager_text.0",
    ),
    "layer embedding counted from the offered levels": (
        "mt_saue_scalar",
        lambda model: setattr(model.encoder.text.embeddings, "rows", [0, 1, 2]),
        "mid/manager_text.0",
    ),
    "no token type": (
        "bt",
        lambda model: model.encoder.image.embeddings.token_type.weight.zero_(),
        "mid/bridge_image.0",
    ),
    "second picture typed as the first": (
        "bt",
        lambda model: model.encoder.image.embeddings.token_type.weight.copy_(
            model.encoder.image.embeddings.token_type.weight[:1].expand_as(
                model.encoder.image.embeddings.token_type.weight
            )
        ),
        "nlvr2/logits",
    ),
    "bridges paired one level lower": ("bt", other_bridges, "mid/bridge_text.1"),
    "self- and cross-attention swapped": ("extra_meter_fusion", swapped_attention, "mid/cross_text.0"),
    "gelu for quick-gelu": (
        "bt",
        vision_blocks(lambda block: setattr(block.mlp, "act", nn.GELU())),
        "mid/image_block.0",
    ),
    "last norm not shared": (
        "bt",
        lambda model: setattr(model.towers["vision"], "own_norm", False),
        "mid/bridge_image.0",
    ),
    "positions without RoBERTa's offset": (
        "bt",
        lambda model: rolled(model.towers["text"].network.embeddings.position_embeddings.weight, 2, 0),
        "mid/text_layer.0",
    ),
    "image before text in the pooled features": (
        "bt",
        lambda model: (
            rolled(model.task.itm.linear.weight, model.encoder.config.width, 1)
            if getattr(model.task, "itm", None) is not None
            else None
        ),
        "itm/logits",
    ),
    "no bias of the vocabulary": (
        "bt",
        lambda model: model.task.mlm.bias.zero_() if getattr(model.task, "mlm", None) is not None else None,
        "mlm/logits",
    ),
}


@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_in_the_model_shows(slip: str) -> None:
    bundle, change, quantity = SLIPS[slip]
    assert quantity in disagreeing(bundle, change, until=quantity)


def test_a_mask_in_the_fused_query_shows() -> None:
    wrong = disagreeing("mt_aaue_vector", until="out/cls_feats", manager={"mask_query": True})
    assert {"out/manager_weights.image.1", "out/cls_feats"} <= wrong
    assert "out/manager_weights.text.1" not in wrong, "images have no padding to mask"


def test_a_gate_without_softmax_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    def plain(features: Features, gate: nn.Linear) -> Features:
        *below, top = features.levels
        return Features((*below, top + sum(gate(level) * level for level in below)), features.mask)

    monkeypatch.setattr("mtlab.model.encoder.apply_gate", plain)
    wrong = disagreeing("extra_meter_fusion", until="itc/text_feats")
    assert "out/cls_feats" in wrong
    assert "itc/text_feats" not in wrong, "the contrast reads the tower before its gate"


def test_a_gate_over_all_levels_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    def over_all(features: Features, gate: nn.Linear) -> Features:
        stacked = torch.stack(features.levels, 1)
        mixed = (gate(stacked).softmax(1) * stacked).sum(1)
        return Features((*features.levels[:-1], features.levels[-1] + mixed), features.mask)

    monkeypatch.setattr("mtlab.model.encoder.apply_gate", over_all)
    assert "out/cls_feats" in disagreeing("extra_meter_fusion", until="out/cls_feats")


def test_noise_after_the_temperature_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    def change(manager: Any) -> None:
        manager.softmax = lambda scores, noise: (
            scores / manager.temperature + (0 if noise is None else noise)
        ).softmax(1)

    wrong = disagreeing("mt_saue_scalar", managers(change), until="noise/cls_feats")
    assert "noise/cls_feats" in wrong
    assert "out/cls_feats" not in wrong


def slip_in_objectives(
    monkeypatch: pytest.MonkeyPatch, name: str, wrong: Callable[..., Any], bundle: str = "bt"
) -> set[str]:
    monkeypatch.setattr(objectives, name, wrong)
    return disagreeing(bundle)


def test_binary_loss_averaged_over_answers_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    found = slip_in_objectives(monkeypatch, "binary_answers", nn.functional.binary_cross_entropy_with_logits)
    assert found == {"loss/vqa", "config/vqa_grad_norm"}


def test_another_order_of_hard_pairs_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    right = objectives.pair_hard_negatives

    def swapped(hard_images: Tensor, hard_texts: Tensor) -> objectives.Pairs:
        given, count = right(hard_images, hard_texts), len(hard_images)
        order = torch.arange(3 * count).roll(count)
        return dataclasses.replace(given, texts=given.texts[order], images=given.images[order])

    assert {"itm_itc/itm_logits", "loss/itm_itc.itm"} <= slip_in_objectives(monkeypatch, "pair_hard_negatives", swapped)


def test_positives_removed_before_the_softmax_show(monkeypatch: pytest.MonkeyPatch) -> None:
    def before(scores: Tensor, positives: Tensor) -> Tensor:
        return scores.masked_fill(positives, -torch.inf).softmax(1)

    assert "itm_itc/weights_t2i" in slip_in_objectives(monkeypatch, "negative_weights", before)


def test_captions_of_one_picture_taken_for_negatives_show(monkeypatch: pytest.MonkeyPatch) -> None:
    found = slip_in_objectives(monkeypatch, "same_image", lambda images: torch.eye(len(images), dtype=torch.bool))
    assert {"irtr_itm_itc/weights_i2t", "loss/irtr_itm_itc.itc"} <= found
    assert "loss/itc" not in found


def test_a_temperature_that_multiplies_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    def times(text: Tensor, image: Tensor, temperature: Tensor) -> objectives.Similarities:
        scores = image @ text.T * temperature
        return objectives.Similarities(scores, scores.T)

    assert "loss/itc" in slip_in_objectives(monkeypatch, "similarities", times)


def test_tokens_that_are_not_asked_for_must_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_tokens(logits: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits.flatten(0, 1), labels.clamp_min(0).flatten())

    assert slip_in_objectives(monkeypatch, "masked_language", all_tokens) == {"loss/mlm"}


@pytest.mark.parametrize(("name", "eps"), [("bt", 1e-12), ("hf_bridgetower_add", 1e-5)])
def test_the_eps_reaches_every_norm_of_the_layers_and_the_word_head(name: str, eps: float) -> None:
    """Outputs hardly show it: 1e-5 in place of 1e-12 moves them by 4e-6."""
    with rebuild(read_bundle(ROOTS[0] / name)) as ours:
        model = ours.model("pretraining")
    layers = [*model.encoder.text.layers, *model.encoder.image.layers]
    norms = [norm for layer in layers for norm in (layer.self_norm, layer.cross_norm, layer.out_norm)]
    assert {norm.eps for norm in [*norms, model.task.mlm.norm]} == {eps}
    others = {manager.norm.eps for _, manager in model.encoder.managers()} | {model.towers["vision"].network.norm.eps}
    assert others == {1e-5}
