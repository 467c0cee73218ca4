"""A manager's auxiliary loss reaches the training loss and the gradient, whatever the split, and nothing else."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mtlab.config.options import option
from mtlab.data.batches import Batch
from mtlab.managers.base import MANAGERS, Aggregated, Inputs, Place
from mtlab.managers.mixtures.static import Static
from mtlab.model.forward import ForwardContext, RandomKey, Runtime
from mtlab.tasks.build import TaskModel, build
from mtlab.towers.base import Features, TowerShape
from mtlab.training.steps import train_step

SHAPE = TowerShape((12, 12), (1, 2), 2, 7, class_token=True, positions=True)
RUNTIME = Runtime(torch.device("cpu"))


class Balanced(Static):
    """Static weights whose log-odds are held near zero by a loss of their own."""

    @dataclass(frozen=True, kw_only=True)
    class Config(Static.Config):
        balance: float = option(0.1, "weight of the auxiliary loss", minimum=0.0)

    def __init__(self, config: Any, place: Place) -> None:
        super().__init__(config, place)
        torch.nn.init.normal_(self.score, generator=torch.Generator().manual_seed(place.depth))

    def forward(self, inputs: Inputs, **kwargs: Any) -> Aggregated:
        loss = self.config.balance * self.score.square().sum() + 0 * inputs.experts.states.mean()
        return replace(super().forward(inputs, **kwargs), auxiliary=loss)


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    MANAGERS.import_all()
    MANAGERS.register("balanced")(Balanced)
    yield
    del MANAGERS.entries["balanced"]


def model(balance: float, task: str = "question_answering") -> TaskModel:
    config = {
        "model": {"width": 16, "heads": 4, "cross_layers": 2, "mlp_ratio": 2, "dropout": 0.0},
        "manager": {"name": "balanced", "balance": balance},
        "task": {"name": task},
    }
    return build(config, SHAPE, SHAPE, answers=2).train()


def batch(rows: slice = slice(None), images: int = 1) -> Batch:
    generator = torch.Generator().manual_seed(0)
    text, image = (
        Features(tuple(torch.randn(6 * copies, 7, 12, generator=generator)[rows] for _ in range(2)))
        for copies in (1, images)
    )
    targets = torch.arange(6)[rows] % 2
    return Batch(tuple(range(len(targets))), text, image, targets)


def penalty(whole: TaskModel) -> Tensor:
    return sum((manager.score.square().sum() for _, manager in whole.encoder.managers()), torch.zeros(()))


def step(whole: TaskModel, *micro: Batch) -> tuple[float, dict[str, Tensor]]:
    gradients: dict[str, Tensor] = {}

    def keep() -> None:
        gradients.update({name: p.grad.clone() for name, p in whole.named_parameters() if p.grad is not None})

    optimiser = torch.optim.SGD(whole.parameters(), lr=0.0)
    loss = train_step(whole, optimiser, micro, RUNTIME, seed=0, step=0, clip=None, on_gradients=keep)
    return loss.item(), gradients


def test_it_is_added_to_the_training_loss_and_its_gradient() -> None:
    with_loss, without = model(0.1), model(0.0)
    (loss, gradients), (plain, plain_gradients) = step(with_loss, batch()), step(without, batch())
    assert loss == pytest.approx(plain + 0.1 * penalty(with_loss).item())
    for name, gradient in gradients.items():
        expected = plain_gradients[name]
        if name.endswith(".score"):
            expected = expected + 0.2 * with_loss.get_parameter(name)
        torch.testing.assert_close(gradient, expected)


def test_it_does_not_depend_on_how_a_batch_is_split() -> None:
    (whole, gradients), (split, split_gradients) = (
        step(model(0.1), *parts) for parts in ([batch()], [batch(slice(4)), batch(slice(4, 6))])
    )
    assert split == pytest.approx(whole)
    for name, gradient in gradients.items():
        torch.testing.assert_close(split_gradients[name], gradient)


def test_it_is_kept_apart_from_the_losses_of_the_task() -> None:
    def name_it_alike(whole: TaskModel) -> list[dict[str, Tensor]]:
        given: list[dict[str, Tensor]] = []

        def losses(context: ForwardContext, examples: Batch) -> dict[str, Tensor]:
            given.append({"auxiliary": whole.task.loss(context.answer(examples), examples.targets)})
            return given[-1]

        whole.task.losses = losses
        whole.task.loss_counts = lambda examples: {"auxiliary": len(examples)}
        whole.task.loss_weights = lambda: {"auxiliary": 0.5}
        return given

    with_loss, without = model(0.1), model(0.0)
    given, plainly_given = name_it_alike(with_loss), name_it_alike(without)
    (loss, _), (plain, _) = step(with_loss, batch()), step(without, batch())
    assert loss == pytest.approx(plain + 0.1 * penalty(with_loss).item())
    torch.testing.assert_close(given, plainly_given)


def test_a_task_without_a_loss_in_a_batch_keeps_it() -> None:
    whole = model(0.1)
    whole.task.losses = lambda context, examples: context.answer(examples) is None or {}
    loss, gradients = step(whole, batch())
    assert loss == pytest.approx(0.1 * penalty(whole).item())
    assert all(name.endswith(".score") or not gradient.any() for name, gradient in gradients.items())


def test_each_image_of_a_text_adds_its_own() -> None:
    whole = model(0.1, "reasoning")
    context = ForwardContext(whole, RUNTIME, RandomKey(0, 0, 0))
    context.answer(batch(images=2))
    assert len(context.auxiliary) == 2
    torch.testing.assert_close(sum(context.auxiliary), 0.2 * penalty(whole))


def test_evaluation_leaves_it_out() -> None:
    context = ForwardContext(model(0.1).eval(), RUNTIME)
    context.answer(batch())
    assert not context.auxiliary


def test_managers_without_one_give_none() -> None:
    config = {"model": {"width": 16, "heads": 4}, "manager": {"name": "static"}, "task": {"name": "question_answering"}}
    assert build(config, SHAPE, SHAPE, answers=2)(batch().text, batch().image).fused.auxiliary is None
