from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numbered import Numbers

from mtlab.config.check import check_config
from mtlab.data.base import Example
from mtlab.data.batches import Batch, Loader
from mtlab.distributed.process_group import SINGLE_PROCESS
from mtlab.tasks.base import Task
from mtlab.tasks.evaluation import Evaluation
from mtlab.tasks.question_answering import QuestionAnswering
from mtlab.towers.base import Features

TASK = QuestionAnswering(QuestionAnswering.Config(), width=2, answers=3)
CPU = torch.device("cpu")


def loader(count: int, unknown: Sequence[int] = ()) -> Loader:
    """Make a split; the examples named by `unknown` have a right answer that cannot be given."""
    targets = [-1 if n in unknown else n % 3 for n in range(count)]
    examples = [Example(f"e{n}", f"{n}" + "x" * (n * 7 % 5), f"{n}", targets[n], f"f{n % 2}") for n in range(count)]
    return Loader(examples, Numbers(), Numbers())


def right_below_ten(batch: Batch) -> torch.Tensor:
    """Answer examples 0 to 9 rightly and all others with the next answer."""
    assert isinstance(batch.text, Features)
    numbers = batch.text.levels[0][:, 0, 0].long()
    return torch.nn.functional.one_hot(torch.where(numbers < 10, numbers, numbers + 1) % 3, 3).float() * 5


class Scripted:
    """A model that answers as a function says."""

    device = CPU
    group = SINGLE_PROCESS

    def __init__(self, answer: Callable[[Batch], torch.Tensor]) -> None:
        self.answer = answer


def evaluate(
    answer: Callable[[Batch], torch.Tensor],
    task: Task,
    split: Loader,
    batch: int,
    between: Callable[[], None] = lambda: None,
) -> Evaluation:
    run: Any = Scripted(answer)
    return task.evaluate(run, split, batch, between)


@pytest.mark.parametrize("batch", [1, 7, 100])
def test_outcomes_come_in_the_order_of_the_split(batch: int) -> None:
    split = loader(25)
    evaluation = evaluate(right_below_ten, TASK, split, batch)
    assert evaluation.scores["accuracy"].tolist() == [1.0] * 10 + [0.0] * 15
    assert evaluation.predictions is not None
    assert evaluation.predictions.tolist() == [n % 3 if n < 10 else (n + 1) % 3 for n in range(25)]
    likely = np.exp(5) / (np.exp(5) + 2)
    unlikely = 1 / (np.exp(5) + 2)
    assert evaluation.loss == pytest.approx(-(10 * np.log(likely) + 15 * np.log(unlikely)) / 25, rel=1e-5)


def test_metrics_come_whole_and_by_family() -> None:
    split = loader(25)
    values = evaluate(right_below_ten, TASK, split, 8).metrics("test")
    assert values.keys() == {"test/loss", "test/primary", "test/accuracy", "test/accuracy/f0", "test/accuracy/f1"}
    assert values["test/primary"] == values["test/accuracy"]
    assert values["test/accuracy"] == pytest.approx(10 / 25)
    assert values["test/accuracy/f0"] == pytest.approx(5 / 13)
    assert values["test/accuracy/f1"] == pytest.approx(5 / 12)


@pytest.mark.parametrize("loss", ["cross_entropy", "binary"])
@pytest.mark.parametrize("batch", [1, 7, 100])
def test_an_answer_that_cannot_be_given_is_wrong_and_no_part_of_the_loss(loss: str, batch: int) -> None:
    task = QuestionAnswering(check_config(QuestionAnswering.Config, {"loss": loss}), width=2, answers=3)
    unknown = (1, 2, 20)
    evaluation = evaluate(right_below_ten, task, loader(25, unknown), batch)
    assert evaluation.scores["accuracy"].tolist() == [float(n < 10 and n not in unknown) for n in range(25)]
    assert evaluation.predictions is not None
    assert evaluation.predictions[1] == 1
    known, whole = (evaluate(right_below_ten, task, loader(10, given), 7) for given in ((3,), ()))
    assert known.loss == pytest.approx(whole.loss, rel=1e-6)  # all of these ten have the same loss


def test_an_interruption_may_come_between_batches() -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(right_below_ten, TASK, loader(5), 2, stop)
