"""Which level of a vision tower answers which family of questions, by single-level probes that take minutes, not hours?

    python benchmarks/level_probes.py [--data '{name: shapes, difficulty: hard}'] [--vision '{name: dinov2_s}']

For each level alone, ridge regression on the products of question features and picture features predicts the answer,
each family by itself: the kernel is that of questions (MiniLM's top level, mean of tokens) times that of pictures
(mean, maximum and deviation of tokens, or means of 3 × 3 fields, or both). What of the picture is used, and how much is
regularised, is chosen on a fifth of the training examples. A probe finds less than training does, above all where
questions compare or relate things; it shows where levels differ, before anything is trained.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Sequence
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import yaml
from torch import Tensor
from torch.nn import functional as F

from mtlab.config.nodes import lookup_options
from mtlab.data.base import DATASETS, Dataset, Example
from mtlab.data.cache.extract import extract_features
from mtlab.towers.build import build_tower, token_grid

BATCH = 16
FIELDS = 3  #: side of the grid of fields that tokens are averaged over
SHARES = (0.0, 0.5, 1.0)  #: of the picture's kernel that comes from fields
RIDGES = (1.0, 10.0)
OFFSET = 0.3  #: added to both kernels, so that their product holds each alone


def main() -> None:
    """Probe every level and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=yaml.safe_load, default={"name": "shapes"})
    parser.add_argument("--vision", type=yaml.safe_load, default={"name": "dinov2_s"})
    parser.add_argument("--train", type=int, default=4800, help="training examples")
    parser.add_argument("--test", type=int, default=1920, help="test examples")
    chosen = parser.parse_args()
    node = {**chosen.data, "train": chosen.train, "val": 8, "test": chosen.test}
    entry, options = lookup_options(DATASETS, node, "data")
    dataset = entry.cls(options)
    train, test = dataset.examples("train"), dataset.examples("test")
    questions = kernel(question_features([*train, *test]), len(train))
    rows, levels = picture_features(dataset, [*train, *test], {**chosen.vision, "layers": "all"})
    families = sorted({example.family for example in train})
    pictures = len({example.images[0] for example in train})
    print(f"# {chosen.data} on {chosen.vision}: accuracy of probes, % ({len(train)} examples, tested on {len(test)})")
    print("| level |", " | ".join(families), "| mean |")
    print("|", " | ".join(["--:"] * (len(families) + 2)), "|")
    commonest = {family: majority(family, train, test) for family in families}
    print_row("majority", list(commonest.values()))
    for number, (whole, fields) in enumerate(levels, 1):
        kernels = kernel(whole, pictures), kernel(fields, pictures)
        print_row(str(number), [probe(family, train, test, questions, kernels, rows) for family in families])


def print_row(name: str, accuracies: Sequence[float]) -> None:
    """Print accuracies and their mean, in points."""
    shown = [f"{100 * value:.0f}" for value in accuracies]
    print(f"| {name} |", " | ".join(shown), f"| {100 * sum(accuracies) / len(accuracies):.1f} |", flush=True)


def question_features(examples: Sequence[Example]) -> Tensor:
    """Average the tokens of MiniLM's top level, [examples, D]."""
    tower, found = build_tower("text", {"name": "minilm", "layers": "top1"}), {}
    texts = sorted({example.text for example in examples})
    for at in range(0, len(texts), BATCH):
        batch = texts[at : at + BATCH]
        features = extract_features(tower, batch)
        assert features.mask is not None
        mask = features.mask.unsqueeze(-1)
        found |= dict(zip(batch, (features.levels[0] * mask).sum(1) / mask.sum(1), strict=True))
    return torch.stack([found[example.text] for example in examples])


def picture_features(
    dataset: Dataset, examples: Sequence[Example], node: dict[str, Any]
) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Return each example's row among pictures, and two kinds of features of each level, [pictures, …]."""
    keys = list(dict.fromkeys(example.images[0] for example in examples))
    tower, grid = build_tower("vision", node), token_grid(node)
    assert grid is not None
    parts: list[list[tuple[Tensor, Tensor]]] = []
    for at in range(0, len(keys), BATCH):
        levels = extract_features(tower, [dataset.image(key) for key in keys[at : at + BATCH]]).levels
        parts.append([_summaries(level[:, grid.prefix :], grid.rows) for level in levels])
    stacked = [tuple(map(torch.cat, zip(*level, strict=True))) for level in zip(*parts, strict=True)]
    row = {key: number for number, key in enumerate(keys)}
    return torch.tensor([row[example.images[0]] for example in examples]), stacked


def _summaries(tokens: Tensor, side: int) -> tuple[Tensor, Tensor]:
    fields = F.adaptive_avg_pool2d(tokens.transpose(1, 2).unflatten(2, (side, side)), FIELDS).flatten(1)
    return torch.cat([tokens.mean(1), tokens.amax(1), tokens.std(1)], 1), fields


def kernel(features: Tensor, fitted: int) -> Tensor:
    """Return the mean products of standardised features; the first `fitted` rows give mean and deviation."""
    values = features.double()
    values = (values - values[:fitted].mean(0)) / (values[:fitted].std(0) + 1e-4)
    return values @ values.T / values.shape[1]


def majority(family: str, train: Sequence[Example], test: Sequence[Example]) -> float:
    """Return the accuracy of a family's commonest answer in training."""
    counted = Counter(example.target for example in train if example.family == family)
    targets = [example.target for example in test if example.family == family]
    return sum(target == counted.most_common(1)[0][0] for target in targets) / len(targets)


def probe(
    family: str,
    train: Sequence[Example],
    test: Sequence[Example],
    questions: Tensor,
    pictures: tuple[Tensor, Tensor],
    rows: Tensor,
) -> float:
    """Fit and test a probe on a family's examples."""
    examples = [*train, *test]
    own = torch.tensor([at for at, example in enumerate(examples) if example.family == family])
    fitted = int((own < len(train)).sum())
    targets = torch.tensor([examples[at].target for at in own.tolist()])
    whole, fields = (part[rows[own]][:, rows[own]] for part in pictures)
    found = []
    for share in SHARES:
        mixed = (1 - share) * whole + share * fields
        product = (mixed + OFFSET) * (questions[own][:, own] + OFFSET)
        for ridge in RIDGES:
            validation = _accuracy(product[:fitted, :fitted], targets[:fitted], fitted - fitted // 5, ridge)
            found.append((validation, _accuracy(product, targets, fitted, ridge)))
    return max(found, key=lambda each: each[0])[1]  # of equals the first: test data choose nothing


def _accuracy(product: Tensor, targets: Tensor, fitted: int, ridge: float) -> float:
    """Fit on the first rows, and return the accuracy on the others."""
    answers = targets[:fitted].unique()
    wanted = (targets[:fitted, None] == answers).double()
    system = product[:fitted, :fitted] + ridge * torch.eye(fitted, dtype=product.dtype)
    scores = product[fitted:, :fitted] @ torch.linalg.solve(system, wanted - wanted.mean(0))
    return float((answers[scores.argmax(1)] == targets[fitted:]).double().mean())


if __name__ == "__main__":
    main()
