"""VQAv2: questions about pictures of COCO, each answered by ten people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtlab.config.options import option
from mtlab.data.converters.annotation_files import head, items, listed, number, present, text
from mtlab.data.converters.base import Annotation, BadRowError, Converter, RejectedRow, register_converter
from mtlab.data.converters.scratch_database import ScratchDatabase
from mtlab.data.converters.vqa_answers import normalise, soft_scores, vocabulary
from mtlab.errors import UserError

FOLDERS = {"train": "train2014", "val": "val2014", "test": "test2015", "test-dev": "test-dev2015"}
JUDGED = ("train", "val")  #: parts of which the answers are known; the vocabulary comes from both


@register_converter("vqav2")
class VQAv2Converter(Converter):
    """VQAv2. Parts train, val, test; subsets train/answerable, val/answerable, test/test-dev.

    No question is dropped: those with an answer of the vocabulary, on which the published code trains and validates,
    are the subset `answerable`. Families: yes-no, number, other.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Options on the command line."""

        min_count: int = option(9, "an answer given less often in train + val cannot be chosen", minimum=1)
        normalise: bool = option(
            True, "normalise people's answers before counting them; false: count raw ones, as the first published files"
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
        """Name the files of questions and of annotations."""
        return [_questions(part) for part in self._asked()] + [_annotations(part) for part in JUDGED]

    def prepare(self, scratch: ScratchDatabase) -> None:  # noqa: ARG002 - the counts of a vocabulary fit into memory
        """Choose the vocabulary, from train and val together."""
        for part in self._asked():
            for name in (_questions(part), *([_annotations(part)] if part in JUDGED else [])):
                subset = head(self.require(name), "data_subtype")
                if subset not in (None, FOLDERS[part]):
                    raise UserError(f"holds {subset}, not {FOLDERS[part]}: swapped?", file=self.root / name)
        self._labels = {answer: at for at, answer in enumerate(vocabulary(self._right(), self.config.min_count))}
        if not self._labels:
            raise UserError(f"{self.config.min_count} leaves no answer to choose from", key="min_count")

    def answers(self) -> Sequence[str]:
        """Return the vocabulary."""
        return tuple(self._labels)

    def rows(self, scratch: ScratchDatabase) -> Iterator[Annotation | RejectedRow]:
        """Match questions with their annotations, and those of test with those of test-dev."""
        for part in (part for part in JUDGED if part in self.parts):
            asked, told = (_by_question(self.root / name) for name in (_questions(part), _annotations(part)))
            for question, row, annotation in scratch.matched(asked, told):
                yield self._found(part, question, row, annotation)
        if "test" in self.parts:
            asked, again = (_by_question(self.root / _questions(part)) for part in ("test", "test-dev"))
            for question, row, same in scratch.matched(asked, again):
                yield self._tested(question, row, same)

    def _asked(self) -> list[str]:
        return [
            *(part for part in JUDGED if part in self.parts),
            *(("test", "test-dev") if "test" in self.parts else ()),
        ]

    def _right(self) -> Iterator[str]:
        for part in JUDGED:
            for place, row in items(self.root / _annotations(part), "annotations"):
                try:
                    answer = present(row, "multiple_choice_answer")
                except BadRowError as error:
                    raise UserError(
                        f"{place.partition(': ')[2]} {error}", file=self.root / _annotations(part)
                    ) from None
                yield normalise(str(answer))

    def _found(self, part: str, question: Any, row: Any, annotation: Any) -> Annotation | RejectedRow:
        place = f"{Path(_questions(part) if row else _annotations(part)).name}: question {question}"
        try:
            if row is None:
                raise BadRowError("is annotated twice, or not asked")
            if annotation is None:
                raise BadRowError("is asked, but not annotated")
            image = number(row, "image_id")
            if number(annotation, "image_id") != image:
                raise BadRowError(f"is asked about image {image}, but annotated for {annotation['image_id']}")
            people = [str(present(answer, "answer")) for answer in listed(annotation, "answers")]
            given = [normalise(answer) for answer in people] if self.config.normalise else people
            scores = soft_scores(given, self._labels)
            return _sample(
                part,
                image,
                {
                    "id": str(number(row, "question_id")),
                    "text": text(row, "question"),
                    "family": str(annotation.get("answer_type", "other")).replace("/", "-"),
                    "labels": [label for label, _ in scores],
                    "scores": [score for _, score in scores],
                    "annotators": people,
                    **({"sets": ["answerable"]} if scores else {}),
                },
                place,
            )
        except BadRowError as error:
            return RejectedRow(part, place, str(error))

    def _tested(self, question: Any, row: Any, same: Any) -> Annotation | RejectedRow:
        place = f"{Path(_questions('test' if row else 'test-dev')).name}: question {question}"
        try:
            if row is None:
                raise BadRowError("is in test-dev twice, or not in test")
            asked = {"id": str(number(row, "question_id")), "text": text(row, "question")}
            return _sample("test", number(row, "image_id"), asked | ({"sets": ["test-dev"]} if same else {}), place)
        except BadRowError as error:
            return RejectedRow("test", place, str(error))


def _sample(part: str, image: int, asked: Mapping[str, Any], place: str) -> Annotation:
    name = f"COCO_{FOLDERS[part]}_{image:012d}"
    return Annotation(part, name, (f"{FOLDERS[part]}/{name}.jpg",), (asked,), place)


def _by_question(path: Path) -> Iterator[tuple[Any, Any]]:
    """Give the rows of a file by their question's number; a row without one stands alone, and is found to be bad."""
    inside = "annotations" if "annotations" in path.name else "questions"
    for place, row in items(path, inside):
        key = row.get("question_id") if isinstance(row, dict) else None
        yield (key if isinstance(key, int | str) else place), row


def _questions(part: str) -> str:
    return f"vqav2/v2_OpenEnded_mscoco_{FOLDERS[part]}_questions.json"


def _annotations(part: str) -> str:
    return f"vqav2/v2_mscoco_{FOLDERS[part]}_annotations.json"
