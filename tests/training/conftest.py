"""Run directories, as the launcher makes them, and a tower with dropout."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import RunMaker, run_folder


@pytest.fixture
def make_run(tmp_path: Path) -> RunMaker:
    """Make run directories as the launcher would: `make_run("cell", seed=0, train={…})`."""
    return partial(run_folder, tmp_path)


@pytest.fixture(scope="module")
def make_runs(tmp_path_factory: pytest.TempPathFactory) -> RunMaker:
    """The same for all tests of a module."""
    return partial(run_folder, tmp_path_factory.mktemp("runs"))


@pytest.fixture
def bert(tmp_path: Path) -> dict[str, Any]:
    """A trained BERT of toy size, with dropout."""
    from transformers import BertConfig

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
    (tmp_path / "vocab.txt").write_text("\n".join([*words, *(f"##{letter}" for letter in words[5:])]))
    measures = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32, "num_hidden_layers": 3}
    BertConfig(vocab_size=64, **measures).save_pretrained(tmp_path)
    return {"name": "transformers", "model": str(tmp_path), "weights": "random", "layers": "top2", "trainable": True}
