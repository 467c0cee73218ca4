"""Executes a study: plans it, refuses what cannot run here, and launches what the store lacks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from mtlab.config.load import composed_text
from mtlab.errors import UserError
from mtlab.launch.backends import attempt_limit, make_pool
from mtlab.launch.launcher import LaunchOutcome, launch
from mtlab.launch.look_source import LookSource, describe_looks
from mtlab.launch.prepare import choose_launcher, fetch_weights, refuse_unavailable, refuse_unreadable_data
from mtlab.report.sequential.looks import take_look
from mtlab.report.sync.process import SyncProcess, sync_while_running
from mtlab.runs.damage import damaged_runs
from mtlab.runs.store import Store
from mtlab.studies.plan import run_configs, to_json, with_asked_seeds
from mtlab.studies.plan_status import asked_plan, plan_status, refuse_full_disk

if TYPE_CHECKING:
    from mtlab.launch.board import LaunchView
    from mtlab.launch.policy import LaunchPolicy
    from mtlab.studies.plan import Plan

Print = Callable[[str], None]  #: prints a line


@dataclass(frozen=True)
class Execution:
    """A study after its launch."""

    plan: Mapping[str, Any]  #: as it is stored
    outcome: LaunchOutcome
    sync: SyncProcess | None  #: what was sent to trackers, if it has any


def execute_study(
    make_plan: Callable[[], Plan],
    store: Store,
    *,
    policy: LaunchPolicy,
    view: Callable[[], LaunchView],
    log: Print,
    warn: Print,
    launcher: str | None = None,
    workers: int | None = None,
    replace: bool = False,
) -> Execution:
    """Execute the unfinished runs of a study. Finished runs are never redone.

    Args:
        make_plan: plans the study; called again once missing weights have been fetched.
        store: where the runs are.
        policy: retries, and what stops the launch.
        view: makes what shows the progress.
        log: prints what a user may want to know.
        warn: prints what is wrong.
        launcher: instead of the file's.
        workers: runs at once.
        replace: take over the name of a study from another file.

    Raises:
        UserError: the study is wrong, or cannot be run here.

    """
    plan = make_plan()
    refuse_unreadable_data(plan)
    if plan.unresolved:
        fetch_weights(plan, log)
        plan = make_plan()
    settings = choose_launcher(plan.study, launcher)
    refuse_unavailable(plan, settings)
    configs, resources = run_configs(plan), plan.study.keys.resources
    asked, looks = asked_plan(plan, store)
    data = to_json(asked)
    try:
        pool = make_pool(settings, resources, configs, at_once=workers)
    except UserError as error:
        raise plan.study.error(error.problem, error.key) from None
    status = plan_status(data, store)
    refuse_full_disk(data, status.states, store, pool.at_once)
    store.claim_study(plan.study.name, plan.study.path, composed_text(plan.study.path), replace=replace)
    store.write_plan(plan.study.name, data)
    counts = ", ".join(f"{count} {state}" for state, count in status.counts.items())
    log(f"{plan.study.name}: {len(data['runs'])} runs ({counts})")
    for remark in data["remarks"]:
        log(f"data: {remark}")
    for remark in status.plugin_remarks:
        warn(remark)
    for line in damaged_runs(data, store.damage):
        warn(f"damaged: {line}")
    source = None
    if looks is not None:
        source = LookSource(
            store,
            looks,
            configs,
            ask=lambda so_far: to_json(with_asked_seeds(plan, so_far.seeds_of())),
            take_look=partial(take_look, store),
        )
        log(describe_looks(looks) or f"seeds until decided: first look at {looks.numbers[0]} of {looks.numbers[-1]}")
    with sync_while_running(store, data, log) as sync:
        outcome = launch(
            store,
            data,
            configs,
            pool=pool,
            policy=dataclasses.replace(policy, limit=attempt_limit(settings, resources)),
            view=view(),
            source=source,
        )
    return Execution(data if source is None else dict(source.plan), outcome, sync)


def describe_problems(execution: Execution, store: Store) -> list[str]:
    """Describe what failed or was blocked, and what to do about it, in lines."""
    labels = {run["id"]: f"{run['label']}, seed {run['seed']}" for run in execution.plan["runs"]}
    lines = []
    for run, failure in execution.outcome.failed.items():
        lines.append(f"failed: {labels[run]}: {failure.error}")
        lines.append(f"        {failure.advice} (log: {store.run(run) / 'log.txt'})")
    if execution.outcome.blocked:
        lines.append(f"blocked by failed parents: {', '.join(labels[run] for run in execution.outcome.blocked)}")
    if execution.outcome.message:
        lines.append(execution.outcome.message)
    return lines
