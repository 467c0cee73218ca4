"""The official bundles: their options and weights in our terms."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from mtlab.config.schema import ModelConfig
from mtlab.encoder import CrossModalEncoder
from mtlab.towers.base import Features, TowerShape

GOLDEN = Path(__file__).parents[1] / "golden"


class Bundle:
    """One official model: what it was given and what it gave."""

    def __init__(self, name: str) -> None:
        self.options = json.loads((GOLDEN / name / "config.json").read_text())
        self.official = self.options["official_config"]
        self.weights = load_file(GOLDEN / name / "state_dict.safetensors")
        self.io = load_file(GOLDEN / name / "io.safetensors")

    def manager(self) -> dict[str, object]:
        """Our manager node for it: options only."""
        if self.official["model_type"] == "METER":
            return {"name": "last"}
        if self.official["model_type"] == "BT":
            return {"name": "bridge"}
        shared = {"weight": self.official["manager_weight_type"], "noise": 1.0}
        if self.official["manager_type"] == "SAUE":
            return {"name": "static", **shared}
        return {"name": "adaptive", "mask_query": False, **shared}

    def model(self, **changes: object) -> ModelConfig:
        options = {
            "width": self.official["hidden_size"],
            "heads": self.official["num_heads"],
            "cross_layers": self.official["num_layers"],
            "mlp_ratio": self.official["mlp_ratio"],
            "dropout": self.official["drop_rate"],
            "norm_eps": self.options["cross_layer_norm_eps"],
            "layer_embeddings": self.official["model_type"] == "MT",
        }
        return ModelConfig(**(options | changes))  # type: ignore[arg-type]

    def shape(self, modality: str) -> TowerShape:
        levels = self.levels(modality)
        width, tokens = self.tower_layers(modality)[0].shape[2], self.tower_layers(modality)[0].shape[1]
        return TowerShape((width,) * len(levels), levels, 4, tokens, class_token=True, positions=True)

    def levels(self, modality: str) -> tuple[int, ...]:
        """The managed levels of ManagerTower, all for the others."""
        managed = self.official[f"managed_layers_{modality}"] if self.official["model_type"] == "MT" else 4
        return tuple(range(4 - managed + 1, 5))

    def tower_layers(self, modality: str) -> list[Tensor]:
        """All four levels of the tower."""
        if modality == "text":
            return [self.io[f"mid/text_layer.{i}"] for i in range(4)]
        blocks = [self.io[f"mid/image_block.{i}"] for i in range(4)]
        norm = [self.weights[f"vit_model.visual.ln_post.{part}"] for part in ("weight", "bias")]
        return [F.layer_norm(block, block.shape[-1:], *norm, 1e-5) for block in blocks]

    def features(self, modality: str) -> Features:
        layers = self.tower_layers(modality)
        mask = self.io["in/text_masks"].bool() if modality == "text" else None
        return Features(tuple(layers[level - 1] for level in self.levels(modality)), mask)

    def noise(self) -> dict[tuple[str, int], Tensor]:
        return {(m, d): self.io[f"noise/eps.{m}.{d}"] for m in ("text", "image") for d in range(3)}

    def encoder(self, manager: dict[str, object] | None = None, **changes: object) -> CrossModalEncoder:
        """Our encoder with the official weights; `manager` and `changes` alter our options on purpose."""
        node = manager or self.manager()
        encoder = CrossModalEncoder(self.model(**changes), node, self.shape("text"), self.shape("image"))
        ours = dict(encoder.named_parameters())  # the published models do not standardise: buffers stay as they are
        mapped = {key: value for key, value in self.mapped().items() if key in ours}
        missing = set(ours) - set(mapped)
        assert not missing, f"no official weights for {sorted(missing)}"
        encoder.load_state_dict(mapped, strict=False)
        return encoder.eval()

    def mapped(self) -> dict[str, Tensor]:
        """The official weights under our names."""
        found: dict[str, Tensor] = {}
        for row, modality in enumerate(("text", "image")):
            found |= {f"{modality}.{name}": value for name, value in self._stream(modality, row).items()}
        return found

    def _stream(self, modality: str, row: int) -> dict[str, Tensor]:
        weights = self.weights
        found = {"embeddings.token_type.weight": weights["token_type_embeddings.weight"][row : row + 1]}
        if f"layer_embeddings_{modality}.weight" in weights:
            found["embeddings.layer.weight"] = weights[f"layer_embeddings_{modality}.weight"]
        for part in ("weight", "bias"):
            found[f"projections.shared.{part}"] = weights[f"cross_modal_{modality}_transform.{part}"]
            found[f"pooler.linear.{part}"] = weights[f"cross_modal_{modality}_pooler.dense.{part}"]
            for depth in range(3):
                for ours, theirs in _LAYER.items():
                    parts = [weights[f"cross_modal_{modality}_layers.{depth}.{name}.{part}"] for name in theirs]
                    found[f"layers.{depth}.{ours}.{part}"] = torch.cat(parts)
                for ours, value in self._manager(modality, depth, part).items():
                    found[f"managers.{depth}.{ours}"] = value
        return found

    def _manager(self, modality: str, depth: int, part: str) -> dict[str, Tensor]:
        weights, kind = self.weights, self.official["model_type"]
        if kind == "METER":
            return {}
        if kind == "BT":
            tower = f"cross_modal_{modality}_link_tower.{depth - 1}.LayerNorm"
            name = tower if depth else f"cross_modal_{modality}_layernorm"
            return {f"norm.{part}": weights[f"{name}.{part}"]}
        at = f"cross_modal_{modality}_manager_tower.{depth}.manager_layer."
        experts = len(self.levels(modality))
        norms = [weights[f"{at}LayerNorm.{n}.{part}"] for n in range(experts)]
        found = {"scale" if part == "weight" else "shift": torch.stack(norms).unsqueeze(1)}
        found["temperature"] = weights[f"{at}softmax_temperature"].squeeze()
        if depth:
            found[f"previous_norm.{part}"] = weights[f"{at}LayerNorm.{experts}.{part}"]
        if (scores := weights.get(f"{at}layer_scores")) is not None:
            found["score"] = scores[:, :experts]
            if depth:
                found["previous_weight"] = scores[:, experts].flatten()
        else:
            found["previous_weight"] = weights[f"{at}layer_scores_cross"].flatten()
            for ours, theirs in _QUERY.items():
                found[f"{ours}.{part}"] = weights[f"{at}{theirs}.{part}"]
        return found


_LAYER = {
    "self_attention.query": ["attention.self.query"],
    "self_attention.key_value": ["attention.self.key", "attention.self.value"],
    "self_attention.out": ["attention.output.dense"],
    "self_norm": ["attention.output.LayerNorm"],
    "cross_attention.query": ["crossattention.self.query"],
    "cross_attention.key_value": ["crossattention.self.key", "crossattention.self.value"],
    "cross_attention.out": ["crossattention.output.dense"],
    "cross_norm": ["crossattention.output.LayerNorm"],
    "feed_forward.widen": ["intermediate.dense"],
    "feed_forward.narrow": ["output.dense"],
    "out_norm": ["output.LayerNorm"],
}
_QUERY = {
    "query": "fusion_attention.q_proj",
    "key": "fusion_attention.k_proj",
    "other_norm": "extra_query_LayerNorm",
    "controller": "linear_controller",
}
