import math

import pytest
import torch
from torch import nn

from mtlab.config.check import check_config
from mtlab.errors import UserError
from mtlab.tasks.base import TASKS
from mtlab.tasks.question_answering import QuestionAnswering

Config = QuestionAnswering.Config


def test_it_is_registered() -> None:
    assert TASKS.get("question_answering").cls is QuestionAnswering


def test_the_published_head() -> None:
    task = QuestionAnswering(Config(head_scale=2.0), width=8, answers=5)
    kinds = [type(layer) for layer in task.head]  # type: ignore[arg-type]
    assert kinds == [nn.Linear, nn.LayerNorm, nn.GELU, nn.Linear]
    assert [tuple(parameter.shape) for parameter in task.parameters()] == [(32, 16), (32,), (32,), (32,), (5, 32), (5,)]
    assert task(torch.randn(3, 16)).shape == (3, 5)


def test_a_head_of_one_layer() -> None:
    task = QuestionAnswering(Config(head_layers=1), width=8, answers=5)
    assert [tuple(parameter.shape) for parameter in task.parameters()] == [(5, 16), (5,)]


def test_the_loss_is_the_mean_negative_log_likelihood() -> None:
    task = QuestionAnswering(Config(), width=8, answers=4)
    assert task.loss(torch.zeros(6, 4), torch.arange(6) % 4).item() == pytest.approx(math.log(4))


def test_the_outcome_of_each_example() -> None:
    task = QuestionAnswering(Config(), width=8, answers=3)
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0]])
    outcome = task.outcome(logits, torch.tensor([1, 2]))
    assert outcome.predictions.tolist() == [1, 0]
    assert {name: scores.tolist() for name, scores in outcome.scores.items()} == {"accuracy": [1.0, 0.0]}
    assert set(outcome.scores) == set(QuestionAnswering.metrics)


@pytest.mark.parametrize(("given", "key"), [({"head_layers": 3}, "head_layers"), ({"head_scale": 0}, "head_scale")])
def test_refused_options(given: dict[str, float], key: str) -> None:
    with pytest.raises(UserError) as caught:
        check_config(Config, given)
    assert caught.value.key == key
