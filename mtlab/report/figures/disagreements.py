"""Finds the examples on which two variants differ most, over all their seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl


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


def find_disagreements(
    outcomes: pl.DataFrame,
    cells: tuple[str, str],
    names: tuple[str, str],
    answers: Sequence[str] = (),
    texts: Mapping[str, tuple[str, str]] | None = None,
    limit: int = 50,
) -> DisagreementTable:
    """List the examples on which two variants differ most, over all their seeds.

    Args:
        outcomes: see `frame.outcome_frame`, of one split.
        cells: the two variants.
        names: their labels.
        answers: names of the data set's answers by index; empty: they are left out.
        texts: example id → (text, image key); None where the data set cannot be opened.
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
        side.group_by("id", maintain_order=True).agg(
            pl.col("family", "target").first(), pl.col("score").mean(), pl.col("prediction").mode().sort().first()
        )
        for side in sides
    ]
    both = each[0].join(each[1], on="id", suffix="_other", maintain_order="left")
    both = both.with_columns(gap=pl.col("score") - pl.col("score_other"))
    differ = both.filter(pl.col("gap") != 0).sort(pl.col("gap").abs(), descending=True, maintain_order=True)
    rows = tuple(_row(row, answers, texts or {}) for row in differ.head(limit).iter_rows(named=True))
    better = int((both["gap"] > 0).sum()), int((both["gap"] < 0).sum())
    caption = (
        f"{both.height} {split} examples answered by both ({names[0]}: n = {counts[0]} seeds, {names[1]}: n = "
        f"{counts[1]}): {names[0]} is right more often on {better[0]}, {names[1]} on {better[1]}. Shown: the "
        f"{len(rows)} that differ most. Seeds of one variant differ from each other, too."
    )
    return DisagreementTable(names, (counts[0], counts[1]), split, both.height, rows, caption)


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
