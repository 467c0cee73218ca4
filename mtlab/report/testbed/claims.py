"""What a testbed may be used for, in words: only what lies between floor and ceiling, and what seeds can tell apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mtlab.report.formats.numbers import format_interval, format_score
from mtlab.report.testbed.room import Room
from mtlab.report.testbed.rows import CardRow

HEADROOM = 0.03  #: the best variant lies at least so far below 100 %
STUDY_SEEDS = 10  #: seeds of a study on the testbed, for which the card tells what differences they detect
ROOM = 0.03  #: an oracle over levels gains at least so much, or nothing can be claimed about adaptivity


@dataclass(frozen=True)
class Claim:
    """A kind of claim, whether the testbed may carry it, and why."""

    about: str
    carries: bool
    reasons: tuple[str, ...]  #: why not; or what it rests on

    @property
    def sentence(self) -> str:
        """The verdict in a sentence."""
        word = "May carry claims about" if self.carries else "Carries no claim about"
        return f"{word} {self.about}: {'; '.join(self.reasons)}."


def claim_aggregation(
    compared: Mapping[str, CardRow], floor: float | None, detectable: float | None, metric: str
) -> Claim:
    """Judge whether variants differ between floor and ceiling by more than seeds do.

    Args:
        compared: best single level, mean and best bridge.
        floor: the best blind answer.
        detectable: the difference that a study's seeds detect; None if unknown.
        metric: for the format of numbers.

    """
    about = "ways to aggregate levels"
    if floor is None or len(compared) < 2:
        return Claim(about, False, ("floor, or two of best single level, mean and best bridge, not measured yet",))
    weak = [name for name, row in compared.items() if not row.learned]
    means = {name: row.mean.mean for name, row in compared.items()}
    best, range_ = max(means.values()), max(means.values()) - min(means.values())
    against = []
    if weak:
        against.append(f"not all seeds of {', '.join(weak)} have learned: the floor is {format_score(floor, metric)}")
    if best > 1 - HEADROOM:
        against.append(f"no room below 100: the best has {format_score(best, metric)}")
    if detectable is None:
        against.append("the spread of seeds is not known: at least 2 seeds that differ are needed")
    elif detectable > range_:
        against.append(
            f"seeds spread too much: {STUDY_SEEDS} detect {_points(detectable, metric)}, and {', '.join(means)} differ "
            f"by {_points(range_, metric)}"
        )
    if against:
        return Claim(about, False, tuple(against))
    assert detectable is not None
    between = f"from {format_score(min(means.values()), metric)} to {format_score(best, metric)}"
    return Claim(
        about,
        True,
        (
            f"{', '.join(means)} have {between}, between a floor of {format_score(floor, metric)} and 100",
            f"{STUDY_SEEDS} seeds detect {_points(detectable, metric)}",
        ),
    )


def claim_adaptivity(room: Room | None, detectable: float | None, metric: str) -> Claim:
    """Judge whether the right level depends on the question by enough."""
    about = "adaptivity"
    if room is None:
        return Claim(about, False, ("single levels on two or more families not measured yet",))
    if not room.single.learned:
        return Claim(about, False, (f"not all seeds of {room.single.label!r}, the best single level, have learned",))
    gain = format_interval(room.gain.mean, room.gain.interval, metric, sign=True)
    measured = f"the best level for each family gains {gain} points over {room.single.label!r} for all"
    if room.gain.mean < ROOM:
        return Claim(about, False, (f"{measured}, and {_points(ROOM, metric)} are needed",))
    if room.gain.interval is None or room.gain.interval[0] <= 0:
        return Claim(about, False, (f"{measured}, which these seeds do not show to be above 0",))
    if detectable is None:
        return Claim(about, False, (f"{measured}; what {STUDY_SEEDS} seeds detect is not known yet",))
    if detectable > room.gain.mean:
        problem = f"{measured}, less than the {_points(detectable, metric)} that {STUDY_SEEDS} seeds detect"
        return Claim(about, False, (problem,))
    picked = ", ".join(f"{one.family}: {one.best.label}" for one in room.families)
    return Claim(about, True, (measured, picked))


def _points(value: float, metric: str) -> str:
    return f"{format_score(value, metric)} points"
