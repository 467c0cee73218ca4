"""From a configuration or a finished run to a whole model: what the Python API and `mtlab eval` share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mtlab.config.load import NODES
from mtlab.config.nodes import lookup_options
from mtlab.config.plugins import import_plugins
from mtlab.data.base import DATASETS
from mtlab.errors import UserError
from mtlab.inference.encoding import Model
from mtlab.runs import checkpoints
from mtlab.runs.find import FoundRun
from mtlab.tasks.build import TaskModel, build
from mtlab.towers.build import build_tower, tower_shape
from mtlab.training.environment import device as find_device


def import_run_plugins(found: FoundRun, *, allowed: bool) -> None:
    """Import the plug-ins that a run was trained with.

    Raises:
        UserError: they are not allowed, or cannot be imported.

    """
    try:
        import_plugins(found.config["plugins"], Path(found.config["plugin_folder"]), allowed=allowed)
    except UserError as error:
        raise error.at(file=found.folder / "config.json") from None


def check_unchanged(found: FoundRun) -> None:
    """Refuse a run whose classes, towers or data are no longer those that it was trained with.

    Its weights would go into another model, or its answers get other names, and nobody would notice.

    Raises:
        UserError: says what has changed.

    """
    from mtlab.resolution.resolve import entry, options

    config, hashed = found.config["config"], found.config.get("identity") or {}
    for node in NODES:
        used = entry(node, config[node])
        trained = hashed.get("versions", {}).get(f"{node}:{used.name}", used.version)
        if trained != used.version:
            problem = (
                f"was trained with version {trained} of {used.kind} {used.name!r}, which is version {used.version}"
            )
            raise UserError(f"{problem} here", file=found.folder)
    for node, trained in hashed.get("digests", {}).items():
        if node in NODES and trained != entry(node, config[node]).cls.digest(options(node, config[node])):
            what = "its data" if node == "data" else f"the weights of its {node} tower"
            raise UserError(f"{what} have changed since, or are not here", file=found.folder, key=node)


def answer_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Name what a resolved configuration's head chooses from."""
    entry, options = lookup_options(DATASETS, config["data"], "data")
    return tuple(entry.cls(options).answers)


def build_model(
    config: Mapping[str, Any],
    answers: Sequence[str] | int,
    *,
    seed: int = 0,
    device: str = "cpu",
    towers: Iterable[str] = ("text", "vision"),
) -> Model:
    """Build a model of a resolved configuration, initialised from a seed, in evaluation mode.

    Args:
        config: the resolved configuration.
        answers: names of the head's classes, or their number alone.
        seed: of the initial values.
        device: as `build`.
        towers: those that the model is to hold; the others' levels must be given to it.

    Raises:
        UserError: weights cannot be had; the key says where.

    """
    where, wanted = find_device(device), set(towers)
    network = build(
        config,
        tower_shape("text", config["text"]),
        tower_shape("vision", config["vision"]),
        answers=answers if isinstance(answers, int) else len(answers),
        seed=seed,
        text_tower=build_tower("text", config["text"]) if "text" in wanted else None,
        vision_tower=build_tower("vision", config["vision"]) if "vision" in wanted else None,
    )
    return Model(network.to(where).eval(), config, () if isinstance(answers, int) else tuple(answers))


def restore(network: TaskModel, found: FoundRun) -> dict[str, Any]:
    """Put a run's checkpoint into a model of its configuration; return what the checkpoint says about itself.

    Raises:
        UserError: it is missing or damaged, or of another model: its code, answers or options have changed since.

    """
    try:
        tensors, about = checkpoints.load(found.checkpoint)
        if "model" in about or any(name.startswith("model/") for name in tensors):  # written for resuming
            tensors = checkpoints.under("model", tensors)
        checkpoints.restore(network, tensors)
    except FileNotFoundError:
        raise UserError(f"the checkpoint is missing: {checkpoints.ADVICE}", file=found.checkpoint) from None
    except checkpoints.CorruptError as error:
        raise UserError(f"{error}: {checkpoints.ADVICE}", file=found.checkpoint) from None
    return about


def load_imported(folder: Path, device: str) -> Model:
    """Load the folder of an imported checkpoint.

    Raises:
        UserError: a file is missing or damaged, or the weights are of another model than the folder describes.

    """
    from mtlab.resolution.resolve import fill_defaults
    from mtlab.runs.imported import read_folder

    found = read_folder(folder)
    model = build_model(fill_defaults(found.config), found.answers, device=device)
    own = model.network.state_dict()
    odd = sorted(set(own) ^ set(found.tensors))
    if odd or any(own[name].shape != tensor.shape for name, tensor in found.tensors.items()):
        raise UserError(f"does not fit the model that it describes ({', '.join(odd[:3])} …)", file=folder)
    model.network.load_state_dict(found.tensors)
    return model
