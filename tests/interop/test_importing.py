"""Published checkpoints become models of ours: the same outputs, every weight accounted for, or nothing written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from bundles import checkpoint, folder_of, folders, hugging_face, hyperparameters, loaded, official, weights
from safetensors.torch import load_file, save_file
from torch import Tensor

from mtlab.errors import UserError
from mtlab.interop.exporting import export
from mtlab.interop.importing import ImportOptions, ImportSummary, import_checkpoint
from mtlab.runs.imported_checkpoint import read_imported_checkpoint, read_imported_config
from mtlab.towers.loading.positions import resize_positions


def imported(bundle: str, place: Path, **wishes: object) -> ImportSummary:
    file = checkpoint(bundle, place / "published.ckpt")
    return import_checkpoint(file, place / "ours", ImportOptions(hyperparameters=hyperparameters(bundle), **wishes))  # type: ignore[arg-type]


@pytest.mark.parametrize("bundle", official())
def test_an_imported_model_gives_what_the_authors_code_gives(bundle: str, tmp_path: Path) -> None:
    imported(bundle, tmp_path)
    io = load_file(folder_of(bundle) / "io.safetensors")
    with torch.no_grad():
        fused = loaded(tmp_path / "ours")((io["in/text_ids"], io["in/text_masks"].bool()), (io["in/images"],)).fused
    torch.testing.assert_close(fused.pooled, io["out/cls_feats"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(fused.image, io["out/image_feats"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bundle", [name for name in folders() if name.startswith("hf_")])
def test_a_hugging_face_folder_gives_what_transformers_gives(bundle: str, tmp_path: Path) -> None:
    source = hugging_face(bundle, tmp_path / "hf")
    import_checkpoint(source, tmp_path / "ours", ImportOptions())
    io = load_file(folder_of(bundle) / "io.safetensors")
    given = (io["in/input_ids"], io["in/attention_mask"].bool()), (io["in/pixel_values"],)
    with torch.no_grad():
        fused = loaded(tmp_path / "ours")(*given).fused
    torch.testing.assert_close(fused.pooled, io["out/pooler_output"], atol=1e-5, rtol=1e-5)


def test_what_it_tells(tmp_path: Path) -> None:
    told = imported("mt_aaue_vector", tmp_path)
    assert (told.family, told.task, told.drawn, told.tokeniser) == ("ManagerTower", "pretraining", (), False)
    assert told.other_heads == ("nlvr2", "snli", "vqa")
    assert "vit_model.ln_final.weight" in told.dead
    folder = read_imported_checkpoint(tmp_path / "ours")
    assert folder.config["manager"]["mask_query"] is False
    assert (folder.config["text"]["layers"], folder.config["vision"]["layers"]) == ("top3", "top4")
    assert folder.config["model"]["norm_eps"] == 1e-12
    assert (
        sum(tensor.numel() for name, tensor in folder.tensors.items() if "projections.c" not in name) > told.parameters
    )


def test_any_of_several_heads_may_be_live(tmp_path: Path) -> None:
    told = imported("bt", tmp_path, task="question_answering")
    folder = read_imported_checkpoint(tmp_path / "ours")
    assert told.other_heads == ("itc", "itm", "mlm", "nlvr2", "snli")
    assert folder.answers == 13
    assert torch.equal(folder.tensors["task.head.3.weight"], weights("bt")["vqa_classifier.3.weight"])
    assert (folder.config["task"]["head_scale"], folder.config["task"]["loss"]) == (2.0, "binary")


def test_positions_are_resized_as_published(tmp_path: Path) -> None:
    told = imported("extra_meter_fusion", tmp_path, image_size=48)
    config, _ = read_imported_config(tmp_path / "ours")
    assert told.resized == (32, 48)
    assert config["vision"]["image_size"] == 48
    theirs = weights("extra_meter_fusion")["vit_model.visual.positional_embedding"]
    ours = load_file(tmp_path / "ours" / "vision.safetensors")["pos_embed"]
    assert torch.equal(ours, resize_positions(theirs.unsqueeze(0), 37))
    back = export(tmp_path / "ours", "official", tmp_path / "back.ckpt")
    assert not back.exact
    assert "positions of image patches are those of 48 pixels, not of 32" in back.notes
    with pytest.raises(UserError, match=r"--image-size: patches of 8 pixels do not fill 50"):
        import_checkpoint(
            tmp_path / "published.ckpt",
            tmp_path / "no",
            ImportOptions(hyperparameters=hyperparameters("extra_meter_fusion"), image_size=50),
        )


def test_a_checkpoint_without_heads_gets_drawn_ones(tmp_path: Path) -> None:
    def without(state: dict[str, Tensor]) -> None:
        for name in [n for n in state if n.startswith(("mlm", "itm", "cross_modal_itc", "vqa", "nlvr2", "snli"))]:
            del state[name]

    file = checkpoint("bt", tmp_path / "bare.ckpt", without)
    told = import_checkpoint(
        file, tmp_path / "ours", ImportOptions(hyperparameters=hyperparameters("bt"), task="entailment")
    )
    assert told.drawn == tuple(f"task.head.{layer}.{part}" for layer in (0, 1, 3) for part in ("weight", "bias"))
    loaded(tmp_path / "ours")


def test_a_checkpoint_for_one_image_becomes_none_for_two(tmp_path: Path) -> None:
    def for_one_image(state: dict[str, Tensor]) -> None:
        state["token_type_embeddings.weight"] = state["token_type_embeddings.weight"][:2].clone()
        for name in [name for name in state if name.startswith("nlvr2")]:
            del state[name]

    file = checkpoint("bt", tmp_path / "one.ckpt", for_one_image)
    wishes = ImportOptions(hyperparameters=hyperparameters("bt"), task="reasoning")
    with pytest.raises(UserError, match="--task: was pre-trained for one image: import it without --task"):
        import_checkpoint(file, tmp_path / "ours", wishes)


def _renamed(state: dict[str, Tensor]) -> None:
    state["cross_modal_text_pooler.dense.wieght"] = state.pop("cross_modal_text_pooler.dense.weight")


def _reshaped(state: dict[str, Tensor]) -> None:
    name = "vit_model.visual.transformer.resblocks.2.mlp.c_fc.weight"
    state[name] = state[name][:-1].clone()


def _stack_reshaped(state: dict[str, Tensor]) -> None:
    name = "cross_modal_text_manager_tower.1.manager_layer.LayerNorm.2.bias"
    state[name] = state[name][:-1].clone()


def _token_types(state: dict[str, Tensor]) -> None:
    state["token_type_embeddings.weight"] = state["token_type_embeddings.weight"][:, :-1].clone()


def _no_square(state: dict[str, Tensor]) -> None:
    name = "vit_model.visual.positional_embedding"
    state[name] = state[name][:-1].clone()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_renamed, r"lacks cross_modal_text_pooler\.dense\.weight and has the unknown \S+\.wieght$"),
        (_reshaped, r"resblocks\.2\.mlp\.c_fc\.weight is 191×48, expected 192×48$"),
        (_stack_reshaped, r"manager_tower\.1\.manager_layer\.LayerNorm\.2\.bias is 47, expected 48$"),
        (_no_square, r"vit_model\.visual\.positional_embedding: 16 positions are no class token and square grid$"),
        (_token_types, r"token_type_embeddings\.weight: rows are 47, expected 48$"),
        (lambda state: state.pop("layer_embeddings_text.weight"), r"it lacks layer_embeddings_text\.weight$"),
        (lambda state: state.update(extra=torch.zeros(2)), r"it has the unknown extra$"),
    ],
)
def test_one_wrong_weight_is_named_and_nothing_is_written(
    change: Callable[[dict[str, Tensor]], object], message: str, tmp_path: Path
) -> None:
    file = checkpoint("mt_aaue_vector", tmp_path / "published.ckpt", change)
    with pytest.raises(UserError, match=message) as told:
        import_checkpoint(file, tmp_path / "ours", ImportOptions(hyperparameters=hyperparameters("mt_aaue_vector")))
    assert told.value.file == file
    assert [path.name for path in tmp_path.iterdir()] == ["published.ckpt"]


def test_another_family_is_told_by_what_it_holds(tmp_path: Path) -> None:
    save_file({"features.0.weight": torch.zeros(3), "classifier.weight": torch.zeros(3)}, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=r"x\.safetensors: is no METER, BridgeTower or ManagerTower: 2 weights"):
        import_checkpoint(tmp_path / "x.safetensors", tmp_path / "ours", ImportOptions())


def test_a_file_of_hugging_face_needs_its_folder(tmp_path: Path) -> None:
    source = hugging_face("hf_bridgetower_add", tmp_path / "hf") / "model.safetensors"
    with pytest.raises(UserError, match="is a file of Hugging Face's BridgeTower: give its folder"):
        import_checkpoint(source, tmp_path / "ours", ImportOptions())


def test_heads_that_shapes_do_not_tell_are_asked_for(tmp_path: Path) -> None:
    file = checkpoint("bt", tmp_path / "published.ckpt")
    with pytest.raises(UserError, match=r"width 48 does not determine the number of heads .* give --text-heads"):
        import_checkpoint(file, tmp_path / "ours", ImportOptions())


def test_folders_that_are_no_model(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"it has no config\.json"):
        import_checkpoint(tmp_path / "empty", tmp_path / "ours", ImportOptions())
    (tmp_path / "empty" / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match="expected Hugging Face's bridgetower, found a model of type 'bert'"):
        import_checkpoint(tmp_path / "empty", tmp_path / "ours", ImportOptions())
    (tmp_path / "empty" / "config.json").write_text('{"model_type": "bridgetower", "share_link_tower_layers": true}')
    with pytest.raises(UserError, match="no weights"):
        import_checkpoint(tmp_path / "empty", tmp_path / "ours", ImportOptions())
    save_file({"x": torch.zeros(1)}, tmp_path / "empty" / "model.safetensors")
    with pytest.raises(UserError, match=r"share_link_tower_layers: our model needs False, found True"):
        import_checkpoint(tmp_path / "empty", tmp_path / "ours", ImportOptions())
    assert not (tmp_path / "ours").exists()


def test_tied_word_embeddings_are_the_decoder_of_words(tmp_path: Path) -> None:
    """transformers stores a tied tensor once: the masked-language head has no decoder of its own in the file."""
    from transformers import BridgeTowerConfig, BridgeTowerForMaskedLM

    text = {"vocab_size": 50, "hidden_size": 64, "num_attention_heads": 1, "num_hidden_layers": 3}
    text |= {"intermediate_size": 256, "max_position_embeddings": 20}
    vision = {"hidden_size": 64, "num_hidden_layers": 3, "patch_size": 8, "image_size": 16}
    sizes = {"hidden_size": 64, "num_attention_heads": 1, "num_hidden_layers": 2, "tie_word_embeddings": True}
    theirs = BridgeTowerForMaskedLM(BridgeTowerConfig(**sizes, text_config=text, vision_config=vision))
    theirs.save_pretrained(tmp_path / "hf")
    stored = load_file(tmp_path / "hf" / "model.safetensors")
    assert "mlm_score.decoder.weight" not in stored
    told = import_checkpoint(tmp_path / "hf", tmp_path / "ours", ImportOptions())
    assert "task.mlm.decoder.weight" not in told.drawn
    words = stored["bridgetower.text_model.embeddings.word_embeddings.weight"]
    held = {name: each for name, each in loaded(tmp_path / "ours").state_dict().items() if each.shape == words.shape}
    assert any("decoder" in name for name in held)
    assert all(torch.equal(each, words) for each in held.values())
    export(tmp_path / "ours", "huggingface", tmp_path / "back")
    again = BridgeTowerForMaskedLM.from_pretrained(tmp_path / "back").state_dict()
    assert torch.equal(again["mlm_score.decoder.weight"], words)


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    with pytest.raises(UserError, match="exists already"):
        import_checkpoint(
            checkpoint("bt", tmp_path / "x.ckpt"),
            tmp_path / "ours",
            ImportOptions(hyperparameters=hyperparameters("bt")),
        )


def test_hugging_face_weights_may_lie_in_shards_of_either_kind(tmp_path: Path) -> None:
    source = hugging_face("hf_bridgetower_add", tmp_path / "hf")
    state = load_file(source / "model.safetensors")
    (source / "model.safetensors").unlink()
    names = sorted(state)
    torch.save({name: state[name] for name in names[:100]}, source / "pytorch_model-00001-of-00002.bin")
    torch.save({name: state[name] for name in names[100:]}, source / "pytorch_model-00002-of-00002.bin")
    (source / "training_args.bin").write_bytes(b"a trainer's, and no weights")
    assert import_checkpoint(source, tmp_path / "ours", ImportOptions()).drawn == ()
    (source / "pytorch_model-00002-of-00002.bin").unlink()
    with pytest.raises(UserError, match="no weight determines the"):
        import_checkpoint(source, tmp_path / "again", ImportOptions())
    index = {"weight_map": {name: f"pytorch_model-0000{1 + (name in names[100:])}-of-00002.bin" for name in names}}
    (source / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=r"names 1 files of weights that are not there: pytorch_model-00002-of-00002"):
        import_checkpoint(source, tmp_path / "again", ImportOptions())
