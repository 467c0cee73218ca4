"""What interventions make of weights."""

import torch

from mtlab.managers.interventions import replacement, token_mean, uniform, without

WEIGHTS = torch.tensor([0.2, 0.3, 0.5]).view(1, 3, 1, 1)
ONE = torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1)


def test_uniform_over_what_is_read() -> None:
    torch.testing.assert_close(uniform(WEIGHTS).flatten(), torch.full((3,), 1 / 3))
    assert torch.equal(uniform(ONE), ONE)


def test_uniform_takes_the_choice_of_tokens_away() -> None:
    """Each token reads one expert of three (`sparse`, k = 1); the fourth is read by none."""
    weights = torch.eye(4)[:, :3].view(1, 4, 3, 1)
    expected = torch.tensor([1 / 3, 1 / 3, 1 / 3, 0.0]).view(1, 4, 1, 1).expand(1, 4, 3, 1)
    torch.testing.assert_close(uniform(weights), expected)


def test_without_one_renormalises_the_rest() -> None:
    torch.testing.assert_close(without(3)(WEIGHTS).flatten(), torch.tensor([0.4, 0.6, 0.0]))
    assert torch.equal(without(2)(ONE), torch.zeros_like(ONE))
    assert torch.equal(without(1)(ONE), ONE)


RAW = torch.tensor([0.5, -0.2, 0.0]).view(1, 3, 1, 1)


def test_raw_weights_keep_their_sum_or_their_values() -> None:
    torch.testing.assert_close(uniform(RAW).flatten(), torch.tensor([0.15, 0.15, 0.0]))
    torch.testing.assert_close(without(1)(RAW).flatten(), torch.tensor([0.0, -0.2, 0.0]))
    torch.testing.assert_close(without(3, raw=True)(WEIGHTS).flatten(), torch.tensor([0.2, 0.3, 0.0]))


def test_token_mean_leaves_padding_out() -> None:
    weights = torch.rand(2, 3, 4, 1).softmax(1)
    mask = torch.tensor([[True, True, True, True], [True, True, False, False]])
    got = token_mean(mask)(weights)
    torch.testing.assert_close(got[1, :, 0, 0], weights[1, :, :2, 0].mean(1))
    torch.testing.assert_close(token_mean()(weights)[0], got[0])
    assert torch.equal(token_mean(mask)(WEIGHTS), WEIGHTS)


def test_another_seeds_weights() -> None:
    assert torch.equal(replacement(ONE)(WEIGHTS), ONE)
