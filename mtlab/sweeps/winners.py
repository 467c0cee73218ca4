"""The best configuration of each variant, written as an ablation that compares the tuned variants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtlab.config import yaml
from mtlab.config.schema import NAMED, NODES
from mtlab.errors import UserError
from mtlab.files import write_text
from mtlab.runs.store import FINAL_FILE, Store, final_name
from mtlab.studies.axes import lookup, lookup_option, whole, with_settings
from mtlab.sweeps.spec import FinalRules, verdict_of_winners
from mtlab.sweeps.status import CELL
from mtlab.sweeps.stored import StoredSearch, open_sweep

AXIS = "variant"  #: of the ablation: a name for the tuned settings, which move together


@dataclass(frozen=True)
class Winner:
    """The best configuration of a variant."""

    label: str
    variant: Mapping[str, Any]  #: entry of the sweep's plan
    params: Mapping[str, Any]
    number: int  #: of its trial
    cell: str  #: of its trial

    def settings(self, shared: Mapping[str, Any]) -> dict[str, Any]:
        """Return its configuration on top of the shared settings, as a study file would have it."""
        return with_settings(with_settings(shared, self.variant["settings"]), self.params)


def winners(searches: Sequence[StoredSearch], retrain: str = "best") -> list[Winner]:
    """Choose the winners: the best trial of each variant, or all Pareto-optimal ones.

    Raises:
        UserError: a variant has no finished trial that keeps all constraints.

    """
    chosen = []
    for found in searches:
        if not found.front:
            counts = ", ".join(f"{count} {word}" for word, count in found.status.counts.items()) or "none begun"
            raise UserError(f"{found.label} has no finished trial that could win (trials: {counts})")
        trials = found.front if retrain == "front" else found.front[:1]
        for trial in trials:
            label = found.label if len(trials) == 1 else f"{found.label}, trial {trial.number}"
            chosen.append(Winner(label, found.variant, found.params(trial), trial.number, trial.user_attrs[CELL]))
    return chosen


def group_winners(plan: Mapping[str, Any], chosen: Sequence[Winner]) -> dict[str, list[Winner]]:
    """Group winners into the rows of their ablation, by label: those with the same settings are one row."""
    groups: list[list[Winner]] = []
    shared = plan["recipe"]["set"]
    for winner in chosen:
        for group in groups:  # the cells of equal settings differ where a version was raised between the searches
            if winner.cell == group[0].cell or winner.settings(shared) == group[0].settings(shared):
                group.append(winner)
                break
        else:
            groups.append([winner])
    return {" = ".join(winner.label for winner in group): group for group in groups}


def describe_groups(rows: Mapping[str, Sequence[Winner]]) -> list[str]:
    """Say of each row with several winners whose they are, and which comparisons that leaves out."""
    told = [
        f"{' and '.join(winner.label for winner in group)} won with the same settings: they are one row"
        for group in rows.values()
        if len(group) > 1
    ]
    compared = _compared(rows)
    left_out = [
        f"{label} is not compared with {target}: a row is compared with one other"
        for label, targets in _targets(rows).items()
        for target in dict.fromkeys(targets)
        if compared is not None and target not in (label, compared[label])
    ]
    return [*told, *left_out]


def _targets(rows: Mapping[str, Sequence[Winner]]) -> dict[str, list[str | None]]:
    """Return the rows that the winners of each row would be compared with; None: that variant has several winners."""
    row_of = {winner.label: label for label, group in rows.items() for winner in group}
    return {label: [row_of.get(winner.variant["compare_to"]) for winner in group] for label, group in rows.items()}


def _compared(rows: Mapping[str, Sequence[Winner]]) -> dict[str, str] | None:
    """Return the row that each is compared with, itself for a baseline; None where nothing can be compared."""
    targets = _targets(rows)
    if any(target is None for each in targets.values() for target in each):
        return None
    found: dict[str, str] = {}
    for label, each in targets.items():
        others = [target for target in each if target is not None and target != label]
        needed = label in each and any(label in theirs for other, theirs in targets.items() if other != label)
        found[label] = label if needed or not others else others[0]
    return found


def winners_study(plan: Mapping[str, Any], chosen: Sequence[Winner], *, name: str, final: FinalRules) -> dict[str, Any]:
    """Return the ablation of winners: one axis, whose values are their settings in full; see `group_winners`.

    Args:
        plan: the sweep's stored plan.
        chosen: see `winners`.
        name: of the ablation.
        final: its seeds and its evaluation data.

    """
    given, rows = plan["recipe"], group_winners(plan, chosen)
    firsts, compared = [group[0] for group in rows.values()], _compared(rows)
    folder = Path(given["plugin_folder"])  # of the sweep's file
    shared = _starting_from(given["set"], folder)
    written = [_starting_from(winner.settings(given["set"]), folder) for winner in firsts]
    touched = dict.fromkeys(path for winner in firsts for path in {**winner.variant["settings"], **winner.params})
    # options of two kinds of model cannot stand side by side: each has its whole section
    kinds = {lookup_option(each, "model.name") for each in written}
    whole_ones = (*NODES, "model") if len(kinds) > 1 else NODES
    paths = list(
        dict.fromkeys(node if (node := path.partition(".")[0]) in whole_ones else whole(path) for path in touched)
    )
    paths = [path for path in paths if not any(path.startswith(f"{other}.") for other in paths)]
    columns = {
        path: [_setting(each, winner, path) for each, winner in zip(written, firsts, strict=True)] for path in paths
    }
    against = list((compared or {}).values())
    nothing = compared is None or all(label == target for label, target in compared.items())
    seeds = final.study_seeds
    if final.sequential is not None and nothing:  # there is nothing to decide
        seeds = list(final.sequential.seeds[: final.sequential.min])
    verdict = verdict_of_winners(final, given["metrics"]["verdict"])
    study = {
        "kind": "ablation",
        "name": name,
        "why": f"{plan['why']} Tuned against tuned, after the sweep {plan['study']}.".strip(),
        "set": _without(shared, paths),
        "axes": {AXIS: {"zip": columns, "labels": list(rows)}},
        "baseline": {AXIS: against[0] if len(set(against)) == 1 else against} if against else None,
        "seeds": seeds,
        "metrics": given["metrics"] | {"verdict": verdict},
        "report": given["report"],
    }
    further = {key: given.get(key) for key in ("init_from", "plugins", "tracking", "launcher", "resources")}
    further |= dict.fromkeys(further.keys() & paths)
    return {key: value for key, value in {**study, **further}.items() if value not in (None, {}, [])}


def _starting_from(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return settings that start where they would in a file of this folder."""
    start = {"init_from": absolute_start(settings["init_from"], folder)} if "init_from" in settings else {}
    return {**settings, **start}


def absolute_start(start: Any, folder: Path) -> Any:
    """Make the path of a parent study or checkpoint that lies in a folder absolute."""
    if isinstance(start, Mapping):
        return {
            key: absolute_start(value, folder) if key in ("study", "checkpoint") else value
            for key, value in start.items()
        }
    if not isinstance(start, str):
        return start
    beside = [path for name in (start, f"{start}.yaml") if (path := folder / name).exists()]
    return str(beside[0]) if beside else start


def to_yaml(study: Mapping[str, Any], plan: Mapping[str, Any], chosen: Sequence[Winner]) -> str:
    """Write the ablation as YAML, with a comment on its origin."""
    trials = ", ".join(f"{winner.label} trial {winner.number}" for winner in chosen)
    head = f"# The tuned variants of the sweep {plan['study']} ({trials}), on seeds that no trial has used.\n"
    notes = "".join(f"# {line}.\n" for line in describe_groups(group_winners(plan, chosen)))
    return head + notes + yaml.dump(study)


def write_final_study(sweep: str, final: FinalRules, store: Store) -> tuple[Path, list[str]]:
    """Write the ablation of a stored sweep's winners into its folder; return the file, and see `describe_groups`.

    Raises:
        UserError: a variant has no finished trial that keeps all constraints.

    """
    plan = store.plan(sweep)
    with open_sweep(store, plan) as (_, searches):
        chosen = winners(searches, final.retrain)
    path = store.study(sweep) / FINAL_FILE
    study = winners_study(plan, chosen, name=final_name(sweep), final=final)
    write_text(path, to_yaml(study, plan, chosen))
    return path, describe_groups(group_winners(plan, chosen))


def _setting(written: Mapping[str, Any], winner: Winner, path: str) -> Any:
    """Return a winner's setting at a path, or its default where the variant does not set it; a node with its name."""
    default = lookup(winner.variant["config"], path)
    found = lookup(written, path, default)
    if path not in NAMED:
        return found
    named = lookup_option(winner.variant["config"], "model.name") if path == "model" else default["name"]
    return {"name": found} if isinstance(found, str) else {"name": named, **found}


def _without(shared: Mapping[str, Any], paths: Sequence[str], at: str = "") -> dict[str, Any]:
    """Drop the settings on the axis: a study refuses settings that every cell would overwrite."""
    kept: dict[str, Any] = {}
    for key, value in shared.items():
        path = f"{at}.{key}" if at else key
        if path in paths:
            continue
        inner = any(other.startswith(f"{path}.") for other in paths)
        kept[key] = _without(value, paths, path) if inner and isinstance(value, Mapping) else value
    return {key: value for key, value in kept.items() if value != {} or shared[key] == {}}
