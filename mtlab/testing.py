"""The contract that every manager keeps, ours or a stranger's, as tests: subclass, name your manager, run pytest.

    from mtlab.testing import ManagerContract

    class TestMine(ManagerContract):
        manager = "mine"

Each test runs with the default options, with every other value of each `bool` or `Literal` option, and with those of
`more`, which may suppose N = 3 experts and K = 3 cross-modal layers.

Shapes: B examples, N experts, P previous states, L own tokens, M tokens of the other modality, D width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args, get_origin, get_type_hints

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mtlab.config.check import check_config, to_plain
from mtlab.config.options import option_of
from mtlab.config.schema import ModelConfig
from mtlab.config.yaml import parse
from mtlab.contract.trial import randomised
from mtlab.managers.base import MANAGERS, Aggregated, Experts, Manager, Modality, Place
from mtlab.managers.interventions import without
from mtlab.managers.space import corners
from mtlab.model.encoder import CrossModalEncoder
from mtlab.model.network import initialise
from mtlab.towers.base import Features, TowerShape

__all__ = [
    "BATCH",
    "EXPERTS",
    "LAYERS",
    "LENGTH",
    "OTHER",
    "WIDTH",
    "ManagerContract",
    "Scene",
    "randomised",
    "scene",
    "variants",
]

BATCH, EXPERTS, LENGTH, OTHER, WIDTH, LAYERS = 3, 3, 5, 4, 16, 3


@dataclass(frozen=True)
class Scene:
    """What a manager is called with: some tokens of the last examples are padding."""

    experts: Experts
    history: tuple[Tensor, ...]
    other: Tensor | None
    other_mask: Tensor

    def run(self, manager: Callable[..., Any], **extra: Any) -> Aggregated:
        """Call the manager."""
        aggregated: Aggregated = manager(self.experts, self.history, self.other, self.other_mask, **extra)
        return aggregated

    def alone(self, row: int) -> Scene:
        """Take one example, its padding included."""
        assert self.experts.mask is not None
        only = slice(row, row + 1)
        return Scene(
            Experts(self.experts.states[only], self.experts.mask[only]),
            tuple(state[only] for state in self.history),
            None if self.other is None else self.other[only],
            self.other_mask[only],
        )

    def tensors(self) -> list[Tensor]:
        """Give the tensors that a manager may read."""
        other = [] if self.other is None else [self.other]
        return [self.experts.states, *self.history, *other]


def scene(place: Place, *, dtype: torch.dtype = torch.float32, garbage: bool = False) -> Scene:
    """Draw inputs, always the same; with `garbage`, the padded tokens alone are others."""
    own, other = (_mask(length) for length in (LENGTH, OTHER))

    def draw(seed: int, mask: Tensor, *shape: int) -> Tensor:
        real = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        padded = 9 * torch.randn(shape, generator=torch.Generator().manual_seed(seed + 1000))
        seen = mask.view(BATCH, *[1] * (len(shape) - 3), mask.shape[1], 1)
        return (torch.where(seen, real, padded) if garbage else real).to(dtype)

    history = tuple(draw(1 + depth, own, BATCH, LENGTH, WIDTH) for depth in range(place.depth))
    previous = draw(100, other, BATCH, OTHER, WIDTH) if place.depth else None
    experts = Experts(draw(0, own, BATCH, place.experts, LENGTH, WIDTH), own)
    return Scene(experts, history, previous, other)


def _mask(length: int) -> Tensor:
    return torch.arange(length) < length - torch.arange(BATCH).unsqueeze(1)


def variants(cls: type[Any]) -> Iterator[dict[str, Any]]:
    """Go through options worth testing: the defaults, and each other value of each `bool` or `Literal` option."""
    yield {}
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        hint, default = hints[field.name], getattr(cls(), field.name)
        values = (True, False) if hint is bool else get_args(hint) if get_origin(hint) is Literal else ()
        yield from ({field.name: value} for value in values if value != default)


class ManagerContract:
    """Subclass as `Test…`, set `manager` to a registered name, and pytest does the rest."""

    manager: ClassVar[str] = ""
    more: ClassVar[Sequence[Mapping[str, Any]]] = ()  #: further options to test with

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run a test over the options and over the first and a later cross-modal layer, as its arguments ask.

        Compiling is slow: with other options than the defaults it is marked so.
        """
        slow = [pytest.mark.slow] if metafunc.function.__name__ == "test_compiles" else []
        plain = list(variants(MANAGERS.get(self.manager).config))
        cases: dict[str, list[Mapping[str, Any]]] = {"options": [*plain, *self.more], "plain_options": [*plain]}
        for argument, chosen in cases.items():
            if argument in metafunc.fixturenames:
                names = [",".join(f"{key}={value}" for key, value in each.items()) or "defaults" for each in chosen]
                params = [pytest.param(each, marks=slow if each else []) for each in chosen]
                metafunc.parametrize(argument, params, ids=names)
        if "depth" in metafunc.fixturenames:
            metafunc.parametrize("depth", [0, LAYERS - 1])

    def make(
        self, options: Mapping[str, Any], depth: int, *, experts: int = EXPERTS, modality: Modality = "text"
    ) -> Manager:
        """Build the manager in evaluation mode, its parameters moved off their initial values."""
        entry = MANAGERS.get(self.manager)
        config, place = check_config(entry.config, options), Place(WIDTH, experts, depth, LAYERS, modality)
        entry.cls.check(config, place)
        manager = entry.cls(config, place)
        initialise(manager, 0)
        return randomised(manager).eval()

    def encoder(self, options: Mapping[str, Any], layers: int = LAYERS, seed: int = 0) -> CrossModalEncoder:
        """Build a whole encoder around the manager, on towers that have nothing in common."""
        text = TowerShape((8, 8), (5, 6), 6, LENGTH, class_token=True, positions=True)
        vision = TowerShape((4, 6, 8, 10, 12), (1, 2, 3, 4, 5), 5, OTHER, class_token=False, positions=False)
        model = ModelConfig(width=WIDTH, heads=2, cross_layers=layers, mlp_ratio=1, dropout=0.0)
        encoder = CrossModalEncoder(model, {"name": self.manager, **options}, text, vision)
        initialise(encoder, seed)
        return encoder.eval()

    def features(self) -> tuple[Features, Features]:
        """Draw what the towers of `encoder` might offer."""
        generator = torch.Generator().manual_seed(0)
        text = [torch.randn(BATCH, LENGTH, 8, generator=generator) for _ in range(2)]
        vision = [torch.randn(BATCH, OTHER, width, generator=generator) for width in (4, 6, 8, 10, 12)]
        return Features(tuple(text), _mask(LENGTH)), Features(tuple(vision))

    def test_is_documented(self) -> None:
        """`mtlab list` has something to show for the class and for each option."""
        entry = MANAGERS.get(self.manager)
        assert entry.summary, "the class needs a docstring: `mtlab list` shows its first line"
        for field in dataclasses.fields(entry.config):
            assert option_of(field).help, f"option {field.name} needs a help line"

    def test_search_space_holds_options(self) -> None:
        """What the class would have searched are options of its own, and their ends are values that they take."""
        entry = MANAGERS.get(self.manager)
        space = entry.cls.search_space()
        assert set(space) <= {field.name for field in dataclasses.fields(entry.config)}
        for corner in corners(space):
            check_config(entry.config, corner)

    def test_options_survive_yaml(self, options: dict[str, Any]) -> None:
        """Written to YAML and read back, the options are the same."""
        entry = MANAGERS.get(self.manager)
        config = check_config(entry.config, options)
        written = yaml.safe_dump({"options": to_plain(config)})
        read = parse(written, Path("contract.yaml")).data["options"]
        assert check_config(entry.config, read) == config

    def test_shapes(self, options: dict[str, Any], depth: int) -> None:
        """Hidden states, weights and contributions have the shapes of the interface, and weights are detached."""
        manager = self.make(options, depth)
        given = scene(manager.place)
        got = given.run(manager, record=True)
        assert got.hidden.shape == (BATCH, LENGTH, WIDTH)
        assert torch.isfinite(got.hidden).all()
        if got.weights is not None:
            batch, rows, length, width = got.weights.shape
            assert batch in (1, BATCH)
            assert 0 <= rows - EXPERTS <= depth, "a row for each expert, then for each previous state"
            assert length in (1, LENGTH)
            assert width in (1, WIDTH)
            assert not got.weights.requires_grad
        if got.contributions is not None:
            assert got.weights is not None
            assert got.contributions.shape == (BATCH, got.weights.shape[1], LENGTH)
            assert not got.contributions.requires_grad

    def test_recording_changes_nothing(self, options: dict[str, Any], depth: int) -> None:
        """The output does not depend on whether weights are recorded."""
        manager = self.make(options, depth)
        given = scene(manager.place)
        torch.testing.assert_close(given.run(manager, record=True).hidden, given.run(manager).hidden)

    def test_shares_sum_to_one(self, options: dict[str, Any], depth: int) -> None:
        """Contributions sum to one over all terms, and so do the experts' weights where the class says so."""
        manager = self.make(options, depth)
        given = scene(manager.place)
        extra = (
            {"noise": manager.noise_scale * torch.randn(BATCH, EXPERTS, LENGTH, WIDTH)} if manager.noise_scale else {}
        )
        got = given.run(manager, record=True, **extra)
        if got.weights is not None and manager.weights_sum_to_one:
            total = got.weights[:, :EXPERTS].sum(1)
            torch.testing.assert_close(total, torch.ones_like(total))
        if got.contributions is not None:
            assert (got.contributions >= 0).all()
            total = got.contributions.sum(1)
            torch.testing.assert_close(total, torch.ones_like(total))

    def test_padding_is_not_seen(self, options: dict[str, Any], depth: int) -> None:
        """What stands in padded tokens changes no real token's output."""
        manager = self.make(options, depth)
        if not manager.masks_padding:
            pytest.skip("declares that padding leaks")
        clean, dirty = (scene(manager.place, garbage=garbage) for garbage in (False, True))
        real = _mask(LENGTH)
        torch.testing.assert_close(clean.run(manager).hidden[real], dirty.run(manager).hidden[real])

    def test_examples_do_not_mix(self, options: dict[str, Any], depth: int) -> None:
        """An example's output does not depend on the others of its batch."""
        manager = self.make(options, depth)
        given = scene(manager.place)
        together = given.run(manager).hidden
        for row in range(BATCH):
            torch.testing.assert_close(given.alone(row).run(manager).hidden, together[row : row + 1])

    def test_inputs_are_left_alone(self, options: dict[str, Any], depth: int) -> None:
        """What it is given is not changed in place: the other managers are given the same."""
        manager = self.make(options, depth)
        given, same = scene(manager.place), scene(manager.place)
        given.run(manager, record=True)
        for left, right in zip(given.tensors(), same.tensors(), strict=True):
            assert torch.equal(left, right), "an input was changed in place"

    def test_every_parameter_learns(self, options: dict[str, Any], depth: int) -> None:
        """Every trained parameter that is not `inert` has a finite gradient that is not zero."""
        manager = self.make(options, depth)
        hidden = scene(manager.place).run(manager).hidden
        trained = {name: p for name, p in manager.named_parameters() if p.requires_grad}
        if not trained:
            return
        direction = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(7))
        torch.autograd.backward((hidden * direction).sum())
        for name, parameter in trained.items():
            if name in manager.inert:
                continue
            assert parameter.grad is not None, f"{name} gets no gradient; list it in `inert` if that is meant"
            assert torch.isfinite(parameter.grad).all(), f"{name}'s gradient is not finite"
            assert parameter.grad.abs().max() > 1e-6, f"{name}'s gradient is zero; list it in `inert` if that is meant"

    def test_reads_the_experts_that_it_says(self, options: dict[str, Any], depth: int) -> None:
        """Gradients reach the experts of `experts_used`, and no others."""
        manager = self.make(options, depth)
        given = scene(manager.place)
        given.experts.states.requires_grad_()
        hidden = given.run(manager).hidden
        used = set(type(manager).experts_used(manager.config, manager.place))
        assert used <= set(range(1, EXPERTS + 1))
        if hidden.requires_grad:
            direction = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(7))
            torch.autograd.backward((hidden * direction).sum())
        gradient = given.experts.states.grad
        read = set() if gradient is None else {n + 1 for n in range(EXPERTS) if gradient[:, n].abs().max() > 0}
        assert read == used, "what is not in `experts_used` is never projected"

    def test_evaluation_is_deterministic(self, options: dict[str, Any], depth: int) -> None:
        """Two calls give the same bits."""
        manager = self.make(options, depth)
        first, second = (scene(manager.place).run(manager).hidden for _ in range(2))
        assert torch.equal(first, second)

    def test_noise_reaches_the_output(self, options: dict[str, Any], depth: int) -> None:
        """Noise that is asked for is used."""
        manager = self.make(options, depth)
        if not manager.noise_scale:
            pytest.skip("asks for no noise")
        given = scene(manager.place)
        noise = manager.noise_scale * torch.randn(BATCH, EXPERTS, LENGTH, WIDTH)
        assert not torch.allclose(given.run(manager, noise=noise).hidden, given.run(manager).hidden)

    def test_interventions(self, options: dict[str, Any], depth: int) -> None:
        """Recorded weights can be intervened in; without an expert that is read the output is another."""
        manager = self.make(options, depth)
        given = scene(manager.place)
        plain, used = given.run(manager, record=True), type(manager).experts_used(manager.config, manager.place)
        if plain.weights is None or not used:
            pytest.skip("has no weights to intervene in")
        asked: list[Tensor] = []

        def keep(weights: Tensor) -> Tensor:
            asked.append(weights)
            return weights

        same = given.run(manager, intervene=keep)
        assert asked, "weights that are recorded can be intervened in"
        assert asked[0].shape[1] == EXPERTS
        torch.testing.assert_close(same.hidden, plain.hidden)
        for expert in used:
            removed = given.run(manager, intervene=without(expert), record=True)
            assert removed.weights is not None
            assert (removed.weights[:, expert - 1] == 0).all()
            assert not torch.allclose(removed.hidden, plain.hidden)

    def test_one_expert(self, plain_options: dict[str, Any], depth: int) -> None:
        """A single expert will do."""
        manager = self.make(plain_options, depth, experts=1)
        assert torch.isfinite(scene(manager.place).run(manager, record=True).hidden).all()

    def test_half_precision(self, options: dict[str, Any], depth: int) -> None:
        """bfloat16 in gives bfloat16 out, close to float32."""
        manager = self.make(options, depth)
        full = scene(manager.place).run(manager).hidden
        half = scene(manager.place, dtype=torch.bfloat16).run(manager.to(torch.bfloat16), record=True).hidden
        assert half.dtype == torch.bfloat16
        assert (half.float() - full).norm() < 0.05 * full.norm()

    def test_saves_and_loads(self, options: dict[str, Any], depth: int, tmp_path: Path) -> None:
        """Saved to safetensors and loaded into another instance, it gives the same bits."""
        manager = self.make(options, depth)
        save_file(manager.state_dict(), tmp_path / "manager.safetensors")
        fresh = randomised(self.make(options, depth), seed=1)
        fresh.load_state_dict(load_file(tmp_path / "manager.safetensors"))
        given = scene(manager.place)
        assert torch.equal(given.run(manager).hidden, given.run(fresh).hidden)

    def test_towers_of_unequal_depth(self, plain_options: dict[str, Any]) -> None:
        """It works in an encoder whose towers differ in widths, depths, tokens and class token."""
        encoder = self.encoder(plain_options)
        fused = encoder(*self.features(), record=True)
        assert fused.pooled.shape == (BATCH, 2 * WIDTH)
        assert set(fused.recorded) == {(m, depth) for m in ("text", "image") for depth in range(LAYERS)}
        torch.autograd.backward(fused.pooled.sum())
        assert all(torch.isfinite(p.grad).all() for p in encoder.parameters() if p.grad is not None)

    def test_compiles(self, options: dict[str, Any], depth: int) -> None:
        """`torch.compile` takes it as one graph, or the class says why not."""
        manager = self.make(options, depth)
        given = scene(manager.place)
        _compare(manager, "aot_eager", lambda model: given.run(model).hidden)

    @pytest.mark.slow
    def test_whole_encoder_compiles_by_inductor(self) -> None:
        """A whole encoder around it compiles to machine code."""
        given = self.features()
        _compare(self.encoder({}), "inductor", lambda model: model(*given).pooled)


def _compare(module: nn.Module, backend: str, run: Callable[[Any], Tensor]) -> None:
    """Compare the compiled module, one graph without a break, with the plain one: output and gradients."""
    reasons = [part.not_compilable for part in module.modules() if isinstance(part, Manager) and part.not_compilable]
    if reasons:
        pytest.skip(reasons[0])
    torch.compiler.reset()
    found = []
    for model in (module, torch.compile(module, fullgraph=True, backend=backend)):
        module.zero_grad()
        out = run(model)
        if out.requires_grad:
            torch.autograd.backward(out.sum())
        found.append([out.detach(), *(p.grad for p in module.parameters() if p.grad is not None)])
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-5)
