"""Ranking: candidates, ranks, what an outcome is, and how much is held at once."""

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from mtlab.data.base import Example
from mtlab.data.batches import Loader
from mtlab.files import DiskError
from mtlab.managers.base import Experts
from mtlab.tasks.heads import MatchingHead
from mtlab.tasks.ranking import recall, scratch_file
from mtlab.tasks.ranking.recall import (
    IMAGES,
    NO_RANK,
    TEXTS,
    CandidatePairs,
    RetrievalSplit,
    SearchResult,
    build_evaluation,
    candidates,
    rank_candidates,
    recalls,
)
from mtlab.tasks.ranking.scratch_file import ScratchFile
from mtlab.tasks.ranking.similarity import contrast_split, topk_neighbours
from mtlab.towers.base import Features
from mtlab.training.failures import classify

CPU = torch.device("cpu")


class Nothing:
    def fetch(self, keys: Sequence[str]) -> Features:
        raise AssertionError(f"{keys} are read")


def captions(image_of: Sequence[int]) -> Loader:
    examples = [Example(f"t{text}", f"text {text}", f"i{image}", -1, "") for text, image in enumerate(image_of)]
    return Loader(examples, Nothing(), Nothing())


def units(seed: int, count: int, width: int = 5) -> torch.Tensor:
    drawn = torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(drawn, dim=1)


def every_pair(scores: torch.Tensor) -> tuple[CandidatePairs, np.ndarray]:
    """Make all pairs of images and texts candidates, scored by [I, T]."""
    images, texts = np.indices(scores.shape).reshape(2, -1)
    return CandidatePairs(images, texts), scores.double().numpy().ravel()


def test_pairs_that_differ_by_less_than_bf16_can_tell_are_ranked() -> None:
    head = MatchingHead(8)
    pooled = torch.linspace(1, 1.001, 100)[:, None] * torch.ones(16)
    with torch.autocast("cpu", torch.bfloat16):
        assert len(head(pooled)[:, 1].unique()) > 90


def test_candidates_are_the_nearest_of_images_and_of_texts_each_pair_once() -> None:
    text, image = units(0, 12), units(1, 5)
    found = candidates(text, image, 2)
    pairs = set(zip(found.images.tolist(), found.texts.tolist(), strict=True))
    assert len(pairs) == len(found.images)
    similarity = image @ text.T
    expected = {(i, t) for i in range(5) for t in similarity[i].topk(2).indices.tolist()}
    expected |= {(i, t) for t in range(12) for i in similarity[:, t].topk(2).indices.tolist()}
    assert pairs == expected


@pytest.mark.parametrize("cells", [1, 7, 2**24])
def test_the_contrast_of_a_split_is_that_of_a_batch_however_it_is_cut(
    cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mtlab.tasks import objectives
    from mtlab.tasks.ranking import similarity

    monkeypatch.setattr(similarity, "CELLS", cells)
    text, image, own = units(0, 4), units(1, 4), torch.arange(4)
    found = contrast_split(text, image, own, torch.tensor(0.07))
    batch = objectives.similarities(text, image, torch.tensor(0.07))
    assert found.loss == pytest.approx(float(objectives.contrastive(batch)), rel=1e-5)
    several = contrast_split(torch.cat([text, text]), image, torch.cat([own, own]), torch.tensor(0.07))
    assert several.of_texts[:4].tolist() == pytest.approx(found.of_texts.tolist(), rel=1e-5)
    assert torch.equal(topk_neighbours(text, image, 2), (text @ image.T).topk(2).indices)


def test_the_contrast_scores_its_candidates_however_many_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    text, image = units(0, 12), units(1, 5)
    pairs = candidates(text, image, 3)
    monkeypatch.setattr(recall, "BLOCK_PAIRS", 7)
    found = SearchResult(text, image, pairs, np.zeros(len(pairs.images))).similarities()
    assert found == pytest.approx((image @ text.T)[pairs.images, pairs.texts].numpy())


def test_ranks_count_the_first_of_equals_and_what_is_no_candidate() -> None:
    image_of = np.array([0, 0, 1])
    pairs, scores = every_pair(torch.tensor([[3.0, 2.0, 3.0], [3.0, 2.5, 1.0]]))
    found = rank_candidates(pairs, scores, image_of, 2)
    assert found.of_texts.tolist() == [1, 2, 2]  # of equal scores the image of smaller number comes first
    assert found.of_images.tolist() == [1, 3]
    assert found.first_of_texts.tolist() == [0, 1, 0]
    assert found.first_of_images.tolist() == [0, 0]
    few = CandidatePairs(np.array([0, 1, 1]), np.array([2, 0, 1]))
    lost = rank_candidates(few, np.array([1.0, 1.0, 1.0]), image_of, 2)
    assert lost.of_texts.tolist() == [NO_RANK] * 3
    assert lost.of_images.tolist() == [NO_RANK] * 2


def test_the_means_of_outcomes_are_the_recalls_though_pictures_have_unequal_numbers_of_captions() -> None:
    image_of = np.array([0, 0, 0, 1, 2, 2, *range(3, 20)])
    loader = captions(image_of.tolist())
    split = RetrievalSplit.of(loader)
    pairs, scores = every_pair(torch.randn(20, len(image_of), generator=torch.Generator().manual_seed(3)))
    found = rank_candidates(pairs, scores, image_of, 20)
    losses = contrast_split(units(0, len(image_of)), units(1, 20), torch.from_numpy(image_of), torch.tensor(0.1))
    reverse = rank_candidates(pairs, -scores, image_of, 20)
    evaluation = build_evaluation(loader, split, found, reverse, losses)
    values = evaluation.metrics("test")
    by_way = {way: np.mean([values[f"test/{way}@{rank}"] for rank in (1, 5, 10)]) for way in ("IR", "TR")}
    assert values[f"test/recall/{IMAGES}"] == pytest.approx(by_way["IR"])
    assert values[f"test/recall/{TEXTS}"] == pytest.approx(by_way["TR"])
    assert values["test/recall"] == pytest.approx((by_way["IR"] + by_way["TR"]) / 2)
    assert values["test/contrast_recall"] == pytest.approx(np.mean(list(recalls(reverse).values())))
    assert evaluation.ids == [f"i{image}" for image in range(20) for _ in range(2)], "a picture is one replicate"
    assert evaluation.table is not None
    assert len(evaluation.table["id"]) == len(image_of) + 20
    assert evaluation.answer_texts is not None
    assert len(evaluation.answer_texts) == len(image_of)


class TestScratchFile:
    def test_what_is_kept_comes_back(self, tmp_path: Path) -> None:
        draw = torch.Generator().manual_seed(0)
        mask = torch.tensor([[True, True, False], [True, True, True]])
        given = (
            Experts(torch.randn(2, 4, 3, 5, generator=draw), mask),
            Experts(torch.randn(1, 4, 2, 5, generator=draw), torch.ones(1, 2, dtype=torch.bool)),
        )
        with ScratchFile(3, tmp_path) as kept:
            kept.add([2, 0], given[0])
            kept.add([1], given[1])
            back = kept.read([1, 2], CPU)
            assert back.mask is not None
            assert back.mask.tolist() == [[True, True, False], [True, True, False]]
            assert torch.equal(back.states[1], given[0].states[0])
            assert torch.equal(back.states[0, :, :2], given[1].states[0])
            assert not back.states[0, :, 2].any()
            half = Experts(given[0].states.bfloat16())
        with ScratchFile(2, tmp_path) as kept:
            kept.add([0, 1], half)
            again = kept.read([1, 0], CPU)
            assert again.mask is None
            assert torch.equal(again.states, half.states.flip(0))

    def test_the_file_has_no_name_and_goes_when_it_is_closed(self, tmp_path: Path) -> None:
        with ScratchFile(1, tmp_path) as kept:
            kept.add([0], Experts(torch.zeros(1, 1, 1, 1)))
            assert not list(kept.folder.iterdir())
        with pytest.raises(ValueError, match="closed"):
            kept.read([0], CPU)

    def test_too_small_a_disk_is_told_before_it_is_full(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with ScratchFile(10**9, tmp_path) as kept, pytest.raises(DiskError, match="GB of scratch space") as caught:
            kept.add([0], Experts(torch.zeros(1, 6, 577, 768)))
        assert "MTLAB_CACHE" in str(caught.value)
        monkeypatch.setattr(scratch_file, "RESERVE", 2**60)
        with ScratchFile(1, tmp_path) as kept, pytest.raises(DiskError, match="scratch space"):
            kept.add([0], Experts(torch.zeros(1, 1, 1, 1)))

    def test_room_is_asked_for_again_where_later_items_are_longer(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        free = shutil.disk_usage(tmp_path)._replace(free=scratch_file.RESERVE + 100)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
        with ScratchFile(5, tmp_path) as kept:
            kept.add([0], Experts(torch.zeros(1, 1, 2, 2)))
            with pytest.raises(DiskError, match="scratch space"):
                kept.add([1], Experts(torch.zeros(1, 1, 4, 2)))

    def test_a_disk_that_is_full_stops_a_study_as_any_other_does(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "pwrite", full)
        with ScratchFile(1, tmp_path) as kept, pytest.raises(DiskError, match="the disk is full") as told:
            kept.add([0], Experts(torch.zeros(1, 1, 1, 1)))
        assert classify(told.value) == "disk"
