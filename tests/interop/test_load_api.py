"""An imported checkpoint from Python."""

from pathlib import Path

import numpy as np
import pytest
import torch
from bundles import checkpoint, hyperparameters, loaded

import mtlab
from mtlab.errors import UserError
from mtlab.interop.importing import ImportOptions, import_checkpoint


def test_load_takes_the_folder_of_an_imported_checkpoint(tmp_path: Path) -> None:
    bundle = "mt_aaue_vector"
    import_checkpoint(
        checkpoint(bundle, tmp_path / "published.ckpt"),
        tmp_path / "ours",
        ImportOptions(hyperparameters=hyperparameters(bundle)),
    )
    model, expected = mtlab.load(tmp_path / "ours"), loaded(tmp_path / "ours").state_dict()
    found = model.network.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert not model.network.training
    with pytest.raises(UserError, match="answers no questions"):
        model.answer([np.zeros((32, 32, 3), np.uint8)], ["a cat"])
