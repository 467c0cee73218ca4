"""Answers that are right to some degree: targets, losses, and how far people agree."""

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from mtlab.data.base import Example
from mtlab.data.batches import BatchOptions, Loader
from mtlab.data.converters.vqa_answers import normalise
from mtlab.distributed.process_group import SINGLE_PROCESS
from mtlab.tasks import objectives
from mtlab.tasks.answers.vqa_accuracy import vqa_accuracy
from mtlab.tasks.question_answering import QuestionAnswering
from mtlab.towers.base import Features

ANSWERS = ("red", "blue", "2", "green")


class Blank:
    def fetch(self, keys: Sequence[str]) -> Features:
        return Features((torch.zeros(len(keys), 1, 1),))


def by_hand(answer: str, people: Sequence[str]) -> float:
    """The definition: the mean over all ways to leave out one of ten."""
    given = [normalise(each) for each in people]
    parts = []
    for chosen in itertools.combinations(range(len(given)), len(given) - 1):
        agreeing = sum(given[one] == normalise(answer) for one in chosen)
        parts.append(min(1.0, agreeing / 3))
    return float(np.mean(parts))


@pytest.mark.parametrize("agreeing", range(11))
def test_consensus_is_the_ten_choose_nine_accuracy(agreeing: int) -> None:
    people = [*["Two."] * agreeing, *["three"] * (10 - agreeing)]
    assert vqa_accuracy("2", people) == pytest.approx(by_hand("2", people))
    assert vqa_accuracy("2", people) == pytest.approx((0, 0.3, 0.6, 0.9, 1)[min(agreeing, 4)])


def test_consensus_normalises_both_sides() -> None:
    people = ["a Dog!", "dog", "the dog", *["cat"] * 7]
    assert vqa_accuracy("dog", people) == pytest.approx(0.9)
    assert vqa_accuracy("A dog", people) == pytest.approx(0.9)
    assert vqa_accuracy("bird", people) == 0.0


def test_scores_are_targets() -> None:
    examples = [
        Example("a", "?", "i", 0, "x", scores=((0, 1.0), (3, 0.3))),
        Example("b", "?", "i", -1, "x"),
        Example("c", "?", "i", 2, "x", scores=((2, 0.6),)),
    ]
    loader = Loader(examples, Blank(), Blank(), BatchOptions(answers=ANSWERS))
    targets = loader.batch([2, 0, 1]).targets
    assert targets.tolist() == [
        pytest.approx([0, 0, 0.6, 0]),
        pytest.approx([1, 0, 0, 0.3]),
        pytest.approx([0, 0, 0, 0]),
    ]


@pytest.mark.parametrize("loss", ["binary", "cross_entropy"])
def test_losses_of_scores(loss: str) -> None:
    task = QuestionAnswering(QuestionAnswering.Config(loss=loss), width=2, answers=4)  # type: ignore[arg-type]
    logits = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    targets = torch.tensor([[1.0, 0.3, 0, 0], [0, 0, 0.9, 0.9], [0, 0, 0, 0]])
    found = task.loss(logits, targets).item()
    if loss == "binary":
        likely = logits.sigmoid()
        expected = -(targets * likely.log() + (1 - targets) * (1 - likely).log()).sum(1).mean()
    else:
        shares = torch.tensor([[1 / 1.3, 0.3 / 1.3, 0, 0], [0, 0, 0.5, 0.5], [0, 0, 0, 0]])
        expected = -(shares * logits.log_softmax(1)).sum(1).mean()
    assert found == pytest.approx(expected.item(), rel=1e-6)
    assert torch.equal(objectives.shares(torch.tensor([1, 2])), torch.tensor([1, 2]))


def test_accuracy_is_the_official_one_and_score_looks_targets_up() -> None:
    """The second question's answer is no target (nobody of ten said it in the vocabulary), the third has no people."""
    people = (*["red"] * 2, *["a Red."] * 3, *["blue"] * 5)
    examples = [
        Example("0", "?", "i", 0, "x", scores=((0, 0.6), (1, 1.0)), annotators=people),
        Example("1", "?", "i", -1, "x", annotators=("purple",) * 10),
        Example("2", "?", "i", 2, "x", scores=((2, 0.3),)),
    ]
    loader = Loader(examples, Blank(), Blank(), BatchOptions(answers=ANSWERS))
    task = QuestionAnswering(QuestionAnswering.Config(loss="binary"), width=2, answers=4)

    class Scripted:
        device = torch.device("cpu")
        group = SINGLE_PROCESS

        def answer(self, batch: object) -> torch.Tensor:
            rows = batch.rows  # type: ignore[attr-defined]
            return torch.nn.functional.one_hot(torch.tensor([(0, 3, 2)[row] for row in rows]), 4).float()

    evaluation = task.evaluate(Scripted(), loader, 2, lambda: None)  # type: ignore[arg-type]
    assert evaluation.primary == "accuracy"
    assert evaluation.scores["accuracy"].tolist() == pytest.approx([1.0, 0.0, 0.3])
    assert evaluation.scores["score"].tolist() == pytest.approx([0.6, 0.0, 0.3])
    assert evaluation.answers_in_words(1, ANSWERS) == ("none of the answers", "green")
