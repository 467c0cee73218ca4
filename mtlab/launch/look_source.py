"""Feeds a launch look by look: the runs that open comparisons need, then a look, until all comparisons have ended.

Which runs are needed follows from the record of looks alone, and a look from finished runs alone: a launch that is
killed anywhere goes on where it was, and launchers that work on one study at once come to the same decisions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mtlab.launch.board import WAITING, Board, RunChanges
from mtlab.runs.store import Store, run_id
from mtlab.studies.looks import Looks, Pair

Ask = Callable[[Looks], Mapping[str, Any]]
"""Returns the content of `plan.json`, with the runs alone that the looks so far leave to be done."""

TakeLook = Callable[[Mapping[str, Any], Looks, Sequence[Pair]], Looks]
"""Tests the comparisons whose runs are done, and records what it finds: plan, looks so far, comparisons → looks."""


@dataclass(eq=False)
class LookSource:
    """A `RunSource` that asks for seeds until every comparison has ended."""

    store: Store
    looks: Looks  #: those so far
    configs: Mapping[str, Mapping[str, Any]]  #: run → `config.json`, of all runs that may be asked for
    ask: Ask
    take_look: TakeLook

    def __post_init__(self) -> None:
        self.plan = self.ask(self.looks)

    def poll(self, board: Board) -> RunChanges:
        """Take a look where its runs have ended, and add the runs of the next one; see `RunSource.poll`."""
        if board.halted:
            return RunChanges()
        while self.looks.open:
            runs = {run["id"]: run for run in self.plan["runs"]}
            missing = [run for id_, run in runs.items() if id_ not in board.jobs]
            if missing:
                return RunChanges([(run, self.configs[run["id"]]) for run in missing], open=True)
            if any(board.jobs[run].state in WAITING for run in runs):
                return RunChanges(open=True)
            due = [pair for pair in self.looks.open if self._is_done(pair, board)]
            if not due:  # what is left has failed
                return RunChanges()
            self.looks = self.take_look(self.plan, self.looks, due)
            self.plan = self.ask(self.looks)
            self.store.write_plan(self.plan["study"], self.plan)
            board.note = describe_looks(self.looks)
        return RunChanges()

    def _is_done(self, pair: Pair, board: Board) -> bool:
        """Return whether both cells of a comparison have all runs of its next look."""
        first = self.plan["sequential"]["first"]
        seeds = range(first, first + self.looks.numbers[self.looks.next_look(pair)])
        return all(board.jobs[run_id(cell, seed)].state == "done" for cell in pair for seed in seeds)


def describe_looks(looks: Looks) -> str:
    """Describe the last look in a line."""
    if not looks.taken:
        return ""
    numbers = sorted({test.n for test in looks.taken[-1]})
    ended = len(looks.pairs) - len(looks.open)
    seeds = " and ".join(map(str, numbers))
    return f"look at {seeds} seeds: {ended} of {len(looks.pairs)} comparisons ended"
