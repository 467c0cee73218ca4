"""A study of the store, opened for analysis: its runs as a table, its report, and the data of its figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mtlab.errors import UserError
from mtlab.report import frame, recordings
from mtlab.report.comparison.ranking import Ranking, rank_variants
from mtlab.report.figures import theme
from mtlab.report.study_report import build_report
from mtlab.runs.find_run import labels_by_cell
from mtlab.runs.store import Store, final_name, is_sweep, store_root
from mtlab.studies.looks import read_looks

if TYPE_CHECKING:
    import polars as pl

    from mtlab.recording.reader import Layers, Tokens, TrainingTrace, Worth
    from mtlab.report.comparison.compare import ComparisonRow
    from mtlab.report.figures.theme import Style
    from mtlab.report.recordings import MetricHistory, RunRecordings
    from mtlab.report.study_report import StudyReport


def open_study(name: str, store: Path | str | None = None) -> StudyResults:
    """Open a study of a store, however much of it has run.

    Args:
        name: of the study.
        store: the store's folder; None: `MTLAB_STORE`, else `./runs`.

    Raises:
        UserError: there is no store, no such study, or the name is that of a sweep.

    """
    opened = Store.open(store_root(store))
    plan = opened.plan(name)
    if is_sweep(plan):
        raise UserError(f"{name!r} is a sweep: the study of its tuned variants is {final_name(name)!r}")
    return StudyResults(opened, plan)


@dataclass(frozen=True)
class StudyResults:
    """What the runs of a study have given so far. Each part is read when it is first used."""

    store: Store
    plan: Mapping[str, Any]  #: the stored plan, see `Store.plan`

    @cached_property
    def runs(self) -> pl.DataFrame:
        """One row per run, see `mtlab.report.frame.run_frame`."""
        return frame.run_frame(self.store, self.plan)

    @cached_property
    def report(self) -> StudyReport:
        """The comparison of the variants, with its tests.

        Raises:
            UserError: the plan names a test that does not exist, or a file of the store is damaged.

        """
        return build_report(self.store, self.plan)

    @cached_property
    def table(self) -> pl.DataFrame:
        """One row per variant, in the report's order and in the metric's own unit.

        Columns: label; axis/NAME, the variant's label on that axis; n (seeds), mean, low and high (its interval);
        compare_to (a label), difference, p_corrected, outcome.
        """
        import polars as pl

        # Row by row: one cell may be two rows, at equal steps and at equal FLOPs.
        pairs = zip(self.report.rows, self.plan["rows"], strict=True)
        return pl.DataFrame(
            [_table_row(row, planned["axis_labels"]) for row, planned in pairs], infer_schema_length=None
        )

    @cached_property
    def ranking(self) -> Ranking:
        """The variants best first, with letters that join those that were not told apart.

        Raises:
            UserError: the study cannot be ranked, see `rank_variants`.

        """
        split = self.plan["metrics"]["verdict"].partition("/")[0]
        outcomes = frame.outcomes_by_cell(self.store, self.plan, split=split)
        return rank_variants(self.report.rows, self.runs, outcomes, self.plan, self.report.notes)

    @cached_property
    def styles(self) -> Mapping[str, Style]:
        """Colour and line of each variant, the same in all figures."""
        return theme.study_styles(self.plan)

    @cached_property
    def looks(self) -> pl.DataFrame:
        """One row per look and comparison, in the order of the looks; no rows where the number of seeds is fixed.

        Columns: look, label, compare_to (a label), n (seeds), difference, error, p and p_equivalence (counting the
        looks), p_corrected, p_equivalence_corrected, ended (difference, equivalence, max, not learned, or null).
        """
        import polars as pl

        found = read_looks(self.store, self.plan)
        labels = labels_by_cell(self.plan)
        rows = [
            {"look": number, **asdict(test), "label": labels[test.cell], "compare_to": labels[test.compare_to]}
            for number, look in enumerate(() if found is None else found.taken, 1)
            for test in look
        ]
        numbers = ("difference", "error", "p", "p_equivalence", "p_corrected", "p_equivalence_corrected")
        schema = {"look": pl.Int64, "label": pl.String, "compare_to": pl.String, "n": pl.Int64}
        return pl.DataFrame(
            [{name: row[name] for name in (*schema, *numbers, "ended")} for row in rows],
            schema={**schema, **dict.fromkeys(numbers, pl.Float64), "ended": pl.String},
        )

    @cached_property
    def layers(self) -> RunRecordings[Layers]:
        """Which layers each finished run draws on."""
        return recordings.study_layers(self.store, self.plan)

    @cached_property
    def tokens(self) -> RunRecordings[Tokens]:
        """What every token of some examples draws on, by finished run."""
        return recordings.study_tokens(self.store, self.plan)

    @cached_property
    def traces(self) -> RunRecordings[TrainingTrace]:
        """How the use of layers evolved over the training of each finished run."""
        return recordings.study_traces(self.store, self.plan)

    @cached_property
    def worths(self) -> RunRecordings[Worth]:
        """What the metric loses without each level, by run; measured by interventions."""
        return recordings.study_worths(self.store, self.plan)

    @cached_property
    def histories(self) -> RunRecordings[MetricHistory]:
        """The metrics logged over training, of running and failed runs too."""
        return recordings.study_histories(self.store, self.plan)

    @property
    def variants(self) -> list[str]:
        """Labels of the variants, in the table's order."""
        return list(dict.fromkeys(row["label"] for row in self.plan["rows"]))


def _table_row(row: ComparisonRow, axis_labels: Mapping[str, str]) -> dict[str, Any]:
    low, high = (row.mean.interval if row.mean is not None else None) or (None, None)
    return {
        "label": row.label,
        **{f"axis/{axis}": label for axis, label in axis_labels.items()},
        "n": row.n,
        "mean": None if row.mean is None else row.mean.mean,
        "low": low,
        "high": high,
        "compare_to": row.compare_label,
        "difference": None if row.difference is None else row.difference.difference,
        "p_corrected": row.p_corrected,
        "outcome": row.outcome,
    }
