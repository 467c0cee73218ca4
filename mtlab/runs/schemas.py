"""What the files of a store hold, so that one that was changed by hand is told as damaged where it is read.

Files that older versions wrote have no checksums, and may lack what came later: that is marked by `?`, and what nobody
reads is not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtlab import files
from mtlab.errors import UserError

LARGEST = 1e100  #: no number that a run or its cost has is as large as this
CHANGED = "it was changed by hand, or the disk is damaged"


@dataclass(frozen=True)
class Maybe:
    """Something, or null."""

    shape: Any


def text(value: Any) -> bool:
    """Tell a text that can be written."""
    return isinstance(value, str) and (value.isascii() or not any("\ud800" <= sign <= "\udfff" for sign in value))


def number(value: Any) -> bool:
    """Tell a number; NaN and infinity are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def whole(value: Any) -> bool:
    """Tell a whole number that tables can hold."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def share(value: Any) -> bool:
    """Tell a number between 0 and 1."""
    return number(value) and 0 < value < 1


def run(value: Any) -> bool:
    """Tell the id of a run."""
    return isinstance(value, str) and bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*/s\d{1,18}", value))


def flag(value: Any) -> bool:
    """Tell true or false."""
    return isinstance(value, bool)


_NAMES: Mapping[Callable[[Any], bool], str] = {
    text: "a text",
    number: "a number",
    whole: "a whole number",
    share: "a number between 0 and 1",
    run: "the id of a run",
    flag: "true or false",
}

_COST = {"params?": {"*": number}, "*": Maybe(number)}
RESULT = {
    "steps": whole,
    "metrics": {"*": number},
    "cost?": _COST,
    "best_step?": Maybe(whole),
    "stopped_early?": Maybe(flag),
    "cut_texts?": Maybe(text),
    "mixes?": Maybe({}),
    "interventions?": Maybe({}),
}
STATE = {
    "attempt?": Maybe(whole),
    "host?": Maybe(text),
    "device?": Maybe(text),
    "threads?": Maybe(whole),
    "processes?": whole,
    "versions?": Maybe({"*": Maybe(text)}),
    "git?": Maybe({"commit?": Maybe(text)}),
}
_STANDARD = {
    "metric": text,
    **{
        modality: {"uniform?": Maybe(number), "token_mean?": Maybe(number), "without": {"*": Maybe(number)}}
        for modality in ("text", "image")
    },
}
_SWAP = {"metric": text, "text": Maybe(number), "image": Maybe(number), "both": Maybe(number)}
INTERVENTIONS = {"standard?": _STANDARD, "*": _SWAP}  #: of a run; all others are `swap/SEED`
FAILURE = {"kind?": text, "error?": text, "where?": Maybe(text), "attempt?": whole, "trace?": Maybe(text)}
CONFIG = {
    "config?": {"train?": {}, "init_from?": Maybe((text, {}))},
    "cell?": text,
    "seed?": whole,
    "label?": text,
    "code?": Maybe(text),
    "plugin_code?": {"*": text},
}
COSTS = {
    "*": {"params": {"*": whole}, "trained_params": whole, "flops_forward": number, "flops_training": number}
}  #: of `costs.json`
PLAN = {
    "study": text,
    "kind?": text,
    "spec_file?": text,
    "overrides?": [text],
    "why": text,
    "design": text,
    "baseline": Maybe(text),
    "metrics": {"choose": text, "verdict": text, "mode": text, "report": [text]},
    "test": text,
    "correct": text,
    "alpha": share,
    "published": {"*": number},
    "published_rows?": [
        {
            "label": text,
            "cell": Maybe(text),
            "values": {"*": number},
            "also": {"*": number},
            "source": text,
            "note": Maybe(text),
        }
    ],
    "code?": Maybe(text),
    "plugin_code?": {"*": text},
    "unresolved?": [text],
    "remarks?": [text],
    "rows": [
        {
            "cell": text,
            "label": text,
            "axes": {},
            "axis_labels?": {"*": text},
            "differences": {},
            "baseline": flag,
            "compare_to": Maybe(text),
            "note": Maybe(text),
            "unresolved?": [text],
        }
    ],
    "runs": [
        {
            "id": run,
            "cell": text,
            "seed": whole,
            "label": text,
            "study?": text,
            "axes": {},
            "parents": [run],
            "cost?": Maybe({"steps?": Maybe(whole), "flops?": Maybe(number), "trained_params?": Maybe(number)}),
        }
    ],
}
SWEEP = {
    "objectives": [{"metric": text, "mode": text}],
    "constraints": {"*": {}},
    "budget": {"trials": whole, "hours?": Maybe(number)},
    "seed_rules": {},
    "sampler": {},
    "pruner": {},
    "storage": text,
    "finally": Maybe({}),
    "recipe": {},
    "variants": [{"label": text, "search": text, "settings": {}, "config": {}, "space": {"*": {}}, "steps": whole}],
}  #: beside what every plan has


def logged(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the numbers of rows of `metrics.jsonl` that tell their step, a whole number."""
    return [_numbers(row) for row in rows if whole(row.get("step"))]


def _numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out what is no number; rows as mtlab writes them have none of that, and are looked over in one go."""
    if all(type(value) in (int, float) and -LARGEST <= value <= LARGEST for value in row.values()):
        return dict(row)
    return {name: value for name, value in row.items() if number(value)}


def check(data: Any, shape: Any, path: Path, *, advice: str = "") -> None:
    """See that what a file holds has a shape.

    Args:
        data: what it holds.
        shape: a judge of single values, a mapping (key → shape; `*` is for all others, which else are free), a list of
            one shape, a tuple of shapes of which one must fit, or `Maybe`.
        path: the file.
        advice: what can be done about it.

    Raises:
        UserError: it has not; the first place that is wrong is named.

    """
    told = _misfit(data, shape, "")
    if told is not None:
        raise UserError(f"is damaged ({told}): {advice or CHANGED}", file=path)


def check_plan(plan: Any, path: Path, *, advice: str = "") -> None:
    """See that a stored plan is one, and that its rows and runs name each other as they are.

    Raises:
        UserError: it is not.

    """
    check(plan, PLAN, path, advice=advice)
    if plan.get("kind") == "sweep":
        check(plan, SWEEP, path, advice=advice)
    told = _mixed_up(plan)
    if told is not None:
        raise UserError(f"is damaged ({told}): {advice or CHANGED}", file=path)


def damaged(run: Path) -> dict[str, str]:
    """Find files of a run from before there were checksums that cannot be used: see `sums.damaged`."""
    found = {}
    for name, shape in (("result.json", RESULT), ("config.json", CONFIG), ("state.json", STATE)):
        try:
            check(files.read_json(run / name), shape, run / name)
        except FileNotFoundError:
            continue
        except UserError:
            found[name] = "is damaged"
    return found


def _mixed_up(plan: Mapping[str, Any]) -> str | None:
    cells, seen = {row["cell"] for row in plan["rows"]}, set()
    for index, row in enumerate(plan["rows"]):
        if row["compare_to"] is not None and row["compare_to"] not in cells:
            return f"rows[{index}].compare_to: no row is of that cell"
    for index, each in enumerate(plan["runs"]):
        if each["id"] != f"{each['cell']}/s{each['seed']}" or each["id"] in seen:
            return f"runs[{index}].id: is not that of its cell and seed, or is repeated"
        seen.add(each["id"])
    return None


def _misfit(data: Any, shape: Any, place: str) -> str | None:
    """Say where something has not the shape that it should; None if it has."""
    if isinstance(shape, Maybe):
        return None if data is None else _misfit(data, shape.shape, place)
    if isinstance(shape, tuple):
        told = [_misfit(data, each, place) for each in shape]
        return None if None in told else told[0]
    at = f"{place}: " if place else ""
    if isinstance(shape, list):
        if not isinstance(data, list):
            return f"{at}expected a list"
        found = (_misfit(each, shape[0], f"{place}[{index}]") for index, each in enumerate(data))
        return next(filter(None, found), None)
    if isinstance(shape, dict):
        if not isinstance(data, dict):
            return f"{at}expected a mapping"
        return _misfit_inside(data, shape, f"{place}." if place else "")
    return None if shape(data) else f"{at}expected {_NAMES[shape]}"


def _misfit_inside(data: Mapping[str, Any], shape: Mapping[str, Any], place: str) -> str | None:
    inner = {key.removesuffix("?"): each for key, each in shape.items()}
    for key in shape:
        if key not in data and key != "*" and not key.endswith("?"):
            return f"{place}{key}: is missing"
    for key, value in data.items():
        expected = inner.get(key, inner.get("*"))
        told = None if expected is None else _misfit(value, expected, f"{place}{key}")
        if told is not None:
            return told
    return None
