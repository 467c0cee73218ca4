"""`Model`, the network with its towers as the Python API returns it: encodes images and texts, and answers.

Shapes: B pairs of an image and a text, L text tokens, M image tokens, N experts, P previous states, D width.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mtlab.data.image_files import read_image, to_array
from mtlab.errors import UserError
from mtlab.managers.base import Aggregated, Modality
from mtlab.matmul import fast_matmul
from mtlab.model.base import ManagerKey
from mtlab.model.forward import Runtime
from mtlab.model.mllm.encoder import LanguageModelEncoder
from mtlab.tasks.build import TaskModel
from mtlab.towers.base import Features
from mtlab.towers.build import TowerKind, is_cached

if TYPE_CHECKING:
    from PIL.Image import Image as PILImage


@dataclass(frozen=True)
class Encoded:
    """Outputs of the cross-modal encoder for B pairs of an image and a text, on the CPU."""

    pooled: Tensor  #: [B, 2D], text before image
    text: Tensor  #: states of the text tokens after the last cross-modal layer, [B, L, D]
    image: Tensor  #: likewise of the image tokens, [B, M, D]
    text_mask: Tensor | None  #: True at real text tokens, [B, L]; None: all are
    recorded: (
        Mapping[ManagerKey, Aggregated] | None
    )  #: (modality, depth from 0) → that manager's output, with `record=True`


@dataclass(frozen=True)
class Model:
    """A whole model, towers included, in evaluation mode.

    Args:
        network: the torch module.
        config: the resolved configuration that it was built from.
        answers: the names of the classes of its head, in order; empty where they are not known.

    """

    network: TaskModel
    config: Mapping[str, Any]
    answers: tuple[str, ...]

    @property
    def device(self) -> torch.device:
        """The device of its weights."""
        return next(self.network.parameters()).device

    @contextmanager
    def autocast(self, tower: TowerKind | None = None) -> Iterator[None]:
        """Enter the context of a forward pass, in the precision that the model was trained and validated in.

        Args:
            tower: the one that runs, if one does: the levels of those that are cached were computed in float32.

        """
        precision = (self.config.get("train") or {}).get("precision", "fp32")
        if tower is not None and "train" in self.config and is_cached(tower, self.config):
            precision = "fp32"
        with fast_matmul(), Runtime(self.device, precision).autocast():
            yield

    @property
    def levels(self) -> dict[Modality, tuple[int, ...]]:
        """The levels that each tower offers, counted from 1: the first rows of recorded weights, in order.

        Rows of levels that a manager is not offered (`model.inject.levels`) are NaN.
        """
        return dict(self.network.encoder.levels)

    @property
    def generator(self) -> LanguageModelEncoder | None:
        """The encoder, if it answers or describes in words of its own."""
        encoder = self.network.encoder
        return encoder if isinstance(encoder, LanguageModelEncoder) and encoder.answers is not None else None

    @torch.no_grad()  # and not in inference mode: probes are trained on what it returns
    def encode(self, images: Sequence[Any], texts: Sequence[str], *, record: bool = False) -> Encoded:
        """Encode pairs of an image and a text, in one forward pass: call it in batches for many.

        Args:
            images: uint8 arrays [H, W, 3] RGB, PIL images, or paths. For a task on several images also tuples of them,
                one for each text: states and what is recorded are then those of the first.
            texts: one for each image.
            record: also return the weights and contributions of every manager.

        Raises:
            UserError: the numbers of texts and images differ, or an image is unreadable or of another shape or type.

        """
        _check_counts(images, texts)
        together = any(isinstance(each, list | tuple) for each in images)
        text, vision = self.encode_towers(self._flatten_images(images) if together else images, texts)
        with self.autocast():
            if together:
                fused = self.network.fuse(text, vision, record=record)[0]
            else:
                fused = self.network.encoder(text, vision, record=record)
        recorded = fused.recorded
        if recorded is not None:
            recorded = {key: _on_cpu(aggregated) for key, aggregated in recorded.items()}
        mask = None if text.mask is None else text.mask.cpu()
        pooled, words, patches = (states.float().cpu() for states in (fused.pooled, fused.text, fused.image))
        return Encoded(pooled, words, patches, mask, recorded)

    @torch.inference_mode()
    def answer(self, images: Sequence[Any], texts: Sequence[str]) -> list[str]:
        """Answer a question about each image by the class of the largest logit, or in words that are generated.

        Args:
            images: as of `encode`; for a task on several images, a tuple of them for each text.
            texts: one for each image or tuple; of a model that was trained on captions, its instruction.

        Raises:
            UserError: as `encode`; or the task has no answers, or their names are not known.

        """
        if (encoder := self.generator) is not None:
            _check_counts(images, texts)
            levels = self.encode_towers(images, texts)
            with self.autocast():
                return encoder.decode(encoder.generate(*levels))
        if not self.network.task.answering:
            matches = getattr(self.network.task, "itm", None) is not None
            instead = "`match` scores pairs of an image and a text" if matches else "`encode` gives its states"
            raise UserError(f"this model answers no questions; {instead}")
        if not self.answers:
            raise UserError("this model does not know the names of its answers: use `network` for its logits")
        _check_counts(images, texts)
        levels = self.encode_towers(self._flatten_images(images), texts)
        with self.autocast():
            logits = self.network(*levels).logits
        return [self.answers[index] for index in logits.argmax(-1).tolist()]

    @torch.inference_mode()
    def match(self, images: Sequence[NDArray[np.uint8] | PILImage | str | Path], texts: Sequence[str]) -> list[float]:
        """Return the probability that each text describes its image, by the head for image-text matching.

        Raises:
            UserError: as `encode`; the model was not trained for retrieval, nor pre-trained with matching.

        """
        head = getattr(self.network.task, "itm", None)
        if head is None:
            raise UserError("this model was not trained to match texts and images")
        _check_counts(images, texts)
        levels = self.encode_towers(images, texts)
        with self.autocast():
            logits = head(self.network.encoder(*levels).pooled)
        probabilities: list[float] = logits.softmax(-1)[:, 1].tolist()
        return probabilities

    def _flatten_images(self, images: Sequence[Any]) -> Sequence[Any]:
        """Flatten one tuple of images a text to the network's order: all first images, then all second ones."""
        count = self.network.task.images
        if count == 1:
            return images
        if any(not isinstance(each, list | tuple) or len(each) != count for each in images):
            raise UserError(f"images: this task is on {count} images for each text: give a tuple of them for each")
        return [each[number] for number in range(count) for each in images]

    def encode_towers(self, images: Sequence[Any], texts: Sequence[str]) -> tuple[Features, Features]:
        """Run the towers: the offered levels of texts and of images, see `encode`."""
        inputs: dict[TowerKind, Any] = {"text": list(texts), "vision": [pixels(image) for image in images]}
        features = []
        for kind, raw in inputs.items():
            tower: Any = self.network.towers[kind]
            try:
                prepared = tower.prepare(raw)
            except ValueError as error:  # towers of synthetic worlds read only their own data
                raise UserError(f"the {kind} tower cannot read this: {error}") from None
            with self.autocast(kind):
                features.append(self.network.features(kind, tuple(tensor.to(self.device) for tensor in prepared)))
        return features[0], features[1]


def _check_counts(images: Sequence[Any], texts: Sequence[str]) -> None:
    if isinstance(texts, str) or not isinstance(texts, Collection) or not all(isinstance(text, str) for text in texts):
        raise UserError("texts: expected a list of strings")
    if not isinstance(images, Sized | Path):
        raise UserError(f"images: expected a list of images, found {type(images).__name__}")
    number = 1 if isinstance(images, Path) else len(images)
    if len(texts) == 0 and number == 0:
        raise UserError("expected at least one image and its text, found none")
    if isinstance(images, str | Path):
        raise UserError(f"images: expected a list of images, such as [{str(images)!r}]")
    if number != len(texts):
        raise UserError(f"expected as many images as texts, in two lists: {number} and {len(texts)} were given")


def pixels(image: Any) -> NDArray[np.uint8]:
    """Return an image as a uint8 array [H, W, 3] RGB; a PIL image just as its file, see `read_image`.

    Raises:
        UserError: it is unreadable, or of another shape or type.

    """
    if isinstance(image, str | Path):
        return read_image(Path(image).expanduser())
    if hasattr(image, "convert") and hasattr(image, "getbands"):  # PIL is not imported for arrays
        if not all(image.size):
            raise UserError(f"images: a PIL image of {image.size[0]} × {image.size[1]} pixels has nothing to read")
        return to_array(image, getattr(image, "filename", "") or "images")
    if (
        not isinstance(image, np.ndarray)
        or image.dtype != np.uint8
        or image.ndim != 3
        or image.shape[2] != 3
        or not image.size
    ):
        shown = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
        raise UserError(f"images: expected uint8 [H, W, 3], a PIL image or a path, found {shown}")
    return np.ascontiguousarray(image)  # a view may have strides that torch does not read


def _on_cpu(aggregated: Aggregated) -> Aggregated:
    weights, contributions = aggregated.weights, aggregated.contributions
    return Aggregated(
        aggregated.hidden.float().cpu(),
        None if weights is None else weights.float().cpu(),
        None if contributions is None else contributions.float().cpu(),
        by_removal=aggregated.by_removal,
    )
