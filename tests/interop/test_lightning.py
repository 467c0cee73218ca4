"""Lightning's files are read without running what they hold."""

from __future__ import annotations

import io
import os
import pickle
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from mtlab.errors import UserError
from mtlab.interop.lightning import hyperparameters, read_file

STATE = {"a.weight": torch.arange(6.0).view(2, 3)}


class Shell:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("echo run!",))


class Code:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("run!",))


@pytest.fixture
def callback(monkeypatch: pytest.MonkeyPatch) -> type[Any]:
    """A class that a file will name as if it were Lightning's, while Lightning is not installed."""
    name = "pytorch_lightning.callbacks.model_checkpoint"
    module = types.ModuleType(name)
    kind = type("ModelCheckpoint", (), {"__module__": name})
    module.ModelCheckpoint = kind  # type: ignore[attr-defined]
    for part in ("pytorch_lightning", "pytorch_lightning.callbacks"):
        monkeypatch.setitem(sys.modules, part, types.ModuleType(part))
    monkeypatch.setitem(sys.modules, name, module)
    return kind


def test_callbacks_of_old_files_are_read_as_inert_stand_ins(tmp_path: Path, callback: type[Any]) -> None:
    held = {
        "state_dict": STATE,
        "callbacks": {callback: {"best": 1.0}},
        "hyper_parameters": {"config": {"num_heads": 12}},
    }
    torch.save(held, tmp_path / "old.ckpt")
    found = read_file(tmp_path / "old.ckpt")
    assert torch.equal(found.tensors["a.weight"], STATE["a.weight"])
    assert hyperparameters(found.options).heads == 12


def test_a_bare_state_dict_and_the_format_before_zip_are_read(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "new.pt")
    torch.save({"state_dict": STATE}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name in ("new.pt", "old.pt"):
        assert torch.equal(read_file(tmp_path / name).tensors["a.weight"], STATE["a.weight"])


@pytest.mark.parametrize("wrap", [lambda code: code, lambda code: {"state_dict": STATE, "callbacks": {"x": code}}])
def test_code_is_refused_and_does_not_run(wrap: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(wrap(Code()), tmp_path / "x.ckpt")
    with pytest.raises(UserError, match=r"x\.ckpt: holds code \((builtins\.)?print\) and is refused"):
        read_file(tmp_path / "x.ckpt")
    (tmp_path / "bare.ckpt").write_bytes(pickle.dumps(Code()))
    with pytest.raises(UserError, match=r"holds code .* refused"):
        read_file(tmp_path / "bare.ckpt")
    torch.save({"state_dict": STATE, "x": Shell()}, tmp_path / "shell.ckpt")
    with pytest.raises(UserError, match=r"holds code \((posix|nt)\.system\) and is refused"):
        read_file(tmp_path / "shell.ckpt")
    assert "run!" not in capsys.readouterr().out


def test_damaged_files_are_told(tmp_path: Path) -> None:
    whole = io.BytesIO()
    torch.save({"state_dict": STATE}, whole)
    tensor_without_storage = io.BytesIO()
    with zipfile.ZipFile(whole) as original, zipfile.ZipFile(tensor_without_storage, "w") as changed:
        for member in original.namelist():
            changed.writestr(member, b"\x80\x02K\x05Q." if member.endswith("data.pkl") else original.read(member))
    damaged = {"cut": whole.getvalue()[:-200], "empty": b"", "words": b"no checkpoint"}
    for name, data in (damaged | {"reference": tensor_without_storage.getvalue()}).items():
        (tmp_path / f"{name}.ckpt").write_bytes(data)
        with pytest.raises(UserError, match=rf"{name}\.ckpt: is not a readable PyTorch checkpoint .*\w\)?$"):
            read_file(tmp_path / f"{name}.ckpt")
    with pytest.raises(UserError, match="no such checkpoint"):
        read_file(tmp_path / "none.ckpt")
    for state in ({"epoch": 1}, [1], None, "x"):
        torch.save({"state_dict": state}, tmp_path / "other.ckpt")
        with pytest.raises(UserError, match="holds no named tensors"):
            read_file(tmp_path / "other.ckpt")
