"""The card of an exported run: what the hub reads of it, and what a person does."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from calling import mtlab
from hub_server import running_hub
from test_fine_tuning import model_folder

#: As Hugging Face's BridgeTower has it: towers and encoder of one width, heads of 64 in the vision tower.
STUDY = """
kind: ablation
name: tuned
why: Does the card say it?
set:
  text: {{name: transformers, model: {text}, layers: top2, max_length: 12, trainable: true}}
  vision: {{name: clip_vit, width: 64, depth: 3, heads: 1, patch: 8, image_size: 32, layers: top2, trainable: true}}
  data: {{name: shapes, train: 64, val: 16, test: 16}}
  model:
    {{width: 32, heads: 2, cross_layers: 2, mlp_ratio: 2, norm_eps: 1.0e-5,
      standardise: false, layer_embeddings: false}}
  task: {{name: question_answering, head_scale: 2.0}}
  train: {{batch: 8, length: {{steps: 4}}, eval_every: 2}}
axes: {{manager: [bridge]}}
seeds: 2
"""


@pytest.mark.slow
def test_a_run_that_is_sent_to_the_hub_has_a_card(tmp_path: Path) -> None:
    from huggingface_hub import ModelCard
    from transformers import BridgeTowerModel, RobertaConfig, RobertaModel

    words = model_folder(tmp_path / "words")
    sizes = {"hidden_size": 32, "num_attention_heads": 2, "num_hidden_layers": 3, "intermediate_size": 64}
    RobertaModel(RobertaConfig(vocab_size=120, max_position_embeddings=20, **sizes)).save_pretrained(words)
    (words / "README.md").write_text("---\nlicense: mit\n---\n# Words\n")
    file = tmp_path / "tuned.yaml"
    file.write_text(STUDY.format(text=words))
    store = tmp_path / "runs"
    ran = mtlab("run", file, "--store", store, "--quiet")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    with running_hub(tmp_path / "hub") as hub:
        sent = mtlab("push", "tuned:bridge:0", "tuned", "--public", "--store", store, **hub.environment)
    assert sent.returncode == 0, sent.stderr
    assert hub.visibility == {"me/tuned": "public"}
    there = tmp_path / "hub" / "me" / "tuned"
    for file in there.iterdir():
        assert f"  {file.name}  " in sent.stdout
    assert {"README.md", "config.json", "model.safetensors", "preprocessor_config.json"} <= set(os.listdir(there))
    BridgeTowerModel.from_pretrained(there)
    card = ModelCard.load(there / "README.md")
    assert (card.data.library_name, card.data.pipeline_tag) == ("transformers", None)
    assert "**Not in this folder**: the run's own head (" in card.text
    assert card.data.license == "mit"  # the text tower's, by the card in its folder; the other has random weights
    run = next(store.glob("cells/*/s0/result.json"))
    accuracy = json.loads(run.read_text())["metrics"]["test/accuracy"]
    said = card.text
    assert said.lstrip().startswith("# tuned: bridge, seed 0")
    assert f"| test/accuracy | {100 * accuracy:.1f} |" in said
    assert "| manager | `bridge`" in said
    assert "| bridge | 2/2 |" in said  # two seeds, in the table of the study
    assert "### text\n" in said
    assert "- text, `transformers`: weights of a local folder; licence: mit" in said
    assert "- vision, `clip_vit`: random weights of its own" in said
    assert "mtlab run tuned.yaml\n" in said
    assert f"the run is then `{run.parent.parent.name}/s0`" in said
    assert "why: Does the card say it?" in said
    assert sys.executable not in said
