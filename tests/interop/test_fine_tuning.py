"""Fine-tuning from an imported checkpoint, and exporting what came of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from bundles import checkpoint, folder_of, hyperparameters, weights

from mtlab.errors import UserError
from mtlab.interop.exporting import export
from mtlab.interop.importing import ImportOptions, import_checkpoint
from mtlab.resolution.defaults import fill_defaults
from mtlab.runs.imported_checkpoint import read_imported_config
from mtlab.studies.plan import make_plan
from mtlab.studies.spec import read_study
from mtlab.tasks.build import build
from mtlab.towers.build import build_tower, tower_shape
from mtlab.training.init_from import digest_checkpoint, load_initial_weights

BUNDLE = "mt_aaue_vector"


def model_folder(folder: Path) -> Path:
    """Write a text tower's folder, without weights: the bundle's configuration and a tokeniser of its size."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    from mtlab.data.worlds.shapes import Shapes

    dataset = Shapes(Shapes.Config(train=64, val=16, test=16))
    words = sorted({word for example in dataset.examples("train") for word in example.text.lower().split()})
    vocabulary = {word: number for number, word in enumerate(["<s>", "<pad>", "</s>", "<unk>", *words[:110]])}
    tokeniser = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokeniser.pre_tokenizer = Whitespace()
    tokeniser.post_processor = TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokeniser, pad_token="<pad>", cls_token="<s>", sep_token="</s>", unk_token="<unk>"
    )
    fast.save_pretrained(folder)
    text = json.loads((folder_of(BUNDLE) / "config.json").read_text())["text"]
    (folder / "config.json").write_text(json.dumps(text))
    return folder


def imported(place: Path, **wishes: Any) -> Path:
    file = checkpoint(BUNDLE, place / "published.ckpt")
    import_checkpoint(file, place / "ours", ImportOptions(hyperparameters=hyperparameters(BUNDLE), **wishes))
    return place / "ours"


def test_a_model_for_pairs_of_larger_pictures_starts_from_a_folder(tmp_path: Path) -> None:
    """Published: positions are resized, and the second picture's token type starts as the first one's."""
    folder = imported(tmp_path)
    config, _ = read_imported_config(folder)
    config["vision"] |= {"image_size": 48, "weights": "random"}
    config["task"] = {"name": "reasoning"}
    towers = {kind: build_tower(kind, config[kind]) for kind in ("text", "vision")}
    shapes = {kind: tower_shape(kind, config[kind]) for kind in ("text", "vision")}
    model = build(
        fill_defaults(config),
        shapes["text"],
        shapes["vision"],
        answers=2,
        text_tower=towers["text"],
        vision_tower=towers["vision"],
    )
    said = load_initial_weights(model, folder)[1]
    assert [line for line in said if "kept" in line and "task.head" not in line] == []
    types = weights(BUNDLE)["token_type_embeddings.weight"]
    assert torch.equal(model.encoder.image.embeddings.token_type.weight, types[[1, 1]])
    assert model.towers["vision"].network.pos_embed.shape[1] == 37


@pytest.mark.parametrize("cached", [False, True])
def test_a_frozen_towers_weights_are_told_in_one_line(cached: bool, tmp_path: Path) -> None:
    folder = imported(tmp_path)
    config, answers = read_imported_config(folder)
    for kind in ("text", "vision"):
        config[kind]["trainable"] = False
    towers = [None if cached else build_tower(kind, config[kind]) for kind in ("text", "vision")]
    shapes = [tower_shape(kind, config[kind]) for kind in ("text", "vision")]
    model = build(fill_defaults(config), *shapes, answers=answers, text_tower=towers[0], vision_tower=towers[1])
    said = load_initial_weights(model, folder)[1]
    assert [line.partition(" weights of ")[2] for line in said[1:]] == [
        f"the {kind} tower: it is frozen, and comes from its own file" for kind in ("text", "vision")
    ]


STUDY = """
kind: ablation
name: tuned
why: Does fine-tuning from an imported checkpoint work?
init_from: {init}
set:
  text: {{name: transformers, model: {text}, layers: top3, max_length: 12, trainable: {trainable}}}
  vision: {{name: clip_vit, width: 48, depth: 4, heads: 3, patch: 8, image_size: 32, layers: top4, trainable: true}}
  data: {{name: shapes, train: 64, val: 16, test: 16}}
  model: {{width: 48, heads: 4, cross_layers: 3, mlp_ratio: 2, norm_eps: 1.0e-12, standardise: false}}
  task: {{name: question_answering, head_scale: 2.0}}
  train: {{batch: 8, length: {{steps: 4}}, eval_every: 2, checkpoint_every: 2}}
axes:
  manager: [{{name: adaptive, mask_query: false}}]
"""


def study(place: Path, **options: object) -> Path:
    file = place / "tuned.yaml"
    file.write_text(STUDY.format(**options))
    return file


def test_a_plan_knows_the_folder_by_content_and_refuses_other_frozen_towers(tmp_path: Path) -> None:
    folder = imported(tmp_path, text=str(model_folder(tmp_path / "words")))
    options = {"init": folder, "text": tmp_path / "words"}
    plan = make_plan(read_study(study(tmp_path, trainable="true", **options), []))
    start = plan.runs[0].cell.config["init_from"]
    assert start == {"checkpoint": str(folder), "digest": digest_checkpoint(folder)}

    frozen = read_study(study(tmp_path, trainable="false", **options), [])
    with pytest.raises(UserError, match=r"freezes another text tower than the checkpoint's: set text\.trainable"):
        make_plan(frozen)
    options["text"] = folder / "text"
    own = read_study(study(tmp_path, trainable="false", **options), [])
    make_plan(own)
    options["init"] = tmp_path / "words"
    with pytest.raises(UserError, match="is a folder, but no imported checkpoint: see `mtlab import`"):
        make_plan(read_study(study(tmp_path, trainable="true", **options), []))


@pytest.mark.slow
def test_import_fine_tune_export_import(tmp_path: Path) -> None:
    import subprocess
    import sys

    folder = imported(tmp_path, text=str(model_folder(tmp_path / "words")))
    file = study(tmp_path, init=folder, text=folder / "text", trainable="true")
    command = [sys.executable, "-m", "mtlab", "run", str(file), "--store", str(tmp_path / "runs"), "-w", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    run = next((tmp_path / "runs" / "cells").glob("*/s0"))
    log = (run / "log.txt").read_text()
    assert "of the model's" in log
    told = export(run, "official", tmp_path / "tuned.ckpt")
    assert (told.family, told.exact) == ("ManagerTower", False)
    again = import_checkpoint(
        tmp_path / "tuned.ckpt", tmp_path / "again", ImportOptions(hyperparameters=hyperparameters(BUNDLE))
    )
    assert (again.task, again.dead, again.drawn) == ("question_answering", (), ())
    tuned = torch.load(tmp_path / "tuned.ckpt", weights_only=True)["state_dict"]
    before = weights(BUNDLE)
    own = ("vqa_classifier.", "token_type_embeddings.")  # drawn anew; without the row of second pictures
    shared = [name for name in tuned if name in before and not name.startswith(own)]
    moved = [name for name in shared if not torch.equal(tuned[name], before[name])]
    assert len(moved) > 300  # towers and all were trained, from where they were
    assert max(float((tuned[name] - before[name]).abs().max()) for name in moved) < 0.1
