"""What is wrong with raw files is told in one line before shards are written, or counted and listed: never replaced."""

import json
import re
import shutil
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from struct import pack
from typing import Any

import pytest
from raw_trees import copied, raw

from mtlab.data.converters.base import RejectedRow
from mtlab.data.converters.jsonl import JsonlConverter
from mtlab.data.converters.scratch_database import ScratchDatabase
from mtlab.data.datasets.questions_file import read_questions_file
from mtlab.data.shards.check import check_shards
from mtlab.data.shards.folder import ShardFolder
from mtlab.data.shards.index import suspicious_sizes
from mtlab.data.shards.writing.convert import convert
from mtlab.errors import UserError
from mtlab.resolution.dataset_facts import dataset_facts

TRAIN_QUESTIONS = "vqav2/v2_OpenEnded_mscoco_train2014_questions.json"
VAL_QUESTIONS = "vqav2/v2_OpenEnded_mscoco_val2014_questions.json"
TRAIN_ANSWERS = "vqav2/v2_mscoco_train2014_annotations.json"
VAL_ANSWERS = "vqav2/v2_mscoco_val2014_annotations.json"


def edit(root: Path, name: str, change: Callable[[Any], Any]) -> None:
    path = root / name
    if path.suffix == ".jsonl" or "nlvr2" in name:
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        path.write_text("".join(json.dumps(row) + "\n" for row in change(rows)))
    else:
        path.write_text(json.dumps(change(json.loads(path.read_text()))))


def swap(root: Path, first: str, second: str) -> None:
    content = (root / first).read_bytes()
    (root / first).write_bytes((root / second).read_bytes())
    (root / second).write_bytes(content)


def subtype(root: Path, name: str, value: str) -> None:
    edit(root, name, lambda data: {"data_subtype": value, **data})


def labelled_and_swapped(root: Path) -> None:
    subtype(root, TRAIN_QUESTIONS, "train2014")
    subtype(root, VAL_QUESTIONS, "val2014")
    swap(root, TRAIN_QUESTIONS, VAL_QUESTIONS)


def cut(name: str) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        data = (root / name).read_bytes()
        (root / name).write_bytes(data[: len(data) // 2])

    return damage


def copy(source: str, target: str) -> Callable[[Path], None]:
    return lambda root: (root / target).write_bytes((root / source).read_bytes()) and None


def both_splits(root: Path) -> None:
    edit(root, "snli_ve/snli_ve_train.jsonl", lambda rows: [row | {"Flickr30K_ID": "4400051"} for row in rows])


REFUSED: dict[str, tuple[str, Callable[[Path], Any], str]] = {
    "missing file": (
        "vqav2",
        lambda root: (root / VAL_ANSWERS).unlink(),
        r"v2_mscoco_val2014_annotations.json: no such file; below --root there should be vqav2/v2_OpenEnded",
    ),
    "swapped and labelled": ("vqav2", labelled_and_swapped, "questions.json: holds val2014, not train2014: swapped?"),
    "swapped questions": (
        "vqav2",
        lambda root: swap(root, TRAIN_QUESTIONS, VAL_QUESTIONS),
        r"the first 100 rows of train are all bad .*question 1091: is asked, but not annotated\): .* are two swapped",
    ),
    "questions for annotations": (
        "vqav2",
        copy(TRAIN_QUESTIONS, TRAIN_ANSWERS),
        r"has no list 'annotations' with anything in it \(found: info, questions\); is it of another data set\?",
    ),
    "other data set": (
        "coco",
        copy("karpathy/dataset_flickr30k.json", "karpathy/dataset_coco.json"),
        "dataset_coco.json: is of data set 'flickr30k', not 'coco'",
    ),
    "list for object": (
        "coco",
        lambda root: (root / "karpathy/dataset_coco.json").write_text("[1]"),
        "the file is a list; is it of another data set",
    ),
    "lines of another data set": (
        "snli_ve",
        lambda root: edit(root, "snli_ve/snli_ve_dev.jsonl", lambda _: [{"identifier": "a"}] * 150),
        r"the first 100 rows of dev are all bad \(snli_ve_dev.jsonl:1: lacks 'gold_label' \(has 'identifier'\)\)",
    ),
    "cut off list": ("coco", cut("karpathy/dataset_coco.json"), "is not whole JSON .*: damaged, or cut off?"),
    "cut off lines": (
        "snli_ve",
        cut("snli_ve/snli_ve_test.jsonl"),
        r"snli_ve_test.jsonl:\d: expected an object with 'gold_label'",
    ),
    "no text": (
        "snli_ve",
        lambda root: (root / "snli_ve/snli_ve_dev.jsonl").write_bytes(b"\xff\xfe"),
        "snli_ve_dev.jsonl:1: is not UTF-8",
    ),
    "empty file": (
        "snli_ve",
        lambda root: (root / "snli_ve/snli_ve_dev.jsonl").write_text(""),
        "snli_ve_dev.jsonl: is empty",
    ),
    "empty split": (
        "flickr30k",
        lambda root: edit(
            root,
            "karpathy/dataset_flickr30k.json",
            lambda data: data | {"images": [row for row in data["images"] if row["split"] != "val"]},
        ),
        "val has no row that can be used: the files have no row for it",
    ),
    "mixed up splits": ("snli_ve", both_splits, "1 images are in several parts, such as 4400051 in dev and train"),
    "no images": (
        "flickr30k",
        lambda root: shutil.rmtree(root / "flickr30k-images"),
        r"of 30 texts cannot be used .* flickr30k-images/4400000.jpg: no such image|no such image",
    ),
    "fewer links": (
        "sbu",
        lambda root: edit(root, "sbu-captions-all.json", lambda data: data | {"image_urls": data["image_urls"][:2]}),
        "has not as many captions as image_urls",
    ),
    "captions without links": (
        "cc3m",
        lambda root: (root / "utils/Train_GCC-training.tsv").write_text("a caption\n" * 4),
        "is not CAPTION, tab, LINK",
    ),
    "no folder": ("vg", shutil.rmtree, "raw: no such folder"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path) -> None:
    name, damage, told = REFUSED[case]
    root = copied(name, tmp_path)
    damage(root)
    with pytest.raises(UserError, match=told) as caught:
        convert(name, root, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out/index.json").exists()


def spoil(path: Path, how: str) -> None:
    data = path.read_bytes()
    chunk = b"IHDR" + pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    content = {
        "cut off": data[: len(data) // 2],
        "text": b"<html>Not found</html>",
        "empty": b"",
        "bomb": b"\x89PNG\r\n\x1a\n" + pack(">I", 13) + chunk + pack(">I", zlib.crc32(chunk)) + pack(">I", 1) + b"IDAT",
    }
    path.unlink()
    if how in content:
        path.write_bytes(content[how])
    elif how == "folder":
        path.mkdir()


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("cut off", "damaged, or cut off"),
        ("text", "is no image of a known type"),
        ("empty", "is an empty file"),
        ("bomb", "is far too large"),
        ("folder", "is not a file"),
        ("gone", "no such image"),
    ],
)
def test_a_bad_image_is_counted_and_listed(how: str, reason: str, tmp_path: Path) -> None:
    root = copied("vqav2", tmp_path)
    spoil(root / "train2014/COCO_train2014_000000000102.jpg", how)
    with pytest.raises(
        UserError, match=r"23 of 136 texts cannot be used \(16\.9 %\), more than --max-bad allows \(1 %\)"
    ):
        convert("vqav2", root, tmp_path / "out")
    index = convert("vqav2", root, tmp_path / "out", max_bad=0.2)  # goes on where the other stopped
    part = index.parts["train"]
    assert (part.images, part.texts(), part.bad, part.missing) == (3, 67, 23, 0)
    (listed,) = map(json.loads, (tmp_path / "out/bad.jsonl").read_text().splitlines())
    assert listed["texts"] == 23
    assert listed["reason"].startswith("train2014/COCO_train2014_000000000102.jpg: ")
    assert reason in listed["reason"]
    shards = ShardFolder(tmp_path / "out")
    assert all("102" not in record.images[0] for record in shards.records("train"))


def test_bad_rows_are_counted_and_listed(tmp_path: Path) -> None:
    root = copied("vqav2", tmp_path)

    def change(data: Any) -> Any:
        rows = data["questions"]
        del rows[0]["question"]
        rows[1]["question"] = "   "
        rows[2]["image_id"] = 103_000
        rows[3]["question_id"] = "none"
        rows[5] = 5
        rows.append(dict(rows[9]))
        return data

    edit(root, TRAIN_QUESTIONS, change)
    index = convert("vqav2", root, tmp_path / "out", max_bad=0.2)
    assert index.parts["train"].texts() == 85
    reasons = [json.loads(line)["reason"] for line in (tmp_path / "out/bad.jsonl").read_text().splitlines()]
    assert len(reasons) == index.parts["train"].bad
    told = "\n".join(reasons)
    for reason in (
        "lacks 'question' (has 'image_id', 'question_id')",
        "question: is empty",
        "is asked about image 103000, but annotated for 103",
        "is asked, but not annotated",
        "is annotated twice, or not asked",
        "id '1010' is taken",
    ):
        assert reason in told


def test_ids_that_are_taken(tmp_path: Path) -> None:
    root = copied("snli_ve", tmp_path)
    edit(root, "snli_ve/snli_ve_train.jsonl", lambda rows: [row | {"pairID": "same"} for row in rows])
    index = convert("snli_ve", root, tmp_path / "out", max_bad=0.9)
    assert index.parts["train"].texts() == 1
    assert index.parts["train"].bad == 5
    assert "id 'same' is taken" in (tmp_path / "out/bad.jsonl").read_text()


def test_a_subset_with_a_line_that_is_no_json(tmp_path: Path) -> None:
    root = copied("nlvr2", tmp_path)
    with (root / "nlvr2/data/balanced/balanced_dev.json").open("a") as lines:
        lines.write("<html>\n")
    before, after = (convert("nlvr2", each, tmp_path / name) for name, each in {"a": raw("nlvr2"), "b": root}.items())
    assert after.parts["dev"] == before.parts["dev"]


def test_names_that_lead_elsewhere(tmp_path: Path) -> None:
    root = copied("nlvr2", tmp_path)
    (tmp_path / "secret-img0.png").write_bytes(next(root.glob("dev/*.png")).read_bytes())
    edit(
        root,
        "nlvr2/data/dev.json",
        lambda rows: [row | {"identifier": "dev-../../../secret-0"} for row in rows[:1]] + rows[1:],
    )
    convert("nlvr2", root, tmp_path / "out", max_bad=0.5)
    assert "'dev-../../../secret' is no name of an image" in (tmp_path / "out/bad.jsonl").read_text()


def test_missing_pictures_behind_links_are_no_fault(tmp_path: Path) -> None:
    root = copied("sbu", tmp_path)
    (root / "SBU/7116866352_abc.jpg").unlink()
    index = convert("sbu", root, tmp_path / "out", max_bad=0)
    part = index.parts["train"]
    assert (part.images, part.bad, part.missing) == (2, 0, 2)


class TestFolders:
    def test_that_hold_something_else(self, tmp_path: Path) -> None:
        root, out = copied("vg", tmp_path), tmp_path / "out"
        out.mkdir()
        (out / "mine.txt").touch()
        with pytest.raises(UserError, match="out: is not empty, and holds no shards"):
            convert("vg", root, out)
        with pytest.raises(UserError, match=r"mine\.txt: is a file"):
            convert("vg", root, out / "mine.txt")

    def test_that_are_finished(self, tmp_path: Path) -> None:
        root, out = copied("vqav2", tmp_path), tmp_path / "out"
        index = convert("vqav2", root, out)
        before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
        assert convert("vqav2", root, out) == index
        assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before
        for changed in ({"min_count": 3}, {"normalise": False}):
            with pytest.raises(UserError, match="out: holds vqav2, converted from other files, by other options"):
                convert("vqav2", root, out, changed)
        edit(root, TRAIN_QUESTIONS, lambda data: data | {"info": 1})
        with pytest.raises(UserError, match="holds vqav2, converted from other files"):
            convert("vqav2", root, out)

    def test_that_hold_an_unfinished_conversion(self, tmp_path: Path) -> None:
        root, out = copied("vqav2", tmp_path), tmp_path / "out"
        (root / "train2014/COCO_train2014_000000000102.jpg").unlink()
        with pytest.raises(UserError, match="cannot be used"):
            convert("vqav2", root, out)
        with pytest.raises(UserError, match="holds an unfinished conversion of other files, or by other options"):
            convert("vqav2", root, out, {"min_count": 3})

    def test_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(UserError, match="a part of this path is a file"):
            convert("vg", copied("vg", tmp_path), tmp_path / "file/out")


def test_swapped_splits_that_no_row_betrays(tmp_path: Path) -> None:
    """Rows of SNLI-VE do not say which split they are of; that train is not the largest one is told."""
    root = copied("snli_ve", tmp_path)
    edit(root, "snli_ve/snli_ve_train.jsonl", lambda rows: rows * 2)
    for number, name in enumerate(("snli_ve/snli_ve_train.jsonl", "snli_ve/snli_ve_dev.jsonl")):
        edit(root, name, lambda rows, number=number: [r | {"pairID": f"{number}-{i}"} for i, r in enumerate(rows)])
    assert suspicious_sizes(convert("snli_ve", root, tmp_path / "right")) == []
    swap(root, "snli_ve/snli_ve_train.jsonl", "snli_ve/snli_ve_dev.jsonl")
    (remark,) = suspicious_sizes(convert("snli_ve", root, tmp_path / "swapped"))
    assert remark.startswith("dev has more texts than train (12, ")
    assert remark in check_shards(ShardFolder(tmp_path / "swapped"), images=False).remarks


def test_options(tmp_path: Path) -> None:
    root = copied("vqav2", tmp_path)
    for options, told in (
        ({"min_cout": 3}, "min_cout: unknown key; did you mean 'min_count'"),
        ({"min_count": 0}, "min_count: 0 is out of range"),
        ({"min_count": 99999}, "min_count: 99999 leaves no answer to choose from"),
    ):
        with pytest.raises(UserError, match=told):
            convert("vqav2", root, tmp_path / "out", options)
    with pytest.raises(UserError, match=r"^name: unknown converter 'vqa2'; did you mean 'vqav2'"):
        convert("vqa2", root, tmp_path / "out")
    with pytest.raises(UserError, match="vqav2 has no part 'tset'; did you mean 'test'"):
        convert("vqav2", root, tmp_path / "out", parts=["tset"])


def test_some_parts_alone(tmp_path: Path) -> None:
    root = copied("vqav2", tmp_path)
    shutil.rmtree(root / "test2015")
    for name in root.glob("vqav2/*test*"):
        name.unlink()
    index = convert("vqav2", root, tmp_path / "out", parts=["val", "train"])
    assert list(index.parts) == ["train", "val"]
    convert("vqav2", root, tmp_path / "train", parts=["train"])
    with pytest.raises(UserError, match=r"data: vqav2 has no part 'val'; "):
        dataset_facts({"name": "vqav2", "folder": str(tmp_path / "train")})
    root = copied("coco", tmp_path / "coco")
    index = convert("coco", root, tmp_path / "coco/out", parts=["restval"])
    assert {name: part.texts() for name, part in index.parts.items()} == {"restval": 5}


def test_the_command_tells_it_in_one_line(tmp_path: Path) -> None:
    root = copied("coco", tmp_path)
    cut("karpathy/dataset_coco.json")(root)
    command = [str(Path(sys.executable).parent / "mtlab"), "data", "convert", "coco", "--root", str(root)]
    done = subprocess.run([*command, "--out", str(tmp_path / "out")], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {root}/karpathy/dataset_coco.json: is not whole JSON")


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"id": True}, "id: expected text in quotes, found true"),
        ({"id": 2**63}, "id: expected text in quotes, found 9223372036854775808"),
        ({"answer": "a\tb"}, "answer: 'a\\tb' has a line break, tab or other control character"),
        ({"image": "a\n.png"}, "image: 'a\\n.png' has a line break, tab or other control character"),
        ({"family": "a/b"}, "family: 'a/b' has a /, which separates the parts of a metric's name"),
        ({"split": "dev"}, 'split: "dev" is none of train, val, test'),
    ],
)
def test_lines_of_your_own_are_checked_as_a_file_of_questions_is(
    wrong: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    (tmp_path / "questions.jsonl").write_text(json.dumps({"image": "a.png", "question": "?", "answer": "b", **wrong}))
    (rejected,) = JsonlConverter(tmp_path, JsonlConverter.Config()).rows(ScratchDatabase(tmp_path / "scratch.db"))
    assert isinstance(rejected, RejectedRow)
    assert rejected.reason == reason
    with pytest.raises(UserError, match=re.escape(reason)):
        list(read_questions_file(tmp_path / "questions.jsonl"))


def test_a_key_that_a_line_gives_twice_is_told_and_not_chosen_from(tmp_path: Path) -> None:
    (tmp_path / "questions.jsonl").write_text('{"image": "a.png", "question": "?", "answer": "a", "answer": "b"}')
    (rejected,) = JsonlConverter(tmp_path, JsonlConverter.Config()).rows(ScratchDatabase(tmp_path / "scratch.db"))
    assert isinstance(rejected, RejectedRow)
    assert rejected.reason == "key 'answer' is given twice"


def test_shares_that_leave_nothing_to_train_on_are_told() -> None:
    with pytest.raises(UserError, match=r"shares: 0\.5 and 0\.5 leave nothing to train on"):
        JsonlConverter.Config(shares=(0.5, 0.5))
