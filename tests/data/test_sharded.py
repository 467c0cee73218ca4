"""The data sets of the field from shards: which texts make which split, and what tasks get of them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from raw_trees import raw

from mtlab.config.nodes import lookup_options
from mtlab.data.base import DATASETS, SPLITS, Dataset, Example
from mtlab.data.shards.writing.convert import convert
from mtlab.errors import UserError
from mtlab.resolution.dataset_facts import dataset_facts
from mtlab.resolution.identity import cell_identity
from mtlab.resolution.resolve import resolve

NAMES = ("vqav2", "snli_ve", "nlvr2", "flickr30k", "coco", "cc3m", "sbu", "vg")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("shards")
    for name in NAMES:
        convert(name, raw(name), root / name, {"min_count": 1} if name == "vqav2" else {})
    return {name: root / name for name in NAMES}


def made(name: str, **options: Any) -> Dataset:
    from mtlab.config.check import check_config

    entry = DATASETS.get(name)
    return entry.cls(
        check_config(entry.config, {key: str(v) if isinstance(v, Path) else v for key, v in options.items()})
    )


def all_of(data: Dataset) -> dict[str, list[Example]]:
    return {split: list(data.examples(split)) for split in SPLITS}


@pytest.mark.parametrize("name", ["vqav2", "snli_ve", "nlvr2", "flickr30k", "coco"])
def test_splits_are_whole_and_apart(name: str, folders: dict[str, Path]) -> None:
    data = made(name, folder=folders[name])
    found = all_of(data)
    assert {split: len(examples) for split, examples in found.items()} == data.sizes(data.config)
    assert all(found.values())
    ids = [example.id for examples in found.values() for example in examples]
    assert len(set(ids)) == len(ids)
    images = {split: {key for example in examples for key in example.images} for split, examples in found.items()}
    assert not images["train"] & images["test"]
    assert not images["val"] & images["test"]
    for example in (examples[0] for examples in found.values()):
        for key in example.images:
            assert data.image(key).shape[2] == 3
    assert [example.text for example in found["val"]] == list(data.texts("val"))
    assert data.unlabelled_splits(data.config) == frozenset()
    stream = data.stream("train")
    assert stream is not None
    assert sum(stream.texts) == len(found["train"])


def test_questions_have_soft_targets_and_people_where_they_are_judged(folders: dict[str, Path]) -> None:
    data = made("vqav2", folder=folders["vqav2"])
    train, val = data.examples("train"), data.examples("val")
    assert all(example.scores and not example.annotators for example in train)
    for example in train:
        best = dict(example.scores)[example.target]
        assert best == max(score for _, score in example.scores)
    assert all(len(example.annotators) == 10 for example in val)
    assert data.offers(data.config) == {"answers", "scores"}


def test_official_trains_and_chooses_as_published(folders: dict[str, Path]) -> None:
    sane, official = (made("vqav2", folder=folders["vqav2"], official=given) for given in (False, True))
    train = {example.id for example in official.examples("train")}
    assert train > {example.id for example in sane.examples("train")}
    assert train >= {example.id for example in official.examples("val")}, "what chooses is trained on"
    assert official.unlabelled_splits(official.config) == {"test"}
    (told,) = official.remarks(official.config)
    assert "`mtlab eval RUN --split test --answers FILE`" in told
    assert all(example.target == -1 for example in official.examples("test"))
    assert all(example.id.rpartition("/")[2].isdecimal() for example in official.examples("test"))
    for name in ("flickr30k", "coco"):
        sane, official = (made(name, folder=folders[name], official=given) for given in (False, True))
        chosen = {example.id for example in official.examples("val")}
        assert chosen == {example.id for example in official.examples("test")}
        assert not chosen & {example.id for example in sane.examples("val")}
    assert len(made("flickr30k", folder=folders["flickr30k"], official=True).examples("train")) == sum(
        len(made("flickr30k", folder=folders["flickr30k"]).examples(split)) for split in ("train", "val")
    )


def test_pairs_and_entailment(folders: dict[str, Path]) -> None:
    pairs = made("nlvr2", folder=folders["nlvr2"])
    assert pairs.answers == ("False", "True")
    assert {example.target for example in pairs.examples("train")} == {0, 1}
    assert all(len(example.images) == 2 for split in SPLITS for example in pairs.examples(split))
    entailment = made("snli_ve", folder=folders["snli_ve"])
    assert entailment.answers == ("contradiction", "neutral", "entailment")
    assert {example.target for example in entailment.examples("train")} <= {0, 1, 2}


def test_the_corpus_of_several_folders(folders: dict[str, Path]) -> None:
    four = {name: folders[name] for name in ("coco", "vg", "sbu", "cc3m")}
    whole = made("captions4m", **four)
    examples = whole.examples("train")
    assert {example.id.partition("/")[0] for example in examples} == set(four)
    assert len(examples) == whole.sizes(whole.config)["train"]
    assert len({example.image for example in examples if example.id.startswith("coco")}) < len(examples)
    for name in four:
        example = next(example for example in examples if example.id.startswith(name))
        assert whole.image(example.image).ndim == 3
    assert whole.remarks(whole.config)
    some = made("captions4m", cc3m=folders["cc3m"])
    assert len(some.examples("val")) + len(some.examples("test")) > 0
    with pytest.raises(UserError, match="coco: is needed, or cc3m"):
        made("captions4m", vg=folders["vg"])


def written(**data: Any) -> dict[str, Any]:
    return {
        "text": {"name": "tiny_text"},
        "vision": {"name": "tiny_vision"},
        "task": {"name": "question_answering"},
        "data": data,
        "train": {"batch": 2},
    }


def test_ids_rest_on_content_not_on_where_it_lies(folders: dict[str, Path], tmp_path: Path) -> None:
    here = resolve(written(name="vqav2", folder=str(folders["vqav2"])))
    there = resolve(written(name="vqav2", folder=str(shutil.copytree(folders["vqav2"], tmp_path / "moved"))))
    assert cell_identity(here).cell == cell_identity(there).cell
    assert not cell_identity(here).unresolved
    other = resolve(written(name="vqav2", folder=str(folders["vqav2"]), official=True))
    assert cell_identity(other).cell != cell_identity(here).cell
    provisional = cell_identity(resolve(written(name="vqav2")))
    assert provisional.unresolved == ("data",)
    assert provisional.hashed["config"]["data"] == {"name": "vqav2", "folder": "", "official": False}


def test_own_data_take_the_task_of_their_kind(folders: dict[str, Path], tmp_path: Path) -> None:
    for name, kind, task in (
        ("vqav2", "answers", "question_answering"),
        ("nlvr2", "pairs of images", "reasoning"),
        ("flickr30k", "captions", "retrieval"),
    ):
        val = {"nlvr2": "dev"}.get(name, "val")
        test = {"nlvr2": "test1", "vqav2": "val[:2]"}.get(name, "test")
        node = {"name": "shards", "folder": str(folders[name]), "val": val, "test": test}
        data = made(**node)
        assert kind in data.offers(data.config)
        resolved = resolve(written(**node) | {"task": {"name": task}, "metrics": {"choose": "val/primary"}})
        assert dataset_facts(resolved["data"]).examples["train"] == len(data.examples("train"))
    questions = made("shards", folder=folders["vqav2"], test="val")
    assert all(example.scores for example in questions.examples("train")), "what can be answered is trained on"
    assert made("shards", folder=folders["vqav2"], test="test").unlabelled_splits(
        made("shards", folder=folders["vqav2"], test="test").config
    ) == {"test"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"name": "snli_ve", "folder": "vqav2"}, "holds questions, not entailment"),
        ({"name": "vqav2", "folder": "nowhere"}, "no such folder of shards"),
        ({"name": "shards"}, "needs a folder of shards: `mtlab data convert jsonl --root RAW --out FOLDER`"),
        ({"name": "shards", "folder": "coco", "val": "vall"}, "has no part 'vall'; did you mean 'val'?"),
        ({"name": "shards", "folder": "vqav2", "val": "val[:0]", "test": "val"}, r"data\.val: val\[:0\] has no text"),
        ({"name": "vqav2", "folder": "pipe:cat {}"}, "allow"),
        ({"name": "vqav2", "folder": "snli_ve"}, "holds entailment, not questions"),
        ({"name": "shards", "folder": "vqav2", "val": "test", "test": "val"}, "has no right answers in val"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    options: dict[str, Any], told: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = options.get("folder")
    if folder is not None and not folder.startswith("pipe:"):
        options = options | {"folder": str(folders.get(folder, tmp_path / folder))}
    with pytest.raises(UserError, match=told) as caught:
        resolve(written(**options))
    assert "\n" not in str(caught.value)


def test_a_split_whose_questions_have_no_answer_of_training_is_refused(tmp_path: Path) -> None:
    (tmp_path / "raw/images").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "raw/images/a.png")
    Image.new("RGB", (8, 8), "red").save(tmp_path / "raw/images/b.png")
    for split, image, answers in (("train", "a", "yes no"), ("val", "b", "no maybe"), ("test", "b", "perhaps maybe")):
        lines = [json.dumps({"image": f"{image}.png", "question": "?", "answer": each}) for each in answers.split()]
        (tmp_path / f"raw/{split}.jsonl").write_text("\n".join(lines))
    convert("jsonl", tmp_path / "raw", tmp_path / "shards", {"kind": "questions"})
    options = {"folder": str(tmp_path / "shards"), "test": "val"}
    assert resolve(written(name="shards", **options))
    data = made("shards", **options)
    assert data.remarks(data.config) == [
        "1 of 2 val questions have an answer that cannot be chosen: they count as wrong, unless answers are generated",
        "1 of 2 test questions have an answer that cannot be chosen: they count as wrong, unless answers are generated",
        "val (val) and test (val) have 1 images in common",
    ]
    assert [(example.target, example.answer) for example in data.examples("val")] == [(0, ""), (-1, "maybe")]
    with pytest.raises(UserError, match=r"data\.test: test: no question has an answer that training has, too"):
        resolve(written(name="shards", folder=str(tmp_path / "shards")))


def test_answers_that_cannot_be_chosen_are_not_trained_on_and_like_ones_are_told(tmp_path: Path) -> None:
    (tmp_path / "raw/images").mkdir(parents=True)
    for name in "abc":
        Image.new("RGB", (8, 8)).save(tmp_path / f"raw/images/{name}.png")
    for split, image, answers in (("train", "a", "Red Red red red rare"), ("val", "b", "red"), ("test", "c", "Red")):
        lines = [json.dumps({"image": f"{image}.png", "question": "?", "answer": each}) for each in answers.split()]
        (tmp_path / f"raw/{split}.jsonl").write_text("\n".join(lines))
    convert("jsonl", tmp_path / "raw", tmp_path / "shards", {"kind": "questions", "min_count": 2})
    data = made("shards", folder=tmp_path / "shards")
    assert data.remarks(data.config) == ["answers 'Red' and 'red' differ in case alone, and are two answers"]
    assert len(data.examples("train")) == 4
    data = made("shards", folder=tmp_path / "shards", train="train")
    with pytest.raises(UserError, match="train: 1 of 5 questions have an answer that cannot be chosen: leave"):
        data.remarks(data.config)


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ({}, []),
        ({"train": "train[1:]", "val": "train[:1]"}, []),
        ({"val": "train[:2]"}, ["train (train) and val (train[:2]) have 2 images in common"]),
        (
            {"train": "train[:-1]", "val": "train[1:]"},
            ["train (train[:-1]) and val (train[1:]) have 1 images in common"],
        ),
        ({"val": "test"}, ["val (test) and test (test) have 2 images in common"]),
    ],
)
def test_splits_that_have_images_in_common_are_told_with_the_plan(
    chosen: dict[str, str], told: list[str], folders: dict[str, Path]
) -> None:
    entry, options = lookup_options(DATASETS, {"name": "shards", "folder": str(folders["flickr30k"]), **chosen}, "data")
    assert [line for line in entry.cls.remarks(options) if "in common" in line] == told


def test_pairs_of_one_part_that_share_an_image_are_told_with_the_plan(tmp_path: Path) -> None:
    """Two pairs are two samples, though they show the same image."""
    (tmp_path / "raw/images").mkdir(parents=True)
    for name in range(7):
        Image.new("RGB", (8, 8), (name, 0, 0)).save(tmp_path / f"raw/images/{name}.png")
    lines = [
        json.dumps({"images": ["0.png", f"{n}.png"], "statement": "?", "label": True, "split": "train"})
        for n in range(1, 7)
    ]
    (tmp_path / "raw/questions.jsonl").write_text("\n".join(lines))
    convert("jsonl", tmp_path / "raw", tmp_path / "shards", {"kind": "pairs"}, parts=["train"])
    chosen = {"train": "train[:2]", "val": "train[2:4]", "test": "train[4:]"}
    data = made("shards", folder=tmp_path / "shards", **chosen)
    shared = [line for line in data.remarks(data.config) if "images in common" in line]
    assert len(shared) == 3


def test_groups_that_splits_have_in_common_are_told_with_the_plan(tmp_path: Path) -> None:
    (tmp_path / "raw/images").mkdir(parents=True)
    for at, split in enumerate(SPLITS):
        lines = []
        for answer in "ab":
            Image.new("RGB", (8, 8), (at, at, at)).save(tmp_path / f"raw/images/{split}{answer}.png")
            group = "kitchen" if (split, answer) in (("train", "a"), ("test", "b")) else split + answer
            lines.append({"image": f"{split}{answer}.png", "question": "?", "answer": answer, "group": group})
        (tmp_path / f"raw/{split}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    convert("jsonl", tmp_path / "raw", tmp_path / "shards")
    data = made("shards", folder=tmp_path / "shards")
    assert data.remarks(data.config) == ["1 groups of test are in train, too: its scores may be flattering"]


def test_images_that_each_part_numbers_anew_are_not_taken_for_one(folders: dict[str, Path]) -> None:
    node = {"name": "shards", "folder": str(folders["cc3m"]), "train": "train", "val": "val", "test": "val"}
    entry, options = lookup_options(DATASETS, node, "data")
    assert not [line for line in entry.cls.remarks(options) if line.startswith("train")]


def test_a_folder_that_changes_is_read_anew(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(folders["flickr30k"], tmp_path / "shards"))
    before = made("flickr30k", folder=folder)
    first = before.digest(before.config)
    index = json.loads((folder / "index.json").read_text())
    index["sources"]["more"] = {"bytes": 1, "sha256": "0" * 64}
    (folder / "index.json").write_text(json.dumps(index))
    assert before.digest(before.config) != first
