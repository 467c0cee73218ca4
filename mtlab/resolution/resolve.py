"""From what is written for a cell to everything that it is: defaults filled in, each value checked, alone and together.

Each distinct node is checked once, however many cells share it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from mtlab.config.check import check_and_fill, check_config, hints
from mtlab.config.hashing import Identity, identify
from mtlab.config.load import NODES
from mtlab.config.nodes import lookup_entry, lookup_options, own_options
from mtlab.config.registry import Entry, Registry
from mtlab.config.schema import ModelConfig, RunConfig
from mtlab.errors import UserError, nearest
from mtlab.version import ENGINE_VERSION

DEFAULT_STEPS = 2000  #: where no length is given
PRIMARY = "primary"  #: stands for the first metric of whatever task a cell has


@dataclass(frozen=True)
class DatasetFacts:
    """What a plan must know of a data set."""

    examples: Mapping[str, int]  #: split → number of examples
    names: tuple[str, ...]  #: of the answers

    @property
    def answers(self) -> int:
        """How many answers it has."""
        return len(self.names)


def registry(node: str) -> Registry[Any]:
    """Return the registry in which a node's `name` is looked up (imports torch)."""
    from mtlab.data.base import DATASETS
    from mtlab.managers.base import MANAGERS
    from mtlab.tasks.base import TASKS
    from mtlab.towers.base import TEXT_TOWERS, VISION_TOWERS

    registries: dict[str, Registry[Any]] = {
        "manager": MANAGERS,
        "text": TEXT_TOWERS,
        "vision": VISION_TOWERS,
        "task": TASKS,
        "data": DATASETS,
    }
    return registries[node]


def registries() -> list[Registry[Any]]:
    """Return every registry that a configuration names entries of (imports torch)."""
    return [registry(node) for node in NODES]


def entry(node: str, config: Mapping[str, Any]) -> Entry[Any]:
    """Return the registered class that a resolved node names."""
    return lookup_entry(registry(node), config, node)


def options(node: str, config: Mapping[str, Any]) -> Any:
    """Return a resolved node's options as the dataclass that its class declares."""
    return lookup_options(registry(node), config, node)[1]


def resolve(written: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in and check a cell's configuration, each value alone and all together.

    `train.length` may still be in epochs or FLOPs: a plan turns it into steps when it knows the cost.

    Raises:
        UserError: unknown key or name, wrong type, value out of range, or values that do not go together.

    """
    config = _with_own_metric(fill_defaults(written))
    _check_together(config)
    return config


def fill_defaults(written: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the defaults and check each value alone; see `resolve`."""
    fields = {field.name: field for field in dataclasses.fields(RunConfig)}
    for key in written:
        if key not in fields:
            raise UserError(f"unknown key; {nearest(key, fields)}", key=key)
    config: dict[str, Any] = {}
    for key in fields:
        given = written.get(key)
        if key in NODES:
            config[key] = _node(key, given if given is not None else getattr(RunConfig(), key))
        elif key == "init_from":
            config[key] = given
        else:
            config[key] = _section(key, given if given is not None else {})
    config["train"] = config["train"] | {"augment": _augment(config["train"]["augment"])}
    if not any(value is not None for value in config["train"]["length"].values()):
        config["train"] = config["train"] | {"length": config["train"]["length"] | {"steps": DEFAULT_STEPS}}
    return config


def known_paths() -> set[str]:
    """Return every dotted path that some cell can have: sections, nodes, and the options of all registered classes."""
    paths: set[str] = set()
    for field in dataclasses.fields(RunConfig):
        paths.add(field.name)
        if field.name in NODES:
            paths.add(f"{field.name}.name")
            for found in registry(field.name):
                paths |= {f"{field.name}.{option}" for option in _paths_of(found.config)}
        else:
            hint = hints(RunConfig)[field.name]
            if dataclasses.is_dataclass(hint):
                paths |= {f"{field.name}.{option}" for option in _paths_of(hint)}
    return paths


def _paths_of(schema: Any) -> set[str]:
    paths: set[str] = set()
    types = hints(schema)
    for field in dataclasses.fields(schema):
        paths.add(field.name)
        if dataclasses.is_dataclass(types[field.name]):
            paths |= {f"{field.name}.{inner}" for inner in _paths_of(types[field.name])}
    return paths


def sizes(data: Mapping[str, Any]) -> DatasetFacts:
    """Ask a resolved data node for its size; remembered."""
    return _sizes(json.dumps(data, sort_keys=True))


def remarks(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Ask a resolved data node what a user should know of it before training on it."""
    return tuple(entry("data", data).cls.remarks(options("data", data)))


def identity(config: Mapping[str, Any]) -> Identity:
    """Compute the id of a resolved cell whose length is in steps."""
    entries = {node: entry(node, config[node]) for node in NODES}
    versions = {f"{node}:{found.name}": found.version for node, found in entries.items()} | _augment_version(config)
    digests = {node: _digest(node, json.dumps(config[node], sort_keys=True)) for node in ("text", "vision", "data")}
    start = config["init_from"]
    if isinstance(start, Mapping) and "checkpoint" in start:
        digests["init_from"] = start["digest"]
        config = {**config, "init_from": {"checkpoint": start["digest"]}}  # content, not its path
    return identify(
        config,
        RunConfig,
        {node: found.config for node, found in entries.items()},
        versions,
        ENGINE_VERSION,
        digests,
        {node: entries[node].cls.location_options for node in ("text", "vision", "data")},
    )


def _augment_version(config: Mapping[str, Any]) -> dict[str, int]:
    node = config["train"].get("augment")
    if node is None:
        return {}
    from mtlab.data.transforms.base import TRANSFORMS

    return {f"transform:{node['name']}": lookup_entry(TRANSFORMS, node, "train.augment").version}


def plugin_code(config: Mapping[str, Any]) -> dict[str, str]:
    """Digest the source of the plug-ins' classes that a resolved cell uses: "manager:NAME" → digest.

    No part of a cell's id, which goes by the class's version: stored with each run, so that `mtlab plan` can tell that
    it has changed.
    """
    used = {node: entry(node, config[node]) for node in NODES}
    return {f"{node}:{found.name}": found.source for node, found in used.items() if found.source is not None}


def _section(key: str, given: Any) -> dict[str, Any]:
    try:
        return check_and_fill(hints(RunConfig)[key], _mapping(given))
    except UserError as error:
        raise error.at(key=key) from None


def _node(key: str, given: Any) -> dict[str, Any]:
    given = {"name": given} if isinstance(given, str) else _mapping(given, key)
    found = lookup_entry(registry(key), given, key)
    try:
        return {"name": found.name} | check_and_fill(found.config, own_options(given))
    except UserError as error:
        unknown = error.key is not None and error.problem.startswith("unknown key")
        if unknown:
            raise UserError(
                f"{found.kind} {found.name!r} has no such option; {_tail(error)}", key=f"{key}.{error.key}"
            ) from None
        raise error.at(key=key) from None


def _tail(error: UserError) -> str:
    return error.problem.partition("; ")[2]


def _mapping(given: Any, key: str | None = None) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise UserError(f"expected a mapping, found {given!r}", key=key)
    return given


def _check_together(config: Mapping[str, Any]) -> None:
    train = config["train"]
    size = sizes(config["data"])
    if train["batch"] > size.examples["train"]:
        raise UserError(
            f"{train['batch']} is more than the {size.examples['train']} training examples", key="train.batch"
        )
    if train["micro_batch"] is not None and train["batch"] % train["micro_batch"]:
        raise UserError(f"{train['micro_batch']} does not divide the batch {train['batch']}", key="train.micro_batch")
    data, task = entry("data", config["data"]), entry("task", config["task"])
    task.cls.check(task.name, data.name, offers(config), size.names)
    _check_truth(config)
    _check_contrast(config)
    _check_augment(config)
    _check_hidden_words(config)
    metric = config["metrics"]["choose"]
    known = metrics(config)
    if not is_metric(metric, known):
        raise UserError(
            f"task {config['task']['name']!r} has no metric {metric!r}; {nearest(metric, known)}", key="metrics.choose"
        )
    if not metric.startswith("val/"):
        raise UserError(
            f"{metric!r} cannot choose a checkpoint: only validation data (val/…) may", key="metrics.choose"
        )
    pairing(config)


def _augment(given: Any) -> dict[str, Any] | None:
    """Fill in and check the transform of training images; its size is the tower's."""
    if given is None:
        return None
    from mtlab.data.transforms.base import TRANSFORMS

    key = "train.augment"
    node = {"name": given} if isinstance(given, str) else _mapping(given, key)
    found = lookup_entry(TRANSFORMS, node, key)
    if "size" in node:
        raise UserError("is the vision tower's: leave it out", key=f"{key}.size")
    try:
        options = check_and_fill(found.config, own_options(node))
    except UserError as error:
        raise error.at(key=key) from None
    if not found.cls.square:
        raise UserError(f"{found.name!r} gives images of different shapes, which do not fit into a batch", key=key)
    return {"name": found.name} | {option: value for option, value in options.items() if option != "size"}


def _check_augment(config: Mapping[str, Any]) -> None:
    from mtlab.towers.build import is_cached

    if config["train"]["augment"] is not None and is_cached("vision", config):
        raise UserError(
            "the vision tower's levels are cached, of images as they are: set vision.trainable to true, or "
            "cache.enabled to false",
            key="train.augment",
        )


def _with_own_metric(config: Mapping[str, Any]) -> dict[str, Any]:
    """Write the primary metric of the cell's task in place of `val/primary`: a study may be over several tasks."""
    metric = config["metrics"]["choose"]
    for split in ("val", "test"):
        if f"{metric}/".startswith(f"{split}/{PRIMARY}/"):
            metric = metric.replace(PRIMARY, next(iter(_own_metrics(config))), 1)
    return {**config, "metrics": config["metrics"] | {"choose": metric}}


def _check_truth(config: Mapping[str, Any]) -> None:
    """Refuse data without right answers where they are learnt or chosen by."""
    data = entry("data", config["data"])
    for split in sorted(data.cls.hidden(options("data", config["data"]))):
        if split != "test":
            raise UserError(
                f"{data.name!r} has no right answers in {split}: nothing can be learnt or chosen", key="data"
            )


def contrasted(config: Mapping[str, Any]) -> int | None:
    """Count the examples of a batch that one another's loss depends on; None: each has a loss of its own."""
    found: int | None = entry("task", config["task"]).cls.contrasts(
        options("task", config["task"]), config["train"]["batch"]
    )
    return found


def _check_contrast(config: Mapping[str, Any]) -> None:
    """Refuse a micro-batch that would change what is learnt: it is no part of a run's id."""
    train, task = config["train"], entry("task", config["task"])
    micro = train["micro_batch"] or train["batch"]
    pairs = contrasted(config)
    if pairs not in (None, micro):
        raise UserError(
            f"{task.name!r} contrasts {pairs} pairs with each other: a micro-batch must be as many; "
            f"set task.contrasted to {micro} if those of a micro-batch alone are meant",
            key="train.micro_batch" if train["micro_batch"] else "task.contrasted",
        )


def _check_hidden_words(config: Mapping[str, Any]) -> None:
    from mtlab.towers.build import tower_shape

    task = entry("task", config["task"])
    hides = task.cls.wants(options("task", config["task"])).mask_share is not None
    if hides and not tower_shape("text", config["text"]).mask_token:
        raise UserError(
            f"{task.name!r} hides words, and text tower {config['text']['name']!r} has no mask token: take another, or "
            "leave out mlm",
            key="task.objectives",
        )


def metrics(config: Mapping[str, Any]) -> list[str]:
    """List the metrics of a resolved cell; those of val/… and test/… also come per family: val/accuracy/FAMILY."""
    names = [*_own_metrics(config), PRIMARY, "loss"]
    costs = ["cost/params", "cost/flops", "cost/seconds", "cost/memory"]
    return [f"{split}/{name}" for split in ("val", "test") for name in names] + ["train/loss", *costs]


def _own_metrics(config: Mapping[str, Any]) -> Mapping[str, str]:
    task = entry("task", config["task"])
    found: Mapping[str, str] = task.cls.metric_directions(options("task", config["task"]), offers(config))
    return found


def offers(config: Mapping[str, Any]) -> frozenset[str]:
    """Ask a resolved cell's data set what tasks may need it for."""
    try:
        found: frozenset[str] = entry("data", config["data"]).cls.offers(options("data", config["data"]))
    except UserError as error:
        raise error.at(key="data") from None
    return found


def is_metric(metric: str, known: list[str]) -> bool:
    """Tell whether `metric` is known, itself or as one family of a known one."""
    return metric in known or (metric.count("/") == 2 and metric.rpartition("/")[0] in known)


def pairing(config: Mapping[str, Any]) -> dict[str, list[list[int]]]:
    """Tell which of its tower's levels each manager reads: modality → per cross-modal layer, levels from 1.

    Raises:
        UserError: the tower lacks a level, or the manager cannot stand where it is put.

    """
    found: dict[str, list[list[int]]] = json.loads(_pairing(json.dumps([config[key] for key in _PAIRED])))
    return found


_PAIRED = ("model", "manager", "text", "vision")


@lru_cache(maxsize=4096)
def _pairing(text: str) -> str:
    from mtlab.contract.trial import try_out
    from mtlab.model.encoder import pairing as pair
    from mtlab.towers.build import tower_shape

    model, manager, words, vision = json.loads(text)
    shapes = tower_shape("text", words), tower_shape("vision", vision)
    try_out(check_config(ModelConfig, model), manager, *shapes)
    pairs = pair(check_config(ModelConfig, model), manager, *shapes)
    stacks: dict[str, list[list[int]]] = {"text": [], "image": []}
    for (modality, _), levels in sorted(pairs.items()):
        stacks[modality].append(levels)
    return json.dumps(stacks)


@lru_cache(maxsize=256)
def _sizes(text: str) -> DatasetFacts:
    data = json.loads(text)
    try:
        found, given = entry("data", data), options("data", data)
        return DatasetFacts(dict(found.cls.sizes(given)), tuple(found.cls(given).answers))
    except UserError as error:
        raise error.at(key="data") from None


def forget_digests() -> None:
    """Ask for the content of weights and data anew: weights that were missing may have been downloaded."""
    _digest.cache_clear()


@lru_cache(maxsize=256)
def _digest(node: str, text: str) -> str | None:
    config = json.loads(text)
    try:
        found: str | None = entry(node, config).cls.digest(options(node, config))
    except UserError as error:
        raise error.at(key=node) from None
    return found
