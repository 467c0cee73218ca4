"""Write docs/managers.md from the registry: `make managers`.

A section for each manager: what it computes and where it comes from (its docstring), which states each cross-modal
layer reads (measured by gradients), its options, its cost, and what the shipped comparisons found. A test
notices if the page is not current.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import findings
import torch
from torch import Tensor

from mtlab.config.check import check_config
from mtlab.config.registry import Entry
from mtlab.contract.case import EXPERTS, LAYERS, draw_inputs, place_at, randomise
from mtlab.managers.base import MANAGERS, Experts, Inputs, Manager
from mtlab.model.initial import initialise
from mtlab.resolution.catalog import options
from mtlab.studies.budget.flops import count_params, fusion_flops
from mtlab.tasks.build import construct
from mtlab.towers.base import TokenGrid, TowerShape

PAGE = Path(__file__).parents[1] / "docs/managers.md"
LEVELS, WIDTH, TOKENS, SIDE = 6, 768, 50, 14  #: of the cost: levels, width, text tokens, patches in a row
ROOMS = {
    "bridges": "One level per cross-modal layer",
    "mixtures": "A convex sum of normed levels",
    "residual": "Levels added to the previous state",
    "depthwise": "Levels and previous states alike",
    "connectors": "Levels joined in front of the first cross-modal layer",
}
HEAD = """# Managers

A manager decides what a cross-modal layer reads of a tower. There is one in front of each cross-modal layer, for each
modality. From the levels of its tower, u₁ (lowest) to u_N, and the outputs of the cross-modal layers below, the newest
of which is c, it makes the input of its layer. [concepts.md](concepts.md) shows the kinds in pictures;
[your-own-manager.md](your-own-manager.md) describes the interface, [fidelity.md](fidelity.md) the comparison with the
authors' code.

**Which to start with.** With one cross-modal layer take [`static`](#static) or [`mean`](#mean), with
two
`static` or [`adaptive`](#adaptive), over all levels: a bridge then lacks levels, and one layer of `static` is not shown
to be behind three. With three, no manager is shown to be
better than a [`bridge`](#bridge) whose levels are searched on validation data
([how](your-own-manager.md#4-is-it-better-than-a-bridge)) on questions that need different levels; on a ViT some are
shown to be worse. On hard questions about shapes, where no bridge's levels were searched, `static` is shown to be
better than a bridge on the top three levels and one on 1, 3, 4, on two draws of pictures (CNN; on the first, one of
four comparisons is not shown if all are corrected together); `mean` is not told apart from it (one draw). In counting
on medium ones `mean` and `static` are better than a bridge on the top three levels, and so is a bridge on 1, 3, 4
(CNN). [`adaptive`](#adaptive) learned sooner than `static` on questions that need different levels, and was not shown
to end higher. This comes from small models; [results.md](results.md) has the tables and the limits.

*Reads*: what a token's input depends on, by gradients, in a small model of {levels} levels and {layers} cross-modal
layers with the default options; ● marks a level, or the output of a layer below, counted from the lowest. Of the
other modality a layer may read a level, or its newest state.

*Cost*: what a model has in addition to one with `last`, both modalities together, projections of further levels
included: {n} levels of width {width} and {n} cross-modal layers per modality, {tokens} text tokens and {side} × {side}
patches with a class token; FLOPs of the forward pass for one example, matrix products and convolutions alone.

*Found*: what the shipped comparisons have on test data, mostly after an equal search for every variant: accuracy, of
counting alone where that is named, and recall in retrieval. The difference is to the row that the column *against*
names, mostly a bridge with its image levels: these differ from one comparison to the next.

`make managers` writes this page from the registry.

"""


def page() -> str:
    """Write the whole page."""
    head = HEAD.format(levels=EXPERTS, layers=LAYERS, n=LEVELS, width=WIDTH, tokens=TOKENS, side=SIDE)
    entries = [entry for entry in MANAGERS if entry.is_builtin]
    base = cost("last")
    parts = [head + _contents(entries)]
    for room, title in ROOMS.items():
        parts.append(f"## {title}\n")
        parts += [section(entry, base) for entry in entries if _room(entry) == room]
    return "\n".join(parts)


def section(entry: Entry[Manager], base: tuple[int, int]) -> str:
    """Write the section of one manager; `base` are parameters and FLOPs of a model with `last`."""
    params, flops = (own - other for own, other in zip(cost(entry.name), base, strict=True))
    lines = [*description(entry)]
    lines += [
        f"Cost: {params:+,} parameters, {flops / 1e9:+.2f} GFLOPs.",
        "",
        *findings.table(entry.name),
        *option_rows(entry),
    ]
    return "\n".join(lines)


def description(entry: Entry[Manager]) -> list[str]:
    """Write the docstring and what each layer reads."""
    docs = inspect.getdoc(entry.cls) or ""
    return [f"### `{entry.name}`", "", docs, "", "Reads:", "", "```text", *diagram(entry), "```", ""]


def diagram(entry: Entry[Manager]) -> Iterator[str]:
    """Draw which states each cross-modal layer reads, a line for each."""
    yield f"{'':24}{'levels':14}{'layers below':16}other modality"
    config = check_config(entry.config, {})
    for depth in range(LAYERS + 1):
        place = place_at(depth)
        if depth < LAYERS or entry.cls.mixes_output(config, place):
            where = f"in front of layer {depth + 1}" if depth < LAYERS else "behind the last layer"
            yield f"{where:24}{reads(entry.cls(config, place))}".rstrip()


def reads(manager: Manager) -> str:
    """Return the cells of a line of the diagram, by the gradients of a manager with random parameters."""
    initialise(manager, 0)
    given = _differentiable(draw_inputs(manager.place))
    hidden = randomise(manager).eval()(given).hidden
    direction = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(7))
    torch.autograd.backward((hidden * direction).sum())
    levels = "".join("● " if read else "· " for read in _levels_read(given.experts))
    below = "".join("● " if _is_read(state) else "· " for state in given.history)
    other = [f"level {n}" for n, read in enumerate(_levels_read(given.other_experts), 1) if read]
    other += ["newest state"] if _is_read(given.other) else []
    return f"{levels:14}{below:16}{', '.join(other)}"


def _differentiable(given: Inputs) -> Inputs:
    def leaf(states: Tensor) -> Tensor:
        return states.clone().requires_grad_()

    assert given.other_experts is not None
    return replace(
        given,
        experts=Experts(leaf(given.experts.states), given.experts.mask),
        other_experts=Experts(leaf(given.other_experts.states), given.other_experts.mask),
        history=tuple(map(leaf, given.history)),
        other=None if given.other is None else leaf(given.other),
    )


def _levels_read(experts: Experts | None) -> list[bool]:
    if experts is None or experts.states.grad is None:
        return [] if experts is None else [False] * experts.states.shape[1]
    return [bool(gradient.abs().max() > 0) for gradient in experts.states.grad.unbind(1)]


def _is_read(state: Tensor | None) -> bool:
    return state is not None and state.grad is not None and bool(state.grad.abs().max() > 0)


def cost(name: str) -> tuple[int, int]:
    """Count parameters and forward FLOPs of a model with a manager, at the stated size."""
    levels = tuple(range(1, LEVELS + 1))
    text = TowerShape((WIDTH,) * LEVELS, levels, LEVELS, TOKENS, class_token=True, positions=True)
    grid = TokenGrid(SIDE, SIDE, prefix=1)
    vision = replace(text, tokens=SIDE * SIDE + 1, grid=grid)
    model = {"width": WIDTH, "heads": 12, "cross_layers": LEVELS, "mlp_ratio": 4}
    config = {"manager": {"name": name}, "model": model, "task": {"name": "question_answering"}}
    with torch.device("meta"):
        built = construct(config, text, vision, answers=2).eval()
    return sum(count_params(built).values()), fusion_flops(built, text, vision)


def option_rows(entry: Entry[Manager]) -> Iterator[str]:
    """Write the table of a manager's options."""
    described = options(entry.config)
    if not described:
        yield "No options.\n"
        return
    yield from ("| option | default | |", "|---|---|---|")
    for option in described:
        allowed = [json.dumps(value) for value in option.get("choices", [])]
        help_ = option["help"].replace("|", "\\|") + (f" ({', '.join(allowed)})" if allowed else "")
        yield f"| `{option['name']}` | `{json.dumps(option['default'], ensure_ascii=False)}` | {help_} |"
    yield ""


def _contents(entries: list[Entry[Manager]]) -> str:
    rows = ["| | |", "|---|---|"]
    for room, title in ROOMS.items():
        names = ", ".join(f"[`{entry.name}`](#{entry.name})" for entry in entries if _room(entry) == room)
        rows.append(f"| {title.lower()} | {names} |")
    return "\n".join([*rows, ""])


def _room(entry: Entry[Manager]) -> str:
    return entry.origin.split(".")[-2]


if __name__ == "__main__":
    PAGE.write_text(page())
    print(f"wrote {PAGE}")
