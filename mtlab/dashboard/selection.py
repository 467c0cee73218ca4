"""What of a study is looked at: the variants that filters leave, and what they are grouped by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from mtlab.dashboard import controls
from mtlab.dashboard.address import PageAddress
from mtlab.dashboard.components import Component, format_setting
from mtlab.report.figures import theme
from mtlab.report.figures.theme import Style
from mtlab.report.recordings import RunRecordings, StudyRun

T = TypeVar("T")
NOT_SET = "—"  #: the value of an axis that a row lacks


@dataclass(frozen=True)
class StudySelection:
    """A part of a study."""

    plan: Mapping[str, Any]  #: its stored plan, with the rows that are looked at alone
    kept: tuple[int, ...]  #: their places among all rows
    total: int  #: rows in all
    axes: Mapping[str, tuple[str, ...]]  #: axis → its values, in words
    group: str | None  #: the axis that variants are grouped by
    variants: Mapping[str, Style]  #: how each variant of the study is drawn
    styles: Mapping[str, Style]  #: the same, or of groups where variants are grouped

    @classmethod
    def of(cls, plan: Mapping[str, Any], view: PageAddress) -> StudySelection:
        """Take the part of a study that an address speaks of; a filter that would leave nothing is none."""
        axes = axis_values(plan)
        wanted = {axis: view.many(_filter(axis), values) for axis, values in axes.items()}
        rows = plan["rows"]
        kept = [at for at, row in enumerate(rows) if _passes(row, wanted)] or list(range(len(rows)))
        group = view.one("group", axes, "") or None
        part = {**plan, "rows": [rows[at] for at in kept]}
        variants = theme.study_styles(dict(plan))
        styles = variants if group is None else theme.assign_styles(axes[group])
        return cls(part, tuple(kept), len(rows), axes, group, variants, styles)

    @property
    def rows(self) -> Sequence[Mapping[str, Any]]:
        """The rows of the plan that are looked at."""
        found: Sequence[Mapping[str, Any]] = self.plan["rows"]
        return found

    @property
    def labels(self) -> list[str]:
        """Their variants, or the groups that these are in."""
        return list(dict.fromkeys(self.name(row) for row in self.rows))

    @property
    def names(self) -> dict[str, str]:
        """Cell → how its runs are named in figures."""
        return {row["cell"]: self.name(row) for row in reversed(self.rows)}

    def rank(self, cell: str) -> int:
        """Give the place of a cell's group, to sort by; all are alike where nothing is grouped."""
        return 0 if self.group is None else self.labels.index(self.names[cell])

    def name(self, row: Mapping[str, Any]) -> str:
        """Name a row as figures do: by its variant, or by its group."""
        return str(row["label"]) if self.group is None else axis_value(row, self.group)

    def grouped(self, found: RunRecordings[T]) -> dict[StudyRun, T]:
        """Name what was found of runs by variant, or by the group of their variant."""
        names = self.names
        order = {label: place for place, label in enumerate(self.labels)}
        sources = [
            (StudyRun(names[source.cell], source.seed, source.run), each) for source, each in found.found.items()
        ]
        return dict(sorted(sources, key=lambda pair: order[pair[0].label]))

    @property
    def told(self) -> str:
        """Say in words what is looked at, where it is not the whole."""
        parts = []
        if len(self.kept) < self.total:
            parts.append(f"{len(self.kept)} of {self.total} variants are shown")
        if self.group is not None:
            parts.append(f"Grouped by {self.group}: lines stand for all runs of a group, and n counts these runs")
        return f"{'. '.join(parts)}." if parts else ""


def filter_controls(plan: Mapping[str, Any], view: PageAddress) -> list[Component]:
    """Make the controls that choose a part of a study."""
    axes = {axis: values for axis, values in axis_values(plan).items() if len(values) > 1}
    made = [
        controls.multi_dropdown(
            _filter(axis), axis, {value: value for value in values}, view.many(_filter(axis), values)
        )
        for axis, values in axes.items()
    ]
    if len(axes) > 1:
        options = {"": "nothing", **{axis: axis for axis in axes}}
        made.append(controls.dropdown("group", "group by", options, view.one("group", axes, "")))
    return made


def axis_values(plan: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Name the axes of a study and their values, in the order of its rows."""
    names = dict.fromkeys(axis for row in plan["rows"] for axis in row["axes"])
    return {axis: tuple(dict.fromkeys(axis_value(row, axis) for row in plan["rows"])) for axis in names}


def axis_value(row: Mapping[str, Any], axis: str) -> str:
    """Say which value of an axis a row has."""
    if axis not in row["axes"]:
        return NOT_SET
    label = (row.get("axis_labels") or {}).get(axis)
    return str(label) if label is not None else format_setting(row["axes"][axis])


def row_filters(row: Mapping[str, Any]) -> dict[str, str]:
    """Give what an address must choose to look at one row alone."""
    return {_filter(axis): axis_value(row, axis) for axis in row["axes"]}


def _filter(axis: str) -> str:
    return f"axis.{axis}"


def _passes(row: Mapping[str, Any], wanted: Mapping[str, Sequence[str]]) -> bool:
    return all(not values or axis_value(row, axis) in values for axis, values in wanted.items())
