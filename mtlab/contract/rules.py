"""The rules of the contract that every manager keeps, each a plain function over a `Case`.

Shapes: B examples, N experts, P previous states, L own tokens, M tokens of the other modality, D width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from mtlab.contract.case import (
    BATCH,
    LAYERS,
    WIDTH,
    Case,
    draw_features,
    image_place,
    move_inputs,
    option_variants,
    own_length,
    pad_inputs,
    place_at,
    take_example,
)
from mtlab.contract.declaration_rules import DECLARATION_RULES
from mtlab.contract.intervention_rules import INTERVENTION_RULES, JOINT_SOFTMAX
from mtlab.contract.rule import ContractError, NotApplicable, Rule, require, require_close, rule
from mtlab.managers.base import Aggregated, Experts, Inputs, Manager, Place
from mtlab.model.initial import initialise
from mtlab.plugin_errors import describe_error


@rule(quick=True)
def shapes(case: Case) -> None:
    """Hidden states, weights and contributions have the shapes of the interface, and are finite."""
    for result in case.recorded:
        _check_shapes(result, case.place)


def _check_shapes(result: Any, place: Place) -> None:
    if not isinstance(result, Aggregated):
        raise ContractError(f"forward returns {type(result).__name__} (expected Aggregated(hidden, weights, …))")
    hidden, length = result.hidden, own_length(place)
    expected = [BATCH, length, place.width]
    shape = list(hidden.shape) if isinstance(hidden, Tensor) else type(hidden).__name__
    require(shape == expected, f"hidden has shape {shape} (expected [B, L, D], here {expected})")
    require(torch.isfinite(hidden).all(), "hidden holds numbers that are not finite")
    for name in ("weights", "contributions", "auxiliary"):
        value = getattr(result, name)
        require(value is None or isinstance(value, Tensor), f"{name} is of type {type(value).__name__}, not a tensor")
    rows = 0
    if result.weights is not None:
        shape, rows = list(result.weights.shape), result.weights.shape[1] if result.weights.ndim > 1 else 0
        allowed = ((1, BATCH), range(place.experts, place.experts + place.depth + 1), (1, length), (1, place.width))
        fits = len(shape) == 4 and all(size in sizes for size, sizes in zip(shape, allowed, strict=True))
        require(
            fits,
            f"weights have shape {shape} (expected [B|1, N + P, L|1, D|1], here B {BATCH}, N {place.experts}, "
            f"P at most {place.depth}, L {length}, D {place.width})",
        )
    if result.contributions is not None:
        require(result.weights is not None, "contributions are recorded without weights")
        shape, expected = list(result.contributions.shape), [BATCH, rows, length]
        require(shape == expected, f"contributions have shape {shape} (expected [B, N + P, L], here {expected})")
    if result.auxiliary is not None:
        shape = list(result.auxiliary.shape)
        require(not shape, f"auxiliary has shape {shape} (expected a scalar)")
        require(torch.isfinite(result.auxiliary), "auxiliary is not finite")


@rule(quick=True)
def shares_sum_to_one(case: Case) -> None:
    """Contributions sum to one over all terms, and so do the experts' weights where the class says so."""
    for result in case.recorded:
        if result.weights is not None and case.manager.weights_sum_to_one:
            far = _farthest_from_one(result.weights[:, : case.place.experts].sum(1))
            joint = abs(_farthest_from_one(result.weights.sum(1)) - 1) <= case.tolerance
            with_previous = ", and to 1 with those of the previous states" if joint else ""
            require(
                abs(far - 1) <= case.tolerance,
                f"the experts' weights sum to {far:.6g}{with_previous} (expected 1 over N; say `weights_sum_to_one = "
                f"False` if that is meant{f'. {JOINT_SOFTMAX}' if joint else ''})",
            )
        if result.contributions is not None:
            require((result.contributions >= 0).all(), "contributions are negative")
            far = _farthest_from_one(result.contributions.sum(1))
            require(abs(far - 1) <= case.tolerance, f"contributions sum to {far:.6g} (expected 1)")


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
    """Return the gradients of the trained parameters that are not `inert`."""
    manager = case.manager
    trained = {name: p for name, p in manager.named_parameters() if p.requires_grad and name not in manager.inert}
    if not trained:
        return {}
    manager.zero_grad()
    differentiated = _backward(manager(case.draw_inputs()))
    require(differentiated, f"no gradient reaches its parameters ({', '.join(trained)}): is something detached?")
    return {name: parameter.grad for name, parameter in trained.items()}


def _backward(result: Aggregated) -> bool:
    """Differentiate a random direction of the output, and the auxiliary loss; False if neither has a graph."""
    parts = [part for part in (_project(result.hidden), result.auxiliary) if part is not None and part.requires_grad]
    if parts:
        torch.autograd.backward(parts)
    return bool(parts)


def _project(hidden: Tensor) -> Tensor:
    direction = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(7))
    return (hidden * direction).sum()


@rule("manager")
def names_its_parameters(case: Case) -> None:
    """What `layer_weight_names` and `inert` name are parameters, with some options at some layer."""
    named: dict[str, set[str]] = {"layer_weight_names": set(), "inert": set()}
    parameters: set[str] = set()
    for options in option_variants(case.entry.config):
        for place in (place_at(0), place_at(LAYERS - 1), image_place()):
            manager = dataclasses.replace(case, options=options, place=place).manager
            parameters |= {name for name, _ in manager.named_parameters()}
            for attribute, names in named.items():
                value = getattr(manager, attribute)
                require(not isinstance(value, str), f"{attribute} is a word (expected frozenset({{{value!r}}}))")
                names |= set(value)
    for attribute, names in named.items():
        unknown = sorted(names - parameters)
        require(not unknown, f"{attribute} names {', '.join(unknown)}; parameters: {', '.join(sorted(parameters))}")


@rule()
def recording_changes_nothing(case: Case) -> None:
    """The output does not depend on whether weights are recorded, and what is recorded is detached."""
    for inputs, result in zip(case.inputs, case.recorded, strict=True):
        require_close(result.hidden, case.manager(inputs).hidden)
        for name in ("weights", "contributions"):
            tensor = getattr(result, name)
            require(tensor is None or not tensor.requires_grad, f"{name} must be detached")


@rule()
def padding_is_not_seen(case: Case) -> None:
    """Padded tokens, and how many there are, change neither real tokens' output nor the auxiliary loss."""
    if not case.manager.masks_padding:
        raise NotApplicable("declares that padding leaks")
    inputs = case.draw_inputs()
    clean, dirty, longer = (
        case.manager(given) for given in (inputs, case.draw_inputs(garbage=True), pad_inputs(inputs, 2))
    )
    real = slice(None) if inputs.experts.mask is None else inputs.experts.mask
    require_close(clean.hidden[real], dirty.hidden[real])
    same = torch.allclose(clean.hidden[real], longer.hidden[:, : clean.hidden.shape[1]][real], rtol=1e-4, atol=1e-5)
    require(same, "depends on how many padded tokens there are: divide sums by the number of real ones, not by L or M")
    if clean.auxiliary is not None:
        same = all(torch.allclose(clean.auxiliary, each.auxiliary, rtol=1e-4) for each in (dirty, longer))
        require(same, "auxiliary depends on padded tokens")


@rule()
def examples_do_not_mix(case: Case) -> None:
    """An example does not depend on the others; the auxiliary loss is a mean."""
    if not case.manager.independent_examples:
        raise NotApplicable("declares that examples depend on each other")
    for name, module in case.manager.named_modules():
        require(
            not isinstance(module, nn.modules.batchnorm._BatchNorm),
            f"{name} mixes examples in training, and sees padded tokens: say `independent_examples = False` if that is "
            "meant",
        )
    _refuse_state(case)
    for inputs in case.inputs:
        together = case.manager(inputs)
        alone = [case.manager(take_example(inputs, row)) for row in range(BATCH)]
        require_close(torch.cat([each.hidden for each in alone]), together.hidden)
        if together.auxiliary is not None:
            mean = torch.stack([each.auxiliary for each in alone]).mean()
            same = torch.allclose(mean, together.auxiliary, rtol=1e-4)
            require(same, "auxiliary is not the mean of what each example has alone")


def _refuse_state(case: Case) -> None:
    """Refuse what a forward pass in training leaves behind, on which batches and micro-batches would then depend."""
    manager, inputs = case.build().train(), case.inputs[0]
    before = {name: buffer.clone() for name, buffer in manager.named_buffers()}
    results = []
    for _ in range(2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            results.append(manager(inputs).hidden)
    meant = "the examples that came before are mixed in: say `independent_examples = False` if that is meant"
    for name, buffer in manager.named_buffers():
        require(torch.equal(before.get(name, buffer), buffer), f"a forward pass in training changes {name}, so {meant}")
    require(torch.equal(*results), f"a second forward pass in training gives another result, so {meant}")


@rule()
def inputs_are_left_alone(case: Case) -> None:
    """What it is given is not changed in place: the other managers are given the same."""
    given, untouched = case.draw_inputs(), case.draw_inputs()
    case.manager(given, record=True)
    for before, after in zip(_tensors(untouched), _tensors(given), strict=True):
        require(torch.equal(before, after), "an input was changed in place")


def _tensors(inputs: Inputs) -> list[Tensor]:
    other_states = None if inputs.other_experts is None else inputs.other_experts.states
    states = [inputs.experts.states, other_states, *inputs.history, inputs.other]
    masks = [inputs.experts.mask, inputs.other_mask]
    return [each for each in (*states, *masks) if each is not None]


@rule()
def reads_the_experts_that_it_says(case: Case) -> None:
    """Gradients reach the experts of `experts_used` and `other_experts_used`, and no others."""
    inputs, cls = case.draw_inputs(), case.entry.cls
    declared: list[tuple[str, Experts, Sequence[int]]] = [
        ("experts_used", inputs.experts, cls.experts_used(case.config, case.place))
    ]
    if inputs.other_experts is not None:
        other_used = cls.other_experts_used(case.config, case.place)
        declared.append(("other_experts_used", inputs.other_experts, other_used))
    for _, experts, _ in declared:
        experts.states.requires_grad_()
    _backward(case.manager(inputs))
    for name, experts, used in declared:
        gradient = experts.states.grad
        gradients = [] if gradient is None else gradient.abs().amax((0, 2, 3)).tolist()
        read = {expert for expert, largest in enumerate(gradients, 1) if largest > 0}
        require(
            read == set(used),
            f"reads experts {sorted(read)}, {name} names {sorted(used)}: what is not named is never projected",
        )


@rule()
def evaluation_is_deterministic(case: Case) -> None:
    """Two calls give the same bits."""
    first, second = (case.manager(case.draw_inputs()).hidden for _ in range(2))
    require(torch.equal(first, second), "two calls give different outputs")


@rule()
def starts_as_identity(case: Case) -> None:
    """Newly built it hands on the previous state, at the first layer the top expert, where the class says so."""
    if not case.manager.starts_as_identity:
        raise NotApplicable("does not say that it starts as the identity")
    inputs, manager = case.draw_inputs(), case.entry.cls(case.config, case.place)
    initialise(manager, 0)
    handed_on = inputs.history[-1] if inputs.history else inputs.experts.levels[-1]
    require(torch.equal(manager.eval()(inputs).hidden, handed_on), "changes the previous state before it has learned")


@rule()
def noise_reaches_the_output(case: Case) -> None:
    """Noise that is asked for is used."""
    if not case.manager.noise_scale:
        raise NotApplicable("asks for no noise")
    plain, noisy = (case.manager(inputs).hidden for inputs in case.inputs)
    require(not torch.allclose(noisy, plain), "noise_scale asks for noise that changes nothing")


@rule(any_sizes=True)
def one_expert(case: Case) -> None:
    """A single expert will do."""
    single = dataclasses.replace(case, place=dataclasses.replace(case.place, experts=1))
    hidden = single.manager(single.draw_inputs(), record=True).hidden
    require(torch.isfinite(hidden).all(), "hidden holds numbers that are not finite")


@rule()
def half_precision(case: Case) -> None:
    """bfloat16 in gives bfloat16 out, close to float32."""
    full = case.manager(case.draw_inputs()).hidden
    half = case.build().to(torch.bfloat16)(case.draw_inputs(dtype=torch.bfloat16), record=True).hidden
    require(half.dtype == torch.bfloat16, f"hidden is {half.dtype} (expected torch.bfloat16)")
    error = ((half.float() - full).norm() / full.norm()).item()
    require(error < 0.05, f"bfloat16 differs from float32 by {error:.1%} (at most 5 %)")


@rule()
def computes_on_one_device(case: Case) -> None:
    """On another device than the CPU it computes there alone, as it would on a GPU."""
    manager = case.build().to("meta")  # knows shapes, has no numbers, and refuses tensors of the CPU as a GPU does
    for inputs in case.inputs:
        try:
            manager(move_inputs(inputs, "meta"), record=True)
        except Exception as error:
            words = describe_error(error)
            if not any(known in words for known in ("expected device", "same device", "device type")):
                raise NotApplicable("branches on values, which this rule does not have") from None
            raise ContractError(
                f"mixes devices: {words}; a constant is to be a buffer (register_buffer), what forward makes on the "
                "device of its inputs, and modules not in plain lists"
            ) from None


@rule()
def saves_and_loads(case: Case) -> None:
    """Saved to safetensors and loaded into another instance, it gives the same bits."""
    other = case.build(seed=1)
    other.load_state_dict(load(save(case.manager.state_dict())))
    inputs = case.draw_inputs()
    require(torch.equal(case.manager(inputs).hidden, other(inputs).hidden), "loaded, it gives another output")


@rule("options", any_sizes=True)
def towers_of_unequal_depth(case: Case) -> None:
    """It works in an encoder whose towers differ in widths, depths, tokens and class token."""
    encoder = case.encoder()
    fused = encoder(*draw_features(), record=True)
    require(fused.pooled.shape == (BATCH, 2 * WIDTH), f"pooled has shape {list(fused.pooled.shape)}")
    require(set(fused.recorded) == {key for key, _ in encoder.managers()}, "not every manager recorded something")
    torch.autograd.backward(fused.pooled.sum())
    for name, parameter in encoder.named_parameters():
        finite = parameter.grad is None or torch.isfinite(parameter.grad).all()
        require(finite, f"the gradient of {name} is not finite")


@rule()
def compiles(case: Case) -> None:
    """`torch.compile` takes it as one graph, or the class says why not."""
    inputs = case.draw_inputs()
    _compare_compiled(case.manager, "aot_eager", lambda model: model(inputs).hidden)


@rule("manager", slow=True)
def whole_encoder_compiles_by_inductor(case: Case) -> None:
    """A whole encoder around it compiles to machine code."""
    features = draw_features()
    _compare_compiled(case.encoder(layers=2), "inductor", lambda model: model(*features).pooled)


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


RULES = (
    *DECLARATION_RULES,
    *(each for each in list(globals().values()) if isinstance(each, Rule)),
    *INTERVENTION_RULES,
)  #: in order
