"""Activations computed anew in the backward pass: the same gradients to the bit, in less memory."""

from typing import Any

import pytest
import torch
from tiny_runs import tiny_config

from mtlab.errors import UserError
from mtlab.matmul import onednn_matmul
from mtlab.model.encoder import CrossModalEncoder
from mtlab.resolution.identity import cell_identity
from mtlab.studies.budget.memory import training_memory
from mtlab.training.assemble import AssembledRun, assemble
from mtlab.training.optimisation.optimiser import make_optimiser
from mtlab.training.optimisation.parameter_groups import parameter_groups
from mtlab.training.steps import train_step

CLIP = {"name": "clip_vit", "width": 16, "depth": 3, "heads": 2, "patch": 16, "image_size": 32, "layers": "top2"}


def run(*, anew: bool, bf16: bool = False, **sections: Any) -> AssembledRun:
    precision = "bf16" if bf16 else "fp32"
    torch.manual_seed(0)  # a trained tower is calibrated with its dropout on
    return assemble(tiny_config(train={"checkpoint_activations": anew, "precision": precision}, **sections), seed=0)


def gradients(of: AssembledRun) -> dict[str, torch.Tensor]:
    of.model.train()
    optimiser = make_optimiser(of.model, parameter_groups(of.model, of.train, of.tower_scales), of.train)
    batches = next(of.training.steps(0, 16, 8))
    loss = train_step(of.model, optimiser, batches, of.runtime, seed=0, step=0, clip=None)
    return {"loss": loss} | {name: p.grad for name, p in of.model.named_parameters() if p.grad is not None}


@pytest.mark.slow
@pytest.mark.parametrize("bf16", [False, True])
def test_gradients_are_the_same_to_the_bit(bf16: bool, bert: dict[str, Any]) -> None:
    towers = {"text": bert, "vision": CLIP | {"trainable": True}, "cache": {"enabled": False}}
    kept, anew = (
        gradients(run(anew=way, bf16=bf16, data={"name": "shapes", "train": 32}, **towers)) for way in (False, True)
    )
    assert kept.keys() == anew.keys()
    assert any(name.startswith("towers.text") for name in kept)
    assert any(name.startswith("towers.vision") for name in kept)
    for name, gradient in kept.items():
        assert torch.equal(anew[name], gradient), name


def test_batch_norms_take_the_statistics_of_a_batch_once() -> None:
    convolutions = {"name": "timm", "model": "test_efficientnet", "weights": "random", "image_size": 32}
    towers = {"vision": convolutions | {"trainable": True}, "cache": {"enabled": False}}
    statistics = []
    for anew in (False, True):
        trained = run(anew=anew, data={"name": "shapes", "train": 32}, text={"depth": 1}, **towers)
        assert gradients(trained)
        statistics.append({name: held for name, held in trained.model.named_buffers() if "towers.vision" in name})
    kept, anew_too = statistics
    assert kept
    for name, held in kept.items():
        assert torch.equal(anew_too[name], held), name


def test_layers_run_twice_also_where_attention_takes_its_products_by_itself() -> None:
    """Without dropout, within oneDNN, see `fused_attention`: it kept its inputs, and ran its layer again for them."""
    images = {"name": "tiny_vision", "depth": 2, "width": 16, "heads": 2, "image_size": 32, "patch": 4}
    found, calls = [], [0, 0]
    for anew in (False, True):
        trained = run(anew=anew, data={"name": "shapes", "train": 32}, vision=images, model={"dropout": 0.0})
        assert isinstance(trained.model.encoder, CrossModalEncoder)
        layer = trained.model.encoder.layer("image", 1)
        layer.register_forward_pre_hook(lambda *_, anew=anew: calls.__setitem__(anew, calls[anew] + 1))
        with onednn_matmul():
            found.append(gradients(trained))
    micro_batches = 2
    assert calls == [micro_batches, 2 * micro_batches]
    for name, gradient in found[0].items():
        assert torch.equal(found[1][name], gradient), name


@pytest.mark.slow
def test_less_is_kept_and_the_id_stays(bert: dict[str, Any]) -> None:
    towers = {"text": bert, "vision": CLIP | {"trainable": True}, "cache": {"enabled": False}}
    cells = [
        tiny_config(train={"checkpoint_activations": anew}, data={"name": "shapes"}, **towers) for anew in (False, True)
    ]
    kept, anew = (training_memory(cell, answers=5).activations for cell in cells)
    assert anew < 0.7 * kept
    assert cell_identity(cells[0]).cell == cell_identity(cells[1]).cell


def test_a_trained_tower_that_cannot_is_told_before_it_is_assembled() -> None:
    with pytest.raises(UserError, match=r"^train\.checkpoint_activations: TinyText has no gradient checkpointing"):
        tiny_config(train={"checkpoint_activations": True}, text={"trainable": True}, cache={"enabled": False})
