"""The steps before a launch: plan a study's file, fetch missing weights, and refuse what cannot be run here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mtlab.errors import UserError
from mtlab.launch.backends import LocalSettings, Settings, launcher_settings, make_pool
from mtlab.resolution.dataset_facts import clear_facts
from mtlab.resolution.identity import clear_digests
from mtlab.studies.plan import Plan, make_plan, run_configs
from mtlab.studies.spec import StudySpec, read_study

if TYPE_CHECKING:
    from mtlab.studies.budget.time_estimate import TimeEstimate


def plan_study(path: Path, overrides: Sequence[str], *, plugins: bool, plugin_folder: Path | None = None) -> Plan:
    """Read, expand and price a study.

    Args:
        path: the study's file.
        overrides: KEY=VALUE each.
        plugins: may the study's plug-ins be imported?
        plugin_folder: where they lie, if not beside the file.

    Raises:
        UserError: anything in the file is wrong.

    """
    clear_digests()  # in a notebook, files may have changed since the last plan
    clear_facts()
    study = replace(read_study(path, overrides), plugins_allowed=plugins)
    if plugin_folder is not None:
        study = replace(study, plugin_folder=plugin_folder)
    study.import_plugins()
    return make_plan(study)


def estimate_here(plan: Plan, states: Mapping[str, str]) -> TimeEstimate | None:
    """Estimate how long the missing runs of a plan take on this machine; None where they are not executed here.

    Args:
        plan: of the study.
        states: of its runs.

    Raises:
        UserError: there is no such launcher.

    """
    settings = choose_launcher(plan.study, None)
    if not isinstance(settings, LocalSettings) or all(state == "done" for state in states.values()):
        return None
    from mtlab.studies.budget.time_estimate import estimate_time  # imports torch

    pool = make_pool(settings, plan.study.keys.resources, run_configs(plan))
    return estimate_time(plan, states, pool.at_once)


def refuse_unreadable_data(plan: Plan) -> None:
    """Refuse data sets that can be planned but not read here, before anything is downloaded.

    Raises:
        UserError: there is one.

    """
    unreadable = {run.cell.config["data"]["name"] for run in plan.runs if "data" in run.cell.identity.unresolved}
    if unreadable:
        names = ", ".join(sorted(unreadable))
        raise plan.study.error(
            f"{names}: only sizes and answers are known without the files; `mtlab data convert` makes shards of them, "
            "and `data.folder` says where these lie (`mtlab list datasets NAME`)",
            "set.data",
        )


def fetch_weights(plan: Plan, log: Callable[[str], None]) -> None:
    """Download the weights that the plan needs and this disk lacks: the ids of its runs depend on them.

    Args:
        plan: of the study.
        log: prints a line.

    Raises:
        UserError: the hub has no such model, or cannot be reached.

    """
    from mtlab.towers.build import fetch_tower  # imports torch

    for cell in {run.cell.id: run.cell for run in plan.runs}.values():  # parents of other studies too
        for kind in ("text", "vision"):
            if kind in cell.identity.unresolved:
                log(f"downloading the weights of {cell.config[kind].get('model', cell.config[kind]['name'])}")
                try:
                    fetch_tower(kind, cell.config[kind])
                except UserError as error:
                    raise plan.study.error(error.problem, f"set.{error.key or kind}") from None
    clear_digests()


def choose_launcher(study: StudySpec, name: str | None) -> Settings:
    """Return the settings of the launcher that executes a study.

    Args:
        study: the study.
        name: a launcher that the command line names, if it does.

    Raises:
        UserError: there is no such launcher, or no such option of it.

    """
    if name is not None:
        launcher_settings(name)  # an error in it has no place in the file
    try:
        return launcher_settings(study.keys.launcher, name=name)
    except UserError as error:
        raise study.error(error.problem, error.key) from None


def refuse_unavailable(plan: Plan, settings: Settings) -> None:
    """Refuse weights and devices that are not available, before anything is started.

    Raises:
        UserError: weights cannot be had, or this machine lacks a device; those of a cluster's nodes are not checked.

    """
    if plan.unresolved:
        missing = ", ".join(plan.unresolved)
        raise plan.study.error(f"weights that cannot be had: {missing}; give a local folder or file", "set")
    if not isinstance(settings, LocalSettings):
        return
    from mtlab.training.environment import choose_device  # imports torch

    for device in {run.cell.config["train"]["device"] for run in plan.runs}:
        try:
            choose_device(device, processes=plan.study.keys.resources.processes)
        except UserError as error:
            raise plan.study.error(error.problem, "set.train.device") from None
