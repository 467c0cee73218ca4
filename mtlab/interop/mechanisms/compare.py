"""Comparing a bundle of a single mechanism with what our managers compute: outputs and gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mtlab.interop.mechanisms import connectors, depthwise, residual
from mtlab.interop.mechanisms.bundle import Mechanism, Reproduction, Run
from mtlab.towers.loading.weights import read_tensors

OUTPUT_TOLERANCE = 1e-5  #: of the largest entry of a tensor
GRADIENT_TOLERANCE = 1e-3  #: of the largest entry of a tensor
NEGLIGIBLE = 1e-4  #: where neither gradient has an entry above this, both are zero but for rounding: not compared

#: authors' repository → how our managers compute what its bundles hold
FAMILIES: dict[str, Callable[[Mechanism], Reproduction]] = {
    "LooperXX/LLaVA-OV-Manager": residual.llava_ov_manager,
    "MengLcool/DeepStack-VL": residual.deepstack,
    "transformers": residual.qwen3_vl,
    "wdlctc/open-attention-residuals": depthwise.attention_residuals,
    "epfml/DenseFormer": depthwise.denseformer,
    "Caiyun-AI/MUDDFormer": depthwise.muddformer,
    "lucidrains/hyper-connections": depthwise.hyper_connections,
    "Linchenchen/TGIF": connectors.tgif,
    "YiZheng-zy/IGVA": connectors.igva,
    "HJYao00/DenseConnector": connectors.dense_connector,
    "yuecao0119/MMFuser": connectors.mmfuser,
    "allenai/allennlp": connectors.scalar_mix,
}


def mechanism_family(config: Any) -> str | None:
    """Return which of `FAMILIES` the `config.json` of a bundle is of; None: it is no bundle of a single mechanism."""
    if not isinstance(config, Mapping) or not {"source", "options", "sizes"} <= set(config):
        return None
    return next((name for name in FAMILIES if str(config["source"]).startswith(name)), None)


def read_mechanism(folder: Path, config: Mapping[str, Any], weights: str, io: str) -> Mechanism:
    """Read the tensors of a bundle from the files of these names.

    Raises:
        UserError: a file is missing or damaged.

    """
    return Mechanism(folder, config, read_tensors(folder / weights), read_tensors(folder / io))


def compare(bundle: Mechanism, reproduction: Reproduction) -> Iterator[tuple[str, Tensor, Tensor, float]]:
    """Yield name, our tensor, theirs and the tolerance of every output and gradient that a manager computes."""
    for prefix, run in reproduction.cases.items():
        yield from _compare_case(bundle, prefix, run, tuple(reproduction.lacking))


def _compare_case(
    bundle: Mechanism, prefix: str, run: Run, lacking: tuple[str, ...]
) -> Iterator[tuple[str, Tensor, Tensor, float]]:
    io = bundle.io
    weights = {name: tensor.clone().requires_grad_() for name, tensor in bundle.weights.items()}
    starts = ("in/", f"{prefix}in/")  # a case has the inputs of the main one, but for its own
    inputs = {
        name.removeprefix(start): tensor.clone().requires_grad_(tensor.is_floating_point())
        for start in starts
        for name, tensor in io.items()
        if name.startswith(start)
    }
    outputs = run(weights, inputs)
    for kind in ("mid", "out"):
        for name, ours in outputs.items():
            stored = f"{prefix}{kind}/{name}"
            if stored in io and not stored.startswith(lacking):
                yield stored, ours.detach(), io[stored], OUTPUT_TOLERANCE
    parts = [(outputs[name] * io[f"{prefix}cot/{name}"]).sum() for name in outputs if f"{prefix}cot/{name}" in io]
    leaves = {f"{prefix}grad/param/{name}": tensor for name, tensor in weights.items()}
    leaves |= {f"{prefix}grad/in/{name}": tensor for name, tensor in inputs.items() if tensor.requires_grad}
    leaves = {name: tensor for name, tensor in leaves.items() if name in io}
    if not parts or not leaves:
        return
    gradients = torch.autograd.grad(torch.stack(parts).sum(), list(leaves.values()), allow_unused=True)
    for (name, leaf), ours in zip(leaves.items(), gradients, strict=True):
        computed = torch.zeros_like(leaf) if ours is None else ours
        if not all(gradient.abs().amax() < NEGLIGIBLE for gradient in (io[name], computed)):  # NaN is compared
            yield name, computed, io[name], GRADIENT_TOLERANCE
