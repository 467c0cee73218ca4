"""Recall of retrieval: captions ranked for images and images for captions.

Each image and each caption is encoded once. The contrast of the towers finds candidates; matching scores these pairs
alone, block by block, with the experts of all others on disk: memory does not grow with the split, but for a few
numbers per image, caption and pair. Source: ALBEF (NeurIPS 2021), BridgeTower, ManagerTower.

Shapes: I images, T texts, d width of the contrastive space, P pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtlab.data.batches import Loader
from mtlab.data.inputs import TowerInputs, to_device
from mtlab.managers.base import Modality
from mtlab.model.forward import ForwardContext
from mtlab.model.layers import to_full_precision
from mtlab.statistics.learning import ERRORS, Floor
from mtlab.tasks.evaluation import Evaluation, Floats
from mtlab.tasks.heads import TEMPERATURES, ContrastiveHead, MatchingHead
from mtlab.tasks.ranking.scratch_file import ScratchFile
from mtlab.tasks.ranking.similarity import SplitContrast, contrast_split, topk_neighbours

Numbers = NDArray[np.int64]

RANKS = (1, 5, 10)  #: how many of the first count
RECALLS = tuple(f"{way}@{rank}" for way in ("IR", "TR") for rank in RANKS)
BY_CONTRAST = "contrast_recall"  #: the mean of `RECALLS` if candidates are ranked by the contrast alone
IMAGES, TEXTS = "image retrieval", "text retrieval"  #: families of outcomes: the image of a text, the texts of an image
BLOCK_BYTES = 2**28  #: of experts that are held at once, of images and of texts
BLOCK_PAIRS = 2**16  #: whose unit vectors are held at once
NO_RANK = np.iinfo(np.int64).max  #: rank of what is no candidate


@dataclass(frozen=True)
class RetrievalSplit:
    """Images and captions, by number: images as they first occur."""

    images: tuple[str, ...]  #: their keys
    texts: tuple[str, ...]
    image_of: Numbers  #: of each text, [T]

    @classmethod
    def of(cls, loader: Loader) -> RetrievalSplit:
        """Read the images and captions of a loader: each example is a caption."""
        numbers: dict[str, int] = {}
        image_of = [numbers.setdefault(example.image, len(numbers)) for example in loader.examples]
        texts = tuple(example.text for example in loader.examples)
        return cls(tuple(numbers), texts, np.array(image_of, np.int64))


@dataclass(frozen=True)
class CandidatePairs:
    """The candidates, each once."""

    images: Numbers  #: [P]
    texts: Numbers  #: [P]


@dataclass(frozen=True)
class SearchResult:
    """Candidate pairs and their scores."""

    texts: Tensor  #: unit vectors of the contrast, [T, d]
    images: Tensor  #: [I, d]
    pairs: CandidatePairs
    scores: Floats  #: of the pairs, by matching: the logit of "they belong together", [P]

    def similarities(self) -> Floats:
        """Return the similarity of each pair by the contrast, [P]."""
        images, texts = (torch.from_numpy(each).to(self.texts.device) for each in (self.pairs.images, self.pairs.texts))
        blocks = zip(images.split(BLOCK_PAIRS), texts.split(BLOCK_PAIRS), strict=True)
        found = [(self.images[image] * self.texts[text]).sum(1) for image, text in blocks]
        return torch.cat(found).double().cpu().numpy()


@dataclass(frozen=True)
class Ranked:
    """Ranks of the right ones, from 1; `NO_RANK` if they are no candidates."""

    of_texts: Numbers  #: rank of each text's image, [T]
    of_images: Numbers  #: rank of the first of each image's texts, [I]
    first_of_texts: Numbers  #: image that came first for each text, [T]
    first_of_images: Numbers  #: text that came first for each image, [I]


def evaluate(
    context: ForwardContext,
    contrast: ContrastiveHead,
    match: MatchingHead,
    loader: Loader,
    count: int,
    batch: int,
    between: Callable[[], None],
) -> Evaluation:
    """Rank a whole split.

    Args:
        context: the model, and how it is run.
        contrast: finds candidates.
        match: ranks them, by its logit of "they belong together".
        loader: the split.
        count: candidates of each image, and of each text.
        batch: examples in one forward pass.
        between: called before each (an interruption may raise from here).

    """
    split = RetrievalSplit.of(loader)
    result = search(context, contrast, match, loader, split, count, batch, between)
    own = torch.from_numpy(split.image_of).to(context.device)
    losses = contrast_split(result.texts, result.images, own, contrast.temperature.clamp(*TEMPERATURES))
    ranked, by_contrast = (
        rank_candidates(result.pairs, scores, split.image_of, len(split.images))
        for scores in (result.scores, result.similarities())
    )
    return build_evaluation(loader, split, ranked, by_contrast, losses)


def search(
    context: ForwardContext,
    contrast: ContrastiveHead,
    match: MatchingHead,
    loader: Loader,
    split: RetrievalSplit,
    count: int,
    batch: int,
    between: Callable[[], None],
) -> SearchResult:
    """Find candidates and score them; arguments as of `evaluate`."""
    with ScratchFile(len(split.texts)) as texts, ScratchFile(len(split.images)) as images:
        by_length = sorted(range(len(split.texts)), key=lambda row: (len(split.texts[row]), row))
        words = [split.texts[row] for row in by_length]
        text = _encode(context, "text", words, by_length, loader.text.fetch, contrast, texts, batch, between)
        rows = range(len(split.images))
        image = _encode(context, "image", split.images, rows, loader.image.fetch, contrast, images, batch, between)
        context.group.broadcast([text, image])  # or the last bit of a similarity might give processes other candidates
        pairs = candidates(text, image, count)
        return SearchResult(text, image, pairs, _match(context, match, pairs, texts, images, batch, between))


def _encode(
    context: ForwardContext,
    modality: Modality,
    keys: Sequence[str],
    numbers: Sequence[int],
    fetch: Callable[[Sequence[str]], TowerInputs],
    contrast: ContrastiveHead,
    scratch: ScratchFile,
    batch: int,
    between: Callable[[], None],
) -> Tensor:
    """Encode each text or image once: store its experts, and return its unit vector by number, [·, d]."""
    units: Tensor | None = None  # written in place: concatenating batches would take their memory twice more
    for at in range(0, len(keys), batch):
        between()
        inputs = to_device(fetch(keys[at : at + batch]), context.device)
        features = context.features("text" if modality == "text" else "vision", inputs)
        with context.autocast():
            unit = contrast.of_texts(features) if modality == "text" else contrast.of_images(features)
        unit = to_full_precision(unit)
        if units is None:
            units = unit.new_empty(len(keys), unit.shape[1])
        rows = numbers[at : at + batch]
        units[torch.tensor(rows, device=unit.device)] = unit
        scratch.add(rows, context.experts(modality, features))
    assert units is not None, "a split has examples"
    return units


def candidates(text: Tensor, image: Tensor, count: int) -> CandidatePairs:
    """Pair each image with its nearest texts and each text with its nearest images, by unit vectors [T, d], [I, d]."""
    of_images = topk_neighbours(image, text, count).cpu().numpy()  # [I, k]
    of_texts = topk_neighbours(text, image, count).cpu().numpy()  # [T, k]
    texts = len(text)
    codes = np.unique(
        np.concatenate(
            [
                (np.arange(len(image))[:, None] * texts + of_images).ravel(),
                (of_texts * texts + np.arange(texts)[:, None]).ravel(),
            ]
        )
    )
    return CandidatePairs(codes // texts, codes % texts)


def _match(
    context: ForwardContext,
    head: MatchingHead,
    pairs: CandidatePairs,
    texts: ScratchFile,
    images: ScratchFile,
    batch: int,
    between: Callable[[], None],
) -> Floats:
    """Score each pair, [P], with as many experts in memory as `BLOCK_BYTES` allows; processes share the pairs."""
    scored: list[tuple[Numbers, Floats]] = []
    for block in _groups(np.arange(len(pairs.images)), pairs.images // _items_in_memory(images)):
        image_numbers = np.unique(pairs.images[block])
        image_experts = images.read(image_numbers.tolist(), context.device)
        for part in _groups(block, pairs.texts[block] // _items_in_memory(texts)):
            text_numbers = np.unique(pairs.texts[part])
            text_experts = texts.read(text_numbers.tolist(), context.device)
            batches = [part[at : at + batch] for at in range(0, len(part), batch)]
            for rows in context.group.shard(batches, between):
                image = torch.from_numpy(np.searchsorted(image_numbers, pairs.images[rows])).to(context.device)
                text = torch.from_numpy(np.searchsorted(text_numbers, pairs.texts[rows])).to(context.device)
                with context.autocast():
                    logits = head(context.fuse(text_experts.at(text), image_experts.at(image)).pooled)
                scored.append((rows, logits[:, 1].double().cpu().numpy()))
    scores = np.zeros(len(pairs.images))
    for rows, values in context.group.all_gather_objects(scored):
        scores[rows] = values
    return scores


def _groups(rows: Numbers, keys: Numbers) -> Iterator[Numbers]:
    """Split rows by their keys, in the order of these."""
    order = np.argsort(keys, kind="stable")
    ends = np.flatnonzero(np.diff(keys[order])) + 1
    yield from np.split(rows[order], ends)


def _items_in_memory(scratch: ScratchFile) -> int:
    """Return how many items are held at once."""
    return max(1, BLOCK_BYTES // scratch.item_bytes)


def rank_candidates(pairs: CandidatePairs, scores: Floats, image_of: Numbers, images: int) -> Ranked:
    """Rank the candidates of each text and each image by their scores, the first of equals by number.

    Args:
        pairs: the candidates.
        scores: of each, [P].
        image_of: image of each text, [T].
        images: I.

    """
    right = image_of[pairs.texts] == pairs.images
    of_texts = _first(pairs.texts, pairs.images, scores, right, len(image_of))
    of_images = _first(pairs.images, pairs.texts, scores, right, images)
    return Ranked(of_texts[0], of_images[0], of_texts[1], of_images[1])


def _first(
    query: Numbers, candidate: Numbers, scores: Floats, right: NDArray[np.bool_], count: int
) -> tuple[Numbers, Numbers]:
    """Return for each query the rank of the first right candidate, and the candidate that came first."""
    order = np.lexsort((candidate, -scores, query))
    starts = np.searchsorted(query[order], np.arange(count))
    ranks = np.arange(len(order)) - starts[query[order]] + 1
    first = np.full(count, NO_RANK)
    np.minimum.at(first, query[order][right[order]], ranks[right[order]])
    return first, candidate[order][starts]


def recalls(ranked: Ranked) -> dict[str, float]:
    """Return how often the right one is among the first, by `RECALLS`."""
    ranks = {"IR": ranked.of_texts, "TR": ranked.of_images}
    return {f"{way}@{rank}": float((ranks[way] <= rank).mean()) for way in ranks for rank in RANKS}


def build_evaluation(
    loader: Loader, split: RetrievalSplit, ranked: Ranked, by_contrast: Ranked, losses: SplitContrast
) -> Evaluation:
    """Build the evaluation of a split: two outcomes for each image, as its captions are no independent examples.

    One is how well the image is found by its captions, weighted so that the mean over images is that over captions; the
    other how well its captions are found. Both are means over `RANKS`, and have the image's key as id.
    """
    hits = {way: np.mean([ranks <= rank for rank in RANKS], 0) for way, ranks in _ways(ranked)}
    per_image = np.bincount(split.image_of, hits[IMAGES], len(split.images)) * len(split.images) / len(split.texts)
    outcomes = np.stack([per_image, hits[TEXTS]], 1)
    examples = loader.examples
    texts, images = len(split.texts), len(split.images)
    first_text = [split.texts[text] for text in ranked.first_of_images]
    cluster = {example.image: example.cluster for example in examples}
    return Evaluation(
        loss=losses.loss,
        ids=[key for key in split.images for _ in (IMAGES, TEXTS)],
        families=[IMAGES, TEXTS] * images,
        clusters=[cluster[key] for key in split.images for _ in (IMAGES, TEXTS)],
        scores={"recall": outcomes.ravel()},
        blind_scores={"recall": _chance_outcomes(split).ravel()},
        extra_floors=_chance_recalls(split),
        answer_texts=[("its image", _describe(rank)) for rank in ranked.of_texts.tolist()],
        extra_metrics=recalls(ranked) | {BY_CONTRAST: fmean(recalls(by_contrast).values())},
        table={
            "family": [IMAGES] * texts + [TEXTS] * images,
            "id": [example.id for example in examples] + list(split.images),
            "image": [example.image for example in examples] + list(split.images),
            "text": [*split.texts, *[None] * images],
            "prediction": [*(split.images[image] for image in ranked.first_of_texts), *first_text],
            "rank": [
                None if rank == NO_RANK else rank for rank in [*ranked.of_texts.tolist(), *ranked.of_images.tolist()]
            ],
            "score": [*hits[IMAGES].tolist(), *hits[TEXTS].tolist()],
        },
    )


def _chance_outcomes(split: RetrievalSplit) -> Floats:
    """Return the outcomes of `build_evaluation` that are expected of ranks drawn at random, [I, 2]."""
    chance = _chance(split)
    of_image = np.mean([chance[f"IR@{rank}"] for rank in RANKS]) * len(split.images) / len(split.texts)
    captions = np.bincount(split.image_of, minlength=len(split.images))
    return np.stack([captions * of_image, np.mean([chance[f"TR@{rank}"] for rank in RANKS], 0)], 1)


def _chance_recalls(split: RetrievalSplit) -> dict[str, Floor]:
    """Return what ranks drawn at random reach, with the error of as many independent queries as there are images.

    Where images are so few that not even a recall of 1 is told apart from chance, the error is infinite.
    """
    means = {name: float(np.mean(chance)) for name, chance in _chance(split).items()}
    means[BY_CONTRAST] = fmean(means.values())
    errors = {name: (mean * (1 - mean) / len(split.images)) ** 0.5 for name, mean in means.items()}
    return {
        name: Floor(mean, errors[name] if 1 - mean > ERRORS * errors[name] else math.inf)
        for name, mean in means.items()
    }


def _chance(split: RetrievalSplit) -> dict[str, Floats]:
    """Return the chance of a right one among the first at random ranks: IR@k one number, TR@k of each image, [I].

    With c captions of an image among T, the first k hold none with chance Π_{i<c} (T − k − i) / (T − i).
    """
    images, texts = len(split.images), len(split.texts)
    captions = np.bincount(split.image_of, minlength=images)
    found: dict[str, Floats] = {}
    for rank in RANKS:
        found[f"IR@{rank}"] = np.array(min(1.0, rank / images))
        left = np.arange(texts, texts - captions.max(), -1.0)  # captions to draw from, one after the other
        none = np.cumprod(np.maximum(left - rank, 0) / left)
        found[f"TR@{rank}"] = 1 - none[captions - 1]
    return found


def _ways(ranked: Ranked) -> tuple[tuple[str, Numbers], tuple[str, Numbers]]:
    return (IMAGES, ranked.of_texts), (TEXTS, ranked.of_images)


def _describe(rank: int) -> str:
    """Describe what came first for a text; as the right answer if it is right."""
    if rank == 1:
        return "its image"
    return "another image; its own is no candidate" if rank == NO_RANK else f"another image; its own is number {rank}"
