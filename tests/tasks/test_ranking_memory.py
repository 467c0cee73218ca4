"""Ranking ten times as many pictures and captions takes as much memory: measured in processes of their own."""

import json
import subprocess
import sys

import pytest

SCRIPT = """
import json, sys
import torch
from mtlab.data.base import Example
from mtlab.data.batches import Loader
from mtlab.tasks.build import build
from mtlab.tasks.ranking import recall
from mtlab.towers.base import Features, TowerShape
from mtlab.tasks.evaluation import evaluate
from mtlab.model.forward import ForwardContext, Runtime
from mtlab.training.environment import peak_memory_mib

images = int(sys.argv[1])
torch.set_num_threads(1)
recall.BLOCK_BYTES = 2**22
shape = TowerShape((64,) * 3, (1, 2, 3), 3, 48, class_token=True, positions=True, vocabulary=30)
task = {"name": "retrieval", "contrastive_width": 16, "candidates": 10}
settings = {"manager": {"name": "mean"}, "model": {"width": 64, "cross_layers": 1, "mlp_ratio": 1}, "task": task}

class Drawn:
    def fetch(self, keys):
        draws = [torch.randn(3, 48, 64, generator=torch.Generator().manual_seed(hash(key) % 1000)) for key in keys]
        return Features(tuple(torch.stack(draws, 1)))

examples = [Example(str(n), f"text {n:09}", f"image {n // 2:09}", -1, "") for n in range(2 * images)]
model = build(settings, shape, shape, answers=0).eval()
context = ForwardContext(model, Runtime(torch.device("cpu")))
evaluation = evaluate(context, Loader(examples, Drawn(), Drawn()), 32)
kept = 3 * images * 3 * 48 * 64 * 4
print(json.dumps({"peak": peak_memory_mib(torch.device("cpu")) * 2**20, "kept": kept}))
"""


def measured(images: int) -> dict[str, int]:
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(images)], check=True, capture_output=True, text=True)
    found: dict[str, int] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_memory_stays_as_the_data_grow_tenfold() -> None:
    few, many = measured(60), measured(600)
    assert many["kept"] > 60 * 2**20, "held in memory, the experts would show"
    assert many["peak"] - few["peak"] < many["kept"] / 4
