"""What fuses a text and an image, as tasks, training and recordings see it: two towers, or a language model.

Shapes: B examples, L text tokens, M image tokens, D width, A answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from mtlab.managers.base import MODALITIES, Aggregated, Experts, Intervention, Manager, Modality
from mtlab.towers.base import Features

ManagerKey = tuple[Modality, int]  #: one manager: its modality, and the number of the layer that it stands in front of


@dataclass(frozen=True)
class CrossModalOutput:
    """The output of an encoder for a text and an image."""

    text: Tensor  #: [B, L, D]
    image: Tensor  #: [B, M, D]
    pooled: Tensor  #: [B, 2D], text before image
    recorded: Mapping[ManagerKey, Aggregated] | None = None  #: weights and contributions of every manager, if asked for
    auxiliary: Tensor | None = None  #: sum of the managers' auxiliary losses, weighted; None if there is none
    #: Log-likelihoods by a language model: of each of the data set's answers, [B, A]; of a given `continuation`,
    #: [B, 1]; or, where answers are generated, of their first token, [B, vocabulary]. None: a head answers.
    likelihoods: Tensor | None = None


class Encoder(nn.Module):
    """Fuses a text and an image, with managers in front of some of its layers.

    Attributes:
        width: D.
        levels: of each tower that managers may be offered, 1-based; none where a modality has no managers. Recordings
            have a row for each.
        initial_std: deviation of initial weights; None: 1 / √inputs.
        standardise: give every channel of the levels mean 0 and deviation 1, by `calibrate`.
        recompute: compute the activations of each layer again in the backward pass instead of keeping them.

    """

    width: int
    levels: Mapping[Modality, tuple[int, ...]]
    standardise: bool
    initial_std: float | None
    projector_modules: tuple[str, ...] = ()  #: what makes up the projector of a language model
    projector_lr_scale: float = 1.0  #: its learning-rate multiplier
    first_layer: ClassVar[int] = 1  #: how a user counts the layer at depth 0
    recompute: bool = False

    def forward(
        self,
        text: Features | Experts,
        vision: Features | Experts,
        *,
        image_index: int = 0,
        noise: Mapping[ManagerKey, Tensor] | None = None,
        intervene: Mapping[ManagerKey, Intervention] | None = None,
        record: bool = False,
    ) -> CrossModalOutput:
        """Fuse texts with one image each.

        Args:
            text: the text tower's offered levels, each [B, L, D_n], and their mask; or their `experts`.
            vision: the vision tower's, each [B, M, D_n]; likewise.
            image_index: which of the images that a text goes with these are, from 0.
            noise: of the managers in training; see `draw_noise`.
            intervene: maps managers' weights to those used instead.
            record: also return weights and contributions of every manager.

        """
        raise NotImplementedError

    def fuse_images(
        self,
        text: Features,
        images: Sequence[Features],
        *,
        noise: Sequence[Mapping[ManagerKey, Tensor]],
        intervene: Sequence[Mapping[ManagerKey, Intervention] | None],
        record: bool = False,
        continuation: Tensor | None = None,
    ) -> list[CrossModalOutput]:
        """Fuse texts with all of their images: in a pass for each, unless a subclass reads them together.

        Args:
            text: of B texts.
            images: the first image of each text, the second ones, and so on.
            noise: of the managers in training, for each of `images`.
            intervene: with managers' weights, for each of `images`.
            record: also return weights and contributions of every manager.
            continuation: tokens of an answer behind each text, of which a language model gives the likelihood, [B, S].

        Returns:
            one output for each of `images`

        """
        assert continuation is None, "of language models alone"
        return [
            self(text, image, image_index=index, noise=noise[index], intervene=intervene[index], record=record)
            for index, image in enumerate(images)
        ]

    def generate(
        self, text: Features, vision: Features, *, intervene: Mapping[ManagerKey, Intervention] | None = None
    ) -> Tensor:
        """Answer in tokens of a language model, [B, S]; only where `model.answers` is generate."""
        raise NotImplementedError

    def score(
        self,
        text: Features,
        vision: Features,
        candidates: Tensor,
        *,
        intervene: Mapping[ManagerKey, Intervention] | None = None,
    ) -> Tensor:
        """Score continuations [B, C, S] of each prompt by their log-likelihood, [B, C]; of language models alone."""
        raise NotImplementedError

    def initialise(self, seed: int) -> None:
        """Draw the initial values of all parameters from a seed."""
        raise NotImplementedError

    def experts(self, modality: Modality, features: Features) -> Experts:
        """Project a tower's levels once, for several fusions."""
        raise NotImplementedError

    def calibrate(self, text: Features, vision: Features) -> None:
        """Standardise the channels of the levels by a sample of the training data, see `Projections`."""
        raise NotImplementedError

    def manager(self, modality: Modality, depth: int) -> Manager:
        """Return the manager of a modality in front of a layer, 0 at the bottom."""
        raise NotImplementedError

    def depths(self, modality: Modality) -> Sequence[int]:
        """Return the layers that the managers of a modality stand in front of, ascending."""
        raise NotImplementedError

    def rows_offered(self, modality: Modality, depth: int) -> Sequence[int]:
        """Return which of `levels` the experts of a manager are, from 0: all by default, in order."""
        return range(self.manager(modality, depth).place.experts)

    def holds_others(self, modality: Modality, expert: int) -> bool:  # noqa: ARG002 - an encoder with gates reads them
        """Return whether an expert (1-based) holds other levels beside its own, which stay when it is removed."""
        return False

    def offered_levels(self, modality: Modality) -> Sequence[int]:
        """Return those of `levels` that some manager of a modality is offered: all by default."""
        return self.levels[modality]

    def keys(self) -> Iterator[ManagerKey]:
        """Yield modality and place of all managers: of `depths`, and of those behind the last layer."""
        for modality in MODALITIES:
            yield from ((modality, depth) for depth in self.depths(modality))

    def managers(self) -> Iterator[tuple[ManagerKey, Manager]]:
        """Yield all managers with their modality and depth."""
        for key in self.keys():
            yield key, self.manager(*key)

    def layer_weight_names(self) -> set[str]:
        """Return the names of the parameters that weigh layers: they train in a parameter group of their own."""
        paths = {id(module): name for name, module in self.named_modules()}
        return {
            f"{paths[id(manager)]}.{name}"
            for _, manager in self.managers()
            for name, _ in manager.named_parameters()
            if name in manager.layer_weight_names
        }
