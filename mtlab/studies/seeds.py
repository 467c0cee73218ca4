"""The key `seeds` of a study: a number, a list, or as many as the question needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mtlab.config.check import check_config
from mtlab.config.options import option
from mtlab.errors import UserError
from mtlab.statistics.spending import Spending
from mtlab.statistics.stopping import StoppingRule
from mtlab.units import in_points

UNTIL = "decided"
MARGIN = 0.5  #: points, of metrics that are told in points
MOST = 100_000  #: seeds that a study may ask for
LISTS = ("seeds", "list", "values", "n", "number")  #: what someone may write who wants a list or a number as well


@dataclass(frozen=True, kw_only=True)
class SequentialSeeds:
    """`seeds: {until: decided, …}`: each comparison gets seeds until it is decided."""

    until: str = option(UNTIL, "decided: until a difference or an equivalence is shown", choices=(UNTIL,))
    margin: float | None = option(
        None, f"largest difference that counts as none, in points for shares of examples ({MARGIN} there)", above=0.0
    )
    min: int = option(4, "seeds at the first look", minimum=2)
    max: int = option(20, "seeds at the last look", minimum=2, maximum=MOST)
    step: int = option(1, "seeds from one look to the next", minimum=1)
    first: int = option(0, "the first seed, which the others follow", minimum=0, maximum=2**62)
    spending: Spending = option(
        "obrien_fleming", "how alpha is spent: obrien_fleming, little at first, or pocock, nearly evenly"
    )

    @property
    def looks(self) -> tuple[int, ...]:
        """Numbers of seeds at which comparisons are looked at."""
        return (*range(self.min, self.max, self.step), self.max)

    @property
    def seeds(self) -> tuple[int, ...]:
        """All seeds that may be asked for, in order."""
        return tuple(range(self.first, self.first + self.max))


def seed_count(given: Any) -> int | None:
    """Return a number of seeds, which may be written as 1e1; None if it is no whole number."""
    whole = isinstance(given, float) and given.is_integer()
    return int(given) if whole or (isinstance(given, int) and not isinstance(given, bool)) else None


def parse_seeds(given: Any) -> tuple[tuple[int, ...], SequentialSeeds | None]:
    """Parse the key: the seeds, and where they are as many as needed, the rules.

    Raises:
        UserError: it is wrong; the key within `seeds` is named.

    """
    if isinstance(given, Mapping):
        rules = _sequential(given)
        return rules.seeds, rules
    if (count := seed_count(given)) is not None:
        if count < 1:
            raise UserError(f"{count} seeds: at least 1 is needed", key="seeds")
        if count > MOST:
            raise UserError(f"{count} seeds: at most {MOST} can be asked for; a list names certain ones", key="seeds")
        return tuple(range(count)), None
    if not isinstance(given, list) or not given:
        raise UserError(f"expected a number, a list of numbers, or {{until: {UNTIL}, …}}; found {given!r}", key="seeds")
    known: set[int] = set()
    for index, seed in enumerate(given):
        if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**63:
            raise UserError(f"{seed!r} is no seed: whole numbers from 0 to 2^63 - 1", key=f"seeds[{index}]")
        if seed in known:
            raise UserError(f"seed {seed} is repeated", key=f"seeds[{index}]")
        known.add(seed)
    return tuple(given), None


def _sequential(given: Mapping[str, Any]) -> SequentialSeeds:
    for key in LISTS:
        if key in given:
            problem = f"`until` chooses how many: remove `{key}`, or write the list or number alone (seeds: 5)"
            raise UserError(problem, key=f"seeds.{key}")
    if "until" not in given:
        raise UserError(f"until when? Add `until: {UNTIL}`", key="seeds")
    try:
        rules = check_config(SequentialSeeds, given)
    except UserError as error:
        raise UserError(error.problem, key=f"seeds.{error.key}" if error.key else "seeds") from None
    if rules.min > rules.max:
        raise UserError(f"{rules.min} is more than seeds.max, {rules.max}", key="seeds.min")
    return rules


def equivalence_margin(
    metric: str, equivalence: float | None, rules: SequentialSeeds | None, test: str
) -> float | None:
    """Return the largest difference that counts as none, in the metric's own unit; None where nobody asks.

    Args:
        metric: that is compared.
        equivalence: `report.equivalence`.
        rules: of seeds.
        test: `report.test`.

    Raises:
        UserError: two margins are given, or none where one is needed, or there is no such test.

    """
    given = equivalence if rules is None or rules.margin is None else rules.margin
    if given is not None and equivalence not in (None, given):
        raise UserError(f"seeds.margin says {given:g}: remove one of the two", key="report.equivalence")
    if rules is not None and test == "bootstrap":
        raise UserError("seeds until decided are tested by paired_t or paired_t_examples", key="report.test")
    if given is None and rules is None:
        return None
    if test == "bootstrap":
        raise UserError("equivalence is tested by paired_t or paired_t_examples", key="report.test")
    if given is None and not in_points(metric):
        problem = f"which difference of {metric} counts as none? Add `margin`, in its own unit"
        raise UserError(problem, key="seeds")
    points = MARGIN if given is None else given
    if in_points(metric) and points >= 100:
        key = "report.equivalence" if rules is None or rules.margin is None else "seeds.margin"
        raise UserError(f"{points:g} points: no two results differ by more than 100", key=key)
    return points / 100 if in_points(metric) else points


def stopping_rule(plan: Mapping[str, Any]) -> StoppingRule | None:
    """Return when the comparisons of a stored plan end; None where it has a fixed number of seeds."""
    rules = plan["sequential"]
    if rules is None:
        return None
    return StoppingRule(
        looks=tuple(rules["looks"]),
        margin=plan["equivalence"],
        alpha=plan["alpha"],
        correct=plan["correct"],
        spending=rules["spending"],
    )
