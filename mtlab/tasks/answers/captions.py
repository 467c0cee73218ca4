"""Evaluation of captions: is an image's own the likeliest of several, and what is said when the model describes it?

Shapes: n captions of a split, C captions scored for an image, S tokens of the longest.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mtlab.data.base import Example
from mtlab.data.batches import Batch, Loader
from mtlab.model.forward import ForwardContext
from mtlab.model.mllm.encoder import LanguageModelEncoder
from mtlab.tasks.answers.candidates import draw_distractors, score_commonest
from mtlab.tasks.evaluation import Evaluation, Floats, PassOutput, run_split
from mtlab.towers.causal_lm import IGNORE_INDEX


@dataclass(frozen=True)
class DescribedImage:
    """What the model says of an image."""

    likelihoods: Mapping[int, float]  #: row of a caption in the split → its log-likelihood
    generated: str


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
    images = describe_images(context, loader, _rows_to_score(examples, distractors), batch, between)
    own, likeliest, right = [], [], []
    for row, (example, chosen) in enumerate(zip(examples, distractors, strict=True)):
        scores = images[example.image].likelihoods
        best = max((*chosen, row), key=scores.__getitem__)  # on a tie a distractor
        own.append(scores[row])
        likeliest.append(examples[best].text)
        right.append(best == row)
    outcomes = {"accuracy": np.array(right, np.float64)}
    floors = {"accuracy": score_commonest(examples, distractors)}
    generated = [images[example.image].generated for example in examples]
    if options.named_objects is not None:
        outcomes["exact"] = _exact(examples, list(map(options.named_objects, generated)))
        floors["exact"] = _exact(examples, _commonest(examples))
    return Evaluation(
        loss=-float(np.mean(own)),
        ids=[example.id for example in examples],
        families=[example.family for example in examples],
        clusters=[example.cluster for example in examples],
        scores=outcomes,
        answer_texts=[(example.text, text) for example, text in zip(examples, likeliest, strict=True)],
        blind_scores=floors,
        table={
            **{name: [getattr(each, name) for each in examples] for name in ("id", "family", "image", "text")},
            "likeliest": likeliest,
            "generated": generated,
            **{"score" if name == "accuracy" else name: scores.tolist() for name, scores in outcomes.items()},
        },
    )


def describe_images(
    context: ForwardContext,
    loader: Loader,
    scored: Mapping[str, Sequence[int]],
    batch: int,
    between: Callable[[], None],
) -> dict[str, DescribedImage]:
    """Score captions of each image and generate one.

    Args:
        context: the model, and how it is run.
        loader: the split.
        scored: image → rows of the captions to score, of which the first is one of its own.
        batch: images in one pass.
        between: called before each pass.

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
        likelihoods = context.score(on_device, candidates.to(context.device))
        return PassOutput(batch.rows, {"likelihoods": likelihoods, "generated": context.generate(on_device)})

    first = {rows[0]: image for image, rows in scored.items()}
    output = run_split(context, loader, batch, between, run_batch, first)
    generated = encoder.decode(output.in_order("generated"))
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


def _exact(examples: Sequence[Example], named: Sequence[tuple[str, ...]]) -> Floats:
    """Return for each caption whether these objects are exactly those of its image, [n]."""
    return np.array([objects == example.objects for example, objects in zip(examples, named, strict=True)], np.float64)


def _commonest(examples: Sequence[Example]) -> list[tuple[str, ...]]:
    """Return for each caption what the images of its family show most often."""
    counts: dict[str, Counter[tuple[str, ...]]] = defaultdict(Counter)
    for example in examples:
        counts[example.family][example.objects] += 1
    best = {family: max(sorted(found), key=found.__getitem__) for family, found in counts.items()}
    return [best[example.family] for example in examples]
