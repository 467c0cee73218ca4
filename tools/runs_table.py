"""The table of runs behind a published comparison, from a store: analysis/results/NAME_runs.csv.

    python tools/runs_table.py STORE STUDY > analysis/results/NAME_runs.csv

Some columns of `mtlab report STUDY --by run --format csv`: those that the pages of results, `tools/findings.py` and
the benchmarks read, with scores in the metric that chose checkpoints, and what a number is traced by. Trials of a
search have their learning rate, and no test data; `val` behind the study gives the validation scores of any other.
"""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl

import mtlab
from mtlab.runs.store import Store

LEADING = ("run", "label", "train.lr", "seed", "steps", "best_step")
LAST = ("cost/trained_params", "cost/flops", "cost/seconds", "mix/git", "mix/torch")


def runs_table(store: str, study: str, split: str = "test") -> pl.DataFrame:
    """Choose and round the columns of a study's or sweep's runs that are published, with the scores of one split."""
    finished = pl.col("steps").is_not_null()
    runs = mtlab.frame(store, study).filter(finished).rename({"axis/train.lr": "train.lr"}, strict=False)
    trial = " · trial "
    if runs["label"].str.contains(trial, literal=True).any():
        split = "val"
    metric = Store.open(Path(store)).plan(study)["metrics"]["choose"].removeprefix("val/")
    scores = [name for name in runs.columns if name.startswith(f"{split}/{metric}") and "floor_error" not in name]
    published = dict.fromkeys((*LEADING, f"val/{metric}", "area", *scores, *LAST))
    chosen = [name for name in published if name in runs.columns]
    return runs.select(
        pl.col("label").str.split(trial).list.first() if name == "label" else pl.col(name) for name in chosen
    ).with_columns(pl.col(pl.Float64).round(6))


if __name__ == "__main__":
    print(runs_table(*sys.argv[1:]).write_csv(), end="")
