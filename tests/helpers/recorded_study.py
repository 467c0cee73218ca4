"""A study's recordings as figures take them, from files of numbers of our choice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import recordings

from mtlab.recording import reader
from mtlab.report.figures import panels
from mtlab.report.recordings import StudyRun

VARIANTS = ("last", "bridge", "adaptive")


class Study:
    """Recorded runs of some variants."""

    def __init__(self, folder: Path, variants: Sequence[str] = VARIANTS, seeds: int = 3, **how: Any) -> None:
        self.layers, self.traces, self.worths, self.histories = {}, {}, {}, {}
        for place, variant in enumerate(variants):
            for seed in range(seeds):
                run = folder / str(place) / f"s{seed}"
                recordings.write_layers(run, seed, pattern=place, **how)
                recordings.write_trace(run, seed, pattern=place, **how)
                source = StudyRun(variant, seed, f"{place}/s{seed}")
                self.layers[source] = reader.read_layers(run)
                self.traces[source] = reader.read_trace(run)
                metrics = {"val/accuracy": 0.7, "val/accuracy/colour": 0.8, "val/accuracy/count": 0.6}
                result = {"metrics": metrics, "interventions": recordings.interventions(seed=seed)}
                self.worths[source] = reader.read_worth(result)
                steps = range(10, 60, 10)
                self.histories[source] = [{"step": n, "seconds": n, "val/accuracy": 0.01 * (n + seed)} for n in steps]
        self.start = {source: trace.layers[0] for source, trace in self.traces.items()}
        self.of = lambda variant: panels.runs_of(self.layers, variant)


def words(figure: go.Figure) -> str:
    """All that a figure says."""
    return json.dumps(json.loads(figure.to_json()), ensure_ascii=False)


def lines(figure: go.Figure, name: str, row: int = 1, column: int = 1) -> list[go.Scatter]:
    """The lines of a name in one panel, without their bands."""
    axis = figure.get_subplot(row, column).xaxis.plotly_name.replace("xaxis", "x")
    return [each for each in figure.data if each.name == name and (each.xaxis or "x") == axis]
