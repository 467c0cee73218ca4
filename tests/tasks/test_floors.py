"""What a model scores that sees neither text nor image, for each task."""

import numpy as np
import pytest
import torch
from test_ranking import captions, every_pair, units

from mtlab.data.base import Example
from mtlab.statistics.learning import floor_metrics
from mtlab.tasks.entailment import Entailment
from mtlab.tasks.evaluation import Evaluation
from mtlab.tasks.pretraining import Pretraining
from mtlab.tasks.question_answering import QuestionAnswering
from mtlab.tasks.ranking.recall import RetrievalSplit, build_evaluation, rank_candidates
from mtlab.tasks.ranking.similarity import contrast_split
from mtlab.tasks.reasoning import Reasoning


def question(number: int, target: int, family: str, **more) -> Example:
    return Example(f"q{number}", "what?", f"image {number // 2}", target, family, **more)


ASKED = [
    *(question(number, target, "colour") for number, target in enumerate((2, 2, 1, 2))),
    *(question(4 + number, target, "count") for number, target in enumerate((0, -1, -1))),
]


@pytest.mark.parametrize("task", [QuestionAnswering, Entailment, Reasoning])
def test_the_blind_answer_is_the_most_frequent_of_the_family(task) -> None:
    assert task(task.Config(), width=4, answers=3).blind_answers(ASKED) == [2, 2, 2, 2, 0, 0, 0]


def test_of_soft_targets_it_is_the_one_with_the_highest_scores() -> None:
    task = QuestionAnswering(QuestionAnswering.Config(), width=4, answers=3)
    asked = [question(0, 0, "x", scores=((0, 1.0),)), question(1, 1, "x", scores=((1, 0.6), (2, 0.6)))]
    assert task.blind_answers([*asked, question(2, 2, "x", scores=((2, 0.9),))]) == [2, 2, 2]


def test_an_evaluation_tells_the_floor_overall_and_by_family() -> None:
    task = QuestionAnswering(QuestionAnswering.Config(), width=4, answers=3)
    targets = torch.tensor([example.target for example in ASKED])
    blind = torch.nn.functional.one_hot(torch.tensor(task.blind_answers(ASKED)), 3).float()
    scores = np.ones(7)
    found = Evaluation(
        loss=0.0,
        ids=[example.id for example in ASKED],
        families=[example.family for example in ASKED],
        clusters=[example.cluster for example in ASKED],
        scores={"accuracy": scores},
        blind_scores={"accuracy": task.outcome(blind, targets).scores["accuracy"].double().numpy()},
    ).floors("test")
    assert found["test/accuracy_floor"] == found["test/primary_floor"] == pytest.approx(4 / 7)
    assert found["test/accuracy_floor/colour"] == found["test/primary_floor/colour"] == 0.75
    assert found["test/accuracy_floor/count"] == pytest.approx(1 / 3)  # answers that cannot be given count as wrong
    assert found["test/accuracy_floor_error"] > 0


def test_tasks_that_answer_nothing_have_none() -> None:
    assert Pretraining.blind_answers is not QuestionAnswering.blind_answers
    assert Evaluation(0.0, ["a"], ["x"], ["a"], {"accuracy": np.ones(1)}).floors("val") == {}


def test_retrieval_by_chance_is_that_of_random_ranks() -> None:
    """Mean over 400 random rankings of 12 images with 1 to 3 captions: all six recalls, and the outcomes."""
    image_of = [0, 0, 0, 1, 1, *range(2, 12), 11]
    loader = captions(image_of)
    split = RetrievalSplit.of(loader)
    own = torch.tensor(split.image_of)
    losses = contrast_split(units(0, len(image_of)), units(1, 12), own, torch.tensor(0.1))
    drawn = []
    for seed in range(400):
        scores = torch.rand(12, len(image_of), generator=torch.Generator().manual_seed(seed))
        ranked = rank_candidates(*every_pair(scores), split.image_of, 12)
        found = build_evaluation(loader, split, ranked, ranked, losses)
        drawn.append({**found.metrics("test"), "outcome": found.scores["recall"]})
    floors = found.floors("test")
    for name in (
        "IR@1",
        "IR@5",
        "IR@10",
        "TR@1",
        "TR@5",
        "TR@10",
        "recall",
        "recall/text retrieval",
        "contrast_recall",
    ):
        expected = np.mean([each[f"test/{name}"] for each in drawn])
        assert floors[floor_metrics(f"test/{name}")[0]] == pytest.approx(expected, abs=0.02), name
    assert floor_metrics("test/IR@10")[1] not in floors, "with 12 images not even a recall of 1 is told from chance"
    assert floors[floor_metrics("test/IR@5")[1]] > 0
    outcomes = np.mean([each["outcome"] for each in drawn], 0)
    assert found.blind_scores["recall"] == pytest.approx(outcomes, abs=0.09)


def test_clusters_of_retrieval_are_images() -> None:
    loader = captions([0, 0, 1])
    split = RetrievalSplit.of(loader)
    ranked = rank_candidates(*every_pair(torch.rand(2, 3)), split.image_of, 2)
    found = build_evaluation(
        loader,
        split,
        ranked,
        ranked,
        contrast_split(units(0, 3), units(1, 2), torch.tensor([0, 0, 1]), torch.tensor(0.1)),
    )
    assert found.clusters == ["i0", "i0", "i1", "i1"]
