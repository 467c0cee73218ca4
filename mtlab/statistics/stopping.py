"""When a comparison has enough seeds: the rule that is asked at every look.

At each look, every comparison that is still open is tested for a difference and for equivalence within a margin, by
p-values that count the looks so far (`sequential.Boundaries.p_value`). They are corrected by Holm over all comparisons,
open or ended: a correction of p-values that are valid at any time is valid at any time (Maurer and Bretz 2013), so that
comparisons may end at different looks. Both families of claims are held at alpha each. A comparison cannot be wrong in
both: where there is no difference, equivalence is right, and at the margin or beyond, a difference is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mtlab.statistics.correction import holm
from mtlab.statistics.spending import Spending

if TYPE_CHECKING:
    from mtlab.statistics.paired import Difference
    from mtlab.statistics.sequential import Boundaries

EndedBy = Literal["difference", "equivalence", "max"]


@dataclass(frozen=True)
class Evidence:
    """What the looks so far say of one comparison; p-values count the looks, `corrected` those of all comparisons."""

    p: float = 1.0  #: of no difference
    p_equivalence: float = 1.0  #: of a difference that is not within the margin


@dataclass(frozen=True)
class StoppingRule:
    """When a comparison ends."""

    looks: tuple[int, ...]  #: seeds at each look; the last one is the most
    margin: float  #: in the metric's own unit
    alpha: float = 0.05
    correct: Literal["holm", "none"] = "holm"
    spending: Spending = "obrien_fleming"

    @property
    def difference(self) -> Boundaries:
        """Of the two-sided test of a difference."""
        from mtlab.statistics.sequential import look_boundaries

        return look_boundaries(self.looks, self.spending, sides=2)

    @property
    def equivalence(self) -> Boundaries:
        """Of each of the two one-sided tests of equivalence."""
        from mtlab.statistics.sequential import look_boundaries

        return look_boundaries(self.looks, self.spending, sides=1)

    def update(self, known: Evidence, look: int, found: Difference) -> Evidence:
        """Add a look to the evidence.

        Args:
            known: of the looks before.
            look: its index.
            found: the test on the seeds of this look.

        """
        from mtlab.statistics.equivalence import equivalence_p

        within = equivalence_p(found, self.margin)
        return Evidence(
            known.p if found.p is None else min(known.p, self.difference.p_value(look, found.p)),
            known.p_equivalence if within is None else min(known.p_equivalence, self.equivalence.p_value(look, within)),
        )

    def corrected(self, known: Sequence[Evidence]) -> list[Evidence]:
        """Correct the evidence of all comparisons of a study; those without a look yet count as p = 1."""
        families = ([each.p for each in known], [each.p_equivalence for each in known])
        pairs = zip(*(holm(family) if self.correct == "holm" else family for family in families), strict=True)
        return [Evidence(*pair) for pair in pairs]

    def ended_by(self, look: int, evidence: Evidence) -> EndedBy | None:
        """Return why a comparison ends at a look; None where it goes on.

        Args:
            look: its index.
            evidence: of the comparison, corrected, this look included.

        """
        if evidence.p <= self.alpha:
            return "difference"
        if evidence.p_equivalence <= self.alpha:
            return "equivalence"
        return "max" if look == len(self.looks) - 1 else None
