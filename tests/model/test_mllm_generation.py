"""Answers that a language model generates: cached as uncached, learnt by their own tokens, in words."""

from pathlib import Path
from typing import Any

import pytest
import torch
from test_mllm_encoder import ANSWERS, TEXTS, WORDS, answers, built, encoder_of, folder, inputs
from torch.nn import functional as F

from mtlab.errors import UserError
from mtlab.managers.interventions import uniform_of
from mtlab.model.mllm.encoder import LanguageModelEncoder
from mtlab.tasks.build import TaskModel
from mtlab.towers.causal_lm import IGNORE_INDEX

__all__ = ["answers", "folder"]  # fixtures
ADAPTIVE = {"name": "residual_adaptive", "query": "cross"}


def generating(folder: Path, manager: str | dict[str, Any] = "last", **options: Any) -> TaskModel:
    model = built(folder, manager, answers="generate", **{"answer_tokens": 6} | options)
    for name, parameter in model.encoder.named_parameters():
        if name.endswith("gate"):
            parameter.data.fill_(0.3)
    return model


def test_what_is_generated_is_what_transformers_generates(folder: Path) -> None:
    model = generating(folder)
    encoder, (text, vision) = encoder_of(model), inputs(model)
    own, _ = encoder._image(vision)
    assert text.mask is not None
    generated = encoder.generate(text, vision)
    for row in range(len(TEXTS)):
        words = text.levels[0][row : row + 1, : int(text.mask[row].sum())]
        prompt = torch.cat([own[row : row + 1], words], 1)
        with torch.no_grad():
            plain = encoder.tower.network.generate(
                inputs_embeds=prompt, max_new_tokens=6, do_sample=False, eos_token_id=1, pad_token_id=0
            )[0]
        assert generated[row, : len(plain)].tolist() == plain.tolist()
        assert set(generated[row, len(plain) :].tolist()) <= {IGNORE_INDEX}


@pytest.mark.parametrize("manager", [ADAPTIVE, "dense_connector", "bridge"], ids=str)
def test_cached_equals_uncached(folder: Path, manager: str | dict[str, Any]) -> None:
    model = generating(folder, manager, **({"inject": {"layers": [0]}} if manager == "dense_connector" else {}))
    encoder, (text, vision) = encoder_of(model), inputs(model)
    generated = encoder.generate(text, vision)
    for at in range(6):
        if (generated[:, at] == IGNORE_INDEX).any():
            break
        scores = []
        for token in range(len(WORDS)):  # a full pass for each next token
            tried = torch.cat([generated[:, :at], torch.full((2, 1), token), torch.full((2, 1), IGNORE_INDEX)], 1)
            with torch.no_grad():
                scores.append(encoder(text, vision, continuation=tried).likelihoods)
        assert torch.cat(scores, 1).argmax(1).tolist() == generated[:, at].tolist()
    assert at > 0


def test_an_answer_that_is_said_has_the_likelihood_that_the_tree_gives_it(folder: Path) -> None:
    model, scored = generating(folder, ADAPTIVE), built(folder, ADAPTIVE)
    scored.load_state_dict(model.state_dict(), strict=False)
    encoder, (text, vision) = encoder_of(model), inputs(model)
    assert encoder.answers is not None
    with torch.no_grad():
        tree = scored(text, vision).logits
        for number in range(len(ANSWERS)):
            found = encoder(text, vision, continuation=encoder.answers.of(torch.tensor([number, number]))).likelihoods
            torch.testing.assert_close(found[:, 0], tree[:, number], atol=1e-4, rtol=1e-4)
    assert encoder.answers.of(torch.tensor([[0.3, 0.6, 0.0, 0.0, 0.0]])).tolist()[0][:3] == [8, 9, 1]


def test_image_tokens_do_not_see_the_answer(folder: Path) -> None:
    model = generating(folder, ADAPTIVE)
    encoder, (text, vision) = encoder_of(model), inputs(model)
    with torch.no_grad():
        images = [encoder(text, vision, continuation=torch.tensor([[token, 1]] * 2)).image for token in (7, 9)]
    assert torch.equal(*images)


def draw_layer_weights(encoder: LanguageModelEncoder) -> None:
    """Give levels weights that are far from alike."""
    for _, manager in encoder.managers():
        for name, parameter in manager.named_parameters():
            if name in manager.layer_weight_names:
                parameter.data.copy_(10 * torch.randn_like(parameter))


def test_managers_weights_can_be_replaced_as_it_generates(folder: Path) -> None:
    model = generating(folder, "static")
    encoder, (text, vision) = encoder_of(model), inputs(model)
    draw_layer_weights(encoder)
    changed = {key: uniform_of(manager) for key, manager in encoder.managers()}
    found = [encoder(text, vision, intervene=each).likelihoods for each in (None, changed)]
    assert not torch.allclose(*found)
    assert F.one_hot(encoder.generate(text, vision, intervene=changed)[:, 0], len(WORDS)).argmax(1).tolist() == (
        found[1].argmax(1).tolist()
    )


def test_what_is_said_is_told_in_words(folder: Path) -> None:
    generated = torch.tensor(
        [[8, 9, 1, IGNORE_INDEX], [7, 1, IGNORE_INDEX, IGNORE_INDEX], [1, IGNORE_INDEX, IGNORE_INDEX, IGNORE_INDEX]]
    )
    assert encoder_of(generating(folder)).decode(generated) == ["dark blue", "red", ""]


def test_an_answer_longer_than_the_room_is_refused(folder: Path) -> None:
    with pytest.raises(
        UserError, match=r"model\.answers: 'dark blue' has 3 tokens.*set model.answer_tokens to as many"
    ):
        generating(folder, answer_tokens=2)
