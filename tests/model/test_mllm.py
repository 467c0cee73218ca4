"""Managers inside a tiny random LLaVA model: exact where they add nothing, and the same in every way of running it."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_mllm import IMAGE, PAD, tiny_batch, tiny_llava
from torch import Tensor
from transformers import (
    BertConfig,
    BertModel,
    CLIPVisionConfig,
    GenerationConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
)

from mtlab.contract.case import randomise
from mtlab.errors import UserError
from mtlab.managers.base import MANAGERS
from mtlab.model.mllm.managed import Injection, ManagedModel
from mtlab.model.mllm.saving import load, save
from mtlab.towers.base import TokenGrid

INJECTION = Injection(layers=(0, 2, 4), levels=(1, 2, 3))
IDENTICAL: list[dict[str, Any]] = [
    {"name": "last"},
    {"name": "residual_static", "noise": 0.1},
    {"name": "residual_adaptive"},
    {"name": "residual_adaptive", "query": "cross"},
    {"name": "depth_weighted"},
    {"name": "mudd"},
    {"name": "mmfuser"},
]
ASKING = {"name": "residual_adaptive", "query": "cross"}
ROWS = ([5, -1, 6, 7], [8, 9, -1, 10, -1, 11, 12, 13], [14, 15, 16])  # one image, two, none


def named(node: dict[str, Any]) -> str:
    return "-".join(map(str, node.values()))


def managed(node: dict[str, Any], injection: Injection = INJECTION, *, opened: bool = True) -> ManagedModel:
    """A manager in a tiny model; `opened`: with random weights in place of zeros."""
    built = ManagedModel(tiny_llava(), node, injection).eval()
    generator = torch.Generator().manual_seed(1)
    for name, parameter in built.managers.named_parameters():
        if opened and name.endswith("gate"):
            parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    return built


def real(logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
    return logits[batch["attention_mask"].bool()]


@pytest.mark.parametrize("left", [False, True], ids=["right", "left"])
@pytest.mark.parametrize("node", IDENTICAL, ids=named)
def test_what_starts_as_the_plain_model_gives_its_logits_to_the_bit(node: dict[str, Any], left: bool) -> None:
    batch, built = tiny_batch(*ROWS, left=left), managed(node, opened=False)
    noise = built.draw_noise(3, 4, seed=0)
    assert torch.equal(built(**batch, noise=noise).output.logits, tiny_llava()(**batch).logits)
    text = tiny_batch([5, 6, 7])
    assert torch.equal(built(**text).output.logits, tiny_llava()(**text).logits)


@pytest.mark.parametrize("entry", list(MANAGERS), ids=lambda entry: entry.name)
def test_every_manager_of_the_registry_runs_records_and_learns(entry: Any) -> None:
    built, batch = managed({"name": entry.name}), tiny_batch(*ROWS)
    result = built(**batch, record=True)
    loss = real(result.output.logits, batch).square().sum()
    (loss if result.auxiliary is None else loss + result.auxiliary).backward()
    assert set(result.recorded) == {0, 2, 4}
    for layer, found in result.recorded.items():
        assert found.contributions is not None
        assert found.contributions.shape[1] >= 3
        inert = built.manager(layer).inert
        lost = [name for name, each in built.manager(layer).named_parameters() if each.grad is None]
        assert [name for name in lost if name not in inert and not name.endswith("key.bias")] == []


def test_levels_are_projected_by_the_models_own_projector_and_reach_the_tower() -> None:
    built, batch = managed({"name": "residual_static"}), tiny_batch(*ROWS)
    seen: list[Any] = []
    built.manager(2).register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    built(**batch).output.logits.sum().backward()
    body = built.model.model
    levels = body.vision_tower(batch["pixel_values"], output_hidden_states=True).hidden_states
    expected = torch.stack([body.multi_modal_projector(levels[n]) for n in (1, 2, 3)], 1)
    torch.testing.assert_close(seen[0].experts.states, expected + built.level_embeddings.unsqueeze(1))
    assert all(p.grad is not None for p in body.vision_tower.encoder.layers[2].parameters())


def test_only_image_tokens_of_the_layers_input_change() -> None:
    built, batch = managed({"name": "residual_static"}), tiny_batch(*ROWS, left=True)
    states = built(**batch, output_hidden_states=True).output.hidden_states
    plain = tiny_llava()(**batch, output_hidden_states=True).hidden_states
    changed = (states[0] != plain[0]).any(-1)
    assert torch.equal(changed, batch["input_ids"] == IMAGE)


def test_a_row_is_the_same_alone_and_in_a_batch_padded_on_either_side() -> None:
    built = managed(ASKING)
    batches = [tiny_batch(*ROWS, left=left) for left in (False, True)]
    together = [real(built(**batch).output.logits, batch).split([7, 14, 3]) for batch in batches]
    images = iter(batches[0]["pixel_values"].split([1, 2, 0]))
    for number, row in enumerate(ROWS):
        alone = tiny_batch(row)
        if pixels := {name: next(images) for name in ("pixel_values",) if name in alone}:
            alone |= pixels
        logits = built(**alone).output.logits[0]
        torch.testing.assert_close(together[0][number], logits, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(together[1][number], logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("node", [{"name": "residual_static"}, ASKING, {"name": "attention_residual"}], ids=named)
def test_cached_generation_equals_uncached(node: dict[str, Any]) -> None:
    built, batch = managed(node), tiny_batch(*ROWS[:2], left=True)
    options = {"max_new_tokens": 5, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
    cached, uncached = (built.generate(**batch, use_cache=use, **options) for use in (True, False))
    assert torch.equal(cached.sequences, uncached.sequences)
    for ours, theirs in zip(cached.logits, uncached.logits, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    plain = tiny_llava().generate(**batch, **options)
    assert not torch.allclose(plain.logits[0], cached.logits[0], atol=1e-2)
    assert torch.equal(built.model.generate(**batch, **options).sequences, cached.sequences)


def test_beams_carry_the_levels_of_their_images() -> None:
    built, batch = managed(ASKING), tiny_batch(*ROWS[:2], left=True)
    options = {"max_new_tokens": 4, "do_sample": False, "num_beams": 3}
    both = built.generate(**batch, **options)
    images = batch["pixel_values"].split([1, 2])
    torch.manual_seed(0)
    several = built.generate(**batch, max_new_tokens=2, do_sample=True, num_return_sequences=2)
    assert len(several) == 4
    configured = {"generation_config": GenerationConfig(**options, pad_token_id=PAD, eos_token_id=2)}
    assert torch.equal(built.generate(**batch, **configured), both)
    for number, row in enumerate(ROWS[:2]):
        alone = tiny_batch(row) | {"pixel_values": images[number]}
        found = built.generate(**alone, **options)[0, -4:]
        assert torch.equal(both[number, -len(found) :], found)


def test_managers_know_the_grid_of_an_image_without_tiles() -> None:
    sampling = managed({"name": "mmfuser"}).manager(0)
    vision = tiny_llava().config.vision_config
    side = vision.image_size // vision.patch_size
    assert sampling.place.grid == TokenGrid(side, side)


@pytest.mark.parametrize(("strategy", "kept"), [("full", True), ("default", False)])
def test_managers_know_whether_an_image_has_a_class_token(strategy: str, kept: bool) -> None:
    tiny = tiny_llava().config
    sizes = {name: getattr(tiny.vision_config, name) for name in ("hidden_size", "intermediate_size", "image_size")}
    vision = CLIPVisionConfig(**sizes, num_hidden_layers=4, num_attention_heads=2, patch_size=4)
    config = LlavaConfig(
        vision_config=vision,
        text_config=tiny.text_config,
        image_token_index=IMAGE,
        vision_feature_select_strategy=strategy,
        vision_feature_layer=-1,
    )
    place = ManagedModel(LlavaForConditionalGeneration(config), {"name": "igva"}, INJECTION).manager(0).place
    assert (place.class_token, place.grid) == (kept, TokenGrid(2, 2, prefix=int(kept)))
    assert not managed({"name": "igva"}).manager(0).place.class_token  # SigLIP has none


def test_images_in_tiles_of_llava_next() -> None:
    tiny = tiny_llava()
    config = LlavaNextConfig(
        vision_config=tiny.config.vision_config,
        text_config=tiny.config.text_config,
        image_token_index=IMAGE,
        image_grid_pinpoints=[[8, 16], [16, 8], [16, 16]],
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )
    torch.manual_seed(0)
    model = LlavaNextForConditionalGeneration(config).eval()
    images = {"pixel_values": torch.randn(1, 3, 3, 8, 8), "image_sizes": torch.tensor([[8, 14]])}
    length = len(model.model.get_image_features(**images).pooler_output[0])
    assert length > 8
    batch = {"input_ids": torch.tensor([[5, *[IMAGE] * length, 6, 7]])} | images
    plain = model(**batch).logits
    built = ManagedModel(model, {"name": "residual_static"}, INJECTION).eval()
    assert torch.equal(built(**batch).output.logits, plain)
    assert built.manager(2).place.grid is None
    with torch.no_grad():
        built.manager(2).gate.fill_(0.5)
    assert not torch.allclose(built(**batch).output.logits, plain)


def test_a_later_turn_is_no_question() -> None:
    """What is asked next would tell the first answer's tokens what they were."""
    rows = ([5, -1, 10, 11, 20, 12, 21, 2], [5, -1, 10, 11, 20, 14, 21, 2])  # q q | a | q | a end
    built = ManagedModel(tiny_llava(), {"name": "residual_adaptive", "query": "average"}, INJECTION)
    for layer in INJECTION.layers:
        randomise(built.manager(layer))
    found = []
    for row in rows:
        batch = tiny_batch(row)
        labels = torch.full_like(batch["input_ids"], -100)
        labels[:, [-4, -2, -1]] = batch["input_ids"][:, [-4, -2, -1]]
        found.append(built(**batch, labels=labels).output.logits[:, :-3])
    torch.testing.assert_close(*found)


def test_targets_are_no_question() -> None:
    built = managed({"name": "residual_adaptive", "query": "average"})
    batch, other = tiny_batch([5, -1, 6, 7]), tiny_batch([5, -1, 6, 9])
    labels = torch.full_like(batch["input_ids"], -100)
    labels[:, -1] = 1
    first = slice(0, -1)  # what comes before the answer does not know it
    with_labels = [built(**each, labels=labels).output.logits[:, first] for each in (batch, other)]
    without = [built(**each).output.logits[:, first] for each in (batch, other)]
    assert torch.equal(*with_labels)
    assert not torch.allclose(*without)


def test_gradient_checkpointing_gives_the_same_loss_and_gradients() -> None:
    batch = tiny_batch(*ROWS)
    labels = batch["input_ids"].masked_fill(batch["input_ids"] >= IMAGE, -100)

    def gradients(checkpointing: bool) -> list[Tensor]:
        built = managed(ASKING)
        built.train()
        if checkpointing:
            built.model.gradient_checkpointing_enable()
        loss = built(**batch, labels=labels).output.loss
        loss.backward()
        return [loss.detach(), *(p.grad for p in built.parameters() if p.grad is not None)]

    for plain, recomputed in zip(gradients(False), gradients(True), strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_bfloat16_weights_and_autocast() -> None:
    batch = tiny_batch(*ROWS)
    half = {name: each.bfloat16() if each.is_floating_point() else each for name, each in batch.items()}
    plain = tiny_llava().bfloat16()
    built = ManagedModel(tiny_llava().bfloat16(), {"name": "residual_static"}, INJECTION).eval()
    assert built.level_embeddings.dtype == torch.bfloat16
    assert torch.equal(built(**half).output.logits, plain(**half).logits)
    mixed = managed(ASKING)
    with torch.autocast("cpu", torch.bfloat16):
        logits = mixed(**batch).output.logits
        logits.float().square().mean().backward()
    torch.testing.assert_close(logits.float(), managed(ASKING)(**batch).output.logits, atol=0.3, rtol=0.1)
    assert mixed.manager(2).gate.grad.abs().max() > 0


def test_saved_and_loaded_it_is_the_same_and_the_model_alone_is_the_plain_one(tmp_path: Path) -> None:
    built, batch = managed(ASKING), tiny_batch(*ROWS)
    save(built, tmp_path)
    again = load(tmp_path).eval()
    assert torch.equal(again(**batch).output.logits, built(**batch).output.logits)
    plain = type(built.model).from_pretrained(tmp_path).eval()
    assert torch.equal(plain(**batch).logits, tiny_llava()(**batch).logits)
    (tmp_path / "managers.safetensors").unlink()
    with pytest.raises(UserError, match=r"managers\.safetensors: no such weights file"):
        load(tmp_path)


def test_interventions_replace_weights() -> None:
    built, batch = managed({"name": "residual_static"}), tiny_batch(*ROWS)
    nothing = dict.fromkeys((2, 4), torch.zeros_like) | {
        0: lambda weights: weights * torch.tensor([0, 0, 1.0]).view(1, 3, 1, 1)
    }
    logits = built(**batch, intervene=nothing).output.logits
    torch.testing.assert_close(logits, tiny_llava()(**batch).logits)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": (0, 5)}, r"layers: expected layers of the language model, 0 to 4, found \[0, 5\]"),
        ({"layers": ()}, "layers: expected layers"),
        ({"levels": (5,)}, r"levels: expected levels of the vision tower, 0 to 4, found \[5\]"),
        ({"levels": (4, -1)}, "levels: names a level twice"),
    ],
)
def test_layers_and_levels_that_do_not_exist_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        ManagedModel(tiny_llava(), {"name": "last"}, Injection(**{"layers": (0,), "levels": (4,)} | change))


def test_other_models_and_managers_that_would_do_nothing_are_refused() -> None:
    tiny = BertModel(BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8))
    with pytest.raises(UserError, match="BertModel has no image token"):
        ManagedModel(tiny, {"name": "last"}, INJECTION)
    with pytest.raises(UserError, match="dense_connector joins levels in front of layer 0 alone"):
        managed({"name": "dense_connector"}, Injection(layers=(2,), levels=(2, 3)))
    with pytest.raises(UserError, match="manager"):
        managed({"name": "residual_statik"})
    with pytest.raises(UserError, match="the model has managers already"):
        ManagedModel(managed({"name": "last"}).model, {"name": "last"}, INJECTION)


def test_initial_values_rest_on_the_seed_alone() -> None:
    def values(node: dict[str, Any], seed: int) -> list[Tensor]:
        model = tiny_llava()
        torch.seed()  # the state of torch's own generator does not matter
        built = ManagedModel(model, node, INJECTION, seed=seed)
        return [*built.managers.parameters(), built.level_embeddings]

    for name in ("cross_attention", "igva"):
        first, same, other = (values({"name": name}, seed) for seed in (0, 0, 1))
        assert all(torch.equal(a, b) for a, b in zip(first, same, strict=True))
        assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_level_embeddings_can_be_left_out(tmp_path: Path) -> None:
    built = managed({"name": "residual_static"}, Injection(layers=(2,), levels=(1, 3), level_embeddings=False))
    save(built, tmp_path)
    batch = tiny_batch(*ROWS)
    assert "level_embeddings" not in dict(built.named_parameters())
    assert torch.equal(load(tmp_path).eval()(**batch).output.logits, built(**batch).output.logits)


def test_a_copy_of_a_managed_model_is_one_of_its_own() -> None:
    built, batch = managed(ASKING), tiny_batch(*ROWS)
    twin = copy.deepcopy(built)
    before = built(**batch).output.logits
    with torch.no_grad():
        twin.manager(2).gate.zero_()
        twin.manager(4).gate.zero_()
        twin.manager(0).gate.zero_()
    assert torch.equal(twin(**batch).output.logits, tiny_llava()(**batch).logits)
    assert torch.equal(built(**batch).output.logits, before)
