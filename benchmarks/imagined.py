"""Large studies whose runs are made up: what a store of a thousand finished runs holds, without training one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mtlab import files
from mtlab.runs.results import write_result
from mtlab.runs.store import Store

VALIDATIONS = 10
QUESTIONS = 4  #: of each image
STUDY = """
kind: ablation
name: {name}
base: [presets/small, presets/shapes]
why: How long do plan and report of a large study take?
set:
  text: {{name: tiny_text}}
  vision: {{name: tiny_vision}}
  data: {{families: [existence, colour, shape], train: 8000, val: 600, test: {examples}}}
axes:
  manager: [bridge, last, mean, static, adaptive]
  model.cross_layers: [2, 3]
  train.lr: {rates}
baseline: {{manager: bridge}}
seeds: {seeds}
"""


def write_study(folder: Path, cells: int, seeds: int, examples: int = 2400, name: str = "large") -> Path:
    """Write a study of `cells` cells over five managers and ten architectures, a tenth of it learning rates.

    Raises:
        ValueError: the number of cells is no multiple of ten.

    """
    if cells % 10:
        raise ValueError(f"{cells} cells: give a multiple of ten")
    rates = [round(1e-4 + 1e-5 * step, 8) for step in range(cells // 10)]
    path = folder / f"{name}.yaml"
    path.write_text(STUDY.format(name=name, rates=rates, seeds=seeds, examples=examples))
    return path


def finish(store: Store, configs: Mapping[str, Mapping[str, Any]], examples: int = 2400, seed: int = 0) -> None:
    """Finish every run that is not there yet: files like those of real runs, with numbers that are drawn.

    Args:
        store: where.
        configs: run → what its `config.json` holds, see `mtlab.studies.plan.run_configs`.
        examples: in the test data; a quarter as many in the validation data.
        seed: of the numbers.

    """
    import polars as pl

    dice = np.random.default_rng(seed)
    ids = [f"{split}/{at}" for split, many in (("val", examples // 4), ("test", examples)) for at in range(many)]
    families = [("existence", "colour", "shape")[at % 3] for at in range(len(ids))]
    images = [f"image {at // QUESTIONS}" for at in range(len(ids))]
    splits = [each.partition("/")[0] for each in ids]
    frame = pl.DataFrame({"split": splits, "id": ids, "family": families, "cluster": images})
    for run, config in configs.items():
        directory = store.run(run)
        if (directory / "result.json").exists():
            continue
        directory.mkdir(parents=True, exist_ok=True)
        right = dice.random(len(ids)) < 0.7
        answers = pl.Series("target", dice.integers(0, 8, len(ids)))
        frame.with_columns(
            answers, answers.alias("prediction") + pl.Series(~right).cast(pl.Int64), pl.Series("score", right * 1.0)
        ).write_parquet(directory / "examples.parquet")
        scores = {split: right[[each.startswith(split) for each in frame["split"]]].mean() for split in ("val", "test")}
        _write(directory, config, {split: float(score) for split, score in scores.items()})


def _write(directory: Path, config: Mapping[str, Any], scores: Mapping[str, float]) -> None:
    files.write_json(directory / "config.json", config)
    started = {"attempt": 1, "host": "made-up", "pid": 1, "device": "cpu", "threads": 1, "versions": {}, "git": None}
    files.write_json(directory / "state.json", started)
    for step in range(1, VALIDATIONS + 1):
        row = {"step": 60 * step, "seconds": 6.0 * step, "train/loss": 2.0 / step, "val/accuracy": scores["val"]}
        files.append_line(directory / "metrics.jsonl", row)
    metrics = {"train/loss": 0.2} | {
        f"{split}/{name}": score
        for split, score in scores.items()
        for name in ("primary", "accuracy", "accuracy/existence", "accuracy/colour", "accuracy/shape", "loss")
    }
    cost = {**config["cost"], "seconds": 60.0, "examples_per_second": 300.0, "memory_mib": 500.0}
    result = {
        "format": 1,
        "steps": 600,
        "best_step": 600,
        "stopped_early": False,
        "metrics": metrics,
        "cost": cost,
        "interventions": None,
        "cut_texts": None,
        "mixes": {"device": "cpu", "threads": 1, "micro_batch": 32},
    }
    write_result(directory, result)
