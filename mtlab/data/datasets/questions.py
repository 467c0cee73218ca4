"""`questions`: your own questions about your own images, from JSON lines and a folder of images."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mtlab.config.hashing import digest
from mtlab.config.options import option
from mtlab.data.base import SPLITS, Dataset, Example, Split, alike_answers, register_dataset
from mtlab.data.datasets.questions_file import QuestionLine, check_shares, jsonl_files, read_questions
from mtlab.data.file_digests import content_digest, content_hashes
from mtlab.data.image_files import check_image, read_image
from mtlab.errors import UserError, closest

MAX_SUGGEST = 5000  #: files in a folder; with more, no similar name is suggested


@register_dataset("questions")
class Questions(Dataset):
    """Your own questions: a folder with JSON lines and images, described in docs/your-own-questions.md.

    One JSON object a line: image, question and answer; id, family, group, split where you like. The answers to choose
    from are those of the training questions, the commonest first. A validation or test question with another answer
    stays, and counts as wrong whatever a model chooses; a language model that generates answers may give it.
    """

    location_options: ClassVar[frozenset[str]] = frozenset({"folder", "images"})

    @dataclass(frozen=True, kw_only=True)
    class Config:
        folder: str = option("", "holds questions.jsonl, or train.jsonl, val.jsonl and test.jsonl")
        images: str = option("images", "folder of the images; a relative path starts at `folder`")
        min_count: int = option(
            1, "an answer given less often in training cannot be chosen; its training questions are left out", minimum=1
        )
        shares: tuple[float, float] = option(
            (0.1, 0.1),
            "shares of the groups (or images) for val and test, where neither files nor lines say",
            above=0.0,
            below=1.0,
        )

        def __post_init__(self) -> None:
            check_shares(self.shares)
            if self.folder:  # absolute, so that a run can be gone on with from anywhere
                object.__setattr__(self, "folder", str(Path(self.folder).expanduser().absolute()))

    config: Config

    @classmethod
    def sizes(cls, config: Any) -> Mapping[Split, int]:
        """Number of questions of each split. The first call reads all questions and checks that all images exist."""
        return {split: len(questions) for split, questions in _load(config).questions.items()}

    @classmethod
    def digest(cls, config: Any) -> str:
        """Hash questions and images by content, and check each new or changed image."""
        loaded, folder = _load(config), Path(config.folder)
        return digest(
            {
                "questions": content_digest(folder, [path.name for path in jsonl_files(folder)]),
                "images": content_digest(loaded.images, loaded.image_names(), check_image),
            },
            32,
        )

    @classmethod
    def remarks(cls, config: Any) -> Sequence[str]:
        """Describe questions that are left out or cannot be answered correctly, and images that splits share."""
        loaded = _load(config)
        return (*loaded.remarks, *_copies(loaded))

    @cached_property
    def _question_set(self) -> QuestionSet:
        """The questions, loaded once: files that change later do not change a run."""
        return _load(self.config)

    @property
    def answers(self) -> Sequence[str]:
        """The answers of the training questions, the commonest first, equally common ones by alphabet."""
        return self._question_set.answers

    def examples(self, split: Split) -> Sequence[Example]:
        """All questions of a split, in the order of their lines."""
        target = {answer: index for index, answer in enumerate(self.answers)}
        return tuple(
            Example(
                each.id,
                each.text,
                each.image,
                target.get(each.answer, -1),
                each.family,
                answer="" if each.answer in target else each.answer,
                group=each.group,
            )
            for each in self._question_set.questions[split]
        )

    def image(self, key: str) -> NDArray[np.uint8]:
        """Decode an image, named by its path below the image folder, [H, W, 3] RGB.

        Raises:
            UserError: it is missing, damaged, or lies outside the folder.

        """
        return read_image(_inside(self._question_set.images, key))


@dataclass(frozen=True)
class QuestionSet:
    """The checked questions of a folder."""

    questions: Mapping[Split, tuple[QuestionLine, ...]]
    answers: tuple[str, ...]
    images: Path  #: the folder, without links
    remarks: tuple[str, ...]

    def image_names(self, *splits: Split) -> set[str]:
        """Return the images of some splits, by default of all."""
        return {question.image for split in splits or SPLITS for question in self.questions[split]}


def _load(config: Questions.Config) -> QuestionSet:
    """Read the folder, or return the cached questions if their files have not changed.

    Raises:
        UserError: anything in the options, the questions or the folder of images is wrong.

    """
    if not config.folder:
        raise UserError("needs the folder that holds your questions (docs/your-own-questions.md)", key="folder")
    folder = Path(config.folder)
    if not folder.is_dir():
        problem = "is a file: give the folder that holds it" if folder.exists() else "no such folder"
        raise UserError(f"{folder}: {problem}", key="folder")
    stamps = []
    for path in jsonl_files(folder):
        status = path.stat()
        stamps.append((path.name, status.st_size, status.st_mtime_ns))
    return _read(config.folder, config.images, config.min_count, tuple(config.shares), tuple(stamps))


@lru_cache(maxsize=4)
def _read(folder: str, images: str, min_count: int, shares: tuple[float, float], _stamps: Any) -> QuestionSet:
    config = Questions.Config(folder=folder, images=images, min_count=min_count, shares=shares)
    questions = read_questions(Path(folder), shares)
    by_split = {split: tuple(one for one in questions if one.split == split) for split in SPLITS}
    for split, found in by_split.items():
        if not found:
            raise UserError(f"no question is for {split}: {_advice(split, len(questions))}", file=Path(folder))
    image_folder = _images_folder(config)
    _check_images(questions, image_folder)
    counts = Counter(one.answer for one in by_split["train"])
    answers = tuple(sorted((a for a, count in counts.items() if count >= min_count), key=lambda a: (-counts[a], a)))
    _check_answers(answers, counts, min_count, Path(folder))
    known = set(answers)
    kept = {**by_split, "train": tuple(one for one in by_split["train"] if one.answer in known)}
    for split, found in kept.items():
        if not any(one.answer in known for one in found):
            raise UserError(f"no {split} question has an answer that training has, too", file=Path(folder))
    return QuestionSet(kept, answers, image_folder, tuple(_remarks(by_split, kept, known, min_count)))


def _advice(split: Split, questions: int) -> str:
    return f"give more than these {questions}, or say `split` in each line" if questions < 100 else f"add {split} ones"


def _check_answers(answers: Sequence[str], counts: Mapping[str, int], min_count: int, folder: Path) -> None:
    if len(answers) >= 2:
        return
    if len(counts) < 2:
        raise UserError(
            f"all training questions have one answer, {next(iter(counts))!r}: nothing to learn", file=folder
        )
    raise UserError(
        f"{min_count} leaves {len(answers)} of {len(counts)} answers to choose from: at least 2 are needed; "
        f"the second commonest is given {sorted(counts.values())[-2]} times",
        key="min_count",
    )


def _images_folder(config: Questions.Config) -> Path:
    """Find the folder of images, links resolved: no image may lie outside."""
    folder = Path(config.folder, Path(config.images).expanduser())
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of images", key="images")
    return folder.resolve()


def _inside(folder: Path, image: str) -> Path:
    """Return the path of an image; links are followed and must stay inside.

    Raises:
        UserError: it lies outside, or cannot be looked for.

    """
    try:
        path = os.path.realpath(folder / image)
    except (OSError, ValueError) as error:
        raise UserError(f"cannot be looked for: {error}", file=folder / image) from None
    if not path.startswith(f"{str(folder).rstrip('/')}/"):
        raise UserError(
            "leaves the image folder by a link: copy the image, or choose another `images`", file=folder / image
        )
    return Path(path)


def _check_images(questions: Sequence[QuestionLine], folder: Path) -> None:
    seen: set[str] = set()
    for one in questions:
        if one.image in seen:
            continue
        seen.add(one.image)
        try:
            mode = _inside(folder, one.image).stat().st_mode
        except UserError as error:
            raise one.source.error(f"image: {one.image!r} {error.problem}") from None
        except (FileNotFoundError, NotADirectoryError):
            raise one.source.error(f"image: no {one.image!r} in {folder}{_hint(folder, one.image)}") from None
        except OSError as error:
            raise one.source.error(f"image: {one.image!r} cannot be read: {error.strerror}") from None
        if not stat.S_ISREG(mode):
            raise one.source.error(f"image: {one.image!r} is not a file")


def _hint(folder: Path, image: str) -> str:
    """Name the file in the same folder whose name is nearest."""
    try:
        beside = [path.name for path in (folder / image).parent.iterdir()]
    except OSError:
        return f": there is no folder {Path(image).parent}"
    if len(beside) > MAX_SUGGEST:
        return ""
    alike = [name for name in beside if name.casefold() == Path(image).name.casefold()]
    near = alike[0] if alike else closest(Path(image).name, beside)
    return "" if near is None else f"; did you mean {near!r}?"


def _remarks(
    read: Mapping[Split, Sequence[QuestionLine]],
    kept: Mapping[Split, Sequence[QuestionLine]],
    known: set[str],
    min_count: int,
) -> list[str]:
    remarks = []
    if left := len(read["train"]) - len(kept["train"]):
        remarks.append(f"{left:,} training questions are left out: their answers occur less than {min_count} times")
    for split in SPLITS[1:]:
        if unknown := [one.answer for one in kept[split] if one.answer not in known]:
            whole = len(kept[split])
            commonest = Counter(unknown).most_common(1)[0][0]
            remarks.append(
                f"{len(unknown):,} of {whole:,} {split} questions ({100 * len(unknown) / whole:.1f} %) have an answer "
                f"that cannot be chosen, such as {commonest!r}: they count as wrong, unless answers are generated"
            )
    for one, other in combinations(SPLITS, 2):
        flattering = f" are in {one}, too: its scores may be flattering"
        if shared := {line.image for line in kept[other]} & {line.image for line in kept[one]}:
            remarks.append(f"{len(shared):,} images of {other}{flattering}")
        elif shared := {line.group for line in kept[other]} & {line.group for line in kept[one]}:
            remarks.append(f"{len(shared):,} groups of {other}{flattering}")
    return remarks + alike_answers(known)


def _copies(loaded: QuestionSet) -> Iterator[str]:
    """Describe images that two splits share under other names."""
    hashes = content_hashes(loaded.images, loaded.image_names(), check_image)
    for one, other in combinations(SPLITS, 2):
        here, there = loaded.image_names(one), loaded.image_names(other)
        originals = {hashes[image]: image for image in sorted(here, reverse=True)}
        if copies := sorted(image for image in there - here if hashes[image] in originals):
            copied = f"images of {one}, such as {copies[0]!r} of {originals[hashes[copies[0]]]!r}"
            yield f"{len(copies):,} images of {other} are copies of {copied}: its scores may be flattering"
