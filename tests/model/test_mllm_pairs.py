"""Several images of a text, read by a language model in one prompt."""

from pathlib import Path
from typing import Any

import pytest
import torch
from test_mllm_encoder import IDENTICAL, TEXTS, answers, built, encoder_of, folder, inputs
from torch import Tensor
from torch.nn import functional as F

from mtlab.managers.interventions import replacement, without
from mtlab.model.mllm.passing import Requests, begin_pass
from mtlab.model.mllm.tokens import image_spans, question_spans
from mtlab.tasks.build import TaskModel
from mtlab.towers.base import Features

__all__ = ["answers", "folder"]  # fixtures
TOKENS = 5  #: of an image
READING = [
    "mean",
    {"name": "residual_adaptive", "query": "cross"},  # reads the question
    "depth_weighted",  # reads the image tokens of layers below
    {"name": "tgif"},  # reads the words' embeddings
]


def pairs(folder: Path, manager: str | dict[str, Any] = "last", **options: Any) -> TaskModel:
    """A model whose questions are each about two images, with managers that do something."""
    layers = {"inject": {"layers": [0]}} if manager == {"name": "tgif"} else {}
    model = built(folder, manager, **layers | options)
    model.task.images = 2
    generator = torch.Generator().manual_seed(5)
    for name, parameter in model.encoder.named_parameters():
        if name.endswith("gate"):
            parameter.data = torch.randn(parameter.shape, generator=generator)
    return model


def two(model: TaskModel, *, swapped: bool = False) -> tuple[Features, Features]:
    """Two texts and four images: the first ones of both, then the second ones."""
    text, first = inputs(model)
    second = Features(tuple(level.flip(0, 1) for level in first.levels))
    both = (second, first) if swapped else (first, second)
    return text, Features(tuple(map(torch.cat, zip(*(each.levels for each in both), strict=True))))


def logits(model: TaskModel, *, swapped: bool = False, **options: Any) -> Tensor:
    with torch.no_grad():
        return model(*two(model, swapped=swapped), **options).logits


@pytest.mark.parametrize("manager", READING, ids=str)
def test_a_pair_is_read_as_transformers_reads_its_tokens_in_a_row(folder: Path, manager: Any) -> None:
    """Image tokens are found by a mask and managers called for all images at once, as `ManagedModel` does it."""
    model = pairs(folder, manager)
    encoder, (text, images) = encoder_of(model), two(model)
    assert text.mask is not None
    with torch.no_grad():
        fused = model.fuse(text, images)
        own, experts = encoder._image(images)
        row = [own[:2], own[2:], text.levels[0]]
        hidden, mask = torch.cat(row, 1), F.pad(text.mask, (2 * TOKENS, 0), value=True)
        is_image = (torch.arange(hidden.shape[1]) < 2 * TOKENS).expand(2, -1)
        spans = image_spans(is_image, [TOKENS] * 4)
        levels = [experts.states[number] for number in (0, 2, 1, 3)]  # row by row
        at_once = begin_pass(hidden, levels, spans, question_spans(~is_image & mask, spans), Requests())

        def hook(layer: int) -> Any:
            manager = encoder.manager("image", layer)
            return lambda _, args: (at_once.inject(manager, layer, args[0]), *args[1:])

        network = encoder.tower.network.model
        hooks = [network.layers[each].register_forward_pre_hook(hook(each)) for each in encoder.depths("image")]
        plain = network(inputs_embeds=hidden, attention_mask=mask.long()).last_hidden_state
        for each in hooks:
            each.remove()
    states = torch.cat([fused[0].image, fused[1].image, fused[0].text], 1)
    torch.testing.assert_close(states[mask], plain[mask], atol=1e-5, rtol=1e-5)
    for number, each in enumerate(fused):
        torch.testing.assert_close(each.pooled[:, 16:], plain[:, (number + 1) * TOKENS - 1], atol=1e-5, rtol=1e-5)
        assert torch.equal(each.likelihoods, fused[0].likelihoods)


def test_both_images_are_read_and_their_order_matters(folder: Path) -> None:
    model = pairs(folder, {"name": "residual_adaptive", "query": "cross"})
    text, images = two(model)
    with torch.no_grad():
        alone = model.encoder(text, images.at(slice(2))).likelihoods
    assert not torch.allclose(logits(model), logits(model, swapped=True), atol=1e-3)
    assert not torch.allclose(logits(model), alone, atol=1e-3)


@pytest.mark.parametrize("query", ["own", "cross"])
def test_the_first_image_knows_of_the_second_by_the_question_alone(folder: Path, query: str) -> None:
    model = pairs(folder, {"name": "residual_adaptive", "query": query})
    text, images = two(model)
    changed = Features(tuple(torch.cat([level[:2], 2 * level[2:]]) for level in images.levels))
    with torch.no_grad():
        (first, second), (first_again, other) = model.fuse(text, images), model.fuse(text, changed)
    assert torch.equal(first.image, first_again.image) == (query == "own")
    assert not torch.allclose(second.image, other.image, atol=1e-3)


@pytest.mark.parametrize("node", IDENTICAL, ids=lambda node: "-".join(map(str, node.values())))
def test_what_starts_as_the_plain_model_gives_its_logits_to_the_bit(folder: Path, node: dict[str, Any]) -> None:
    model, plain = built(folder, node), pairs(folder)
    model.task.images = 2
    noise = {key: manager.draw_noise(4, TOKENS) for key, manager in model.encoder.managers() if manager.noise_scale}
    assert torch.equal(logits(model, noise=noise), logits(plain))


def test_managers_are_recorded_and_changed_for_each_image(folder: Path) -> None:
    model = pairs(folder, {"name": "residual_adaptive"})
    text, images = two(model)
    keys = [key for key, _ in model.encoder.managers()]
    with torch.no_grad():
        plain = model.fuse(text, images, record=True)
        weights = [{key: each.recorded[key].weights[:, :3] for key in keys} for each in plain]
        assert not torch.equal(weights[0]["image", 2], weights[1]["image", 2])

        def states(change: Any) -> list[Tensor]:
            return [each.image for each in model.fuse(text, images, intervene=change)]

        own = states(lambda index, _: {key: replacement(weights[index][key]) for key in keys})
        for each, found in zip(plain, own, strict=True):
            torch.testing.assert_close(found, each.image, atol=1e-5, rtol=1e-5)
        second = states(lambda index, _: {key: without(2) for key in keys} if index else {})
        torch.testing.assert_close(second[0], plain[0].image, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(second[1], plain[1].image, atol=1e-2)


def test_a_row_is_the_same_alone_and_beside_a_longer_one(folder: Path) -> None:
    model = pairs(folder, {"name": "residual_adaptive", "query": "cross"})
    images, alone = two(model)[1], inputs(model, TEXTS[1:])[0]
    with torch.no_grad():
        found = model(alone, images.at(slice(1, 4, 2))).logits
    torch.testing.assert_close(logits(model)[1:], found, atol=1e-5, rtol=1e-5)
