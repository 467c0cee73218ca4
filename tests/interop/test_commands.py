"""`mtlab import` and `mtlab export` as a user meets them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch
from bundles import checkpoint
from safetensors import SafetensorError
from safetensors.torch import save_file

from mtlab.cli import main
from mtlab.runs import imported_checkpoint

HEADS = ["--text-heads", "4", "--vision-heads", "3"]


def told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["mtlab", *map(str, arguments)])
    code = main()
    out, err = capsys.readouterr()
    return code, out, err


def test_in_and_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    file, ours, back = checkpoint("bt", tmp_path / "bt.ckpt"), tmp_path / "ours", tmp_path / "back.ckpt"
    code, out, err = told(monkeypatch, capsys, "import", file, "--out", ours, *HEADS)
    assert code == 0
    assert out.splitlines()[0] == "BridgeTower, task pretraining: 291 weights, 434,907 parameters"
    assert "6 dead weights, which nothing reads, are kept for export" in out
    assert f"written to {ours}; next: set `init_from: {ours}` in a study" in out
    assert "checking 338 weights of BridgeTower\n" in err

    code, out, _ = told(monkeypatch, capsys, "export", ours, "--to", "official", "--out", back)
    assert (code, out.splitlines()[0]) == (0, "BridgeTower: 338 weights, as it was imported")
    code, out, _ = told(monkeypatch, capsys, "import", back, "--out", tmp_path / "again", "--json", *HEADS)
    assert json.loads(out)["family"] == "BridgeTower"


def test_wrong_input_is_one_line_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = checkpoint("bt", tmp_path / "bt.ckpt")
    (tmp_path / "cut.ckpt").write_bytes(file.read_bytes()[:-1000])
    torch.save({"state_dict": {"features.0.weight": torch.zeros(2)}}, tmp_path / "other.ckpt")
    (tmp_path / "there").mkdir()
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.iterdir())
    for arguments, line in [
        ([tmp_path / "cut.ckpt"], "cut.ckpt: is not a readable PyTorch checkpoint (damaged"),
        ([tmp_path / "other.ckpt"], "other.ckpt: is no METER, BridgeTower or ManagerTower: 1 weights, features.0"),
        ([tmp_path / "empty"], "empty: is no model folder: it has no config.json"),
        ([tmp_path / "none.ckpt"], "none.ckpt: no such checkpoint"),
        ([file], "give --text-heads"),
        ([file, *HEADS, "--task", "vqa"], "--task: no published head goes with the task 'vqa'"),
        ([file, *HEADS, "--text", tmp_path / "none"], "no such model folder"),
    ]:
        code, out, err = told(monkeypatch, capsys, "import", *arguments, "--out", tmp_path / "ours")
        last = err.splitlines()[-1]
        assert (code, out) == (2, "")
        assert last.startswith("error: ")
        assert line in last
    code, _, err = told(monkeypatch, capsys, "import", file, "--out", tmp_path / "there", *HEADS)
    assert (code, err) == (2, f"error: {tmp_path / 'there'}: exists already: name another place, or remove it first\n")
    assert sorted(tmp_path.iterdir()) == before


def test_a_full_disk_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = checkpoint("bt", tmp_path / "bt.ckpt")

    def full(tensors: object, path: Path, about: object) -> None:
        if "vision" in path.name:
            path.write_bytes(b"half")
            raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
        save_file(tensors, path, about)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(imported_checkpoint, "save_file", full)
        code, _, err = told(patched, capsys, "import", file, "--out", tmp_path / "ours", *HEADS)
    assert code == 2
    assert err.splitlines()[-1].startswith("error: ")
    assert "cannot be written: the disk is full" in err.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == ["bt.ckpt"]

    assert told(monkeypatch, capsys, "import", file, "--out", tmp_path / "ours", *HEADS)[0] == 0

    def stuck(data: object, path: Path) -> None:  # torch's own words
        path.write_bytes(b"half")
        raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598")

    monkeypatch.setattr(torch, "save", stuck)
    arguments = ["export", tmp_path / "ours", "--to", "official", "--out", tmp_path / "back.ckpt"]
    code, _, err = told(monkeypatch, capsys, *arguments)
    last = err.splitlines()[-1]
    assert (code, last.partition(": cannot")[0]) == (2, f"error: {tmp_path / 'back.ckpt'}")
    assert "disk is full" in last
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bt.ckpt", "ours"]
