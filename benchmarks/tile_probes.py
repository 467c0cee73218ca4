"""Which level of a vision tower knows what the world `layered` asks for: a linear probe on each level alone.

A probe reads one level's tokens of one tile: their mean, standard deviation and maximum, channel by channel, from which
ridge regression predicts the answer. What the best level for each family gains over the best level for all is the
world's room: an adaptive manager may hope for a share of it, and a world without room says nothing about such managers.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from mtlab.config.check import check_config
from mtlab.data.base import Split
from mtlab.data.worlds.layered import Layered
from mtlab.data.worlds.tiles.scene import ANSWERS
from mtlab.towers.base import Tower
from mtlab.towers.build import build_tower, token_grid

PENALTIES = (
    0.001,
    0.01,
    0.1,
    1.0,
)  #: of ridge regression, per example and channel; chosen on a fifth of the training data


def probe(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> float:
    """Fit a probe to pooled tiles [B, C] and their answers [B]; return its accuracy on others, in %."""
    held = len(train[0]) // 5
    chosen = max(
        PENALTIES, key=lambda it: _accuracy((train[0][held:], train[1][held:]), (train[0][:held], train[1][:held]), it)
    )
    return _accuracy(train, test, chosen)


def _accuracy(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], penalty: float) -> float:
    mean, std = train[0].mean(0), train[0].std(0) + 1e-4
    seen, tested = ((pooled - mean) / std for pooled in (train[0], test[0]))
    wanted = F.one_hot(train[1], 4).float() - 0.25
    ridge = penalty * len(seen) * torch.eye(seen.shape[1])
    weights = torch.linalg.solve(seen.T @ seen + ridge, seen.T @ wanted)
    return 100 * ((tested @ weights).argmax(1) == test[1]).float().mean().item()


@torch.no_grad()
def tiles_of(tower: Tower[object], world: Layered, split: Split, pictures: int, prefix: int) -> list[Tensor]:
    """Return each level by picture and tile, [pictures, 4, 3 C]; tokens on the border of two tiles are left out."""
    batches = []
    for first in range(0, pictures, 20):
        images = [world.image(f"{split}/{index}") for index in range(first, min(first + 20, pictures))]
        levels = tower(*tower.prepare(images)).levels
        batches.append([_pool(level[:, prefix:]) for level in levels])
    return [torch.cat(level) for level in zip(*batches, strict=True)]


def _pool(tokens: Tensor) -> Tensor:
    """Tokens [B, G², C] → mean, standard deviation and maximum of each tile, [B, 4, 3 C]."""
    side = round(tokens.shape[1] ** 0.5)
    grid, halves = tokens.unflatten(1, (side, side)), (slice(side // 2), slice(-(side // 2), None))
    tiles = torch.stack([grid[:, rows, columns].flatten(1, 2) for rows in halves for columns in halves], 1)
    return torch.cat([tiles.mean(2), tiles.std(2), tiles.amax(2)], -1)


def answers_of(world: Layered, split: Split, pictures: int, family: str) -> tuple[Tensor, Tensor]:
    """Return the pictures that show a family, and the answers of their tiles [pictures, 4]."""
    scenes = [world.scene(split, index) for index in range(pictures)]
    shown = [index for index, scene in enumerate(scenes) if family in scene.tiles[0].answers]
    order = list(ANSWERS[family])
    found = [[order.index(tile.answers[family]) for tile in scenes[index].tiles] for index in shown]
    return torch.tensor(shown), torch.tensor(found)


def table(rows: dict[str, list[float]], levels: Sequence[int]) -> str:
    """Format accuracies by family and level as a Markdown table, with the room below."""
    lines = ["| family | " + " | ".join(f"level {level}" for level in levels) + " | best |"]
    lines.append("|---" * (len(levels) + 2) + "|")
    means = [sum(row[index] for row in rows.values()) / len(rows) for index in range(len(levels))]
    for name, row in (*rows.items(), ("all", means)):
        best = max(range(len(row)), key=row.__getitem__)
        cells = [f"**{value:.0f}**" if index == best else f"{value:.0f}" for index, value in enumerate(row)]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {levels[best]} |")
    oracle = sum(max(row) for row in rows.values()) / len(rows)
    lines += ["", f"best level of each family {oracle:.1f}, best level for all {max(means):.1f}"]
    return "\n".join([*lines, f"room {oracle - max(means):.1f} points"])


def main() -> None:
    """Probe and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tower", default="dinov2_s", help="a registered vision tower")
    parser.add_argument("--image-size", type=int, help="of the tower's input, in pixels; its default if not given")
    parser.add_argument("--grid", type=int, help="side of the tower's token grid, if it has that option")
    parser.add_argument("--difficulty", default="medium", choices=("easy", "medium", "hard"))
    parser.add_argument("--levels", default="all", help="as in the tower's `layers`: all, top6, …")
    parser.add_argument("--train", type=int, default=800, help="pictures to learn from")
    parser.add_argument("--test", type=int, default=400, help="pictures to test on")
    parser.add_argument("--quick", action="store_true", help="a trial with few pictures")
    given = parser.parse_args()
    if given.quick:
        given.train, given.test = 24, 12
    torch.set_num_threads(1)
    began = time.monotonic()
    node = {"name": given.tower, "layers": given.levels, "image_size": given.image_size, "grid": given.grid}
    node = {key: value for key, value in node.items() if value is not None}
    tower = build_tower("vision", node)
    grid = token_grid(node)
    world = Layered(check_config(Layered.Config, {"difficulty": given.difficulty}))
    sizes: tuple[tuple[Split, int], ...] = (("train", given.train), ("test", given.test))
    tokens = {split: tiles_of(tower, world, split, size, grid.prefix if grid else 0) for split, size in sizes}
    rows: dict[str, list[float]] = {}
    for family in ANSWERS:
        where = {split: answers_of(world, split, size, family) for split, size in sizes}
        rows[family] = []
        for level in range(len(tower.levels)):
            train, test = (
                (tokens[split][level][shown].flatten(0, 1), answers.flatten())
                for split, (shown, answers) in where.items()
            )
            rows[family].append(probe(train, test))
    print(f"{given.tower}, layered {given.difficulty}, {given.train} + {given.test} pictures")
    print(table(rows, tower.levels))
    print(f"{time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
