"""Tiny random LLaVA models of transformers, and batches for them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2Config,
    SiglipVisionConfig,
)

IMAGE, PAD, VOCABULARY = 60, 0, 64
PATCHES = 4  # of an image of 8 pixels


def tiny_llava(layers: int = 5, seed: int = 0, **config: Any) -> LlavaForConditionalGeneration:
    """A SigLIP tower of 4 blocks, a projector, and a Qwen2 of some layers; an image has 4 tokens."""
    vision = SiglipVisionConfig(
        hidden_size=12,
        intermediate_size=18,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=8,
        patch_size=4,
        vision_use_head=False,
    )
    text = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=layers,
        num_attention_heads=2,
        num_key_value_heads=1,
        pad_token_id=PAD,
        bos_token_id=1,
        eos_token_id=2,
        initializer_range=0.3,
    )
    options = {"vision_feature_select_strategy": "full", "vision_feature_layer": -1} | config
    torch.manual_seed(seed)
    return LlavaForConditionalGeneration(
        LlavaConfig(vision_config=vision, text_config=text, image_token_index=IMAGE, **options)
    ).eval()


def tiny_batch(*rows: list[int], left: bool = False, seed: int = 0) -> dict[str, Tensor]:
    """Rows of ids, in which each -1 stands for an image; padded on the right, or left."""
    spread = [[token for each in row for token in ([IMAGE] * PATCHES if each == -1 else [each])] for row in rows]
    length = max(map(len, spread))
    ids = torch.full((len(rows), length), PAD)
    mask = torch.zeros_like(ids)
    for number, row in enumerate(spread):
        place = slice(length - len(row), None) if left else slice(len(row))
        ids[number, place] = torch.tensor(row)
        mask[number, place] = 1
    images = sum(row.count(-1) for row in rows)
    pixels = torch.randn(images, 3, 8, 8, generator=torch.Generator().manual_seed(seed))
    return {"input_ids": ids, "attention_mask": mask} | ({"pixel_values": pixels} if images else {})


def tiny_language_model(
    folder: Path, words: Sequence[str], template: str = "", kind: Any = LlamaForCausalLM, **config: Any
) -> Path:
    """A random language model of five layers with its tokenizer, as transformers saves them: each word is a token."""
    known = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token=words[-1]))
    known.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=known, pad_token=words[0], eos_token=words[1], unk_token=words[-1]
    )
    tokenizer.chat_template = template or None
    tokenizer.save_pretrained(folder)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 5, "num_attention_heads": 2}
    made = (kind.config_class or LlamaConfig)(vocab_size=len(words), **sizes | config, initializer_range=0.3)
    torch.manual_seed(3)
    kind(made).save_pretrained(folder)
    return folder
