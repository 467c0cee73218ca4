"""The presets cost what the authors' own code counts: parameters to the last one, FLOPs to a tenth of a percent."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import SiglipVisionConfig, SiglipVisionModel

from mtlab.config.load import compose, recipe_folders
from mtlab.resolution.checks import levels_read
from mtlab.resolution.defaults import fill_defaults
from mtlab.studies.budget.dead_weights import dead_weights
from mtlab.studies.budget.executed_flops import count_executed_flops
from mtlab.studies.budget.flops import count_cost, count_params
from mtlab.studies.expand import expand
from mtlab.studies.spec import read_study
from mtlab.tasks.build import construct
from mtlab.towers.build import build_tower, tower_shape

BASE = json.loads((Path(__file__).parents[1] / "golden" / "base_size.json").read_text())
PRESETS = {
    "METER": "official_meter",
    "METER(vit_remove_last)": "official_meter_original",
    "BT": "official_bridgetower",
    "MT-SAUE-scalar": "official_managertower_static_scalar",
    "MT-SAUE-vector": "official_managertower_static",
    "MT-AAUE-scalar": "official_managertower_scalar",
    "MT-AAUE-vector": "official_managertower",
}
FLOPS = {  # the authors' counts at other sizes, 50 tokens of text, without a head
    ("METER", 384): 198546315264,
    ("METER", 576): 480025073664,
    ("METER(vit_remove_last)", 576): 456497286144,
    ("BT", 384): 202244511744,
    ("MT-SAUE-vector", 576): 487970002944,
    ("MT-AAUE-vector", 384): 210584961024,
    ("MT-AAUE-vector", 576): 505976193024,
}
HEAD = {1.0: 7173177, 2.0: 14343225}  #: parameters of the VQAv2 head by its scale, as the authors count
HEAD_FLOPS = 2 * (1536 * 1536 + 1536 * 3129)


def published(tmp_path: Path, name: str, scale: float = 1.0, **vision: Any) -> dict[str, Any]:
    study = {
        "kind": "ablation",
        "name": "one",
        "base": f"presets/{PRESETS[name]}",
        "set": {
            "data": "vqav2",
            "task": {"name": "question_answering", "loss": "binary", "head_scale": scale},
            "vision": vision or {"image_size": 224},
        },
    }
    (tmp_path / "one.yaml").write_text(json.dumps(study))
    (row,) = expand(read_study(tmp_path / "one.yaml"))
    return dict(row.config)


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_and_flops_are_all_that_the_authors_count(name: str, tmp_path: Path) -> None:
    theirs = BASE["params"][name]
    config = published(tmp_path, name)
    cost, dead = count_cost(config, answers=3129), dead_weights(config)
    ours = cost.params
    assert cost.flops_forward.total - HEAD_FLOPS == BASE["flops_224"][f"{name}|224"]["total"]
    assert dead is not None
    assert sum(ours.values()) - HEAD[1.0] + sum(dead.values()) == theirs["total"]
    assert ours["head"] == HEAD[1.0]
    assert ours["text tower"] == theirs["text_encoder"]
    assert ours["vision tower"] == theirs["vision_encoder"]
    assert ours["managers"] + dead.get("softmax_temperature_cross of every manager", 0) == theirs.get(
        "managers", theirs.get("bridges", 0)
    )
    clip = dead["vit_model.positional_embedding"] + dead["vit_model.ln_final"]
    assert (dead["text_transformer.pooler"], clip, dead["temperature"]) == (590592, 40448, 1)


def ov_config(name: str) -> dict[str, Any]:
    """One of the presets of LLaVA-OV-Manager of 0.5B."""
    set_up = compose(recipe_folders()[0] / "presets" / f"official_llava_ov_{name}.yaml").data["set"]
    return fill_defaults(set_up | {"data": {"name": "vqav2"}})


def ov_manager(name: str) -> dict[str, int]:
    """Count what it has, by part."""
    config = ov_config(name)
    shapes = (tower_shape(kind, config[kind]) for kind in ("text", "vision"))
    with torch.device("meta"):
        model = construct(config, *shapes, answers=3129)
        towers = [build_tower(kind, config[kind], weights=False) for kind in ("text", "vision")]
    sizes = dict(zip(("text tower", "vision tower"), towers, strict=True))
    return count_params(model) | {part: sum(p.numel() for p in each.parameters()) for part, each in sizes.items()}


@pytest.mark.parametrize(
    ("name", "new"),
    [
        ("baseline", 0),
        ("manager_static", 80_640),  # as its code counts: (12 + 5 · 13) · 896 weights, 13 · 896 level embeddings
        ("manager_adaptive", 80_640 + 5 * 13 * 896),  # and a score's map for each level
        ("manager_adaptive_cross", 80_640 + 5 * (13 * 2 * 896 + 2 * 896**2 + 896)),  # its key's bias has no gradient
    ],
)
def test_llava_ov_manager_without_weights_or_network(name: str, new: int) -> None:
    ours = ov_manager(name)
    assert ours.get("managers", 0) + ours.get("embeddings", 0) == new
    assert ours["text tower"] == 494_032_768  # Qwen2-0.5B
    assert ours["projections"] == 1152 * 896 + 896 + 896**2 + 896


def test_its_managers_read_the_published_levels_and_the_language_model_its_own() -> None:
    first, *above = levels_read(ov_config("manager_static"))["image"]
    assert first == [*range(13, 25), 26]  # the model's own tokens, in the place of the highest
    assert above == 5 * [list(range(13, 26))]
    assert levels_read(ov_config("baseline"))["image"] == [[26], [], [], [], [], []]


def test_a_frozen_language_model_costs_two_forward_passes_and_no_third() -> None:
    """Its weights need no gradient, but it hands gradients on to the projector below it."""
    config = ov_config("baseline")
    config["vision"]["trainable"] = False
    texts = [{"text": config["text"] | {"trainable": each}} for each in (True, False)]
    trained, frozen = (count_cost(config | text, answers=9) for text in texts)
    language = trained.flops_forward.trained - frozen.flops_forward.trained
    assert language > 0.9 * trained.flops_forward.trained
    assert trained.flops_forward.total == frozen.flops_forward.total
    assert trained.flops_step - frozen.flops_step == language
    executed = count_executed_flops(config | texts[1], answers=9, text_tokens=64)
    assert executed.step == pytest.approx(2 * executed.fusion + executed.towers, rel=0.04)


@pytest.mark.slow
def test_its_siglip_is_that_of_transformers_without_the_last_block() -> None:
    sizes = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 26, "num_attention_heads": 16}
    with torch.device("meta"):
        theirs = SiglipVisionModel(SiglipVisionConfig(**sizes, image_size=384, patch_size=14, vision_use_head=False))
    assert ov_manager("baseline")["vision tower"] == sum(p.numel() for p in theirs.parameters())


def test_a_head_of_twice_the_width(tmp_path: Path) -> None:
    config = published(tmp_path, "BT", scale=2.0)
    assert count_cost(config, answers=3129).params["head"] == HEAD[2.0]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), FLOPS)
def test_forward_flops_are_the_authors_at_other_sizes(name: str, size: int, tmp_path: Path) -> None:
    cost = count_cost(published(tmp_path, name, image_size=size), answers=3129)
    assert cost.flops_forward.total - HEAD_FLOPS == pytest.approx(FLOPS[name, size], rel=1e-3)
    assert cost.flops_forward.total - HEAD_FLOPS == FLOPS[name, size]  # and indeed to the last one


def test_what_is_no_published_model_has_no_dead_weights(tmp_path: Path) -> None:
    config = published(tmp_path, "BT")
    assert dead_weights(config | {"manager": {"name": "mean"}}) is None
    tiny = fill_defaults({"text": {"name": "tiny_text"}, "vision": {"name": "tiny_vision"}})
    assert dead_weights(tiny) is None


@pytest.mark.slow
@pytest.mark.skipif("MTLAB_GOLDEN" not in os.environ, reason="needs the authors' whole counts: set MTLAB_GOLDEN")
def test_every_count_of_the_authors(tmp_path: Path) -> None:
    folder = Path(os.environ["MTLAB_GOLDEN"])
    for key, theirs in json.loads((folder / "flops_base.json").read_text()).items():
        name, _, size = key.partition("|")
        ours = count_cost(published(tmp_path, name, image_size=int(size)), answers=3129).flops_forward.total
        assert ours - HEAD_FLOPS == theirs["total"], key
    for key, theirs in json.loads((folder / "params_base.json").read_text()).items():
        name, _, head = key.partition("|")
        # METER's own code knows no scale of the head: its head is that of scale 1 throughout
        scale = 2.0 if head == "vqa_scale2" and not name.startswith("METER") else 1.0
        config = published(tmp_path, name, scale)
        cost, dead = count_cost(config, answers=3129), dead_weights(config)
        live = sum(cost.params.values()) - (cost.params["head"] if head == "none" else 0)
        assert live + sum((dead or {}).values()) == theirs["total"], key
