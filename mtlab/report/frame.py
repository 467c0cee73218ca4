"""The run store as data frames: one row per run, and one row per example of each run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtlab.report.learning.validation_curve import read_curve
from mtlab.runs import manifest
from mtlab.runs.results import costs, is_test
from mtlab.runs.store import Store, is_sweep, store_root

if TYPE_CHECKING:
    import polars as pl

#: of an outcome of a single example
OUTCOME_COLUMNS = ("run", "cell", "seed", "label", "split", "id", "family", "cluster", "target", "prediction", "score")
PAIRED_COLUMNS = ("run", "seed", "split", "id", "family", "cluster", "score")  #: those that comparisons need


def frame(store: Path | str | None = None, study: str | None = None) -> pl.DataFrame:
    """Read a store into a data frame: one row per run, with axis values, metrics, costs and environment.

    Args:
        store: its folder; None: `MTLAB_STORE`, else `./runs`.
        study: name of a study; None: all studies. A run that several studies share has a row for each of them.

    Returns:
        The columns of `run_frame`, and `area`: under the validation curve of the metric that chose the checkpoint, as
        its mean height. Null where a run has no value.

    Raises:
        UserError: there is no store, or no such study.

    """
    import polars as pl

    opened = Store.open(store_root(store))
    names = opened.study_names() if study is None else [study]
    frames = [add_areas(opened, run_frame(opened, opened.plan(name))) for name in names]
    return pl.concat(frames, how="diagonal_relaxed") if frames else pl.DataFrame()


def run_frame(store: Store, plan: Mapping[str, Any]) -> pl.DataFrame:
    """Read the runs of a plan: one row per run in the plan's order, null where a run has no value yet.

    Columns:
        run, study, cell, seed, label, state: as in the plan; state is that of `Store.states`.
        axis/PATH: the axis values; as JSON where values of one axis are of several types.
        train/…, val/…, test/…: every metric of the result, at the best checkpoint; val/primary and test/primary are
        the primary metric of the task. A search sees no test data: its trials have no test/….
        steps, best_step, stopped_early; cut_texts: a sentence on texts that were too long for the tower, if any.
        cost/params, cost/params/PART, cost/trained_params, cost/flops (forward, of one example), cost/flops_training
        (of one example), cost/seconds, cost/examples_per_second, cost/memory (MiB).
        mix/NAME: settings that are no part of a run's id, but may change its last bits or its time: device, threads,
        processes, micro_batch, host, code (digest of the training code), mtlab, torch, git (commit, `+` if dirty),
        "plug-in manager:NAME" (digest of a class's source); "A then B" where a run was gone on with under others.

    Args:
        store: where the runs are.
        plan: the stored plan, see `Store.plan`.

    """
    states = store.states(plan)
    test = not is_sweep(plan)
    return _to_frame([_run(store, run, states[run["id"]], test=test) for run in plan["runs"]])


def outcome_frame(store: Store, plan: Mapping[str, Any], *, split: str | None = None) -> pl.DataFrame:
    """Read the outcomes of single examples: one row per example of each finished run that recorded them.

    Columns: run, cell, seed, label, split, id, family, cluster, target, prediction, score (the task's first metric).

    Args:
        store: where the runs are.
        plan: the stored plan.
        split: only this one, "val" or "test".

    Raises:
        UserError: a run's file of outcomes is damaged.

    """
    import polars as pl

    found = _read_outcomes(store, plan["runs"], OUTCOME_COLUMNS, split)
    if found is not None:
        return found
    texts = dict.fromkeys(OUTCOME_COLUMNS, pl.String)
    return pl.DataFrame(
        schema={**texts, **dict.fromkeys(("seed", "target", "prediction"), pl.Int64), "score": pl.Float64}
    )


def outcomes_by_cell(store: Store, plan: Mapping[str, Any], *, split: str | None = None) -> dict[str, pl.DataFrame]:
    """Read what comparisons need of the outcomes, cell by cell: a large study's are large.

    Args:
        store: where the runs are.
        plan: the stored plan.
        split: only this one, "val" or "test".

    Returns:
        `PAIRED_COLUMNS` of `outcome_frame`, for each cell of which a finished run recorded them.

    Raises:
        UserError: a run's file of outcomes is damaged.

    """
    cells: dict[str, list[Mapping[str, Any]]] = {}
    for run in plan["runs"]:
        cells.setdefault(run["cell"], []).append(run)
    read = {cell: _read_outcomes(store, runs, PAIRED_COLUMNS, split) for cell, runs in cells.items()}
    return {cell: rows for cell, rows in read.items() if rows is not None}


def without_parents(
    runs: pl.DataFrame, outcomes: Mapping[str, pl.DataFrame], plan: Mapping[str, Any]
) -> tuple[pl.DataFrame, dict[str, pl.DataFrame]]:
    """Return runs and outcomes of a study's own rows: those that they start from may be of other tasks and families."""
    import polars as pl

    cells = {row["cell"] for row in plan["rows"]}
    return runs.filter(pl.col("cell").is_in(cells)), {cell: of for cell, of in outcomes.items() if cell in cells}


def _read_outcomes(
    store: Store, runs: Sequence[Mapping[str, Any]], columns: Sequence[str], split: str | None
) -> pl.DataFrame | None:
    """Return the outcomes of those runs that are finished and recorded them; None: of none."""
    import polars as pl

    files = {store.run(run["id"]) / "examples.parquet": run for run in runs}
    present = {path: run for path, run in files.items() if path.is_file() and _finished(path)}
    if not present:
        return None
    for path in present:
        manifest.verify(path.parent, path.name, path.read_bytes())
    scanned = pl.scan_parquet(list(present), glob=False, include_file_paths="file")
    if split is not None:
        scanned = scanned.filter(pl.col("split") == split)
    of_run = pl.LazyFrame(
        [
            {"file": str(path), "run": run["id"], "cell": run["cell"], "seed": run["seed"], "label": run["label"]}
            for path, run in present.items()
        ]
    )
    return scanned.join(of_run, on="file").select(columns).collect()


def _run(store: Store, run: Mapping[str, Any], state: str, *, test: bool) -> dict[str, Any]:
    result = store.result(run["id"]) if state == "done" else None
    row = {"run": run["id"], "study": run.get("study"), "cell": run["cell"], "seed": run["seed"]}
    row |= {"label": run["label"], "state": state}
    row |= {f"axis/{path}": value for path, value in run["axes"].items()}
    if result is None:
        return row
    row |= {name: float(value) for name, value in result["metrics"].items() if test or not is_test(name)}
    row |= {name: result.get(name) for name in ("steps", "best_step", "stopped_early", "cut_texts")}
    return row | costs(result.get("cost", {})) | _environment(store, run["id"], result)


def add_areas(store: Store, runs: pl.DataFrame) -> pl.DataFrame:
    """Add the column `area`, which `run_frame` has not: it takes a file more of each run."""
    import polars as pl

    finished = runs["state"] == "done"
    areas = [run_area(store, run)[1] if done else None for run, done in zip(runs["run"], finished, strict=True)]
    return runs.with_columns(pl.Series("area", areas, dtype=pl.Float64))


def run_area(store: Store, run: str) -> tuple[str, float | None]:
    """Return the metric that chose a run's checkpoint, and the area under its validation curve as a mean height.

    None: validated less than twice.
    """
    config = (store.config(run) or {}).get("config", {})
    metric = (config.get("metrics") or {}).get("choose", "val/accuracy")
    length = (config.get("train") or {}).get("length") or {}  # as planned: a run may have stopped early
    curve = read_curve(store.metrics(run), metric, length.get("steps"))
    return metric, None if curve is None else curve.area()


def _environment(store: Store, run: str, result: Mapping[str, Any]) -> dict[str, Any]:
    state, config = store.run_state(run) or {}, store.config(run) or {}
    versions, git = state.get("versions") or {}, state.get("git") or {}
    commit = str(git["commit"])[:10] + ("+" if git.get("dirty") else "") if git.get("commit") else None
    mixed = {name: state.get(name) for name in ("host", "device", "threads")}
    mixed |= {"processes": state.get("processes", 1)}
    mixed |= {"code": config.get("code"), "mtlab": versions.get("mtlab"), "torch": versions.get("torch"), "git": commit}
    mixed |= result.get("mixes") or {}
    return {f"mix/{name}": value for name, value in mixed.items()}


def _finished(file: Path) -> bool:
    """Return whether a run is finished: outcomes without a result may be those of an attempt that was cut off."""
    return (file.parent / "result.json").is_file()


def _to_frame(rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """Make a data frame of rows with different columns; of none, with those that every run has."""
    import polars as pl

    if not rows:
        text = dict.fromkeys(("run", "study", "cell", "seed", "label", "state"), pl.String)
        return pl.DataFrame(schema={**text, "seed": pl.Int64})
    names = dict.fromkeys(name for row in rows for name in row)
    return pl.DataFrame({name: _uniform([row.get(name) for row in rows]) for name in names}, strict=False)


def _uniform(values: Iterable[Any]) -> list[Any]:
    """Return the values as they are, or as JSON if they are nested or of several types."""
    values = list(values)
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return [None if value is None else float(value) for value in values]
    if len(kinds) > 1 or kinds & {dict, list}:
        return [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
    return values
