"""`mtlab budget`: what a study would cost, before anything runs and without weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mtlab.cli.options import File, JsonOption, Overrides, PluginsOption, StoreOption
from mtlab.cli.output import make_table, print_json

if TYPE_CHECKING:
    from rich.table import Table

    from mtlab.studies.budget.study_budget import RowBudget

NAMES = 13  #: minimum width of a variant's name
LARGE_GPU = 80 * 10**9  #: bytes


def budget(
    file: File,
    overrides: Overrides = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="Time a few steps of each variant on this device, 5 s each.")
    ] = False,
    tflops: Annotated[
        float | None,
        typer.Option(
            "--tflops",
            min=1e-6,
            help="Compute device hours at so many 10¹² FLOPs a second, sustained.",
            show_default=False,
        ),
    ] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
    no_plugins: PluginsOption = False,
) -> None:
    """Show what a study costs: parameters by part, FLOPs, memory, time and disk. Starts nothing, needs no weights.

    FLOPs are counted twice. "Published" counts all tokens of all levels, as papers do. "As executed" counts what runs
    here: texts at their real length, cached towers not at all.

    Other sizes by override: mtlab budget paper/vqav2 vision.image_size=384 text.max_length=40
    """
    from rich.console import Console
    from rich.markup import escape

    from mtlab.config.load import find_study_file
    from mtlab.launch.prepare import plan_study
    from mtlab.runs.shell_command import shell_command
    from mtlab.runs.store import Store, store_root
    from mtlab.studies.budget.study_budget import device_hours, study_budget, totals

    opened = Store.open(store_root(store), create=True)
    plan = plan_study(find_study_file(file), overrides or [], plugins=not no_plugins)
    with Console(stderr=True).status("counting") as status:
        rows = study_budget(plan, timed=calibrate, progress=lambda label: status.update(escape(f"counting {label}")))
    whole = totals(rows)
    if as_json:
        assumed = (
            None if tflops is None else {"tflops": tflops, "device_hours": device_hours(whole["executed"], tflops)}
        )
        print_json(
            {"study": plan.study.name, "rows": [row.to_json() for row in rows], "totals": whole, "assumed": assumed}
        )
        return
    print_budget(plan.study.name, rows, whole, calibrated=calibrate, tflops=tflops)
    typer.echo(f"next: {shell_command('plan', file, *(overrides or []), store=opened)}")


def print_budget(
    study: str, rows: Sequence[RowBudget], whole: dict[str, Any], *, calibrated: bool, tflops: float | None = None
) -> None:
    """Print parameters by part, cost by variant, and totals."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=False)
    names = {row.cell: row.label if row.study == study else f"{row.study}: {row.label}" for row in rows}
    console.print(_parameters(rows, names))
    console.print(_costs(rows, names))
    for line in _remarks(rows, names, whole, calibrated=calibrated):
        console.print(line, markup=False)
    for line in [] if tflops is None else _assumed(rows, names, whole, tflops):
        console.print(line, markup=False)


def _table(title: str, columns: Sequence[str]) -> Table:
    table = make_table("variant", numbers=columns, title=title)
    table.columns[0].min_width, table.collapse_padding = NAMES, True
    return table


def _parameters(rows: Sequence[RowBudget], names: dict[str, str]) -> Any:
    from mtlab.units import format_si

    published = any(row.dead is not None for row in rows)
    table = _table("parameters", ["live", *(["with dead ones"] if published else []), "trained"])
    table.add_column("live, by part", overflow="fold", style="dim")
    for row in rows:
        values = [f"{row.live:,}"]
        if published:
            values.append("" if row.dead is None else f"{row.live + sum(row.dead.values()):,}")
        parts = " · ".join(f"{part} {format_si(count)}" for part, count in row.params.items() if count)
        table.add_row(names[row.cell], *values, format_si(row.trained_params), parts)
    return table


def _costs(rows: Sequence[RowBudget], names: dict[str, str]) -> Any:
    from mtlab.units import format_duration, format_si

    columns = ["forward", "(here)", "training", "(here)", "memory", "steps", "a run", "runs"]
    if any(row.run_seconds is not None for row in rows):
        columns.append("time")
    title = "FLOPs of an example as published (as executed here), peak memory in training, FLOPs of a run"
    table = _table(title, columns)
    for row in rows:
        values = [format_si(value) for value in (row.flops_forward, row.executed_forward)]
        values += [format_si(value) for value in (row.flops_training, row.executed_training)]
        values += [format_si(row.memory.peak, "B"), f"{row.steps:,}", format_si(row.run_executed), str(row.runs)]
        if row.run_seconds is not None:
            values.append(format_duration(row.run_seconds))
        table.add_row(names[row.cell], *values)
    return table


def _remarks(rows: Sequence[RowBudget], names: dict[str, str], whole: dict[str, Any], *, calibrated: bool) -> list[str]:
    from mtlab.units import format_duration, format_si

    time = "" if whole["seconds"] is None else f" · {format_duration(whole['seconds'])} one after another"
    kept, training = (format_si(size, "B") for size in (whole["disk"], max(row.run_disk for row in rows)))
    disk = f"{kept} of checkpoints (up to {training} in a run that trains)"
    runs = f"{whole['runs']} runs, {whole['steps']:,} steps{time} · {disk}"
    published, here = (format_si(whole[key], "FLOP") for key in ("flops", "executed"))
    lines = [f"in all: {runs}", f"        {published} of training as published, {here} as executed with validation"]
    worth = [row.run_interventions / row.run_executed for row in rows if row.run_interventions]
    if worth:
        share = (
            f"{min(worth):.0%}"
            if f"{min(worth):.0%}" == f"{max(worth):.0%}"
            else f"{min(worth):.0%} to {max(worth):.0%}"
        )
        lines.append(f"        of these, {share} measure what levels are worth (record.interventions)")
    sizes = {(row.image_size, row.text_tokens, row.real_tokens, row.real_tokens_from) for row in rows}
    for size, limit, real, origin in sorted(sizes, key=str):
        images = "" if size is None else f"images of {size} pixels, "
        lines.append(f"counted at: {images}texts of {limit} tokens; as executed: {real} ({origin})")
    settings = sorted({(row.micro_batch, row.precision) for row in rows})
    lines.append(
        "memory: tensors of a forward and backward pass on "
        + " or ".join(f"{micro} examples in {precision}" for micro, precision in settings)
        + "; Python and its libraries take about 0.4 GB more"
    )
    dead: dict[str, int] = {}
    for row in rows:
        dead |= row.dead or {}
    if dead:
        dead_names = ", ".join(f"{name} {count:,}" for name, count in dead.items())
        lines.append(f"dead ones, which the published models carry and never use: {dead_names}")
    for row in rows:
        if row.speed is not None:
            speed = row.speed
            lines.append(
                f"timed: {names[row.cell]}: {speed.steps} steps of {speed.examples} examples on {speed.device}, "
                f"threads {speed.threads}: {1 / speed.seconds_per_example:.0f} examples/s, without reading data"
            )
        if row.not_timed is not None:
            lines.append(f"not timed: {names[row.cell]}: {row.not_timed}")
    lines += [f"{names[row.cell]}: {remark}" for row in rows if (remark := _sharding(row)) is not None]
    if not calibrated:
        lines.append("time: add --calibrate to measure some steps on this device")
    return lines


def _sharding(row: RowBudget) -> str | None:
    """Say whether a language model's layers must be shared out over this machine's GPUs, or over such of 80 GB."""
    import torch

    from mtlab.studies.budget.study_budget import sharding_remark

    if not row.can_shard:
        return None
    size, name = LARGE_GPU, "a large GPU"
    if torch.cuda.is_available():
        size, name = torch.cuda.get_device_properties(0).total_memory, torch.cuda.get_device_name(0)
    return sharding_remark(row.memory.parameters + row.memory.gradients + row.memory.optimiser, size, name)


def _assumed(rows: Sequence[RowBudget], names: dict[str, str], whole: dict[str, Any], tflops: float) -> list[str]:
    """Return the device hours at so many FLOPs a second."""
    from mtlab.studies.budget.study_budget import device_hours

    each = ", ".join(f"{names[row.cell]} {device_hours(row.run_executed, tflops):,.1f} h" for row in rows)
    return [
        f"at {tflops:g} TFLOP/s sustained – assumed, not measured – one device takes for a run: {each}",
        f"        and for all runs {device_hours(whole['executed'], tflops):,.1f} h",
    ]
