"""The best configuration of each variant, written as an ablation that compares the tuned variants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtlab.config import yaml
from mtlab.config.schema import NODES
from mtlab.errors import UserError
from mtlab.files import write_text
from mtlab.runs.store import FINAL_FILE, Store, final_name
from mtlab.studies.axes import lookup, whole, with_settings
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


def winners_study(plan: Mapping[str, Any], chosen: Sequence[Winner], *, name: str, final: FinalRules) -> dict[str, Any]:
    """Return the ablation of winners: one axis, on which each is a value with all of its settings.

    Args:
        plan: the sweep's stored plan.
        chosen: see `winners`.
        name: of the ablation.
        final: its seeds and its evaluation data.

    """
    given = plan["recipe"]
    folder = Path(given["plugin_folder"])  # of the sweep's file
    shared = _starting_from(given["set"], folder)
    written = [_starting_from(winner.settings(given["set"]), folder) for winner in chosen]
    touched = dict.fromkeys(path for winner in chosen for path in {**winner.variant["settings"], **winner.params})
    paths = list(dict.fromkeys(node if (node := path.partition(".")[0]) in NODES else whole(path) for path in touched))
    paths = [path for path in paths if not any(path.startswith(f"{other}.") for other in paths)]
    columns = {
        path: [_setting(each, winner, path) for each, winner in zip(written, chosen, strict=True)] for path in paths
    }
    labels = [winner.label for winner in chosen]
    against = [winner.variant["compare_to"] for winner in chosen]
    verdict = verdict_of_winners(final, given["metrics"]["verdict"])
    study = {
        "kind": "ablation",
        "name": name,
        "why": f"{plan['why']} Tuned against tuned, after the sweep {plan['study']}.".strip(),
        "set": _without(shared, paths),
        "axes": {AXIS: {"zip": columns, "labels": labels}},
        "baseline": {AXIS: against[0] if len(set(against)) == 1 else against} if set(against) <= set(labels) else None,
        "seeds": final.study_seeds,
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
    return head + yaml.dump(study)


def write_final_study(sweep: str, final: FinalRules, store: Store) -> Path:
    """Write the ablation of a stored sweep's winners into its folder; return the file.

    Raises:
        UserError: a variant has no finished trial that keeps all constraints.

    """
    plan = store.plan(sweep)
    with open_sweep(store, plan) as (_, searches):
        chosen = winners(searches, final.retrain)
    path = store.study(sweep) / FINAL_FILE
    study = winners_study(plan, chosen, name=final_name(sweep), final=final)
    write_text(path, to_yaml(study, plan, chosen))
    return path


def _setting(written: Mapping[str, Any], winner: Winner, path: str) -> Any:
    """Return a winner's setting at a path, or its default where the variant does not set it; a node with its name."""
    default = lookup(winner.variant["config"], path)
    found = lookup(written, path, default)
    if path not in NODES:
        return found
    return {"name": found} if isinstance(found, str) else {"name": default["name"], **found}


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
