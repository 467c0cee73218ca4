"""The rows of a testbed's card: which part each variant of the study plays, told by its configuration."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, Literal

from mtlab.config.hashing import canonical_json
from mtlab.errors import UserError
from mtlab.report.comparison.seed_results import judge_variant, results_by_seed, seed_mean
from mtlab.report.learning.validation_curve import read_curve
from mtlab.runs.store import Store
from mtlab.statistics.intervals import MeanInterval

if TYPE_CHECKING:
    import polars as pl

Role = Literal["text only", "image only", "single level", "mean", "bridge", "other"]

BLIND = "blind"  #: name of the towers that see nothing
MANAGED = (
    "manager",
    "text",
    "vision",
    "record",
    "cache",
    "metrics",
)  #: what may differ between rows of one size and length
PLATEAU = 0.01  #: a curve has reached its plateau where it is within this of its best


@dataclass(frozen=True)
class CardRow:
    """One variant with at least one finished run."""

    label: str
    cell: str
    config: Mapping[str, Any]  #: settings of its runs
    role: Role
    levels: tuple[tuple[int, ...], tuple[int, ...]]  #: of the text and the vision tower that its managers read
    validation: Mapping[int, float]  #: seed → result
    test: Mapping[int, float]  #: seed → result
    family_validation: Mapping[str, Mapping[int, float]]  #: family → seed → result
    family_test: Mapping[str, Mapping[int, float]]
    learned: bool | None  #: have all seeds? None where it is not known, and of blind models
    mean: MeanInterval  #: on test data, over seeds
    plateau: float | None  #: steps to the plateau of validation, median over seeds


def best_on_validation(rows: Sequence[CardRow], family: str | None = None) -> CardRow:
    """Return the row with the best mean over the seeds that all rows have; over its own where there is none.

    Args:
        rows: at least one; a study may be unfinished, so that some have fewer seeds.
        family: of which questions; None: of all.

    """
    results = [row.validation if family is None else row.family_validation[family] for row in rows]
    shared = set.intersection(*map(set, results))
    means = [fmean(value for seed, value in found.items() if not shared or seed in shared) for found in results]
    return rows[means.index(max(means))]


def card_rows(
    store: Store, plan: Mapping[str, Any], runs: pl.DataFrame, floors: Mapping[str, float]
) -> tuple[CardRow, ...]:
    """Read the rows of a plan that have a finished run, in its order.

    Args:
        store: where the runs are.
        plan: the stored plan.
        runs: see `frame.run_frame`, with a column for each family.
        floors: cell → the best score of a blind model, see `blind_floors`.

    """
    test = plan["metrics"]["verdict"]
    validation = f"val/{test.partition('/')[2]}"
    finished = dict(runs.filter(state="done").select("cell", "run").iter_rows())
    cells = {row["cell"]: row for row in plan["rows"] if row["cell"] in finished}
    steps = _steps_to_plateau(store, cells, runs, validation)
    configs = {cell: _run_settings(store, finished[cell]) for cell in cells}
    settings = {cell: _settings(config) for cell, config in configs.items()}
    usual = Counter(settings.values()).most_common(1)[0][0] if settings else ""
    rows = []
    for cell, row in cells.items():
        results, learning = results_by_seed(runs, cell, test), judge_variant(runs, plan, row, test, floors.get(cell))
        of_validation, mean = results_by_seed(runs, cell, validation), seed_mean(results, plan["alpha"], test, learning)
        if mean is None or not of_validation:  # finished, but without the metric
            continue
        rows.append(
            CardRow(
                label=row["label"],
                cell=cell,
                config=configs[cell],
                role=_role(configs[cell], row["pairing"], usual=settings[cell] == usual),
                levels=(_levels(row["pairing"]["text"]), _levels(row["pairing"]["image"])),
                validation=of_validation,
                test=results,
                family_validation=_by_family(runs, cell, validation),
                family_test=_by_family(runs, cell, test),
                learned=None if learning is None else learning.complete,
                mean=mean,
                plateau=median(steps[cell]) if steps.get(cell) else None,
            )
        )
    return tuple(rows)


def _run_settings(store: Store, run: str) -> Mapping[str, Any]:
    """Return the settings of a run that was started.

    Raises:
        UserError: its `config.json` is missing or damaged.

    """
    written = store.config(run)
    if written is None:
        raise UserError("is missing: what was run is not known", file=store.run(run) / "config.json")
    settings: Mapping[str, Any] = written["config"]
    return settings


def _steps_to_plateau(store: Store, cells: Collection[str], runs: pl.DataFrame, metric: str) -> dict[str, list[int]]:
    """Return the first steps at which validation is within `PLATEAU` of the best of its run, by cell."""
    found: dict[str, list[int]] = {}
    for run, cell in runs.filter(state="done").select("run", "cell").iter_rows():
        curve = read_curve(store.metrics(run), metric, None) if cell in cells else None
        step = None if curve is None else curve.first_step(max(curve.values) - PLATEAU, "max")
        if step is not None:
            found.setdefault(cell, []).append(step)
    return found


def _role(config: Mapping[str, Any], pairing: Mapping[str, Sequence[Sequence[int]]], *, usual: bool) -> Role:
    manager = config["manager"]["name"]
    if config["vision"]["name"] == BLIND:
        return "text only"
    if config["text"]["name"] == BLIND:
        return "image only"
    if not usual:
        return "other"
    if manager == "last" and all(len(_levels(stack)) == 1 for stack in pairing.values()):
        return "single level"
    if manager == "mean":
        return "mean"
    return "bridge" if manager.startswith("bridge") else "other"


def _settings(config: Mapping[str, Any]) -> str:
    """Return size, length and all else that has nothing to do with levels and managers."""
    kept = {key: value for key, value in config.items() if key not in MANAGED}
    if isinstance(start := kept.get("init_from"), Mapping) and "cell" in start:
        kept["init_from"] = "parent"  # a cell with a row's own manager, and a seed
    return canonical_json(kept)


def _levels(stack: Sequence[Sequence[int]]) -> tuple[int, ...]:
    return tuple(sorted({level for levels in stack for level in levels}))


def _by_family(runs: pl.DataFrame, cell: str, metric: str) -> dict[str, dict[int, float]]:
    columns = [column for column in runs.columns if column.startswith(f"{metric}/")]
    found = {column.removeprefix(f"{metric}/"): results_by_seed(runs, cell, column) for column in columns}
    return {family: results for family, results in found.items() if results}
