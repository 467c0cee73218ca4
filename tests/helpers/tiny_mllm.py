"""Tiny random LLaVA models of transformers, and batches for them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import (
    Idefics3Config,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2Config,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    SiglipVisionConfig,
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
)

IMAGE, VIDEO, PAD, VOCABULARY = 60, 61, 0, 64
PATCHES = 4  # of an image of 8 pixels
TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 5,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "pad_token_id": PAD,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


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


def tiny_batch(*rows: list[int], left: bool = False) -> dict[str, Tensor]:
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
    pixels = torch.randn(images, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return {"input_ids": ids, "attention_mask": mask} | ({"pixel_values": pixels} if images else {})


def tiny_pixel_shuffle(kind: type = SmolVLMForConditionalGeneration) -> Any:
    """A SmolVLM or Idefics3: a tower of 4 blocks, 2 × 2 patches to a token, a Llama of 5 layers; 4 tokens an image."""
    config = SmolVLMConfig if kind is SmolVLMForConditionalGeneration else Idefics3Config
    vision = {"hidden_size": 12, "intermediate_size": 18, "num_hidden_layers": 4, "num_attention_heads": 2}
    made = config(
        vision_config=vision | {"image_size": 8, "patch_size": 2, "initializer_range": 0.3},
        text_config={"model_type": "llama", **TEXT},
        image_token_id=IMAGE,
        scale_factor=2,
        tie_word_embeddings=False,
    )
    return _random(kind(made))


def tiny_patch_merger(kind: type = Qwen3VLForConditionalGeneration, **vision: Any) -> Any:
    """A Qwen3-VL or Qwen2.5-VL: a tower of 4 blocks, 2 × 2 patches to a token, 5 decoder layers."""
    three = kind is Qwen3VLForConditionalGeneration
    sizes = {"depth": 4, "hidden_size": 16, "intermediate_size": 18, "num_heads": 2, "patch_size": 2}
    own = {"num_position_embeddings": 16, "deepstack_visual_indexes": [0, 2]} if three else {"window_size": 8}
    own |= {} if three else {"fullatt_block_indexes": [1, 3]}
    rope = {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 1e4}
    made = (Qwen3VLConfig if three else Qwen2_5_VLConfig)(
        vision_config=sizes | own | {"out_hidden_size": 16, "temporal_patch_size": 1} | vision,
        text_config=TEXT | {"rope_parameters": rope} | ({"head_dim": 8} if three else {}),
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        vision_start_token_id=62,
        vision_end_token_id=63,
    )
    return _random(kind(made))


def _random(model: Any) -> Any:
    """Give all weights values that matter: `initializer_range` is not of every part."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        drawn = torch.randn(parameter.shape, generator=generator)
        parameter.data = 0.3 * drawn if parameter.ndim > 1 else 1 + 0.1 * drawn
    return model.eval()


def tiny_images(model: Any, *rows: list[int], left: bool = False) -> dict[str, Tensor]:
    """A batch for any tiny model above. Of a row's ids, -1, -2, … stand for images, each always the same.

    To the models with patch mergers odd ones are 4 × 12 patches, which makes 12 tokens, and even ones 2 × 4.
    """
    merging = hasattr(model.model, "visual")
    grids = {each: (2, 4) if not each % 2 else (4, 12) for row in rows for each in row if each < 0}
    tokens = {each: height * width // 4 if merging else PATCHES for each, (height, width) in grids.items()}
    spread = [[token for each in row for token in ([IMAGE] * tokens[each] if each < 0 else [each])] for row in rows]
    ids = pad_sequence([torch.tensor(row) for row in spread], True, PAD, "left" if left else "right")
    batch = {"input_ids": ids, "attention_mask": (ids != PAD).long()}
    if merging:
        batch["mm_token_type_ids"] = (ids == IMAGE).int()
    images = [[each for each in row if each < 0] for row in rows]
    shown = [each for row in images for each in row]
    if not shown:
        return batch
    if merging:
        batch["image_grid_thw"] = torch.tensor([[1, *grids[each]] for each in shown])
        batch["pixel_values"] = torch.cat([_pixels(each, tokens[each] * 4, 12) for each in shown])
    elif hasattr(model.model, "vision_tower"):
        batch["pixel_values"] = torch.stack([_pixels(each, 3, 8, 8) for each in shown])
    else:  # as many for each row, the missing ones black
        batch["pixel_values"] = torch.zeros(len(rows), max(map(len, images)), 3, 8, 8)
        for number, row in enumerate(images):
            for place, each in enumerate(row):
                batch["pixel_values"][number, place] = _pixels(each, 3, 8, 8)
    return batch


def _pixels(number: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(-number))


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
