"""The layout of VQAv2: questions and annotations in JSON, images as COCO names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mtlab.data.base import Dataset, Split
from mtlab.data.raw.numbered_images import (
    NumberedImage,
    Progress,
    numbered_images,
    with_progress,
    write_jpeg,
    write_json,
)
from mtlab.errors import UserError

PARTS: Mapping[Split, str] = {"train": "train2014", "val": "val2014", "test": "test2015"}
ANNOTATORS = 10  #: all of one mind


def write(data: Dataset, root: Path, progress: Progress) -> None:
    """Write questions, images, and annotations of train and val; as published, test has questions alone.

    Args:
        data: has questions and answers.
        root: folder to write to.
        progress: called now and then.

    Raises:
        UserError: the right answer of a question of train or val is not known.

    """
    for split, part in PARTS.items():
        grouped = numbered_images(data, split)
        for entry in with_progress(grouped, f"{part} pictures", progress):
            write_jpeg(root / part / f"COCO_{part}_{entry.number:012d}.jpg", data.image(*entry.keys))
        questions = [
            {"image_id": entry.number, "question_id": _id(entry, at), "question": example.text}
            for entry in grouped
            for at, example in enumerate(entry.examples)
        ]
        for name in (part, *(["test-dev2015"] if split == "test" else [])):
            file = root / "vqav2" / f"v2_OpenEnded_mscoco_{name}_questions.json"
            write_json(file, {"data_subtype": name, "questions": questions})
        if split != "test":
            annotations = [
                _annotated(entry, at, data.answers) for entry in grouped for at in range(len(entry.examples))
            ]
            file = root / "vqav2" / f"v2_mscoco_{part}_annotations.json"
            write_json(file, {"data_subtype": part, "annotations": annotations})


def _id(entry: NumberedImage, at: int) -> int:
    return entry.number * 1000 + at


def _annotated(entry: NumberedImage, at: int, answers: Sequence[str]) -> dict[str, Any]:
    example = entry.examples[at]
    if not example.answer and example.target < 0:
        raise UserError(
            f"the right answer of {example.text!r} ({example.id}) is not known: such data cannot be written"
        )
    answer = example.answer or answers[example.target]
    return {
        "question_id": _id(entry, at),
        "image_id": entry.number,
        "question_type": " ".join(example.text.lower().split()[:2]),
        "answer_type": "yes/no" if answer in ("yes", "no") else "number" if answer.isdecimal() else "other",
        "multiple_choice_answer": answer,
        "answers": [
            {"answer": answer, "answer_confidence": "yes", "answer_id": number} for number in range(1, ANNOTATORS + 1)
        ],
    }
