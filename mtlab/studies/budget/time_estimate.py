"""How long a plan takes on this machine: a few steps of one cell of each task are timed once, and cached.

On a CPU, the CPU time of the steps is measured, not wall time. Other programs that keep the processors busy still slow
memory down, so a busy and an idle machine each have times of their own.
"""

from __future__ import annotations

import math
import os
import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mtlab.config.hashing import canonical_json
from mtlab.disk_cache import library_version, load_or_compute
from mtlab.resolution.dataset_facts import dataset_facts
from mtlab.resolution.interventions import intervention_forwards
from mtlab.resolution.training_code import training_code_digest
from mtlab.studies.budget.calibration import Speed, calibrate, options_of_a_step
from mtlab.studies.budget.flops import tower_cost
from mtlab.studies.budget.text_length import text_length
from mtlab.studies.cell_cost import architecture_digest
from mtlab.studies.cells import Cell
from mtlab.studies.plan import Plan
from mtlab.tasks.base import lookup_task
from mtlab.training.environment import choose_device, device_name
from mtlab.training.failures import classify
from mtlab.training.sources import cached_towers, towers_to_run
from mtlab.units import format_duration

SECONDS = 0.5  #: of timing
LARGEST_STEP = 5e10  #: FLOPs of a step; a larger one would take longer than a plan may
FORWARD = 1 / 3  #: of a step: forward without backward


@dataclass(frozen=True)
class TimeEstimate:
    """The time that the unfinished runs of a plan take; processes that share a run are taken to share it evenly."""

    seconds: float  #: of training and evaluation, one run after another
    runs: int
    at_once: int
    timed: tuple[str, ...]  #: labels of the cells that were timed
    device: str

    @property
    def wall_seconds(self) -> float:
        """Seconds from start to end, with so many runs at once."""
        rounds = -(-self.runs // self.at_once)
        return self.seconds / self.runs * rounds

    def describe(self) -> str:
        """Describe it in a sentence."""
        return (
            f"about {format_duration(self.wall_seconds)} on this machine with {self.at_once} at once: steps of "
            f"{', '.join(map(repr, self.timed))} timed on {self.device}, others by their FLOPs; "
            "start-up and the expert cache not counted"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self) | {"wall_seconds": self.wall_seconds}


def estimate_time(plan: Plan, states: Mapping[str, str], at_once: int) -> TimeEstimate | None:
    """Estimate the time of the unfinished runs; None if all are finished, or steps are too large to time in passing.

    Args:
        plan: from `make_plan`.
        states: of its runs.
        at_once: runs at once.

    """
    missing = [run.cell for run in plan.runs if states[run.id] != "done"]
    counts = Counter(cell.id for cell in missing)
    kinds = {cell.id: (_kind_of_step(cell), cell) for cell in {cell.id: cell for cell in missing}.values()}
    alike: dict[str, list[Cell]] = {}
    for kind, cell in kinds.values():
        if _flops_of_step(cell) <= LARGEST_STEP:
            alike.setdefault(kind, []).append(cell)
    if not alike or any(kind not in alike for kind, _ in kinds.values()):  # times go by FLOPs within a kind alone
        return None
    # The median of each kind: a blind model, say, is no measure of the others.
    timed = {kind: sorted(cells, key=_flops_of_step)[len(cells) // 2] for kind, cells in alike.items()}
    try:
        speeds = {kind: _speed(cell) for kind, cell in timed.items()}
    except Exception as error:
        if classify(error) == "bug":
            raise
        return None  # a device that is not here or full, or a model that cannot be built here
    seconds = 0.0
    for kind, cell in kinds.values():
        rate = speeds[kind].seconds_per_example / timed[kind].cost.flops_training
        seconds += counts[cell.id] * rate * cell.cost.flops_training * _examples(cell)
    seconds /= plan.study.keys.resources.processes
    labels = tuple(cell.row.label for cell in timed.values())
    return TimeEstimate(seconds, len(missing), min(at_once, len(missing)), labels, next(iter(speeds.values())).device)


def _kind_of_step(cell: Cell) -> str:
    """Name what steps have in common whose times go by their FLOPs: the task, and the towers that run in them."""
    return canonical_json([cell.config["task"], sorted(towers_to_run(cell.config, cached_towers(cell.config)))])


def _speed(cell: Cell) -> Speed:
    config, train = cell.config, cell.config["train"]
    tokens = text_length(config).tokens
    key = {
        "architecture": architecture_digest(config),
        "tokens": tokens,
        "options": options_of_a_step(config),
        "threads": train["threads"],
        "device": train["device"],
        "machine": platform.node(),
        "card": device_name(choose_device(train["device"])),
        "busy": _is_busy(train["threads"]),
        "torch": library_version("torch"),
        "code": training_code_digest(),
    }
    answers = dataset_facts(config["data"]).answers

    def measure() -> dict[str, Any]:
        return asdict(calibrate(config, None, answers=answers, text_tokens=tokens, seconds=SECONDS))

    return Speed(**load_or_compute("speed", key, measure))


def _is_busy(threads: int) -> bool:
    """Return whether so many more threads would have to share processors with other programs."""
    return os.getloadavg()[0] + threads > (os.cpu_count() or 1) + 0.5


def _flops_of_step(cell: Cell) -> float:
    train = cell.config["train"]
    return float(cell.cost.flops_training * (train["micro_batch"] or train["batch"]))


def _examples(cell: Cell) -> float:
    """Count the examples of a run: trained on, and evaluated ones by their share of the cost of training on one.

    Where towers run, pairs cost less than that: they share them.
    """
    train, sizes = cell.config["train"], dataset_facts(cell.config["data"]).examples
    task, options = lookup_task(cell.config)
    validations: int = math.ceil(cell.steps / train["eval_every"]) + 1  # the best checkpoint once more, at the end
    evaluated: int = validations * task.fusions_to_evaluate(options, sizes["val"])
    evaluated += task.fusions_to_evaluate(options, sizes["test"])
    if cell.config["record"]["interventions"]:
        evaluated += intervention_forwards(cell.config, sizes["val"])
    trained: int = cell.steps * train["batch"]
    often = task.pass_counts(options)
    text = cell.config["text"]
    live = 0.0
    if often.masked_texts and not text.get("trainable"):  # a frozen tower has no backward pass
        live = often.masked_texts * tower_cost("text", text).flops / cell.cost.flops_training
    return trained + (live + (1 - live) * FORWARD) / often.fusion * evaluated
