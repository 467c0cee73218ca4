"""What levels are worth to the runs behind a published comparison, from a store: analysis/results/NAME_worth.csv.

    python tools/worth_table.py STORE STUDY > analysis/results/NAME_worth.csv

A row for each run, modality and level that `mtlab intervene` removed: what validation accuracy loses, in all and by
family of questions, in the metric's own unit.
"""

from __future__ import annotations

import sys

import polars as pl

import mtlab
from mtlab.report.layer_table import OF_FAMILY


def worth_table(store: str, study: str) -> pl.DataFrame:
    """Return the worth of each level, once for a run, whichever layers read it."""
    rows = mtlab.layers(store, study).drop_nulls(["level", "worth"])
    lost = [name for name in rows.columns if name == "worth" or name.startswith(OF_FAMILY)]
    once = rows.unique(["run", "modality", "level"], keep="first", maintain_order=True)
    return once.select("run", "variant", "seed", "modality", "level", pl.col(lost).round(6))


if __name__ == "__main__":
    print(worth_table(*sys.argv[1:]).write_csv(), end="")
