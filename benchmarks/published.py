"""Models of the published base size with random weights, and a batch for them: what the step's benchmarks time.

Ours share all that they have in common (towers, projections, cross-modal layers, head) and one optimiser, and lend
Hugging Face's model memory for its matrices and their moments: all fit in little more than the memory of one. A step
moves only the parameters that have a gradient: each model pays for its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from mtlab.config.check import check_config
from mtlab.config.load import compose, merge, recipe_folders
from mtlab.config.schema import Precision, TrainConfig
from mtlab.data.batches import Batch
from mtlab.model.forward import Runtime
from mtlab.model.network import VisionLanguageModel
from mtlab.resolution.defaults import fill_defaults
from mtlab.tasks.build import build
from mtlab.towers.build import build_tower, tower_shape
from mtlab.training.optimisation.master_weights import hold_weights
from mtlab.training.optimisation.optimiser import make_optimiser
from mtlab.training.optimisation.parameter_groups import parameter_groups
from mtlab.training.steps import train_step

ANSWERS = 3129  #: of VQAv2
TEXT = {"name": "transformers", "model": "roberta-base", "layers": "top6", "max_length": 50, "trainable": True}
VISION = {"name": "clip_vit", "layers": "top6", "trainable": True}
TASK = {"name": "question_answering", "loss": "binary"}


def configuration(preset: str, **manager: Any) -> dict[str, Any]:
    """Fill in a published preset, with a CLIP tower of its size (no weights are needed) and manager options."""
    written = compose(recipe_folders()[0] / "presets" / f"{preset}.yaml").data["set"]
    written = {**written, "text": TEXT, "vision": VISION, "task": TASK}
    written["manager"] = {**written["manager"], **manager}
    return fill_defaults(merge(written, {"train": {"lr": 1e-5, "clip": None}}))


@dataclass(frozen=True)
class Size:
    """What a batch holds; the vocabulary is RoBERTa's."""

    batch: int = 4
    pixels: int = 224
    lengths: Sequence[int] = (50, 41, 32, 23)  #: tokens of the texts, in turn

    @property
    def tokens(self) -> int:
        """Tokens of all images."""
        return self.batch * (1 + (self.pixels // 16) ** 2)

    def texts(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Make ids and mask, both [B, L]."""
        lengths = torch.tensor([self.lengths[at % len(self.lengths)] for at in range(self.batch)])
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        ids = torch.randint(5, 50000, mask.shape, generator=torch.Generator().manual_seed(0))
        return torch.where(mask, ids, 1).to(device), mask.to(device)

    def images(self, device: torch.device) -> Tensor:
        """Make pixels, [B, 3, S, S]."""
        shape = (self.batch, 3, self.pixels, self.pixels)
        return torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(device)

    def targets(self, device: torch.device) -> Tensor:
        """Make scores of the answers, [B, A]."""
        scores = torch.zeros(self.batch, ANSWERS)
        scores[:, 7] = 1.0
        return scores.to(device)


class Ours:
    """Our variants.

    Args:
        variants: name → resolved configuration.
        device: where they are.
        precision: of their weights; those in fp32 are for steps in bf16, too.

    """

    def __init__(
        self, variants: Mapping[str, Mapping[str, Any]], device: torch.device, precision: Precision = "fp32"
    ) -> None:
        self.device = device
        self.models: dict[str, VisionLanguageModel] = {}
        for name, config in variants.items():
            self.models[name] = self._built(config)
        first = next(iter(self.models.values()))
        config = next(iter(variants.values()))
        train = replace(check_config(TrainConfig, config["train"]), precision=precision)
        whole = nn.ModuleList(self.models.values())
        masters, groups = hold_weights(whole, train), parameter_groups(first, train, {"text": 1.0, "vision": 1.0})
        self.optimiser = masters.follow(make_optimiser(first, groups, train, masters.of))
        known = {id(p) for group in self.optimiser.param_groups for p in group["params"]}
        own = [p for each in whole.parameters() if id(p := masters.of.get(each, each)) not in known]
        if own:
            self.optimiser.add_param_group({"params": own, "weight_decay": 0.0})
        self.taken = 0

    def _built(self, config: Mapping[str, Any]) -> VisionLanguageModel:
        """Build a variant on the towers, projections, layers and head of the first."""
        first = next(iter(self.models.values()), None)
        shapes = tower_shape("text", config["text"]), tower_shape("vision", config["vision"])
        towers = (
            [build_tower(kind, config[kind], weights=False) for kind in ("text", "vision")]
            if first is None
            else [first.towers[kind] for kind in ("text", "vision")]
        )
        model = build(config, *shapes, answers=ANSWERS, text_tower=towers[0], vision_tower=towers[1])
        if first is not None:
            model.task = first.task
            for modality in ("text", "image"):
                own, shared = getattr(model.encoder, modality), getattr(first.encoder, modality)
                own.projections, own.layers, own.pooler = shared.projections, shared.layers, shared.pooler
        return model.to(self.device).train()

    def batch(self, size: Size) -> Batch:
        """Make a batch on the device."""
        text, image = size.texts(self.device), (size.images(self.device),)
        return Batch(tuple(range(size.batch)), text, image, size.targets(self.device))

    def step(self, name: str, batch: Batch, *, precision: Precision = "fp32") -> Tensor:
        """Make one training step, as the loop does."""
        self.taken += 1
        runtime = Runtime(self.device, precision)
        loss = train_step(self.models[name], self.optimiser, (batch,), runtime, seed=0, step=self.taken, clip=None)
        self.optimiser.zero_grad(set_to_none=True)
        return loss


class Theirs:
    """Hugging Face's BridgeTower of the same size, under the same head, loss and optimiser.

    Args:
        device: where it is.
        lender: lends memory, see above; it has made a step.

    """

    def __init__(self, device: torch.device, lender: torch.optim.Optimizer | None = None) -> None:
        from transformers import BridgeTowerConfig, BridgeTowerModel

        config = BridgeTowerConfig(vision_config={"image_size": 224, "patch_size": 16})
        self.device = device
        self.model = BridgeTowerModel(config).to(device).train()
        wide = 2 * config.hidden_size
        self.head = nn.Sequential(nn.Linear(wide, wide), nn.LayerNorm(wide), nn.GELU(), nn.Linear(wide, ANSWERS)).to(
            device
        )
        parameters = [*self.model.parameters(), *self.head.parameters()]
        self.optimiser = torch.optim.AdamW(parameters, 1e-5, (0.9, 0.98), fused=True)
        if lender is not None:
            self._borrow(parameters, lender)

    def _borrow(self, parameters: Sequence[nn.Parameter], lender: torch.optim.Optimizer) -> None:
        """Lay matrices and their moments where another optimiser has some of the same shape.

        Vectors stay their own: a norm's scale that lay in a bias would make denormal numbers, which are slow.
        """
        pool: dict[torch.Size, list[Tensor]] = {}
        for parameter in (each for each in lender.state if each.ndim > 1):
            pool.setdefault(parameter.shape, []).append(parameter)
        for parameter in parameters:
            if found := pool.get(parameter.shape):
                lent = found.pop()
                parameter.data = lent.data
                self.optimiser.state[parameter] = dict(lender.state[lent])

    def step(self, batch: Batch, *, precision: Precision = "fp32") -> Tensor:
        """Make one training step."""
        (ids, mask), (pixels,), targets = batch.text, batch.image, batch.targets
        with torch.autocast(self.device.type, torch.bfloat16, enabled=precision != "fp32"):
            pooled = self.model(input_ids=ids, attention_mask=mask.long(), pixel_values=pixels).pooler_output
            logits = self.head(pooled).float()
        loss = nn.functional.binary_cross_entropy_with_logits(logits, targets) * ANSWERS
        loss.backward()
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return loss.detach()
