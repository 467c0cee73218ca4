"""The rules of the contract that every manager keeps, each a plain function over a `Case`.

Shapes: B examples, N experts, P previous states, L own tokens, M tokens of the other modality, D width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load, save
from torch import Tensor, nn

from mtlab.config.check import check_config, to_plain
from mtlab.config.options import option_of
from mtlab.config.yaml import parse
from mtlab.contract.case import (
    BATCH,
    LAYERS,
    LENGTH,
    WIDTH,
    Case,
    draw_features,
    draw_inputs,
    padding_mask,
    take_example,
)
from mtlab.contract.rule import ContractError, NotApplicable, Rule, require, require_close, rule
from mtlab.managers.base import MODALITIES, Aggregated, Inputs, Manager
from mtlab.managers.interventions import without
from mtlab.managers.search_space import corners

TOLERANCE = 1e-4  #: by which sums of weights and contributions may miss one


@rule("manager")
def is_documented(case: Case) -> None:
    """`mtlab list` has something to show for the class and for each option."""
    require(case.entry.summary, "the class needs a docstring: `mtlab list` shows its first line")
    for field in dataclasses.fields(case.entry.config):
        require(option_of(field).help, f"option {field.name} needs a help line")


@rule("manager")
def search_space_holds_options(case: Case) -> None:
    """What the class would have searched are options of its own, and their ends are values that they take."""
    space = case.entry.cls.search_space()
    unknown = set(space) - {field.name for field in dataclasses.fields(case.entry.config)}
    require(not unknown, f"search_space names {', '.join(sorted(unknown))}, which Config does not have")
    for corner in corners(space):
        check_config(case.entry.config, corner)


@rule("options")
def options_survive_yaml(case: Case) -> None:
    """Written to YAML and read back, the options are the same."""
    written = yaml.safe_dump({"options": to_plain(case.config)})
    read = parse(written, Path("contract.yaml")).data["options"]
    require(check_config(case.entry.config, read) == case.config, f"{to_plain(case.config)} was read back as {read}")


@rule(quick=True)
def is_built_as_declared(case: Case) -> None:
    """It is built by `Manager.__init__`, and `experts_used` names offered experts."""
    used = list(case.entry.cls.experts_used(case.config, case.place))
    wrong = [expert for expert in used if expert not in range(1, case.place.experts + 1)]
    require(not wrong, f"experts_used names {wrong} (expected numbers from 1 to {case.place.experts})")
    own = getattr(case.manager, "place", None)
    require(own is case.place, "the constructor must call super().__init__(config, place)")


@rule(quick=True)
def shapes(case: Case) -> None:
    """Hidden states, weights and contributions have the shapes of the interface, and are finite."""
    result, place = case.recorded, case.place
    if not isinstance(result, Aggregated):
        raise ContractError(f"forward returns {type(result).__name__} (expected Aggregated(hidden, weights, …))")
    hidden, expected = result.hidden, [BATCH, LENGTH, place.width]
    shape = list(hidden.shape) if isinstance(hidden, Tensor) else type(hidden).__name__
    require(shape == expected, f"hidden has shape {shape} (expected [B, L, D], here {expected})")
    require(torch.isfinite(hidden).all(), "hidden holds numbers that are not finite")
    rows = place.experts
    if result.weights is not None:
        shape, rows = list(result.weights.shape), result.weights.shape[1] if result.weights.ndim > 1 else 0
        allowed = ((1, BATCH), range(place.experts, place.experts + place.depth + 1), (1, LENGTH), (1, place.width))
        fits = len(shape) == 4 and all(size in sizes for size, sizes in zip(shape, allowed, strict=True))
        require(
            fits,
            f"weights have shape {shape} (expected [B|1, N + P, L|1, D|1], here B {BATCH}, N {place.experts}, "
            f"P at most {place.depth}, L {LENGTH}, D {place.width})",
        )
    if result.contributions is not None:
        shape, expected = list(result.contributions.shape), [BATCH, rows, LENGTH]
        require(shape == expected, f"contributions have shape {shape} (expected [B, N + P, L], here {expected})")
    if result.auxiliary is not None:
        shape = list(result.auxiliary.shape)
        require(not shape, f"auxiliary has shape {shape} (expected a scalar)")
        require(torch.isfinite(result.auxiliary), "auxiliary is not finite")


@rule(quick=True)
def shares_sum_to_one(case: Case) -> None:
    """Contributions sum to one over all terms, and so do the experts' weights where the class says so."""
    result = case.recorded
    if result.weights is not None and case.manager.weights_sum_to_one:
        far = _farthest_from_one(result.weights[:, : case.place.experts].sum(1))
        require(
            abs(far - 1) <= TOLERANCE,
            f"the experts' weights sum to {far:.3g} (expected 1 over N; say `weights_sum_to_one = False` if that is "
            "meant)",
        )
    if result.contributions is not None:
        require((result.contributions >= 0).all(), "contributions are negative")
        far = _farthest_from_one(result.contributions.sum(1))
        require(abs(far - 1) <= TOLERANCE, f"contributions sum to {far:.3g} (expected 1)")


def _farthest_from_one(sums: Tensor) -> float:
    return sums.flatten()[(sums - 1).abs().nan_to_num(torch.inf).argmax()].item()


@rule(quick=True)
def gradients_reach_every_parameter(case: Case) -> None:
    """Every trained parameter that is not `inert` gets a finite gradient."""
    for name, gradient in _gradients(case).items():
        require(gradient is not None, f"{name} gets no gradient (use it, remove it, or list it in `inert`)")
        require(gradient is None or torch.isfinite(gradient).all(), f"the gradient of {name} is not finite")


@rule()
def every_parameter_learns(case: Case) -> None:
    """Every trained parameter that is not `inert` gets a gradient that is not zero."""
    for name, gradient in _gradients(case).items():
        moves = gradient is not None and gradient.abs().max() > 1e-6
        require(moves, f"{name}'s gradient is zero; list it in `inert` if that is meant")


def _gradients(case: Case) -> dict[str, Tensor | None]:
    """Differentiate a random direction of the output, and the auxiliary loss."""
    manager = case.manager
    trained = {name: p for name, p in manager.named_parameters() if p.requires_grad and name not in manager.inert}
    if not trained:
        return {}
    manager.zero_grad()
    result: Aggregated = manager(draw_inputs(case.place))
    parts = [part for part in (_project(result.hidden), result.auxiliary) if part is not None and part.requires_grad]
    require(parts, f"no gradient reaches its parameters ({', '.join(trained)}): is something detached?")
    torch.autograd.backward(parts)
    return {name: parameter.grad for name, parameter in trained.items()}


def _project(hidden: Tensor) -> Tensor:
    direction = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(7))
    return (hidden * direction).sum()


@rule()
def recording_changes_nothing(case: Case) -> None:
    """The output does not depend on whether weights are recorded, and what is recorded is detached."""
    result = case.recorded
    require_close(result.hidden, case.manager(case.inputs).hidden)
    for name in ("weights", "contributions"):
        tensor = getattr(result, name)
        require(tensor is None or not tensor.requires_grad, f"{name} must be detached")


@rule()
def padding_is_not_seen(case: Case) -> None:
    """What stands in padded tokens changes no real token's output."""
    if not case.manager.masks_padding:
        raise NotApplicable("declares that padding leaks")
    clean, dirty = (case.manager(draw_inputs(case.place, garbage=garbage)).hidden for garbage in (False, True))
    real = padding_mask(LENGTH)
    require_close(clean[real], dirty[real])


@rule()
def examples_do_not_mix(case: Case) -> None:
    """An example's output does not depend on the others of its batch."""
    together = case.manager(case.inputs).hidden
    for row in range(BATCH):
        require_close(case.manager(take_example(case.inputs, row)).hidden, together[row : row + 1])


@rule()
def inputs_are_left_alone(case: Case) -> None:
    """What it is given is not changed in place: the other managers are given the same."""
    given, untouched = draw_inputs(case.place), draw_inputs(case.place)
    case.manager(given, record=True)
    for before, after in zip(_tensors(untouched), _tensors(given), strict=True):
        require(torch.equal(before, after), "an input was changed in place")


def _tensors(inputs: Inputs) -> list[Tensor]:
    states = [inputs.experts.states, inputs.other_experts.states, *inputs.history]
    return states if inputs.other is None else [*states, inputs.other]


@rule()
def reads_the_experts_that_it_says(case: Case) -> None:
    """Gradients reach the experts of `experts_used`, and no others."""
    inputs = draw_inputs(case.place)
    states = inputs.experts.states.requires_grad_()
    hidden = case.manager(inputs).hidden
    if hidden.requires_grad:
        torch.autograd.backward(_project(hidden))
    gradients = [] if states.grad is None else states.grad.abs().amax((0, 2, 3)).tolist()
    read = [expert for expert, gradient in enumerate(gradients, 1) if gradient > 0]
    used = sorted(case.entry.cls.experts_used(case.config, case.place))
    require(read == used, f"reads experts {read}, experts_used names {used}: what is not named is never projected")


@rule()
def evaluation_is_deterministic(case: Case) -> None:
    """Two calls give the same bits."""
    first, second = (case.manager(draw_inputs(case.place)).hidden for _ in range(2))
    require(torch.equal(first, second), "two calls give different outputs")


@rule()
def noise_reaches_the_output(case: Case) -> None:
    """Noise that is asked for is used."""
    if not case.manager.noise_scale:
        raise NotApplicable("asks for no noise")
    noisy, plain = case.manager(case.inputs).hidden, case.manager(draw_inputs(case.place)).hidden
    require(not torch.allclose(noisy, plain), "noise_scale asks for noise that changes nothing")


@rule()
def interventions(case: Case) -> None:
    """Recorded weights can be intervened in; without an expert that is read the output is another."""
    plain, used = case.recorded, case.entry.cls.experts_used(case.config, case.place)
    if plain.weights is None or not used:
        raise NotApplicable("has no weights to intervene in")
    given: list[Tensor] = []

    def keep(weights: Tensor) -> Tensor:
        given.append(weights)
        return weights

    kept = case.manager(case.inputs, intervene=keep)
    require(given, "records weights, and does not call `intervene`")
    rows = given[0].shape[1]
    experts = case.place.experts
    require(rows == experts, f"intervene is given {rows} weights (expected one for each of the {experts} experts)")
    require_close(kept.hidden, plain.hidden)
    for expert in used:
        removed = case.manager(case.inputs, intervene=without(expert), record=True)
        require(removed.weights is not None, "records no weights under an intervention")
        require((removed.weights[:, expert - 1] == 0).all(), f"expert {expert} has weight after it was removed")
        require(not torch.allclose(removed.hidden, plain.hidden), f"without expert {expert} the output is the same")


@rule(any_sizes=True)
def one_expert(case: Case) -> None:
    """A single expert will do."""
    manager = case.build(experts=1)
    hidden = manager(draw_inputs(manager.place), record=True).hidden
    require(torch.isfinite(hidden).all(), "hidden holds numbers that are not finite")


@rule()
def half_precision(case: Case) -> None:
    """bfloat16 in gives bfloat16 out, close to float32."""
    full = case.manager(draw_inputs(case.place)).hidden
    half = case.build().to(torch.bfloat16)(draw_inputs(case.place, dtype=torch.bfloat16), record=True).hidden
    require(half.dtype == torch.bfloat16, f"hidden is {half.dtype} (expected torch.bfloat16)")
    error = ((half.float() - full).norm() / full.norm()).item()
    require(error < 0.05, f"bfloat16 differs from float32 by {error:.1%} (at most 5 %)")


@rule()
def saves_and_loads(case: Case) -> None:
    """Saved to safetensors and loaded into another instance, it gives the same bits."""
    other = case.build(seed=1)
    other.load_state_dict(load(save(case.manager.state_dict())))
    inputs = draw_inputs(case.place)
    require(torch.equal(case.manager(inputs).hidden, other(inputs).hidden), "loaded, it gives another output")


@rule("options", any_sizes=True)
def towers_of_unequal_depth(case: Case) -> None:
    """It works in an encoder whose towers differ in widths, depths, tokens and class token."""
    encoder = case.encoder()
    fused = encoder(*draw_features(), record=True)
    require(fused.pooled.shape == (BATCH, 2 * WIDTH), f"pooled has shape {list(fused.pooled.shape)}")
    places = {(modality, depth) for modality in MODALITIES for depth in range(LAYERS)}
    require(set(fused.recorded) == places, "not every manager recorded something")
    torch.autograd.backward(fused.pooled.sum())
    for name, parameter in encoder.named_parameters():
        finite = parameter.grad is None or torch.isfinite(parameter.grad).all()
        require(finite, f"the gradient of {name} is not finite")


@rule()
def compiles(case: Case) -> None:
    """`torch.compile` takes it as one graph, or the class says why not."""
    inputs = draw_inputs(case.place)
    _compare_compiled(case.manager, "aot_eager", lambda model: model(inputs).hidden)


@rule("manager", slow=True)
def whole_encoder_compiles_by_inductor(case: Case) -> None:
    """A whole encoder around it compiles to machine code."""
    features = draw_features()
    _compare_compiled(case.encoder(), "inductor", lambda model: model(*features).pooled)


def _compare_compiled(module: nn.Module, backend: str, run: Callable[[Any], Tensor]) -> None:
    """Compare the compiled module, one graph without a break, with the plain one: output and gradients."""
    reasons = [part.not_compilable for part in module.modules() if isinstance(part, Manager) and part.not_compilable]
    if reasons:
        raise NotApplicable(reasons[0])
    torch.compiler.reset()
    results = []
    for model in (module, torch.compile(module, fullgraph=True, backend=backend)):
        module.zero_grad()
        out = run(model)
        if out.requires_grad:
            torch.autograd.backward(out.sum())
        results.append([out.detach(), *(p.grad for p in module.parameters() if p.grad is not None)])
    require_close(results[1], results[0], rtol=1e-4, atol=1e-5)


RULES = tuple(each for each in list(globals().values()) if isinstance(each, Rule))  #: in the order of their definition
