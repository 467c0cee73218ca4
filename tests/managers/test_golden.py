"""With the authors' weights our encoder gives the authors' tensors, and plausible mistakes do not."""

import pytest
import torch
from official import Bundle
from torch import Tensor

from mtlab.encoder import CrossModalEncoder, Fused

BUNDLES = ["meter", "bt", "mt_saue_scalar", "mt_aaue_vector", "extra_mt_aaue_uneven"]
MANAGED = BUNDLES[2:]


def run(bundle: Bundle, encoder: CrossModalEncoder, *, noise: bool = False, record: bool = False) -> Fused:
    with torch.no_grad():
        given = bundle.noise() if noise else None
        return encoder(bundle.features("text"), bundle.features("image"), noise=given, record=record)


def agrees(ours: Tensor, theirs: Tensor) -> bool:
    return torch.allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def gap(bundle: Bundle, encoder: CrossModalEncoder) -> float:
    return (run(bundle, encoder).pooled - bundle.io["out/cls_feats"]).abs().max().item()


@pytest.mark.parametrize("name", BUNDLES)
def test_outputs(name: str) -> None:
    bundle = Bundle(name)
    fused = run(bundle, bundle.encoder())
    assert agrees(fused.text, bundle.io["out/text_feats"])
    assert agrees(fused.image, bundle.io["out/image_feats"])
    assert agrees(fused.pooled, bundle.io["out/cls_feats"])


@pytest.mark.parametrize("name", MANAGED)
def test_manager_weights(name: str) -> None:
    bundle = Bundle(name)
    recorded = run(bundle, bundle.encoder(), record=True).recorded
    assert recorded is not None
    for (modality, depth), aggregated in recorded.items():
        theirs = bundle.io[f"out/manager_weights.{modality}.{depth}"]
        assert aggregated.weights is not None
        assert aggregated.weights.shape == theirs.shape
        assert agrees(aggregated.weights, theirs)


@pytest.mark.parametrize("name", MANAGED)
def test_training_noise(name: str) -> None:
    bundle = Bundle(name)
    encoder = bundle.encoder()
    fused = run(bundle, encoder, noise=True)
    assert agrees(fused.text, bundle.io["noise/text_feats"])
    assert agrees(fused.image, bundle.io["noise/image_feats"])
    assert agrees(fused.pooled, bundle.io["noise/cls_feats"])
    assert not agrees(fused.pooled, bundle.io["out/cls_feats"])
    shapes = encoder.noise_shapes(bundle.features("text"), bundle.features("image"))
    for key, (shape, scale) in shapes.items():
        assert shape == tuple(bundle.noise()[key].shape)
        assert scale == pytest.approx(bundle.options["noise_std"][f"{key[0]}.{key[1]}"])


def test_norm_eps_reaches_every_norm_of_the_layers() -> None:
    bundle = Bundle("bt")  # the outputs hardly show it: 1e-5 in place of 1e-12 moves them by 4e-6
    for layer in [*bundle.encoder().text.layers, *bundle.encoder().image.layers]:
        assert {norm.eps for norm in (layer.self_norm, layer.cross_norm, layer.out_norm)} == {1e-12}


class TestMistakesShow:
    """Each of these is a slip that one could make; parity must break by more than the tolerance allows."""

    def test_mask_in_the_fused_query(self) -> None:
        bundle = Bundle("mt_aaue_vector")
        assert gap(bundle, bundle.encoder(bundle.manager() | {"mask_query": True})) > 1e-3

    def test_temperature_multiplied(self) -> None:
        bundle = Bundle("mt_aaue_vector")
        encoder = bundle.encoder()
        for _, manager in encoder.managers():
            manager.temperature.data.reciprocal_()
        assert gap(bundle, encoder) > 1e-2

    def test_query_halves_swapped(self) -> None:
        bundle = Bundle("mt_aaue_vector")
        encoder = bundle.encoder()
        for (_, depth), manager in encoder.managers():
            if depth:
                manager.controller.weight.data = manager.controller.weight.roll(encoder.config.width, 1)
        assert gap(bundle, encoder) > 1e-2

    def test_no_layer_embedding(self) -> None:
        bundle = Bundle("mt_aaue_vector")
        assert gap(bundle, bundle.encoder(layer_embeddings=False)) > 1e-1

    def test_layer_embedding_counted_from_the_offered_levels(self) -> None:
        bundle = Bundle("mt_aaue_vector")
        encoder = bundle.encoder()
        encoder.text.embeddings.rows = [0, 1, 2]
        assert gap(bundle, encoder) > 1e-2

    def test_cross_attention_to_the_attended_state(self) -> None:
        bundle = Bundle("meter")
        encoder = bundle.encoder()
        for text, image in zip(encoder.text.layers, encoder.image.layers, strict=True):
            text.cross_attention, image.cross_attention = image.cross_attention, text.cross_attention
        assert gap(bundle, encoder) > 1e-2

    def test_bridge_paired_with_other_experts(self) -> None:
        bundle = Bundle("bt")
        assert agrees(
            run(bundle, bundle.encoder({"name": "bridge", "experts": [2, 3, 4]})).pooled, bundle.io["out/cls_feats"]
        )
        assert gap(bundle, bundle.encoder({"name": "bridge", "experts": [1, 2, 3]})) > 1e-2

    def test_padding_attended(self) -> None:
        bundle = Bundle("meter")
        bundle.io["in/text_masks"] = torch.ones_like(bundle.io["in/text_masks"])
        assert gap(bundle, bundle.encoder()) > 1e-3
