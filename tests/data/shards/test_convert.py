"""Conversions give the same bytes however they are run: with more workers, killed and gone on with, elsewhere."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from raw_trees import copied
from tiny_shards import write_raw

from mtlab.data.shards.folder import ShardFolder
from mtlab.data.shards.writing.convert import STATE, convert
from mtlab.errors import UserError
from mtlab.files import DiskError

OPTIONS = {"kind": "captions"}
CONVERT = "import sys; from pathlib import Path; from mtlab.data.shards.writing.convert import convert\n"
CONVERT += "if __name__ == '__main__':\n"
CONVERT += f"    convert('jsonl', Path(sys.argv[1]), Path(sys.argv[2]), {OPTIONS}, samples=2, workers=int(sys.argv[3]))"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(tmp_path_factory.mktemp("data") / "raw", 60)


def content(out: Path) -> dict[str, bytes]:
    """All that a conversion leaves, but for the file of when and from where."""
    return {path.name: path.read_bytes() for path in sorted(out.iterdir()) if path.name != "conversion.json"}


@pytest.fixture(scope="module")
def alone(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("alone") / "out"
    convert("jsonl", raw, out, OPTIONS, samples=2)
    return content(out)


def test_any_number_of_workers_gives_the_same_bytes(raw: Path, alone: dict[str, bytes], tmp_path: Path) -> None:
    convert("jsonl", raw, tmp_path / "out", OPTIONS, samples=2, workers=3)
    assert content(tmp_path / "out") == alone


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its children; return when none is left."""
    with suppress(ProcessLookupError):
        while True:
            os.killpg(process.pid, signal.SIGKILL)
            process.poll()
            time.sleep(0.01)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_conversion_goes_on(raw: Path, alone: dict[str, bytes], tmp_path: Path, workers: int) -> None:
    script, out = tmp_path / "script.py", tmp_path / "out"
    script.write_text(CONVERT)
    command = [sys.executable, str(script), str(raw), str(out), str(workers)]
    process = subprocess.Popen(command, start_new_session=True)
    while process.poll() is None and len(list(out.glob(f"{STATE}/shards/train-*.json"))) < 3:
        time.sleep(0.001)
    kill_all(process)
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("train-*.tar")}
    finished = {path.stem for path in out.glob(f"{STATE}/shards/train-*.json")}
    assert finished
    if not (out / "index.json").exists():  # it was killed in time
        assert (out / STATE).is_dir()
    convert("jsonl", raw, out, OPTIONS, samples=2)
    assert content(out) == alone
    for stem in finished:
        assert (out / f"{stem}.tar").stat().st_mtime_ns == before[f"{stem}.tar"]


def test_a_disk_that_does_not_answer_costs_no_image(
    raw: Path, alone: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_bytes

    def gone(path: Path) -> bytes:
        if path.parent.name == "images" and path.stem == "picture40":
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return read(path)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", gone)
        with pytest.raises(DiskError, match=r"the disk does not answer .*run again"):
            convert("jsonl", raw, tmp_path / "out", OPTIONS, samples=2, max_bad=1.0)
    convert("jsonl", raw, tmp_path / "out", OPTIONS, samples=2)
    assert content(tmp_path / "out") == alone


def test_two_at_a_time_are_refused(raw: Path, tmp_path: Path) -> None:
    def progress(_what: str, _done: int, _whole: int | None) -> None:
        with pytest.raises(UserError, match="another process is converting into this folder"):
            convert("jsonl", raw, tmp_path / "out", OPTIONS)

    convert("jsonl", raw, tmp_path / "out", OPTIONS, progress=progress)


def test_progress_ends_at_the_whole(raw: Path, tmp_path: Path) -> None:
    told: dict[str, list[tuple[int, int | None]]] = {}
    convert(
        "jsonl",
        raw,
        tmp_path / "out",
        OPTIONS,
        samples=7,
        progress=lambda what, done, whole: told.setdefault(what, []).append((done, whole)),
    )
    assert told["reading annotations"][-1] == (62, 62)
    assert told["writing shards"][-1] == (62, 62)
    assert [done for done, _ in told["writing shards"]] == sorted(done for done, _ in told["writing shards"])


def test_where_the_raw_files_lie_makes_no_difference(raw: Path, alone: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "elsewhere").symlink_to(raw)
    convert("jsonl", tmp_path / "elsewhere", tmp_path / "out", OPTIONS, samples=2)
    assert content(tmp_path / "out") == alone


def test_where_the_shards_lie_makes_no_difference(raw: Path, alone: dict[str, bytes], tmp_path: Path) -> None:
    """Signs that mean something in a URI."""
    convert("jsonl", raw, tmp_path / "#1? 50%20off", OPTIONS, samples=2)
    assert content(tmp_path / "#1? 50%20off") == alone
    assert [path.name for path in tmp_path.iterdir()] == ["#1? 50%20off"]


def test_nor_where_the_images_lie(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name, images in (("a", str(tmp_path / "a-images")), ("b", "~/b-images")):
        (tmp_path / f"{name}-images").symlink_to(raw / "images")
        convert("jsonl", raw, tmp_path / name, OPTIONS | {"images": images}, samples=7)
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_original_bytes_are_kept_and_types_told_by_content(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "raw", 0)
    stored = {}
    with (raw / "train.jsonl").open("w") as lines:
        for kind in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF"):
            Image.new("RGB", (12, 9), (10, 200, 30)).save(raw / f"images/{kind}.dat", kind)
            stored[kind] = (raw / f"images/{kind}.dat").read_bytes()
            lines.write(json.dumps({"image": f"{kind}.dat", "caption": kind}) + "\n")
    convert("jsonl", raw, tmp_path / "out", OPTIONS)
    shards = ShardFolder(tmp_path / "out")
    found = list(shards.records("train"))
    assert len(found) == 6
    for record in found:
        assert shards.image_bytes(record.images[0]) == stored[record.text]
        assert shards.image(record.images[0]).shape == (9, 12, 3)


class TestYourOwn:
    """`jsonl`: users' own data."""

    @pytest.fixture
    def raw(self, tmp_path: Path) -> Path:
        (tmp_path / "raw/images/sub").mkdir(parents=True)
        for at in range(40):
            Image.new("RGB", (8, 8), (at, at, at)).save(tmp_path / f"raw/images/sub/{at}.png")
        return tmp_path / "raw"

    def write(self, raw: Path, rows: list[dict[str, Any]], name: str = "questions.jsonl") -> None:
        (raw / name).write_text("".join(json.dumps(row) + "\n" for row in rows))

    def test_questions_are_split_and_labelled_as_in_memory(self, raw: Path, tmp_path: Path) -> None:
        """The same splits, answers and order of labels as the data set `questions` has."""
        from mtlab.data.base import SPLITS
        from mtlab.data.datasets.questions import Questions

        rows = [
            {
                "image": f"sub/{at}.png",
                "question": f"what is {at}?",
                "answer": ["red", "green", "blue"][at % 3 % (1 + at % 4)],
            }
            for at in range(40)
        ]
        self.write(raw, rows)
        convert("jsonl", raw, tmp_path / "out")
        shards, memory = ShardFolder(tmp_path / "out"), Questions(Questions.Config(folder=str(raw)))
        assert list(shards.answers) == list(memory.answers)
        for split in SPLITS:
            found = {(r.text, r.scores[0][0] if r.scores else -1) for r in shards.records(split)}
            assert found == {(example.text, example.target) for example in memory.examples(split)}

    def test_entailment(self, raw: Path, tmp_path: Path) -> None:
        for split, label in (("train", "neutral"), ("val", "entailment"), ("test", "contradiction")):
            self.write(
                raw, [{"image": "sub/1.png", "hypothesis": "it is grey", "label": label, "id": 7}], f"{split}.jsonl"
            )
        convert("jsonl", raw, tmp_path / "out", {"kind": "entailment"})
        shards = ShardFolder(tmp_path / "out")
        assert [next(shards.records(split)).label for split in ("train", "val", "test")] == [1, 2, 0]
        assert next(shards.records("val")).id == "7"

    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            ({"image": "../raw/images/sub/1.png"}, "leaves the image folder by `..`"),
            ({"image": "/etc/passwd"}, "is an absolute path"),
            ({"image": "sub\\1.png"}, "has a backslash"),
            ({"answer": ""}, "answer: is empty"),
            ({"answer": 3}, "answer: expected text in quotes, found 3"),
            ({"anwser": "x"}, "unknown key 'anwser'; did you mean 'answer'?"),
            ({"split": "dev"}, 'split: "dev" is none of train, val, test'),
            ({"split": "val"}, "split: 'val' in the file of 'train'"),
            ({"family": "a/b"}, "has a /, which separates"),
            ({"question": "\ud800"}, "half a character"),
            ({"id": "1"}, "id '1' is taken"),
        ],
    )
    def test_bad_lines_are_counted_and_listed(
        self, raw: Path, tmp_path: Path, row: dict[str, Any], reason: str
    ) -> None:
        for split in ("train", "val", "test"):
            rows = [
                {"image": f"sub/{at}.png", "question": "what?", "answer": "ab"[at % 2], "id": f"{at}"}
                for at in range(4)
            ]
            self.write(raw, rows, f"{split}.jsonl")
        spoilt = {"image": "sub/9.png", "question": "what?", "answer": "a", **row}
        with (raw / "train.jsonl").open("a") as lines:
            lines.write(json.dumps(spoilt) + "\nno JSON\n")
        index = convert("jsonl", raw, tmp_path / "out", max_bad=0.2)
        assert index.parts["train"].bad == 2
        listed = [json.loads(line) for line in (tmp_path / "out/bad.jsonl").read_text().splitlines()]
        assert [line["place"] for line in listed] == ["train.jsonl:5", "train.jsonl:6"]
        assert reason in listed[0]["reason"]
        assert "expected an object with 'question', found \"no JSON\"" in listed[1]["reason"]

    def test_only_chosen_parts_are_counted(self, raw: Path, tmp_path: Path) -> None:
        for at, split in enumerate(("train", "val", "test")):
            self.write(raw, [{"image": f"sub/{at}.png", "caption": "grey"}] * 3, f"{split}.jsonl")
        self.write(raw, [{"image": "sub/9.png", "capton": "grey"}] * 5, "train.jsonl")
        index = convert("jsonl", raw, tmp_path / "out", {"kind": "captions"}, parts=["val"])
        assert (list(index.parts), index.parts["val"].texts(), index.parts["val"].bad) == (["val"], 3, 0)

    def test_lines_that_all_have_one_fault_are_told_with_it(self, raw: Path, tmp_path: Path) -> None:
        rows = [{"image": f"sub/{at}.png", "question": "?", "answer": at % 2, "split": "train"} for at in range(4)]
        self.write(raw, rows)
        told = r"no line of training .*questions\.jsonl:1: answer: expected text in quotes, found 0\); if they hold"
        with pytest.raises(UserError, match=told):
            convert("jsonl", raw, tmp_path / "out")

    def test_nulls_of_optional_keys_are_as_if_not_written(self, raw: Path, tmp_path: Path) -> None:
        none = dict.fromkeys(("id", "family", "group"))
        for split in ("train", "val", "test"):
            self.write(
                raw,
                [{"image": f"sub/{at}.png", "question": "?", "answer": "ab"[at % 2], **none} for at in range(4)],
                f"{split}.jsonl",
            )
        assert convert("jsonl", raw, tmp_path / "out").parts["val"].bad == 0

    def test_images_that_were_missing_are_read_when_it_goes_on(self, raw: Path, tmp_path: Path) -> None:
        for split in ("train", "val", "test"):
            self.write(raw, [{"image": f"sub/{at}.png", "caption": "?"} for at in range(4)], f"{split}.jsonl")
        kept = (raw / "images/sub/1.png").rename(tmp_path / "kept.png")
        with pytest.raises(UserError, match="cannot be used"):
            convert("jsonl", raw, tmp_path / "out", OPTIONS)
        kept.rename(raw / "images/sub/1.png")
        index = convert("jsonl", raw, tmp_path / "out", OPTIONS)
        assert [(part.images, part.bad) for part in index.parts.values()] == [(4, 0)] * 3

    def test_pictures_that_come_later_are_read_when_it_goes_on(self, tmp_path: Path) -> None:
        root = copied("sbu", tmp_path / "sbu")
        pictures = (root / "SBU").rename(tmp_path / "elsewhere")
        for _ in range(2):
            with pytest.raises(UserError, match="no image can be used"):
                convert("sbu", root, tmp_path / "out")
        pictures.rename(root / "SBU")
        assert convert("sbu", root, tmp_path / "out").parts["train"].images

    def test_ids_of_several_captions(self, raw: Path, tmp_path: Path) -> None:
        for split in ("train", "val", "test"):
            self.write(raw, [{"image": "sub/1.png", "caption": ["one", "two"], "id": 5}], f"{split}.jsonl")
        convert("jsonl", raw, tmp_path / "out", OPTIONS)
        assert [record.id for record in ShardFolder(tmp_path / "out").records("train")] == ["5#0", "5#1"]

    def test_one_answer_alone_cannot_be_learnt(self, raw: Path, tmp_path: Path) -> None:
        self.write(raw, [{"image": f"sub/{at}.png", "question": "?", "answer": "a"} for at in range(40)])
        with pytest.raises(UserError, match="training has 1 different answers"):
            convert("jsonl", raw, tmp_path / "out")

    def test_lines_with_and_without_a_split(self, raw: Path, tmp_path: Path) -> None:
        rows: list[dict[str, Any]] = [{"image": f"sub/{at}.png", "caption": "?"} for at in range(4)]
        rows[2]["split"] = "val"
        self.write(raw, rows)
        with pytest.raises(UserError, match=r"questions.jsonl:1 lacks the key 'split', which questions.jsonl:3 has"):
            convert("jsonl", raw, tmp_path / "out", OPTIONS)


#: not getrusage: what it tells of a new process includes the memory of the one that started it
MEASURED = CONVERT + "\n    print(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0])"


@pytest.mark.slow
def test_memory_stays_the_same_as_data_grow_tenfold(tmp_path: Path) -> None:
    """Of the process that reads and writes; the images are the same few, so that the test is quick."""
    used = []
    for size in (1_000, 10_000):
        raw = write_raw(tmp_path / f"raw{size}", 0)
        for at in range(10):
            Image.new("RGB", (32, 32), (at, 0, 0)).save(raw / f"images/{at}.png")
        with (raw / "train.jsonl").open("w") as lines:
            for at in range(size):
                os.link(raw / f"images/{at % 10}.png", raw / f"images/link{at}.png")
                line = {"image": f"link{at}.png", "caption": [f"{at} {word} " + "words " * 30 for word in range(5)]}
                lines.write(json.dumps(line) + "\n")
        script = tmp_path / "script.py"
        script.write_text(MEASURED.replace("samples=2", "samples=200"))
        command = [sys.executable, str(script), str(raw), str(tmp_path / f"out{size}"), "1"]
        used.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    assert used[1] < 1.2 * used[0]
