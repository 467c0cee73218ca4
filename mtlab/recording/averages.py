"""Managers' weights, averaged over examples and their real tokens, with their spread over tokens and examples.

Shapes: B examples of a batch, N experts, R = N + P rows (experts, then previous states), L tokens, K cross-modal
layers, H heads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from mtlab.data.batches import Loader
from mtlab.managers.base import MODALITIES, Modality
from mtlab.model.base import Encoder
from mtlab.recording.attention import EntropySum
from mtlab.recording.layer_similarity import LayerSimilarity
from mtlab.recording.probe import RecordedBatch, Recorder, dimension_spreads, labels, manager_rows, removed
from mtlab.recording.reader import ROWED

EXAMPLES = 128  #: enough for a mean over tokens to settle


def record_averages(
    recorder: Recorder,
    loader: Loader,
    rows: Sequence[int],
    batch: int,
    device: torch.device,
    levels: Mapping[Modality, Sequence[int]],
    between: Callable[[], None] = lambda: None,
) -> dict[str, Tensor]:
    """Average over some examples of a split.

    Args:
        recorder: runs the model.
        loader: the split.
        rows: the examples.
        batch: how many of them in one pass.
        device: the model's.
        levels: the offered levels, N of each modality.
        between: called before each batch (an interruption may raise from here).

    Returns:
        For weights and contributions (where a manager's output is a sum), M a modality and d a depth from 0, KIND/M/d,
        KIND_tokens/M/d, KIND_examples/M/d, each [R], and KIND_entropy/M/d, a scalar; weights_dimensions/M/d, [R], where
        weights differ by dimension; by_removal/M/d, 1, where contributions are no terms of a sum; temperature/M/d, a
        scalar; attention/M/d/self and …/cross, [H]; cosine/M and, where it fits into memory, cka/M, [K, K], K + 1 with
        a manager behind the last layer. float32, on the CPU. Rows of levels that a manager is not offered are NaN.

    """
    tallies: dict[str, RowAverages] = {}
    deviations: dict[str, RowAverages] = {}
    spreads: dict[str, EntropySum] = {}
    similar: dict[Modality, LayerSimilarity] = {}
    arrays: dict[str, Tensor] = {}
    for chosen in loader.evaluation_batches(batch, rows):
        between()
        recorded = recorder(chosen.to(device))
        for name, modality, values in manager_rows(recorded):
            tallies.setdefault(name, RowAverages(len(levels[modality]))).add(values, recorded.real(modality))
        for name, modality, values in dimension_spreads(recorded):
            deviations.setdefault(name, RowAverages(len(levels[modality]))).add(values, recorded.real(modality))
        for (modality, depth), entropies in recorded.attention.items():
            for kind, spread in (("self", entropies.own), ("cross", entropies.cross)):
                name = f"attention/{modality}/{depth}/{kind}"
                spreads[name] = spreads[name] + spread if name in spreads else spread
        for modality in sorted({own for own, _ in recorded.managers}):
            similar.setdefault(modality, LayerSimilarity()).add(_outputs(recorded, modality))
        arrays |= {f"temperature/{modality}/{depth}": held for (modality, depth), held in recorded.temperatures.items()}
        arrays |= {f"by_removal/{modality}/{depth}": torch.ones(()) for modality, depth in removed(recorded)}
    for name, tally in tallies.items():
        arrays |= tally.averages(*name.split("/", 1))
    arrays |= {name: spread.mean() for name, spread in deviations.items()}
    arrays |= {name: spread.total / spread.queries for name, spread in spreads.items() if spread.queries}
    for modality, similarity in similar.items():
        arrays[f"cosine/{modality}"] = similarity.cosine()
        if (cka := similarity.cka()) is not None:
            arrays[f"cka/{modality}"] = cka
    return {name: values.float().cpu() for name, values in sorted(arrays.items())}


class RowAverages:
    """Accumulates the rows of one manager over batches.

    Args:
        experts: N, how many of the rows are experts, NaN where the manager is not offered one; the rest are previous
            states.

    """

    def __init__(self, experts: int) -> None:
        self.experts = experts
        self.offered = 0  #: experts that are
        self.tokens: list[Tensor] = []  #: real tokens of each example, [B]
        self.means: list[Tensor] = []  #: over each example's real tokens, [B, R]
        self.deviations: list[Tensor] = []  #: over each example's real tokens, [B, R]
        self.entropy = 0.0
        self.weighed = 0  #: tokens with a weight on some expert

    def add(self, values: Tensor, real: Tensor) -> None:
        """Add a batch: float64 [B, R, L] and bool [B, L]."""
        counted = real.sum(1, keepdim=True)  # [B, 1]
        mask = real.unsqueeze(1)
        means = torch.where(mask, values, 0.0).sum(2) / counted
        squares = torch.where(mask, values - means.unsqueeze(2), 0.0).square().sum(2)
        self.tokens.append(counted.squeeze(1).cpu())
        self.means.append(means.cpu())
        self.deviations.append((squares / counted).sqrt().cpu())
        parts = values[:, : self.experts].abs()  # a bridge may subtract: its share is as large
        parts = parts[:, ~parts.isnan().all(2).all(0)]
        self.offered = max(self.offered, parts.shape[1])
        whole = parts.sum(1, keepdim=True)
        entropy = torch.special.entr(parts / whole).sum(1)  # [B, L]
        weighed = real & (whole.squeeze(1) > 0)
        self.entropy += float(torch.where(weighed, entropy, 0.0).sum())
        self.weighed += int(weighed.sum())

    def mean(self) -> Tensor:
        """Average over all real tokens, [R]."""
        tokens = torch.cat(self.tokens).unsqueeze(1)
        return (torch.cat(self.means) * tokens).sum(0) / tokens.sum()

    def averages(self, kind: str, where: str) -> dict[str, Tensor]:
        """Average under the names KIND…/WHERE; deviations are over all tokens or examples, not estimates from some."""
        means = torch.cat(self.means)
        arrays = {
            f"{kind}/{where}": self.mean(),
            f"{kind}_tokens/{where}": torch.cat(self.deviations).mean(0),
            f"{kind}_examples/{where}": means.std(0, correction=0),
        }
        if self.offered > 1 and self.weighed:
            most = torch.tensor(float(self.offered), dtype=torch.float64).log()
            arrays[f"{kind}_entropy/{where}"] = self.entropy / self.weighed / most
        return arrays


def describe_averages(
    arrays: Mapping[str, Tensor], levels: Mapping[Modality, Sequence[int]], examples: int, first_layer: int
) -> dict[str, object]:
    """Describe the arrays of `record_averages`, for the metadata of their file.

    Args:
        arrays: each row stands for an expert or a previous state.
        levels: the offered levels, 1-based.
        examples: how many were averaged over.
        first_layer: how a user counts the layer at depth 0.

    """
    named = {name: len(held) for name, held in arrays.items() if name.split("/")[0] in ROWED}
    return {
        "levels": {modality: list(offered) for modality, offered in levels.items()},
        "labels": labels(list(named), named, levels),
        "examples": examples,
        "first_layer": first_layer,
    }


def weighted_modalities(arrays: Mapping[str, Tensor], encoder: Encoder) -> set[Modality]:
    """Return the modalities whose managers all record weights."""
    depths = {modality: encoder.depths(modality) for modality in MODALITIES}
    return {m for m in MODALITIES if depths[m] and all(f"weights/{m}/{depth}" in arrays for depth in depths[m])}


def _outputs(recorded: RecordedBatch, modality: Modality) -> Tensor:
    """Stack the outputs of a modality's managers at real tokens, float32 [K, T, D]."""
    real = recorded.real(modality)
    held = [each.hidden[real].float() for (own, _), each in sorted(recorded.managers.items()) if own == modality]
    return torch.stack(held)
