"""`mtlab sweep status`: the progress of each variant's search, from the stored plan and storage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mtlab.cli.options import JsonOption, StoredSweep, StoreOption
from mtlab.cli.output import make_table, print_json
from mtlab.cli.stored import stored_sweep_name

if TYPE_CHECKING:
    from mtlab.runs.store import Store

SHOWN = 8  #: failed or refused trials of a variant that are printed one by one
_COUNTED = ("done", "running", "waiting", "pruned", "failed", "refused", "tried again")  #: shown where there are any


def status(file: StoredSweep, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Show the progress of each variant's search: trials by state, the best so far, what failed or was refused."""
    from mtlab.runs.store import Store, store_root
    from mtlab.sweeps.stored import describe_sweep, open_sweep

    opened = Store.open(store_root(store))
    stored = opened.plan(stored_sweep_name(file, opened))
    with open_sweep(opened, stored) as (storage, searches):
        status = describe_sweep(opened, stored, storage, searches)
    if as_json:
        print_json(status)
        return
    print_status(status, opened)


def print_status(status: Mapping[str, Any], store: Store) -> None:
    """Print a sweep's status: a line per variant, and what needs attention."""
    from rich.console import Console
    from rich.text import Text

    from mtlab.report.formats import numbers
    from mtlab.runs.shell_command import shell_command

    console = Console(highlight=False)
    metric = status["objectives"][0]["metric"]
    columns = [word for word in _COUNTED if any(word in each["trials"] for each in status["variants"])]
    table = make_table("variant", numbers=("trials", *columns, f"best {metric}", "of trial"))
    for each in status["variants"]:
        best = each["best"]
        table.add_row(
            Text(each["label"]),
            f"{each['ended']}/{status['budget']['trials']}",
            *(str(each["trials"].get(word, "")) for word in columns),
            numbers.NONE if best is None else numbers.format_score(best["values"][0], metric),
            "" if best is None else str(best["trial"]),
        )
    console.print(table)
    console.print()
    for each in status["variants"]:
        problems = [trial for trial in each["all"] if trial["problem"]]
        for trial in problems[:SHOWN]:
            line = f"{each['label']} trial {trial['trial']} {trial['state']}: {trial['problem']}"
            console.print(line, markup=False)
        if len(problems) > SHOWN:
            console.print(f"{each['label']}: and {len(problems) - SHOWN} more (--json has all)", markup=False)
        if each["left_behind"]:
            trials = ", ".join(map(str, each["left_behind"]))
            line = f"{each['label']}: left behind by a launcher that is gone: trial {trials}; the next one takes it up"
            console.print(line, markup=False)
    if status["final"]:
        following = [shell_command(word, status["final"], store=store) for word in ("status", "report")]
        console.print(f"the tuned variants: {' · '.join(following)}", markup=False, soft_wrap=True)
