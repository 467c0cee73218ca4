"""The report of a study: one object, written as JSON, Markdown or a table for the terminal."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mtlab.analysis import frame
from mtlab.analysis.comparison import POWER, FamilyRow, Row, average, compare, families
from mtlab.analysis.notes import notes
from mtlab.statistics import Difference, Mean
from mtlab.studies.store import Store

if TYPE_CHECKING:
    import polars as pl
    from rich.console import RenderableType

FORMAT = 1


@dataclass(frozen=True)
class Published:
    """A result from the literature beside our best. It is not ours, and nothing is tested against it."""

    metric: str
    value: float
    best_label: str | None  #: our best variant on that metric
    best: float | None


@dataclass(frozen=True)
class Report:
    """All that a report says, as data."""

    study: str
    why: str
    design: str
    metric: str
    mode: str
    test: str
    alpha: float
    correct: str
    comparisons: int  #: with a baseline, in this table: what the correction corrects for
    runs: Mapping[str, int]  #: state → runs of this study
    rows: tuple[Row, ...]
    families: Mapping[str, tuple[FamilyRow, ...]]
    published: tuple[Published, ...]
    notes: tuple[str, ...]

    @property
    def baselines(self) -> tuple[str, ...]:
        """Labels of the variants that others are compared with."""
        return tuple(dict.fromkeys(row.compare_label for row in self.rows if row.compare_label is not None))

    @property
    def further(self) -> tuple[str, ...]:
        """Metrics that the study asks to see beside the verdict's."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.metrics))

    def to_dict(self) -> dict[str, Any]:
        """Give plain data; its keys are documented in docs/report-json.md and stable."""
        return {
            "format": FORMAT,
            "study": self.study,
            "why": self.why,
            "design": self.design,
            "metric": self.metric,
            "mode": self.mode,
            "test": self.test,
            "alpha": self.alpha,
            "correct": self.correct,
            "comparisons": self.comparisons,
            "power": POWER,
            "baseline": next(({"cell": r.cell, "label": r.label} for r in self.rows if r.is_baseline), None),
            "runs": dict(self.runs),
            "rows": [_row(row) for row in self.rows],
            "families": {name: [_family(row) for row in rows] for name, rows in self.families.items()},
            "published": [
                {"metric": p.metric, "value": p.value, "best_label": p.best_label, "best": p.best}
                for p in self.published
            ],
            "notes": list(self.notes),
        }

    def to_json(self) -> str:
        """Write as JSON text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def to_markdown(self) -> str:
        """Write as Markdown, tables included."""
        from mtlab.analysis.markdown import markdown

        return markdown(self)

    def to_table(self, width: int = 100) -> RenderableType:
        """Draw for a terminal of `width` columns."""
        from mtlab.analysis.tables import render

        return render(self, width)


def build(store: Store, plan: Mapping[str, Any]) -> Report:
    """Report on a study, however much of it has run.

    Args:
        store: where its runs are.
        plan: its stored plan, see `Store.plan`.

    Raises:
        UserError: the plan names a test that does not exist, or a file of the store is damaged.

    """
    runs = frame.runs(store, plan)
    split = plan["metrics"]["verdict"].partition("/")[0]
    outcomes = frame.examples(store, plan, split=split)
    rows = compare(runs, outcomes, plan)
    cells = {row.cell for row in rows}
    states = Counter(state for cell, state in runs.select("cell", "state").iter_rows() if cell in cells)
    return Report(
        study=plan["study"],
        why=plan["why"],
        design=plan["design"],
        metric=plan["metrics"]["verdict"],
        mode=plan["metrics"]["mode"],
        test=plan["test"],
        alpha=plan["alpha"],
        correct=plan["correct"],
        comparisons=sum(row.compare_to is not None for row in rows),
        runs={"asked": states.total(), **dict(sorted(states.items()))},
        rows=rows,
        families=families(runs, outcomes, plan),
        published=tuple(_published(runs, rows, plan, metric) for metric in plan["published"]),
        notes=notes(runs, rows, plan),
    )


def _published(runs: pl.DataFrame, rows: tuple[Row, ...], plan: Mapping[str, Any], metric: str) -> Published:
    ours = {row.label: found for row in rows if (found := average(runs, row.cell, metric)) is not None}
    # Of the verdict metric the mode is known; of others, that losses and costs are better small.
    small = plan["metrics"]["mode"] == "min" if metric == plan["metrics"]["verdict"] else _is_cost(metric)
    label = (min if small else max)(ours, key=ours.__getitem__) if ours else None
    return Published(metric, plan["published"][metric], label, None if label is None else ours[label])


def _is_cost(metric: str) -> bool:
    return metric.startswith("cost/") or metric.endswith("/loss")


def _row(row: Row) -> dict[str, Any]:
    return {
        "label": row.label,
        "cell": row.cell,
        "baseline": row.is_baseline,
        "compare_to": None if row.compare_to is None else {"cell": row.compare_to, "label": row.compare_label},
        "axes": dict(row.axes),
        "config_differences": dict(row.config_differences),
        "n": row.n,
        "asked": row.asked,
        "seeds": list(row.seeds),
        **_mean(row.mean),
        **_difference(row.difference),
        "p_corrected": row.p_corrected,
        "outcome": row.outcome,
        "verdict": row.verdict,
        "smallest_detectable": row.smallest_detectable,
        "best": row.best,
        "cost": {
            "params": row.cost.params,
            "trained_params": row.cost.trained_params,
            "flops": row.cost.flops,
            "flops_training": row.cost.flops_training,
            "seconds": row.cost.seconds,
            "memory_mib": row.cost.memory_mib,
        },
        "metrics": dict(row.metrics),
        "notes": list(row.notes),
    }


def _family(row: FamilyRow) -> dict[str, Any]:
    difference = _difference(row.difference)
    shown = {key: difference[key] for key in ("pairs", "difference", "difference_interval")}
    return {"label": row.label, "cell": row.cell, "n": 0 if row.mean is None else row.mean.n} | _mean(row.mean) | shown


def _mean(mean: Mean | None) -> dict[str, Any]:
    if mean is None:
        return {"mean": None, "sd": None, "interval": None}
    return {"mean": mean.mean, "sd": mean.sd, "interval": None if mean.interval is None else list(mean.interval)}


def _difference(found: Difference | None) -> dict[str, Any]:
    if found is None:
        return {"pairs": 0, "difference": None, "difference_interval": None, "p": None}
    interval = None if found.interval is None else list(found.interval)
    return {"pairs": found.n, "difference": found.difference, "difference_interval": interval, "p": found.p}
