"""The part of a study that an address selects: filtered by axis values, and grouped by an axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from mtlab.dashboard import controls
from mtlab.dashboard.address import PageAddress
from mtlab.dashboard.components import Component
from mtlab.report.figures import theme
from mtlab.report.figures.theme import Style
from mtlab.report.provenance import format_setting
from mtlab.report.recordings import RunRecordings, StudyRun

T = TypeVar("T")
NOT_SET = "—"  #: the value of an axis that a row lacks


@dataclass(frozen=True)
class StudySelection:
    """The selected rows of a study, and how they are grouped."""

    plan: Mapping[str, Any]  #: the stored plan with the selected rows alone
    kept: tuple[int, ...]  #: their places among all rows
    total: int  #: all rows of the study
    axes: Mapping[str, tuple[str, ...]]  #: axis → labels of its values
    group: str | None  #: the axis that variants are grouped by
    variants: Mapping[str, Style]  #: how each variant of the study is drawn
    styles: Mapping[str, Style]  #: of variants, or of groups where variants are grouped

    @classmethod
    def of(cls, plan: Mapping[str, Any], address: PageAddress) -> StudySelection:
        """Select the part of a study that an address names; filters that would leave nothing are ignored."""
        axes = axis_values(plan)
        wanted = {axis: address.many(_filter(axis), values) for axis, values in axes.items()}
        rows = plan["rows"]
        kept = [at for at, row in enumerate(rows) if _matches(row, wanted)] or list(range(len(rows)))
        group = address.one("group", axes, "") or None
        selected = {**plan, "rows": [rows[at] for at in kept]}
        variants = theme.study_styles(dict(plan))
        styles = variants if group is None else theme.assign_styles(axes[group])
        return cls(selected, tuple(kept), len(rows), axes, group, variants, styles)

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """The selected rows of the plan."""
        found: Sequence[Mapping[str, Any]] = self.plan["rows"]
        return found

    @property
    def labels(self) -> list[str]:
        """Labels of the selected variants, or of their groups."""
        return list(dict.fromkeys(self.name(row) for row in self.rows))

    @property
    def names(self) -> dict[str, str]:
        """Cell → label of its runs in figures."""
        return {row["cell"]: self.name(row) for row in reversed(self.rows)}

    def rank(self, cell: str) -> int:
        """Return the index of a cell's group, to sort by; 0 where nothing is grouped."""
        return 0 if self.group is None else self.labels.index(self.names[cell])

    def name(self, row: Mapping[str, Any]) -> str:
        """Return the label of a row in figures: its variant, or its group."""
        return str(row["label"]) if self.group is None else axis_value(row, self.group)

    def relabel(self, recordings: RunRecordings[T]) -> dict[StudyRun, T]:
        """Label recordings by variant, or by the group of their variant, in the order of `labels`."""
        names, order = self.names, {label: place for place, label in enumerate(self.labels)}
        relabelled = {StudyRun(names[run.cell], run.seed, run.run): value for run, value in recordings.found.items()}
        return dict(sorted(relabelled.items(), key=lambda pair: order[pair[0].label]))

    @property
    def description(self) -> str:
        """Say what is selected; empty for the whole study."""
        parts = []
        if len(self.kept) < self.total:
            parts.append(f"{len(self.kept)} of {self.total} variants are shown")
        if self.group is not None:
            parts.append(f"Grouped by {self.group}: lines stand for all runs of a group, and n counts these runs")
            parts.append("Levels that not all of them are offered are left out")
        return f"{'. '.join(parts)}." if parts else ""


def filter_controls(plan: Mapping[str, Any], address: PageAddress) -> list[Component]:
    """Make the controls for filters and grouping."""
    axes = {axis: values for axis, values in axis_values(plan).items() if len(values) > 1}
    made = [
        controls.multi_dropdown(
            _filter(axis), axis, {value: value for value in values}, address.many(_filter(axis), values)
        )
        for axis, values in axes.items()
    ]
    if len(axes) > 1:
        options = {"": "nothing", **{axis: axis for axis in axes}}
        made.append(controls.dropdown("group", "group by", options, address.one("group", axes, "")))
    return made


def axis_values(plan: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the axes of a study and the labels of their values, in the order of its rows."""
    names = dict.fromkeys(axis for row in plan["rows"] for axis in row["axes"])
    return {axis: tuple(dict.fromkeys(axis_value(row, axis) for row in plan["rows"])) for axis in names}


def axis_value(row: Mapping[str, Any], axis: str) -> str:
    """Return the label of a row's value on an axis."""
    if axis not in row["axes"]:
        return NOT_SET
    label = row["axis_labels"].get(axis)
    return str(label) if label is not None else format_setting(row["axes"][axis])


def row_filters(row: Mapping[str, Any]) -> dict[str, str]:
    """Return the choices of an address that selects one row alone."""
    return {_filter(axis): axis_value(row, axis) for axis in row["axes"]}


def _filter(axis: str) -> str:
    return f"axis.{axis}"


def _matches(row: Mapping[str, Any], wanted: Mapping[str, Sequence[str]]) -> bool:
    return all(not values or axis_value(row, axis) in values for axis, values in wanted.items())
