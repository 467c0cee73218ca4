"""`mtlab intervene`: what the weights of a finished run are worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mtlab.cli.options import JsonOption, PluginOption, PluginsOption, StoreOption, blame_option
from mtlab.cli.output import make_table, print_json, progress_bar
from mtlab.report.formats.numbers import format_score

if TYPE_CHECKING:
    from rich.table import Table

    from mtlab.runs.find_run import FinishedRun


def intervene(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="STUDY:VARIANT:SEED (what is unique may be left out) or a run's folder."),
    ],
    swap: Annotated[
        list[int] | None,
        typer.Option(
            "--swap",
            metavar="SEED",
            help="Take the weights of this seed of the same cell. May be repeated.",
            show_default="every other finished seed",
        ),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Measure anew what is known already.")] = False,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")] = "auto",
    store: StoreOption = None,
    plugin: PluginOption = None,
    no_plugins: PluginsOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure what a finished run's weights are worth: validation with other weights. Nothing in the run changes.

    Its managers' weights are replaced by uniform ones, by their mean over each example's tokens, and by those of
    another seed of the same cell; and each expert is removed in turn. Where accuracy falls, the pattern was worth
    something; where another seed's weights do as well, the pattern is not this seed's alone.

    mtlab intervene quickstart:static:0 · mtlab intervene quickstart:static:0 --swap 1
    """
    from mtlab.inference.intervention import (
        STANDARD,
        baseline_value,
        known_results,
        other_seeds,
        results_path,
        swap_key,
        why_no_swap,
    )
    from mtlab.runs.find_run import find_run
    from mtlab.runs.store import store_root

    found = find_run(run, store_root(store))
    path, known = results_path(found), {} if again else known_results(found)
    seeds = [seed for seed in (swap or other_seeds(found)) if swap_key(seed) not in known]
    standard = swap is None and STANDARD not in known
    results = known
    if seeds or standard:
        results = _measure(found, seeds, standard, device, plugin or [], asked=swap is not None, plugins=not no_plugins)
    value = baseline_value(found, results)
    if as_json:
        print_json({"format": 1, "run": found.id, "label": found.config["label"], "value": value, **results})
        return
    _print(found, value, results)
    if not any(key.startswith("swap/") for key in results):
        none = "no other seed of this cell is finished: there are no other weights to take"
        typer.echo(why_no_swap(found) or none)
    archive = None if found.store is None else found.store.archive
    stored = known_results(found)
    if any(stored.get(key) != result for key, result in results.items()):
        typer.echo(f"note: not written, as the store is read-only ({archive or path})", err=True)
    elif archive is not None:
        typer.echo(f"read from {archive}")
    else:
        typer.echo(f"written to {path}" if path.exists() else f"measured by the run: {found.folder / 'result.json'}")


def _measure(
    run: FinishedRun, seeds: list[int], standard: bool, device: str, plugin: list[str], *, asked: bool, plugins: bool
) -> dict[str, Any]:
    from mtlab.inference.intervention import known_results, measure, why_no_swap
    from mtlab.inference.loading import import_run_plugins

    import_run_plugins(run, allowed=plugins, named=plugin)
    if not asked and why_no_swap(run) is not None:  # of a plug-in's task, which is known only now
        seeds = []
        if not standard:
            return known_results(run)
    with (
        blame_option("--device", "train.device"),
        progress_bar(f"{run.title}: passes over validation data") as progress,
    ):
        return measure(run, seeds, standard=standard, device=device, progress=progress)


def _print(found: FinishedRun, value: float, results: Mapping[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False, emoji=False)
    metric = next(iter(results.values()))["metric"]
    console.print(f"[bold]{escape(found.title)}[/] ({found.id}) · {metric} {format_score(value, metric)} as it is")
    table = make_table("weights", numbers=("text", "image", "both"))
    for name, *cells in _rows(results):
        table.add_row(name, *(_cell(cell, value, metric) for cell in cells))
    console.print(table)
    if (by_family := _family_table(found, results)) is not None:
        console.print()
        console.print(by_family)


def _family_table(found: FinishedRun, results: Mapping[str, Any]) -> Table | None:
    """Return what each family of examples gains or loses without each level; None where two families lack it."""
    from mtlab.recording.reader import MODALITIES, Missing, read_worth

    worth = read_worth(None if found.store is None else found.store.result(found.id), results)
    if isinstance(worth, Missing) or not (names := worth.family_names):
        return None
    table = make_table("without", numbers=names)
    for modality in MODALITIES:
        for level in worth.families.get(modality, {}):
            drops = (worth.family_drop(modality, level, name) for name in names)
            cells = ("–" if drop is None else format_score(-drop, worth.metric, sign=True) for drop in drops)
            table.add_row(f"{modality} level {level}", *cells)
    return table


def _cell(cell: float | None, value: float, metric: str) -> str:
    if cell is None:
        return "–"
    return f"{format_score(cell, metric)} ({format_score(cell - value, metric, sign=True)})"


def _rows(results: Mapping[str, Any]) -> Iterator[tuple[str, float | None, float | None, float | None]]:
    """Yield the rows of the table: a name, then text, image, both."""
    from mtlab.inference.intervention import STANDARD

    standard = results.get(STANDARD)
    if standard is not None:
        text, image = standard["text"], standard["image"]
        for key, name in (("uniform", "all alike"), ("token_mean", "alike for all tokens")):
            yield name, text.get(key), image.get(key), None
        for level in sorted({*text["without"], *image["without"]}, key=int):
            yield f"without level {level}", text["without"].get(level), image["without"].get(level), None
    for key in sorted((key for key in results if key.startswith("swap/")), key=lambda key: int(key.split("/")[1])):
        swapped = results[key]
        yield f"of seed {key.split('/')[1]}", swapped["text"], swapped["image"], swapped["both"]
