"""Question answering by generated answers: what is learnt, and how the words that come out are scored.

Shapes: B examples, S tokens of an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from torch import Tensor

from mtlab.data.base import Example
from mtlab.data.batches import Batch, Loader
from mtlab.data.converters.vqa_answers import normalise
from mtlab.model.forward import ForwardContext
from mtlab.model.mllm.encoder import LanguageModelEncoder
from mtlab.tasks.answers.vqa_accuracy import vqa_accuracy
from mtlab.tasks.evaluation import Evaluation, PassOutput, answerable, run_split

NO_ANSWER = -1  #: what is generated is none of the answers that training questions have


def losses(context: ForwardContext, batch: Batch) -> dict[str, Tensor]:
    """Mean negative log-likelihood of the right answer, in nats: the sum over its tokens and its end, no others."""
    return {"loss": -_likelihoods(context, batch).mean()}


def evaluate(
    blind: Sequence[int], context: ForwardContext, loader: Loader, batch: int, between: Callable[[], None]
) -> Evaluation:
    """Generate an answer to each question of a split and score it, see `credit`.

    Args:
        blind: the best single answer of each example's family, by number.
        context: the model, and how it is run.
        loader: the split.
        batch: examples in one forward pass.
        between: called before each batch.

    """
    encoder, examples = _encoder(context), loader.examples

    def run_batch(batch: Batch) -> PassOutput:
        on_device = batch.to(context.device)
        tensors = {"generated": context.generate(on_device)}
        rows, count = answerable(batch.targets)
        if count:
            tensors["loss"] = -_likelihoods(context, on_device)[rows].double().sum()
        return PassOutput(batch.rows, tensors, {"loss": count})

    output = run_split(context, loader, batch, between, run_batch)
    assert encoder.answers is not None, "the encoder generates"
    known = encoder.answers.words
    generated = encoder.decode(output.in_order("generated"))
    right = [example.answer or (known[example.target] if example.target >= 0 else "") for example in examples]
    numbers = number_answers(known)
    scores = {"accuracy": np.array([credit(*each, numbers) for each in zip(generated, examples, right, strict=True)])}
    guesses = [known[answer] for answer in blind]
    floors = {"accuracy": np.array([credit(*each, numbers) for each in zip(guesses, examples, right, strict=True)])}
    if loader.options.answers is not None:  # the data give scores of answers
        scores["score"] = np.array([_score(*each, numbers) for each in zip(generated, examples, strict=True)])
        floors["score"] = np.array([_score(*each, numbers) for each in zip(guesses, examples, strict=True)])
    return Evaluation(
        loss=output.mean("loss"),
        ids=[example.id for example in examples],
        families=[example.family for example in examples],
        clusters=[example.cluster for example in examples],
        scores=scores,
        targets=np.array([example.target for example in examples], np.int64),
        predictions=np.array([_predicted(answer, known, numbers) for answer in generated], np.int64),
        answer_texts=list(zip([answer or "none of the answers" for answer in right], generated, strict=True)),
        blind_scores=floors,
    )


def number_answers(known: Sequence[str]) -> dict[str, list[int]]:
    """Return normalised answer → the numbers of the answers that it may stand for, such as those of `2` and `two`."""
    numbers: dict[str, list[int]] = {}
    for number, answer in enumerate(known):
        numbers.setdefault(_normalise(answer), []).append(number)
    return numbers


def credit(generated: str, example: Example, right: str, numbers: Mapping[str, Sequence[int]]) -> float:
    """Score an answer in words: agreement with annotators, or else its score in the data, or else exact match.

    All answers are normalised first: case, articles, punctuation, spaces, numbers in words (`vqa_answers.normalise`).
    One that is nothing but an article, such as the letter A of several choices, stays, unless annotators decide.

    Args:
        generated: the answer.
        example: the question's.
        right: the right answer in words.
        numbers: see `number_answers`.

    """
    if example.annotators:
        return vqa_accuracy(generated, example.annotators)
    if example.scores or example.worded_scores:
        return _score(generated, example, numbers)
    return float(bool(right) and _normalise(generated) == _normalise(right))


def _normalise(answer: str) -> str:
    return normalise(answer) or answer.strip().lower()


def _score(generated: str, example: Example, numbers: Mapping[str, Sequence[int]]) -> float:
    said, scores = _normalise(generated), dict(example.scores)
    worded = (score for answer, score in example.worded_scores if _normalise(answer) == said)
    return max((*(scores.get(number, 0.0) for number in numbers.get(said, ())), *worded), default=0.0)


def _predicted(generated: str, known: Sequence[str], numbers: Mapping[str, Sequence[int]]) -> int:
    """Return the number of an answer: of the one in the same words, or else of the first that it may stand for."""
    alike = numbers.get(_normalise(generated), ())
    return next((number for number in alike if known[number] == generated.strip()), alike[0] if alike else NO_ANSWER)


def _encoder(context: ForwardContext) -> LanguageModelEncoder:
    encoder = context.model.encoder
    assert isinstance(encoder, LanguageModelEncoder), "a language model generates"
    return encoder


def _likelihoods(context: ForwardContext, batch: Batch) -> Tensor:
    """Log-likelihood of each right answer and its end, [B]; of an answer that is not known, of some other."""
    answers = _encoder(context).answers
    assert answers is not None, "the encoder generates"
    return context.answer(batch, continuation=answers.of(batch.targets)).squeeze(1)
