"""What matching adds to the contrast in finished runs of retrieval: analysis/results/NAME_matching.csv.

    python tools/matching.py STORE STUDY [SPLIT] > analysis/results/NAME_matching.csv

Evaluates the best checkpoint of each run, on validation data unless another split is named. Without arguments, prints
the means of the published tables of clip art, on the CNN and on the ViT.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean

from findings import read_table

from mtlab.inference.evaluation import evaluate_run, parse_request
from mtlab.runs.find_run import find_run
from mtlab.runs.store import Store
from mtlab.tasks.ranking.recall import BY_CONTRAST

PUBLISHED = ("sweep_managers_clipart", "sweep_clipart_kinds", "sweep_clipart_vit")  #: two on the CNN, one on the ViT


def measure(root: Path, study: str, split: str) -> None:
    """Print a row for each run of a study."""
    assert split in ("train", "val", "test")
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(("run", "label", "seed", f"{split}/recall", f"{split}/{BY_CONTRAST}"))
    for planned in Store.open(root).plan(study)["runs"]:
        run = find_run(root / "cells" / planned["id"], root)
        metrics = evaluate_run(run, parse_request(run, None, None, split)).metrics
        scores = (round(metrics[f"{split}/{name}"], 6) for name in ("recall", BY_CONTRAST))
        table.writerow((run.id, run.config["label"], run.config["seed"], *scores))


def summary(name: str) -> None:
    """Print the means of each row: the contrast alone, with matching, and what matching adds by seed."""
    by_label: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for run in read_table(name, "matching"):
        recall, alone = (100 * float(value) for key, value in run.items() if key.endswith("recall"))
        by_label[run["label"]].append((recall, alone))
    print("| | contrast alone | with matching | matching adds, by seed |\n|---|--:|--:|---|")
    for label, runs in by_label.items():
        added = ", ".join(f"{recall - alone:+.1f}".replace("-", "−") for recall, alone in runs)
        print(
            f"| {label} | {fmean(alone for _, alone in runs):.1f} | {fmean(each for each, _ in runs):.1f} | {added} |"
        )


if __name__ == "__main__":
    if len(sys.argv) == 1:
        for published in PUBLISHED:
            summary(published)
    else:
        measure(Path(sys.argv[1]), sys.argv[2], (*sys.argv, "val")[3])
