"""The card of a testbed as data, made from the finished runs of an ordinary study."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from mtlab.errors import UserError
from mtlab.report import frame
from mtlab.report.comparison.compare import paired_difference
from mtlab.report.comparison.families import add_family_means
from mtlab.report.comparison.seed_results import SeedResults, blind_floors, given_floor, recorded_floor, results_by_cell
from mtlab.report.formats.run_again import go_on
from mtlab.report.testbed.claims import STUDY_SEEDS, Claim, claim_adaptivity, claim_aggregation
from mtlab.report.testbed.room import Room, measure_room
from mtlab.report.testbed.rows import CardRow, Role, best_on_validation, card_rows
from mtlab.runs.store import Store, metric_direction
from mtlab.statistics.power import smallest_detectable
from mtlab.units import in_points

if TYPE_CHECKING:
    import polars as pl

FORMAT = 1


@dataclass(frozen=True)
class Guess:
    """The score of a guess that knows the family alone: its most frequent answer; in retrieval, chance."""

    score: float
    families: Mapping[str, float]


@dataclass(frozen=True)
class Card:
    """What a pair of towers, a world and a length of training can tell."""

    study: str
    why: str
    metric: str
    alpha: float
    towers: Mapping[str, str]  #: modality → name
    world: Mapping[str, Any]  #: name and settings of the data set
    steps: int
    batch: int
    runs: tuple[int, int]  #: finished, planned
    rows: tuple[CardRow, ...]
    guess: Guess | None  #: None where runs recorded none
    blind: float | None  #: the best score of a blind variant, or that which the study gives
    families: Mapping[str, float]  #: family → share of the test examples
    room: Room | None
    detectable: float | None  #: difference that `STUDY_SEEDS` seeds detect between rows of `compared`

    def of_role(self, *roles: Role) -> list[CardRow]:
        """Return the rows of some roles, in the study's order."""
        return [row for row in self.rows if row.role in roles]

    def best(self, *roles: Role) -> CardRow | None:
        """Return the row of these roles that is best on validation data."""
        rows = self.of_role(*roles)
        return best_on_validation(rows) if rows else None

    @cached_property
    def floor(self) -> float | None:
        """The best blind answer on test data; None where none is known."""
        known = [self.blind] if self.blind is not None else []
        return max([*known, *([] if self.guess is None else [self.guess.score])], default=None)

    @cached_property
    def compared(self) -> dict[str, CardRow]:
        """The rows that a study on this testbed would compare first: best single level, mean, best bridge."""
        return _compared(self.rows)

    @cached_property
    def ceiling(self) -> CardRow | None:
        """The best of all rows on validation data, larger and longer-trained models among them."""
        return self.best("single level", "mean", "bridge", "other")

    @cached_property
    def spread(self) -> float | None:
        """Standard deviation over seeds, median over the rows that see both modalities; None for one seed."""
        found = [row.mean.sd for row in self.of_role("single level", "mean", "bridge", "other")]
        known = [sd for sd in found if sd is not None]
        return median(known) if known else None

    @property
    def claims(self) -> tuple[Claim, Claim]:
        """What the testbed may be used for: comparing ways to aggregate levels, and claims about adaptivity."""
        return (
            claim_aggregation(self.compared, self.floor, self.detectable, self.metric),
            claim_adaptivity(self.room, self.detectable, self.metric),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data with the stable keys of docs/json.md."""
        return {
            "format": FORMAT,
            "study": self.study,
            "why": self.why,
            "metric": self.metric,
            "towers": dict(self.towers),
            "world": dict(self.world),
            "steps": self.steps,
            "batch": self.batch,
            "runs": {"done": self.runs[0], "asked": self.runs[1]},
            "families": dict(self.families),
            "guess": None if self.guess is None else vars(self.guess),
            "floor": self.floor,
            "best_single": _label(self.compared.get("best single level")),
            "best_bridge": _label(self.compared.get("best bridge")),
            "ceiling": _label(self.ceiling),
            "spread": self.spread,
            "detectable": self.detectable,
            "rows": [self._row(row) for row in self.rows],
            "room": None if self.room is None else _room(self.room),
            "claims": [vars(claim) for claim in self.claims],
        }

    def _row(self, row: CardRow) -> dict[str, Any]:
        mean = row.mean
        return {
            "label": row.label,
            "role": row.role,
            "text_levels": list(row.levels[0]),
            "image_levels": list(row.levels[1]),
            "seeds": sorted(row.test),
            "validation": fmean(row.validation.values()),
            "mean": mean.mean,
            "sd": mean.sd,
            "interval": None if mean.interval is None else list(mean.interval),
            "families": {name: fmean(results.values()) for name, results in row.family_test.items()},
            "learned": row.learned,
            "plateau": row.plateau,
        }


COMPARED: Mapping[str, Role] = {"best single level": "single level", "mean": "mean", "best bridge": "bridge"}


def build_card(store: Store, plan: Mapping[str, Any]) -> Card:
    """Make the card of a testbed, however much of its study has run.

    Args:
        store: where its runs are.
        plan: its stored plan, see `Store.plan`.

    Raises:
        UserError: no run is finished, no row enters a single level of each tower, the metric is no share of
            examples, or a file of the store is damaged.

    """
    metric = plan["metrics"]["verdict"]
    mode = metric_direction(plan, metric)
    if mode != "max" or not in_points(metric) or metric.count("/") != 1:
        raise UserError(
            f"a testbed is judged by a share of examples, such as test/accuracy, not by {metric}", key="metrics.verdict"
        )
    runs, outcomes = frame.without_parents(frame.run_frame(store, plan), frame.outcomes_by_cell(store, plan), plan)
    done = runs.filter(state="done")
    if done.is_empty():
        raise UserError(f"no run of {plan['study']!r} is finished: `{go_on(plan, store)}`")
    for split in ("val", "test"):
        runs = add_family_means(runs, outcomes, f"{split}/{metric.partition('/')[2]}")
    results = results_by_cell(runs, plan, metric)
    floors = blind_floors(plan, results, given_floor(plan))
    rows = card_rows(store, plan, runs, floors)
    singles = [row for row in rows if row.role == "single level"]
    if not singles:
        raise UserError(f"{plan['study']!r} is no testbed: no finished row is `last` on a single level of each tower")
    families = _shares(outcomes, singles[0])
    config = singles[0].config
    return Card(
        study=plan["study"],
        why=plan["why"],
        metric=metric,
        alpha=plan["alpha"],
        towers={"text": config["text"]["name"], "image": config["vision"]["name"]},
        world=config["data"],
        steps=config["train"]["length"]["steps"],
        batch=config["train"]["batch"],
        runs=(done["run"].n_unique(), runs["run"].n_unique()),
        rows=rows,
        guess=_guess(runs, metric, families),
        blind=floors.get(singles[0].cell),
        families=families,
        room=measure_room(singles, families, plan["alpha"]),
        detectable=_detectable(list(_compared(rows).values()), runs, outcomes, results, plan),
    )


def _compared(rows: Sequence[CardRow]) -> dict[str, CardRow]:
    found = {name: [row for row in rows if row.role == role] for name, role in COMPARED.items()}
    return {name: best_on_validation(of_role) for name, of_role in found.items() if of_role}


def _detectable(
    rows: Sequence[CardRow],
    runs: pl.DataFrame,
    outcomes: Mapping[str, pl.DataFrame],
    results: Mapping[str, SeedResults],
    plan: Mapping[str, Any],
) -> float | None:
    """Return the difference that `STUDY_SEEDS` seeds detect by a t test, median over the pairs of rows.

    It counts the spread of their differences over seeds, and over test examples where the study's own test does; no
    correction for several comparisons, and no looks. None where no pair has two seeds that differ.
    """
    by_t = plan if plan["test"] in ("paired_t", "paired_t_examples") else {**plan, "test": "paired_t"}
    found = []
    for one, other in combinations(rows, 2):
        pair = (other.cell, one.cell)
        difference, _ = paired_difference(results, pair, runs, outcomes, plan["metrics"]["verdict"], by_t)
        if difference is not None and difference.error is not None:
            spread, examples = difference.spread
            found.append(smallest_detectable(spread, STUDY_SEEDS, plan["alpha"], examples=examples))
    known = [each for each in found if each is not None]
    return median(known) if known else None


def _shares(outcomes: Mapping[str, pl.DataFrame], row: CardRow) -> dict[str, float]:
    """Return the share of each family in the test examples; equal ones where no outcomes were recorded.

    An image of retrieval has an outcome in each direction, of two families.
    """
    tested = {
        example
        for rows in outcomes.values()
        for example in rows.filter(split="test").select("id", "family").unique().iter_rows()
    }
    if not tested:
        return {family: 1 / len(row.family_test) for family in row.family_test}
    counted = Counter(str(family) for _, family in tested)
    return {family: count / counted.total() for family, count in sorted(counted.items())}


def _guess(runs: pl.DataFrame, metric: str, families: Iterable[str]) -> Guess | None:
    score = recorded_floor(runs, metric)
    if score is None:
        return None
    of_families = {family: recorded_floor(runs, f"{metric}/{family}") for family in families}
    return Guess(score, {family: value for family, value in of_families.items() if value is not None})


def _label(row: CardRow | None) -> str | None:
    return None if row is None else row.label


def _room(room: Room) -> dict[str, Any]:
    return {
        "single": room.single.label,
        "oracle": room.oracle.mean,
        "gain": room.gain.mean,
        "interval": None if room.gain.interval is None else list(room.gain.interval),
        "families": [
            {
                "family": one.family,
                "share": one.share,
                "best": one.best.label,
                "at_best": one.at_best,
                "at_single": one.at_single,
                "gain": one.gain,
            }
            for one in room.families
        ],
    }
