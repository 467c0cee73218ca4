"""The runs of a trial: a cell of the same kind as an ablation's, with the same ids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mtlab.errors import UserError
from mtlab.resolution.resolve import resolve_cell
from mtlab.studies.axes import Value, with_settings
from mtlab.studies.cell_cost import known_costs
from mtlab.studies.cells import Cell, make_cell
from mtlab.studies.expand import StudyRow
from mtlab.studies.plan import Plan, entries, run_configs, runs_of, uneven_problem
from mtlab.studies.spec import StudySpec
from mtlab.sweeps.variants import PreparedSweep, Variant

TRIAL = "trial"  #: name of an axis that a trial has beside those of its variant


@dataclass(frozen=True)
class TrialRuns:
    """A trial's cell, and its runs as the launcher takes them."""

    cell: Cell
    row: Mapping[str, Any]  #: entry of `plan.json`
    runs: tuple[Mapping[str, Any], ...]  #: entries of `plan.json`, each after those that it starts from
    configs: Mapping[str, Mapping[str, Any]]  #: run → `config.json`

    @property
    def seeds(self) -> dict[int, str]:
        """Seed → run of the trial itself, in order."""
        return {run["seed"]: run["id"] for run in self.runs if run["cell"] == self.cell.id}

    @property
    def costs(self) -> dict[str, float]:
        """The costs that are known before any training."""
        return known_costs(self.cell.cost)


def _skip_interventions(config: Mapping[str, Any], study: StudySpec) -> dict[str, Any]:
    """Leave interventions out unless the sweep asks for them: a tenth of a trial's time, and only winners need them."""
    asked = (study.keys.set.get("record") or {}).get("interventions")
    return {**config, "record": config["record"] | {"interventions": bool(asked)}}


def trial_runs(prepared: PreparedSweep, variant: Variant, number: int, params: Mapping[str, Any]) -> TrialRuns:
    """Make the cell and the runs of a trial.

    Args:
        prepared: the sweep.
        variant: whose trial it is.
        number: of the trial, from 0.
        params: path → value of the setting.

    Raises:
        UserError: these parameters do not go together.

    """
    study, own = prepared.sweep.study, variant.cell.row
    resolved = resolve_cell(_skip_interventions(with_settings(own.config, params), study))
    named = Value({TRIAL: number}, f"trial {number}", named=True)
    cell = make_cell(study, StudyRow({**own.values, TRIAL: named}, resolved), prepared.price, prepared.families)
    if problem := uneven_problem(study.keys.resources.processes, cell):
        raise UserError(problem, key="resources.processes")
    plan = Plan(study, (cell,), runs_of([cell], study.seeds))
    made = entries(plan)
    # Parameters are axes in analyses, and are what distinguishes this row from its variant's.
    row = made["rows"][0] | {"differences": dict(params)}
    runs = [run | {"axes": run["axes"] | dict(params)} if run["cell"] == cell.id else run for run in made["runs"]]
    return TrialRuns(cell, row | {"axes": row["axes"] | dict(params)}, tuple(runs), run_configs(plan))
