"""`mtlab sweep status`, `best`, `report`, `dashboard`: what a sweep has found, from the store and its storage alone."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mtlab.cli.common import THIS_MACHINE, HostOption, JsonOption, PortOption, StoreOption, print_json
from mtlab.errors import UserError

if TYPE_CHECKING:
    from mtlab.runs.store import Store

Stored = Annotated[
    str, typer.Argument(metavar="FILE", help="Sweep file, shipped recipe, or the name of a sweep in the store.")
]


def status(file: Stored, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Show how far each variant's search is: trials by state, the best so far, what failed or was refused."""
    from mtlab.cli.sweep.status import describe, print_status
    from mtlab.runs.store import Store, store_root
    from mtlab.sweeps.stored import open_sweep as reading

    opened = Store.open(store_root(store))
    stored = opened.plan(sweep_name(file, opened))
    with reading(opened, stored) as (storage, searches):
        described = describe(opened, stored, storage, searches)
    if as_json:
        print_json(described)
        return
    print_status(described)


def best(
    file: Stored,
    as_: Annotated[
        Path | None,
        typer.Option("--as", metavar="FILE", help="Write the winners as an ablation recipe.", show_default=False),
    ] = None,
    front: Annotated[
        bool, typer.Option("--front", help="With several objectives: all that no other trial beats.")
    ] = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the best settings of each variant; with --as, write them as an ablation that plans and runs."""
    from mtlab.cli.sweep.status import print_best
    from mtlab.config.check import check_config
    from mtlab.files import write_text
    from mtlab.runs.store import Store, store_root
    from mtlab.sweeps.spec import FinalRules
    from mtlab.sweeps.stored import open_sweep as reading
    from mtlab.sweeps.winners import to_yaml, winners, winners_study

    opened = Store.open(store_root(store))
    stored = opened.plan(sweep_name(file, opened))
    if as_ is not None and as_.suffix not in (".yaml", ".yml"):
        raise UserError("expected a file that ends in .yaml", file=as_)
    if as_ is not None and as_.exists():
        raise UserError("is there already: name another file", file=as_)
    if front and len(stored["objectives"]) < 2:
        raise UserError("--front needs several objectives", file="command line")
    final = check_config(FinalRules, stored["finally"] or {})
    with reading(opened, stored) as (_, searches):
        chosen = winners(searches, "front" if front else final.retrain)
        if as_json:
            print_json(
                [
                    {"label": each.label, "trial": each.number, "cell": each.cell, "params": dict(each.params)}
                    for each in chosen
                ]
            )
        else:
            print_best(searches, chosen)
    if as_ is not None:
        study = winners_study(stored, chosen, name=as_.stem, final=final)
        write_text(as_, to_yaml(study, stored, chosen))
        typer.echo(f"written to {as_}", err=as_json)
        if stored["recipe"]["plugins"]:
            folder = stored["recipe"]["plugin_folder"]
            typer.echo(f"note: plug-ins are looked up beside their study; those of the sweep lie in {folder}", err=True)
        typer.echo(f"next: mtlab plan {as_} · mtlab run {as_}", err=as_json)
    elif not as_json:
        typer.echo(f"next: mtlab sweep best {file} --as {stored['study']}-best.yaml")


def report(
    file: Stored,
    format: Annotated[  # noqa: A002 - the option is called so
        Literal["md", "json", "html"] | None,
        typer.Option("--format", help="Markdown, JSON, or one page with all figures.", show_default=False),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write it to this file.", show_default=False)] = None,
    store: StoreOption = None,
) -> None:
    """Show what each variant's search has found, and the tuned variants against each other."""
    from mtlab.cli.sweep.status import print_report, written
    from mtlab.files import write_text
    from mtlab.runs.store import Store, store_root

    opened = Store.open(store_root(store))
    stored = opened.plan(sweep_name(file, opened))
    if format is None and out is None:
        print_report(opened, stored)
        return
    endings: dict[str, Literal["md", "json", "html"]] = {".json": "json", ".html": "html"}
    ending: Literal["md", "json", "html"] = endings.get("" if out is None else out.suffix, "md")
    text = written(opened, stored, format or ending)
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_text(out, text)
        typer.echo(f"written to {out}")


def dashboard(
    file: Stored,
    port: PortOption = None,
    host: HostOption = THIS_MACHINE,
    store: StoreOption = None,
) -> None:
    r"""Open optuna-dashboard on the searches, live: with the figures of each trial's runs, and links to the runs.

    Nothing leaves this machine. Needs `pip install 'mtlab\[dashboard]'`, for the figures also `'mtlab\[images]'` and a
    Chromium. Ctrl-C stops it.
    """
    from mtlab.dashboard.sweep.optuna_dashboard import serve
    from mtlab.runs.store import Store, store_root

    root = store_root(store)
    with suppress(KeyboardInterrupt):
        serve(root, sweep_name(file, Store.open(root)), host, port, typer.echo)
    typer.echo("stopped")


def sweep_name(file: str, store: Store) -> str:
    """Find the stored sweep that a file, a recipe or a name means, without expanding anything.

    Raises:
        UserError: the store has no plan of it.

    """
    from mtlab.config import yaml
    from mtlab.config.load import find_study_file, sweep_recipe_folders

    known = store.study_names()
    if file in known and not Path(file).is_file():
        return file
    path = find_study_file(file, sweep_recipe_folders())
    name = str(yaml.read(path).data.get("name", ""))
    if name not in known:
        raise UserError(f"sweep {name!r} has not begun in {store.root}: `mtlab sweep {file}` begins it", file=path)
    return name
