"""The cross-modal encoder: projections, managers, cross-modal layers, poolers; one fusion loop that every task uses.

Shapes: B examples, L text tokens, M image tokens, N experts, D width of the cross-modal layers, K their number.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mtlab.config.nodes import lookup_options
from mtlab.config.registry import Entry
from mtlab.config.schema import ModelConfig
from mtlab.errors import UserError, place_errors
from mtlab.managers.base import (
    MANAGERS,
    MODALITIES,
    Aggregated,
    Experts,
    Inputs,
    Intervention,
    Manager,
    Modality,
    Place,
    build_manager,
)
from mtlab.managers.contributions import measure_removals
from mtlab.model.base import CrossModalOutput, Encoder, ManagerKey
from mtlab.model.initial import initialise
from mtlab.model.layers import CrossModalLayer, Pooler
from mtlab.model.projection import Embeddings, Projections, apply_gate, project
from mtlab.plugin_errors import describe_error
from mtlab.towers.base import Features, TowerShape

_PAIRS: tuple[tuple[Modality, Modality], ...] = (("text", "image"), ("image", "text"))


def places(
    model: ModelConfig, node: Mapping[str, Any], modality: Modality, shape: TowerShape, other: TowerShape
) -> Iterator[Place]:
    """Yield the places of a modality's managers, lowest first; one behind the last layer if they mix its output.

    Args:
        model: the encoder's options.
        node: of the manager, `{name: …, options…}`.
        modality: "text" or "image".
        shape: what the modality's tower offers.
        other: what the other modality's tower offers.

    Raises:
        UserError: unknown manager or option, wrong type, value out of range.

    """
    entry, config = lookup_options(MANAGERS, node, "manager")
    layers = model.cross_layers
    for depth in range(layers + 1):
        place = Place(
            model.width,
            len(shape.levels),
            depth,
            layers,
            modality,
            len(other.levels),
            class_token=shape.class_token,
            other_class_token=other.class_token,
            grid=shape.grid,
        )
        if depth < layers or (layers and mixes_output(entry, config, place)):
            yield place


def mixes_output(entry: Entry[Manager], config: Any, place: Place) -> bool:
    """Ask a manager whether it also mixes what leaves the last layer, see `Manager.mixes_output`.

    Raises:
        UserError: it fails to say so.

    """
    try:
        return entry.cls.mixes_output(config, place)
    except UserError:
        raise
    except Exception as error:  # a plug-in's
        raise UserError(f"manager {entry.name!r}: mixes_output raises {describe_error(error)}", key="manager") from None


def levels_read(
    model: ModelConfig, node: Mapping[str, Any], text: TowerShape, vision: TowerShape
) -> dict[ManagerKey, list[int]]:
    """Return which levels of its tower (1-based) each manager reads; nothing is built.

    Raises:
        UserError: unknown manager or option, wrong type, value out of range; or the manager refuses its place, as a
            bridge that names an expert not on offer, or there is none as no layer follows.

    """
    entry, config = lookup_options(MANAGERS, node, "manager")
    if not model.cross_layers and (entry.name, config) != ("last", entry.config()):
        raise UserError("reads nothing with `model.cross_layers: 0`, which pools the top levels: last", key="manager")
    levels: dict[ManagerKey, list[int]] = {}
    shapes: dict[Modality, TowerShape] = {"text": text, "image": vision}
    for own, other in _PAIRS:
        shape = shapes[own]
        for place in places(model, node, own, shape, shapes[other]):
            with place_errors(key="manager"):
                entry.cls.check(config, place)
            used = entry.cls.experts_used(config, place)
            levels[own, place.depth] = [shape.levels[expert - 1] for expert in used]
    return levels


class ModalityBranch(nn.Module):
    """The modules of one modality: its gate, projections, embeddings, managers, cross-modal layers and pooler.

    Args:
        model: the encoder's options.
        manager: the manager node, `{name: …, options…}`.
        modality: "text" or "image".
        shape: what the modality's tower offers.
        other: what the other modality's tower offers.
        token_types: how many inputs have a token type of their own, such as the two images of a pair.

    Attributes:
        reads_other: does the manager at each depth read the other modality's experts?

    """

    def __init__(
        self,
        model: ModelConfig,
        manager: Mapping[str, Any],
        modality: Modality,
        shape: TowerShape,
        other: TowerShape,
        token_types: int = 1,
    ) -> None:
        super().__init__()
        entry, config = lookup_options(MANAGERS, manager, "manager")
        stack = list(places(model, manager, modality, shape, other))
        opposite = places(model, manager, dict(_PAIRS)[modality], other, shape)
        used = {expert for place in stack for expert in entry.cls.experts_used(config, place)}
        used |= {expert for place in opposite for expert in entry.cls.other_experts_used(config, place)}
        self.shape, self.neutral = shape, entry.cls.neutral
        self.reads_other = tuple(bool(entry.cls.other_experts_used(config, place)) for place in stack)
        self.gate = nn.Linear(shape.widths[-1], shape.widths[-1]) if shape.gate else None
        per_level = model.projections == "per_level"
        self.projections = Projections(shape, model.width, used or {len(shape.levels)}, per_level=per_level)
        self.embeddings = Embeddings(shape, model.width, layers=model.layer_embeddings, token_types=token_types)
        self.managers = nn.ModuleList(build_manager(entry.cls, config, place) for place in stack)
        self.layers = nn.ModuleList(
            CrossModalLayer(model.width, model.heads, model.mlp_ratio, model.dropout, model.norm_eps)
            for _ in range(model.cross_layers)
        )
        self.pooler = Pooler(model.width, shape.class_token)

    def experts(self, features: Features, token_type: int = 0) -> Experts:
        """Gate and project the tower's levels, see `project`; then remove one, if one is to be removed.

        A gated top level holds the sum of those below still, and is removed by the gate alone.
        """
        experts = project(self._apply_gate(features), self.projections, self.embeddings, token_type)
        removed = features.removed
        gated = self.gate is not None and removed == len(features.levels)
        return experts if removed is None or gated else experts.without(removed, self.neutral)

    def calibrate(self, features: Features) -> None:
        """Standardise the channels of the levels by these, see `Projections.calibrate`."""
        self.projections.calibrate(self._apply_gate(features))

    def add_positions(self, hidden: Tensor) -> Tensor:
        """Add the positions that the tower lacks to the input of the first cross-modal layer, [B, L, D]."""
        return hidden if self.embeddings.position is None else self.embeddings.position(hidden)

    def _apply_gate(self, features: Features) -> Features:
        return features if self.gate is None else apply_gate(features, self.gate)


class CrossModalEncoder(Encoder):
    """Fuses what two towers offer: a manager and a cross-modal layer per modality and depth, then a pooler.

    Args:
        model: the encoder's options.
        manager: the manager node, `{name: …, options…}`.
        text: what the text tower offers.
        vision: what the vision tower offers; widths, depths and numbers of levels may all differ from the text's.
        images: how many images one text goes with; each has a token type of its own.

    Raises:
        UserError: the manager is unknown, its options are wrong, or it cannot stand where it is put.

    """

    def __init__(
        self,
        model: ModelConfig,
        manager: Mapping[str, Any],
        text: TowerShape,
        vision: TowerShape,
        images: int = 1,
    ) -> None:
        super().__init__()
        levels_read(model, manager, text, vision)
        self.config = model
        self.width, self.standardise, self.initial_std = model.width, model.standardise, model.init_std
        self.levels = {"text": text.levels, "image": vision.levels}
        self.text = ModalityBranch(model, manager, "text", text, vision)
        self.image = ModalityBranch(model, manager, "image", vision, text, token_types=images)

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
        """Fuse texts with one image each; arguments as of `Encoder.forward`."""
        noise, intervene = noise or {}, intervene or {}
        recorded: dict[ManagerKey, Aggregated] = {}
        auxiliary: list[Tensor] = []
        experts: dict[Modality, Experts] = {
            "text": text if isinstance(text, Experts) else self.text.experts(text),
            "image": vision if isinstance(vision, Experts) else self.image.experts(vision, image_index),
        }
        history: dict[Modality, list[Tensor]] = {"text": [], "image": []}

        def aggregate(depth: int) -> dict[Modality, Tensor]:
            hidden: dict[Modality, Tensor] = {}
            for own, other in _PAIRS:
                inputs = Inputs(
                    experts=experts[own],
                    other_experts=experts[other] if self._stream(own).reads_other[depth] else None,
                    history=tuple(history[own]),
                    other=history[other][-1] if depth else None,
                    other_mask=experts[other].mask if depth else None,
                    noise=noise.get((own, depth)),
                )
                manager = self.manager(own, depth)
                result: Aggregated = manager(inputs, intervene=intervene.get((own, depth)), record=record)
                hidden[own] = self.layer_input(own, depth, result.hidden)
                if result.auxiliary is not None:
                    auxiliary.append(result.auxiliary)
                if record:
                    known = result.contributions is not None or (own, depth) in intervene
                    recorded[own, depth] = result if known else measure_removals(manager, inputs, result)
            return hidden

        for depth in range(self.config.cross_layers):
            hidden = aggregate(depth)
            for own, other in _PAIRS:
                layer, masks = self.layer(own, depth), (experts[own].mask, experts[other].mask)
                history[own].append(self._run(layer, hidden[own], hidden[other], *masks))
        if self.config.cross_layers:
            out = {m: history[m][-1] for m in MODALITIES}
        else:
            out = {m: self._stream(m).add_positions(experts[m].states[:, -1]) for m in MODALITIES}
        if len(self.text.managers) > self.config.cross_layers:
            out = aggregate(self.config.cross_layers)
        pooled = torch.cat([self._stream(m).pooler(out[m], experts[m].mask) for m in MODALITIES], -1)
        loss = functools.reduce(torch.add, auxiliary) if auxiliary else None
        return CrossModalOutput(out["text"], out["image"], pooled, recorded if record else None, loss)

    def initialise(self, seed: int) -> None:
        """Draw the initial values, see `initialise` of `model/initial.py`."""
        initialise(self, seed, "encoder", std=self.initial_std, position_std=self.config.position_std)

    def experts(self, modality: Modality, features: Features) -> Experts:
        """Gate and project a tower's levels once, for several fusions."""
        return self._stream(modality).experts(features)

    def calibrate(self, text: Features, vision: Features) -> None:
        """Standardise the channels of both towers' levels by a sample of the training data, see `Projections`."""
        self.text.calibrate(text)
        self.image.calibrate(vision)

    def holds_others(self, modality: Modality, expert: int) -> bool:
        """Return whether a gate adds the other levels to this one, the top one."""
        return self._stream(modality).gate is not None and expert == len(self.levels[modality])

    def depths(self, modality: Modality) -> range:
        """Return the cross-modal layers, from 0: each has a manager of each modality."""
        return range(self.config.cross_layers if len(self._stream(modality).managers) else 0)

    def keys(self) -> Iterator[ManagerKey]:
        """Yield modality and depth of all managers, K behind the last layer."""
        for modality in MODALITIES:
            for depth in range(len(self._stream(modality).managers)):
                yield modality, depth

    def manager(self, modality: Modality, depth: int) -> Manager:
        """Return the manager of a modality with `depth` cross-modal layers below it, K behind the last."""
        manager = self._stream(modality).managers[depth]
        assert isinstance(manager, Manager)
        return manager

    def layer_input(self, modality: Modality, depth: int, hidden: Tensor) -> Tensor:
        """Turn what a manager hands on, [B, L, D], into what its layer reads, [B, L, D].

        At the first (depth 0), positions that the tower lacks are added.
        """
        return hidden if depth else self._stream(modality).add_positions(hidden)

    def layer(self, modality: Modality, depth: int) -> CrossModalLayer:
        """Return the cross-modal layer of a modality with `depth` layers below it."""
        layer = self._stream(modality).layers[depth]
        assert isinstance(layer, CrossModalLayer)
        return layer

    def _run(self, layer: Callable[..., Tensor], *inputs: Tensor | None) -> Tensor:
        if not self.recompute or not torch.is_grad_enabled():
            return layer(*inputs)
        out: Tensor = checkpoint(layer, *inputs, use_reentrant=False)
        return out

    def _stream(self, modality: Modality) -> ModalityBranch:
        return self.text if modality == "text" else self.image


def noise_shapes(
    encoder: Encoder, text: Features | Experts, vision: Features | Experts
) -> dict[ManagerKey, tuple[int, ...]]:
    """Return the shape of the training noise of each manager that asks for some, see `Manager.noise_shape`.

    Where a text goes with several images, B counts images: each is fused with the text in a pass of its own.
    """
    images, lengths = _noise_sizes(text, vision)
    noisy = (each for each in encoder.managers() if each[1].noise_scale)
    return {key: manager.noise_shape(images, lengths[key[0]]) for key, manager in noisy}


def draw_noise(
    encoder: Encoder,
    text: Features | Experts,
    vision: Features | Experts,
    generator_for: Callable[[Modality, int], torch.Generator],
) -> dict[ManagerKey, Tensor]:
    """Draw the training noise of all managers, outside of compiled regions, see `Manager.draw_noise`.

    Args:
        encoder: whose managers it is for.
        text: the batch's text levels or experts, for their sizes and device.
        vision: the batch's image levels or experts.
        generator_for: returns the generator of a modality and depth; noise is drawn on its device, then moved.

    """
    images, lengths = _noise_sizes(text, vision)
    device = (text.states if isinstance(text, Experts) else text.levels[0]).device
    noisy = (each for each in encoder.managers() if each[1].noise_scale)
    return {key: manager.draw_noise(images, lengths[key[0]], generator_for(*key)).to(device) for key, manager in noisy}


def _noise_sizes(text: Features | Experts, vision: Features | Experts) -> tuple[int, dict[Modality, int]]:
    """Return B and, of each modality, its number of tokens."""
    words, patches = (given.states[:, 0] if isinstance(given, Experts) else given.levels[0] for given in (text, vision))
    return len(patches), {"text": words.shape[1], "image": patches.shape[1]}
