"""`mtlab plan`: what a study would run, before anything runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

from mtlab.cli.options import File, JsonOption, Overrides, PluginsOption, ReplaceOption, StoreOption
from mtlab.cli.output import estimate_time, make_table, print_json, print_written_plan

if TYPE_CHECKING:
    from mtlab.studies.looks import Looks
    from mtlab.studies.plan_status import PlanStatus

NAMED = 2  #: rows that a remark names; further ones are counted


def plan(
    file: File,
    overrides: Overrides = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
    no_plugins: PluginsOption = False,
    replace: ReplaceOption = False,
) -> None:
    """Expand a study: each variant with its id, missing runs, size and cost; every run with --json. Starts nothing.

    The plan is written to the store. One with other settings (KEY=VALUE) is a trial, and changes nothing there.
    """
    from mtlab.config.load import composed_text, find_study_file
    from mtlab.launch.prepare import plan_study
    from mtlab.runs.shell_command import shell_command
    from mtlab.runs.store import Store, store_root
    from mtlab.studies.plan import to_json
    from mtlab.studies.plan_status import asked_plan, plan_status

    path = find_study_file(file)
    opened = Store.open(store_root(store), create=True)
    made = plan_study(path, overrides or [], plugins=not no_plugins)
    asked, looks = asked_plan(made, opened)
    data = to_json(asked)
    found = plan_status(data, opened)
    name, text = made.study.name, composed_text(path)
    if not overrides:
        opened.claim_study(name, path, text, replace=replace)
        opened.write_plan(name, data)
    estimate = estimate_time(asked, found.states)
    if as_json:
        runs = [run | {"state": found.states[run["id"]]} for run in data["runs"]]
        more = {"counts": found.counts, "dropped": list(found.dropped), "time": estimate and estimate.to_json()}
        print_json(data | {"runs": runs, **more})
        return
    print_plan(data, found)
    if looks is not None:
        print_looks(data, looks)
    if estimate is not None:
        typer.echo(f"time{' to the next look' if data['sequential'] else ''}: {estimate.describe()}")
    elif any(state != "done" for state in found.states.values()):
        budget = shell_command("budget", file, *(overrides or []), "--calibrate", store=opened)
        typer.echo(f"time: not known; `{budget}` times steps for longer than a plan may, or says why it cannot")
    print_written_plan("run", file, overrides or [], name, opened)


def print_plan(data: dict[str, Any], found: PlanStatus) -> None:
    """Print a plan as a table: a line a cell, then the totals and what is worth knowing."""
    from rich.console import Console
    from rich.markup import escape

    from mtlab.units import format_si

    console = Console(highlight=False, soft_wrap=False)
    console.print(f"[bold]{escape(data['study'])}[/]  {escape(data['why'])}")
    table = make_table("variant", "cell", "runs", numbers=("steps", "params", "per example", "in all"))
    table.columns[1].no_wrap = True
    of_cell: dict[str, list[dict[str, Any]]] = {}
    for run in data["runs"]:
        of_cell.setdefault(run["cell"], []).append(run)
    for row in [*_parents(data), *data["rows"]]:
        runs = of_cell[row["cell"]]
        states = Counter(found.states[run["id"]] for run in runs)
        cost = runs[0]["cost"]
        table.add_row(
            row["label"] + (" (baseline)" if row.get("baseline") and row["compare_to"] is None else ""),
            row["cell"] + ("?" if row.get("unresolved") else ""),
            ", ".join(f"{count} {state}" for state, count in states.items()),
            f"{cost['steps']:,}",
            format_si(cost["trained_params"]),
            format_si(cost["flops_forward"], "FLOP"),
            format_si(cost["flops"] * len(runs), "FLOP"),
        )
    console.print(table)
    console.print()
    for line in _remarks(data, found):
        console.print(line)


def print_looks(data: dict[str, Any], looks: Looks) -> None:
    """Print when the comparisons of a study are looked at, the levels of each look, and what it would cost at most."""
    from rich.console import Console

    from mtlab.report.formats.numbers import format_margin
    from mtlab.units import format_si

    console, rules = Console(highlight=False), data["sequential"]
    margin = format_margin(data["equivalence"], data["metrics"]["verdict"])
    table = make_table(numbers=("seeds", "difference shown at p ≤", f"within {margin} at p ≤", "alpha spent"))
    for n, level, within, spent in zip(
        rules["looks"], rules["levels"], rules["levels_equivalence"], rules["spent"], strict=True
    ):
        table.add_row(str(n), f"{level:.2g}", f"{within:.2g}", f"{spent:.2g}")
    console.print("[bold]seeds until decided[/]: each comparison ends at the first look that shows")
    console.print(f"a difference, or that there is none larger than {margin}; at {rules['max']} seeds at the latest")
    console.print(table)
    console.print()
    correction = "; the p-values of all comparisons are corrected by Holm" if data["correct"] == "holm" else ""
    console.print(
        f"p: of the look alone; {rules['spending']} spending, one alpha of {data['alpha']:g} for each{correction}"
    )
    least, most = rules["at_least"], rules["at_most"]
    console.print(
        f"{least['runs']} to {most['runs']} runs · {format_si(least['flops'], 'FLOP')} to"
        f" {format_si(most['flops'], 'FLOP')} of training"
    )
    if looks.taken:
        ended = len(looks.pairs) - len(looks.open)
        console.print(f"so far: {len(looks.taken)} looks, {ended} of {len(looks.pairs)} comparisons ended")


def _parents(data: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the cells of other studies that runs of this one start from."""
    own = {row["cell"] for row in data["rows"]}
    found = {run["cell"]: run for run in data["runs"] if run["cell"] not in own}
    return [{"label": run["label"], "cell": cell, "compare_to": None} for cell, run in found.items()]


def _detectable(seeds: int, alpha: float) -> float | None:
    """Return the smallest detectable difference in standard deviations, from a cache: importing scipy is slow."""
    from mtlab.disk_cache import library_version, load_or_compute
    from mtlab.statistics.power import POWER, smallest_detectable

    key = [seeds, alpha, POWER, library_version("scipy")]
    found: float | None = load_or_compute("detectable", key, lambda: smallest_detectable(1.0, seeds, alpha))
    return found


def _remarks(data: dict[str, Any], found: PlanStatus) -> list[str]:
    from rich.markup import escape

    from mtlab.statistics.power import POWER
    from mtlab.statistics.seed_tests import lookup_test
    from mtlab.studies.looks import planned_pairs
    from mtlab.units import format_si, format_span

    total = format_si(sum(run["cost"]["flops"] for run in data["runs"]), "FLOP")
    counts = ", ".join(f"{count} {state}" for state, count in found.counts.items())
    number = f"{format_span([len(data['runs'])], 'run')}"
    lines = [f"{number} ({counts}) · {total} of training · params: trained ones; per example: forward"]
    lines += map(escape, describe_pairings(data["rows"]))
    seeds = len(data["seeds"])
    fewest = lookup_test(data["test"]).seeds
    pairs = planned_pairs(data)
    if data["sequential"] is None and seeds >= fewest and pairs:
        count = len(pairs) if data["correct"] == "holm" else 1
        effect = _detectable(seeds, data["alpha"] / count)
        least = "no difference" if effect is None else f"a difference of {effect:.1f} standard deviations"
        each = f" in each of {count} comparisons" if count > 1 else ""
        lines.append(
            f"{seeds} seeds detect {least} (of the difference between seeds) with {100 * POWER:.0f} % power{each}"
        )
    elif data["sequential"] is None and len(data["rows"]) > 1:
        few = f"{data['test']} needs {fewest} seeds at least: `seeds`"
        compared = any(row["compare_to"] for row in data["rows"])
        none = "blind variants are not compared" if compared else "nothing is compared: add `baseline`"
        lacking = few if pairs else none
        lines.append(f"no difference can be shown: {lacking}")
    passes = {run["cost"]["intervention_passes"] for run in data["runs"]} - {0}
    if passes:
        lines.append(
            f"worth of levels: {format_span(passes)} passes over the validation data at the end (record.interventions)"
        )
    lines += [f"data: {escape(remark)}" for remark in data["remarks"]]
    lines += map(escape, _unresolved(data))
    if found.dropped:
        lines.append(f"{len(found.dropped)} runs of the stored plan are no longer asked for; they stay in the store")
    if found.other_code:
        lines.append(
            f"[yellow]{len(found.other_code)} finished runs come from other code of data, towers, models or loop "
            "than this: where it changes results, raise mtlab.resolution.training_code.ENGINE_VERSION, or the version "
            "of the class[/]"
        )
    lines += [f"[yellow]{escape(remark)}[/]" for remark in found.plugin_remarks]
    return lines


def _unresolved(data: dict[str, Any]) -> list[str]:
    """Say what is not on this disk, and whether `mtlab run` will get it."""
    from mtlab.towers.loading.hub import is_reachable

    models = [name for name in data["unresolved"] if name not in data["unresolved_data"]]
    reachable = is_reachable() if models else False
    how = "`mtlab run` downloads it" if reachable else "the hub cannot be reached, so `mtlab run` will refuse: give a "
    how += "" if reachable else "local folder or file, or download it first"
    lines = [f"not on this disk: weights of {name}; {how}" for name in models]
    return lines + [
        f"not on this disk: data {name}; only sizes and answers are known, so `mtlab run` will refuse: `mtlab data "
        "convert` makes shards, and data.folder names them"
        for name in data["unresolved_data"]
    ]


def describe_pairings(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Describe which single levels the managers of rows read: a line for each such pairing."""
    of_pairs: dict[str, list[str]] = {}
    for row in rows:
        if any(len(levels) == 1 for stack in row["pairing"].values() for levels in stack):
            of_pairs.setdefault(_pairs(row["pairing"]), []).append(row["label"])
    return [
        f"pairing of {', '.join(labels[:NAMED])}"
        f"{f' and {len(labels) - NAMED} more' if len(labels) > NAMED else ''}: {pairs}"
        for pairs, labels in of_pairs.items()
    ]


def _pairs(pairing: dict[str, list[list[int]]]) -> str:
    stacks = {
        modality: " ".join(",".join(map(str, levels)) or "–" for levels in stack)
        for modality, stack in pairing.items()
        if stack
    }
    return "; ".join(f"{modality} levels {levels}" for modality, levels in stacks.items())
