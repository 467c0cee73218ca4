"""Files of users' own questions: JSON lines, checked strictly. Every error names its file and line."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from mtlab.data.base import SPLITS, Split
from mtlab.data.converters.annotation_files import (
    RepeatedKeyError,
    reject_repeated_keys,
    shorten,
    text_field,
)
from mtlab.data.converters.base import BadRowError
from mtlab.errors import UserError, nearest
from mtlab.seeding import hash_fraction

WHOLE = "questions.jsonl"  #: one file for all splits; else one for each:
BY_SPLIT: Mapping[Split, str] = {split: f"{split}.jsonl" for split in SPLITS}
KEYS = ("id", "image", "question", "answer", "family", "group", "split")
FAMILY = "other"  #: of questions that name none
LONG_TEXTS = ("question", "hypothesis", "statement", "caption", "premise")  #: keys of texts that may have line breaks

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class SourceLine:
    """File and line of a question."""

    file: Path
    line: int  #: from 1

    def error(self, problem: str) -> UserError:
        """Make a `UserError` that names file and line."""
        return UserError(problem, file=self.file, line=self.line)


@dataclass(frozen=True, slots=True)
class QuestionLine:
    """A checked line of a file of questions."""

    id: str
    text: str
    answer: str
    image: str  #: path below the image folder, with /, without `.` and `..`
    family: str
    group: str  #: what its image shares with others, such as a scene; else the image
    split: Split | None
    source: SourceLine


def jsonl_files(folder: Path) -> dict[Path, Split | None]:
    """Find the files of questions in a folder, with the split of each; None: its lines or a hash decide.

    Raises:
        UserError: there are none, or too many.

    """
    named = {folder / name: split for split, name in BY_SPLIT.items() if (folder / name).exists()}
    whole = folder / WHOLE
    if whole.exists():
        if named:
            reason = ", ".join(path.name for path in named)
            raise UserError(f"holds {WHOLE} and {reason}: keep one file for all, or one for each split", file=folder)
        return {whole: None}
    missing = [name for name in BY_SPLIT.values() if folder / name not in named]
    if len(missing) == len(BY_SPLIT):
        others = sorted(path.name for path in folder.glob("*.json*"))
        found = f" (found: {', '.join(others[:5])})" if others else ""
        raise UserError(f"holds neither {WHOLE} nor {', '.join(missing)}{found}", file=folder)
    if missing:
        raise UserError(
            f"lacks {' and '.join(missing)}: write one file for each split, or all questions into {WHOLE}, which is "
            "split by image",
            file=folder,
        )
    return dict(named)


def read_questions(folder: Path, shares: tuple[float, float]) -> list[QuestionLine]:
    """Read all questions of a folder with their splits.

    Args:
        folder: holds `questions.jsonl`, or `train.jsonl`, `val.jsonl` and `test.jsonl`.
        shares: of the images for validation and test, where neither files nor lines name the split.

    Raises:
        UserError: anything in the files is wrong.

    """
    found: list[QuestionLine] = []
    sources: dict[str, SourceLine] = {}
    for path, split in jsonl_files(folder).items():
        for question in read_questions_file(path):
            if question.id in sources:
                first = sources[question.id]
                raise question.source.error(f"id {question.id!r} is taken: {first.file.name}:{first.line} has it")
            sources[question.id] = question.source
            if split is not None and question.split not in (None, split):
                raise question.source.error(f"split: {question.split!r} in the file of {split!r}")
            found.append(question if split is None else replace(question, split=split))
    _check_groups(found)
    return _assign_splits(found, shares)


def read_questions_file(path: Path) -> Iterator[QuestionLine]:
    """Read one file line by line; blank lines are skipped.

    Raises:
        UserError: a line is not UTF-8, no JSON object, or lacks a key, has an unknown one or one of the wrong kind; or
            there are no lines.

    """
    empty = True
    for number, raw in enumerate(_read_content(path).split(b"\n"), 1):
        if raw.strip():
            empty = False
            yield _parse_question(raw, SourceLine(path, number))
    if empty:
        raise UserError("is empty (expected a JSON object a line, one for each question)", file=path)


def _read_content(path: Path) -> bytes:
    if not path.is_file():
        raise UserError("is not a file", file=path)
    try:
        return path.read_bytes().removeprefix(b"\xef\xbb\xbf")  # the byte order mark of some editors
    except OSError as error:
        raise UserError(f"cannot be read: {error.strerror}", file=path) from None


def _parse_question(raw: bytes, source: SourceLine) -> QuestionLine:
    row = _parse_object(raw, source)
    try:
        return _check_question(row, source)
    except BadRowError as error:
        raise source.error(str(error)) from None


def _check_question(row: Mapping[str, Any], source: SourceLine) -> QuestionLine:
    for key in row:
        if key not in KEYS:
            raise BadRowError(f"unknown key {key!r}; {nearest(key, KEYS)}")
    text, answer, image = (read_text(row, key) for key in ("question", "answer", "image"))
    image = inner_path(image)
    return QuestionLine(
        id=read_id(row) if row.get("id") is not None else f"{source.file.stem}:{source.line}",
        text=text,
        answer=answer,
        image=image,
        family=read_family(row) if row.get("family") is not None else FAMILY,
        group=read_text(row, "group") if row.get("group") is not None else image,
        split=read_split(row) if row.get("split") is not None else None,
        source=source,
    )


def _parse_object(raw: bytes, source: SourceLine) -> dict[str, Any]:
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise source.error(f"is not UTF-8 text (byte {error.start + 1}): save the file as UTF-8") from None
    try:
        row = json.loads(text, object_pairs_hook=reject_repeated_keys)
    except RepeatedKeyError as error:
        raise source.error(str(error)) from None
    except (ValueError, RecursionError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise source.error(f"is not a JSON object on one line: {reason}") from None
    if not isinstance(row, dict):
        raise source.error(f"expected a JSON object, found {shorten(row)}")
    return row


def read_text(row: Mapping[str, Any], key: str) -> str:
    """Return a text of a row; only what is asked or said may have line breaks.

    Raises:
        BadRowError: it is missing, no text, empty, or has a control character.

    """
    value = text_field(row, key)
    if _CONTROL.search(value) and key not in LONG_TEXTS:
        raise BadRowError(f"{key}: {value!r} has a line break, tab or other control character")
    return value


def read_id(row: Mapping[str, Any]) -> str:
    """Return the id of a row, a text or an integer.

    Raises:
        BadRowError: it is neither.

    """
    value = row["id"]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
        return str(value)
    return read_text(row, "id")


def read_family(row: Mapping[str, Any]) -> str:
    """Return the family of a row.

    Raises:
        BadRowError: it is no text, or cannot be part of a metric's name.

    """
    family = read_text(row, "family")
    if "/" in family:
        raise BadRowError(f"family: {family!r} has a /, which separates the parts of a metric's name")
    return family


def read_split(row: Mapping[str, Any]) -> Split:
    """Return the split of a row.

    Raises:
        BadRowError: it is none.

    """
    if row["split"] not in SPLITS:
        raise BadRowError(f"split: {shorten(row['split'])} is none of {', '.join(SPLITS)}")
    return cast("Split", row["split"])


def inner_path(value: str) -> str:
    """Normalise an image's path below the image folder.

    Raises:
        BadRowError: it leaves the folder, or is no path of a file.

    """
    if value.startswith(("/", "~/")) or re.match(r"[A-Za-z]:", value):
        raise BadRowError(f"image: {value!r} is an absolute path: write it relative to the image folder")
    if "\\" in value:
        raise BadRowError(f"image: {value!r} has a backslash: write / between folders")
    if ".." in value.split("/"):
        raise BadRowError(f"image: {value!r} leaves the image folder by `..`")
    path = posixpath.normpath(value)
    if path == "." or value.endswith("/"):
        raise BadRowError(f"image: {value!r} is a folder, not an image")
    return path


def check_shares(shares: tuple[float, float]) -> None:
    """Check that the shares of val and test leave something to train on.

    Raises:
        UserError: they do not.

    """
    if sum(shares) >= 1:
        raise UserError(f"{shares[0]} and {shares[1]} leave nothing to train on", key="shares")


def _check_groups(questions: list[QuestionLine]) -> None:
    """Check that each image is of one group, so that no split can tear either apart."""
    first: dict[str, QuestionLine] = {}
    for question in questions:
        known = first.setdefault(question.image, question)
        if known.group != question.group:
            shown = [f"group {each.group!r}" if each.group != each.image else "no group" for each in (question, known)]
            raise question.source.error(
                f"group: image {question.image!r} has {shown[0]} here, and {shown[1]} in "
                f"{known.source.file.name}:{known.source.line}: give all lines of an image the same"
            )


def _assign_splits(questions: list[QuestionLine], shares: tuple[float, float]) -> list[QuestionLine]:
    """Keep the splits in the lines; if there are none, split by group, so that no group or image is in two splits."""
    unnamed = next((question for question in questions if question.split is None), None)
    if unnamed is None:
        return questions
    named = next((question for question in questions if question.split is not None), None)
    if named is not None:
        raise unnamed.source.error(
            f"lacks the key 'split', which line {named.source.line} has: give all lines one, or none"
        )

    return [replace(question, split=draw_split(question.group, shares)) for question in questions]


def draw_split(group: str, shares: tuple[float, float]) -> Split:
    """Choose the split of a group, or of an image without one, by a hash, so that others added later do not move it."""
    val, test = shares
    drawn = hash_fraction(group)
    return "test" if drawn < test else "val" if drawn < test + val else "train"
