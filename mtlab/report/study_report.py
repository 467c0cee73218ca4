"""The report of a study, and its output as JSON, Markdown, LaTeX, CSV and for the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mtlab.files import json_text
from mtlab.report import frame
from mtlab.report import side_by_side as blocks
from mtlab.report.caveats import collect_caveats
from mtlab.report.comparison.compare import ComparisonRow, compare, compared_pairs
from mtlab.report.comparison.families import FamilyRow, compare_families
from mtlab.report.comparison.paired_examples import count_examples
from mtlab.report.formats.csv_table import FAMILY_COLUMNS, family_rows, report_rows, write_csv
from mtlab.report.formats.latex import family_latex, report_latex
from mtlab.report.formats.markdown import family_markdown, report_markdown
from mtlab.report.learning.speed import LearningSpeed, SpeedRow, compare_speed
from mtlab.report.published import PublishedResult, PublishedRow, published_by_row, published_overall
from mtlab.report.sequential.summary import SequentialSummary, summarise_looks
from mtlab.runs.damage import damaged_runs
from mtlab.runs.store import Store, metric_direction
from mtlab.statistics.intervals import MeanInterval
from mtlab.statistics.learning import Learning
from mtlab.statistics.paired import Difference
from mtlab.statistics.power import POWER
from mtlab.studies.looks import other_records, read_looks

if TYPE_CHECKING:
    from rich.console import RenderableType

FORMAT = 1


@dataclass(frozen=True)
class StudyReport:
    """The results of a study as data."""

    study: str
    why: str
    design: str
    metric: str
    mode: str
    choose: str  #: metric that chose the checkpoints, on validation data
    choose_mode: str
    examples: int | None  #: of the verdict metric; None where none were recorded, or variants differ in them
    test: str
    alpha: float
    correct: str
    comparisons: int  #: with a baseline, which the correction counts
    seeds: tuple[int, ...]  #: that it may ask for, in order
    runs: Mapping[str, int]  #: state → runs of this study
    rows: tuple[ComparisonRow, ...]
    families: Mapping[str, tuple[FamilyRow, ...]]
    family_comparisons: int  #: over all families, which the correction of the table by family counts
    speed: LearningSpeed | None  #: None where no finished run was validated while it was trained
    published: tuple[PublishedResult, ...]
    published_rows: tuple[PublishedRow, ...]
    equivalence: float | None  #: largest difference that counts as none, in the metric's own unit
    sequential: SequentialSummary | None  #: where the study has as many seeds as it needs
    notes: tuple[str, ...]

    @property
    def baselines(self) -> tuple[str, ...]:
        """Labels of the variants that others are compared with."""
        return tuple(dict.fromkeys(row.compare_label for row in self.rows if row.compare_label is not None))

    @property
    def has_verdicts(self) -> bool:
        """Whether anything is said of a variant: in comparison with another, or that it has not learned."""
        return any(row.compare_to is not None or row.outcome == "not learned" for row in self.rows)

    @property
    def has_several_seeds(self) -> bool:
        """Whether any variant has two finished seeds, without which there is neither interval nor test."""
        return any(row.n > 1 for row in self.rows)

    @property
    def side_by_side(self) -> blocks.SideBySide | None:
        """The variants at equal steps and at equal FLOPs, where `train.length` is an axis."""
        return blocks.compare_lengths(self)

    @property
    def further(self) -> tuple[str, ...]:
        """Metrics that the study reports beside the verdict's."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.metrics))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data with the stable keys of docs/report-json.md."""
        return {
            "format": FORMAT,
            "study": self.study,
            "why": self.why,
            "design": self.design,
            "metric": self.metric,
            "mode": self.mode,
            "choose": {"metric": self.choose, "mode": self.choose_mode},
            "examples": self.examples,
            "test": self.test,
            "alpha": self.alpha,
            "correct": self.correct,
            "comparisons": self.comparisons,
            "equivalence": self.equivalence,
            "sequential": None if self.sequential is None else _sequential(self.sequential),
            "power": POWER,
            "baseline": next(({"cell": r.cell, "label": r.label} for r in self.rows if r.is_baseline), None),
            "runs": dict(self.runs),
            "rows": [_row(row) for row in self.rows],
            "family_comparisons": self.family_comparisons,
            "families": {name: [_family(row) for row in rows] for name, rows in self.families.items()},
            "speed": None if self.speed is None else _speed(self.speed),
            "published": [asdict(result) for result in self.published],
            "published_rows": [_published_row(row) for row in self.published_rows],
            "side_by_side": _side_by_side(self),
            "notes": list(self.notes),
        }

    def to_json(self) -> str:
        """Return JSON text."""
        return json_text(self.to_dict())

    def to_markdown(self, *, by_family: bool = False) -> str:
        """Return Markdown with all tables, or with `by_family` the table by family alone."""
        return family_markdown(self) if by_family else report_markdown(self)

    def _repr_markdown_(self) -> str:
        """Show the table in a notebook."""
        return self.to_markdown()

    def to_latex(self, *, by_family: bool = False) -> str:
        r"""Return LaTeX tables, ready to `\input`; needs booktabs and siunitx."""
        return family_latex(self) if by_family else report_latex(self)

    def to_csv(self, *, by_family: bool = False) -> str:
        """Return CSV: a line per variant, or with `by_family` per variant and family."""
        return write_csv(family_rows(self), FAMILY_COLUMNS) if by_family else write_csv(report_rows(self))

    def to_table(self, width: int = 100, *, by_family: bool = False) -> RenderableType:
        """Return rich tables for a terminal of `width` columns."""
        from mtlab.report.formats.terminal import render_families, render_report

        return render_families(self, width) if by_family else render_report(self, width)


def build_report(store: Store, plan: Mapping[str, Any]) -> StudyReport:
    """Compare the variants of a study, however much of it has run.

    Args:
        store: where its runs are.
        plan: its stored plan, see `Store.plan`.

    Raises:
        UserError: the plan names a test that does not exist, or a file of the store is damaged.

    """
    split = plan["metrics"]["verdict"].partition("/")[0]
    outcomes = frame.outcomes_by_cell(store, plan, split=split)
    runs, outcomes = frame.without_parents(frame.run_frame(store, plan), outcomes, plan)
    looks = read_looks(store, plan)
    rows = compare(runs, outcomes, plan, looks)
    families = compare_families(runs, outcomes, plan, looks)
    states = Counter(runs["state"])
    return StudyReport(
        study=plan["study"],
        why=plan["why"],
        design=plan["design"],
        metric=plan["metrics"]["verdict"],
        mode=metric_direction(plan, plan["metrics"]["verdict"]),
        choose=plan["metrics"]["choose"],
        choose_mode=metric_direction(plan, plan["metrics"]["choose"]),
        examples=count_examples(outcomes.values(), plan["metrics"]["verdict"]),
        test=plan["test"],
        alpha=plan["alpha"],
        correct=plan["correct"],
        comparisons=len(compared_pairs(rows)) if looks is None else len(looks.pairs),
        seeds=tuple(plan["seeds"]),
        runs={"asked": states.total(), **dict(sorted(states.items()))},
        rows=rows,
        families=families,
        family_comparisons=len(
            {(name, row.cell, row.compare_to) for name, rows in families.items() for row in rows if row.compared}
        ),
        speed=compare_speed(store, runs, rows, plan),
        published=published_overall(runs, rows, plan),
        published_rows=published_by_row(runs, rows, plan),
        equivalence=plan["equivalence"],
        sequential=summarise_looks(runs, rows, plan, looks, 0 if looks is None else other_records(store, plan)),
        notes=(*damaged_runs(plan, store.damage), *collect_caveats(runs, rows, plan)),
    )


def _row(row: ComparisonRow) -> dict[str, Any]:
    return {
        "label": row.label,
        "cell": row.cell,
        "variant": row.variant,
        "block": row.block,
        "baseline": row.is_baseline,
        "compare_to": None if row.compare_to is None else {"cell": row.compare_to, "label": row.compare_label},
        "axes": dict(row.axes),
        "config_differences": dict(row.config_differences),
        "n": row.n,
        "asked": row.planned,
        "seeds": list(row.results),
        "results": {str(seed): value for seed, value in row.results.items()},
        **_mean(row.mean),
        **_difference(row.difference),
        "differences": {str(seed): value for seed, value in row.differences.items()},
        "p_corrected": row.p_corrected,
        "p_equivalence": row.p_equivalence,
        "outcome": row.outcome,
        "verdict": row.verdict,
        "learning": _learning(row.learning),
        "smallest_detectable": row.smallest_detectable,
        "best": row.best,
        "cost": asdict(row.cost),
        "metrics": dict(row.metrics),
        "notes": list(row.notes),
    }


def _sequential(summary: SequentialSummary) -> dict[str, Any]:
    fields = asdict(summary)
    return fields | {"looks": list(summary.looks), "comparisons": [asdict(each) for each in summary.comparisons]}


def _family(row: FamilyRow) -> dict[str, Any]:
    return {
        "label": row.label,
        "cell": row.cell,
        "n": 0 if row.mean is None else row.mean.n,
        "examples": row.examples,
        **_mean(row.mean),
        "compare_to": row.compare_to,
        **_difference(row.difference),
        "p_corrected": row.p_corrected,
        "outcome": row.outcome,
        "learning": _learning(row.learning),
    }


def _speed(speed: LearningSpeed) -> dict[str, Any]:
    low, high = speed.validated_every
    target, *others = speed.targets or (None,)
    why = "rows of other questions have other targets" if others else "" if target else speed.rows[0].why_no_target
    return {
        "metric": speed.metric,
        "target": None if target is None or others else asdict(target),
        "why_no_target": why or None,
        "validated_every": [low, high],
        "test": speed.test,
        "rows": [_speed_row(row) for row in speed.rows],
    }


def _speed_row(row: SpeedRow) -> dict[str, Any]:
    reached = row.reached
    steps = None if reached is None else {str(seed): step for seed, step in reached.by_seed.items()}
    mean = None if reached is None else reached.mean
    return {
        "label": row.label,
        "cell": row.cell,
        "n": len(row.areas),
        **{f"area_{name}": value for name, value in _mean(row.area).items()},
        "areas": {str(seed): area for seed, area in row.areas.items()},
        "compare_to": row.compare_to,
        **_difference(row.difference),
        "p_corrected": row.p_corrected,
        "outcome": row.outcome,
        "target": None if row.target is None else row.target.value,
        "steps": steps,
        "length": None if reached is None else reached.length,
        "not_reached": None if reached is None else reached.censored,
        "steps_mean": None if mean is None else mean.mean,
        "steps_interval": None if mean is None or mean.interval is None else list(mean.interval),
    }


def _published_row(row: PublishedRow) -> dict[str, Any]:
    fields = {name: value for name, value in asdict(row).items() if name != "ours"}
    return fields | {"n": 0 if row.ours is None else row.ours.n, **_mean(row.ours)}


def _side_by_side(report: StudyReport) -> dict[str, Any] | None:
    view = report.side_by_side
    if view is None:
        return None
    at = {id(row): index for index, row in enumerate(report.rows)}
    blocks_ = [{"label": b.label, "rows": {name: at[id(row)] for name, row in b.rows.items()}} for b in view.blocks]
    return {"variants": list(view.variants), "blocks": blocks_}


def _mean(mean: MeanInterval | None) -> dict[str, Any]:
    if mean is None:
        return {"mean": None, "sd": None, "interval": None, "clumps": []}
    interval = None if mean.interval is None else list(mean.interval)
    return {"mean": mean.mean, "sd": mean.sd, "interval": interval, "clumps": [asdict(each) for each in mean.clumps]}


def _learning(learning: Learning | None) -> dict[str, Any] | None:
    return None if learning is None else {**asdict(learning), "complete": learning.complete}


def _difference(found: Difference | None) -> dict[str, Any]:
    if found is None:
        return {"pairs": 0, "difference": None, "difference_interval": None, "p": None, "test_examples": None}
    interval = None if found.interval is None else list(found.interval)
    tested = {"pairs": found.n, "difference": found.difference, "difference_interval": interval, "p": found.p}
    examples = None if found.parts is None else found.parts.examples
    return tested | {"test_examples": None if examples is None else asdict(examples)}
