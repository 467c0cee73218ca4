"""`mtlab sweep plan`: what each variant searches, at which cost, and what follows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import typer

from mtlab.cli.options import JsonOption, Overrides, PluginsOption, ReplaceOption, StoreOption, SweepFile
from mtlab.cli.output import estimate_time, make_table, print_json, print_written_plan

if TYPE_CHECKING:
    from mtlab.sweeps.storage.base import SweepStorage
    from mtlab.sweeps.stored import StoredSearch


def plan(
    file: SweepFile,
    overrides: Overrides = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
    no_plugins: PluginsOption = False,
    replace: ReplaceOption = False,
) -> None:
    """Show what would be searched: spaces, budgets, costs, time, and the progress so far. Starts nothing."""
    from mtlab.config.load import find_study_file, sweep_recipe_folders
    from mtlab.runs.store import Store, store_root
    from mtlab.sweeps.plan import plan_left, store_plan, to_json, with_stored_trials
    from mtlab.sweeps.run import claim_storage, prepare_file, view_storage
    from mtlab.sweeps.stored import load_searches

    opened = Store.open(store_root(store), create=True)
    path = find_study_file(file, sweep_recipe_folders())
    prepared = prepare_file(path, overrides or [], plugins=not no_plugins)
    with ExitStack() as stack:
        storage: SweepStorage | None
        if overrides:
            storage = stack.enter_context(view_storage(prepared, opened, replace=replace))
            data = with_stored_trials(opened, to_json(prepared))
        else:
            storage = stack.enter_context(claim_storage(prepared, opened, replace=replace))
            with storage.exclusive():
                data = store_plan(prepared, storage, opened).plan
        searches = load_searches(storage, data)
        left = plan_left(prepared, searches, opened)
        estimate = estimate_time(left, dict.fromkeys([run.id for run in left.runs], "new"))
        if as_json:
            counts = [dict(each.status.counts) for each in searches]
            variants = [v | {"trials": c} for v, c in zip(data["variants"], counts, strict=True)]
            print_json(data | {"variants": variants, "time": estimate and estimate.to_json()})
            return
        print_plan(data, searches)
    if estimate is not None:
        typer.echo(f"time: at most {estimate.describe()}; trials and winners as the variants are without a search")
    print_written_plan("sweep", file, overrides or [], prepared.sweep.name, opened)


def print_plan(plan: Mapping[str, Any], searches: Sequence[StoredSearch]) -> None:
    """Print a sweep's plan: a line per variant, then its spaces, then budgets and what is worth knowing."""
    from rich.console import Console
    from rich.markup import escape

    from mtlab.units import format_si

    console = Console(highlight=False, soft_wrap=False)
    console.print(f"[bold]{escape(plan['study'])}[/]  {escape(plan['why'])}")
    table = make_table("variant", "trials", numbers=("settings", "steps", "params", "per trial", "in all"))
    seeds, trials = plan["seed_rules"]["n"], plan["budget"]["trials"]
    for variant, found in zip(plan["variants"], searches, strict=True):
        cost = variant["cost"]
        table.add_row(
            variant["label"] + (" (baseline)" if variant["label"] == variant["compare_to"] else ""),
            ", ".join(f"{count} {word}" for word, count in found.status.counts.items()) or "none yet",
            str(len(variant["space"])),
            f"{variant['steps']:,}",
            format_si(cost["trained_params"]),
            format_si(cost["flops"] * seeds, "FLOP"),
            format_si(cost["flops"] * seeds * trials, "FLOP"),
        )
    console.print(table)
    console.print()
    for found in searches:
        console.print(f"[cyan]{escape(found.label)}[/] searches")
        for path, each in found.space.items():
            console.print(f"  {escape(path)}: {escape(str(each))}")
    console.print()
    for line in _lines(plan, searches):
        console.print(line)


def _lines(plan: Mapping[str, Any], searches: Sequence[StoredSearch]) -> list[str]:
    from rich.markup import escape

    from mtlab.sweeps.stored import random_alone
    from mtlab.units import format_si

    seeds, trials = plan["seed_rules"]["n"], plan["budget"]["trials"]
    total = sum(variant["cost"]["flops"] for variant in plan["variants"]) * seeds * trials
    objectives = ", ".join(f"{each['metric']} ({each['mode']})" for each in plan["objectives"])
    hours = plan["budget"]["hours"]
    lines = [
        f"objective: {escape(objectives)}"
        + (f", {plan['seed_rules']['reduce']} over {seeds} seeds" if seeds > 1 else "")
        + "".join(f"; only where {escape(metric)} is {_bound(bound)}" for metric, bound in plan["constraints"].items()),
        f"budget: {trials} trials of each variant"
        + (f", none begun after {hours:g} training hours" if hours else "")
        + f": {len(searches) * trials * seeds} runs, {format_si(total, 'FLOP')} of training at most, as the variants"
        " are without a search",
        f"sampler {_options(plan['sampler'])} · pruner {_options(plan['pruner'])} · storage {escape(plan['storage'])}",
        _finally(plan, searches),
    ]
    lines += [f"[yellow]{escape(note)}[/]" for note in random_alone(plan)]
    lines += [f"[yellow]{escape(remark)}[/]" for found in searches for remark in found.variant["remarks"]]
    return lines


def _finally(plan: Mapping[str, Any], searches: Sequence[StoredSearch]) -> str:
    from mtlab.config.check import check_config
    from mtlab.sweeps.spec import FinalRules

    if plan["finally"] is None:
        return "finally: none"
    final = check_config(FinalRules, plan["finally"])
    best, rules = final.retrain == "best", final.sequential
    what = "the best of each variant" if best else "what no other trial of its variant beats"
    numbers = [final.seeds] if rules is None else [rules.min, rules.max]
    runs = " to ".join(str(len(searches) * number) for number in numbers)
    count = f" ({runs} runs)" if best else ""
    return f"finally: {what}, retrained on {final.seeds_words}{count}, evaluated on {final.evaluate}"


def _bound(bound: Mapping[str, float | None]) -> str:
    parts = [f"at most {bound['max']:g}"] if bound["max"] is not None else []
    parts += [f"at least {bound['min']:g}"] if bound["min"] is not None else []
    return " and ".join(parts)


def _options(node: Mapping[str, Any]) -> str:
    rest = ", ".join(f"{key} {value}" for key, value in node.items() if key != "name" and value is not None)
    return f"{node['name']} ({rest})" if rest else str(node["name"])
