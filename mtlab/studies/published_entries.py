"""The `published:` key of a study: parsed, checked, and matched with the study's rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mtlab.errors import nearest
from mtlab.resolution.metrics import is_metric
from mtlab.resolution.nodes import known_paths
from mtlab.studies.axes import has_value
from mtlab.studies.cell_rules import narrowed
from mtlab.studies.expand import StudyRow
from mtlab.studies.spec import StudySpec
from mtlab.units import in_points

KEYS = ("match", "label", "also", "source", "note")  #: of an entry, beside metrics, which have a slash


@dataclass(frozen=True)
class PublishedEntry:
    """The result of one paper for one row, or for a method that is no row of the study."""

    row: int | None  #: index; None for a method that the study does not have
    label: str
    values: Mapping[str, float]  #: our metric → value as printed in the paper
    also: Mapping[str, float]  #: further numbers that we do not measure, by free names
    source: str
    note: str | None

    def to_json(self, cells: Sequence[str]) -> dict[str, Any]:
        """Return plain data, with the row by the id of its cell."""
        given = asdict(self)
        row = given.pop("row")
        return {"cell": None if row is None else cells[row], **given}


def parse_overall(study: StudySpec) -> dict[str, float]:
    """Return the results of a study as a whole: those of `published:` written as a mapping.

    Raises:
        UserError: a value is no number.

    """
    given = study.keys.published
    if not isinstance(given, Mapping):
        return {}
    return {str(name): _number(study, value, f"published.{name}") for name, value in given.items()}


def parse_entries(study: StudySpec, rows: Sequence[StudyRow]) -> tuple[PublishedEntry, ...]:
    """Return the results of single rows: those of `published:` written as a list.

    Raises:
        UserError: an entry is malformed, names a metric that its task has not, or matches no row or several.

    """
    given = study.keys.published
    if isinstance(given, Mapping) or given is None:
        return ()
    if not isinstance(given, list):
        raise study.error(f"expected metric → value, or a list of entries, found {given!r}", "published")
    parsed = [_entry(study, rows, entry, f"published[{index}]") for index, entry in enumerate(given)]
    found = {index: entry for index, entry in enumerate(parsed) if entry is not None}
    for index, result in found.items():
        for other in (found[earlier] for earlier in found if earlier < index):
            twice = sorted({*result.values, *result.also} & {*other.values, *other.also})
            if (result.row, result.label, result.source) == (other.row, other.label, other.source) and twice:
                raise study.error(f"{twice[0]} of {result.label!r} is given twice", f"published[{index}]")
    return tuple(found.values())


def _entry(study: StudySpec, rows: Sequence[StudyRow], entry: Any, key: str) -> PublishedEntry | None:
    """Return one entry; None if the command line leaves out, or splits, the row that it is of."""
    if not isinstance(entry, Mapping):
        raise study.error(f"expected {{match or label, metrics, source}}, found {entry!r}", key)
    metrics = [name for name in entry if "/" in name]
    for name in entry:
        if name not in KEYS and name not in metrics:
            hint = nearest(name, KEYS)
            hint = hint if hint.startswith("did") else "a result that no metric of ours measures belongs under also"
            raise study.error(f"unknown key; {hint}", f"{key}.{name}")
    if ("match" in entry) == ("label" in entry):
        raise study.error("needs one of match (a row of this study), label (a method that is none)", key)
    row = _matched(study, rows, entry["match"], f"{key}.match") if "match" in entry else None
    if "match" in entry and row is None:
        return None
    label = rows[row].label if row is not None else _line(study, entry["label"], f"{key}.label")
    if row is None and label in [each.label for each in rows]:
        raise study.error(f"{label!r} is a row of this study: name it by match", f"{key}.label")
    also = entry.get("also", {})
    if not isinstance(also, Mapping):
        raise study.error(f"expected name → value, found {also!r}", f"{key}.also")
    if not metrics and not also:
        raise study.error("has no result: a metric with its value, such as test/accuracy: 79.4", key)
    if "source" not in entry:
        raise study.error("needs a source: which paper, which table", key)
    _check_metrics(study, rows if row is None else [rows[row]], metrics, key)
    return PublishedEntry(
        row=row,
        label=label,
        values={name: _number(study, entry[name], f"{key}.{name}") for name in metrics},
        also={str(name): _number(study, value, f"{key}.also.{name}") for name, value in also.items()},
        source=_line(study, entry["source"], f"{key}.source"),
        note=_line(study, entry["note"], f"{key}.note") if entry.get("note") is not None else None,
    )


def _matched(study: StudySpec, rows: Sequence[StudyRow], wanted: Any, key: str) -> int | None:
    """Return the index of the one row with this label, or with these values of axes and settings.

    None if it is another number of rows, and the command line changes which there are.
    """
    if isinstance(wanted, str):
        labels = [row.label for row in rows]
        if wanted not in labels and narrowed(study, ()):
            return None
        if wanted not in labels:
            raise study.error(f"no row is called {wanted!r}; {nearest(wanted, labels)}", key)
        return labels.index(wanted)
    if not isinstance(wanted, Mapping) or not wanted:
        raise study.error(f"expected a row's label, or axis → value, found {wanted!r}", key)
    found = [index for index, row in enumerate(rows) if all(_has(rows, row, *item) for item in wanted.items())]
    if len(found) != 1 and narrowed(study, wanted):
        return None
    axes = {axis for row in rows for axis in row.values}
    known = known_paths()
    for name in wanted:
        if name not in axes and name not in known:
            raise study.error(f"neither an axis nor a setting; {nearest(name, axes | known)}", f"{key}.{name}")
    if len(found) != 1:
        candidates = ", ".join(repr(rows[index].label) for index in found or range(len(rows)))
        problem = (
            f"matches {len(found)} rows: {candidates}; say which" if found else f"matches no row; rows: {candidates}"
        )
        raise study.error(problem, key)
    return found[0]


def _has(rows: Sequence[StudyRow], row: StudyRow, name: str, wanted: Any) -> bool:
    """Return whether a row has a value on an axis, or a setting; a label names its own value alone."""
    of_axis = [each.values[name] for each in rows if name in each.values]
    return has_value(row.values.get(name), of_axis, row.config, name, wanted)


def _check_metrics(study: StudySpec, rows: Sequence[StudyRow], metrics: Sequence[str], key: str) -> None:
    known = sorted({name for row in rows for name in row.resolved.metrics})
    for name in metrics:
        if not is_metric(name, known):
            problem = f"no metric of its task; {nearest(name, known)} (what we do not measure belongs under also)"
            raise study.error(problem, f"{key}.{name}")


def _number(study: StudySpec, value: Any, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise study.error(f"expected a number, found {value!r}", key)
    if in_points(key.partition(".")[2]) and not 0 <= value <= 100:
        raise study.error(f"{value} is out of range: a share of examples is 0 to 100 points", key)
    return float(value)


def _line(study: StudySpec, text: Any, key: str) -> str:
    if not isinstance(text, str) or not text.strip():
        raise study.error(f"expected a line of text, found {text!r}", key)
    return " ".join(text.split())
