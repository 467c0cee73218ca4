"""The budget of a whole study: the cost of each row, and of all runs together."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mtlab.config.schema import is_multimodal
from mtlab.disk_cache import library_version, load_or_compute
from mtlab.errors import UserError
from mtlab.resolution.checks import contrasted_pairs
from mtlab.resolution.dataset_facts import dataset_facts
from mtlab.resolution.interventions import intervention_forwards, intervention_passes
from mtlab.resolution.training_code import training_code_digest
from mtlab.studies.budget.calibration import Speed, calibrate, options_of_a_step
from mtlab.studies.budget.dead_weights import dead_weights
from mtlab.studies.budget.executed_flops import count_executed_flops
from mtlab.studies.budget.memory import Memory, training_memory
from mtlab.studies.budget.text_length import TextLength, text_length
from mtlab.studies.cell_cost import architecture_digest
from mtlab.studies.cells import Cell
from mtlab.studies.plan import Plan
from mtlab.studies.plan_status import BYTES, CHECKPOINTS
from mtlab.tasks.base import lookup_task
from mtlab.towers.build import tower_shape


@dataclass(frozen=True)
class RowBudget:
    """The cost of one row; FLOPs are of one example unless noted."""

    label: str
    cell: str
    study: str  #: its name, or that of the parent study
    runs: int
    params: Mapping[str, int]  #: by part
    trained_params: int
    dead: (
        Mapping[str, int] | None
    )  #: weights that the matching published model never uses, by name; None: no such model
    image_size: int | None  #: pixels
    text_tokens: int  #: longest text
    real_tokens: int  #: what batches are padded to
    real_tokens_from: str
    flops_forward: float  #: published arithmetic: all tokens
    flops_training: float
    executed_forward: int  #: real text lengths, no cached towers
    executed_training: int
    batch: int
    micro_batch: int  #: examples in one forward pass of one process
    precision: str
    memory: Memory  #: bytes in training
    steps: int  #: of one run
    run_flops: float  #: one run's training, published arithmetic
    run_executed: float  #: one run as executed: training, validation and interventions
    run_interventions: float  #: of these, interventions (what levels are worth)
    run_seconds: float | None  #: training one run, if calibrated
    run_disk: int  #: bytes of checkpoints at most, while it trains
    speed: Speed | None
    not_timed: str | None = None  #: why there is no calibration
    can_shard: bool = False  #: a language model, whose layers processes may share (`train.shard`), and do not yet

    @property
    def live(self) -> int:
        """Live parameters."""
        return sum(self.params.values())

    def to_json(self) -> dict[str, Any]:
        """Return plain data with totals."""
        totals = {"live_params": self.live}
        if self.dead is not None:
            totals |= {"dead_params": sum(self.dead.values()), "published_params": self.live + sum(self.dead.values())}
        return asdict(self) | totals


def study_budget(plan: Plan, *, timed: bool, progress: Callable[[str], None]) -> tuple[RowBudget, ...]:
    """Compute the budget of every cell of a plan, parents' cells included.

    Args:
        plan: from `make_plan`.
        timed: also time a few steps of each kind of cell on this device.
        progress: called with the label of the cell that is being computed.

    Raises:
        UserError: a configuration is wrong.

    """
    cells = {run.cell.id: run.cell for run in plan.runs}
    counts = {cell: sum(run.cell.id == cell for run in plan.runs) for cell in cells}
    processes = plan.study.keys.resources.processes
    speeds: dict[str, Speed | UserError] = {}
    found = []
    for cell in cells.values():
        progress(cell.row.label)
        found.append(_of_cell(cell, counts[cell.id], processes, timed=timed, speeds=speeds))
    return tuple(found)


def totals(rows: Sequence[RowBudget]) -> dict[str, Any]:
    """Sum the budgets of all runs; a total is None if it is unknown of one row."""
    timed = [row.run_seconds * row.runs for row in rows if row.run_seconds is not None]
    return {
        "runs": sum(row.runs for row in rows),
        "steps": sum(row.steps * row.runs for row in rows),
        "flops": sum(row.run_flops * row.runs for row in rows),
        "executed": sum(row.run_executed * row.runs for row in rows),
        "seconds": sum(timed) if len(timed) == len(rows) else None,
        "disk": sum(row.run_disk // CHECKPOINTS * row.runs for row in rows),  # finished runs keep the best alone
        "memory": max(row.memory.peak for row in rows),
    }


def sharding_remark(held: int, device: int, name: str) -> str | None:
    """Say that parameters, gradients and moments are more than a device holds; None where they fit.

    Args:
        held: bytes of the three.
        device: bytes of a device's memory.
        name: of the device.

    """
    if held <= device:
        return None
    return (
        f"parameters, gradients and moments take {held / 1e9:.0f} GB, {name} has {device / 1e9:.0f}: share the layers "
        f"with `train.shard: true` and `resources.processes` {math.ceil(held / device) + 1} or more (docs/mllm.md)"
    )


def device_hours(executed: float, tflops: float) -> float:
    """Return the hours that one device needs for `executed` FLOPs at `tflops` · 10¹² of them a second.

    >>> device_hours(3.6e18, 100.0)
    10.0
    """
    return executed / (tflops * 1e12) / 3600


def _of_cell(cell: Cell, runs: int, processes: int, *, timed: bool, speeds: dict[str, Speed | UserError]) -> RowBudget:
    train = cell.config["train"] | {"micro_batch": _examples_at_once(cell.config, processes)}
    config = cell.config | {"train": train}  # of one process
    size, shape = dataset_facts(config["data"]), text_length(config)
    key = {
        "architecture": architecture_digest(config),
        "tokens": shape.tokens,
        "torch": library_version("torch"),
        "code": training_code_digest(),
    }
    work = load_or_compute(
        "executed", key, lambda: asdict(count_executed_flops(config, answers=size.answers, text_tokens=shape.tokens))
    )
    key |= options_of_a_step(config)
    memory = Memory(
        **load_or_compute(
            "memory", key, lambda: asdict(training_memory(config, answers=size.answers, text_length=shape.tokens))
        )
    )
    speed = _speed(config, memory, shape, size.answers, speeds) if timed else None
    validations = math.ceil(cell.steps / train["eval_every"]) + 1  # the best checkpoint once more
    task, options = lookup_task(config)
    judged = validations * size.examples["val"] + size.examples["test"]
    interventions = intervention_forwards(config, size.examples["val"]) if config["record"]["interventions"] else 0
    if interventions:
        judged += intervention_passes(config) * size.examples["val"]
    fused = validations * task.fusions_to_evaluate(options, size.examples["val"])
    fused += task.fusions_to_evaluate(options, size.examples["test"]) + interventions
    examples = cell.steps * train["batch"]
    parameters = cell.cost.params
    return RowBudget(
        label=cell.row.label,
        cell=cell.id,
        study=cell.study,
        runs=runs,
        params=parameters,
        trained_params=cell.cost.trained_params,
        dead=dead_weights(config),
        image_size=config["vision"].get("image_size"),
        text_tokens=tower_shape("text", config["text"]).tokens,
        real_tokens=shape.tokens,
        real_tokens_from=shape.origin,
        flops_forward=cell.cost.flops_forward,
        flops_training=cell.cost.flops_training,
        executed_forward=work["towers"] + work["fusion"],
        executed_training=work["step"],
        batch=train["batch"],
        micro_batch=train["micro_batch"],
        precision=train["precision"],
        memory=memory,
        steps=cell.steps,
        run_flops=cell.cost.flops_training * examples,
        run_executed=float(work["step"] * examples + work["towers"] * judged + work["fusion"] * fused),
        run_interventions=float(work["fusion"] * interventions),
        run_seconds=speed.seconds_per_example * examples / processes if isinstance(speed, Speed) else None,
        run_disk=BYTES * CHECKPOINTS * cell.cost.trained_params,
        speed=speed if isinstance(speed, Speed) else None,
        not_timed=str(speed) if isinstance(speed, UserError) else None,
        can_shard=is_multimodal(config) and not (train["shard"] and processes > 1),
    )


def _examples_at_once(config: Mapping[str, Any], processes: int) -> int:
    """Count the examples in one forward pass of one process, as the training loop does."""
    batch: int = config["train"]["batch"]
    micro: int = config["train"]["micro_batch"] or batch
    return min(micro, batch // processes) if contrasted_pairs(config) is None else micro // processes


def _speed(
    config: Mapping[str, Any],
    memory: Memory,
    shape: TextLength,
    answers: int,
    speeds: dict[str, Speed | UserError],
) -> Speed | UserError:
    """Return the speed of a configuration, measured once for configurations of equal cost, or why it has none."""
    train = config["train"]
    like = [architecture_digest(config), shape.tokens, options_of_a_step(config), train["threads"], train["device"]]
    key = str(like)
    if key not in speeds:
        try:
            speeds[key] = calibrate(config, memory, answers=answers, text_tokens=shape.tokens)
        except UserError as error:
            speeds[key] = error
    return speeds[key]
