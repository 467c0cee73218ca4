"""A whole model as a user handles it: images and texts in, states and answers out.

Shapes: B pairs of an image and a text, L text tokens, M image tokens, N experts, P previous states, D width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtlab.errors import UserError
from mtlab.managers.base import MODALITIES, Aggregated, Modality
from mtlab.model.encoder import Key
from mtlab.tasks.build import TaskModel
from mtlab.towers.base import Features
from mtlab.towers.build import tower_shape

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


@dataclass(frozen=True)
class Encoded:
    """What the model makes of some images and texts, on the CPU."""

    pooled: Tensor  #: [B, 2D], text before image
    text: Tensor  #: last cross-modal states of the text tokens, [B, L, D]
    image: Tensor  #: of the image tokens, [B, M, D]
    text_mask: Tensor | None  #: True at real text tokens, [B, L]; None: all are
    recorded: Mapping[Key, Aggregated] | None  #: (modality, depth from 0) → what that manager did, if asked for


@dataclass(frozen=True)
class Model:
    """A whole model, towers included, in evaluation mode.

    Args:
        network: the torch module; train it, take it apart, save its `state_dict` as any other.
        config: the resolved configuration that it was built from.
        answers: what its head chooses from, in order; empty where their names are not known.

    """

    network: TaskModel
    config: Mapping[str, Any]
    answers: tuple[str, ...]

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.network.parameters()).device

    @property
    def levels(self) -> dict[Modality, tuple[int, ...]]:
        """The offered levels of each tower, 1-based: what the rows of recorded weights stand for."""
        shapes = {
            "text": tower_shape("text", self.config["text"]),
            "image": tower_shape("vision", self.config["vision"]),
        }
        return {modality: shapes[modality].levels for modality in MODALITIES}

    @torch.inference_mode()
    def encode(
        self, images: Sequence[NDArray[np.uint8] | Picture | str | Path], texts: Sequence[str], *, record: bool = False
    ) -> Encoded:
        """Encode pairs of an image and a text, in one forward pass: call it in batches for many.

        Args:
            images: uint8 arrays [H, W, 3] RGB, PIL images, or paths.
            texts: one for each image.
            record: also return the aggregation weights and contributions of every manager.

        Raises:
            UserError: not as many texts as images; an image that cannot be read, or of another shape or type.

        """
        text, vision = self._features(images, texts)
        fused = self.network.encoder(text, vision, record=record)
        recorded = fused.recorded
        if recorded is not None:
            recorded = {key: _on_cpu(aggregated) for key, aggregated in recorded.items()}
        mask = None if text.mask is None else text.mask.cpu()
        return Encoded(fused.pooled.cpu(), fused.text.cpu(), fused.image.cpu(), mask, recorded)

    @torch.inference_mode()
    def answer(self, images: Sequence[Any], texts: Sequence[str]) -> list[str]:
        """Answer a question about each image, by the likeliest of `answers`.

        Args:
            images: as of `encode`; for a task on several images, a tuple of them for each text.
            texts: one for each image or tuple.

        Raises:
            UserError: as `encode`; the model answers nothing, or does not know the names of its answers.

        """
        if not self.network.task.answering:
            raise UserError("this model answers no questions; `match` tells how well texts and images go together")
        if not self.answers:
            raise UserError("this model does not know the names of its answers: use `network` for its logits")
        _check_counts(images, texts)
        logits = self.network(*self._read(self._laid_out(images), texts)).logits
        return [self.answers[row] for row in logits.argmax(-1).tolist()]

    @torch.inference_mode()
    def match(self, images: Sequence[NDArray[np.uint8] | Picture | str | Path], texts: Sequence[str]) -> list[float]:
        """Tell how probable it is that each text belongs to its image, from 0 to 1.

        Raises:
            UserError: as `encode`; the model was not trained for retrieval, nor pre-trained with matching.

        """
        head = getattr(self.network.task, "itm", None)
        if head is None:
            raise UserError("this model was not trained to match texts and images")
        fused = self.network.encoder(*self._features(images, texts))
        probable: list[float] = head(fused.pooled).softmax(-1)[:, 1].tolist()
        return probable

    def _laid_out(self, images: Sequence[Any]) -> Sequence[Any]:
        """Lay out tuples of images, one for each text, as the model takes them: first ones, then second ones."""
        pictures = self.network.task.images
        if pictures == 1:
            return images
        if any(not isinstance(each, list | tuple) or len(each) != pictures for each in images):
            raise UserError(f"images: this task is on {pictures} images for each text: give a tuple of them for each")
        return [each[number] for number in range(pictures) for each in images]

    def _features(self, images: Sequence[Any], texts: Sequence[str]) -> tuple[Features, Features]:
        _check_counts(images, texts)
        return self._read(images, texts)

    def _read(self, images: Sequence[Any], texts: Sequence[str]) -> tuple[Features, Features]:
        given = {"text": list(texts), "vision": [pixels(image) for image in images]}
        found = []
        for kind, raw in given.items():
            tower: Any = self.network.towers[kind]
            try:
                prepared = tower.prepare(raw)
            except ValueError as error:  # a world's own towers read nothing else
                raise UserError(f"the {kind} tower cannot read this: {error}") from None
            found.append(self.network.features(kind, tuple(tensor.to(self.device) for tensor in prepared)))
        return found[0], found[1]


def _check_counts(images: Sequence[Any], texts: Sequence[str]) -> None:
    if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
        raise UserError("texts: expected a list of strings")
    if isinstance(images, str | Path) or len(images) != len(texts) or not texts:
        number = 1 if isinstance(images, str | Path) else len(images)
        raise UserError(f"expected as many images as texts, in two lists: {number} and {len(texts)} were given")


def pixels(image: Any) -> NDArray[np.uint8]:
    """Bring an image to uint8 [H, W, 3] RGB.

    Raises:
        UserError: it cannot be read, or is of another shape or type.

    """
    if isinstance(image, str | Path):
        from mtlab.data.image_files import read_image

        return read_image(Path(image).expanduser())
    if hasattr(image, "convert") and hasattr(image, "getbands"):  # PIL is not imported for arrays
        return np.asarray(image.convert("RGB"))
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        shown = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
        raise UserError(f"images: expected uint8 [H, W, 3], a PIL image or a path, found {shown}")
    return image


def _on_cpu(aggregated: Aggregated) -> Aggregated:
    weights, contributions = aggregated.weights, aggregated.contributions
    return Aggregated(
        aggregated.hidden.cpu(),
        None if weights is None else weights.cpu(),
        None if contributions is None else contributions.cpu(),
    )
