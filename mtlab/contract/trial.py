"""A stranger's manager on trial: called once on small random tensors at plan time, before a run can fail on it.

What it breaks is told in one line. Only what is certain is refused here; `mtlab check NAME` holds a manager to the
whole contract.

Shapes: B examples, N experts, P previous states, L own tokens, M tokens of the other modality, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mtlab.config.nodes import lookup_options
from mtlab.config.registry import Entry
from mtlab.config.schema import ModelConfig
from mtlab.errors import UserError
from mtlab.managers.base import MANAGERS, MODALITIES, Aggregated, Experts, Manager, Place
from mtlab.model.encoder import places
from mtlab.plugin_errors import describe_error
from mtlab.towers.base import TowerShape

BATCH, LENGTH, OTHER = 2, 3, 4
TOLERANCE = 1e-3  #: by which weights and contributions may miss one


def try_out(model: ModelConfig, node: Mapping[str, Any], text: TowerShape, vision: TowerShape) -> None:
    """Put a plug-in's manager on trial at the first and the last of its places; one of ours has been, in our tests.

    Raises:
        UserError: as `refuse_misfit`; unknown manager or option.

    """
    entry, config = lookup_options(MANAGERS, node, "manager")
    if entry.ours:
        return
    for modality, shape in zip(MODALITIES, (text, vision), strict=True):
        where = list(places(model, modality, shape))
        refuse_misfit(entry, config, [*where[:1], *where[1:][-1:]])


def refuse_misfit(entry: Entry[Manager], config: Any, places: Sequence[Place]) -> None:
    """Build a manager at each place, call it once, and refuse what no run could use.

    Args:
        entry: the registered class.
        config: its checked options.
        places: where it is to stand.

    Raises:
        UserError: it raises something; hands back another shape, or numbers that are not finite; records weights that
            do not sum to one though it says so; or has a parameter without a gradient that is not listed in `inert`.

    """
    for place in places:
        where = f"{place.modality}, cross-modal layer {place.depth + 1} of {place.layers}"
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(0)
            try:
                problem = next(_complaints(entry, config, place), None)
            except UserError as error:  # it refuses its options or its place, and says why
                raise error.at(key="manager") from None
            except Exception as error:  # a stranger's code may raise anything
                problem = f"raises {describe_error(error)}"
        if problem is not None:
            raise UserError(f"manager {entry.name!r} of {entry.origin}, {where}: {problem}", key="manager")


def _complaints(entry: Entry[Manager], config: Any, place: Place) -> Iterator[str]:
    entry.cls.check(config, place)
    used = list(entry.cls.experts_used(config, place))
    if wrong := [expert for expert in used if expert not in range(1, place.experts + 1)]:
        yield f"experts_used names {wrong} (expected numbers from 1 to {place.experts})"
    manager = randomised(entry.cls(config, place)).eval()
    if getattr(manager, "place", None) is not place:
        yield "the constructor must call super().__init__(config, place)"
    given = _given(place)
    aggregated = manager(*given, record=True)
    if not isinstance(aggregated, Aggregated):
        yield f"forward hands back {type(aggregated).__name__} (expected Aggregated(hidden, weights, contributions))"
    yield from _hidden(aggregated.hidden, place)
    yield from _shares(aggregated, manager, place)
    yield from _gradients(manager, aggregated.hidden)


def _hidden(hidden: Tensor, place: Place) -> Iterator[str]:
    expected = (BATCH, LENGTH, place.width)
    if not isinstance(hidden, Tensor) or tuple(hidden.shape) != expected:
        found = list(hidden.shape) if isinstance(hidden, Tensor) else type(hidden).__name__
        yield f"hidden has shape {found} (expected [B, L, D], here {list(expected)})"
    if not torch.isfinite(hidden).all():
        yield "hidden holds numbers that are not finite"


def _shares(aggregated: Aggregated, manager: Manager, place: Place) -> Iterator[str]:
    weights, shares, experts = aggregated.weights, aggregated.contributions, place.experts
    if weights is not None:
        allowed = ((1, BATCH), range(experts, experts + place.depth + 1), (1, LENGTH), (1, place.width))
        if weights.ndim != 4 or any(size not in sizes for size, sizes in zip(weights.shape, allowed, strict=True)):
            yield (
                f"weights have shape {list(weights.shape)} (expected [B|1, N + P, L|1, D|1], here B {BATCH}, "
                f"N {experts}, P at most {place.depth}, L {LENGTH}, D {place.width})"
            )
        total = weights[:, :experts].sum(1)
        if manager.weights_sum_to_one and not torch.allclose(total, torch.ones_like(total), atol=TOLERANCE):
            far = total.flatten()[(total - 1).abs().argmax()].item()
            yield (
                f"the experts' weights sum to {far:.3g} (expected 1 over N; "
                "say `weights_sum_to_one = False` if that is meant)"
            )
    if shares is not None:
        expected = (BATCH, experts if weights is None else weights.shape[1], LENGTH)
        if tuple(shares.shape) != expected:
            yield f"contributions have shape {list(shares.shape)} (expected [B, N + P, L], here {list(expected)})"
        total = shares.sum(1)
        if not torch.allclose(total, torch.ones_like(total), atol=TOLERANCE):
            yield f"contributions sum to {total.flatten()[(total - 1).abs().argmax()].item():.3g} (expected 1)"


def _gradients(manager: Manager, hidden: Tensor) -> Iterator[str]:
    trained = {name: p for name, p in manager.named_parameters() if p.requires_grad and name not in manager.inert}
    if not trained:
        return
    if not hidden.requires_grad:
        yield f"no gradient reaches its parameters ({', '.join(trained)}): is something detached?"
    torch.autograd.backward((hidden * torch.randn(hidden.shape)).sum())
    if lost := [name for name, parameter in trained.items() if parameter.grad is None]:
        yield f"{', '.join(lost)} gets no gradient (use it, remove it, or list it in `inert`)"
    for name, parameter in trained.items():
        if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
            yield f"the gradient of {name} is not finite"


def _given(place: Place) -> tuple[Experts, tuple[Tensor, ...], Tensor | None, Tensor | None]:
    own, other = (torch.arange(n) < n - torch.arange(BATCH).unsqueeze(1) for n in (LENGTH, OTHER))
    history = tuple(torch.randn(BATCH, LENGTH, place.width) for _ in range(place.depth))
    experts = Experts(torch.randn(BATCH, place.experts, LENGTH, place.width), own)
    if not place.depth:
        return experts, history, None, None
    return experts, history, torch.randn(BATCH, OTHER, place.width), other


def randomised(manager: Manager, seed: int = 0) -> Manager:
    """Move every trained parameter off its initial value, where gradients may vanish by symmetry."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in manager.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return manager
