"""Read folders of Hugging Face's BridgeTower, and write their configuration."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from mtlab import files
from mtlab.errors import UserError, one_line
from mtlab.interop import lightning
from mtlab.interop.architecture import CLIP_HEAD, Hyperparameters
from mtlab.interop.export_source import ExportSource
from mtlab.interop.weight_names import CheckpointLayout
from mtlab.towers.images import ImagePreprocessing
from mtlab.towers.loading import hub, text_encoders

KIND = "bridgetower"
EPS = 1e-5  #: of the LayerNorms in bridges and vision tower, here and in the published code

#: Options of the text tower that RoBERTa has too.
TEXT_OPTIONS = (
    "vocab_size",
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "type_vocab_size",
    "layer_norm_eps",
    "hidden_act",
    "hidden_dropout_prob",
    "attention_probs_dropout_prob",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
)
#: Options that our model fixes: name, the value needed, and its meaning.
FIXED: tuple[tuple[str, Any, str], ...] = (
    ("share_cross_modal_transformer_layers", True, "one projection per modality, shared by all layers"),
    ("share_link_tower_layers", False, "a bridge of its own for each layer"),
    ("vision_config.share_layernorm", True, "one last LayerNorm, shared by all layers of the vision tower"),
    ("layer_norm_eps", EPS, "epsilon of the bridges' LayerNorms"),
    ("vision_config.layer_norm_eps", EPS, "epsilon of the vision tower's LayerNorms"),
    ("text_config.hidden_act", "gelu", "activation of text tower and cross-modal layers"),
    ("vision_config.num_channels", 3, "colours"),
)


@dataclass(frozen=True)
class PublishedCheckpoint:
    """A published checkpoint's weights and settings."""

    tensors: dict[str, Tensor]
    hyperparameters: Hyperparameters  #: settings that shapes do not determine
    config: Mapping[str, Any]  #: Hugging Face's configuration file; empty for the authors' checkpoints
    folder: Path | None  #: may hold a tokeniser


def read_folder(path: Path) -> PublishedCheckpoint:
    """Read a folder of Hugging Face's BridgeTower: `config.json`, and safetensors or PyTorch weights in any shards.

    Raises:
        UserError: it is no such folder, is of another model, has unsupported options, or is damaged.

    """
    if not (path / "config.json").is_file():
        raise UserError("is no model folder: it has no config.json (for a published .ckpt, give the file)", file=path)
    written = files.read_json(path / "config.json")
    kind = written.get("model_type") if isinstance(written, Mapping) else None
    if kind != KIND:
        found = f"a model of type {kind!r}" if kind else "no model type"
        raise UserError(f"expected Hugging Face's {KIND}, found {found}", file=path / "config.json")
    weights = weight_files(path)
    if not weights:
        raise UserError("holds no weights (*.safetensors or *.bin)", file=path)
    _check_shards(path, {file.name for file in weights})
    hyperparameters = _hyperparameters(written, path / "config.json")
    tensors: dict[str, Tensor] = {}
    for file in weights:
        tensors |= lightning.read_file(file).tensors
    words = tensors.get("bridgetower.text_model.embeddings.word_embeddings.weight")
    if written.get("tie_word_embeddings") and words is not None and "mlm_score.bias" in tensors:
        tensors.setdefault("mlm_score.decoder.weight", words)  # one tensor there, which is stored once
    return PublishedCheckpoint(tensors, hyperparameters, written, path)


def _check_shards(path: Path, found: set[str]) -> None:
    for index in path.glob("*.index.json"):
        listed = files.read_json(index)
        wanted = set(listed.get("weight_map", {}).values()) if isinstance(listed, Mapping) else set()
        same_kind = {name for name in wanted if Path(name).suffix in {Path(each).suffix for each in found}}
        if missing := sorted(same_kind - found):
            raise UserError(f"names {len(missing)} files of weights that are not there: {missing[0]}", file=index)


def weight_files(path: Path) -> list[Path]:
    """List the weight files: safetensors if there are any, else PyTorch's, without a trainer's."""
    return [file for file in hub.weight_files(path) if file.suffix != ".bin" or file.name.startswith("pytorch_model")]


def copy_tokeniser(source: Path | None, place: Path) -> bool:
    """Copy a tokeniser's files into the text tower's folder; return whether there are any."""
    if source is None or not text_encoders.has_tokeniser(source):
        return False
    for pattern in hub.TEXT_FILES:
        for file in source.glob(pattern):
            if file.name not in NO_TOKENISER and not file.name.endswith(".index.json"):
                shutil.copyfile(file, place / file.name)
    return True


NO_TOKENISER = ("config.json", "preprocessor_config.json", "generation_config.json", "README.txt")


def configuration(source: ExportSource, layout: CheckpointLayout) -> dict[str, Any]:
    """Return Hugging Face's configuration for a model of ours that has passed `export_layout`."""
    from transformers import BridgeTowerConfig

    cross, vision = source.config["model"], source.vision
    kind = "ForMaskedLM" if "mlm" in layout.heads else "ForImageAndTextRetrieval" if "itm" in layout.heads else "Model"
    config = BridgeTowerConfig(
        hidden_size=cross["width"],
        num_attention_heads=cross["heads"],
        num_hidden_layers=cross["cross_layers"],
        link_tower_type=layout.link,
        layer_norm_eps=EPS,
        text_config={option: getattr(source.text.config, option) for option in TEXT_OPTIONS},
        vision_config={
            "hidden_size": vision.embed_dim,
            "num_hidden_layers": len(vision.blocks),
            "patch_size": vision.patch_embed.patch_size[0],
            "image_size": vision.patch_embed.img_size[0],
            "layer_norm_eps": EPS,
        },
        architectures=[f"BridgeTower{kind}"],
    )
    plain: dict[str, Any] = json.loads(config.to_json_string(use_diff=False))
    return plain


def image_processor(preprocessing: ImagePreprocessing) -> dict[str, Any]:
    """Return the `preprocessor_config.json` with which `BridgeTowerProcessor` prepares images as our tower does.

    BridgeTower's own image processor keeps the aspect ratio and cuts off the ends; CLIP's can resize to a square, as
    the authors evaluate and as we do. The crop that the processor asks for is then the whole square.
    """
    square = {"height": preprocessing.size, "width": preprocessing.size}
    return {
        "processor_class": "BridgeTowerProcessor",
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": square,
        "resample": {"bilinear": 2, "bicubic": 3}[preprocessing.mode],  # as PIL numbers them
        "do_center_crop": True,
        "crop_size": square,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(preprocessing.mean),
        "image_std": list(preprocessing.std),
    }


def _hyperparameters(written: Mapping[str, Any], file: Path) -> Hyperparameters:
    from transformers import BridgeTowerConfig

    try:
        config = BridgeTowerConfig.from_dict(dict(written)).to_dict()
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise UserError(f"transformers cannot read it: {one_line(error, 120)}", file=file) from None
    for option, value, meaning in FIXED:
        found: Any = config
        for part in option.split("."):
            found = found[part]
        if found != value:
            raise UserError(f"our model needs {value!r}, found {found!r} ({meaning})", file=file, key=option)
    text = config["text_config"]
    width = config["vision_config"]["hidden_size"]
    return Hyperparameters(
        heads=text["num_attention_heads"],
        text_heads=text["num_attention_heads"],
        vision_heads=width // CLIP_HEAD or None,
        dropout=text["hidden_dropout_prob"],
        norm_eps=text["layer_norm_eps"],
        text={option: text[option] for option in TEXT_OPTIONS},
    )
