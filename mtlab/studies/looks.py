"""The record of a study with as many seeds as needed: its looks, in order, and what each decided.

It is one file in the study's folder, `looks/<digest>.json`, written anew and atomically with every look. The digest is
of the question: which cells are compared, on what, by which rules. With another question, another record begins, and
the old one stays. A look is never changed once it is written: later ones add to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from mtlab.config.hashing import digest
from mtlab.runs.checked_json import read_checked_json, write_checked_json
from mtlab.runs.lock import guard
from mtlab.runs.store import Store
from mtlab.statistics.stopping import EndedBy, Evidence
from mtlab.studies.seeds import stopping_rule

FORMAT = 1
FOLDER = "looks"  #: in the study's folder

Ended = EndedBy | Literal["not learned"]
Pair = tuple[str, str]  #: the cells of a comparison: variant and baseline
#: why a comparison got no more seeds
ENDED_BY: Mapping[Ended, str] = {
    "difference": "a difference",
    "equivalence": "an equivalence",
    "max": "the last look, undecided",
    "not learned": "not having learned",
}


@dataclass(frozen=True)
class LookTest:
    """What one look found of one comparison."""

    cell: str
    compare_to: str  #: cell
    n: int  #: seeds that were looked at
    difference: float | None
    error: float | None  #: standard error of it
    p: float  #: counting the looks, not corrected for comparisons
    p_equivalence: float
    p_corrected: float
    p_equivalence_corrected: float
    ended: Ended | None  #: why the comparison gets no more seeds; None: it goes on

    @property
    def pair(self) -> Pair:
        """The cells that are compared."""
        return self.cell, self.compare_to

    @property
    def evidence(self) -> Evidence:
        """Of this look and those before."""
        return Evidence(self.p, self.p_equivalence)


@dataclass(frozen=True)
class Looks:
    """The looks of a study so far."""

    pairs: tuple[Pair, ...]  #: all comparisons
    numbers: tuple[int, ...]  #: seeds at each look
    taken: tuple[tuple[LookTest, ...], ...] = ()

    @property
    def last(self) -> dict[Pair, LookTest]:
        """The last test of each comparison that has one."""
        return {test.pair: test for look in self.taken for test in look}

    @property
    def open(self) -> tuple[Pair, ...]:
        """Comparisons that go on."""
        last = self.last
        return tuple(pair for pair in self.pairs if pair not in last or last[pair].ended is None)

    def tests(self, pair: Pair) -> list[LookTest]:
        """Return the tests of a comparison, in order."""
        return [test for look in self.taken for test in look if test.pair == pair]

    def next_look(self, pair: Pair) -> int:
        """Return the index of an open comparison's next look."""
        return len(self.tests(pair))

    def evidence(self) -> dict[Pair, Evidence]:
        """Return what is known of each comparison."""
        last = self.last
        return {pair: last[pair].evidence if pair in last else Evidence() for pair in self.pairs}

    def seeds_of(self) -> dict[str, int]:
        """Return how many seeds each compared cell is to have: until the next look of any open comparison."""
        wanted: dict[str, int] = {}
        last, going = self.last, set(self.open)
        for pair in self.pairs:
            number = self.numbers[self.next_look(pair)] if pair in going else last[pair].n
            for cell in pair:
                wanted[cell] = max(number, wanted.get(cell, 0))
        return wanted


def question(plan: Mapping[str, Any]) -> dict[str, Any]:
    """Return all that the decisions of a stored plan depend on, but for the results of its runs."""
    rules = {key: plan["sequential"][key] for key in ("looks", "first", "spending")}
    tested = {key: plan[key] for key in ("test", "alpha", "correct", "equivalence")}
    blind = sorted({row["cell"] for row in plan["rows"] if row["blind"]})
    learned = {"floor": plan["floor"], "blind": blind}
    return {"pairs": sorted(planned_pairs(plan)), "metric": plan["metrics"]["verdict"], **tested, **learned, **rules}


def planned_pairs(plan: Mapping[str, Any]) -> tuple[Pair, ...]:
    """Return the comparisons of a stored plan: none of a blind variant; two rows that are one cell are one."""
    rows = [row for row in plan["rows"] if row["compare_to"] is not None and not row["blind"]]
    return tuple(dict.fromkeys((row["cell"], row["compare_to"]) for row in rows))


def record_path(store: Store, plan: Mapping[str, Any]) -> Path:
    """Return where the looks of a stored plan are recorded."""
    return store.study(plan["study"]) / FOLDER / f"{digest(question(plan))[:12]}.json"


def read_looks(store: Store, plan: Mapping[str, Any]) -> Looks | None:
    """Read the looks of a stored plan; None where it has a fixed number of seeds.

    Raises:
        UserError: the record has changed since it was written.

    """
    rule = stopping_rule(plan)
    if rule is None:
        return None
    path = record_path(store, plan)
    empty = Looks(planned_pairs(plan), rule.looks)
    try:
        data = read_checked_json(path, "remove it, and `mtlab run` decides anew")
    except (FileNotFoundError, NotADirectoryError):
        return empty
    taken = tuple(tuple(LookTest(**test) for test in look["tests"]) for look in data["looks"])
    return Looks(empty.pairs, empty.numbers, taken)


def append_look(store: Store, plan: Mapping[str, Any], known: Looks, tests: Sequence[LookTest]) -> Looks:
    """Record a look, unless another launcher has recorded one since `known` was read; return what holds then."""
    path = record_path(store, plan)
    path.parent.mkdir(parents=True, exist_ok=True)
    with guard(path):
        current = read_looks(store, plan)
        assert current is not None
        if len(current.taken) != len(known.taken):
            return current
        taken = (*current.taken, tuple(tests))
        looks = [{"tests": [asdict(test) for test in look]} for look in taken]
        write_checked_json(path, {"format": FORMAT, "question": question(plan), "looks": looks})
    return Looks(current.pairs, current.numbers, taken)


def other_records(store: Store, plan: Mapping[str, Any]) -> int:
    """Count the records of other questions that the study has asked before."""
    path = record_path(store, plan)
    return sum(each != path for each in _json_files(path.parent))


def _json_files(folder: Path) -> Iterable[Path]:
    return folder.glob("[!.]*.json")
