"""A language model that reads images learns on two processes what it learns on one."""

from pathlib import Path

import polars
import pytest
import torch
from several import run
from tiny_mllm import tiny_language_model
from tiny_runs import RunMaker, lines

from mtlab.runs import checkpoints

WORDS = ["<pad>", "<end>", "Question:", "Answer:", "code", "of", "item", *map(str, range(30)), "?"]


def test_a_sharded_layer_is_whole_only_while_it_computes() -> None:
    told = run(2, "shards.py", []).splitlines()[-5:]
    shards, whole = " ".join(["shard"] * 3), " ".join(["whole"] * 3)
    assert told == [shards, shards, shards, whole, shards]  # at first, after a forward and a backward pass, gathered


@pytest.mark.slow
def test_two_processes_learn_what_one_does(make_runs: RunMaker, tmp_path: Path) -> None:
    text = {"name": "causal_lm", "model": str(tiny_language_model(tmp_path / "lm", WORDS)), "trainable": True}
    sections = {
        "text": text,
        "model": {"name": "mllm", "inject": {"layers": [0, 2]}},
        "manager": {"name": "residual_static", "noise": 0.0},
        "data": {"name": "planted", "train": 100, "val": 37, "test": 21},
        "train": {"length": {"steps": 24}, "batch": 16, "eval_every": 6, "checkpoint_every": 10},
    }
    alone, together = (make_runs(f"mllm{n}", **sections) for n in (1, 2))
    sections["train"] = sections["train"] | {"shard": True}
    sharded = make_runs("sharded", **sections)
    run(1, "trains.py", [f"single:{alone}"])
    run(2, "trains.py", [f"single:{folder}{stop}" for folder in (together, sharded) for stop in ("@7", "")])
    for kind in ("train/loss", "val/loss"):
        one, two, shares = ([row[kind] for row in lines(folder, kind)] for folder in (alone, together, sharded))
        assert two == pytest.approx(one, abs=1e-3)
        assert shares == pytest.approx(two, abs=1e-5)
    best, other = (checkpoints.load(folder / "checkpoints" / "best.safetensors")[0] for folder in (together, sharded))
    assert best.keys() == other.keys(), "a checkpoint keeps its format"
    assert all(torch.allclose(best[name], other[name], atol=1e-5) for name in best)
    assert not (sharded / "trace.safetensors").exists()
    assert (sharded / "tokens.safetensors").is_file()


@pytest.mark.slow
def test_two_processes_describe_images_as_one_does(make_runs: RunMaker, tmp_path: Path) -> None:
    sections = {
        "text": {"name": "causal_lm", "model": str(tiny_language_model(tmp_path / "lm", WORDS)), "trainable": True},
        "vision": {"name": "tiny_vision", "depth": 3, "width": 16},
        "model": {"name": "mllm", "inject": {"layers": [0]}, "answers": "generate", "answer_tokens": 32},
        "manager": {"name": "residual_static", "noise": 0.0},
        "task": {"name": "captioning", "candidates": 4},
        "data": {"name": "shapes_captions", "train": 32, "val": 36, "test": 20, "image_size": 32},
        "train": {"length": {"steps": 4}, "batch": 8, "eval_every": 2, "checkpoint_every": 10},
    }
    alone, together = (make_runs(f"described{n}", **sections) for n in (1, 2))
    run(1, "trains.py", [f"single:{alone}"])
    run(2, "trains.py", [f"single:{together}"])
    for kind in ("train/loss", "val/loss"):
        one, two = ([row[kind] for row in lines(folder, kind)] for folder in (alone, together))
        assert two == pytest.approx(one, abs=1e-3)
    one, two = (polars.read_parquet(folder / "examples.parquet") for folder in (alone, together))
    assert one.drop("score").equals(two.drop("score"))
    assert (one["score"] == two["score"]).mean() > 0.9, "but for near ties of an untrained model"
