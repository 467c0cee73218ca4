"""A causal language model that reads image and text, as the encoder of a run: projector, managers, decoder layers.

Shapes: B examples, L text tokens, M image tokens, S tokens of the answers' tree, T of all, N levels, D width.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from mtlab.config.nodes import lookup_options
from mtlab.config.schema import MultimodalConfig
from mtlab.errors import place_errors
from mtlab.managers.base import MANAGERS, Experts, Intervention, Manager, Modality
from mtlab.model.base import CrossModalOutput, Encoder, ManagerKey
from mtlab.model.initial import initialise
from mtlab.model.layers import to_full_precision
from mtlab.model.mllm.answers import AnswerScorer, grow_tree
from mtlab.model.mllm.passing import Pass, Requests
from mtlab.model.mllm.places import injection_places
from mtlab.model.projection import Projections
from mtlab.seeding import derive
from mtlab.towers.base import Features, TowerShape
from mtlab.towers.causal_lm import CausalLanguageModel


class LanguageModelEncoder(Encoder):
    """Runs a language model on the tokens of an image and of a text, with managers in front of chosen layers.

    The image's tokens come first: the top offered level of the vision tower through the projector, as in LLaVA. Each
    manager hands on the image tokens of its layer; levels go through the same projector, with a learned vector added
    to each. What managers are given is told in docs/mllm.md. The language model itself is the text tower, whose layers
    are run here; it is not a part of this module, so that its parameters have one name.

    Args:
        model: its options.
        manager: the manager node, `{name: …, options…}`.
        text: what the text tower offers: embeddings.
        vision: what the vision tower offers.
        tower: the language model.
        answers: the data set's, scored by their likelihood; None: nothing is scored.

    Raises:
        UserError: the manager is unknown or refuses its place, layers do not exist, or answers cannot be scored.

    """

    first_layer = 0

    def __init__(
        self,
        model: MultimodalConfig,
        manager: Mapping[str, Any],
        text: TowerShape,
        vision: TowerShape,
        tower: CausalLanguageModel,
        answers: Sequence[str] | None = None,
    ) -> None:
        super().__init__()
        places = injection_places(model, manager, text, vision)
        entry, config = lookup_options(MANAGERS, manager, "manager")
        used = {expert for place in places.values() for expert in entry.cls.experts_used(config, place)}
        self.config = model
        self.width, self.standardise, self.initial_std = text.widths[-1], model.standardise, model.init_std
        self.levels = {"text": (), "image": vision.levels}
        read, per_level = used | {len(vision.levels)}, model.projections == "per_level"
        self.projections = Projections(vision, self.width, read, per_level=per_level)
        second = nn.Sequential(nn.GELU(), nn.Linear(self.width, self.width))
        self.projector = second if model.projector_layers == 2 else nn.Identity()
        shape = (len(vision.levels), self.width)
        self.level_embeddings = nn.Parameter(torch.zeros(shape)) if model.level_embeddings else None
        self.managers_by_layer = nn.ModuleDict({str(layer): entry.cls(config, each) for layer, each in places.items()})
        self.scorer: AnswerScorer | None = None
        if answers is not None:
            with place_errors(key="model.answers"):
                tree = grow_tree([tower.encode_answer(each) for each in answers], tower.tokeniser.eos_token_id)
            self.scorer = AnswerScorer(tree, len(answers))
        self._tower = (tower,)  # in a tuple: no submodule

    @property
    def tower(self) -> CausalLanguageModel:
        """The language model."""
        return self._tower[0]

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
        """Read an image and a text; arguments as of `Encoder.forward`, of which both must be towers' levels."""
        assert isinstance(text, Features), "tasks that fuse experts are refused"
        assert isinstance(vision, Features), "tasks that fuse experts are refused"
        del image_index  # every image of a text is read in a pass of its own, alike
        words, mask = text.levels[-1], text.mask
        own, experts = self._image(vision)
        images, length = own.shape[1], words.shape[1]
        tree = None if self.scorer is None else self._tree(words)
        hidden = torch.cat([own, words] + ([] if tree is None else [tree]), 1)
        requests = Requests(
            noise={layer: drawn for (_, layer), drawn in (noise or {}).items()},
            intervene={layer: change for (_, layer), change in (intervene or {}).items()},
            record=record,
        )
        question = Columns(images, images + length, mask)
        asked = Experts(words.unsqueeze(1), mask)
        hidden = self._run(hidden, Pass(Columns(0, images), question, experts, asked, requests), question)
        told = hidden[:, images : images + length]
        last = told[:, -1] if mask is None else told[torch.arange(len(told), device=told.device), mask.sum(1) - 1]
        scores = None
        if self.scorer is not None:
            scores = self.scorer(last, hidden[:, images + length :], self.tower.logits)
        return CrossModalOutput(
            text=told,
            image=hidden[:, :images],
            pooled=torch.cat([last, hidden[:, images - 1]], -1),
            recorded={("image", layer): each for layer, each in requests.recorded.items()} if record else None,
            auxiliary=functools.reduce(torch.add, requests.auxiliary) if requests.auxiliary else None,
            likelihoods=scores,
        )

    def initialise(self, seed: int) -> None:
        """Draw projector and managers with `init_std`, and level embeddings with 1 / √D, as published."""
        initialise(self, seed, "encoder", std=self.initial_std)
        if self.level_embeddings is not None:
            generator = torch.Generator().manual_seed(derive(seed, "init", "encoder.level_embeddings"))
            drawn = torch.randn(self.level_embeddings.shape, generator=generator)
            self.level_embeddings.data.copy_(drawn / math.sqrt(self.width))

    def calibrate(self, text: Features, vision: Features) -> None:  # noqa: ARG002 - embeddings stay as they are
        """Standardise the channels of the vision tower's levels, see `Projections`."""
        self.projections.calibrate(vision)

    def depths(self, modality: Modality) -> Sequence[int]:
        """Return the decoder layers with a manager in front, from 0; none of the text's."""
        return [int(layer) for layer in self.managers_by_layer] if modality == "image" else []

    def manager(self, modality: Modality, depth: int) -> Manager:  # noqa: ARG002 - the image's are all there are
        """Return the manager in front of a decoder layer."""
        manager = self.managers_by_layer[str(depth)]
        assert isinstance(manager, Manager)
        return manager

    def _image(self, vision: Features) -> tuple[Tensor, Experts]:
        """Project the image's own tokens, the top level [B, M, D], and all levels as experts [B, N, M, D]."""
        mapped = {}
        for expert in sorted(self.projections.used):
            projected = self.projector(F.linear(vision.levels[expert - 1], *self.projections.affine(expert)))
            mapped[expert] = to_full_precision(projected)
        own = mapped[len(vision.levels)]
        if self.level_embeddings is not None:
            mapped = {expert: level + self.level_embeddings[expert - 1] for expert, level in mapped.items()}
        states = [mapped[n] if n in mapped else torch.zeros_like(own) for n in range(1, len(vision.levels) + 1)]
        return own, Experts(torch.stack(states, 1))

    def _tree(self, words: Tensor) -> Tensor:
        """Embed the tokens of the answers' tree for each example, [B, S, D]."""
        assert self.scorer is not None
        return self.tower.embed(self.scorer.tokens).to(words.dtype).expand(len(words), -1, -1)

    def _run(self, hidden: Tensor, images: Pass, text: Columns) -> Tensor:
        """Run the decoder layers on the states of image, text and tree, and norm what comes out."""
        network = self.tower.network.model
        places, visible = self._positions(text, hidden)
        rotary = network.rotary_emb(hidden, position_ids=places)
        for number, layer in enumerate(network.layers):
            if str(number) in self.managers_by_layer:
                hidden = images.inject(self.manager("image", number), number, hidden)
            run = functools.partial(
                layer, attention_mask=visible, position_ids=places, position_embeddings=rotary, use_cache=False
            )
            hidden = self._layer(run, hidden)
        normed: Tensor = network.norm(hidden)
        return normed

    def _layer(self, run: Callable[[Tensor], Tensor], hidden: Tensor) -> Tensor:
        if not self.recompute or not torch.is_grad_enabled():
            return run(hidden)
        out: Tensor = checkpoint(run, hidden, use_reentrant=False)
        return out

    def _positions(self, text: Columns, states: Tensor) -> tuple[Tensor, Tensor]:
        """Return the position of each token, [B, T], and which tokens it attends to, bool [B, 1, T, T].

        A token attends to what is in front of it; one of the tree to image, text, and the beginning of its answers.
        """
        batch, whole, device, mask = len(states), states.shape[1], states.device, text.padding
        places = torch.arange(whole, device=device).expand(batch, -1)
        visible = torch.ones(whole, whole, dtype=torch.bool, device=device).tril()
        if self.scorer is not None:
            ends = text.stop if mask is None else text.start + mask.sum(1, keepdim=True)
            tree = (self.scorer.depths - 1 + ends).expand(batch, -1)
            places = torch.cat([places[:, : text.stop], tree], 1)
            visible = visible.clone()
            visible[text.stop :, text.stop :] = self.scorer.seen
        visible = visible.expand(batch, 1, -1, -1)
        if mask is not None:
            real = F.pad(F.pad(mask, (text.start, 0), value=True), (0, whole - text.stop), value=True)
            visible = visible & real[:, None, None, :]
        return places, visible


@dataclass(frozen=True)
class Columns:
    """Tokens of a batch [B, T] that stand in the same columns of every row."""

    start: int
    stop: int
    padding: Tensor | None = None  #: True at real tokens, [B, L]; None: all are real

    def gather(self, states: Tensor) -> Tensor:
        """Take states [B, T, D] at the tokens: [B, L, D]."""
        return states[:, self.start : self.stop]

    def scatter(self, states: Tensor, values: Tensor) -> Tensor:
        """Return states [B, T, D] with `values` [B, L, D] at the tokens, as a new tensor."""
        parts = [states[:, : self.start], values.to(states.dtype), states[:, self.stop :]]
        return torch.cat(parts, 1)
