"""Checking the values of a cell's configuration together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mtlab.config.check import check_config
from mtlab.config.nodes import lookup_options, own_options
from mtlab.config.schema import MultimodalConfig, is_multimodal, model_schema
from mtlab.distributed.ranks import batch_sharing_problem
from mtlab.errors import UserError
from mtlab.resolution.dataset_facts import DatasetFacts
from mtlab.resolution.metrics import direction_problem, family_problem, is_metric, list_metrics, metric_directions
from mtlab.resolution.nodes import node_entry, node_options

if TYPE_CHECKING:
    from mtlab.managers.base import Place

SHOWN = 60  #: letters of a caption in a message


def check_together(config: Mapping[str, Any], dataset: DatasetFacts) -> None:
    """Check that the values of a whole configuration go together.

    Raises:
        UserError: they do not; `key` says which.

    """
    data, task = node_entry("data", config["data"]), node_entry("task", config["task"])
    _check_batch(config["train"], dataset)
    task.cls.check(task.name, data.name, dataset.offers, dataset.answer_names)
    _check_answers_are_known(config)
    _check_contrast(config)
    _check_model(config)
    _check_batch_statistics(config)
    _check_recomputation(config)
    _check_augment(config)
    _check_sides(config)
    _check_masked_words(config)
    _check_captions(config)
    _check_metric(config)


def _check_batch(train: Mapping[str, Any], dataset: DatasetFacts) -> None:
    examples = dataset.examples["train"]
    if train["batch"] > examples:
        raise UserError(f"{train['batch']} is more than the {examples} training examples", key="train.batch")
    if train["micro_batch"] is not None and train["batch"] % train["micro_batch"]:
        raise UserError(f"{train['micro_batch']} does not divide the batch {train['batch']}", key="train.micro_batch")


def _check_answers_are_known(config: Mapping[str, Any]) -> None:
    data = node_entry("data", config["data"])
    for split in sorted(data.cls.unlabelled_splits(node_options("data", config["data"]))):
        if split != "test":
            raise UserError(
                f"{data.name!r} has no right answers in {split}: nothing can be learnt or chosen", key="data"
            )


def _check_contrast(config: Mapping[str, Any]) -> None:
    """Refuse a contrast of one pair, and a micro-batch that would change what is learnt, being no part of the id."""
    train, task = config["train"], node_entry("task", config["task"])
    micro = train["micro_batch"] or train["batch"]
    pairs = contrasted_pairs(config)
    if pairs == 1:
        raise UserError(f"{task.name!r} contrasts the pairs of a batch: at least 2", key="train.batch")
    if pairs not in (None, micro):
        raise UserError(
            f"{task.name!r} contrasts {pairs} pairs with each other: a micro-batch must be as many; "
            f"set task.contrasted to {micro} if those of a micro-batch alone are meant",
            key="train.micro_batch" if train["micro_batch"] else "task.contrasted",
        )


def _check_model(config: Mapping[str, Any]) -> None:
    """Check that model and text tower go together, and what a language model cannot do."""
    from mtlab.tasks.build import check_task
    from mtlab.towers.build import tower_shape

    if config["train"]["shard"] and not (is_multimodal(config) and config["train"]["optimizer"] == "adamw"):
        raise UserError("goes with `model: mllm` and `optimizer: adamw`: set it to false", key="train.shard")
    task = node_entry("task", config["task"])
    check_task(task.name, task.cls, multimodal=is_multimodal(config))
    if not is_multimodal(config):
        if tower_shape("text", config["text"]).decoder_layers:
            raise UserError(
                f"{config['text']['name']!r} offers no levels to two towers: set model.name to mllm, or take "
                "`transformers` as text tower",
                key="text.name",
            )
        return
    given, ways = config["model"]["answers"], task.cls.answers_by
    if given not in ways:
        problem = f"{task.name!r} does not go with {given}: set it to {' or '.join(ways)}"
        raise UserError(problem, key="model.answers")
    if config["train"]["compile"]:
        raise UserError("`model: mllm` is not compiled: set it to false", key="train.compile")
    if config["train"]["grouping"] == "official":
        raise UserError("belongs to two towers: `model: mllm` goes with `grouping: default`", key="train.grouping")


def _check_recomputation(config: Mapping[str, Any]) -> None:
    """Refuse to compute activations again in a trained tower that cannot."""
    from mtlab.towers.build import KINDS, checkpointing_problem

    for kind in KINDS if config["train"]["checkpoint_activations"] else ():
        if problem := checkpointing_problem(kind, config[kind]):
            raise UserError(f"{problem}: set it to false, or freeze {kind}", key="train.checkpoint_activations")


def _check_batch_statistics(config: Mapping[str, Any]) -> None:
    """Refuse a micro-batch that would change what is learnt, as it is no part of a run's id."""
    from mtlab.towers.build import KINDS, norms_batches

    train = config["train"]
    if train["micro_batch"] in (None, train["batch"]):
        return
    found = [f"a trained {kind} tower with batch norm" for kind in KINDS if norms_batches(kind, config[kind])]
    levels_read(config)  # tells what is wrong with a manager that cannot be made
    if mixes_examples(config):
        found.append(f"manager {config['manager']['name']!r} with these options")
    if found:
        raise UserError(
            f"{found[0]} computes with all examples of a forward pass: what is learnt would depend on it; leave it out",
            key="train.micro_batch",
        )


def _check_augment(config: Mapping[str, Any]) -> None:
    from mtlab.towers.build import is_cached

    if config["train"]["augment"] is not None and is_cached("vision", config):
        raise UserError(
            "the vision tower's levels are cached, of images as they are: set vision.trainable to true, or "
            "cache.enabled to false",
            key="train.augment",
        )


def _check_sides(config: Mapping[str, Any]) -> None:
    from mtlab.data.transforms.base import TRANSFORMS

    if (augment := config["train"]["augment"]) is None:
        return
    mirrors = lookup_options(TRANSFORMS, augment, "train.augment")[0].cls.flip
    data = node_entry("data", config["data"])
    if mirrors and data.cls.tells_sides(node_options("data", config["data"])):
        raise UserError(
            f"mirrors one image in two, and {data.name} tells left from right: choose one that does not, "
            "such as albef_randaug_wohf",
            key="train.augment",
        )


def _check_masked_words(config: Mapping[str, Any]) -> None:
    from mtlab.towers.build import tower_shape

    task = node_entry("task", config["task"])
    needs = task.cls.batch_needs(node_options("task", config["task"]))
    if needs.mask_share is None:
        return
    tower = tower_shape("text", config["text"])
    if not tower.mask_token:
        raise UserError(
            f"{task.name!r} hides words, and text tower {config['text']['name']!r} has no mask token: take another, or "
            "leave out mlm",
            key="task.objectives",
        )
    if needs.whole_words and not tower.word_pieces:
        raise UserError(
            f"the tokeniser of text tower {config['text']['name']!r} does not mark which tokens continue a word, as "
            "BERT's does: set it to false or null, or take another tower",
            key="task.whole_words",
        )


def _check_captions(config: Mapping[str, Any]) -> None:
    """Refuse captions that are longer than what may be generated or empty, and an instruction that would be cut."""
    from mtlab.data.truncation import measure_captions
    from mtlab.towers.build import tower_digest, tower_shape

    task, data = node_entry("task", config["task"]), node_entry("data", config["data"])
    prompt = task.cls.batch_needs(node_options("task", config["task"])).caption_prompt
    if prompt is None:
        return
    options = node_options("data", config["data"])
    if tower_digest("text", config["text"]) is None or data.cls.digest(options) is None:
        return  # a plan of a published model or of data that are elsewhere reads no text
    if not tower_shape("text", config["text"]).decoder_layers:
        raise UserError(
            f"{task.name!r} needs a causal language model: set text to {{name: causal_lm, model: …}}", key="text.name"
        )
    lengths = measure_captions(config, data.cls(options), prompt)
    if lengths.prompt_is_cut:
        longest = config["text"]["max_length"]
        raise UserError(f"has more than {longest} tokens in text.prompt: raise text.max_length", key="task.prompt")
    if lengths.fewest == 1:
        raise UserError(f"caption {lengths.shortest!r} has no tokens: leave out examples with empty ones", key="data")
    most, caption = config["model"]["answer_tokens"], lengths.longest
    if lengths.most > most:
        shown = caption if len(caption) <= SHOWN else f"{caption[:SHOWN]} …"
        raise UserError(
            f"caption {shown!r} has {lengths.most} tokens, its end included: set it to as many, not {most}",
            key="model.answer_tokens",
        )


def _check_metric(config: Mapping[str, Any]) -> None:
    metric, known = config["metrics"]["choose"], metric_directions(config)
    if not is_metric(metric, known):
        raise UserError(
            f"task {config['task']['name']!r} has no metric {metric!r}; {list_metrics(known)}", key="metrics.choose"
        )
    if problem := family_problem(metric, config):
        raise UserError(problem, key="metrics.choose")
    if not metric.startswith("val/"):
        raise UserError(
            f"{metric!r} cannot choose a checkpoint: only validation data (val/…) may", key="metrics.choose"
        )
    if problem := direction_problem(metric, [known], config["metrics"]["mode"]):
        raise UserError(problem, key="metrics.mode")


def contrasted_pairs(config: Mapping[str, Any]) -> int | None:
    """Return how many examples of a batch one another's loss depends on, or None if each has a loss of its own."""
    task, batch = node_entry("task", config["task"]), config["train"]["batch"]
    pairs: int | None = task.cls.contrasts(node_options("task", config["task"]), batch)
    return pairs


def levels_read(config: Mapping[str, Any]) -> dict[str, list[list[int]]]:
    """Return which of its tower's levels each manager reads: modality → per layer with one, levels from 1.

    Each distinct manager is tried out once, on small tensors.

    Raises:
        UserError: the tower lacks a level, or the manager does not work where it is put.

    """
    found: dict[str, list[list[int]]] = json.loads(
        _pairing(json.dumps([config[key] for key in ("model", "manager", "text", "vision")]))
    )
    return found


def processes_problem(processes: int, config: Mapping[str, Any]) -> str | None:
    """Say why several processes cannot train a configuration together; None if they can."""
    if processes > 1 and mixes_examples(config):
        name = config["manager"]["name"]
        return f"manager {name!r} with these options computes with all examples of a batch: train in one process"
    return batch_sharing_problem(processes, config["train"]["batch"], contrasted_pairs(config))


def mixes_examples(config: Mapping[str, Any]) -> bool:
    """Return whether what a manager makes of an example depends on the others of its batch, in evaluation too."""
    return _mixes_examples(json.dumps([config[key] for key in ("model", "manager", "text", "vision")]))


@lru_cache(maxsize=256)
def _mixes_examples(text: str) -> bool:
    import torch

    from mtlab.managers.base import MANAGERS, build_manager

    node, manager, *towers = json.loads(text)
    entry, options = lookup_options(MANAGERS, manager, "manager")
    with torch.device("meta"):
        places = (place for stack in _stacks(node, manager, towers) for place in stack)
        built = [build_manager(entry.cls, options, place) for place in places]
    return not all(each.independent_examples for each in built)


@lru_cache(maxsize=4096)
def _pairing(text: str) -> str:
    from mtlab.contract.trial import try_manager
    from mtlab.model.encoder import levels_read
    from mtlab.model.mllm.places import injected_levels
    from mtlab.towers.build import tower_shape

    node, manager, *towers = json.loads(text)
    words, vision = tower_shape("text", towers[0]), tower_shape("vision", towers[1])
    model = check_config(model_schema(node), own_options(node))
    try_manager(manager, _stacks(node, manager, towers))
    read = injected_levels if isinstance(model, MultimodalConfig) else levels_read
    pairs = read(model, manager, words, vision)
    stacks: dict[str, list[list[int]]] = {"text": [], "image": []}
    for (modality, _), levels in sorted(pairs.items()):
        stacks[modality].append(levels)
    return json.dumps(stacks)


def _stacks(
    node: Mapping[str, Any], manager: Mapping[str, Any], towers: Sequence[Mapping[str, Any]]
) -> list[list[Place]]:
    """Return the places of the managers of each modality, lowest first."""
    from mtlab.model.encoder import places
    from mtlab.model.mllm.places import injection_places
    from mtlab.towers.build import tower_shape

    words, vision = tower_shape("text", towers[0]), tower_shape("vision", towers[1])
    model = check_config(model_schema(node), own_options(node))
    if isinstance(model, MultimodalConfig):
        return [list(injection_places(model, manager, words, vision).values())]
    text = list(places(model, manager, "text", words, vision))
    return [text, list(places(model, manager, "image", vision, words))]
