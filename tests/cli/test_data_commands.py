"""`mtlab data`: what it prints, where it writes, and its exit codes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

from mtlab.cli import main

GOLDEN = Path(__file__).parents[1] / "golden/datasets/raw"


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from mtlab.data.shards.writing.convert import convert

    out = tmp_path_factory.mktemp("shards") / "nlvr2"
    convert("nlvr2", GOLDEN / "nlvr", out)
    return out


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["mtlab", "data", *map(str, words)])
        code = main()
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


def test_convert(call, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ("convert", "cc3m", "--root", GOLDEN / "cc", "--out", out, "--workers", 1, "--parts", "train")
    code, told, progress = call(*command)
    assert code == 0
    assert "train 3 3 1 missing" in " ".join(told.split())
    assert f"shards: {out}" in told
    assert f"mtlab data check {out}" in told
    assert "writing shards: 3 of 3" in progress
    assert "finished before" not in progress
    assert call(*command)[:2] == (0, told)  # finished: looked up
    assert f"note: {out} was finished before and is not changed" in call(*command)[2]
    assert call("convert", "cc3m", "--root", GOLDEN / "cc", "--out", out, "min_count=3")[0] == 2


def test_convert_goes_on_after_ctrl_c(call, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    (raw / "images").mkdir(parents=True)
    with (raw / "questions.jsonl").open("w") as lines:
        for number in range(3000):
            (raw / f"images/{number}.jpg").symlink_to(GOLDEN / "sbu/SBU/7116866352_abc.jpg")
            lines.write(json.dumps({"image": f"{number}.jpg", "caption": str(number)}) + "\n")
    out = tmp_path / "out"
    words = ["data", "convert", "jsonl", "--root", str(raw), "--out", str(out), "--workers", "2", "kind=captions"]
    process = subprocess.Popen(
        [sys.executable, "-m", "mtlab", *words], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    while process.poll() is None and not list(out.glob(".converting/shards/train-*.json")):
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: all processes of the command get it
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "stopped: the same command again goes on where this was"
    assert "Traceback" not in errors
    assert call(*words[1:])[0] == 0
    assert call("check", out, "--quick")[0] == 0


def test_info(call, shards: Path) -> None:
    code, told, _ = call("info", shards)
    assert code == 0
    assert "test1/unbalanced" in told
    assert "2 answers: False, True" in told
    code, told, _ = call("info", shards, "--json")
    found = json.loads(told)
    assert found["parts"]["dev"] == {
        "images": 2,
        "texts": 4,
        "subsets": {"balanced": 2, "unbalanced": 2},
        "bad": 0,
        "missing": 0,
        "shards": 1,
        "bytes": (shards / "dev-000000.tar").stat().st_size,
    }
    assert len(found["digest"]) == 64


def test_check(call, shards: Path, tmp_path: Path) -> None:
    code, told, _ = call("check", shards)
    assert (code, told) == (0, f"{shards}: as it should be (6 samples, 12 images decoded)\n")
    assert "images not decoded" in call("check", shards, "--quick")[1]
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for path in shards.iterdir():
        (damaged / path.name).write_bytes(
            path.read_bytes()[:3000] if path.name == "dev-000000.tar" else path.read_bytes()
        )
    code, told, errors = call("check", damaged)
    assert code == 2
    assert [line for line in errors.splitlines() if line.startswith("error:")] == [
        f"error: {damaged}/dev-000000.tar: ends at byte 3,000, 7,168 were expected: it is cut off"
    ]
    assert json.loads(call("check", damaged, "--json")[1])["problems"]
    assert call("check", tmp_path)[0] == 2


def test_sample(call, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert call("sample", shards) == (0, "contact sheet: nlvr2-train.png\n", "")
    assert call("sample", shards, "dev/balanced", "-n", 1)[1] == "contact sheet: nlvr2-dev-balanced.png\n"
    with Image.open("nlvr2-train.png") as many, Image.open("nlvr2-dev-balanced.png") as one:
        assert many.width > one.width > 224 * 2
    first = Path("nlvr2-train.png").read_bytes()
    call("sample", shards)
    assert Path("nlvr2-train.png").read_bytes() == first
    for words, told in (
        (("devel",), "nlvr2 has no part 'devel'; did you mean 'dev'?"),
        (("dev", "--out", "sheet.jpg"), "--out: name a PNG file"),
    ):
        code, _, error = call("sample", shards, *words)
        assert code == 2
        assert told in error


def test_commands_that_cannot_be(call, tmp_path: Path) -> None:
    code, _, error = call("info", "pipe:cat /data/{}")
    assert (code, "allow it by --allow-pipe" in error) == (2, True)
    code, _, error = call("convert", "coco")
    assert error == "error: Missing option '--root'. (see `mtlab data convert --help`)\n"
    code, _, error = call("convrt")
    assert "mtlab data --help" in error
