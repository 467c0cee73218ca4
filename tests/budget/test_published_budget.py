"""The presets cost what the authors' own code counts: parameters to the last one, FLOPs to a tenth of a percent."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from mtlab.resolution.defaults import fill_defaults
from mtlab.studies.budget.dead_weights import dead_weights
from mtlab.studies.budget.flops import count_cost
from mtlab.studies.expand import expand
from mtlab.studies.spec import read_study

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
