"""docs/data.md as a new user would follow it: its commands run, its Python works, its error is the one that is told."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from mtlab.data.converters.base import CONVERTERS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/data.md").read_text()
FILES: dict[str, str] = dict(re.findall(r'```\w+ title="(.*?)"\n(.*?)```', PAGE, re.DOTALL))
SHELL = [block.strip().splitlines() for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)]
GOLDEN = ROOT / "tests/golden/datasets/raw"
TREES = {"mscoco": "mscoco_flickr30k_vqav2_snli_ve", "nlvr2": "nlvr", "cc3m": "cc", "sbu": "sbu", "vg": "vg"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    (folder / "raw").mkdir()
    for name, tree in TREES.items():
        (folder / "raw" / name).symlink_to(GOLDEN / tree)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    return folder


def run(command: str, place: Path) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "160",
    }
    return subprocess.run(
        command, shell=True, cwd=place, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.slow
def test_the_page(place: Path) -> None:
    convert, look, own = SHELL
    for command in (*convert, *look, *own):
        done = run(command, place)
        assert done.returncode == 0, done.stdout + done.stderr
    for sheet in ("sheet.png", "mine.png"):
        with Image.open(place / sheet) as image:
            assert image.width > 400
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    done = run(f"python -c {shlex.quote(code)}", place)
    assert done.returncode == 0, done.stderr
    first, *batches = done.stdout.splitlines()
    assert first.split(maxsplit=1)[0].isdigit()
    assert batches == ["16 torch.Size([16, 3, 64, 64])"] * 2
    (sample,) = [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]
    stored = [json.loads(line) for line in (place / "shards/vqav2/val-000000.jsonl").read_text().splitlines()]
    (same,) = [row for row in stored if row["names"] == sample["names"]]
    shown, real = sample["texts"][0], next(text for text in same["texts"] if text["id"] == sample["texts"][0]["id"])
    assert shown.keys() == real.keys()
    assert shown["text"] == real["text"]


def test_the_error_is_told_as_on_the_page(place: Path) -> None:
    ((command, told),) = re.findall(r"```console\n\$ (.*?)\n(.*?)\n```", PAGE, re.DOTALL)
    damaged = place / "raw/damaged"
    (damaged / "flickr30k-images").mkdir(parents=True)
    (damaged / "karpathy").symlink_to(place / "raw/mscoco/karpathy")
    for image in (place / "raw/mscoco/flickr30k-images").iterdir():
        data = image.read_bytes()
        (damaged / "flickr30k-images" / image.name).write_bytes(data[:-10] if image.name == "4400034.jpg" else data)
    done = run(f"{command} --workers 1", place)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == told  # the words in brackets are Pillow's


def test_the_page_and_the_help_name_every_converter(place: Path) -> None:
    names = {entry.name for entry in CONVERTERS}
    table = re.findall(r"^\| `(\w+)` \| `", PAGE.partition("## Your own")[0], re.MULTILINE)
    assert {*table, "jsonl"} == names
    shown = " ".join(run("mtlab data convert --help", place).stdout.replace("│", " ").split())
    assert all(re.search(rf"\b{name}\b", shown) for name in names)
    for entry in CONVERTERS:
        if entry.name != "jsonl":
            (row,) = re.findall(rf"^\| `{entry.name}` \|.*$", PAGE, re.MULTILINE)
            for part in entry.cls.all_parts:
                assert f"`{part}`" in row
