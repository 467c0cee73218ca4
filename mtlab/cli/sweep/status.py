"""What `mtlab sweep status`, `best` and the end of a sweep print. Reads the stored plan and the storage alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import typer

if TYPE_CHECKING:
    from mtlab.report.sweep_report import SweepReport
    from mtlab.runs.store import Store
    from mtlab.sweeps.storage.base import SweepStorage
    from mtlab.sweeps.stored import StoredSearch
    from mtlab.sweeps.winners import Winner


SHOWN = 8  #: failed or refused trials of a variant that are told one by one
_COUNTED = ("running", "waiting", "pruned", "failed", "refused", "tried again")  #: shown where there are any


def describe(
    store: Store, plan: Mapping[str, Any], storage: SweepStorage, searches: Sequence[StoredSearch]
) -> dict[str, Any]:
    """Tell how a sweep stands, as plain data with stable keys."""
    from mtlab.sweeps.winners import final_name

    name = final_name(plan["study"])
    return {
        "sweep": plan["study"],
        "objectives": plan["objectives"],
        "budget": plan["budget"],
        "complete": all(found.status.complete for found in searches),
        "variants": [_variant(found, storage) for found in searches],
        "final": name if name in store.study_names() else None,
    }


def _variant(found: StoredSearch, storage: SweepStorage) -> dict[str, Any]:
    from mtlab.sweeps.status import CELL, PROBLEM, REFUSED

    standing, best = found.status, found.best
    left = [number for number, owner in standing.owners.items() if owner is None or storage.launcher_is_gone(owner)]
    told = []
    for trial in found.trials:
        word = "left behind" if trial.number in left else standing.states[trial.number]
        problem = trial.user_attrs.get(PROBLEM)
        why = f"{problem['kind']}: {problem['problem']}" if problem else trial.user_attrs.get(REFUSED)
        told.append(
            {
                "trial": trial.number,
                "state": word,
                "cell": trial.user_attrs.get(CELL),
                "values": trial.values,
                "step": trial.last_step,
                "params": found.params(trial),
                "problem": why,
            }
        )
    return {
        "label": found.label,
        "search": found.variant["search"],
        "trials": dict(standing.counts),
        "ended": standing.ended,
        "seconds": standing.seconds,
        "left_behind": left,
        "complete": standing.complete,
        "best": None if best is None else {"trial": best.number, "values": best.values, "params": found.params(best)},
        "all": told,
    }


def print_status(described: Mapping[str, Any]) -> None:
    """Print how a sweep stands: a line per variant, and what needs attention."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from mtlab.report.formats import numbers as words

    console = Console(highlight=False)
    metric = described["objectives"][0]["metric"]
    words_ = [word for word in _COUNTED if any(word in each["trials"] for each in described["variants"])]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("variant", style="cyan", overflow="fold")
    for name in ("trials", *words_, f"best {metric}", "of trial"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in described["variants"]:
        best = each["best"]
        table.add_row(
            Text(each["label"]),
            f"{each['ended']}/{described['budget']['trials']}",
            *(str(each["trials"].get(word, "")) for word in words_),
            words.NONE if best is None else words.format_score(best["values"][0], metric),
            "" if best is None else str(best["trial"]),
        )
    console.print(table)
    for each in described["variants"]:
        told = [trial for trial in each["all"] if trial["problem"]]
        for trial in told[:SHOWN]:
            line = f"{each['label']} trial {trial['trial']} {trial['state']}: {trial['problem']}"
            console.print(line, markup=False)
        if len(told) > SHOWN:
            console.print(f"{each['label']}: and {len(told) - SHOWN} more (--json has all)", markup=False)
        if each["left_behind"]:
            numbers = ", ".join(map(str, each["left_behind"]))
            line = f"{each['label']}: left behind by a launcher that is gone: trial {numbers}; the next one takes it up"
            console.print(line, markup=False)
    if described["final"]:
        console.print(f"the tuned variants: mtlab status {described['final']} · mtlab report {described['final']}")


def print_best(searches: Sequence[StoredSearch], chosen: Sequence[Winner]) -> None:
    """Print the best settings of each variant, a line per setting."""
    from rich.console import Console

    from mtlab.report.formats import numbers
    from mtlab.report.sweep_report import describe_trial
    from mtlab.studies.axes import plain_label

    console = Console(highlight=False)
    by_label = {found.label: found for found in searches}
    for winner in chosen:
        found = by_label[winner.variant["label"]]
        best = describe_trial(found, found.trials[winner.number])
        values = ", ".join(
            f"{each.metric} {numbers.format_score(value, each.metric)}"
            for each, value in zip(found.objectives, best.values, strict=True)
        )
        console.print(
            f"{winner.label}: trial {winner.number}, {values}, cell {winner.cell}", markup=False, style="bold"
        )
        for path, value in winner.params.items():
            console.print(f"  {path}: {plain_label(value)}", markup=False)


def made(store: Store, plan: Mapping[str, Any]) -> SweepReport:
    """Make a sweep's report."""
    from mtlab.report.sweep_report import build_sweep_report
    from mtlab.sweeps.stored import open_sweep

    with open_sweep(store, plan) as (_, searches):
        return build_sweep_report(store, plan, searches)


def written(store: Store, plan: Mapping[str, Any], wanted: Literal["md", "json", "html"]) -> str:
    """Write a sweep's report as text."""
    from mtlab.report.formats.sweep_tables import sweep_markdown

    if wanted == "html":
        return page(store, plan)
    report = made(store, plan)
    return report.to_json() if wanted == "json" else sweep_markdown(report)


def page(store: Store, plan: Mapping[str, Any]) -> str:
    """Write a sweep's page."""
    from mtlab.report.page.sweep_page import sweep_page
    from mtlab.sweeps.stored import open_sweep

    with open_sweep(store, plan) as (_, searches):
        return sweep_page(store, plan, searches)


def print_report(store: Store, plan: Mapping[str, Any]) -> None:
    """Print a sweep's tables, and write its report into its folder."""
    from rich.console import Console

    from mtlab.files import write_text
    from mtlab.report.formats import sweep_tables

    report, console = made(store, plan), Console(highlight=False)
    console.print(sweep_tables.render_sweep(report, console.width))
    folder = store.study(plan["study"]) / "report"
    write_text(folder / "report.md", sweep_tables.sweep_markdown(report))
    write_text(folder / "report.json", report.to_json())
    write_text(folder / "report.html", page(store, plan))
    typer.echo(f"written to {folder / 'report.html'} (a page with figures), report.md and report.json")
