"""Read a bundle (weights, inputs and outputs of a published model) and build our model with its weights.

A folder with `state_dict.safetensors` (under the authors' names, or Hugging Face's), `io.safetensors` (inputs and
outputs by name, see docs/fidelity.md) and `config.json` (settings that weight shapes do not determine).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from mtlab import files
from mtlab.errors import UserError, one_line, place_errors
from mtlab.interop import architecture
from mtlab.interop.families import detect_layout
from mtlab.interop.huggingface import TEXT_OPTIONS
from mtlab.interop.weight_names import CheckpointLayout, list_names, to_ours, weight_mappings
from mtlab.tasks.build import TaskModel, construct
from mtlab.towers.base import Tower
from mtlab.towers.build import KINDS, build_tower, tower_shape
from mtlab.towers.loading.weights import read_tensors
from mtlab.training.init_from import enlarge

WEIGHTS, IO, CONFIG = "state_dict.safetensors", "io.safetensors", "config.json"
INPUTS = {
    "official": ("images", "text_ids", "text_masks"),
    "huggingface": ("pixel_values", "input_ids", "attention_mask"),
}
OUTPUTS = ("out/", "mid/", "loss/", "noise/", "mlm/logits", "itm/logits")  #: a bundle must hold some of these


@dataclass(frozen=True)
class Bundle:
    """Configuration, weights, inputs and outputs of a published model."""

    folder: Path
    config: Mapping[str, Any]
    weights: Mapping[str, Tensor]
    io: Mapping[str, Tensor]
    layout: CheckpointLayout

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """The weights' names and shapes."""
        return {name: tuple(tensor.shape) for name, tensor in self.weights.items()}

    @property
    def images(self) -> Tensor:
        """The images, [B, 3, S, S]."""
        return self.io[f"in/{INPUTS[self.layout.dialect][0]}"]

    @property
    def ids(self) -> Tensor:
        """The token ids, [B, L]."""
        return self.io[f"in/{INPUTS[self.layout.dialect][1]}"]

    @property
    def mask(self) -> Tensor:
        """True at real tokens, [B, L]."""
        return self.io[f"in/{INPUTS[self.layout.dialect][2]}"].bool()


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle.

    Raises:
        UserError: the folder is none, a file is missing or damaged, the weights are of no model known here, or it
            holds no inputs or no outputs.

    """
    if not folder.is_dir():
        raise UserError("no such bundle: expected a folder", file=folder)
    missing = [name for name in (WEIGHTS, IO, CONFIG) if not (folder / name).is_file()]
    if missing:
        raise UserError(f"is no bundle: it has no {list_names(missing)}", file=folder)
    config = files.read_json(folder / CONFIG)
    if not isinstance(config, dict):
        raise UserError("expected a mapping", file=folder / CONFIG)
    weights, io = read_tensors(folder / WEIGHTS), read_tensors(folder / IO)
    with place_errors(file=folder / WEIGHTS):
        layout = detect_layout({name: tuple(tensor.shape) for name, tensor in weights.items()})
    lacking = [f"in/{name}" for name in INPUTS[layout.dialect] if f"in/{name}" not in io]
    if lacking:
        raise UserError(f"lacks the inputs {list_names(lacking)}", file=folder / IO)
    ids = io[f"in/{INPUTS[layout.dialect][1]}"]
    if ids.ndim != 2:
        problem = f"in/{INPUTS[layout.dialect][1]} has shape {tuple(ids.shape)}, expected [B, L]"
        raise UserError(problem, file=folder / IO)
    if not any(name.startswith(OUTPUTS) for name in io):
        raise UserError("holds no outputs (out/…, mid/…, loss/…): there is nothing to compare with", file=folder / IO)
    return Bundle(folder, config, weights, io, layout)


def hyperparameters(bundle: Bundle) -> architecture.Hyperparameters:
    """Read from the bundle's configuration what weight shapes do not determine.

    Raises:
        UserError: a setting is missing or invalid; the message or the key names it.

    """
    config, text = bundle.config, dict[str, Any]()
    try:
        if bundle.layout.dialect == "official":
            official, text = config["official_config"], dict(config["text"])
            heads, dropout = official["num_heads"], official.get("drop_rate", 0.1)
            eps, vision_heads = config.get("cross_layer_norm_eps", 1e-12), (config.get("vision") or {}).get("heads")
        else:  # their cross-modal layers take heads and eps from the text tower
            text = dict(config["config"]["text_config"])
            heads, dropout, vision_heads = text["num_attention_heads"], text["hidden_dropout_prob"], None
            eps = text["layer_norm_eps"]
        text_heads = text["num_attention_heads"]
    except KeyError as error:
        raise UserError(f"lacks {error}, which weight shapes do not determine", file=bundle.folder / CONFIG) from None
    except (TypeError, ValueError, AttributeError):
        raise UserError("expected mappings as described in docs/fidelity.md", file=bundle.folder / CONFIG) from None
    for what, count in (("num_heads", heads), ("num_attention_heads", text_heads), ("vision.heads", vision_heads)):
        if (count is not None or what != "vision.heads") and (type(count) is not int or count < 1):
            raise UserError(f"expected a number of heads, found {count!r}", file=bundle.folder / CONFIG, key=what)
    invalid = [key for key in TEXT_OPTIONS if key in text and isinstance(text[key], str) != (key == "hidden_act")]
    if invalid:
        raise UserError(f"the text tower's {invalid[0]} cannot be {text[invalid[0]]!r}", file=bundle.folder / CONFIG)
    return architecture.Hyperparameters(
        heads=heads,
        text_heads=text_heads,
        vision_heads=vision_heads,
        dropout=dropout,
        max_length=bundle.ids.shape[1],
        norm_eps=eps,
        text={key: text[key] for key in TEXT_OPTIONS if key in text},
    )


@contextmanager
def rebuild(bundle: Bundle) -> Iterator[RebuiltModel]:
    """Describe the bundle's model by a configuration of ours; the text tower's is in a temporary folder meanwhile.

    Raises:
        UserError: sizes contradict each other, or `config.json`.

    """
    shapes = bundle.shapes
    with place_errors(file=bundle.folder):
        sizes, settings = architecture.infer_sizes(bundle.layout, shapes), hyperparameters(bundle)
        try:
            sections = architecture.infer_config(bundle.layout, shapes, sizes, settings)
        except UserError as error:  # its words are those of `mtlab import`
            raise UserError(error.problem.replace("--vision-heads", f"vision.heads in {CONFIG}")) from None
        encoder = architecture.text_config(bundle.layout, sizes, settings)
    with TemporaryDirectory(prefix="mtlab-bundle-") as folder:
        (Path(folder) / CONFIG).write_text(json.dumps(encoder), encoding="utf-8")
        sections["text"] |= {"model": folder}
        sections["vision"] |= {"weights": "random"}
        try:
            text, vision = (build_tower(kind, sections[kind], weights=False) for kind in KINDS)
        except UserError as error:
            raise UserError(f"{error.key or 'towers'}: {error.problem}", file=bundle.folder / CONFIG) from None
        except (TypeError, AssertionError) as error:  # transformers and torch check a configuration
            problem = f"is no configuration of a text tower: {one_line(error, 160)}"
            raise UserError(problem, file=bundle.folder / CONFIG) from None
        yield RebuiltModel(bundle, sections, sizes, text, vision)


@dataclass(frozen=True)
class RebuiltModel:
    """The bundle's model as a configuration of ours, and its towers."""

    bundle: Bundle
    sections: Mapping[str, Any]  #: text, vision, model, manager
    sizes: architecture.CheckpointSizes
    text_tower: Tower[Any]  #: shared by all models that are built
    vision_tower: Tower[Any]

    def model(self, task: str, *, heads: bool = True) -> TaskModel:
        """Build our model for a task, with the bundle's weights, in evaluation mode.

        Args:
            task: its registered name.
            heads: load the task's heads too; else they keep their random values.

        Raises:
            UserError: weights are missing, unknown, or of another shape; the message names them.

        """
        layout = self.bundle.layout
        node, answers = architecture.infer_task(layout, self.bundle.shapes, self.sizes, task)
        text, vision = tower_shape("text", self.sections["text"]), tower_shape("vision", self.sections["vision"])
        model = construct(
            {**self.sections, "task": node},
            text,
            vision,
            answers=answers,
            text_tower=self.text_tower,
            vision_tower=self.vision_tower,
        )
        with place_errors(file=self.bundle.folder / WEIGHTS):
            entries = weight_mappings(layout, task)
            tensors, _ = to_ours(self.bundle.weights, entries)
            called = {name: " + ".join(entry.theirs) for entry in entries for name in entry.ours}
            load_parameters(model, tensors, called, heads=heads)
        return model.eval()


@torch.no_grad()
def load_parameters(model: TaskModel, tensors: Mapping[str, Tensor], called: Mapping[str, str], *, heads: bool) -> None:
    """Set every parameter of a model, except those of its heads where `heads` is false.

    Args:
        model: changed in place.
        tensors: our names → values.
        called: our names → the bundle's names, for messages.
        heads: set the task's heads too.

    Raises:
        UserError: a parameter has none, a value has no parameter, or shapes differ.

    """
    own = {name: weight for name, weight in model.named_parameters() if heads or not name.startswith("task.")}
    tensors = {name: tensor for name, tensor in tensors.items() if heads or not name.startswith("task.")}
    fitted = {name: enlarge(name, tensor, own[name]) if name in own else tensor for name, tensor in tensors.items()}
    lacking, unknown = sorted(set(own) - set(fitted)), sorted(set(fitted) - set(own))
    if lacking or unknown:
        problems = [f"no value for {list_names(lacking)}"] if lacking else []
        problems += [f"no place for {list_names([called.get(name, name) for name in unknown])}"] if unknown else []
        raise UserError(f"does not fit the model: {' and '.join(problems)}")
    for name, parameter in own.items():
        if fitted[name].shape != parameter.shape:
            shapes = f"{tuple(fitted[name].shape)}, expected {tuple(parameter.shape)}"
            raise UserError(f"does not fit the model: {called.get(name, name)} has shape {shapes}")
        parameter.copy_(fitted[name])
