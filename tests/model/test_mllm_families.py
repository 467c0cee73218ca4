"""Managers inside tiny random models of other families than LLaVA: SmolVLM, Idefics3, Qwen2.5-VL and Qwen3-VL."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_mllm import IMAGE, VIDEO, tiny_images, tiny_llava, tiny_patch_merger, tiny_pixel_shuffle
from torch import Tensor
from transformers import (
    Idefics3ForConditionalGeneration,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLForConditionalGeneration,
    SmolVLMForConditionalGeneration,
)

from mtlab.errors import UserError
from mtlab.model.mllm.managed import Injection, ManagedModel
from mtlab.model.mllm.saving import load, save

INJECTION = Injection(layers=(0, 2, 4), levels=(1, 3, 4))
STATIC, ASKING = {"name": "residual_static"}, {"name": "residual_adaptive", "query": "cross"}
ROWS = ([5, -1, 6, 7], [8, 9, -2, 10, -3, 11, 12, 13], [14, 15, 16])  # one image, two, none
MODELS = {
    "smolvlm": (tiny_pixel_shuffle, SmolVLMForConditionalGeneration),
    "idefics3": (tiny_pixel_shuffle, Idefics3ForConditionalGeneration),
    "qwen2_5_vl": (tiny_patch_merger, Qwen2_5_VLForConditionalGeneration),
    "qwen3_vl": (tiny_patch_merger, Qwen3VLForConditionalGeneration),
}
DIFFERENT = ("smolvlm", "qwen3_vl")  # Idefics3 and Qwen2.5-VL share their way with these


def tiny(family: str) -> Any:
    build, kind = MODELS[family]
    return build(kind)


def managed(
    model: Any, node: dict[str, Any] = STATIC, injection: Injection = INJECTION, *, opened: bool = True
) -> ManagedModel:
    """A manager in a tiny model; `opened`: with random weights in place of zeros."""
    built = ManagedModel(model, node, injection).eval()
    generator = torch.Generator().manual_seed(1)
    for name, parameter in built.managers.named_parameters():
        if opened and name.endswith("gate"):
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    return built


def real(logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
    return logits[batch["attention_mask"].bool()]


@pytest.mark.parametrize("family", MODELS)
def test_what_starts_as_the_plain_model_gives_its_logits_to_the_bit(family: str) -> None:
    plain = tiny(family)
    for node in ({"name": "residual_static", "noise": 0.1}, ASKING, {"name": "last"}):
        built = managed(tiny(family), node, opened=False)
        for left in (False, True):
            batch = tiny_images(plain, *ROWS, left=left)
            noise = built.draw_noise(3, 4, seed=0)
            assert torch.equal(built(**batch, noise=noise).output.logits, plain(**batch).logits)
        text = tiny_images(plain, [5, 6, 7])
        assert torch.equal(built(**text).output.logits, plain(**text).logits)


@pytest.mark.parametrize("family", MODELS)
def test_levels_go_the_way_of_the_last_state_and_the_top_one_is_the_image(family: str) -> None:
    model = tiny(family)
    built, batch = managed(model), tiny_images(model, *ROWS)
    seen: list[Any] = []
    built.manager(2).register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    states = built(**batch, output_hidden_states=True).output.hidden_states
    experts = seen[0].experts
    assert experts.states.shape[:2] == (3, 3)  # each image by itself
    bare = experts.states - built.level_embeddings.unsqueeze(1)
    images = {name: batch[name] for name in ("pixel_values", "image_grid_thw") if name in batch}
    own = torch.cat(list(tiny(family).model.get_image_features(**images).pooler_output))
    real_tokens = slice(None) if experts.mask is None else experts.mask
    torch.testing.assert_close(bare[:, 2][real_tokens].flatten(0, -2), own)
    body = tiny(family).model
    blocks = body.visual.blocks if "qwen" in family else body.vision_model.encoder.layers
    del blocks[3:]  # of four: level 3 is now the last state
    third = torch.cat(list(body.get_image_features(**images).pooler_output))
    torch.testing.assert_close(bare[:, 1][real_tokens].flatten(0, -2), third)
    plain = tiny(family)(**batch, output_hidden_states=True).hidden_states
    assert torch.equal((states[0] != plain[0]).any(-1), batch["input_ids"] == IMAGE)


@pytest.mark.parametrize("family", MODELS)
def test_a_row_is_the_same_alone_and_in_a_batch_padded_on_either_side(family: str) -> None:
    model = tiny(family)
    built = managed(model, ASKING)
    alone = [built(**tiny_images(model, row)).output.logits[0] for row in ROWS]
    for left in (False, True):
        batch = tiny_images(model, *ROWS, left=left)
        together = real(built(**batch).output.logits, batch)
        torch.testing.assert_close(together, torch.cat(alone), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", DIFFERENT)
def test_cached_generation_equals_uncached_and_beams_carry_levels(family: str) -> None:
    model = tiny(family)
    built, batch = managed(model, ASKING), tiny_images(model, *ROWS, left=True)
    options = {"max_new_tokens": 4, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    cached, uncached = (built.generate(**batch, use_cache=use, **options) for use in (True, False))
    assert torch.equal(cached.sequences, uncached.sequences)
    for ours, theirs in zip(cached.logits, uncached.logits, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    plain = tiny(family).generate(**batch, **options)
    assert not torch.allclose(plain.logits[0], cached.logits[0], atol=1e-2)
    beams = {"max_new_tokens": 3, "do_sample": False, "num_beams": 2}
    together = built.generate(**batch, **beams)
    for number, row in enumerate(ROWS):
        found = built.generate(**tiny_images(model, row), **beams)[0, -3:]
        assert torch.equal(together[number, -3:], found)


@pytest.mark.parametrize("family", DIFFERENT)
def test_gradients_reach_all_and_are_the_same_with_activation_checkpointing(family: str) -> None:
    batch = tiny_images(tiny(family), *ROWS)
    labels = batch["input_ids"].masked_fill(batch["input_ids"] >= IMAGE, -100)

    def gradients(checkpointing: bool) -> dict[str, Tensor]:
        built = managed(tiny(family), ASKING).train()
        if checkpointing:
            built.model.gradient_checkpointing_enable()
        loss = built(**batch, labels=labels).output.loss
        loss.backward()
        found = {name: each.grad for name, each in built.named_parameters()}
        assert all(gradient.abs().max() > 0 for gradient in found.values())
        return found | {"loss": loss.detach()}

    torch.testing.assert_close(gradients(False), gradients(True))


@pytest.mark.parametrize("family", DIFFERENT)
def test_bfloat16_saving_and_copies(family: str, tmp_path: Path) -> None:
    batch = tiny_images(tiny(family), *ROWS)
    half = {name: each.bfloat16() if each.is_floating_point() else each for name, each in batch.items()}
    built = managed(tiny(family).bfloat16(), opened=False)
    assert torch.equal(built(**half).output.logits, tiny(family).bfloat16()(**half).logits)
    built = managed(tiny(family), ASKING)
    logits = built(**batch).output.logits
    save(built, tmp_path)
    assert torch.equal(load(tmp_path).eval()(**batch).output.logits, logits)
    plain = type(built.model).from_pretrained(tmp_path).eval()
    assert torch.equal(plain(**batch).logits, tiny(family)(**batch).logits)
    twin = copy.deepcopy(built)
    with torch.no_grad():
        for layer in (0, 2, 4):
            twin.manager(layer).gate.zero_()
    assert torch.equal(twin(**batch).output.logits, tiny(family)(**batch).logits)
    assert torch.equal(built(**batch).output.logits, logits)


DEEPSTACK = Injection(
    layers=(1, 2), levels=(1, 3), level_embeddings=False, projections="per_level", deepstack=False
)  # as Qwen3-VL itself: behind layers 0 and 1


def test_deepstack_as_a_manager_is_that_of_qwen3_vl_to_the_bit() -> None:
    batch = tiny_images(tiny("qwen3_vl"), *ROWS, left=True)
    with_own = tiny("qwen3_vl")(**batch).logits
    built = managed(tiny("qwen3_vl"), {"name": "deepstack"}, DEEPSTACK)
    assert torch.equal(built(**batch).output.logits, with_own)
    options = {"max_new_tokens": 4, "do_sample": False}
    assert torch.equal(built.generate(**batch, **options), tiny("qwen3_vl").generate(**batch, **options))
    without = managed(tiny("qwen3_vl"), {"name": "last"}, DEEPSTACK)(**batch).output.logits
    bare = tiny_patch_merger(deepstack_visual_indexes=[])
    bare.load_state_dict(tiny("qwen3_vl").state_dict(), strict=False)
    assert torch.equal(without, bare(**batch).logits)
    assert not torch.allclose(without, with_own, atol=1e-2)


def test_images_are_encoded_as_before_for_those_who_ask() -> None:
    plain, built = tiny("qwen3_vl"), managed(tiny("qwen3_vl"))
    asked = {
        name: each for name, each in tiny_images(plain, *ROWS).items() if name in ("pixel_values", "image_grid_thw")
    }
    for form in (True, False):
        ours, theirs = (each.get_image_features(**asked, return_dict=form) for each in (built.model, plain))
        assert type(ours) is type(theirs)
        assert torch.equal(ours[0], theirs[0])


def test_videos_pass_by_the_managers() -> None:
    model = tiny("qwen3_vl")
    plain = tiny("qwen3_vl")
    ids = torch.tensor([[5, VIDEO, VIDEO, 6, IMAGE, IMAGE, 7]])
    batch = tiny_images(model, [-2])
    films = {"pixel_values_videos": torch.randn(8, 12), "video_grid_thw": torch.tensor([[1, 2, 4]])}
    kinds = {"mm_token_type_ids": (ids == IMAGE).int() + 2 * (ids == VIDEO).int()}
    both = batch | films | kinds | {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    assert torch.equal(managed(model, opened=False)(**both).output.logits, plain(**both).logits)
    opened = managed(tiny("qwen3_vl"))
    changed = opened(**both, output_hidden_states=True).output.hidden_states[0]
    same = plain(**both, output_hidden_states=True).hidden_states[0]
    assert torch.equal((changed != same).any(-1), ids == IMAGE)
    film = films | {"input_ids": ids[:, :4], "mm_token_type_ids": kinds["mm_token_type_ids"][:, :4]}
    assert torch.equal(opened(**film).output.logits, plain(**film).logits)


@pytest.mark.parametrize(
    ("model", "change", "message"),
    [
        (tiny_llava, {"projections": "per_level"}, "projections: LlavaFor.* has one projector for all levels"),
        (tiny_llava, {"deepstack": False}, "deepstack: LlavaForConditionalGeneration has none of its own"),
        (tiny_llava, {"part": "tiles"}, "part: LlavaForConditionalGeneration has no images in tiles"),
        (tiny_pixel_shuffle, {"part": "tiles"}, "part: SmolVLMFor.* has no images in tiles"),
        (tiny_pixel_shuffle, {"levels": (5,)}, r"levels: expected levels of the vision tower, 0 to 4, found \[5\]"),
        (tiny_patch_merger, {"layers": (5,)}, "layers: expected layers of the language model, 0 to 4"),
        (
            tiny_patch_merger,
            {"projections": "per_level", "levels": (1, 2)},
            r"levels: the model's DeepStack has mergers for levels \[1, 3\], none for \[2\]",
        ),
    ],
)
def test_what_a_family_lacks_is_told_in_a_line(model: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ManagedModel(model(), STATIC, Injection(**{"layers": (0,), "levels": (4,)} | change))


def test_models_that_read_several_levels_as_one_or_have_no_head_are_refused() -> None:
    several = tiny_llava(vision_feature_layer=[-1, -2])
    with pytest.raises(UserError, match=r"projects levels \[-1, -2\] as one: expected a model that reads one"):
        ManagedModel(several, STATIC, INJECTION)
    with pytest.raises(UserError, match="Qwen3VLModel is of another family: expected one of LLaVA"):
        ManagedModel(tiny_patch_merger().model, STATIC, INJECTION)
