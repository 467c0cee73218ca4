import errno
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from mtlab import checksums
from mtlab.files import DiskError, ReadOnlyError
from mtlab.runs import checkpoints
from mtlab.runs.checkpoints import CorruptError

TENSORS = {
    "a": torch.arange(6.0).view(2, 3).t(),  # not contiguous
    "b": torch.tensor(3),
    "c": torch.ones(4, dtype=torch.bfloat16),
    "d": torch.zeros(0),
}


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "last.safetensors"
    checkpoints.save(path, TENSORS, {"step": 3, "best": None, "value": 0.1})
    tensors, metadata = checkpoints.load(path)
    assert metadata == {"step": 3, "best": None, "value": 0.1}
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert [file.name for file in path.parent.iterdir()] == ["last.safetensors"]


def test_tensors_are_read_one_by_one_by_the_rest_of_their_names(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    checkpoints.save(
        path, {f"model/{name}": tensor for name, tensor in TENSORS.items()} | {"other/a": torch.ones(2)}, {}
    )
    stored = checkpoints.StoredTensors(path, "model/")
    assert {*stored} == TENSORS.keys()
    assert len(stored) == len(TENSORS)
    assert all(torch.equal(stored[name], TENSORS[name]) for name in TENSORS)
    assert "model/a" not in stored


def test_other_programs_can_read_it(tmp_path: Path) -> None:
    checkpoints.save(tmp_path / "x.safetensors", TENSORS, {"step": 3})
    with safe_open(tmp_path / "x.safetensors", framework="np") as file:
        assert file.get_tensor("a").tolist() == TENSORS["a"].tolist()


def test_every_cut_and_every_changed_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    checkpoints.save(path, {"a": torch.arange(64.0)}, {"step": 3})
    whole = path.read_bytes()
    for end in (0, 1, 7, 8, 100, len(whole) - 1):
        path.write_bytes(whole[:end])
        with pytest.raises(CorruptError, match="cannot be read"):
            checkpoints.load(path)
    for bit in range(0, 8 * len(whole), 7):  # every byte, all places in it
        place = bit // 8
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit % 8]) + whole[place + 1 :])
        with pytest.raises(CorruptError, match=r"checksum|cannot be read"):
            checkpoints.load(path)


@pytest.mark.parametrize(("number", "kind"), [(errno.EIO, DiskError), (errno.EACCES, ReadOnlyError)])
def test_a_file_that_cannot_be_read_now_is_not_called_corrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[Exception]
) -> None:
    """Else a good checkpoint would be set aside, and its steps lost, since a disk did not answer for a moment."""
    path = tmp_path / "last.safetensors"
    checkpoints.save(path, TENSORS, {"step": 3})

    def fail(_: Path) -> bool:
        raise OSError(number, os.strerror(number), str(path))

    with monkeypatch.context() as patch:
        patch.setattr(checksums, "verify", fail)
        with pytest.raises(kind, match="cannot be"):
            checkpoints.load(path)
    assert checkpoints.load(path)[1] == {"step": 3}


def test_a_stranger_s_file_is_no_checkpoint(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "last.safetensors")
    with pytest.raises(CorruptError):
        checkpoints.load(tmp_path / "last.safetensors")
    with pytest.raises(FileNotFoundError):
        checkpoints.load(tmp_path / "none.safetensors")


def test_a_corrupt_file_is_set_aside_not_lost(tmp_path: Path) -> None:
    path = tmp_path / "last.safetensors"
    path.write_bytes(b"rubbish")
    aside = checkpoints.set_aside(path)
    assert aside.name.startswith("last.safetensors.corrupt-")
    assert aside.read_bytes() == b"rubbish"
    assert not path.exists()


class Model(nn.Module):
    def __init__(self, *, trained: bool) -> None:
        super().__init__()
        self.encoder = nn.Linear(2, 2)
        self.task = nn.Linear(2, 2)
        self.task.weight = self.encoder.weight  # tied
        self.towers = nn.ModuleDict({"text": nn.BatchNorm1d(2).requires_grad_(trained)})


def test_frozen_towers_are_left_out_and_tied_weights_kept_once() -> None:
    frozen = checkpoints.model_tensors(Model(trained=False))
    assert set(frozen) == {"encoder.weight", "encoder.bias", "task.bias"}
    trained = checkpoints.model_tensors(Model(trained=True))
    assert {"towers.text.weight", "towers.text.running_mean"} < set(trained)


def test_restoring_needs_the_same_model() -> None:
    model = Model(trained=True)
    tensors = {name: tensor + 1 for name, tensor in checkpoints.model_tensors(model).items()}
    checkpoints.restore(model, tensors)
    assert torch.equal(model.task.weight, tensors["encoder.weight"])
    for wrong in ({}, {**tensors, "more": torch.ones(1)}, {**tensors, "task.bias": torch.ones(3)}):
        with pytest.raises(CorruptError, match="another model"):
            checkpoints.restore(model, wrong)
