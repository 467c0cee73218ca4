"""How do time and memory of a training step grow with width, experts, cross-modal layers, tokens and examples?

    python benchmarks/growth.py [--manager adaptive] [--rounds 7] [--quick] [--picture FILE.svg]

One thing is varied at a time, around width 128, 6 experts of each tower (also of that width), 3 cross-modal layers, 64
tokens of each modality and 4 examples. A step is forward, backward, clipping and AdamW, on levels that are there
already, in float32 on one thread. Memory is what the forward pass keeps for the backward pass, exact to the byte, and
what parameters, gradients and AdamW's moments take. All sizes are timed in turn; exponents are of the power law that
fits best, and of the last doubling, where what grows fastest shows.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from alternating import Seconds, alternate, median, ratio
from fitted import exponent
from measurements import Row, Tables, measurements, parser

from mtlab.config.check import check_config
from mtlab.config.schema import TrainConfig
from mtlab.data.batches import Batch
from mtlab.model.forward import Runtime
from mtlab.resolution.resolve import resolve
from mtlab.tasks.build import build
from mtlab.towers.base import Features, TowerShape
from mtlab.training.optimisation.optimiser import make_optimiser
from mtlab.training.optimisation.parameter_groups import parameter_groups
from mtlab.training.steps import train_step

CPU = Runtime(torch.device("cpu"))


@dataclass(frozen=True)
class Size:
    """What a step is made of."""

    width: int = 128
    experts: int = 6
    layers: int = 3
    tokens: int = 64
    examples: int = 4


VARIED: Mapping[str, Sequence[int]] = {
    "width": (32, 64, 128, 256, 512),
    "experts": (3, 6, 12, 24),
    "layers": (1, 2, 4, 8),
    "tokens": (32, 64, 128, 256, 512),
    "examples": (2, 4, 8, 16, 32),
}


class Step:
    """A model, and one training step of it on random levels."""

    def __init__(self, size: Size, manager: str) -> None:
        config = resolve(
            {
                "manager": manager,
                "text": {"name": "tiny_text"},
                "vision": {"name": "tiny_vision"},
                "model": {"width": size.width, "heads": 4, "cross_layers": size.layers, "dropout": 0.0},
                "metrics": {"choose": "val/accuracy", "mode": "max"},
            }
        )
        numbers = tuple(range(1, size.experts + 1))
        shape = TowerShape((size.width,) * size.experts, numbers, size.experts, size.tokens, True, True)
        torch.manual_seed(0)
        self.model = build(config, shape, shape, answers=8).train()
        train = check_config(TrainConfig, config["train"])
        self.optimiser = make_optimiser(self.model, parameter_groups(self.model, train, {}), train)
        text, image = (
            Features(tuple(torch.randn(size.examples, size.tokens, size.width) for _ in numbers)) for _ in range(2)
        )
        self.batch = Batch(tuple(range(size.examples)), text, image, torch.randint(0, 8, (size.examples,)))

    def __call__(self) -> None:
        """Make the step."""
        train_step(self.model, self.optimiser, [self.batch], CPU, seed=0, step=0, clip=1.0)

    def memory(self) -> tuple[int, int]:
        """Give the bytes that are kept for the backward pass, and those of parameters and optimiser, after a step."""
        self()
        held = {p.untyped_storage().data_ptr() for p in self.model.parameters()}
        held |= {t.untyped_storage().data_ptr() for f in (self.batch.text, self.batch.image) for t in f.levels}
        with kept(held) as found:
            self()
        state = [held for of in self.optimiser.state.values() for held in of.values() if isinstance(held, torch.Tensor)]
        parameters = sum(p.numel() * p.element_size() for p in self.model.parameters())
        return sum(found.values()), 2 * parameters + sum(t.numel() * t.element_size() for t in state)


@contextmanager
def kept(but: set[int]) -> Iterator[dict[int, int]]:
    """Gather the bytes of the storages that are saved for the backward pass, each once; those of `but` are not."""
    found: dict[int, int] = {}
    alive: list[torch.Tensor] = []  # so that no address is used twice

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in but:
            found[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor.detach())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        yield found


def sizes(quick: bool) -> Iterator[tuple[str, int, Size]]:
    """List what is measured: what is varied, its value, the whole size."""
    for name, values in VARIED.items():
        for value in values[:3] if quick else values:
            yield name, value, replace(Size(), **{name: value})


def main() -> None:
    """Measure and print."""
    arguments = parser(__doc__, quick="three sizes of each")
    arguments.add_argument("--manager", default="adaptive")
    arguments.add_argument("--picture", type=Path, help="draw them (SVG, PNG or PDF; needs 'mtlab[images]')")
    asked = arguments.parse_args()
    torch.set_num_threads(1)
    with measurements(asked) as tables:
        points = list(sizes(asked.quick))
        steps = {str(size): Step(size, asked.manager) for _, _, size in points}
        memory = {name: step.memory() for name, step in steps.items()}
        taken = alternate(steps, asked.rounds)
        curves: dict[str, dict[str, list[float]]] = {}
        for name, value, size in points:
            curve = curves.setdefault(name, {"size": [], "seconds": [], "activations": [], "state": []})
            numbers = (value, median(taken[str(size)]), *(used / 2**20 for used in memory[str(size)]))
            for key, number in zip(curve, numbers, strict=True):
                curve[key].append(number)
        show(tables, curves, {name: [taken[str(size)] for each, _, size in points if each == name] for name in curves})
    if asked.picture:
        draw(curves, asked.manager, asked.picture)


def show(
    tables: Tables, curves: Mapping[str, Mapping[str, Sequence[float]]], taken: Mapping[str, list[list[Seconds]]]
) -> None:
    """Make the table of all sizes, and that of the exponents."""
    points: list[Row] = []
    growth: list[Row] = []
    for name, curve in curves.items():
        for seconds, size, _, kept, state in zip(taken[name], *curve.values(), strict=True):
            row = {
                "size": int(size),
                "CPU / smallest": ratio(seconds, taken[name][0]),
                "CPU ms": 1000 * median(seconds),
            }
            points.append({"varied": name, **row, "kept MiB": kept, "state MiB": state})
        row = {"varied": name, "from": int(curve["size"][0]), "to": int(curve["size"][-1])}
        for key, title in (("seconds", "time"), ("activations", "kept memory"), ("state", "state")):
            row |= {f"{title}: exponent": exponent(curve["size"], curve[key])}
            row |= {f"{title}: last doubling": exponent(curve["size"][-2:], curve[key][-2:])}
        growth.append(row)
    tables.add("sizes", points)
    tables.add("exponents", growth)


def draw(curves: Mapping[str, Mapping[str, Sequence[float]]], manager: str, path: Path) -> None:
    """Draw all curves, double logarithmic, beside each other."""
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    from mtlab.report.figures import theme

    panels: Sequence[tuple[str, str]] = (("seconds", "CPU seconds of a step"), ("activations", "MiB kept for backward"))
    figure: Any = make_subplots(1, len(panels), subplot_titles=[title for _, title in panels], horizontal_spacing=0.12)
    base = Size()
    fits = {
        name: ", ".join(f"{exponent(curve['size'], curve[key]):.2f}" for key, _ in panels)
        for name, curve in curves.items()
    }
    for place, (key, _) in enumerate(panels, 1):
        for (name, curve), style in zip(curves.items(), theme.assign_styles(curves).values(), strict=True):
            x = [size / getattr(base, name) for size in curve["size"]]
            figure.add_trace(
                go.Scatter(
                    x=x,
                    y=list(curve[key]),
                    name=f"{name} ({fits[name]})",
                    mode="lines+markers",
                    showlegend=place == 1,
                    legendgroup=name,
                    line={"color": style.colour},
                ),
                1,
                place,
            )
    ticks = sorted({2.0**power for power in range(-3, 4)})
    words = [f"{tick:g}×" if tick >= 1 else f"1/{1 / tick:g}" for tick in ticks]
    figure.update_xaxes(type="log", tickvals=ticks, ticktext=words, title="size beside the base")
    figure.update_yaxes(type="log", dtick="D2")
    told = (
        f"Manager {manager}. Base: width {base.width}, {base.experts} experts of each tower, {base.layers} cross-modal "
        f"layers, {base.tokens} tokens of each modality, {base.examples} examples; one is varied at a time. "
        "In brackets: exponents of time and of memory."
    )
    theme.finish(figure, "How a training step grows", told, 440)
    figure.write_image(path)


if __name__ == "__main__":
    main()
