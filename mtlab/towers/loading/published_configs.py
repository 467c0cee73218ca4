"""Configurations of published text encoders and language models, available without a network or a file.

With them a plan or a budget can describe `roberta-base` on a machine that does not have it. Training needs the model's
tokeniser and weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from mtlab.errors import UserError
from mtlab.towers.base import TowerInfo

_BASE = {"num_hidden_layers": 12, "hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072}
_LARGE = {"num_hidden_layers": 24, "hidden_size": 1024, "num_attention_heads": 16, "intermediate_size": 4096}
_ROBERTA = {
    "model_type": "roberta",
    "vocab_size": 50265,
    "max_position_embeddings": 514,
    "type_vocab_size": 1,
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
}
_BERT = {
    "model_type": "bert",
    "vocab_size": 30522,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}

#: hub name → the options of its configuration in transformers
ENCODERS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "roberta-base": _ROBERTA | _BASE,
        "roberta-large": _ROBERTA | _LARGE,
        "bert-base-uncased": _BERT | _BASE,
        "bert-large-uncased": _BERT | _LARGE,
    }
)
#: hub name → likewise
LANGUAGE_MODELS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "Qwen/Qwen2-0.5B-Instruct": {
            "model_type": "qwen2",
            "vocab_size": 151936,
            "hidden_size": 896,
            "intermediate_size": 4864,
            "num_hidden_layers": 24,
            "num_attention_heads": 14,
            "num_key_value_heads": 2,
            "max_position_embeddings": 32768,
            "rms_norm_eps": 1e-6,
            "rope_theta": 1e6,
            "tie_word_embeddings": True,
        }
    }
)
_OWNERS = ("FacebookAI/", "google-bert/")  #: prefixes in the hub's newer names


def find_config(model: str) -> Mapping[str, Any] | None:
    """Return the configuration of a published text encoder by its hub name, or None."""
    for owner in _OWNERS:
        model = model.removeprefix(owner)
    return ENCODERS.get(model)


def make_config(config: Mapping[str, Any]) -> Any:
    """Make the transformers configuration of a published model."""
    from transformers import AutoConfig

    return AutoConfig.for_model(**config)


def describe(config: Mapping[str, Any], max_length: int) -> TowerInfo:
    """Describe a published encoder as a tower.

    Raises:
        UserError: `max_length` is more than it has positions for (RoBERTa spends its first rows on padding).

    """
    usable = config["max_position_embeddings"] - (2 if config["model_type"] == "roberta" else 0)
    if max_length > usable:
        raise UserError(f"{max_length} is more than the {usable} tokens that the model takes", key="max_length")
    depth = config["num_hidden_layers"]
    return TowerInfo(
        depth=depth,
        widths=(config["hidden_size"],) * depth,
        tokens=max_length,
        class_token=True,
        positions=True,
        vocabulary=config["vocab_size"],
        mask_token=True,
        word_pieces=config["model_type"] == "bert",
    )
