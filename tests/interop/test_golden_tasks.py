"""The losses that tasks are trained by and the ranks that they are judged by, against the authors' own numbers.

`test_verify` compares what models give; here the paths of training and of evaluation themselves are taken.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bundles import ROOTS
from safetensors.torch import load_file
from torch import Tensor

from mtlab.data.base import Example
from mtlab.data.batches import Batch, Loader, MatchingPairs
from mtlab.data.masking import MaskedTexts
from mtlab.interop.bundle import Bundle, read_bundle, rebuild
from mtlab.model.forward import ForwardContext, RandomKey, Runtime
from mtlab.model.network import VisionLanguageModel
from mtlab.tasks import objectives
from mtlab.tasks.evaluation import evaluate
from mtlab.tasks.ranking import recall

GOLDEN = ROOTS[0]
NAMES = ("bt", "mt_aaue_vector", "mt_saue_scalar")
UNRANKED = -100.0  #: in their matrices: no candidate


def passes(model: VisionLanguageModel) -> ForwardContext:
    return ForwardContext(model, Runtime(torch.device("cpu")))


def whole(bundle: Bundle, **extras: Any) -> Batch:
    """Make the bundle's inputs one batch of pairs."""
    given = (bundle.ids, bundle.mask), (bundle.images,)
    return Batch(tuple(range(len(bundle.ids))), *given, torch.full((len(bundle.ids),), -1), **extras)


def losses(bundle: Bundle, task: str, objective: dict[str, float], batch: Batch) -> dict[str, float]:
    """Compute a task's losses as training does, but for noise and dropout, which the goldens are without."""
    with rebuild(bundle) as ours:
        model = ours.model(task)
    if objective:
        # A copy: models of one configuration share their options.
        model.task.config = dataclasses.replace(model.task.config)
        object.__setattr__(model.task.config, "objectives", objective)
    for _, manager in model.encoder.managers():
        manager.noise_scale = 0.0
    context = ForwardContext(model, Runtime(torch.device("cpu")), RandomKey(0, 0, 0))
    return {name: float(loss) for name, loss in model.task.losses(context, batch).items()}


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_masked_words_and_matching(name: str) -> None:
    bundle = read_bundle(GOLDEN / name)
    io = bundle.io
    labels = io["mlm/labels"]
    places = (labels.flatten() != objectives.IGNORED).nonzero().squeeze(1)
    masked = MaskedTexts((io["mlm/text_ids"], bundle.mask), places, labels.flatten()[places])
    matches = io["itm/labels"]
    wrong = (matches == 0).nonzero().squeeze(1)
    shown = torch.arange(len(matches))
    shown[wrong] = len(matches) + torch.arange(len(wrong))
    matching = MatchingPairs((io["itm/false_images"][wrong],), shown, matches)
    batch = whole(bundle, masked=masked, matching=matching, image_ids=torch.arange(len(bundle.ids)))
    found = losses(bundle, "pretraining", {"mlm": 1.0, "itm": 1.0}, batch)
    assert found["mlm"] == pytest.approx(float(io["loss/mlm"]), abs=1e-5)
    assert found["itm"] == pytest.approx(float(io["loss/itm"]), abs=1e-5)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("kind", "task"), [("itm_itc", "pretraining"), ("irtr_itm_itc", "retrieval")])
@torch.no_grad()
def test_hard_negatives(name: str, kind: str, task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = read_bundle(GOLDEN / name)
    io = bundle.io
    weights: list[Tensor] = []
    chosen = [io[f"{kind}/neg_image_idx"], io[f"{kind}/neg_text_idx"]]  # the order in which they are drawn

    def draw(given: Tensor, generator: torch.Generator | None = None) -> Tensor:
        assert generator is not None, "a draw that cannot be repeated"
        weights.append(given)
        return chosen.pop(0)

    monkeypatch.setattr(objectives, "draw_negatives", draw)
    identities = io["irtr_itm_itc/img_index"] if task == "retrieval" else torch.arange(len(bundle.ids))
    objective = {"itm_itc": 1.0} if task == "pretraining" else {}
    found = losses(bundle, task, objective, whole(bundle, image_ids=identities))
    assert found["itc"] == pytest.approx(float(io[f"loss/{kind}.itc"]), abs=1e-5)
    assert found["itm"] == pytest.approx(float(io[f"loss/{kind}.itm"]), abs=1e-5)
    for own, theirs in zip(weights, ("weights_t2i", "weights_i2t"), strict=True):
        torch.testing.assert_close(own, io[f"{kind}/{theirs}"], atol=1e-5, rtol=1e-5)


class Rows:
    """A source of prepared inputs by row."""

    def __init__(self, *tensors: Tensor) -> None:
        self.tensors = tensors
        self.asked: list[str] = []

    def fetch(self, keys: Sequence[str]) -> tuple[Tensor, ...]:
        self.asked += keys
        rows = torch.tensor([int(key) for key in keys])
        return tuple(tensor[rows] for tensor in self.tensors)


RANKED = {path.stem: root for root in reversed(ROOTS) for path in sorted((root / "retrieval").glob("*.json"))}
BLOCKS = {"one block": 2**28, "blocks": 40_000}


@pytest.mark.parametrize(
    ("root", "name", "block"),
    [
        *(
            pytest.param(root, name, block, id=f"{name}, {label}")
            for name, root in RANKED.items()
            for label, block in BLOCKS.items()
        ),
        pytest.param(GOLDEN, "mt_aaue_vector", 1, id="mt_aaue_vector, one at a time", marks=pytest.mark.slow),
    ],
)
@torch.no_grad()
def test_retrieval_ranks_as_published(root: Path, name: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recall, "BLOCK_BYTES", block)
    given = load_file(root / "retrieval" / "inputs.safetensors")
    theirs = load_file(root / "retrieval" / f"{name}.safetensors")
    told = json.loads((root / "retrieval" / f"{name}.json").read_text())
    with rebuild(read_bundle(root / name)) as ours:
        model = ours.model("retrieval")
    task: Any = model.task
    image_of = given["in/text_image_index"]
    examples = [Example(str(row), str(row), str(image), -1, "") for row, image in enumerate(image_of.tolist())]
    texts, images = Rows(given["in/text_ids"], given["in/text_masks"].bool()), Rows(given["in/images"])
    loader = Loader(examples, texts, images)
    split = recall.RetrievalSplit.of(loader)
    assert split.image_of.tolist() == image_of.tolist(), "the goldens number images as they first occur"

    def between() -> None:
        pass

    found = recall.search(passes(model), task.itc, task.itm, loader, split, told["k_test"], 10, between)
    assert sorted(texts.asked) == sorted(str(row) for row in range(len(examples))), "each text is read once"
    assert sorted(images.asked) == sorted(split.images), "each image is read once"
    own = np.full((len(split.images), len(examples)), UNRANKED)
    own[found.pairs.images, found.pairs.texts] = found.scores
    both = torch.maximum(theirs["out/img_scores"], theirs["out/txt_scores"])
    torch.testing.assert_close(torch.from_numpy(own).float(), both, atol=1e-5, rtol=1e-5)

    object.__setattr__(task.config, "candidates", told["k_test"])
    judged = evaluate(passes(model), loader, 10).metrics("test")
    names = {"IR": "ir", "TR": "tr"}
    for way, short in names.items():
        for rank in (1, 5, 10):
            assert judged[f"test/{way}@{rank}"] == pytest.approx(told["recalls"][f"{short}_r{rank}"])
    assert judged["test/recall"] == judged["test/primary"] == pytest.approx(told["recalls"]["r_mean"])
    assert judged["test/recall/image retrieval"] == pytest.approx(told["recalls"]["ir_mean"])
    assert judged["test/recall/text retrieval"] == pytest.approx(told["recalls"]["tr_mean"])
