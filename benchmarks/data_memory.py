"""The most memory that a process takes for one kind of work with data, in MiB: started by data.py.

python benchmarks/data_memory.py conversion RAW OUT
python benchmarks/data_memory.py streaming RAW SHARDS
python benchmarks/data_memory.py ranking IMAGES
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

BATCH = 32
CANDIDATES, CAPTIONS = 16, 5  #: of each picture or caption; of each picture
LEVELS, TOKENS, WIDTH = 3, 12, 32  #: of the features that ranking keeps on disk


def conversion(raw: str, out: str) -> None:
    """Convert images and captions."""
    from mtlab.data.shards.writing.convert import convert

    convert("jsonl", Path(raw), Path(out), {"kind": "captions"}, samples=250)


def streaming(_raw: str, shards: str) -> None:
    """Read as many batches as make any data set's buffer full."""
    from mtlab.data.shards.folder import ShardFolder
    from mtlab.data.shards.streaming.sample_loader import SampleLoader, StreamedTexts
    from mtlab.data.transforms.base import build_transform

    loader = SampleLoader(
        StreamedTexts([(ShardFolder(shards), "train")]), build_transform({"name": "albef", "size": 64})
    )
    for _ in islice(loader.steps(0, BATCH), 75):
        pass


def ranking(images: str) -> None:
    """Judge retrieval on features that are drawn: the towers' part is a constant, and would hide the rest."""
    import torch

    from mtlab.data.base import Example
    from mtlab.data.batches import Loader
    from mtlab.model.forward import ForwardContext, Runtime
    from mtlab.tasks.build import build
    from mtlab.tasks.evaluation import evaluate
    from mtlab.tasks.ranking import recall as searched
    from mtlab.tasks.ranking import similarity
    from mtlab.towers.base import Features, TowerShape

    class Drawn:
        def fetch(self, keys: Sequence[str]) -> Features:
            dice = [torch.Generator().manual_seed(zlib.crc32(key.encode())) for key in keys]
            drawn = [torch.randn(LEVELS, TOKENS, WIDTH, generator=each) for each in dice]
            return Features(tuple(torch.stack(drawn, 1)))

    # Blocks that the smaller data set fills, too: else what fills up would be taken for growth.
    searched.BLOCK_BYTES, similarity.CELLS = 2**22, 2**20
    levels = tuple(range(1, LEVELS + 1))
    shape = TowerShape((WIDTH,) * LEVELS, levels, LEVELS, TOKENS, class_token=True, positions=True, vocabulary=30)
    settings = {
        "manager": {"name": "mean"},
        "model": {"width": WIDTH, "cross_layers": 1, "mlp_ratio": 1},
        "task": {"name": "retrieval", "candidates": CANDIDATES},
    }
    examples = [
        Example(str(text), f"caption {text:09}", f"image {text // CAPTIONS:09}", -1, "")
        for text in range(CAPTIONS * int(images))
    ]
    model = build(settings, shape, shape, answers=0).eval()
    evaluate(ForwardContext(model, Runtime(torch.device("cpu"))), Loader(examples, Drawn(), Drawn()), 256)


def spilled(images: int) -> float:
    """Tell what ranking keeps on disk, in MiB."""
    return images * (1 + CAPTIONS) * LEVELS * TOKENS * WIDTH * 4 / 2**20


if __name__ == "__main__":
    {"conversion": conversion, "streaming": streaming, "ranking": ranking}[sys.argv[1]](*sys.argv[2:])
    # not getrusage: what it tells of a new process includes the memory of the one that started it
    print(int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024)
