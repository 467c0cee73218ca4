"""Every converter gives what the authors' scripts write for the same raw files, but for slips that are named here."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from raw_trees import GOLDEN, expected, raw, samples

from mtlab.data.converters.vqa_answers import choose_vocabulary, normalise, soft_scores
from mtlab.data.shards.folder import ShardFolder
from mtlab.data.shards.writing.convert import convert


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Any:
    @cache
    def once(name: str) -> ShardFolder:
        out = tmp_path_factory.mktemp("shards") / name
        convert(name, raw(name), out)
        return ShardFolder(out)

    return once


def by_image(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: row.get("image") or row["image_0"])


CAPTIONS = [
    ("coco", "train", "coco_caption_karpathy_train"),
    ("coco", "restval", "coco_caption_karpathy_restval"),
    ("coco", "val", "coco_caption_karpathy_val"),
    ("coco", "test", "coco_caption_karpathy_test"),
    ("flickr30k", "train", "f30k_caption_karpathy_train"),
    ("flickr30k", "val", "f30k_caption_karpathy_val"),
    ("flickr30k", "test", "f30k_caption_karpathy_test"),
    ("cc3m", "train", "conceptual_caption_train_0"),
    ("cc3m", "val", "conceptual_caption_val_0"),
    ("sbu", "train", "sbu_0"),
]


@pytest.mark.parametrize(("name", "part", "table"), CAPTIONS, ids=lambda value: value)
def test_captions(converted: Any, name: str, part: str, table: str) -> None:
    found = [
        {"caption": [text["text"] for text in texts], "image": image, "image_id": Path(row.names[0]).name}
        for row, texts, (image,) in samples(converted(name), part)  # in ours, CC3M's have the part's folder
    ]
    # Their column `split` of SBU and CC3M holds "sbu" and "cc"; a part of ours is the split.
    assert by_image(found) == [{k: v for k, v in row.items() if k != "split"} for row in by_image(expected(table))]


def test_regions_of_visual_genome(converted: Any) -> None:
    found = [
        {
            "caption": [text["text"] for text in texts],
            "image": image,
            "image_id": row.key,
            **{key: [text["box"][at] for text in texts] for at, key in enumerate(("x", "y", "width", "height"))},
        }
        for row, texts, (image,) in samples(converted("vg"), "train")
    ]
    assert by_image(found) == by_image(expected("vg"))


@pytest.mark.parametrize("part", ["train", "dev", "test"])
def test_entailment(converted: Any, part: str) -> None:
    found = [
        {"image": image, "labels": [t["label"] for t in texts], "sentences": [[t["premise"], t["text"]] for t in texts]}
        for _, texts, (image,) in samples(converted("snli_ve"), part)
    ]
    wanted = [  # what their loader strips is stripped here
        {**row, "sentences": [[premise, hypothesis.strip()] for premise, hypothesis in row["sentences"]]}
        for row in expected(f"snli_{part}")
    ]
    assert by_image(found) == by_image(wanted)
    assert converted("snli_ve").answers == ("contradiction", "neutral", "entailment")


@pytest.mark.parametrize(
    ("selection", "table"),
    [
        ("train", "nlvr2_train"),
        ("dev", "nlvr2_dev"),
        ("test1", "nlvr2_test1"),
        ("dev/balanced", "nlvr2_balanced_dev"),
        ("dev/unbalanced", "nlvr2_unbalanced_dev"),
        ("test1/balanced", "nlvr2_balanced_test1"),
        ("test1/unbalanced", "nlvr2_unbalanced_test1"),
    ],
)
def test_pairs(converted: Any, selection: str, table: str) -> None:
    found = [
        {
            "identifier": row.key,
            "image_0": first,
            "image_1": second,
            "questions": [text["text"] for text in texts],
            "answers": [converted("nlvr2").answers[text["label"]] for text in texts],
        }
        for row, texts, (first, second) in samples(converted("nlvr2"), selection)
    ]
    assert by_image(found) == by_image(expected(table))


def questions(shards: ShardFolder, selection: str, split: str) -> list[dict[str, Any]]:
    judged = "labels" in next(samples(shards, selection))[1][0]
    return [
        {
            "image": image,
            "image_id": int(row.key[-12:]),
            "question_id": [int(text["id"]) for text in texts],
            "questions": [text["text"] for text in texts],
            "answers": [[shards.answers[label] for label in text["labels"]] for text in texts] if judged else [],
            "answer_labels": [text["labels"] for text in texts] if judged else [],
            "answer_scores": [text["scores"] for text in texts] if judged else [],
            "split": split,
        }
        for row, texts, (image,) in samples(shards, selection)
    ]


@pytest.mark.parametrize(
    ("selection", "split"),
    [("train/answerable", "train"), ("val/answerable", "val"), ("test", "test"), ("test/test-dev", "test-dev")],
)
def test_questions(converted: Any, selection: str, split: str) -> None:
    found = questions(converted("vqav2"), selection, split)
    assert by_image(found) == by_image(expected(f"vqav2_{split}_fix"))


@pytest.mark.parametrize("part", ["train", "val"])
def test_questions_whose_raw_answers_are_counted(tmp_path: Path, part: str) -> None:
    convert("vqav2", raw("vqav2"), tmp_path / "out", {"normalise": False})
    found = questions(ShardFolder(tmp_path / "out"), f"{part}/answerable", part)
    assert by_image(found) == by_image(expected(f"vqav2_{part}", "vqa_without_fix"))


def test_no_question_is_dropped(tmp_path: Path) -> None:
    """Theirs drops questions that no known answer fits, from val too, where they would count as wrong."""
    convert("vqav2", raw("vqav2"), tmp_path / "out", {"normalise": False})
    shards = ShardFolder(tmp_path / "out")
    for part, year in (("train", 2014), ("val", 2014)):
        asked = json.loads((raw("vqav2") / f"vqav2/v2_OpenEnded_mscoco_{part}{year}_questions.json").read_text())
        all_of_them = {str(question["question_id"]) for question in asked["questions"]}
        assert {record.id for record in shards.records(part)} == all_of_them
        unanswerable = [record for record in shards.records(part) if not record.scores]
        assert len(unanswerable) == len(all_of_them) - shards.size(f"{part}/answerable") > 0
        assert all(len(record.row["annotators"]) == 10 for record in shards.records(part))


def test_ids_are_those_of_the_source(converted: Any) -> None:
    assert {record.id for record in converted("nlvr2").records("train")} >= {"train-0-3-0", "train-0-3-1"}
    assert next(converted("nlvr2").records("dev")).images in {
        ("dev-0-3.0", "dev-0-3.1"),
        ("dev-1-2.0", "dev-1-2.1"),
    }


NORMALISED = json.loads((GOLDEN / "normalize_word.json").read_text())


@pytest.mark.parametrize("answer", NORMALISED)
def test_normalised_answers(answer: str) -> None:
    assert normalise(answer) == NORMALISED[answer]


def test_contractions_are_those_of_the_evaluation() -> None:
    for given, wanted in {
        "couldnt've": "couldn't've",
        "couldn'tve": "couldn't've",
        "yallll": "yallll",  # two apostrophes are missing: the evaluation knows it not
        "yall'll": "y'all'll",
        "twas": "'twas",
        "somebody'd": "somebodyd",
        "shed": "shed",
        "wed": "wed",
        "hed": "he'd",
        "The dog's, ball": "dog's ball",
    }.items():
        assert normalise(given) == wanted


def test_scores_of_ten_people() -> None:
    labels = {"yes": 0, "no": 1}
    for people, score in enumerate((0.3, 0.6, 0.9, 1.0, 1.0), 1):
        assert soft_scores(["no"] * people + ["maybe"] * (10 - people), labels) == [(1, score)]
    assert soft_scores(["maybe"] * 10, labels) == []


def test_a_vocabulary_is_in_the_order_of_first_appearance() -> None:
    assert choose_vocabulary(["b", "a", "c", "a", "b", "a"], 2) == ("b", "a")
