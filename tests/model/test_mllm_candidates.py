"""Several continuations of a prompt scored over its cached keys and values: each as the plain model scores it alone."""

from pathlib import Path
from typing import Any

import pytest
import torch
from test_mllm_encoder import WORDS, answers, encoder_of, folder, inputs
from test_mllm_generation import ADAPTIVE, draw_layer_weights, generating
from torch import Tensor

from mtlab.managers.interventions import uniform_of
from mtlab.towers.causal_lm import IGNORE_INDEX, end_each

__all__ = ["answers", "folder"]  # fixtures
SAID = (("red", "dark blue is it", "no"), ("dark", "it is it is it"))  # of each prompt


def candidates() -> Tensor:
    """Tokens of what is scored behind each of two prompts; the second has one less."""
    rows = [end_each([[WORDS.index(word) for word in each.split()] for each in said], 1) for said in SAID]
    longest = max(each.shape[1] for each in rows)
    found = torch.full((2, 3, longest), IGNORE_INDEX)
    for number, each in enumerate(rows):
        found[number, : len(each), : each.shape[1]] = each
    return found


@pytest.mark.parametrize("manager", ["last", ADAPTIVE, "bridge"], ids=str)
def test_each_is_scored_as_by_the_plain_model_without_a_cache(folder: Path, manager: str | dict[str, Any]) -> None:
    model = generating(folder, manager)
    encoder, (text, vision) = encoder_of(model), inputs(model)
    found = encoder.score(text, vision, candidates())
    for number in range(3):
        with torch.no_grad():
            alone = encoder(text, vision, continuation=candidates()[:, number]).likelihoods
        torch.testing.assert_close(found[:, number], alone[:, 0], atol=1e-5, rtol=1e-5)
    assert found[1, 2] == 0, "there is none"
    if manager != "last":
        return
    own, _ = encoder._image(vision)
    network = encoder.tower.network
    for row, said in enumerate(SAID):
        assert text.mask is not None
        prompt = text.levels[0][row : row + 1, : int(text.mask[row].sum())]
        for number, words in enumerate(said):
            ids = [*map(WORDS.index, words.split()), 1]
            embedded = network.model.embed_tokens(torch.tensor([ids[:-1]]))
            with torch.no_grad():
                states = torch.cat([own[row : row + 1], prompt, embedded], 1)
                predicted = network(inputs_embeds=states).logits.log_softmax(-1)
            expected = predicted[0, -len(ids) :][range(len(ids)), ids].sum()
            torch.testing.assert_close(found[row, number], expected, atol=1e-4, rtol=1e-4)


def test_managers_weights_can_be_replaced_as_candidates_are_scored(folder: Path) -> None:
    model = generating(folder, "static")
    encoder, (text, vision) = encoder_of(model), inputs(model)
    draw_layer_weights(encoder)
    changed = {key: uniform_of(manager) for key, manager in encoder.managers()}
    scores = encoder.score(text, vision, candidates(), intervene=changed)
    assert not torch.allclose(scores, encoder.score(text, vision, candidates()))
    with torch.no_grad():
        alone = encoder(text, vision, intervene=changed, continuation=candidates()[:, 1]).likelihoods
    torch.testing.assert_close(scores[:, 1:2], alone, atol=1e-5, rtol=1e-5)


def test_an_end_alone_is_scored_and_disturbs_no_other(folder: Path) -> None:
    model = generating(folder, "last")
    encoder, (text, vision) = encoder_of(model), inputs(model)
    tokens = end_each([[], [WORDS.index("red")], [WORDS.index("no")]], 1).expand(2, -1, -1)
    found = encoder.score(text, vision, tokens)
    for number in range(3):
        with torch.no_grad():
            alone = encoder(text, vision, continuation=tokens[:, number]).likelihoods
        torch.testing.assert_close(found[:, number], alone[:, 0], atol=1e-5, rtol=1e-5)


def test_tokens_are_whole_numbers_even_of_no_answers() -> None:
    assert end_each([], 1).dtype == end_each([[2, 3]], 1).dtype == torch.long
