"""The published tasks: which data they take, what their heads are, and what they give beyond the golden tensors."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from mtlab.errors import UserError
from mtlab.model.encoder import noise_shapes
from mtlab.model.network import VisionLanguageModel
from mtlab.resolution.identity import class_versions
from mtlab.resolution.resolve import resolve
from mtlab.studies.budget.flops import count_cost
from mtlab.tasks import objectives
from mtlab.tasks.build import build
from mtlab.tasks.question_answering import QuestionAnswering
from mtlab.towers.base import Features, TowerShape
from mtlab.training.init_from import enlarge

TEXT = TowerShape((12, 12), (3, 4), 4, 7, class_token=True, positions=True, vocabulary=30)
VISION = TowerShape((8, 8), (1, 2), 2, 5, class_token=True, positions=True)


def config(task: dict[str, Any]) -> dict[str, Any]:
    return {"manager": {"name": "static"}, "model": {"width": 16, "cross_layers": 1, "mlp_ratio": 1}, "task": task}


def model(name: str, **options: Any) -> VisionLanguageModel:
    return build(config({"name": name, **options}), TEXT, VISION, answers=3).eval()


def features(shape: TowerShape, batch: int, seed: int = 0) -> Features:
    draw = torch.Generator().manual_seed(seed)
    return Features(tuple(torch.randn(batch, shape.tokens, width, generator=draw) for width in shape.widths))


def written(task: Any, data: str, **more: Any) -> dict[str, Any]:
    towers = {"text": {"name": "tiny_text"}, "vision": {"name": "tiny_vision"}}
    return towers | {"task": task, "data": {"name": data}} | more


@pytest.mark.parametrize(
    ("task", "data", "told"),
    [
        ("pretraining", "shapes", "task.name: data set 'shapes' has no captions, which 'pretraining' is trained on"),
        ("retrieval", "shapes", "task.name: data set 'shapes' has no captions, which 'retrieval' is trained on"),
        ("reasoning", "shapes", "task.name: data set 'shapes' has no pairs of images, which 'reasoning'"),
        ("question_answering", "captions4m", "task.name: data set 'captions4m' has no answers"),
        ("entailment", "shapes", r"task.name: 'entailment' has 3 answers \(contradiction, neutral, entailment\)"),
        (
            {"name": "pretraining", "objectives": ["itc"]},
            "captions4m",
            "task.objectives: trains nothing but the towers",
        ),
        ({"name": "pretraining", "objectives": ["itm", "itm_itc"]}, "captions4m", "task.objectives: itm_itc is both"),
        ({"name": "pretraining", "objectives": ["mlm", "itn"]}, "captions4m", "task.objectives: 'itn' is not one of"),
    ],
)
def test_what_does_not_go_together_is_refused_at_plan_time(task: Any, data: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        resolve(written(task, data))


@pytest.mark.parametrize(
    ("task", "data", "head"),
    [
        ("entailment", "snli_ve", 128 * 128 + 128 + 2 * 128 + 128 * 3 + 3),
        ("reasoning", "nlvr2", 256 * 128 + 128 + 2 * 128 + 128 * 2 + 2),
        ("pretraining", "captions4m", 64 * 64 + 64 + 2 * 64 + 64 * 512 + 512 + 128 * 2 + 2),
        ({"name": "pretraining", "objectives": ["itm_itc"]}, "captions4m", 128 * 2 + 2 + 2 * (32 * 256 + 256) + 1),
        ("retrieval", "flickr30k", 128 * 2 + 2 + 2 * (32 * 256 + 256) + 1),
    ],
)
def test_heads_are_counted(task: Any, data: str, head: int) -> None:
    metrics = {"metrics": {"choose": "val/recall"}} if task == "retrieval" else {}
    resolved = resolve(written(task, data, **metrics))
    assert count_cost(resolved, answers=2 if data == "nlvr2" else 3).params["head"] == head


def test_ids_of_retrieval_in_bf16_say_how_pairs_are_matched() -> None:
    found = []
    for precision in ("fp32", "bf16", "bf16_weights"):
        given = written("retrieval", "captions4m", metrics={"choose": "val/recall"}, train={"precision": precision})
        found.append(class_versions(resolve(given)).get("train:precision"))
    assert found == [None, 2, 3]


def test_a_pair_costs_twice_one_picture() -> None:
    one, two = (
        count_cost(resolve(written(task, data)), answers=3).flops_forward
        for task, data in (("entailment", "snli_ve"), ("reasoning", "nlvr2"))
    )
    assert 1.9 < two.trained / one.trained < 2.1


@pytest.mark.parametrize(
    "options", [{"objectives": ["mlm"]}, {"objectives": ["itm"]}, {"objectives": ["mlm", "itm_itc"]}]
)
def test_pretraining_answers_by_its_first_fused_head(options: dict[str, Any]) -> None:
    logits = model("pretraining", **options)(features(TEXT, 2), features(VISION, 2)).logits
    assert logits.shape == ((2, 7, 30) if options["objectives"] == ["mlm"] else (2, 2))


def test_masked_words_need_a_vocabulary() -> None:
    blind = TowerShape((12,), (1,), 1, 7, class_token=True, positions=True)
    with pytest.raises(UserError, match=r"task\.objectives: mlm needs a text tower with a vocabulary"):
        build(config({"name": "pretraining"}), blind, VISION, answers=2)


class TestReasoning:
    def test_both_pictures_are_seen_each_by_its_own_type(self) -> None:
        whole = model("reasoning")
        text, first, second = features(TEXT, 2), features(VISION, 2, 1), features(VISION, 2, 2)
        types = whole.encoder.image.embeddings.token_type.weight
        assert torch.equal(types[0], types[1]), "a second picture starts as the first"

        def asked(*images: Features) -> Tensor:
            levels = zip(*(image.levels for image in images), strict=True)
            return whole(text, Features(tuple(torch.cat(level) for level in levels))).logits

        plain = asked(first, second)
        assert plain.shape == (2, 3)
        assert not torch.allclose(plain, asked(second, first))
        with torch.no_grad():
            types[1] += torch.arange(16.0)  # not alike in all dimensions, which a norm would undo
        assert not torch.allclose(plain, asked(first, second))

    def test_noise_is_drawn_for_each_image(self) -> None:
        whole = build(
            config({"name": "reasoning"}) | {"manager": {"name": "static", "noise": 1.0}}, TEXT, VISION, answers=2
        ).eval()
        text, images = features(TEXT, 2), features(VISION, 4)
        shapes = noise_shapes(whole.encoder, text, images)
        assert {shape[0] for shape in shapes.values()} == {4}
        noise = {key: torch.zeros(shape) for key, shape in shapes.items()}
        quiet = whole(text, images).logits
        assert torch.equal(whole(text, images, noise=noise).logits, quiet)
        noise["image", 0][3, 0] = 5.0  # the second example's second image
        changed = (whole(text, images, noise=noise).logits != quiet).any(1)
        assert changed.tolist() == [False, True]


class TestGate:
    def test_plan_refuses_what_it_cannot_mix(self) -> None:
        for vision in ({"layers": "top1"}, {"name": "efficientnet_lite0"}):
            node = {"name": "tiny_vision", "gate": True} | vision
            with pytest.raises(UserError, match=r"vision\.gate: needs at least two offered levels, all of one width"):
                resolve(written("question_answering", "shapes") | {"vision": node})

    def test_a_default_that_is_given_changes_no_id(self) -> None:
        from mtlab.resolution.identity import cell_identity

        plain = cell_identity(resolve(written("question_answering", "shapes")))
        explicit = written({"name": "question_answering", "loss": "cross_entropy"}, "shapes")
        explicit["text"] = {"name": "tiny_text", "gate": False}
        assert cell_identity(resolve(explicit)).cell == plain.cell
        explicit["text"] = {"name": "tiny_text", "gate": True}
        assert cell_identity(resolve(explicit)).cell != plain.cell


class TestObjectives:
    def test_binary_loss_takes_right_answers_or_scores(self) -> None:
        task = QuestionAnswering(QuestionAnswering.Config(loss="binary"), width=8, answers=4)
        hard = task.loss(torch.zeros(6, 4), torch.arange(6) % 4)
        assert hard.item() == pytest.approx(4 * math.log(2))
        scores = torch.tensor([[0.3, 0.9, 0.0, 0.0]])
        outcome = task.outcome(torch.tensor([[0.0, 2.0, 1.0, 0.0]]), scores)
        assert outcome.scores["accuracy"].tolist() == pytest.approx([0.9])

    def test_the_temperature_is_put_back_and_keeps_its_gradient(self) -> None:
        head = model("retrieval").task.itc
        head.temperature.data.fill_(0.9)
        head.clamped().backward()
        assert head.temperature.item() == 0.5
        assert head.temperature.grad == 1.0

    def test_drawn_negatives_are_no_positives_unless_nothing_else_is_left(self) -> None:
        positives = torch.eye(5, dtype=torch.bool)
        weights = objectives.negative_weights(torch.randn(5, 5, generator=torch.Generator().manual_seed(0)), positives)
        for seed in range(20):
            drawn = objectives.draw_negatives(weights, torch.Generator().manual_seed(seed))
            assert not positives[torch.arange(5), drawn].any()
        assert objectives.draw_negatives(torch.zeros(2, 2)).shape == (2,)

    def test_negatives_are_drawn_when_training_has_diverged(self) -> None:
        """The loss, which is no number, then ends the run with a message of its own."""
        weights = objectives.negative_weights(torch.full((3, 3), torch.nan), torch.eye(3, dtype=torch.bool))
        assert objectives.draw_negatives(weights).max() < 3


def test_a_checkpoint_grows_with_the_model() -> None:
    name = "encoder.image.embeddings.token_type.weight"
    assert torch.equal(enlarge(name, torch.ones(1, 4), torch.zeros(2, 4)), torch.ones(2, 4))
    positions = torch.randn(1, 1 + 4, 6)
    grown = enlarge("towers.vision.network.pos_embed", positions, torch.zeros(1, 1 + 9, 6))
    assert grown.shape == (1, 10, 6)
    assert torch.equal(grown[:, 0], positions[:, 0])
    other = torch.zeros(3, 4)
    assert enlarge("encoder.text.pooler.linear.weight", other, torch.zeros(5, 4)) is other
