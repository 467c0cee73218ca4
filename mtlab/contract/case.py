"""What a rule of the contract is tried on: a manager with some options at some place, and inputs for it.

Shapes: B examples, N experts, P previous states, L own tokens, M tokens of the other modality, D width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch
from torch import Tensor
from torch.nn import functional as F

from mtlab.config.check import check_config
from mtlab.config.registry import Entry
from mtlab.config.schema import ModelConfig
from mtlab.managers.base import Aggregated, Experts, Inputs, Manager, Place
from mtlab.model.encoder import CrossModalEncoder
from mtlab.model.initial import initialise
from mtlab.towers.base import Features, TokenGrid, TowerShape

BATCH, EXPERTS, LENGTH, OTHER, WIDTH, LAYERS = 3, 3, 5, 4, 16, 3
GRID = TokenGrid(2, 2)  #: of the encoder's images


@dataclass(frozen=True)
class Case:
    """A registered manager with options, at a place."""

    entry: Entry[Manager]
    options: Mapping[str, Any] = field(default_factory=dict)  #: as in the YAML; the others at their defaults
    place: Place = Place(WIDTH, EXPERTS, 0, LAYERS, "text", EXPERTS + 1)
    tolerance: float = 1e-5  #: by which sums of weights and contributions may miss one

    @property
    def config(self) -> Any:
        """The checked options."""
        return check_config(self.entry.config, self.options)

    @cached_property
    def manager(self) -> Manager:
        """The manager in evaluation mode, its parameters moved off their initial values."""
        return self.build()

    @cached_property
    def inputs(self) -> tuple[Inputs, ...]:
        """What it is called with: without training noise, and then with noise if it asks for some."""
        plain = self.draw_inputs()
        if not self.manager.noise_scale:
            return (plain,)
        return plain, dataclasses.replace(plain, noise=self.manager.draw_noise(BATCH, own_length(self.place)))

    @cached_property
    def recorded(self) -> tuple[Aggregated, ...]:
        """What it returns for each of `inputs`, recorded."""
        return tuple(self.manager(inputs, record=True) for inputs in self.inputs)

    def draw_inputs(self, *, dtype: torch.dtype = torch.float32, garbage: bool = False) -> Inputs:
        """Draw inputs without noise, see `draw_inputs`; the other modality's experts only if it says it reads some."""
        inputs = draw_inputs(self.place, dtype=dtype, garbage=garbage)
        reads_other = self.entry.cls.other_experts_used(self.config, self.place)
        return inputs if reads_other else dataclasses.replace(inputs, other_experts=None)

    def build(self, *, seed: int = 0) -> Manager:
        """Build the manager anew."""
        self.entry.cls.check(self.config, self.place)
        with torch.random.fork_rng(devices=[]):  # what its constructor draws is the same in each
            torch.manual_seed(seed)
            manager = self.entry.cls(self.config, self.place)
        initialise(manager, 0)
        return randomise(manager, seed).eval()

    def encoder(self, layers: int = LAYERS) -> CrossModalEncoder:
        """Build a whole encoder around the manager, for the levels of `draw_features`."""
        text = TowerShape((8, 8), (5, 6), 6, LENGTH, class_token=True, positions=True)
        vision = TowerShape((4, 6, 8, 10, 12), (1, 2, 3, 4, 5), 5, OTHER, class_token=False, positions=False, grid=GRID)
        model = ModelConfig(width=WIDTH, heads=2, cross_layers=layers, mlp_ratio=1, dropout=0.0)
        encoder = CrossModalEncoder(model, {"name": self.entry.name, **self.options}, text, vision)
        initialise(encoder, 0)
        return encoder.eval()


def draw_inputs(place: Place, *, dtype: torch.dtype = torch.float32, garbage: bool = False) -> Inputs:
    """Draw what a manager at this place is called with, always the same.

    Example b has b padded tokens of each modality, but none on a grid, as all of an image's are real.

    Args:
        place: gives N, N', P, L, D.
        dtype: of all states.
        garbage: draw the padded tokens, and no others, anew.

    """
    own, other = None if place.grid else padding_mask(LENGTH), padding_mask(OTHER)
    length = own_length(place)

    def draw(seed: int, length: int, mask: Tensor | None, *levels: int) -> Tensor:
        shape = (BATCH, *levels, length, place.width)
        states = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        if garbage and mask is not None:
            padded = 9 * torch.randn(shape, generator=torch.Generator().manual_seed(seed + 1000))
            states = torch.where(mask.view(BATCH, *[1] * len(levels), length, 1), states, padded)
        return states.to(dtype)

    return Inputs(
        Experts(draw(0, length, own, place.experts), own),
        Experts(draw(200, OTHER, other, place.other_experts), other),
        tuple(draw(1 + depth, length, own) for depth in range(place.depth)),
        draw(100, OTHER, other) if place.depth else None,
        other if place.depth else None,
    )


def draw_features() -> tuple[Features, Features]:
    """Draw what the towers of `Case.encoder` offer: they differ in widths, depths, tokens and class token."""
    generator = torch.Generator().manual_seed(0)
    text = [torch.randn(BATCH, LENGTH, 8, generator=generator) for _ in range(2)]
    vision = [torch.randn(BATCH, OTHER, width, generator=generator) for width in (4, 6, 8, 10, 12)]
    return Features(tuple(text), padding_mask(LENGTH)), Features(tuple(vision))


def own_length(place: Place) -> int:
    """Return L: on a grid, its tokens and those before it."""
    return LENGTH if place.grid is None else place.grid.prefix + place.grid.rows * place.grid.columns


def padding_mask(length: int) -> Tensor:
    """True at real tokens, [B, length]: example b has b padded ones."""
    return torch.arange(length) < length - torch.arange(BATCH).unsqueeze(1)


def take_example(inputs: Inputs, row: int) -> Inputs:
    """Take one example, its padding included."""
    only = slice(row, row + 1)
    return Inputs(
        inputs.experts.at(only),
        None if inputs.other_experts is None else inputs.other_experts.at(only),
        tuple(state[only] for state in inputs.history),
        None if inputs.other is None else inputs.other[only],
        None if inputs.other_mask is None else inputs.other_mask[only],
        None if inputs.noise is None else inputs.noise if len(inputs.noise) == 1 else inputs.noise[only],
    )


def pad_inputs(inputs: Inputs, count: int) -> Inputs:
    """Append padded tokens, of ones, to all states that have a mask; L and M grow by `count`."""

    def longer(states: Tensor, mask: Tensor | None) -> Tensor:
        return states if mask is None else F.pad(states, (0, 0, 0, count), value=1.0)

    def padded(experts: Experts) -> Experts:
        return Experts(longer(experts.states, experts.mask), masked(experts.mask))

    def masked(mask: Tensor | None) -> Tensor | None:
        return None if mask is None else F.pad(mask, (0, count))

    return dataclasses.replace(
        inputs,
        experts=padded(inputs.experts),
        other_experts=None if inputs.other_experts is None else padded(inputs.other_experts),
        history=tuple(longer(state, inputs.experts.mask) for state in inputs.history),
        other=None if inputs.other is None else longer(inputs.other, inputs.other_mask),
        other_mask=masked(inputs.other_mask),
    )


def move_inputs(inputs: Inputs, device: str) -> Inputs:
    """Put inputs on another device."""

    def move(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.to(device)

    other = inputs.other_experts
    return Inputs(
        Experts(inputs.experts.states.to(device), move(inputs.experts.mask)),
        None if other is None else Experts(other.states.to(device), move(other.mask)),
        tuple(state.to(device) for state in inputs.history),
        move(inputs.other),
        move(inputs.other_mask),
        move(inputs.noise),
    )


def randomise(manager: Manager, seed: int = 0) -> Manager:
    """Move every trained parameter off its initial value, where gradients may vanish by symmetry."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in manager.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return manager


def option_variants(cls: type[Any]) -> Iterator[dict[str, Any]]:
    """Go through options worth testing: the defaults, and each other value of each `bool` or `Literal` option."""
    yield {}
    hints = get_type_hints(cls)
    for each in dataclasses.fields(cls):
        hint, default = hints[each.name], getattr(cls(), each.name)
        values = (True, False) if hint is bool else get_args(hint) if get_origin(hint) is Literal else ()
        yield from ({each.name: value} for value in values if value != default)


def place_at(depth: int) -> Place:
    """Return the text's place with this many cross-modal layers below it."""
    return Place(WIDTH, EXPERTS, depth, LAYERS, "text", EXPERTS + 1)


def image_place() -> Place:
    """Return the image's place at the last cross-modal layer: tokens on a grid, behind a class token."""
    grid = TokenGrid(3, 3, prefix=1)
    return Place(WIDTH, EXPERTS, LAYERS - 1, LAYERS, "image", EXPERTS + 1, class_token=True, grid=grid)
