"""Comparing a plan with its store: which runs are new, done, running, failed, blocked or no longer planned."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mtlab.errors import UserError
from mtlab.files import free_bytes
from mtlab.runs.store import State, Store
from mtlab.studies.looks import Looks, read_looks
from mtlab.studies.plan import Plan, to_json, with_asked_seeds
from mtlab.units import format_si

CHECKPOINTS = 5  #: parameters' worth in a run that trains: best (1), last with two moments (3), one being written
BYTES = 4  #: of a parameter in a checkpoint


@dataclass(frozen=True)
class PlanStatus:
    """The state of a plan's runs in its store."""

    states: Mapping[str, State]  #: run → state
    dropped: tuple[str, ...]  #: runs of the stored plan that this one has no more
    other_code: tuple[str, ...]  #: finished runs that other versions of the training code produced
    other_plugins: Mapping[str, int] = field(
        default_factory=dict
    )  #: "manager:NAME" → finished runs with another source of it

    @property
    def plugin_remarks(self) -> list[str]:
        """Say which plug-ins have changed since finished runs."""
        return [
            f"the source of plug-in {name} has changed since {count} of the finished runs: "
            "where that changes results, raise the version that it is registered with"
            for name, count in self.other_plugins.items()
        ]

    @property
    def counts(self) -> dict[str, int]:
        """Number of runs in each state, only those that occur, in the order of a run's life."""
        counted = Counter(self.states.values())
        order: Sequence[State] = ("new", "running", "done", "failed", "interrupted", "blocked")
        found: dict[str, int] = {state: counted[state] for state in order if counted[state]}
        return found | ({"no longer asked for": len(self.dropped)} if self.dropped else {})


def asked_plan(plan: Plan, store: Store) -> tuple[Plan, Looks | None]:
    """Return a plan with the runs alone that its looks so far leave to be done, and the looks.

    A plan with a fixed number of seeds is returned as it is, without looks.
    """
    if plan.study.sequential is None:
        return plan, None
    looks = read_looks(store, to_json(plan))
    assert looks is not None
    return with_asked_seeds(plan, looks.seeds_of()), looks


def plan_status(plan: Mapping[str, Any], store: Store) -> PlanStatus:
    """Compare a plan (as plain data) with what its store holds."""
    states = store.states(plan)
    try:
        stored = store.plan(plan["study"])["runs"]
    except UserError:  # there is none, or it is damaged: it is written anew
        stored = []
    dropped = tuple(run["id"] for run in stored if run["id"] not in states)
    done = [run for run, state in states.items() if state == "done"]
    configs = {run: store.config(run) or {} for run in done}
    other = tuple(run for run, config in configs.items() if config.get("code") not in (None, plan["code"]))
    plugins = Counter(
        name
        for config in configs.values()
        for name, code in config.get("plugin_code", {}).items()
        if plan["plugin_code"].get(name, code) != code
    )
    return PlanStatus(states, dropped, other, dict(plugins))


def refuse_full_disk(plan: Mapping[str, Any], states: Mapping[str, State], store: Store, at_once: int) -> None:
    """Refuse to start runs whose checkpoints do not fit on the disk.

    A finished run keeps its best checkpoint alone; those that train hold all of them.

    Args:
        plan: as plain data.
        states: run → state.
        store: where the runs are.
        at_once: runs at once.

    Raises:
        UserError: the checkpoints of the missing runs need more than is free.

    """
    missing = [run["cost"]["trained_params"] for run in plan["runs"] if states[run["id"]] != "done"]
    largest = sorted(missing, reverse=True)[:at_once]
    needed = BYTES * (sum(missing) + (CHECKPOINTS - 1) * sum(largest))
    free = free_bytes(store.root)
    if needed > free:
        need, have = (f"{format_si(size, 'B')}" for size in (needed, free))
        raise UserError(
            f"the disk has {have} free, the {len(missing)} missing runs need about {need}: free some space, "
            "or choose another --store",
            file=store.root,
        )
