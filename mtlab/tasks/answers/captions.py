"""Evaluation of captions: is an image's own the likeliest of several, and what is said when the model describes it?

Shapes: n captions of a split, C captions scored for an image, S tokens of the longest.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mtlab.data.base import Example
from mtlab.data.batches import Batch, Loader
from mtlab.model.forward import ForwardContext
from mtlab.model.mllm.encoder import LanguageModelEncoder
from mtlab.statistics.learning import Floor, blind_floor
from mtlab.tasks.answers.candidates import draw_distractors, score_commonest
from mtlab.tasks.evaluation import Evaluation, PassOutput, run_split
from mtlab.towers.causal_lm import IGNORE_INDEX


@dataclass(frozen=True)
class DescribedImage:
    """What the model says of an image."""

    likelihoods: Mapping[int, float]  #: row of a caption in the split → its log-likelihood
    generated: str  #: "" where nothing reads it


def evaluate(
    context: ForwardContext, loader: Loader, candidates: int, batch: int, between: Callable[[], None]
) -> Evaluation:
    """Score and generate captions of a split's images; an outcome is that of a caption.

    `accuracy`: is its log-likelihood, the sum over its tokens and its end, higher than that of each of its distractors,
    captions of other images, see `draw_distractors`? `exact`, where the data know what images show: does the caption
    that is generated for an image name exactly that? It is a mean over images, and has no families. The loss is the
    mean of the captions' own negative log-likelihoods.

    Args:
        context: the model, and how it is run.
        loader: the split.
        candidates: captions to choose from, the right one included.
        batch: images in one pass.
        between: called before each pass.

    """
    examples, options = loader.examples, loader.options.captions
    assert options is not None, "the task wants captions"
    distractors = draw_distractors(examples, candidates - 1)
    exactly = options.named_objects if context.reads != "primary" else None
    generates = exactly is not None or context.reads == "all"
    scored = _rows_to_score(examples, distractors)
    images = describe_images(context, loader, scored, batch, between, generates=generates)
    own, likeliest, right = [], [], []
    for row, (example, chosen) in enumerate(zip(examples, distractors, strict=True)):
        scores = images[example.image].likelihoods
        best = max((*chosen, row), key=scores.__getitem__)  # on a tie a distractor
        own.append(scores[row])
        likeliest.append(examples[best].text)
        right.append(best == row)
    accuracy = np.array(right, np.float64)
    table: dict[str, Sequence[Any]] = {
        **{name: [getattr(each, name) for each in examples] for name in ("id", "family", "image", "text")},
        "likeliest": likeliest,
        "generated": [images[example.image].generated for example in examples],
        "score": accuracy.tolist(),
    }
    exact: dict[str, float] = {}
    floors: dict[str, Floor] = {}
    if exactly is not None:
        named = {image: exactly(said.generated) for image, said in images.items()}
        right_of, floors["exact"] = _compare_objects(examples, named)
        exact["exact"] = float(np.mean(list(right_of.values())))
        table["exact"] = [right_of[example.image] for example in examples]
    return Evaluation(
        loss=-float(np.mean(own)),
        ids=[example.id for example in examples],
        families=[example.family for example in examples],
        clusters=[example.cluster for example in examples],
        scores={"accuracy": accuracy},
        answer_texts=[(example.text, text) for example, text in zip(examples, likeliest, strict=True)],
        extra_metrics=exact,
        blind_scores={"accuracy": score_commonest(examples, distractors)},
        extra_floors=floors,
        table=table,
    )


def describe_images(
    context: ForwardContext,
    loader: Loader,
    scored: Mapping[str, Sequence[int]],
    batch: int,
    between: Callable[[], None],
    *,
    generates: bool,
) -> dict[str, DescribedImage]:
    """Score captions of each image, and generate one if asked to.

    Args:
        context: the model, and how it is run.
        loader: the split.
        scored: image → rows of the captions to score, of which the first is one of its own.
        batch: images in one pass.
        between: called before each pass.
        generates: also describe each image.

    """
    encoder, captions, examples = context.model.encoder, loader.options.captions, loader.examples
    assert isinstance(encoder, LanguageModelEncoder), "a language model describes images"
    assert captions is not None, "the task wants them"
    most = max(map(len, scored.values()))

    def run_batch(batch: Batch) -> PassOutput:
        wanted = [scored[examples[row].image] for row in batch.rows]
        tokens = captions.tokens([examples[row].text for rows in wanted for row in rows])
        candidates = tokens.new_full((len(wanted), most, tokens.shape[1]), IGNORE_INDEX)  # [B, C, S]
        for number, own in enumerate(tokens.split([len(rows) for rows in wanted])):
            candidates[number, : len(own)] = own
        on_device = batch.to(context.device)
        found = {"likelihoods": context.score(on_device, candidates.to(context.device))}
        if generates:
            found["generated"] = context.generate(on_device)
        return PassOutput(batch.rows, found)

    first = {rows[0]: image for image, rows in scored.items()}
    output = run_split(context, loader, batch, between, run_batch, first)
    generated = encoder.decode(output.in_order("generated")) if generates else [""] * len(first)
    likelihoods = output.floats("likelihoods").tolist()
    return {
        image: DescribedImage(dict(zip(scored[image], values, strict=False)), words)
        for (_, image), values, words in zip(sorted(first.items()), likelihoods, generated, strict=True)
    }


def _rows_to_score(examples: Sequence[Example], distractors: Sequence[tuple[int, ...]]) -> dict[str, Sequence[int]]:
    """Return image → its own captions, then their distractors, each once, by their rows."""
    found: dict[str, dict[int, None]] = defaultdict(dict)
    for row, example in enumerate(examples):
        found[example.image][row] = None
    for example, chosen in zip(examples, distractors, strict=True):
        found[example.image].update(dict.fromkeys(chosen))
    return {image: tuple(rows) for image, rows in found.items()}


def _compare_objects(
    examples: Sequence[Example], named: Mapping[str, tuple[str, ...]]
) -> tuple[dict[str, float], Floor]:
    """Return image → whether these objects are exactly what it shows, 1 or 0; and the floor: what most images show."""
    shown = {example.image: example.objects for example in examples}
    cluster_of = {example.image: example.cluster for example in examples}
    counts = Counter(shown.values())
    commonest = max(sorted(counts), key=counts.__getitem__)
    right = {image: float(named[image] == objects) for image, objects in shown.items()}
    blind = np.array([objects == commonest for objects in shown.values()], np.float64)
    clusters = np.unique([cluster_of[image] for image in shown], return_inverse=True)[1]
    return right, blind_floor(np.array(list(right.values())), blind, clusters)
