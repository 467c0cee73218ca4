"""The configuration of one cell: every key of it.

A cell's configuration is plain data with these sections. Five of them (`manager`, `text`, `vision`, `task`, `data`)
are *nodes*: `{name: …, options…}`, where the options are those of the registered class of that name. `model` has the
options of one of two dataclasses, which its name chooses. The others are the dataclasses of this module. The seed is no
part of it: seeds are replicates of one cell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mtlab.config.options import MAX_SIZE, option
from mtlab.errors import UserError, nearest

Precision = Literal["fp32", "bf16", "bf16_weights"]
Mode = Literal["max", "min"]  #: which way a metric is better

NODES = ("manager", "text", "vision", "task", "data")  #: `{name: …, options…}`: a registered class and its options
NAMED = (*NODES, "model")  #: sections whose name may be written alone, and whose options go with it
WHOLE = ("train.length",)  #: mappings that replace, never merge
TWO_TOWERS, MULTIMODAL = "two_towers", "mllm"  #: names of the section `model`; the first is the default
#: What has options that go with its name, keys of a study or sweep included → the keys that name it.
NAMED_BY: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys((*NAMED, "train.augment", "sampler", "pruner", "launcher"), ("name",)),
    "init_from": ("study", "checkpoint"),
}
UNNAMED: Mapping[str, str] = {"model": TWO_TOWERS, "sampler": "tpe"}  #: the names of those that need none


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The cross-modal encoder of two towers, as in METER, BridgeTower and ManagerTower."""

    width: int = option(64, "width D of the cross-modal layers", minimum=1, maximum=MAX_SIZE)
    heads: int = option(4, "attention heads; must divide the width", minimum=1)
    cross_layers: int = option(
        3, "cross-modal layers K per modality; 0 pools the towers' top levels: no manager", minimum=0, maximum=256
    )
    mlp_ratio: int = option(4, "inner width of the feed-forward sub-layer, in widths", minimum=1, maximum=1024)
    dropout: float = option(0.1, "dropout on attention and after each sub-layer", minimum=0.0, below=1.0, sizing=False)
    norm_eps: float = option(
        1e-5, "epsilon of the LayerNorms in the cross-modal layers (published: 1e-12)", above=0.0, sizing=False
    )
    standardise: bool = option(
        True, "give every channel of every offered level mean 0 and deviation 1 over training data (published: false)"
    )
    init_std: float | None = option(
        None,
        "deviation of initial weights (published: 0.02, at width 768); null: 1 / √inputs of each layer",
        above=0.0,
        sizing=False,
    )
    position_std: float = option(
        0.3,
        "deviation of initial position embeddings, of towers that have none of their own (content: 1)",
        minimum=0.0,
        sizing=False,
    )
    projections: Literal["shared", "per_level"] = option(
        "shared",
        "one linear map for all offered levels of a tower (published), or one for each, as levels of different widths "
        "always have",
    )
    layer_embeddings: bool = option(True, "add a learned embedding of its layer to each offered expert (ManagerTower)")

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise UserError(f"{self.heads} heads do not divide the width {self.width}", key="heads")


@dataclass(frozen=True, kw_only=True)
class InjectConfig:
    """Where managers stand in a language model."""

    layers: tuple[int, ...] = option(
        (0,), "decoder layers that a manager stands in front of, 0 at the bottom", minimum=0
    )
    levels: tuple[int, ...] | None = option(
        None, "levels that managers are offered, among those of vision.layers; null: all of them", minimum=1
    )


@dataclass(frozen=True, kw_only=True)
class MultimodalConfig:
    """With `name: mllm`: a causal language model, the text tower `causal_lm`, reads an image's tokens before a text."""

    inject: InjectConfig = option(InjectConfig, "where managers stand")
    projector_layers: Literal[1, 2] = option(
        2, "linear maps from a level to the language model's width, GELU between them (LLaVA: 1, LLaVA-1.5: 2)"
    )
    projections: Literal["shared", "per_level"] = option(
        "shared",
        "one linear map for all offered levels of a tower (published), or one for each, as levels of different widths "
        "always have",
    )
    projector_lr_scale: float = option(
        1.0, "learning-rate multiplier of the projector, on top of train.lr_cross", above=0.0, sizing=False
    )
    level_embeddings: bool = option(True, "add a learned vector to all tokens of a level (published)")
    answers: Literal["likelihood", "generate", "head"] = option(
        "likelihood",
        "score the data set's answers by the language model's likelihood of their words, generate an answer greedily "
        "(open answers, captions), or use the task's own head on the state of the last token",
    )
    answer_tokens: int = option(
        16, "answers generate: tokens of the longest answer or caption, its end included", minimum=2, maximum=MAX_SIZE
    )
    standardise: bool = option(
        True, "give every channel of every offered level mean 0 and deviation 1, as two towers do"
    )
    init_std: float = option(
        0.02, "deviation of initial weights of projector, managers and head", above=0.0, sizing=False
    )


#: What the section `model` may be, by its `name`, and the options of each.
MODELS: Mapping[str, type[Any]] = {TWO_TOWERS: ModelConfig, MULTIMODAL: MultimodalConfig}


def model_name(node: Mapping[str, Any]) -> str:
    """Return the kind of model of a section `model`; two towers have no name in a resolved configuration."""
    return str(node.get("name", TWO_TOWERS))


def is_multimodal(config: Mapping[str, Any]) -> bool:
    """Return whether the model of a run's configuration is a language model that reads images."""
    return model_name(config["model"]) == MULTIMODAL


def model_schema(node: Mapping[str, Any]) -> type[Any]:
    """Return the dataclass of the options of a section `model`.

    Raises:
        UserError: there is no such kind of model.

    """
    name = model_name(node)
    if name not in MODELS:
        raise UserError(f"unknown model {name!r}; {nearest(name, MODELS)}", key="model.name")
    return MODELS[name]


@dataclass(frozen=True, kw_only=True)
class LengthConfig:
    """How long to train: exactly one of these; `mtlab plan` turns each into steps."""

    steps: int | None = option(None, "optimiser steps", minimum=1)
    epochs: float | None = option(None, "passes over the training set", above=0.0)
    flops: float | None = option(None, "training FLOPs: the same compute for every variant", above=0.0)

    def __post_init__(self) -> None:
        given = [name for name in ("steps", "epochs", "flops") if getattr(self, name) is not None]
        if len(given) > 1:
            raise UserError(f"give one of steps, epochs, flops, not {' and '.join(given)}", key="length")


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The training loop."""

    length: LengthConfig = option(LengthConfig, "how long to train: steps, epochs or flops")
    batch: int = option(32, "examples in one optimiser step, over all devices", minimum=1)
    optimizer: Literal["adamw", "muon"] = option(
        "adamw",
        "muon: torch's Muon for the linear maps of the cross-modal encoder, AdamW for all else (docs/optimisation.md)",
    )
    lr: float = option(1e-3, "peak learning rate", above=0.0)
    warmup: float = option(0.1, "share of the steps in which the learning rate rises linearly", minimum=0.0, below=1.0)
    decay: Literal["linear", "cosine", "constant"] = option("linear", "how the learning rate falls to end_lr")
    end_lr: float = option(0.0, "learning rate at the end, as a share of the peak", minimum=0.0, maximum=1.0)
    power: float = option(1.0, "decay linear: power of the polynomial that it falls by", above=0.0)
    warmup_from_zero: bool = option(False, "start the warm-up at 0, as published: the first step changes nothing")
    grouping: Literal["default", "official"] = option(
        "default",
        "which parameters are decayed and share a learning rate; official: as in METER, BridgeTower and ManagerTower, "
        "accidents included, layer weights with the encoder (docs/optimisation.md)",
    )
    betas: tuple[float, float] = option((0.9, 0.98), "AdamW's moment decay rates", minimum=0.0, below=1.0)
    eps: float = option(1e-8, "AdamW's epsilon", above=0.0)
    weight_decay: float = option(0.01, "AdamW's weight decay", minimum=0.0)
    lr_head: float = option(1.0, "learning-rate multiplier of the task's head", above=0.0)
    lr_cross: float = option(1.0, "learning-rate multiplier of the whole cross-modal encoder", above=0.0)
    lr_layer_weights: float = option(10.0, "learning-rate multiplier of the managers' layer weights", above=0.0)
    clip: float | None = option(1.0, "largest gradient norm; null: no clipping", above=0.0)
    precision: Precision = option(
        "fp32",
        "bf16: forward passes under autocast; bf16_weights: linear maps are held in bfloat16, too, and the optimiser "
        "updates float32 copies of them (docs/performance.md)",
    )
    compile: bool = option(False, "compile the fusion with torch.compile")
    eval_every: int = option(200, "steps between validations", minimum=1)
    patience: int | None = option(None, "stop after so many validations without a better one; null: never", minimum=1)
    augment: Any = option(
        None,
        "transform of training images, a name or {name, options} (`mtlab list transforms`), if the vision tower runs "
        "in every step; null: images as in evaluation",
    )
    micro_batch: int | None = option(
        None, "examples in one forward pass (accumulates to batch); null: batch", minimum=1, identity=False
    )
    checkpoint_activations: bool = option(
        False,
        "compute the layers' activations anew in the backward pass rather than keep them: less memory, more time, the "
        "same results",
        identity=False,
    )
    shard: bool = option(
        False,
        "model mllm, in several processes: each holds its share of the layers of language model and trained vision "
        "tower, their gradients and moments (FSDP2)",
        identity=False,
    )
    checkpoint_every: int = option(200, "steps between checkpoints for resuming", minimum=1, identity=False)
    num_workers: int = option(
        0,
        "processes that read and decode what is streamed from shards; 0: the training process",
        minimum=0,
        identity=False,
    )
    threads: int = option(1, "CPU threads of one run; another number changes the last bits", minimum=1, identity=False)
    device: str = option("auto", "auto, cpu, cuda or cuda:N", identity=False)

    def __post_init__(self) -> None:
        if self.power != 1.0 and self.decay != "linear":
            raise UserError(f"a power belongs to `decay: linear`, not to {self.decay}", key="power")
        if self.optimizer == "muon" and self.grouping == "official":
            raise UserError(
                "the official grouping is AdamW's: `optimizer: muon` goes with `grouping: default`", key="grouping"
            )
        if self.shard and self.precision == "bf16_weights":
            raise UserError(
                "sharded layers hold float32 weights: `shard: true` goes with fp32 or bf16", key="precision"
            )


@dataclass(frozen=True, kw_only=True)
class CacheConfig:
    """The expert cache: the levels of frozen towers for each text and image, computed once and shared by all runs."""

    enabled: bool = option(True, "cache the layers of frozen towers; towers that are trained are never cached")
    dtype: Literal["float32", "float16", "bfloat16"] = option("float16", "type in which layers are stored")
    levels: Literal["offered", "all"] = option(
        "offered",
        "what is stored: the levels that the tower offers, or all of them, so that variants with other `layers` share "
        "them: more disk space, one extraction",
        identity=False,
    )


@dataclass(frozen=True, kw_only=True)
class MetricsConfig:
    """What chooses the checkpoint of a run."""

    choose: str = option("val/accuracy", "metric on validation data that chooses the best checkpoint")
    mode: Mode | None = option(
        None, "whether it is better large or small; null: as its task says, which a value must not contradict"
    )


@dataclass(frozen=True, kw_only=True)
class RecordConfig:
    """What a run writes beside its metrics, which cannot change a result."""

    layers: bool = option(
        True,
        "at the end, record aggregation weights, contributions, likeness of layers and attention on validation data",
    )
    trace: bool = option(True, "the same on a few validation examples at a few steps of training, and gradient norms")
    tokens: bool = option(True, "at the end, record weights and contributions per word and patch of a few examples")
    interventions: bool | None = option(
        None,
        "at the end, measure validation without each expert, and with weights made uniform or alike for all tokens; "
        "null: if both towers are cached, no words are hidden, and it takes at most 20,000 forward passes of an "
        "example; not in trials of a sweep",
    )
    examples: bool = option(True, "write the outcome of every validation and test example")


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """One cell. Nodes are plain mappings here: their registered class checks them."""

    manager: dict[str, Any] = option(lambda: {"name": "adaptive"}, "what aggregates the experts' layers")
    text: dict[str, Any] = option(lambda: {"name": "minilm"}, "the text tower and the layers that it offers")
    vision: dict[str, Any] = option(lambda: {"name": "efficientnet_lite0"}, "the vision tower and its offered layers")
    model: dict[str, Any] = option(dict, "the cross-modal encoder (two_towers), or a language model (mllm)")
    task: dict[str, Any] = option(lambda: {"name": "question_answering"}, "head, loss and metric")
    data: dict[str, Any] = option(lambda: {"name": "shapes"}, "the data set")
    train: TrainConfig = option(TrainConfig, "the training loop")
    cache: CacheConfig = option(CacheConfig, "the expert cache")
    metrics: MetricsConfig = option(MetricsConfig, "what chooses the best checkpoint")
    record: RecordConfig = option(RecordConfig, "what is recorded beside the metrics", identity=False)
    init_from: Any = option(None, "null, a checkpoint (a file, or a folder of `mtlab import`), or the parent run")
