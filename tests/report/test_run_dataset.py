"""What a run was asked: from our own data sets without torch, and never by running anybody else's code."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from mtlab.config.check import check_config
from mtlab.data.base import DATASETS, Dataset
from mtlab.recording import run_dataset
from mtlab.recording.reader import Missing


def config(**node: Any) -> dict[str, Any]:
    return {"config": {"data": node}}


def why(found: object) -> str:
    assert isinstance(found, Missing)
    return found.why


def test_pictures_answers_and_texts_of_shapes() -> None:
    world = run_dataset.open_dataset(config(name="shapes", train=8, val=8, test=8))
    assert isinstance(world, Dataset)
    example = world.examples("val")[3]
    picture = run_dataset.load_image(world, example.image)
    assert not isinstance(picture, Missing)
    assert picture.shape == (128, 128, 3)
    assert run_dataset.answer_names(world)[example.target] == world.answers[example.target]
    assert run_dataset.example_texts(world, "val")[example.id] == (example.text, example.image)
    assert run_dataset.example_texts(world, "nowhere") == {}


def test_what_cannot_be_had_says_why(tmp_path: Path) -> None:
    assert "names no data set" in why(run_dataset.open_dataset(None))
    assert "names no data set" in why(run_dataset.open_dataset(config(name=3)))
    assert "is a plug-in's, whose code is not run" in why(run_dataset.open_dataset(config(name="my_photos")))
    assert "is a plug-in's" in why(run_dataset.open_dataset(config(name="../shapes")))
    assert "cannot be opened: colours: unknown key" in why(run_dataset.open_dataset(config(name="shapes", colours=3)))
    stripped = run_dataset.open_dataset(config(name="questions", folder="vqa"))  # of an archive: never one that is here
    assert "is in a folder that is not part of this archive" in why(stripped)
    remote = run_dataset.open_dataset(config(name="shards", folder="http://127.0.0.1:9/shards"))  # opened, not read yet
    assert not isinstance(remote, Missing)
    folder = tmp_path / "gone"
    questions = run_dataset.open_dataset(config(name="questions", folder=str(folder)))
    assert "no such folder" in why(run_dataset.load_image(questions, "cat.jpg"))
    assert run_dataset.answer_names(questions) == ()
    assert run_dataset.example_texts(questions, "val") == {}


def test_an_address_that_does_not_answer_is_not_asked_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, wait = [], time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: (asked.append(seconds), wait(0)))  # between its attempts
    remote = config(name="shards", folder="http://127.0.0.1:9/shards") | {"identity": {"digests": {"data": "of then"}}}
    first, attempts = run_dataset.open_dataset(remote), len(asked)
    assert "cannot be opened" in why(first)
    assert attempts > 0
    assert run_dataset.open_dataset(remote) is first
    assert len(asked) == attempts
    monkeypatch.setattr(run_dataset, "AGAIN_AFTER", 0.0)
    run_dataset.open_dataset(remote)
    assert len(asked) > attempts


def test_data_that_have_changed_since_the_run_name_nothing(tmp_path: Path) -> None:
    lines = [
        {"image": f"{split}.png", "question": "which?", "answer": answer, "split": split}
        for split in ("train", "val", "test")
        for answer in ("red", "blue")
    ]
    (tmp_path / "images").mkdir()
    for split in ("train", "val", "test"):
        Image.new("RGB", (8, 8)).save(tmp_path / "images" / f"{split}.png")
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    node = {"name": "questions", "folder": str(tmp_path)}
    options = check_config(DATASETS.get("questions").config, {"folder": str(tmp_path)})
    digest = DATASETS.get("questions").cls.digest(options)
    trained = config(**node) | {"identity": {"digests": {"data": digest}, "versions": {}}}
    assert set(run_dataset.answer_names(run_dataset.open_dataset(trained))) == {"red", "blue"}
    path.write_text(path.read_text() + json.dumps({**lines[0], "answer": "green"}) + "\n")
    assert why(run_dataset.open_dataset(trained)) == run_dataset.OTHER_DATA
    older = {**trained, "identity": {"digests": {}, "versions": {"data:questions": 0}}}
    assert "is of another version here" in why(run_dataset.open_dataset(older))
    assert run_dataset.describe_data(trained) != run_dataset.describe_data(older)


def test_a_picture_that_is_none_says_why() -> None:
    world = run_dataset.open_dataset(config(name="shapes"))
    assert "has no image 'val/x'" in why(run_dataset.load_image(world, "val/x"))
    assert why(run_dataset.load_image(Missing("because"), "val/1")) == "because"


@pytest.mark.parametrize("error", [UnicodeError("odd"), OSError("gone"), RuntimeError("what now?")])
def test_whatever_a_data_set_raises_is_told(error: Exception) -> None:
    class Broken(Dataset):
        def image(self, key: str) -> Any:  # noqa: ARG002
            raise error

        @property
        def answers(self) -> Any:
            raise error

        def examples(self, split: Any) -> Any:  # noqa: ARG002
            raise error

    broken = Broken(None)
    assert str(error) in why(run_dataset.load_image(broken, "x"))
    assert run_dataset.answer_names(broken) == ()
    assert run_dataset.example_texts(broken, "val") == {}


def test_neither_torch_nor_a_plug_in_is_imported(tmp_path: Path) -> None:
    (tmp_path / "my_photos.py").write_text("raise SystemExit('a plug-in was run')")
    script = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
from mtlab.recording import run_dataset
for name in ("shapes", "planted", "easy_vqa", "questions", "my_photos", "torch"):
    run_dataset.open_dataset({{"config": {{"data": {{"name": name}}}}, "plugins": ["my_photos"]}})
print("my_photos" in sys.modules, "torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.lower().replace(" ", ",").join("[]")) == [False, False]
