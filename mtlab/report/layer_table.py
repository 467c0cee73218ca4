"""The layers that managers draw on as a tidy table: a row per run, modality, cross-modal layer and level."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtlab.recording.reader import MODALITIES, Layers, Modality, Worth
from mtlab.report import recordings
from mtlab.report.recordings import StudyRun
from mtlab.runs.store import Store, store_root

if TYPE_CHECKING:
    import polars as pl

COLUMNS = (
    "variant", "seed", "modality", "layer", "source", "level", "weight", "contribution", "worth", "weight_dimensions",
    "contribution_tokens", "contribution_examples", "by_removal",
)  # fmt: skip
OF_FAMILY = "worth/"  #: begins the names of further columns, one for each family of examples where there are several


def layers(store: Path | str | None = None, study: str | None = None) -> pl.DataFrame:
    """Read which layers the finished runs of a store draw on: a row per run, modality, cross-modal layer and source.

    Args:
        store: its folder; None: `MTLAB_STORE`, else `./runs`.
        study: name of a study; None: all studies. A run that several studies share has rows for each of them.

    Returns:
        study, run, and the columns of `layer_rows`; null where something was not recorded.

    Raises:
        UserError: there is no store, or no such study.

    """
    opened = Store.open(store_root(store))
    plans = [opened.plan(name) for name in (opened.study_names() if study is None else [study])]
    return layer_frame(row for plan in plans for row in plan_rows(opened, plan))


def plan_rows(store: Store, plan: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the rows of `layers` for the finished runs of a plan."""
    for source, rows in study_rows(store, plan).items():
        yield from ({"study": plan["study"], "run": source.run, **row} for row in rows)


def study_rows(store: Store, plan: Mapping[str, Any]) -> dict[StudyRun, list[dict[str, Any]]]:
    """Read the rows of each finished run of a study that recorded its layers."""
    found, worths = recordings.study_layers(store, plan).found, recordings.study_worths(store, plan).found
    return {source: list(layer_rows(source, layers, worths.get(source))) for source, layers in found.items()}


def worth_metric(store: Store, plan: Mapping[str, Any]) -> str:
    """Return the validation metric that worths are differences of; the plan's, where none was measured."""
    found = recordings.study_worths(store, plan).found
    return next((worth.metric for worth in found.values()), str(plan["metrics"]["choose"]))


def layer_rows(source: StudyRun, layers: Layers, worth: Worth | None) -> Iterator[dict[str, Any]]:
    """Yield the rows of one run, by modality, cross-modal layer, then levels that it is offered and previous states.

    Columns: variant, seed, modality; layer, from 1, of a language model from 0; source, `level 4` or `previous 1`
    (previous states are counted from the bottom, or are the last one alone); level, null for previous states; weight;
    contribution, which sums to one over the sources of a layer; worth, the primary validation metric less that without
    the level (in all layers at once; in the metric's own unit); weight_dimensions, the weight's standard deviation over
    dimensions;
    contribution_tokens and contribution_examples, the contribution's over the tokens of an example, and over examples;
    by_removal, true where the contribution was measured by removal; and where that was measured of several families of
    examples, worth/FAMILY for each.
    """
    families = [] if worth is None else worth.family_names
    for modality in MODALITIES:
        for depth in sorted({*layers.depths("weights", modality), *layers.depths("contributions", modality)}):
            names = _sources(layers, modality, depth)
            columns = {
                "weight": layers.rows("weights", modality, depth),
                "contribution": layers.rows("contributions", modality, depth),
                "weight_dimensions": layers.rows("weights", modality, depth, "dimensions"),
                "contribution_tokens": layers.rows("contributions", modality, depth, "tokens"),
                "contribution_examples": layers.rows("contributions", modality, depth, "examples"),
            }
            for place, name in enumerate(names):
                level = int(name.removeprefix("level ")) if name.startswith("level ") else None
                numbers = {
                    column: None if values is None or place >= len(values) else float(values[place])
                    for column, values in columns.items()
                }
                unknown = {column: None for column, value in numbers.items() if value is not None and math.isnan(value)}
                if level is not None and unknown:
                    continue  # a level that this manager is not offered
                row = {
                    "variant": source.label,
                    "seed": source.seed,
                    "modality": modality,
                    "layer": depth + layers.first_layer,
                    "source": name,
                    "level": level,
                    "worth": None if worth is None or level is None else worth.drop(modality, level),
                    "by_removal": layers.by_removal(modality, depth),
                    **numbers,
                    **unknown,
                }
                of_families = {
                    f"{OF_FAMILY}{name}": None
                    if worth is None or level is None
                    else worth.family_drop(modality, level, name)
                    for name in families
                }
                yield {column: row[column] for column in COLUMNS} | of_families


def columns_of(rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Name the columns of rows: those of all, then those of families that any row has."""
    return (*COLUMNS, *sorted({name for row in rows for name in row if name.startswith(OF_FAMILY)}))


def layer_frame(rows: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    """Make a data frame of rows, with typed columns even where all values are missing."""
    import polars as pl

    listed = list(rows)
    types: dict[str, type[pl.DataType]] = dict.fromkeys(("study", "run", *columns_of(listed)), pl.Float64)
    types |= dict.fromkeys(("study", "run", "variant", "modality", "source"), pl.String)
    types |= dict.fromkeys(("seed", "layer", "level"), pl.Int64) | {"by_removal": pl.Boolean}
    return pl.DataFrame(listed, schema=types)


def _sources(layers: Layers, modality: Modality, depth: int) -> list[str]:
    """Name the levels and previous states of a manager, by their numbers where the file does not."""
    for kind in ("contributions", "weights"):
        named = layers.labels.get(f"{kind}/{modality}/{depth}")
        if named:
            return list(named)
    rows = layers.rows("contributions", modality, depth)
    rows = layers.rows("weights", modality, depth) if rows is None else rows
    assert rows is not None
    levels = layers.experts_levels(modality, layers.offered(modality, rows))
    below = range(1, len(rows) - len(levels) + 1)
    return [*(f"level {level}" for level in levels), *(f"previous {number}" for number in below)]
