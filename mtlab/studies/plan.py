"""The plan of a study: every run, its parents and its cost, written to one readable file.

Later commands such as `status` and `report` read the stored plan and never expand the YAML again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from mtlab.config.check import to_plain
from mtlab.config.hashing import digest
from mtlab.config.schema import Mode
from mtlab.resolution.checks import processes_problem
from mtlab.resolution.interventions import intervention_passes
from mtlab.resolution.metrics import direction, direction_problem, family_problem, is_metric, list_metrics
from mtlab.resolution.training_code import training_code_digest
from mtlab.runs.store import PLAN_FORMAT, run_id
from mtlab.statistics.spending import spent_alpha
from mtlab.statistics.stopping import StoppingRule
from mtlab.studies.cell_cost import CostFunction, cell_cost
from mtlab.studies.cells import Cell, make_cells
from mtlab.studies.looks import planned_pairs
from mtlab.studies.published_entries import PublishedEntry, parse_entries, parse_overall
from mtlab.studies.spec import StudySpec
from mtlab.tracking.settings import plain_tracking

FORMAT = 1  #: of `config.json`


@dataclass(frozen=True)
class Run:
    """One seed of one cell."""

    cell: Cell
    seed: int

    @property
    def id(self) -> str:
        """The run's id, which is its folder below `cells/`."""
        return run_id(self.cell.id, self.seed)

    @property
    def parent(self) -> Run | None:
        """The run whose weights it starts from."""
        if self.cell.parent is None:
            return None
        return Run(self.cell.parent, self.seed if self.cell.parent_seed is None else self.cell.parent_seed)


@dataclass(frozen=True)
class Plan:
    """A study's cells and runs; parents of other studies come before the runs that need them."""

    study: StudySpec
    cells: tuple[Cell, ...]
    runs: tuple[Run, ...]
    published: tuple[PublishedEntry, ...] = ()  #: results of papers for single rows

    @property
    def unresolved(self) -> tuple[str, ...]:
        """Names of models whose weights are not available here: ids are provisional, and `mtlab run` refuses."""
        return tuple(sorted({name for cell in self.cells for name in cell.unresolved}))


def make_plan(study: StudySpec, price: CostFunction = cell_cost) -> Plan:
    """Plan a study, without starting or writing anything.

    Raises:
        UserError: anything in the study is wrong, or it is larger than its budget.

    """
    cells = make_cells(study, price)
    refuse_duplicates(study, cells)
    cells = _compared_with_others(cells)
    check_metrics(study, cells, study.keys.metrics.verdict)
    _refuse_uneven(study, cells)
    if study.sequential is not None and all(cell.row.compare_to is None or _is_blind(cell) for cell in cells):
        raise study.error(
            "nothing is compared, so nothing can be decided: add `baseline` (axis → value), or variants that see both "
            "and are other cells than it",
            "seeds.until",
        )
    known = parse_entries(study, [cell.row for cell in cells])
    limit = study.keys.budget.max_runs
    distinct = len({Run(cell, seed).id for cell in cells for seed in study.seeds})
    if limit is not None and distinct > limit:
        raise study.error(
            f"{distinct} runs ({len(cells)} cells × {len(study.seeds)} seeds) exceed the budget of {limit}: "
            "ask for fewer, or raise it",
            "budget.max_runs",
        )
    return Plan(study, cells, runs_of(cells, study.seeds), known)


def with_asked_seeds(plan: Plan, seeds_of: Mapping[str, int]) -> Plan:
    """Return the plan with the runs alone that are asked for so far.

    Args:
        plan: with all runs that may be asked for.
        seeds_of: cell → number of its seeds, the first ones; cells that nothing is compared with have the fewest.

    """
    known = {run.id: run for run in plan.runs}
    return replace(plan, runs=tuple(known[run] for run in _asked_runs(plan, seeds_of)))


def _asked_runs(plan: Plan, seeds_of: Mapping[str, int]) -> dict[str, Run]:
    """Return the runs that are asked for by id, see `with_asked_seeds`."""
    seeds, rules = plan.study.seeds, plan.study.sequential
    least = len(seeds) if rules is None else rules.min
    return {run.id: run for cell in plan.cells for run in runs_of([cell], seeds[: seeds_of.get(cell.id, least)])}


def runs_of(cells: Sequence[Cell], seeds: Sequence[int]) -> tuple[Run, ...]:
    """Return the runs of cells, each after those that it starts from.

    A run that is one of these cells and also a parent is that of the first such cell, which gives its label.
    """
    own = {cell.id: cell for cell in reversed(cells)}
    ordered: dict[str, Run] = {}
    for cell in cells:
        for seed in seeds:
            for run in _with_ancestors(Run(cell, seed)):
                ordered.setdefault(run.id, replace(run, cell=own.get(run.cell.id, run.cell)))
    return tuple(ordered.values())


def to_json(plan: Plan) -> dict[str, Any]:
    """Return a plan as plain data, the content of `plan.json`."""
    keys, rows = plan.study.keys, [cell.row for cell in plan.cells]
    baseline = next((cell.id for cell in plan.cells if cell.row.baseline), None)
    return {
        "format": PLAN_FORMAT,
        "study": plan.study.name,
        "spec_file": str(plan.study.path.resolve()),
        "overrides": list(plan.study.overrides),
        "why": keys.why,
        "design": keys.design,
        "baseline": baseline,
        "seeds": list(plan.study.seeds),
        "metrics": asdict(keys.metrics),
        "directions": _directions(plan),
        **asdict(keys.report),
        "equivalence": plan.study.margin,
        "sequential": _sequential(plan),
        "published": parse_overall(plan.study),
        "published_rows": [result.to_json([cell.id for cell in plan.cells]) for result in plan.published],
        "code": training_code_digest(),
        "tracking": plain_tracking(plan.study.trackers),
        "plugins": list(keys.plugins),
        "plugin_folder": str(plan.study.plugin_folder),
        "plugin_code": {name: code for row in rows for name, code in row.resolved.plugin_digests.items()},
        "unresolved": list(plan.unresolved),
        "unresolved_data": sorted(
            {cell.config["data"]["name"] for cell in plan.cells if "data" in cell.identity.unresolved}
        ),
        "remarks": list(dict.fromkeys(remark for cell in plan.cells for remark in cell.remarks)),
        **entries(plan),
    }


def _directions(plan: Plan) -> dict[str, Mode]:
    """Return which way each metric is better that the study names."""
    keys = plan.study.keys
    named = [keys.metrics.choose, keys.metrics.verdict, *keys.metrics.report, *parse_overall(plan.study)]
    known = [cell.row.resolved.metrics for cell in plan.cells]
    return {metric: direction(metric, each) for metric in named for each in reversed(known) if is_metric(metric, each)}


def _sequential(plan: Plan) -> dict[str, Any] | None:
    """Return the rules of seeds until decided: looks, their levels, alpha spent, and the least and most runs."""
    rules, study = plan.study.sequential, plan.study
    if rules is None:
        return None
    assert study.margin is not None
    report = study.keys.report
    rule = StoppingRule(rules.looks, study.margin, report.alpha, report.correct, rules.spending)
    compared = {cell for pair in planned_pairs({"rows": [_row(plan, cell) for cell in plan.cells]}) for cell in pair}
    costs = []
    for number in (rules.min, rules.max):
        runs = _asked_runs(plan, dict.fromkeys(compared, number)).values()
        costs.append({"runs": len(runs), "flops": sum(_run(plan, run)["cost"]["flops"] for run in runs)})
    return {
        **to_plain(rules),
        "looks": list(rules.looks),
        "levels": list(rule.difference.at(rule.alpha)),
        "levels_equivalence": list(rule.equivalence.at(rule.alpha)),
        "spent": [float(spent_alpha(rule.alpha, n / rules.max, rules.spending, sides=2)) for n in rules.looks],
        "at_least": costs[0],
        "at_most": costs[1],
    }


def entries(plan: Plan) -> dict[str, list[dict[str, Any]]]:
    """Return `rows` and `runs` of `plan.json`."""
    return {"rows": [_row(plan, cell) for cell in plan.cells], "runs": [_run(plan, run) for run in plan.runs]}


def run_configs(plan: Plan) -> dict[str, dict[str, Any]]:
    """Return the content of each run's `config.json`: everything that its worker needs."""
    return {run.id: _config(run) for run in plan.runs}


def _config(run: Run) -> dict[str, Any]:
    config, parent = dict(run.cell.config), run.parent
    if parent is not None:
        config["init_from"] = config["init_from"] | {"cell": parent.cell.id, "seed": parent.seed}
    return {
        "format": FORMAT,
        "cell": run.cell.id,
        "seed": run.seed,
        "label": run.cell.row.label,
        "config": config,
        "identity": run.cell.identity.hashed,
        "code": training_code_digest(),
        "plugin_code": dict(run.cell.row.resolved.plugin_digests),
        "parents": [] if parent is None else [{"cell": parent.cell.id, "seed": parent.seed}],
        "cost": asdict(run.cell.cost),
        "plugins": list(run.cell.plugins),
        "plugin_folder": str(run.cell.plugin_folder),
    }


def _row(plan: Plan, cell: Cell) -> dict[str, Any]:
    against = None if cell.row.compare_to is None else plan.cells[cell.row.compare_to]
    return {
        "cell": cell.id,
        "label": cell.row.label,
        "axes": _axes(cell),
        "axis_labels": dict(cell.row.labels),
        "differences": _differences(cell.config, (against or plan.cells[0]).config),
        "baseline": cell.row.baseline,
        "compare_to": None if against is None else against.id,
        "note": cell.row.note,
        "blind": _is_blind(cell),
        "questions": digest([cell.config["task"], cell.config["data"]]),
        "pairing": dict(cell.row.resolved.pairing),
        "unresolved": list(cell.unresolved),
    }


def _run(plan: Plan, run: Run) -> dict[str, Any]:
    steps, batch = run.cell.steps, run.cell.config["train"]["batch"]
    parent = run.parent
    return {
        "id": run.id,
        "cell": run.cell.id,
        "seed": run.seed,
        "label": run.cell.row.label if run.cell.study == plan.study.name else f"{run.cell.study}: {run.cell.row.label}",
        "study": run.cell.study,
        "axes": _axes(run.cell),
        "parents": [] if parent is None else [parent.id],
        "cost": {
            "trained_params": run.cell.cost.trained_params,
            "flops_forward": run.cell.cost.flops_forward,
            "flops": run.cell.cost.flops_training * batch * steps,
            "intervention_passes": intervention_passes(run.cell.config)
            if run.cell.config["record"]["interventions"]
            else 0,
            "steps": steps,
        },
    }


def _is_blind(cell: Cell) -> bool:
    """Return whether a cell lacks a tower: it shows what can be had without, and has no baseline."""
    return any(cell.config[tower]["name"] == "blind" for tower in ("text", "vision"))


def _axes(cell: Cell) -> dict[str, Any]:
    return {
        axis: value.settings[axis] if value.settings.keys() == {axis} else dict(value.settings)
        for axis, value in cell.row.values.items()
    }


def _differences(config: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    left, right = dict(_flat(config, "")), dict(_flat(other, ""))
    return {path: value for path, value in left.items() if path not in right or right[path] != value}


def _flat(config: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in config.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and path not in ("init_from",):
            yield from _flat(value, f"{path}.")
        else:
            yield path, value


def _with_ancestors(run: Run) -> list[Run]:
    above = run.parent
    return [*(_with_ancestors(above) if above is not None else []), run]


def refuse_duplicates(study: StudySpec, cells: Sequence[Cell]) -> None:
    """Refuse two rows with one id, which would be one run under two names.

    It is allowed where they differ in how their length is written: the FLOPs of an axis on `train.length` may well be
    those that one variant needs for its other value, the steps.
    """
    seen: dict[str, Cell] = {}
    for cell in cells:
        other = seen.setdefault(cell.id, cell)
        if other is not cell and _labels_but_length(other) != _labels_but_length(cell):
            problem = (
                f"{other.row.label!r} and {cell.row.label!r} are the same cell: they differ in nothing that counts"
            )
            raise study.error(problem, "axes")


def _compared_with_others(cells: Sequence[Cell]) -> tuple[Cell, ...]:
    """Compare no row with itself: at equal steps and at equal FLOPs one may be the same cell as its baseline."""
    found = []
    for cell in cells:
        against = None if cell.row.compare_to is None else cells[cell.row.compare_to]
        if against is not None and against.id == cell.id:
            note = f"the same cell as {against.row.label}: not compared"
            found.append(replace(cell, row=replace(cell.row, compare_to=None, note=note)))
        else:
            found.append(cell)
    return tuple(found)


def _labels_but_length(cell: Cell) -> dict[str, str]:
    values = cell.row.values.items()
    return {axis: value.label for axis, value in values if set(value.settings) != {"train.length"}}


def _refuse_uneven(study: StudySpec, cells: Sequence[Cell]) -> None:
    """Refuse a batch that the processes of a run cannot share evenly, be it of a run that others start from."""
    for cell in cells:
        if problem := uneven_problem(study.keys.resources.processes, cell):
            raise study.error(problem, "resources.processes")


def uneven_problem(processes: int, cell: Cell) -> str | None:
    """Say why the processes of a run cannot share its batch, or that of a run it starts from; None if they can."""
    problem = processes_problem(processes, cell.config)
    if problem is not None:
        return f"{problem} ({cell.row.label})"
    above = None if cell.parent is None else uneven_problem(processes, cell.parent)
    return above and f"{above}, from which {cell.row.label} starts"


def check_metrics(study: StudySpec, cells: Sequence[Cell], verdict: str) -> None:
    """Check that cells have the metrics that a study names, and that one way is better.

    Args:
        study: that names them.
        cells: its own.
        verdict: the metric that they are compared on.

    Raises:
        UserError: a metric is unknown, or better large in one cell and small in another, or not as `mode` or a floor
            says.

    """
    metrics = study.keys.metrics
    known = sorted({name for cell in cells for name in cell.row.resolved.metrics})
    wanted = [("verdict", verdict), *((f"report[{index}]", name) for index, name in enumerate(metrics.report))]
    for key, name in wanted:
        if not is_metric(name, known):
            raise study.error(f"no task of this study has a metric {name!r}; {list_metrics(known)}", f"metrics.{key}")
        having = [cell.config for cell in cells if is_metric(name, cell.row.resolved.metrics)]
        if all(problems := [family_problem(name, config) for config in having]):
            raise study.error(str(problems[0]), f"metrics.{key}")
    for row in [cell.row for cell in cells if cell.row.compare_to is not None]:
        for each in (row, cells[row.compare_to or 0].row):
            known_there = is_metric(verdict, each.resolved.metrics)
            if known_there and (problem := family_problem(verdict, each.config)):
                raise study.error(f"{each.label} cannot be compared: {problem}", "metrics.verdict")
    for key, name in (("choose", metrics.choose), ("verdict", verdict)):
        if problem := direction_problem(name, [cell.row.resolved.metrics for cell in cells], metrics.mode):
            raise study.error(problem, f"metrics.{key}" if metrics.mode is None else "metrics.mode")
    ways = {direction(verdict, own) for cell in cells if is_metric(verdict, own := cell.row.resolved.metrics)}
    if study.keys.report.floor is not None and ways == {"min"}:
        raise study.error(f"a variant must be above it, and {verdict} is better small: remove floor", "report.floor")
    for name in parse_overall(study):
        if not is_metric(name, known):
            raise study.error(f"no task of this study has a metric {name!r}; {list_metrics(known)}", "published")
