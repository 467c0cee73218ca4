"""Users' own questions: what is read, how it is split, and every mistake told in one line."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from question_folders import row, write_folder, write_images, write_rows
from tiny_study import write_study

from mtlab.config.check import check_config, to_plain
from mtlab.data.base import DATASETS, SPLITS
from mtlab.data.datasets.questions import Questions
from mtlab.errors import UserError
from mtlab.launch.prepare import plan_study
from mtlab.resolution.identity import clear_digests
from mtlab.studies.plan import make_plan
from mtlab.studies.spec import read_study


def opened(folder: Path, **options: Any) -> Questions:
    config = check_config(Questions.Config, {"folder": str(folder), **options})
    assert Questions.sizes(config)
    assert Questions.digest(config)
    return Questions(config)


def told(folder: Path, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        opened(folder, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_for_each_split(tmp_path: Path) -> None:
    data = opened(write_folder(tmp_path))
    assert DATASETS.get("questions").cls is Questions
    assert Questions.sizes(data.config) == {"train": 6, "val": 3, "test": 3}
    assert data.answers == ("blue", "green", "red")
    first = data.examples("train")[0]
    assert (first.id, first.text, first.image) == ("train:1", "what colour is it?", "0.png")
    assert (data.answers[first.target], first.family) == ("red", "other")
    assert data.image("0.png").tolist() == [[[255, 0, 0]] * 8] * 8
    assert data.remarks(data.config) == ()


def test_what_lines_may_say(tmp_path: Path) -> None:
    write_folder(tmp_path)
    rows = [
        row(0, id=17, family="colour", question=" where?  ", answer=" rouge\u2028 é ", split="train"),
        row(1, id="b", image="./sub//../1.png".replace("sub//../", "")),
        row(2, family=None, split=None, id=None),
    ]
    text = "\r\n\r\n".join(json.dumps(each) for each in rows)
    (tmp_path / "train.jsonl").write_bytes(b"\xef\xbb\xbf" + text.encode() + b"\r\n")
    examples = opened(tmp_path).examples("train")
    assert [example.id for example in examples] == ["17", "b", "train:5"]
    assert (examples[0].text, examples[0].family, examples[1].image) == ("where?", "colour", "1.png")
    assert "rouge\u2028 é" in opened(tmp_path).answers


def test_lines_may_name_their_split(tmp_path: Path) -> None:
    write_images(tmp_path, range(6))
    splits = ["train", "test", "val", "train", "train", "train"]
    write_rows(tmp_path / "questions.jsonl", [row(number, split=split) for number, split in enumerate(splits)])
    data = opened(tmp_path)
    assert [example.image for example in data.examples("train")] == ["0.png", "3.png", "4.png", "5.png"]
    assert [example.id for example in data.examples("test")] == ["questions:2"]


def test_otherwise_images_are_split_by_a_hash_of_their_path(tmp_path: Path) -> None:
    write_images(tmp_path, range(200))
    rows = [row(number, question=question) for number in range(200) for question in ("what?", "which colour?")]
    write_rows(tmp_path / "questions.jsonl", rows)
    data = opened(tmp_path, shares=[0.2, 0.3])
    images = {split: {example.image for example in data.examples(split)} for split in SPLITS}
    assert sum(map(len, images.values())) == 200  # no image in two splits
    assert 20 < len(images["val"]) < 60
    assert 40 < len(images["test"]) < 80
    assert sum(Questions.sizes(data.config).values()) == 400

    write_images(tmp_path, range(200, 230))
    write_rows(tmp_path / "questions.jsonl", [*rows, *(row(number) for number in range(200, 230))])
    more = opened(tmp_path, shares=[0.2, 0.3])
    for split in SPLITS:
        assert images[split] <= {example.image for example in more.examples(split)}


def test_groups_are_split_whole_and_are_clusters(tmp_path: Path) -> None:
    """Six pictures of each scene: none of its pictures is in another split, and all of them are one cluster."""
    write_images(tmp_path, range(240))
    rows = [row(number, group=f"scene {number // 6}") for number in range(240)]
    write_rows(tmp_path / "questions.jsonl", [*rows, row(0, group="scene 0", question="what?")])
    data = opened(tmp_path, shares=[0.2, 0.3])
    groups = {split: {example.cluster for example in data.examples(split)} for split in SPLITS}
    assert sum(map(len, groups.values())) == len(set.union(*groups.values())) == 40
    assert all(len(found) > 1 for found in groups.values())
    without = opened(write_folder(tmp_path / "plain"))
    assert [example.cluster for example in without.examples("val")] == ["6.png", "7.png", "8.png"]


def test_an_image_in_two_groups_is_refused_as_it_would_tear_one_apart(tmp_path: Path) -> None:
    write_images(tmp_path, range(3))
    write_rows(tmp_path / "questions.jsonl", [row(0, group="a"), row(1), row(0, group="b")])
    assert told(tmp_path) == (
        f"{tmp_path}/questions.jsonl:3: group: image '0.png' has group 'b' here, and group 'a' in questions.jsonl:1: "
        "give all lines of an image the same"
    )
    write_rows(tmp_path / "questions.jsonl", [row(0, group="a"), row(0)])
    assert "has no group here, and group 'a' in questions.jsonl:1" in told(tmp_path)


def test_a_group_in_train_and_test_is_remarked(tmp_path: Path) -> None:
    write_images(tmp_path, range(6))
    splits = ["train", "train", "train", "train", "val", "test"]
    rows = [row(n, split=split, group=f"scene {n % 3}") for n, split in enumerate(splits)]
    write_rows(tmp_path / "questions.jsonl", rows)
    remarks = opened(tmp_path).remarks(opened(tmp_path).config)
    assert "1 groups of test are in train, too: its scores may be flattering" in remarks


def test_answers_come_from_training_the_commonest_first(tmp_path: Path) -> None:
    write_folder(tmp_path)
    answers = ["no", "yes", "two", "yes", "no", "one"]
    write_rows(tmp_path / "train.jsonl", [row(n, answer=answer) for n, answer in enumerate(answers)])
    write_rows(tmp_path / "val.jsonl", [row(6, answer="yes"), row(7, answer="three"), row(8, answer="two")])
    write_rows(tmp_path / "test.jsonl", [row(9, answer="yes"), row(10, answer="Yes")])
    data = opened(tmp_path)
    assert data.answers == ("no", "yes", "one", "two")
    assert [example.target for example in data.examples("val")] == [1, -1, 3]
    wrong = "they count as wrong, unless answers are generated"
    assert data.remarks(data.config) == (
        f"1 of 3 val questions (33.3 %) have an answer that cannot be chosen, such as 'three': {wrong}",
        f"1 of 2 test questions (50.0 %) have an answer that cannot be chosen, such as 'Yes': {wrong}",
    )
    assert [example.answer for example in data.examples("val")] == ["", "three", ""]

    rare = opened(tmp_path, min_count=2)
    assert rare.answers == ("no", "yes")
    assert Questions.sizes(rare.config) == {"train": 4, "val": 3, "test": 2}
    assert [example.target for example in rare.examples("val")] == [1, -1, -1]
    assert "2 training questions are left out: their answers occur less than 2 times" in rare.remarks(rare.config)


def test_shared_images_and_answers_that_differ_in_case_are_remarked(tmp_path: Path) -> None:
    write_folder(tmp_path)
    write_rows(tmp_path / "train.jsonl", [row(0, answer="Red"), row(1), row(3)])
    write_rows(tmp_path / "test.jsonl", [row(0, answer="red"), row(9)])
    write_rows(tmp_path / "val.jsonl", [row(9)])
    remarks = opened(tmp_path).remarks(opened(tmp_path).config)
    assert "1 images of test are in val, too: its scores may be flattering" in remarks
    assert "1 images of test are in train, too: its scores may be flattering" in remarks
    assert "answers 'Red' and 'red' differ in case alone, and are two answers" in remarks
    write_rows(tmp_path / "train.jsonl", [row(n, answer=word) for n, word in enumerate(("Red", "red", "Blue", "blue"))])
    remarks = opened(tmp_path).remarks(opened(tmp_path).config)
    expected = "answers 'Blue' and 'blue' differ in case alone, and are two answers (and those of 1 more)"
    assert expected in remarks


def test_copies_of_an_image_in_two_splits_are_remarked(tmp_path: Path) -> None:
    write_folder(tmp_path)
    flattering = "its scores may be flattering"
    for number, original in (("10", "0"), ("11", "0"), ("6", "1"), ("9", "8")):
        shutil.copy(tmp_path / f"images/{original}.png", tmp_path / f"images/{number}.png")
    assert opened(tmp_path).remarks(opened(tmp_path).config) == (
        f"1 images of val are copies of images of train, such as '6.png' of '1.png': {flattering}",
        f"2 images of test are copies of images of train, such as '10.png' of '0.png': {flattering}",
        f"1 images of test are copies of images of val, such as '9.png' of '8.png': {flattering}",
    )


def test_the_digest_is_of_content_wherever_it_lies(tmp_path: Path) -> None:
    here = write_folder(tmp_path / "here")
    shutil.copytree(here, tmp_path / "there")
    shutil.move(tmp_path / "there/images", tmp_path / "pictures")
    digest = Questions.digest(opened(here).config)
    assert Questions.digest(opened(tmp_path / "there", images="../pictures").config) == digest
    Image.new("RGB", (8, 8), (1, 2, 3)).save(here / "images/0.png")
    changed = Questions.digest(opened(here).config)
    assert changed != digest
    (here / "images/unasked.png").write_bytes(b"")  # nobody asks about it
    assert Questions.digest(opened(here).config) == changed
    write_rows(here / "test.jsonl", [row(9)])
    assert Questions.digest(opened(here).config) != changed
    assert Questions.location_options == {"folder", "images"}


def test_a_relative_folder_becomes_absolute_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    config = check_config(Questions.Config, {"folder": "mine"})
    assert config.folder == str(tmp_path / "mine")
    monkeypatch.chdir("/")
    assert check_config(Questions.Config, to_plain(config)) == config
    assert Questions.sizes(config)["train"] == 6


def test_a_moved_folder_is_the_same_run(tmp_path: Path) -> None:
    def cell(folder: Path, **more: Any) -> str:
        study = write_study(
            tmp_path, f"set: {{data: {json.dumps({'name': 'questions', 'folder': str(folder), **more})}}}"
        )
        (made,) = make_plan(read_study(study, ["train.batch=4"])).cells
        return made.id

    here, there = write_folder(tmp_path / "here"), tmp_path / "there"
    before = cell(here)
    shutil.copytree(here, there)
    assert cell(there) == before
    assert cell(there, min_count=2) != before
    write_rows(there / "test.jsonl", [row(9, answer="blue")])
    clear_digests()
    assert cell(there) != before


def test_a_study_that_is_planned_again_knows_changed_files(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "mine")
    study = write_study(tmp_path, f"set: {{data: {{name: questions, folder: {folder}}}}}")

    def planned() -> tuple[str, int]:
        (cell,) = plan_study(study, ["train.batch=4", "train.length={epochs: 4}"], plugins=False).cells
        return cell.id, cell.steps

    before = planned()
    assert planned() == before
    write_rows(folder / "train.jsonl", [row(number) for number in range(8)])
    assert planned()[0] != before[0]
    assert planned()[1] == 2 * before[1]


def test_files_that_change_while_a_run_goes_on_do_not_change_the_run(tmp_path: Path) -> None:
    data = opened(write_folder(tmp_path))
    before = data.examples("train"), data.answers
    write_rows(tmp_path / "test.jsonl", [row(9, answer="blue")])
    write_rows(tmp_path / "train.jsonl", [row(0), row(1)])
    assert (data.examples("train"), data.answers) == before
    assert len(data.examples("test")) == 3


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{", "is not a JSON object on one line: Expecting property name"),
        ("[", "is not a JSON object on one line"),
        ("[" * 100_000, "is not a JSON object on one line"),
        ("7", "expected a JSON object, found 7"),
        ("[]", "expected a JSON object, found a list"),
        ('{"image": "0.png", "image": "1.png"}', "key 'image' is given twice"),
        (b"\xff\xfe{\x00", "is not UTF-8 text (byte 1): save the file as UTF-8"),
        ('{"image": "0.png", "question": "what?"}', "lacks 'answer'"),
        ('{"image": "0.png", "qestion": "what?"}', "unknown key 'qestion'; did you mean 'question'?"),
        (row(0, answer=3), "answer: expected text in quotes, found 3"),
        (row(0, answer=["yes", "no"]), "answer: expected text in quotes, found a list"),
        (row(0, answer=None), "answer: expected text in quotes, found null"),
        (row(0, answer="  "), "answer: is empty"),
        (row(0, answer="a\nb"), "answer: 'a\\nb' has a line break"),
        ('{"image": "0.png", "question": "\\ud800?", "answer": "a"}', "question: holds half a character"),
        (row(0, question=""), "question: is empty"),
        (row(0, family="a/b"), "family: 'a/b' has a /"),
        (row(0, split="validation"), 'split: "validation" is none of train, val, test'),
        (row(0, split="val"), "split: 'val' in the file of 'train'"),
        (row(0, id=1.5), "id: expected text in quotes, found 1.5"),
        (row(0, id="train:1"), "id 'train:1' is taken: train.jsonl:1 has it"),
        (
            row(0, image="/etc/passwd"),
            "image: '/etc/passwd' is an absolute path: write it relative to the image folder",
        ),
        (row(0, image="C:\\me\\0.png"), "is an absolute path"),
        (row(0, image="sub\\0.png"), "has a backslash: write / between folders"),
        (row(0, image="sub/../../0.png"), "leaves the image folder by `..`"),
        (row(0, image="."), "image: '.' is a folder, not an image"),
        (row(0, image="sub"), "image: 'sub' is not a file"),
        (row(0, image="link.png"), "image: 'link.png' leaves the image folder by a link"),
        (row(0, image="0.PNG"), "image: no '0.PNG' in IMAGES; did you mean '0.png'?"),
        (row(0, image="0.jpg"), "image: no '0.jpg' in IMAGES; did you mean '0.png'?"),
        (row(0, image="0.png/x"), "image: no '0.png/x' in IMAGES"),
        (row(0, image="away/0.png"), "image: no 'away/0.png' in IMAGES: there is no folder away"),
        (row(0, image="x" * 300), "cannot be read: File name too long"),
        (row(0, image="a\0b"), "has a line break, tab or other control character"),
    ],
)
def test_a_wrong_line_is_told_with_file_and_line(tmp_path: Path, line: Any, expected: str) -> None:
    write_folder(tmp_path / "mine")
    (tmp_path / "mine/images/sub").mkdir()
    (tmp_path / "secret.png").write_bytes(b"")
    (tmp_path / "mine/images/link.png").symlink_to(tmp_path / "secret.png")
    file = tmp_path / "mine/train.jsonl"
    content = line if isinstance(line, bytes) else (line if isinstance(line, str) else json.dumps(line)).encode()
    file.write_bytes(file.read_bytes() + b"\n" + content + b"\n")
    line_told = told(tmp_path / "mine")
    assert line_told.startswith(f"{file}:8: ")
    assert expected.replace("IMAGES", str(tmp_path / "mine/images")) in line_told


def test_links_inside_the_folder_are_followed(tmp_path: Path) -> None:
    write_folder(tmp_path / "real")
    (tmp_path / "real/images/link.png").symlink_to("0.png")
    write_rows(tmp_path / "real/val.jsonl", [row(0, image="link.png")])
    (tmp_path / "mine").symlink_to(tmp_path / "real")
    data = opened(tmp_path / "mine")
    assert data.image("link.png").shape == (8, 8, 3)
    (tmp_path / "real/images/link.png").unlink()
    (tmp_path / "real/images/link.png").symlink_to("/etc/passwd")
    with pytest.raises(UserError, match="leaves the image folder by a link"):
        data.image("link.png")


def remove(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (shutil.rmtree, "folder: FOLDER: no such folder"),
        (remove("val.jsonl"), "FOLDER: lacks val.jsonl: write one file for each split, or all questions into"),
        (
            lambda folder: (folder / "train.jsonl").rename(folder / "questions.jsonl"),
            "FOLDER: holds questions.jsonl and val.jsonl, test.jsonl: keep one",
        ),
        (
            lambda folder: [(folder / f"{split}.jsonl").rename(folder / f"{split}.json") for split in SPLITS],
            "FOLDER: holds neither questions.jsonl nor train.jsonl, val.jsonl, test.jsonl (found: test.json, ",
        ),
        (lambda folder: (folder / "val.jsonl").write_text("\n\n"), "FOLDER/val.jsonl: is empty"),
        (
            lambda folder: [remove("val.jsonl")(folder), (folder / "val.jsonl").mkdir()],
            "FOLDER/val.jsonl: is not a file",
        ),
        (lambda folder: shutil.rmtree(folder / "images"), "images: FOLDER/images: no such folder of images"),
        (
            lambda folder: (folder / "images/0.png").write_text("no image"),
            "FOLDER/images/0.png: is not an image that can be read",
        ),
        (
            lambda folder: write_rows(folder / "train.jsonl", [row(n, answer="yes") for n in range(6)]),
            "FOLDER: all training questions have one answer, 'yes'",
        ),
        (
            lambda folder: write_rows(folder / "test.jsonl", [row(9, answer="new")]),
            "FOLDER: no test question has an answer that training has, too",
        ),
    ],
)
def test_a_wrong_folder_is_told(tmp_path: Path, change: Callable[[Path], object], expected: str) -> None:
    folder = write_folder(tmp_path / "mine")
    change(folder)
    assert told(folder).startswith(expected.replace("FOLDER", str(folder)))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"folder": ""}, "folder: needs the folder that holds your questions (docs/your-own-questions.md)"),
        ({"min_count": 3}, "min_count: 3 leaves 0 of 3 answers to choose from: at least 2 are needed"),
        ({"min_count": 0}, "min_count: 0 is out of range: must be at least 1"),
        ({"shares": [0.1]}, "shares: expected 2 values, found 1"),
        ({"shares": [0.5, 0.5]}, "shares: 0.5 and 0.5 leave nothing to train on"),
        ({"shares": [0.0, 0.1]}, "shares: 0.0 is out of range"),
        ({"images": "pictures"}, "no such folder of images"),
    ],
)
def test_wrong_options_are_told(tmp_path: Path, options: dict[str, Any], expected: str) -> None:
    write_folder(tmp_path)
    assert expected in told(options.pop("folder", tmp_path), **options)


def test_a_file_instead_of_its_folder(tmp_path: Path) -> None:
    write_folder(tmp_path)
    assert told(tmp_path / "train.jsonl").endswith("train.jsonl: is a file: give the folder that holds it")


def test_some_lines_with_a_split_and_some_without(tmp_path: Path) -> None:
    write_images(tmp_path, range(3))
    write_rows(tmp_path / "questions.jsonl", [row(0, split="train"), row(1), row(2)])
    assert told(tmp_path).endswith(
        "questions.jsonl:2: lacks the key 'split', which line 1 has: give all lines one, or none"
    )


def test_too_few_images_to_split(tmp_path: Path) -> None:
    write_images(tmp_path, range(2))
    write_rows(tmp_path / "questions.jsonl", [row(0), row(1)])
    assert "give more than these 2, or say `split` in each line" in told(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_that_may_not_be_read(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "val.jsonl").chmod(0)
    assert "val.jsonl: cannot be read: Permission denied" in told(tmp_path)
