"""Build a `Model` from a configuration, and load the weights of a run or of an imported checkpoint into it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mtlab.config.plugins import import_named_plugins, import_plugins
from mtlab.errors import UserError, place_errors
from mtlab.inference.encoding import Model
from mtlab.resolution.defaults import fill_defaults
from mtlab.runs import checkpoints
from mtlab.runs.find_run import FinishedRun
from mtlab.runs.imported_checkpoint import read_imported_checkpoint
from mtlab.tasks.build import TaskModel, build
from mtlab.towers.build import build_tower, tower_shape
from mtlab.training.environment import choose_device


def import_run_plugins(found: FinishedRun, *, allowed: bool, named: Sequence[str] | None = None) -> None:
    """Import the plug-ins that a run was trained with.

    Args:
        found: the run.
        allowed: may they be imported?
        named: those of the command line, which are imported in place of the run's of the same names; None: it has no
            option for them.

    Raises:
        UserError: `allowed` is false and there are some, or one cannot be imported.

    """
    instead = import_named_plugins(named or ())
    elsewhere = "" if named is None else "; `--plugin FILE` imports it from elsewhere"
    wanted = [module for module in found.config["plugins"] if module not in instead]
    with place_errors(file=found.folder / "config.json"):
        import_plugins(wanted, Path(found.config["plugin_folder"]), allowed=allowed, missing=elsewhere)


def build_model(
    config: Mapping[str, Any],
    answers: Sequence[str] | int,
    *,
    seed: int = 0,
    device: str = "cpu",
    towers: Iterable[str] = ("text", "vision"),
) -> Model:
    """Build the model of a resolved configuration, initialised from a seed, in evaluation mode.

    Args:
        config: the resolved configuration.
        answers: names of the head's classes, or only their number.
        seed: of the initial weights.
        device: as `build`.
        towers: the towers to include; the model must be given the features of the others.

    Raises:
        UserError: there is no such device; or weights are missing, and the key names the tower.

    """
    chosen = choose_device(device)  # before anything is built, which may take a minute
    included = set(towers)
    network = build(
        config,
        tower_shape("text", config["text"]),
        tower_shape("vision", config["vision"]),
        answers=answers if isinstance(answers, int) else len(answers),
        seed=seed,
        text_tower=build_tower("text", config["text"]) if "text" in included else None,
        vision_tower=build_tower("vision", config["vision"]) if "vision" in included else None,
    )
    return Model(network.to(chosen).eval(), config, () if isinstance(answers, int) else tuple(answers))


def restore(network: TaskModel, found: FinishedRun) -> dict[str, Any]:
    """Load a run's checkpoint into a model of its configuration; return the checkpoint's metadata.

    Raises:
        UserError: it is missing, damaged, or does not fit the model because code, answers or options have changed.

    """
    try:
        tensors, metadata = checkpoints.load(found.checkpoint)
        if "model" in metadata or any(name.startswith("model/") for name in tensors):  # written for resuming
            tensors = checkpoints.with_prefix("model", tensors)
        checkpoints.restore(network, tensors)
    except FileNotFoundError:
        if found.store is not None and found.store.archive is not None:
            problem = "holds no checkpoint of this run: `mtlab bundle STUDY --checkpoints` packs them"
            raise UserError(problem, file=found.store.archive) from None
        raise UserError(f"the checkpoint is missing: {checkpoints.ADVICE}", file=found.checkpoint) from None
    except checkpoints.CorruptError as error:
        raise UserError(f"{error}: {checkpoints.ADVICE}", file=found.checkpoint) from None
    return metadata


def load_imported(folder: Path, device: str) -> Model:
    """Load the model of an imported checkpoint's folder.

    Raises:
        UserError: a file is missing or damaged, or weights and configuration do not fit each other.

    """
    found = read_imported_checkpoint(folder)
    model = build_model(fill_defaults(found.config), found.answers, device=device)
    own = model.network.state_dict()
    unmatched = sorted(set(own) ^ set(found.tensors))
    if unmatched or any(own[name].shape != tensor.shape for name, tensor in found.tensors.items()):
        raise UserError(f"does not fit the model that it describes ({', '.join(unmatched[:3])} …)", file=folder)
    model.network.load_state_dict(found.tensors)
    return model
