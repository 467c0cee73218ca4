"""VQAv2: questions about COCO images, each answered by ten annotators."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtlab.config.options import option
from mtlab.data.converters.annotation_files import (
    field,
    list_field,
    number_field,
    read_top_value,
    stream_list,
    text_field,
)
from mtlab.data.converters.base import Annotation, BadRowError, Converter, RejectedRow, register_converter
from mtlab.data.converters.scratch_database import ScratchDatabase
from mtlab.data.converters.vqa_answers import choose_vocabulary, normalise, soft_scores
from mtlab.errors import UserError

FOLDERS = {"train": "train2014", "val": "val2014", "test": "test2015", "test-dev": "test-dev2015"}
ANNOTATED = ("train", "val")  #: parts with public answers, which both make the vocabulary


@register_converter("vqav2")
class VQAv2Converter(Converter):
    """VQAv2. Parts train, val, test; subsets train/answerable, val/answerable, test/test-dev.

    All questions are kept. Those with an answer in the vocabulary, on which the published code trains and validates,
    are the subset `answerable`. Families: yes-no, number, other.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Options on the command line."""

        min_count: int = option(9, "an answer given less often in train + val cannot be chosen", minimum=1)
        normalise: bool = option(
            True,
            "normalise annotators' answers before counting them; false: count raw ones, as the first published files",
        )

    config: Config
    kind = "questions"
    all_parts = ("train", "val", "test")
    layout = (
        "vqav2/v2_OpenEnded_mscoco_{train2014,val2014,test2015,test-dev2015}_questions.json, "
        "vqav2/v2_mscoco_{train2014,val2014}_annotations.json, train2014/, val2014/, test2015/"
    )

    def __init__(self, root: Path, config: Any, parts: Sequence[str] = ()) -> None:
        super().__init__(root, config, parts)
        self._labels: dict[str, int] = {}

    def sources(self) -> Sequence[str]:
        """Return the files of questions and of annotations."""
        return [_questions(part) for part in self._question_files()] + [_annotations(part) for part in ANNOTATED]

    def prepare(self, scratch: ScratchDatabase) -> None:  # noqa: ARG002 - the counts fit into memory
        """Choose the vocabulary, from train and val together."""
        for part in self._question_files():
            for name in (_questions(part), *([_annotations(part)] if part in ANNOTATED else [])):
                subset = read_top_value(self.require(name), "data_subtype")
                if subset not in (None, FOLDERS[part]):
                    raise UserError(f"holds {subset}, not {FOLDERS[part]}: swapped?", file=self.root / name)
        self._labels = {
            answer: at for at, answer in enumerate(choose_vocabulary(self._majority_answers(), self.config.min_count))
        }
        if not self._labels:
            raise UserError(f"{self.config.min_count} leaves no answer to choose from", key="min_count")

    def answers(self) -> Sequence[str]:
        """Return the vocabulary."""
        return tuple(self._labels)

    def rows(self, scratch: ScratchDatabase) -> Iterator[Annotation | RejectedRow]:
        """Match questions with their annotations, and those of test with those of test-dev."""
        for part in (part for part in ANNOTATED if part in self.parts):
            questions, annotations = (
                _rows_by_question(self.root / name) for name in (_questions(part), _annotations(part))
            )
            for question, row, annotation in scratch.match(questions, annotations):
                yield self._annotation(part, question, row, annotation)
        if "test" in self.parts:
            questions, dev = (_rows_by_question(self.root / _questions(part)) for part in ("test", "test-dev"))
            for question, row, same in scratch.match(questions, dev):
                yield self._test_annotation(question, row, same)

    def _question_files(self) -> list[str]:
        return [
            *(part for part in ANNOTATED if part in self.parts),
            *(("test", "test-dev") if "test" in self.parts else ()),
        ]

    def _majority_answers(self) -> Iterator[str]:
        for part in ANNOTATED:
            for place, row in stream_list(self.root / _annotations(part), "annotations"):
                try:
                    answer = field(row, "multiple_choice_answer")
                except BadRowError as error:
                    raise UserError(
                        f"{place.partition(': ')[2]} {error}", file=self.root / _annotations(part)
                    ) from None
                yield normalise(str(answer))

    def _annotation(self, part: str, question: Any, row: Any, annotation: Any) -> Annotation | RejectedRow:
        place = f"{Path(_questions(part) if row else _annotations(part)).name}: question {question}"
        try:
            if row is None:
                raise BadRowError("is annotated twice, or not asked")
            if annotation is None:
                raise BadRowError("is asked, but not annotated")
            image = number_field(row, "image_id")
            if number_field(annotation, "image_id") != image:
                raise BadRowError(f"is asked about image {image}, but annotated for {annotation['image_id']}")
            annotators = [str(field(answer, "answer")) for answer in list_field(annotation, "answers")]
            given = [normalise(answer) for answer in annotators] if self.config.normalise else annotators
            scores = soft_scores(given, self._labels)
            return _sample(
                part,
                image,
                {
                    "id": str(number_field(row, "question_id")),
                    "text": text_field(row, "question"),
                    "family": str(annotation.get("answer_type", "other")).replace("/", "-"),
                    "labels": [label for label, _ in scores],
                    "scores": [score for _, score in scores],
                    "annotators": annotators,
                    **({"sets": ["answerable"]} if scores else {}),
                },
                place,
            )
        except BadRowError as error:
            return RejectedRow(part, place, str(error))

    def _test_annotation(self, question: Any, row: Any, same: Any) -> Annotation | RejectedRow:
        place = f"{Path(_questions('test' if row else 'test-dev')).name}: question {question}"
        try:
            if row is None:
                raise BadRowError("is in test-dev twice, or not in test")
            fields = {"id": str(number_field(row, "question_id")), "text": text_field(row, "question")}
            return _sample(
                "test", number_field(row, "image_id"), fields | ({"sets": ["test-dev"]} if same else {}), place
            )
        except BadRowError as error:
            return RejectedRow("test", place, str(error))


def _sample(part: str, image: int, fields: Mapping[str, Any], place: str) -> Annotation:
    name = f"COCO_{FOLDERS[part]}_{image:012d}"
    return Annotation(part, name, (f"{FOLDERS[part]}/{name}.jpg",), (fields,), place)


def _rows_by_question(path: Path) -> Iterator[tuple[Any, Any]]:
    """Yield the rows of a file by question number; a row without one has its place as key, and is rejected later."""
    inside = "annotations" if "annotations" in path.name else "questions"
    for place, row in stream_list(path, inside):
        key = row.get("question_id") if isinstance(row, dict) else None
        yield (key if isinstance(key, int | str) else place), row


def _questions(part: str) -> str:
    return f"vqav2/v2_OpenEnded_mscoco_{FOLDERS[part]}_questions.json"


def _annotations(part: str) -> str:
    return f"vqav2/v2_mscoco_{FOLDERS[part]}_annotations.json"
