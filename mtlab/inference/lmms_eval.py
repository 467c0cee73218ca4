"""A trained run as a model of lmms-eval: `lmms_eval --model mtlab --model_args run=STUDY:VARIANT:SEED --tasks …`.

lmms-eval finds `manifest` by the entry point of this package. Tasks that generate get the run's answers, chosen or
generated; tasks that compare continuations get their likelihood, of a run with `model.answers: generate`. Only greedy
answers about one image are given: other requests are refused.

Shapes: S tokens of a continuation.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from mtlab.errors import UserError
from mtlab.inference.api import load
from mtlab.inference.encoding import Model
from mtlab.towers.causal_lm import IGNORE_INDEX

try:
    from lmms_eval.api.model import lmms as _Base
    from lmms_eval.models.registry_v2 import ModelManifest
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "lmms_eval":
        raise
    _Base, ModelManifest = object, None


def manifest() -> Any:
    """Tell lmms-eval's registry of models where the class is."""
    return ModelManifest(model_id="mtlab", simple_class_path=f"{__name__}.{LmmsEvalModel.__name__}")


class LmmsEvalModel(_Base):  # type: ignore[misc] # lmms-eval has no types
    """A trained run; lmms-eval calls it with lists of requests.

    Args:
        run: as `mtlab.load` takes it: `STUDY:VARIANT:SEED`, a run's folder, or a checkpoint.
        store: the store of the run; None: `MTLAB_STORE`, else `./runs`.
        device: as `train.device`.
        batch_size: questions in one forward pass.
        given: options that lmms-eval passes to all models, and this one does not need.

    Raises:
        UserError: lmms-eval is missing, or there is no such run.

    """

    is_simple = True

    def __init__(
        self, run: str, store: str | None = None, device: str | None = None, batch_size: int | str = 1, **given: Any
    ) -> None:
        if _Base is object:
            raise UserError(
                "needs lmms-eval: `pip install --no-deps lmms-eval` and the extra lmms_eval, see docs/mllm.md"
            )
        super().__init__()
        del given
        self.model: Model = load(run, store=store, device=device or "auto")
        self.batch = max(1, int(batch_size)) if str(batch_size).isdecimal() else 1  # "auto"

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Answer questions about one image each, cut in front of the first of a request's `until`."""
        answered: list[str] = []
        for start in range(0, len(requests), self.batch):
            given = [request.args for request in requests[start : start + self.batch]]
            images = [self._image(visual, *where) for _, _, visual, *where in given]
            answers = self.model.answer(images, [question for question, *_ in given])
            answered += [_cut(answer, options) for answer, (_, options, *_) in zip(answers, given, strict=True)]
        return answered

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Return the loss of a continuation of each question, and whether it is what would be generated.

        The loss is the negative log-likelihood, summed over tokens, the end among them: lmms-eval chooses the smallest,
        whatever the method is called.

        Raises:
            UserError: the run does not generate its answers.

        """
        return list(map(self._score, requests))

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:  # noqa: ARG002 - the interface
        """Refuse: a run answers one question about an image."""
        raise UserError("answers single questions: conversations of several rounds are not supported")

    @torch.inference_mode()
    def _score(self, request: Any) -> tuple[float, bool]:
        question, target, visual, *where = request.args
        encoder = self.model.generator
        if encoder is None or encoder.answers is None:
            raise UserError("continuations are scored by runs with `model.answers: generate`")
        words = target if isinstance(target, str) else target(self._row(*where))
        ids = [*encoder.tower.encode_answer(words.strip()), encoder.answers.end]
        levels = self.model.encode_towers([self._image(visual, *where)], [question])
        continuation = torch.tensor([ids], device=self.model.device)
        with self.model.autocast():
            (likelihood,) = encoder(*levels, continuation=continuation).likelihoods.flatten().tolist()
            generated = [token for token in encoder.generate(*levels)[0].tolist() if token != IGNORE_INDEX]
        return -likelihood, generated == ids

    def _row(self, number: int, task: str, split: str) -> Any:
        return self.task_dict[task][split][number]

    def _image(self, visual: Any, number: int, task: str, split: str) -> Any:
        found = list(_flat(visual(self._row(number, task, split))))
        if len(found) != 1:
            raise UserError(f"task {task!r} has {len(found)} images to a question: a run reads one")
        return found[0]


def _flat(visuals: Any) -> Iterator[Any]:
    if isinstance(visuals, list | tuple):
        for each in visuals:
            yield from _flat(each)
    elif visuals is not None:
        yield visuals


def _cut(answer: str, options: dict[str, Any]) -> str:
    """Cut an answer in front of the first stop word."""
    stops = options.get("until") or []
    for stop in [stops] if isinstance(stops, str) else stops:
        answer = answer.partition(stop)[0] if stop else answer
    return answer.strip()
