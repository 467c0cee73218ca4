"""Users' own data: JSON lines and a folder of images, for each kind of task."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import Any

from mtlab.config.options import option
from mtlab.data.base import SPLITS, Split
from mtlab.data.converters.annotation_files import list_field, stream_json_lines, text_field
from mtlab.data.converters.base import Annotation, BadRowError, Converter, RejectedRow, register_converter
from mtlab.data.converters.scratch_database import ScratchDatabase
from mtlab.data.datasets.questions_file import (
    check_shares,
    draw_split,
    inner_path,
    jsonl_files,
    read_family,
    read_id,
    read_split,
    read_text,
)
from mtlab.data.shards.index import CLASSES, IMAGES_PER_SAMPLE, KINDS, Kind
from mtlab.errors import UserError, nearest

TEXT_KEY: Mapping[Kind, str] = {  #: key of the text of each kind
    "questions": "question",
    "entailment": "hypothesis",
    "pairs": "statement",
    "captions": "caption",
}
OPTIONAL = ("id", "family", "group", "split", "premise")
KEYS: Mapping[Kind, tuple[str, ...]] = {
    "questions": ("question", "image", "answer"),
    "entailment": ("hypothesis", "image", "label"),
    "pairs": ("statement", "images", "label"),
    "captions": ("caption", "image"),
}


@register_converter("jsonl")
class JsonlConverter(Converter):
    """Your own data: questions.jsonl, or train.jsonl, val.jsonl and test.jsonl, and a folder of images.

    One JSON object a line. questions: image, question, answer. captions: image, caption. entailment: image, hypothesis,
    label (contradiction, neutral, entailment). pairs: images (two), statement, label (true, false). In all of them id,
    family, group (what images share, such as a scene) and split where you like. Answers are those of the training
    questions, the commonest first.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Options on the command line."""

        kind: str = option("questions", "what the lines hold", choices=KINDS)
        images: str = option("images", "folder of the images; a relative path starts at the root")
        min_count: int = option(1, "an answer given less often in training cannot be chosen", minimum=1)
        shares: tuple[float, float] = option(
            (0.1, 0.1),
            "shares of the groups (or images) for val and test, where neither files nor lines say",
            above=0.0,
            below=1.0,
        )

        def __post_init__(self) -> None:
            check_shares(self.shares)
            object.__setattr__(self, "images", str(Path(self.images).expanduser()))

    config: Config
    all_parts = SPLITS
    location_options = frozenset({"images"})
    layout = "questions.jsonl, or train.jsonl, val.jsonl and test.jsonl; and images/"
    no_row = "no line falls to it: give more images, or say `split` in each line"
    disjoint = False

    def __init__(self, root: Path, config: Any, parts: Sequence[str] = ()) -> None:
        super().__init__(root, config, parts)
        self._labels: dict[str, int] = {}

    def kind_of(self) -> Kind:
        """Return the kind in the options."""
        return next(kind for kind in KINDS if kind == self.config.kind)

    def sources(self) -> Sequence[str]:
        """Return the files of lines."""
        return [path.name for path in jsonl_files(self.root)]

    def prepare(self, scratch: ScratchDatabase) -> None:  # noqa: ARG002 - the counts fit into memory
        """Count the answers of the training questions."""
        if self.kind_of() != "questions":
            return
        counts: Counter[str] = Counter()
        rejected: RejectedRow | None = None
        for line in self._lines():
            if isinstance(line, RejectedRow):
                rejected = rejected or line
            elif line.part == "train":
                counts[line.row["answer"]] += 1
        kept = sorted(
            (a for a, count in counts.items() if count >= self.config.min_count), key=lambda a: (-counts[a], a)
        )
        if not counts:
            first = f" (the first that cannot be used: {rejected.place}: {rejected.reason})" if rejected else ""
            raise UserError(
                f"no line of training holds a question and its answer{first}; if they hold something else, say "
                f"kind=captions, or another of {', '.join(KINDS)}",
                file=self.root,
            )
        if len(kept) < 2:
            raise UserError(
                f"training has {len(counts)} different answers, {len(kept)} of them at least {self.config.min_count} "
                "times: at least 2 are needed",
                file=self.root,
            )
        self._labels = {answer: at for at, answer in enumerate(kept)}

    def answers(self) -> Sequence[str] | None:
        """Return the answers of the training questions, the commonest first."""
        return tuple(self._labels) if self.kind_of() == "questions" else None

    def rows(self, scratch: ScratchDatabase) -> Iterator[Annotation | RejectedRow]:  # noqa: ARG002 - no join is needed
        """Read the lines one by one."""
        for line in self._lines():
            if line.part not in self.parts:
                continue
            if isinstance(line, RejectedRow):
                yield line
                continue
            files = tuple(str(PurePosixPath(self.config.images, image)) for image in line.images)
            yield Annotation(
                line.part, _sample_key(line.images), files, tuple(self._texts(line.row)), line.place, line.images
            )

    def _texts(self, row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        kind = self.kind_of()
        texts = row[TEXT_KEY[kind]]
        kept = {key: row[key] for key in ("id", "family", "group", "premise") if key in row}
        for at, each in enumerate(texts if isinstance(texts, list) else [texts]):
            if "id" in row and isinstance(texts, list):
                kept["id"] = f"{row['id']}#{at}"
            if kind == "questions":
                label = self._labels.get(row["answer"])
                scored: dict[str, Any] = {"labels": [label], "scores": [1.0], "sets": ["answerable"]}
                unknown = {"labels": [], "scores": [], "answer": row["answer"]}  # a language model may give it
                yield {**kept, "text": each, **(unknown if label is None else scored)}
            elif kind in CLASSES:
                yield {**kept, "text": each, "label": CLASSES[kind].index(row["label"])}
            else:
                yield {**kept, "text": each}

    def _lines(self) -> Iterator[_Line | RejectedRow]:
        groups: dict[str, str] = {}  # of each sample's first image; without one it is the image
        drawn: dict[str, Split] = {}  # image → the split that it fell into
        first: dict[bool, str] = {}  # whether a line names its split → the first such line
        for path, of_file in jsonl_files(self.root).items():
            for place, row in stream_json_lines(path):
                try:
                    checked = _check_row(row, self.kind_of())
                    images = _image_paths(checked)
                except BadRowError as error:
                    yield RejectedRow(of_file or self.parts[0], place, str(error))
                    continue
                named = checked.get("split")
                first.setdefault(named is not None, place)
                if of_file is None and len(first) == 2:
                    raise UserError(
                        f"{first[False]} lacks the key 'split', which {first[True]} has: give all lines one, or none",
                        file=self.root,
                    )
                if of_file is not None and named not in (None, of_file):
                    yield RejectedRow(of_file, place, f"split: {named!r} in the file of {of_file!r}")
                    continue
                group = checked.get("group", images[0])
                if groups.setdefault(images[0], group) != group:
                    shown = [repr(each) if each != images[0] else "none" for each in (group, groups[images[0]])]
                    problem = f"group: {images[0]!r} has {shown[0]} here and {shown[1]} before"
                    yield RejectedRow(of_file or self.parts[0], place, problem)
                    continue
                part = of_file or named
                if part is None:
                    part = draw_split(group, self.config.shares)
                    if torn := next((image for image in images if drawn.get(image, part) != part), None):
                        known = f"images: {torn!r} is in {drawn[torn]} by another pair"
                        yield RejectedRow(part, place, f"{known}: give pairs that share images one group")
                        continue
                    drawn |= dict.fromkeys(images, part)
                yield _Line(part, place, images, checked)


@dataclass(frozen=True, slots=True)
class _Line:
    part: Split
    place: str
    images: tuple[str, ...]
    row: Mapping[str, Any]


def _check_row(row: Any, kind: Kind) -> dict[str, Any]:
    """Check and convert the fields of a line."""
    known = (*KEYS[kind], *OPTIONAL)
    required = KEYS[kind][0]
    fields: dict[str, Any] = {required: _read_texts(row, required)}
    row = {key: value for key, value in row.items() if value is not None or key not in OPTIONAL}
    for key in row:
        if key not in known:
            raise BadRowError(f"unknown key {key!r}; {nearest(key, known)}")
    fields |= {
        key: read_text(row, key) for key in ("image", "answer", "premise", "group") if key in known and key in row
    }
    for key in KEYS[kind]:
        if key not in row:
            text_field(row, key)
    if "id" in row:
        fields["id"] = read_id(row)
    if "images" in row:
        fields["images"] = [read_text({"images": name}, "images") for name in list_field(row, "images")]
        if len(fields["images"]) != IMAGES_PER_SAMPLE[kind]:
            raise BadRowError(f"images: expected {IMAGES_PER_SAMPLE[kind]}, found {len(fields['images'])}")
    if "label" in row:
        fields["label"] = _read_label(row["label"], kind)
    if "family" in row:
        fields["family"] = read_family(row)
    if "split" in row:
        fields["split"] = read_split(row)
    return fields


def _read_texts(row: Any, key: str) -> Any:
    """Return the text, or the list of captions."""
    if key == "caption" and isinstance(row, dict) and isinstance(row.get(key), list):
        if not row[key]:
            raise BadRowError("caption: is empty")
        return [text_field({key: each}, key) for each in row[key]]
    return text_field(row, key)


def _read_label(value: Any, kind: Kind) -> str:
    label = json.dumps(value).capitalize() if isinstance(value, bool) else value
    if label not in CLASSES[kind]:
        raise BadRowError(f"label: {value!r} is none of {', '.join(CLASSES[kind])}")
    return str(label)


def _image_paths(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(inner_path(image) for image in row.get("images", [row.get("image")]))


def _sample_key(images: Sequence[str]) -> str:
    """Make a readable and unique key from a sample's images."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", images[0].rpartition(".")[0])[-48:].strip("-")
    return f"{name}-{blake2b('|'.join(images).encode(), digest_size=6).hexdigest()}"
