"""Finds the examples on which two variants differ most, over all their seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mtlab.data.base import SPLITS
from mtlab.files import json_text
from mtlab.recording import run_dataset
from mtlab.recording.reader import Missing
from mtlab.units import format_span

if TYPE_CHECKING:
    import polars as pl

    from mtlab.runs.store import Store


@dataclass(frozen=True)
class Disagreement:
    """One example, with the mean score of two variants on it."""

    id: str
    family: str
    first: float  #: mean score over the first variant's seeds
    second: float
    truth: str | None = None  #: name of the answer, where it is known
    first_says: str | None = None  #: the answer that most of its seeds give
    second_says: str | None = None
    text: str | None = None
    image: str | None = None  #: key for `Dataset.image`


@dataclass(frozen=True)
class DisagreementTable:
    """The examples that differ most, and the number of all that differ."""

    names: tuple[str, str]
    seeds: tuple[int, int]
    split: str
    examples: int  #: of both variants
    rows: tuple[Disagreement, ...]
    caption: str
    differing: int = 0  #: examples that differ, in the chosen family and direction
    families: tuple[str, ...] = ()  #: of all examples that differ


def find_disagreements(
    outcomes: pl.DataFrame,
    cells: tuple[str, str],
    names: tuple[str, str],
    answers: Sequence[str] = (),
    texts: Mapping[str, tuple[str, str]] | None = None,
    *,
    family: str | None = None,
    better: int | None = None,
    start: int = 0,
    limit: int = 50,
) -> DisagreementTable:
    """List the examples on which two variants differ most, over all their seeds.

    Args:
        outcomes: see `frame.outcome_frame`, of one split.
        cells: the two variants.
        names: their labels.
        answers: names of the data set's answers by index; empty: they are left out.
        texts: example id → (text, image key); None where the data set cannot be opened.
        family: only examples of this family; None: of all.
        better: only examples on which the first (0) or the second (1) variant is right more often; None: both.
        start: number of rows to leave out, the most different first.
        limit: maximal number of rows.

    """
    import polars as pl

    sides = [outcomes.filter(cell=cell) if outcomes.height else outcomes for cell in cells]
    counts = tuple(int(side["seed"].n_unique()) if side.height else 0 for side in sides)
    split = str(sides[0]["split"][0]) if sides[0].height else ""
    if not all(counts):
        return DisagreementTable(
            names, (counts[0], counts[1]), split, 0, (), "No outcomes of single examples to compare."
        )
    each = [
        side.group_by("id", "family", maintain_order=True).agg(  # retrieval has two outcomes of an id, in two families
            pl.col("target").first(), pl.col("score").mean(), pl.col("prediction").mode().sort().first()
        )
        for side in sides
    ]
    both = each[0].join(each[1], on=["id", "family"], suffix="_other", maintain_order="left")
    # rounded, as means of the same scores in another order of seeds differ in their last digits
    both = both.with_columns(gap=(pl.col("score") - pl.col("score_other")).round(9))
    differ = both.filter(pl.col("gap") != 0).sort(pl.col("gap").abs(), descending=True, maintain_order=True)
    families = tuple(sorted(map(str, differ["family"].unique())))
    chosen = differ if family is None else differ.filter(family=family)
    if better is not None:
        chosen = chosen.filter(pl.col("gap") > 0 if better == 0 else pl.col("gap") < 0)
    rows = tuple(_row(row, answers, texts or {}) for row in chosen.slice(start, limit).iter_rows(named=True))
    wins = int((both["gap"] > 0).sum()), int((both["gap"] < 0).sum())
    answered_by = " and ".join(
        f"{name} ({format_span([count], 'seed')})" for name, count in zip(names, counts, strict=True)
    )
    caption = (
        f"{both.height} {split} examples answered by {answered_by}: {names[0]} is right more often on {wins[0]}, "
        f"{names[1]} on {wins[1]}. Those that differ most come first."
    )
    if max(counts) > 1:
        caption += " Seeds of one variant differ from each other, too."
    return DisagreementTable(names, (counts[0], counts[1]), split, both.height, rows, caption, chosen.height, families)


def shared_examples(
    store: Store, plan: Mapping[str, Any], cells: tuple[str, str], split: str
) -> tuple[tuple[str, ...], dict[str, tuple[str, str]]]:
    """Return answers, and text and image key by id, of the data set that two variants share; nothing where it differs.

    Ids of one data set may be ids of another, too. Other splits may differ, such as in their size.
    """
    found: dict[str, str] = {}
    for run in plan["runs"]:
        if run["cell"] in cells and run["cell"] not in found and (config := store.config(run["id"])) is not None:
            found[run["cell"]] = run_dataset.describe_data(config)
    if len(found) < len(set(cells)) or len({_of_split(data, split) for data in found.values()}) > 1:
        return (), {}
    try:
        both = [_examples(data, split) for data in found.values()]
    except FileNotFoundError:  # they may be there later: nothing is cached
        return (), {}
    return both[0] if all(answers == both[0][0] for answers, _ in both) else ((), both[0][1])


def _of_split(data: str, split: str) -> str:
    """Leave out what a described data set says of other splits alone."""
    described = json.loads(data)
    node = described["config"]["data"] or {}
    described["config"]["data"] = {key: value for key, value in node.items() if key == split or key not in SPLITS}
    return json_text(described)


@lru_cache(maxsize=4)
def _examples(data: str, split: str) -> tuple[tuple[str, ...], dict[str, tuple[str, str]]]:
    """Read what `shared_examples` returns, once for all pairs of variants on the same data.

    Raises:
        FileNotFoundError: the data cannot be read now; an error is not cached, and they may be there later.

    """
    dataset = run_dataset.open_dataset(json.loads(data))
    if isinstance(dataset, Missing):
        raise FileNotFoundError(dataset.why)
    return run_dataset.answer_names(dataset), run_dataset.example_texts(dataset, split)


def _row(row: Mapping[str, Any], answers: Sequence[str], texts: Mapping[str, tuple[str, str]]) -> Disagreement:
    def answer_name(index: int | None) -> str | None:
        return answers[index] if index is not None and 0 <= index < len(answers) else None

    text, image = texts.get(row["id"], (None, None))
    return Disagreement(
        id=row["id"],
        family=row["family"],
        first=row["score"],
        second=row["score_other"],
        truth=answer_name(row["target"]),
        first_says=answer_name(row["prediction"]),
        second_says=answer_name(row["prediction_other"]),
        text=text,
        image=image,
    )
